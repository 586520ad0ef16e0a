"""Topic `events`: what is wrong on the roads, and for half an hour what was. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dashboards.facts import Start, ToldEvent
from dashboards.protocol import EventsOpen, json_list
from dashboards.tiles import Tile
from dashboards.topics.shape import TOLD_MAX, Told
from traffic.audience import Audience, Viewer, may_see
from traffic.feed import FeedEntry

KEPT_US = 30 * 60 * 1_000_000  # an ended event is shown for so long after its end
EVENTS_MAX = 20_000  # beyond it those that ended longest ago go


class CardHead(msgspec.Struct, frozen=True):
    """What is looked at of an event's card."""

    id: str
    kind: str
    state: str
    level: int
    revision: int
    changed_at: int
    ended_at: int | None


class Kept(NamedTuple):
    """An event as it stands here. `version`: in which it last changed."""

    head: CardHead
    audience: Audience
    card: bytes
    version: int


_HEAD = msgspec.json.Decoder(CardHead)


class Events:
    """Open events and those that ended of late, by id."""

    name = "events"
    tiled = False

    def __init__(self, start: Start, now_us: int) -> None:
        self._kept: dict[str, Kept] = {}
        self._left: deque[tuple[int, str, Audience]] = deque(maxlen=TOLD_MAX)  # whose audience became another
        self._left_from = 0  # departures up to this version may be forgotten
        self._open: dict[int, EventsOpen] = {}
        self.version = 1
        for told in start.events:
            self._take(told)
        self.tick(now_us)

    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take new cards."""
        unreadable = 0
        self.version += 1
        for entry in entries:
            try:
                self._take(ToldEvent(entry.audience, entry.body))
            except msgspec.DecodeError:
                unreadable += 1
        self._open.clear()
        self.tick(now_us)
        return unreadable

    def _take(self, told: ToldEvent) -> None:
        head = _HEAD.decode(told.card)
        before = self._kept.pop(head.id, None)
        if before is not None and before.audience != told.audience:
            if len(self._left) == self._left.maxlen:
                self._left_from = self._left[0][0]
            self._left.append((self.version, head.id, before.audience))
        self._kept[head.id] = Kept(head, told.audience, told.card, self.version)

    def tick(self, now_us: int) -> bool:
        """Let go of what ended long ago: screens do the same by themselves."""
        gone = [key for key, kept in self._kept.items() if _is_past(kept.head, now_us)]
        if len(self._kept) - len(gone) > EVENTS_MAX:
            ended = sorted((kept.head.ended_at or now_us, key) for key, kept in self._kept.items())
            gone += [key for _, key in ended[: len(self._kept) - len(gone) - EVENTS_MAX]]
        for key in gone:
            self._kept.pop(key, None)
        return False

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> int:
        """Events are told of the whole area, wherever the map looks."""
        return viewer.unit

    def told(self, view: int, since: int) -> Told | None:
        """Cards of the view that changed, gravest first, then newest first."""
        viewer = Viewer(unit=view)
        if since < self._left_from:
            since = -1
        cards = [kept for kept in self._kept.values() if kept.version > since and may_see(viewer, kept.audience)]
        gone = self._gone(viewer, since) if since >= 0 else []
        if since >= 0 and not cards and not gone:
            return None
        cards.sort(key=lambda kept: (kept.head.level, -kept.head.changed_at, kept.head.id))
        kind = "snapshot" if since < 0 else "delta"
        body = b'"events":%b,"gone":%b' % (json_list([kept.card for kept in cards]), msgspec.json.encode(gone))
        return kind, body

    def _gone(self, viewer: Viewer, since: int) -> list[str]:
        found = set()
        for version, key, audience in reversed(self._left):
            if version <= since:
                break
            kept = self._kept.get(key)
            if may_see(viewer, audience) and (kept is None or not may_see(viewer, kept.audience)):
                found.add(key)
        return sorted(found)

    def open_of(self, unit: int) -> EventsOpen:
        """Open events that a unit sees, by kind."""
        found = self._open.get(unit)
        if found is None:
            viewer = Viewer(unit=unit)
            counts = dict.fromkeys(EventsOpen.__struct_fields__, 0)
            for kept in self._kept.values():
                if kept.head.state == "open" and kept.head.kind in counts and may_see(viewer, kept.audience):
                    counts[kept.head.kind] += 1
            found = self._open[unit] = EventsOpen(**counts)
        return found

    def count(self) -> int:
        """How many are kept."""
        return len(self._kept)


def _is_past(head: CardHead, now_us: int) -> bool:
    return head.state == "ended" and (head.ended_at or head.changed_at) <= now_us - KEPT_US
