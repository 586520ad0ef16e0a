"""The registry as people read it: vehicles, companies, what the national platform said of them and when.

Rows are those that the viewer's unit watches over (row-level policies). Licences of drivers are masked for everybody;
names and telephones are whole only for people of the owning unit itself.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

import psycopg
from fastapi import APIRouter, Path, Query, Request

from dashboards.api.errors import NotFound
from dashboards.api.registry_reach import audit, beginning, first, part, plate_cursor, rows, with_connection
from dashboards.auth import DepsOf, RegistryReader, SameSite
from dashboards.deps import Deps
from dispatch.access import Actor, Role
from traffic import registry_answers
from traffic.clock import SHANGHAI
from traffic.errors import ServiceError
from traffic.plates import fold, plate_key
from traffic.platform_query import Outcome, Platform, Vehicle
from traffic.registry_records import KINDS, STATES, masked_licence, masked_name, masked_phone

SOON = timedelta(days=30)
FINDINGS_SINCE = timedelta(days=30)
IN_FILE_MAX = 500  # vehicles, drivers, permits of one company
FRESH = timedelta(minutes=5)  # an answer so young is not asked for again
SEES_WHOLE = frozenset({Role.COMMANDER, Role.DISPATCHER})  # of the owning unit itself

router = APIRouter(prefix="/api/registry", tags=["registry"])
Plate = Annotated[str, Path(min_length=1, max_length=16)]
Group = Annotated[int, Query(ge=0, le=4, description="0: the first class that has the number")]


# ---------------------------------------------------------------- vehicles
@router.get("/vehicles")
async def list_vehicles(  # noqa: PLR0913 - one for each thing that a list is asked by
    actor: RegistryReader,
    deps: DepsOf,
    q: Annotated[str, Query(max_length=40, description="the plate's beginning, or a part of the company's name")] = "",
    kind: Annotated[str | None, Query(json_schema_extra={"enum": list(KINDS)})] = None,
    state: Annotated[str | None, Query(json_schema_extra={"enum": list(STATES)})] = None,
    due: Annotated[Literal["", "soon", "overdue"], Query(description="by the end of the inspection")] = "",
    company: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    before: Annotated[str, Query(max_length=24, description="`next` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Vehicles by plate, a page at a time; days as ISO texts."""
    today = deps.settings.clock.now().astimezone(SHANGHAI).date()
    plate, group = plate_cursor(before)
    text = q.strip()
    values = {
        "plate": plate, "group": group, "kind": kind, "state": state, "company": company, "limit": limit,
        "begin": beginning(fold(text) or text) if text else None, "part": part(text),
        "due_from": today if due == "soon" else None,
        "due_to": {"soon": today + SOON, "overdue": today - timedelta(days=1)}.get(due), "enabled": bool(due),
    }  # fmt: skip
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await rows(connection, "vehicles", values)
        await audit(connection, deps, actor, "list_vehicles", text or due or kind or "all", f"{len(found)} rows")
    last = found[-1] if len(found) == limit else None
    return {
        "vehicles": [_vehicle_row(row) for row in found],
        "next": f"{last['plate']}.{last['class_group']}" if last else None,
    }


@router.get("/vehicles/{plate}")
async def get_vehicle(plate: Plate, actor: RegistryReader, deps: DepsOf, class_group: Group = 0) -> dict[str, Any]:
    """One vehicle with its company, permits, findings of 30 days, and what the platform said last."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await _vehicle_file(connection, deps, actor, plate, class_group)
        await audit(connection, deps, actor, "read_vehicle", fold(plate), "ok" if found else "not found")
    if found is None:  # behind the transaction, so that the audit keeps the attempt
        raise NotFound("there is no such vehicle in your unit's registry")
    return found


@router.post("/vehicles/{plate}/refresh", dependencies=[SameSite])
async def refresh_vehicle(
    request: Request, plate: Plate, actor: RegistryReader, deps: DepsOf, class_group: Group = 0
) -> dict[str, Any]:
    """Ask the national platform about a vehicle now, unless it was asked a moment ago; answers as GET does.

    When the platform cannot be reached the copy stands with its date, and `query` says so.
    """
    async with deps.reach.as_viewer(actor.viewer) as connection:
        row = await first(connection, "vehicle", {"key": plate_key(fold(plate)), "group": class_group})
    if row is None:
        raise NotFound("there is no such vehicle in your unit's registry")
    outcome = await _ask(request, deps, actor, row)
    async with deps.reach.as_viewer(actor.viewer) as connection:
        await audit(connection, deps, actor, "refresh_vehicle", row["plate"], outcome)
        found = await _vehicle_file(connection, deps, actor, plate, row["class_group"])
    if found is None:
        raise NotFound("there is no such vehicle in your unit's registry")
    return found


async def _ask(request: Request, deps: Deps, actor: Actor, row: dict[str, Any]) -> str:
    platform = _platform(request, deps)
    vehicle = Vehicle(plate=row["plate"], plate_class=row["plate_class"] or row["class_group"])
    now = deps.settings.clock.now()
    newest = await with_connection(deps, actor, lambda own: registry_answers.find_newest(own, vehicle))
    if newest and now - newest["asked_at"] < FRESH and newest["outcome"] in (Outcome.FOUND, Outcome.NOT_FOUND):
        return f"{newest['outcome']}, asked a moment ago"
    answer = await platform.ask(vehicle)
    now = deps.settings.clock.now()
    await with_connection(deps, actor, lambda own: registry_answers.remember(own, vehicle, answer, now))
    return str(answer.outcome)


def _platform(request: Request, deps: Deps) -> Platform:
    """The process's one way to the platform; raises ServiceError where none is set up."""
    if not deps.settings.registry_url:
        raise ServiceError("no platform is set up (TRAFFIC_REGISTRY_URL): the registry is as it was imported")
    known: Platform | None = getattr(request.app.state, "platform", None)
    if known is None:
        known = Platform(deps.settings.registry_url, deps.settings.registry_key, deps.settings.clock)
        request.app.state.platform = known
    return known


async def _vehicle_file(
    connection: psycopg.AsyncConnection, deps: Deps, actor: Actor, plate: str, group: int
) -> dict[str, Any] | None:
    row = await first(connection, "vehicle", {"key": plate_key(fold(plate)), "group": group})
    if row is None:
        return None
    one = {"key": row["plate_key"], "group": row["class_group"]}
    company = await first(connection, "company", {"id": row["company_id"]}) if row["company_id"] else None
    permits = await rows(connection, "permits", {**one, "company": None, "limit": IN_FILE_MAX})
    since = deps.settings.clock.now() - FINDINGS_SINCE
    return {
        "vehicle": _vehicle_row(row),
        "company": _company_row(company, actor) if company else None,
        "permits": permits,
        "findings": await rows(connection, "vehicle_findings", {**one, "since": since}),
        "query": await first(connection, "vehicle_query", one),
        "platform": bool(deps.settings.registry_url),
        "as_of": row["as_of"],
    }


def _vehicle_row(row: dict[str, Any]) -> dict[str, Any]:
    company = {"id": row["company_id"], "name": row["company"]} if row["company"] else None
    kept = {name: value for name, value in row.items() if name not in ("plate_key", "company_id", "company")}
    return {**kept, "company": company}


# ---------------------------------------------------------------- companies
@router.get("/companies")
async def list_companies(
    actor: RegistryReader,
    deps: DepsOf,
    q: Annotated[str, Query(max_length=40, description="a part of the name, or the credit code's beginning")] = "",
    before: Annotated[int, Query(ge=0, le=2**31 - 1, description="`next` of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Companies in the order in which they came to the registry, with how many vehicles each has."""
    text = q.strip()
    values = {"id": before, "part": part(text) if text else None, "begin": beginning(text.upper()), "limit": limit}
    async with deps.reach.as_viewer(actor.viewer) as connection:
        found = await rows(connection, "companies", values)
        await audit(connection, deps, actor, "list_companies", text or "all", f"{len(found)} rows")
    return {
        "companies": [_company_row(row, actor) for row in found],
        "next": found[-1]["id"] if len(found) == limit else None,
    }


@router.get("/companies/{id}")
async def get_company(
    id: Annotated[int, Path(ge=1, le=2**31 - 1)], actor: RegistryReader, deps: DepsOf
) -> dict[str, Any]:
    """One company with its vehicles, drivers (masked), permits, and findings of 30 days."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        row = await first(connection, "company", {"id": id})
        await audit(connection, deps, actor, "read_company", str(id), "ok" if row else "not found")
        if row is not None:
            nothing: dict[str, Any] = {name: None for name in ("begin", "part", "kind", "state", "due_from", "due_to")}
            listed = {**nothing, "plate": "", "group": 0, "company": id, "enabled": False, "limit": IN_FILE_MAX}
            vehicles = await rows(connection, "vehicles", listed)
            drivers = await rows(connection, "company_drivers", {"id": id, "limit": IN_FILE_MAX})
            own = {"key": 0, "group": 0, "company": id, "limit": IN_FILE_MAX}
            permits = await rows(connection, "permits", own)
            findings = await rows(connection, "company_findings", {"id": id, "since": now - FINDINGS_SINCE})
    if row is None:
        raise NotFound("there is no such company in your unit's registry")
    return {
        "company": _company_row(row, actor),
        "vehicles": [_vehicle_row(vehicle) for vehicle in vehicles],
        "drivers": [_driver_row(driver, actor) for driver in drivers],
        "permits": permits,
        "findings": findings,
    }


def _company_row(row: dict[str, Any], actor: Actor) -> dict[str, Any]:
    if _sees_whole(actor, row["unit_id"]):
        return row
    return {**row, "contact": masked_name(row["contact"]), "phone": masked_phone(row["phone"])}


def _driver_row(row: dict[str, Any], actor: Actor) -> dict[str, Any]:
    name = row["name"] if _sees_whole(actor, row["unit_id"]) else masked_name(row["name"])
    kept = {title: value for title, value in row.items() if title != "unit_id"}
    return {**kept, "licence": masked_licence(row["licence"]), "name": name}


def _sees_whole(actor: Actor, unit: int) -> bool:
    """Whether a person of this unit and role sees names and telephones as they are."""
    return actor.unit == unit and actor.role in SEES_WHOLE
