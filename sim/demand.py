"""How many drive at an hour: shapes of a weekday, a weekend day and a holiday in Beijing time. Pure.

The live twin and the backfilled history use the same shapes, so that "usual" of the one fits the other.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
ZONE_US = 8 * HOUR_US  # Beijing time has had no summer time since 1991
WEEKDAY, WEEKEND, HOLIDAY = "weekday", "weekend", "holiday"
FLOOR = 0.35  # of the busiest hour: a demonstration looks alive at any hour
DAY_SPREAD = 0.04  # one day is a little busier than another of its kind

# Share of the busiest hour at each full hour [practice]: two peaks on a working day, a late flat one at the weekend.
_CURVES = {
    WEEKDAY: (.12, .09, .07, .07, .10, .22, .50, .86, 1.0, .92, .84, .80, .74, .77, .82, .87, .95, 1.0, .88, .68, .50,
              .38, .27, .18),
    WEEKEND: (.15, .11, .08, .07, .08, .14, .28, .48, .68, .84, .94, .92, .84, .82, .86, .92, .96, .92, .80, .64, .50,
              .40, .30, .21),
    HOLIDAY: (.20, .14, .10, .09, .12, .22, .46, .78, 1.05, 1.15, 1.12, 1.02, .92, .90, .96, 1.04, 1.08, 1.0, .86,
              .70, .56, .45, .35, .26),
}  # fmt: skip
# Share of heavy vehicles among all: they take the night.
_HEAVY = (.36, .38, .40, .40, .38, .32, .24, .16, .12, .12, .13, .14, .15, .15, .14, .14, .13, .12, .14, .17, .21, .25,
          .29, .33)  # fmt: skip
# National holidays as (month, day, days); those of the lunar calendar by year.
_FIXED = ((1, 1, 1), (5, 1, 5), (10, 1, 7))
_LUNAR = {
    2025: ((1, 28, 8), (4, 4, 3), (5, 31, 3)),
    2026: ((2, 15, 9), (4, 4, 3), (6, 19, 3), (9, 25, 3)),
    2027: ((2, 5, 8), (4, 3, 3), (6, 9, 3), (9, 15, 1)),
    2028: ((1, 25, 8), (4, 4, 3), (5, 28, 3)),
}


def kind_of(day: date) -> str:
    """Working day, weekend or national holiday; a year whose calendar is not known has only the fixed holidays."""
    for month, first, days in (*_FIXED, *_LUNAR.get(day.year, ())):
        begin = date(day.year, month, first)
        if begin <= day < begin + timedelta(days=days):
            return HOLIDAY
    return WEEKEND if day.weekday() >= 5 else WEEKDAY


def shares(at_us: np.ndarray) -> np.ndarray:
    """Vehicles under way as a share of the busiest hour of a working day (at times), never below FLOOR."""
    curve = _at(at_us, lambda day: _CURVES[kind_of(day)])
    return (FLOOR + (1.0 - FLOOR) * curve) * _day_factors(at_us)


def share(at_us: int) -> float:
    """`shares` of one time."""
    return float(shares(np.array([at_us]))[0])


def heavy_shares(at_us: np.ndarray) -> np.ndarray:
    """Share of heavy vehicles among all."""
    return _at(at_us, lambda day: _HEAVY)


def heavy_share(at_us: int) -> float:
    """`heavy_shares` of one time."""
    return float(heavy_shares(np.array([at_us]))[0])


def local_day(at_us: int) -> date:
    """The day in Beijing."""
    return date(1970, 1, 1) + timedelta(days=(at_us + ZONE_US) // DAY_US)


def day_begin_us(day: date) -> int:
    """Midnight in Beijing."""
    return (day - date(1970, 1, 1)).days * DAY_US - ZONE_US


def _at(at_us: np.ndarray, curve_of: Callable[[date], tuple[float, ...]]) -> np.ndarray:
    """Between two full hours in a straight line, also across midnight into another kind of day."""
    hours = (at_us.astype(np.int64) + ZONE_US) / HOUR_US
    full = np.floor(hours).astype(np.int64)
    first = int(full.min()) // 24 if len(full) else 0
    last = int(full.max() + 1) // 24 if len(full) else 0
    days = [date(1970, 1, 1) + timedelta(days=number) for number in range(first, last + 1)]
    values = np.concatenate([np.array(curve_of(day)) for day in days])
    begin = values[full - first * 24]
    end = values[full + 1 - first * 24]
    return begin + (end - begin) * (hours - full)


def _day_factors(at_us: np.ndarray) -> np.ndarray:
    """A factor of each day, the same for ever; it fades from one noon to the next so that nothing jumps at midnight."""
    days = (at_us.astype(np.int64) + ZONE_US) / DAY_US - 0.5
    full = np.floor(days).astype(np.int64)
    begin, end = _hashed(full), _hashed(full + 1)
    return 1.0 + DAY_SPREAD * (begin + (end - begin) * (days - full))


def _hashed(number: np.ndarray) -> np.ndarray:
    """-1..1 of a whole number."""
    mixed = (number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return mixed.astype(np.float64) / (1 << 23) - 1.0
