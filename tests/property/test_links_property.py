"""Whatever gates, travel times and histories say, a picture stays one: unknown is NaN, and numbers can be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_window_property import check
from tests.roadkit import CYCLE_US, RULES, START_US, network, one_section, sensors
from traffic.roads import cycle, links
from traffic.roads.model import CHECKPOINT_FLOW, TRAVEL, Inputs

NET = network(3)
POINTS = sensors(NET, detectors=(1,), gates=(1, 2))
SECTIONS = one_section(NET)
NOW = START_US + 40 * CYCLE_US

numbers = st.one_of(st.integers(-5, 200), st.integers(-(2**40), 2**40))
floats = st.floats(allow_nan=True, allow_infinity=True)
travels = st.tuples(
    st.integers(0, 2),
    st.one_of(st.integers(-40, 4).map(lambda at: NOW + at * CYCLE_US), st.sampled_from([0, -(2**62), 2**62])),
    st.one_of(st.floats(0, 2_000), floats),
)
flows = st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.integers(-8, 2).map(lambda at: NOW + at * 60_000_000), st.integers(-1, 9),
    numbers, numbers, floats, numbers,
)  # fmt: skip
histories = st.one_of(st.none(), st.lists(floats, min_size=3, max_size=3).map(np.array), st.just(np.empty(0)))


@settings(max_examples=60)
@given(st.lists(travels, max_size=12), st.lists(flows, max_size=12), histories, histories)
def test_nothing_that_gates_and_sections_say_makes_a_nonsense_of_the_picture(
    travel: list[tuple], flow: list[tuple], usual_kmh: np.ndarray | None, usual_vph: np.ndarray | None
) -> None:
    state = cycle.new_state(NET, POINTS)
    inputs = Inputs(
        travel=np.array(travel, TRAVEL), flows=np.array(flow, CHECKPOINT_FLOW), alive_us={1: NOW, 2: 0},
        usual_kmh=usual_kmh, usual_vph=usual_vph,
    )  # fmt: skip
    for number in range(3):
        turned = cycle.turn(NET, POINTS, SECTIONS, state, inputs, RULES, now_us=NOW + number * CYCLE_US)
        check(turned.picture)
        for index in turned.indices:
            assert index.index is None or 0 <= index.index <= 10
            assert 0 <= index.known_share <= 1 and index.congested_km >= 0


@given(st.lists(st.floats(0.1, 250), min_size=2, max_size=30))
def test_a_level_never_contradicts_the_speed_by_more_than_its_margin(speeds: list[float]) -> None:
    net, free, rule = network(1), np.array([95.0]), RULES.link_levels
    level = np.zeros(1, np.int8)
    for speed in speeds:
        level = links.levels_of(net, np.array([speed]), free, level, rule)
        best, worst = (
            links.levels_of(net, np.array([speed * (1 + side * rule.level_margin)]), free, np.zeros(1, np.int8), rule)
            for side in (1, -1)
        )
        assert best[0] <= level[0] <= worst[0]
