"""What people do to a finding, and what their verdicts say of the checkpoints."""

from dataclasses import replace

import pytest

from tests.sightings import MINUTE, T0, A, B, fold_all, passages, rulebook, watch
from traffic.findings import CLONED_PLATE, Finding, card, fold, needs_verification
from traffic.readings import AlertDeed
from traffic.verdicts import apply, day_of, difference, shelf_ended


def hit(plate: str = "吉A12345", minute: float = 0, **fields: object) -> Finding:
    """A stored watch-list hit of 吉A12345, read so."""
    book = rulebook(watch(plate="吉A12345", **fields))
    (finding,) = fold_all({}, book.match_watchlist(passages((minute, A), plate=plate)))
    return finding


def deed(action: str = "verify", verdict: str = "valid", reason: str = "", **fields: object) -> AlertDeed:
    given = {"id": "d-1", "finding": "f", "by": "west", "unit": 11, "at": T0 + MINUTE, "until": 0}
    return AlertDeed(action=action, verdict=verdict, reason=reason, **{**given, **fields})  # type: ignore[arg-type]


def done(finding: Finding, *deeds: AlertDeed) -> Finding:
    for one in deeds:
        after = apply(finding, one, now_us=T0 + 2 * MINUTE)
        assert after is not None
        finding = after
    return finding


def test_a_verdict_is_a_revision_that_names_the_deed_and_the_person() -> None:
    finding = done(hit(), deed(verdict="false", reason="misread"))
    assert (finding.revision, finding.change, finding.state) == (2, "verified", "active")
    assert finding.cause == {
        "deed": "d-1", "by": "west", "unit": 11, "at": T0 + MINUTE, "reason": "misread", "verdict": "false",
    }  # fmt: skip
    shown = card(finding, "吉A12345")
    assert shown["verification"] == {"verdict": "false", "reason": "misread", "by": "west", "at": T0 + MINUTE}
    assert not shown["needs_verification"]


def test_another_verdict_takes_the_place_of_the_first() -> None:
    finding = done(hit(), deed(verdict="false", reason="misread"), deed(id="d-2", by="corps", verdict="valid"))
    assert finding.revision == 3 and finding.verification and finding.verification.verdict == "valid"


def test_the_same_person_saying_the_same_again_changes_nothing() -> None:
    finding = done(hit(), deed())
    assert apply(finding, deed(id="d-2"), now_us=T0) is None
    assert apply(finding, deed(id="d-3", verdict=""), now_us=T0) is None


def test_a_shelf_has_a_reason_and_an_end_and_ends_by_itself() -> None:
    until = T0 + 60 * MINUTE
    finding = done(hit(), deed("shelve", "", "等待复核", until=until))
    assert finding.change == "shelved" and card(finding, "x")["shelf"] == {
        "reason": "等待复核",
        "until": until,
        "by": "west",
    }
    assert shelf_ended(finding, now_us=until - 1) is None
    ended = shelf_ended(finding, now_us=until)
    assert ended and (ended.change, ended.shelf, ended.revision) == ("unshelved", None, 3)
    assert ended.cause == {"reason": "shelf_ended", "at": until}
    assert shelf_ended(ended, now_us=until + 1) is None


def test_what_has_no_sense_changes_nothing() -> None:
    finding = hit()
    assert apply(finding, deed("unshelve", ""), now_us=T0) is None
    assert apply(finding, deed("shelve", "", "x", until=T0 - 1), now_us=T0) is None
    gone = replace(finding, state="retracted")
    assert apply(gone, deed("shelve", "", "x", until=T0 + MINUTE), now_us=T0) is None


def test_a_person_looks_first_at_the_gravest_at_what_is_unsure_and_at_clones() -> None:
    assert needs_verification(hit(level=1))
    assert not needs_verification(hit(level=2))
    assert needs_verification(hit("吉A1234S", level=2))
    assert needs_verification(replace(hit(level=3), kind=CLONED_PLATE))
    assert not needs_verification(replace(hit(level=1), state="retracted"))


# ---------------------------------------------------------------- found again
def again(finding: Finding, plate: str, minute: float) -> Finding:
    book = rulebook(watch(plate="吉A12345"))
    (candidate,) = book.match_watchlist(passages((minute, B), plate=plate))
    after = fold(finding, candidate, now_us=T0)
    assert after
    return after


def test_a_false_hit_that_is_read_in_the_same_way_again_stays_false() -> None:
    finding = done(hit("吉A1234S"), deed(verdict="false", reason="wrong_vehicle"))
    seen = again(finding, "吉A1234S", 9)
    assert seen.verification == finding.verification and seen.cause is None
    assert again(seen, "吉A12345", 12).verification is None  # the watched plate itself
    assert again(seen, "吉AI2345", 12).verification is None  # another reading


def test_the_watched_plate_is_looked_at_anew_after_a_false_hit_and_not_after_a_true_one() -> None:
    assert again(done(hit(), deed(verdict="false", reason="misread")), "吉A12345", 9).verification is None
    assert again(done(hit(), deed()), "吉A12345", 9).verification is not None


def test_what_is_put_aside_stays_aside_when_it_is_seen_again() -> None:
    finding = done(hit(), deed("shelve", "", "x", until=T0 + 60 * MINUTE))
    assert again(finding, "吉A12345", 9).shelf == finding.shelf


# ---------------------------------------------------------------- what it says of the checkpoint
@pytest.mark.parametrize(
    ("read", "verdict", "reason", "counted"),
    [
        ("吉A12345", "valid", "", (1, 0)),
        ("吉A12345", "false", "misread", (0, 1)),
        ("吉A12345", "false", "misread: 7 不是 1", (0, 1)),
        ("吉A12345", "false", "cloned", (1, 0)),
        ("吉A12345", "false", "wrong_vehicle", (1, 0)),
        ("吉A12345", "false", "test", None),
        ("吉A12345", "false", "换了说法", None),
        ("吉A1234S", "valid", "", (0, 1)),  # it was the watched vehicle: the camera read it wrongly
        ("吉A1234S", "false", "wrong_vehicle", (1, 0)),
    ],
    ids=[
        "valid",
        "misread",
        "with a note",
        "cloned",
        "wrong vehicle",
        "test",
        "other words",
        "by misread",
        "other plate",
    ],
)
def test_a_verdict_counts_for_or_against_the_checkpoint(read: str, verdict: str, reason: str, counted) -> None:
    before = hit(read)
    after = done(before, deed(verdict=verdict, reason=reason))
    wanted = [] if counted is None else [(A, day_of(T0 + MINUTE), *counted)]
    assert difference(before, after) == wanted


def test_a_verdict_that_is_reverted_takes_back_what_it_counted() -> None:
    first = done(hit(), deed(verdict="false", reason="misread"))
    second = done(first, deed(id="d-2", by="corps"))
    day = day_of(T0 + MINUTE)
    assert difference(first, second) == [(A, day, 0, -1), (A, day, 1, 0)]
    shelved = done(second, deed("shelve", "", "x", until=T0 + 60 * MINUTE))
    assert difference(second, shelved) == []
