"""What the roads' detectors send during a chaos run, from a seed alone: told again, late, otherwise. Pure."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from traffic.limits import CYCLE_S

DETECTORS_MAX = 40
RECORDS_OF_REQUEST = 16
REPEATED_SHARE, DELAYED_SHARE, AMENDED_SHARE = 0.2, 0.1, 0.1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Interval = tuple[int, int, int]  # detector, lane, end in microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A detector as a sender knows it."""

    id: int
    code: str
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One lane's half minute; `number` counts half minutes since the run's start."""

    point: Point
    lane: int
    number: int
    vehicles: int
    heavy: int
    occupancy: float
    speed_kmh: float

    def end_us(self, base_us: int) -> int:
        """When the interval ended."""
        return base_us + self.number * CYCLE_S * 1_000_000

    def record(self, base_us: int) -> dict[str, object]:
        """As the door takes it."""
        return {
            "detector": self.point.code,
            "lane": self.lane,
            "observed_at": (_EPOCH + timedelta(microseconds=self.end_us(base_us))).isoformat(),
            "vehicles": self.vehicles,
            "heavy": self.heavy,
            "occupancy": self.occupancy,
            "speed_kmh": self.speed_kmh,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """One body. `after`: number of a request that must be acknowledged before."""

    number: int
    due_s: float
    reports: tuple[Report, ...]
    after: int | None = None

    def body(self, base_us: int) -> bytes:
        """The JSON array to send."""
        return json.dumps([report.record(base_us) for report in self.reports]).encode()


def make_reports(seed: int, points: list[Point], *, length_s: float, rate: float) -> list[ReportRequest]:
    """Every detector speaks each half minute of the instance's time, which runs `rate` times as fast as the plan's."""
    chance = np.random.default_rng([seed, 3])
    requests: list[ReportRequest] = []
    every_s = CYCLE_S / rate
    for number in range(1, int(length_s / every_s) + 1):
        reports = [_report(chance, point, lane, number) for point in points for lane in range(1, point.lanes + 1)]
        chance.shuffle(reports)  # type: ignore[arg-type]
        for start in range(0, len(reports), RECORDS_OF_REQUEST):
            part = tuple(reports[start : start + RECORDS_OF_REQUEST])
            late_s = every_s if chance.random() < DELAYED_SHARE else 0.0
            due_s = number * every_s + late_s + float(chance.uniform(0.1, 0.9)) * every_s
            _add(requests, part, due_s, chance)
    return requests


def _report(chance: np.random.Generator, point: Point, lane: int, number: int) -> Report:
    slow = point.id % 5 == 0 and number > 2
    return Report(
        point=point,
        lane=lane,
        number=number,
        vehicles=int(chance.integers(2, 25)),
        heavy=int(chance.integers(0, 3)),
        occupancy=round(float(chance.uniform(40, 70) if slow else chance.uniform(3, 12)), 1),
        speed_kmh=round(float(chance.uniform(5, 20) if slow else chance.uniform(70, 110)), 1),
    )


def _add(requests: list[ReportRequest], part: tuple[Report, ...], due_s: float, chance: np.random.Generator) -> None:
    first = ReportRequest(number=len(requests), due_s=due_s, reports=part)
    requests.append(first)
    draw = chance.random()
    if draw < AMENDED_SHARE:
        told = tuple(replace(report, vehicles=report.vehicles + 30) for report in part)
        requests.append(ReportRequest(number=len(requests), due_s=due_s + 0.5, reports=told, after=first.number))
    elif draw < AMENDED_SHARE + REPEATED_SHARE:
        requests.append(ReportRequest(number=len(requests), due_s=due_s + float(chance.choice([0, 0.3])), reports=part))


def expected_reports(requests: list[ReportRequest], base_us: int) -> dict[Interval, tuple[Report, int]]:
    """What must be stored of each interval: as it was told last, and under which revision."""
    found: dict[Interval, tuple[Report, int]] = {}
    for request in sorted(requests, key=lambda request: (request.after is not None, request.number)):
        for report in request.reports:
            key = (report.point.id, report.lane, report.end_us(base_us))
            found[key] = (report, int(request.after is not None))
    return found
