"""What a JT/T 809 platform told of vehicles -> rows of POSITION and ALARM, and what is wrong with the others. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np

from traffic.errors import Reason
from traffic.geo import gcj02_to_wgs84_columns, in_china
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import NO_TIME, Check, Checked, judge_rows, time_checks
from traffic.ingest.jt809_bodies import Alarm, Position
from traffic.ingest.plate_column import PlateColumn
from traffic.ingest.positions import GROUP_OF_CLASS, no_point
from traffic.ingest.validate import Bench
from traffic.readings import EntryKind
from traffic.road_readings import ALARM, POSITION, Subject
from traffic.zone import SHANGHAI

SPEED_KMH_MAX = 400
OF_THE_TERMINAL, OF_THE_PLATFORM = 1, 2  # ALARM's source
PLACES_MAX = 100_000  # vehicles of one link whose last place is remembered; beyond it the memory begins anew
PLACE_AGE_US = 10 * 60 * 1_000_000  # an alarm does not stand where its vehicle was longer ago
_SECONDS_MAX = 2**40
# Colour of a plate (JT/T 697.7; from 91 on JT/T 415) -> GA 24.7 class, for vehicles that are in no registry.
_CLASS_OF_COLOR = {1: 2, 2: 1, 5: 52, 91: 14, 93: 51, 94: 52}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One position of one vehicle, as its platform told it."""

    plate: str
    color: int
    position: Position


class LastPlaces:
    """Where the vehicles of one link were last: a platform's alarm tells no place of its own."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, float, float]] = {}

    def learn(self, rows: np.ndarray) -> None:
        """Positions that count."""
        if len(self._places) > PLACES_MAX:
            self._places.clear()
        keys = (rows["subject"] << 3) | rows["class_group"]
        columns = (keys, rows["observed_at"], rows["lon"], rows["lat"])
        for key, at_us, lon, lat in zip(*(column.tolist() for column in columns), strict=True):
            if at_us >= self._places.get(key, (NO_TIME, 0.0, 0.0))[0]:
                self._places[key] = (at_us, lon, lat)

    def find(self, key: int, at_us: int) -> tuple[float, float]:
        """The vehicle's place about then; NaN where it is not known."""
        seen_us, lon, lat = self._places.get(key, (NO_TIME, 0.0, 0.0))
        return (lon, lat) if abs(seen_us - at_us) <= PLACE_AGE_US else (np.nan, np.nan)


def judge_positions(
    sightings: Sequence[Sighting], *, device: Device, bench: Bench, received_us: int
) -> Checked[np.ndarray]:
    """Rows of POSITION in WGS-84. One without a fix is refused as such: the place in it is an old one."""
    told = [sighting.position for sighting in sightings]
    plates = bench.plates.read([sighting.plate for sighting in sightings])
    rows = np.empty(len(told), POSITION)
    lon, lat = _places(told)
    rows["observed_at"] = _times([position.time for position in told])
    rows["received_at"] = received_us
    rows["subject"] = plates.keys
    rows["lon"], rows["lat"] = lon, lat
    rows["speed_kmh"] = [position.speed_kmh for position in told]
    rows["bearing_deg"] = [position.bearing_deg if position.bearing_deg <= 360 else np.nan for position in told]
    rows["bearing_deg"] %= 360.0
    rows["device"] = device.id
    rows["subject_kind"] = Subject.VEHICLE
    rows["class_group"] = _groups(bench.catalogue, plates.keys, [sighting.color for sighting in sightings])
    rows["door"] = bench.door
    rows["flags"] = 0
    unfixed = np.array([not position.located for position in told], bool)
    checks = [
        *_about_plates(plates),
        ("status", unfixed, lambda row: (Reason.NO_FIX, "the receiver has no fix")),
        *time_checks(rows["observed_at"], received_us),
        ("lon", ~in_china(lon, lat), no_point),
        ("speed_kmh", rows["speed_kmh"] > SPEED_KMH_MAX, _too_fast),
    ]
    read = Records(
        records=list(sightings), index=list(range(len(told))), refusals=[], count=len(told),
        raw_at=lambda place: _sighting_json(sightings[place]),
    )  # fmt: skip
    good, refusals = judge_rows(checks, read)
    return Checked(
        batch=rows[good], index=np.flatnonzero(good), refusals=refusals, count=len(told), kind=EntryKind.POSITIONS
    )


def alarms_of(sightings: Sequence[Sighting], positions: Checked[np.ndarray]) -> np.ndarray:
    """Rows of ALARM: the bits that came with positions which count."""
    bits = np.array([sightings[place].position.alarm for place in positions.index.tolist()], np.int64)
    rows = positions.batch[bits != 0]
    alarms = np.zeros(len(rows), ALARM)
    for name in ("observed_at", "received_at", "lon", "lat", "speed_kmh", "device", "class_group", "door"):
        alarms[name] = rows[name]
    alarms["plate_key"] = rows["subject"]
    alarms["bits"] = bits[bits != 0]
    alarms["source"] = OF_THE_TERMINAL
    return alarms


def judge_alarms(
    told: Sequence[Alarm], places: LastPlaces, *, device: Device, bench: Bench, received_us: int
) -> Checked[np.ndarray]:
    """Rows of ALARM of what platforms report; an alarm stands where its vehicle was last, or nowhere (NaN)."""
    plates = bench.plates.read([alarm.plate for alarm in told])
    rows = np.zeros(len(told), ALARM)
    rows["observed_at"] = [alarm.at_s * 1_000_000 if 0 < alarm.at_s < _SECONDS_MAX else NO_TIME for alarm in told]
    rows["received_at"] = received_us
    rows["plate_key"] = plates.keys
    rows["bits"] = [alarm.bits for alarm in told]
    rows["number"] = [max(alarm.number, 0) for alarm in told]
    rows["speed_kmh"] = np.nan
    rows["device"] = device.id
    rows["class_group"] = _groups(bench.catalogue, plates.keys, [alarm.color for alarm in told])
    rows["door"] = bench.door
    rows["source"] = OF_THE_PLATFORM
    keys = (rows["plate_key"] << 3) | rows["class_group"]
    found = [places.find(key, at_us) for key, at_us in zip(keys.tolist(), rows["observed_at"].tolist(), strict=True)]
    rows["lon"], rows["lat"] = np.array(found, np.float64).reshape(-1, 2).T
    read = Records(
        records=list(told), index=list(range(len(told))), refusals=[], count=len(told),
        raw_at=lambda place: _alarm_json(told[place]),
    )  # fmt: skip
    checks = [*_about_plates(plates), *time_checks(rows["observed_at"], received_us)]
    good, refusals = judge_rows(checks, read)
    return Checked(
        batch=rows[good], index=np.flatnonzero(good), refusals=refusals, count=len(told), kind=EntryKind.ALARMS
    )


# ---------------------------------------------------------------- columns
def _times(times: Sequence[datetime | None]) -> np.ndarray:
    return np.array([NO_TIME if time is None else int(time.timestamp()) * 1_000_000 for time in times], np.int64)


def _places(told: Sequence[Position]) -> tuple[np.ndarray, np.ndarray]:
    lon = np.array([position.lon for position in told], np.float64)
    lat = np.array([position.lat for position in told], np.float64)
    shifted = np.array([position.shifted for position in told], bool) & in_china(lon, lat)
    if shifted.any():
        lon[shifted], lat[shifted] = gcj02_to_wgs84_columns(lon[shifted], lat[shifted])
    return lon, lat


def _groups(catalogue: Catalogue, keys: np.ndarray, colors: Sequence[int]) -> np.ndarray:
    """Class group of each vehicle: as registered under this plate and colour, else as the colour says."""
    classes = [
        catalogue.registered_class(key, color) or _CLASS_OF_COLOR.get(color, 0)
        for key, color in zip(keys.tolist(), colors, strict=True)
    ]
    return GROUP_OF_CLASS[np.array(classes, np.int64)]


def _about_plates(plates: PlateColumn) -> Iterator[Check]:
    wrong = np.zeros(len(plates.keys), bool)
    wrong[list(plates.faults)] = True
    yield "plate", wrong, plates.faults.__getitem__
    without = (plates.keys == 0) & ~wrong
    yield "plate", without, lambda row: (Reason.MISSING_FIELD, "without a readable plate it is of no vehicle")


def _too_fast(row: int) -> tuple[Reason, str]:
    return Reason.OUT_OF_RANGE, f"must be a number from 0 to {SPEED_KMH_MAX}"


# ---------------------------------------------------------------- what quarantine keeps
def _sighting_json(sighting: Sighting) -> bytes:
    """A refused position as a native one, which a person can read and mend."""
    position = sighting.position
    return msgspec.json.encode(
        {
            "plate": sighting.plate,
            "plate_class": _CLASS_OF_COLOR.get(sighting.color, 0),
            "observed_at": position.time.isoformat() if position.time else "",
            "lon": position.lon,
            "lat": position.lat,
            "datum": "gcj02" if position.shifted else "wgs84",
            "speed_kmh": position.speed_kmh,
            "bearing_deg": position.bearing_deg,
            "plate_color": sighting.color,
            "status": position.status,
            "alarm": position.alarm,
        }
    )


def _alarm_json(alarm: Alarm) -> bytes:
    at = datetime.fromtimestamp(alarm.at_s, UTC).astimezone(SHANGHAI).isoformat() if alarm.at_s < 2**35 else ""
    return msgspec.json.encode(
        {
            "plate": alarm.plate,
            "plate_color": alarm.color,
            "observed_at": at,
            "alarm_type": alarm.kind,
            "number": alarm.number,
            "source": alarm.source,
            "text": alarm.text,
        }
    )
