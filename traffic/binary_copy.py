"""Columns in PostgreSQL's binary COPY: fixed-width rows, packed and unpacked whole instead of value by value.

A column of a dtype with a shape is an array of so many real numbers.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

_EPOCH_US = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_REAL = 700  # number of the type in PostgreSQL's catalogue
_REALS = np.dtype([("bytes", ">i4"), ("value", ">f4")])


class Columns:
    """How rows of one dtype lie in binary COPY. `times`: columns of microseconds since 1970, for timestamptz."""

    def __init__(self, dtype: np.dtype, *, times: Iterable[str]) -> None:
        self.dtype = dtype
        self.names: tuple[str, ...] = dtype.names or ()
        self._times = frozenset(times)
        # One tuple: a field count, then for each column its byte length and its big-endian value.
        parts: list[tuple[str, Any]] = [("fields", ">i2")]
        for name in self.names:
            parts.append((f"{name}_bytes", ">i4"))
            if dtype[name].shape:  # dimensions, whether any is null, type, length, first index
                parts += [(f"{name}_head", (">i4", 5)), (name, (_REALS, dtype[name].shape))]
            else:
                parts.append((name, dtype[name].newbyteorder(">").str))
        self._tuple = np.dtype(parts)
        self._template = np.zeros(1, self._tuple)
        self._template["fields"] = len(self.names)
        for name in self.names:
            if dtype[name].shape:
                (length,) = dtype[name].shape
                self._template[f"{name}_bytes"] = 20 + length * _REALS.itemsize
                self._template[f"{name}_head"] = (1, 0, _REAL, length, 1)
                self._template[name]["bytes"] = 4
            else:
                self._template[f"{name}_bytes"] = dtype[name].itemsize

    def pack(self, rows: np.ndarray) -> bytes:
        """Rows as the whole body of a binary COPY."""
        packed = np.repeat(self._template, len(rows))
        for name in self.names:
            place = packed[name]["value"] if self.dtype[name].shape else packed[name]
            place[...] = rows[name] - _EPOCH_US if name in self._times else rows[name]
        return b"".join((_HEADER, packed.tobytes(), _TRAILER))

    def unpack(self, data: bytes) -> np.ndarray:
        """The body of a binary COPY as rows; no column of it may be null."""
        start = len(_HEADER)
        packed = np.frombuffer(data, self._tuple, (len(data) - start - len(_TRAILER)) // self._tuple.itemsize, start)
        rows = np.empty(len(packed), self.dtype)
        for name in self.names:
            rows[name] = packed[name]["value"] if self.dtype[name].shape else packed[name]
            if name in self._times:
                rows[name] += _EPOCH_US
        return rows

    def copy_in(self, connection: psycopg.Connection, table: str, rows: np.ndarray) -> None:
        """Add the rows to a table that has columns of these names."""
        names = sql.SQL(", ").join(map(sql.Identifier, self.names))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table), names)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(self.pack(rows))

    def stage(self, connection: psycopg.Connection, table: str, rows: np.ndarray) -> str:
        """Put the rows into a table of this connection that is like `table`, empty again after the transaction."""
        staged = f"staged_{table}"
        connection.execute(
            sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS").format(
                sql.Identifier(staged), sql.Identifier(table)
            )
        )
        self.copy_in(connection, staged, rows)
        return staged

    def copy_out(self, connection: psycopg.Connection, statement: sql.SQL | sql.Composed) -> np.ndarray:
        """Run a COPY ... TO STDOUT (FORMAT BINARY) that gives these columns in order."""
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            return self.unpack(b"".join(bytes(part) for part in copy))
