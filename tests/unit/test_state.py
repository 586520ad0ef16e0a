"""The memory of vehicles: the newest observations of each, pages of it, and forgetting."""

from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest

from tests.sightings import MINUTE, T0, A, B, passages
from traffic.limits import RING_OBSERVATIONS
from traffic.plates import vehicle_keys
from traffic.readings import logical_partitions
from traffic.vehicles import absorb
from traffic.vehicles.key_index import MISSING, KeyIndex
from traffic.vehicles.state import FORMAT, SnapshotUnreadable, VehicleState


def key_of(rows: np.ndarray) -> np.ndarray:
    return np.unique(vehicle_keys(rows["plate_key"], rows["plate_class"]))


def page_of(rows: np.ndarray) -> int:
    return int(logical_partitions(key_of(rows))[0])


def minutes_of(state: VehicleState, rows: np.ndarray) -> list[float]:
    """When the (one) vehicle of these rows was seen, in minutes after T0."""
    observations, held = state.gather(key_of(rows))
    return ((observations["observed_at"][0, : held[0]] - T0) / MINUTE).tolist()


def crowd(count: int, minute: float = 0.0) -> np.ndarray:
    """One passage each of many vehicles."""
    rows = passages(*((minute, A, number) for number in range(count)))
    rows["plate_key"] = np.arange(1, count + 1)
    return rows


def test_observations_stand_by_time_whatever_the_order_of_arrival() -> None:
    state = VehicleState()
    rows = passages((0, A), (1, B), (2, A), (3, B))
    for batch in (rows[2:3], rows[:1], rows[1:], rows):
        absorb(state, batch)
    assert minutes_of(state, rows) == [0, 1, 2, 3]
    assert len(state) == 1


def test_the_newest_stay_and_a_full_ring_takes_nothing_older_than_its_oldest() -> None:
    state = VehicleState()
    many = passages(*((minute, A) for minute in range(40)))
    for number in range(40):
        absorb(state, many[number : number + 1])
    assert minutes_of(state, many) == list(range(40 - RING_OBSERVATIONS, 40))
    absorb(state, many[:5])
    assert minutes_of(state, many) == list(range(40 - RING_OBSERVATIONS, 40))
    absorb(state, passages((39.5, B), (41, B), (30.5, B)))
    assert minutes_of(state, many) == sorted([*range(43 - RING_OBSERVATIONS, 40), 30.5, 39.5, 41])
    together = VehicleState()
    absorb(together, np.concatenate([many, passages((39.5, B), (41, B), (30.5, B))])[::-1])
    assert minutes_of(together, many) == minutes_of(state, many)


def test_of_two_copies_of_a_record_the_first_stays() -> None:
    for batches in (2, 1):
        state = VehicleState()
        rows = passages((0, A, 7), (0, A, 7))
        rows["lane"] = [1, 2]
        for batch in np.array_split(rows, batches):
            absorb(state, batch)
        observations, held = state.gather(key_of(rows))
        assert held.tolist() == [1]
        assert observations["lane"][0, 0] == 1


def test_unreadable_plates_are_not_remembered() -> None:
    state = VehicleState()
    absorb(state, passages((0, A), plate=""))
    assert len(state) == 0
    assert state.dirty() == set()


def test_a_vehicle_that_was_never_seen_has_no_observations() -> None:
    assert VehicleState().gather(np.array([1, 2]))[1].tolist() == [0, 0]


def test_idle_vehicles_leave_and_come_back_as_strangers() -> None:
    state = VehicleState()
    old, new = passages((0, A), plate="吉A1"), passages((10, A), plate="吉A2")
    absorb(state, np.concatenate([old, new]))
    assert state.evict(T0 + MINUTE) == 1
    assert len(state) == 1
    assert minutes_of(state, old) == []
    absorb(state, passages((11, B), plate="吉A1"))
    assert minutes_of(state, old) == [11]
    assert minutes_of(state, new) == [10]


def test_many_vehicles_come_and_go_and_each_keeps_its_own() -> None:
    state = VehicleState()
    for turn in range(6):
        absorb(state, crowd(3_000 + 500 * turn, minute=turn))
        state.evict(T0 + turn * MINUTE)
        assert len(state) == 3_000 + 500 * turn
    rows = crowd(3_000)
    observations, held = state.gather(key_of(rows))
    assert (held == 6).all()
    assert (observations["source_hash"][:, 0] == np.arange(3_000)).all()


def test_pages_of_lost_partitions_leave_and_the_others_stay() -> None:
    state = VehicleState()
    rows = crowd(640)
    absorb(state, rows)
    pages = logical_partitions(key_of(rows))
    state.drop(range(0, 64, 2))
    assert len(state) == int((pages % 2 == 1).sum())
    assert state.dirty() == set(range(1, 64, 2))


def test_only_pages_that_changed_are_dirty() -> None:
    state = VehicleState()
    rows = passages((0, A))
    absorb(state, rows)
    assert state.dirty() == {page_of(rows)}
    state.clear_dirty([page_of(rows)])
    assert state.dirty() == set()
    absorb(state, passages((1, A)))
    assert state.dirty() == {page_of(rows)}


def test_a_page_written_and_read_is_the_same_and_takes_the_place_of_what_was_there() -> None:
    state = VehicleState()
    rows = np.concatenate([crowd(1_000), passages(*((minute, A) for minute in range(40)))])
    absorb(state, rows)
    other = VehicleState()
    absorb(other, crowd(2_000, minute=99))
    for page in range(64):
        other.load(page, state.dump(page))
        assert other.dump(page) == state.dump(page)
    assert len(other) == len(state)
    assert other.dirty() == set()
    keys = key_of(rows)
    (mine, held), (theirs, held_there) = state.gather(keys), other.gather(keys)
    assert (held == held_there).all()
    for number in range(len(keys)):
        assert (mine[number, : held[number]] == theirs[number, : held[number]]).all()


def test_a_page_read_over_a_ring_that_went_round_is_read_right() -> None:
    state = VehicleState()
    rows = passages(*((minute, A) for minute in range(3)))
    absorb(state, rows)
    page = state.dump(page_of(rows))
    for minute in range(3, 25):
        absorb(state, passages((minute, A)))
    state.load(page_of(rows), page)
    assert minutes_of(state, rows) == [0, 1, 2]


def test_a_page_does_not_depend_on_the_history_that_led_to_it() -> None:
    rows = np.concatenate([crowd(500), passages(*((minute, A) for minute in range(9)))])
    one, many = VehicleState(), VehicleState()
    absorb(one, rows)
    for batch in np.array_split(rows[::-1], 7):
        absorb(many, batch)
    assert [one.dump(page) for page in range(64)] == [many.dump(page) for page in range(64)]


def resealed(page: bytes) -> bytes:
    """A page whose digest is right for its changed content."""
    return page[:-16] + blake2b(page[:-16], digest_size=16).digest()


def test_unknown_formats_and_damaged_pages_are_refused_and_what_is_held_stays() -> None:
    state = VehicleState()
    rows = passages((0, A), (1, B))
    absorb(state, rows)
    page = page_of(rows)
    good = state.dump(page)
    keys_at, counts_at = 12, 20
    wrong = {
        "empty": b"",
        "short": good[:20],
        "cut": good[:-1],
        "longer": good + b"\0",
        "other format": bytes([FORMAT + 1]) + good[1:],
        "other ring": resealed(good[:1] + b"\x08" + good[2:]),
        "flipped bit": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "more vehicles than bytes": resealed(good[:4] + b"\xff\xff\xff\x7f" + good[8:]),
        "no observation": resealed(good[:counts_at] + b"\0" + good[counts_at + 1 :]),
        "stranger": resealed(good[:keys_at] + bytes(8) + good[keys_at + 8 :]),
    }
    for name, body in wrong.items():
        with pytest.raises(SnapshotUnreadable):
            state.load(page, body)
            pytest.fail(name)
    with pytest.raises(SnapshotUnreadable):
        state.load((page + 1) % 64, good)
    assert state.dump(page) == good


def test_a_page_of_none_is_a_page() -> None:
    state = VehicleState()
    state.load(5, VehicleState().dump(5))
    assert len(state) == 0


def test_a_batch_lies_by_vehicle_and_time_each_record_once_and_what_is_held_stays() -> None:
    state = VehicleState()
    absorb(state, passages((0, A)))
    rows = np.concatenate(
        [passages((5, B), (1, A), (5, B), (3, A)), passages((2, A), plate=""), passages((2, B), plate="吉A2")]
    )
    fresh = state.lay_out(rows)
    at = ((fresh.seen["observed_at"] - T0) / MINUTE).tolist()
    assert [at[start:end] for start, end in pairwise(fresh.first.tolist())] == [[1, 3, 5], [2]]
    assert (
        fresh.vehicles["key"][fresh.who].tolist()
        == vehicle_keys(rows["plate_key"], rows["plate_class"])[[0, 5]].tolist()
    )
    assert len(state) == 1
    assert minutes_of(state, rows[:1]) == [0]
    state.merge(fresh)
    assert minutes_of(state, rows[:1]) == [0, 1, 3, 5]
    assert len(state) == 2


def test_the_index_finds_what_was_put_and_not_what_was_removed() -> None:
    index = KeyIndex()
    numbers = np.random.default_rng(5)
    model: dict[int, int] = {}
    for _ in range(60):
        bounds = (-(2**62), 2**62) if numbers.random() < 0.5 else (0, 900)
        keys = np.unique(numbers.integers(*bounds, 200))
        fresh = np.array([key for key in keys.tolist() if key not in model], np.int64)
        index.put(fresh, fresh % 1_000)
        model.update((key, key % 1_000) for key in fresh.tolist())
        gone = np.array([key for key in list(model) if numbers.random() < 0.3], np.int64)
        index.remove(gone)
        for key in gone.tolist():
            del model[key]
        asked = np.concatenate([keys, gone, np.array(list(model), np.int64), [0, -1]])
        assert index.find(asked).tolist() == [model.get(key, MISSING) for key in asked.tolist()]
        assert len(index) == len(model)
