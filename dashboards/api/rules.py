"""Rules as data: who changed what and when, drafts, arming and putting off. No restart: workers follow in a second."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from psycopg import AsyncConnection
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictInt

from dashboards.api.errors import Conflict, NotFound, Wrong
from dashboards.auth import DepsOf, RulesEditor, RulesReader, SameSite
from dashboards.deps import Deps
from dashboards.grounds import Grounds, may_edit, may_see
from dispatch import people
from dispatch.access import Actor, Forbidden
from traffic import rule_desk
from traffic.errors import SettingsError
from traffic.rule_desk import Author, Content
from traffic.rule_kinds import KINDS, parameters_of
from traffic.rule_rows import why_broken
from traffic.store import us_of
from traffic.units import FOR_EVER
from traffic.vehicles.ground import Ground
from traffic.vehicles.said import FieldRefused

router = APIRouter(prefix="/api/rules", tags=["rules"])
FIRED_DAYS = 7
Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
Number = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]


class RuleBody(BaseModel):
    """What a rule says. Empty scope: everywhere and everybody; empty schedule: always; empty exemptions: nobody."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(max_length=40, description="one of GET /api/rules/kinds")
    name: str = Field(max_length=200)
    clause: str = Field(max_length=1_000, description="the norm or order that it stands on")
    unit: Number | None = Field(
        default=None, description="whose rule; left out: the own unit's, the corps' is the province's"
    )
    level: StrictInt | None = Field(default=None, description="1 gravest .. 4; null: the rule's own scale")
    lateness_s: StrictInt = Field(default=900, description="records that come later than this do not speak")
    parameters: dict[str, Any] = Field(default_factory=dict)
    scope: dict[str, Any] = Field(
        default_factory=dict,
        description="units, roads, road_kinds, checkpoints, fences, kinds, class_groups, vehicle_classes, plates_like",
    )
    schedule: dict[str, Any] = Field(default_factory=dict, description="hours, weekdays, holidays, from, to")
    exemptions: dict[str, Any] = Field(
        default_factory=dict, description="permits, plates, kinds, route_kinds, route_km_max"
    )
    valid_from: AwareDatetime | None = Field(default=None, description="null: from when it is armed")
    valid_to: AwareDatetime | None = None


class NewRule(RuleBody):
    """A new rule, as a draft."""

    note: str = Field(default="", max_length=1_000, description="why")


class ChangedRule(NewRule):
    """A changed rule, as a draft behind the version that was seen."""

    based_on: Number = Field(description="the version that was seen; 409 when another came first")


class Switch(BaseModel):
    """Why a rule is armed or put off, and from when."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(default="", max_length=1_000)
    based_on: Number | None = Field(default=None, description="the version that was seen; 409 when another came first")
    valid_from: AwareDatetime | None = Field(default=None, description="of arming; null: at once, or as its draft says")


def grounds_of(request: Request) -> Grounds:
    """What scopes are resolved with, kept by this process."""
    grounds: Grounds = request.app.state.grounds
    return grounds


GroundsOf = Annotated[Grounds, Depends(grounds_of)]


# ---------------------------------------------------------------- reading
@router.get("")
async def list_rules(actor: RulesReader, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Every rule that holds for the viewer's unit, each in its newest version; `in_force`: the version that holds now.

    `broken` says why a rule in force (or its newest version) cannot be followed: it is left out by the workers.
    """
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, now)
        rows = await rule_desk.list_rules(connection, now)
    return {"rules": [_shown(row, actor, ground) for row in rows if may_see(actor.unit, row["unit_id"], ground)]}


@router.get("/kinds")
async def list_kinds(_actor: RulesReader) -> dict[str, Any]:
    """The kinds of rules with a schema of their parameters; labels are keys of the screen's words."""
    return {
        "kinds": [
            {
                "kind": kind.name,
                "label": f"rule.{kind.name}",
                "scoped": kind.scoped,
                "many": kind.many,
                "lateness_s": 900,
                "parameters": [
                    {
                        "name": one.name,
                        "label": f"rule.{kind.name}.{one.name}",
                        "unit": one.unit,
                        "default": one.default,
                        "min": one.low,
                        "max": one.high,
                        "whole": one.whole,
                        "choices": list(one.choices),
                    }
                    for one in parameters_of(kind)
                ],
            }
            for kind in KINDS.values()
        ]
    }


@router.get("/{id}")
async def get_rule(id: Id, actor: RulesReader, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """One rule: its versions (newest first) with who, when, why and what each changed; findings by day, of 7 days."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, now)
        rule = await _rule(connection, id, actor, ground, deps)
        rows = await rule_desk.list_versions(connection, id)
        fired = await rule_desk.count_fired(connection, rule, now - timedelta(days=FIRED_DAYS))
    versions = [
        {**_said(row), "changes": [{**change, **_plain(change)} for change in changed]}
        for row, changed in zip(rows, rule_desk.changes(rows), strict=True)
    ]
    return {"rule": _shown(rule, actor, ground), "versions": versions, "fired": fired}


# ---------------------------------------------------------------- writing
@router.post("", status_code=201, dependencies=[SameSite])
async def make_rule(body: NewRule, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """A new rule as a draft: nothing follows it before it is armed."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, now)
        content = await content_of(body, actor, ground, deps)
        id = await rule_desk.draft(connection, content, Author(login=actor.login, now=now, note=body.note))
        return await _answer(connection, id, actor, ground, deps, "rule_drafted")


@router.put("/{id}", dependencies=[SameSite])
async def change_rule(
    id: Id, body: ChangedRule, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf
) -> dict[str, Any]:
    """A changed draft. What is in force stays so until the draft is armed."""
    now = deps.settings.clock.now()
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, now)
        rule = await _rule(connection, id, actor, ground, deps)
        await require_edit(actor, rule["unit_id"], ground, deps, f"rule {id}")
        content = await content_of(body, actor, ground, deps)
        if content.kind != rule["kind"]:
            raise Wrong("kind", f"kind must stay {rule['kind']}: make a new rule")
        author = Author(login=actor.login, now=now, note=body.note)
        await rule_desk.change(connection, id, body.based_on, content, author)
        return await _answer(connection, id, actor, ground, deps, "rule_changed")


@router.post("/{id}/arm", dependencies=[SameSite])
async def arm_rule(id: Id, body: Switch, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Put the newest version in force, at once or from `valid_from` on."""
    return await _switch(id, body, (actor, deps, grounds), armed=True)


@router.post("/{id}/off", dependencies=[SameSite])
async def put_off(id: Id, body: Switch, actor: RulesEditor, deps: DepsOf, grounds: GroundsOf) -> dict[str, Any]:
    """Put the rule out of force at once; its findings stay."""
    return await _switch(id, body, (actor, deps, grounds), armed=False)


async def _switch(id: int, body: Switch, by: tuple[Actor, Deps, Grounds], *, armed: bool) -> dict[str, Any]:
    actor, deps, grounds = by
    now = deps.settings.clock.now()
    author = Author(login=actor.login, now=now, note=body.note)
    async with deps.reach.as_viewer(actor.viewer) as connection:
        ground = await grounds.get(connection, now)
        rule = await _rule(connection, id, actor, ground, deps)
        await require_edit(actor, rule["unit_id"], ground, deps, f"rule {id}")
        if body.based_on not in (None, rule["version"]):
            raise Conflict(f"rule {id} was changed in between: its newest version is {rule['version']}")
        if armed:
            if reason := why_broken(rule, ground):
                raise Wrong("rule", f"it cannot be followed: {reason}")
            await rule_desk.arm(connection, rule, author, body.valid_from)
        else:
            await rule_desk.put_off(connection, rule, author)
        return await _answer(connection, id, actor, ground, deps, "rule_armed" if armed else "rule_put_off")


# ---------------------------------------------------------------- shared with the dry runs
async def content_of(body: RuleBody, actor: Actor, ground: Ground, deps: Deps) -> Content:
    """The body as checked content; raises Wrong naming the field, Forbidden where the unit is not the actor's."""
    kind = KINDS.get(body.kind)
    is_province = body.unit is None and may_edit(actor.unit, None, ground)
    unit = body.unit if body.unit is not None or is_province else actor.unit
    if kind is not None and not kind.scoped:
        unit = body.unit
    content = Content(
        unit_id=unit,
        **{
            name: getattr(body, name)
            for name in (
                "kind", "name", "clause", "level", "lateness_s", "parameters", "scope", "schedule", "exemptions",
                "valid_from", "valid_to",
            )
        },
    )  # fmt: skip
    await require_edit(actor, unit, ground, deps, f"a rule of unit {unit}")
    try:
        rule_desk.checked(content, ground)
    except FieldRefused as error:  # without the number that it was checked under
        raise Wrong(error.field, f"{error.field} {error.reason}") from error
    except SettingsError as error:
        raise Wrong("parameters", str(error)) from error
    return content


async def _rule(connection: AsyncConnection, id: int, actor: Actor, ground: Ground, deps: Deps) -> dict[str, Any]:
    rule = await rule_desk.get_rule(connection, id, deps.settings.clock.now())
    if not may_see(actor.unit, rule["unit_id"], ground):
        raise NotFound(f"there is no rule {id}")
    return rule


async def require_edit(actor: Actor, unit: int | None, ground: Ground, deps: Deps, what: str) -> None:
    """Raise Forbidden unless what belongs to a unit is the actor's to change; the attempt is audited."""
    if unit is not None and unit not in ground.below:
        raise Wrong("unit", f"unit must be a known unit, not {unit}")
    if may_edit(actor.unit, unit, ground):
        return
    async with deps.reach.open() as connection:  # a transaction of its own: the refusal undoes the other one
        deed = people.deed_of(actor, "change_rule", what, "forbidden")
        await people.record(connection, deed, deps.settings.clock.now())
    whose = "the province's: the corps alone changes it" if unit is None else "not of your unit or of one below it"
    raise Forbidden(f"this rule is {whose}")


async def _answer(  # noqa: PLR0913 - what every answer after a deed is made of
    connection: AsyncConnection, id: int, actor: Actor, ground: Ground, deps: Deps, deed: str
) -> dict[str, Any]:
    now = deps.settings.clock.now()
    rule = await rule_desk.get_rule(connection, id, now)
    subject = f"rule {id} version {rule['version']}: {rule['name']}"
    await people.record(connection, people.deed_of(actor, deed, subject, rule["state"]), now)
    return _shown(rule, actor, ground)


def _shown(row: Mapping[str, Any], actor: Actor, ground: Ground) -> dict[str, Any]:
    return {
        **_said(row),
        "in_force": row["in_force"],
        "editable": may_edit(actor.unit, row["unit_id"], ground),
        "broken": why_broken(row, ground),
    }


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in row.items() if name not in ("unit_id", "in_force")}
    moments = {name: _moment(row[name]) for name in ("valid_from", "valid_to", "changed_at")}
    return {**said, **moments, "unit": row["unit_id"]}


def _plain(change: Mapping[str, Any]) -> dict[str, Any]:
    """Moments of a change as microseconds."""
    return {name: _moment(change[name]) for name in ("before", "after") if isinstance(change[name], datetime)}


def _moment(at: datetime) -> int | None:
    """Microseconds; None for the end of what has no end."""
    return us_of(at) if at.year < FOR_EVER.year else None
