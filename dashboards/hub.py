"""Views: who sees what of the feed, and the frames that bring it to screens. Pure: entries and times in, bytes out.

A view is what a viewer sees of a topic. What a screen has is a number for each topic (`Screen`); `pump` says which
frames bring it up to now, and remembers each frame for all other screens that stand at the same place of the same view.
Topics that show a state (topics/) may skip what was between; alerts may not: each is told once, in order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dashboards.alerts import AlertLog, Tally, counted
from dashboards.facts import Start
from dashboards.protocol import json_list, topic_frame
from dashboards.tiles import Tile
from dashboards.topics.events import Events
from dashboards.topics.figures import Figures, Parts
from dashboards.topics.links import Links
from dashboards.topics.roads import Roads
from dashboards.topics.shape import Topic
from dashboards.topics.units import Units
from traffic.audience import Viewer
from traffic.feed import Cursor, FeedEntry

__all__ = ["Hub", "Screen", "Start"]

MEMO_MAX = 20_000  # frames remembered between two changes; beyond it they are made again


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a screen stands in one topic: the version that it was told last (-1: it needs a snapshot)."""

    topic: Topic[Any]
    view: Any
    since: int = -1


@dataclass(slots=True, kw_only=True)
class Screen:
    """One client's place in its views. Made by `Hub.screen`, moved by `Hub.pump`, `join` and `look`."""

    viewer: Viewer
    topics: frozenset[str]
    tiles: frozenset[Tile] | None
    generation: int = -1
    moved: bool = False
    standings: list[Standing] = field(default_factory=list)
    alerts_at: int | None = None  # position in the log; None: waits to be joined
    behind: Cursor | None = None  # what the database told already and the log may tell again
    delivered: Cursor | None = None  # all visible alerts up to here were given out


class Hub:
    """The picture that one API process holds of the province. `wrap` makes wire bytes of a JSON text."""

    def __init__(self, start: Start, now_us: int, *, wrap: Callable[[bytes], bytes] = bytes) -> None:
        self._wrap = wrap
        self.log = AlertLog()
        self._generation = 0
        self._folded = False  # since the last tick
        self.unreadable = 0  # entries whose body is of no known shape
        self._memo: dict[tuple, bytes] = {}
        self._adopt(start, now_us)

    def _adopt(self, start: Start, now_us: int) -> None:
        self.facts = start.facts
        self.cursor = start.cursor
        self.tally = Tally(now_us, start.findings)
        self.roads, self.links = Roads(start, now_us), Links(start, now_us)
        self.events, self.units = Events(start, now_us), Units(start, now_us)
        parts = Parts(
            facts=start.facts, tally=self.tally, roads=self.roads, links=self.links, events=self.events,
            units=self.units,
        )  # fmt: skip
        self.figures = Figures(parts, start, now_us)
        self._topics: tuple[Topic[Any], ...] = (self.roads, self.links, self.events, self.units, self.figures)
        self._readers: dict[tuple[str, str], Topic[Any]] = {
            ("roads", "flow"): self.roads, ("roads", "device"): self.roads, ("roads", "links"): self.links,
            ("roads", "event"): self.events, ("units", "crews"): self.units, ("units", "vehicles"): self.units,
            ("figures", "index"): self.figures,
        }  # fmt: skip
        self._generation += 1
        self._second = -1
        self._forget()
        self.tick(now_us)

    def restart(self, start: Start, missed: Iterable[FeedEntry] | None, now_us: int) -> None:
        """Begin anew from a later reading. `missed`: all entries from the old cursor to the new, None if some are gone.

        Screens keep their place: states follow as snapshots, alerts go on or are replayed.
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
        of_topic: dict[str, list[FeedEntry]] = {}
        for entry in entries:
            reader = self._readers.get((entry.topic, entry.kind))
            if reader is not None:
                of_topic.setdefault(reader.name, []).append(entry)
            elif entry.topic == "alerts":
                self._take_alert(entry)
        for topic in self._topics:
            if topic.name in of_topic:
                self.unreadable += topic.fold(of_topic[topic.name], now_us)
        self.cursor = self.cursor.after(entries)
        self._forget()

    def _take_alert(self, entry: FeedEntry) -> None:
        try:
            self.tally.add(counted(entry))
        except msgspec.DecodeError:  # of a newer writer, perhaps: the screens go on with the rest
            self.unreadable += 1
        self.log.add(entry)

    def follows(self, entries: Iterable[FeedEntry]) -> bool:
        """Whether these entries continue the cursor without a hole."""
        places = dict(self.cursor.places)
        for entry in entries:
            if entry.seq != places.get(entry.partition, 0) + 1:
                return False
            places[entry.partition] = entry.seq
        return True

    def tick(self, now_us: int) -> None:
        """Time passes: what leaves the last minute, and who was silent for too long; by whole seconds."""
        self.now_us = now_us
        second = now_us // 1_000_000
        if second == self._second and not self._folded:
            return
        self.tally.turn(now_us)
        if second != self._second:
            self._second = second
            for topic in self._topics:
                topic.tick(now_us)
        else:
            self.roads.tick(now_us)
        self._forget()
        self._folded = False

    def _forget(self) -> None:
        self._folded = True
        self._memo.clear()
        self._seq = str(self.cursor)

    # ------------------------------------------------------------ screens
    def screen(self, viewer: Viewer, topics: Iterable[str], tiles: frozenset[Tile] | None) -> Screen:
        """A new screen; with alerts among its topics nothing is told before `join`."""
        return Screen(viewer=viewer, topics=frozenset(topics), tiles=tiles)

    def look(self, screen: Screen, tiles: frozenset[Tile] | None) -> None:
        """The screen's map moved."""
        screen.tiles = tiles
        screen.moved = True

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
        frames = self._alerts(screen) if "alerts" in screen.topics else []
        screen.delivered = self.cursor if screen.behind is None else self.cursor.joined(screen.behind)
        if hold:
            return frames
        if screen.generation != self._generation or screen.moved:
            self._place(screen)
        for standing in screen.standings:
            if standing.since != standing.topic.version:
                frame = self._frame(screen, standing)
                if frame:
                    frames.append(frame)
        return frames

    def _place(self, screen: Screen) -> None:
        """Where a new, restarted or moved screen stands: it is told anew what depends on that."""
        if screen.generation != self._generation:
            screen.generation = self._generation
            screen.standings = [
                Standing(topic=topic, view=topic.view(screen.viewer, screen.tiles))
                for topic in self._topics
                if topic.name in screen.topics
            ]
        else:
            for standing in screen.standings:
                if standing.topic.tiled:
                    standing.view = standing.topic.view(screen.viewer, screen.tiles)
                    standing.since = -1
        screen.moved = False

    def gates_of(self, unit: int) -> frozenset[int]:
        """Ids of the checkpoints whose traffic a unit may see."""
        return frozenset(self.facts.gates[row].id for row in self.roads.rows(unit).tolist())

    def links_of(self, unit: int) -> frozenset[int]:
        """Ids of the links whose state a unit may see."""
        return frozenset(self.links.ids[row] for row in self.links.rows(unit).tolist())

    # ------------------------------------------------------------ frames
    def _frame(self, screen: Screen, standing: Standing) -> bytes:
        topic, since = standing.topic, standing.since
        standing.since = topic.version
        key = (topic.name, standing.view, since, None if screen.behind is None else str(screen.delivered))
        frame = self._memo.get(key)
        if frame is None:
            told = topic.told(standing.view, since)
            seq = self._seq if screen.behind is None else str(screen.delivered)
            frame = b"" if told is None else self._wrap(topic_frame(told[0], topic.name, seq, self.now_us, told[1]))
            self._remember(key, frame)
        return frame

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
        fields = b'"alerts":' + json_list([entry.body for entry in entries])
        return self._wrap(topic_frame("delta", "alerts", seq, self.now_us, fields))

    def replayed(self, entries: Sequence[FeedEntry], told: Cursor) -> bytes:
        """A delta out of entries that were read from the feed again."""
        return self._alert_delta(entries, str(told))

    def alerts_snapshot(self, cards: Sequence[bytes], told: Cursor) -> bytes:
        """The newest alerts as the database gave them, newest first."""
        fields = b'"alerts":' + json_list(list(cards))
        return self._wrap(topic_frame("snapshot", "alerts", str(told), self.now_us, fields))

    def _remember(self, key: tuple, value: bytes) -> bytes:
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        self._memo[key] = value
        return value
