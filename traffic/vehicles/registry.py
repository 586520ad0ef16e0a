"""The registry of key vehicles as columns: whose each is, of which kind, and until when its papers hold.

A vehicle keeps its row as long as the process lives, so that a rule may remember row numbers from one book to the next.
A vehicle that left the registry keeps its row too, but is found no more.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from traffic.plates import CLASS_LARGE, CLASS_MOTORCYCLE, CLASS_OTHER, CLASS_SMALL
from traffic.registry_records import KINDS as KINDS
from traffic.registry_records import ROUTE_KINDS as ROUTE_KINDS
from traffic.registry_records import STATES as STATES
from traffic.vehicles.key_index import MISSING, KeyIndex

NEVER_US = np.iinfo(np.int64).max  # of a paper whose end is not known
_GROUP_BITS = 7
_GROUPS = (CLASS_LARGE, CLASS_SMALL, CLASS_MOTORCYCLE, CLASS_OTHER)


def _column(dtype: Any) -> Any:
    return field(default_factory=lambda: np.empty(0, dtype))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """One row a vehicle, in the order in which the process came to know them. Make it with `with_changes`.

    `keys`: plate key << 3 | class group. `kind`, `state`, `route_kind`: place in KINDS, STATES, ROUTE_KINDS. Days are
    told by the moment at which they end in China, in microseconds; NEVER_US where none is known. `company`: 0 for none.
    `as_of_us`: when this was true at its source.
    """

    version: int = 0  # of the table's rows that are in
    keys: np.ndarray = _column(np.int64)
    enabled: np.ndarray = _column(np.bool_)
    kind: np.ndarray = _column(np.int8)
    state: np.ndarray = _column(np.int8)
    plate_class: np.ndarray = _column(np.int16)
    plate_color: np.ndarray = _column(np.int16)
    vehicle_class: np.ndarray = _column(np.int16)
    body_color: np.ndarray = _column(np.int16)
    inspection_until_us: np.ndarray = _column(np.int64)
    scrap_by_us: np.ndarray = _column(np.int64)
    ex_commercial: np.ndarray = _column(np.bool_)
    unit: np.ndarray = _column(np.int32)
    company: np.ndarray = _column(np.int32)
    route_kind: np.ndarray = _column(np.int8)
    route_km: np.ndarray = _column(np.float32)  # one way; NaN: not known
    as_of_us: np.ndarray = _column(np.int64)
    _row_of: KeyIndex = field(default_factory=KeyIndex)

    @staticmethod
    def of(version: int, columns: Mapping[str, Any], index: KeyIndex | None = None) -> "Registry":
        """From all of COLUMNS; without an index it can be merged, but nothing is found in it."""
        return Registry(version=version, _row_of=index or KeyIndex(), **columns)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, vehicle_keys: np.ndarray) -> np.ndarray:
        """Row of each vehicle (int64), -1 for one that is not in the registry.

        A key with class uncertain finds the plate's vehicle of the lowest class group.
        """
        rows = self._find_enabled(vehicle_keys)
        at = np.flatnonzero((rows == MISSING) & ((vehicle_keys & _GROUP_BITS) == 0))
        for group in _GROUPS:
            rows[at] = self._find_enabled(vehicle_keys[at] | group)
            at = at[rows[at] == MISSING]
        return rows

    def _find_enabled(self, keys: np.ndarray) -> np.ndarray:
        rows = self._row_of.find(keys)
        hits = np.flatnonzero(rows != MISSING)
        rows[hits[~self.enabled[rows[hits]]]] = MISSING
        return rows

    def with_changes(self, changes: "Registry") -> "Registry":
        """This registry with the rows of `changes` in the place of what it held of them; both stay as they are."""
        rows = self._row_of.find(changes.keys)
        missing = rows == MISSING
        rows[missing] = len(self) + np.arange(int(missing.sum()))
        index = self._row_of
        if missing.any():  # else both share it, since nobody writes in it any more
            index = copy.deepcopy(index)
            index.put(changes.keys[missing], rows[missing])
        size = len(self) + int(missing.sum())
        columns = {name: _written(getattr(self, name), rows, getattr(changes, name), size) for name in COLUMNS}
        return Registry.of(max(self.version, changes.version), columns, index)


COLUMNS = tuple(entry.name for entry in fields(Registry) if entry.name not in ("version", "_row_of"))


def _written(column: np.ndarray, rows: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    written = np.empty(size, column.dtype)
    written[: len(column)] = column
    written[rows] = values
    return written


EMPTY = Registry()
