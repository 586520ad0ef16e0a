"""Key vehicles: what is said in the end depends on the records alone, not on how they came."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.keyedkit import (
    COACH,
    GATES,
    LORRY,
    MINUTE_US,
    SECOND_US,
    TANKER,
    Story,
    alarm,
    at,
    book,
    clock,
    ground,
    passage,
    permits,
    position,
    rule,
)
from traffic.vehicles import keyed
from traffic.vehicles.areas import Fence

PLATES = (COACH, TANKER, LORRY)
LATENESS_US = 15 * MINUTE_US
FEW = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a story of three hours is not made shorter
)


def _book():
    fences = (
        Fence(id=1, code="F1", name="禁区", kind="forbidden", unit=7, centre=at(90_000), radius_m=3_000.0),
        Fence(id=2, code="F2", name="水源地", kind="forbidden", unit=7, centre=at(92_000), radius_m=6_000.0),
        Fence(id=3, code="F3", name="停车场", kind="parking", unit=7, centre=at(150_000), radius_m=2_000.0),
    )
    on = ground(fences)
    every = [
        rule("driving_time", 4, on, parameters={"day_limit_min": 60, "night_limit_min": 30, "limit_24h_min": 100}),
        rule("night_running", 5, on, scope={"kinds": ["tour_coach"]}),
        rule("overspeed", 8, on),
        rule("long_stop", 14, on),
        rule("geofence", 15, on),
        rule("route_deviation", 7, on, scope={"kinds": ["hazardous_goods"]}),
        rule("overdue_arrival", 13, on),
        rule("device_alarm", 16, on),
        rule("position_mismatch", 17, on),
    ]
    return book(*every, permits=permits({"plate": TANKER, "roads": [{"road": "G1", "to_stake_m": 120_000}]}))


BOOK = _book()


def _records(seed: int) -> list[np.ndarray]:
    """Three hours of three vehicles: they drive, stand, speed, are seen elsewhere, and raise alarms."""
    random = np.random.default_rng(seed)
    records = []
    for plate in PLATES:
        now, stake = clock("00:30") + int(random.integers(0, 240)) * MINUTE_US, float(random.uniform(30_000, 90_000))
        end = now + 180 * MINUTE_US
        while now < end:
            kmh = float(random.choice([0.0, 60.0, 90.0, 135.0]))
            minutes = int(random.integers(2, 25))
            every_s = int(random.choice([15, 60, 300]))
            for _ in range(max(1, minutes * 60 // every_s)):
                before, stake = stake, stake + kmh / 3.6 * every_s
                now += every_s * SECOND_US
                for gate, gate_m in GATES.items():
                    if before < gate_m <= stake and random.random() < 0.9:
                        when = now - int((stake - gate_m) / max(stake - before, 1.0) * every_s) * SECOND_US
                        records.append(passage(plate, gate, when))
                if random.random() < 0.85:
                    records.append(position(plate, stake, now, kmh))
                if random.random() < 0.03:
                    records.append(passage(plate, int(random.integers(1, 20)), now + SECOND_US))
                if random.random() < 0.04:
                    records.append(alarm(plate, now, int(random.choice([0, 2, 29])), int(random.integers(0, 32))))
    return records


def _received(records: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The same records, each received up to the lateness after it was observed."""
    random = np.random.default_rng(seed)
    late = []
    for record in records:
        copy = record.copy()
        delay = random.choice([0, 5, 60, 300, 899]) * random.random() * SECOND_US
        copy["received_at"] = copy["observed_at"] + int(delay)
        late.append(copy)
    return late


def _final(records: list[np.ndarray], batch_s: int = 60) -> tuple[Story, list[tuple]]:
    story = Story(BOOK)
    story.live(records, batch_s=batch_s)
    return story, story.final()


@FEW
@given(seed=st.integers(0, 10_000), batch_s=st.sampled_from([20, 120, 600]))
def test_any_order_within_the_lateness_ends_in_the_same_findings(seed: int, batch_s: int) -> None:
    records = _records(seed)
    _, straight = _final(records)
    story, shuffled = _final(_received(records, seed + 1), batch_s)
    assert shuffled == straight
    assert story.keyed.late == 0


@FEW
@given(seed=st.integers(0, 10_000))
def test_records_that_come_twice_change_nothing(seed: int) -> None:
    records = sorted(_received(_records(seed), seed + 2), key=lambda row: int(row["received_at"][0]))
    story = Story(BOOK)
    for first in range(0, len(records), 40):
        batch = records[first : first + 40]
        story.tell(*batch)
        assert story.tell(*batch[::-1]) == []
    assert story.final() == _final(records)[1]


@FEW
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_a_snapshot_in_the_middle_changes_nothing(seed: int, share: float) -> None:
    records = sorted(_received(_records(seed), seed + 3), key=lambda row: int(row["received_at"][0]))
    half = int(len(records) * share)
    straight, cut = Story(BOOK), Story(BOOK)
    for story in (straight, cut):
        story.live(records[:half], batch_s=120)
        if story is cut:
            restored = keyed.KeyedState()
            for logical in range(64):
                restored.load(logical, story.keyed.dump(logical))
            story.keyed = restored
        story.tick(int(records[half - 1]["received_at"][0]) + SECOND_US)
        story.live(records[half:], batch_s=120)
    assert cut.final() == straight.final()
    assert [f.revision for f in cut.active] == [f.revision for f in straight.active]
    assert [cut.keyed.dump(n) for n in range(64)] == [straight.keyed.dump(n) for n in range(64)]


@FEW
@given(seed=st.integers(0, 10_000), at_share=st.floats(0.1, 0.9))
def test_a_rule_that_fails_leaves_the_state_as_it_was(seed: int, at_share: float) -> None:
    records = sorted(_received(_records(seed), seed + 4), key=lambda row: int(row["received_at"][0]))
    half = int(len(records) * at_share)
    story = Story(BOOK)
    story.live(records[:half], batch_s=120)
    before = [story.keyed.dump(n) for n in range(64)]
    heads = story.keyed.store.head[: len(story.keyed)].copy()
    failing = Story(replace(BOOK, audience_of_checkpoint=_Refusing(), audience_of_unit=_Refusing()))
    failing.keyed = story.keyed
    part = records[half : half + 150]
    with suppress(KeyError):  # nothing may be said of this part, then nobody is asked
        failing.tell(*part)
        return
    assert [story.keyed.dump(n) for n in range(64)] == before
    assert (story.keyed.store.head[: len(heads)] == heads).all()
    story.tell(*part)
    clean = Story(BOOK)
    clean.live(records[:half], batch_s=120)
    clean.tell(*part)
    assert story.final() == clean.final()


class _Refusing(dict):
    def get(self, key, default=None):
        raise KeyError(key)


@pytest.mark.parametrize("seed", [3])
def test_stories_of_chance_say_something_of_most_kinds(seed: int) -> None:
    """Else the properties above would hold of silence."""
    kinds = {finding.kind for number in range(3) for finding in _final(_records(seed + number))[0].findings.values()}
    assert {"driving_time", "overspeed", "long_stop", "geofence", "route_deviation", "device_alarm"} <= kinds
