"""Registry files into the tables: read piece by piece, judged line by line, written chunk by chunk.

Each chunk is a transaction; what agrees is left alone (only its date moves on), so that a file may come again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg

from traffic.ingest.bodies import BodyRefused
from traffic.ingest.files import CHARSETS, CsvReader, Piece
from traffic.registry_records import SHEETS, Fault, Refused
from traffic.registry_store import Ground, Origin, resolve, store

CHUNK_ROWS = 2_000
ROWS_MAX = 2_000_000  # of one file
REFUSED_TOLD_MAX = 1_000  # in the report; all are counted
SNIFFED_BYTES = 64 * 1024


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One refused line of a report."""

    line: int
    field: str
    reason: str
    detail: str


class Report(msgspec.Struct, kw_only=True):
    """What became of a file. Times are microseconds of the instance's clock.

    `state`: running, done, refused (the file itself is wrong from some place on) or failed (the database went away);
    the chunks before stay. `unchanged`: agreed with the table; `older`: the table knows something newer.
    """

    id: str = ""
    what: str
    state: str = "running"
    begun_at: int = 0
    told_at: int = 0
    as_of: int = 0
    by: str = ""
    unit: int = 0
    bytes: int = 0
    size: int = 0
    line: int = 0
    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    older: int = 0
    refused_count: int = 0
    refused: list[Told] = []  # the first REFUSED_TOLD_MAX
    ignored_columns: list[str] = []
    error: str = ""

    def refuse(self, refused: Refused) -> None:
        """Count a refused line, and tell it as far as there is room."""
        self.refused_count += 1
        if len(self.refused) < REFUSED_TOLD_MAX:
            self.refused.append(
                Told(line=refused.line, field=refused.field, reason=str(refused.reason), detail=refused.detail)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file's bytes as they come, and how they were said to be written ("": by what they are)."""

    parts: Iterable[bytes]
    charset: str = ""


# ---------------------------------------------------------------- files
def import_file(
    connection: psycopg.Connection,
    file: File,
    report: Report,
    origin: Origin,
    ground: Ground,
    told: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Take in a file of the kind `report.what`; `told` hears of each chunk.

    `connection` is in autocommit mode. Raises psycopg.Error when the database fails; the report says how far it came.
    """
    intake = _Intake(connection, report, origin, ground)
    try:
        for pieces in intake.chunks(file):
            intake.take(pieces)
            told(report)
        report.state = "done"
    except BodyRefused as refused:
        report.state, report.error = "refused", str(refused)
    except psycopg.Error as error:
        report.state, report.error = "failed", (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise
    finally:
        told(report)
    return report


def encoding_of(beginning: bytes, charset: str = "") -> str:
    """The encoding of a file: the one that was named, else what its beginning is; raises BodyRefused 415."""
    if charset:
        encoding = CHARSETS.get(charset.strip().lower())
        if encoding is None:
            raise BodyRefused(415, f"the charset {charset[:40]} is not taken; send UTF-8 or GB18030")
        return encoding
    whole = beginning[: beginning.rfind(b"\n") + 1] or beginning
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8"


class _Intake:
    """One file on its way in."""

    def __init__(self, connection: psycopg.Connection, report: Report, origin: Origin, ground: Ground) -> None:
        self.sheet = SHEETS[report.what]
        self._connection = connection
        self._report = report
        self._origin = origin
        self._ground = ground
        self._named: list[str] = []  # columns that the file has
        self._seen: set[int] = set()  # hashes of what the file has been of

    def chunks(self, file: File) -> Iterable[list[Piece]]:
        """The records of the file, CHUNK_ROWS at a time; raises BodyRefused."""
        reader: CsvReader | None = None
        waiting: list[Piece] = []
        held = b""
        for part in file.parts:
            self._report.bytes += len(part)
            held += part
            if reader is None and len(held) < SNIFFED_BYTES:
                continue
            reader = reader or CsvReader(self.sheet, encoding_of(held, file.charset))
            waiting += reader.feed(held)
            held, self._named = b"", reader.named
            while len(waiting) >= CHUNK_ROWS:
                chunk, waiting = waiting[:CHUNK_ROWS], waiting[CHUNK_ROWS:]
                yield chunk
        reader = reader or CsvReader(self.sheet, encoding_of(held, file.charset))
        waiting += [*reader.feed(held), *reader.end()]
        self._named, self._report.ignored_columns = reader.named, reader.ignored
        for start in range(0, len(waiting), CHUNK_ROWS):
            yield waiting[start : start + CHUNK_ROWS]

    def take(self, pieces: Sequence[Piece]) -> None:
        """Judge and store a chunk, in one transaction."""
        report = self._report
        report.rows += len(pieces)
        report.line = pieces[-1].line
        if report.rows > ROWS_MAX:
            raise BodyRefused(413, f"a file has at most {ROWS_MAX} records")
        found = [good for piece in pieces if (good := self._judge(piece)) is not None]
        with self._connection.transaction():
            lines, refused = resolve(self._connection, report.what, found, self._ground)
            outcome = store(self._connection, report.what, lines, self._origin)
        report.added += outcome.added
        report.changed += outcome.changed
        report.unchanged += outcome.unchanged
        report.older += outcome.older
        for fault in refused:
            report.refuse(fault)
        for line in outcome.elsewhere:
            detail = "it is registered at a unit that is not below yours"
            report.refuse(Refused(line=line.line, field="", reason=Fault.NOT_YOUR_UNIT, detail=detail))

    def _judge(self, piece: Piece) -> tuple[int, dict[str, Any]] | None:
        """The values of a line by column; a line that can't stand is told in the report."""
        if piece.refusal is not None:
            fault, place = Fault(str(piece.refusal.reason)), piece.refusal.field
            self._report.refuse(Refused(line=piece.line, field=place, reason=fault, detail=piece.refusal.detail))
            return None
        values = self.sheet.read(piece.line, {name: getattr(piece.record, name) for name in self._named})
        if isinstance(values, Refused):
            self._report.refuse(values)
            return None
        number = hash(self.sheet.key(values))
        if number in self._seen:
            detail = "an earlier line of this file is of the same"
            self._report.refuse(Refused(line=piece.line, field="", reason=Fault.DUPLICATE, detail=detail))
            return None
        self._seen.add(number)
        return piece.line, values
