"""Travel times over measured sections, too fast or not: facts for the 30 s picture, by the pairs of section speed.

A fact stands as long as its pair does. Late data that changes a pair takes the old fact back and gives a new one.
"""

from collections.abc import Iterable

import numpy as np

from traffic.limits import TRAVEL_SAMPLES_MAX

TRAVEL_FACT = np.dtype(
    [
        ("exit_at", "<i8"),  # microseconds
        ("travel_us", "<i8"),
        ("section", "<i4"),
        ("sign", "<i4"),  # 1: it stands now; -1: it no longer does
    ]
)
BUCKET_US = 30_000_000  # of the exit's event time


def nothing() -> np.ndarray:
    """No facts."""
    return np.empty(0, TRAVEL_FACT)


def together(parts: Iterable[np.ndarray]) -> np.ndarray:
    """All facts in one array."""
    found = [part for part in parts if len(part)]
    return np.concatenate(found) if found else nothing()


def changes(
    before: np.ndarray,
    now: np.ndarray,
    observed_at: np.ndarray,
    sections: np.ndarray,
    bounds_us: tuple[np.ndarray, int],
) -> np.ndarray:
    """Facts that came and went: `before` and `now` are n x width, for each exit the column of its entry or -1.

    `sections`: id of each row's section; `bounds_us`: shortest time of each row and longest of all that count.
    """
    parts = []
    changed = before != now
    for columns, sign in ((before, -1), (now, 1)):
        row, column = np.nonzero(changed & (columns >= 0))
        facts = np.empty(len(row), TRAVEL_FACT)
        facts["exit_at"] = observed_at[row, column]
        facts["travel_us"] = facts["exit_at"] - observed_at[row, columns[row, column]]
        facts["section"], facts["sign"] = sections[row], sign
        parts.append(facts[(facts["travel_us"] >= bounds_us[0][row]) & (facts["travel_us"] <= bounds_us[1])])
    return together(parts)


def by_bucket(facts: np.ndarray) -> list[tuple[int, int, int, list[float]]]:
    """(section, begin of 30 s, vehicles, at most TRAVEL_SAMPLES_MAX travel times in seconds) of facts of one sign."""
    if not len(facts):
        return []
    bucket = facts["exit_at"] // BUCKET_US
    order = np.lexsort((facts["exit_at"], bucket, facts["section"]))
    section, bucket = facts["section"][order], bucket[order]
    seconds = (facts["travel_us"][order] / 1e6).astype(np.float32)
    first = np.flatnonzero(np.append(True, (section[1:] != section[:-1]) | (bucket[1:] != bucket[:-1])))
    ends = np.append(first[1:], len(order))
    times = seconds.tolist()
    return [
        (number, start * BUCKET_US, end - begin, times[begin : min(end, begin + TRAVEL_SAMPLES_MAX)])
        for number, start, begin, end in zip(
            section[first].tolist(), bucket[first].tolist(), first.tolist(), ends.tolist(), strict=True
        )
    ]
