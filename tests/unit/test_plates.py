"""Plates: folded at the door, packed into a number that can be read back."""

import numpy as np
import pytest

from traffic.errors import Reason
from traffic.ingest.plate_column import PlateReader
from traffic.plates import class_group, fold, plate_key, plate_text, vehicle_keys


@pytest.mark.parametrize(
    ("raw", "folded"),
    [
        ("吉A12345", "吉A12345"),
        ("吉ａ·１２３４５", "吉A12345"),
        (" 吉A-12345 ", "吉A12345"),
        ("吉A•12345", "吉A12345"),
        ("车牌", ""),
        ("未识别", ""),
        ("无牌", ""),
        ("", ""),
        ("00000000", ""),
        ("unknown", ""),
    ],
)
def test_a_plate_is_folded_to_one_form(raw, folded):
    assert fold(raw) == folded


@pytest.mark.parametrize("plate", ["吉A12345", "吉AD12345", "粤Z1234港", "吉A1234警", "津B0001学", "新A", "A"])
def test_a_plate_key_is_read_back(plate):
    key = plate_key(plate)
    assert key > 0
    assert plate_text(key) == plate


@pytest.mark.parametrize("plate", ["吉A123456789", "使224578外", "ΩΩΩ"])
def test_an_odd_plate_becomes_a_negative_key_without_text(plate):
    assert plate_key(plate) < 0
    assert plate_text(plate_key(plate)) is None


def test_one_number_on_two_class_groups_is_two_vehicles():
    keys = vehicle_keys(np.array([plate_key("吉A12345")] * 3), np.array([1, 2, 2], np.int16))
    assert keys[0] != keys[1] == keys[2]
    assert class_group(51) == class_group(52) != class_group(2)


def test_a_column_gives_what_the_single_functions_give():
    plates = ["吉A12345", "", "车牌", "吉a·12345", "吉A123456789", "UNKNOWN", "00000000", "ΩΩ", "吉AD12345"]
    column = PlateReader().read(plates)
    assert column.keys.tolist() == [plate_key(fold(plate)) for plate in plates]
    assert column.raw == {2: "车牌", 3: "吉a·12345", 5: "UNKNOWN", 6: "00000000"}
    assert set(column.odd.values()) == {"吉A123456789", "ΩΩ"}
    assert not column.faults


@pytest.mark.parametrize(
    ("plate", "reason"),
    [
        ("吉A12345\0", Reason.MALFORMED),
        ("\0", Reason.MALFORMED),
        ("吉A\u200b12345", Reason.MALFORMED),
        ("吉A" + "1" * 20, Reason.TOO_LONG),
        ("1" * 1000, Reason.TOO_LONG),
        ("\ufdfa\ufdfa", Reason.TOO_LONG),  # two characters that fold to thirty
    ],
)
def test_what_cannot_be_a_plate_is_a_fault_of_its_row_alone(plate, reason):
    column = PlateReader().read(["吉A12345", plate])
    assert {row: fault[0] for row, fault in column.faults.items()} == {1: reason}


def test_the_memory_of_folded_plates_is_bounded():
    reader = PlateReader(remembered_max=10)
    for number in range(100):
        assert reader.read([f"吉A·{number:05d}"]).keys[0] == plate_key(f"吉A{number:05d}")
    assert len(reader._folded) <= 10
