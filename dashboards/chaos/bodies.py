"""A planned record on the wire, and the identity and content under which it must be stored. Pure."""

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dashboards.chaos.plan import Fault, Gate, Passage, Request
from traffic.clock import SHANGHAI
from traffic.ingest.catalogue import HEADING_OF_CODE, direction_of
from traffic.plates import fold, plate_key
from traffic.readings import Door, place_hash, source_hash

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOWHERE = "99999999999999999999"  # no checkpoint has this code

Identity = tuple[int, int]  # (observed_at in microseconds, source_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What of a stored passage the sender can check."""

    checkpoint: int
    plate_key: int
    plate_class: int
    direction: int
    lane: int
    speed_kmh: float | None


def at(start_us: int, passage: Passage) -> datetime:
    """The event time of a planned passage."""
    return _EPOCH + timedelta(microseconds=start_us + passage.at_us)


def identity(start_us: int, passage: Passage, device_code: str) -> Identity:
    """Under which identity a passage told by this device is kept."""
    observed_us = start_us + passage.at_us
    if passage.source_id is not None:
        return observed_us, source_hash(device_code, passage.source_id)
    gate, second = passage.gate.id, observed_us // 1_000_000
    return observed_us, place_hash(gate, passage.direction, passage.lane, second, passage.plate)


def content(passage: Passage) -> Content:
    """What must be stored of it."""
    return Content(
        checkpoint=passage.gate.id,
        plate_key=plate_key(fold(passage.plate)),
        plate_class=passage.plate_class,
        direction=passage.direction,
        lane=passage.lane,
        speed_kmh=passage.speed_kmh,
    )


def body_of(request: Request, start_us: int, device_code: str) -> bytes:
    """The request's body before compression: a GA/T 1400 list, a JSON array or lines."""
    if request.door is Door.GAT1400:
        records = [_motor_vehicle(record, start_us, device_code) for record in request.records]
        return json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": records}}, ensure_ascii=False).encode()
    texts = [_native_text(record, start_us) for record in request.records]
    return "\n".join(texts).encode() if request.form == "lines" else f"[{','.join(texts)}]".encode()


def packed(request: Request, body: bytes) -> tuple[bytes, dict[str, str]]:
    """The bytes to send and their headers."""
    if request.door is Door.GAT1400:
        return body, {"Content-Type": "application/VIID+JSON;charset=UTF-8"}
    if request.form == "lines":
        return body, {"Content-Type": "application/x-ndjson"}
    if request.form == "gzip":
        return gzip.compress(body, 1), {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return body, {"Content-Type": "application/json"}


# ---------------------------------------------------------------- native
def _native_text(record: Passage | Fault, start_us: int) -> str:
    if isinstance(record, Passage):
        return json.dumps(_native(record, start_us), ensure_ascii=False)
    good: dict[str, object] = {
        "id": record.marker,
        "checkpoint": record.gate.code,
        "observed_at": (_EPOCH + timedelta(microseconds=start_us)).isoformat(),
        "plate": "吉A00000",
    }
    start = _EPOCH + timedelta(microseconds=start_us)
    wrong: dict[str, dict[str, object]] = {
        "gate": {"checkpoint": NOWHERE},
        "time": {"observed_at": f"{start:%Y-%m-%dT%H:%M:%S}"},
        "future": {"observed_at": (start + timedelta(days=2)).isoformat()},
        "old": {"observed_at": (start - timedelta(days=40)).isoformat()},
        "speed": {"speed_kmh": 999.0},
        "broken": {},
    }
    text = json.dumps({**good, **wrong[record.what]}, ensure_ascii=False)
    return text[:-1] if record.what == "broken" else text


def _native(passage: Passage, start_us: int) -> dict[str, object]:
    record: dict[str, object] = {
        "checkpoint": passage.gate.code,
        "observed_at": at(start_us, passage).astimezone(SHANGHAI).isoformat(),
        "plate": passage.plate,
        "plate_class": passage.plate_class,
        "direction": passage.direction,
        "lane": passage.lane,
        "speed_kmh": passage.speed_kmh,
    }
    if passage.source_id is not None:
        record["id"] = passage.source_id
    return record


# ---------------------------------------------------------------- GA/T 1400
def _compass(gate: Gate, direction: int) -> str:
    """A compass code that this gate's bearing turns into the direction."""
    return str(next(code for code in HEADING_OF_CODE if direction_of(code, gate.bearing_deg) == direction))


def _motor_vehicle(record: Passage | Fault, start_us: int, device_code: str) -> dict[str, object]:
    if isinstance(record, Fault):
        return _wrong_vehicle(record, start_us, device_code)
    vehicle: dict[str, object] = {
        "InfoKind": 1,
        "DeviceID": device_code,
        "TollgateID": record.gate.code,
        "PassTime": f"{at(start_us, record).astimezone(SHANGHAI):%Y%m%d%H%M%S}",
        "LaneNo": record.lane,
        "HasPlate": "1",
        "PlateNo": record.plate,
        "PlateClass": f"{record.plate_class:02d}",
        "Direction": _compass(record.gate, record.direction),
    }
    if record.speed_kmh is not None:
        vehicle["Speed"] = record.speed_kmh
    if record.source_id is not None:
        vehicle["MotorVehicleID"] = record.source_id
    return vehicle


def _wrong_vehicle(fault: Fault, start_us: int, device_code: str) -> dict[str, object]:
    start = (_EPOCH + timedelta(microseconds=start_us)).astimezone(SHANGHAI)
    good: dict[str, object] = {
        "MotorVehicleID": fault.marker,
        "DeviceID": device_code,
        "TollgateID": fault.gate.code,
        "PassTime": f"{start:%Y%m%d%H%M%S}",
        "PlateNo": "吉A00000",
    }
    wrong: dict[str, dict[str, object]] = {
        "gate": {"TollgateID": NOWHERE},
        "time": {"PassTime": "not a time"},
        "future": {"PassTime": f"{start + timedelta(days=2):%Y%m%d%H%M%S}"},
        "old": {"PassTime": f"{start - timedelta(days=40):%Y%m%d%H%M%S}"},
        "speed": {"Speed": 999.0},
        "broken": {"PassTime": ""},
    }
    return {**good, **wrong[fault.what]}
