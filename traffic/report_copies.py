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
    repeated = changed = 0
    again: dict[int, np.ndarray] = {}  # row of the first copy -> the last word
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    for place in np.flatnonzero(same).tolist():
        begin = int(first[place])
        stands, copy = again.get(begin, rows[begin : begin + 1]), rows[place : place + 1]
        if copy["received_at"][0] < stands["received_at"][0] or _content(copy) == _content(stands):
            repeated += 1
            continue
        changed += 1
        again[begin] = copy.copy()
        again[begin]["revision"] = min(int(stands["revision"][0]) + 1, REVISION_MAX)
    kept = [rows[~same], *again.values()]
    return Copies(rows=np.concatenate(kept), repeated=repeated, changed=changed)


def _content(row: np.ndarray) -> tuple[bytes, ...]:
    return tuple(_plain(row[name]) for name in CONTENT)


def _plain(value: np.ndarray) -> bytes:
    """Equal where PostgreSQL says equal: one kind of "not a number", one kind of zero."""
    if value.dtype.kind == "f":
        value = np.where(np.isnan(value), np.float32("nan"), value + np.float32(0.0))
    return value.tobytes()
