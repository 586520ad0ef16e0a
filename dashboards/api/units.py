"""Units: the viewer's own with all below it, and the line above."""

from typing import Any

from fastapi import APIRouter
from psycopg.rows import class_row

from dashboards.auth import CurrentActor, DepsOf
from dashboards.deps import Deps
from dashboards.reach import SQL
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
