"""A day of a province with offences in it: who drives where, what is wrong with it, and the truth of it all.

The acts are scripted: each offender does one thing that one rule is about, beside many who do nearly the same and keep
to the rule (a rest of 25 minutes instead of 12, a stop in a service area instead of on the lane). What sensors make of
them is in `observed.py`. Pure; chance comes in as a seeded generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.journeys import Drive, Map, Stop
from traffic.buckets import SHANGHAI_US
from traffic.network import RoadsideObject
from traffic.plates import class_group, plate_key

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
REST_US = 20 * MINUTE_US
NIGHT_MIN = {"scheduled_coach": 120.0, "hazardous_goods": 120.0, "heavy_truck": 240.0}  # driven by night at most
BORDER_MIN = 6.0  # so near to a limit of driving time a finding is neither right nor wrong
CAR, LARGE = 2, 1  # plate classes of GA 24.7
OWN, NONE, PARKED = "own", "none", "parked"  # where a terminal says that it is: with the vehicle, nowhere, at the depot


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What really happened and ought to be found: `kind` as in traffic.findings, from and to in microseconds UTC.

    Not `certain`: within a few minutes of the limit, so that saying it is neither right nor wrong.
    """

    kind: str
    plate: str
    from_us: int
    to_us: int
    note: str
    certain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One vehicle's day. `registered`: its class in the registry, "" for an ordinary vehicle.

    `alarms`: (time, JT/T 808 bit) that its terminal sends by itself. `papers`: columns of the registry that differ.
    """

    plate: str
    plate_class: int
    vehicle_class: int  # GA 24.4: letter * 100 + number
    body_color: int
    drives: tuple[Drive, ...]
    registered: str = ""
    terminal: str = NONE
    alarms: tuple[tuple[int, int], ...] = ()
    papers: tuple[tuple[str, object], ...] = ()
    truths: tuple[Truth, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a script has to go by. `number` makes plates that nobody else has."""

    ground: Map
    random: np.random.Generator
    begin_us: int
    rests: Sequence[RoadsideObject]  # service areas: a stop there is no matter

    def at(self, from_h: float, to_h: float) -> int:
        """Some moment between two local hours of the day."""
        return self.begin_us + int(self.random.uniform(from_h, to_h) * HOUR_US)

    def way(self, from_km: float, to_km: float, gates: int = 2, *, after: str = "") -> tuple[str, ...]:
        """A way of such a length, from where another one ended if it is named."""
        return self.ground.route(self.random, (from_km, to_km), gates_min=gates, after=after)


Script = Callable[[Day, str], Act]
K11, K33, H11 = 1111, 1133, 811
_MARKS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I, no O


def plate(number: int) -> str:
    """A plate for the number-th vehicle: spread over all that the province can have, as a day's vehicles are."""
    spread = number * 2_654_435_761 % (9 * 34**3 * 100)
    region, rest = "ABCDEFGHJ"[spread % 9], spread // 9
    marks = "".join(_MARKS[rest // 34**place % 34] for place in range(3))
    return f"吉{region}{marks}{rest // 34**3 % 100:02d}"


# ---------------------------------------------------------------- ordinary vehicles
def ordinary(day: Day, number: str) -> Act:
    """A car that drives one to three ways and keeps to the limits, more or less."""
    at_us, drives, here = day.at(0.0, 20.0), [], ""
    for _ in range(int(day.random.integers(1, 4))):
        way = day.way(15, 180, after=here)
        here = way[-1]
        drive = day.ground.drive(way, start_us=at_us, factor=float(np.clip(day.random.normal(0.88, 0.07), 0.6, 1.05)))
        drives.append(drive)
        at_us = drive.end_us + int(day.random.uniform(0.3, 3.0) * HOUR_US)
    return Act(plate=number, plate_class=CAR, vehicle_class=K33, body_color=_color(day), drives=tuple(drives))


def hurried(day: Day, number: str) -> Act:
    """A car that is a little too fast, within what is tolerated: neither a finding nor a clone."""
    drive = day.ground.drive(day.way(40, 200), start_us=day.at(0, 21), factor=float(day.random.uniform(1.01, 1.07)))
    return Act(plate=number, plate_class=CAR, vehicle_class=K33, body_color=_color(day), drives=(drive,))


def cloned(day: Day, number: str) -> Act:
    """Two cars with one plate in different parts of the province at the same time; the second is the clone."""
    first = day.ground.drive(day.way(60, 200, 4), start_us=day.at(1, 18), factor=0.88)
    start_us = first.start_us + int(day.random.uniform(-0.3, 0.5) * HOUR_US)
    while True:
        second = day.ground.drive(day.way(60, 200, 4), start_us=start_us, factor=0.9)
        if not set(first.route) & set(second.route) and _apart_km(day, first, second) > 60.0:
            break
    truth = Truth(
        kind="cloned_plate", plate=number, from_us=min(first.start_us, second.start_us),
        to_us=max(first.end_us, second.end_us), note="two vehicles with one plate",
    )  # fmt: skip
    return Act(
        plate=number,
        plate_class=CAR,
        vehicle_class=K33,
        body_color=_color(day),
        drives=(first, second),
        truths=(truth,),
    )


def _apart_km(day: Day, first: Drive, second: Drive) -> float:
    middle = (max(first.start_us, second.start_us) + min(first.end_us, second.end_us)) // 2
    a, b = day.ground.point(first, middle), day.ground.point(second, middle)
    return float(np.hypot((a[0] - b[0]) * 81.0, (a[1] - b[1]) * 111.2))


def speeding_section(day: Day, number: str) -> Act:
    """A car that keeps 25 to 45 % over the limit from end to end, slower in front of no camera."""
    drive = day.ground.drive(
        day.way(40, 160, 3), start_us=day.at(0, 21), factor=float(day.random.uniform(1.25, 1.45)), kmh_max=180.0
    )
    truth = Truth(
        kind="section_speed", plate=number, from_us=drive.start_us, to_us=drive.end_us, note="25-45 % over the limit"
    )
    return Act(
        plate=number, plate_class=CAR, vehicle_class=K33, body_color=_color(day), drives=(drive,), truths=(truth,)
    )


# ---------------------------------------------------------------- key vehicles that keep to the rules
def rested_coach(day: Day, number: str) -> Act:
    """A coach on a long way that rests 22 to 35 minutes before its four hours are over, by day."""
    way = day.way(300, 480, 5)
    length_m = day.ground.roads.length_m(way)
    stops = [_rest(day, way, share * length_m, day.random.uniform(22, 35) * 60) for share in (0.36, 0.7)]
    drive = day.ground.drive(way, start_us=day.at(5.5, 8.5), factor=0.8, stops=stops, kmh_max=95.0)
    return _coach(day, number, (drive,), ())


def short_coach(day: Day, number: str) -> Act:
    """A scheduled coach: 60 to 150 km to and fro with breaks, between 6 and 21 o'clock."""
    at_us, drives, here = day.at(6.0, 8.0), [], ""
    for _ in range(3):
        way = day.way(60, 150, 2, after=here)
        here = way[-1]
        drive = day.ground.drive(way, start_us=at_us, factor=0.82, kmh_max=95.0)
        drives.append(drive)
        at_us = drive.end_us + int(day.random.uniform(35, 80) * MINUTE_US)
    return _coach(day, number, tuple(drives), ())


def working_lorry(day: Day, number: str) -> Act:
    """A heavy lorry that rests in service areas."""
    way = day.way(80, 240, 3)
    stop = _rest(day, way, 0.5 * day.ground.roads.length_m(way), day.random.uniform(25, 60) * 60)
    drive = day.ground.drive(way, start_us=day.at(0.0, 17.0), factor=0.75, stops=(stop,), kmh_max=88.0)
    return _lorry(day, number, (drive,), ())


# ---------------------------------------------------------------- driving time, nights
def tired_coach(day: Day, number: str) -> Act:
    """A coach that drives 4.6 hours and more by day; its breaks of 5 to 14 minutes are no rests."""
    way = day.way(390, 620, 6)
    length_m = day.ground.roads.length_m(way)
    stops = [Stop(at_m=share * length_m, for_s=day.random.uniform(5, 14) * 60) for share in (0.3, 0.62)]
    drive = day.ground.drive(way, start_us=day.at(5.6, 9.0), factor=0.8, stops=stops, kmh_max=85.0)
    return _coach(day, number, (drive,), ())


def late_coach(day: Day, number: str) -> Act:
    """A coach that drives from ten in the evening for 2.4 to 3.4 hours without a rest: too long for a night."""
    drive = day.ground.drive(day.way(190, 260, 4), start_us=day.at(22.0, 22.3), factor=0.8, kmh_max=80.0)
    return _coach(day, number, (drive,), ())


def tiredness(drives: Sequence[Drive], number: str, *, night_min: float) -> list[Truth]:
    """Driving longer than four hours, or than so many minutes of the night, without a rest of twenty minutes."""
    found = []
    for begin_us, end_us in _periods(drives):
        whole_min = (end_us - begin_us) / MINUTE_US
        over_min = max(whole_min - 240.0, _night_min(begin_us, end_us) - night_min)
        if over_min > -BORDER_MIN:
            found.append(
                Truth(
                    kind="driving_time", plate=number, from_us=begin_us, to_us=end_us, certain=over_min > BORDER_MIN,
                    note=f"{whole_min:.0f} min without a rest",
                )
            )  # fmt: skip
    return found


def _periods(drives: Sequence[Drive]) -> list[tuple[int, int]]:
    """From a rest to the next one: rests part drives, and the long stops within them."""
    moving = []
    for drive in drives:
        begin_us = drive.start_us
        for stop in np.flatnonzero((np.diff(drive.metres) == 0) & (np.diff(drive.at_us) >= REST_US)).tolist():
            moving.append((begin_us, int(drive.at_us[stop])))
            begin_us = int(drive.at_us[stop + 1])
        moving.append((begin_us, drive.end_us))
    periods = [moving[0]]
    for begin_us, end_us in moving[1:]:
        if begin_us - periods[-1][1] < REST_US:
            periods[-1] = (periods[-1][0], end_us)
        else:
            periods.append((begin_us, end_us))
    return periods


def _night_min(begin_us: int, end_us: int) -> float:
    """Minutes between 22:00 and 06:00."""
    minutes = np.arange(begin_us, end_us, MINUTE_US)
    hours = (minutes + SHANGHAI_US) // HOUR_US % 24
    return float(np.count_nonzero((hours >= 22) | (hours < 6)))


def night_coach(day: Day, number: str) -> Act:
    """A coach on the road between 2 and 5 o'clock."""
    drive = day.ground.drive(day.way(90, 160, 3), start_us=day.at(2.1, 3.4), factor=0.8, kmh_max=90.0)
    truth = Truth(
        kind="night_running", plate=number, from_us=drive.start_us, to_us=drive.end_us, note="on the road from 2 to 5"
    )
    return _coach(day, number, (drive,), (truth,), papers=(("kind", "tour_coach"),))


def airport_coach(day: Day, number: str) -> Act:
    """A coach of a fixed line to an airport, 70 km: it may drive at night."""
    drive = day.ground.drive(day.way(40, 90, 2), start_us=day.at(2.1, 3.8), factor=0.8, kmh_max=90.0)
    papers = (("route_kind", "airport"), ("route_km", 70.0))
    return _coach(day, number, (drive,), (), papers=papers)


# ---------------------------------------------------------------- hazardous goods
def tanker(day: Day, number: str) -> Act:
    """A tanker by day on its way."""
    drive = day.ground.drive(day.way(60, 200, 3), start_us=day.at(7.0, 16.0), factor=0.7, kmh_max=78.0)
    return _tanker(day, number, (drive,), ())


def night_tanker(day: Day, number: str) -> Act:
    """A tanker on an expressway between 0 and 6 o'clock, when it is banned."""
    while True:
        way = day.way(60, 160, 3)
        if all(day.ground.roads.edges[edge].limit_kmh >= 100 for edge in way):
            break
    drive = day.ground.drive(way, start_us=day.at(0.5, 3.4), factor=0.7, kmh_max=78.0)
    truth = Truth(kind="ban", plate=number, from_us=drive.start_us, to_us=drive.end_us, note="expressway, 0 to 6")
    return _tanker(day, number, (drive,), (truth,))


def lost_tanker(day: Day, number: str) -> Act:
    """A tanker that leaves the road between two checkpoints and comes to the next one hours later, its terminal off."""
    way = day.way(120, 260, 5)
    drive = day.ground.drive(way, start_us=day.at(7.0, 13.0), factor=0.7, kmh_max=78.0)
    before, after = _a_gap(drive, day)
    stop = Stop(at_m=(before + after) / 2, for_s=float(day.random.uniform(2.5, 4.0) * 3600))
    drive = day.ground.drive(way, start_us=drive.start_us, factor=0.7, stops=(stop,), kmh_max=78.0)
    truth = Truth(
        kind="overdue_arrival", plate=number, from_us=drive.when(before), to_us=drive.when(after) + 1,
        note="hours away between two checkpoints",
    )  # fmt: skip
    return _tanker(day, number, (drive,), (truth,), terminal=NONE)


def _a_gap(drive: Drive, day: Day) -> tuple[float, float]:
    """Route metres of two checkpoints that follow each other, 15 km apart at least if there are such."""
    metres = [
        begin_m + position_m
        for begin_m, edge in zip(drive.begins_m, drive.route, strict=True)
        for position_m, _, _ in day.ground.gates.get(edge, ())
    ]
    metres.sort()
    pairs = list(zip(metres, metres[1:], strict=False))
    wide = [pair for pair in pairs if pair[1] - pair[0] > 15_000] or pairs
    return wide[int(day.random.integers(0, len(wide)))]


# ---------------------------------------------------------------- by satellite position
def fast_lorry(day: Day, number: str) -> Act:
    """A lorry at 112 to 125 km/h where lorries may drive 100, for many minutes."""
    while True:
        way = day.way(60, 200, 3)
        if all(day.ground.roads.edges[edge].limit_kmh >= 120 for edge in way):
            break
    drive = day.ground.drive(way, start_us=day.at(6, 20), factor=float(day.random.uniform(0.96, 1.04)), kmh_max=125.0)
    truth = Truth(
        kind="overspeed", plate=number, from_us=drive.start_us, to_us=drive.end_us, note="over 100 km/h as a lorry"
    )
    return _lorry(day, number, (drive,), (truth,))


def stopped_coach(day: Day, number: str) -> Act:
    """A coach that stands on the lane for 25 to 60 minutes."""
    way = day.way(70, 200, 3)
    at_m = _away_from_rests(day, way)
    stop = Stop(at_m=at_m, for_s=float(day.random.uniform(25, 60) * 60), on_lane=True)
    drive = day.ground.drive(way, start_us=day.at(6, 17), factor=0.8, stops=(stop,), kmh_max=90.0)
    truth = Truth(
        kind="long_stop", plate=number, from_us=drive.when(at_m), to_us=drive.when(at_m) + int(stop.for_s * 1e6),
        note="on the lane",
    )  # fmt: skip
    return _coach(day, number, (drive,), (truth,))


def alarmed_lorry(day: Day, number: str) -> Act:
    """A lorry whose terminal calls fatigue (bit 2) for some minutes."""
    drive = day.ground.drive(day.way(80, 200, 2), start_us=day.at(2, 20), factor=0.75, kmh_max=88.0)
    at_us = int((drive.start_us + drive.end_us) / 2)
    alarms = tuple((at_us + second * 1_000_000, 2) for second in range(0, 240, 30))
    truth = Truth(kind="device_alarm", plate=number, from_us=at_us, to_us=at_us + 240_000_000, note="fatigue")
    act = _lorry(day, number, (drive,), (truth,))
    return replace(act, alarms=alarms)


def unplugged_lorry(day: Day, number: str) -> Act:
    """A lorry whose terminal lies at the depot and says so, while cameras see the vehicle far away."""
    drive = day.ground.drive(day.way(120, 300, 4), start_us=day.at(5, 17), factor=0.75, kmh_max=88.0)
    truth = Truth(
        kind="position_mismatch", plate=number, from_us=drive.start_us, to_us=drive.end_us, note="terminal at the depot"
    )
    return replace(_lorry(day, number, (drive,), (truth,)), terminal=PARKED)


# ---------------------------------------------------------------- papers
def overdue(day: Day, number: str) -> Act:
    """A lorry whose inspection ran out months ago."""
    return _with_papers(day, number, "overdue_inspection", (("inspection_until_us", day.begin_us - 90 * 24 * HOUR_US),))


def scrapped(day: Day, number: str) -> Act:
    """A lorry that was scrapped."""
    return _with_papers(day, number, "scrapped", (("state", "scrapped"),))


def falsely_registered(day: Day, number: str) -> Act:
    """A lorry whose registration was false."""
    return _with_papers(day, number, "false_registered", (("state", "false_registered"),))


def _with_papers(day: Day, number: str, condition: str, papers: tuple[tuple[str, object], ...]) -> Act:
    drive = day.ground.drive(day.way(60, 220, 3), start_us=day.at(1, 20), factor=0.75, kmh_max=88.0)
    truth = Truth(kind="registry_state", plate=number, from_us=drive.start_us, to_us=drive.end_us, note=condition)
    return replace(_lorry(day, number, (drive,), (truth,)), papers=papers)


# ---------------------------------------------------------------- pieces
def _coach(
    day: Day, number: str, drives: tuple[Drive, ...], truths: tuple[Truth, ...],
    papers: tuple[tuple[str, object], ...] = (),
) -> Act:  # fmt: skip
    return Act(
        plate=number, plate_class=LARGE, vehicle_class=K11, body_color=_color(day), drives=drives,
        registered="scheduled_coach", terminal=OWN, papers=papers, truths=truths,
    )  # fmt: skip


def _lorry(day: Day, number: str, drives: tuple[Drive, ...], truths: tuple[Truth, ...]) -> Act:
    return Act(
        plate=number, plate_class=LARGE, vehicle_class=H11, body_color=_color(day), drives=drives,
        registered="heavy_truck", terminal=OWN, truths=truths,
    )  # fmt: skip


def _tanker(day: Day, number: str, drives: tuple[Drive, ...], truths: tuple[Truth, ...], terminal: str = OWN) -> Act:
    return Act(
        plate=number, plate_class=LARGE, vehicle_class=H11, body_color=_color(day), drives=drives,
        registered="hazardous_goods", terminal=terminal, truths=truths,
    )  # fmt: skip


def _color(day: Day) -> int:
    return int(day.random.integers(1, 10))


def _rest(day: Day, way: Sequence[str], near_m: float, for_s: float) -> Stop:
    """A stop in the service area nearest to a place of the way; where there is none, at that place."""
    places = _rest_places(day, way)
    at_m = min(places, key=lambda metres: abs(metres - near_m), default=near_m)
    return Stop(at_m=at_m if abs(at_m - near_m) < 40_000 else near_m, for_s=for_s)


def _rest_places(day: Day, way: Sequence[str]) -> list[float]:
    found, begin_m = [], 0.0
    for edge in way:
        link = day.ground.places.links[edge]
        for area in day.rests:
            if area.road_id == link.road_id:
                spot = day.ground.places.spot(area.road_id, area.stake_m, link.direction)
                if spot is not None and spot.edge == edge:
                    found.append(begin_m + spot.position_m)
        begin_m += day.ground.roads.edges[edge].length_m
    return found


def _away_from_rests(day: Day, way: Sequence[str]) -> float:
    """A place of the way 3 km and more from each service area."""
    places, length_m = _rest_places(day, way), day.ground.roads.length_m(way)
    while True:
        at_m = float(day.random.uniform(0.2, 0.8) * length_m)
        if all(abs(at_m - place) > 3_000 for place in places):
            return at_m


SCRIPTS: dict[str, Script] = {
    "ordinary": ordinary,
    "hurried": hurried,
    "cloned": cloned,
    "speeding_section": speeding_section,
    "rested_coach": rested_coach,
    "short_coach": short_coach,
    "working_lorry": working_lorry,
    "tired_coach": tired_coach,
    "late_coach": late_coach,
    "night_coach": night_coach,
    "airport_coach": airport_coach,
    "tanker": tanker,
    "night_tanker": night_tanker,
    "lost_tanker": lost_tanker,
    "fast_lorry": fast_lorry,
    "stopped_coach": stopped_coach,
    "alarmed_lorry": alarmed_lorry,
    "unplugged_lorry": unplugged_lorry,
    "overdue": overdue,
    "scrapped": scrapped,
    "falsely_registered": falsely_registered,
}


def perform(day: Day, counts: dict[str, int], *, first: int = 0) -> Iterator[Act]:
    """So many acts of each script, each by a vehicle of its own; vehicles are numbered from `first`."""
    number = first
    for name, count in counts.items():
        script = SCRIPTS[name]
        for _ in range(count):
            act = script(day, plate(number))
            night_min = NIGHT_MIN.get(act.registered)
            tired = tiredness(act.drives, act.plate, night_min=night_min) if night_min and act.terminal == OWN else []
            yield replace(act, truths=(*act.truths, *tired))
            number += 1


def vehicle_key_of(act: Act) -> int:
    """Plate key << 3 | class group."""
    return plate_key(act.plate) << 3 | class_group(act.plate_class)
