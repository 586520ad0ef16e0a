"""The only module that touches libsumo: a simulation in a process of its own, commanded by lines of JSON.

    python -m sim.engine

Standard input: first {"start": {...}}, then as often as wanted a command with the keys of `Engine.obey` and "steps";
end of input ends it. Standard output: one line for each, {"ready": ...} or what `Engine.run` and `Engine.obey` say.
A warm SUMO holds threads and global state: apart from event loops and databases it can be limited, lost and replaced.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sim.blocking import OBSTACLE, OBSTACLE_M, Blockages
from sim.counting import EdgeSums, LoopCounts

MEMORY_BYTES_MAX = 3 * 1024**3
STEPS_MAX = 3_600  # of one command
EDGES_EVERY_STEPS = 5  # how often edges are looked at; long ones change slowly


class Engine:
    """One running simulation. Vehicles are added on their way; what leaves the network is told."""

    def __init__(self, start: dict[str, Any]) -> None:
        import libsumo

        self._sumo = libsumo
        self._step_s = float(start.get("step_s", 1.0))
        libsumo.start(
            [
                "sumo", "--net-file", start["network"], "--additional-files", start["loops_file"],
                "--step-length", str(self._step_s), "--seed", str(start["seed"]), "--no-step-log", "true",
                "--no-warnings", "true", "--time-to-teleport", "-1", "--collision.action", "none",
                "--default.speeddev", "0", "--xml-validation", "never", *start.get("options", ()),
            ]
        )  # fmt: skip
        self._observes = start.get("observe", True)  # a bench compares with a simulation that nobody looks at
        self._loops = libsumo.inductionloop.getIDList() if self._observes else ()
        self._counts = LoopCounts(loop for loop in self._loops if loop.startswith("d"))
        self._edges = [edge for edge in libsumo.edge.getIDList() if not edge.startswith(":")]
        self._sums = EdgeSums()
        self._add_types([*start["types"], {"id": OBSTACLE, "length_m": OBSTACLE_M}])
        for edge in self._edges:
            libsumo.route.add(f"r{edge}", [edge])  # what a vehicle starts with, before it gets its own route
        self._time_s = 0.0
        self._steps = 0
        self._blockages = Blockages(libsumo)

    def _add_types(self, types: list[dict[str, Any]]) -> None:
        for kind in types:
            name = kind["id"]
            self._sumo.vehicletype.copy("DEFAULT_VEHTYPE", name)
            self._sumo.vehicletype.setLength(name, kind["length_m"])
            if name != OBSTACLE:
                self._sumo.vehicletype.setMaxSpeed(name, kind["speed_kmh_max"] / 3.6)
                self._sumo.vehicletype.setAccel(name, kind["accel_ms2"])

    def add(self, vehicle: dict[str, Any]) -> bool:
        """Put a vehicle on its first edge at `position_m`; False when its route has a gap or its place is nonsense.

        With `arrival_m` it leaves there on its last edge instead of at the end.
        """
        name, route, arrival_m = vehicle["id"], vehicle["route"], vehicle.get("arrival_m")
        try:
            self._sumo.vehicle.add(
                name, f"r{route[0]}", typeID=vehicle["type"], depart="now",
                departLane="best", departPos=f"{vehicle['position_m']:.1f}", departSpeed="max",
                arrivalPos="max" if arrival_m is None else f"{arrival_m:.1f}",
            )  # fmt: skip
            self._sumo.vehicle.setSpeedFactor(name, vehicle["speed_factor"])
            self._sumo.vehicle.setRoute(name, route)
        except self._sumo.TraCIException:
            with suppress(self._sumo.TraCIException):
                self._sumo.vehicle.remove(name)
            return False
        return True

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Before the steps: `add`, `block` (see sim/blocking.py), `unblock` (ids), `limits` (edge -> km/h)."""
        for name in command.get("unblock", []):
            self._blockages.take(name)
        for edge, limit_kmh in command.get("limits", {}).items():
            self._sumo.edge.setMaxSpeed(edge, limit_kmh / 3.6)
        refused = [obstacle["id"] for obstacle in command.get("block", []) if not self._blockages.put(obstacle)]
        return {"refused": refused + [vehicle["id"] for vehicle in command.get("add", []) if not self.add(vehicle)]}

    def run(self, steps: int) -> dict[str, Any]:
        """Let `steps` go by; crossings of cameras as [loop, vehicle, time_s, speed_ms, length_m] in order of time."""
        crossings: list[list[Any]] = []
        ended: list[str] = []
        for _ in range(steps):
            self._sumo.simulationStep()
            self._time_s = self._sumo.simulation.getTime()
            self._steps += 1
            ended += self._sumo.simulation.getArrivedIDList()
            rows_of = self._sumo.inductionloop.getVehicleData
            for loop in self._loops:
                if rows := rows_of(loop):
                    crossings += self._counts.step(loop, rows, self._time_s, self._step_s, self._speed_ms)
            if self._observes and self._steps % EDGES_EVERY_STEPS == 0:
                self._look_at_edges()
            self._blockages.step()
        crossings.sort(key=lambda crossing: crossing[2])
        return {
            "time_s": self._time_s,
            "crossings": crossings,
            "ended": ended,
            "running": self._sumo.vehicle.getIDCount() - self._blockages.cones().total(),
        }

    def look(self, command: dict[str, Any]) -> dict[str, Any]:
        """What is asked after the steps: `where` (ids) as [id, edge, position_m, speed_ms]; `count` takes the sums."""
        found: dict[str, Any] = {"places": [place for name in command.get("where", []) if (place := self._place(name))]}
        if command.get("count"):
            found |= {"counts": self._counts.take(), "edges": self._sums.take()}
        return found

    def _place(self, name: str) -> list[Any] | None:
        vehicle = self._sumo.vehicle
        try:
            edge = vehicle.getRoadID(name)
            return [name, edge, vehicle.getLanePosition(name), vehicle.getSpeed(name)] if edge else None
        except self._sumo.TraCIException:
            return None

    def _look_at_edges(self) -> None:
        seconds = EDGES_EVERY_STEPS * self._step_s
        standing = self._blockages.cones()
        for edge in self._edges:
            vehicles = self._sumo.edge.getLastStepVehicleNumber(edge)
            driving = vehicles - standing[edge]
            if driving > 0:
                mean_ms = max(0.0, self._sumo.edge.getLastStepMeanSpeed(edge)) * vehicles / driving
                self._sums.add(edge, driving, mean_ms, seconds)

    def _speed_ms(self, loop: str, name: str) -> float:
        try:
            return self._sumo.vehicle.getSpeed(name)
        except self._sumo.TraCIException:
            return max(0.0, self._sumo.inductionloop.getLastStepMeanSpeed(loop))

    def close(self) -> None:
        """End the simulation."""
        self._sumo.close()


def main() -> None:
    """Serve commands until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that commands decides when to end
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever SUMO prints goes to the log, not between the answers

    def answer(body: dict[str, Any]) -> None:
        answers.write(json.dumps(body) + "\n")
        answers.flush()

    serve(sys.stdin.readline, answer)


def serve(read_line: Callable[[], str], answer: Callable[[dict[str, Any]], None]) -> None:
    """The loop of `main` on given ends."""
    first = read_line()
    if not first:
        return
    engine = Engine(json.loads(first)["start"])
    answer({"ready": True})
    while line := read_line():
        command = json.loads(line)
        changed = engine.obey(command)
        answer(changed | engine.run(min(int(command["steps"]), STEPS_MAX)) | engine.look(command))
    engine.close()


if __name__ == "__main__":
    main()
