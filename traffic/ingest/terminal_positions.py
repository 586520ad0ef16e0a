"""What terminals told of place and alarms -> rows of POSITION and ALARM, and what is wrong with the others. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from traffic.errors import Reason
from traffic.geo import in_china
from traffic.ingest.bodies import Records, Refusal
from traffic.ingest.checks import NO_TIME, Check, judge_rows, time_checks
from traffic.ingest.jt808_bodies import LOCATED, SOUTH, WEST, read_fixes, times_us
from traffic.ingest.positions import no_point
from traffic.plates import CLASS_LARGE, CLASS_MOTORCYCLE, CLASS_OTHER, CLASS_SMALL
from traffic.readings import Door
from traffic.road_readings import ALARM, POSITION, Subject
from traffic.zone import SHANGHAI

SPEED_KMH_MAX = 400.0
OF_THE_TERMINAL = 1  # ALARM's source
# A class of plates for each class group, so that a refused position can be mended as a native one.
_CLASS_OF_GROUP = {CLASS_LARGE: 1, CLASS_SMALL: 2, CLASS_MOTORCYCLE: 7, CLASS_OTHER: 51}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One terminal as entered, with the class group that its vehicle is registered under.

    `device`: the sender of kind jt808 of its unit. `number`: its own, told with its first registration.
    """

    id: int
    phone: str
    plate_key: int
    class_group: int
    plate: str
    plate_color: int
    unit_id: int
    device: int
    number: str
    code_hash: bytes | None
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Rows with the numbers of the bodies that they came from; `refusals` name the others by number.

    An alarm without a place of its own stands where its terminal was last; without a fix most repeat that place.
    """

    positions: np.ndarray
    position_of: np.ndarray
    alarms: np.ndarray
    alarm_of: np.ndarray
    refusals: list[Refusal]


def judge(bodies: Sequence[bytes], owners: Sequence[Terminal], last: np.ndarray, *, received_us: int) -> Judged:
    """Judge positions of many terminals at once. `last`: (n, 2) lon and lat of each one's last place, or NaN."""
    fixes = read_fixes(bodies)
    rows = _rows(fixes, owners, received_us)
    on_earth = in_china(rows["lon"], rows["lat"])
    times = list(time_checks(rows["observed_at"], received_us))
    checks: list[Check] = [
        ("status", (fixes["status"] & LOCATED) == 0, lambda row: (Reason.NO_FIX, "the receiver has no fix")),
        *times,
        ("lon", ~on_earth, no_point),
        ("speed_kmh", rows["speed_kmh"] > SPEED_KMH_MAX, _too_fast),
    ]
    good, refusals = judge_rows(checks, _as_records(fixes, rows, owners))
    untimed = np.logical_or.reduce([wrong for _, wrong, _ in times])
    places = np.where(on_earth[:, None], np.stack([rows["lon"], rows["lat"]], axis=1), last)
    alarms, alarm_of = _alarms(fixes, rows, places, untimed)
    index = np.flatnonzero(good)
    return Judged(positions=rows[index], position_of=index, alarms=alarms, alarm_of=alarm_of, refusals=refusals)


def _rows(fixes: np.ndarray, owners: Sequence[Terminal], received_us: int) -> np.ndarray:
    count = len(owners)
    rows = np.empty(count, POSITION)
    rows["observed_at"] = times_us(fixes)
    rows["received_at"] = received_us
    rows["subject"] = np.fromiter((owner.plate_key for owner in owners), np.int64, count)
    rows["lon"] = fixes["lon"] / np.where(fixes["status"] & WEST, -1e6, 1e6)
    rows["lat"] = fixes["lat"] / np.where(fixes["status"] & SOUTH, -1e6, 1e6)
    rows["speed_kmh"] = fixes["speed"] / 10.0
    rows["bearing_deg"] = fixes["bearing_deg"] % 360
    rows["device"] = np.fromiter((owner.device for owner in owners), np.int64, count)
    rows["subject_kind"] = Subject.VEHICLE
    rows["class_group"] = np.fromiter((owner.class_group for owner in owners), np.int64, count)
    rows["door"] = Door.JT808
    rows["flags"] = 0
    return rows


def _alarms(
    fixes: np.ndarray, rows: np.ndarray, places: np.ndarray, untimed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An alarm counts although its position does not; without a time or any place it can only be refused with it."""
    index = np.flatnonzero((fixes["alarms"] != 0) & ~untimed & ~np.isnan(places[:, 0]))
    alarms = np.zeros(len(index), ALARM)
    if not len(index):
        return alarms, index
    for name in ("observed_at", "received_at", "device", "class_group", "door"):
        alarms[name] = rows[name][index]
    alarms["plate_key"] = rows["subject"][index]
    alarms["bits"] = fixes["alarms"][index]
    alarms["lon"], alarms["lat"] = places[index].T
    speed_kmh = rows["speed_kmh"][index]
    alarms["speed_kmh"] = np.where(speed_kmh <= SPEED_KMH_MAX, speed_kmh, np.nan)
    alarms["source"] = OF_THE_TERMINAL
    return alarms, index


def _as_records(fixes: np.ndarray, rows: np.ndarray, owners: Sequence[Terminal]) -> Records[Any]:
    """Refused ones are kept as native positions, which a person can read and mend."""

    def raw_at(number: int) -> bytes:
        row, owner = rows[number], owners[number]
        at_us, digits = int(row["observed_at"]), fixes["time"][number].tobytes().hex()
        time = digits if at_us == NO_TIME else datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(SHANGHAI).isoformat()
        return msgspec.json.encode(
            {
                "plate": owner.plate,
                "plate_class": _CLASS_OF_GROUP.get(owner.class_group, 0),
                "observed_at": time,
                "lon": round(float(row["lon"]), 6),
                "lat": round(float(row["lat"]), 6),
                "speed_kmh": round(float(row["speed_kmh"]), 1),
                "bearing_deg": float(row["bearing_deg"]),
                "terminal": owner.phone,
                "alarms": int(fixes["alarms"][number]),
                "status": int(fixes["status"][number]),
            }
        )

    count = len(owners)
    return Records(records=list(owners), index=list(range(count)), refusals=[], count=count, raw_at=raw_at)


def _too_fast(row: int) -> tuple[Reason, str]:
    return Reason.OUT_OF_RANGE, f"must be a number from 0 to {SPEED_KMH_MAX:g}"
