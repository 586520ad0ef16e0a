"""The judge of a chaos run finds every kind of damage, and finds none where there is none."""

from dataclasses import replace

import pytest

from dashboards.chaos import compare
from dashboards.chaos.bodies import Content
from dashboards.chaos.compare import Expected, Said
from dashboards.chaos.watchers import Told
from tests.sightings import A, B, passages, rulebook, watch

ONE = Content(checkpoint=1, plate_key=10, plate_class=2, direction=1, lane=1, speed_kmh=80.0)
NATIVE, GAT = (2, 7), (1, 9)
EXPECTED = Expected(
    content={(1, 11): ONE, (2, 12): replace(ONE, speed_kmh=None)},
    told_by={(1, 11): {NATIVE, GAT}, (2, 12): {NATIVE}},
    amended={(2, 12)},
    markers={"fault-000001"},
)
STORED = list(EXPECTED.content.items())


def test_what_is_as_it_should_be_is_not_reported():
    assert compare.compare_passages(EXPECTED, STORED) == []
    assert compare.compare_sources(EXPECTED, {(1, 11): GAT, (2, 12): NATIVE}, [((1, 11), NATIVE)]) == []
    assert compare.compare_amendments(EXPECTED, [(2, 12)]) == []
    assert compare.compare_feed([(0, 1), (0, 2), (1, 1)], {0: 2, 1: 1, 2: 0}) == []
    assert compare.compare_rows("x", {(1,): (1.0, 2.0)}, {(1,): (1.0, 2.0004)}) == []


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (STORED[:1], "acknowledged but not stored"),
        ([*STORED, ((3, 13), ONE)], "stored but never sent whole"),
        ([*STORED, STORED[0]], "stored more than once"),
        ([STORED[0], ((2, 12), ONE)], "stored otherwise than told"),
        ([((1, 11), replace(ONE, lane=2)), STORED[1]], "stored otherwise than told"),
        ([((1, 11), replace(ONE, speed_kmh=80.5)), STORED[1]], "stored otherwise than told"),
    ],
)
def test_every_kind_of_damage_to_passages_is_found(stored: list, words: str):
    assert words in " ".join(compare.compare_passages(EXPECTED, stored))


def test_a_door_that_is_not_named_or_named_twice_is_found():
    first = {(1, 11): GAT, (2, 12): NATIVE}
    assert compare.compare_sources(EXPECTED, first, [])
    assert compare.compare_sources(EXPECTED, first, [((1, 11), NATIVE)] * 2)
    assert compare.compare_sources(EXPECTED, first, [((1, 11), NATIVE), ((2, 12), GAT)])


def test_amendments_that_are_missing_or_too_many_are_found():
    assert compare.compare_amendments(EXPECTED, [])
    assert compare.compare_amendments(EXPECTED, [(2, 12), (2, 12)])
    assert compare.compare_amendments(EXPECTED, [(2, 12), (1, 11)])


@pytest.mark.parametrize(
    "rows",
    [[(0, 1), (0, 3)], [(0, 1), (0, 2), (0, 3)], [(0, 2)], [(0, 1), (0, 2), (0, 2)], [], [(0, 1), (0, 2), (5, 1)]],
)
def test_a_feed_with_holes_or_repetitions_is_found(rows: list):
    assert compare.compare_feed(rows, {0: 2})


def test_figures_that_differ_or_are_missing_are_found():
    assert compare.compare_rows("roll-up", {(1,): (1.0,)}, {})
    assert compare.compare_rows("roll-up", {}, {(1,): (1.0,)})
    assert compare.compare_rows("roll-up", {(1,): (1.0,)}, {(1,): (2.0,)})


def test_many_differences_are_counted_and_a_few_are_shown():
    told = compare.lists("lost", range(100))
    assert len(told) == compare.SHOWN_MAX + 1 and "95 more" in told[-1]


# ---------------------------------------------------------------- findings
def test_the_undisturbed_judge_says_what_the_rules_say_whatever_the_order_of_the_rows():
    rules = rulebook(watch())
    rows = passages((0, A), (4, B))  # 10 km in 4 minutes
    said = compare.judge_in_order(rules, rows)
    assert compare.judge_in_order(rules, rows[::-1]) == said
    assert sorted(one.kind for one in said.values()) == ["section_speed", "watch_hit"]
    assert {one.speed_kmh for one in said.values()} == {None, 150.0}
    assert compare.compare_findings(said, said) == []


def test_findings_that_are_missing_too_many_or_other_are_found():
    said = Said(kind="watch_hit", plate_key=1, level=1, count=2, records=("1:1", "2:2"), speed_kmh=None)
    assert compare.compare_findings({"a": said}, {})
    assert compare.compare_findings({}, {"a": said})
    assert compare.compare_findings({"a": said}, {"a": replace(said, count=1, records=("1:1",))})


# ---------------------------------------------------------------- clients
VISIBLE = [(0, 1, ("a", 1)), (0, 2, ("a", 2)), (3, 5, ("b", 1))]
FIRST = Told(kind="snapshot", cursor="e|", cards=())


def delta(cursor: str, *cards: tuple[str, int]) -> Told:
    return Told(kind="delta", cursor=cursor, cards=cards)


def test_a_client_that_saw_all_behind_its_first_snapshot_is_content():
    assert (
        compare.compare_told("x", [FIRST, delta("e|0:1", ("a", 1)), delta("e|0:2,3:5", ("a", 2), ("b", 1))], VISIBLE)
        == []
    )
    late = Told(kind="snapshot", cursor="e|0:1", cards=(("a", 1),))
    assert compare.compare_told("x", [late, delta("e|0:2,3:5", ("b", 1), ("a", 2))], VISIBLE) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "never got a first snapshot"),
        ([FIRST, delta("e|0:2", ("a", 1), ("a", 2))], "never told"),
        ([FIRST, delta("e|3:5", ("a", 1), ("a", 2), ("b", 1), ("b", 1))], "twice"),
        ([FIRST, delta("e|3:5", ("a", 1), ("a", 2), ("b", 1), ("c", 1))], "may not see"),
        ([FIRST, delta("e|3:5", ("a", 2), ("a", 1), ("b", 1))], "out of order"),
        ([FIRST, delta("e|0:1", ("a", 1)), Told(kind="snapshot", cursor="e|3:5", cards=())], "instead of what"),
    ],
)
def test_every_way_to_miss_an_alert_is_found(told: list[Told], words: str):
    assert words in " ".join(compare.compare_told("x", told, VISIBLE))
