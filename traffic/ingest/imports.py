"""A file on its way in: read piece by piece, handed to the bus in batches, its progress kept in Redis for a day.

Nothing of it waits in memory but one batch: while the bus is full the file's sender is not read from. What was accepted
stays accepted whatever becomes of the rest; a file sent again is recognised record by record, as ever.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import redis
import redis.asyncio
import structlog
from starlette.requests import ClientDisconnect

from traffic.clock import monotonic_s
from traffic.errors import ServiceError, TrafficError
from traffic.ingest.bodies import BodyRefused, Refusal
from traffic.ingest.catalogue import Device
from traffic.ingest.desk import Desk
from traffic.ingest.files import CsvReader, LineReader, Piece, records_of
from traffic.ingest.subjects import Subject
from traffic.limits import IMPORT_BYTES_MAX, IMPORT_REFUSALS_MAX
from traffic.readings import Door

BATCH_RECORDS = 2_000
WAIT_S = 60.0  # for a bus that takes nothing at all; then the import gives up
PAUSE_S = 0.5  # before the bus is tried again
TOLD_EVERY_S = 1.0  # progress
KEPT_S = 24 * 3600
KEPT_MAX = 200  # reports of one sender; the oldest go first
SILENT_S = 120.0  # an import whose progress is so old runs no more: its door has died

log = structlog.get_logger(__name__)


class Told(msgspec.Struct, kw_only=True):
    """One refused record of the report."""

    line: int
    field: str
    reason: str
    detail: str


class Report(msgspec.Struct, kw_only=True):
    """What became of a file. Times are microseconds of the instance's clock.

    `state`: running, done, gave_up (the bus took nothing for too long), broken_off (the sender went away) or refused
    (the file itself is wrong from some place on).
    """

    id: str
    kind: str
    device: int
    state: str = "running"
    begun_at: int
    told_at: int
    bytes: int = 0
    line: int = 0  # the last one read
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    not_taken: int = 0
    not_taken_from: int | None = None  # line of the first record that was not taken
    ignored_columns: list[str] = []
    refusals: list[Told] = []  # the first IMPORT_REFUSALS_MAX; all are in quarantine
    error: str = ""


class Progress:
    """The reports of all imports, known to every door. Raises ServiceError when Redis fails."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def find(self, identity: UUID) -> Report | None:
        """The report under this id."""
        try:
            found = await self._client.get(_key(identity))
        except redis.RedisError as error:
            raise ServiceError(f"Redis cannot be used: {error}") from error
        return None if found is None else msgspec.json.decode(found, type=Report)

    async def keep(self, report: Report) -> None:
        """Write the report; it stays for KEPT_S, unless its sender begins KEPT_MAX others."""
        own = f"door:imports:{report.device}"
        try:
            await self._client.set(_key(UUID(report.id)), msgspec.json.encode(report), ex=KEPT_S)
            await self._client.zadd(own, {report.id: report.begun_at})
            await self._client.expire(own, KEPT_S)
            oldest: Any = await self._client.zrange(own, 0, -KEPT_MAX - 1)
            for old in oldest:
                await self._client.delete(_key(UUID(old.decode())))
                await self._client.zrem(own, old)
        except redis.RedisError as error:
            raise ServiceError(f"Redis cannot be used: {error}") from error


def _key(identity: UUID) -> str:
    return f"door:import:{identity}"


class Import:
    """One file of one sender."""

    def __init__(self, desk: Desk, progress: Progress, subject: Subject, device: Device, peer: str) -> None:
        self._desk = desk
        self._progress = progress
        self._subject = subject
        self._device = device
        self._peer = peer
        self._told_s = 0.0

    async def begin(self, identity: UUID) -> Report:
        """Open the report; raises BodyRefused 409 when one under this id is under way, or another sender's."""
        now_us = self._desk.clock.now_us()
        before = await self._progress.find(identity)
        if before is not None:
            alive = before.state == "running" and now_us - before.told_at < SILENT_S * 1e6
            if alive or before.device != self._device.id:
                raise BodyRefused(409, "an import with this id is under way, or is another sender's")
        report = Report(
            id=str(identity), kind=self._subject.name, device=self._device.id, begun_at=now_us, told_at=now_us
        )
        await self._progress.keep(report)
        return report

    async def run(self, report: Report, reader: CsvReader | LineReader, parts: AsyncIterator[bytes]) -> None:
        """Read and hand on until the end, or until something ends it; `report` then says what and how far."""
        try:
            await self._read(report, reader, parts)
            report.state = "done"
        except ClientDisconnect:
            report.state, report.error = "broken_off", "the sender went away before the end of the file"
        except BodyRefused as refused:
            report.state, report.error = "refused", str(refused)
            raise
        except GaveUp as error:
            report.state, report.error = "gave_up", str(error)
        except asyncio.CancelledError:
            report.state, report.error = "broken_off", "the door was closed before the end of the file"
            raise
        finally:
            await self._tell_last(report)

    async def _read(self, report: Report, reader: CsvReader | LineReader, parts: AsyncIterator[bytes]) -> None:
        waiting: list[Piece] = []
        try:
            async for part in parts:
                report.bytes += len(part)
                if report.bytes > IMPORT_BYTES_MAX:
                    raise BodyRefused(413, f"a file has at most {IMPORT_BYTES_MAX} bytes")
                waiting += reader.feed(part)
                while len(waiting) >= BATCH_RECORDS:
                    batch, waiting = waiting[:BATCH_RECORDS], waiting[BATCH_RECORDS:]
                    await self._hand_on(report, batch)
                await self._tell(report)
            waiting += reader.end()
        except (ClientDisconnect, BodyRefused, asyncio.CancelledError):
            await self._hand_on_all(report, waiting)  # what was read whole is kept even when the rest does not come
            raise
        finally:
            if isinstance(reader, CsvReader):
                report.ignored_columns = reader.ignored
        await self._hand_on_all(report, waiting)

    async def _hand_on_all(self, report: Report, waiting: list[Piece]) -> None:
        for start in range(0, len(waiting), BATCH_RECORDS):
            await self._hand_on(report, waiting[start : start + BATCH_RECORDS])

    async def _hand_on(self, report: Report, batch: list[Piece]) -> None:
        """Put a batch on the bus, and what it did not take again and again; raises GaveUp."""
        report.rows += len(batch)
        report.line = batch[-1].line
        took_s = monotonic_s()
        while batch:
            outcome = await self._desk.take_records(
                self._subject, records_of(batch), self._device, self._peer, door=Door.FILE
            )
            report.accepted += outcome.accepted
            self._note(report, list(outcome.refusals))
            left = set(outcome.not_taken)
            if len(left) < len(batch):
                took_s = monotonic_s()
            batch = [piece for piece in batch if piece.line in left]
            await self._tell(report)
            if not batch:
                break
            if monotonic_s() - took_s > WAIT_S:
                report.not_taken += len(batch)
                report.not_taken_from = batch[0].line
                raise GaveUp(str(outcome.error))
            await asyncio.sleep(PAUSE_S)

    def _note(self, report: Report, refusals: list[Refusal]) -> None:
        report.rejected += len(refusals)
        room = IMPORT_REFUSALS_MAX - len(report.refusals)
        report.refusals += [
            Told(line=refusal.index, field=refusal.field, reason=refusal.reason, detail=refusal.detail)
            for refusal in refusals[: max(room, 0)]
        ]

    async def _tell(self, report: Report) -> None:
        """Write the counts now and then; the refusals follow at the end, and a Redis that is away stops nothing."""
        if monotonic_s() - self._told_s < TOLD_EVERY_S:
            return
        self._told_s = monotonic_s()
        report.told_at = self._desk.clock.now_us()
        counts = msgspec.structs.replace(report, refusals=[])
        await self._keep(counts)

    async def _tell_last(self, report: Report) -> None:
        report.told_at = self._desk.clock.now_us()
        await self._keep(report)
        log.info(
            "a file was imported", kind=report.kind, state=report.state, device=self._device.code, rows=report.rows,
            accepted=report.accepted, rejected=report.rejected, not_taken=report.not_taken,
        )  # fmt: skip

    async def _keep(self, report: Report) -> None:
        try:
            await self._progress.keep(report)
        except ServiceError as error:
            log.warning("the progress of an import is not kept", id=report.id, why=str(error))


class GaveUp(TrafficError):
    """The bus took nothing for WAIT_S."""
