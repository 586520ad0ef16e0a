"""Passages as columns, and the packed entry that travels on the bus.

A batch is a numpy structured array of `PASSAGE` plus a sparse dict of extras; nothing here does I/O.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from typing import Literal

import msgspec
import numpy as np

from traffic.errors import TrafficError
from traffic.plates import vehicle_keys
from traffic.road_readings import ALARM, DETECTOR_REPORT, POSITION, RoadsideItem

# Times are microseconds since 1970-01-01 UTC. Order and widths are those of table `passage`.
PASSAGE = np.dtype(
    [
        ("observed_at", "<i8"),
        ("received_at", "<i8"),
        ("source_hash", "<i8"),  # hash(device, source's id): with observed_at the identity of the record
        ("plate_key", "<i8"),  # plates.py; 0: unreadable
        ("checkpoint", "<i4"),
        ("device", "<i4"),
        ("speed_kmh", "<f4"),
        ("length_m", "<f4"),  # NaN: not measured
        ("plate_class", "<i2"),
        ("direction", "<i2"),
        ("lane", "<i2"),
        ("plate_color", "<i2"),
        ("vehicle_class", "<i2"),
        ("body_color", "<i2"),
        ("door", "<i2"),
        ("flags", "<i2"),
    ]
)
HAS_EXTRA = 1
_OPAQUE = np.dtype(f"V{PASSAGE.itemsize}")  # the same memory for numpy to move whole, several times faster


class Door(IntEnum):
    """Which way a record came in (column `door`)."""

    GAT1400 = 1
    NATIVE = 2  # passages
    NATIVE_DETECTORS = 3
    NATIVE_POSITIONS = 4
    NATIVE_WEATHER = 5
    NATIVE_WORKS = 6
    NATIVE_CAMERAS = 7
    FILE = 8  # of any kind of record
    JT808 = 9  # terminals of vehicles, by TCP
    JT809 = 10  # the transport authority's platform, by TCP
    MINISTRY = 11  # SOAP writeVehicleInfo
    SUBSCRIPTION = 12  # GA/T 1400 notifications of another platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What few readers need: the plate as it came where folding changed it, and the addresses of pictures."""

    plate_raw: str | None = None
    images: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class PassageBatch:
    """`rows`: PASSAGE array; `extras`: row number -> Extra; `odd_plates`: negative plate_key -> text."""

    rows: np.ndarray
    extras: dict[int, Extra] = field(default_factory=dict)
    odd_plates: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask_or_index: np.ndarray) -> "PassageBatch":
        """The chosen rows (boolean mask or row numbers) with their extras renumbered."""
        index = np.flatnonzero(mask_or_index) if mask_or_index.dtype == bool else mask_or_index
        extras: dict[int, Extra] = {}
        odd: dict[int, str] = {}
        if self.extras:
            extras = {new: self.extras[old] for new, old in enumerate(index.tolist()) if old in self.extras}
        if self.odd_plates:
            keys = set(self.rows["plate_key"][index].tolist())
            odd = {key: text for key, text in self.odd_plates.items() if key in keys}
        return PassageBatch(rows=self.rows.view(_OPAQUE)[index].view(PASSAGE), extras=extras, odd_plates=odd)

    def part(self, start: int, end: int) -> "PassageBatch":
        """Rows start..end (a view), with their extras renumbered."""
        rows = self.rows[start:end]
        extras = {row - start: extra for row, extra in self.extras.items() if start <= row < end}
        odd = self.odd_plates
        if odd:
            keys = set(rows["plate_key"].tolist())
            odd = {key: text for key, text in odd.items() if key in keys}
        return PassageBatch(rows=rows, extras=extras, odd_plates=odd)

    @staticmethod
    def concat(batches: "list[PassageBatch]") -> "PassageBatch":
        """One batch of all, in order."""
        if len(batches) == 1:
            return batches[0]
        extras: dict[int, Extra] = {}
        odd: dict[int, str] = {}
        start = 0
        for batch in batches:
            extras.update({start + row: extra for row, extra in batch.extras.items()})
            odd.update(batch.odd_plates)
            start += len(batch)
        rows = np.concatenate([b.rows for b in batches]) if batches else np.empty(0, PASSAGE)
        return PassageBatch(rows=rows, extras=extras, odd_plates=odd)


def source_hash(device_code: str, source_id: str) -> int:
    """Identity of a record whose source numbers its records (signed 64 bits)."""
    return int.from_bytes(
        blake2b(f"{device_code}\0{source_id}".encode(), digest_size=8).digest(), "little", signed=True
    )


def place_hash(checkpoint: int, direction: int, lane: int, second: int, raw_plate: str) -> int:
    """Identity where the source gives no id: checkpoint, direction, lane, second of the event, raw plate."""
    text = f"\1{checkpoint}\0{direction}\0{lane}\0{second}\0{raw_plate}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


Batch = PassageBatch | np.ndarray | list[RoadsideItem]  # records of one kind, as a door hands them on


# ---------------------------------------------------------------- bus entries
FORMAT = 1  # first byte of an entry; a worker reads this one and the last


class EntryKind(IntEnum):
    """What an entry holds (its second byte)."""

    PASSAGES = 1
    TICK = 2
    REJECTS = 3
    DEVICE = 4
    DETECTORS = 5  # rows of DETECTOR_REPORT, on the partition of the roads
    POSITIONS = 6  # rows of POSITION, on the partition of their subject
    ROADSIDE = 7  # weather, works, cameras, on the partition of the roads
    ALARMS = 8  # rows of ALARM, on the partition of their vehicle
    DEEDS = 9  # what people did to a finding, on the partition of its vehicle


class Reject(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A refused record on its way to quarantine. `unit_id` is the device's unit."""

    received_at: int
    door: int
    device_id: int | None
    unit_id: int | None
    position: int
    field: str
    reason: str
    detail: str
    body: bytes


class DeviceEvent(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A device registered, kept alive or unregistered. `at`: microseconds."""

    at: int
    device_id: int
    state: str
    peer: str


class Tick(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The passing of time, so that silence can be noticed in order with the records. `at`: microseconds."""

    at: int


class AlertDeed(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a person did to an alert: the worker writes it, so that findings have one writer. `at`, `until`: us."""

    id: str  # uuid of the deed: done once, however often it comes
    finding: str
    action: Literal["verify", "shelve", "unshelve"]
    verdict: Literal["", "valid", "false"]
    reason: str
    by: str  # login
    unit: int
    at: int
    until: int = 0


class EntryUnreadable(TrafficError):
    """A bus entry is of an unknown format or damaged."""


def encode_passages(batch: PassageBatch) -> bytes:
    """Pack: format, kind, 2 bytes zero, count (u4), rows, then msgpack of extras and odd plates."""
    head = bytes((FORMAT, EntryKind.PASSAGES, 0, 0)) + len(batch).to_bytes(4, "little")
    tail = b""
    if batch.extras or batch.odd_plates:
        extras = {row: (extra.plate_raw, list(extra.images)) for row, extra in batch.extras.items()}
        tail = msgspec.msgpack.encode((extras, batch.odd_plates))
    return b"".join((head, batch.rows.view(np.uint8).data, tail))


def encode_small(
    kind: EntryKind, items: "list[Reject] | list[DeviceEvent] | list[Tick] | list[RoadsideItem] | list[AlertDeed]"
) -> bytes:
    """Pack the rare kinds."""
    return bytes((FORMAT, kind, 0, 0)) + msgspec.msgpack.encode(items)


def encode_rows(kind: EntryKind, rows: np.ndarray) -> bytes:
    """Pack rows of DETECTOR_REPORT, POSITION or ALARM: format, kind, 2 bytes zero, count (u4), rows as in memory."""
    head = bytes((FORMAT, kind, 0, 0)) + len(rows).to_bytes(4, "little")
    return head + np.ascontiguousarray(rows).tobytes()


_ROWS = {EntryKind.DETECTORS: DETECTOR_REPORT, EntryKind.POSITIONS: POSITION, EntryKind.ALARMS: ALARM}
_SMALL = {
    EntryKind.TICK: list[Tick],
    EntryKind.REJECTS: list[Reject],
    EntryKind.DEVICE: list[DeviceEvent],
    EntryKind.ROADSIDE: list[RoadsideItem],
    EntryKind.DEEDS: list[AlertDeed],
}
_TAIL = msgspec.msgpack.Decoder(tuple[dict[int, tuple[str | None, list[str]]], dict[int, str]])


Content = (
    PassageBatch | np.ndarray | list[Tick] | list[Reject] | list[DeviceEvent] | list[RoadsideItem] | list[AlertDeed]
)


def decode_entry(data: bytes) -> tuple[EntryKind, Content]:
    """Unpack an entry (an array: rows of DETECTOR_REPORT, POSITION, ALARM); raises EntryUnreadable saying why."""
    if len(data) < 4 or data[0] != FORMAT:
        raise EntryUnreadable(f"bus entry of format {data[0] if data else 'none'}, this worker reads {FORMAT}")
    try:
        kind = EntryKind(data[1])
        if kind in _SMALL:
            return kind, msgspec.msgpack.decode(data[4:], type=_SMALL[kind])
        count = int.from_bytes(data[4:8], "little")
        if kind in _ROWS:
            return kind, np.frombuffer(data, _ROWS[kind], count, 8)
        end = 8 + count * PASSAGE.itemsize
        rows = np.frombuffer(data, PASSAGE, count, 8)
        extras: dict[int, Extra] = {}
        odd: dict[int, str] = {}
        if len(data) > end:
            packed, odd = _TAIL.decode(data[end:])
            extras = {row: Extra(plate_raw=raw, images=tuple(images)) for row, (raw, images) in packed.items()}
        return kind, PassageBatch(rows=rows, extras=extras, odd_plates=odd)
    except (ValueError, msgspec.MsgspecError) as error:
        raise EntryUnreadable(f"bus entry damaged: {error}") from error


# ---------------------------------------------------------------- partitions
def position_routing(rows: np.ndarray) -> np.ndarray:
    """What chooses a POSITION's partition: the vehicle as for its passages, or the crew."""
    return np.where(rows["subject_kind"] == 1, (rows["subject"] << 3) | rows["class_group"], ~rows["subject"])


def logical_partitions(vehicle_keys: np.ndarray) -> np.ndarray:
    """Logical partition 0..63 of each vehicle key (splitmix64 finaliser, so that neighbouring plates spread)."""
    x = vehicle_keys.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) & np.uint64(63)).astype(np.int64)


def routing_keys(rows: np.ndarray) -> np.ndarray:
    """What chooses the partition: the vehicle (plate and class group), or the record itself where no plate was read."""
    return np.where(rows["plate_key"] != 0, vehicle_keys(rows["plate_key"], rows["plate_class"]), rows["source_hash"])
