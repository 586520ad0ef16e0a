"""Terminals of vehicles (JT/T 808): which are there, when they were heard, and texts to their drivers."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import psycopg
import redis
import structlog
from fastapi import APIRouter, Body, Path, Query
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.registry_reach import beginning
from dashboards.api.units import load_tree
from dashboards.auth import DepsOf, DevicesActor, RegistryImporter, SameSite, TerminalSpeaker
from dashboards.deps import Deps
from dispatch import people
from traffic.database import queries
from traffic.ingest.jt808 import V2013
from traffic.ingest.jt808_bodies import BodyMalformed, text_body
from traffic.ingest.terminal_words import WORDS_CHANNEL
from traffic.plates import PLATE_CHARS_MAX, class_group, fold, plate_key

SQL = queries("dashboards", "terminals.sql")
SILENT = timedelta(minutes=5)  # several heartbeats missed
TEXTS_OPEN_MAX = 10  # of one terminal
TEXTS_SHOWN = 20
ENTERED_MAX = 1_000  # in one request
HIGHEST_ID = 2**31 - 1

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/api", tags=["terminals"])
Id = Annotated[int, Path(ge=1, le=HIGHEST_ID)]
MessageId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Text(BaseModel):
    """What the driver shall read; `tts`: it is read aloud as well."""

    text: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")
    urgent: bool = False
    tts: bool = False
    until_min: int = Field(default=10, ge=1, le=24 * 60, description="so long it waits for the terminal")
    finding: UUID | None = Field(default=None, description="the finding that it is about")


class Entered(BaseModel):
    """A terminal as a site enters it: it then registers by itself. `unit`: whose it is to watch over."""

    phone: str = Field(pattern=r"^\d{1,20}$")
    plate: str = Field(min_length=1, max_length=16, pattern=r"^[^\x00]*$")
    plate_class: int = Field(default=0, ge=0, le=99, description="GA 24.7; 0: the registry knows")
    plate_color: int = Field(default=0, ge=0, le=99, description="JT/T 697.7")
    unit: int = Field(ge=1, le=2**31 - 1)
    enabled: bool = True


@router.get("/terminals")
async def list_terminals(
    actor: DevicesActor,
    deps: DepsOf,
    q: Annotated[str, Query(max_length=40, description="the beginning of a plate or telephone number")] = "",
    before: Annotated[int, Query(ge=1, le=HIGHEST_ID, description="`next` of the page before")] = HIGHEST_ID,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Terminals of the viewer's units; `online` is null where one was never heard."""
    text = q.strip()
    values = {
        "before": before, "limit": limit, "silent": deps.settings.clock.now() - SILENT,
        "plate": beginning(fold(text) or text) if text else None, "phone": beginning(text.lstrip("0")),
    }  # fmt: skip
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await _rows(connection, "terminals", values)
    return {"terminals": found, "next": found[-1]["id"] if len(found) == limit else None}


@router.put("/terminals", dependencies=[SameSite])
async def enter(
    entered: Annotated[list[Entered], Body(min_length=1, max_length=ENTERED_MAX)], actor: RegistryImporter, deps: DepsOf
) -> dict[str, Any]:
    """Enter terminals, or change those that have the telephone numbers: all or none. The doors know within seconds."""
    values = [_entered(number, one) for number, one in enumerate(entered)]
    try:
        async with deps.reach.as_viewer(actor.viewer) as connection:
            ids = [(await _rows(connection, "enter", row))[0]["id"] for row in values]
            deed = people.deed_of(actor, "enter_terminals", f"{len(ids)} from {ids[0]}", "ok")
            await people.record(connection, deed, deps.settings.clock.now())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation) as error:
        raise Conflict("a unit or a telephone number is not of your units; nothing was entered") from error
    return {"ids": ids}


@router.get("/terminals/{id}")
async def get_terminal(id: Id, actor: DevicesActor, deps: DepsOf) -> dict[str, Any]:
    """One terminal with its newest texts; audited, for it tells where a vehicle is."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await _rows(connection, "terminal", {"id": id, "silent": now - SILENT})
        texts = await _rows(connection, "texts", {"terminal": id, "limit": TEXTS_SHOWN}) if found else []
        deed = people.deed_of(actor, "read_terminal", str(id), "ok" if found else "not found")
        await people.record(connection, deed, now)
    if not found:  # after the transaction, so that the audit keeps the attempt
        raise NotFound("there is no such terminal, or it is not of your units")
    return {"terminal": found[0], "messages": texts}


@router.post("/terminals/{id}/messages", dependencies=[SameSite], status_code=202)
async def send_text(id: Id, said: Text, actor: TerminalSpeaker, deps: DepsOf) -> dict[str, Any]:
    """Hand over a text; the door that holds the connection says it, and the terminal's answer stands in the message."""
    _require_sayable(said)
    now, tree = deps.settings.clock.now(), await load_tree(deps)
    async with deps.reach.as_viewer(actor.viewer) as connection:
        terminal = await _spoken_to(connection, id, said, now)
        values = {
            "terminal": id, "body": Jsonb({"text": said.text, "urgent": said.urgent, "tts": said.tts}),
            "finding": said.finding, "by": actor.login, "unit": actor.unit, "now": now,
            "until": now + timedelta(minutes=said.until_min),
            "audience": sorted({actor.unit, terminal["unit_id"], *tree.ancestors(terminal["unit_id"])}),
        }  # fmt: skip
        (row,) = await _rows(connection, "text_ask", values)
        deed = people.deed_of(actor, "terminal_text", f"{terminal['plate']} {row['id']}", "ok")
        await people.record(connection, deed, now)
    await _wake(deps)
    return {"id": row["id"], "state": "queued"}


@router.get("/terminal-messages/{id}")
async def get_text(id: MessageId, actor: DevicesActor, deps: DepsOf) -> dict[str, Any]:
    """One text: `state` queued, sent, answered, failed or expired; `answer` {result, tries} or {reason}."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await _rows(connection, "text", {"id": id})
    if not found:
        raise NotFound("there is no such message, or it is not your unit's")
    return found[0]


def _entered(number: int, one: Entered) -> dict[str, Any]:
    plate = fold(one.plate)
    if not plate or len(plate) > PLATE_CHARS_MAX:
        raise Wrong(f"{number}.plate", "this is no plate")
    return {
        "phone": one.phone.lstrip("0") or "0", "plate": plate, "plate_key": plate_key(plate),
        "class_group": class_group(one.plate_class), "plate_color": one.plate_color, "unit": one.unit,
        "enabled": one.enabled,
    }  # fmt: skip


def _require_sayable(said: Text) -> None:
    try:
        text_body(said.text, V2013, urgent=said.urgent, tts=said.tts)
    except BodyMalformed as error:
        raise Wrong("text", str(error)) from error


async def _spoken_to(connection: psycopg.AsyncConnection, id: int, said: Text, now: datetime) -> dict[str, Any]:
    found = await _rows(connection, "terminal", {"id": id, "silent": now - SILENT})
    if not found:
        raise NotFound("there is no such terminal, or it is not of your units")
    if not found[0]["enabled"]:
        raise Conflict("this terminal is shut out")
    if said.finding is not None and not (await _rows(connection, "finding_seen", {"id": said.finding}))[0]["seen"]:
        raise Wrong("finding", "there is no such finding")
    (waiting,) = await _rows(connection, "texts_open", {"terminal": id, "now": now})
    if waiting["count"] >= TEXTS_OPEN_MAX:
        raise Conflict(f"{TEXTS_OPEN_MAX} texts wait for this terminal: wait until they are said")
    return found[0]


async def _wake(deps: Deps) -> None:
    try:
        await deps.redis.publish(WORDS_CHANNEL, b"")
    except redis.RedisError as error:  # the doors look each second as well
        log.warning("the doors are not woken", why=str(error))


async def _rows(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[name], values)
        return await cursor.fetchall()
