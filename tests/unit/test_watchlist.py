"""Watch-list hits: exactly the plate, the class where both sides know it, and only while the entry is in force."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import MINUTE, RULES, T0, A, B, C, fold_all, passages, restricted, rulebook, watch
from traffic.audience import Viewer, may_see
from traffic.findings import Finding
from traffic.plates import class_group, plate_key
from traffic.readings import PASSAGE
from traffic.vehicles.watchlist import WatchEntry, WatchList


def hits(rows: np.ndarray, *entries: WatchEntry) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(hit.entry.number, hit.class_group, hit.rows) for hit in WatchList(entries).match(rows)]


def test_the_watched_plate_hits_and_its_neighbours_do_not() -> None:
    rows = np.concatenate([passages((0, A), plate=plate) for plate in ("吉A12344", "吉A12345", "吉A1234", "吉B12345")])
    assert hits(rows, watch()) == [("BK-1", 2, (1,))]


def test_all_passages_of_a_vehicle_in_a_batch_are_one_hit_of_each_entry() -> None:
    rows = passages((0, A), (9, C), (4, B))
    assert hits(rows, watch("BK-2"), watch("BK-1")) == [("BK-1", 2, (0, 1, 2)), ("BK-2", 2, (0, 1, 2))]


def test_the_class_must_agree_where_both_sides_know_it() -> None:
    large, small, unknown = (passages((0, A), plate_class=number) for number in (1, 2, 0))
    entry = watch(class_group=2)
    assert hits(large, entry) == []
    assert hits(small, entry) == [("BK-1", 2, (0,))]
    assert hits(unknown, entry) == [("BK-1", 0, (0,))]
    assert hits(large, watch()) == [("BK-1", 1, (0,))]


def test_a_class_that_the_camera_could_not_tell_lowers_the_confidence() -> None:
    (certain,) = WatchList([watch(class_group=2)]).match(passages((0, A)))
    (uncertain,) = WatchList([watch(class_group=2)]).match(passages((0, A), plate_class=0))
    (any_class,) = WatchList([watch()]).match(passages((0, A), plate_class=0))
    assert uncertain.confidence < certain.confidence == any_class.confidence


def test_an_entry_speaks_from_its_first_microsecond_until_before_its_last() -> None:
    entry = watch(valid_from_us=T0, valid_to_us=T0 + MINUTE)
    rows = passages((0, A), (0, A), (1, A), (1, A))
    rows["observed_at"] += [-1, 0, -1, 0]
    assert hits(rows, entry) == [("BK-1", 2, (1, 2))]


def test_unreadable_plates_never_hit_not_even_an_entry_without_a_plate() -> None:
    rows = passages((0, A), plate="")
    assert hits(rows, watch(plate="")) == []
    assert hits(rows, watch()) == []


def test_odd_plates_are_compared_by_their_hash() -> None:
    rows = passages((0, A), plate="外交使馆WJ-0001-X")
    assert rows["plate_key"][0] < 0
    assert hits(rows, watch(plate="外交使馆WJ-0001-X")) == [("BK-1", 2, (0,))]


def test_an_empty_list_and_an_empty_batch_say_nothing() -> None:
    assert hits(passages((0, A))) == []
    assert hits(np.empty(0, PASSAGE), watch()) == []


def told(*batches: np.ndarray, book) -> tuple[dict, list[Finding]]:
    stored, revisions = {}, []
    for rows in batches:
        revisions += fold_all(stored, book.match_watchlist(rows))
    return stored, revisions


def test_a_vehicle_seen_again_updates_its_finding_and_widens_who_may_see_it() -> None:
    _, revisions = told(passages((0, A)), passages((9, C)), book=rulebook(watch()))
    first, second = revisions
    assert first.id == second.id
    assert [(r.revision, r.change, r.count) for r in revisions] == [(1, "new", 1), (2, "updated", 2)]
    assert first.audience.units == {1, 11}
    assert second.audience.units == {1, 11, 12}
    assert (second.first_at, second.observed_at) == (T0, T0 + 9 * MINUTE)
    assert second.detail["entry"]["facts"] == "测试"


def test_a_restricted_entry_is_for_its_addressees_with_clearance_alone() -> None:
    stored, _ = told(passages((0, A)), passages((9, C)), book=rulebook(restricted(addressees=(12,))))
    (finding,) = stored.values()
    assert finding.audience.addressees == {12}
    assert may_see(Viewer(unit=12, clearance=1), finding.audience)
    assert not may_see(Viewer(unit=12, clearance=0), finding.audience)
    assert not may_see(Viewer(unit=1, clearance=1), finding.audience)


def test_an_entry_that_changed_speaks_in_its_newest_words_whatever_came_first() -> None:
    old, new = watch(facts="旧", level=3), watch(facts="新", level=1, version=2)
    for books in ((old, new), (new, old)):
        stored: dict = {}
        for minute, entry in enumerate(books):
            fold_all(stored, rulebook(entry).match_watchlist(passages((minute, A))))
        (finding,) = stored.values()
        assert (finding.detail["entry"]["facts"], finding.level, finding.count) == ("新", 1, 2)


def test_a_rule_that_is_off_says_nothing() -> None:
    assert rulebook(watch(), rules=RULES[1:]).match_watchlist(passages((0, A))) == []


PLATES = ("吉A12345", "吉A12346", "吉B1", "外交使馆WJ-0001-X", "")
entries = st.builds(
    lambda number, plate, group, start, length: watch(
        f"BK-{number}", plate, class_group=group, valid_from_us=start, valid_to_us=start + length
    ),
    st.integers(0, 99), st.sampled_from(PLATES), st.integers(0, 4), st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
reads = st.lists(st.tuples(st.sampled_from(PLATES), st.sampled_from([0, 1, 2, 7, 8, 16, 52]), st.integers(0, 18)))


@given(st.lists(entries, max_size=8, unique_by=lambda entry: entry.number), reads)
def test_matches_are_those_of_a_look_at_every_record_and_every_entry(listed: list, seen: list) -> None:
    rows = np.zeros(len(seen), PASSAGE)
    for row, (plate, plate_class, at) in zip(rows, seen, strict=True):
        row["plate_key"], row["plate_class"], row["observed_at"] = plate_key(plate), plate_class, at
    expected = {
        (entry.number, group, number)
        for entry in listed
        for number, (plate, plate_class, at) in enumerate(seen)
        for group in [class_group(plate_class)]
        if plate and plate == entry.plate
        if 0 in (group, entry.class_group) or group == entry.class_group
        if entry.valid_from_us <= at < entry.valid_to_us
    }
    found = [(number, group, row) for number, group, index in hits(rows, *listed) for row in index]
    assert len(found) == len(set(found))
    assert set(found) == expected
