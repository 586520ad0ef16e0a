"""How sensors fail in the demonstration: which one, how, from when to when; and what a failing one says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.detectors import Report

# Of detectors (one lane, or lane 0: the whole point).
SILENT, CHATTER, LOCKED_ON, NO_CHANGE, SPIKE, CLOCK_SKEW, SELF_REPORTED = (
    "silent", "chatter", "locked_on", "no_change", "spike", "clock_skew", "self_reported",
)  # fmt: skip
LOW_READ_RATE = "low_read_rate"  # of checkpoints: most plates cannot be read
DETECTOR_FAULTS = (SILENT, CHATTER, LOCKED_ON, NO_CHANGE, SPIKE, CLOCK_SKEW, SELF_REPORTED)
DETECTOR, CHECKPOINT = "detector", "checkpoint"
SKEW_S = 75.0  # a clock that is so far behind
UNREADABLE_SHARE = 0.6  # of a dirty camera
SPIKE_SHARE = 0.25  # of the intervals of a sensor that spikes
NEXT_S = 420.0  # mean time between two faults in the province, beside those of the begin
LASTS_S = (600.0, 2_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One sensor that fails for a time (simulated seconds). `lane` 0: all lanes."""

    kind: str
    sensor_kind: str
    sensor: int
    lane: int
    from_s: float
    to_s: float

    def holds(self, now_s: float) -> bool:
        """Whether it fails now."""
        return self.from_s <= now_s < self.to_s


class Faults:
    """The faults of now, and the next one by a seeded generator. `near`: detectors that fail more often than others."""

    def __init__(
        self, detectors: Sequence[tuple[int, int]], checkpoints: Sequence[int], random: np.random.Generator,
        *, near: Sequence[tuple[int, int]] = (),
    ) -> None:  # fmt: skip
        self._detectors = detectors
        self._checkpoints = checkpoints
        self._near = near or detectors
        self._random = random
        self._due_s = NEXT_S
        self._made = 0
        self._frozen: dict[tuple[int, int], Report] = {}
        self.active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """A fault out of the script."""
        self.active.append(fault)

    def turn(self, now_s: float) -> tuple[list[Fault], list[Fault]]:
        """(faults that begin, faults that end) up to now."""
        ended = [fault for fault in self.active if fault.to_s <= now_s]
        self.active = [fault for fault in self.active if fault.to_s > now_s]
        began = []
        while self._due_s <= now_s and self._detectors:
            self._due_s += float(self._random.exponential(NEXT_S))
            began.append(self._next(now_s))
        self.active += began
        for fault in ended:
            self._frozen.pop((fault.sensor, fault.lane), None)
        return began, ended

    def _next(self, now_s: float) -> Fault:
        """One kind after the other, so that a demonstration shows them all."""
        to_s = now_s + float(self._random.uniform(*LASTS_S))
        kind = (*DETECTOR_FAULTS, LOW_READ_RATE)[self._made % (len(DETECTOR_FAULTS) + 1)]
        self._made += 1
        if kind == LOW_READ_RATE and self._checkpoints:
            gate = self._checkpoints[int(self._random.integers(len(self._checkpoints)))]
            return Fault(kind=kind, sensor_kind=CHECKPOINT, sensor=gate, lane=0, from_s=now_s, to_s=to_s)
        kind = SILENT if kind == LOW_READ_RATE else kind
        pool = self._near if self._made % 3 == 0 else self._detectors
        sensor, lanes = pool[int(self._random.integers(len(pool)))]
        whole = kind in (SILENT, CLOCK_SKEW, SELF_REPORTED)
        lane = 0 if whole else int(self._random.integers(1, lanes + 1))
        return Fault(kind=kind, sensor_kind=DETECTOR, sensor=sensor, lane=lane, from_s=now_s, to_s=to_s)

    def said(self, reports: Sequence[Report], now_s: float) -> list[Report]:
        """The reports of one interval as the sensors send them."""
        faulty: Mapping[tuple[int, int], Fault] = {
            (fault.sensor, fault.lane): fault
            for fault in self.active
            if fault.sensor_kind == DETECTOR and fault.holds(now_s)
        }
        if not faulty:
            return list(reports)
        found = []
        for report in reports:
            fault = faulty.get((report.detector, report.lane)) or faulty.get((report.detector, 0))
            said = self._said(report, fault) if fault else report
            if said is not None:
                found.append(said)
        return found

    def _said(self, report: Report, fault: Fault) -> Report | None:
        match fault.kind:
            case "silent":
                return None
            case "chatter":
                vehicles = int(self._random.integers(25, 60))
                return replace(report, vehicles=vehicles, heavy=0, occupancy=float(self._random.uniform(0.5, 3.0)))
            case "locked_on":
                return replace(report, vehicles=0, heavy=0, occupancy=100.0, speed_kmh=None)
            case "no_change":
                shown = self._frozen.setdefault((fault.sensor, fault.lane), _some(report))
                return replace(shown, observed_us=report.observed_us)
            case "spike":
                if self._random.random() >= SPIKE_SHARE:
                    return report
                return replace(report, occupancy=float(self._random.uniform(80.0, 100.0)), speed_kmh=240.0, vehicles=1)
            case "clock_skew":
                return replace(report, observed_us=report.observed_us - round(SKEW_S * 1e6))
            case "self_reported":
                return replace(report, vehicles=0, heavy=0, occupancy=0.0, speed_kmh=None, fault=True)
        return report

    def unreadable(self, checkpoint: int, now_s: float) -> bool:
        """Whether a dirty camera misses the plate of this vehicle."""
        dirty = any(
            fault.sensor_kind == CHECKPOINT and fault.sensor == checkpoint and fault.holds(now_s)
            for fault in self.active
        )
        return dirty and bool(self._random.random() < UNREADABLE_SHARE)


def _some(report: Report) -> Report:
    """What a frozen sensor goes on saying: never nothing, else it would only be quiet."""
    return report if report.vehicles else replace(report, vehicles=3, heavy=0, occupancy=2.5, speed_kmh=83.0)
