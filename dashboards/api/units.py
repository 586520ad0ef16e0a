"""Units: the viewer's own with all below it, the line above, and how their areas stand."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from psycopg.rows import class_row

from dashboards.api.errors import NotFound
from dashboards.api.scope import AreaOf, Id, rows
from dashboards.api.shapes import AreaNow, AreaSummary, CrewCount, IndexNow, UnitRef
from dashboards.auth import CurrentActor, DepsOf
from dashboards.deps import Deps
from dashboards.facts import Facts
from dashboards.reach import SQL
from dashboards.topics.links import CYCLE_US
from dashboards.topics.units import FRESH_US
from traffic import store
from traffic.roads.model import EventKind
from traffic.units import Parent, Unit, UnitTree

router = APIRouter(prefix="/api", tags=["units"])


async def load_tree(deps: Deps) -> UnitTree:
    """The unit tree as it is now."""
    async with deps.reach.open() as connection:
        async with connection.cursor(row_factory=class_row(Unit)) as cursor:
            units = await (await cursor.execute(SQL["units"])).fetchall()
        async with connection.cursor(row_factory=class_row(Parent)) as cursor:
            parents = await (await cursor.execute(SQL["unit_parents"])).fetchall()
    return UnitTree(units, parents, at=deps.settings.clock.now())


@router.get("/units")
async def list_units(actor: CurrentActor, deps: DepsOf) -> dict[str, Any]:
    """Units of the viewer's area; `within` is false for those above, which are there for their names."""
    tree = await load_tree(deps)
    if actor.unit not in tree.units:
        return {"units": []}
    below = tree.subtree(actor.unit)
    shown = sorted(below | set(tree.ancestors(actor.unit)), key=lambda unit: (tree.units[unit].level, unit))
    return {
        "units": [
            {
                "id": unit.id,
                "code": unit.code,
                "name": unit.name,
                "name_en": unit.name_en,
                "level": unit.level,
                "branch": unit.branch,
                "parent": tree.parent(unit.id),
                "within": unit.id in below,
            }
            for unit in (tree.units[number] for number in shown)
        ]
    }


@router.get("/units/{id}/summary")
async def get_summary(id: Id, area: AreaOf, deps: DepsOf) -> AreaSummary:
    """How the area of a unit and those of the units right below it stand: index, open events, crews, risk."""
    tree = await load_tree(deps)
    if id not in area.below or id not in tree.units:
        raise NotFound("there is no such unit, or it is not yours")
    children = sorted(unit for unit in tree.units if tree.parent(unit) == id)
    top = id if area.facts.is_top(id) else None
    now_us = deps.settings.clock.now_us()
    cycles, fresh = store.when(now_us - CYCLE_US), store.when(now_us - FRESH_US)
    async with deps.reach.as_viewer(area.actor.viewer, one_moment=True) as connection:
        asked = {"units": [*children, *([] if top else [id])], "top": top, "since": cycles}
        indices = {row.pop("unit"): row for row in await rows(connection, "area_indices", asked)}
        events = await rows(connection, "area_events", {})
        crews = await rows(connection, "area_crews", {"below": area.facts.below(id), "since": fresh})
    shown = {
        unit: _area(tree.units[unit], area.facts, indices.get(unit), events, crews) for unit in (id, *children)
    }  # fmt: skip
    return AreaSummary(**shown[id].model_dump(), children=[shown[child] for child in children])


def _area(
    unit: Unit, facts: Facts, index: Mapping[str, Any] | None, events: Iterable[dict], crews: Iterable[dict]
) -> AreaNow:
    """What belongs to a unit of the area, and to all below it."""

    def within(rows_of: Iterable[dict]) -> list[dict]:
        return [row for row in rows_of if unit.id in facts.above.get(row["unit"], ())]

    counts = dict.fromkeys((str(kind) for kind in EventKind), 0)
    for row in within(events):
        counts[row["kind"]] += row["count"]
    of_crews = within(crews)
    return AreaNow(
        unit=UnitRef(id=unit.id, name=unit.name, name_en=unit.name_en, level=unit.level),
        index=IndexNow(**index) if index else None,
        events_open=counts,  # type: ignore[arg-type]
        crews=CrewCount(fresh=sum(row["fresh"] for row in of_crews), total=sum(row["total"] for row in of_crews)),
    )
