"""How far checkpoints and terminals are believed, and what that does to a finding."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import A, B, C, fold_all, passages, rulebook, watch
from traffic.findings import card
from traffic.vehicles.trust import Record, Trust, apply, reading_trust, terminal_trust

counts = st.integers(0, 500)


def test_of_whom_nothing_is_known_is_believed() -> None:
    assert Record().trust == 1.0
    assert Trust().trusted(0.95, (A, B)) == 0.95
    assert terminal_trust(0) == 1.0


@given(counts, counts)
def test_more_misreads_never_raise_trust_and_more_right_ones_never_lower_it(valid: int, misread: int) -> None:
    trust = reading_trust(valid, misread)
    assert 0.0 < trust <= 1.0
    assert reading_trust(valid, misread + 1) <= trust <= reading_trust(valid + 1, misread)
    assert terminal_trust(misread + 1) < terminal_trust(misread)


def test_a_camera_that_is_mostly_wrong_is_hardly_believed() -> None:
    assert reading_trust(0, 100) < 0.2
    assert reading_trust(0, 1) > 0.9
    assert reading_trust(-3, -2) == 1.0  # counts of days whose verdicts were taken back elsewhere


def test_a_rule_is_believed_as_far_as_its_least_trusted_checkpoint() -> None:
    trust = Trust.of_records({A: Record(health=0.5), B: Record(health=0.9, misread=2)})
    assert trust.trusted(0.8, (A, B, C)) == pytest.approx(0.4)
    assert trust.trusted(0.8, (C, 0)) == 0.8


def test_a_hit_is_as_sure_as_its_surest_sighting_and_states_the_trust_of_each_checkpoint() -> None:
    trust = Trust.of_records({A: Record(health=0.4), B: Record(health=0.8)})
    book = replace(rulebook(watch()), trust=trust)
    (candidate,) = book.match_watchlist(passages((0, A), (9, B)))
    assert candidate.confidence == pytest.approx(0.95 * 0.8)
    (finding,) = fold_all({}, [apply(candidate, trust)])
    assert finding.detail["trust"] == {"lowest": 0.4, "checkpoints": {str(A): 0.4, str(B): 0.8}}
    assert card(finding, "吉A12345")["trust"] == 0.4


def test_where_nothing_is_known_nothing_is_stated() -> None:
    (candidate,) = rulebook(watch()).match_watchlist(passages((0, A)))
    assert apply(candidate, Trust()) == candidate == apply(candidate, None)
    (finding,) = fold_all({}, [candidate])
    assert card(finding, "吉A12345")["trust"] is None
