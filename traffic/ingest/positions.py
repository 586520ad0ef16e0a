"""Positions of vehicles (by plate) and of crews (by code). Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from traffic.errors import Reason
from traffic.geo import gcj02_to_wgs84_columns, in_china
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Device, Things
from traffic.ingest.checks import Check, Checked, columns_of, judge_rows, time_checks, times_us
from traffic.ingest.places import Datum, Text
from traffic.ingest.plate_column import PlateColumn
from traffic.ingest.validate import CODE_MAX, Bench
from traffic.plates import class_group
from traffic.readings import EntryKind
from traffic.road_readings import POSITION, Subject

GROUP_OF_CLASS = np.array([class_group(code) for code in range(CODE_MAX + 1)], np.int64)


class PositionRecord(msgspec.Struct, frozen=True, gc=False):
    """Where a vehicle or a crew was; it says either `plate` or `crew`. Null means not told."""

    observed_at: Annotated[datetime, Meta(tz=True)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    lat: Annotated[float, Meta(ge=-90, le=90)]
    plate: Text | None = None
    plate_class: Annotated[int, Meta(ge=0, le=CODE_MAX)] | None = None
    crew: Text | None = None
    datum: Datum | None = None
    speed_kmh: Annotated[float, Meta(ge=0, le=400)] | None = None
    bearing_deg: Annotated[float, Meta(ge=0, le=360)] | None = None


EXAMPLE = {
    "plate": "吉A12345", "plate_class": 1, "observed_at": "2026-11-24T08:00:30+08:00", "lon": 125.32, "lat": 43.88,
    "speed_kmh": 86.0, "bearing_deg": 45.0,
}  # fmt: skip


def check(read: Records[PositionRecord], *, device: Device, bench: Bench, received_us: int) -> Checked[np.ndarray]:
    """Judge what was read: rows of POSITION in WGS-84."""
    column = columns_of(PositionRecord, read.records)
    crews = bench.catalogue.roadside.crews
    found = bench.catalogue.things_for(device, crews)
    crew_at = np.array([-1 if code is None else found.get(code, -1) for code in column["crew"]], np.int64)
    of_crew = np.array([code is not None for code in column["crew"]], bool)
    plates = bench.plates.read([plate or "" for plate in column["plate"]])
    classes = np.array([code or 0 for code in column["plate_class"]], np.int64)
    rows = np.empty(len(read.records), POSITION)
    rows["observed_at"] = times_us(column["observed_at"])
    rows["received_at"] = received_us
    rows["subject"] = np.where(of_crew, crews.ids[crew_at] if len(crews.ids) else 0, plates.keys)
    rows["lon"], rows["lat"] = _in_wgs84(column)
    rows["speed_kmh"] = np.array(column["speed_kmh"], np.float64)
    rows["bearing_deg"] = np.array(column["bearing_deg"], np.float64) % 360.0
    rows["device"] = device.id
    rows["subject_kind"] = np.where(of_crew, Subject.CREW, Subject.VEHICLE)
    rows["class_group"] = np.where(of_crew, 0, GROUP_OF_CLASS[classes])
    rows["door"] = bench.door
    rows["flags"] = 0
    checks = [
        *_about_crews(column, of_crew, crew_at, crews),
        *_about_plates(column, of_crew, plates),
        *time_checks(rows["observed_at"], received_us),
        ("lon", ~in_china(np.array(column["lon"], np.float64), np.array(column["lat"], np.float64)), no_point),
    ]
    good, refusals = judge_rows(checks, read)
    index = np.array(read.index, np.int64)
    return Checked(batch=rows[good], index=index[good], refusals=refusals, count=read.count, kind=EntryKind.POSITIONS)


def _in_wgs84(column: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.array(column["lon"], np.float64), np.array(column["lat"], np.float64)
    shifted = np.array([datum == "gcj02" for datum in column["datum"]], bool) & in_china(lon, lat)
    if shifted.any():
        lon[shifted], lat[shifted] = gcj02_to_wgs84_columns(lon[shifted], lat[shifted])
    return lon, lat


def no_point(row: int) -> tuple[Reason, str]:
    """Why a point is refused."""
    return Reason.OUT_OF_RANGE, "longitude and latitude are no point in China"


def _about_crews(column: dict[str, tuple], of_crew: np.ndarray, at: np.ndarray, crews: Things) -> Iterator[Check]:
    def why(row: int) -> tuple[Reason, str]:
        code = column["crew"][row]
        if code in crews.row_of:
            return Reason.NOT_THIS_DEVICE, "the crew belongs to no unit of this device's"
        return Reason.UNKNOWN_CREW, f"no crew has the code {code[:40]}"

    both = of_crew & np.array([plate is not None for plate in column["plate"]], bool)
    yield "crew", both, lambda row: (Reason.UNSUPPORTED, "a position is of a vehicle or of a crew, not of both")
    yield "crew", of_crew & (at < 0), why


def _about_plates(column: dict[str, tuple], of_crew: np.ndarray, plates: PlateColumn) -> Iterator[Check]:
    wrong = np.zeros(len(of_crew), bool)
    wrong[list(plates.faults)] = True
    yield "plate", wrong & ~of_crew, plates.faults.__getitem__

    def why(row: int) -> tuple[Reason, str]:
        if column["plate"][row] is None:
            return Reason.MISSING_FIELD, "say plate or crew"
        return Reason.MISSING_FIELD, "a position without a readable plate is of no vehicle"

    yield "plate", (plates.keys == 0) & ~of_crew & ~wrong, why
