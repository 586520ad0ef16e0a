"""A column of plates as they came -> keys: plain plates all at once by table, the others one by one, remembered."""

from dataclasses import dataclass, field

import numpy as np

from traffic.errors import Reason
from traffic.limits import TEXT_CHARS_MAX
from traffic.plates import ALPHABET, PLATE_CHARS_MAX, UNREADABLE, fold, plate_key

REMEMBERED_MAX = 100_000  # plates that are not plain; beyond it the memory begins anew
_PLAIN_CHARS = 8
_CODES = np.zeros(0x10000, np.int64)
for _code, _character in enumerate(ALPHABET, start=1):
    _CODES[ord(_character)] = _code
# Words for "not read" that look like a plate.
_PLAIN_UNREADABLE = tuple(key for key in map(plate_key, sorted(UNREADABLE)) if key > 0)


@dataclass(slots=True, kw_only=True)
class PlateColumn:
    """`keys`: int64 (0: unreadable); by row: `raw` where folding changed it, `faults`; `odd`: key -> folded text."""

    keys: np.ndarray
    raw: dict[int, str] = field(default_factory=dict)
    faults: dict[int, tuple[Reason, str]] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)


class PlateReader:
    """Turns raw plates into keys. Keeps the last REMEMBERED_MAX that had to be folded; one for each process."""

    def __init__(self, *, remembered_max: int = REMEMBERED_MAX) -> None:
        self._remembered_max = remembered_max
        self._folded: dict[str, tuple[int, str] | Reason] = {}

    def read(self, plates: list[str]) -> PlateColumn:
        """Keys of all plates; a plate that can't be one is a fault of its row."""
        keys, plain = _plain_keys(plates)
        column = PlateColumn(keys=keys)
        for row in np.flatnonzero(~plain).tolist():
            raw = plates[row]
            found = self._fold(raw)
            if isinstance(found, Reason):
                column.faults[row] = (found, _FAULTS[found])
                continue
            key, text = found
            keys[row] = key
            if key < 0:
                column.odd[key] = text
            if text != raw:
                column.raw[row] = raw
        return column

    def _fold(self, raw: str) -> tuple[int, str] | Reason:
        found = self._folded.get(raw)
        if found is None:
            if len(self._folded) >= self._remembered_max:
                self._folded.clear()
            found = self._folded[raw] = _judge(raw)
        return found


_FAULTS = {
    Reason.TOO_LONG: f"a plate has at most {PLATE_CHARS_MAX} characters",
    Reason.MALFORMED: "the plate holds a character that cannot be printed",
}


def _judge(raw: str) -> tuple[int, str] | Reason:
    if len(raw) > TEXT_CHARS_MAX:
        return Reason.TOO_LONG
    text = fold(raw)
    if len(text) > PLATE_CHARS_MAX:
        return Reason.TOO_LONG
    if not text.isprintable() or "\0" in raw:
        return Reason.MALFORMED
    return plate_key(text), text


def _plain_keys(plates: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(keys, plain): `plain` where the text is its own folded form out of ALPHABET, or empty."""
    count = len(plates)
    lengths = np.fromiter(map(len, plates), np.int64, count)
    points = np.array(plates, f"<U{_PLAIN_CHARS}").view(np.uint32).reshape(count, _PLAIN_CHARS)
    codes = _CODES[np.minimum(points, len(_CODES) - 1)]
    inside = np.arange(_PLAIN_CHARS) < lengths[:, None]
    plain = (lengths <= _PLAIN_CHARS) & ((codes != 0) | ~inside).all(axis=1)
    keys = np.zeros(count, np.int64)
    for place in range(_PLAIN_CHARS):
        keys = np.where(inside[:, place], keys << 7 | codes[:, place], keys)
    for unreadable in _PLAIN_UNREADABLE:
        plain &= keys != unreadable
    return np.where(plain, keys, 0), plain
