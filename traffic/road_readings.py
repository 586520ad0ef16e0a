"""What doors hand on beside passages: detector reports and positions as columns; weather, works, cameras as rows.

Times are microseconds since 1970-01-01 UTC, places WGS-84. Nothing here does I/O.
"""

from enum import IntEnum

import msgspec
import numpy as np

# Order and names are those of table `detector_report`. One row for each detector, lane and interval.
DETECTOR_REPORT = np.dtype(
    [
        ("observed_at", "<i8"),  # end of the interval
        ("received_at", "<i8"),
        ("detector", "<i4"),
        ("device", "<i4"),
        ("lane", "<i2"),  # from the median; 0: all lanes together
        ("period_s", "<i2"),
        ("vehicles", "<i4"),
        ("heavy", "<i4"),  # of them heavy; -1: not told
        ("occupancy", "<f4"),  # per cent of the interval; NaN: not told
        ("speed_kmh", "<f4"),  # mean; NaN: no vehicle, or not told
        ("door", "<i2"),
        ("flags", "<i2"),
    ]
)
SELF_FAULT = 1  # flag of a report: the device says that it is faulty

# Order and names are those of table `position`.
POSITION = np.dtype(
    [
        ("observed_at", "<i8"),
        ("received_at", "<i8"),
        ("subject", "<i8"),  # vehicle: plate_key; crew: its id
        ("lon", "<f8"),
        ("lat", "<f8"),
        ("speed_kmh", "<f4"),  # NaN: not told
        ("bearing_deg", "<f4"),  # NaN: not told
        ("device", "<i4"),
        ("subject_kind", "<i2"),
        ("class_group", "<i2"),  # of a vehicle's plate; 0 for crews
        ("door", "<i2"),
        ("flags", "<i2"),
    ]
)

# Order and names are those of table `device_alarm`: a terminal says that something is wrong with its vehicle.
ALARM = np.dtype(
    [
        ("observed_at", "<i8"),
        ("received_at", "<i8"),
        ("plate_key", "<i8"),
        ("bits", "<i8"),  # JT/T 808 alarm bits (0 SOS, 1 overspeed, 2 fatigue, ...)
        ("number", "<i8"),  # of a platform's supervised alarm; 0: none
        ("lon", "<f8"),
        ("lat", "<f8"),
        ("speed_kmh", "<f4"),  # NaN: not told
        ("device", "<i4"),
        ("class_group", "<i2"),
        ("door", "<i2"),
        ("source", "<i2"),  # 1: the terminal itself, 2: a platform
        ("spare", "<i2"),
    ]
)


class Subject(IntEnum):
    """What a position is of."""

    VEHICLE = 1
    CREW = 2


class VehicleGroup(IntEnum):
    """Classes of vehicles in roll-ups (column `class`)."""

    UNKNOWN = 0
    SMALL = 1
    COACH = 2
    HEAVY = 3
    OTHER = 4


# GA 24.4 by letter and size: large and medium coaches, heavy and medium lorries and what draws or is drawn by them.
_SIZES = {
    "K": {1: VehicleGroup.COACH, 2: VehicleGroup.COACH, 3: VehicleGroup.SMALL, 4: VehicleGroup.SMALL},
    "H": {1: VehicleGroup.HEAVY, 2: VehicleGroup.HEAVY, 3: VehicleGroup.SMALL, 4: VehicleGroup.SMALL},
    "Z": {1: VehicleGroup.HEAVY, 2: VehicleGroup.HEAVY},
}
_LETTERS = {"B": VehicleGroup.HEAVY, "G": VehicleGroup.HEAVY, "Q": VehicleGroup.HEAVY, "D": VehicleGroup.COACH}
# GA 24.7 where the camera tells no class of vehicle. A large plate (01, 51) counts as heavy, though some are coaches.
_HEAVY_PLATES, _OTHER_PLATES = (1, 15, 51), (7, 8, 13, 14)
_SMALL_PLATES = (2, 3, 4, 5, 6, 16, 22, 23, 26, 27, 52)


def _groups_of_classes() -> np.ndarray:
    groups = np.full(2700, VehicleGroup.UNKNOWN, np.int8)
    for number in range(1, 27):
        letter = chr(ord("A") + number - 1)
        for size in range(10):
            group = _SIZES.get(letter, {}).get(size, _LETTERS.get(letter, VehicleGroup.OTHER))
            groups[number * 100 + size * 10 : number * 100 + size * 10 + 10] = group
    return groups


_GROUP_OF_CLASS = _groups_of_classes()
_GROUP_OF_PLATE = np.zeros(100, np.int8)
for _plates, _group in (
    (_HEAVY_PLATES, VehicleGroup.HEAVY),
    (_OTHER_PLATES, VehicleGroup.OTHER),
    (_SMALL_PLATES, VehicleGroup.SMALL),
):
    _GROUP_OF_PLATE[list(_plates)] = _group


def vehicle_groups(vehicle_class: np.ndarray, plate_class: np.ndarray) -> np.ndarray:
    """VehicleGroup of each passage (int8): from the class of the vehicle, where there is none from that of the plate.

    `vehicle_class`: GA 24.4 as letter * 100 + number (0: unknown), `plate_class`: GA 24.7 code (0: uncertain).
    """
    inside = (vehicle_class >= 0) & (vehicle_class < len(_GROUP_OF_CLASS))
    groups = _GROUP_OF_CLASS[np.where(inside, vehicle_class, 0)]
    of_plate = _GROUP_OF_PLATE[np.where((plate_class >= 0) & (plate_class < 100), plate_class, 0)]
    return np.where(groups == VehicleGroup.UNKNOWN, of_plate, groups)


class WeatherReport(msgspec.Struct, frozen=True, kw_only=True, tag="weather"):
    """Weather or the road's condition on a stretch, as a station, a car or a caller reports it. None: not told."""

    station: str
    observed_at: int
    received_at: int
    valid_to: int
    device: int
    unit_id: int
    road_id: int
    from_stake_m: int
    to_stake_m: int
    direction: int  # 0: both
    kind: str = "weather"  # or road_condition
    visibility_m: int | None = None
    precipitation: str | None = None  # none, rain, sleet, snow, hail, freezing_rain
    intensity_mm_h: float | None = None
    temperature_c: float | None = None
    wind_ms: float | None = None
    surface: str | None = None  # dry, wet, flooded, snow, ice, black_ice
    note: str = ""


class RoadWork(msgspec.Struct, frozen=True, kw_only=True, tag="works"):
    """Works on the road (占道施工): which lanes are closed, from when to when. `unit_id` owns the stretch."""

    code: str
    observed_at: int
    received_at: int
    device: int | None
    unit_id: int
    road_id: int
    from_stake_m: int
    to_stake_m: int
    direction: int
    lanes_closed: tuple[int, ...]
    from_at: int
    to_at: int
    kind: str
    contact: str = ""
    state: str = "planned"  # planned, active, ended, cancelled


class CameraRow(msgspec.Struct, frozen=True, kw_only=True, tag="camera"):
    """One camera point of a camera list: new, or in another place or state than before."""

    code: str
    name: str
    received_at: int
    device: int
    unit_id: int
    road_id: int
    stake_m: int
    direction: int
    lon: float
    lat: float
    enabled: bool = True
    facts: dict[str, str | int | float | bool] = {}


RoadsideItem = WeatherReport | RoadWork | CameraRow
