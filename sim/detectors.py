"""What detectors report of an interval: counts of loops with the errors of their kind. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.instants import rfc3339
from sim.loops import DetectorLoop
from traffic.network import Detector

PERIOD_S = 30
LOOP_M = 2.0  # a real loop is no line: it is occupied this much longer than a vehicle's own length
MISSED = {"loop": 0.004, "radar": 0.015, "video": 0.02}  # share of vehicles that a kind of detector does not see
SPEED_ERROR = {"loop": 0.02, "radar": 0.01, "video": 0.03}  # of a mean speed, one standard deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One lane in one interval. `observed_us`: its end; `speed_kmh` None: no vehicle."""

    detector: int
    lane: int
    observed_us: int
    vehicles: int
    heavy: int
    occupancy: float
    speed_kmh: float | None
    fault: bool = False


class Observer:
    """Makes reports of counts, by a seeded generator."""

    def __init__(
        self, detectors: Sequence[Detector], loops: Sequence[DetectorLoop], random: np.random.Generator
    ) -> None:
        self._kind = {detector.id: detector.kind for detector in detectors}
        self._code = {detector.id: detector.code for detector in detectors}
        self._loops = sorted(loops, key=lambda loop: (loop.detector, loop.lane))
        self._random = random

    def reports(
        self, counts: Sequence[tuple[str, int, int, float, float]], observed_us: int, period_s: float = PERIOD_S
    ) -> list[Report]:
        """Every lane of every detector, also those that saw nobody; `counts` as of `engine_process.Stretch`."""
        of_loop = {loop: rest for loop, *rest in counts}
        return [
            self._report(loop, of_loop.get(loop.id, (0, 0, 0.0, 0.0)), observed_us, period_s) for loop in self._loops
        ]

    def _report(self, loop: DetectorLoop, sums: Sequence[float], observed_us: int, period_s: float) -> Report:
        vehicles, heavy, on_s, speeds_ms = int(sums[0]), int(sums[1]), sums[2], sums[3]
        kind = self._kind[loop.detector]
        mean_ms = speeds_ms / vehicles if vehicles else 0.0
        if vehicles:
            on_s += vehicles * LOOP_M / max(1.0, mean_ms)
            seen = vehicles - int(self._random.binomial(vehicles, MISSED[kind]))
            heavy = min(heavy, seen)
            vehicles = seen
        speed_kmh = mean_ms * 3.6 * float(self._random.normal(1.0, SPEED_ERROR[kind])) if vehicles else None
        return Report(
            detector=loop.detector,
            lane=loop.lane,
            observed_us=observed_us,
            vehicles=vehicles,
            heavy=heavy,
            occupancy=round(min(100.0, on_s / period_s * 100.0), 1),
            speed_kmh=None if speed_kmh is None else round(max(0.0, speed_kmh), 1),
        )

    def records(self, reports: Sequence[Report]) -> list[dict[str, object]]:
        """As the native door takes them."""
        found: list[dict[str, object]] = []
        for report in reports:
            record: dict[str, object] = {
                "detector": self._code[report.detector],
                "lane": report.lane,
                "observed_at": rfc3339(report.observed_us),
                "period_s": PERIOD_S,
                "vehicles": report.vehicles,
                "heavy": report.heavy,
                "occupancy": report.occupancy,
            }
            if report.speed_kmh is not None:
                record["speed_kmh"] = report.speed_kmh
            if report.fault:
                record["fault"] = True
            found.append(record)
        return found
