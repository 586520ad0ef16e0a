"""Registry files handed in by people: taken to a file without a name, read in a thread, their progress told by polling.

The text of a file never stays: what was refused is told by line, field and reason alone.
"""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
import psycopg
import structlog
from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from dashboards.api.errors import BodyTooLarge, Conflict, NotFound, Wrong
from dashboards.api.registry_reach import SQL, with_connection
from dashboards.auth import DepsOf, RegistryImporter, SameSite
from dashboards.deps import Deps
from dashboards.shell import UPLOAD_BYTES_MAX
from dispatch import people
from dispatch.access import Actor
from traffic.clock import monotonic_s
from traffic.errors import TrafficError
from traffic.ingest.files import CHARSETS
from traffic.registry_import import File, Report, import_file
from traffic.registry_store import Origin, load_ground
from traffic.store import us_of

PART_BYTES = 256 * 1024
IN_MEMORY_BYTES = 1024 * 1024
AT_ONCE_MAX = 2  # imports of one process
TOLD_EVERY_S = 0.5
KEPT_S = 24 * 3600
SILENT_US = 120_000_000  # an import whose progress is so old runs no more: its process has died
What = Literal["vehicles", "companies", "permits", "drivers"]

router = APIRouter(prefix="/api/registry", tags=["registry"])
log = structlog.get_logger(__name__)


class BrokenOff(TrafficError):
    """The process stops in the middle of a file; what was written stays."""


class Imports:
    """The imports that run in this process."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()


@router.post(
    "/import/{what}", status_code=202, dependencies=[SameSite],
    openapi_extra={"requestBody": {"content": {"text/csv": {}}}},
)  # fmt: skip
async def begin_import(  # noqa: PLR0913
    what: What,
    request: Request,
    actor: RegistryImporter,
    deps: DepsOf,
    charset: Annotated[str, Query(max_length=20, description="utf-8 or gb18030; none: by what the file is")] = "",
    as_of: Annotated[datetime | None, Query(description="when the file's data were true; none: now")] = None,
) -> dict[str, Any]:
    """Hand in a CSV file (its first line names the columns); answers once all of it is here. Progress by its id."""
    now = deps.settings.clock.now()
    if charset and charset.strip().lower() not in CHARSETS:
        raise Wrong("charset", "utf-8 or gb18030")
    if as_of is not None and (as_of.tzinfo is None or as_of > now):
        raise Wrong("as_of", "a time with its offset that is not yet to come")
    imports = _imports(request)
    if len(imports.tasks) >= AT_ONCE_MAX:
        raise Conflict("other files are being imported: try again when they are done")
    body = await _received(request)
    report = Report(
        id=str(uuid4()), what=what, begun_at=us_of(now), told_at=us_of(now), as_of=us_of(as_of or now),
        by=actor.login, unit=actor.unit, size=body.seek(0, 2),
    )  # fmt: skip
    body.seek(0)
    await _keep(deps, report)
    await _audit(deps, actor, report, "begun")
    task = asyncio.create_task(_run(deps, actor, report, body, Origin(source="import", as_of=as_of or now), charset))
    imports.tasks.add(task)
    task.add_done_callback(imports.tasks.discard)
    return {"id": report.id, "state": report.state}


@router.get("/import/{id}")
async def get_import(id: UUID, actor: RegistryImporter, deps: DepsOf) -> dict[str, Any]:
    """How far an import of the own unit is, and what it refused; kept for a day."""
    found = await deps.redis.get(_key(str(id)))
    report = msgspec.json.decode(found, type=Report) if found else None
    if report is None or report.unit != actor.unit:
        raise NotFound("there is no such import of your unit")
    if report.state == "running" and deps.settings.clock.now_us() - report.told_at > SILENT_US:
        report.state, report.error = "failed", "the process that imported it has stopped: import the file again"
    return msgspec.to_builtins(report)  # type: ignore[no-any-return]


def _imports(request: Request) -> Imports:
    known: Imports | None = getattr(request.app.state, "imports", None)
    if known is None:
        known = request.app.state.imports = Imports()
    return known


def _key(identity: str) -> str:
    return f"registry:import:{identity}"


async def _received(request: Request) -> IO[bytes]:
    """The body in a file that has no name and goes with its handle."""
    body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # type: ignore[assignment]
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > UPLOAD_BYTES_MAX:
                raise BodyTooLarge(f"a file has at most {UPLOAD_BYTES_MAX} bytes")
            await asyncio.to_thread(body.write, part)
    except (ClientDisconnect, BodyTooLarge):
        body.close()
        raise
    return body


def _parts(body: IO[bytes], given_up: threading.Event) -> Iterator[bytes]:
    while part := body.read(PART_BYTES):
        if given_up.is_set():
            raise BrokenOff("the process that imported it was stopped: import the file again")
        yield part


async def _run(deps: Deps, actor: Actor, report: Report, body: IO[bytes], origin: Origin, charset: str) -> None:  # noqa: PLR0913
    telling = asyncio.create_task(_tell(deps, report))
    given_up = threading.Event()

    def work(connection: psycopg.Connection) -> None:
        with body:
            file = File(parts=_parts(body, given_up), charset=charset)
            ground = load_ground(connection, origin.as_of, _own_units(connection))
            import_file(connection, file, report, origin, ground)

    try:
        await with_connection(deps, actor, work)
    except psycopg.Error as error:
        report.state, report.error = "failed", (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.warning("an import failed", id=report.id, why=report.error)
    except BrokenOff as error:
        report.state, report.error = "failed", str(error)
    finally:
        given_up.set()  # a thread cannot be cancelled: it looks before each piece
        telling.cancel()
        await _end(deps, actor, report)


def _own_units(connection: psycopg.Connection) -> frozenset[int]:
    row = connection.execute(SQL["viewer_units"]).fetchone()
    return frozenset(row[0] if row else ())


async def _tell(deps: Deps, report: Report) -> None:
    """Keep the counts now and then; what was refused follows at the end."""
    while True:
        began_s = monotonic_s()
        report.told_at = deps.settings.clock.now_us()
        await _keep(deps, msgspec.structs.replace(report, refused=[]))
        await asyncio.sleep(max(TOLD_EVERY_S - (monotonic_s() - began_s), 0.05))


async def _keep(deps: Deps, report: Report) -> None:
    await deps.redis.set(_key(report.id), msgspec.json.encode(report), ex=KEPT_S)


async def _end(deps: Deps, actor: Actor, report: Report) -> None:
    report.told_at = deps.settings.clock.now_us()
    await _keep(deps, report)
    counts = f"{report.state}: {report.added} added, {report.changed} changed, {report.refused_count} refused"
    await _audit(deps, actor, report, counts)


async def _audit(deps: Deps, actor: Actor, report: Report, outcome: str) -> None:
    async with deps.reach.open() as connection:
        deed = people.deed_of(actor, "import_registry", f"{report.what} {report.id}", outcome)
        await people.record(connection, deed, deps.settings.clock.now())
