"""From vehicle keys to rows, many at a time: an open-addressing table, looked up whole."""

import numpy as np

MISSING = -1  # no such key, or removed
EMPTY = -2  # of a slot that never held one
SLOT = np.dtype([("key", "<i8"), ("row", "<i8")])
_FILL_MAX = 0.5
_SLOTS_MIN = 1 << 11


class KeyIndex:
    """int64 -> row >= 0. A removed key keeps its slot, marked, until the table is made anew."""

    def __init__(self) -> None:
        self.slots = _empty(_SLOTS_MIN)
        self._used = self._live = 0

    def __len__(self) -> int:
        return self._live

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row of each key, MISSING where there is none."""
        from traffic.vehicles import index_kernels

        return index_kernels.find(self.slots, np.asarray(keys, np.int64))

    def put(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Add keys, each once, that are not there."""
        from traffic.vehicles import index_kernels

        self.make_room(len(keys))
        self._used += index_kernels.put(self.slots, np.asarray(keys, np.int64), np.asarray(rows, np.int64))
        self._live += len(keys)

    def remove(self, keys: np.ndarray) -> None:
        """Take out keys that are there."""
        from traffic.vehicles import index_kernels

        self._live -= index_kernels.remove(self.slots, np.asarray(keys, np.int64))

    def make_room(self, more: int) -> None:
        """Afterwards so many keys fit in without the table being made anew."""
        if self._used + more <= len(self.slots) * _FILL_MAX:
            return
        from traffic.vehicles import index_kernels

        live = self.slots[self.slots["row"] >= 0]
        size = _SLOTS_MIN
        while (len(live) + more) > size * _FILL_MAX / 2:
            size *= 2
        self.slots = _empty(size)
        self._used = index_kernels.put(self.slots, np.ascontiguousarray(live["key"]), np.ascontiguousarray(live["row"]))

    def added(self, taken: int, live: int) -> None:
        """A kernel that has the slots put keys in by itself: how many slots it took, and how many keys."""
        self._used += taken
        self._live += live


def _empty(size: int) -> np.ndarray:
    slots = np.zeros(size, SLOT)
    slots["row"] = EMPTY
    return slots
