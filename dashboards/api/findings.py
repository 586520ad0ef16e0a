"""Findings as people read them: the newest under the viewer's reach, and one with its history."""

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from dashboards.api.errors import NotFound, Wrong
from dashboards.auth import DepsOf, FindingsActor
from dashboards.reach import SQL
from dashboards.replay import FOR_EVER, HIGHEST_ID, cards
from dispatch import people
from traffic import store

router = APIRouter(prefix="/api", tags=["findings"])
REVISIONS_MAX = 200
_BEFORE = re.compile(r"(\d{1,18})(?:\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?")


@router.get("/findings")
async def list_findings(
    actor: FindingsActor,
    deps: DepsOf,
    before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Cards of the newest findings, newest first; `next` is the `before` of the following page, null at the end."""
    moment, number = _before(before)
    values = {"before": moment, "before_id": number, "limit": limit}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await cards(connection, SQL["findings_newest"], values)
    last = found[-1] if len(found) == limit else None
    return {"findings": found, "next": f"{last['raised_at']}.{last['id']}" if last else None}


def _before(text: str | None) -> tuple[object, str]:
    if text is None:
        return FOR_EVER, HIGHEST_ID
    match = _BEFORE.fullmatch(text) if text.isascii() else None
    if match is None or int(match[1]) > 250_000_000_000_000_000:
        raise Wrong("before", "before is microseconds, or what `next` of the page before says")
    return store.when(int(match[1])), match[2] or "00000000-0000-0000-0000-000000000000"


@router.get("/findings/{id}")
async def get_finding(actor: FindingsActor, deps: DepsOf, id: Annotated[UUID, Path()]) -> dict[str, Any]:
    """One finding: its card, its revisions (newest first) and the names of its checkpoints; each attempt is audited."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await cards(connection, SQL["finding"], {"id": id})
        deed = people.deed_of(actor, "read_finding", str(id), "ok" if found else "not found")
        await people.record(connection, deed, deps.settings.clock.now())
        answer = await _with_history(connection, found[0]) if found else None
    if answer is None:  # after the transaction, so that the audit keeps the attempt
        raise NotFound("there is no such finding, or it is not your unit's")
    return answer


async def _with_history(connection: AsyncConnection, card: dict[str, Any]) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["finding_revisions"], {"id": card["id"], "limit": REVISIONS_MAX})
        revisions = await cursor.fetchall()
        await cursor.execute(SQL["checkpoint_names"], {"ids": _checkpoints(card, revisions)})
        checkpoints = await cursor.fetchall()
    return {"finding": card, "revisions": revisions, "checkpoints": checkpoints}


def _checkpoints(card: dict, revisions: list[dict]) -> list[int]:
    found = {seen["checkpoint"] for seen in card["observations"]}
    for revision in revisions:
        found |= {seen["checkpoint"] for seen in revision["grounds"].get("observations", ())}
    return sorted(found)
