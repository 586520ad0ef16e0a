"""From vehicle keys to rows, many at a time: an open-addressing table in two columns.

A batch of 10,000 keys is found in a fraction of the time that a dict takes, because it is looked up whole.
"""

import numpy as np

MISSING = -1
_EMPTY = -2
_FILL_MAX = 0.5
_SLOTS_MIN = 1 << 11
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class KeyIndex:
    """int64 -> row >= 0. A removed key keeps its slot, marked, until the table is made anew."""

    def __init__(self) -> None:
        self._clear(_SLOTS_MIN)

    def __len__(self) -> int:
        return self._live

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row of each key, MISSING where there is none."""
        slot = self._find_slots(keys)
        return np.where(slot >= 0, self._rows[slot], MISSING)

    def put(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Add keys, each once, that are not there."""
        if self._used + len(keys) > len(self._keys) * _FILL_MAX:
            self._make_anew(len(keys))
        slot = self._find_slots(keys)
        back = slot >= 0
        self._rows[slot[back]] = rows[back]
        self._insert(keys[~back], rows[~back])
        self._live += int(back.sum())

    def remove(self, keys: np.ndarray) -> None:
        """Take out keys that are there."""
        self._rows[self._find_slots(keys)] = MISSING
        self._live -= len(keys)

    def _clear(self, size: int) -> None:
        self._keys = np.zeros(size, np.int64)
        self._rows = np.full(size, _EMPTY, np.int64)
        self._shift = np.uint64(64 - (size.bit_length() - 1))
        self._used = self._live = 0

    def _first_slots(self, keys: np.ndarray) -> np.ndarray:
        return ((keys.astype(np.uint64) * _MULTIPLIER) >> self._shift).astype(np.int64)

    def _find_slots(self, keys: np.ndarray) -> np.ndarray:
        """Slot of each key, also of a removed one; -1 where there is none."""
        mask = len(self._keys) - 1
        slot = at = self._first_slots(keys)
        on = np.flatnonzero((self._keys[at] != keys) | (self._rows[at] == _EMPTY))
        while len(on):
            empty = self._rows[slot[on]] == _EMPTY
            slot[on[empty]] = -1
            on = on[~empty]
            slot[on] = (slot[on] + 1) & mask
            on = on[(self._keys[slot[on]] != keys[on]) | (self._rows[slot[on]] == _EMPTY)]
        return slot

    def _insert(self, keys: np.ndarray, rows: np.ndarray) -> None:
        mask = len(self._keys) - 1
        at, on = self._first_slots(keys), np.arange(len(keys))
        while len(on):
            free = self._rows[at] == _EMPTY
            self._keys[at[free]], self._rows[at[free]] = keys[on[free]], rows[on[free]]
            lost = self._keys[at] != keys[on]  # of several that want one slot the last was written
            on, at = on[lost], (at[lost] + 1) & mask
        self._used += len(keys)
        self._live += len(keys)

    def _make_anew(self, more: int) -> None:
        live = self._rows >= 0
        keys, rows = self._keys[live], self._rows[live]
        size = _SLOTS_MIN
        while (len(keys) + more) > size * _FILL_MAX / 2:
            size *= 2
        self._clear(size)
        self._insert(keys, rows)
