"""Look-ups of personal data: where a plate was read, and what a checkpoint saw. Each states a purpose and is audited.

The database's own functions hold the reach, write the audit and return the rows (traffic/schema/006_look_ups.sql).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from dashboards.api.errors import NotFound, Wrong
from dashboards.auth import DepsOf, LookUpActor
from dashboards.deps import Deps
from dashboards.reach import SQL
from dispatch.access import Action, Actor, Forbidden, may
from traffic.findings import record_id
from traffic.limits import LOOK_UP_DAYS_MAX, PURPOSE_CHARS
from traffic.plates import CLASS_UNCERTAIN, classes_of_group, fold, plate_key, plate_text
from traffic.store import us_of, when

router = APIRouter(prefix="/api", tags=["look-ups"])
_HASH_MAX, _HASH_MIN = 2**63 - 1, -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every look-up is asked with; FastAPI fills it from the query."""

    purpose: Annotated[
        str | None, Query(description="why, in a few words; not needed where `finding` is the purpose")
    ] = None
    finding: Annotated[UUID | None, Query(description="the purpose: a finding about what is looked up")] = None
    since: Annotated[datetime | None, Query(alias="from", description="RFC 3339; else 31 days before `to`")] = None
    until: Annotated[datetime | None, Query(alias="to", description="RFC 3339 with offset; else now")] = None
    before: Annotated[
        str | None, Query(max_length=48, pattern=r"^\d{1,18}:-?\d{1,19}$", description="`next` of the page before")
    ] = None
    limit: Annotated[int, Query(ge=1, le=500)] = 200
    beyond: Annotated[bool, Query(description="also outside the own unit's area; needs the right to it")] = False


AskedOf = Annotated[Asked, Depends()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """What is read: [since, until], of the last moment only records whose hash is smaller."""

    since: datetime
    until: datetime
    before_hash: int


@router.get("/tracks")
async def track(
    actor: LookUpActor, deps: DepsOf, asked: AskedOf, plate: Annotated[str, Query(min_length=1, max_length=16)],
    class_group: Annotated[int, Query(ge=0, le=4, description="0: every class that has the number")] = CLASS_UNCERTAIN,
) -> dict[str, Any]:  # fmt: skip
    """Where a plate was read, newest first. Logged with who, why and how much was returned."""
    key = plate_key(fold(plate))
    if not key:
        raise Wrong("plate", "this is no plate: write it as it stands on the vehicle, for example 吉A12345")
    async with deps.reach.as_viewer(actor.viewer) as connection:
        why = await _why(connection, asked, plate=key)
        values = {
            **_values(actor, deps, asked, why),
            "plate_key": key,
            "classes": classes_of_group(class_group) if class_group != CLASS_UNCERTAIN else None,
        }
        rows = await _rows(connection, "look_up_plate", values)
    points = [{**_shown(row), "checkpoint": row["checkpoint"]} for row in rows]
    return {"plate": fold(plate), "points": points, "purpose": why, "next": _next(rows, asked.limit)}


@router.get("/checkpoints/{id}/passages")
async def passages(
    actor: LookUpActor, deps: DepsOf, asked: AskedOf, id: Annotated[int, Path(ge=1, le=2**31 - 1)]
) -> dict[str, Any]:
    """What a checkpoint saw, newest first. Logged with who, why and how much was returned."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        why = await _why(connection, asked, checkpoint=id)
        values = {**_values(actor, deps, asked, why), "checkpoint": id}
        rows = await _rows(connection, "look_up_checkpoint", values)
        texts = await _odd_texts(connection, rows)
    shown = [{**_shown(row), "plate": _text(row["plate_key"], texts)} for row in rows]
    return {"checkpoint": id, "passages": shown, "purpose": why, "next": _next(rows, asked.limit)}


def _span(asked: Asked, now: datetime) -> _Span:
    for name, moment in (("from", asked.since), ("to", asked.until)):
        if moment is not None and moment.tzinfo is None:
            raise Wrong(name, f"{name} needs its offset, for example 2026-11-24T08:00:00+08:00")
    end = asked.until or now
    begin = asked.since or end - timedelta(days=LOOK_UP_DAYS_MAX)
    if begin > end:
        raise Wrong("from", "from lies after to")
    if end - begin > timedelta(days=LOOK_UP_DAYS_MAX):
        raise Wrong("from", f"at most {LOOK_UP_DAYS_MAX} days are read at once: ask for a shorter span")
    if asked.before is None:
        return _Span(since=begin, until=end, before_hash=_HASH_MAX)
    moment_us, number = asked.before.split(":")
    if int(moment_us) > us_of(end) or not _HASH_MIN <= int(number) <= _HASH_MAX:
        raise Wrong("before", "before is what `next` of the page before said")
    return _Span(since=begin, until=when(int(moment_us)), before_hash=int(number))


async def _why(connection: AsyncConnection, asked: Asked, *, plate: int = 0, checkpoint: int = 0) -> str:
    """The purpose as it is written down: what the person says, or the alert out of which the look-up is made."""
    if asked.finding is None:
        text = " ".join((asked.purpose or "").split())
        if not PURPOSE_CHARS[0] <= len(text) <= PURPOSE_CHARS[1]:
            raise Wrong("purpose", f"say why in {PURPOSE_CHARS[0]} to {PURPOSE_CHARS[1]} characters, or name a finding")
        return text
    row = await (await connection.execute(SQL["finding_as_purpose"], {"id": asked.finding})).fetchone()
    if row is None:
        raise NotFound("there is no such finding, or it is not your unit's")
    if plate and row[0] != plate:
        raise Wrong("finding", "this finding is about another vehicle: state a purpose of its own")
    if checkpoint and checkpoint not in {seen.get("checkpoint") for seen in row[1].get("observations", ())}:
        raise Wrong("finding", "this finding does not rest on this checkpoint: state a purpose of its own")
    return f"finding {asked.finding}"


def _values(actor: Actor, deps: Deps, asked: Asked, why: str) -> dict[str, Any]:
    if asked.beyond and not may(actor, Action.LOOK_UP_BEYOND):
        raise Forbidden(f"your role ({actor.role}) may look up within your unit's area only")
    now = deps.settings.clock.now()
    span = _span(asked, now)
    return {
        "person": actor.person_id,
        "purpose": why,
        "since": span.since,
        "until": span.until,
        "before_hash": span.before_hash,
        "limit": asked.limit,
        "beyond": asked.beyond,
        "now": now,
    }


async def _rows(connection: AsyncConnection, statement: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[statement], values)
        return await cursor.fetchall()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("at", "direction", "lane", "speed_kmh", "plate_class", "vehicle_class", "body_color")
    shown = {name: row[name] for name in kept}
    return {**shown, "record": record_id(row["at"], row["source_hash"]), "images": row["images"] or []}


async def _odd_texts(connection: AsyncConnection, rows: list[dict[str, Any]]) -> dict[int, str]:
    odd = [row["plate_key"] for row in rows if row["plate_key"] < 0]
    if not odd:
        return {}
    return dict(await (await connection.execute(SQL["odd_plates"], {"keys": odd})).fetchall())


def _text(key: int, odd: dict[int, str]) -> str:
    found = plate_text(key)
    return odd.get(key, "") if found is None else found


def _next(rows: list[dict[str, Any]], limit: int) -> str | None:
    return f"{rows[-1]['at']}:{rows[-1]['source_hash']}" if len(rows) == limit else None
