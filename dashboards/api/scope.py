"""The viewer's area, as every address about roads needs it, and what their paths and answers have in common."""

from dataclasses import dataclass
from typing import Annotated, Any

import psycopg
from fastapi import Depends, Path
from psycopg.rows import dict_row

from dashboards.auth import CurrentActor, DepsOf
from dashboards.facts import Facts
from dashboards.reach import SQL
from dashboards.topics.links import DATA_US
from dispatch.access import Actor
from traffic.errors import ServiceError

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Who asks, and the units whose matters are its business: what one of these owns, or has along its corridor."""

    actor: Actor
    facts: Facts
    below: list[int]


async def area_of(actor: CurrentActor, deps: DepsOf) -> Area:
    """The area of the person who asks; raises ServiceError while the hub has not read it yet."""
    hub = deps.reader.hub
    if hub is None:
        raise ServiceError("the units are not read yet: try again in a moment")
    return Area(actor=actor, facts=hub.facts, below=hub.facts.below(actor.unit))


AreaOf = Annotated[Area, Depends(area_of)]


async def rows(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a statement, by column."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[name], values)
        return await cursor.fetchall()


async def first(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """The first row of a statement."""
    found = await rows(connection, name, values)
    return found[0] if found else None


def is_old(us: int | None, now_us: int) -> bool:
    """Whether what was learned then says nothing of now."""
    return us is None or us <= now_us - DATA_US
