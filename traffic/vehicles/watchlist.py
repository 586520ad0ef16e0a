"""Watch-list hits (布控比中): a plate that was read is compared with the plates that are watched, exactly."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from traffic.plates import CLASS_UNCERTAIN, vehicle_keys

CONFIDENCE = 0.95  # one camera read the plate: an estimate, to be replaced by each camera's own error rate
CONFIDENCE_CLASS_UNCERTAIN = 0.8  # the number agrees, but it can exist on two classes and one side does not say which
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEntry:
    """A watch-list entry that may be in force. `valid_*_us`: event times, from inclusive, to exclusive."""

    id: int
    number: str
    plate: str
    plate_key: int
    class_group: int  # 0: any
    category: int  # 1 crime, 2 offence, 3 control
    level: int
    facts: str
    intercept: bool
    unit_id: int
    visibility: int
    audience: frozenset[int]
    addressees: frozenset[int]
    valid_from_us: int
    valid_to_us: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One vehicle under one entry, with the numbers of the rows that show it, in the order of the batch."""

    entry: WatchEntry
    plate_key: int
    class_group: int
    rows: tuple[int, ...]

    @property
    def confidence(self) -> float:
        """Lower where the entry names a class that the camera could not tell."""
        certain = self.entry.class_group == CLASS_UNCERTAIN or self.class_group != CLASS_UNCERTAIN
        return CONFIDENCE if certain else CONFIDENCE_CLASS_UNCERTAIN


class WatchList:
    """Entries as sorted columns. A filter of one bool per hash slot lets nearly every row go by after one look."""

    def __init__(self, entries: "tuple[WatchEntry, ...] | list[WatchEntry]" = ()) -> None:
        self.entries = tuple(sorted((e for e in entries if e.plate_key), key=lambda e: (e.plate_key, e.number)))
        self._keys = np.array([e.plate_key for e in self.entries], np.int64)
        self._groups = np.array([e.class_group for e in self.entries], np.int64)
        self._from = np.array([e.valid_from_us for e in self.entries], np.int64)
        self._to = np.array([e.valid_to_us for e in self.entries], np.int64)
        bits = max(12, (32 * len(self.entries)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, bool)
        self._filter[self._slots(self._keys)] = True

    def __len__(self) -> int:
        return len(self.entries)

    def match(self, rows: np.ndarray) -> list[Hit]:
        """Hits among PASSAGE rows, ordered by plate and entry number; a plate that was not read never hits."""
        if not self.entries or not len(rows):
            return []
        near = np.flatnonzero(self._filter[self._slots(rows["plate_key"])])
        if not len(near):
            return []
        row, entry = self._pairs(rows["plate_key"][near])
        row = near[row]
        groups = vehicle_keys(rows["plate_key"][row], rows["plate_class"][row]) & 7
        wanted = self._groups[entry]
        observed_at = rows["observed_at"][row]
        hit = (wanted == CLASS_UNCERTAIN) | (groups == CLASS_UNCERTAIN) | (wanted == groups)
        hit &= (observed_at >= self._from[entry]) & (observed_at < self._to[entry])
        together: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, group, at in zip(entry[hit].tolist(), groups[hit].tolist(), row[hit].tolist(), strict=True):
            together[number, group].append(at)
        return [
            Hit(
                entry=self.entries[number],
                plate_key=self.entries[number].plate_key,
                class_group=group,
                rows=tuple(together[number, group]),
            )
            for number, group in sorted(together)
        ]

    def _slots(self, plate_keys: np.ndarray) -> np.ndarray:
        return (plate_keys.astype(np.uint64) * _MULTIPLIER) >> self._shift

    def _pairs(self, plate_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every (row, entry) with the same plate."""
        first = np.searchsorted(self._keys, plate_keys, "left")
        counts = np.searchsorted(self._keys, plate_keys, "right") - first
        row = np.repeat(np.arange(len(plate_keys)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, first[row] + within
