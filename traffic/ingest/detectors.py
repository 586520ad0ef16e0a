"""Reports of detectors: what one lane counted and measured in an interval. Pure."""

from collections.abc import Iterator
from datetime import datetime
from itertools import repeat
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from traffic.errors import Reason
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Device, Things
from traffic.ingest.checks import Check, Checked, Why, columns_of, judge_rows, time_checks, times_us
from traffic.ingest.validate import Bench
from traffic.limits import TEXT_CHARS_MAX
from traffic.readings import EntryKind
from traffic.road_readings import DETECTOR_REPORT, SELF_FAULT

LANES_MAX = 12
PERIOD_S = 30
# A detector that chatters counts more vehicles than can pass: that is for the sensors' health to say, not for a door.
VEHICLES_MAX = 100_000
Count = Annotated[int, Meta(ge=0, le=VEHICLES_MAX)]


class DetectorRecord(msgspec.Struct, frozen=True, gc=False):
    """One lane (0: all lanes together) in the interval that ends at `observed_at`. Null means not told."""

    detector: Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
    observed_at: Annotated[datetime, Meta(tz=True)]
    vehicles: Count
    lane: Annotated[int, Meta(ge=0, le=LANES_MAX)] | None = None
    period_s: Annotated[int, Meta(ge=10, le=900)] | None = None
    heavy: Count | None = None
    occupancy: Annotated[float, Meta(ge=0, le=100)] | None = None
    speed_kmh: Annotated[float, Meta(ge=0, le=250)] | None = None
    fault: bool | None = None


EXAMPLE = {
    "detector": "22030300002000000001", "observed_at": "2026-11-24T08:00:30+08:00", "lane": 1, "period_s": 30,
    "vehicles": 12, "heavy": 2, "occupancy": 8.5, "speed_kmh": 92.0,
}  # fmt: skip


def check(read: Records[DetectorRecord], *, device: Device, bench: Bench, received_us: int) -> Checked[np.ndarray]:
    """Judge what was read: rows of DETECTOR_REPORT."""
    known = bench.catalogue.roadside.detectors
    column = columns_of(DetectorRecord, read.records)
    count = len(read.records)
    found = bench.catalogue.things_for(device, known)
    at = np.fromiter(map(found.get, column["detector"], repeat(-1)), np.int64, count)
    rows = np.empty(count, DETECTOR_REPORT)
    rows["observed_at"] = times_us(column["observed_at"])
    rows["received_at"] = received_us
    rows["detector"] = known.ids[at] if len(known.ids) else 0  # of a wrong record nothing is used
    rows["device"] = device.id
    rows["lane"] = [lane or 0 for lane in column["lane"]]
    rows["period_s"] = [period or PERIOD_S for period in column["period_s"]]
    rows["vehicles"] = column["vehicles"]
    rows["heavy"] = [-1 if heavy is None else heavy for heavy in column["heavy"]]
    rows["occupancy"] = np.array(column["occupancy"], np.float64)
    rows["speed_kmh"] = np.array(column["speed_kmh"], np.float64)
    rows["door"] = bench.door
    rows["flags"] = [SELF_FAULT if fault else 0 for fault in column["fault"]]
    checks = [
        ("detector", at < 0, _about_detector(column["detector"], known)),
        *time_checks(rows["observed_at"], received_us),
        *_about_numbers(rows, known.lanes[at] if len(known.lanes) else np.zeros(count, np.int64)),
    ]
    good, refusals = judge_rows(checks, read)
    index = np.array(read.index, np.int64)
    return Checked(batch=rows[good], index=index[good], refusals=refusals, count=read.count, kind=EntryKind.DETECTORS)


def _about_detector(codes: tuple[str, ...], known: Things) -> Why:
    def why(row: int) -> tuple[Reason, str]:
        code = codes[row]
        if not code:
            return Reason.MISSING_FIELD, "the detector's code is missing"
        if code in known.row_of:
            return Reason.NOT_THIS_DEVICE, "the detector belongs to no unit of this device's"
        return Reason.UNKNOWN_DETECTOR, f"no detector has the code {code[:40]}"

    return why


def _about_numbers(rows: np.ndarray, lanes: np.ndarray) -> Iterator[Check]:
    yield "lane", rows["lane"] > lanes, lambda row: (Reason.OUT_OF_RANGE, f"the detector has {lanes[row]} lanes")
    heavier = rows["heavy"] > rows["vehicles"]
    yield "heavy", heavier, lambda row: (Reason.OUT_OF_RANGE, "more heavy vehicles than vehicles")
