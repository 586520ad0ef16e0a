"""Which links lie on a stretch of a road, asked many times in a cycle and mostly for the same stretches."""

from dataclasses import dataclass, field

import numpy as np

from traffic.roads.model import RoadNetwork

_KEY = 4  # directions of one road lie in a row
KNOWN_MAX = 10_000  # answers kept; beyond it all are forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """Links in order of (road, direction, stake)."""

    order: np.ndarray  # rows of the network
    key: np.ndarray  # road * 4 + direction
    low_m: np.ndarray
    high_m: np.ndarray
    known: dict[tuple[int, int, int, int], np.ndarray] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, network: RoadNetwork) -> "Stretches":
        """Worked out once for a network."""
        low_m = np.minimum(network.from_stake_m, network.to_stake_m)
        key = network.road * _KEY + network.direction
        order = np.lexsort((low_m, key))
        high_m = np.maximum(network.from_stake_m, network.to_stake_m)
        return cls(order=order, key=key[order], low_m=low_m[order], high_m=high_m[order])

    def rows(self, road: int, direction: int, from_m: int, to_m: int) -> np.ndarray:
        """Links of a stretch; direction 0: of both. A place at the border of two belongs to both, a stretch does not
        reach into a link that it only touches."""
        asked = (road, direction, from_m, to_m)
        if asked not in self.known:
            if len(self.known) >= KNOWN_MAX:
                self.known.clear()
            ways = (1, 2) if direction == 0 else (direction,)
            self.known[asked] = np.concatenate([self._rows(road * _KEY + way, from_m, to_m) for way in ways])
        return self.known[asked]

    def _rows(self, key: int, from_m: int, to_m: int) -> np.ndarray:
        first, last = np.searchsorted(self.key, key), np.searchsorted(self.key, key, "right")
        low_m, high_m = self.low_m[first:last], self.high_m[first:last]
        if from_m == to_m:
            inside = (low_m <= to_m) & (high_m >= from_m)
        else:
            inside = (low_m < to_m) & (high_m > from_m)
        return self.order[first:last][inside]
