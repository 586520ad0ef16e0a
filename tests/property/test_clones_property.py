"""Cloned plates: any order of arrival within the lateness ends in the same findings, those of plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dashboards.bench.plain_rules import PlainClones, PlainSections, Reading, Seen
from tests.clones import clone_book, clone_terms, usual_times
from tests.sightings import RULES, SECTIONS, T0, A, B, C, D, fold_all, passages
from traffic.limits import RING_OBSERVATIONS
from traffic.network import Section
from traffic.plates import plate_text
from traffic.vehicles import judge_batch
from traffic.vehicles.section_speed import SectionRule
from traffic.vehicles.state import VehicleState

TERMS = clone_terms(probability_min=0.2)
BOOK = clone_book(TERMS, sections=SECTIONS, rules=RULES)
PLAIN_CLONES = PlainClones(usual_times(), TERMS.parameters)
PLAIN_SECTIONS = PlainSections(
    [Section(id=n, from_checkpoint=a, to_checkpoint=b, length_m=m, limit_kmh=v) for n, a, b, m, v in SECTIONS],
    SectionRule(tolerance_share=0.1),
)

moments = st.tuples(
    st.integers(0, 120).map(lambda half: half / 2),
    st.sampled_from([A, B, C, D]),
    st.integers(0, 3),
    st.sampled_from([0, 1133, 1823]),
    st.sampled_from([0, 1, 4]),
)
journeys = st.lists(moments, max_size=RING_OBSERVATIONS, unique_by=lambda seen: (seen[0], seen[2]))


def rows_of(journey: list[tuple]) -> np.ndarray:
    rows = passages(*(seen[:3] for seen in journey))
    rows["vehicle_class"] = [seen[3] for seen in journey]
    rows["body_color"] = [seen[4] for seen in journey]
    return rows


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    """A vehicle's passages, and the same in some order with repetitions, cut into batches."""
    rows = rows_of(draw(journeys))
    order = draw(st.permutations(range(len(rows))))
    order = [*order, *(draw(st.lists(st.sampled_from(order), max_size=6)) if len(rows) else [])]
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=6)))
    return rows, np.split(rows[np.array(order, np.int64)], cuts)


def by_time(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((rows["source_hash"], rows["observed_at"]))]


def standing(batches: list[np.ndarray]) -> dict[tuple[str, str], tuple]:
    """What the findings say in the end: their readings and their numbers."""
    state, stored = VehicleState(), {}
    for batch in batches:
        fold_all(stored, judge_batch(state, BOOK, batch))
    return {
        (finding.kind, finding.anchor): finding.observations for finding in stored.values() if finding.state == "active"
    }


def readings_of(rows: np.ndarray) -> list[Reading]:
    return [
        Reading(
            *(int(row[name]) for name in ("observed_at", "source_hash", "checkpoint", "vehicle_class", "body_color"))
        )
        for row in by_time(rows)
    ]


@given(arrivals())
def test_any_order_any_batches_and_any_repetition_end_in_the_same_findings(arrival: tuple) -> None:
    rows, batches = arrival
    ordered = by_time(rows)
    assert standing(batches) == standing([ordered]) == standing([ordered[n : n + 1] for n in range(len(ordered))])


@given(arrivals())
def test_what_is_told_is_what_plain_python_tells(arrival: tuple) -> None:
    rows, batches = arrival
    readings = readings_of(rows)
    told = PLAIN_CLONES.told(plate_text(int(rows["plate_key"][0])) if len(rows) else "", readings)
    expected = {f"{readings[at].at}:{readings[at].source}": before for at, before in told.items()}
    found = {a: seen[0].at for (kind, a), seen in standing(batches).items() if kind == "cloned_plate"}
    assert found == expected


@given(journeys)
def test_one_record_after_another_plain_python_changes_its_mind_at_the_same_records(journey: list[tuple]) -> None:
    rows = by_time(rows_of(journey))
    state, seen = VehicleState(), Seen()
    for row, reading in zip(rows, readings_of(rows), strict=True):
        said = judge_batch(state, BOOK, np.array([row]))
        plate = plate_text(int(row["plate_key"]))
        changes = PLAIN_CLONES.next(plate, seen, reading) + PLAIN_SECTIONS.next(seen.readings, reading)
        seen.readings.append(reading)
        told = {(word.rule, ":".join(map(str, word.anchor)), word.stands) for word in changes}
        assert {(word.kind, word.anchor, word.active) for word in said} == told


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9), st.integers(0, 3)), max_size=40))
def test_hostile_times_and_places_break_nothing(seen: list[tuple]) -> None:
    rows = passages(*((0, checkpoint, source) for _, checkpoint, source in seen))
    rows["observed_at"] = [at for at, _, _ in seen]
    rows["speed_kmh"] = np.nan
    state = VehicleState()
    for batch in np.array_split(rows, 3):
        judge_batch(state, BOOK, batch)
    assert len(state) <= 1


def test_a_vehicle_seen_without_end_keeps_what_was_said_of_it() -> None:
    minutes = [(n * 2, (A, D)[n % 2], n) for n in range(60)]
    rows = passages(*minutes)
    assert T0 in rows["observed_at"]
    found = standing([rows[n : n + 7] for n in range(0, 60, 7)])
    one_by_one = standing([rows[n : n + 1] for n in range(60)])
    assert found.keys() == one_by_one.keys()
    assert len(found) > 30
