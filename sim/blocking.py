"""What stands on lanes in the simulation: cones that are put there, and vehicles that are held where an accident is.

Works by the simulation's own calls (`sumo`: libsumo as sim/engine.py has it), once each step.
"""

from collections import Counter
from contextlib import suppress
from typing import Any

OBSTACLE, OBSTACLE_M = "obstacle", 8.0
HELD_S = 1e6  # a stop that only its end ends
SEEN_M = 2_500.0  # so far upstream a vehicle is looked for that will be held
BRAKING_MS2 = 3.0


class Blockages:
    """Cones and holds by their ids."""

    def __init__(self, sumo: Any) -> None:  # noqa: ANN401 - a module without types
        self._sumo = sumo
        self._cones: dict[str, str] = {}  # id -> edge
        self._arriving: set[str] = set()  # cones that do not stand yet
        self._holds: dict[str, dict[str, Any]] = {}
        self._holder: dict[str, str] = {}  # id of a hold -> vehicle

    def cones(self) -> Counter[str]:
        """Cones that stand on each edge: what SUMO counts beside vehicles."""
        return Counter(edge for name, edge in self._cones.items() if name not in self._arriving)

    def put(self, obstacle: dict[str, Any]) -> bool:
        """Keys id, edge, lane (as SUMO counts), position_m; `hold`: by the next vehicle instead of a cone."""
        if obstacle.get("hold"):
            self._holds[obstacle["id"]] = obstacle
            return True
        name, edge = obstacle["id"], obstacle["edge"]
        try:
            # A cone comes as fast as those behind it and then stands: who stands at once finds no gap in dense traffic.
            self._sumo.vehicle.add(
                name, f"r{edge}", typeID=OBSTACLE, depart="now", departLane=str(obstacle["lane"]),
                departPos=f"{obstacle['position_m']:.1f}", departSpeed="max",
            )  # fmt: skip
            self._sumo.vehicle.setLaneChangeMode(name, 0)
        except self._sumo.TraCIException:
            with suppress(self._sumo.TraCIException):
                self._sumo.vehicle.remove(name)
            return False
        self._cones[name] = edge
        self._arriving.add(name)
        return True

    def take(self, name: str) -> None:
        """Take a cone away, let a held vehicle go on; unknown ids say nothing."""
        self._arriving.discard(name)
        if self._cones.pop(name, None) is not None:
            with suppress(self._sumo.TraCIException):
                self._sumo.vehicle.remove(name)
        hold, holder = self._holds.pop(name, None), self._holder.pop(name, None)
        if hold is not None and holder is not None:
            self._let_go(hold, holder)

    def step(self) -> None:
        """Cones that have come stand from now on; holds without a vehicle look for one."""
        vehicle = self._sumo.vehicle
        for name in [name for name in self._arriving if self._edge_of(name)]:
            self._arriving.discard(name)
            vehicle.setSpeedMode(name, 0)
            vehicle.setSpeed(name, 0.0)
        for name, hold in self._holds.items():
            holder = self._holder.get(name)
            if holder is None or self._edge_of(holder) != hold["edge"]:
                self._holder.pop(name, None)
                self._seize(name, hold)

    def _seize(self, name: str, hold: dict[str, Any]) -> None:
        """The first vehicle on the lane that can still stop there."""
        vehicle, taken = self._sumo.vehicle, set(self._holder.values())
        lane = f"{hold['edge']}_{hold['lane']}"
        near = []
        for candidate in self._sumo.lane.getLastStepVehicleIDs(lane):
            ahead_m = hold["position_m"] - vehicle.getLanePosition(candidate)
            if 0.0 < ahead_m < SEEN_M and candidate not in taken and candidate not in self._cones:
                near.append((ahead_m, candidate))
        for ahead_m, candidate in sorted(near):
            if ahead_m < vehicle.getSpeed(candidate) ** 2 / (2 * BRAKING_MS2):
                continue
            with suppress(self._sumo.TraCIException):
                vehicle.setStop(candidate, hold["edge"], hold["position_m"], int(hold["lane"]), HELD_S)
                self._holder[name] = candidate
                return

    def _let_go(self, hold: dict[str, Any], holder: str) -> None:
        vehicle = self._sumo.vehicle
        try:
            vehicle.resume(holder)
        except self._sumo.TraCIException:  # it has not come there yet: the stop is taken out of its way
            with suppress(self._sumo.TraCIException):
                vehicle.setStop(holder, hold["edge"], hold["position_m"], int(hold["lane"]), 0.0)

    def _edge_of(self, name: str) -> str:
        try:
            return self._sumo.vehicle.getRoadID(name)
        except self._sumo.TraCIException:
            return ""
