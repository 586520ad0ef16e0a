"""Refused records: read them, correct and send them again, or dismiss them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from dashboards.api.errors import Conflict, NotFound, RecordRefused
from dashboards.auth import DepsOf, QuarantineActor, SameSite
from dashboards.deps import Deps
from dashboards.reach import SQL
from dispatch import people
from dispatch.access import Actor
from traffic.errors import Reason
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import Checked
from traffic.ingest.load import load_catalogue_async
from traffic.ingest.subjects import revalidate
from traffic.readings import Door

router = APIRouter(prefix="/api/quarantine", tags=["quarantine"])
HIGHEST = 2**63 - 1
Id = Annotated[int, Path(ge=1, le=HIGHEST)]


@router.get("")
async def list_refused(
    actor: QuarantineActor,
    deps: DepsOf,
    before: Annotated[int, Query(ge=1, le=HIGHEST, description="`next` of the page before")] = HIGHEST,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    state: Literal["open", "corrected", "dismissed"] = "open",
) -> dict[str, Any]:
    """Refused records of the viewer's area, newest first; `body` is the record as it came, cut at 8 KiB."""
    values = {"before": before, "limit": limit, "state": state}
    async with (
        deps.reach.as_viewer(actor.viewer) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await cursor.execute(SQL["quarantine"], values)
        rows = await cursor.fetchall()
    records = [{**row, "body": bytes(row["body"]).decode("utf-8", "replace")} for row in rows]
    return {"records": records, "next": rows[-1]["id"] if len(rows) == limit else None}


@router.post(
    "/{id}/retry", dependencies=[SameSite], openapi_extra={"requestBody": {"content": {"application/json": {}}}}
)
async def retry(id: Id, request: Request, actor: QuarantineActor, deps: DepsOf) -> dict[str, Any]:
    """Send a corrected record (native format) as if its device had sent it now. It is closed once the bus has it."""
    corrected = await request.body()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        device_id, door = await _take(connection, id)
        catalogue = await load_catalogue_async(connection, now=deps.settings.clock.now(), roads=door > Door.NATIVE)
        checked = _judge(corrected, _device(catalogue, device_id), catalogue, door, deps)
        await deps.bus.append(checked.kind, checked.batch)
        await _close(connection, deps, actor, id, "corrected")
    return {"id": id, "state": "corrected"}


@router.post("/{id}/dismiss", dependencies=[SameSite])
async def dismiss(id: Id, actor: QuarantineActor, deps: DepsOf) -> dict[str, Any]:
    """Close a record without sending it."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        await _take(connection, id)
        await _close(connection, deps, actor, id, "dismissed")
    return {"id": id, "state": "dismissed"}


async def _take(connection: AsyncConnection, id: int) -> tuple[int | None, int]:
    """Hold the row until the transaction ends, so that nobody else works on it; returns its device and door."""
    row = await (await connection.execute(SQL["quarantine_take"], {"id": id})).fetchone()
    if row is None:
        raise NotFound("there is no such record, or it is not your unit's")
    if row[2] != "open":
        raise Conflict(f"this record was {row[2]} already")
    return row[1], row[3]


def _device(catalogue: Catalogue, device_id: int | None) -> Device:
    for device in catalogue.devices.values():
        if device.id == device_id:
            return device
    raise Conflict("the device of this record is not known any more: it can only be dismissed")


def _judge(corrected: bytes, device: Device, catalogue: Catalogue, door: int, deps: Deps) -> Checked[Any]:
    judged = revalidate(corrected, device, catalogue, deps.settings.clock.now_us(), door=door)
    if isinstance(judged, Checked):
        return judged
    raise RecordRefused(judged.field, Reason(judged.reason), judged.detail)


async def _close(connection: AsyncConnection, deps: Deps, actor: Actor, id: int, state: str) -> None:
    now = deps.settings.clock.now()
    await connection.execute(SQL["quarantine_close"], {"id": id, "state": state, "at": now, "by": actor.login})
    await people.record(connection, people.deed_of(actor, f"quarantine_{state}", str(id), "ok"), now)
