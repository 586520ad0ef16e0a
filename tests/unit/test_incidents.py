"""First detection of incidents told as moments in time: what is one, what is none, and what its grounds say."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stretches import CYCLE_US, START_US, link, picture_of, road, sensors_at, straight, window_of
from traffic.errors import SettingsError
from traffic.road_readings import RoadWork
from traffic.roads import incidents
from traffic.roads.incident_evidence import pairs_of
from traffic.roads.incidents import IncidentRule, Memory
from traffic.roads.jams import Graph
from traffic.roads.model import Inputs, RoadEvent, Source, build_network

RULE = IncidentRule()
FREE = (100.0, 3_000.0)  # speed km/h, flow vph


class Story:
    """A straight road of four kilometres with a station at the middle of each, and what they say as time goes by."""

    def __init__(self) -> None:
        self.network = straight(4)
        self.sensors = sensors_at(self.network, [(row, 0.5) for row in range(4)])
        self.memory = Memory.new(self.network, self.sensors)
        self.now_us = START_US
        self.speed = np.full((4, 30), FREE[0])
        self.flow = np.full((4, 30), FREE[1])
        self.trust = np.ones(4)
        self.travel_s: np.ndarray | None = None
        self.cards: dict[UUID, RoadEvent] = {}

    def cycles(self, many: int, said: dict[int, tuple[float, float]], **given_: Any) -> list[RoadEvent]:
        """Some cycles in which stations say (speed, flow); those not named are free. Returns what was told."""
        told: list[RoadEvent] = []
        for _ in range(many):
            self.now_us += CYCLE_US
            newest = [said.get(row, FREE) for row in range(4)]
            self.speed = np.concatenate([self.speed[:, 1:], np.array([[v] for v, _ in newest])], axis=1)
            self.flow = np.concatenate([self.flow[:, 1:], np.array([[q] for _, q in newest])], axis=1)
            picture = picture_of(self.network, [1, 1, 1, 1], at_us=self.now_us)
            if self.travel_s is not None:
                picture.travel_s = self.travel_s
                picture.sources = np.full(4, Source.TRAVEL_TIMES, np.int8)
            events = incidents.detect(
                self.network, self.sensors,
                window_of(self.speed, self.flow, at_us=self.now_us, trust=self.trust),
                picture, self.memory, RULE, now_us=self.now_us, inputs=given_.get("inputs"),
            )  # fmt: skip
            told += events
            self.cards |= {event.id: event for event in events}
        return told

    @property
    def open(self) -> list[RoadEvent]:
        """Not ended."""
        return [card for card in self.cards.values() if card.state == "open"]


BLOCKED = {1: (15.0, 1_000.0), 2: (105.0, 1_000.0), 3: (105.0, 1_000.0)}  # between stations 2 and 3


def test_an_incident_is_seen_between_its_two_stations_and_ends_when_traffic_flows() -> None:
    story = Story()
    assert not story.cycles(30, {})
    new = story.cycles(8, BLOCKED)[0]
    assert (new.change, new.kind, new.tail_stake_m, new.head_stake_m, new.link) == ("new", "incident", 1500, 2500, 2)
    assert new.level <= 2 and 0.5 <= new.confidence < 1
    assert new.grounds["methods"] == ["upstream_downstream"]
    assert {name: sensor["id"] for name, sensor in new.grounds["sensors"].items()} == {"up": 102, "down": 103}
    assert new.grounds["values"]["up"]["speed_kmh"] < 60 < new.grounds["values"]["up"]["speed_before_kmh"]
    assert new.grounds["evidence"] >= new.grounds["threshold"] and new.grounds["adds"]["speed_fell"] > 0
    assert len(story.open) == 1
    ended = [event for event in story.cycles(16, {}) if event.change == "ended"]
    assert [event.id for event in ended] == [new.id] and ended[0].grounds["end"] == "cleared"
    assert not story.open


def test_one_odd_minute_is_no_incident() -> None:
    story = Story()
    story.cycles(30, {})
    assert not story.cycles(1, BLOCKED)
    assert not story.cycles(20, {})


def test_the_queue_of_an_incident_is_no_second_one() -> None:
    story = Story()
    story.cycles(30, {})
    story.cycles(8, BLOCKED)
    told = story.cycles(20, BLOCKED | {0: (12.0, 1_000.0)})
    assert len(story.cards) == 1 and not [event for event in told if event.change == "new"]
    story.cycles(12, {0: (12.0, 1_500.0)})  # the incident is cleared, its queue is still on its way
    story.cycles(12, {})
    assert len(story.cards) == 1


def test_everybody_slower_together_is_no_incident() -> None:
    story = Story()
    story.cycles(30, {})
    for speed in (95.0, 90.0, 80.0, 75.0, 70.0):
        assert not story.cycles(10, {row: (speed, 3_600.0) for row in range(4)})


def test_what_is_slow_every_day_at_this_hour_is_explained() -> None:
    usual = Inputs(usual_kmh=np.array([100.0, 15.0, 100.0, 100.0]))
    story = Story()
    story.cycles(30, {}, inputs=usual)
    assert not story.cycles(20, BLOCKED, inputs=usual)


def test_road_works_explain_the_queue_that_comes_with_them() -> None:
    begins = START_US + 30 * CYCLE_US
    work = RoadWork(
        code="P", observed_at=START_US, received_at=START_US, device=None, unit_id=9, road_id=1, from_stake_m=1000,
        to_stake_m=2000, direction=1, lanes_closed=(1,), from_at=begins, to_at=begins + 3_600_000_000, kind="paving",
    )  # fmt: skip
    story = Story()
    story.cycles(30, {}, inputs=Inputs(works=[work]))
    assert not story.cycles(20, BLOCKED, inputs=Inputs(works=[work]))


def test_a_station_without_trust_raises_nothing() -> None:
    story = Story()
    story.trust[1] = 0.3
    story.cycles(30, {})
    assert not story.cycles(20, {1: (5.0, 200.0)})


def test_a_station_alone_raises_it_by_its_sudden_change() -> None:
    story = Story()
    story.trust[2:] = 0.0
    story.cycles(30, {})
    new = story.cycles(12, {1: (10.0, 400.0)})[0]
    assert new.grounds["methods"] == ["sudden_change"] and new.head_stake_m == new.tail_stake_m == 1500


def test_a_jump_of_travel_time_raises_it_on_its_link() -> None:
    story = Story()
    story.trust[:] = 0.0
    story.travel_s = np.full(4, 40.0)
    story.cycles(30, {})
    story.travel_s = np.array([40.0, 40.0, 130.0, 40.0])
    new = story.cycles(12, {})[0]
    assert new.grounds["methods"] == ["travel_time"] and new.link == 3
    assert new.grounds["values"] == {"travel_over_before": 3.25, "before_s": 40.0}
    story.travel_s = np.full(4, 42.0)
    assert story.cycles(8, {})[-1].state == "ended"


def test_a_sensor_dies_in_an_incident_and_it_is_closed_as_unknown() -> None:
    story = Story()
    story.cycles(30, {})
    story.cycles(8, BLOCKED)
    story.trust[:] = 0.0
    assert not [event for event in story.cycles(55, BLOCKED) if event.change == "ended"]
    ended = story.cycles(10, BLOCKED)[-1]
    assert (ended.state, ended.grounds["end"]) == ("ended", "unknown")


def test_a_road_blocked_altogether_is_grave() -> None:
    story = Story()
    story.cycles(30, {})
    story.cycles(10, {1: (4.0, 100.0), 2: (np.nan, 0.0), 3: (np.nan, 0.0)})
    (event,) = story.open
    assert event.level == 1


def test_pairs_go_over_links_without_stations_and_not_over_a_break() -> None:
    links = [link(n + 1, begin_m=n * 1000, end_m=(n + 1) * 1000, nodes=(n + 1, n + 2)) for n in range(5)]
    links[3] = link(4, begin_m=3000, end_m=4000, nodes=(44, 5))  # does not join link 3
    network = build_network([road(1)], links)
    sensors = sensors_at(network, [(0, 0.5), (2, 0.1), (2, 0.12), (3, 0.5), (4, 0.5)])
    pairs = pairs_of(network, sensors, Graph.of(network).neighbours, gap_m_max=5_000.0)
    told = list(zip(sensors.id[pairs.up].tolist(), sensors.id[pairs.down].tolist(), pairs.gap_m.tolist(), strict=True))
    assert told == [(101, 102, 1600.0), (104, 105, 1000.0)], "102 and 103 stand at one place"


SAID = st.one_of(
    st.tuples(st.floats(0, 130), st.floats(0, 6_000)),
    st.just((np.nan, 0.0)),
    st.just((np.nan, np.nan)),
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.integers(0, 3), SAID), min_size=1, max_size=8), st.integers(0, 7))
def test_whatever_stations_say_events_are_sound_and_a_memory_tells_the_same(
    said: list[dict[int, tuple[float, float]]], at: int
) -> None:
    one, two = Story(), Story()
    known: dict[UUID, RoadEvent] = {}
    for number, words in enumerate(said):
        if number == at:
            packed = msgspec.msgpack.encode(two.memory.dump())
            two.memory = Memory.load(msgspec.msgpack.decode(packed), two.network, two.sensors)
        events = one.cycles(8, words)
        assert events == two.cycles(8, words)
        for event in events:
            before = known.get(event.id)
            assert event.revision == (1 if before is None else before.revision + 1)
            assert before is None or before.state == "open"
            assert 1 <= event.level <= 4 and 0 <= event.confidence <= 1 and event.started_us <= event.changed_us
            msgspec.json.encode(event.grounds)
            known[event.id] = event


def test_a_memory_of_other_sensors_is_refused() -> None:
    network = straight(4)
    with pytest.raises(ValueError, match="other sensors"):
        Memory.load(Story().memory.dump(), network, sensors_at(network, [(0, 0.5)]))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"pair_weights": [1, 2]}, "rule incident_detection: pair_weights must be a list of 5 numbers"),
        ({"pair_sum": 0}, "rule incident_detection: pair_sum must lie between 0.5 and 100, not 0"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        incidents.from_parameters(parameters)
    assert str(caught.value) == sentence


def test_defaults_make_the_rule() -> None:
    assert incidents.from_parameters(incidents.DEFAULTS) == RULE
    assert replace(RULE, pair_sum=9.0) != RULE


def test_a_second_incident_in_the_queue_of_the_first_is_seen_by_what_it_takes_from_the_flow() -> None:
    story = Story()
    story.cycles(30, {})
    queue = {1: (30.0, 2_400.0), 2: (105.0, 2_400.0), 3: (105.0, 2_400.0)}
    story.cycles(24, queue)
    assert len(story.open) == 1
    story.cycles(8, {0: (8.0, 600.0), 1: (60.0, 500.0), 2: (105.0, 600.0), 3: (105.0, 600.0)})
    assert sorted((event.tail_stake_m, event.head_stake_m) for event in story.cards.values()) == [
        (500, 1500), (1500, 2500),
    ]  # fmt: skip
