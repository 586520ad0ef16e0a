"""From the bytes of a request to single records: bounded unpacking, lists, lines, and what is wrong with a record.

No I/O. One bad record never spoils the others; a body that is no list of records at all raises BodyRefused.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from traffic.errors import Reason, TrafficError
from traffic.limits import REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX, TEXT_CHARS_MAX

Record = TypeVar("Record")
SALVAGE_BYTES_MAX = 1024 * 1024  # a broken list is taken apart element by element only up to this size
COMMAS_MAX = 1_000_000  # more values than any 10,000 honest records hold
RECORDS_ANSWERED_MAX = 2 * REQUEST_RECORDS_MAX  # beyond it the whole request is refused
BODY_KEPT_BYTES = 8 * 1024  # of a refused record, in quarantine
_DETAIL_CHARS_MAX = 300
_BOM = b"\xef\xbb\xbf"
UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BodyRefused(TrafficError):
    """The whole request is refused and nothing of it was taken. `status`: HTTP status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one record was refused. `index`: its place in the request; `body`: as it came, cut to BODY_KEPT_BYTES.

    `keep`: belongs in quarantine (a record that was merely one too many does not: its sender still has it).
    """

    index: int
    field: str
    reason: Reason
    detail: str
    body: bytes
    keep: bool = True


@dataclass(slots=True, kw_only=True)
class Records(Generic[Record]):
    """Readable records with their places in the request, and the refusals of the others. `count`: of all."""

    records: list[Record]
    index: list[int]
    refusals: list[Refusal]
    count: int
    raw_at: Callable[[int], bytes]  # a record's bytes by its place in the request


def inflate(data: bytes, *, bytes_max: int = REQUEST_BYTES_MAX) -> bytes:
    """Gunzip at most `bytes_max` bytes (members may follow each other); raises BodyRefused 413 or 400."""
    parts, total = [], 0
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(data, bytes_max - total + 1)
        except zlib.error as error:
            raise BodyRefused(400, f"the body is not gzip: {error}") from error
        total += len(part)
        if total > bytes_max:
            raise BodyRefused(413, f"the unpacked body is larger than {bytes_max} bytes")
        if not unpacker.eof:
            raise BodyRefused(400, "the gzip body is cut off")
        parts.append(part)
        data = unpacker.unused_data
    if not parts:
        raise BodyRefused(400, "the body is empty")
    return b"".join(parts)


def read_array(
    body: bytes, decode_all: Callable[[bytes], list[Record]], decode_one: Callable[[bytes], Record]
) -> Records[Record]:
    """Read a JSON array of records (or one record alone); raises BodyRefused when it is neither."""
    body = body.removeprefix(_BOM)
    if body.lstrip()[:1] == b"{":
        return read_each([body], decode_one)
    if len(body) > COMMAS_MAX and body.count(b",") > COMMAS_MAX:
        raise BodyRefused(413, f"the body holds more values than {REQUEST_RECORDS_MAX} records can have")
    try:
        records = decode_all(body)
    except UNREADABLE_JSON:
        return read_each(split_array(body), decode_one)
    _bound(len(records))
    if len(records) > REQUEST_RECORDS_MAX:
        return read_each(split_array(body), decode_one)
    return Records(
        records=records,
        index=list(range(len(records))),
        refusals=[],
        count=len(records),
        raw_at=_lazy(body),
    )


def read_lines(body: bytes, decode_one: Callable[[bytes], Record]) -> Records[Record]:
    """Read NDJSON: one record a line, blank lines skipped; a broken line is one refused record."""
    lines = [line for line in body.removeprefix(_BOM).split(b"\n") if line and not line.isspace()]
    _bound(len(lines))
    if len(lines) <= REQUEST_RECORDS_MAX:
        try:
            records = [decode_one(line) for line in lines]
        except UNREADABLE_JSON:
            pass
        else:
            places = list(range(len(records)))
            return Records(records=records, index=places, refusals=[], count=len(records), raw_at=lines.__getitem__)
    return read_each(lines, decode_one)


def read_each(parts: Sequence[bytes], decode_one: Callable[[bytes], Record]) -> Records[Record]:
    """Read each part on its own, so that one that is wrong costs only itself."""
    records: list[Record] = []
    index: list[int] = []
    refusals: list[Refusal] = []
    for place, part in enumerate(parts):
        if place >= REQUEST_RECORDS_MAX:
            detail = f"a request holds at most {REQUEST_RECORDS_MAX} records"
            refusals.append(Refusal(index=place, field="", reason=Reason.TOO_MANY, detail=detail, body=b"", keep=False))
            continue
        try:
            records.append(decode_one(part))
            index.append(place)
        except UNREADABLE_JSON as error:
            field, reason, detail = explain(error)
            body = bytes(part[:BODY_KEPT_BYTES])
            refusals.append(Refusal(index=place, field=field, reason=reason, detail=detail, body=body))
    return Records(records=records, index=index, refusals=refusals, count=len(parts), raw_at=parts.__getitem__)


def _bound(count: int) -> None:
    if count > RECORDS_ANSWERED_MAX:
        raise BodyRefused(413, f"{count} records in one request; at most {REQUEST_RECORDS_MAX} are taken")


def _lazy(body: bytes) -> Callable[[int], bytes]:
    parts: list[bytes] = []

    def raw_at(place: int) -> bytes:
        if not parts:
            parts.extend(split_array(body))
        return parts[place]

    return raw_at


# ---------------------------------------------------------------- taking a list apart
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


def split_array(body: bytes) -> list[bytes]:
    """The elements of a JSON array as bytes; raises BodyRefused 400 when the body is no array."""
    try:
        parts = [bytes(part) for part in _RAW_LIST.decode(body)]
    except UNREADABLE_JSON as error:
        parts = _salvage(body, error)
    _bound(len(parts))
    return parts


def _salvage(body: bytes, error: Exception) -> list[bytes]:
    refused = BodyRefused(400, f"the body is not a JSON array: {_sentence(error)}")
    start = len(body) - len(body.lstrip())
    if body[start : start + 1] != b"[":
        raise refused from error
    parts, end = salvage_array(body, start, refused)
    if body[end:].strip():
        raise refused from error
    return parts


def salvage_array(body: bytes, start: int, refused: BodyRefused) -> tuple[list[bytes], int]:
    """(elements, end) of the array that begins at `start`, found by brackets alone.

    For a list that holds an element which is no JSON; raises `refused` when the brackets do not match either, or
    where looking for them would take too long.
    """
    if len(body) > SALVAGE_BYTES_MAX:
        raise refused
    parts: list[bytes] = []
    depth, begin = 0, start + 1
    for token in _TOKEN.finditer(body, start):
        mark = body[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        if mark == ord(",") and depth == 1:
            parts.append(body[begin : token.start()].strip())
            begin = token.end()
        elif depth == 0:
            if mark != ord("]"):
                break
            last = body[begin : token.start()].strip()
            return ([*parts, last] if parts or last else []), token.end()
    raise refused


# ---------------------------------------------------------------- what is wrong with a record
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]*)`")


def explain(error: Exception) -> tuple[str, Reason, str]:
    """(field, reason, detail) of a record that could not be decoded."""
    if not isinstance(error, msgspec.ValidationError):
        return "", Reason.MALFORMED, _sentence(error)
    text = str(error)
    place = _PLACE.search(text)
    field = re.split(r"[.\[]", place[1])[0] if place else ""
    detail = _PLACE.sub("", text).replace("`", "")[:_DETAIL_CHARS_MAX]
    if missing := _MISSING.search(text):
        return field or missing[1], Reason.MISSING_FIELD, detail
    return field[:TEXT_CHARS_MAX], _reason(detail), detail


def _reason(detail: str) -> Reason:
    for sign, reason in (
        ("timezone component", Reason.TIME_WITHOUT_ZONE),
        ("RFC3339", Reason.TIME_UNREADABLE),
        ("of length <=", Reason.TOO_LONG),
        ("<=", Reason.OUT_OF_RANGE),
        (">=", Reason.OUT_OF_RANGE),
        ("out of range", Reason.OUT_OF_RANGE),
        ("Invalid", Reason.UNSUPPORTED),
    ):
        if sign in detail:
            return reason
    return Reason.WRONG_TYPE


def _sentence(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the text is not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)[:_DETAIL_CHARS_MAX]
