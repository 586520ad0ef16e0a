"""How findings grow: identity, counting, what is kept, who may see, and what a reader gets."""

import json
from dataclasses import replace

import pytest

from tests.sightings import MINUTE, T0, A, B, C, D, fold_all, passages, restricted, rulebook, watch
from traffic.findings import Candidate, Finding, card, finding_id, fold
from traffic.limits import OBSERVATIONS_IN_FINDING_MAX
from traffic.plates import plate_key
from traffic.vehicles import judge_batch
from traffic.vehicles.state import VehicleState

KEPT = OBSERVATIONS_IN_FINDING_MAX


def hit(*minutes: float, checkpoint: int = A) -> Candidate:
    """A watch-list candidate with one observation a minute told."""
    (candidate,) = rulebook(watch()).match_watchlist(passages(*((minute, checkpoint) for minute in minutes)))
    return candidate


def after(*candidates: Candidate) -> Finding:
    finding = None
    for candidate in candidates:
        finding = fold(finding, candidate, now_us=T0) or finding
    assert finding
    return finding


def test_identity_is_what_is_said_of_whom_in_which_episode() -> None:
    base = ("watch_hit", 5, 2, "BK-1")
    assert finding_id(*base) == finding_id(*base)
    others = [("section_speed", 5, 2, "BK-1"), ("watch_hit", 6, 2, "BK-1"), ("watch_hit", 5, 1, "BK-1"),
              ("watch_hit", 5, 2, "BK-2"), ("watch_hit", 52, 0, "BK-1"), ("watch_hit", -5, 2, "BK-1")]  # fmt: skip
    assert len({finding_id(*each) for each in [base, *others]}) == len(others) + 1


def test_the_identity_does_not_change_between_releases() -> None:
    assert str(finding_id("watch_hit", plate_key("吉A12345"), 2, "BK-1")) == "d8057c95-d239-a951-cc7e-881bcaa37ec8"


def test_the_same_observation_again_changes_nothing() -> None:
    finding = after(hit(0, 1))
    assert fold(finding, hit(1), now_us=T0 + 1) is None
    assert fold(finding, hit(0, 1), now_us=T0 + 1) is None


def test_a_candidate_without_observations_is_no_finding() -> None:
    assert fold(None, replace(hit(0), observations=()), now_us=T0) is None


def test_observations_come_in_any_order_and_stand_by_time() -> None:
    finding = after(hit(5), hit(1), hit(3))
    assert [(o.at - T0) // MINUTE for o in finding.observations] == [1, 3, 5]
    assert (finding.first_at, finding.observed_at, finding.count) == (T0 + MINUTE, T0 + 5 * MINUTE, 3)
    assert finding.revision == 3


def test_the_first_and_the_newest_are_kept_and_all_are_counted() -> None:
    finding = after(*(hit(minute) for minute in range(50)))
    assert finding.count == 50
    assert len(finding.observations) == KEPT
    assert [(o.at - T0) // MINUTE for o in finding.observations] == [0, *range(51 - KEPT, 50)]


def test_beyond_the_bound_what_was_counted_and_dropped_is_not_counted_again() -> None:
    finding = after(*(hit(minute) for minute in range(50)))
    for minute in range(50):
        assert fold(finding, hit(minute), now_us=T0) is None
    assert after(hit(*range(50))) == replace(finding, revision=1, change="new")


def test_beyond_the_bound_a_late_one_within_the_newest_still_counts() -> None:
    finding = after(*(hit(minute) for minute in range(50) if minute != 45), hit(45))
    assert finding.count == 50
    assert [(o.at - T0) // MINUTE for o in finding.observations] == [0, *range(51 - KEPT, 50)]


def test_two_passages_at_one_instant_are_two() -> None:
    rows = passages((0, A, 1), (0, B, 2))
    (candidate,) = rulebook(watch()).match_watchlist(rows)
    assert after(candidate).count == 2


def test_of_two_copies_of_a_record_the_first_stays() -> None:
    moved = replace(hit(0).observations[0], lane=4)
    finding = after(hit(0))
    assert fold(finding, replace(hit(0), observations=(moved,)), now_us=T0) is None


def test_an_unspoken_retraction_is_nothing() -> None:
    retraction = replace(hit(0), kind="section_speed", active=False)
    assert fold(None, retraction, now_us=T0) is None


def section_candidates() -> tuple[Candidate, Candidate, Candidate]:
    """Raised, corrected, retracted."""
    state, said = VehicleState(), []
    for rows in (passages((0, A), (7, B)), passages((2, A)), passages((6.9, A))):
        said += judge_batch(state, rulebook(), rows)
    raised, retracted = said
    return raised, replace(raised, observations=raised.observations[1:], cause={"reason": "late_entry"}), retracted


def test_judgements_are_idempotent_in_every_state() -> None:
    raised, corrected, retracted = section_candidates()
    one = after(raised)
    assert fold(one, raised, now_us=T0) is None
    two = after(raised, corrected)
    assert (two.revision, two.change) == (2, "corrected")
    assert fold(two, corrected, now_us=T0) is None
    three = after(raised, corrected, retracted)
    assert (three.revision, three.change, three.state) == (3, "retracted", "retracted")
    assert fold(three, retracted, now_us=T0) is None
    four = after(raised, corrected, retracted, corrected)
    assert (four.revision, four.change, four.state) == (4, "corrected", "active")


def test_who_saw_a_finding_sees_it_corrected() -> None:
    raised, corrected, _ = section_candidates()
    elsewhere = replace(corrected, audience=replace(corrected.audience, units=frozenset({1, 12})))
    assert after(raised, elsewhere).audience.units == {1, 11, 12}


def test_the_time_of_a_revision_is_given() -> None:
    finding = fold(None, hit(0), now_us=T0 + 7)
    assert finding and finding.raised_at == T0 + 7


@pytest.mark.parametrize("entry", [watch(), restricted()])
def test_a_watch_hit_as_its_readers_get_it(entry) -> None:
    stored: dict = {}
    (finding,) = fold_all(stored, rulebook(entry).match_watchlist(passages((0, D))), now_us=T0 + 3)
    shown = card(finding, "吉A12345")
    assert json.loads(json.dumps(shown)) == shown
    assert shown == {
        "id": str(finding.id),
        "kind": "watch_hit",
        "revision": 1,
        "change": "new",
        "state": "active",
        "level": 1,
        "plate": "吉A12345",
        "plate_class_group": 2,
        "rule": {"id": 1, "version": 1, "name": "布控比中", "clause": "条款一"},
        "confidence": 0.95,
        "trust": None,
        "first_at": T0,
        "observed_at": T0,
        "raised_at": T0 + 3,
        "count": 1,
        "observations": [
            {"at": T0, "checkpoint": D, "direction": 1, "lane": 2, "speed_kmh": 96.5, "record": f"{T0}:{D}"}
        ],
        "entry": {"number": entry.number, "category": 1, "level": 1, "facts": "测试", "intercept": True},
        "match": {"how": "exact", "probability": 0.95, "reads": {"吉A12345": 0.95}},
        "verification": None,
        "shelf": None,
        "needs_verification": True,
        "cause": None,
    }


def test_a_section_finding_as_its_readers_get_it_and_an_unmeasured_speed_is_null() -> None:
    rows = passages((0, B), (5, C))
    rows["speed_kmh"][0] = float("nan")
    (finding,) = fold_all({}, judge_batch(VehicleState(), rulebook(), rows))
    shown = json.loads(json.dumps(card(finding, "吉A12345")))
    assert shown["section"]["speed_kmh"] == 120.0
    assert [o["speed_kmh"] for o in shown["observations"]] == [None, 96.5]
    assert "entry" not in shown
