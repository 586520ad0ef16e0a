"""The map's standing facts: the checkpoints that the viewer may see, and roads and boundaries of the land around them.

Roads, boundaries and their names are public: they are shown as far as a map of the area can be moved.
"""

import asyncio
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from psycopg.rows import dict_row

from dashboards.api.units import load_tree
from dashboards.auth import CurrentActor, DepsOf
from dashboards.deps import Deps
from dashboards.facts import Facts
from dashboards.lines import thinned
from dashboards.reach import SQL
from dispatch import people
from traffic.errors import ServiceError

router = APIRouter(prefix="/api", tags=["map"])
CACHED_MAX = 256  # areas kept ready, one for each unit that looks
MARGIN_DEG = 0.05
AROUND_DEG_MIN = 1.5, 1.0  # what lies around the area, to each side: as much again, but at least this
LINE_TOLERANCE_DEG = 5e-5  # about 5 m: a line on a province's map need not bend finer
Bounds = tuple[float, float, float, float]  # west, south, east, north


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """An answer as it goes out: megabytes are packed once, not for each person who looks."""

    plain: bytes
    packed: bytes


def _make_ready(area: dict[str, Any]) -> Ready:
    area["links"] = _collection(_link(row) for row in area["links"])
    plain = msgspec.json.encode(area)
    return Ready(plain=plain, packed=gzip.compress(plain, 6, mtime=0))


class Areas:
    """Ready answers by unit, as long as the network stays as it is."""

    def __init__(self) -> None:
        self._ready: dict[int, tuple[Facts, object, Ready]] = {}

    def find(self, unit: int, of: Facts, stamp: object) -> Ready | None:
        """The answer for a unit, made from the same facts, with objects of the same stamp."""
        kept = self._ready.get(unit)
        return kept[2] if kept is not None and kept[0] is of and kept[1] == stamp else None

    def keep(self, unit: int, of: Facts, stamp: object, answer: Ready) -> None:
        """Remember an answer."""
        if len(self._ready) >= CACHED_MAX:
            self._ready.clear()
        self._ready[unit] = of, stamp, answer


@router.get("/map")
async def get_map(request: Request, actor: CurrentActor, deps: DepsOf) -> Response:
    """Divisions, roads and links as GeoJSON, what stands on the roads, the viewer's unit, the bounds of its area.

    Links, checkpoints, detectors, roadside objects and crews are those of the viewer's area; places are WGS-84.
    """
    hub = deps.reader.hub
    if hub is None:
        raise ServiceError("the map is not read yet: try again in a moment")
    areas: Areas = request.app.state.areas
    facts = hub.facts
    stamp = await _stamp(deps)
    answer = areas.find(actor.unit, facts, stamp)
    if answer is None:
        area = await _area(deps, actor.unit, sorted(hub.gates_of(actor.unit)), facts.below(actor.unit))
        answer = await asyncio.to_thread(_make_ready, area)  # beside the loop, where screens wait for their tick
        areas.keep(actor.unit, facts, stamp, answer)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(answer.plain, media_type="application/json", headers={"Vary": "Accept-Encoding"})
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(answer.packed, media_type="application/json", headers=headers)


async def _stamp(deps: Deps) -> object:
    async with deps.reach.open() as connection:
        return await (await connection.execute(SQL["map_stamp"])).fetchone()


async def _area(deps: Deps, unit: int, gates: list[int], below: list[int]) -> dict[str, Any]:
    tree = await load_tree(deps)
    line = [tree.units[member] for member in (unit, *tree.ancestors(unit))] if unit in tree.units else []
    async with deps.reach.open() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL["map_checkpoints"], {"ids": gates})
        checkpoints = await cursor.fetchall()
        await cursor.execute(SQL["map_links"])
        links = await cursor.fetchall()
        await cursor.execute(SQL["map_divisions"])
        divisions = await cursor.fetchall()
        own = {}
        for part in ("links", "detectors", "objects", "crews"):
            await cursor.execute(SQL["map_link_lines" if part == "links" else f"map_{part}"], {"below": below})
            own[part] = await cursor.fetchall()
        number, name, name_en, level = await people.find_unit(connection, unit)
    boxes = {row["adcode"]: _box(_points(row["boundary"]["coordinates"])) for row in divisions}
    division = next((above.adcode for above in line if above.adcode and (above.level > 1 or above.id == unit)), None)
    bounds = _bounds(boxes.get(division) if division else None, boxes, checkpoints)
    around = _around(bounds)
    return {
        "divisions": _collection(_division(row) for row in divisions if _touch(boxes[row["adcode"]], around)),
        "roads": _collection(_roads(link for link in links if _touch(_box(link["geometry"]), around))),
        "checkpoints": checkpoints,
        **own,
        "unit": {"id": number, "name": name, "name_en": name_en, "level": level},
        "bounds": bounds,
    }


def _collection(features: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


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


def _link(row: dict[str, Any]) -> dict[str, Any]:
    line = thinned(row.pop("geometry"), LINE_TOLERANCE_DEG)
    geometry = {"type": "LineString", "coordinates": [[round(lon, 5), round(lat, 5)] for lon, lat in line]}
    return {"type": "Feature", "id": row["id"], "properties": row, "geometry": geometry}


def _division(row: dict[str, Any]) -> dict[str, Any]:
    names = {key: row[key] for key in ("adcode", "name", "name_en", "level")}
    return {"type": "Feature", "properties": names, "geometry": row["boundary"]}


def _bounds(own: Bounds | None, boxes: Mapping[int, Bounds], checkpoints: Sequence[dict[str, Any]]) -> Bounds:
    """The unit's own division with its checkpoints; the whole province for who has neither."""
    parts = [own] if own is not None else []
    if checkpoints:
        parts.append(_box((row["lon"], row["lat"]) for row in checkpoints))
    if not parts:
        parts = list(boxes.values()) or [(121.0, 40.0, 132.0, 47.0)]
    west, south, east, north = _joined(parts)
    return west - MARGIN_DEG, south - MARGIN_DEG, east + MARGIN_DEG, north + MARGIN_DEG


def _around(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    across, along = max(east - west, AROUND_DEG_MIN[0]), max(north - south, AROUND_DEG_MIN[1])
    return west - across, south - along, east + across, north + along


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
