"""What addresses of the registry and of senders have in common: statements, audit, lists, a connection of one's own."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from dashboards.api.errors import Wrong
from dashboards.deps import Deps
from dashboards.reach import SQL as REACH_SQL
from dashboards.reach import scope_of
from dispatch import people
from dispatch.access import Actor
from traffic.database import API, as_role, queries

SQL = queries("dashboards", "registry.sql")
Found = TypeVar("Found")


def plate_cursor(before: str) -> tuple[str, int]:
    if not before:
        return "", 0
    plate, sign, group = before.rpartition(".")
    if not sign or group not in ("0", "1", "2", "3", "4") or not plate.isprintable():
        raise Wrong("before", "before is what `next` of the page before said")
    return plate, int(group)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\0", "")


def beginning(text: str) -> str:
    return f"{_escaped(text)}%"


def part(text: str) -> str:
    return f"%{_escaped(text)}%"


async def rows(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[name], values)
        return await cursor.fetchall()


async def first(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> dict[str, Any] | None:
    found = await rows(connection, name, values)
    return found[0] if found else None


async def audit(  # noqa: PLR0913
    connection: psycopg.AsyncConnection, deps: Deps, actor: Actor, action: str, subject: str, outcome: str
) -> None:
    await people.record(connection, people.deed_of(actor, action, subject, outcome), deps.settings.clock.now())


async def with_connection(deps: Deps, actor: Actor, work: Callable[[psycopg.Connection], Found]) -> Found:
    """Do something in a thread, on a connection of its own under the viewer's reach (autocommit)."""
    return await asyncio.to_thread(_on_connection, deps, actor, work)


def _on_connection(deps: Deps, actor: Actor, work: Callable[[psycopg.Connection], Found]) -> Found:
    scope = scope_of(actor.viewer, deps.settings.clock.now())
    url = as_role(deps.settings.database_url or "", API)
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("SET statement_timeout = '60s'")
        connection.execute(REACH_SQL["scope_of_session"], scope)
        return work(connection)
