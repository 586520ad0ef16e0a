"""The keyed rules once more, for one record after another of one vehicle, as anybody would write them in plain Python.

Section speed and cloned plates over a vehicle's last 16 readings, for records in the order of event time. What the
compiled rules are held against: the same findings, and how long they take. It shares no line with them.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from traffic.limits import RING_OBSERVATIONS, SECTION_TRAVEL_MAX_S
from traffic.network import Section
from traffic.plates import ALPHABET
from traffic.vehicles.cloned_plate import CloneParameters
from traffic.vehicles.misread import ReadErrors, taken_for
from traffic.vehicles.section_speed import SectionRule
from traffic.vehicles.usual_times import UsualTimes

NEAR = 3  # readings on each side of a pair that speak of it


class Reading(NamedTuple):
    """One passage of a vehicle. `at`: microseconds."""

    at: int
    source: int
    checkpoint: int
    vehicle_class: int = 0
    body_color: int = 0


class Change(NamedTuple):
    """A finding that begins or ends to stand: what, of which reading, with which one before it."""

    rule: str
    anchor: tuple[int, ...]
    stands: bool
    before: int  # event time of the reading before; 0 where it no longer stands


class PlainSections:
    """Section speed."""

    def __init__(self, sections: Sequence[Section], rule: SectionRule) -> None:
        self._of_end: dict[int, list[tuple[int, int, float, float]]] = {}
        for section in sections:
            slowest_s = section.length_m * 3.6 / (section.limit_kmh * (1 + rule.tolerance_share))
            quickest_s = max(section.length_m * 3.6 / rule.speed_kmh_max, rule.travel_s_min)
            row = (section.id, section.from_checkpoint, quickest_s * 1e6, min(slowest_s, SECTION_TRAVEL_MAX_S) * 1e6)
            self._of_end.setdefault(section.to_checkpoint, []).append(row)

    def next(self, readings: "deque[Reading]", reading: Reading) -> list[Change]:
        """What one reading more, newer than all, changes."""
        changes = []
        for number, start, quickest_us, slowest_us in self._of_end.get(reading.checkpoint, ()):
            for earlier in reversed(readings):
                if earlier.checkpoint == reading.checkpoint:
                    break
                if earlier.checkpoint == start:
                    if quickest_us <= reading.at - earlier.at < slowest_us:
                        anchor = (number, reading.at, reading.source)
                        changes.append(Change("section_speed", anchor, True, earlier.at))
                    break
        return changes


@dataclass
class PlainClones:
    """Cloned plates."""

    usual: UsualTimes
    rule: CloneParameters
    suspects: frozenset[int] = frozenset()
    place: dict[int, int] = field(init=False)
    errors: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.place = {number: at for at, number in enumerate(self.usual.checkpoints.tolist())}
        self.median_s: list[list[list[float]]] = self.usual.median_s.tolist()
        self.spread: list[list[list[float]]] = self.usual.spread.tolist()
        self.turns = _turns(self.rule.quantile)
        errors = ReadErrors()
        self.errors = {
            right: sum(taken_for(wrong, right, errors, night=False) for wrong in ALPHABET if wrong != right)
            / (1 - errors.right_by_day)
            for right in ALPHABET
        }

    def usual_of(self, earlier: Reading, later: Reading) -> tuple[float, float] | None:
        """Median and spread of the way between two readings; None where nothing is known."""
        start, end = self.place.get(earlier.checkpoint), self.place.get(later.checkpoint)
        if start is None or end is None or start == end:
            return None
        hour = (earlier.at // 3_600_000_000 + 8) % 24
        median_s = self.median_s[hour][start][end]
        return (median_s, self.spread[hour][start][end]) if median_s > 0 else None

    def contradicts(self, earlier: Reading, later: Reading) -> bool:
        """Whether one vehicle cannot have been at both."""
        usual = self.usual_of(earlier, later)
        if usual is None:
            return False
        gap_s = (later.at - earlier.at) / 1e6 + self.rule.clock_s
        return gap_s < usual[0] * math.exp(-self.turns * usual[1])

    def told(self, plate: str, readings: Sequence[Reading], first: int = 1) -> dict[int, int]:
        """Numbers of readings, from `first` on, that are told as a clone, each with the time of the one before."""
        return {
            at: readings[at - 1].at
            for at in range(max(1, first), len(readings))
            if self.contradicts(readings[at - 1], readings[at])
            and self.probability(plate, readings, at) >= self.rule.probability_min
        }

    def probability(self, plate: str, readings: Sequence[Reading], at: int) -> float:
        """That a second vehicle bears the plate, by reading `at` and the one before it."""
        rule, earlier, later = self.rule, readings[at - 1], readings[at]
        median_s, spread = self.usual_of(earlier, later) or (math.nan, math.nan)
        for_earlier, for_later, again = 0, 0, 1.0
        for number in range(max(0, at - 1 - NEAR), min(len(readings), at + 1 + NEAR)):
            other = readings[number]
            if number < at - 1:
                against = self.contradicts(other, earlier), self.contradicts(other, later)
            elif number > at:
                against = self.contradicts(earlier, other), self.contradicts(later, other)
            else:
                continue
            if against == (False, True):
                for_earlier += 1
                again = self.driven(later, other) if number == at + 1 else again
            elif against == (True, False):
                for_later += 1
                again = self.driven(other, earlier) if number == at - 2 else again
        gap_s, window_s = (later.at - earlier.at) / 1e6, 2 * median_s + 60
        suspect = earlier.checkpoint in self.suspects or later.checkpoint in self.suspects
        clock = rule.clock_suspect_share if suspect else rule.clock_fault_share
        clock = clock * clock if for_earlier + for_later else clock
        sides = ((earlier, for_earlier), (later, for_later))
        weights = [
            rule.clone_share,
            sum(rule.misread_again**times * self.misread(plate, reading.at) for reading, times in sides),
            clock * _bell(median_s - gap_s, math.hypot(rule.clock_fault_s, spread * median_s)) * window_s,
            self.driven(earlier, later) * min(again, 1.0),
        ]
        differ = _looks_differ(earlier, later)
        if differ is not None:
            shares = (rule.looks_differ_clone, rule.looks_differ_misread, rule.looks_wrong, rule.looks_wrong)
            weights = [w * (s if differ else 1 - s) for w, s in zip(weights, shares, strict=True)]
        return weights[0] / sum(weights)

    def driven(self, earlier: Reading, later: Reading) -> float:
        """Density of the gap for one vehicle that drove it, against one anywhere in the window."""
        median_s, spread = self.usual_of(earlier, later) or (math.nan, math.nan)
        gap_s = max((later.at - earlier.at) / 1e6 + self.rule.clock_s, 0.5)
        x = math.log(gap_s / median_s)
        usual = (1 - self.rule.fast_share) * _bell(x, spread)
        fast = self.rule.fast_share * _bell(x + math.log(self.rule.fast_times), self.rule.fast_spread)
        return (usual + fast) / gap_s * (2 * median_s + 60)

    def misread(self, plate: str, at_us: int) -> float:
        """Other vehicles' misread plates that come out as this one."""
        hour = (at_us // 3_600_000_000 + 8) % 24
        right = self.rule.right_by_night if hour >= 19 or hour < 6 else self.rule.right_by_day
        return self.rule.in_use_share * (1 - right) * sum(self.errors[one] for one in plate) / len(plate)

    def next(self, plate: str, seen: "Seen", reading: Reading) -> list[Change]:
        """What one reading more, newer than all, changes; it is remembered that it contradicts the one before."""
        readings, against = seen.readings, seen.against
        against.append(bool(readings) and self.contradicts(readings[-1], reading))
        if True not in against:
            return []
        now = [*readings, reading]
        first = max(1, len(readings) - NEAR)
        before, after = self.told(plate, now[:-1], first), self.told(plate, now, first)
        return [
            Change("cloned_plate", (now[at].at, now[at].source), at in after, after.get(at, 0))
            for at in range(first, len(now))
            if (at in before) != (at in after)
        ]


class Seen:
    """One vehicle's memory: its last readings, and which of the newest contradict the one before."""

    __slots__ = ("against", "readings")

    def __init__(self) -> None:
        self.readings: deque[Reading] = deque(maxlen=RING_OBSERVATIONS)
        self.against: deque[bool] = deque(maxlen=NEAR + 1)


def _turns(quantile: float) -> float:
    """How many standard deviations below the middle so small a share lies (bisection on the normal distribution)."""
    low, high = 0.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * math.erfc(middle / math.sqrt(2)) > quantile else (low, middle)
    return low


def _bell(x: float, spread: float) -> float:
    return math.exp(-0.5 * (x / spread) ** 2) / (spread * math.sqrt(2 * math.pi))


def _looks_differ(a: Reading, b: Reading) -> bool | None:
    """Whether colour or class (its letter) differ; None where nothing can be compared."""
    told = []
    if a.body_color > 0 and b.body_color > 0:
        told.append(a.body_color != b.body_color)
    if a.vehicle_class > 0 and b.vehicle_class > 0:
        told.append(a.vehicle_class // 100 != b.vehicle_class // 100)
    return any(told) if told else None
