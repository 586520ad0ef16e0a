"""Roads, links, checkpoints and measured sections, and stakes (桩号): place by road, stake, direction."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from traffic.errors import TrafficError
from traffic.geo import Point, along, nearest_on_line

EXPRESSWAY, TRUNK, URBAN = "expressway", "trunk", "urban"
STAKES_INCREASE, STAKES_DECREASE = 1, 2  # directions of travel

BEFORE_BREAK, BEHIND_BREAK = "前", "后"  # which of two equal stakes at a break (断链), along direction 1

_STAKE = re.compile(r"K?(\d{1,4})(?:\+(\d{3})(?:\.\d+)?)?")


class StakeUnreadable(TrafficError):
    """A text is no stake."""


class StakeAmbiguous(TrafficError):
    """A stake comes twice on its road (长链), and it was not said which of the two is meant."""


class NoSuchPlace(TrafficError):
    """A road has no link at a stake (outside of it, or where it runs together with another road)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A road with its code (G1, G102, S01)."""

    id: int
    code: str
    name: str
    name_en: str
    kind: str
    approximate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a stretch between two neighbouring places; geometry in the direction of travel, WGS-84.

    Links meet where nodes are equal (0: nowhere). `corridor`: neighbouring units that see its state.
    """

    id: int
    road_id: int
    direction: int
    from_stake_m: int
    to_stake_m: int
    length_m: int
    lanes: int
    limit_kmh: int
    unit_id: int
    geometry: tuple[Point, ...]
    piece: int = 0  # of the road's chainage
    from_node: int = 0
    to_node: int = 0
    corridor: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A camera gate (卡口) over both directions; `bearing_deg` is that of direction 1, `lanes` of each direction."""

    id: int
    code: str
    name: str
    name_en: str
    road_id: int
    stake_m: int
    bearing_deg: float
    lanes: int
    limit_kmh: int
    lon: float
    lat: float
    unit_id: int
    corridor: tuple[int, ...]
    inter_provincial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A point that counts vehicles and measures speeds in one direction, lane by lane (`lanes` from the median)."""

    id: int
    code: str
    name: str
    name_en: str
    kind: str
    road_id: int
    stake_m: int
    direction: int
    link_id: int
    lanes: int
    lon: float
    lat: float
    unit_id: int
    period_s: int = 30
    corridor: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadsideObject:
    """What else stands at a stake (table `roadside_object`); `direction` 0 serves both."""

    id: int
    kind: str
    code: str
    name: str
    name_en: str
    road_id: int
    stake_m: int
    direction: int
    lon: float
    lat: float
    unit_id: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chainage:
    """A run of stakes without a jump (断链 lies between two of them).

    `from_m` is the true distance from the begin of the road at `from_stake_m`; `piece` counts along direction 1.
    """

    road_id: int
    piece: int
    from_stake_m: int
    to_stake_m: int
    from_m: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A measured pair (区间): who leaves `from_checkpoint` comes to `to_checkpoint` over `length_m` of road."""

    id: int
    from_checkpoint: int
    to_checkpoint: int
    length_m: int
    limit_kmh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place as it is spoken: road and stake; `away_m` is how far the asked point lies from it.

    `side` (前, 后) is part of the stake where it comes twice on the road.
    """

    road_id: int
    stake_m: int
    away_m: float
    piece: int = 0
    side: str = ""


def node_of(point: Point) -> int:
    """The node at a place: links that begin or end within the same 1e-5 degrees (a metre) meet."""
    return (round(point[0] * 1e5) + 18_000_000) * 100_000_000 + round(point[1] * 1e5) + 9_000_000


def stake_text(stake_m: int) -> str:
    """1023500 -> K1023+500."""
    if stake_m < 0:
        raise StakeUnreadable(f"a stake is not negative: {stake_m}")
    return f"K{stake_m // 1000}+{stake_m % 1000:03d}"


def parse_sided_stake(text: str) -> tuple[int, str]:
    """K943+200后 -> (943200, 后): a stake with the side of a break, '' where none is given."""
    folded = unicodedata.normalize("NFKC", text).strip().strip("()")
    side = folded[-1:] if folded[-1:] in (BEFORE_BREAK, BEHIND_BREAK) else ""
    return parse_stake(folded.removesuffix(side).rstrip(" (")), side


def parse_stake(text: str) -> int:
    """K1023+500 (any case, full width, blanks) -> 1023500 metres; decimals of a metre are dropped."""
    folded = unicodedata.normalize("NFKC", text).upper().replace(" ", "")
    match = _STAKE.fullmatch(folded) if folded.isascii() else None
    if not match:
        raise StakeUnreadable(f"not a stake: {text[:40]!r} (expected e.g. K1023+500)")
    return int(match[1]) * 1000 + int(match[2] or 0)


class Network:
    """Links by road, to find the point of a stake and the stake of a point; knows where a road's stakes jump."""

    def __init__(self, links: Iterable[Link], chainages: Iterable[Chainage] = ()) -> None:
        self._of_road: dict[tuple[int, int], list[Link]] = defaultdict(list)
        for link in sorted(links, key=lambda link: (link.piece, min(link.from_stake_m, link.to_stake_m))):
            self._of_road[link.road_id, link.direction].append(link)
        self._pieces: dict[int, list[Chainage]] = defaultdict(list)
        for piece in sorted(chainages, key=lambda piece: (piece.road_id, piece.piece)):
            self._pieces[piece.road_id].append(piece)

    def link_at(self, road_id: int, stake_m: int, direction: int, piece: int | None = None) -> Link:
        """The link that holds a stake; at a border of two, the one with the lower stakes.

        `piece` says which one is meant where a stake comes twice (长链); raises StakeAmbiguous without it.
        """
        found = [
            link
            for link in self._of_road.get((road_id, direction), ())
            if min(link.from_stake_m, link.to_stake_m) <= stake_m <= max(link.from_stake_m, link.to_stake_m)
            and piece in (None, link.piece)
        ]
        if not found:
            raise NoSuchPlace(self._why_not(road_id, stake_m, direction))
        if found[0].piece != found[-1].piece:
            raise StakeAmbiguous(
                f"{stake_text(stake_m)} comes twice on road {road_id}: write 前 (before the break) or 后 (behind)"
            )
        return found[0]

    def _why_not(self, road_id: int, stake_m: int, direction: int) -> str:
        pieces = self._pieces.get(road_id, ())
        for before, behind in zip(pieces, pieces[1:], strict=False):
            if before.to_stake_m < stake_m < behind.from_stake_m:
                ends = f"{stake_text(before.to_stake_m)} to {stake_text(behind.from_stake_m)}"
                return f"road {road_id} has no {stake_text(stake_m)}: its stakes jump from {ends} (断链)"
        return f"road {road_id} has no link at {stake_m} m in direction {direction}"

    def piece_of(self, road_id: int, stake_m: int, side: str = "") -> int | None:
        """The piece that a side (前, 后, or none) of a break means for a stake; None where the stake alone says it."""
        holding = [p.piece for p in self._pieces.get(road_id, ()) if p.from_stake_m <= stake_m <= p.to_stake_m]
        if not side or not holding:
            return None
        return holding[0] if side == BEFORE_BREAK else holding[-1]

    def side_of(self, link: Link, stake_m: int) -> str:
        """The mark that a stake needs on this link: none, unless it comes twice on its road."""
        holding = [p.piece for p in self._pieces.get(link.road_id, ()) if p.from_stake_m <= stake_m <= p.to_stake_m]
        if len(holding) < 2:
            return ""
        return BEFORE_BREAK if link.piece == holding[0] else BEHIND_BREAK

    def along_m(self, road_id: int, stake_m: int, piece: int | None = None) -> int:
        """True distance from the begin of the road, across breaks; raises NoSuchPlace, StakeAmbiguous."""
        holding = [
            p
            for p in self._pieces.get(road_id, ())
            if p.from_stake_m <= stake_m <= p.to_stake_m and piece in (None, p.piece)
        ]
        if not holding:
            raise NoSuchPlace(self._why_not(road_id, stake_m, STAKES_INCREASE))
        if len({p.from_m + stake_m - p.from_stake_m for p in holding}) > 1:
            raise StakeAmbiguous(f"{stake_text(stake_m)} comes twice on road {road_id}: say which piece")
        return holding[0].from_m + stake_m - holding[0].from_stake_m

    def point_at(
        self, road_id: int, stake_m: int, direction: int = STAKES_INCREASE, piece: int | None = None
    ) -> tuple[Point, float]:
        """Point (lon, lat) of a stake and the bearing of travel there in degrees."""
        link = self.link_at(road_id, stake_m, direction, piece)
        return along(link.geometry, abs(stake_m - link.from_stake_m) / abs(link.to_stake_m - link.from_stake_m))

    def place_of(self, point: Point, *, road_id: int | None = None) -> Place:
        """The nearest place on any road, or on one."""
        best: Place | None = None
        for (road, direction), links in self._of_road.items():
            if direction != STAKES_INCREASE or (road_id is not None and road != road_id):
                continue
            for link in links:
                share, away_m = nearest_on_line(link.geometry, point)
                if best is None or away_m < best.away_m:
                    stake_m = round(link.from_stake_m + share * (link.to_stake_m - link.from_stake_m))
                    best = Place(
                        road_id=road, stake_m=stake_m, away_m=away_m, piece=link.piece, side=self.side_of(link, stake_m)
                    )
        if best is None:
            raise NoSuchPlace(f"no road {road_id}" if road_id is not None else "the network is empty")
        return best
