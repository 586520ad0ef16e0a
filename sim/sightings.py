"""What a camera makes of a crossing: a MotorVehicle object of GA/T 1400 with the errors that cameras make. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from sim.vehicles import BLUE, Vehicle
from traffic.network import STAKES_INCREASE, Checkpoint
from traffic.zone import SHANGHAI

# Shares of readings; the norm asks for 90 % right by day, good cameras do better.
UNREADABLE_SHARE, MISREAD_SHARE, CLASS_UNKNOWN_SHARE, NO_SPEED_SHARE, COLOR_WRONG_SHARE = 0.01, 0.012, 0.01, 0.02, 0.06
SPEED_ERROR_SHARE = 0.01  # of the speed, one standard deviation
_ALIKE = {"0": "D", "D": "0", "8": "B", "B": "8", "1": "T", "2": "Z", "Z": "2", "5": "S", "S": "5", "7": "1", "Q": "0"}
_CAMERA, _GATE = "119", "121"  # type codes in a 20-digit id
_COMPASS = ((45.0, 5), (90.0, 1), (135.0, 7), (180.0, 3), (225.0, 6), (270.0, 2), (315.0, 8), (0.0, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A vehicle's front on the loop of one lane, in domain time."""

    at_us: int
    direction: int
    lane: int
    speed_ms: float
    length_m: float


class Camera:
    """Reads plates with a seeded generator; numbers its records."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._serial = int(random.integers(0, 100_000))  # of another start, even in the same second, others

    def record(self, crossing: Crossing, vehicle: Vehicle, gate: Checkpoint) -> dict[str, object]:
        """The MotorVehicle object of a crossing; PassTime in whole seconds of Beijing time, as the norm has it."""
        self._serial = (self._serial + 1) % 100_000
        passed = f"{_local(crossing.at_us):%Y%m%d%H%M%S}"
        camera = gate.code[:10] + _CAMERA + gate.code[13:]
        source = f"{camera}02{passed}{self._serial:05d}"
        plate = self.read(vehicle.plate)
        body = {
            "MotorVehicleID": f"{source}02{crossing.lane:05d}",
            "InfoKind": 1,
            "SourceID": source,
            "DeviceID": camera,
            "TollgateID": gate.code,
            "PassTime": passed,
            "MarkTime": passed,
            "LaneNo": crossing.lane,
            "HasPlate": "1" if plate else "0",
            "PlateClass": f"{0 if self._chance(CLASS_UNKNOWN_SHARE) else vehicle.plate_class:02d}",
            "PlateColor": str(vehicle.plate_color),
            "PlateNo": plate or "未识别",
            "Direction": compass(gate.bearing_deg + (0.0 if crossing.direction == STAKES_INCREASE else 180.0)),
            "VehicleClass": vehicle.vehicle_class,
            "VehicleColor": str(BLUE if self._chance(COLOR_WRONG_SHARE) else vehicle.body_color),
            "VehicleLength": round(crossing.length_m * 100),
        }
        if not self._chance(NO_SPEED_SHARE):
            error = self._random.normal(1.0, SPEED_ERROR_SHARE)
            body["Speed"] = round(max(0.0, crossing.speed_ms * 3.6 * error), 1)
        return body

    def read(self, plate: str) -> str:
        """The plate as read: now and then not at all, or with one character taken for one that looks alike."""
        if self._chance(UNREADABLE_SHARE):
            return ""
        places = [place for place, character in enumerate(plate) if place > 1 and character in _ALIKE]
        if places and self._chance(MISREAD_SHARE):
            place = places[int(self._random.integers(0, len(places)))]
            return plate[:place] + _ALIKE[plate[place]] + plate[place + 1 :]
        return plate

    def _chance(self, share: float) -> bool:
        return bool(self._random.random() < share)


def compass(bearing_deg: float) -> str:
    """Direction code of GA/T 1400 for a bearing of travel: 1 W-E, 2 E-W, 3 N-S, 4 S-N, 5 SW-NE, 6, 7, 8."""
    return str(min(_COMPASS, key=lambda way: abs((bearing_deg - way[0] + 180.0) % 360.0 - 180.0))[1])


def _local(at_us: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).astimezone(SHANGHAI)
