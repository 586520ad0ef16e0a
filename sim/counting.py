"""What loops and edges of the simulation count, folded step by step. Pure: rows of SUMO in, sums out."""

from collections.abc import Callable, Iterable
from typing import Any

HEAVY_M = 9.0  # a vehicle this long is a heavy one to a detector
LoopRow = tuple[str, float, float, float, str]  # vehicle, length_m, entered_s, left_s (-1: still on it), type


class LoopCounts:
    """Fronts that came onto loops, each told once; and of the counted loops the sums since they were last taken.

    `counted`: loops whose sums are kept; of the others each crossing is told.
    """

    def __init__(self, counted: Iterable[str]) -> None:
        self._counted = frozenset(counted)
        self._on: dict[str, set[tuple[str, float]]] = {}
        self._sums: dict[str, list[float]] = {}

    def step(
        self, loop: str, rows: Iterable[LoopRow], now_s: float, step_s: float, speed_ms: Callable[[str, str], float]
    ) -> list[list[Any]]:
        """One loop in one step: crossings as [loop, vehicle, time_s, speed_ms, length_m].

        A loop without a vehicle need not be told: who was on it comes onto it at another time, if ever.
        """
        before = self._on.get(loop, ())
        now_on, crossings = set(), []
        for name, length_m, entered_s, left_s, _ in rows:
            key = (name, entered_s)
            if left_s < 0:
                now_on.add(key)
            is_new = key not in before
            if loop in self._counted:
                on_s = (left_s if left_s >= 0 else now_s) - max(entered_s, now_s - step_s)
                self._add(loop, is_new, length_m, speed_ms(loop, name) if is_new else 0.0, max(0.0, on_s))
            elif is_new:
                crossings.append([loop, name, entered_s, speed_ms(loop, name), length_m])
        if now_on:
            self._on[loop] = now_on
        else:
            self._on.pop(loop, None)
        return crossings

    def _add(self, loop: str, is_new: bool, length_m: float, speed_ms: float, on_s: float) -> None:
        sums = self._sums.setdefault(loop, [0.0, 0.0, 0.0, 0.0])
        sums[2] += on_s
        if is_new:
            sums[0] += 1
            sums[1] += length_m > HEAVY_M
            sums[3] += speed_ms

    def take(self) -> list[list[Any]]:
        """[loop, vehicles, heavy, seconds with a vehicle on it, sum of speeds in m/s] of loops that had some."""
        taken = [[loop, int(sums[0]), int(sums[1]), sums[2], sums[3]] for loop, sums in self._sums.items()]
        self._sums = {}
        return taken


class EdgeSums:
    """Vehicle-seconds and vehicle-metres of each edge (Edie's definitions: speed is metres by seconds)."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, edge: str, vehicles: int, mean_ms: float, seconds: float) -> None:
        """So many vehicles at such a mean speed, for so long."""
        sums = self._sums.setdefault(edge, [0.0, 0.0])
        sums[0] += vehicles * seconds
        sums[1] += vehicles * mean_ms * seconds

    def take(self) -> list[list[Any]]:
        """[edge, vehicle-seconds, vehicle-metres] since the last time."""
        taken = [[edge, *sums] for edge, sums in self._sums.items()]
        self._sums = {}
        return taken
