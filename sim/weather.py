"""Snow, rain and fog that go over the province: a plan by the calendar, what stations report of it, how it slows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sim.demand import DAY_US, HOUR_US, day_begin_us, local_day
from sim.instants import rfc3339
from traffic.geo import Point, distance_m
from traffic.network import STAKES_INCREASE, Link, Road, stake_text

SEED = 43
SNOW, RAIN, FOG = "snow", "rain", "fog"
REPORT_EVERY_US = 5 * 60_000_000
VALID_US = 12 * 60_000_000
REACH = (122.0, 131.0, 41.2, 46.0)  # west, east, south, north: where fronts are born
RADIUS_KM = (30.0, 80.0)
DRIFT_KMH = (8.0, 30.0)
RAMP_SHARE = 0.2  # of its time a front grows, and so long it fades
KM_DEGREE = 111.2
WEAK = 0.08  # below it nobody notices


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A round patch of weather that drifts, grows and fades."""

    id: str
    kind: str
    lon: float
    lat: float
    east_kmh: float
    north_kmh: float
    radius_km: float
    from_us: int
    to_us: int
    strongest: float  # 0..1

    def strength(self, now_us: int) -> float:
        """0 outside of its time, `strongest` in the middle of it."""
        share = (now_us - self.from_us) / (self.to_us - self.from_us)
        if not 0.0 <= share <= 1.0:
            return 0.0
        return self.strongest * min(1.0, share / RAMP_SHARE, (1.0 - share) / RAMP_SHARE)

    def centre(self, now_us: int) -> Point:
        """Where it is."""
        hours = (now_us - self.from_us) / HOUR_US
        north = self.north_kmh * hours / KM_DEGREE
        east = self.east_kmh * hours / KM_DEGREE / math.cos(math.radians(self.lat))
        return self.lon + east, self.lat + north


class Almanac:
    """The fronts of every day, as the calendar has them, and those that a script adds."""

    def __init__(self) -> None:
        self._days: dict[date, list[Front]] = {}
        self._added: list[Front] = []

    def add(self, front: Front) -> None:
        """A front out of the script."""
        self._added.append(front)

    def now(self, now_us: int) -> list[Front]:
        """Fronts that can be noticed."""
        today = local_day(now_us)
        fronts = [*self._added, *self._of(today - timedelta(days=1)), *self._of(today)]
        return [front for front in fronts if front.strength(now_us) > WEAK]

    def between(self, begin_us: int, end_us: int) -> list[Front]:
        """Those of a span of days (without the script's)."""
        first, days = local_day(begin_us) - timedelta(days=1), (end_us - begin_us) // DAY_US + 3
        fronts = [front for offset in range(days) for front in plan(first + timedelta(days=offset))]
        return [front for front in fronts if front.from_us < end_us and front.to_us > begin_us]

    def _of(self, day: date) -> list[Front]:
        if day not in self._days:
            self._days = {kept: fronts for kept, fronts in self._days.items() if abs((kept - day).days) <= 2}
            self._days[day] = plan(day)
        return self._days[day]


def plan(day: date) -> list[Front]:
    """The fronts that are born on a day."""
    random = np.random.default_rng([SEED, day.toordinal()])
    found = []
    for number in range(int(random.integers(3, 7))):
        hour = float(random.uniform(0.0, 24.0))
        found.append(_born(f"{day:%Y%m%d}-{number}", day, hour, kind_of(day.month, hour, random), random))
    return found


def kind_of(month: int, hour: float, random: np.random.Generator) -> str:
    """Fog at dawn; snow from November to March, rain else."""
    if 2.0 <= hour <= 7.0 and random.random() < 0.6:
        return FOG
    return SNOW if month >= 11 or month <= 3 else RAIN


def _born(name: str, day: date, hour: float, kind: str, random: np.random.Generator) -> Front:
    speed_kmh, course = random.uniform(*DRIFT_KMH), random.uniform(0.0, 2.0 * math.pi)
    from_us = day_begin_us(day) + round(hour * HOUR_US)
    return Front(
        id=name,
        kind=kind,
        lon=float(random.uniform(*REACH[:2])),
        lat=float(random.uniform(*REACH[2:])),
        east_kmh=float(speed_kmh * math.cos(course)) * (0.3 if kind == FOG else 1.0),
        north_kmh=float(speed_kmh * math.sin(course)) * (0.3 if kind == FOG else 1.0),
        radius_km=float(random.uniform(*RADIUS_KM)),
        from_us=from_us,
        to_us=from_us + round(float(random.uniform(1.5, 5.0)) * HOUR_US),
        strongest=float(random.uniform(0.35, 1.0)),
    )


def visibility_m(kind: str, strength: float) -> int:
    """What a station measures."""
    if kind == FOG:
        return round(900.0 * (1.0 - strength) ** 2 + 45.0)
    if kind == SNOW:
        return round(2_500 - 2_150 * strength)
    return round(6_000 - 4_000 * strength)


def slowed(kind: str, strength: float) -> float:
    """What is left of a usual speed: snow slows most, fog below 200 m as the norm has it (60 km/h, 40, 20)."""
    if kind == SNOW:
        return 1.0 - 0.42 * strength
    if kind == RAIN:
        return 1.0 - 0.14 * strength
    seen_m = visibility_m(FOG, strength)
    return 0.4 if seen_m < 50 else 0.5 if seen_m < 100 else 0.6 if seen_m < 200 else 0.9


class Sky:
    """Which links lie under which front, and what is reported of it."""

    def __init__(self, links: Sequence[Link], roads: Sequence[Road]) -> None:
        self._links = links
        self._codes = {road.id: road.code for road in roads}
        self._points = [(link.geometry[0], link.geometry[len(link.geometry) // 2], link.geometry[-1]) for link in links]

    def under(self, front: Front, now_us: int) -> list[Link]:
        """Links that a front reaches now."""
        centre, radius_m = front.centre(now_us), front.radius_km * 1e3
        return [
            link
            for link, points in zip(self._links, self._points, strict=True)
            if any(distance_m(point, centre) <= radius_m for point in points)
        ]

    def factors(self, fronts: Iterable[Front], now_us: int) -> dict[str, float]:
        """Edge -> what is left of its speed, of the worst front over it; edges in good weather are not named."""
        found: dict[str, float] = {}
        for front in fronts:
            factor = slowed(front.kind, front.strength(now_us))
            for link in self.under(front, now_us):
                found[str(link.id)] = min(factor, found.get(str(link.id), 1.0))
        return found

    def records(self, front: Front, now_us: int) -> list[dict[str, object]]:
        """One report for each unbroken stretch of each road under a front, as the native door takes it."""
        under = [link for link in self.under(front, now_us) if link.direction == STAKES_INCREASE]
        under.sort(key=lambda link: (link.road_id, link.piece, link.from_stake_m))
        stretches: list[list[Link]] = []
        for link in under:
            last = stretches[-1][-1] if stretches else None
            if last and (last.road_id, last.piece, last.to_node) == (link.road_id, link.piece, link.from_node):
                stretches[-1].append(link)
            else:
                stretches.append([link])
        return [self._record(front, stretch, now_us) for stretch in stretches]

    def _record(self, front: Front, stretch: list[Link], now_us: int) -> dict[str, object]:
        strength, kind = front.strength(now_us), front.kind
        record: dict[str, object] = {
            "station": f"QX-{self._codes[stretch[0].road_id]}-{stretch[0].from_stake_m // 1000}",
            "observed_at": rfc3339(now_us),
            "valid_to": rfc3339(now_us + VALID_US),
            "road": self._codes[stretch[0].road_id],
            "from_stake": stake_text(stretch[0].from_stake_m),
            "to_stake": stake_text(stretch[-1].to_stake_m),
            "visibility_m": visibility_m(kind, strength),
            "precipitation": "none" if kind == FOG else kind,
            "wind_ms": round(math.hypot(front.east_kmh, front.north_kmh) / 3.6 + 1.0, 1),
            "temperature_c": {SNOW: -6.0, RAIN: 12.0, FOG: -1.0}[kind],
            "surface": {SNOW: "snow" if strength > 0.4 else "wet", RAIN: "wet", FOG: "wet"}[kind],
        }
        if kind != FOG:
            record["intensity_mm_h"] = round((2.5 if kind == SNOW else 9.0) * strength, 1)
        return record
