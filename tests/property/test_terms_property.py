"""Schedules, stretches, patterns and fences over columns against a person's slow reading of the same words."""

import fnmatch
from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from tests.rulekit import ground, rule
from traffic.clock import SHANGHAI
from traffic.errors import SettingsError
from traffic.plates import plate_key
from traffic.positions import PLACE
from traffic.vehicles.areas import parse_fence
from traffic.vehicles.plate_patterns import parse_patterns
from traffic.vehicles.schedule import Holidays, parse_schedule
from traffic.vehicles.stretches import parse_stretches

MONDAY = date(2026, 2, 9)  # the week before the spring festival and the weeks behind it
HOURS = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda pair: pair[0] != pair[1] % 1440)
SCHEDULES = st.fixed_dictionaries(
    {},
    optional={
        "hours": st.lists(HOURS, max_size=3),
        "weekdays": st.lists(st.integers(1, 7), max_size=7),
        "holidays": st.sampled_from(["any", "only", "except"]),
        "from": st.integers(0, 25).map(lambda day: MONDAY + timedelta(days=day)),
    },
)
CALENDARS = st.dictionaries(
    st.integers(-2, 30).map(lambda day: MONDAY + timedelta(days=day)), st.sampled_from(["holiday", "working"])
)


def spelt(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def good_day(day: date, said: dict, calendar: dict) -> bool:
    """Whether hours that begin on this day count, as a person would read it."""
    weekdays = said.get("weekdays") or range(1, 8)
    good = day.isoweekday() in weekdays
    holidays = said.get("holidays", "any")
    if holidays == "only":
        good = good and calendar.get(day) == "holiday"
    if holidays == "except":
        if calendar.get(day) == "working":
            good = any(weekday <= 5 for weekday in weekdays)
        good = good and calendar.get(day) != "holiday"
    return good and day >= said.get("from", day)


def covers(moment: datetime, said: dict, calendar: dict) -> bool:
    local = moment.astimezone(SHANGHAI)
    minute = local.hour * 60 + local.minute
    for begin, end in said.get("hours") or [(0, 1440)]:
        if begin < end:
            if begin <= minute < end and good_day(local.date(), said, calendar):
                return True
        elif minute >= begin and good_day(local.date(), said, calendar):
            return True
        elif minute < end and good_day(local.date() - timedelta(days=1), said, calendar):
            return True
    return False


@settings(max_examples=150)
@given(said=SCHEDULES, calendar=CALENDARS, seconds=st.lists(st.integers(0, 28 * 86_400), min_size=1, max_size=60))
def test_a_schedule_covers_what_a_person_reads_out_of_it(said, calendar, seconds):
    written = {**said, "hours": [[spelt(begin), spelt(end)] for begin, end in said.get("hours", [])]}
    if "from" in said:
        written["from"] = said["from"].isoformat()
    schedule = parse_schedule("schedule", written)
    start = datetime(2026, 2, 8, 16, tzinfo=UTC)  # midnight of Monday in China
    moments = [start + timedelta(seconds=second) for second in seconds]
    times_us = np.array([int(moment.timestamp()) * 1_000_000 for moment in moments])
    found = schedule.in_force(times_us, Holidays.of(calendar.items()))
    assert found.tolist() == [covers(moment, said, calendar) for moment in moments]


STRETCHES = st.lists(
    st.tuples(st.sampled_from(["G1", "G12"]), st.integers(0, 60), st.integers(0, 60), st.integers(0, 2)).filter(
        lambda stretch: stretch[1] <= stretch[2]
    ),
    min_size=1,
    max_size=4,
)
PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 2)), min_size=1, max_size=30)


@given(stretches=STRETCHES, places=PLACES)
def test_a_place_lies_on_a_stretch_of_its_road_between_its_stakes_in_its_direction(stretches, places):
    numbers = {"G1": 1, "G12": 2}
    said = [
        {"road": road, "from_stake_m": begin, "to_stake_m": end, "direction": direction}
        for road, begin, end, direction in stretches
    ]
    rows = np.zeros(len(places), PLACE)
    for number, (road, stake, direction) in enumerate(places):
        rows[number]["road"], rows[number]["stake_m"], rows[number]["direction"] = road, stake, direction
    found = parse_stretches("scope.roads", said, numbers).hold(rows)
    assert found.tolist() == [
        any(
            numbers[name] == road and begin <= stake <= end and (way == 0 or direction in (0, way))
            for name, begin, end, way in stretches
        )
        for road, stake, direction in places
    ]


LETTERS = "吉辽AB12警挂"
TEXTS = st.text(LETTERS, min_size=1, max_size=8)


@given(
    patterns=st.lists(st.text(LETTERS + "*?", min_size=1, max_size=9), min_size=1, max_size=4),
    plates=st.lists(TEXTS, min_size=1, max_size=20),
)
def test_patterns_of_plates_fit_as_they_do_in_a_folder(patterns, plates):
    good = []
    for pattern in patterns:
        try:
            parse_patterns("plates", [pattern])
            good.append(pattern)
        except SettingsError:
            assert pattern.count("*") > 1 or not pattern.strip("*?") or len(pattern.replace("*", "")) > 8
    found = parse_patterns("plates", good).match(np.array([plate_key(plate) for plate in plates]))
    assert found.tolist() == [any(fnmatch.fnmatchcase(plate, pattern) for pattern in good) for plate in plates]


CORNERS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=9, unique=True)


@given(corners=CORNERS, points=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=40))
def test_a_point_is_inside_a_fence_as_geometry_has_it(corners, points):
    outline = Polygon(corners)
    if not outline.is_valid or outline.area == 0:
        return
    ring = [[125 + x / 100, 43 + y / 100] for x, y in corners]
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    fence = parse_fence({"id": 1, "code": "F", "name": "F", "kind": "forbidden", "unit_id": 1, "shape": shape})
    # Halves lie on no border of whole corners in general; what does is left out.
    asked = [(x / 2 + 0.13, y / 2 + 0.17) for x, y in points]
    asked = [point for point in asked if outline.boundary.distance(Point(point)) > 1e-6]
    lon, lat = (np.array([at[axis] for at in asked]) / 100 + (125, 43)[axis] for axis in (0, 1))
    assert fence.inside(lon, lat).tolist() == [outline.contains(Point(point)) for point in asked]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["hours", "weekdays", "holidays", "kinds", "roads", "permits", "units", "plates_like", "from"])


@settings(max_examples=200)
@given(
    scope=st.dictionaries(NAMES, JSON, max_size=3), schedule=st.dictionaries(NAMES, JSON, max_size=3),
    exemptions=st.dictionaries(NAMES, JSON, max_size=3), parameters=st.dictionaries(NAMES, JSON, max_size=2),
)  # fmt: skip
def test_whatever_people_write_is_followed_or_refused_in_one_sentence(scope, schedule, exemptions, parameters):
    try:
        rule(on=ground(), scope=scope, schedule=schedule, exemptions=exemptions, parameters=parameters)
    except SettingsError as error:
        assert str(error).startswith("rule ") and "\n" not in str(error).strip()[:200] and len(str(error)) < 1_000
