"""Buckets of time in roll-ups: where one begins and ends, and when a changed one is worth computing anew. Pure."""

from enum import IntEnum

import numpy as np

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
SHANGHAI_US = 8 * 3_600_000_000  # ahead of UTC, without summer time since 1992
LATE_US = MINUTE_US  # what comes after the end of its bucket is gathered for so long


class Width(IntEnum):
    """Widths of buckets, by the names that tables and readers use (in lower case)."""

    MINUTE = 0
    QUARTER = 1
    HOUR = 2
    DAY = 3  # of Asia/Shanghai


WIDTH_US = {Width.MINUTE: MINUTE_US, Width.QUARTER: 15 * MINUTE_US, Width.HOUR: 60 * MINUTE_US, Width.DAY: DAY_US}
_REFRESH_US = {Width.QUARTER: 5 * MINUTE_US, Width.HOUR: 15 * MINUTE_US, Width.DAY: 60 * MINUTE_US}


def begin_us(at_us: int, width: Width) -> int:
    """Begin of the bucket that holds a time."""
    shift = SHANGHAI_US if width is Width.DAY else 0
    return (at_us + shift) // WIDTH_US[width] * WIDTH_US[width] - shift


def begins_us(at_us: np.ndarray, width: Width) -> np.ndarray:
    """As `begin_us`, of many times (int64); each bucket once, in order."""
    shift = SHANGHAI_US if width is Width.DAY else 0
    return np.unique((at_us + shift) // WIDTH_US[width]) * WIDTH_US[width] - shift


def due_us(bucket_us: int, width: Width, *, now_us: int) -> int:
    """When a bucket that changes now is computed anew: while it runs now and then, and soon after late data."""
    end_us = bucket_us + WIDTH_US[width]
    if end_us <= now_us:
        return (now_us // LATE_US + 1) * LATE_US
    step = _REFRESH_US[width]
    return min(end_us, (now_us // step + 1) * step)


def like_quarters(at_us: int, *, days: int) -> list[int]:
    """Begins of the same quarter of an hour on the days before that are like this one: working days, or weekends.

    Public holidays are not known here: they count as the weekday that they fall on.
    """
    quarter = begin_us(at_us, Width.QUARTER)
    weekend = _is_weekend(quarter)
    before = (quarter - day * DAY_US for day in range(1, days + 1))
    return [begin for begin in before if _is_weekend(begin) == weekend]


def _is_weekend(at_us: int) -> bool:
    return ((at_us + SHANGHAI_US) // DAY_US + 3) % 7 >= 5  # 1970-01-01 was a Thursday
