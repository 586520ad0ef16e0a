"""Findings as people read them: the newest under the viewer's reach, and one with all that it rests on."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import psycopg
from fastapi import APIRouter, Depends, Path, Query
from psycopg.rows import dict_row

from dashboards.api.errors import NotFound, Wrong
from dashboards.auth import DepsOf, FindingsActor
from dashboards.explanation import NOTICE, map_of, observations, revisions, stretch_of
from dashboards.replay import FOR_EVER, HIGHEST_ID, cards
from dispatch import people
from dispatch.access import Action, Actor, may, require
from traffic import store
from traffic.clock import SHANGHAI
from traffic.database import queries
from traffic.findings import GRAVEST, KINDS, LOOKED_AT_FIRST, MISREAD, WILDCARD, Finding
from traffic.plates import fold, plate_key
from traffic.vehicles.trust import VERDICT_DAYS, Record, terminal_trust

router = APIRouter(prefix="/api", tags=["findings"])
SQL = queries("dashboards", "findings.sql")
REVISIONS_MAX, PICTURES_MAX, LINKS_MAX = 200, 200, 2_000
_BEFORE = re.compile(r"(\d{1,18})(?:\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which findings; FastAPI fills it from the query. An empty value is none."""

    kind: Annotated[str | None, Query(max_length=40, description=", ".join(KINDS))] = None
    level: Annotated[Literal["", "1", "2", "3", "4"] | None, Query()] = None
    state: Annotated[Literal["", "active", "retracted"] | None, Query()] = None
    verification: Annotated[
        Literal["", "open", "valid", "false"] | None, Query(description="open: a person must still look at it")
    ] = None
    plate: Annotated[str | None, Query(max_length=16, description="of one vehicle; needs the right to look up")] = None
    shelved: Annotated[Literal["no", "only", "all"] | None, Query(description="else no, and of one vehicle all")] = None
    before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None
    limit: Annotated[int, Query(ge=1, le=200)] = 50


@router.get("/findings")
async def list_findings(actor: FindingsActor, deps: DepsOf, asked: Annotated[Asked, Depends()]) -> dict[str, Any]:
    """Cards of the newest findings, newest first; `next` is the `before` of the following page, null at the end.

    `shelved`: how many are put aside now; they are not among the others unless they are asked for.
    """
    moment, number = _before(asked.before)
    values = {"before": moment, "before_id": number, "limit": asked.limit, **_filters(actor, asked)}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        if values["plate_key"] is not None:
            deed = people.deed_of(actor, "find_by_plate", fold(asked.plate or ""), "ok")
            await people.record(connection, deed, deps.settings.clock.now())
        found = await cards(connection, SQL["list"], values)
        shelved = await (await connection.execute(SQL["shelved"])).fetchone()
    last = found[-1] if len(found) == asked.limit else None
    return {
        "findings": found,
        "next": f"{last['raised_at']}.{last['id']}" if last else None,
        "shelved": shelved[0] if shelved else 0,
    }


def _filters(actor: Actor, asked: Asked) -> dict[str, Any]:
    if asked.kind and asked.kind not in KINDS:
        raise Wrong("kind", f"kind is one of {', '.join(KINDS)}")
    key = None
    if asked.plate:
        require(actor, Action.LOOK_UP)
        key = plate_key(fold(asked.plate))
        if not key:
            raise Wrong("plate", "this is no plate: write it as it stands on the vehicle, for example 吉A12345")
    return {
        "kind": asked.kind or None,
        "level": int(asked.level) if asked.level else None,
        "state": asked.state or None,
        "verification": asked.verification or None,
        "plate_key": key,
        "shelved": asked.shelved or ("no" if key is None else "all"),
        "gravest": GRAVEST,
        "looked_at_first": sorted(LOOKED_AT_FIRST),
        "unsure": [WILDCARD, MISREAD],
    }


def _before(text: str | None) -> tuple[object, str]:
    if text is None:
        return FOR_EVER, HIGHEST_ID
    match = _BEFORE.fullmatch(text) if text.isascii() else None
    if match is None or int(match[1]) > 250_000_000_000_000_000:
        raise Wrong("before", "before is microseconds, or what `next` of the page before says")
    return store.when(int(match[1])), match[2] or "00000000-0000-0000-0000-000000000000"


# ---------------------------------------------------------------- one with its grounds
@router.get("/findings/{id}")
async def get_finding(actor: FindingsActor, deps: DepsOf, id: Annotated[UUID, Path()]) -> dict[str, Any]:
    """The whole explanation of a finding in one call; each attempt is audited.

    `finding` is its card; `rule` in the version that speaks, with its parameters; `observations` with their places;
    `pictures` as copied; `revisions` newest first with before, after and cause; `trust` of each sensor; `map` as
    GeoJSON; `registry`: what is registered of the vehicle (null: nothing, or no right to it).
    """
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await cards(connection, SQL["one"], {"id": id})
        deed = people.deed_of(actor, "read_finding", str(id), "ok" if found else "not found")
        now = deps.settings.clock.now()
        await people.record(connection, deed, now)
        (finding,) = [store.finding_of_row(row) for row in await _rows(connection, "one", id=id)] or (None,)
        answer = None
        if found and finding:
            day = now.astimezone(SHANGHAI).date()
            answer = {"finding": found[0], **await _grounds(connection, actor, finding, day), "notice": NOTICE}
    if answer is None:  # after the transaction, so that the audit keeps the attempt
        raise NotFound("there is no such finding, or it is not your unit's")
    return answer


async def _grounds(connection: psycopg.AsyncConnection, actor: Actor, finding: Finding, day: date) -> dict[str, Any]:
    history = await _rows(connection, "revisions", id=finding.id, limit=REVISIONS_MAX + 1)
    seen = {one["checkpoint"] for row in history for one in row["grounds"].get("observations", ())}
    seen |= {one.checkpoint for one in finding.observations}
    rows = await _rows(connection, "checkpoints", ids=sorted(seen - {0}))
    gates = {row["id"]: row for row in rows}
    roads, low, high = stretch_of(finding, gates)
    links = await _rows(connection, "links", roads=roads, low=low, high=high, limit=LINKS_MAX) if low < high else []
    placed = observations(finding, gates)
    names = ("id", "code", "name", "name_en", "road", "stake_m")
    return {
        "rule": await _rule(connection, finding),
        "observations": placed,
        "pictures": await _pictures(connection, finding),
        "revisions": revisions(history, limit=REVISIONS_MAX),
        "trust": await _trust(connection, finding, gates, day - timedelta(days=VERDICT_DAYS)),
        "map": map_of(placed, gates, links),
        "checkpoints": [{name: row[name] for name in names} for row in rows],
        "registry": await _registry(connection, actor, finding),
    }


async def _rule(connection: psycopg.AsyncConnection, finding: Finding) -> dict[str, Any]:
    rows = await _rows(connection, "rule", id=finding.rule_id, version=finding.rule_version)
    known = rows[0] if rows else {"parameters": {}, "lateness_s": None}
    return {
        "id": finding.rule_id,
        "version": finding.rule_version,
        "name": finding.rule_name,
        "clause": finding.clause,
        "parameters": known["parameters"],
        "lateness_s": known["lateness_s"],
    }


async def _pictures(connection: psycopg.AsyncConnection, finding: Finding) -> list[dict[str, Any]]:
    rows = await _rows(connection, "pictures", id=finding.id, limit=PICTURES_MAX)
    return [{**row, "url": f"/api/pictures/{row['sha256']}" if row["sha256"] else None} for row in rows]


async def _trust(
    connection: psycopg.AsyncConnection, finding: Finding, gates: dict[int, dict], since: date
) -> list[dict[str, Any]]:
    """Each checkpoint and the terminal with its trust now; `then` is what the finding was made with.

    The health of a checkpoint of other units is not told: its trust is then the one that the finding states.
    """
    stated = finding.detail.get("trust", {}).get("checkpoints", {})
    told = []
    ids = sorted({seen.checkpoint for seen in finding.observations if seen.checkpoint in gates})
    for row in await _rows(connection, "sensors", ids=ids, since=since):
        gate, then = gates[row["id"]], stated.get(str(row["id"]))
        record = Record(health=row["trust"], valid=row["valid"], misread=row["misread"])
        told.append(
            {
                "kind": "checkpoint", "id": row["id"], "name": gate["name"], "name_en": gate["name_en"],
                "trust": then if row["trust"] is None and then is not None else round(record.trust, 3), "then": then,
                "state": row["state"], "why": row["reason"] or "", "valid": row["valid"], "misread": row["misread"],
            }
        )  # fmt: skip
    if any(seen.source in ("position", "alarm") for seen in finding.observations):
        ((count,),) = [tuple(r.values()) for r in await _rows(
            connection, "terminal", plate_key=finding.plate_key, since=since)]  # fmt: skip
        trust = round(terminal_trust(count), 3)
        told.append({"kind": "terminal", "id": None, "name": "车载终端", "name_en": "Terminal of the vehicle",
                     "trust": trust, "then": None, "state": None, "why": "", "mismatches": count})  # fmt: skip
    return told


async def _registry(connection: psycopg.AsyncConnection, actor: Actor, finding: Finding) -> dict[str, Any] | None:
    if not may(actor, Action.READ_REGISTRY):
        return None
    rows = await _rows(connection, "registry", plate_key=finding.plate_key, class_group=finding.class_group)
    return rows[0] if rows else None


async def _rows(connection: psycopg.AsyncConnection, name: str, **values: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL[name], values)
        return await cursor.fetchall()
