"""Where a record says that it is: road and stakes, or a point on the map, as a stretch of a known road. Pure."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from traffic.errors import Reason
from traffic.geo import Point, gcj02_to_wgs84, in_china
from traffic.ingest.checks import Fault
from traffic.limits import PLACE_AWAY_M_MAX, TEXT_CHARS_MAX
from traffic.nearest import NearestPlaces
from traffic.network import (
    STAKES_DECREASE,
    STAKES_INCREASE,
    Chainage,
    Link,
    Network,
    NoSuchPlace,
    StakeUnreadable,
    parse_sided_stake,
)

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Direction = Annotated[int, Meta(ge=0, le=2)]
Datum = Literal["wgs84", "gcj02"]


class Roads:
    """Roads by code, their links, and the index of places. Without links it knows no place at all."""

    def __init__(
        self, codes: Mapping[str, int] | None = None, links: Iterable[Link] = (), chainages: Iterable[Chainage] = ()
    ) -> None:
        links = tuple(links)
        self._ids = {_folded(code): road_id for code, road_id in (codes or {}).items()}
        self.network = Network(links, chainages)
        self.nearest = NearestPlaces(links)
        self._of_road: dict[tuple[int, int], list[Link]] = defaultdict(list)
        for link in links:
            self._of_road[link.road_id, link.direction].append(link)

    def id_of(self, code: str) -> int:
        """The road of a code; raises Fault."""
        road_id = self._ids.get(_folded(code))
        if road_id is None:
            raise Fault("road", Reason.UNKNOWN_ROAD, f"no road has the code {code[:40]}")
        return road_id

    def between(self, ends: tuple[Link, Link], low_m: int, high_m: int) -> list[tuple[Link, int]]:
        """(link, metres of it) of one direction from one end's link to the other's."""
        pieces = range(min(end.piece for end in ends), max(end.piece for end in ends) + 1)
        found = []
        for link in self._of_road[ends[0].road_id, ends[0].direction]:
            low, high = sorted((link.from_stake_m, link.to_stake_m))
            metres = min(high, high_m) - max(low, low_m)
            if link.piece in pieces and (metres > 0 or link in ends):
                found.append((link, max(metres, 0)))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A place on a road, `from_stake_m` <= `to_stake_m`; `unit_id` owns most of it, `units` all of it."""

    road_id: int
    from_stake_m: int
    to_stake_m: int
    direction: int  # 0: both
    unit_id: int
    units: frozenset[int]
    point: Point  # where it begins, or the point that was given


class Placed(msgspec.Struct, kw_only=True, frozen=True):
    """The fields that say where; a record of a place begins with them."""

    road: Text | None = None
    from_stake: Text | None = None
    to_stake: Text | None = None
    direction: Direction | None = None
    lon: float | None = None
    lat: float | None = None
    datum: Datum | None = None


def point_of(lon: float, lat: float, datum: str | None) -> Point:
    """A point in WGS-84; raises Fault where it is none in this country."""
    if not in_china(lon, lat):
        raise Fault("lon", Reason.OUT_OF_RANGE, "longitude and latitude are no point in China")
    return gcj02_to_wgs84(lon, lat) if datum == "gcj02" else (lon, lat)


def stretch_of(place: Placed, roads: Roads, *, stake_field: str = "from_stake") -> Stretch:
    """The stretch that a record names; raises Fault. Stakes go before a point, which may stand beside them."""
    if (place.lon is None) != (place.lat is None):
        raise Fault("lon" if place.lon is None else "lat", Reason.MISSING_FIELD, "a point has both lon and lat")
    point = None if place.lon is None or place.lat is None else point_of(place.lon, place.lat, place.datum)
    road_id = None if place.road is None else roads.id_of(place.road)
    if place.from_stake is not None:
        if road_id is None:
            raise Fault("road", Reason.MISSING_FIELD, "a stake is told with its road")
        return _by_stakes(place, roads, road_id, point, stake_field)
    if point is None:
        detail = f"say where: road and {stake_field}, or lon and lat"
        raise Fault("road" if road_id is None else stake_field, Reason.MISSING_FIELD, detail)
    return _by_point(place, roads, road_id, point)


def _by_point(place: Placed, roads: Roads, road_id: int | None, point: Point) -> Stretch:
    direction = place.direction or 0
    found = roads.nearest.find_one(point, road_id=road_id, direction=direction)
    if found is None:
        where = "every road" if road_id is None else f"road {place.road}"
        raise Fault("lon", Reason.UNKNOWN_PLACE, f"more than {PLACE_AWAY_M_MAX:g} m from {where}")
    link, stake_m = found
    return Stretch(
        road_id=link.road_id,
        from_stake_m=stake_m,
        to_stake_m=stake_m,
        direction=direction,
        unit_id=link.unit_id,
        units=frozenset((link.unit_id,)),
        point=point,
    )


def _by_stakes(place: Placed, roads: Roads, road_id: int, point: Point | None, stake_field: str) -> Stretch:
    assert place.from_stake is not None
    begin = _stake(place.from_stake, stake_field)
    end = begin if place.to_stake is None else _stake(place.to_stake, "to_stake")
    if end[0] < begin[0]:
        begin, end = end, begin
    metres: dict[int, int] = defaultdict(int)
    why = ""
    for direction in (place.direction,) if place.direction else (STAKES_INCREASE, STAKES_DECREASE):
        try:
            ends = tuple(
                roads.network.link_at(road_id, stake_m, direction, roads.network.piece_of(road_id, stake_m, side))
                for stake_m, side in (begin, end)
            )
        except NoSuchPlace as error:
            why = why or str(error)
            continue
        if point is None:
            point, _ = roads.network.point_at(road_id, begin[0], direction, ends[0].piece)
        for link, length_m in roads.between((ends[0], ends[1]), begin[0], end[0]):
            metres[link.unit_id] += length_m
    if not metres or point is None:
        raise Fault(stake_field, Reason.UNKNOWN_PLACE, why)
    return Stretch(
        road_id=road_id,
        from_stake_m=begin[0],
        to_stake_m=end[0],
        direction=place.direction or 0,
        unit_id=max(metres, key=lambda unit: (metres[unit], -unit)),
        units=frozenset(metres),
        point=point,
    )


def _stake(text: str, field: str) -> tuple[int, str]:
    try:
        return parse_sided_stake(text)
    except StakeUnreadable as error:
        raise Fault(field, Reason.MALFORMED, str(error)) from error


def _folded(code: str) -> str:
    return unicodedata.normalize("NFKC", code).strip().upper()
