"""Passages as a native sender writes them. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked, columns_of, times_us
from traffic.ingest.validate import (
    CODE_MAX,
    IMAGES_MAX,
    NOT_IN_RANGE,
    Bench,
    Columns,
    validate,
)
from traffic.limits import TEXT_CHARS_MAX
from traffic.readings import PassageBatch

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Code = Annotated[int, Meta(ge=0, le=CODE_MAX)]
NAMES: dict[str, str] = {}  # our columns carry the same names as the fields


class NativeRecord(msgspec.Struct, frozen=True, gc=False):
    """One passage as a native sender writes it. Optional fields may be null, which means not known."""

    checkpoint: Text
    observed_at: Annotated[datetime, Meta(tz=True)]
    plate: Text
    id: Text | None = None
    plate_class: Code | None = None
    direction: Annotated[int, Meta(ge=0, le=2)] | None = None
    lane: Code | None = None
    speed_kmh: float | None = None
    length_m: float | None = None
    plate_color: Code | None = None
    vehicle_class: Annotated[str, Meta(max_length=8)] | None = None
    body_color: Code | None = None
    images: Annotated[list[Text], Meta(max_length=IMAGES_MAX)] | None = None


EXAMPLE = {
    "id": "1", "checkpoint": "22010000001210000001", "observed_at": "2026-11-24T08:00:30.250+08:00",
    "plate": "吉A12345", "plate_class": 2, "direction": 1, "lane": 1, "speed_kmh": 96.5,
}  # fmt: skip


class VehicleClasses(dict):
    """Vehicle class text (GA 24.4: K33, H11, X99) -> letter * 100 + number; 0 for none; NOT_IN_RANGE for others."""

    def __missing__(self, text: str | None) -> int:
        if not text:
            value = 0
        elif text[0].isascii() and text[0].isupper() and text[1:].isascii() and text[1:].isdigit() and len(text) <= 3:
            value = (ord(text[0]) - 64) * 100 + int(text[1:])
        else:
            value = NOT_IN_RANGE
        if len(self) < 10_000:
            self[text] = value
        return value


_VEHICLE_CLASSES = VehicleClasses()


def check(read: Records[NativeRecord], *, device: Device, bench: Bench, received_us: int) -> Checked[PassageBatch]:
    """Judge what was read."""
    return validate(_columns(read.records), read, device=device, bench=bench, received_us=received_us)


def _columns(records: list[NativeRecord]) -> Columns:
    column = columns_of(NativeRecord, records)
    count = len(records)
    classes = np.zeros(count, np.int64)
    if _told(column["vehicle_class"]):
        classes = np.fromiter(map(_VEHICLE_CLASSES.__getitem__, column["vehicle_class"]), np.int64, count)
    images = enumerate(column["images"]) if _told(column["images"]) else ()
    return Columns(
        names=NAMES,
        ids=[text or "" for text in column["id"]],
        gates=list(column["checkpoint"]),
        observed_us=times_us(column["observed_at"]),
        plates=list(column["plate"]),
        codes={
            "plate_class": _codes(column["plate_class"]),
            "direction": _codes(column["direction"]),
            "lane": _codes(column["lane"]),
            "plate_color": _codes(column["plate_color"]),
            "vehicle_class": classes,
            "body_color": _codes(column["body_color"]),
        },
        speed_kmh=_floats(column["speed_kmh"]),
        length_m=_floats(column["length_m"]),
        images={row: tuple(addresses) for row, addresses in images if addresses},
    )


def _told(values: Sequence[object]) -> bool:
    """Whether anybody filled this column in: a sender mostly leaves the same fields out of all its records."""
    return values.count(None) < len(values)


def _codes(values: Sequence[int | None]) -> np.ndarray:
    """A column of small numbers; not known is 0."""
    if not _told(values):
        return np.zeros(len(values), np.int64)
    return np.fromiter([value or 0 for value in values], np.int64, len(values))


def _floats(values: Sequence[float | None]) -> np.ndarray:
    """A column of measurements; not measured is no number."""
    return np.array(values, np.float64) if _told(values) else np.full(len(values), np.nan)
