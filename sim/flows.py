"""Steady streams through busy stretches: vehicles come in at one end and leave at the other. Pure.

Where a stretch is blocked they go on coming in, as on a real road: a closed round of vehicles would run dry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.places import Places
from traffic.network import Link, Road

WAITING_MAX = 400  # of one stream beyond those that its free speed explains: a jam to its begin lets nobody in
USUAL_FACTOR = 0.9  # what drivers make of a limit, trucks among them
END_M = 30.0

# Road code, from stake, to stake (metres), vehicles per hour and direction in the busiest hour.
STRETCHES = (
    ("G1", 962_000, 1_014_000, 1_800.0),
    ("G102", 955_000, 1_010_000, 1_000.0),
    ("G302", 470_000, 505_000, 500.0),
    ("G0102", 0, 100_000, 700.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One direction of a stretch."""

    route: tuple[str, ...]
    enter_m: float
    leave_m: float
    per_h: float
    free_s: float  # from end to end at usual speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One vehicle of a stream: what is left of its way."""

    stream: int
    route: tuple[str, ...]
    position_m: float
    arrival_m: float


def streams_of(roads: Sequence[Road], places: Places) -> list[Stream]:
    """The streams of STRETCHES as far as this network has them."""
    ids = {road.code: road.id for road in roads}
    found = []
    for code, low_m, high_m, per_h in STRETCHES:
        for direction in (1, 2):
            links = places.between(ids.get(code, -1), low_m, high_m, direction)
            stream = _stream(links, (low_m, high_m), per_h)
            if stream is not None:
                found.append(stream)
    return found


def _stream(links: list[Link], span: tuple[int, int], per_h: float) -> Stream | None:
    if not links or any(a.to_node != b.from_node for a, b in zip(links, links[1:], strict=False)):
        return None
    enter_m, leave_m = _cut(links[0], span)[0], _cut(links[-1], span)[1]
    lengths = [link.length_m for link in links]
    lengths[0] -= round(enter_m)
    lengths[-1] -= round(links[-1].length_m - leave_m)
    free_s = sum(length / (link.limit_kmh / 3.6 * USUAL_FACTOR) for length, link in zip(lengths, links, strict=True))
    return Stream(
        route=tuple(str(link.id) for link in links), enter_m=enter_m, leave_m=leave_m, per_h=per_h, free_s=free_s
    )


def _cut(link: Link, span: tuple[int, int]) -> tuple[float, float]:
    """Where on a link a stretch begins and ends, in the direction of travel."""
    low, high = sorted((link.from_stake_m, link.to_stake_m))
    ends = [(min(max(stake, low), high) - link.from_stake_m) for stake in span]
    first, last = sorted(abs(end) * link.length_m / max(1, high - low) for end in ends)
    return max(END_M, first), min(link.length_m - END_M, last)


class Flows:
    """Who enters when, by a seeded generator."""

    def __init__(self, streams: Sequence[Stream], lengths_m: dict[str, int], random: np.random.Generator) -> None:
        self.streams = streams
        self._lengths_m = lengths_m
        self._random = random
        self._next_s = [0.0] * len(streams)
        self._on = [0] * len(streams)

    def begin(self, share: float) -> list[Entry]:
        """The vehicles that are on the stretches at the begin, evenly strewn."""
        found = []
        for number, stream in enumerate(self.streams):
            count = round(stream.per_h * share * stream.free_s / 3600.0)
            for place in np.sort(self._random.uniform(0.0, 1.0, count)):
                found.append(self._entry(number, float(place)))
            self._next_s[number] = self._gap_s(number, share)
        return found

    def due(self, now_s: float, share: float) -> list[Entry]:
        """Those who come in up to now, simulated time."""
        found = []
        for number, stream in enumerate(self.streams):
            usual = stream.per_h * share * stream.free_s / 3600.0
            while self._next_s[number] <= now_s:
                self._next_s[number] += self._gap_s(number, share)
                if self._on[number] < usual * 1.5 + WAITING_MAX:
                    found.append(self._entry(number, 0.0))
        return found

    def left(self, stream: int) -> None:
        """A vehicle of a stream has come to its end."""
        self._on[stream] -= 1

    def _gap_s(self, number: int, share: float) -> float:
        return float(self._random.exponential(3600.0 / max(1.0, self.streams[number].per_h * share)))

    def _entry(self, number: int, share: float) -> Entry:
        self._on[number] += 1
        stream = self.streams[number]
        position_m = stream.enter_m
        total_m = sum(self._lengths_m[edge] for edge in stream.route[:-1]) + stream.leave_m - stream.enter_m
        position_m += share * max(0.0, total_m - 2 * END_M)
        first = 0
        while first < len(stream.route) - 1 and position_m >= self._lengths_m[stream.route[first]] - 1.0:
            position_m = max(1.0, position_m - self._lengths_m[stream.route[first]])
            first += 1
        return Entry(stream=number, route=stream.route[first:], position_m=position_m, arrival_m=stream.leave_m)
