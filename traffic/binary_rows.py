"""Rows of PostgreSQL's binary COPY, none of them null, as columns: many times faster than tuple after tuple. Pure.

Every field is its length and its bytes, so that rows of fixed widths lie in memory like an array.
"""

import numpy as np

from traffic.errors import TrafficError

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD_BYTES = len(_SIGNATURE) + 8  # flags, and the length of an extension that does not come
_END_BYTES = 2
_PARSED_BYTES = 4 * 1024 * 1024


class RowsUnreadable(TrafficError):
    """The rows are not of the widths that were asked for."""


class BinaryRows:
    """Fed with the pieces of a COPY, gives its rows. `columns`: dtype with the widths of the query's types."""

    def __init__(self, columns: np.dtype) -> None:
        fields = [("count", ">i2")]
        for name in columns.names or ():
            fields += [(f"bytes of {name}", ">i4"), (name, columns[name].newbyteorder(">"))]  # type: ignore[list-item]
        self._columns = columns
        self._row = np.dtype(fields)
        self._pieces: list[bytes] = []  # PostgreSQL sends each row by itself: many are read at once
        self._bytes = 0
        self._found = [np.empty(0, columns)]
        self._begun = False

    def add(self, piece: bytes | bytearray | memoryview) -> None:
        """One more piece; raises RowsUnreadable."""
        self._pieces.append(bytes(piece))
        self._bytes += len(piece)
        if self._bytes >= _PARSED_BYTES:
            self._parse()

    def rows(self) -> np.ndarray:
        """All rows, of dtype `columns`, at the end of the copy; raises RowsUnreadable."""
        self._parse()
        if self._bytes != _END_BYTES:
            raise RowsUnreadable("the copy is cut off, or its rows have other widths")
        return np.concatenate(self._found)

    def _parse(self) -> None:
        data = b"".join(self._pieces)
        if not self._begun:
            if not data.startswith(_SIGNATURE):
                raise RowsUnreadable("this is no binary copy")
            self._begun, data = True, data[_HEAD_BYTES:]
        whole = len(data) // self._row.itemsize
        rest = data[whole * self._row.itemsize :]
        self._pieces, self._bytes = [rest], len(rest)
        self._found.append(self._read(np.frombuffer(data, self._row, whole)))

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty(len(rows), self._columns)
        for name in self._columns.names or ():
            if not (rows[f"bytes of {name}"] == self._columns[name].itemsize).all():
                raise RowsUnreadable(f"column {name} is null somewhere, or has another width")
            found[name] = rows[name]
        return found
