"""Risk of links: what raises it, how its parts add up, what the next hour brings, and when nothing can be said."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stretches import (
    CYCLE_US,
    NOTHING,
    START_US,
    picture_of,
    sensors_at,
    steady_window,
    straight,
    window_of,
)
from traffic import risk
from traffic.errors import SettingsError
from traffic.risk import FACTORS, Memory, RiskRule, factors
from traffic.road_readings import RoadWork, WeatherReport
from traffic.roads.model import Inputs, RiskLevel, RiskPicture, Window

RULE = RiskRule()
HOUR_US = 3_600_000_000


class Story:
    """Cycles on four links with a sensor on each."""

    def __init__(self) -> None:
        self.network = straight(4)
        self.sensors = sensors_at(self.network, [(row, 0.5) for row in range(4)])
        self.memory = Memory.new(self.network, self.sensors)
        self.now_us = START_US

    def cycle(
        self, levels: list[int], *, inputs: Inputs = NOTHING, window: Window | None = None, rules: RiskRule = RULE
    ) -> RiskPicture:
        """One cycle with given levels."""
        self.now_us += CYCLE_US
        return risk.assess(
            self.network, picture_of(self.network, levels, at_us=self.now_us),
            window or steady_window(self.sensors, at_us=self.now_us), self.sensors, inputs, self.memory, rules,
            now_us=self.now_us,
        )  # fmt: skip


def part(picture: RiskPicture, name: str, row: int, *, coming: bool = False) -> float:
    """One factor's contribution."""
    return float((picture.next_parts if coming else picture.now_parts)[row, FACTORS.index(name)])


def ice(**values: Any) -> WeatherReport:
    """On K1..K2 in both directions, for an hour."""
    usual = {
        "station": "W1", "observed_at": START_US, "received_at": START_US, "valid_to": START_US + HOUR_US,
        "device": 1, "unit_id": 3, "road_id": 1, "from_stake_m": 1000, "to_stake_m": 2000, "direction": 0,
        "surface": "ice",
    }  # fmt: skip
    return WeatherReport(**(usual | values))


def work(**values: Any) -> RoadWork:
    """On K3..K4, for an hour from half an hour on."""
    usual = {
        "code": "P1", "observed_at": START_US, "received_at": START_US, "device": None, "unit_id": 9, "road_id": 1,
        "from_stake_m": 3000, "to_stake_m": 4000, "direction": 1, "lanes_closed": (3,), "kind": "paving",
        "from_at": START_US + HOUR_US // 2, "to_at": START_US + 2 * HOUR_US,
    }  # fmt: skip
    return RoadWork(**(usual | values))


def test_a_free_road_by_day_is_low_and_weather_worsens_it() -> None:
    story = Story()
    good = story.cycle([1, 1, 1, 1])
    assert (good.now_level == RiskLevel.LOW).all()
    bad = story.cycle([1, 1, 1, 1], inputs=Inputs(weather=[ice()]))
    assert bad.now_level.tolist() == [1, 2, 1, 1]
    assert bad.now[1] - good.now[1] == pytest.approx(part(bad, "weather", 1)) == pytest.approx(0.85 * 0.4)
    over = story.cycle([1, 1, 1, 1], inputs=Inputs(weather=[ice(valid_to=START_US + CYCLE_US)]))
    assert over.now[1] == good.now[1]


def test_the_tail_of_a_queue_is_where_fast_traffic_meets_it() -> None:
    picture = Story().cycle([1, 1, 5, 5])
    assert int(picture.now.argmax()) == 2
    assert part(picture, "upstream_difference", 2) > 0 == part(picture, "upstream_difference", 3)
    assert picture.now_level[2] >= RiskLevel.HIGH > picture.now_level[1]


def test_uneven_speeds_raise_it_and_a_sensor_without_trust_is_not_heard() -> None:
    story = Story()
    speed = np.full((4, 30), 100.0)
    speed[1, -10:] = np.tile([60.0, 110.0], 5)
    flow = np.full(speed.shape, 2400.0)
    uneven = story.cycle([1, 1, 1, 1], window=window_of(speed, flow, at_us=START_US))
    assert part(uneven, "speed_spread", 1) > 0.1 and part(uneven, "speed_spread", 0) == 0
    trust = np.array([1.0, 0.2, 1.0, 1.0])
    unheard = story.cycle([1, 1, 1, 1], window=window_of(speed, flow, at_us=START_US, trust=trust))
    assert part(unheard, "speed_spread", 1) < part(uneven, "speed_spread", 1)


def test_works_count_when_they_stand_and_for_the_next_hour_before() -> None:
    story = Story()
    before = story.cycle([1, 1, 1, 1], inputs=Inputs(works=[work()]))
    assert part(before, "works", 3) == 0 and part(before, "works", 3, coming=True) == pytest.approx(0.2 * (0.5 + 1 / 6))
    far = story.cycle([1, 1, 1, 1], inputs=Inputs(works=[work(from_at=START_US + 2 * HOUR_US)]))
    assert part(far, "works", 3, coming=True) == 0
    there = story.cycle([1, 1, 1, 1], inputs=Inputs(works=[work(from_at=START_US, state="active")]))
    assert part(there, "works", 3) == pytest.approx(0.2 * (0.5 + 1 / 6)) and part(there, "works", 2) == 0


def test_the_next_hour_follows_the_trend_and_what_is_usual_then() -> None:
    story = Story()
    for _ in range(5):
        story.cycle([1, 1, 1, 1])
    worse = story.cycle([1, 1, 3, 1])
    assert worse.next_hour[2] > worse.now[2]
    rush = Inputs(usual_next_vph=np.full(4, 5_700.0))
    calm = Inputs(usual_next_vph=np.full(4, 300.0))
    busy, quiet = story.cycle([1, 1, 1, 1], inputs=rush), story.cycle([1, 1, 1, 1], inputs=calm)
    assert part(busy, "flow", 0, coming=True) > part(busy, "flow", 0) > part(quiet, "flow", 0, coming=True)


def test_slower_than_usual_counts_and_not_what_is_slow_every_day() -> None:
    picture = Story().cycle([4, 4, 4, 4], inputs=Inputs(usual_kmh=np.array([35.0, 100.0, np.nan, 30.0])))
    drops = [part(picture, "speed_drop", row) for row in range(4)]
    assert drops[0] == drops[3] == 0 and drops[1] > 0 and drops[2] > 0


def test_night_falls_at_the_right_hour() -> None:
    day = 1_766_275_200_000_000  # 2025-12-21T00:00:00Z: 08:00 in Shanghai
    # Sun at Changchun on the winter solstice: rise about 07:10, set about 16:02 (Shanghai time).
    at = {hour: factors.darkness(int(day + (hour - 8) * HOUR_US), 43.9, 125.3) for hour in (6.0, 7.6, 12.0, 15.9, 17.2)}
    assert at == {6.0: 1.0, 7.6: 0.0, 12.0: 0.0, 15.9: 0.0, 17.2: 1.0}
    assert 0 < factors.darkness(int(day + 8.35 * HOUR_US), 43.9, 125.3) < 1
    summer = 1_781_913_600_000_000  # 2026-06-20T00:00:00Z; the sun rises about 03:56 and sets about 19:22
    assert factors.darkness(int(summer - 3.9 * HOUR_US), 43.9, 125.3) < 0.2
    assert factors.darkness(int(summer + 11.2 * HOUR_US), 43.9, 125.3) == 0


def test_a_link_without_state_has_no_risk_rather_than_none() -> None:
    picture = Story().cycle([0, 1, 1, 1], inputs=Inputs(weather=[ice(from_stake_m=0)]))
    assert np.isnan(picture.now[0]) and np.isnan(picture.next_hour[0]) and np.isnan(picture.now_parts[0]).all()
    assert (picture.now_level[0], picture.next_level[0]) == (RiskLevel.UNKNOWN, RiskLevel.UNKNOWN)


def test_too_few_known_factors_are_no_basis() -> None:
    strict = replace(RULE, known_share_min=1.0)
    assert Story().cycle([1, 1, 1, 1], rules=strict).now_level.tolist() == [0, 1, 1, 1], "nothing upstream of the first"


LEVELS = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=6)


@given(LEVELS, st.integers(0, 5))
def test_parts_add_up_to_the_score_and_a_memory_says_the_same(cycles: list[list[int]], at: int) -> None:
    one, two = Story(), Story()
    inputs = Inputs(weather=[ice(visibility_m=20)], works=[work(lanes_closed=(1, 2, 3))])
    for number, levels in enumerate(cycles):
        if number == at:
            packed = msgspec.msgpack.encode(two.memory.dump())
            two.memory = Memory.load(msgspec.msgpack.decode(packed), two.network, two.sensors)
        said, again = one.cycle(levels, inputs=inputs), two.cycle(levels, inputs=inputs)
        for score, parts, level in (
            (said.now, said.now_parts, said.now_level), (said.next_hour, said.next_parts, said.next_level)
        ):  # fmt: skip
            known = ~np.isnan(score)
            assert np.array_equal(parts[known].sum(axis=1), score[known]) and (parts[known] >= 0).all()
            assert ((score[known] >= 0) & (score[known] <= 1 + 1e-12)).all()
            assert np.array_equal(level > 0, known) and np.array_equal(known, np.array(levels) > 0)
        assert np.array_equal(said.now_parts, again.now_parts, equal_nan=True)
        assert np.array_equal(said.next_parts, again.next_parts, equal_nan=True)


def test_a_memory_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="another network"):
        Memory.load(Story().memory.dump(), straight(3), sensors_at(straight(3), []))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"weights": {"flow": 1}}, "rule road_risk: weights must give a number for each of " + ", ".join(FACTORS)),
        (
            {"weights": dict.fromkeys(FACTORS, -1)},
            "rule road_risk: weights.speed_drop must lie between 0 and 1, not -1",
        ),
        ({"colours": [0.6, 0.4, 0.2]}, "rule road_risk: colours must rise from step to step"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        risk.from_parameters(parameters)
    assert str(caught.value) == sentence


def test_defaults_make_the_rule() -> None:
    assert risk.from_parameters(risk.DEFAULTS) == RULE
