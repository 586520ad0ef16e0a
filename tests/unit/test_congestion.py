"""Congestion events told as moments in time: they begin, grow, spill back, split, merge, become unknown and end."""

from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stretches import (
    CYCLE_US,
    INTERVALS,
    START_US,
    link,
    picture_of,
    road,
    sensors_at,
    steady_window,
    straight,
    window_of,
)
from traffic.errors import SettingsError
from traffic.roads import congestion
from traffic.roads.congestion import CongestionRule, Memory
from traffic.roads.model import RoadEvent, RoadNetwork, Window, build_network

RULE = CongestionRule()


class Story:
    """Cycles on a network, one after another, and the newest word on every event."""

    def __init__(self, network: RoadNetwork, places: list[tuple[int, float]] | None = None) -> None:
        self.network = network
        self.sensors = sensors_at(network, places or [])
        self.memory = Memory.new(network, self.sensors)
        self.now_us = START_US
        self.cards: dict[UUID, RoadEvent] = {}

    def pass_by(self, levels: list[int], cycles: int, window: Window | None = None) -> list[RoadEvent]:
        """The same levels for some cycles; what was told on the way."""
        told: list[RoadEvent] = []
        for _ in range(cycles):
            self.now_us += CYCLE_US
            events = congestion.follow(
                self.network,
                self.sensors,
                window or steady_window(self.sensors, at_us=self.now_us),
                picture_of(self.network, levels, at_us=self.now_us),
                self.memory,
                RULE,
                now_us=self.now_us,
            )
            told += events
            self.cards |= {event.id: event for event in events}
        return told

    @property
    def open(self) -> list[RoadEvent]:
        """Events that have not ended, by their head."""
        return sorted((card for card in self.cards.values() if card.state == "open"), key=lambda e: e.head_stake_m)


def fork() -> RoadNetwork:
    """Road 1 (links 1-4, direction 1); road 2 (links 21, 22) comes in between links 2 and 3."""
    links = [link(n + 1, begin_m=n * 1000, end_m=(n + 1) * 1000, nodes=(n + 1, n + 2)) for n in range(4)]
    links += [
        link(21, road_id=2, begin_m=5000, end_m=6000, nodes=(51, 52)),
        link(22, road_id=2, begin_m=6000, end_m=7000, nodes=(52, 3)),
    ]
    return build_network([road(1), road(2)], links)


def test_a_queue_begins_after_its_time_and_not_at_a_single_bad_interval() -> None:
    story = Story(straight(4))
    assert not story.pass_by([1, 1, 4, 1], 3)
    assert not story.pass_by([1, 1, 1, 1], 1)
    assert not story.pass_by([1, 1, 4, 1], 3)
    (event,) = story.pass_by([1, 1, 4, 1], 1)
    assert (event.change, event.state, event.revision, event.level) == ("new", "open", 1, 3)
    assert (event.tail_stake_m, event.head_stake_m, event.link) == (2000, 3000, 3)
    assert event.started_us == story.now_us - 3 * CYCLE_US, "it began when the bad cycles did"
    assert not story.pass_by([1, 1, 4, 1], 20), "nothing new, nothing told"


def test_a_queue_grows_over_two_links_spills_back_over_a_junction_and_dissolves() -> None:
    story = Story(fork())
    (began,) = story.pass_by([1, 1, 1, 5, 1, 1], 4)
    (grown,) = story.pass_by([1, 1, 5, 5, 1, 1], 4)
    assert (grown.id, grown.change, grown.revision, grown.tail_stake_m) == (began.id, "updated", 2, 2000)
    assert grown.grounds["grown_m"] == 1000

    told = story.pass_by([1, 1, 5, 5, 1, 4], 4)
    main, ramp = sorted(told, key=lambda event: event.road)
    assert main.id == began.id
    assert main.grounds["spill_back"] == [{"road": 2, "direction": 1, "link": 22, "event": str(ramp.id)}]
    assert ramp.grounds["spilled_from"] == [str(began.id)]

    ended = [event for event in story.pass_by([1, 1, 1, 1, 1, 1], 6) if event.change == "ended"]
    assert {(event.id, event.state, event.grounds["end"]) for event in ended} == {
        (began.id, "ended", "cleared"),
        (ramp.id, "ended", "cleared"),
    }
    assert all(event.ended_us == story.now_us - 5 * CYCLE_US for event in ended)
    assert not story.open


def test_a_queue_that_was_there_before_is_no_spill_back() -> None:
    story = Story(fork())
    story.pass_by([1, 1, 1, 1, 1, 4], 4)
    story.pass_by([1, 1, 4, 1, 1, 4], 4)
    assert len(story.open) == 2
    assert not any("spill_back" in event.grounds for event in story.open)


def test_a_broken_piece_of_a_road_is_not_bridged() -> None:
    links = [
        link(1, begin_m=0, end_m=1000, nodes=(1, 2)),
        link(2, begin_m=1000, end_m=2000, nodes=(3, 4)),  # the same road by its stakes, but it does not join
    ]
    story = Story(build_network([road(1)], links))
    story.pass_by([4, 4], 4)
    assert [(event.tail_stake_m, event.head_stake_m) for event in story.open] == [(0, 1000), (1000, 2000)]


def test_a_jump_of_stakes_is_no_break_of_the_road() -> None:
    links = [
        link(1, begin_m=0, end_m=1000, nodes=(1, 2)),
        link(2, begin_m=5000, end_m=6000, nodes=(2, 3)),  # broken chainage: K1+000 is K5+000
    ]
    story = Story(build_network([road(1)], links))
    story.pass_by([4, 4], 4)
    (event,) = story.open
    assert (event.tail_stake_m, event.head_stake_m, event.grounds["length_m"]) == (0, 6000, 2000)


def test_two_queues_merge_into_the_older_one_and_split_again() -> None:
    story = Story(straight(5))
    (old,) = story.pass_by([4, 1, 1, 1, 1], 4)
    (young,) = story.pass_by([4, 1, 4, 1, 1], 4)
    told = {event.id: event for event in story.pass_by([4, 4, 4, 1, 1], 4)}
    assert told[young.id].grounds == {"end": "merged", "merged_into": str(old.id), "length_m": 1000}
    assert (told[old.id].tail_stake_m, told[old.id].head_stake_m) == (0, 3000)

    told_later = story.pass_by([4, 1, 4, 4, 1], 6)
    assert {event.change for event in told_later} == {"updated", "new"}
    torn = next(event for event in told_later if event.change == "new")
    assert torn.grounds["split_from"] == str(old.id) and torn.id not in (old.id, young.id)
    assert {event.id for event in story.open} == {old.id, torn.id}


def test_an_unknown_link_neither_extends_nor_ends_an_event_but_makes_it_less_certain() -> None:
    story = Story(straight(3))
    (event,) = story.pass_by([1, 4, 1], 4)
    told = story.pass_by([0, 0, 0], 20)
    assert {e.id for e in told} == {event.id} and {e.state for e in told} == {"open"}
    assert [e.confidence for e in told] == sorted((e.confidence for e in told), reverse=True)
    assert told[-1].confidence < event.confidence / 2
    assert told[-1].grounds["unknown_links"] == 1 and told[-1].grounds["unknown_s"] > 60
    assert (told[-1].tail_stake_m, told[-1].head_stake_m) == (1000, 2000)
    assert told[-1].observed_us == event.observed_us

    *_, ended = story.pass_by([0, 0, 0], 45)
    assert (ended.state, ended.grounds["end"]) == ("ended", "unknown"), "not known any more is not cleared"
    assert ended.ended_us == event.changed_us and not story.open


def test_bad_cycles_before_and_after_a_long_silence_are_not_added_up() -> None:
    story = Story(straight(1))
    story.pass_by([4], 3)
    story.pass_by([0], 10)
    assert not story.pass_by([4], 3)
    assert story.pass_by([4], 1)


def test_head_and_tail_lie_between_the_sensors_that_tell_them() -> None:
    story = Story(straight(3), [(0, 0.5), (1, 0.2), (1, 0.6), (2, 0.5)])
    speed = np.repeat([[100.0], [20.0], [20.0], [100.0]], INTERVALS, axis=1)
    window = window_of(speed, np.full(speed.shape, 1500.0), at_us=START_US)
    story.pass_by([1, 5, 1], 4, window)
    (event,) = story.open
    assert (event.tail_stake_m, event.head_stake_m) == (850, 2050), "half way by speed: 60 of 20..100 km/h"
    assert event.grounds["tail"] == {"between_sensors": {"slow": 102, "free": 101}}
    assert event.grounds["head"] == {"between_sensors": {"slow": 103, "free": 104}}
    assert event.grounds["length_m"] == 1200


def test_a_sensor_that_is_not_trusted_tells_no_tail() -> None:
    story = Story(straight(2), [(0, 0.5), (1, 0.5)])
    speed = np.repeat([[100.0], [20.0]], INTERVALS, axis=1)
    window = window_of(speed, np.full(speed.shape, 1500.0), at_us=START_US, trust=np.array([0.1, 1.0]))
    story.pass_by([1, 5], 4, window)
    (event,) = story.open
    assert event.tail_stake_m == 1000 and event.grounds["tail"] == {"border_of_link": True}


def test_a_sensor_dies_in_a_queue_and_the_queue_stays() -> None:
    story = Story(straight(3), [(0, 0.5), (1, 0.5), (2, 0.5)])
    speed = np.repeat([[100.0], [20.0], [100.0]], INTERVALS, axis=1)
    story.pass_by([1, 4, 1], 4, window_of(speed, np.full(speed.shape, 1500.0), at_us=START_US))
    (before,) = story.open
    dead = np.where([[False], [True], [False]], np.nan, speed)
    told = story.pass_by([1, 0, 1], 12, window_of(dead, np.full(speed.shape, 1500.0), at_us=START_US))
    assert {event.id for event in told} == {before.id} and story.open[0].confidence < before.confidence
    *_, ended = story.pass_by([1, 1, 1], 6, window_of(speed, np.full(speed.shape, 1500.0), at_us=START_US))
    assert ended.grounds["end"] == "cleared"


def test_an_event_becomes_graver_at_once_and_milder_after_a_while() -> None:
    story = Story(straight(1))
    story.pass_by([3], 4)
    assert story.open[0].level == 4
    story.pass_by([5], 1)
    assert story.open[0].level == 2
    assert not story.pass_by([3], 3)
    story.pass_by([3], 1)
    assert story.open[0].level == 4


def test_direction_two_is_told_in_its_own_stakes() -> None:
    links = [link(n, begin_m=4000 - n * 1000, end_m=3000 - n * 1000, nodes=(n + 1, n + 2)) for n in range(1, 3)]
    story = Story(build_network([road(1)], links))
    story.pass_by([4, 4], 4)
    (event,) = story.open
    assert (event.direction, event.tail_stake_m, event.head_stake_m) == (2, 3000, 1000)


def test_a_full_ring_is_one_event() -> None:
    links = [link(n, begin_m=n * 1000, end_m=n * 1000 + 1000, nodes=(n, n % 3 + 1)) for n in (1, 2, 3)]
    story = Story(build_network([road(1)], links))
    story.pass_by([4, 4, 4], 4)
    (event,) = story.open
    assert (event.tail_stake_m, event.head_stake_m) == (1000, 4000)


def test_nothing_on_an_empty_network() -> None:
    assert not Story(build_network([road(1)], [])).pass_by([], 5)


LEVELS = st.lists(st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=1, max_size=40)


@given(LEVELS)
def test_whatever_happens_identities_and_revisions_are_sound(cycles: list[list[int]]) -> None:
    story = Story(fork())
    seen: dict[UUID, RoadEvent] = {}
    for levels in cycles:
        for event in story.pass_by(levels, 2):
            before = seen.get(event.id)
            if before is None:
                assert (event.change, event.revision) == ("new", 1)
            else:
                assert before.state == "open" and event.revision == before.revision + 1
                assert event.change in ("updated", "ended")
            assert event.started_us <= event.changed_us and 0 <= event.confidence <= 1 and 1 <= event.level <= 4
            assert (event.ended_us is not None) == (event.state == "ended")
            seen[event.id] = event
    assert len(story.open) == len(story.memory.events)


@given(LEVELS, st.integers(0, 39))
def test_a_memory_put_down_and_taken_up_tells_the_same(cycles: list[list[int]], at: int) -> None:
    one, two = Story(fork()), Story(fork())
    for number, levels in enumerate(cycles):
        if number == at:
            packed = msgspec.msgpack.encode(two.memory.dump())
            two.memory = Memory.load(msgspec.msgpack.decode(packed), two.network, two.sensors)
        assert one.pass_by(levels, 1) == two.pass_by(levels, 1)


def test_a_memory_of_another_network_is_refused() -> None:
    data = Story(straight(3)).memory.dump()
    with pytest.raises(ValueError, match="another network"):
        Memory.load(data, straight(4), sensors_at(straight(4), []))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"enter_cycle": 3}, "rule congestion: there is no parameter 'enter_cycle'"),
        ({"enter_cycles": 0}, "rule congestion: enter_cycles must lie between 1 and 60, not 0"),
        ({"enter_cycles": 2.5}, "rule congestion: enter_cycles must be a whole number, not 2.5"),
        ({"trust_min": "high"}, "rule congestion: trust_min must be a number, not 'high'"),
        ({"trust_min": True}, "rule congestion: trust_min must be a number, not True"),
        ({"long_m": float("nan")}, "rule congestion: long_m must lie between 100 and 100000, not nan"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        congestion.from_parameters(parameters)
    assert str(caught.value) == sentence


def test_defaults_make_the_rule() -> None:
    assert congestion.from_parameters(congestion.DEFAULTS) == RULE
