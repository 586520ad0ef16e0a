"""Road works of the demonstration: a plan that the calendar alone decides, so that a new start finds the same ones.

Weekly works hold all the time, so that each lively unit always has one; those of a day or a night come and go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sim.demand import DAY_US, HOUR_US, day_begin_us, local_day
from sim.instants import rfc3339
from traffic.network import STAKES_INCREASE, Link, Road, stake_text

SEED = 41
PLANNED_AHEAD_US = 6 * HOUR_US  # so long before its begin a work is entered
KINDS = ("路面养护", "护栏维修", "桥梁检测", "标线施划", "隧道检修", "绿化作业")
LENGTH_M = (600, 1_800)
MARGIN_M = 400  # from the ends of a link
CONE_EVERY_M = 300.0  # so that nobody drives on in a closed lane
# (name, weekday of begin or None: every day, begin hour, hours, works in the province, works of each lively unit)
_SERIES = (
    ("A", 0, 6.0, 167.0, 4, 1),
    ("B", 3, 6.0, 167.0, 4, 1),
    ("D", None, 9.0, 7.0, 5, 0),
    ("N", None, 21.0, 8.0, 3, 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Lanes of one stretch closed for a time. `low_m` < `high_m`; lanes are counted from the median."""

    code: str
    edge: str
    road: str
    direction: int
    low_m: int
    high_m: int
    lanes_closed: tuple[int, ...]
    from_us: int
    to_us: int
    kind: str

    def state(self, now_us: int) -> str:
        """planned, active or ended."""
        return "planned" if now_us < self.from_us else "active" if now_us < self.to_us else "ended"

    def record(self, now_us: int) -> dict[str, object]:
        """As the native door takes it."""
        return {
            "code": self.code,
            "observed_at": rfc3339(now_us),
            "road": self.road,
            "from_stake": stake_text(self.low_m),
            "to_stake": stake_text(self.high_m),
            "direction": self.direction,
            "lanes_closed": list(self.lanes_closed),
            "from_at": rfc3339(self.from_us),
            "to_at": rfc3339(self.to_us),
            "kind": self.kind,
            "contact": "养护中心值班 0431-0000000",
            "state": self.state(now_us),
        }


class Calendar:
    """The plan. `lively`: for each unit whose screens must always show one, the links to choose from."""

    def __init__(self, links: Sequence[Link], roads: Sequence[Road], lively: Sequence[Sequence[Link]]) -> None:
        self._codes = {road.id: road.code for road in roads}
        self._pools = [_fitting(links), *(_fitting(own) for own in lively)]
        self._days: dict[date, list[Work]] = {}

    def known(self, now_us: int) -> list[Work]:
        """Works that hold now or will within PLANNED_AHEAD_US, in the order of their codes."""
        today = local_day(now_us)
        days = [today + timedelta(days=offset) for offset in range(-8, 2)]
        for day in [day for day in self._days if day < days[0]]:
            del self._days[day]
        found = [work for day in days for work in self._begun(day)]
        return sorted(
            (work for work in found if work.from_us - PLANNED_AHEAD_US <= now_us < work.to_us),
            key=lambda work: work.code,
        )

    def between(self, begin_us: int, end_us: int) -> list[Work]:
        """Works that hold at some time of a span."""
        days = (end_us - begin_us) // DAY_US + 10
        first = local_day(begin_us) - timedelta(days=8)
        found = [work for offset in range(days) for work in self._begun(first + timedelta(days=offset))]
        return [work for work in found if work.from_us < end_us and work.to_us > begin_us]

    def _begun(self, day: date) -> list[Work]:
        if day not in self._days:
            self._days[day] = self._plan(day)
        return self._days[day]

    def _plan(self, day: date) -> list[Work]:
        random = np.random.default_rng([SEED, day.toordinal()])
        found: list[Work] = []
        for name, weekday, hour, hours, many, each in _SERIES:
            if weekday is not None and day.weekday() != weekday:
                continue
            for number, pool in enumerate(self._pools):
                for _ in range(each if number else many):
                    if pool:
                        code = f"SG-{day:%Y%m%d}-{name}{len(found) + 1:02d}"
                        from_us = day_begin_us(day) + round(hour * HOUR_US)
                        span = (from_us, from_us + round(hours * HOUR_US))
                        found.append(self.make(code, pool[int(random.integers(len(pool)))], span, random))
        return found

    def make(self, code: str, link: Link, span_us: tuple[int, int], random: np.random.Generator) -> Work:
        """A work somewhere on a link."""
        low, high = sorted((link.from_stake_m, link.to_stake_m))
        length_m = min(int(random.integers(*LENGTH_M)), (high - low) // 3)
        begin_m = int(random.integers(low + MARGIN_M, max(low + MARGIN_M + 1, high - MARGIN_M - length_m)))
        return Work(
            code=code,
            edge=str(link.id),
            road=self._codes[link.road_id],
            direction=link.direction,
            low_m=begin_m // 100 * 100,
            high_m=(begin_m + length_m) // 100 * 100,
            lanes_closed=(1,) if random.random() < 0.5 else (link.lanes,),
            from_us=span_us[0],
            to_us=span_us[1],
            kind=KINDS[int(random.integers(len(KINDS)))],
        )


def cones(work: Work, link: Link) -> list[tuple[int, float]]:
    """Where the closed lanes are barred: (lane from the median, metres from the link's begin)."""
    low, high = sorted((link.from_stake_m, link.to_stake_m))
    scale = link.length_m / max(1, high - low)
    up = link.direction == STAKES_INCREASE
    begin_m = (work.low_m - low if up else high - work.high_m) * scale
    end_m = begin_m + (work.high_m - work.low_m) * scale
    places = np.arange(begin_m, max(end_m, begin_m + 1.0), CONE_EVERY_M)
    return [(lane, float(place)) for lane in work.lanes_closed for place in places]


def _fitting(links: Sequence[Link]) -> list[Link]:
    """Only where a lane stays open."""
    return [link for link in links if link.lanes >= 2 and link.length_m > 6 * MARGIN_M]
