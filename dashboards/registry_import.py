"""`traffic registry import`: a registry file into this instance's tables, with a line of progress on a terminal."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import psycopg

from traffic.clock import monotonic_s
from traffic.database import WRITER, connect
from traffic.errors import ServiceError, SettingsError
from traffic.registry_import import File, Report, import_file
from traffic.registry_store import TABLES, Origin, load_ground
from traffic.store import us_of

PART_BYTES = 256 * 1024
TOLD_EVERY_S = 0.5
SHOWN_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which file is of what, and when its data were true."""

    what: str
    path: Path
    as_of: datetime
    charset: str = ""


def read_as_of(text: str, now: datetime) -> datetime:
    """The moment of an option, or `now`; raises SettingsError."""
    if not text:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--as-of {text}: write it like 2026-11-30T08:00:00+08:00") from error
    if moment.tzinfo is None or moment > now:
        raise SettingsError(f"--as-of {text}: it needs its offset, and must not lie ahead")
    return moment


def bring_in(url: str, wish: Wish, now: datetime) -> Report:
    """Import the file; raises SettingsError and ServiceError with one sentence. What was written before stays."""
    if wish.what not in TABLES:
        raise SettingsError(f"{wish.what} is nothing of the registry: {', '.join(TABLES)} are")
    if not wish.path.is_file():
        raise SettingsError(f"{wish.path} is no file")
    size = wish.path.stat().st_size
    report = Report(what=wish.what, begun_at=us_of(now), as_of=us_of(wish.as_of), by="command line", size=size)
    teller = _Teller(wish.path.name)
    origin = Origin(source="import", as_of=wish.as_of)
    with connect(url, WRITER, autocommit=True) as connection:
        try:
            ground = load_ground(connection, now)
            import_file(connection, File(parts=_parts(wish), charset=wish.charset), report, origin, ground, teller.tell)
        except psycopg.OperationalError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ServiceError(f"the database went away behind line {report.line}: {reason}") from error
    return report


def _parts(wish: Wish) -> Iterator[bytes]:
    with wish.path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


class _Teller:
    """Says now and then how far it is, to a person at a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = sys.stderr.isatty()
        self._told_s = 0.0

    def tell(self, report: Report) -> None:
        """Hear of a chunk."""
        over = report.state != "running"
        if self._shown and (over or monotonic_s() - self._told_s > TOLD_EVERY_S):
            self._told_s = monotonic_s()
            share = report.bytes / max(report.size, 1)
            line = f"\r{self._name}: {share:6.1%}, {report.rows:,} lines, {report.refused_count:,} refused"
            print(line, end="\n" if over else "", file=sys.stderr, flush=True)


def summary(report: Report) -> str:
    """What became of the file, for a person: the counts and the first refusals."""
    lines = [
        f"{report.rows:,} lines: {report.added:,} added, {report.changed:,} changed, {report.unchanged:,} as they were,"
        f" {report.older:,} older than what is known, {report.refused_count:,} refused"
    ]
    if report.state != "done":
        lines.append(f"{report.state} behind line {report.line}: {report.error}")
    if report.ignored_columns:
        lines.append(f"columns not known: {', '.join(report.ignored_columns)}")
    for told in report.refused[:SHOWN_MAX]:
        lines.append(f"line {told.line}:{' ' + told.field if told.field else ''} {told.reason}: {told.detail}")
    if report.refused_count > SHOWN_MAX:
        lines.append("more of them are in the report (--report FILE)")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The whole report."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1).decode()
