"""Rows of a binary copy: as PostgreSQL writes them, however they are cut, and refused where they are something else."""

import struct

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.binary_rows import BinaryRows, RowsUnreadable

COLUMNS = np.dtype([("key", "<i8"), ("size", "<i2"), ("share", "<f4"), ("here", "?")])
HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
END = struct.pack(">h", -1)
rows = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**15), 2**15 - 1), st.floats(width=32, allow_nan=False),
              st.booleans()), max_size=30
)  # fmt: skip


def packed(found: list[tuple]) -> bytes:
    return b"".join(
        struct.pack(">hiqihifi?", 4, 8, key, 2, size, 4, share, 1, here) for key, size, share, here in found
    )


@given(rows, st.integers(1, 70))
def test_rows_are_read_however_they_are_cut(found: list[tuple], cut: int):
    data, reader = HEAD + packed(found) + END, BinaryRows(COLUMNS)
    for start in range(0, len(data), cut):
        reader.add(data[start : start + cut])
    assert reader.rows().tolist() == found


@pytest.mark.parametrize(
    "data",
    [b"", b"no copy at all", HEAD, HEAD + packed([(1, 2, 3.0, True)]), HEAD + packed([(1, 2, 3.0, True)])[:-1] + END,
     HEAD + struct.pack(">hiihifi?qi", 4, -1, 2, 2, 4, 1.0, 1, True, 0, 0)[:39] + END],
    ids=["nothing", "other bytes", "no end", "no end behind rows", "a row too short", "null"],
)  # fmt: skip
def test_what_is_no_such_copy_is_refused(data: bytes):
    reader = BinaryRows(COLUMNS)
    with pytest.raises(RowsUnreadable):
        reader.add(data)
        reader.rows()


def test_postgresql_writes_them_so(database_url: str):
    reader = BinaryRows(COLUMNS)
    rows = "SELECT 7::bigint, g::smallint, (g / 2.0)::real, g > 1 FROM generate_series(1, 3) g"
    query = f"COPY ({rows}) TO STDOUT (FORMAT BINARY)"
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor, cursor.copy(query) as copy:
        for piece in copy:
            reader.add(piece)
    assert reader.rows().tolist() == [(7, 1, 0.5, False), (7, 2, 1.0, True), (7, 3, 1.5, True)]
