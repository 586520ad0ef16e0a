"""Within the lateness any order of arrival, any split into batches and any repetition end in the same findings."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import MINUTE, SECTIONS, T0, A, B, C, D, fold_all, passages, restricted, rulebook, watch
from traffic.limits import RING_OBSERVATIONS
from traffic.vehicles import absorb, judge_batch
from traffic.vehicles.state import VehicleState

PLATES = ("吉A12345", "吉A12346", "吉B00001")
CLASSES = (0, 1, 2)
BOOK = rulebook(watch("BK-1", PLATES[0]), watch("BK-2", PLATES[0], class_group=1), restricted(plate=PLATES[1]))

vehicles = st.tuples(st.sampled_from(PLATES), st.sampled_from(CLASSES))
moments = st.tuples(
    st.integers(0, 60).map(lambda quarter: quarter / 4), st.sampled_from([A, B, C, D]), st.integers(0, 2)
)
journeys = st.lists(moments, max_size=RING_OBSERVATIONS, unique_by=lambda seen: (seen[0], seen[2]))
worlds = st.dictionaries(vehicles, journeys, max_size=4)


def rows_of(world: dict) -> np.ndarray:
    parts = [
        passages(*((at, checkpoint, 1_000 * number + source) for at, checkpoint, source in journey),
                 plate=plate, plate_class=plate_class)
        for number, ((plate, plate_class), journey) in enumerate(world.items())
    ]  # fmt: skip
    return np.concatenate([passages(), *parts])


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    """A world's passages, and the same in some order with repetitions, cut into batches."""
    rows = rows_of(draw(worlds))
    order = draw(st.permutations(range(len(rows))))
    again = draw(st.lists(st.sampled_from(order), max_size=10)) if len(rows) else []
    order = [*order, *again] if draw(st.booleans()) else [*again, *order]
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=6)))
    return rows, np.split(rows[np.array(order, np.int64)], cuts)


def standing(stored: dict) -> dict:
    """What findings say in the end: those taken back say nothing."""
    return {
        finding.id: (
            finding.kind, finding.plate_key, finding.class_group, finding.anchor, finding.level, finding.confidence,
            finding.first_at, finding.observed_at, finding.count, finding.observations, finding.detail,
            finding.audience,
        )
        for finding in stored.values()
        if finding.state == "active"
    }  # fmt: skip


def undisturbed(rows: np.ndarray) -> dict:
    """Everything in order of event time, one passage at a time."""
    state, stored = VehicleState(), {}
    for number in np.argsort(rows["observed_at"], kind="stable"):
        fold_all(stored, judge_batch(state, BOOK, rows[number : number + 1]))
    return standing(stored)


def by_hand(rows: np.ndarray) -> set[tuple]:
    """Section findings of a plain look at each vehicle's passages: (plate, class, section, entry time, exit time)."""
    found = set()
    for plate, group in {(int(r["plate_key"]), int(r["plate_class"])) for r in rows}:
        mine = rows[(rows["plate_key"] == plate) & (rows["plate_class"] == group)]
        mine = mine[np.lexsort((mine["source_hash"], mine["observed_at"]))]
        for section, start, end, length_m, limit_kmh in SECTIONS:
            ends = [(int(r["observed_at"]), int(r["checkpoint"])) for r in mine if r["checkpoint"] in (start, end)]
            for (entered, place), (left, next_place) in pairwise(ends):
                if (place, next_place) != (start, end) or left - entered < 10_000_000:
                    continue
                speed = length_m * 3.6e6 / (left - entered)
                if limit_kmh * 1.1 < speed <= 250:
                    found.add((plate, group, section, entered, left))
    return found


@given(arrivals())
def test_any_order_any_batches_and_any_repetition_end_in_the_same_findings(arrival: tuple) -> None:
    rows, batches = arrival
    state, stored = VehicleState(), {}
    for batch in batches:
        fold_all(stored, judge_batch(state, BOOK, batch))
    assert standing(stored) == undisturbed(rows)


@given(arrivals())
def test_section_findings_are_those_of_a_plain_look_at_each_vehicle(arrival: tuple) -> None:
    rows, batches = arrival
    state, stored = VehicleState(), {}
    for batch in batches:
        fold_all(stored, judge_batch(state, BOOK, batch))
    found = {
        (f.plate_key, f.class_group, int(f.anchor.split(":")[0]), f.first_at, f.observed_at)
        for f in stored.values()
        if f.kind == "section_speed" and f.state == "active"
    }
    assert found == by_hand(rows)


@given(arrivals())
def test_a_revision_is_made_only_when_something_changed_and_numbers_have_no_gap(arrival: tuple) -> None:
    _, batches = arrival
    state, stored, seen = VehicleState(), {}, {}
    for batch in batches:
        for finding in fold_all(stored, judge_batch(state, BOOK, batch)):
            before = seen.get(finding.id)
            assert finding.revision == (before.revision + 1 if before else 1)
            assert (finding.change == "new") == (before is None)
            assert before is None or (before.observations, before.state) != (finding.observations, finding.state)
            assert finding.change != "retracted" or finding.cause
            seen[finding.id] = finding


@given(arrivals(), st.data())
def test_a_worker_that_dies_anywhere_is_replaced_from_snapshot_and_replay(arrival: tuple, data: st.DataObject) -> None:
    rows, batches = arrival
    state, stored, pages, since = VehicleState(), {}, {}, []
    for batch in batches:
        happens = data.draw(st.sampled_from(["", "snapshot", "dies before the commit", "dies after the commit"]))
        if happens == "snapshot":
            pages |= {page: state.dump(page) for page in state.dirty()}
            state.clear_dirty(state.dirty())
            since = []
        if happens == "dies before the commit":
            judge_batch(state, BOOK, batch)
            state = restored(pages, since)
        fold_all(stored, judge_batch(state, BOOK, batch))
        since.append(batch)
        if happens == "dies after the commit":
            state = restored(pages, since)
    assert standing(stored) == undisturbed(rows)


def restored(pages: dict[int, bytes], since: list[np.ndarray]) -> VehicleState:
    state = VehicleState()
    for page, body in pages.items():
        state.load(page, body)
    for batch in since:
        absorb(state, batch)
    return state


@given(arrivals())
def test_what_was_found_before_can_be_found_again_without_a_change(arrival: tuple) -> None:
    rows, batches = arrival
    state, stored = VehicleState(), {}
    for batch in batches:
        fold_all(stored, judge_batch(state, BOOK, batch))
    assert fold_all(stored, BOOK.match_watchlist(rows)) == []
    assert fold_all(stored, judge_batch(state, BOOK, rows), now_us=T0 + MINUTE) == []
