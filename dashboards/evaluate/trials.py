"""Trials with known incidents as the detection sees them: a network, its stations, what they said each 30 s, the truth.

Simulated trials come from `sim.incident_trials`, a folder each; measured ones from `measured_days`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dashboards.bench.measured import Progress
from traffic.errors import TrafficError
from traffic.network import EXPRESSWAY, URBAN, Link, Road
from traffic.roads.model import RoadNetwork, SensorKind, Sensors, Window, build_network

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
INTERVAL_US = 30_000_000
KEPT = 30  # intervals in a window
JUDGED_FROM_S = 900  # before it traffic only fills the roads


class TrialLost(TrafficError):
    """A simulation's process ended without its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What really happened: on which road, where along it (metres), when (seconds of the trial)."""

    road: int
    at_m: float
    x: float
    y: float
    begin_s: float
    end_s: float
    lanes_blocked: int
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """`speed_kmh`, `flow_vph`, `occupancy`: (stations, intervals). `at_m`, `x`, `y`: where each station stands."""

    name: str
    network: RoadNetwork
    sensors: Sensors
    at_m: np.ndarray
    x: np.ndarray
    y: np.ndarray
    speed_kmh: np.ndarray
    flow_vph: np.ndarray
    occupancy: np.ndarray
    incidents: tuple[Incident, ...]

    @property
    def road(self) -> np.ndarray:
        """Of each station."""
        return self.network.road[self.sensors.link]

    def windows(self) -> Iterator[tuple[int, Window]]:
        """Each cycle from JUDGED_FROM_S on: seconds of the trial, and what the stations said up to then."""
        for last in range(max(KEPT, JUDGED_FROM_S // 30), self.speed_kmh.shape[1] + 1):
            chosen = slice(last - KEPT, last)
            yield (
                last * 30,
                Window(
                    ends_us=START_US + np.arange(last - KEPT + 1, last + 1) * INTERVAL_US,
                    speed_kmh=self.speed_kmh[:, chosen],
                    flow_vph=self.flow_vph[:, chosen],
                    occupancy=self.occupancy[:, chosen],
                    heavy_share=np.full((len(self.sensors), KEPT), np.nan),
                    trust=np.ones(len(self.sensors)),
                ),
            )


def simulate(wanted: Sequence[dict[str, Any]], folder: Path, processes: int, progress: Progress) -> list[Trial]:
    """Run trials ({"ground", "seed", "incidents", "convoys"}) in processes of their own; in the order asked for."""
    asked = [dict(one) | {"folder": str(folder / f"{one['ground']}-{one['seed']}")} for one in wanted]
    for one in asked:
        Path(one["folder"]).mkdir(parents=True, exist_ok=True)
    shares = [share for n in range(processes) if (share := asked[n::processes])]
    with ThreadPoolExecutor(max(1, processes)) as pool:
        for _ in pool.map(lambda share: _run(share, progress), shares):
            pass
    return [read(Path(one["folder"])) for one in asked]


def _run(share: Sequence[dict[str, Any]], progress: Progress) -> None:
    """One process with its share of the trials; their answers are kept beside their data."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.incident_trials"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdin is not None and process.stdout is not None
        for one in share:
            process.stdin.write(json.dumps(one) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise TrialLost(f"the simulation of {one['ground']} with seed {one['seed']} ended: {_last(process)}")
            (Path(one["folder"]) / "answer.json").write_text(json.dumps(one | json.loads(line)))
            progress(
                f"{one['ground']} {one['seed']}: {len(json.loads(line)['happened'])} of {one['incidents']} happened"
            )
        process.stdin.close()


def _last(process: "subprocess.Popen[str]") -> str:
    said = process.stderr.read() if process.stderr is not None else ""
    return (said.strip().splitlines() or ["it said nothing"])[-1][:200]


def is_kept(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a folder holds the trial that is wanted, and no other of its seed."""
    file = folder / "answer.json"
    return file.is_file() and wanted.items() <= json.loads(file.read_text()).items()


def read(folder: Path) -> Trial:
    """A simulated trial from its folder."""
    answer = json.loads((folder / "answer.json").read_text())
    plan = json.loads((folder / "layout.json").read_text())
    values = np.load(folder / "intervals.npz")
    network = _network(plan, urban=answer["ground"] == "town")
    stations = plan["stations"]
    row = np.array([station["link"] for station in stations])
    share = np.array([station["share"] for station in stations])
    at_m = np.array([plan["links"][n]["begin_m"] for n in row]) + share * network.length_m[row]
    return Trial(
        name=f"{answer['ground']}-{answer['seed']}",
        network=network,
        sensors=sensors_of(network, row, share),
        at_m=at_m,
        x=np.array([station["x"] for station in stations]),
        y=np.array([station["y"] for station in stations]),
        speed_kmh=values["speed_kmh"].T.copy(),
        flow_vph=values["vehicles"].T * 120.0,
        occupancy=values["occupancy"].T.copy(),
        incidents=tuple(_incident(plan, one) for one in answer["happened"] if one["kind"] == "incident"),
    )


def sensors_of(network: RoadNetwork, row: np.ndarray, share: np.ndarray) -> Sensors:
    """A detector for each (row of link, share), numbered from 1; they must come in that order."""
    return Sensors(
        kind=np.full(len(row), SensorKind.DETECTOR, np.int8),
        id=np.arange(1, len(row) + 1),
        direction=network.direction[row],
        link=row.astype(np.int64),
        share=share.astype(np.float64),
        lanes=network.lanes[row],
    )


def _network(plan: dict[str, Any], *, urban: bool) -> RoadNetwork:
    links = plan["links"]
    roads = [
        Road(id=n, code=f"R{n}", name=f"R{n}", name_en=f"R{n}", kind=URBAN if urban else EXPRESSWAY, approximate=True)
        for n in sorted({link["road"] for link in links})
    ]
    made = [
        Link(
            id=number + 1, road_id=link["road"], direction=1, from_stake_m=round(link["begin_m"]),
            to_stake_m=max(round(link["begin_m"]) + 1, round(link["end_m"])),
            length_m=max(1, round(link["end_m"] - link["begin_m"])), lanes=max(1, len(link["lanes"])),
            limit_kmh=round(link["limit_kmh"]), unit_id=1, geometry=((0.0, 0.0), (0.001, 0.0)),
            from_node=2 * number + 1 if not number or links[number - 1]["road"] != link["road"] else 2 * number,
            to_node=2 * number + 2,
        )
        for number, link in enumerate(links)
    ]  # fmt: skip
    return build_network(roads, made)


def _incident(plan: dict[str, Any], one: dict[str, Any]) -> Incident:
    link = plan["links"][one["link"]]
    at_m = link["begin_m"] + one["share"] * (link["end_m"] - link["begin_m"])
    place = [(s["x"], s["y"], s["link"], s["share"]) for s in plan["stations"]]
    same = [entry for entry in place if plan["links"][entry[2]]["road"] == link["road"]]
    nearest = min(same, key=lambda entry: abs(_along(plan, entry[2], entry[3]) - at_m))
    return Incident(
        road=link["road"],
        at_m=at_m,
        x=nearest[0],
        y=nearest[1],
        begin_s=one["at_s"],
        end_s=one["at_s"] + one["lasting_s"],
        lanes_blocked=one["lanes_many"],
        lanes=len(link["lanes"]),
    )


def _along(plan: dict[str, Any], row: int, share: float) -> float:
    link = plan["links"][row]
    return link["begin_m"] + share * (link["end_m"] - link["begin_m"])
