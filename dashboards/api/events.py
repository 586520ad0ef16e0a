"""What is and was wrong on the roads, as people look through it."""

import re
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query

from dashboards.api.errors import NotFound, Wrong
from dashboards.api.scope import first, rows
from dashboards.api.shapes import Event, EventDetail, EventKind, EventRevision, Events
from dashboards.auth import CurrentActor, DepsOf
from dashboards.replay import FOR_EVER, HIGHEST_ID
from traffic import store

router = APIRouter(prefix="/api", tags=["events"])
REVISIONS_MAX = 500
_BEFORE = re.compile(r"(\d{1,18})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_LATEST_US = 250_000_000_000_000_000


@router.get("/events")
async def list_events(
    actor: CurrentActor,
    deps: DepsOf,
    state: Literal["open", "ended", "all"] = "all",
    kind: Annotated[EventKind | None, Query()] = None,
    before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Events:
    """Events of the viewer's area, the last changed first."""
    moment, number = _before(before)
    values = {"state": state, "kind": kind, "before": moment, "before_id": number, "limit": limit}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = [Event(**row) for row in await rows(connection, "events", values)]
    last = found[-1] if len(found) == limit else None
    return Events(events=found, next=f"{last.changed_at}.{last.id}" if last else None)


def _before(text: str | None) -> tuple[object, str]:
    if text is None:
        return FOR_EVER, HIGHEST_ID
    match = _BEFORE.fullmatch(text) if text.isascii() else None
    if match is None or int(match[1]) > _LATEST_US:
        raise Wrong("before", "before is what `next` of the page before says")
    return store.when(int(match[1])), match[2]


@router.get("/events/{id}")
async def get_event(id: Annotated[UUID, Path()], actor: CurrentActor, deps: DepsOf) -> EventDetail:
    """One event and how it came to be what it is."""
    async with deps.reach.as_viewer(actor.viewer, one_moment=True) as connection:
        event = await first(connection, "event", {"id": id})
        revisions = await rows(connection, "event_revisions", {"id": id, "limit": REVISIONS_MAX})
    if event is None:
        raise NotFound("there is no such event, or it is not your unit's")
    return EventDetail(event=Event(**event), revisions=[EventRevision(**row) for row in revisions])
