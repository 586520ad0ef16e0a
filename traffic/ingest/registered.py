"""Which class a plate is registered under, for senders that tell none: a terminal must lead to the same vehicle.

Sorted columns, because a million vehicles in a dict would cost every door a hundred megabytes. Pure.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

_BITS = 3  # of the class group in a vehicle key


def _column(dtype: str) -> np.ndarray:
    return field(default_factory=lambda: np.empty(0, dtype))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Vehicles of the registry by their keys (plate key << 3 | class group), sorted; `classes` are GA 24.7 codes."""

    version: int = -1  # of the table's rows that are in; -1: never read
    keys: np.ndarray = _column("<i8")
    classes: np.ndarray = _column("<i2")
    colors: np.ndarray = _column("<i2")  # JT/T 697.7; 0: not known

    def class_of(self, plate_key: int, plate_color: int = 0) -> int:
        """The registered class of a plate, 0 for one that is not in the registry.

        Of several vehicles under one number the one of this colour, else the one of the lowest class group.
        """
        first = row = bisect_left(memoryview(self.keys), plate_key << _BITS)  # type: ignore[arg-type]
        while row < len(self.keys) and int(self.keys[row]) >> _BITS == plate_key:
            if plate_color and self.colors[row] == plate_color:
                return int(self.classes[row])
            row += 1
        return int(self.classes[first]) if row > first else 0

    def classes_of(self, plate_keys: np.ndarray) -> np.ndarray:
        """As `class_of` for a column of plate keys, without regard to colours (int16)."""
        if not len(self.keys):
            return np.zeros(len(plate_keys), np.int16)
        rows = np.minimum(np.searchsorted(self.keys, plate_keys << _BITS), len(self.keys) - 1)
        return np.where(self.keys[rows] >> _BITS == plate_keys, self.classes[rows], 0).astype(np.int16)

    def with_changes(self, changes: "Registered", enabled: np.ndarray) -> "Registered":
        """With the rows of `changes` (in any order) that are `enabled`, and without those that are not."""
        if not len(changes.keys):
            return Registered(version=changes.version, keys=self.keys, classes=self.classes, colors=self.colors)
        stays = ~np.isin(self.keys, changes.keys)
        keys = np.concatenate([self.keys[stays], changes.keys[enabled]])
        order = np.argsort(keys, kind="stable")  # two sorted runs in the main: quick
        return Registered(
            version=changes.version,
            keys=keys[order],
            classes=np.concatenate([self.classes[stays], changes.classes[enabled]])[order],
            colors=np.concatenate([self.colors[stays], changes.colors[enabled]])[order],
        )


NOBODY = Registered()
