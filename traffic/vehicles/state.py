"""What is remembered of vehicles: for each the newest observations by event time, in columns.

Every vehicle has one row: a ring of RING_OBSERVATIONS observations whose oldest stands at `start`. A row belongs to
a logical partition, whose rows together are one page of the snapshot. Who looks at many vehicles is a kernel: a plain
loop over `Fresh`, what a batch brings (`ring_kernels`).
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from traffic.errors import TrafficError
from traffic.limits import LOGICAL_PARTITIONS, RING_OBSERVATIONS
from traffic.readings import logical_partitions
from traffic.vehicles.key_index import KeyIndex

FORMAT = 2  # first byte of a snapshot page; a worker reads this one only: another means a rebuild from the tables
OBSERVATION = np.dtype(
    [
        ("observed_at", "<i8"),
        ("source_hash", "<i8"),
        ("checkpoint", "<i4"),
        ("speed_kmh", "<f4"),
        ("direction", "<i2"),
        ("lane", "<i2"),
        ("vehicle_class", "<i2"),  # what the vehicle looked like
        ("body_color", "<i2"),
    ]
)
VEHICLE = np.dtype(
    [
        ("key", "<i8"),
        ("newest", "<i8"),  # event time
        ("start", "<i4"),
        ("count", "<i4"),  # 0: nothing is held yet
        ("logical", "<i4"),
        ("mark", "<i4"),  # the vehicle's number in the batch that is laid out; noise afterwards
    ]
)
FREE = -1  # `logical` of a row that is nobody's
SIZE, SPARE, SLOTS_TAKEN, IN_USE = 0, 1, 2, 3  # of `room`: rows ever used, rows free again, and what a kernel added
_SLOTS = np.arange(RING_OBSERVATIONS)
_HEAD = np.dtype([("format", "u1"), ("ring", "u1"), ("logical", "<u2"), ("vehicles", "<u4"), ("observations", "<u4")])
_DIGEST_BYTES = 16
_ROWS_MIN = 1024
_NO_TIME = np.iinfo(np.int64).min


class SnapshotUnreadable(TrafficError):
    """A snapshot page is of an unknown format or damaged: its partition is rebuilt from the tables."""


class Memory(NamedTuple):
    """The arrays of a VehicleState, as kernels get them. `slots`: KeyIndex; `vehicles`: VEHICLE, each with its ring.

    `spare`: rows that are free again, the first `room[SPARE]` of it; `room`: see SIZE.
    """

    slots: np.ndarray
    vehicles: np.ndarray
    rings: np.ndarray
    spare: np.ndarray
    room: np.ndarray


class Fresh(NamedTuple):
    """What a batch brings, beside what is held of its vehicles (`vehicles`, `rings`).

    `who`: row of each vehicle. `first`: where its observations begin in `seen`, and at last where all end. `seen`:
    OBSERVATION by vehicle, time and record, each record once.
    """

    vehicles: np.ndarray
    rings: np.ndarray
    who: np.ndarray
    first: np.ndarray
    seen: np.ndarray


def observations_of(rows: np.ndarray) -> np.ndarray:
    """PASSAGE rows as observations."""
    seen = np.zeros(len(rows), OBSERVATION)
    for name in OBSERVATION.names:  # type: ignore[union-attr]
        seen[name] = rows[name]
    return seen


class VehicleState:
    """The vehicles of the partitions that this worker holds."""

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._vehicles = _vehicles(_ROWS_MIN)
        self._rings = np.zeros((_ROWS_MIN, RING_OBSERVATIONS), OBSERVATION)
        self._spare = np.zeros(_ROWS_MIN, np.int64)  # rows that are free again
        self._room = np.zeros(4, np.int64)
        self._dirty = np.zeros(LOGICAL_PARTITIONS, bool)
        self._held = 0  # vehicles of whom something is held

    def __len__(self) -> int:
        return self._held

    # ------------------------------------------------------------ reading

    def lay_out(self, rows: np.ndarray) -> Fresh:
        """PASSAGE rows by vehicle; unreadable plates are nobody. What is held stays as it is."""
        from traffic.vehicles import ring_kernels

        self._make_room(len(rows))
        fresh = Fresh(
            self._vehicles,
            self._rings,
            np.empty(len(rows), np.int64),
            np.empty(len(rows) + 1, np.int64),
            np.empty(len(rows), OBSERVATION),
        )
        count = ring_kernels.lay_out(self._memory(), np.ascontiguousarray(rows), fresh)
        self._tell_index()
        first = fresh.first[: count + 1]
        return fresh._replace(who=fresh.who[:count], first=first, seen=fresh.seen[: first[-1]])

    def gather(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Observations of these vehicles: n x RING_OBSERVATIONS in time order, and how many of each row count."""
        rows = self._index.find(keys)
        at = np.maximum(rows, 0)
        order = (self._vehicles["start"][at][:, None] + _SLOTS) % RING_OBSERVATIONS
        return self._rings[at[:, None], order], np.where(rows >= 0, self._vehicles["count"][at], 0)

    def plates(self) -> np.ndarray:
        """Plate keys of the vehicles of whom something is held."""
        return self._vehicles["key"][self._vehicles["count"] > 0] >> 3

    # ------------------------------------------------------------ writing

    def merge(self, fresh: Fresh) -> None:
        """Take in what was laid out; of each vehicle the newest RING_OBSERVATIONS stay."""
        from traffic.vehicles import ring_kernels

        self._held += ring_kernels.merge(fresh, self._dirty)

    def evict(self, before_us: int) -> int:
        """Vehicles whose newest observation is older leave memory; returns how many."""
        return self._release(before_us, np.zeros(LOGICAL_PARTITIONS, bool))

    def drop(self, logicals: Iterable[int]) -> None:
        """Pages of partitions that are no longer held leave memory."""
        lost = np.zeros(LOGICAL_PARTITIONS, bool)
        lost[list(logicals)] = True
        self._release(_NO_TIME, lost)
        self._dirty &= ~lost

    def _release(self, before_us: int, lost: np.ndarray) -> int:
        from traffic.vehicles import ring_kernels

        gone = ring_kernels.release(self._memory(), before_us, lost)
        self._tell_index()
        self._held -= gone
        return gone

    # ------------------------------------------------------------ snapshot pages

    def dirty(self) -> set[int]:
        """Logical partitions that changed since they were last marked clean."""
        return set(np.flatnonzero(self._dirty).tolist())

    def mark_dirty(self, logicals: Iterable[int]) -> None:
        """These pages must be written, whatever stands in their place."""
        self._dirty[list(logicals)] = True

    def clear_dirty(self, logicals: Iterable[int]) -> None:
        """These pages have been written (or just been read)."""
        self._dirty[list(logicals)] = False

    def dump(self, logical: int) -> bytes:
        """The page of a logical partition: head, vehicle keys, counts, observations in time order, digest."""
        used = self._vehicles[: self._room[SIZE]]
        rows = np.flatnonzero((used["logical"] == logical) & (used["count"] > 0))
        rows = rows[np.argsort(used["key"][rows])]
        keys, count = used["key"][rows], used["count"][rows]
        seen = self._rings.reshape(-1)[_slots_in_order(rows, used["start"][rows], count)]
        head = np.array([(FORMAT, RING_OBSERVATIONS, logical, len(rows), len(seen))], _HEAD)
        body = b"".join((head.tobytes(), keys.tobytes(), count.astype("u1").tobytes(), seen.tobytes()))
        return body + blake2b(body, digest_size=_DIGEST_BYTES).digest()

    def load(self, logical: int, page: bytes) -> None:
        """Put a page in the place of what is held of its logical partition; raises SnapshotUnreadable."""
        from traffic.vehicles import ring_kernels

        keys, counts, seen = _read_page(logical, bytes(page))
        self.drop([logical])
        self._make_room(len(keys))
        self._held += ring_kernels.fill(self._memory(), keys, counts, seen)
        self._tell_index()

    # ------------------------------------------------------------ rows

    def _memory(self) -> Memory:
        return Memory(self._index.slots, self._vehicles, self._rings, self._spare, self._room)

    def _make_room(self, more: int) -> None:
        """For so many strangers: kernels do not let arrays grow."""
        self._index.make_room(more)
        wanted = int(self._room[SIZE]) + max(0, more - int(self._room[SPARE]))
        size = len(self._vehicles)
        if wanted <= size:
            return
        while size < wanted:
            size *= 4  # rings that nobody has written to yet take no memory; each turn copies all that are in use
        vehicles, rings, spare = (
            _vehicles(size),
            np.zeros((size, RING_OBSERVATIONS), OBSERVATION),
            np.zeros(size, np.int64),
        )
        for old, new in ((self._vehicles, vehicles), (self._rings, rings), (self._spare, spare)):
            new[: len(old)] = old
        self._vehicles, self._rings, self._spare = vehicles, rings, spare

    def _tell_index(self) -> None:
        """The index hears what a kernel did to it."""
        self._index.added(int(self._room[SLOTS_TAKEN]), int(self._room[IN_USE]))
        self._room[[SLOTS_TAKEN, IN_USE]] = 0


def _slots_in_order(rows: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where the observations of these vehicles lie among all slots, one vehicle behind the other, each in time order.

    Most vehicles fill few of their slots: the others are not even looked at.
    """
    counts = counts.astype(np.int64)
    ends = np.cumsum(counts)
    of_vehicle = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
    slots = (np.repeat(starts.astype(np.int64), counts) + of_vehicle) % RING_OBSERVATIONS
    return np.repeat(rows * RING_OBSERVATIONS, counts) + slots


def _vehicles(size: int) -> np.ndarray:
    rows = np.zeros(size, VEHICLE)
    rows["logical"] = FREE
    return rows


def _read_page(logical: int, page: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, counts and observations of a page; everything that the state relies on is checked."""
    if len(page) < _HEAD.itemsize + _DIGEST_BYTES or page[0] != FORMAT:
        raise SnapshotUnreadable(f"snapshot page {logical} has format {page[0] if page else 'none'}, not {FORMAT}")
    body, digest = page[:-_DIGEST_BYTES], page[-_DIGEST_BYTES:]
    if blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise SnapshotUnreadable(f"snapshot page {logical} is damaged")
    head = np.frombuffer(body, _HEAD, 1)[0]
    vehicles, observations = int(head["vehicles"]), int(head["observations"])
    at_counts = _HEAD.itemsize + 8 * vehicles
    at_seen = at_counts + vehicles
    if int(head["ring"]) != RING_OBSERVATIONS or int(head["logical"]) != logical:
        raise SnapshotUnreadable(f"snapshot page {logical} is of another ring or another page")
    if len(body) != at_seen + observations * OBSERVATION.itemsize:
        raise SnapshotUnreadable(f"snapshot page {logical} has not the length that its head tells")
    keys = np.frombuffer(body, "<i8", vehicles, _HEAD.itemsize).astype(np.int64)
    counts = np.frombuffer(body, "u1", vehicles, at_counts).astype(np.int64)
    seen = np.frombuffer(body, OBSERVATION, observations, at_seen)
    inside = (counts >= 1) & (counts <= RING_OBSERVATIONS)
    if not inside.all() or int(counts.sum()) != observations or (np.diff(keys) <= 0).any():
        raise SnapshotUnreadable(f"snapshot page {logical} contradicts itself")
    if (logical_partitions(keys) != logical).any():
        raise SnapshotUnreadable(f"snapshot page {logical} holds vehicles of another page")
    return keys, counts, seen
