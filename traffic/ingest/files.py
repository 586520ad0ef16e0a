"""Files of records read piece by piece: CSV (RFC 4180) and NDJSON, in bounded memory. Pure.

A reader is fed bytes as they come and gives the records that are whole; how the bytes are cut changes nothing.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from traffic.errors import Reason
from traffic.ingest.bodies import BODY_KEPT_BYTES, UNREADABLE_JSON, BodyRefused, Records, Refusal, explain
from traffic.ingest.subjects import Subject

RECORD_CHARS_MAX = 64 * 1024  # of one record; a quote that is never closed must not swallow the file
COLUMNS_MAX = 200
CHARSETS = {
    "": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "gb18030": "gb18030", "gbk": "gb18030",
    "gb2312": "gb18030",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?\d{1,19}(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
LISTS = ("list", "list of numbers")
_BETWEEN = re.compile(r"[;\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One record of a file, at the line where it begins: readable (`record`), or `refusal`."""

    line: int
    raw: bytes
    record: Any = None
    refusal: Refusal | None = None


def reader_for(subject: Subject, media_type: str, charset: str) -> "CsvReader | LineReader":
    """The reader of a file of this kind; raises BodyRefused 415."""
    encoding = CHARSETS.get(charset.strip().strip('"').lower())
    if encoding is None:
        raise BodyRefused(415, f"the charset {charset[:40]} is not taken; send UTF-8 or GB18030")
    if media_type == "text/csv":
        return CsvReader(subject, encoding)
    if encoding != "utf-8":
        raise BodyRefused(415, "JSON is UTF-8 in every case")
    return LineReader(subject)


def records_of(pieces: list[Piece]) -> Records:
    """Pieces as the codecs judge them: a record's place is its line."""
    raw = {piece.line: piece.raw for piece in pieces}
    return Records(
        records=[piece.record for piece in pieces if piece.refusal is None],
        index=[piece.line for piece in pieces if piece.refusal is None],
        refusals=[piece.refusal for piece in pieces if piece.refusal is not None],
        count=len(pieces),
        raw_at=raw.__getitem__,
    )


def _refused(line: int, raw: bytes, field: str, reason: Reason, detail: str) -> Piece:
    body = raw[:BODY_KEPT_BYTES]
    return Piece(line=line, raw=body, refusal=Refusal(index=line, field=field, reason=reason, detail=detail, body=body))


def _too_long(line: int, raw: bytes, detail: str) -> Piece:
    return _refused(line, raw, "", Reason.TOO_LONG, detail)


# ---------------------------------------------------------------- NDJSON
class LineReader:
    """One JSON object a line; blank lines count but are no records."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._rest = b""
        self._line = 1
        self._skipping = False  # behind the begin of a line that is too long, until it ends

    def feed(self, data: bytes) -> list[Piece]:
        """The records that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = [piece for line in lines if (piece := self._take(line)) is not None]
        if len(self._rest) > RECORD_CHARS_MAX:
            if not self._skipping:
                found.append(_too_long(self._line, self._rest, f"a line has at most {RECORD_CHARS_MAX} bytes"))
            self._skipping, self._rest = True, b""
        return found

    def end(self) -> list[Piece]:
        """The last record, if the file does not end with a line break."""
        last, self._rest = self._rest, b""
        piece = self._take(last)
        return [] if piece is None else [piece]

    def _take(self, line: bytes) -> Piece | None:
        number = self._line
        self._line += 1
        if self._skipping:
            self._skipping = False
            return None
        if len(line) > RECORD_CHARS_MAX:
            return _too_long(number, line, f"a line has at most {RECORD_CHARS_MAX} bytes")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line or line.isspace():
            return None
        try:
            return Piece(line=number, raw=line, record=self._subject.read_one(line))
        except UNREADABLE_JSON as error:
            return _refused(number, line, *explain(error))


# ---------------------------------------------------------------- CSV
class Shape(Protocol):
    """What a file's reader must know of its records: their type, and in which fields an empty text says something."""

    @property
    def record(self) -> type[msgspec.Struct]:
        """The type of one record."""

    @property
    def blank(self) -> frozenset[str]:
        """Fields whose empty cells reach the record."""


class CsvReader:
    """Columns named like the fields of a record, in any order: `named`; other columns are told in `ignored`."""

    def __init__(self, subject: Shape, encoding: str) -> None:
        self._subject = subject
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._cells = Cells(subject)
        self._rest = ""  # behind the last line break
        self._skipping = False  # behind the begin of a line that is too long, until it ends
        self._lines: list[str] = []  # of the record under way
        self._chars = self._quotes = 0
        self._begin = self._line = 1
        self._header: list[str] | None = None
        self.named: list[str] = []
        self.ignored: list[str] = []

    def feed(self, data: bytes) -> list[Piece]:
        """The records that are whole now; raises BodyRefused where the header is not usable."""
        return list(self._read(self._decoder.decode(data), final=False))

    def end(self) -> list[Piece]:
        """What is left at the end of the file; raises BodyRefused where there was not even a header."""
        found = list(self._read(self._decoder.decode(b"", True), final=True))
        if self._header is None:
            raise BodyRefused(400, "the file is empty: its first line names the columns")
        return found

    def _read(self, text: str, *, final: bool) -> Iterator[Piece]:
        if self._skipping:
            _, line_break, text = text.partition("\n")
            if not line_break:
                return
            self._skipping = False
            self._line += 1
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            yield from self._add(line)
        if len(self._rest) > RECORD_CHARS_MAX:
            yield from self._add(self._rest)
            self._line -= 1  # it has not ended
            self._rest, self._skipping = "", True
        if final:
            if self._rest:
                yield from self._add(self._rest)
                self._rest = ""
            while self._lines:
                yield from self._give_up("the quote is never closed")

    def _add(self, line: str) -> Iterator[Piece]:
        """One more line; a record is whole where its quotes are even."""
        if len(line) > RECORD_CHARS_MAX:
            while self._lines:
                yield from self._give_up("the quote is never closed")
            if self._header is None:
                raise BodyRefused(400, "the first line is too long to name columns")
            yield _too_long(self._line, line.encode(), f"a line has at most {RECORD_CHARS_MAX} characters")
            self._line += 1
            return
        if not self._lines:
            self._begin = self._line
        self._line += 1
        self._lines.append(line)
        self._chars += len(line)
        self._quotes += line.count('"')
        if self._quotes % 2 == 0:
            record, self._lines, self._chars, self._quotes = "\n".join(self._lines), [], 0, 0
            yield from self._take(self._begin, record)
        elif self._chars > RECORD_CHARS_MAX:
            yield from self._give_up(f"a record has at most {RECORD_CHARS_MAX} characters; is a quote not closed?")

    def _give_up(self, detail: str) -> Iterator[Piece]:
        """Refuse the record's first line and read the others anew: a stray quote costs one line, not the file."""
        first, *others = self._lines
        self._lines, self._chars, self._quotes = [], 0, 0
        if self._header is None:
            raise BodyRefused(400, f"the first line does not name columns: {detail}")
        self._line = self._begin + 1
        yield _refused(self._begin, first.encode(), "", Reason.MALFORMED, detail)
        for line in others:
            yield from self._add(line)

    def _take(self, line: int, text: str) -> Iterator[Piece]:
        if not text.strip():
            return
        try:
            (row,) = csv.reader([text.removeprefix("\ufeff" if self._header is None else "").rstrip("\r")], strict=True)
        except (csv.Error, ValueError) as error:
            if self._header is None:
                raise BodyRefused(400, f"the first line does not name columns: {error}") from error
            yield _refused(line, text.encode(), "", Reason.MALFORMED, f"no CSV: {error}")
            return
        if self._header is None:
            self._name_columns(row)
            return
        yield self._record(line, text, row)

    def _name_columns(self, row: list[str]) -> None:
        names = [name.strip().lower() for name in row]
        known = self._cells.kinds
        missing = [name for name in self._cells.required if name not in names]
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if len(names) > COLUMNS_MAX:
            raise BodyRefused(400, f"a file has at most {COLUMNS_MAX} columns")
        if missing or twice:
            fault = f"misses {', '.join(missing)}" if missing else f"names {', '.join(twice)} twice"
            raise BodyRefused(400, f"the first line names the columns, and it {fault}"[:400])
        self.named = [name for name in names if name in known]
        self.ignored = [name[:64] for name in names if name not in known]
        self._header = names

    def _record(self, line: int, text: str, row: list[str]) -> Piece:
        assert self._header is not None
        if len(row) != len(self._header):
            detail = f"{len(row)} cells under {len(self._header)} columns"
            return _refused(line, text.encode(), "", Reason.MALFORMED, detail)
        values = self._cells.values(self._header, row)
        raw = msgspec.json.encode(values)
        if "\ufffd" in text:
            return _refused(line, raw, "", Reason.MALFORMED, "the text is not in the declared charset")
        try:
            return Piece(line=line, raw=raw, record=msgspec.convert(values, self._subject.record))
        except UNREADABLE_JSON as error:
            return _refused(line, raw, *explain(error))


class Cells:
    """Texts of a row -> values of a record's fields. What does not fit stays text, for the record's type to refuse."""

    def __init__(self, subject: Shape) -> None:
        self._blank = subject.blank
        fields = msgspec.structs.fields(subject.record)
        self.kinds = {field.name: _kind_of(msgspec.inspect.type_info(field.type)) for field in fields}
        self.required = [field.name for field in fields if field.required]

    def values(self, header: list[str], row: list[str]) -> dict[str, object]:
        """An empty cell means not told; a list's parts are set apart by ; or blanks."""
        values: dict[str, object] = {}
        for name, cell in zip(header, row, strict=True):
            kind = self.kinds.get(name)
            if kind is None:
                continue
            cell = cell.strip()
            if cell or name in self._blank or (kind in LISTS and name in self.required):
                values[name] = _value(kind, cell)
        return values


def _kind_of(info: Any) -> str:
    if isinstance(info, msgspec.inspect.UnionType):
        return next(kind for part in info.types if (kind := _kind_of(part)))
    if isinstance(info, msgspec.inspect.ListType):
        return "list" if isinstance(info.item_type, msgspec.inspect.StrType) else "list of numbers"
    kinds: dict[type, str] = {
        msgspec.inspect.IntType: "number", msgspec.inspect.FloatType: "number", msgspec.inspect.BoolType: "bool",
        msgspec.inspect.DictType: "object", msgspec.inspect.NoneType: "",
    }  # fmt: skip
    return kinds.get(type(info), "text")


def _value(kind: str, cell: str) -> object:
    if kind == "number":
        return _number(cell)
    if kind == "bool":
        return _BOOLEANS.get(cell.lower(), cell)
    if kind in LISTS:
        parts = [part for part in _BETWEEN.split(cell) if part]
        return parts if kind == "list" else [_number(part) for part in parts]
    if kind == "object":
        try:
            return msgspec.json.decode(cell)
        except UNREADABLE_JSON:
            return cell
    return cell


def _number(cell: str) -> object:
    if not _NUMBER.fullmatch(cell):
        return cell
    return int(cell) if cell.lstrip("+-").isdigit() else float(cell)
