"""Views: who sees what of the feed, and the frames that bring it to screens. Pure: entries and times in, bytes out.

A view is (topic, unit, clearance, tiles). What a screen has is a few numbers (`Screen`); `pump` says which frames bring
it up to now, and remembers each frame for all other screens that stand at the same place of the same view.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from dashboards.alerts import AlertLog, Counted, Tally, counted
from dashboards.facts import Facts, SignOfLife
from dashboards.flow import Flow, FlowBody, Increment
from dashboards.protocol import json_list, topic_frame
from dashboards.tiles import Tile, tile_of, within
from traffic.audience import Viewer, may_see
from traffic.feed import Cursor, FeedEntry

MEMO_MAX = 20_000  # frames remembered between two changes; beyond it they are made again

_FLOW = msgspec.json.Decoder(FlowBody)
_SIGN = msgspec.json.Decoder(SignOfLife)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a hub begins with, read at one moment together with its cursor."""

    facts: Facts
    cursor: Cursor
    flow: Sequence[Increment]
    signs: Sequence[SignOfLife]
    findings: Sequence[Counted]  # of today


@dataclass(slots=True, kw_only=True)
class Screen:
    """One client's place in its views. Made by `Hub.screen`, moved by `Hub.pump`, `join` and `look`."""

    viewer: Viewer
    topics: frozenset[str]
    tiles: frozenset[Tile] | None
    generation: int = -1
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    view_tiles: frozenset[Tile] | None = None
    roads_version: int = -1  # -1: needs a snapshot
    figures_second: int = -1
    figures_sent: bytes = b""
    alerts_at: int | None = None  # position in the log; None: waits to be joined
    behind: Cursor | None = None  # what the database told already and the log may tell again
    delivered: Cursor | None = None  # all visible alerts up to here were given out


class Hub:
    """The picture that one API process holds of the province. `wrap` makes wire bytes of a JSON text."""

    def __init__(self, start: Start, now_us: int, *, wrap: Callable[[bytes], bytes] = bytes) -> None:
        self._wrap = wrap
        self.log = AlertLog()
        self._generation = 0
        self.unreadable = 0  # entries whose body is of no known shape
        self._memo: dict[tuple, bytes] = {}
        self._views: dict[tuple, tuple[np.ndarray, frozenset[Tile]]] = {}
        self._adopt(start, now_us)

    def _adopt(self, start: Start, now_us: int) -> None:
        self.facts = start.facts
        self.cursor = start.cursor
        self.flow = Flow(start.facts)
        self.flow.add(start.flow, now_us)
        self.flow.sign(start.signs)
        self.tally = Tally(now_us, start.findings)
        self._tiles = [tile_of(gate.lon, gate.lat) for gate in start.facts.gates]
        self._views.clear()
        self._generation += 1
        self._forget()
        self._second = -1
        self.tick(now_us)

    def restart(self, start: Start, missed: Iterable[FeedEntry] | None, now_us: int) -> None:
        """Begin anew from a later reading. `missed`: all entries from the old cursor to the new, None if some are gone.

        Screens keep their place: roads and figures follow as snapshots, alerts go on or are replayed.
        """
        if missed is None or start.cursor.epoch != self.cursor.epoch:
            self.log.break_off()
        else:
            for entry in missed:
                if entry.topic == "alerts":
                    self.log.add(entry)
        self._adopt(start, now_us)

    # ------------------------------------------------------------ what happens
    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> None:
        """Take the feed's next entries, dense behind `cursor`; the next `tick` and `pump` tell what they change."""
        if not entries:
            return
        increments: list[Increment] = []
        newest: list[tuple[int, int]] = []
        signs: list[SignOfLife] = []
        for entry in entries:
            try:
                if entry.kind == "flow":
                    body = _FLOW.decode(entry.body)
                    increments += body.b
                    newest += body.n
                elif entry.kind == "device":
                    signs.append(_SIGN.decode(entry.body))
                elif entry.topic == "alerts":
                    self.tally.add(counted(entry))
            except msgspec.DecodeError:  # of a newer writer, perhaps: the screens go on with the rest
                self.unreadable += 1
            if entry.topic == "alerts":
                self.log.add(entry)
        self.flow.add(increments, now_us)
        self.flow.reached(newest, now_us)
        self.flow.sign(signs)
        self.cursor = self.cursor.after(entries)
        self._forget()

    def follows(self, entries: Iterable[FeedEntry]) -> bool:
        """Whether these entries continue the cursor without a hole."""
        places = dict(self.cursor.places)
        for entry in entries:
            if entry.seq != places.get(entry.partition, 0) + 1:
                return False
            places[entry.partition] = entry.seq
        return True

    def tick(self, now_us: int) -> None:
        """Time passes: what leaves the last minute, and who was silent for too long."""
        self.now_us = now_us
        self.tally.turn(now_us)
        changed = self.flow.tick(now_us)
        second = now_us // 1_000_000
        if changed or second != self._second:
            self._second = second
            self._forget()

    def _forget(self) -> None:
        self._memo.clear()
        self._seq = str(self.cursor)

    # ------------------------------------------------------------ screens
    def screen(self, viewer: Viewer, topics: Iterable[str], tiles: frozenset[Tile] | None) -> Screen:
        """A new screen; with alerts among its topics nothing is told before `join`."""
        return Screen(viewer=viewer, topics=frozenset(topics), tiles=tiles)

    def look(self, screen: Screen, tiles: frozenset[Tile] | None) -> None:
        """The screen's map moved."""
        screen.tiles = tiles
        screen.generation = -1

    def join(self, screen: Screen, position: int, told: Cursor) -> None:
        """The database told the screen all alerts up to `told`; at `position` the log ended before it was asked."""
        screen.alerts_at = position
        screen.behind = None if self.cursor.reaches(told) and position == self.log.end else told
        screen.delivered = told

    def waits(self, screen: Screen) -> bool:
        """Whether alerts have to come from the database before the screen can go on."""
        if "alerts" not in screen.topics:
            return False
        if screen.alerts_at is not None and screen.alerts_at < self.log.start:
            screen.alerts_at = None
        return screen.alerts_at is None

    def pump(self, screen: Screen, *, hold: bool = False) -> list[bytes]:
        """Frames that bring the screen up to now. `hold`: it is slow, so only what must never be dropped.

        Alerts come first, so that whoever has a frame's cursor has all alerts up to it.
        """
        if self.waits(screen):
            return []
        self._place(screen)
        frames = self._alerts(screen) if "alerts" in screen.topics else []
        screen.delivered = self.cursor if screen.behind is None else self.cursor.joined(screen.behind)
        if hold:
            return frames
        if "roads" in screen.topics:
            frames += self._roads(screen)
        if "figures" in screen.topics:
            frames += self._figures(screen)
        return frames

    def _place(self, screen: Screen) -> None:
        if screen.generation == self._generation:
            return
        rows, occupied = self._view(screen.viewer.unit, None)
        tiles = within(screen.tiles, occupied)
        if tiles is not None:
            rows, _ = self._view(screen.viewer.unit, tiles)
        screen.rows, screen.view_tiles = rows, tiles
        screen.roads_version = -1
        screen.generation = self._generation

    def _view(self, unit: int, tiles: frozenset[Tile] | None) -> tuple[np.ndarray, frozenset[Tile]]:
        """Rows of the checkpoints whose traffic a unit may see, in some tiles, and the tiles that they lie in."""
        key = (unit, tiles)
        if key not in self._views:
            if len(self._views) >= MEMO_MAX:
                self._views.clear()
            viewer = Viewer(unit=unit)
            rows = [
                row
                for row, gate in enumerate(self.facts.gates)
                if (tiles is None or self._tiles[row] in tiles) and may_see(viewer, gate.audience)
            ]
            self._views[key] = np.array(rows, np.int64), frozenset(self._tiles[row] for row in rows)
        return self._views[key]

    def gates_of(self, unit: int) -> frozenset[int]:
        """Ids of the checkpoints whose traffic a unit may see."""
        return frozenset(self.flow.ids[row] for row in self._view(unit, None)[0].tolist())

    # ------------------------------------------------------------ frames
    def _alerts(self, screen: Screen) -> list[bytes]:
        since, end = screen.alerts_at, self.log.end
        if since is None or since == end:
            self._catch_up(screen)
            return []
        viewer = screen.viewer
        if screen.behind is not None:
            entries = self.log.visible(viewer, since, screen.behind)
            seq = str(self.cursor.joined(screen.behind))
            screen.alerts_at = end
            self._catch_up(screen)
            return [self._alert_delta(entries, seq)] if entries else []
        screen.alerts_at = end
        key = ("alerts", viewer.unit, viewer.clearance, since)
        frame = self._memo.get(key)
        if frame is None:
            entries = self.log.visible(viewer, since)
            frame = self._remember(key, self._alert_delta(entries, self._seq) if entries else b"")
        return [frame] if frame else []

    def _catch_up(self, screen: Screen) -> None:
        if screen.behind is not None and self.cursor.reaches(screen.behind):
            screen.behind = None

    def _alert_delta(self, entries: Sequence[FeedEntry], seq: str) -> bytes:
        return self._wrap(
            topic_frame("delta", "alerts", seq, self.now_us, json_list([entry.body for entry in entries]))
        )

    def replayed(self, entries: Sequence[FeedEntry], told: Cursor) -> bytes:
        """A delta out of entries that were read from the feed again."""
        return self._alert_delta(entries, str(told))

    def alerts_snapshot(self, cards: Sequence[bytes], told: Cursor) -> bytes:
        """The newest alerts as the database gave them, newest first."""
        return self._wrap(topic_frame("snapshot", "alerts", str(told), self.now_us, json_list(list(cards))))

    def _roads(self, screen: Screen) -> list[bytes]:
        since, version = screen.roads_version, self.flow.version
        if since == version:
            return []
        screen.roads_version = version
        key = ("roads", screen.viewer.unit, screen.view_tiles, since, self._seq_key(screen))
        frame = self._memo.get(key)
        if frame is None:
            rows = self.flow.changed_since(screen.rows, since)
            kind = "snapshot" if since < 0 else "delta"
            body = json_list([self.flow.item(row) for row in rows.tolist()])
            text = topic_frame(kind, "roads", self._seq_of(screen), self.now_us, body)
            frame = self._remember(key, self._wrap(text) if since < 0 or len(rows) else b"")
        return [frame] if frame else []

    def _figures(self, screen: Screen) -> list[bytes]:
        if screen.figures_second == self._second and screen.figures_sent:
            return []
        screen.figures_second = self._second
        viewer = screen.viewer
        key = ("sums", viewer.unit, viewer.clearance)
        sums = self._memo.get(key)
        if sums is None:
            sums = self._remember(key, self._sums(viewer))
        if sums == screen.figures_sent:
            return []
        kind = "delta" if screen.figures_sent else "snapshot"
        screen.figures_sent = sums
        place = ("figures", viewer.unit, viewer.clearance, kind, self._seq_key(screen))
        frame = self._memo.get(place)
        if frame is None:
            text = topic_frame(kind, "figures", self._seq_of(screen), self.now_us, sums)
            frame = self._remember(place, self._wrap(text))
        return [frame]

    def _sums(self, viewer: Viewer) -> bytes:
        rows = self._view(viewer.unit, None)[0]
        per_minute, known, total = self.flow.figures(rows)
        by_level = self.tally.by_level(viewer)
        newest_us = self.flow.newest_us(rows)
        lag_s = None if newest_us is None else max(0, (self.now_us - newest_us) // 1_000_000)
        return msgspec.json.encode(
            {
                "passages_per_minute": per_minute,
                "checkpoints_live": known,
                "checkpoints_total": total,
                "alerts_today": sum(by_level.values()),
                "alerts_by_level": {str(level): count for level, count in by_level.items()},
                "lag_s": lag_s,
            }
        )

    def _seq_of(self, screen: Screen) -> str:
        return self._seq if screen.behind is None else str(screen.delivered)

    def _seq_key(self, screen: Screen) -> object:
        return None if screen.behind is None else str(screen.delivered)

    def _remember(self, key: tuple, value: bytes) -> bytes:
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        self._memo[key] = value
        return value
