"""Copies of one interval within a batch of detector reports: what the table is to be told of them. Pure."""

from dataclasses import dataclass

import numpy as np

from traffic.road_readings import DETECTOR_REPORT

CONTENT = ("period_s", "vehicles", "heavy", "occupancy", "speed_kmh", "flags")  # the rest says how it came
REVISION_MAX = 32_767
# A row of table `detector_report`: `revision` says how often its interval changed within the batch.
REPORT_ROW = np.dtype([*DETECTOR_REPORT.descr, ("revision", "<i2")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """`rows`: REPORT_ROW; for each interval its first copy (revision 0) and, where it changed, its last one."""

    rows: np.ndarray
    repeated: int  # copies that say nothing new
    changed: int  # changes between copies of this batch


def sort_out(reports: np.ndarray) -> Copies:
    """Part a batch's reports in the order of arrival, so that the table ends as if they had come one by one.

    A copy that was received before the one that stands already is an old one, and changes nothing.
    """
    rows = np.zeros(len(reports), REPORT_ROW)
    for name in DETECTOR_REPORT.names or ():
        rows[name] = reports[name]
    order = np.lexsort((np.arange(len(rows)), rows["lane"], rows["detector"], rows["observed_at"]))
    rows = rows[order]
    same = np.ones(len(rows), bool)  # as the row before
    for name in ("observed_at", "detector", "lane"):
        same[1:] &= rows[name][1:] == rows[name][:-1]
    same[:1] = False
    if not same.any():
        return Copies(rows=rows, repeated=0, changed=0)
    content = _content(rows)
    other = same.copy()  # says something else than the row before
    other[1:] &= (content[1:] != content[:-1]).any(axis=1)
    group = np.cumsum(~same) - 1
    begins = np.flatnonzero(~same)
    last_words, changed = _last_words(rows, content, begins, np.unique(group[other]))
    kept = np.concatenate([rows[begins], last_words])
    return Copies(rows=kept, repeated=len(rows) - len(begins) - changed, changed=changed)


def _last_words(
    rows: np.ndarray, content: np.ndarray, begins: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, int]:
    """Of intervals whose copies differ: what each says in the end, where it changed, and how often in all."""
    ends = np.append(begins[1:], len(rows))
    received = rows["received_at"]
    places, revisions = [], []
    for begin, end in zip(begins[groups].tolist(), ends[groups].tolist(), strict=True):
        stands, revision, says = begin, 0, content[begin].tobytes()
        for place in range(begin + 1, end):
            if received[place] >= received[stands] and (told := content[place].tobytes()) != says:
                stands, revision, says = place, revision + 1, told
        if revision:
            places.append(stands)
            revisions.append(revision)
    last = rows[np.array(places, np.int64)]
    last["revision"] = np.minimum(revisions, REVISION_MAX)
    return last, sum(revisions)


def _content(rows: np.ndarray) -> np.ndarray:
    """Content of each row as bytes that are equal where PostgreSQL says equal: one "not a number", one zero."""
    packed = np.zeros(len(rows), [(name, rows.dtype[name]) for name in CONTENT])
    for name in CONTENT:
        values = rows[name]
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.float32("nan"), values + np.float32(0.0))
        packed[name] = values
    return packed.view(np.uint8).reshape(len(rows), packed.dtype.itemsize)
