"""The only module that touches libsumo: a simulation in a process of its own, commanded by lines of JSON.

    python -m sim.engine

Standard input: first {"start": {...}}, then {"add": [...], "steps": n} as often as wanted; end of input ends it.
Standard output: one line for each, {"ready": ...} or {"time_s", "crossings", "ended", "refused", "running"}.
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

MEMORY_BYTES_MAX = 3 * 1024**3
STEPS_MAX = 3_600  # of one command


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
                "--no-warnings", "true", "--time-to-teleport", "120", "--default.speeddev", "0",
                "--xml-validation", "never",
            ]
        )  # fmt: skip
        self._loops = libsumo.inductionloop.getIDList()
        self._add_types(start["types"])
        for edge in libsumo.edge.getIDList():
            if not edge.startswith(":"):
                libsumo.route.add(f"r{edge}", [edge])  # what a vehicle starts with, before it gets its own route
        self._time_s = 0.0
        self._on_loops: set[tuple[str, str, float]] = set()

    def _add_types(self, types: list[dict[str, Any]]) -> None:
        for kind in types:
            name = kind["id"]
            self._sumo.vehicletype.copy("DEFAULT_VEHTYPE", name)
            self._sumo.vehicletype.setLength(name, kind["length_m"])
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

    def run(self, steps: int) -> dict[str, Any]:
        """Let `steps` go by; crossings as [loop, vehicle, time_s, speed_ms, length_m] in the order of time."""
        crossings: list[list[Any]] = []
        ended: list[str] = []
        for _ in range(steps):
            self._sumo.simulationStep()
            self._time_s = self._sumo.simulation.getTime()
            ended += self._sumo.simulation.getArrivedIDList()
            crossings += self._crossings()
        crossings.sort(key=lambda crossing: crossing[2])
        return {
            "time_s": self._time_s,
            "crossings": crossings,
            "ended": ended,
            "running": self._sumo.vehicle.getIDCount(),
        }

    def _crossings(self) -> list[list[Any]]:
        """Fronts that came onto a loop in the last step: a vehicle that still stands there is told once."""
        found, now_on = [], set()
        for loop in self._loops:
            for name, length_m, entered_s, _, _ in self._sumo.inductionloop.getVehicleData(loop):
                now_on.add((loop, name, entered_s))
                if (loop, name, entered_s) not in self._on_loops:
                    found.append([loop, name, entered_s, self._speed_ms(loop, name), length_m])
        self._on_loops = now_on
        return found

    def _speed_ms(self, loop: str, name: str) -> float:
        try:
            return self._sumo.vehicle.getSpeed(name)
        except self._sumo.TraCIException:
            return self._sumo.inductionloop.getLastStepMeanSpeed(loop)

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
        refused = [vehicle["id"] for vehicle in command.get("add", []) if not engine.add(vehicle)]
        answer(engine.run(min(int(command["steps"]), STEPS_MAX)) | {"refused": refused})
    engine.close()


if __name__ == "__main__":
    main()
