"""Watch-list hits (布控比中): a plate that was read is compared with those that are watched.

It fits an entry exactly, exactly but of a class that one side does not know, by the entry's pattern (吉A12?4*), or as a
misreading of one character, with a stated probability. Plates that were read are never compared with each other.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from traffic.findings import CLASS_UNCERTAIN as OF_UNCERTAIN_CLASS
from traffic.findings import EXACT, MATCHES, MISREAD, WATCH_HIT, WILDCARD
from traffic.plates import CLASS_UNCERTAIN, plate_text, vehicle_keys
from traffic.roads.parameters import bounded, choice, defaults_of, fill
from traffic.vehicles.misread import ReadErrors, likely_enough, probability
from traffic.vehicles.watch_index import (
    FITS,
    IS_NEAR,
    IS_WATCHED,
    KeySet,
    PatternTree,
    flags_of,
    is_pattern,
    without_a_place,
)

CONFIDENCE = 0.95  # one camera read the plate: what is known of that camera lowers it (trust.py)
CONFIDENCE_CLASS_UNCERTAIN = 0.8  # the number agrees, but it can exist on two classes and one side does not say which
_HOUR_US, _EAST_HOURS = 3_600_000_000, 8  # Asia/Shanghai


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParameters:
    """The rule's numbers. Entries up to level `misread_level_max` are found by a misread character too, unless they
    say themselves; below `misread_probability_min` such a hit is not told. The shares are ReadErrors'.
    """

    misread: str = choice("on", "off")
    misread_level_max: int = bounded(2, 0, 4)
    misread_probability_min: float = bounded(0.02, 0.0, 1.0)
    right_by_day: float = bounded(0.9, 0.5, 0.999)
    right_by_night: float = bounded(0.8, 0.5, 0.999)
    night_from_h: int = bounded(18, 0, 23)
    night_to_h: int = bounded(6, 0, 23)
    alike_share: float = bounded(0.8, 0.0, 1.0)
    in_use_share: float = bounded(0.3, 0.001, 1.0)

    @property
    def errors(self) -> ReadErrors:
        """How cameras read."""
        return ReadErrors(
            right_by_day=self.right_by_day, right_by_night=self.right_by_night, alike_share=self.alike_share,
            in_use_share=self.in_use_share,
        )  # fmt: skip

    def is_night(self, us: int) -> bool:
        """Whether the local hour is one of the night."""
        hour = (us // _HOUR_US + _EAST_HOURS) % 24
        begin, end = self.night_from_h, self.night_to_h
        return begin <= hour < end if begin <= end else hour >= begin or hour < end


DEFAULTS = defaults_of(WatchParameters)


def from_parameters(parameters: Mapping[str, Any]) -> WatchParameters:
    """Raises SettingsError naming the parameter."""
    return fill(WATCH_HIT, WatchParameters, {name: said for name, said in parameters.items() if name != "lateness_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEntry:
    """A watch-list entry that may be in force. `valid_*_us`: event times, from inclusive, to exclusive.

    `plate` may be a pattern; `misread`: whether one misread character is looked through (None: its level decides).
    """

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
    misread: bool | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether it means many plates."""
        return is_pattern(self.plate)

    def detail(self) -> dict[str, Any]:
        """The entry as its findings tell it."""
        names = ("number", "category", "level", "facts", "intercept", "version")
        told = {name: getattr(self, name) for name in names}
        return {**told, "pattern": self.plate} if self.is_pattern else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One vehicle under one entry, with the numbers of the rows that show it, in the order of the batch.

    `reads`: each reading with the probability that it shows the vehicle. `via`: the vehicle key that was read, where
    it is not the vehicle's own.
    """

    entry: WatchEntry
    plate_key: int
    class_group: int
    rows: tuple[int, ...]
    how: str = EXACT
    reads: Mapping[str, float]
    via: int | None = None

    @property
    def confidence(self) -> float:
        """That of the surest reading."""
        return max(self.reads.values())

    def match(self) -> dict[str, Any]:
        """How the plate fits, as findings tell it."""
        return {"how": self.how, "probability": self.confidence, "reads": dict(self.reads)}


@dataclass(frozen=True, slots=True)
class _Sighting:
    """One row under one entry."""

    row: int
    how: str
    read: str
    probability: float
    read_key: int  # of the vehicle as it was read


class WatchList:
    """Entries as sorted columns. Compiled filters let nearly every row go by after one look."""

    def __init__(self, entries: Sequence[WatchEntry] = (), parameters: WatchParameters | None = None) -> None:
        self.parameters = parameters or WatchParameters()
        self._errors = self.parameters.errors
        plain = [entry for entry in entries if entry.plate_key and not entry.is_pattern]
        patterns = [entry for entry in entries if entry.is_pattern]
        self.entries = (
            *sorted(plain, key=lambda entry: (entry.plate_key, entry.number)),
            *sorted(patterns, key=lambda entry: entry.number),
        )
        self._plain = len(plain)
        self._keys = np.array([entry.plate_key for entry in self.entries], np.int64)
        self._groups = np.array([entry.class_group for entry in self.entries], np.int64)
        self._from = np.array([entry.valid_from_us for entry in self.entries], np.int64)
        self._to = np.array([entry.valid_to_us for entry in self.entries], np.int64)
        self._exact = KeySet.of(self._keys[: self._plain])
        self._tree = _tree(tuple(entry.plate for entry in self.entries[self._plain :]))
        self._near_keys, self._near_entry = self._without_a_place()
        self._near = KeySet.of(self._near_keys)

    def __len__(self) -> int:
        return len(self.entries)

    def match(self, rows: np.ndarray) -> list[Hit]:
        """Hits among PASSAGE rows, ordered by plate and entry number; a plate that was not read never hits."""
        if not self.entries or not len(rows):
            return []
        flags = flags_of(rows["plate_key"], self._exact, self._near, self._tree)
        concerned = np.flatnonzero(flags)
        if not len(concerned):
            return []
        pairs = [
            *self._exactly(rows, concerned[flags[concerned] & IS_WATCHED > 0]),
            *self._by_pattern(rows, concerned[flags[concerned] & FITS > 0]),
            *self._misread(rows, concerned[flags[concerned] & IS_NEAR > 0]),
        ]
        return _hits(self.entries, self._sightings(rows, pairs))

    def keys_like(self, entries: Sequence[WatchEntry], plate_keys: np.ndarray) -> np.ndarray:
        """Of these plates those that one of the entries could mean (to look back for what is newly watched)."""
        some = WatchList(entries, self.parameters)
        if not some.entries:
            return plate_keys[:0]
        return plate_keys[flags_of(plate_keys, some._exact, some._near, some._tree) > 0]

    # ------------------------------------------------------------ which rows under which entries
    def _without_a_place(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted keys of the plates that may be misread, each without one character, and their entries."""
        if self.parameters.misread == "off":
            return np.empty(0, np.int64), np.empty(0, np.int64)
        level_max = self.parameters.misread_level_max
        may = [entry.level <= level_max if entry.misread is None else entry.misread for entry in self.entries]
        chosen = np.flatnonzero(np.array(may, bool)[: self._plain] & (self._keys[: self._plain] > 0))
        keys, of = without_a_place(self._keys[chosen])
        order = np.argsort(keys, kind="stable")
        return keys[order], chosen[of[order]]

    def _exactly(self, rows: np.ndarray, at: np.ndarray) -> Iterator[tuple[int, int, str]]:
        which, entry = _pairs(self._keys[: self._plain], rows["plate_key"][at])
        for row, number in zip(at[which].tolist(), entry.tolist(), strict=True):
            yield row, number, EXACT

    def _by_pattern(self, rows: np.ndarray, at: np.ndarray) -> Iterator[tuple[int, int, str]]:
        for row in at.tolist():
            for number in self._tree.match(int(rows["plate_key"][row])):
                yield row, self._plain + number, WILDCARD

    def _misread(self, rows: np.ndarray, at: np.ndarray) -> Iterator[tuple[int, int, str]]:
        keys, of = without_a_place(rows["plate_key"][at])
        which, near = _pairs(self._near_keys, keys)
        entry, row = self._near_entry[near], at[of[which]]
        other = np.flatnonzero(self._keys[entry] != rows["plate_key"][row])
        row, entry = row[other], entry[other]
        least = self.parameters.misread_probability_min
        likely = likely_enough(self._keys[entry], rows["plate_key"][row], self._errors, least)
        for one, number in zip(row[likely].tolist(), entry[likely].tolist(), strict=True):
            yield one, number, MISREAD

    # ------------------------------------------------------------ which of them count
    def _sightings(
        self, rows: np.ndarray, pairs: Sequence[tuple[int, int, str]]
    ) -> dict[tuple[int, int, int], list[_Sighting]]:
        """By (entry, plate key, class group): class and time agree, and a misreading is likely enough."""
        found: dict[tuple[int, int, int], list[_Sighting]] = defaultdict(list)
        at = np.array([row for row, _, _ in pairs], np.int64)
        read_keys = vehicle_keys(rows["plate_key"][at], rows["plate_class"][at])
        times = rows["observed_at"][at]
        entry = np.array([number for _, number, _ in pairs], np.int64)
        wanted, groups = self._groups[entry], read_keys & 7
        fits = (wanted == CLASS_UNCERTAIN) | (groups == CLASS_UNCERTAIN) | (wanted == groups)
        fits &= (times >= self._from[entry]) & (times < self._to[entry])
        for number in np.flatnonzero(fits).tolist():
            row, which, how = pairs[number]
            sighting = self._sighting(self.entries[which], (row, how), int(read_keys[number]), int(times[number]))
            if sighting is not None:
                plate_key = self._keys[which] if how != WILDCARD else rows["plate_key"][row]
                found[which, int(plate_key), int(groups[number])].append(sighting)
        return found

    def _sighting(self, entry: WatchEntry, seen: tuple[int, str], read_key: int, at_us: int) -> _Sighting | None:
        row, how = seen
        if how == EXACT:
            certain = entry.class_group == CLASS_UNCERTAIN or read_key & 7 != CLASS_UNCERTAIN
            if certain:
                return _Sighting(row, EXACT, entry.plate, CONFIDENCE, read_key)
            return _Sighting(row, OF_UNCERTAIN_CLASS, entry.plate, CONFIDENCE_CLASS_UNCERTAIN, read_key)
        read = plate_text(read_key >> 3) or ""
        if how == WILDCARD:
            return _Sighting(row, WILDCARD, read, CONFIDENCE, read_key)
        likely = probability(entry.plate, read, self._errors, self.parameters.is_night(at_us))
        if likely < self.parameters.misread_probability_min:
            return None
        return _Sighting(row, MISREAD, read, round(likely, 4), read_key)


def _hits(entries: Sequence[WatchEntry], sightings: Mapping[tuple[int, int, int], list[_Sighting]]) -> list[Hit]:
    hits = []
    for (number, plate_key, group), seen in sightings.items():
        reads: dict[str, float] = {}
        for one in seen:
            reads[one.read] = max(one.probability, reads.get(one.read, 0.0))
        own = plate_key << 3 | group
        hits.append(
            Hit(
                entry=entries[number],
                plate_key=plate_key,
                class_group=group,
                rows=tuple(sorted({one.row for one in seen})),
                how=min((one.how for one in seen), key=MATCHES.index),
                reads=dict(sorted(reads.items())),
                via=None if any(one.read_key == own for one in seen) else seen[0].read_key,
            )
        )
    return sorted(hits, key=lambda hit: (hit.plate_key, hit.entry.number, hit.class_group))


def _pairs(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every (number of a wanted key, place of it among sorted `keys`)."""
    first = np.searchsorted(keys, wanted, "left")
    counts = np.searchsorted(keys, wanted, "right") - first
    which = np.repeat(np.arange(len(wanted)), counts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, first[which] + within


@lru_cache(maxsize=4)
def _tree(patterns: tuple[str, ...]) -> PatternTree:
    """Kept, because a list changes often and its patterns seldom."""
    return PatternTree(patterns)
