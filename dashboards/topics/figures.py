"""Topic `figures`: sums over the viewer's area, worked out once a second for each unit and clearance. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from dashboards.alerts import Tally
from dashboards.facts import Facts, Start
from dashboards.protocol import Figures as Shown
from dashboards.protocol import IndexFigures
from dashboards.tiles import Tile
from dashboards.topics.events import Events
from dashboards.topics.links import CYCLE_US, Links
from dashboards.topics.roads import Roads
from dashboards.topics.shape import Told
from dashboards.topics.units import Units
from traffic.audience import Viewer
from traffic.feed import FeedEntry

PROVINCE = ("province", 0)

View = tuple[int, int]  # unit, clearance


class IndexBody(IndexFigures, frozen=True):
    """Body of a feed row of kind `index`."""

    scope: str = ""
    id: int = 0


_INDEX = msgspec.json.Decoder(IndexBody)


@dataclass(slots=True)
class _Sums:
    """What a view was told last. `worked`: the version in which it was worked out, `changed`: when it became so."""

    text: bytes
    worked: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What figures are made of."""

    facts: Facts
    tally: Tally
    roads: Roads
    links: Links
    events: Events
    units: Units


class Figures:
    """Sums of the other topics, and the congestion indices."""

    name = "figures"
    tiled = False

    def __init__(self, parts: Parts, start: Start, now_us: int) -> None:
        self._parts = parts
        self._indices: dict[tuple[str, int], IndexFigures] = dict(start.indices)
        self._sums: dict[View, _Sums] = {}
        self._now_us = now_us
        self.version = 1

    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take indices; the next second shows them."""
        unreadable = 0
        for entry in entries:
            try:
                body = _INDEX.decode(entry.body)
            except msgspec.DecodeError:
                unreadable += 1
                continue
            self._indices[body.scope, body.id] = body
            self._parts.links.cycle(body.at)
        return unreadable

    def tick(self, now_us: int) -> bool:
        """Another second: the next who asks is told anew."""
        self._now_us = now_us
        self.version += 1
        return True

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> View:
        """Unit and clearance: figures are of the whole area."""
        return viewer.unit, viewer.clearance

    def told(self, view: View, since: int) -> Told | None:
        """The view's figures, if they became others."""
        sums = self._sums.get(view)
        if sums is None or sums.worked != self.version or since < 0:
            text = self._work_out(Viewer(unit=view[0], clearance=view[1]))
            if sums is None or text != sums.text:
                sums = self._sums[view] = _Sums(text, self.version, self.version)
            sums.worked = self.version
        if sums.changed <= since:
            return None
        return "snapshot" if since < 0 else "delta", b'"figures":' + sums.text

    def _work_out(self, viewer: Viewer) -> bytes:
        flow, rows = self._parts.roads.flow, self._parts.roads.rows(viewer.unit)
        per_minute, known, total = flow.figures(rows)
        by_level = self._parts.tally.by_level(viewer)
        shelved, unverified = self._parts.tally.in_hand(viewer)
        newest_us = flow.newest_us(rows)
        lag_s = None if newest_us is None else max(0, (self._now_us - newest_us) // 1_000_000)
        return msgspec.json.encode(
            Shown(
                passages_per_minute=per_minute,
                checkpoints_live=known,
                checkpoints_total=total,
                alerts_today=sum(by_level.values()),
                alerts_by_level={str(level): count for level, count in by_level.items()},
                lag_s=lag_s,
                index=self._index(viewer.unit),
                events_open=self._parts.events.open_of(viewer.unit),
                crews=self._parts.units.crews_of(viewer.unit, self._now_us),
                alerts_shelved=shelved,
                alerts_open=unverified,
            )
        )

    def _index(self, unit: int) -> IndexFigures | None:
        """Of the unit's area; where nobody stands above it, of the province. It stands until a cycle tells another."""
        scope = PROVINCE if self._parts.facts.is_top(unit) else ("unit", unit)
        index, cycle_us = self._indices.get(scope), self._parts.links.cycle_us
        if index is None or cycle_us is None or cycle_us <= self._now_us - CYCLE_US:
            return None
        return IndexFigures(
            index=index.index, usual=index.usual, speed_kmh=index.speed_kmh, congested_km=index.congested_km,
            known_share=index.known_share, vehicle_km_h=index.vehicle_km_h, risk_links=index.risk_links, at=cycle_us,
        )  # fmt: skip
