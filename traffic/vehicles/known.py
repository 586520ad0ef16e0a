"""Which records were taken already, in a window of event time as long as the lateness.

One open-addressing table for each minute of event time, so that forgetting is dropping tables. A slot holds the whole
identity (a mixture that is one-to-one for a given minute, and the place within the minute): no two records are ever
taken for one.
"""

import numpy as np

from traffic.readings import PASSAGE

NEW, SAME, OTHER = 0, 1, 2  # status of a probed record
MINUTE_US = 60_000_000
_SLOTS_MIN = 16
_FILL_MAX = 0.6
_NOT_CONTENT = frozenset({"received_at", "device", "door", "flags"})
_CONTENT = tuple(name for name in PASSAGE.names if name not in _NOT_CONTENT)  # type: ignore[union-attr]
_K1, _K2, _K3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_IDENTITY, _CONTENT_HASH, _PLACE = 0, 1, 2  # columns of a slot; place: within the minute (high 32 bits), doors (low)
_OPAQUE = np.dtype("V24")  # a slot for numpy to move without looking at its columns (several times faster)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def content_hash(rows: np.ndarray) -> np.ndarray:
    """64 bits over what a PASSAGE row says (not when, by whom or how it came); NaN is NaN, and -0.0 is 0.0."""
    mixed = np.zeros(len(rows), np.uint64)
    for name in _CONTENT:
        column = rows[name]
        if column.dtype.kind == "f":
            column = np.where(np.isnan(column), np.float32(-1e30), column + np.float32(0)).view(np.int32)
        mixed = (mixed ^ column.astype(np.int64).view(np.uint64)) * _K2
        mixed ^= mixed >> np.uint64(29)
    return mixed.view(np.int64)


def _mixture(observed_at: np.ndarray, source_hash: np.ndarray) -> np.ndarray:
    """One-to-one in source_hash for a given time, and spread over all 64 bits."""
    mixed = source_hash.astype(np.int64).view(np.uint64) + observed_at.astype(np.int64).view(np.uint64) * _K1
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _K2
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _K3
    return mixed ^ (mixed >> np.uint64(31))


class _Minute:
    """The records of one minute: slots of (identity, content, place and doors); a slot without doors is empty."""

    def __init__(self, records: int) -> None:
        size = _SLOTS_MIN
        while size * _FILL_MAX < records:
            size *= 2
        self.slots = np.zeros((size, 3), np.uint64)
        self.count = 0

    def find(self, identity: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Slot of each record, -1 where it is not held."""
        mask = len(self.slots) - 1
        found = np.full(len(identity), -1, np.int64)
        open_, at = np.arange(len(identity)), self._first_slots(identity)
        while len(open_):
            held = self._take(at)
            empty = (held[:, _PLACE] & _LOW) == 0
            same = (held[:, _IDENTITY] == identity[open_]) & (held[:, _PLACE] >> _HALF == place[open_]) & ~empty
            found[open_[same]] = at[same]
            on = ~(same | empty)
            open_, at = open_[on], (at[on] + 1) & mask
        return found

    def insert(self, slots: np.ndarray) -> None:
        """Put in records that are not held, each once."""
        self._make_room(len(slots))
        mask = len(self.slots) - 1
        opaque, table = slots.view(_OPAQUE)[:, 0], self.slots.view(_OPAQUE)[:, 0]
        identity, place = np.ascontiguousarray(slots[:, _IDENTITY]), np.ascontiguousarray(slots[:, _PLACE])
        claim, at = np.arange(len(slots)), self._first_slots(identity)
        while len(claim):
            free = (self.slots[at, _PLACE] & _LOW) == 0
            table[at[free]] = opaque[claim[free]]
            # Of several that want one slot the last was written: the others see another record there and go on.
            there = self._take(at)
            lost = (there[:, _IDENTITY] != identity[claim]) | (there[:, _PLACE] != place[claim])
            claim, at = claim[lost], (at[lost] + 1) & mask
        self.count += len(slots)

    def _first_slots(self, identity: np.ndarray) -> np.ndarray:
        return (identity & np.uint64(len(self.slots) - 1)).astype(np.int64)

    def _take(self, at: np.ndarray) -> np.ndarray:
        return self.slots.view(_OPAQUE)[:, 0].take(at).view(np.uint64).reshape(-1, 3)

    def _make_room(self, more: int) -> None:
        if self.count + more <= len(self.slots) * _FILL_MAX:
            return
        old = self.slots[(self.slots[:, _PLACE] & _LOW) != 0]
        wider = _Minute(2 * (self.count + more))
        self.slots, self.count = wider.slots, 0
        self.insert(old)


class KnownRecords:
    """The window. `forget` moves its lower end; below it nothing is known, and nothing is remembered.

    About 24 bytes / 0.3-0.6 for each record of the window.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._from_us = np.iinfo(np.int64).min

    def __len__(self) -> int:
        return sum(minute.count for minute in self._minutes.values())

    def probe(
        self,
        observed_at: np.ndarray,
        source_hash: np.ndarray,
        content: np.ndarray,
        doors: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each record NEW, SAME (known with this content) or OTHER (known with another), and its doors (bit mask).

        The second of two equal records of the batch is known by the first. `doors` (0..30) of the batch let the mask
        of such a one show the first one's door. Nothing is changed.
        """
        bits = _door_bits(doors, len(content))
        identity = _mixture(observed_at, source_hash)
        status = np.zeros(len(content), np.int64)
        masks = np.zeros(len(content), np.int64)
        for number, index in self._by_minute(observed_at):
            minute = self._minutes.get(number)
            if minute is None:
                continue
            slot = minute.find(identity[index], _place(observed_at[index]))
            held = minute.slots[slot[slot >= 0]]
            index = index[slot >= 0]
            status[index] = np.where(held[:, _CONTENT_HASH].view(np.int64) == content[index], SAME, OTHER)
            masks[index] = (held[:, _PLACE] & _LOW).astype(np.int64)
        for first, later in _repeats(identity, observed_at, source_hash):
            so_far = int(masks[first]) | int(bits[first])
            for row in later:
                if status[first] == NEW:
                    status[row] = SAME if content[row] == content[first] else OTHER
                masks[row] = so_far
                so_far |= int(bits[row])
        return status, masks

    def add(
        self, observed_at: np.ndarray, source_hash: np.ndarray, content: np.ndarray, doors: np.ndarray | None = None
    ) -> None:
        """Remember these records. Of one that is known the first content stays, and its doors are added."""
        bits = _door_bits(doors, len(content))
        identity = _mixture(observed_at, source_hash)
        once = np.ones(len(content), bool)
        for first, later in _repeats(identity, observed_at, source_hash):
            bits[first] |= np.bitwise_or.reduce(bits[later])
            once[later] = False
        for number, index in self._by_minute(observed_at):
            index = index[once[index]]
            minute = self._minutes.setdefault(number, _Minute(0))
            place = _place(observed_at[index])
            slot = minute.find(identity[index], place)
            known = slot >= 0
            minute.slots[slot[known], _PLACE] |= bits[index[known]]
            fresh = np.empty((len(index) - int(known.sum()), 3), np.uint64)
            index, place = index[~known], place[~known]
            fresh[:, _IDENTITY] = identity[index]
            fresh[:, _CONTENT_HASH] = content[index].view(np.uint64)
            fresh[:, _PLACE] = place << _HALF | bits[index]
            minute.insert(fresh)

    def forget(self, before_us: int) -> None:
        """Records observed earlier leave the window for good."""
        self._from_us = max(self._from_us, before_us)
        for number in [n for n in self._minutes if (n + 1) * MINUTE_US <= self._from_us]:
            del self._minutes[number]

    def _by_minute(self, observed_at: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Row numbers of each minute of event time, without those below the window."""
        numbers = observed_at // MINUTE_US
        index = np.arange(len(numbers))
        if len(numbers) and observed_at.min() < self._from_us:
            index = np.flatnonzero(observed_at >= self._from_us)
        if not len(index):
            return []
        if numbers[index].min() == numbers[index].max():
            return [(int(numbers[index[0]]), index)]
        index = index[np.argsort(numbers[index], kind="stable")]
        ends = np.flatnonzero(np.diff(numbers[index])) + 1
        return [(int(numbers[part[0]]), part) for part in np.split(index, ends)]


def _door_bits(doors: np.ndarray | None, count: int) -> np.ndarray:
    """One bit for each door; without doors one that no door has."""
    if doors is None:
        return np.full(count, np.uint64(1) << np.uint64(31))
    return np.uint64(1) << np.clip(doors, 0, 30).astype(np.uint64)


def _place(observed_at: np.ndarray) -> np.ndarray:
    return (observed_at % MINUTE_US).astype(np.uint64)


def _repeats(identity: np.ndarray, observed_at: np.ndarray, source_hash: np.ndarray) -> list[tuple[int, list[int]]]:
    """Records that stand more than once in a batch: the first row and the later ones, in the order of the batch."""
    ordered = np.sort(identity)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return []
    rows = np.flatnonzero(np.isin(identity, twice))
    groups: dict[tuple[int, int], list[int]] = {}
    for row, record in zip(
        rows.tolist(), zip(observed_at[rows].tolist(), source_hash[rows].tolist(), strict=True), strict=True
    ):
        groups.setdefault(record, []).append(row)
    return [(index[0], index[1:]) for index in groups.values() if len(index) > 1]
