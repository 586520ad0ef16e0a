"""GA/T 1400 subscriptions as bytes: who wants what, what we want elsewhere, and notifications either way. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from traffic.clock import SHANGHAI
from traffic.errors import TrafficError
from traffic.ingest.bodies import UNREADABLE_JSON, BodyRefused
from traffic.ingest.catalogue import HEADING_OF_CODE, SAME, UNKNOWN, Catalogue, Device
from traffic.ingest.checks import NO_TIME
from traffic.ingest.links import host_of, is_web_address
from traffic.ingest.local_time import parse_local
from traffic.limits import TEXT_CHARS_MAX
from traffic.plates import plate_text
from traffic.readings import PassageBatch

MOTOR_VEHICLES = "13"  # SubscribeDetail
ON, CANCELLED, EXPIRED = 0, 1, 2  # SubscribeStatus
SUBSCRIBES_MAX = 20  # of one request
NOTIFICATIONS_MAX = 100  # of one request
INTERVAL_S_MAX = 3_600
LASTS_DAYS_MAX, LASTS_DAYS = 5 * 366, 366  # at most, and where no end is told
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Text = str | int | float | None


def _field(name: str) -> Text:
    return msgspec.field(name=name, default=None)  # type: ignore[no-any-return]


class Wish(msgspec.Struct, frozen=True):
    """The fields of SubscribeObject that count."""

    id: Text = _field("SubscribeID")
    title: Text = _field("Title")
    detail: Text = _field("SubscribeDetail")
    resource: Text = _field("ResourceURI")
    begins: Text = _field("BeginTime")
    ends: Text = _field("EndTime")
    address: Text = _field("ReceiveAddr")
    interval: Text = _field("ReportInterval")
    operate: Text = _field("OperateType")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription that may stand. `checkpoints`: ids."""

    id: str
    title: str
    resource: str
    checkpoints: tuple[int, ...]
    address: str
    interval_s: int
    begins_at: datetime
    ends_at: datetime


class WishRefused(TrafficError):
    """A subscription may not stand; the sentence names the field."""


class _WishList(msgspec.Struct, frozen=True):
    wishes: list[Wish] | Wish | None = msgspec.field(name="SubscribeObject", default=None)


class _Wishes(msgspec.Struct, frozen=True):
    listed: _WishList | list[Wish] | None = msgspec.field(name="SubscribeListObject", default=None)
    single: Wish | None = msgspec.field(name="SubscribeObject", default=None)


_WISHES = msgspec.json.Decoder(_Wishes)


def read_wishes(body: bytes) -> list[Wish]:
    """The subscriptions of a request; raises BodyRefused."""
    try:
        content = _WISHES.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except UNREADABLE_JSON as error:
        raise BodyRefused(400, f"the body is no SubscribeListObject: {error}") from error
    listed: object = content.listed.wishes if isinstance(content.listed, _WishList) else content.listed
    found = listed if isinstance(listed, list) else [listed or content.single]
    wishes = [wish for wish in found if isinstance(wish, Wish)]
    if not wishes:
        raise BodyRefused(400, "the body holds no SubscribeObject")
    if len(wishes) > SUBSCRIBES_MAX:
        raise BodyRefused(413, f"a request holds at most {SUBSCRIBES_MAX} subscriptions")
    return wishes


def id_of(wish: Wish) -> str:
    """SubscribeID as far as it is one, else ""."""
    text = text_of(wish.id)
    return text if _ID.fullmatch(text) else ""


def is_cancel(wish: Wish) -> bool:
    """Whether it ends the subscription instead."""
    return text_of(wish.operate) == "1"


def text_of(value: Text) -> str:
    """As text; nothing is ""."""
    return "" if value is None else str(value).strip()


def judge(wish: Wish, *, device: Device, catalogue: Catalogue, peer: str, now: datetime) -> Subscription:
    """The subscription, if this device may have it; raises WishRefused.

    It may name the tollgates of its unit, or those that are shared with it, and be told only at an address that is its
    own: else whoever can register could make this machine call any other.
    """
    if not id_of(wish):
        raise WishRefused("SubscribeID: 1 to 64 letters and digits")
    if text_of(wish.detail) not in ("", MOTOR_VEHICLES):
        raise WishRefused(f"SubscribeDetail: only {MOTOR_VEHICLES} (motor vehicles) can be subscribed to")
    address = text_of(wish.address)
    if len(address) > TEXT_CHARS_MAX or not is_web_address(address):
        raise WishRefused("ReceiveAddr: must be an address of HTTP")
    if not device.link.may_be_called_at(host_of(address), peer):
        raise WishRefused("ReceiveAddr: its host is neither where you come from nor one that is entered for you")
    begins_at, ends_at = _span(wish, ZoneInfo(device.time_zone), now)
    return Subscription(
        id=id_of(wish), title=text_of(wish.title)[:TEXT_CHARS_MAX], resource=text_of(wish.resource)[:4096],
        checkpoints=_checkpoints(text_of(wish.resource), device, catalogue), address=address,
        interval_s=_interval_s(wish.interval), begins_at=begins_at, ends_at=ends_at,
    )  # fmt: skip


def _span(wish: Wish, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    found = []
    for name, told, instead in (
        ("BeginTime", text_of(wish.begins), now),
        ("EndTime", text_of(wish.ends), now + timedelta(days=LASTS_DAYS)),
    ):
        us = int(parse_local([told], zone)[0]) if told else NO_TIME
        if told and us == NO_TIME:
            raise WishRefused(f"{name}: is no time")
        found.append(_EPOCH + timedelta(microseconds=us) if told else instead)
    begins_at, ends_at = found[0], min(found[1], now + timedelta(days=LASTS_DAYS_MAX))
    if ends_at <= now or ends_at <= begins_at:
        raise WishRefused("EndTime: has passed, or lies before BeginTime")
    return begins_at, ends_at


def _interval_s(told: Text) -> int:
    text = text_of(told)
    try:
        return min(max(int(float(text)), 0), INTERVAL_S_MAX) if text else 0
    except (ValueError, OverflowError) as error:
        raise WishRefused("ReportInterval: is no number of seconds") from error


def _checkpoints(resource: str, device: Device, catalogue: Catalogue) -> tuple[int, ...]:
    """Ids of the checkpoints that ResourceURI names: tollgates, or beginnings of their codes (2, 4 or 6 digits)."""
    allowed = catalogue.rows_for(device)
    if device.link.share:
        allowed = {code: row for code, row in catalogue.row_of_gate.items() if code in device.link.share}
    rows: set[int] = set()
    for name in (name.strip() for name in resource.split(",")):
        if name in allowed:
            rows.add(allowed[name])
        elif re.fullmatch(r"\d{2}|\d{4}|\d{6}", name, re.ASCII):
            rows.update(row for code, row in allowed.items() if code.startswith(name))
        else:
            raise WishRefused(f"ResourceURI: {name[:40] or 'nothing'} is no tollgate that you may subscribe to")
    if not rows:
        raise WishRefused("ResourceURI: names no tollgate that you may subscribe to")
    return tuple(sorted(int(catalogue.gate_ids[row]) for row in rows))


def read_ids(listed: str) -> list[str]:
    """IDList of a DELETE."""
    return [name for name in (part.strip() for part in listed.split(",")) if _ID.fullmatch(name)][:SUBSCRIBES_MAX]


# ---------------------------------------------------------------- what stands, and what we want elsewhere
def local_time(at: datetime) -> str:
    """yyyyMMddHHmmss in Beijing time."""
    return f"{at.astimezone(SHANGHAI):%Y%m%d%H%M%S}"


def subscribe_object(subscription: Subscription, *, status: int, applicant: str, operate: int = 0) -> dict[str, object]:
    """A subscription as the norm writes it."""
    return {
        "SubscribeID": subscription.id,
        "Title": subscription.title,
        "SubscribeDetail": MOTOR_VEHICLES,
        "ResourceURI": subscription.resource,
        "ApplicantName": applicant,
        "ApplicantOrg": applicant,
        "BeginTime": local_time(subscription.begins_at),
        "EndTime": local_time(subscription.ends_at),
        "ReceiveAddr": subscription.address,
        "ReportInterval": subscription.interval_s,
        "OperateType": operate,
        "SubscribeStatus": status,
    }


def subscribe_list_body(objects: Sequence[Mapping[str, object]]) -> bytes:
    """Subscriptions as a body."""
    return msgspec.json.encode({"SubscribeListObject": {"SubscribeObject": objects}})


# ---------------------------------------------------------------- notifications that come
@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification; `records`: a body for gat1400.read_motor_vehicles, b"" where it brings no vehicles."""

    id: str
    subscription: str
    records: bytes


class _Notification(msgspec.Struct, frozen=True):
    id: Text = _field("NotificationID")
    subscription: Text = _field("SubscribeID")
    vehicles: msgspec.Raw = msgspec.field(name="MotorVehicleObjectList", default=msgspec.Raw())


class _NotificationList(msgspec.Struct, frozen=True):
    told: list[_Notification] | _Notification | None = msgspec.field(name="SubscribeNotificationObject", default=None)


class _Notifications(msgspec.Struct, frozen=True):
    listed: _NotificationList | list[_Notification] | None = msgspec.field(
        name="SubscribeNotificationListObject", default=None
    )
    single: _Notification | None = msgspec.field(name="SubscribeNotificationObject", default=None)


_NOTIFICATIONS = msgspec.json.Decoder(_Notifications)


def read_notifications(body: bytes) -> list[Notification]:
    """The notifications of a request; raises BodyRefused."""
    try:
        content = _NOTIFICATIONS.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except UNREADABLE_JSON as error:
        raise BodyRefused(400, f"the body is no SubscribeNotificationListObject: {error}") from error
    listed: object = content.listed.told if isinstance(content.listed, _NotificationList) else content.listed
    found = listed if isinstance(listed, list) else [listed or content.single]
    told = [one for one in found if isinstance(one, _Notification)]
    if not told:
        raise BodyRefused(400, "the body holds no SubscribeNotificationObject")
    if len(told) > NOTIFICATIONS_MAX:
        raise BodyRefused(413, f"a request holds at most {NOTIFICATIONS_MAX} notifications")
    return [
        Notification(
            id=text_of(one.id)[:TEXT_CHARS_MAX], subscription=text_of(one.subscription)[:TEXT_CHARS_MAX],
            records=_vehicles(bytes(one.vehicles)),
        )
        for one in told
    ]  # fmt: skip


def _vehicles(raw: bytes) -> bytes:
    return b'{"MotorVehicleObjectList":' + raw + b"}" if raw.strip() not in (b"", b"null") else b""


# ---------------------------------------------------------------- notifications that go
@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What stands in a MotorVehicleObject for our numbers: checkpoints by id (code, bearing of direction 1)."""

    server_id: str
    checkpoints: Mapping[int, tuple[str, float]]


_PLATE_COLORS = {1: "5", 2: "6", 3: "1", 4: "2", 5: "9", 9: "99"}  # JT/T 697.7 -> ColorType of GA/T 1400.3


def motor_vehicles(batch: PassageBatch, names: Names) -> list[dict[str, object]]:
    """Passages as MotorVehicleObjects, of checkpoints that are known; the same passage gets the same id each time."""
    found = []
    for number, row in enumerate(batch.rows.tolist()):
        passage = dict(zip(batch.rows.dtype.names or (), row, strict=True))
        gate = names.checkpoints.get(passage["checkpoint"])
        if gate is not None:
            extra = batch.extras.get(number)
            plate = plate_text(passage["plate_key"])
            if plate is None:
                plate = batch.odd_plates.get(passage["plate_key"], "")
            images = extra.images[:3] if extra else ()
            found.append(_motor_vehicle(passage, gate, plate, images, names.server_id))
    return found


def _motor_vehicle(
    passage: Mapping[str, float], gate: tuple[str, float], plate: str, images: Iterable[str], server_id: str
) -> dict[str, object]:
    at = local_time(_EPOCH + timedelta(microseconds=int(passage["observed_at"])))
    number = int(passage["source_hash"]) % 10**10
    source = f"{server_id}02{at}{number // 100_000:05d}"
    told: dict[str, object] = {
        "MotorVehicleID": f"{source}02{number % 100_000:05d}",
        "InfoKind": 1,
        "SourceID": source,
        "DeviceID": server_id,
        "TollgateID": gate[0],
        "PassTime": at,
        "LaneNo": int(passage["lane"]),
        "HasPlate": "1" if plate else "0",
        "PlateNo": plate or "无车牌",
        "PlateClass": f"{int(passage['plate_class']):02d}",
        "Direction": compass_code(int(passage["direction"]), gate[1]),
    }
    if passage["plate_color"]:
        told["PlateColor"] = _PLATE_COLORS.get(int(passage["plate_color"]), "99")
    if passage["vehicle_class"]:
        letter, size = divmod(int(passage["vehicle_class"]), 100)
        told["VehicleClass"] = f"{chr(64 + letter)}{size:02d}" if 1 <= letter <= 26 else ""
    if passage["body_color"]:
        told["VehicleColor"] = str(int(passage["body_color"]))
    if not np.isnan(passage["speed_kmh"]):
        told["Speed"] = round(float(passage["speed_kmh"]), 1)
    if not np.isnan(passage["length_m"]):
        told["VehicleLength"] = round(float(passage["length_m"]) * 100)
    told.update({f"StorageUrl{place}": address for place, address in enumerate(images, start=1)})
    return told


def compass_code(direction: int, bearing_deg: float) -> str:
    """Direction of travel as the norm's code: the heading nearest to that of the road; 9 where it is not known."""
    if direction == UNKNOWN:
        return "9"
    heading = bearing_deg if direction == SAME else bearing_deg + 180.0
    return str(min(HEADING_OF_CODE, key=lambda code: abs((HEADING_OF_CODE[code] - heading + 180) % 360 - 180)))


def notification_body(subscription: str, title: str, number: int, vehicles: list[dict[str, object]], at: str) -> bytes:
    """One notification; `number`: tells it apart from others, the same when it is sent again; `at` by `local_time`."""
    source = str(vehicles[0]["DeviceID"]) if vehicles else "0" * 20
    told = {
        "NotificationID": f"{source[:12]}04{at}{number % 100_000:05d}",
        "SubscribeID": subscription,
        "Title": title,
        "TriggerTime": at,
        "InfoIDs": ",".join(str(vehicle["MotorVehicleID"]) for vehicle in vehicles),
        "MotorVehicleObjectList": {"MotorVehicleObject": vehicles},
    }
    return msgspec.json.encode({"SubscribeNotificationListObject": {"SubscribeNotificationObject": [told]}})


# ---------------------------------------------------------------- what the other side answered
class _Status(msgspec.Struct, frozen=True):
    code: Text = _field("StatusCode")
    text: Text = _field("StatusString")


class _StatusList(msgspec.Struct, frozen=True):
    statuses: list[_Status] | _Status | None = msgspec.field(name="ResponseStatusObject", default=None)


class _Statuses(msgspec.Struct, frozen=True):
    listed: _StatusList | list[_Status] | None = msgspec.field(name="ResponseStatusListObject", default=None)
    single: _Status | list[_Status] | None = msgspec.field(name="ResponseStatusObject", default=None)


_STATUSES = msgspec.json.Decoder(_Statuses)


def worst_status(content: bytes) -> tuple[str, str]:
    """(code, text) of the first status that is not "0"; ("0", "") where all are, or where the answer tells none."""
    try:
        told = _STATUSES.decode(content) if content.strip() else _Statuses()
    except UNREADABLE_JSON:
        return "0", ""  # an answer of 200 in words of its own
    listed: object = told.listed.statuses if isinstance(told.listed, _StatusList) else told.listed or told.single
    for status in listed if isinstance(listed, list) else [listed]:
        if isinstance(status, _Status) and text_of(status.code) not in ("0", ""):
            return text_of(status.code), text_of(status.text)[:TEXT_CHARS_MAX]
    return "0", ""
