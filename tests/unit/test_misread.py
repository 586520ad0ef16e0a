"""One misread character: how likely which plate is taken for which, and who is behind a reading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.plates import PROVINCES, plate_key
from traffic.vehicles.misread import (
    ReadErrors,
    in_use,
    is_regular,
    likely_enough,
    neighbours,
    places_apart,
    probability,
    taken_for,
)

ERRORS = ReadErrors()
_LETTERS, _DIGITS = "ABCDEFGHJKLMNPQRSTUVWXYZ", "0123456789"
plates = st.builds(
    lambda province, city, rest: province + city + rest,
    st.sampled_from(PROVINCES), st.sampled_from(_LETTERS), st.text(_LETTERS + _DIGITS, min_size=5, max_size=6),
)  # fmt: skip


@pytest.mark.parametrize(
    ("true", "read"),
    [
        ("吉A12340", "吉A1234D"),
        ("吉A12840", "吉A12B40"),
        ("吉A12340", "吉AI2340"),
        ("吉A12340", "吉A1Z340"),
        ("吉A52340", "吉AS2340"),
        ("粤A12340", "鄂A12340"),
    ],
)
def test_characters_that_look_alike_are_taken_for_each_other_far_more_often(true: str, read: str) -> None:
    (place,) = places_apart(true, read)
    other = true[:place] + ("豫" if place == 0 else "W") + true[place + 1 :]
    assert taken_for(true, read, ERRORS, night=False) > 20 * taken_for(true, other, ERRORS, night=False) > 0


@given(plates, st.booleans())
def test_what_a_plate_is_taken_for_sums_up_to_one(plate: str, night: bool) -> None:
    total = taken_for(plate, plate, ERRORS, night=night) + sum(
        taken_for(plate, other, ERRORS, night=night) for other in neighbours(plate)
    )
    assert total == pytest.approx(1.0)


@given(plates, st.data(), st.booleans())
def test_who_is_behind_a_reading_sums_up_to_one(read: str, data: st.DataObject, night: bool) -> None:
    """The watched one, the rightful one and all others share what is possible."""
    watched = data.draw(st.sampled_from(neighbours(read)))
    mine = taken_for(watched, read, ERRORS, night=night)
    rivals = in_use(read, ERRORS) * ERRORS.right(night) + sum(
        in_use(one, ERRORS) * taken_for(one, read, ERRORS, night=night) for one in neighbours(read) if one != watched
    )
    assert probability(watched, read, ERRORS, night) == pytest.approx(mine / (mine + rivals))
    assert 0.0 < probability(watched, read, ERRORS, night) < 1.0


@given(plates, st.data())
def test_it_is_likelier_by_night_and_where_fewer_numbers_are_in_use(read: str, data: st.DataObject) -> None:
    watched = data.draw(st.sampled_from(neighbours(read)))
    day, night = (probability(watched, read, ERRORS, dark) for dark in (False, True))
    crowded = probability(watched, read, ReadErrors(in_use_share=0.9), False)
    empty = probability(watched, read, ReadErrors(in_use_share=0.01), False)
    assert night > day
    assert empty >= day >= crowded


def test_a_reading_that_can_be_no_plate_points_to_the_watched_one() -> None:
    assert probability("吉A12340", "吉A1234O", ERRORS, False) > 5 * probability("吉A12340", "吉A1234D", ERRORS, False)


def test_its_own_plate_is_certain_and_two_characters_away_is_nothing() -> None:
    assert probability("吉A12340", "吉A12340", ERRORS, False) == 1.0
    assert probability("吉A12340", "吉A1233D", ERRORS, False) == 0.0
    assert probability("吉A12340", "吉A123400", ERRORS, False) == 0.0
    assert probability("吉A12340", "吉A1234学", ERRORS, False) == 0.0  # of another class of characters


@pytest.mark.parametrize("plate", ["吉A12345", "吉AA2B45", "吉A1234学", "吉AD12345", "吉A12345F", "京NAAA12"])
def test_forms_that_the_norm_knows_are_regular(plate: str) -> None:
    assert is_regular(plate)


@pytest.mark.parametrize(
    "plate", ["", "吉A1234", "吉A1234I", "AA12345", "吉112345", "吉AABCD1", "吉AX12345", "吉A123456"]
)
def test_forms_that_it_does_not_know_are_not(plate: str) -> None:
    assert not is_regular(plate)


@given(plates, st.data(), st.sampled_from([0.0, 0.0005, 0.02, 0.1, 0.5]), st.booleans())
def test_what_is_thrown_out_at_once_could_not_have_been_likely_enough(
    read: str, data: st.DataObject, least: float, night: bool
) -> None:
    watched = data.draw(st.sampled_from(neighbours(read)))
    keys = (np.array([plate_key(plate)], np.int64) for plate in (watched, read))
    if probability(watched, read, ERRORS, night) >= least:
        assert likely_enough(*keys, ERRORS, least).all()


def test_most_of_what_is_near_is_thrown_out_at_once() -> None:
    near = neighbours("吉A12345")
    read = np.array([plate_key(plate) for plate in near], np.int64)
    watched = np.full(len(read), plate_key("吉A12345"))
    stays = likely_enough(watched, read, ERRORS, 0.02).tolist()
    kept = {plate for plate, stay in zip(near, stays, strict=True) if stay}
    assert {"吉A1234S", "吉A1Z345", "吉AI2345"} <= kept and "吉A12346" not in kept
