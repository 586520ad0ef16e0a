"""Trials in a process of its own: traffic over a network with loops, and what goes wrong in it.

    python -m sim.incident_trials

Standard input: a line of JSON for each trial {"ground", "seed", "incidents", "convoys", "folder"}, and
"horizon_s" for a shorter one; its end ends it.
Standard output: a line of JSON for each, {"happened": [...], "planned": n}; in the folder then `intervals.npz`
(intervals x stations: vehicles, occupancy, speed_kmh) and `layout.json`. A simulation holds a whole process, as in
`engine.py`.
"""

import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import sumolib

from sim.incident_scenes import (
    GROUNDS,
    HORIZON_S,
    INTERVAL_S,
    Blockage,
    Ground,
    Layout,
    layout,
    network_path,
    script,
    ways,
    write_demand,
)

MEMORY_BYTES_MAX = 3 * 1024**3
STEP_S = 1.0
TRY_S_MAX = 240  # how long a blockage waits for a vehicle that can stop there


class Place:
    """A network made ready once: its roads, and the ways that are driven on it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        net = sumolib.net.readNet(str(network_path(ground)))
        self.plan = layout(net)
        self.ways = ways(ground, net)


def main() -> None:
    """Run the trials that standard input asks for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    places: dict[str, Place] = {}
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted["ground"] not in places:
            places[wanted["ground"]] = Place(GROUNDS[wanted["ground"]])
        answers.write(json.dumps(run(places[wanted["ground"]], wanted)) + "\n")
        answers.flush()


def run(place: Place, wanted: dict[str, Any]) -> dict[str, Any]:
    """One whole trial."""
    folder, plan = Path(wanted["folder"]), place.plan
    rng = np.random.default_rng(wanted["seed"])
    use = write_demand(place.ground, place.ways, folder / "demand.rou.xml", rng)
    _write_loops(plan, folder)
    planned = script(place.ground, plan, use, rng, incidents=wanted["incidents"], convoys=wanted["convoys"])
    horizon_s = int(wanted.get("horizon_s", HORIZON_S))
    happened = _simulate(place, folder, wanted["seed"], planned, horizon_s=horizon_s)
    np.savez_compressed(folder / "intervals.npz", **_intervals(plan, folder / "loops.xml", horizon_s))  # type: ignore[arg-type]
    (folder / "layout.json").write_text(json.dumps(asdict(plan)))
    for name in ("demand.rou.xml", "loops.add.xml", "loops.xml"):
        (folder / name).unlink()
    return {"happened": happened, "planned": len(planned)}


def _write_loops(plan: Layout, folder: Path) -> None:
    lines = []
    for number, station in enumerate(plan.stations):
        link = plan.links[station.link]
        at_m = station.share * (link.end_m - link.begin_m)
        lines += [
            f'<inductionLoop id="{number}:{lane}" lane="{link.edge}_{lane}" pos="{at_m:.1f}" period="{INTERVAL_S}" file="loops.xml"/>'  # fmt: skip # noqa: E501
            for lane in link.lanes
        ]
    (folder / "loops.add.xml").write_text(f"<additional>{''.join(lines)}</additional>")


def _simulate(
    place: Place, folder: Path, seed: int, planned: list[Blockage], *, horizon_s: int
) -> list[dict[str, Any]]:
    import libsumo

    libsumo.start(
        [
            "sumo", "--net-file", str(network_path(place.ground)), "--route-files", str(folder / "demand.rou.xml"),
            "--additional-files", str(folder / "loops.add.xml"), "--seed", str(seed), "--step-length", str(STEP_S),
            "--no-step-log", "true", "--no-warnings", "true", "--time-to-teleport", "400", "--xml-validation", "never",
            "--ignore-route-errors", "true", "--device.rerouting.probability", str(place.ground.reroute_share),
            "--device.rerouting.period", "300", "--max-depart-delay", "300",
        ]
    )  # fmt: skip
    happened: list[dict[str, Any]] = []
    waiting = sorted(planned, key=lambda blockage: blockage.at_s)
    while (now_s := libsumo.simulation.getTime()) < horizon_s:
        due_s = min([horizon_s, *(one.at_s for one in waiting)])
        libsumo.simulationStep(max(now_s + STEP_S, float(int(due_s))))  # nothing of ours happens before
        now_s = libsumo.simulation.getTime()
        for blockage in [one for one in waiting if one.at_s <= now_s]:
            begun = _convoy(libsumo, now_s) if blockage.kind == "convoy" else _block(libsumo, place.plan, blockage)
            if begun:
                happened.append(asdict(blockage) | begun | {"at_s": now_s})
            if begun or now_s > blockage.at_s + TRY_S_MAX:
                waiting.remove(blockage)
    libsumo.close()
    return happened


def _block(sumo: Any, plan: Layout, blockage: Blockage) -> dict[str, Any] | None:
    """Stop the vehicles that come first to the place on neighbouring lanes; None while there are too few."""
    link = plan.links[blockage.link]
    place_m = blockage.share * (link.end_m - link.begin_m)
    first = len(link.lanes) - blockage.lanes_many if int(blockage.at_s) % 2 else 0
    chosen = []
    for lane in link.lanes[first : first + blockage.lanes_many]:
        coming = []
        for name in sumo.lane.getLastStepVehicleIDs(f"{link.edge}_{lane}"):
            at_m, speed = sumo.vehicle.getLanePosition(name), sumo.vehicle.getSpeed(name)
            stop_m = at_m + speed * speed / 7.0 + speed + 3.0
            if place_m - 80.0 < stop_m < min(place_m + 80.0, link.end_m - link.begin_m - 1.0):
                coming.append((abs(stop_m - place_m), stop_m, name))
        if not coming:
            return None
        chosen.append((*min(coming)[1:], lane))
    stopped = []
    for stop_m, name, lane in chosen:
        try:
            sumo.vehicle.setStop(name, link.edge, pos=stop_m, laneIndex=lane, duration=blockage.lasting_s)
        except sumo.TraCIException:
            continue
        stopped.append(stop_m)
    if not stopped:
        return None
    return {"lanes_many": len(stopped), "share": float(np.mean(stopped) / (link.end_m - link.begin_m))}


def _convoy(sumo: Any, now_s: float) -> dict[str, Any] | None:
    """A slow transport sets out on the way of some vehicle that is on the road now."""
    names = sumo.vehicle.getIDList()
    if not names:
        return None
    route = max((sumo.vehicle.getRoute(name) for name in names), key=len)
    sumo.route.add(f"slow{now_s:.0f}", route)
    sumo.vehicle.add(f"slow{now_s:.0f}", f"slow{now_s:.0f}", typeID="convoy", departLane="best")
    return {"link": -1}


def _intervals(plan: Layout, path: Path, horizon_s: int) -> dict[str, np.ndarray]:
    """Loops of a station taken together: vehicles summed, occupancy averaged, speed weighted by vehicles."""
    shape = (horizon_s // INTERVAL_S, len(plan.stations))
    vehicles, occupancy, weighted = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for _, entry in ElementTree.iterparse(path):
        if entry.tag != "interval":
            continue
        row = int(float(entry.get("begin", "0"))) // INTERVAL_S
        station = int(entry.get("id", "0:0").partition(":")[0])
        if row < shape[0]:
            count = float(entry.get("nVehContrib", "0"))
            vehicles[row, station] += count
            occupancy[row, station] += float(entry.get("occupancy", "0"))
            weighted[row, station] += count * max(0.0, float(entry.get("speed", "0"))) * 3.6
        entry.clear()
    lanes = np.array([len(plan.links[station.link].lanes) for station in plan.stations])
    with np.errstate(invalid="ignore"):
        speed = np.where(vehicles > 0, weighted / vehicles, np.nan)
    return {"vehicles": vehicles, "occupancy": occupancy / lanes, "speed_kmh": speed}


if __name__ == "__main__":
    main()
