"""The newest alerts of the feed, and how many each audience has had today. Pure."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from traffic.audience import Audience, Viewer, may_see
from traffic.clock import SHANGHAI
from traffic.feed import Cursor, FeedEntry

LOG_MAX = 5_000  # alerts kept for screens that are behind; who is further behind is replayed from the feed
_SHELVED, _OPEN = "shelved", "open"
TALLY_MAX = 200_000  # findings counted for a day; beyond it the oldest are no longer counted


class AlertLog:
    """Alerts by position: a position is how many came before it since this hub began."""

    def __init__(self) -> None:
        self._entries: deque[FeedEntry] = deque(maxlen=LOG_MAX)
        self.end = 0

    @property
    def start(self) -> int:
        """The oldest position that is still here."""
        return self.end - len(self._entries)

    def add(self, entry: FeedEntry) -> None:
        """Append the next alert."""
        self._entries.append(entry)
        self.end += 1

    def break_off(self) -> None:
        """The feed has a hole before what follows: everyone who waits must be replayed from the database."""
        self._entries.clear()
        self.end += 1

    def visible(self, viewer: Viewer, since: int, behind: Cursor | None = None) -> list[FeedEntry]:
        """What this viewer may see from a position on; of it only what lies behind a cursor."""
        found = []
        for place in range(since - self.start, len(self._entries)):
            entry = self._entries[place]
            if behind is not None and entry.seq <= behind.place(entry.partition):
                continue
            if may_see(viewer, entry.audience):
                found.append(entry)
        return found


class CardHead(msgspec.Struct, frozen=True):
    """What is counted of an alert's card."""

    id: str
    level: int
    state: str
    first_at: int
    shelf: dict[str, Any] | None = None
    needs_verification: bool = False


_HEAD = msgspec.json.Decoder(CardHead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A finding as the day's count sees it. `first_at`: microseconds, of its first observation."""

    id: str
    level: int
    active: bool
    first_at: int
    audience: Audience
    shelved: bool = False  # put aside: not in the main list, but counted
    open: bool = False  # a person must still look at it


def counted(entry: FeedEntry) -> Counted:
    """The count's view of an alert in the feed."""
    head = _HEAD.decode(entry.body)
    return Counted(
        id=head.id, level=head.level, active=head.state == "active", first_at=head.first_at, audience=entry.audience,
        shelved=head.shelf is not None, open=head.needs_verification,
    )  # fmt: skip


def day_began_us(now_us: int) -> int:
    """When the day began in Asia/Shanghai."""
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)
    midnight = now.astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(midnight.timestamp()) * 1_000_000


class Tally:
    """Today's findings by audience. `version` grows with each change."""

    def __init__(self, now_us: int, findings: Iterable[Counted] = ()) -> None:
        self.version = 0
        self._day_us = day_began_us(now_us)
        self._found: dict[str, Counted] = {}
        self._sums: dict[tuple[int, int], Counter[int | str]] = {}
        for finding in findings:
            self.add(finding)

    def add(self, finding: Counted) -> None:
        """Count a finding, or count it anew: its newest revision is the one that counts."""
        before = self._found.pop(finding.id, None)
        self._found[finding.id] = finding
        if len(self._found) > TALLY_MAX:
            self._found.pop(next(iter(self._found)))
            self._sums.clear()
        for (unit, clearance), sums in self._sums.items():
            viewer = Viewer(unit=unit, clearance=clearance)
            if before is not None and self._counts(viewer, before):
                sums.subtract(_columns(before))
            if self._counts(viewer, finding):
                sums.update(_columns(finding))
        self.version += 1

    def _counts(self, viewer: Viewer, finding: Counted) -> bool:
        return finding.active and finding.first_at >= self._day_us and may_see(viewer, finding.audience)

    def turn(self, now_us: int) -> None:
        """At midnight counting begins anew."""
        day_us = day_began_us(now_us)
        if day_us != self._day_us:
            self._day_us = day_us
            self._found = {key: finding for key, finding in self._found.items() if finding.first_at >= day_us}
            self._sums.clear()
            self.version += 1

    def by_level(self, viewer: Viewer) -> dict[int, int]:
        """Active findings of today that this viewer may see, by level (1 to 4, each named)."""
        sums = self._sums_of(viewer)
        return {level: sums[level] for level in (1, 2, 3, 4)}

    def in_hand(self, viewer: Viewer) -> tuple[int, int]:
        """Of these how many are put aside, and how many a person must still look at."""
        sums = self._sums_of(viewer)
        return sums[_SHELVED], sums[_OPEN]

    def _sums_of(self, viewer: Viewer) -> Counter[int | str]:
        key = (viewer.unit, viewer.clearance)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Counter()
            for finding in self._found.values():
                if self._counts(viewer, finding):
                    sums.update(_columns(finding))
        return sums


def _columns(finding: Counted) -> list[int | str]:
    """What one finding adds to: its level, and where it stands in people's hands."""
    shelved = [_SHELVED] if finding.shelved else []
    return [finding.level, *shelved, *([_OPEN] if finding.open and not finding.shelved else [])]
