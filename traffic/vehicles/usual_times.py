"""How long vehicles usually take from one checkpoint to another, by the local hour: what clones and overdue ones are
measured against.

The time of a drive is taken as lognormal: `median_s` and `spread`, the standard deviation of its logarithm, which is
that of the drivers' speeds. (Travel times of one road and hour are skewed to the right and positive; the lognormal is
their usual description, e.g. Emam and Al-Deek 2006, Rakha et al. 2010.) One driver is quick or slow on the whole way,
so the times of the parts of a way are taken as fully dependent: then its quantiles are the sums of the parts'
quantiles, and way and distribution are found together as shortest paths (`usual_paths.composed`).
"""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

HOURS = 24
HOUR_US = 3_600_000_000
EAST_OF_UTC_H = 8  # Asia/Shanghai, all year
FASTEST_QUANTILE = 0.001  # one driver of a thousand is as fast
QUICK_TURNS = 3.09  # that is so many standard deviations below the middle
USUAL = np.dtype(
    [  # a row of table usual_time
        ("from_checkpoint", "<i4"),
        ("to_checkpoint", "<i4"),
        ("distance_m", "<i4"),
        ("samples", "<i4"),  # 0: from the links' speeds, not observed
        ("median_s", "<f4", HOURS),
        ("spread", "<f4", HOURS),
    ]
)


def hours_of(times_us: np.ndarray) -> np.ndarray:
    """The local hour (0..23) of microseconds UTC."""
    return (np.asarray(times_us, np.int64) // HOUR_US + EAST_OF_UTC_H) % HOURS


def _square(n: int, *more: int) -> np.ndarray:
    return np.full((*more, n, n), np.nan, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsualTimes:
    """`checkpoints`: n ids, ascending; matrices [from, to] and [hour, from, to] by their place in it.

    NaN where nothing is known; a checkpoint that is not among them has no usual times. Ids and hours of the methods
    are numbers or arrays (broadcast); what is not known is NaN.
    """

    checkpoints: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    distance_m: np.ndarray = field(default_factory=lambda: _square(0))
    median_s: np.ndarray = field(default_factory=lambda: _square(0, HOURS))
    spread: np.ndarray = field(default_factory=lambda: _square(0, HOURS))

    @staticmethod
    def of(rows: np.ndarray) -> "UsualTimes":
        """From USUAL rows."""
        ids = np.unique(np.concatenate([rows["from_checkpoint"], rows["to_checkpoint"]])).astype(np.int64)
        start, end = np.searchsorted(ids, rows["from_checkpoint"]), np.searchsorted(ids, rows["to_checkpoint"])
        distance_m, median_s, spread = _square(len(ids)), _square(len(ids), HOURS), _square(len(ids), HOURS)
        distance_m[start, end] = rows["distance_m"]
        median_s[:, start, end] = rows["median_s"].T
        spread[:, start, end] = rows["spread"].T
        return UsualTimes(checkpoints=ids, distance_m=distance_m, median_s=median_s, spread=spread)

    def __len__(self) -> int:
        return len(self.checkpoints)

    def places(self, checkpoints: np.ndarray | int) -> np.ndarray:
        """The place of each checkpoint in the matrices, -1 where it has none."""
        wanted = np.asarray(checkpoints, np.int64)
        if not len(self.checkpoints):
            return np.full(wanted.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(self.checkpoints, wanted), len(self.checkpoints) - 1)
        return np.where(self.checkpoints[at] == wanted, at, -1)

    def between_m(self, start: np.ndarray | int, end: np.ndarray | int) -> np.ndarray:
        """Metres of the shortest way."""
        return self._look(self.distance_m, start, end)

    def usual_s(self, start: np.ndarray | int, end: np.ndarray | int, hour: np.ndarray | int) -> np.ndarray:
        """The median time of a drive that begins in this local hour."""
        return self._look(self.median_s, start, end, hour)

    def spread_of(self, start: np.ndarray | int, end: np.ndarray | int, hour: np.ndarray | int) -> np.ndarray:
        """Standard deviation of the logarithm of the time."""
        return self._look(self.spread, start, end, hour)

    def quantile_s(
        self, start: np.ndarray | int, end: np.ndarray | int, hour: np.ndarray | int, quantile: float
    ) -> np.ndarray:
        """The time within which this share of drivers is there."""
        turns = NormalDist().inv_cdf(quantile)
        return self.usual_s(start, end, hour) * np.exp(turns * self.spread_of(start, end, hour))

    def fastest_s(
        self,
        start: np.ndarray | int,
        end: np.ndarray | int,
        hour: np.ndarray | int,
        quantile: float = FASTEST_QUANTILE,
    ) -> np.ndarray:
        """The time that only this share of drivers needs less than."""
        return self.quantile_s(start, end, hour, quantile)

    def _look(
        self, matrix: np.ndarray, start: np.ndarray | int, end: np.ndarray | int, hour: np.ndarray | int | None = None
    ) -> np.ndarray:
        begin, finish = np.broadcast_arrays(self.places(start), self.places(end))
        known = (begin >= 0) & (finish >= 0)
        if not len(self.checkpoints):
            return np.full(known.shape, np.nan)
        begin, finish = np.maximum(begin, 0), np.maximum(finish, 0)
        found = matrix[begin, finish] if hour is None else matrix[np.asarray(hour, np.int64) % HOURS, begin, finish]
        return np.where(known, found, np.nan).astype(np.float64)
