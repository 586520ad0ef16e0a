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
