"""JT/T 809 platforms: which are linked, and words to them (supervise an alarm, warn, ask whether anybody is there)."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import psycopg
from fastapi import APIRouter, Body, Path, Query
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.units import load_tree
from dashboards.auth import DepsOf, DevicesActor, SameSite, TerminalSpeaker
from dashboards.deps import Deps
from dispatch import people
from dispatch.access import Actor
from traffic.database import queries
from traffic.plates import fold

SQL = queries("dashboards", "platforms.sql")
router = APIRouter(prefix="/api", tags=["platforms"])
HIGHEST = 2**63 - 1
STORABLE = r"^[^\x00]*$"  # of a text that goes into a table
Code = Annotated[str, Path(min_length=1, max_length=64, pattern=STORABLE)]
Minutes = Annotated[int, Field(ge=1, le=24 * 60, description="so long an answer is waited for")]
Plate = Annotated[str, Field(min_length=1, max_length=16, pattern=STORABLE)]
Color = Annotated[int, Field(ge=0, le=99, description="JT/T 697.7: 1 blue, 2 yellow, 3 black, 4 white, 5 green")]
Kind = Annotated[
    int, Field(ge=0, le=0xFFFF, description="JT/T 809, 报警类型: 1 overspeed, 2 fatigue, 3 SOS, 11 deviation")
]


class Supervise(BaseModel):
    """The platform shall see to an alarm of a vehicle (报警督办); it answers with a result."""

    kind: Literal["supervise"]
    plate: Plate
    plate_color: Color
    alarm_type: Kind
    at: int | None = Field(default=None, ge=0, description="when it was raised, microseconds; none: now")
    urgent: bool = False
    until_min: Minutes = 60
    phone: str = Field(default="", max_length=20, pattern=STORABLE)
    mail: str = Field(default="", max_length=32, pattern=STORABLE)
    finding: UUID | None = None


class Warn(BaseModel):
    """The platform shall warn the driver of a vehicle (报警预警); nobody answers that."""

    kind: Literal["warn"]
    plate: Plate
    plate_color: Color
    alarm_type: Kind = 0x000E
    text: str = Field(min_length=1, max_length=500, pattern=STORABLE)
    until_min: Minutes = 10
    finding: UUID | None = None


class Presence(BaseModel):
    """Is anybody there (平台查岗)? A person at the platform answers in words."""

    kind: Literal["presence"]
    text: str = Field(min_length=1, max_length=500, pattern=STORABLE)
    until_min: Minutes = 10


Word = Annotated[Supervise | Warn | Presence, Body(discriminator="kind")]


@router.get("/platforms")
async def list_platforms(actor: DevicesActor, deps: DepsOf) -> dict[str, Any]:
    """Platforms of the viewer's line of units; `state` is null where one was never heard."""
    return {"platforms": await _rows(deps, actor, "platforms", {"units": await _line(deps, actor)})}


@router.post("/platforms/{code}/messages", dependencies=[SameSite], status_code=202)
async def ask(code: Code, word: Word, actor: TerminalSpeaker, deps: DepsOf) -> dict[str, Any]:
    """Hand over a word; the door that holds the platform's link says it, at most once, before its time is over."""
    now = deps.settings.clock.now()
    body = _body(word, actor)
    finding = None if isinstance(word, Presence) else word.finding
    tree = await load_tree(deps)
    async with deps.reach.as_viewer(actor.viewer) as connection:
        await _may_speak(connection, code, await _line(deps, actor))
        if finding is not None and not (await _one(connection, "finding_seen", {"id": finding}) or {}).get("seen"):
            raise Wrong("finding", "there is no such finding")
        values = {
            "platform": code, "kind": word.kind, "body": Jsonb(body), "finding": finding, "by": actor.login,
            "unit": actor.unit, "now": now, "until": now + timedelta(minutes=word.until_min),
            "audience": sorted({actor.unit, *tree.ancestors(actor.unit)}),
        }  # fmt: skip
        row = await _one(connection, "word_ask", values)
        deed = people.deed_of(actor, f"platform_{word.kind}", f"{code} {body.get('plate', '')}".strip(), "ok")
        await people.record(connection, deed, now)
    return {"id": row["id"] if row else 0, "state": "queued"}


@router.get("/platforms/{code}/messages")
async def list_words(
    code: Code,
    actor: DevicesActor,
    deps: DepsOf,
    before: Annotated[int, Query(ge=1, le=HIGHEST)] = HIGHEST,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Words to a platform, newest first, as far as they are for the viewer's unit."""
    rows = await _rows(deps, actor, "words", {"code": code, "before": before, "limit": limit})
    return {"messages": rows, "next": rows[-1]["id"] if len(rows) == limit else None}


@router.get("/platform-messages/{id}")
async def get_word(id: Annotated[int, Path(ge=1, le=HIGHEST)], actor: DevicesActor, deps: DepsOf) -> dict[str, Any]:
    """One word: `state` queued, sent, answered, failed or expired; `answer` {result} or {text}."""
    rows = await _rows(deps, actor, "word", {"id": id})
    if not rows:
        raise NotFound("there is no such message, or it is not your unit's")
    return rows[0]


async def _line(deps: Deps, actor: Actor) -> list[int]:
    """The viewer's unit, all above it and all below it: a platform of the province is everybody's."""
    tree = await load_tree(deps)
    return sorted({actor.unit, *tree.ancestors(actor.unit), *tree.subtree(actor.unit)})


def _body(word: Supervise | Warn | Presence, actor: Actor) -> dict[str, Any]:
    if isinstance(word, Presence):
        return {"text": word.text}
    plate = fold(word.plate)
    if not plate:
        raise Wrong("plate", "this is no plate")
    about = {"plate": plate, "plate_color": word.plate_color, "alarm_type": word.alarm_type}
    if isinstance(word, Warn):
        return {**about, "text": word.text}
    told = {"level": 0 if word.urgent else 1, "supervisor": actor.name, "phone": word.phone, "mail": word.mail}
    return {**about, **told, **({} if word.at is None else {"at": word.at})}


async def _may_speak(connection: psycopg.AsyncConnection, code: str, units: list[int]) -> None:
    row = await _one(connection, "platform", {"code": code, "units": units})
    if row is None:
        raise NotFound("there is no such platform, or it is not of your units")
    if not row["enabled"]:
        raise Conflict("this platform is shut out")


async def _one(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[name], values)
        return await cursor.fetchone()


async def _rows(deps: Deps, actor: Actor, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with (
        deps.reach.as_viewer(actor.viewer) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await cursor.execute(SQL[name], values)
        return await cursor.fetchall()
