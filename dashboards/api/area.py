"""The map's standing facts for the viewer's area: boundaries, roads, checkpoints."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from psycopg.rows import dict_row

from dashboards.api.units import load_tree
from dashboards.auth import CurrentActor, DepsOf
from dashboards.deps import Deps
from dashboards.reach import SQL
from dispatch import people
from traffic.errors import ServiceError

router = APIRouter(prefix="/api", tags=["map"])
CACHED_MAX = 256  # areas kept ready, one for each unit that looks
MARGIN_DEG = 0.05
Bounds = tuple[float, float, float, float]  # west, south, east, north


class Areas:
    """Ready answers by unit, as long as the network stays as it is."""

    def __init__(self) -> None:
        self._ready: dict[int, tuple[object, bytes]] = {}

    def find(self, unit: int, of: object) -> bytes | None:
        """The answer for a unit, made from the same facts."""
        kept = self._ready.get(unit)
        return kept[1] if kept is not None and kept[0] is of else None

    def keep(self, unit: int, of: object, answer: bytes) -> None:
        """Remember an answer."""
        if len(self._ready) >= CACHED_MAX:
            self._ready.clear()
        self._ready[unit] = of, answer


@router.get("/map")
async def get_map(request: Request, actor: CurrentActor, deps: DepsOf) -> Response:
    """Divisions and roads as GeoJSON, checkpoints, the viewer's unit, and the bounds of its area (WGS-84)."""
    hub = deps.reader.hub
    if hub is None:
        raise ServiceError("the map is not read yet: try again in a moment")
    areas: Areas = request.app.state.areas
    facts = hub.facts
    answer = areas.find(actor.unit, facts)
    if answer is None:
        answer = msgspec.json.encode(await _area(deps, actor.unit, sorted(hub.gates_of(actor.unit))))
        areas.keep(actor.unit, facts, answer)
    return Response(answer, media_type="application/json")


async def _area(deps: Deps, unit: int, gates: list[int]) -> dict[str, Any]:
    tree = await load_tree(deps)
    below = tree.subtree(unit) if unit in tree.units else frozenset()
    line = (unit, *tree.ancestors(unit)) if unit in tree.units else (unit,)
    async with deps.reach.open() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["map_checkpoints"], {"ids": gates})
        checkpoints = await cursor.fetchall()
        owners = {row["unit_id"] for row in checkpoints}
        await cursor.execute(SQL["map_links"], {"units": sorted(below | owners)})
        roads = _roads(await cursor.fetchall())
        await cursor.execute(SQL["map_divisions"])
        divisions = await cursor.fetchall()
        number, name, name_en, level = await people.find_unit(connection, unit)
    adcodes = [tree.units[member].adcode for member in line if member in tree.units]
    shown, bounds = _shown(divisions, next((code for code in adcodes if code), None), checkpoints, level)
    return {
        "divisions": {"type": "FeatureCollection", "features": shown},
        "roads": {"type": "FeatureCollection", "features": roads},
        "checkpoints": checkpoints,
        "unit": {"id": number, "name": name, "name_en": name_en, "level": level},
        "bounds": bounds,
    }


def _roads(links: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One feature for each road, its links as lines (neighbours joined)."""
    features: dict[int, dict[str, Any]] = {}
    for link in links:
        feature = features.get(link["id"])
        if feature is None:
            names = {key: link[key] for key in ("code", "name", "name_en", "kind", "approximate")}
            geometry: dict[str, Any] = {"type": "MultiLineString", "coordinates": []}
            feature = features[link["id"]] = {"type": "Feature", "properties": names, "geometry": geometry}
        lines = feature["geometry"]["coordinates"]
        points = link["geometry"]
        if lines and lines[-1][-1] == points[0]:
            lines[-1] += points[1:]
        else:
            lines.append(list(points))
    return list(features.values())


def _shown(
    divisions: Sequence[dict[str, Any]], adcode: int | None, checkpoints: Sequence[dict[str, Any]], level: int
) -> tuple[list[dict[str, Any]], Bounds]:
    """Divisions that touch the area, and its bounds: the unit's own division, and the checkpoints that it may see."""
    boxes = {row["adcode"]: _box(_points(row["boundary"]["coordinates"])) for row in divisions}
    parts = [_box((row["lon"], row["lat"]) for row in checkpoints)] if checkpoints else []
    if level == 1:
        parts += boxes.values()
    elif adcode in boxes:
        parts.append(boxes[adcode])
    if not parts:
        parts = list(boxes.values()) or [(121.0, 40.0, 132.0, 47.0)]
    west, south, east, north = _joined(parts)
    bounds = (west - MARGIN_DEG, south - MARGIN_DEG, east + MARGIN_DEG, north + MARGIN_DEG)
    features = [
        {
            "type": "Feature",
            "properties": {key: row[key] for key in ("adcode", "name", "name_en", "level")},
            "geometry": row["boundary"],
        }
        for row in divisions
        if _touch(boxes[row["adcode"]], bounds)
    ]
    return features, bounds


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    """All positions of a GeoJSON geometry's coordinates, however deep they lie."""
    if coordinates and isinstance(coordinates[0], int | float):
        yield coordinates[0], coordinates[1]
    else:
        for part in coordinates:
            yield from _points(part)


def _box(points: Iterable[tuple[float, float]]) -> Bounds:
    lons, lats = zip(*points, strict=True)
    return min(lons), min(lats), max(lons), max(lats)


def _joined(boxes: Sequence[Bounds]) -> Bounds:
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def _touch(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
