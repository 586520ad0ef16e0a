"""What is remembered of vehicles: for each the newest observations by event time, in columns.

Every vehicle has one row: a ring of RING_OBSERVATIONS observations whose oldest stands at `start`. A row belongs to
a logical partition, whose rows together are one page of the snapshot.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from traffic.errors import TrafficError
from traffic.limits import LOGICAL_PARTITIONS, RING_OBSERVATIONS
from traffic.plates import vehicle_keys
from traffic.readings import logical_partitions
from traffic.vehicles.key_index import MISSING, KeyIndex

FORMAT = 1  # first byte of a snapshot page; a worker reads this one only: another means a rebuild from the tables
OBSERVATION = np.dtype(
    [
        ("observed_at", "<i8"),
        ("source_hash", "<i8"),
        ("checkpoint", "<i4"),
        ("speed_kmh", "<f4"),
        ("direction", "<i2"),
        ("lane", "<i2"),
        ("spare", "<i4"),  # rounds an observation up to half a cache line
    ]
)
# The same memory for numpy to move without looking at its fields (ten times faster): an observation, a whole ring.
_OPAQUE = np.dtype(f"V{OBSERVATION.itemsize}")
_OPAQUE_RING = np.dtype(f"V{OBSERVATION.itemsize * RING_OBSERVATIONS}")
_BEFORE_ALL, _AFTER_ALL = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_APPENDED_MAX = 4  # observations of one vehicle in a batch up to which they are appended one by one
_SLOTS = np.arange(RING_OBSERVATIONS)
_HEAD = np.dtype([("format", "u1"), ("ring", "u1"), ("logical", "<u2"), ("vehicles", "<u4"), ("observations", "<u4")])
_DIGEST_BYTES = 16
_ROWS_MIN = 1024


class SnapshotUnreadable(TrafficError):
    """A snapshot page is of an unknown format or damaged: its partition is rebuilt from the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """Observations of vehicles side by side: `keys` (n), and n x width observations in time order, where `valid`.

    `fresh` marks those that the state did not hold: a rule compares what it would have said without them.
    """

    keys: np.ndarray
    observations: np.ndarray
    valid: np.ndarray
    fresh: np.ndarray


def observations_of(rows: np.ndarray) -> np.ndarray:
    """PASSAGE rows as observations."""
    seen = np.zeros(len(rows), OBSERVATION)
    for name in ("observed_at", "source_hash", "checkpoint", "speed_kmh", "direction", "lane"):
        seen[name] = rows[name]
    return seen


def by_vehicle(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Readable PASSAGE rows, each record of a vehicle once: (vehicle keys, observations) by vehicle, time, record.

    Of two copies of a record the first in the batch stays.
    """
    if not rows["plate_key"].all():
        rows = rows[rows["plate_key"] != 0]
    keys = vehicle_keys(rows["plate_key"], rows["plate_class"])
    order = np.argsort(keys, kind="stable")
    keys, seen = keys[order], observations_of(rows).view(_OPAQUE)[order].view(OBSERVATION)
    same = keys[1:] == keys[:-1]
    if not same.any():
        return keys, seen
    crowded = np.flatnonzero(np.append(same, False) | np.append(False, same))
    part = seen[crowded]
    part = part[np.lexsort((part["source_hash"], part["observed_at"], keys[crowded]))]
    seen[crowded] = part
    again = np.zeros(len(keys), bool)
    again[crowded[1:]] = _repeated(keys[crowded], part)
    return (keys[~again], seen[~again]) if again.any() else (keys, seen)


def _repeated(keys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of sorted observations: which, but for the first of all, are the same record as the one before."""
    return (
        (keys[1:] == keys[:-1])
        & (seen["observed_at"][1:] == seen["observed_at"][:-1])
        & (seen["source_hash"][1:] == seen["source_hash"][:-1])
    )


class VehicleState:
    """The vehicles of the partitions that this worker holds."""

    def __init__(self) -> None:
        self._row_of = KeyIndex()
        self._free: list[int] = []
        self._size = 0  # rows ever used
        self._keys = np.zeros(_ROWS_MIN, np.int64)
        self._newest = np.zeros(_ROWS_MIN, np.int64)
        self._start = np.zeros(_ROWS_MIN, np.int64)
        self._count = np.zeros(_ROWS_MIN, np.int64)  # 0: row not in use
        self._logical = np.zeros(_ROWS_MIN, np.int64)
        self._rings = np.zeros(_ROWS_MIN, _OPAQUE_RING)
        self._dirty = np.zeros(LOGICAL_PARTITIONS, bool)

    def __len__(self) -> int:
        return len(self._row_of)

    # ------------------------------------------------------------ reading

    def gather(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Observations of these vehicles: n x RING_OBSERVATIONS in time order, and how many of each row count."""
        rows = self._row_of.find(keys)
        return self._gather_rows(rows), np.where(rows >= 0, self._count[rows], 0)

    def with_fresh(self, keys: np.ndarray, seen: np.ndarray) -> Histories:
        """What is stored of the vehicles of `keys` together with new observations (both as `by_vehicle` gives them).

        Not fresh, and left out, is what the state holds, and what is older than all of a full ring: between it and
        the ring observations have been forgotten, so that nothing can be concluded from it.
        """
        unique, first, counts = _groups(keys)
        stored, held = self.gather(unique)
        column = RING_OBSERVATIONS + np.arange(len(keys)) - np.repeat(first, counts)
        row = np.repeat(np.arange(len(unique)), counts)
        both = np.empty((len(unique), RING_OBSERVATIONS + int(counts.max(initial=0))), OBSERVATION)
        both.view(_OPAQUE)[:, :RING_OBSERVATIONS] = stored.view(_OPAQUE)
        both.view(_OPAQUE)[row, column] = seen.view(_OPAQUE)
        newest = np.where(held > 0, stored["observed_at"][np.arange(len(held)), np.maximum(held - 1, 0)], _BEFORE_ALL)
        late = np.flatnonzero(seen["observed_at"] <= newest[row])
        news = self._is_news(stored[row[late]], held[row[late]], seen[late])
        fresh = np.zeros(both.shape, bool)
        fresh[row, column] = True
        fresh[row[late], column[late]] = news
        valid = fresh.copy()
        valid[:, :RING_OBSERVATIONS] = held[:, None] > _SLOTS
        mixed = np.unique(row[late[news]])
        if len(mixed):
            at = np.where(valid[mixed], both["observed_at"][mixed], _AFTER_ALL)
            order = np.lexsort((both["source_hash"][mixed], at), axis=-1)
            for part in (both, valid, fresh):
                part[mixed] = np.take_along_axis(part[mixed], order, axis=1)
        return Histories(keys=unique, observations=both, valid=valid, fresh=fresh)

    @staticmethod
    def _is_news(stored: np.ndarray, held: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Which late observations are neither stored nor older than all of a full ring."""
        at, source = seen["observed_at"][:, None], seen["source_hash"][:, None]
        same = (stored["observed_at"] == at) & (stored["source_hash"] == source) & (held[:, None] > _SLOTS)
        oldest = stored[:, 0]
        older = (oldest["observed_at"] > seen["observed_at"]) | (
            (oldest["observed_at"] == seen["observed_at"]) & (oldest["source_hash"] > seen["source_hash"])
        )
        return ~same.any(axis=1) & ~((held == RING_OBSERVATIONS) & older)

    def copy_of(self, keys: np.ndarray) -> "VehicleState":
        """A state of its own with what is stored of these (unique) vehicles, for trying out."""
        copy = VehicleState()
        stored, held = self.gather(keys)
        present = held[:, None] > _SLOTS
        copy.merge(np.repeat(keys, held), stored[present])
        return copy

    # ------------------------------------------------------------ writing

    def merge(self, keys: np.ndarray, seen: np.ndarray) -> None:
        """Take in observations (as `by_vehicle` gives them); of each vehicle the newest RING_OBSERVATIONS stay."""
        if not len(keys):
            return
        unique, first, counts = _groups(keys)
        rows = self._find_or_make(unique)
        self._dirty[self._logical[rows]] = True
        newest = np.where(self._count[rows] > 0, self._newest[rows], _BEFORE_ALL)
        ahead = (counts <= _APPENDED_MAX) & (seen["observed_at"][first] > newest)
        for number in range(int(counts[ahead].max(initial=0))):
            now = ahead & (counts > number)
            self._append(rows[now], seen[first[now] + number])
        if not ahead.all():
            self._mix(rows[~ahead], counts[~ahead], seen[np.repeat(~ahead, counts)])

    def _append(self, rows: np.ndarray, seen: np.ndarray) -> None:
        """The common case: one observation for each row, newer than all that the row holds."""
        count, start = self._count[rows], self._start[rows]
        full = count == RING_OBSERVATIONS
        slot = (start + count) % RING_OBSERVATIONS
        self._rings.view(_OPAQUE)[rows * RING_OBSERVATIONS + slot] = seen.view(_OPAQUE)
        self._start[rows] = np.where(full, (start + 1) % RING_OBSERVATIONS, start)
        self._count[rows] = np.where(full, count, count + 1)
        self._newest[rows] = seen["observed_at"]

    def _mix(self, rows: np.ndarray, counts: np.ndarray, seen: np.ndarray) -> None:
        """The general case: rings are written anew from the union of what they hold and what came."""
        numbers = np.arange(len(rows))
        held = self._count[rows]
        stored = self._gather_rows(rows)[held[:, None] > _SLOTS]
        vehicle = np.concatenate([np.repeat(numbers, held), np.repeat(numbers, counts)])
        union = np.concatenate([stored, seen])
        order = np.lexsort((union["source_hash"], union["observed_at"], vehicle))  # stable: what is held stays
        vehicle, union = vehicle[order], union[order]
        once = np.append(True, ~_repeated(vehicle, union))
        vehicle, union = vehicle[once], union[once]
        total = np.bincount(vehicle, minlength=len(rows))
        back = np.repeat(np.cumsum(total), total) - np.arange(len(vehicle))  # 1: the newest of its vehicle
        keep = back <= RING_OBSERVATIONS
        vehicle, union, back = vehicle[keep], union[keep], back[keep]
        kept = np.minimum(total, RING_OBSERVATIONS)
        place = rows[vehicle] * RING_OBSERVATIONS + kept[vehicle] - back
        self._rings.view(_OPAQUE)[place] = union.view(_OPAQUE)
        self._start[rows] = 0
        self._count[rows] = kept
        self._newest[rows] = union["observed_at"][np.cumsum(kept) - 1]

    def evict(self, before_us: int) -> int:
        """Vehicles whose newest observation is older leave memory; returns how many."""
        idle = np.flatnonzero((self._count[: self._size] > 0) & (self._newest[: self._size] < before_us))
        self._release(idle)
        return len(idle)

    def drop(self, logicals: Iterable[int]) -> None:
        """Pages of partitions that are no longer held leave memory."""
        lost = np.zeros(LOGICAL_PARTITIONS, bool)
        lost[list(logicals)] = True
        self._release(np.flatnonzero((self._count[: self._size] > 0) & lost[self._logical[: self._size]]))
        self._dirty &= ~lost

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
        rows = np.flatnonzero((self._count[: self._size] > 0) & (self._logical[: self._size] == logical))
        rows = rows[np.argsort(self._keys[rows])]
        count = self._count[rows]
        seen = self._gather_rows(rows)[count[:, None] > _SLOTS]
        head = np.array([(FORMAT, RING_OBSERVATIONS, logical, len(rows), len(seen))], _HEAD)
        body = b"".join((head.tobytes(), self._keys[rows].tobytes(), count.astype("u1").tobytes(), seen.tobytes()))
        return body + blake2b(body, digest_size=_DIGEST_BYTES).digest()

    def load(self, logical: int, page: bytes) -> None:
        """Put a page in the place of what is held of its logical partition; raises SnapshotUnreadable."""
        keys, counts, seen = _read_page(logical, bytes(page))
        self.drop([logical])
        if len(keys):
            rows = self._find_or_make(keys)
            ends = np.cumsum(counts)
            slot = np.arange(len(seen)) - np.repeat(ends - counts, counts)
            self._rings.view(_OPAQUE)[np.repeat(rows, counts) * RING_OBSERVATIONS + slot] = seen.view(_OPAQUE)
            self._count[rows] = counts
            self._newest[rows] = seen["observed_at"][ends - 1]

    # ------------------------------------------------------------ rows

    def _gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rings of these rows, turned so that the oldest stands first (what is past the count is noise)."""
        rings = self._rings.take(np.maximum(rows, 0)).view(OBSERVATION).reshape(-1, RING_OBSERVATIONS)
        start = self._start[rows]
        turned = np.flatnonzero(start)
        if len(turned):
            order = (start[turned][:, None] + _SLOTS) % RING_OBSERVATIONS
            rings.view(_OPAQUE)[turned] = np.take_along_axis(rings.view(_OPAQUE)[turned], order, axis=1)
        return rings

    def _find_or_make(self, keys: np.ndarray) -> np.ndarray:
        """Rows of these (unique) vehicles; new ones are made empty."""
        rows = self._row_of.find(keys)
        missing = np.flatnonzero(rows == MISSING)
        if len(missing):
            fresh = self._take_rows(len(missing))
            rows[missing] = fresh
            self._row_of.put(keys[missing], fresh)
            self._keys[fresh] = keys[missing]
            self._logical[fresh] = logical_partitions(keys[missing])
        return rows

    def _take_rows(self, wanted: int) -> np.ndarray:
        reused = [self._free.pop() for _ in range(min(wanted, len(self._free)))]
        more = wanted - len(reused)
        if self._size + more > len(self._keys):
            self._grow(self._size + more)
        rows = np.array(reused + list(range(self._size, self._size + more)), np.int64)
        self._size += more
        self._start[rows] = 0
        self._count[rows] = 0
        return rows

    def _grow(self, wanted: int) -> None:
        size = len(self._keys)
        while size < wanted:
            size *= 2
        for name in ("_keys", "_newest", "_start", "_count", "_logical", "_rings"):
            old = getattr(self, name)
            new = np.zeros(size, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _release(self, rows: np.ndarray) -> None:
        self._row_of.remove(self._keys[rows])
        self._count[rows] = 0
        self._free += rows.tolist()


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of sorted keys: each key once, where it begins, and how often it stands."""
    starts = np.ones(len(keys), bool)
    starts[1:] = keys[1:] != keys[:-1]
    first = np.flatnonzero(starts)
    return keys[first], first, np.diff(first, append=len(keys))


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
    keys = np.frombuffer(body, "<i8", vehicles, _HEAD.itemsize)
    counts = np.frombuffer(body, "u1", vehicles, at_counts).astype(np.int64)
    seen = np.frombuffer(body, OBSERVATION, observations, at_seen)
    inside = (counts >= 1) & (counts <= RING_OBSERVATIONS)
    if not inside.all() or int(counts.sum()) != observations or (np.diff(keys) <= 0).any():
        raise SnapshotUnreadable(f"snapshot page {logical} contradicts itself")
    if (logical_partitions(keys) != logical).any():
        raise SnapshotUnreadable(f"snapshot page {logical} holds vehicles of another page")
    return keys, counts, seen
