"""Topic `roads`: the flow of the last minute at every checkpoint."""

from collections.abc import Sequence

import msgspec
import numpy as np

from dashboards.facts import SignOfLife, Start
from dashboards.flow import Flow, FlowBody, Increment
from dashboards.protocol import json_list
from dashboards.tiles import Tile, tile_of
from dashboards.topics.shape import Places, Told
from traffic.audience import Viewer
from traffic.feed import FeedEntry

_FLOW = msgspec.json.Decoder(FlowBody)
_SIGN = msgspec.json.Decoder(SignOfLife)

View = tuple[int, frozenset[Tile] | None]


class Roads:
    """What checkpoints count."""

    name = "roads"
    tiled = True

    def __init__(self, start: Start, now_us: int) -> None:
        self.flow = Flow(start.facts)
        self.flow.add(start.flow, now_us)
        self.flow.sign(start.signs)
        self._places = Places((gate.audience, (tile_of(gate.lon, gate.lat),)) for gate in start.facts.gates)

    @property
    def version(self) -> int:
        """Grows with each change of what is shown."""
        return self.flow.version

    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take counts and senders' words; the next tick shows what they change."""
        increments: list[Increment] = []
        newest: list[tuple[int, int]] = []
        signs: list[SignOfLife] = []
        unreadable = 0
        for entry in entries:
            try:
                if entry.kind == "flow":
                    body = _FLOW.decode(entry.body)
                    increments += body.b
                    newest += body.n
                else:
                    signs.append(_SIGN.decode(entry.body))
            except msgspec.DecodeError:
                unreadable += 1
        self.flow.add(increments, now_us)
        self.flow.reached(newest, now_us)
        self.flow.sign(signs)
        return unreadable

    def tick(self, now_us: int) -> bool:
        """What leaves the last minute, and who was silent for too long."""
        return self.flow.tick(now_us)

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> View:
        """Unit and tiles."""
        return self._places.view(viewer, tiles)

    def told(self, view: View, since: int) -> Told | None:
        """Checkpoints of the view that changed."""
        rows = self.flow.changed_since(self.rows(*view), since)
        if since >= 0 and not len(rows):
            return None
        kind = "snapshot" if since < 0 else "delta"
        return kind, b'"checkpoints":' + json_list([self.flow.item(row) for row in rows.tolist()])

    def rows(self, unit: int, tiles: frozenset[Tile] | None = None) -> np.ndarray:
        """Rows of the checkpoints whose traffic a unit may see."""
        return self._places.rows(unit, tiles)
