"""Driving time once more in plain Python, for passages in the order of event time (see `plain_rules`)."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from traffic.vehicles.keyed.driving_time import DrivingParameters
from traffic.vehicles.usual_times import UsualTimes

NIGHT_FROM_H, NIGHT_H = 22, 8
FAR_S, NOISE_M, KMH_MAX, QUICK_TURNS = 600.0, 40.0, 200.0, 3.09
DETOUR, USUAL_KMH, QUICK_KMH = 1.2, 75.0, 110.0
METRES, RADIANS = 111_194.926644, math.pi / 180.0
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


class Passage(NamedTuple):
    """One passage of a key vehicle. `at`: microseconds; degrees to six places."""

    at: int
    checkpoint: int
    lon: float
    lat: float


@dataclass(slots=True)
class Driver:
    """What is remembered of one key vehicle."""

    last: Passage | None = None
    begun: int = 0  # event time of the period's first passage; 0: none
    ended: int = 0
    driven_s: float = 0.0
    night_s: float = 0.0
    idle_s: float = 0.0
    exceeded: frozenset[str] = frozenset()
    steps: int = 0
    periods: list[tuple[float, float, float]] = field(default_factory=list)  # from, to, driven (s)


class PlainDriving:
    """The rule over usual times."""

    def __init__(self, usual: UsualTimes, rule: DrivingParameters) -> None:
        self.rule = rule
        self.place = {number: at for at, number in enumerate(usual.checkpoints.tolist())}
        self.median_s: list[list[list[float]]] = usual.median_s.tolist()
        self.spread: list[list[list[float]]] = usual.spread.tolist()

    def next(self, driver: Driver, now: Passage) -> tuple[int, frozenset[str]] | None:
        """One passage more, newer than all: (begin of the driving, limits exceeded) where that is told now."""
        before, driver.last = driver.last, now
        if before is None:
            self._begin(driver, now)
            return None
        gap_s, away_m = (now.at - before.at) / 1e6, _apart_m(before, now)
        if gap_s <= 0 or away_m > 1_000 + gap_s * KMH_MAX / 3.6:
            return None
        if not self._moved(gap_s, away_m):
            driver.idle_s += gap_s
            return self._close(driver, 0.0) if driver.idle_s >= self.rule.rest_min * 60 else None
        way_s, least_s = self._way_s(before, now, away_m)
        if driver.idle_s + gap_s - way_s >= self.rule.rest_min * 60:
            if not driver.begun:
                self._begin(driver, before)
            driver.ended = max(driver.ended, before.at)
            told = self._close(driver, min(least_s, gap_s))
            self._begin(driver, now)
            return told
        if not driver.begun:
            self._begin(driver, before)
        driver.idle_s = 0.0
        driver.driven_s += gap_s
        driver.night_s += gap_s * _night_share(before.at, now.at)
        driver.ended = now.at
        return self._look(driver, now)

    def _moved(self, gap_s: float, away_m: float) -> bool:
        return away_m - NOISE_M >= self.rule.moving_kmh / 3.6 * gap_s or (gap_s <= FAR_S and away_m > 0)

    def _begin(self, driver: Driver, first: Passage) -> None:
        driver.begun = driver.ended = first.at
        driver.driven_s = driver.night_s = driver.idle_s = 0.0
        driver.exceeded, driver.steps = frozenset(), 0

    def _close(self, driver: Driver, more_s: float) -> tuple[int, frozenset[str]] | None:
        """A rest: the period is over."""
        told = (driver.begun, driver.exceeded) if driver.begun and driver.exceeded else None
        if driver.begun and driver.driven_s + more_s >= 60:
            driver.periods.append((driver.begun / 1e6, driver.ended / 1e6 + more_s, driver.driven_s + more_s))
            del driver.periods[:-56]
        if driver.begun:
            driver.driven_s = driver.night_s = 0.0
            driver.exceeded, driver.steps = frozenset(), 0
        driver.begun, driver.idle_s = 0, 0.0
        return told

    def _look(self, driver: Driver, now: Passage) -> tuple[int, frozenset[str]] | None:
        """Whether a limit is passed that was not, or the next step behind one."""
        rule, found = self.rule, set(driver.exceeded)
        if driver.driven_s > rule.day_limit_min * 60:
            found.add("continuous")
        if driver.night_s > rule.night_limit_min * 60:
            found.add("night")
        if driver.driven_s + sum(p[2] for p in driver.periods) > rule.limit_24h_min * 60:
            if self._sum(driver, now, 86_400.0) > rule.limit_24h_min * 60:
                found.add("24h")
            if self._sum(driver, now, 604_800.0) > rule.limit_7d_min * 60:
                found.add("7d")
        steps = int(driver.driven_s / (rule.step_min * 60))
        if not found or (found == driver.exceeded and steps <= driver.steps):
            return None
        driver.exceeded, driver.steps = frozenset(found), steps
        return driver.begun, driver.exceeded

    @staticmethod
    def _sum(driver: Driver, now: Passage, window_s: float) -> float:
        """Seconds driven in the window that ends now; of a period that reaches into it, its share by time."""
        start_s = now.at / 1e6 - window_s
        own_s = (driver.ended - driver.begun) / 1e6
        total = driver.driven_s * (min(own_s, driver.ended / 1e6 - start_s) / own_s if own_s > 0 else 1.0)
        for begin, end, driven_s in driver.periods:
            if end > start_s:
                total += driven_s * min(1.0, (end - max(begin, start_s)) / max(end - begin, 1.0))
        return total

    def _way_s(self, a: Passage, b: Passage, away_m: float) -> tuple[float, float]:
        """(usual, least) seconds from one passage to the next."""
        i, j = self.place.get(a.checkpoint), self.place.get(b.checkpoint)
        if i is not None and j is not None and i != j:
            hour = (a.at // HOUR_US + 8) % 24
            median_s = self.median_s[hour][i][j]
            if median_s == median_s:
                return median_s, median_s * math.exp(-QUICK_TURNS * self.spread[hour][i][j])
        return away_m * DETOUR / (USUAL_KMH / 3.6), away_m / (QUICK_KMH / 3.6)


def _apart_m(a: Passage, b: Passage) -> float:
    north = (b.lat - a.lat) * METRES
    east = (b.lon - a.lon) * METRES * math.cos((a.lat + b.lat) * 0.5 * RADIANS)
    return math.sqrt(north * north + east * east)


def _night_share(from_us: int, to_us: int) -> float:
    """Which part of a time lies between 22:00 and 06:00 local."""
    if to_us <= from_us:
        return 0.0
    first = (from_us + (8 - NIGHT_FROM_H) * HOUR_US) // DAY_US * DAY_US - (8 - NIGHT_FROM_H) * HOUR_US
    night = 0
    while first < to_us:
        night += max(0, min(to_us, first + NIGHT_H * HOUR_US) - max(from_us, first))
        first += DAY_US
    return night / (to_us - from_us)
