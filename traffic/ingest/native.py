"""The native door's format: a JSON array, or one record a line (NDJSON)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import astuple

from traffic.errors import Reason
from traffic.ingest.bodies import BODY_KEPT_BYTES, Records, read_array, read_each, read_lines
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.plate_column import PlateReader
from traffic.ingest.validate import (
    CODE_MAX,
    IMAGES_MAX,
    NOT_IN_RANGE,
    Bench,
    Checked,
    Columns,
    validate,
)
from traffic.limits import TEXT_CHARS_MAX
from traffic.readings import Door, PassageBatch, Reject

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


_ONE = msgspec.json.Decoder(NativeRecord)
_ALL = msgspec.json.Decoder(list[NativeRecord])


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


def read_json(body: bytes) -> Records[NativeRecord]:
    """Records of a JSON array (or of one object alone); raises BodyRefused."""
    return read_array(body, _ALL.decode, _ONE.decode)


def read_ndjson(body: bytes) -> Records[NativeRecord]:
    """Records of one line each; raises BodyRefused."""
    return read_lines(body, _ONE.decode)


def check(read: Records[NativeRecord], *, device: Device, bench: Bench, received_us: int) -> Checked:
    """Judge what was read."""
    return validate(_columns(read.records), read, device=device, bench=bench, received_us=received_us)


def _columns(records: list[NativeRecord]) -> Columns:
    fields = NativeRecord.__struct_fields__
    values = zip(*map(astuple, records), strict=True) if records else ((),) * len(fields)
    column = dict(zip(fields, values, strict=True))
    # A double holds microseconds of this century exactly to a quarter, so that rounding finds the right one.
    seconds = np.fromiter(map(datetime.timestamp, column["observed_at"]), np.float64, len(records))
    classes = np.fromiter(map(_VEHICLE_CLASSES.__getitem__, column["vehicle_class"]), np.int64, len(records))
    return Columns(
        names=NAMES,
        ids=[text or "" for text in column["id"]],
        gates=list(column["checkpoint"]),
        observed_us=np.rint(seconds * 1e6).astype(np.int64),
        plates=list(column["plate"]),
        codes={
            "plate_class": _codes(column["plate_class"]),
            "direction": _codes(column["direction"]),
            "lane": _codes(column["lane"]),
            "plate_color": _codes(column["plate_color"]),
            "vehicle_class": classes,
            "body_color": _codes(column["body_color"]),
        },
        speed_kmh=np.array(column["speed_kmh"], np.float64),
        length_m=np.array(column["length_m"], np.float64),
        images={row: tuple(images) for row, images in enumerate(column["images"]) if images},
    )


def _codes(values: Sequence[int | None]) -> np.ndarray:
    """A column of small numbers; not known is 0."""
    return np.fromiter([value or 0 for value in values], np.int64, len(values))


def revalidate(record_json: bytes, device: Device, catalogue: Catalogue, received_us: int) -> PassageBatch | Reject:
    """Judge one corrected record as if `device` had sent it now: a batch of one row for the bus, or why not."""
    bench = Bench(catalogue=catalogue, plates=PlateReader(), door=Door.NATIVE)
    checked = check(read_each([record_json], _ONE.decode), device=device, bench=bench, received_us=received_us)
    if not checked.refusals:
        return checked.batch
    refusal = checked.refusals[0]
    return Reject(
        received_at=received_us,
        door=Door.NATIVE,
        device_id=device.id,
        unit_id=device.unit_id,
        position=0,
        field=refusal.field,
        reason=refusal.reason,
        detail=refusal.detail,
        body=record_json[:BODY_KEPT_BYTES],
    )


def answer(*, accepted: int, rejected: list[tuple[int, str, Reason, str]], not_taken: list[int], message: str) -> bytes:
    """The JSON answer of the native door; `not_taken` and `message` only where something must be sent again."""
    body: dict[str, object] = {
        "accepted": accepted,
        "rejected": [
            {"index": index, "field": field, "reason": reason, "detail": detail}
            for index, field, reason, detail in rejected
        ],
    }
    if not_taken:
        body["not_taken"] = not_taken
    if message:
        body["error"] = {"code": "not_all_taken", "message": message}
    return msgspec.json.encode(body)
