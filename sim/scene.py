"""What happens on the roads of the demonstration, and when: a script for the begin, then by seeded chance. Pure.

Within some minutes each of the demonstration's logins has a jam, an accident, works, weather and a failed sensor in
its area; afterwards things go on changing calmly, all over the province.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sim.accidents import Accident, Accidents, Obstacles, accident_at, behind
from sim.demand import local_day
from sim.faults import CHECKPOINT, DETECTOR, LOCKED_ON, LOW_READ_RATE, SILENT, Fault, Faults
from sim.places import Places, Spot
from sim.weather import FOG, RAIN, REPORT_EVERY_US, SNOW, Almanac, Front, Sky
from sim.works import Calendar, Work, cones
from traffic.network import Checkpoint, Detector, Link
from traffic.province_tables import Province

SECOND_US = 1_000_000
SAID_AFTER_S = 60.0  # until someone tells the police of an accident and a crew sets out
FRONT_RADIUS_KM = 45.0
FRONT_US = 3_000 * SECOND_US
LIMITS_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The area of one of the demonstration's logins; `detectors` with the busiest first, no two on one edge."""

    unit: int
    links: Sequence[Link]
    detectors: Sequence[Detector]
    checkpoints: Sequence[Checkpoint]

    @property
    def accident_detectors(self) -> list[Detector]:
        """The busiest two that do not stand at one place: they see the script's accidents."""
        first = self.detectors[:1]
        others = [one for one in self.detectors if first and (one.road_id, one.stake_m) != _stand(first[0])]
        return [*first, *others[:1]]


def _stand(detector: Detector) -> tuple[int, int]:
    return detector.road_id, detector.stake_m


@dataclass(slots=True, kw_only=True)
class Change:
    """What is different from now on. `facts` are for the truth file."""

    block: list[dict[str, object]] = field(default_factory=list)
    unblock: list[str] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    weather: list[dict[str, object]] = field(default_factory=list)
    works: list[dict[str, object]] = field(default_factory=list)
    facts: list[dict[str, object]] = field(default_factory=list)


def zone_of(province: Province, unit: int, below: frozenset[int], busy: dict[str, float]) -> Zone:
    """The area of a unit and all below it."""
    ranked = sorted(
        (detector for detector in province.detectors if detector.unit_id in below),
        key=lambda detector: -busy.get(str(detector.link_id), 0.0),
    )
    of_link: dict[int, Detector] = {}
    for detector in ranked:
        of_link.setdefault(detector.link_id, detector)
    return Zone(
        unit=unit,
        links=[link for link in province.links if link.unit_id in below],
        detectors=list(of_link.values()),
        checkpoints=[gate for gate in province.checkpoints if gate.unit_id in below],
    )


class Scene:
    """Accidents, works, weather and faults of now. `turn` says what changes."""

    def __init__(
        self, province: Province, zones: Sequence[Zone], busy: dict[str, float], obstacles: Obstacles, *, seed: int
    ) -> None:  # fmt: skip
        self._places = Places(province.links)
        self._zones = zones
        self._codes = {road.id: road.code for road in province.roads}
        self._obstacles = obstacles
        self._random = np.random.default_rng([seed, 7])
        near = [(detector.id, detector.lanes) for zone in zones for detector in zone.detectors]
        self.accidents = Accidents(
            province.links, province.detectors, busy, np.random.default_rng([seed, 11])
        )  # fmt: skip
        self.faults = Faults(
            [(detector.id, detector.lanes) for detector in province.detectors],
            [gate.id for gate in province.checkpoints], np.random.default_rng([seed, 13]), near=near,
        )  # fmt: skip
        self.almanac = Almanac()
        self._sky = Sky(province.links, province.roads)
        self._calendar = Calendar(province.links, province.roads, [zone.links for zone in zones])
        self._extra_works: list[Work] = []
        self._said_works: dict[str, str] = {}
        self._said_weather_us: dict[str, int] = {}
        self._said: set[str] = set()
        self._limits: dict[str, float] = {}
        self._limits_due_s = 0.0

    def begin(self, now_s: float, live_s: float, live_us: int) -> None:
        """The script: it starts now; `live_s` and `live_us` are when the cameras begin to look."""
        for number, zone in enumerate(self._zones):
            self._script_accidents(zone, now_s, live_s)
            self._script_faults(zone, live_s)
            self._script_works(zone, live_us, number)
        self._script_weather(live_us)

    def turn(self, now_s: float, now_us: int, share: float) -> Change:
        """Everything that changes up to now; `share` of the busiest hour is on the roads."""
        change = Change()
        new, over = self.accidents.turn(now_s, share)
        change.facts += [self._fact("accident_over", accident, now_us) for accident in over]
        for accident in self.accidents.open:
            if accident.from_s <= now_s and accident.id not in self._said:
                self._said.add(accident.id)
                change.facts.append(self._fact("accident", accident, now_us))
        began, ended = self.faults.turn(now_s)
        for fault in [*self.faults.active]:
            name = f"{fault.sensor_kind}-{fault.sensor}-{fault.lane}-{fault.from_s:.0f}"
            if fault.holds(now_s) and name not in self._said:
                self._said.add(name)
                change.facts.append(_fault_fact("fault", fault, now_us))
        change.facts += [_fault_fact("fault_over", fault, now_us) for fault in ended]
        works = self._works(now_us)
        self._say_works(works, now_us, change)
        self._move(works, now_s, now_us, change)
        if now_s >= self._limits_due_s:
            self._limits_due_s = now_s + LIMITS_EVERY_S
            self._blow(now_us, change)
        return change

    def refused(self, names: Sequence[str]) -> None:
        """Obstacles that found no place are tried again."""
        self._obstacles.refused(names)

    def slowed(self, edge: str) -> float:
        """What the weather has left of an edge's limit, as a share."""
        limit_kmh = self._places.links[edge].limit_kmh
        return self._limits.get(edge, limit_kmh) / limit_kmh

    def reported(self, now_s: float) -> dict[str, Spot]:
        """Accidents that the police know of."""
        return {
            accident.id: Spot(edge=accident.edge, position_m=accident.position_m)
            for accident in self.accidents.open
            if accident.from_s + SAID_AFTER_S <= now_s
        }

    def end(self, now_us: int) -> list[dict[str, object]]:
        """What has to be said of works that nobody will see any more: those of the script."""
        return [work.record(now_us) | {"state": "ended"} for work in self._extra_works if work.to_us > now_us]

    # ---------------------------------------------------------------- the script
    def _script_accidents(self, zone: Zone, now_s: float, live_s: float) -> None:
        """One before the cameras look, so that its jam is there; one some minutes later, so that its begin is seen."""
        spans = ((now_s, live_s + 900.0, 50.0), (live_s + 150.0, live_s + 1_050.0, 70.0))
        for number, ((from_s, to_s, away_m), detector) in enumerate(zip(spans, zone.accident_detectors, strict=False)):
            spot = behind(detector, self._places, away_m)
            if spot is not None:
                name = f"script-{zone.unit}-{number}"
                self.accidents.add(accident_at(name, spot, detector.lanes, (from_s, to_s)))

    def _script_faults(self, zone: Zone, live_s: float) -> None:
        spare = [detector for detector in zone.detectors if detector not in zone.accident_detectors]
        for detector, kind, lane, from_s in zip(
            spare, (LOCKED_ON, SILENT), (1, 0), (live_s, live_s + 60.0), strict=False
        ):
            self.faults.add(
                Fault(
                    kind=kind, sensor_kind=DETECTOR, sensor=detector.id, lane=lane, from_s=from_s, to_s=from_s + 2_400.0
                )
            )
        if zone.checkpoints:
            gate = zone.checkpoints[len(zone.checkpoints) // 2].id
            self.faults.add(_dirty_camera(gate, live_s + 120.0))

    def _script_works(self, zone: Zone, live_us: int, number: int) -> None:
        taken = {detector.link_id for detector in zone.accident_detectors}
        free = [link for link in zone.links if link.id not in taken and link.lanes > 1 and link.length_m > 3_000]
        if free:
            begin_us = live_us + 240 * SECOND_US
            span = (begin_us, begin_us + 2_700 * SECOND_US)
            code = f"SG-T{live_us // (60 * SECOND_US)}-{number + 1}"
            self._extra_works.append(
                self._calendar.make(code, free[int(self._random.integers(len(free)))], span, self._random)
            )

    def _script_weather(self, live_us: int) -> None:
        """A front over the first zone, unless there is one already."""
        own = {link.id for zone in self._zones for link in zone.links}
        soon_us = live_us + 300 * SECOND_US
        if not own or any(
            own & {link.id for link in self._sky.under(front, soon_us)} for front in self.almanac.now(soon_us)
        ):
            return
        edges = [detector.link_id for zone in self._zones for detector in zone.detectors]
        lon, lat = self._places.point(str(edges[0] if edges else min(own)), 0.0)[0]
        month = local_day(live_us).month
        kind = SNOW if month >= 11 or month <= 3 else RAIN if 6 <= month <= 8 else FOG
        self.almanac.add(
            Front(
                id=f"script-{live_us // (60 * SECOND_US)}", kind=kind, lon=lon, lat=lat, east_kmh=12.0, north_kmh=6.0,
                radius_km=FRONT_RADIUS_KM, from_us=live_us - 60 * SECOND_US, to_us=live_us + FRONT_US, strongest=0.7,
            )
        )  # fmt: skip

    # ---------------------------------------------------------------- what follows from it
    def _works(self, now_us: int) -> list[Work]:
        self._extra_works = [work for work in self._extra_works if work.to_us > now_us - 60 * SECOND_US]
        return [*self._calendar.known(now_us), *(work for work in self._extra_works if work.to_us > now_us)]

    def _say_works(self, works: Sequence[Work], now_us: int, change: Change) -> None:
        """Each work when it is entered, when it begins and when it ends."""
        states = {work.code: work for work in works}
        for work in works:
            if self._said_works.get(work.code) != work.state(now_us):
                self._said_works[work.code] = work.state(now_us)
                change.works.append(work.record(now_us))
                change.facts.append(_works_fact(work, now_us))
        for code in [code for code in self._said_works if code not in states]:
            del self._said_works[code]

    def _move(self, works: Sequence[Work], now_s: float, now_us: int, change: Change) -> None:
        wanted: dict[str, tuple[str, int, float]] = {}
        for accident in self.accidents.open:
            for lane in accident.blocked(now_s):
                wanted[f"o-{accident.id}-{lane}"] = (accident.edge, lane, accident.position_m)
        holds = frozenset(wanted)
        for work in works:
            if work.state(now_us) == "active":
                for lane, place_m in cones(work, self._places.links[work.edge]):
                    wanted[f"w-{work.code}-{lane}-{place_m:.0f}"] = (work.edge, lane, place_m)
        put, change.unblock = self._obstacles.move(wanted, holds=holds)
        change.block = [obstacle.command() for obstacle in put]

    def _blow(self, now_us: int, change: Change) -> None:
        """Fronts slow what lies under them, and stations report them."""
        fronts = self.almanac.now(now_us)
        limits = {
            edge: round(self._places.links[edge].limit_kmh * factor, 1)
            for edge, factor in self._sky.factors(fronts, now_us).items()
        }
        for edge in {*limits, *self._limits}:
            limit = limits.get(edge, float(self._places.links[edge].limit_kmh))
            if abs(limit - self._limits.get(edge, self._places.links[edge].limit_kmh)) >= 1.0:
                change.limits[edge] = limit
        self._limits = {**self._limits, **change.limits}
        for front in fronts:
            if now_us - self._said_weather_us.get(front.id, 0) >= REPORT_EVERY_US:
                self._said_weather_us[front.id] = now_us
                records = self._sky.records(front, now_us)
                change.weather += records
                strength = round(front.strength(now_us), 2)
                change.facts.append(
                    {"fact": "front", "at": now_us, "id": front.id, "kind": front.kind, "strength": strength}
                )

    def _fact(self, name: str, accident: Accident, now_us: int) -> dict[str, object]:
        link = self._places.links[accident.edge]
        return {
            "fact": name, "at": now_us, "id": accident.id, "link": link.id, "road": self._codes[link.road_id],
            "direction": link.direction, "stake_m": self._places.stake_m(accident.edge, accident.position_m),
            "lanes": list(accident.lanes), "seconds": round(accident.to_s - accident.from_s),
        }  # fmt: skip


def _dirty_camera(gate: int, from_s: float) -> Fault:
    return Fault(
        kind=LOW_READ_RATE, sensor_kind=CHECKPOINT, sensor=gate, lane=0, from_s=from_s, to_s=from_s + 2_580.0
    )  # fmt: skip


def _works_fact(work: Work, now_us: int) -> dict[str, object]:
    return {"fact": "works", "at": now_us, "code": work.code, "link": int(work.edge), "from_stake_m": work.low_m,
            "to_stake_m": work.high_m, "lanes": list(work.lanes_closed), "state": work.state(now_us)}  # fmt: skip


def _fault_fact(name: str, fault: Fault, now_us: int) -> dict[str, object]:
    return {"fact": name, "at": now_us, "kind": fault.kind, "sensor_kind": fault.sensor_kind, "sensor": fault.sensor,
            "lane": fault.lane, "seconds": round(fault.to_s - fault.from_s)}  # fmt: skip
