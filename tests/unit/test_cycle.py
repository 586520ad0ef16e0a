"""A turn of the whole cycle: deterministic, all or nothing, and the same after a snapshot."""

from dataclasses import fields

import numpy as np
import pytest

from tests import roadkit
from tests.roadkit import CYCLE_US, RULES, Story, network, one_section, sensors, travel
from traffic.errors import SettingsError
from traffic.risk import model as risk
from traffic.roads import cycle
from traffic.roads.cycle import RoadRules, StateUnreadable, TurnedBack
from traffic.roads.model import Inputs, Turn


def same(one: Turn, other: Turn) -> None:
    for part in ("picture", "window", "risk"):
        left, right = getattr(one, part), getattr(other, part)
        for entry in fields(left):
            np.testing.assert_array_equal(getattr(left, entry.name), getattr(right, entry.name), err_msg=entry.name)
    assert list(one.events) == list(other.events)
    assert one.health == other.health and one.indices == other.indices


def busy(number: int, detector: int, lane: int) -> np.ndarray | None:
    """From cycle 22 on a queue at detector 4, and detector 2 says nothing more."""
    if number > 22 and detector == 4:
        return roadkit.report(
            4, roadkit.START_US + number * CYCLE_US, lane=lane, vehicles=4 + number % 3, speed_kmh=9.0 + number % 4,
            occupancy=55.0,
        )  # fmt: skip
    return roadkit.NOTHING if number > 24 and detector == 2 else None


def two() -> tuple[Story, Story]:
    return Story(sections=one_section(network())), Story(sections=one_section(network()))


def test_the_same_inputs_give_the_same_turns() -> None:
    one, other = two()
    for _ in range(35):
        same(one.go(1, busy), other.go(1, busy))
    assert one.link(4)["level"] >= 4 and one.link(2)["level"] == 0
    assert cycle.dump(one.state) == cycle.dump(other.state)


def test_a_snapshot_in_the_midst_goes_on_as_if_nothing_had_been() -> None:
    one, other = two()
    for _ in range(36):
        if other.number in (0, 1, 23, 26, 31):
            other.state = cycle.load(cycle.dump(other.state), other.net, other.points)
        same(one.go(1, busy), other.go(1, busy))


def test_an_error_in_the_last_step_leaves_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two()
    one.go(25, busy)
    other.go(25, busy)

    def breaks(*arguments: object, **more: object) -> None:
        raise RuntimeError("in the midst")

    before = cycle.dump(one.state)
    for module, name in ((cycle.indices, "indices"), (risk, "assess"), (cycle.hazards, "follow")):
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(module, name, breaks)
            one.turn([roadkit.report(3, one.now_us + CYCLE_US)])
    assert cycle.dump(one.state) == before
    for _ in range(5):
        same(one.go(1, busy), other.go(1, busy))


def test_a_turn_before_the_last_one_is_refused_and_the_same_moment_again_is_not() -> None:
    story = Story()
    story.go(5)
    story.again(roadkit.NOTHING)
    story.number -= 1
    with pytest.raises(TurnedBack):
        story.again(roadkit.NOTHING)


def test_a_dump_of_another_network_or_format_or_of_rubbish_is_refused() -> None:
    story = Story()
    story.go(3)
    data = cycle.dump(story.state)
    with pytest.raises(StateUnreadable, match="another network"):
        cycle.load(data, network(5), sensors(network(5)))
    with pytest.raises(StateUnreadable, match="another network"):
        cycle.load(data, story.net, sensors(story.net, detectors=(1, 2)))
    for damaged in (b"", b"\x00", b"rubbish", data[: len(data) // 2], data[:-1], b"\x81\xa6format\x63"):
        with pytest.raises(StateUnreadable):
            cycle.load(damaged, story.net, story.points)


def test_an_empty_network_and_one_without_sensors_turn_too() -> None:
    for net in (network(0), network(2)):
        story = Story(net, sensors(net, detectors=()))
        story.number = 1
        turned = story.turn([roadkit.report(1, story.now_us)], travel=travel(100, bucket_us=story.now_us))
        assert (turned.picture.level == 0).all() and len(turned.picture.level) == len(net)
        assert turned.health == [] and turned.indices[0].index is None


def test_many_cycles_without_a_word_and_then_again() -> None:
    story = Story()
    story.go(20)
    story.number += 100
    story.turn([])
    assert (story.turned.picture.level == 0).all()  # type: ignore[union-attr]
    story.go(4)
    assert (story.turned.picture.level == 1).all()  # type: ignore[union-attr]


def test_what_is_handed_out_is_not_changed_by_the_next_turn() -> None:
    story = Story()
    turned = story.go(5)
    before = turned.window.flow_vph.copy(), turned.picture.level.copy(), turned.picture.speed_kmh.copy()
    late = roadkit.report(1, story.now_us, vehicles=30, received_at=story.now_us + 60_000_000)
    story.number += 1
    story.turn([late])
    after = turned.window.flow_vph, turned.picture.level, turned.picture.speed_kmh
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_usual_values_of_any_kind_do_no_harm() -> None:
    story = Story()
    story.go(5)
    for odd in (np.full(6, np.nan), np.full(6, np.inf), np.full(6, -3.0), np.zeros(6), np.empty(0)):
        story.go(1, usual_kmh=odd, usual_vph=odd)
    assert (story.turned.picture.level == 1).all()  # type: ignore[union-attr]


def test_rules_come_from_parameters_of_six_kinds() -> None:
    assert set(cycle.DEFAULTS) == {
        "link_levels", "sensor_health", "congestion", "incident_detection", "road_risk", "weather_limits",
    }  # fmt: skip
    assert RoadRules.from_parameters(cycle.DEFAULTS) == RULES
    with pytest.raises(SettingsError, match="level_margin"):
        RoadRules.from_parameters({"link_levels": {"level_margin": 9}})


def test_inputs_without_anything_are_a_turn() -> None:
    net = network()
    points = sensors(net, gates=(1,))
    state = cycle.new_state(net, points)
    turned = cycle.turn(net, points, one_section(net), state, Inputs(), RULES, now_us=roadkit.START_US)
    assert (turned.picture.level == 0).all() and np.isnan(turned.picture.speed_kmh).all()
