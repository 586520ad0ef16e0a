"""Weather, works and failed sensors as events, told as moments in time."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stretches import START_US, link, road, sensors_at, straight
from traffic.errors import SettingsError
from traffic.road_readings import RoadWork, WeatherReport
from traffic.roads import hazards
from traffic.roads.hazards import HazardRule, Memory
from traffic.roads.model import HealthChange, RoadEvent, RoadNetwork, SensorKind, build_network
from traffic.roads.weather_grades import causes

RULE = HazardRule()
MINUTE_US = 60_000_000


def report(**values: Any) -> WeatherReport:
    """Of one station on K1..K2 in both directions, seen at the start, holding for an hour."""
    usual = {
        "station": "W1", "observed_at": START_US, "received_at": START_US, "valid_to": START_US + 60 * MINUTE_US,
        "device": 1, "unit_id": 3, "road_id": 1, "from_stake_m": 1000, "to_stake_m": 2000, "direction": 0,
    }  # fmt: skip
    return WeatherReport(**(usual | values))


def work(**values: Any) -> RoadWork:
    """The right lane of K1..K3 in direction 1, for an hour from minute 10 on."""
    usual = {
        "code": "P1", "observed_at": START_US, "received_at": START_US, "device": None, "unit_id": 9, "road_id": 1,
        "from_stake_m": 1000, "to_stake_m": 3000, "direction": 1, "lanes_closed": (3,), "kind": "paving",
        "from_at": START_US + 10 * MINUTE_US, "to_at": START_US + 70 * MINUTE_US,
    }  # fmt: skip
    return RoadWork(**(usual | values))


class Story:
    """Cycles, and the newest word on every event."""

    def __init__(self, network: RoadNetwork | None = None) -> None:
        self.network = network or straight(4)
        places = [(0, 0.5), (1, 0.2), (1, 0.8)]
        self.sensors = sensors_at(self.network, [place for place in places if place[0] < len(self.network)])
        self.memory = Memory.new(self.network, self.sensors)
        self.cards: dict[UUID, RoadEvent] = {}

    def at(self, minute: float, **given_: Any) -> list[RoadEvent]:
        """One cycle at a minute of the story."""
        events = hazards.follow(
            self.network,
            given_.get("weather", ()),
            given_.get("works", ()),
            self.memory,
            RULE,
            now_us=START_US + round(minute * MINUTE_US),
            health=given_.get("health", ()),
            sensors=self.sensors,
        )
        self.cards |= {event.id: event for event in events}
        return events


@pytest.mark.parametrize(
    ("values", "level", "limit_kmh", "grade"),
    [
        ({"visibility_m": 199}, 3, 60, 3),
        ({"visibility_m": 100}, 3, 60, 3),
        ({"visibility_m": 99}, 2, 40, 2),
        ({"visibility_m": 49}, 1, 20, 1),
        ({"visibility_m": 29}, 1, 20, "special"),
        ({"surface": "black_ice"}, 1, 40, 1),
        ({"precipitation": "freezing_rain"}, 1, 40, 1),
        ({"precipitation": "snow"}, 3, 60, 3),
        ({"surface": "flooded"}, 2, 40, 2),
        ({"wind_ms": 25.0}, 1, 40, 1),
        ({"precipitation": "rain", "intensity_mm_h": 20.0}, 4, 80, 4),
        ({"precipitation": "snow", "visibility_m": 80}, 2, 40, 2),
    ],
)
def test_weather_has_its_grade_and_limit(values: dict, level: int, limit_kmh: int, grade: Any) -> None:
    (event,) = Story().at(1, weather=[report(**values)])
    assert (event.kind, event.level, event.grounds["limit_kmh"], event.grounds["grade"]) == (
        "weather", level, limit_kmh, grade,
    )  # fmt: skip
    assert (event.tail_stake_m, event.head_stake_m, event.direction, event.unit) == (1000, 2000, 0, 9)


@pytest.mark.parametrize(
    "values",
    [{"visibility_m": 200}, {"precipitation": "rain", "intensity_mm_h": 2.0}, {"surface": "wet"}, {"wind_ms": 9.0}],
)
def test_harmless_weather_is_no_event(values: dict) -> None:
    assert not Story().at(1, weather=[report(**values)])


def test_fog_thickens_lifts_and_is_gone() -> None:
    story = Story()
    (first,) = story.at(1, weather=[report(visibility_m=150)])
    assert not story.at(2, weather=[report(visibility_m=140)]), "the same grade is not told again"
    thicker = report(visibility_m=45, observed_at=START_US + 3 * MINUTE_US)
    (second,) = story.at(3, weather=[report(visibility_m=150), thicker])
    assert (second.id, second.change, second.level, second.revision) == (first.id, "updated", 1, 2)
    lifting = report(visibility_m=150, observed_at=START_US + 4 * MINUTE_US)
    assert not story.at(4, weather=[thicker, lifting]), "better is believed after a while only"
    (third,) = story.at(9, weather=[thicker, lifting])
    assert third.level == 3
    clear = report(visibility_m=5000, observed_at=START_US + 10 * MINUTE_US)
    assert not story.at(10, weather=[lifting, clear])
    (ended,) = story.at(15, weather=[lifting, clear])
    assert (ended.state, ended.id, ended.ended_us) == ("ended", first.id, START_US + 10 * MINUTE_US)


def test_weather_that_nobody_repeats_runs_out() -> None:
    story = Story()
    story.at(1, weather=[report(surface="ice")])
    assert not story.at(61, weather=[report(surface="ice")])
    (ended,) = story.at(66)
    assert ended.state == "ended"


def test_several_stations_on_one_stretch_are_one_event() -> None:
    (event,) = Story().at(1, weather=[report(visibility_m=150), report(station="W2", surface="ice")])
    assert event.level == 1 and [cause["station"] for cause in event.grounds["causes"]] == ["W2", "W1"]


def test_weather_on_a_road_that_is_not_there_belongs_to_its_sender() -> None:
    (event,) = Story().at(1, weather=[report(road_id=77, surface="ice")])
    assert (event.unit, event.link, event.road) == (3, None, 77)


def test_works_begin_at_their_time_change_and_end() -> None:
    story = Story()
    assert not story.at(9, works=[work()])
    (begun,) = story.at(10, works=[work()])
    assert (begun.kind, begun.level, begun.grounds["lanes_closed"], begun.grounds["lanes"]) == ("works", 4, [3], 3)
    (wider,) = story.at(20, works=[work(lanes_closed=(1, 2, 3), state="active")])
    assert (wider.id, wider.level, wider.revision) == (begun.id, 2, 2)
    (overdue,) = story.at(71, works=[work(lanes_closed=(1, 2, 3), state="active")])
    assert overdue.grounds["overdue"] is True and overdue.state == "open"
    (ended,) = story.at(72, works=[work(state="ended")])
    assert (ended.id, ended.state) == (begun.id, "ended")


def test_works_that_were_only_planned_end_at_their_time() -> None:
    story = Story()
    story.at(10, works=[work()])
    (ended,) = story.at(70, works=[work()])
    assert ended.state == "ended"


def test_works_in_direction_two_have_their_head_at_the_lower_stake() -> None:
    network = build_network([road(1)], [link(1, begin_m=3000, end_m=1000, nodes=(1, 2))])
    (event,) = Story(network).at(10, works=[work(direction=2)])
    assert (event.tail_stake_m, event.head_stake_m, event.link) == (3000, 1000, 1)


def change(sensor: int, lane: int, state: str) -> HealthChange:
    """Of a detector."""
    return HealthChange(
        kind=SensorKind.DETECTOR, id=sensor, lane=lane, state=state, reason="" if state == "ok" else "no_hits",
        trust=0.0, since_us=START_US, detail={},
    )  # fmt: skip


def test_failed_lanes_of_one_link_are_one_event() -> None:
    story = Story()
    (event,) = story.at(1, health=[change(102, lane, "failed") for lane in (1, 2, 3)] + [change(103, 1, "silent")])
    assert (event.kind, event.link, event.level) == ("sensor", 2, 4)
    assert (event.grounds["places"], event.grounds["lanes"]) == (2, 4)
    assert not story.at(2)
    (fewer,) = story.at(3, health=[change(102, lane, "ok") for lane in (1, 2, 3)])
    assert (fewer.id, fewer.change, fewer.grounds["lanes"]) == (event.id, "updated", 1)
    (ended,) = story.at(4, health=[change(103, 1, "ok")])
    assert ended.state == "ended"


def test_a_suspect_sensor_and_one_that_stands_nowhere_are_no_event() -> None:
    assert not Story().at(1, health=[change(102, 1, "suspect"), change(999, 1, "failed")])


VISIBILITIES = st.lists(st.one_of(st.none(), st.integers(0, 400)), min_size=1, max_size=30)


@given(VISIBILITIES, st.integers(0, 29))
def test_whatever_the_weather_revisions_are_sound_and_a_memory_tells_the_same(seen: list[int | None], at: int) -> None:
    one, two = Story(), Story()
    before: dict[UUID, RoadEvent] = {}
    for minute, visibility_m in enumerate(seen):
        if minute == at:
            packed = msgspec.msgpack.encode(two.memory.dump())
            two.memory = Memory.load(msgspec.msgpack.decode(packed), two.network, two.sensors)
        now = START_US + minute * MINUTE_US
        told = [] if visibility_m is None else [report(visibility_m=visibility_m, observed_at=now)]
        changes = [change(102, 1, "failed" if visibility_m and visibility_m % 2 else "ok")]
        events = one.at(minute, weather=told, health=changes)
        assert events == two.at(minute, weather=told, health=changes)
        for event in events:
            known = before.get(event.id)
            assert event.revision == (1 if known is None else known.revision + 1)
            assert known is None or known.state == "open"
            before[event.id] = event


@given(st.integers(-10, 1000))
def test_less_visibility_never_allows_more_speed(visibility_m: int) -> None:
    def limit(metres: int) -> float:
        return min((cause.limit_kmh for cause in causes(report(visibility_m=metres), RULE)), default=999.0)

    assert limit(visibility_m) <= limit(visibility_m + 7)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"visibility_m": [200, 100]}, "rule weather_limits: visibility_m must be a list of 4 numbers"),
        ({"visibility_m": [50, 100, 200, 300]}, "rule weather_limits: visibility_m must fall from step to step"),
        ({"wind_ms": [17, 17, 20]}, "rule weather_limits: wind_ms must rise from step to step"),
        ({"wind_ms": "strong"}, "rule weather_limits: wind_ms must be a list of 3 numbers"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        hazards.from_parameters(parameters)
    assert str(caught.value) == sentence


def test_defaults_make_the_rule() -> None:
    assert hazards.from_parameters(hazards.DEFAULTS) == RULE
