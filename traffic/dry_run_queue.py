"""The process that runs dry runs, at low priority and one at a time, and the queue that it empties.

Whoever asks for a run starts a process; the one that gets the lock empties the queue, the others end at once. A crash
frees the lock: what was running then is marked as failed by whoever looks next.
"""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import structlog
from psycopg import sql
from psycopg.types.json import Jsonb

from traffic.binary_copy import Columns
from traffic.clock import monotonic_s
from traffic.database import WRITER, connect, queries
from traffic.dry_run import STEP_US, Trial, with_only
from traffic.errors import SettingsError, TrafficError
from traffic.findings import BAN, CLONED_PLATE, OVERSPEED
from traffic.readings import PASSAGE
from traffic.road_readings import ALARM, POSITION
from traffic.rule_rows import load_ground, read_terms
from traffic.rulebook import load_book
from traffic.settings import Settings
from traffic.store import us_of, when
from traffic.vehicles.registry import KINDS as VEHICLE_KINDS
from traffic.vehicles.terms import RuleTerms

SQL = queries("traffic", "dry_run.sql")
LOCK = 6_201_406  # advisory, of this database
CHUNK_US_MIN, CHUNK_US_MAX = 600_000_000, 21_600_000_000  # of event time, read at once
CHUNK_RECORDS_FEW, CHUNK_RECORDS_MANY = 50_000, 400_000  # then the next chunk is twice or half as long
RUN_S_MAX = 1_800.0  # then it fails, and says so
RECORDS_MAX = 200_000_000
MEMORY_BYTES_MAX = 8 * 1024**3  # of address space: numba and OpenBLAS reserve far more than they use
PROGRESS_EVERY_S = 1.0
KEPT = timedelta(days=30)
NICE = 15
INTERRUPTED = "the process that ran it ended before its time"
_WITHOUT_POSITIONS = frozenset({"registry_state", CLONED_PLATE})
_OF_ALL_VEHICLES = frozenset({BAN, OVERSPEED, CLONED_PLATE})  # unless their scope names kinds of the registry

_PASSAGES = Columns(PASSAGE, times=("observed_at", "received_at"))
_POSITIONS = Columns(POSITION, times=("observed_at", "received_at"))
_ALARM_NAMES = [name for name in ALARM.names or () if name != "spare"]
_ALARMS = Columns(np.dtype([(name, ALARM[name]) for name in _ALARM_NAMES]), times=("observed_at", "received_at"))

log = structlog.get_logger()


class Cancelled(TrafficError):
    """Somebody cancelled the run, or the process is told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One dry run as it was asked."""

    id: UUID
    rule: dict[str, Any]
    from_at: datetime
    to_at: datetime
    unit_id: int


def run(settings: Settings) -> None:
    """Process `dry-run`: empty the queue, if nobody else does."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    if not settings.database_url:
        raise SettingsError("TRAFFIC_DATABASE_URL is needed for a dry run")
    with connect(settings.database_url, WRITER, autocommit=True) as connection:
        empty_queue(connection, settings, stop)


def empty_queue(connection: psycopg.Connection, settings: Settings, stop: threading.Event) -> int:
    """Run what waits, until nothing waits or somebody else does it; returns how many were run."""
    ran, key = 0, {"key": LOCK}
    while not stop.is_set() and _first(connection, "waiting")[0]:
        if not _first(connection, "lock", key)[0]:
            break
        try:
            now = settings.clock.now()
            connection.execute(SQL["interrupted"], {"error": INTERRUPTED, "now": now})
            connection.execute(SQL["forget"], {"before": now - KEPT})
            while not stop.is_set() and (row := connection.execute(SQL["take"]).fetchone()) is not None:
                id, rule, from_at, to_at, unit_id = row
                _run_one(
                    connection, settings, Run(id=id, rule=rule, from_at=from_at, to_at=to_at, unit_id=unit_id), stop
                )
                ran += 1
        finally:
            if not connection.closed:
                connection.execute(SQL["unlock"], key)
    return ran


def _first(connection: psycopg.Connection, name: str, values: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row = connection.execute(SQL[name], values).fetchone()
    assert row is not None
    return row


def _run_one(connection: psycopg.Connection, settings: Settings, asked: Run, stop: threading.Event) -> None:
    began_s = monotonic_s()
    log.info("dry run begins", id=str(asked.id), kind=asked.rule["kind"])
    try:
        result = try_rule(connection, settings, asked, stop)
        result |= {"took_s": round(monotonic_s() - began_s, 1)}
        done = {"id": asked.id, "result": Jsonb(result), "now": settings.clock.now()}
        connection.execute(SQL["done"], done)
    except Cancelled:
        if stop.is_set():
            _fail(connection, settings, asked, INTERRUPTED)
    except (TrafficError, psycopg.Error, MemoryError) as error:
        log.error("dry run failed", id=str(asked.id), why=str(error))
        _fail(connection, settings, asked, str(error).strip().splitlines()[0][:400] if str(error) else "no memory left")


def _fail(connection: psycopg.Connection, settings: Settings, asked: Run, why: str) -> None:
    if not connection.closed:
        connection.execute(SQL["failed"], {"id": asked.id, "error": why, "now": settings.clock.now()})


def try_rule(connection: psycopg.Connection, settings: Settings, asked: Run, stop: threading.Event) -> dict[str, Any]:
    """What the rule would have said; raises Cancelled, TrafficError."""
    book = load_book(connection, now_us=settings.clock.now_us())
    terms = read_terms(asked.rule, load_ground(connection, settings.clock.now()))
    trial = Trial(with_only(book.rules, terms), book.owner_of_checkpoint, asked.unit_id)
    from_us, to_us = us_of(asked.from_at), us_of(asked.to_at)
    began_s = told_s = monotonic_s()
    start, chunk_us = from_us, CHUNK_US_MIN
    while start < to_us:
        end = min(start + chunk_us, to_us)
        batch = _read(connection, terms, start, end)
        for passages, positions, alarms, until_us in _steps(batch, start, end):
            trial.step(passages, positions, alarms, until_us=until_us)
        if stop.is_set():
            raise Cancelled(INTERRUPTED)
        now_s, share = monotonic_s(), (end - from_us) / (to_us - from_us)
        if now_s - told_s >= PROGRESS_EVERY_S:
            told_s = now_s
            if not connection.execute(SQL["progress"], {"id": asked.id, "progress": share}).rowcount:
                raise Cancelled("it was cancelled")
        if now_s - began_s > RUN_S_MAX or trial.records > RECORDS_MAX:
            raise TrafficError(
                f"it took too long: {share:.0%} was done after {RUN_S_MAX:.0f} s or {RECORDS_MAX:,} records;"
                " ask for fewer days"
            )
        start, chunk_us = end, _next_chunk(chunk_us, sum(map(len, batch)))
    return trial.result()


def _next_chunk(chunk_us: int, records: int) -> int:
    """Quiet hours are read together, so that not each ten minutes of them cost a query."""
    if records < CHUNK_RECORDS_FEW:
        return min(chunk_us * 2, CHUNK_US_MAX)
    return max(chunk_us // 2, CHUNK_US_MIN) if records > CHUNK_RECORDS_MANY else chunk_us


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


def _steps(batch: Batch, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """The records of a chunk by steps of event time, each with the moment of its end."""
    cuts = list(range(start, end, STEP_US))[1:]
    places = [np.searchsorted(rows["observed_at"], cuts) for rows in batch]
    parts = [np.split(rows, at) for rows, at in zip(batch, places, strict=True)]
    yield from zip(*parts, [*cuts, end], strict=True)


def _read(connection: psycopg.Connection, terms: RuleTerms, start: int, end: int) -> Batch:
    """What the rule looks at, of [start, end) in event time; each array by time."""
    kinds = list(VEHICLE_KINDS)
    if terms.scope.kinds is not None:
        kinds = [VEHICLE_KINDS[number] for number in terms.scope.kinds]
    span = {"since": when(start), "until": when(end)}
    everybody = terms.kind in _OF_ALL_VEHICLES and not terms.registered_only
    passages = (
        _PASSAGES.copy_out(connection, _statement("passages", **span))
        if everybody
        else _PASSAGES.copy_out(connection, _statement("passages_of_kinds", **span, kinds=kinds))
    )
    if terms.kind in _WITHOUT_POSITIONS:
        return passages, np.empty(0, POSITION), np.empty(0, ALARM)
    positions = _POSITIONS.copy_out(connection, _statement("positions", **span, kinds=kinds))
    packed = _ALARMS.copy_out(connection, _statement("alarms", **span, kinds=kinds))
    alarms = np.zeros(len(packed), ALARM)
    for name in _ALARM_NAMES:
        alarms[name] = packed[name]
    return passages, positions, alarms


def _statement(name: str, **literals: Any) -> sql.Composed:
    return sql.SQL(SQL[name]).format(**{key: sql.Literal(value) for key, value in literals.items()})  # type: ignore[arg-type]
