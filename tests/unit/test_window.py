"""Reports of lanes and minutes of gates become columns of the window."""

import numpy as np
import pytest

from tests.roadkit import CYCLE_US, START_US, Story, flow, network, report, sensors
from traffic.roads import window
from traffic.roads.model import Inputs, Window

NOW = START_US + 10 * CYCLE_US


def folded(*rows: np.ndarray, now_us: int = NOW, usable: np.ndarray | None = None) -> Window:
    """The window of detector 1 (row 0) at a time."""
    points = sensors(network(1))
    lanes = window.lay_out(points)
    reports, _ = window.absorb({}, np.concatenate(rows), lanes, now_us=now_us)
    columns = window.no_columns(len(points))
    newest = window.number_of(now_us)
    places = {number: window.place_of(number, newest) for number in reports}
    every = np.ones(len(lanes), bool) if usable is None else usable
    window.put_detectors(columns, reports, lanes, every, places)
    return window.as_window(columns, np.ones(len(points)), now_us=now_us)


def last(told: Window, name: str, back: int = 0) -> float:
    return float(getattr(told, name)[0, -1 - back])


def test_lanes_add_up_and_speeds_weigh_by_vehicles() -> None:
    told = folded(
        report(1, NOW, lane=1, vehicles=10, heavy=0, speed_kmh=100.0, occupancy=6.0),
        report(1, NOW, lane=2, vehicles=5, heavy=3, speed_kmh=70.0, occupancy=4.0),
    )
    assert last(told, "flow_vph") == 1_800
    assert last(told, "speed_kmh") == pytest.approx(90.0)
    assert last(told, "occupancy") == pytest.approx(5.0)
    assert last(told, "heavy_share") == pytest.approx(0.2)
    assert told.ends_us[-1] == NOW and np.isnan(told.flow_vph[0, :-1]).all()


def test_a_lane_that_is_missing_or_not_believed_flows_as_the_others() -> None:
    one = report(1, NOW, lane=1, vehicles=10)
    assert last(folded(one), "flow_vph") == 2_400
    both = folded(one, report(1, NOW, lane=2, vehicles=90), usable=np.array([True, True, False]))
    assert last(both, "flow_vph") == 2_400


def test_all_lanes_together_count_where_lanes_are_not_told() -> None:
    assert last(folded(report(1, NOW, lane=0, vehicles=12)), "flow_vph") == 1_440
    both = [report(1, NOW, lane=lane, vehicles=vehicles) for lane, vehicles in ((0, 99), (1, 5), (2, 5))]
    assert last(folded(*both), "flow_vph") == 1_200
    assert last(folded(*both[:2]), "flow_vph") == 99 * 120  # one lane alone is less than all of them


def test_short_intervals_are_put_together_and_long_ones_speak_of_all_their_time() -> None:
    thirds = [
        report(1, NOW - back * 10_000_000, lane=0, period_s=10, vehicles=2 + back, speed_kmh=60.0 + 30 * back)
        for back in range(3)
    ]
    told = folded(*thirds)
    assert last(told, "flow_vph") == pytest.approx((2 + 3 + 4) * 120)
    assert last(told, "speed_kmh") == pytest.approx((2 * 60 + 3 * 90 + 4 * 120) / 9)
    long = folded(report(1, NOW, lane=0, period_s=300, vehicles=100))
    assert np.allclose(long.flow_vph[0, -10:], 1_200) and np.isnan(long.flow_vph[0, :-10]).all()


def test_the_report_received_last_stands_whichever_comes_first() -> None:
    first = report(1, NOW, lane=0, vehicles=3, received_at=NOW + 1_000_000)
    amended = report(1, NOW, lane=0, vehicles=8, received_at=NOW + 9_000_000)
    for rows in ((first, amended), (amended, first), (amended, first, first, amended)):
        assert last(folded(*rows), "flow_vph") == 960


def test_late_is_two_minutes_and_the_future_waits() -> None:
    late = report(1, NOW - CYCLE_US, lane=0, received_at=NOW + 90_000_000)
    too_late = report(1, NOW - CYCLE_US, lane=0, received_at=NOW + 90_000_001)
    assert last(folded(late), "flow_vph", 1) == 720
    assert np.isnan(folded(too_late).flow_vph).all()
    ahead = report(1, NOW + CYCLE_US, lane=0)
    assert np.isnan(folded(ahead).flow_vph).all()
    story = Story(network(1))
    story.number = 10
    story.turn([ahead])
    story.number = 11
    assert last(story.turn([]).window, "flow_vph") == 720


@pytest.mark.parametrize(
    "values",
    [
        {"vehicles": -1}, {"period_s": 0}, {"period_s": -30}, {"period_s": 2_000},
        {"observed_at": -(2**63)}, {"observed_at": 2**62, "received_at": 0}, {"lane": 7}, {"detector": -5},
    ],
)  # fmt: skip
def test_what_cannot_be_is_left_out(values: dict) -> None:
    row = report(1, NOW)
    for name, value in values.items():
        row[name] = value
    assert np.isnan(folded(row).flow_vph).all()


def test_values_that_cannot_be_are_not_known_and_the_rest_stays() -> None:
    for odd in (np.inf, -np.inf, np.nan, -1.0, 1e30):
        told = folded(report(1, NOW, lane=0, speed_kmh=odd, occupancy=odd))
        assert last(told, "flow_vph") == 720
        assert np.isnan(last(told, "speed_kmh")) and np.isnan(last(told, "occupancy"))
    empty = folded(report(1, NOW, lane=0, vehicles=0, speed_kmh=0.0))
    assert last(empty, "flow_vph") == 0 and np.isnan(last(empty, "speed_kmh"))


def gates(*rows: np.ndarray, alive: dict[int, int] | None = None, now_us: int = NOW) -> Window:
    """The window of gate 1."""
    points = sensors(network(1), detectors=(), gates=(1,))
    columns = window.no_columns(1)
    flows = np.concatenate([flow(99, 0, 1)[:0], *rows])
    window.put_checkpoints(
        columns, points, window.lay_out(points), Inputs(flows=flows, alive_us=alive or {}), now_us=now_us
    )
    return window.as_window(columns, np.ones(1), now_us=now_us)


def test_a_minute_of_a_gate_counts_when_it_is_complete() -> None:
    minute = NOW - 60_000_000  # ends now: passages may still be on their way
    assert np.isnan(gates(flow(1, minute, 20)).flow_vph[0, -2:]).all()
    told = gates(flow(1, minute - 60_000_000, 20, 80.0), flow(1, minute, 7))
    assert told.flow_vph[0, -4:-2].tolist() == [1_200, 1_200] and np.isnan(told.flow_vph[0, -2:]).all()
    assert last(told, "speed_kmh", 2) == pytest.approx(80.0)


def test_a_minute_without_passages_is_zero_only_where_the_sender_lives() -> None:
    assert np.isnan(gates().flow_vph).all()
    assert gates(alive={1: NOW}).flow_vph[0, -4:-2].tolist() == [0, 0]
    assert np.isnan(gates(alive={1: NOW - 120_000_000}).flow_vph[0, -2:]).all()
    seen_later = gates(flow(1, NOW - 120_000_000, 5))
    assert seen_later.flow_vph[0, -6:-4].tolist() == [0, 0]  # it worked later, so the minute before was empty


def test_classes_of_a_gate_add_up_and_unclassed_ones_say_nothing_of_the_heavy_share() -> None:
    rows = np.concatenate([flow(1, NOW - 120_000_000, passages) for passages in (10, 5, 5)])
    rows["group"] = [1, 3, 0]
    told = gates(rows)
    assert last(told, "flow_vph", 2) == 1_200
    assert last(told, "heavy_share", 2) == pytest.approx(1 / 3)
