"""The registry as columns, and the doors' look-up of classes: finding, and changes that leave the former as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic import dry_run_queue, forwarder_store, registry_sync, retention, rollups, usual_times
from traffic.ingest.registered import NOBODY, Registered
from traffic.plates import CLASS_LARGE, CLASS_SMALL, CLASS_UNCERTAIN, plate_key
from traffic.vehicles.registry import COLUMNS, EMPTY, KINDS, STATES, Registry

A, B = plate_key("吉A00001"), plate_key("吉B00002")


def key(plate: int, group: int) -> int:
    return plate << 3 | group


def rows(keys: list[int], *, version: int = 1, enabled: bool = True, kind: str = "tour_coach") -> Registry:
    columns = {name: np.zeros(len(keys), getattr(EMPTY, name).dtype) for name in COLUMNS}
    columns |= {"keys": np.array(keys, np.int64), "enabled": np.full(len(keys), enabled)}
    columns["kind"] = np.full(len(keys), KINDS.index(kind), np.int8)
    return Registry.of(version, columns)


def found(registry: Registry, *keys: int) -> list[int]:
    return registry.find(np.array(keys, np.int64)).tolist()


def test_a_vehicle_is_found_by_plate_and_class_and_by_its_plate_alone_in_the_lowest_class():
    registry = EMPTY.with_changes(rows([key(A, CLASS_SMALL), key(A, CLASS_LARGE), key(B, CLASS_SMALL)]))
    assert found(registry, key(A, CLASS_LARGE), key(A, CLASS_SMALL)) == [1, 0]
    assert found(registry, key(A, CLASS_UNCERTAIN), key(B, CLASS_UNCERTAIN)) == [1, 2]
    assert found(registry, key(B, CLASS_LARGE), 0, -8, key(plate_key("吉C1"), 0)) == [-1] * 4
    assert len(registry) == 3 and found(registry) == []


def test_a_change_takes_the_place_of_its_row_and_leaves_the_former_registry_alone():
    before = EMPTY.with_changes(rows([key(A, CLASS_LARGE)]))
    after = before.with_changes(rows([key(B, CLASS_SMALL), key(A, CLASS_LARGE)], version=5, kind="school_bus"))
    assert [KINDS[kind] for kind in before.kind] == ["tour_coach"] and len(before) == 1
    assert [KINDS[kind] for kind in after.kind] == ["school_bus", "school_bus"] and after.version == 5
    assert found(after, key(A, CLASS_LARGE), key(B, CLASS_SMALL)) == [0, 1]
    assert found(before, key(B, CLASS_SMALL)) == [-1]


def test_who_left_is_found_no_more_and_the_plate_alone_finds_who_stays():
    registry = EMPTY.with_changes(rows([key(A, CLASS_LARGE), key(A, CLASS_SMALL)]))
    registry = registry.with_changes(rows([key(A, CLASS_LARGE)], version=2, enabled=False))
    assert found(registry, key(A, CLASS_LARGE), key(A, CLASS_UNCERTAIN)) == [-1, 1]


groups = st.integers(1, 4)
plates = st.sampled_from([plate_key(f"吉A{number:05d}") for number in range(6)])
batches = st.lists(st.dictionaries(st.tuples(plates, groups), st.booleans(), max_size=8), max_size=5)


@given(batches, st.lists(st.tuples(plates, st.integers(0, 4)), max_size=12))
def test_any_changes_are_found_as_in_a_plain_dict(batches: list[dict[tuple[int, int], bool]], asked: list):
    registry, registered, plain = EMPTY, NOBODY, {}
    for version, batch in enumerate(batches, start=1):
        keys = [key(*vehicle) for vehicle in batch]
        changes = rows(keys, version=version)
        changes = Registry.of(version, {**{name: getattr(changes, name) for name in COLUMNS},
                                        "enabled": np.array(list(batch.values()), bool)})  # fmt: skip
        registry = registry.with_changes(changes)
        classes = np.array([group for _, group in batch], np.int16)
        told = Registered(version=version, keys=changes.keys, classes=classes, colors=classes * 0)
        registered = registered.with_changes(told, changes.enabled)
        plain |= batch
    here = {vehicle for vehicle, enabled in plain.items() if enabled}
    for plate, group in asked:
        wanted = [one for one in sorted(here) if one[0] == plate and group in (0, one[1])]
        (row,) = found(registry, key(plate, group))
        assert (row >= 0) == bool(wanted) and (row < 0 or registry.keys[row] == key(*wanted[0]))
        first = next((one[1] for one in sorted(here) if one[0] == plate), 0)
        assert registered.class_of(plate) == first
        assert registered.classes_of(np.array([plate], np.int64)).tolist() == [first]


def test_of_two_vehicles_under_one_number_the_colour_tells_which():
    both = Registered(
        version=1, keys=np.array([key(A, 1), key(A, 2)], np.int64), classes=np.array([1, 2], np.int16),
        colors=np.array([2, 1], np.int16),
    )  # fmt: skip
    registered = NOBODY.with_changes(both, np.array([True, True]))
    assert [registered.class_of(A, color) for color in (0, 1, 2, 5)] == [1, 2, 1, 1]
    assert registered.class_of(B) == 0 and NOBODY.class_of(A) == 0 and registered.class_of(-5) == 0


@pytest.mark.parametrize("words", [KINDS, STATES], ids=["kinds", "states"])
def test_codes_fit_their_columns(words: tuple[str, ...]):
    assert len(set(words)) == len(words) < 128


def test_processes_that_work_alone_do_not_lock_each_other_out():
    locks = [module.LOCK for module in (dry_run_queue, forwarder_store, registry_sync, retention, rollups, usual_times)]
    assert len(set(locks)) == len(locks)
