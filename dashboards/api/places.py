"""Road and stake to a point, a point to road and stake, and the search for anything that has a place or a name."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query, Request
from psycopg.rows import class_row
from pydantic import BaseModel, Field

from dashboards import gazetteer
from dashboards.api.errors import NotFound, Wrong
from dashboards.api.scope import Area, AreaOf, rows
from dashboards.api.shapes import Found, FoundList, PlaceAnswer, RoadRef
from dashboards.auth import DepsOf
from dashboards.deps import Deps
from dashboards.gazetteer import RoadName, Spoken
from dashboards.reach import SQL
from traffic.geo import along, nearest_on_line
from traffic.nearest import NearestPlaces
from traffic.network import (
    BEFORE_BREAK,
    STAKES_DECREASE,
    STAKES_INCREASE,
    Chainage,
    Link,
    Network,
    NoSuchPlace,
    StakeAmbiguous,
    StakeUnreadable,
    parse_sided_stake,
    stake_text,
)

router = APIRouter(prefix="/api", tags=["places"])
RESULTS_MAX = 20
PLACES_MAX = 8  # of one text; the rest of the results is for names
Text = Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The network as places are looked up in it, of one version."""

    version: int
    roads: tuple[RoadName, ...]
    network: Network
    nearest: NearestPlaces


class Gazetteer:
    """Reads the network when it became another."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._lock = asyncio.Lock()

    async def lines(self, deps: Deps, area: Area) -> Lines:
        """The network as it is; raises psycopg.Error."""
        version = area.facts.network_version
        async with self._lock:
            if self._lines is None or self._lines.version != version:
                async with deps.reach.open() as connection:
                    read = await _read(connection)
                self._lines = await asyncio.to_thread(_lines, version, *read)
            return self._lines


async def _read(connection: psycopg.AsyncConnection) -> tuple[list[RoadName], list[Link], list[Chainage]]:
    async with connection.cursor(row_factory=class_row(RoadName)) as cursor:
        roads = await (await cursor.execute(SQL["roads"])).fetchall()
    async with connection.cursor(row_factory=class_row(Chainage)) as cursor:
        chainages = await (await cursor.execute(SQL["chainages"])).fetchall()
    links = [_link(row) for row in await rows(connection, "links", {})]
    return roads, links, chainages


def _link(row: dict[str, Any]) -> Link:
    line = tuple((float(lon), float(lat)) for lon, lat in row["geometry"])
    return Link(**{**row, "geometry": line, "corridor": tuple(row["corridor"])})


def _lines(version: int, roads: list[RoadName], links: list[Link], chainages: list[Chainage]) -> Lines:
    return Lines(
        version=version, roads=tuple(roads), network=Network(links, chainages), nearest=NearestPlaces(links)
    )  # fmt: skip


# ---------------------------------------------------------------- a place both ways
class AskedPlace(BaseModel):
    """Road (code or name) and stake, or a point."""

    road: Annotated[str | None, Field(max_length=64)] = None
    stake: Annotated[str | None, Field(max_length=32)] = None
    direction: Annotated[int, Field(ge=1, le=2)] = STAKES_INCREASE
    lon: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False)] = None
    lat: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False)] = None


@router.get("/place")
async def get_place(request: Request, area: AreaOf, deps: DepsOf, asked: Annotated[AskedPlace, Query()]) -> PlaceAnswer:
    """The point of a road and stake, or the nearest place of a point."""
    keeper: Gazetteer = request.app.state.gazetteer
    lines = await keeper.lines(deps, area)
    if asked.road is not None and asked.stake is not None:
        return _answer(area, lines, *_spoken(lines, asked.road, asked.stake, asked.direction), away_m=0.0)
    if asked.lon is None or asked.lat is None:
        raise Wrong("road", "give road and stake, or lon and lat")
    if not lines.roads:
        raise NotFound("there are no roads here")
    return await asyncio.to_thread(_nearest, area, lines, (asked.lon, asked.lat), asked.direction)


def _spoken(lines: Lines, road: str, stake: str, direction: int) -> tuple[Link, int]:
    roads = gazetteer.road_of(road, lines.roads)
    if len(roads) != 1:
        raise NotFound("there is no such road" if not roads else "several roads are called so: give the code")
    try:
        stake_m, side = parse_sided_stake(stake)
        piece = lines.network.piece_of(roads[0].id, stake_m, side)
        return lines.network.link_at(roads[0].id, stake_m, direction, piece), stake_m
    except (StakeUnreadable, StakeAmbiguous) as error:
        raise Wrong("stake", str(error)) from error
    except NoSuchPlace as error:
        raise NotFound(str(error)) from error


def _nearest(area: Area, lines: Lines, point: tuple[float, float], direction: int) -> PlaceAnswer:
    """Near a road by the index; far from all of them link by link."""
    link, stake_m = lines.nearest.find_one(point) or _far(lines, point)
    away_m = nearest_on_line(link.geometry, point)[1]
    if link.direction != direction:
        try:
            link = lines.network.link_at(link.road_id, stake_m, direction, link.piece)
        except NoSuchPlace:  # a road of one direction
            pass
    return _answer(area, lines, link, stake_m, away_m=away_m)


def _far(lines: Lines, point: tuple[float, float]) -> tuple[Link, int]:
    place = lines.network.place_of(point)
    return lines.network.link_at(place.road_id, place.stake_m, STAKES_INCREASE, place.piece), place.stake_m


def _answer(area: Area, lines: Lines, link: Link, stake_m: int, *, away_m: float) -> PlaceAnswer:
    road = next(road for road in lines.roads if road.id == link.road_id)
    span = abs(link.to_stake_m - link.from_stake_m)
    (lon, lat), bearing = along(link.geometry, abs(stake_m - link.from_stake_m) / span if span else 0.0)
    mine = not {link.unit_id, *link.corridor}.isdisjoint(area.below)
    return PlaceAnswer(
        road=RoadRef(id=road.id, code=road.code, name=road.name, name_en=road.name_en),
        stake_m=stake_m,
        stake=stake_text(stake_m) + lines.network.side_of(link, stake_m),
        direction=link.direction,
        lon=round(lon, 6),
        lat=round(lat, 6),
        bearing_deg=round(bearing, 1),
        away_m=round(away_m, 1),
        link_id=link.id if mine else None,
        unit_id=link.unit_id if mine else None,
    )


# ---------------------------------------------------------------- search
@router.get("/search")
async def search(request: Request, area: AreaOf, deps: DepsOf, q: Text) -> FoundList:
    """Places first, then units, checkpoints, objects, crews and detectors of the viewer's area by name or code."""
    keeper: Gazetteer = request.app.state.gazetteer
    lines = await keeper.lines(deps, area)
    text = gazetteer.folded(q).lower()
    if not text:
        return FoundList(results=[])
    places = _places(lines, q)
    values = {"text": text, "below": area.below, "limit": RESULTS_MAX}
    async with deps.reach.as_viewer(area.actor.viewer) as connection:
        named = [Found(**row) for row in await rows(connection, "search", values)]
    return FoundList(results=(places + named)[:RESULTS_MAX])


def _places(lines: Lines, q: str) -> list[Found]:
    found: list[Found] = []
    for place in gazetteer.spoken(q, lines.roads):
        if len(found) >= PLACES_MAX:
            break
        if place.stake_m is None:
            found.append(_found("road", place, None))
        else:
            link = _link_of(lines, place)
            if link is not None:
                found.append(_found("place", place, link))
    return found


def _link_of(lines: Lines, place: Spoken) -> Link | None:
    assert place.stake_m is not None
    piece = lines.network.piece_of(place.road.id, place.stake_m, place.side)
    for direction in (STAKES_INCREASE, STAKES_DECREASE):
        try:
            return lines.network.link_at(place.road.id, place.stake_m, direction, piece)
        except StakeAmbiguous:
            piece = lines.network.piece_of(place.road.id, place.stake_m, BEFORE_BREAK)
            return lines.network.link_at(place.road.id, place.stake_m, direction, piece)
        except NoSuchPlace:
            continue
    return None


def _found(kind: str, place: Spoken, link: Link | None) -> Found:
    lon = lat = None
    if link is not None and place.stake_m is not None:
        span = abs(link.to_stake_m - link.from_stake_m)
        (lon, lat), _ = along(link.geometry, abs(place.stake_m - link.from_stake_m) / span if span else 0.0)
        lon, lat = round(lon, 6), round(lat, 6)
    stake = "" if place.stake_m is None else f" {stake_text(place.stake_m)}{place.side}"
    return Found(
        kind=kind,  # type: ignore[arg-type]
        id=place.road.id if link is None else None,
        title=f"{place.road.code}{stake}",
        title_en=f"{place.road.code}{stake}",
        detail=f"{place.road.name} {place.road.name_en}",
        road=place.road.code,
        stake_m=place.stake_m,
        direction=None,
        lon=lon,
        lat=lat,
        unit_id=None,
    )
