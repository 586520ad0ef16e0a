"""Watch entries that mean more than the plate as it stands: patterns, and one misread character."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import MINUTE, RULES, T0, A, B, C, fold_all, passages, rulebook, watch
from traffic.errors import SettingsError
from traffic.findings import needs_verification
from traffic.plates import plate_key
from traffic.readings import PASSAGE
from traffic.vehicles.watch_index import FITS, IS_NEAR, IS_WATCHED, KeySet, PatternTree, flags_of, without_a_place
from traffic.vehicles.watchlist import DEFAULTS, Hit, WatchEntry, WatchList, WatchParameters, from_parameters

HOUR = 60 * MINUTE
NIGHT = 13 * HOUR  # T0 is 22:13 in Beijing; so many hours later is day
CHARACTERS = "吉京A0B18"


def found(rows: np.ndarray, *entries: WatchEntry, **parameters: object) -> list[Hit]:
    return WatchList(entries, WatchParameters(**parameters)).match(rows)  # type: ignore[arg-type]


def read(plate: str, minute: float = 0, checkpoint: int = A) -> np.ndarray:
    return passages((minute, checkpoint), plate=plate)


# ---------------------------------------------------------------- patterns
def as_regex(pattern: str) -> re.Pattern[str]:
    return re.compile("".join("." if one == "?" else ".*" if one == "*" else re.escape(one) for one in pattern))


patterns = st.lists(st.text(CHARACTERS + "?*", min_size=1, max_size=8), max_size=12)
plates = st.lists(st.text(CHARACTERS, min_size=1, max_size=8), min_size=1, max_size=30)


@given(patterns, plates)
def test_patterns_fit_as_a_regular_expression_of_each_does(listed: list[str], seen: list[str]) -> None:
    tree = PatternTree(listed)
    keys = np.array([plate_key(plate) for plate in seen], np.int64)
    wanted = [[number for number, pattern in enumerate(listed) if as_regex(pattern).fullmatch(plate)] for plate in seen]
    assert [tree.match(int(key)) for key in keys] == wanted
    flags = flags_of(keys, KeySet.of(keys[:0]), KeySet.of(keys[:0]), tree)
    assert (flags == FITS).tolist() == [bool(numbers) for numbers in wanted]


@given(plates, plates)
def test_flags_are_those_of_a_look_at_every_plate_and_every_entry(watched: list[str], seen: list[str]) -> None:
    keys, listed = (np.array([plate_key(one) for one in some], np.int64) for some in (seen, watched))
    flags = flags_of(keys, KeySet.of(listed), KeySet.of(without_a_place(listed)[0]), PatternTree())
    for plate, flag in zip(seen, flags.tolist(), strict=True):
        near = any(
            len(plate) == len(other) and sum(a != b for a, b in zip(plate, other, strict=True)) <= 1
            for other in watched
        )
        assert bool(flag & IS_WATCHED) == (plate in watched)
        assert bool(flag & IS_NEAR) == near


def test_each_vehicle_that_fits_is_a_hit_of_its_own() -> None:
    rows = np.concatenate([read("吉A12345"), read("吉A12945"), read("吉B12345"), read("吉A12345", 5, C)])
    hits = found(rows, watch("BK-1", "吉A12?4*"), watch("BK-2", "*5", level=3))
    assert [(hit.entry.number, hit.rows, hit.how) for hit in hits] == [
        ("BK-1", (0, 3), "wildcard"),
        ("BK-2", (0, 3), "wildcard"),
        ("BK-1", (1,), "wildcard"),
        ("BK-2", (1,), "wildcard"),
        ("BK-2", (2,), "wildcard"),
    ]


def test_a_pattern_tells_which_plate_was_read_and_must_be_looked_at() -> None:
    (finding,) = fold_all({}, rulebook(watch("BK-1", "吉A12?45", level=4)).match_watchlist(read("吉A12745")))
    assert finding.plate_key == plate_key("吉A12745")
    assert finding.detail["match"] == {"how": "wildcard", "probability": 0.95, "reads": {"吉A12745": 0.95}}
    assert finding.detail["entry"]["pattern"] == "吉A12?45"
    assert needs_verification(finding)


@pytest.mark.parametrize("pattern", ["吉A123456789?", "吉A★?", "?????????"])
def test_a_pattern_that_can_be_no_plate_never_hits(pattern: str) -> None:
    assert found(read("吉A12345"), watch("BK-1", pattern)) == []


def test_odd_and_unreadable_plates_fit_no_pattern() -> None:
    assert found(read("外交使馆WJ-0001-X"), watch("BK-1", "*")) == []
    assert found(read(""), watch("BK-1", "*")) == []
    assert len(found(read("吉A12345"), watch("BK-1", "*"))) == 1


# ---------------------------------------------------------------- one misread character
def test_a_plate_one_alike_character_away_is_a_hit_of_the_watched_vehicle_with_its_probability() -> None:
    (hit,) = found(read("吉A1234S"), watch(plate="吉A12345"))
    assert (hit.plate_key, hit.how, list(hit.reads)) == (plate_key("吉A12345"), "misread", ["吉A1234S"])
    assert hit.via == plate_key("吉A1234S") << 3 | 2
    assert 0.02 < hit.confidence < 0.5


def test_other_characters_are_too_unlikely_unless_the_rule_asks_for_less() -> None:
    entry = watch(plate="吉A12345")
    assert found(read("吉A12346"), entry) == []
    (hit,) = found(read("吉A12346"), entry, misread_probability_min=0.0)
    assert 0.0 < hit.confidence < 0.01


def test_by_night_a_misreading_is_likelier() -> None:
    night, day = (found(read("吉A1234S", at / MINUTE), watch(plate="吉A12345"))[0] for at in (0, NIGHT))
    assert night.confidence > day.confidence


@pytest.mark.parametrize(
    ("fields", "hits"), [({"level": 1}, 1), ({"level": 2}, 1), ({"level": 3}, 0), ({"level": 3, "misread": True}, 1),
                         ({"level": 1, "misread": False}, 0)],
    ids=["level 1", "level 2", "level 3", "asked for", "not wanted"],
)  # fmt: skip
def test_who_is_looked_through_says_the_entry_or_its_level(fields: dict, hits: int) -> None:
    assert len(found(read("吉A1234S"), watch(plate="吉A12345", **fields))) == hits


def test_switched_off_nothing_is_misread() -> None:
    assert found(read("吉A1234S"), watch(plate="吉A12345"), misread="off") == []
    (rule,) = ({**RULES[0], "parameters": {"misread": "off"}},)
    assert rulebook(watch(), rules=(rule,)).match_watchlist(read("吉A1234S")) == []


def test_class_and_time_must_fit_a_misreading_too() -> None:
    entry = watch(plate="吉A12345", class_group=1)
    assert found(read("吉A1234S"), entry) == []
    late = watch(plate="吉A12345", valid_from_us=T0 + 1)
    assert found(read("吉A1234S"), late) == []


def test_one_card_for_each_vehicle_and_entry_however_it_was_read() -> None:
    stored: dict = {}
    book = rulebook(watch(plate="吉A12345"))
    revisions = fold_all(stored, book.match_watchlist(read("吉A1234S")))
    revisions += fold_all(stored, book.match_watchlist(read("吉AI2345", 4, B)))
    unsure = revisions[-1]
    revisions += fold_all(
        stored, book.match_watchlist(np.concatenate([read("吉A12345", 9, C), read("吉A1234S", 9.5, C)]))
    )
    (finding,) = stored.values()
    assert [r.revision for r in revisions] == [1, 2, 3] and finding.count == 4
    assert unsure.detail["match"]["how"] == "misread" and set(unsure.detail["match"]["reads"]) == {
        "吉A1234S",
        "吉AI2345",
    }
    assert finding.detail["match"]["how"] == "exact" and finding.confidence == 0.95
    assert set(finding.detail["match"]["reads"]) == {"吉A12345", "吉A1234S", "吉AI2345"}


def test_a_plate_that_is_watched_itself_can_be_a_misreading_of_another() -> None:
    hits = found(read("吉A1234S"), watch("BK-1", "吉A12345"), watch("BK-2", "吉A1234S"))
    assert sorted((hit.entry.number, hit.how) for hit in hits) == [("BK-1", "misread"), ("BK-2", "exact")]


def test_what_newly_watched_entries_could_mean_is_found_among_the_plates_of_a_state() -> None:
    plates = np.array([plate_key(one) for one in ("吉A12345", "吉A1234S", "吉B77777", "京C00001")], np.int64)
    listed = WatchList()
    like = listed.keys_like([watch(plate="吉A12345"), watch("BK-2", "京?0*")], plates)
    assert set(like.tolist()) == {plate_key(one) for one in ("吉A12345", "吉A1234S", "京C00001")}
    assert len(listed.keys_like([], plates)) == 0


# ---------------------------------------------------------------- the rule as data
def test_the_defaults_are_what_an_empty_row_means() -> None:
    assert from_parameters({}) == WatchParameters() == from_parameters(DEFAULTS)
    assert from_parameters({"lateness_s": 900, "misread_level_max": 4}).misread_level_max == 4


@pytest.mark.parametrize(
    "parameters", [{"misread": "perhaps"}, {"misread_probability_min": 2}, {"right_by_day": "x"}, {"unknown": 1}],
    ids=["word", "too large", "no number", "unknown"],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused_by_name(parameters: dict) -> None:
    with pytest.raises(SettingsError, match=next(iter(parameters))):
        from_parameters(parameters)


def test_hours_of_the_night_may_reach_over_midnight_or_not() -> None:
    over, within = WatchParameters(), WatchParameters(night_from_h=1, night_to_h=5)
    at = [(hour - 8) % 24 * HOUR + 24 * HOUR for hour in range(24)]
    assert [hour for hour in range(24) if over.is_night(at[hour])] == [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23]
    assert [hour for hour in range(24) if within.is_night(at[hour])] == [1, 2, 3, 4]


def test_hits_of_many_entries_are_those_of_a_look_at_each() -> None:
    random = np.random.default_rng(5)
    letters = list("ABCDEFGHJK0123456789")

    def any_plate() -> str:
        return "吉A" + "".join(random.choice(letters, 5))

    listed = [watch(f"P{n}", any_plate()[:6] + "?", level=4) for n in range(400)]
    listed += [watch(f"E{n}", any_plate(), level=1) for n in range(400)]
    rows = np.zeros(2_000, PASSAGE)
    texts = [any_plate() for _ in range(2_000)]
    rows["plate_key"], rows["plate_class"], rows["observed_at"] = [plate_key(one) for one in texts], 2, T0
    wildcards = {(hit.entry.number, row) for hit in found(rows, *listed, misread="off") for row in hit.rows}
    wanted = {
        (entry.number, row)
        for entry in listed
        for row in [n for n, text in enumerate(texts) if text[:6] == entry.plate[:6]]
        if entry.is_pattern or texts[row] == entry.plate
    }
    assert wildcards == wanted
