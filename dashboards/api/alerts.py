"""Alerts in people's hands: verified, put aside, taken back. Each is a deed on the bus, which the worker writes.

Findings have one writer, so what a person did comes back as a revision; the answer waits for it for a moment.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Response
from psycopg.rows import dict_row
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.findings import SQL
from dashboards.auth import DepsOf, FindingsActor, SameSite, ShelveActor, VerifyActor
from dashboards.deps import Deps
from dashboards.replay import cards
from dispatch import people
from dispatch.access import Actor
from traffic import store
from traffic.clock import monotonic_s
from traffic.findings import Finding
from traffic.limits import SHELF_S
from traffic.readings import AlertDeed, EntryKind
from traffic.store import us_of
from traffic.verdicts import FALSE_REASONS

router = APIRouter(prefix="/api", tags=["alerts"])
REVISION_S_MAX = 3.0  # then the deed is on its way, and the revision follows on the socket
LOOK_S = 0.08
SOUND_EVERY_S = 10

Id = Annotated[UUID, Path()]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class _Body(BaseModel):
    """`id`: of the deed, made by the client: the same sent again is done once."""

    model_config = ConfigDict(extra="forbid")
    id: UUID = Field(default_factory=uuid4)


class Verdict(_Body):
    """What the comparison of picture and plate came to; a false one names why: a code, or a code with a note."""

    verdict: Literal["valid", "false"]
    reason: Reason = Field(default="", description=f"of a false one: {', '.join(FALSE_REASONS)}, or in words")


class Shelving(_Body):
    """Why the alert is put aside, and until when (RFC 3339 with offset, or microseconds)."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200)]
    until: int | AwareDatetime


class Unshelving(_Body):
    """The alert comes back to the others."""


@router.get("/alerts/policy")
async def policy(_actor: FindingsActor) -> dict[str, Any]:
    """How screens treat alerts: sounds by level, at most so often; who stands on top; what needs a person first."""
    sounds = {1: "siren", 2: "double", 3: "single", 4: None}
    return {
        "levels": [
            {"level": level, "sound": sound, "every_s_min": SOUND_EVERY_S, "on_top": level == 1}
            for level, sound in sounds.items()
        ],
        "silent_changes": ["verified", "shelved", "unshelved"],
        "unsure": {"matches": ["wildcard", "misread"], "sounds_as_level": 3},
        "shelved": {"listed": False, "counted": True, "s_min": SHELF_S[0], "s_max": SHELF_S[1]},
        "false_reasons": list(FALSE_REASONS),
    }


@router.post("/findings/{id}/verify", dependencies=[SameSite])
async def verify(id: Id, body: Verdict, actor: VerifyActor, deps: DepsOf, response: Response) -> dict[str, Any]:
    """Say what the picture shows. 200 with the card as it stands then; 202 when the worker has not written it yet."""
    if body.verdict == "false" and not body.reason:
        raise Wrong("reason", f"a false alert names its reason: {', '.join(FALSE_REASONS)}")
    deed = _deed(id, "verify", actor, deps, body, verdict=body.verdict, reason=body.reason)
    return await _do(deps, actor, deed, response)


@router.post("/findings/{id}/shelve", dependencies=[SameSite])
async def shelve(id: Id, body: Shelving, actor: ShelveActor, deps: DepsOf, response: Response) -> dict[str, Any]:
    """Put the alert aside for a while, with a reason; it comes back by itself."""
    until = us_of(body.until) if isinstance(body.until, datetime) else body.until
    ahead_s = (until - deps.settings.clock.now_us()) / 1e6
    if not SHELF_S[0] <= ahead_s <= SHELF_S[1]:
        raise Wrong("until", f"until lies {SHELF_S[0]} s to {SHELF_S[1] // 86_400} days ahead")
    deed = _deed(id, "shelve", actor, deps, body, reason=body.reason, until=until)
    return await _do(deps, actor, deed, response)


@router.post("/findings/{id}/unshelve", dependencies=[SameSite])
async def unshelve(
    id: Id, actor: ShelveActor, deps: DepsOf, response: Response, body: Unshelving | None = None
) -> dict[str, Any]:
    """Take the alert back from the shelf."""
    return await _do(deps, actor, _deed(id, "unshelve", actor, deps, body or Unshelving()), response)


def _deed(id: UUID, action: Literal["verify", "shelve", "unshelve"], actor: Actor, deps: Deps, body: _Body,
          **fields: Any) -> AlertDeed:  # fmt: skip
    given = {"verdict": "", "reason": "", **fields}
    return AlertDeed(
        id=str(body.id), finding=str(id), action=action, by=actor.login, unit=actor.unit,
        at=deps.settings.clock.now_us(), **given,
    )  # fmt: skip


async def _do(deps: Deps, actor: Actor, deed: AlertDeed, response: Response) -> dict[str, Any]:
    """Send the deed to the finding's worker, and wait a moment for the revision; noted with its outcome."""
    finding, told = await _look(deps, actor, deed)
    outcome = "not found" if finding is None else deed.verdict or "ok"
    async with deps.reach.open() as connection:
        noted = people.deed_of(actor, f"{deed.action}_finding", deed.finding, f"{outcome} {deed.reason}".strip())
        await people.record(connection, noted, deps.settings.clock.now())
    if finding is None:
        raise NotFound("there is no such finding, or it is not your unit's")
    if told is None:
        _check(finding, deed)
        await deps.bus.append_small(EntryKind.DEEDS, [deed], finding.plate_key << 3 | finding.class_group)
        told = await _revision(deps, actor, deed)
    if told is None:
        response.status_code = 202
        return {"deed": deed.id, "state": "accepted"}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await cards(connection, SQL["one"], {"id": deed.finding})
    return {"deed": deed.id, "state": "done", "revision": told, "finding": found[0] if found else None}


def _check(finding: Finding, deed: AlertDeed) -> None:
    """Refuse what the worker would pass over."""
    if deed.action == "unshelve" and finding.shelf is None:
        raise Conflict("this alert is not put aside")
    if deed.action == "shelve" and finding.state != "active":
        raise Conflict("this alert was taken back: there is nothing to put aside")
    before = finding.verification
    same = before is not None and (before.verdict, before.reason, before.by) == (deed.verdict, deed.reason, deed.by)
    if deed.action == "verify" and same:
        raise Conflict("you have said this already")


async def _look(deps: Deps, actor: Actor, deed: AlertDeed) -> tuple[Finding | None, int | None]:
    """(the finding, if the person may see it; the revision that tells of the deed, if it is done already)."""
    async with deps.reach.as_viewer(actor.viewer) as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["one"], {"id": deed.finding})
        row = await cursor.fetchone()
        if row is None:
            return None, None
        await cursor.execute(SQL["deed"], {"id": deed.finding, "deed": deed.id})
        done = await cursor.fetchone()
    return store.finding_of_row(row), done["revision"] if done else None


async def _revision(deps: Deps, actor: Actor, deed: AlertDeed) -> int | None:
    """The revision of a deed that is on its way, within REVISION_S_MAX."""
    until_s = monotonic_s() + REVISION_S_MAX
    while monotonic_s() < until_s:
        _, told = await _look(deps, actor, deed)
        if told is not None:
            return told
        await asyncio.sleep(LOOK_S)
    return None
