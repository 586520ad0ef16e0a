"""Which records were taken already, in a window of event time as long as the lateness.

One open-addressing table for each minute of event time, so that forgetting is dropping tables. A slot holds the whole
identity (a mixture that is one-to-one for a given minute, and the place within the minute): no two records are ever
taken for one.
"""

import numpy as np

from traffic.readings import PASSAGE

NEW, SAME, OTHER = 0, 1, 2  # status of a probed record
MINUTE_US = 60_000_000
_SLOTS_MIN = 1 << 10
_FILL_MAX = 0.6
_NOT_CONTENT = frozenset({"received_at", "device", "door", "flags"})
_CONTENT = tuple(name for name in PASSAGE.names if name not in _NOT_CONTENT)  # type: ignore[union-attr]
_K1, _K2, _K3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
IDENTITY, CONTENT, PLACE = 0, 1, 2  # columns of a slot; place: within the minute (high 32 bits), doors (low)
LOW = np.uint64(0xFFFFFFFF)


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

    def __init__(self) -> None:
        self.slots = np.zeros((_SLOTS_MIN, 3), np.uint64)
        self.count = 0

    def make_room(self, more: int) -> None:
        """Afterwards so many records fit in."""
        from traffic.vehicles import known_kernels

        if self.count + more <= len(self.slots) * _FILL_MAX:
            return
        size = len(self.slots)
        while self.count + more > size * _FILL_MAX / 2:
            size *= 2
        wider = np.zeros((size, 3), np.uint64)
        known_kernels.move(self.slots, wider)
        self.slots = wider


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
        from traffic.vehicles import known_kernels

        times = np.array(observed_at, np.int64)  # a copy: what comes off the bus may not be written to
        content = np.ascontiguousarray(content)
        bits = _door_bits(doors, len(content))
        identity, place = _mixture(times, source_hash), _place(times)
        status = np.zeros(len(content), np.int64)
        masks = np.zeros(len(content), np.int64)
        for number, index in self._by_minute(times):
            if minute := self._minutes.get(number):
                known_kernels.probe(minute.slots, index, identity, place, content, status, masks)
        known_kernels.know_repeats(identity, times, content, bits, status, masks)
        return status, masks

    def add(
        self, observed_at: np.ndarray, source_hash: np.ndarray, content: np.ndarray, doors: np.ndarray | None = None
    ) -> None:
        """Remember these records. Of one that is known the first content stays, and its doors are added."""
        from traffic.vehicles import known_kernels

        times, content = observed_at.astype(np.int64), content.astype(np.int64)  # a bus entry is read-only
        bits = _door_bits(doors, len(content))
        identity, place = _mixture(times, source_hash), _place(times)
        for number, index in self._by_minute(times):
            minute = self._minutes.setdefault(number, _Minute())
            minute.make_room(len(index))
            minute.count += known_kernels.add(minute.slots, index, identity, place, content, bits)

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
