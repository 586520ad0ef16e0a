"""The checkpoints as the rules know them: where each stands, its limit, and which one comes next on its road."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

CHECKPOINT = np.dtype(
    [
        ("id", "<i4"),
        ("road", "<i4"),
        ("stake_m", "<i4"),
        ("limit_kmh", "<i4"),
        ("lon", "<f8"),
        ("lat", "<f8"),
    ]
)
_STAKES_DECREASE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """`rows`: CHECKPOINT, ascending by id. `road_codes`: road -> G1."""

    rows: np.ndarray = field(default_factory=lambda: np.empty(0, CHECKPOINT))
    road_codes: Mapping[int, str] = field(default_factory=dict)

    @staticmethod
    def of(rows: Iterable[tuple], road_codes: Mapping[int, str] | None = None) -> "Checkpoints":
        """From (id, road, stake_m, limit_kmh, lon, lat) in any order."""
        table = np.array(list(rows), CHECKPOINT)
        return Checkpoints(rows=table[np.argsort(table["id"])], road_codes=road_codes or {})

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, checkpoints: np.ndarray | int) -> np.ndarray:
        """Row of each checkpoint, -1 for one that is not known."""
        wanted = np.asarray(checkpoints, np.int64)
        if not len(self.rows):
            return np.full(wanted.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(self.rows["id"], wanted), len(self.rows) - 1)
        return np.where(self.rows["id"][at] == wanted, at, -1)

    def successors(self) -> dict[tuple[int, int], int]:
        """(checkpoint, direction 1 or 2) -> the next checkpoint on the same road; at the road's end there is none."""
        order = np.lexsort((self.rows["stake_m"], self.rows["road"]))
        ids, roads = self.rows["id"][order].tolist(), self.rows["road"][order].tolist()
        found: dict[tuple[int, int], int] = {}
        for here in range(len(ids) - 1):
            if roads[here] == roads[here + 1]:
                found[ids[here], 1] = ids[here + 1]
                found[ids[here + 1], _STAKES_DECREASE] = ids[here]
        return found
