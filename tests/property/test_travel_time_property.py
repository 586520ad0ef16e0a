"""Travel times: whatever comes in which order and batches, the facts that stand are those of the whole."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import MINUTE, SECTIONS, T0, A, B, C, D, passages, rulebook
from traffic.limits import SECTION_TRAVEL_MAX_S, TRAVEL_SAMPLES_MAX
from traffic.readings import PASSAGE
from traffic.vehicles import judge, travel_time
from traffic.vehicles.state import VehicleState

BOOK = rulebook()
OFF = rulebook(rules=())
PLATES = ("吉A12345", "吉A12346")


@st.composite
def traffic(draw: st.DrawFn) -> np.ndarray:
    """At most a ring of observations of each of two vehicles, at any gate, quick, slow and at one time."""
    parts = []
    for plate in PLATES:
        seen = draw(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([A, B, C, D])), max_size=12, unique=True))
        parts.append(passages(*seen, plate=plate))
    return np.concatenate(parts) if parts else np.empty(0, PASSAGE)


def standing(facts: np.ndarray) -> Counter:
    """Facts that stand after all came and went."""
    total: Counter = Counter()
    for fact in facts:
        total[int(fact["section"]), int(fact["exit_at"]), int(fact["travel_us"])] += int(fact["sign"])
    assert all(count >= 0 for count in total.values())
    return +total


def plainly(rows: np.ndarray) -> Counter:
    """The facts by the words: the first reading at the end after one at the start, from the last at the start."""
    total: Counter = Counter()
    for plate in set(rows["plate_key"].tolist()):
        mine = rows[rows["plate_key"] == plate]
        mine = mine[np.lexsort((mine["source_hash"], mine["observed_at"]))]
        for number, start, end, length_m, _ in SECTIONS:
            before = None
            for row in mine:
                if row["checkpoint"] == end and before is not None and before["checkpoint"] == start:
                    travel_us = int(row["observed_at"] - before["observed_at"])
                    fastest_us = max(int(np.ceil(length_m * 3.6e6 / 250)), 10_000_000)
                    if fastest_us <= travel_us <= SECTION_TRAVEL_MAX_S * 1_000_000:
                        total[number, int(row["observed_at"]), travel_us] += 1
                if row["checkpoint"] in (start, end):
                    before = row
    return total


@given(traffic(), st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_and_batches_leave_the_facts_of_the_whole(rows: np.ndarray, chance, size: int):
    order = list(range(len(rows)))
    chance.shuffle(order)
    state, parts = VehicleState(), []
    for start in range(0, len(order), size):
        parts.append(judge(state, BOOK, rows[order[start : start + size]]).travels)
    assert standing(travel_time.together(parts)) == plainly(rows)
    again = judge(state, BOOK, rows)
    assert not len(again.travels)


@given(traffic())
def test_travel_times_do_not_hang_on_the_rule_being_in_force(rows: np.ndarray):
    verdict = judge(VehicleState(), OFF, rows)
    assert not verdict.candidates
    assert standing(verdict.travels) == plainly(rows)


def test_a_slow_vehicle_and_a_fast_one_are_facts_and_the_impossible_is_none():
    rows = passages((0, A), (4, B), (60, A), (90, B), (200, A), (200.5, B), (300, A), (430, B))
    facts = judge(VehicleState(), BOOK, rows).travels
    assert (facts["travel_us"] / MINUTE).tolist() == [4.0, 30.0]  # neither 1,200 km/h nor more than two hours


def test_a_reading_between_takes_the_fact_back_and_gives_another():
    state = VehicleState()
    (first,) = judge(state, BOOK, passages((0, A), (20, B))).travels
    late = judge(state, BOOK, passages((5, A))).travels
    assert [(fact["sign"], fact["travel_us"] / MINUTE) for fact in (first, *late)] == [(1, 20.0), (-1, 20.0), (1, 15.0)]


def test_facts_are_grouped_by_section_and_half_minute_with_a_bound_on_samples():
    facts = np.zeros(TRAVEL_SAMPLES_MAX + 11, travel_time.TRAVEL_FACT)
    facts["exit_at"], facts["section"], facts["sign"] = T0 // 30_000_000 * 30_000_000, 1, 1
    facts["travel_us"] = 1_000_000 * np.arange(len(facts))
    facts["exit_at"][:5] += 30_000_000
    facts["section"][5:6] = 2
    groups = travel_time.by_bucket(facts)
    assert [(section, vehicles, len(times)) for section, _, vehicles, times in groups] == [
        (1, TRAVEL_SAMPLES_MAX + 5, TRAVEL_SAMPLES_MAX), (1, 5, 5), (2, 1, 1)
    ]  # fmt: skip
    assert travel_time.by_bucket(facts[:0]) == []
