"""GA/T 1400 (视图库): MotorVehicle bodies as devices send them, and the answers that they expect. Pure.

Devices differ from the norm and from each other: a number may be text, a missing value "" or null, a list of one its
element. What says nothing is taken as unknown; what says something wrong is refused by field.
"""

import re
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from msgspec import Meta

from traffic.clock import SHANGHAI
from traffic.errors import Reason
from traffic.ingest.bodies import UNREADABLE_JSON, BodyRefused, Records, read_array, read_each, salvage_array
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked
from traffic.ingest.local_time import parse_local
from traffic.ingest.validate import (
    CODE_MAX,
    IMAGES_MAX,
    NOT_A_NUMBER,
    NOT_IN_RANGE,
    Bench,
    Columns,
    validate,
)
from traffic.limits import TEXT_CHARS_MAX
from traffic.readings import PassageBatch

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)] | int | None
Number = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)] | int | float | None
Flag = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)] | int | bool | None
CONTENT_TYPE = "application/VIID+JSON;charset=UTF-8"

# ConfirmStatusType of GA/T 1400.4
OK, OTHER_ERROR, BUSY, DEVICE_ERROR, INVALID_OPERATION, INVALID_FORMAT, INVALID_CONTENT = (
    "0",
    "1",
    "2",
    "3",
    "4",
    "7",
    "8",
)

# ColorType of GA/T 1400.3 (1 black, 2 white, 5 blue, 6 yellow, 9 green) -> plate colour of JT/T 697.7.
_PLATE_COLOR = np.full(CODE_MAX + 1, 9, np.int64)
_PLATE_COLOR[[0, 1, 2, 5, 6, 9]] = [0, 3, 4, 1, 2, 5]
_LENGTH_CM_MAX = 3000  # a longer vehicle is a device that counts in other units: not measured


def _field(name: str) -> str | None:
    return msgspec.field(name=name, default=None)


class MotorVehicle(msgspec.Struct, frozen=True, gc=False):
    """The fields of MotorVehicleObject that are kept."""

    id: Text = _field("MotorVehicleID")
    gate: Text = _field("TollgateID")
    pass_time: Text = _field("PassTime")
    has_plate: Flag = _field("HasPlate")
    plate: Text = _field("PlateNo")
    plate_class: Number = _field("PlateClass")
    plate_color: Number = _field("PlateColor")
    lane: Number = _field("LaneNo")
    direction: Number = _field("Direction")
    speed: Number = _field("Speed")
    length: Number = _field("VehicleLength")
    vehicle_class: Text = _field("VehicleClass")
    color: Number = _field("VehicleColor")
    url1: Text = _field("StorageUrl1")
    url2: Text = _field("StorageUrl2")
    url3: Text = _field("StorageUrl3")
    images: msgspec.Raw = msgspec.field(name="SubImageList", default=msgspec.Raw())


class _SubImage(msgspec.Struct, frozen=True):
    path: str | None = msgspec.field(name="StoragePath", default=None)


class _SubImages(msgspec.Struct, frozen=True):
    images: list[_SubImage] | None = msgspec.field(name="SubImageInfoObject", default=None)


class _Envelope(msgspec.Struct, frozen=True):
    list_object: msgspec.Raw = msgspec.field(name="MotorVehicleListObject", default=msgspec.Raw())
    object_list: msgspec.Raw = msgspec.field(name="MotorVehicleObjectList", default=msgspec.Raw())
    plain_list: msgspec.Raw = msgspec.field(name="MotorVehicleList", default=msgspec.Raw())
    single: msgspec.Raw = msgspec.field(name="MotorVehicleObject", default=msgspec.Raw())


class _ListObject(msgspec.Struct, frozen=True):
    records: msgspec.Raw = msgspec.field(name="MotorVehicleObject", default=msgspec.Raw())


class _OnlyId(msgspec.Struct, frozen=True):
    id: str | int | None = msgspec.field(name="MotorVehicleID", default=None)


_ONE = msgspec.json.Decoder(MotorVehicle)
_ALL = msgspec.json.Decoder(list[MotorVehicle])
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_LIST_OBJECT = msgspec.json.Decoder(_ListObject)
_SUB_IMAGES = msgspec.json.Decoder(_SubImages)
_ONLY_ID = msgspec.json.Decoder(_OnlyId)
_RECORDS_AT = re.compile(rb'"MotorVehicleObject"\s*:\s*(?=\[)')

NAMES = {
    "checkpoint": "TollgateID",
    "observed_at": "PassTime",
    "plate": "PlateNo",
    "plate_class": "PlateClass",
    "direction": "Direction",
    "lane": "LaneNo",
    "plate_color": "PlateColor",
    "vehicle_class": "VehicleClass",
    "body_color": "VehicleColor",
    "speed_kmh": "Speed",
    "length_m": "VehicleLength",
    "images": "SubImageList",
}


# ---------------------------------------------------------------- bodies
def read_motor_vehicles(body: bytes) -> Records[MotorVehicle]:
    """Records of a MotorVehicleListObject or of one MotorVehicleObject; raises BodyRefused when there is neither."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    refused = BodyRefused(400, "the body holds neither MotorVehicleListObject nor MotorVehicleObject")
    try:
        inner = _inner(body)
    except UNREADABLE_JSON as error:
        found = _RECORDS_AT.search(body)
        if not found:
            raise refused from error
        parts, _ = salvage_array(body, found.end(), BodyRefused(400, f"the body is not JSON: {error}"))
        return read_each(parts, _ONE.decode)
    if inner[:1] == b"{":
        return read_each([inner], _ONE.decode)
    if inner[:1] == b"[":
        return read_array(inner, _ALL.decode, _ONE.decode)
    raise refused


def _inner(body: bytes) -> bytes:
    envelope = _ENVELOPE.decode(body)
    for raw in (envelope.list_object, envelope.object_list, envelope.plain_list):
        outer = bytes(raw).strip()
        if outer[:1] == b"[":
            return outer
        if outer[:1] == b"{":
            return bytes(_LIST_OBJECT.decode(outer).records).strip()
    return bytes(envelope.single).strip()


def id_of(read: Records[MotorVehicle], place: int) -> str:
    """MotorVehicleID of the record at this place, as far as it can be read."""
    try:
        found = _ONLY_ID.decode(read.raw_at(place)).id
    except UNREADABLE_JSON:
        return ""
    return "" if found is None else str(found)[:TEXT_CHARS_MAX]


def ids_of(read: Records[MotorVehicle]) -> list[str]:
    """MotorVehicleID of every record, in the request's order."""
    ids: list[str | None] = [None] * read.count
    for place, record in zip(read.index, read.records, strict=True):
        ids[place] = _text(record.id)
    return [id_of(read, place) if found is None else found for place, found in enumerate(ids)]


def check(read: Records[MotorVehicle], *, device: Device, bench: Bench, received_us: int) -> Checked[PassageBatch]:
    """Judge what was read; times without zone are the device's local time."""
    columns = _columns(read.records, ZoneInfo(device.time_zone))
    if device.link.codes:  # another platform's tollgates under codes of its own
        columns.gates = [device.link.codes.get(code, code) for code in columns.gates]
    return validate(columns, read, device=device, bench=bench, received_us=received_us)


# ---------------------------------------------------------------- columns
class _Codes(dict):
    """A code as a number or as text of one -> int; nothing -> 0; NOT_A_NUMBER or NOT_IN_RANGE for what is neither."""

    def __missing__(self, value: str | float | None) -> int:
        code = _code(value)
        if len(self) < 10_000:
            self[value] = code
        return code


def _code(value: str | float | None) -> int:
    if value is None or value == "":
        return 0
    try:
        number = float(value)
    except ValueError:
        return NOT_A_NUMBER
    except OverflowError:
        return NOT_IN_RANGE
    return int(number) if 0 <= number <= CODE_MAX and number.is_integer() else NOT_IN_RANGE


class _VehicleClasses(dict):
    """Vehicle class (GA 24.4: K33, H11, X99) -> letter * 100 + number; 0 for what devices write instead of one."""

    def __missing__(self, value: str | int | None) -> int:
        text = _text(value)
        match = re.fullmatch(r"([A-Z])(\d{1,2})", text, re.ASCII)
        code = (ord(match[1]) - 64) * 100 + int(match[2]) if match else 0
        if len(self) < 10_000:
            self[value] = code
        return code


_CODES = _Codes()
_VEHICLE_CLASSES = _VehicleClasses()
_NO_PLATE = frozenset({0, "0", "false", "False", "FALSE"})  # False is 0


def _columns(records: list[MotorVehicle], zone: ZoneInfo) -> Columns:
    count = len(records)
    plate_color = np.fromiter((_CODES[record.plate_color] for record in records), np.int64, count)
    length_cm = _floats([record.length for record in records])
    length_cm[(length_cm == 0) | (length_cm > _LENGTH_CM_MAX)] = np.nan
    return Columns(
        names=NAMES,
        ids=[_text(record.id) for record in records],
        gates=[_text(record.gate) for record in records],
        observed_us=parse_local([_text(record.pass_time) for record in records], zone),
        plates=["" if record.has_plate in _NO_PLATE else _text(record.plate) for record in records],
        codes={
            "plate_class": np.fromiter((_CODES[record.plate_class] for record in records), np.int64, count),
            "direction": np.fromiter((_CODES[record.direction] for record in records), np.int64, count),
            "lane": np.fromiter((_CODES[record.lane] for record in records), np.int64, count),
            "plate_color": np.where(plate_color < 0, plate_color, _PLATE_COLOR[np.maximum(plate_color, 0)]),
            "vehicle_class": np.fromiter(
                (_VEHICLE_CLASSES[record.vehicle_class] for record in records), np.int64, count
            ),
            "body_color": np.fromiter((_CODES[record.color] for record in records), np.int64, count),
        },
        speed_kmh=_floats([record.speed for record in records]),
        length_m=length_cm / 100,
        images=_images(records),
        compass=True,
    )


def _text(value: str | int | None) -> str:
    return value if value.__class__ is str else "" if value is None else str(value)  # type: ignore[return-value]


def _floats(values: list[str | float | None]) -> np.ndarray:
    """NaN where nothing is said, -inf where it is no number, inf where it is too large to be one."""
    try:
        return np.array(values, np.float64)
    except (ValueError, OverflowError, TypeError):
        return np.array([_float(value) for value in values], np.float64)


def _float(value: str | float | None) -> float:
    if value is None or value == "":
        return np.nan
    try:
        return float(value)
    except ValueError:
        return -np.inf
    except OverflowError:
        return np.inf


def _images(records: list[MotorVehicle]) -> dict[int, tuple[str, ...]]:
    """Addresses of pictures by row; pictures inside the body are not kept."""
    images: dict[int, tuple[str, ...]] = {}
    for row, record in enumerate(records):
        addresses = [_text(url) for url in (record.url1, record.url2, record.url3) if url]
        if record.images:
            addresses += _paths(bytes(record.images))
        if addresses:
            images[row] = tuple(dict.fromkeys(addresses))[:IMAGES_MAX]
    return images


def _paths(raw: bytes) -> list[str]:
    if raw == b"null" or b'"StoragePath"' not in raw:
        return []
    try:
        return [image.path for image in _SUB_IMAGES.decode(raw).images or [] if image.path]
    except UNREADABLE_JSON:  # the passage counts more than a list of pictures in a form of its own
        return []


# ---------------------------------------------------------------- answers
def local_time(now: datetime) -> str:
    """yyyyMMddHHmmss in Beijing time."""
    return f"{now.astimezone(SHANGHAI):%Y%m%d%H%M%S}"


def status(url: str, code: str, text: str, identity: str, at: str) -> dict[str, str]:
    """One ResponseStatusObject; `at` by `local_time`."""
    return {
        "Id": identity,
        "LocalTime": at,
        "RequestURL": url,
        "StatusCode": code,
        "StatusString": text,
    }


def status_body(url: str, code: str, text: str, identity: str, now: datetime) -> bytes:
    """The answer with one status."""
    return msgspec.json.encode({"ResponseStatusObject": status(url, code, text, identity, local_time(now))})


def status_list_body(statuses: list[dict[str, str]]) -> bytes:
    """The answer with one status for each record, in the order of the request."""
    return msgspec.json.encode({"ResponseStatusListObject": {"ResponseStatusObject": statuses}})


def system_time_body(server_id: str, now: datetime) -> bytes:
    """The answer to GET /VIID/System/Time."""
    return msgspec.json.encode(
        {
            "SystemTimeObject": {
                "VIIDServerID": server_id,
                "TimeMode": "1",  # from the network
                "LocalTime": local_time(now),
                "TimeZone": "Asia/Shanghai",
            }
        }
    )


def explain(field: str, reason: Reason, index: int, detail: str) -> str:
    """A refused record's StatusString."""
    return f"{field or 'record'}: {reason} (record {index}: {detail})"


class _DeviceObject(msgspec.Struct, frozen=True):
    device: str | int | None = msgspec.field(name="DeviceID", default=None)


class _SystemBody(msgspec.Struct, frozen=True):
    register: _DeviceObject | None = msgspec.field(name="RegisterObject", default=None)
    unregister: _DeviceObject | None = msgspec.field(name="UnRegisterObject", default=None)
    keepalive: _DeviceObject | None = msgspec.field(name="KeepaliveObject", default=None)


_SYSTEM = msgspec.json.Decoder(_SystemBody)


def read_device_id(body: bytes) -> str:
    """DeviceID of a Register, UnRegister or Keepalive body, "" where it names none; raises BodyRefused 400."""
    body = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not body:
        return ""
    try:
        content = _SYSTEM.decode(body)
    except UNREADABLE_JSON as error:
        raise BodyRefused(400, f"the body is not JSON of the expected form: {error}") from error
    found = content.register or content.unregister or content.keepalive
    return _text(found.device) if found else ""
