"""The window is a function of the set of reports: order, repetition, split into cycles and lateness change nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.roadkit import CYCLE_US, START_US, network, no_sections, report, sensors
from traffic.road_readings import DETECTOR_REPORT
from traffic.roads import cycle, window
from traffic.roads.model import Inputs

NET = network(2)
POINTS = sensors(NET)
LANES = window.lay_out(POINTS)
CYCLES = 8
NOW = START_US + 20 * CYCLE_US

odd_floats = st.one_of(st.floats(width=32), st.floats(0, 200, width=32))
rows = st.builds(
    lambda detector, lane, at, late, values: report(
        detector, NOW - at * 10_000_000, lane=lane, received_at=NOW - at * 10_000_000 + late * 1_000_000, **values
    ),
    st.integers(0, 3),
    st.integers(-1, 3),
    st.integers(-12, 95),
    st.integers(-100, 130),
    st.fixed_dictionaries(
        {
            "vehicles": st.integers(-1, 40), "heavy": st.integers(-2, 50),
            "period_s": st.sampled_from([10, 30, 60, 300]), "speed_kmh": odd_floats,
            "occupancy": odd_floats, "flags": st.integers(0, 1),
        }
    ),
)  # fmt: skip


def together(told: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, DETECTOR_REPORT), *told])


def columns_of(reports: window.Reports) -> window.Columns:
    columns = window.no_columns(len(POINTS))
    places = {number: window.place_of(number, window.number_of(NOW)) for number in reports}
    window.put_detectors(columns, reports, LANES, np.ones(len(LANES), bool), places)
    return columns


@given(st.lists(rows, max_size=25), st.data())
def test_any_order_any_repetition_and_any_split_give_the_same_window(
    told: list[np.ndarray], data: st.DataObject
) -> None:
    whole = together(told)
    at_once, _ = window.absorb({}, whole, LANES, now_us=NOW)
    order = data.draw(st.permutations(range(len(whole))))
    again = data.draw(st.lists(st.sampled_from(order), max_size=8)) if order else []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    shuffled = whole[np.array([*order, *again], np.int64)]
    bit_by_bit: window.Reports = {}
    for part in np.split(shuffled, cuts):
        bit_by_bit, _ = window.absorb(bit_by_bit, part, LANES, now_us=NOW)
    assert sorted(at_once) == sorted(bit_by_bit)
    for number, interval in at_once.items():
        assert interval.rows.tobytes() == bit_by_bit[number].rows.tobytes()
    one, other = columns_of(at_once), columns_of(bit_by_bit)
    for name in window.VALUES:
        np.testing.assert_array_equal(one[name], other[name])


@settings(max_examples=25)
@given(st.lists(rows, max_size=30), st.lists(st.integers(0, CYCLES), max_size=30), st.integers(0, CYCLES))
def test_nothing_that_comes_breaks_a_turn_and_a_snapshot_goes_on_alike(
    told: list[np.ndarray], arrivals: list[int], cut: int
) -> None:
    """Whatever reports come in whichever cycle; one state goes through a dump on its way."""
    rules = cycle.RoadRules.from_parameters({})
    sections = no_sections()
    undisturbed, restored = cycle.new_state(NET, POINTS), cycle.new_state(NET, POINTS)
    for number in range(CYCLES + 1):
        part = together([row for row, at in zip(told, arrivals, strict=False) if at == number])
        now_us = NOW + number * CYCLE_US
        if number == cut:
            restored = cycle.load(cycle.dump(restored), NET, POINTS)
        one, other = (
            cycle.turn(NET, POINTS, sections, state, Inputs(reports=part), rules, now_us=now_us)
            for state in (undisturbed, restored)
        )
        for name in one.picture.__slots__:
            np.testing.assert_array_equal(getattr(one.picture, name), getattr(other.picture, name))
        assert one.health == other.health and one.indices == other.indices
        check(one.picture)


def check(picture) -> None:  # noqa: ANN001
    """Unknown is never green, and numbers are numbers that can be."""
    unknown = picture.level == 0
    for name in ("speed_kmh", "flow_vph", "density_vkm", "travel_s", "travel_p90_s", "heavy_share"):
        values = getattr(picture, name)
        assert np.isnan(values[unknown]).all(), name
        assert (values[~np.isnan(values)] >= 0).all(), name
    assert not np.isnan(picture.speed_kmh[~unknown]).any()
    assert ((picture.confidence >= 0) & (picture.confidence <= 1)).all()
    assert (picture.observed_us[unknown] == 0).all() and (picture.observed_us <= picture.at_us).all()
    assert ((picture.sources > 0) == ~unknown).all()
