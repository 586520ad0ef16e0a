"""Groups of vehicles in roll-ups, by GA 24.4 (vehicle) and GA 24.7 (plate)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.road_readings import VehicleGroup, vehicle_groups

CODES = {  # letter * 100 + number
    "K11": VehicleGroup.COACH, "K21": VehicleGroup.COACH, "K33": VehicleGroup.SMALL, "K43": VehicleGroup.SMALL,
    "H11": VehicleGroup.HEAVY, "H29": VehicleGroup.HEAVY, "H31": VehicleGroup.SMALL, "H51": VehicleGroup.OTHER,
    "Q11": VehicleGroup.HEAVY, "B11": VehicleGroup.HEAVY, "G11": VehicleGroup.HEAVY, "Z11": VehicleGroup.HEAVY,
    "Z71": VehicleGroup.OTHER, "D11": VehicleGroup.COACH, "M11": VehicleGroup.OTHER, "T11": VehicleGroup.OTHER,
    "X99": VehicleGroup.OTHER,
}  # fmt: skip


def group_of(vehicle_class: int, plate_class: int) -> int:
    return int(vehicle_groups(np.array([vehicle_class], np.int16), np.array([plate_class], np.int16))[0])


@pytest.mark.parametrize("code", CODES)
def test_the_class_of_the_vehicle_decides_whatever_its_plate(code: str):
    number = (ord(code[0]) - ord("A") + 1) * 100 + int(code[1:])
    assert {group_of(number, plate) for plate in (0, 1, 2, 7, 99)} == {CODES[code]}


def test_the_plate_decides_where_the_camera_tells_no_class():
    wanted = {0: 0, 1: 3, 2: 1, 7: 4, 8: 4, 13: 4, 15: 3, 16: 1, 23: 1, 51: 3, 52: 1, 60: 0}
    assert {plate: group_of(0, plate) for plate in wanted} == wanted


@given(st.integers(-(2**15), 2**15 - 1), st.integers(-(2**15), 2**15 - 1))
def test_any_number_has_a_group(vehicle_class: int, plate_class: int):
    assert group_of(vehicle_class, plate_class) in set(VehicleGroup)
