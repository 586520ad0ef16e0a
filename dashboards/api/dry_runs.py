"""Dry runs: a new or changed rule tried on stored days before it is armed. What it finds is for the own unit alone."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.api.rules import GroundsOf, Number, RuleBody, content_of
from dashboards.auth import DepsOf, RulesEditor, RulesReader, SameSite
from dashboards.deps import Deps
from dashboards.dry_runners import DryRunner
from dashboards.grounds import may_see
from dispatch import people
from dispatch.access import Action, Actor, may
from traffic import rule_desk
from traffic.dry_run_queue import INTERRUPTED, LOCK, SQL
from traffic.rule_kinds import KINDS
from traffic.store import us_of
from traffic.vehicles.ground import Ground

router = APIRouter(prefix="/api/dry-runs", tags=["rules"])
DAYS_MAX = 30
WAITING_MAX = 20  # queued and running of the whole instance
_CONTENT = ("kind", "name", "clause", "unit_id", "level", "lateness_s", "parameters", "scope", "schedule", "exemptions")


class TriedRule(RuleBody):
    """A rule as it stands in the form; `id` of the rule that it would change."""

    id: Number | None = None
    note: str = Field(default="", max_length=1_000)


class Asked(BaseModel):
    """What is tried, on how many days up to now."""

    model_config = ConfigDict(extra="forbid")

    rule: Number | TriedRule = Field(description="the number of a rule (its newest version), or a whole rule")
    days: int = Field(default=7, ge=1, le=DAYS_MAX, strict=True)


def runner_of(request: Request) -> DryRunner:
    """What starts the process that runs them."""
    runner: DryRunner = request.app.state.dry_runner
    return runner


RunnerOf = Annotated[DryRunner, Depends(runner_of)]


@router.post("", status_code=202, dependencies=[SameSite])
async def ask(body: Asked, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf, runner: RunnerOf) -> dict[str, Any]:
    """Put a dry run into the queue; one runs at a time. 409 while too many wait."""
    now, id = deps.settings.clock.now(), uuid4()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        rule = await _rule(connection, body, actor, await grounds.get(connection, now), deps)
        values = {
            "id": id,
            "rule": Jsonb(rule),
            "from_at": now - timedelta(days=body.days),
            "to_at": now,
            "unit_id": actor.unit,
            "by": actor.login,
            "now": now,
            "waiting_max": WAITING_MAX,
        }
        if not (await connection.execute(SQL["ask"], values)).rowcount:
            raise Conflict(f"{WAITING_MAX} dry runs wait already: try again later")
        deed = people.deed_of(actor, "dry_run", f"{id}: {rule['kind']} {rule['name']}, {body.days} days", "queued")
        await people.record(connection, deed, now)
    runner.ensure()
    return {"id": str(id), "state": "queued"}


@router.get("/{id}")
async def look(id: UUID, actor: RulesReader, deps: DepsOf, runner: RunnerOf) -> dict[str, Any]:
    """How far it is and what came of it: how often the rule would have fired, where, for whom, and sample cards.

    Plates are masked for whoever may not look up.
    """
    async with deps.reach.as_viewer(actor.viewer) as connection:
        row = await _find(connection, id)
        if row["state"] in ("queued", "running") and not await _is_run(connection):
            if row["state"] == "running":
                values = {"error": INTERRUPTED, "now": deps.settings.clock.now()}
                await connection.execute(SQL["interrupted"], values)
                row = await _find(connection, id)
            else:
                runner.ensure()
    if row["result"] is not None and not may(actor, Action.LOOK_UP):
        row["result"] = _masked(row["result"])
    moments = {name: us_of(row[name]) if row[name] else None for name in ("from_at", "to_at", "asked_at", "ended_at")}
    return {**row, "id": str(row["id"]), **moments}


@router.delete("/{id}", dependencies=[SameSite])
async def cancel(id: UUID, actor: RulesEditor, deps: DepsOf) -> dict[str, Any]:
    """Cancel it; one that has ended stays as it is."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        await _find(connection, id)
        if (await connection.execute(SQL["cancel"], {"id": id, "now": now})).rowcount:
            await people.record(connection, people.deed_of(actor, "dry_run", str(id), "cancelled"), now)
        return {"id": str(id), "state": (await _find(connection, id))["state"]}


async def _rule(connection: AsyncConnection, body: Asked, actor: Actor, ground: Ground, deps: Deps) -> dict[str, Any]:
    """What is tried, as columns of table `rule`."""
    if isinstance(body.rule, TriedRule):
        content = await content_of(body.rule, actor, ground, deps)
        id, version = body.rule.id or 1, 1
    else:
        row = await rule_desk.get_rule(connection, body.rule, deps.settings.clock.now())
        if not may_see(actor.unit, row["unit_id"], ground):
            raise NotFound(f"there is no rule {body.rule}")
        content, id, version = rule_desk.content_of(row), row["id"], row["version"]
    if not KINDS[content.kind].scoped:
        raise Wrong("rule.kind", f"rules of kind {content.kind} are not tried on stored records")
    columns = rule_desk.row_of(content)
    return {name: columns[name] for name in _CONTENT} | {"id": id, "version": version}


async def _find(connection: AsyncConnection, id: UUID) -> dict[str, Any]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(SQL["read"], {"id": id})).fetchone()
    if row is None:
        raise NotFound("there is no such dry run, or it is not your unit's")
    return row


async def _is_run(connection: AsyncConnection) -> bool:
    row = await (await connection.execute(SQL["is_run"], {"key": LOCK})).fetchone()
    return bool(row and row[0])


def _masked(result: dict[str, Any]) -> dict[str, Any]:
    """The same with plates of which only the first two characters and the last one are told, and without records."""
    samples = [
        {
            **card,
            "plate": _mask(card["plate"]),
            "observations": [{**seen, "record": ""} for seen in card["observations"]],
        }
        for card in result["samples"]
    ]
    return {
        **result,
        "vehicles": [{**one, "plate": _mask(one["plate"])} for one in result["vehicles"]],
        "samples": samples,
    }


def _mask(plate: str) -> str:
    return plate[:2] + "*" * max(0, len(plate) - 3) + plate[-1:] if len(plate) > 3 else "*" * len(plate)
