"""Findings that grow end the same whatever comes first, and judgements keep what stood before."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from tests.sightings import T0, A, B, C, fold_all, passages, rulebook, watch
from traffic.findings import LONG_STOP, Candidate, Finding, fold
from traffic.limits import OBSERVATIONS_IN_FINDING_MAX

READS = ("吉A12345", "吉A1234S", "吉AI2345")
BOOK = rulebook(watch(plate=READS[0]))


def sightings(seen: list[tuple[int, int, str]]) -> list[Candidate]:
    found = []
    for minute, checkpoint, read in seen:
        found += BOOK.match_watchlist(passages((minute, checkpoint), plate=read))
    return found


def standing(finding: Finding) -> Finding:
    """What does not depend on how it came about."""
    return replace(finding, revision=0, change="new", raised_at=0)


seen = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([A, B, C]), st.sampled_from(READS)),
    min_size=1, max_size=OBSERVATIONS_IN_FINDING_MAX, unique_by=lambda one: one[:2],
)  # fmt: skip


@given(seen, st.data())
def test_sightings_in_any_order_and_as_often_as_they_come_make_the_same_finding(
    said: list, data: st.DataObject
) -> None:
    candidates = sightings(said)
    one: dict = {}
    fold_all(one, candidates)
    other: dict = {}
    order = data.draw(st.permutations(candidates))
    fold_all(other, [*order, *data.draw(st.lists(st.sampled_from(candidates), max_size=5))])
    assert [standing(finding) for finding in one.values()] == [standing(finding) for finding in other.values()]


def judgement(minutes: list[int], *, level: int = 2, active: bool = True, late: bool = False) -> Candidate:
    """A judgement that rests on these minutes; what it says follows from them."""
    (hit,) = BOOK.match_watchlist(passages(*((minute, A) for minute in sorted(minutes)), plate=READS[0]))
    return replace(
        hit, kind=LONG_STOP, anchor="1", level=level, grows=False, active=active, via=None,
        detail={"long_stop": {"stopped_min": max(minutes) - min(minutes), "places": (1, 2)}},
        cause={"reason": "late_passage", "at": T0} if late else None,
    )  # fmt: skip


minutes = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
judgements = st.lists(st.builds(judgement, minutes, level=st.integers(1, 3), active=st.booleans(), late=st.booleans()))


@given(judgements)
def test_a_judgement_says_in_the_end_what_was_said_last_and_every_revision_what_changed(said: list[Candidate]) -> None:
    finding: Finding | None = None
    for candidate in said:
        after = fold(finding, candidate, now_us=T0)
        if after is None:
            unheard = finding is None or finding.state == "retracted"
            assert unheard and not candidate.active or finding is not None and finding.detail == candidate.detail
            continue
        assert after.revision == (finding.revision + 1 if finding else 1)
        assert after.change == (
            "new" if finding is None
            else "retracted" if not candidate.active
            else "updated" if finding.state == "active" and candidate.cause is None
            else "corrected"
        )  # fmt: skip
        assert after.cause == candidate.cause
        assert fold(after, candidate, now_us=T0) is None
        finding = after
    active = [candidate for candidate in said if candidate.active]
    if finding is not None and said[-1].active:
        assert (finding.state, finding.level, finding.detail) == ("active", active[-1].level, active[-1].detail)
    if finding is not None and not said[-1].active:
        assert finding.state == "retracted" and finding.detail == active[-1].detail  # struck through where it stood


@given(minutes)
def test_a_judgement_read_back_from_the_table_and_made_again_changes_nothing(said: list[int]) -> None:
    finding = fold(None, judgement(said), now_us=T0)
    assert finding
    stored = replace(finding, detail=json.decode(json.encode(finding.detail)))  # tuples became lists
    assert fold(stored, judgement(said), now_us=T0) is None
    believed = replace(judgement(said), detail={**judgement(said).detail, "trust": {"lowest": 0.5}})
    assert fold(stored, believed, now_us=T0) is None
