"""Fences on the map and the calendar's days: what rules about places and holidays rest on."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.rules import GroundsOf, Number, require_edit
from dashboards.auth import DepsOf, RulesEditor, RulesReader, SameSite
from dashboards.grounds import may_edit, may_see
from dispatch import people
from dispatch.access import Actor
from traffic.rule_desk import SQL, bump
from traffic.store import us_of, when
from traffic.vehicles.areas import parse_fence
from traffic.vehicles.ground import Ground
from traffic.vehicles.said import checked_text

router = APIRouter(prefix="/api", tags=["rules"])
HOLIDAYS_MAX = 700
Id = Annotated[int, Path(ge=1, le=2**31 - 1)]


class FenceBody(BaseModel):
    """A fence. `shape`: a GeoJSON Polygon, or {"type": "Circle", "centre": [lon, lat], "radius_m": r}; WGS-84."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=80)
    name: str = Field(max_length=200)
    kind: Literal["forbidden", "parking", "place"] = Field(description="parking: a long stop is no matter there")
    shape: dict[str, Any]
    unit: Number | None = Field(default=None, description="whose; left out: the own unit's, of a change: as it was")
    enabled: bool = True
    based_on: int | None = Field(default=None, description="`changed_at` as it was seen; 409 when another came first")


class Day(BaseModel):
    """A day that differs from its weekday."""

    model_config = ConfigDict(extra="forbid")

    day: date
    kind: Literal["holiday", "working"] = Field(description="a day off, or a weekend that is worked (调休)")
    name: str = Field(max_length=80)


class Days(BaseModel):
    """The whole calendar; what is not in it goes."""

    model_config = ConfigDict(extra="forbid")

    holidays: list[Day] = Field(max_length=HOLIDAYS_MAX)
    based_on: int | None = Field(default=None, description="`version` as it was seen; 409 when another came first")


# ---------------------------------------------------------------- fences
@router.get("/fences")
async def list_fences(actor: RulesReader, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Fences of the own unit, of those below it and of those above, also those that are switched off."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, deps.settings.clock.now())
        rows = await _rows(connection, None)
    return {"fences": [_shown(row, actor, ground) for row in rows if may_see(actor.unit, row["unit_id"], ground)]}


@router.post("/fences", status_code=201, dependencies=[SameSite])
async def make_fence(body: FenceBody, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """A new fence; rules that name it, or forbid all, follow within a second."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, deps.settings.clock.now())
        unit = body.unit if body.unit is not None else actor.unit
        values = _checked(body, unit) | {"now": deps.settings.clock.now(), "by": actor.login}
        await require_edit(actor, unit, ground, deps, f"fence {values['code']}")
        try:
            async with connection.transaction():
                row = await (await connection.execute(SQL["fence_insert"], values)).fetchone()
        except UniqueViolation as error:
            raise Wrong("code", f"there is a fence {body.code} already") from error
        assert row is not None
        await bump(connection, "rule")
        deed = people.deed_of(actor, "fence_made", f"fence {row[0]} {values['code']}", "ok")
        await people.record(connection, deed, deps.settings.clock.now())
        return _shown((await _rows(connection, row[0]))[0], actor, ground)


@router.put("/fences/{id}", dependencies=[SameSite])
async def change_fence(id: Id, body: FenceBody, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Change a fence, or switch it off."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, deps.settings.clock.now())
        found = await _rows(connection, id)
        if not found or not may_see(actor.unit, found[0]["unit_id"], ground):
            raise NotFound(f"there is no fence {id}")
        unit = body.unit if body.unit is not None else found[0]["unit_id"]
        for one in {found[0]["unit_id"], unit}:
            await require_edit(actor, one, ground, deps, f"fence {id}")
        seen = when(body.based_on) if body.based_on is not None and 0 <= body.based_on < 2**52 else None
        values = _checked(body, unit) | {"id": id, "now": deps.settings.clock.now(), "by": actor.login, "seen": seen}
        try:
            async with connection.transaction():
                written = (await connection.execute(SQL["fence_update"], values)).rowcount
        except UniqueViolation as error:
            raise Wrong("code", f"there is a fence {body.code} already") from error
        if not written:
            raise Conflict(f"fence {id} was changed in between: read it again")
        await bump(connection, "rule")
        deed = people.deed_of(actor, "fence_changed", f"fence {id} {values['code']}", "ok")
        await people.record(connection, deed, deps.settings.clock.now())
        return _shown((await _rows(connection, id))[0], actor, ground)


def _checked(body: FenceBody, unit: int) -> dict[str, Any]:
    columns = {"id": 1, "code": body.code, "name": body.name, "kind": body.kind, "shape": body.shape, "unit_id": unit}
    columns["code"] = checked_text("code", body.code, 1, 40)
    columns["name"] = checked_text("name", body.name, 1, 80)
    parse_fence(columns)
    return {**columns, "shape": Jsonb(body.shape), "enabled": body.enabled}


async def _rows(connection: AsyncConnection, id: int | None) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(SQL["fences_shown"], {"id": id})).fetchall()


def _shown(row: dict[str, Any], actor: Actor, ground: Ground) -> dict[str, Any]:
    editable = may_edit(actor.unit, row["unit_id"], ground)
    return {**row, "changed_at": us_of(row["changed_at"]), "editable": editable}


# ---------------------------------------------------------------- the calendar
@router.get("/holidays")
async def list_holidays(_actor: RulesReader, deps: DepsOf) -> dict[str, Any]:
    """Days that differ from their weekday; behind the last of them nothing is known: every day is as its weekday."""
    async with deps.reach.open() as connection:
        return await _calendar(connection)


@router.put("/holidays", dependencies=[SameSite])
async def set_holidays(body: Days, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Replace the calendar: the corps' to do, because every rule of the province rests on it."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        await require_edit(actor, None, await grounds.get(connection, now), deps, "the calendar")
        days = [one.day for one in body.holidays]
        if len(set(days)) < len(days):
            raise Wrong("holidays", "holidays must name each day once")
        for number, one in enumerate(body.holidays):
            if not 2000 <= one.day.year < 2100:
                raise Wrong(f"holidays.{number}.day", "day must lie in the years from 2000 to 2099")
            checked_text(f"holidays.{number}.name", one.name, 1, 40)
        await bump(connection, "calendar")  # holds the row: of two who replace it the second waits here
        before = await _calendar(connection)
        if body.based_on not in (None, before["version"] - 1):
            raise Conflict("the calendar was changed in between: read it again")
        await connection.execute(SQL["holidays_clear"])
        async with connection.cursor() as cursor:
            rows = [{"day": one.day, "kind": one.kind, "name": one.name.strip()} for one in body.holidays]
            await cursor.executemany(SQL["holiday_insert"], rows)
        deed = people.deed_of(actor, "calendar_changed", f"{len(before['holidays'])} -> {len(days)} days", "ok")
        await people.record(connection, deed, now)
        return await _calendar(connection)


async def _calendar(connection: AsyncConnection) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        days = await (await cursor.execute(SQL["holidays"])).fetchall()
        version = await (await cursor.execute(SQL["calendar_version"])).fetchone()
    return {"holidays": [{**row, "day": row["day"].isoformat()} for row in days], "version": version["value"]}  # type: ignore[index]
