"""However a stream of detector reports is cut into batches, the table ends as if they had come one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from traffic.report_copies import CONTENT, REVISION_MAX, sort_out
from traffic.road_readings import DETECTOR_REPORT

Key = tuple[int, int, int]
NAN = float("nan")


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    """Few intervals, many copies of each, in any order of arrival."""
    one = st.tuples(
        st.sampled_from([30_000_000, 60_000_000]), st.integers(0, 3), st.integers(1, 2), st.integers(0, 1),
        st.integers(0, 2), st.sampled_from([NAN, 0.0, -0.0, 50.0]),
    )  # fmt: skip
    rows = np.zeros(0, DETECTOR_REPORT)
    told = draw(st.lists(one, max_size=25))
    rows = np.zeros(len(told), DETECTOR_REPORT)
    for row, (observed, received, detector, lane, vehicles, speed) in zip(rows, told, strict=True):
        row["observed_at"], row["received_at"], row["detector"], row["lane"] = observed, received, detector, lane
        row["vehicles"], row["speed_kmh"], row["occupancy"] = vehicles, speed, NAN
    return rows


def content(row: np.void) -> tuple:
    return tuple("nan" if row[name] != row[name] else float(row[name]) for name in CONTENT)


def put(table: dict[Key, tuple[np.void, int]], row: np.void) -> None:
    """What the table does with one report that comes alone."""
    key = (int(row["observed_at"]), int(row["detector"]), int(row["lane"]))
    if key not in table:
        table[key] = (row.copy(), 0)
    elif row["received_at"] >= table[key][0]["received_at"] and content(row) != content(table[key][0]):
        table[key] = (row.copy(), table[key][1] + 1)


def put_batch(table: dict[Key, tuple[np.void, int]], batch: np.ndarray) -> None:
    """What the statements do with a batch: first copies merged, then the last words."""
    rows = sort_out(batch).rows
    for row in rows[rows["revision"] == 0]:
        put(table, row)
    for row in rows[rows["revision"] > 0]:
        key = (int(row["observed_at"]), int(row["detector"]), int(row["lane"]))
        if table[key][0]["received_at"] <= row["received_at"]:
            table[key] = (row.copy(), table[key][1] + int(row["revision"]))


def plain(table: dict[Key, tuple[np.void, int]]) -> dict[Key, tuple]:
    return {key: content(row) for key, (row, _) in table.items()}


@given(streams(), st.lists(st.integers(0, 25), max_size=4))
def test_the_content_is_that_of_one_by_one(rows: np.ndarray, cuts: list[int]):
    alone: dict = {}
    for row in rows:
        put(alone, row)
    batched: dict = {}
    for batch in np.split(rows, sorted(cuts)):
        put_batch(batched, batch)
    assert plain(batched) == plain(alone)


@given(streams())
def test_in_one_batch_revisions_are_those_of_one_by_one(rows: np.ndarray):
    alone: dict = {}
    for row in rows:
        put(alone, row)
    batched: dict = {}
    put_batch(batched, rows)
    assert {key: revision for key, (_, revision) in batched.items()} == {key: n for key, (_, n) in alone.items()}


@given(streams())
def test_every_copy_is_counted_once(rows: np.ndarray):
    copies = sort_out(rows)
    first = int((copies.rows["revision"] == 0).sum())
    assert first + copies.repeated + copies.changed == len(rows)
    assert len(copies.rows) - first <= copies.changed


def test_a_sender_that_says_something_else_each_time_does_not_overflow_the_revision():
    rows = np.zeros(70_000, DETECTOR_REPORT)
    rows["vehicles"] = np.arange(len(rows)) % 2
    copies = sort_out(rows)
    assert copies.rows["revision"].tolist() == [0, REVISION_MAX] and copies.changed == len(rows) - 1
