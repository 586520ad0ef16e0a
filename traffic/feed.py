"""The feed: every visible change, numbered without gaps in each partition, read by cursor.

A cursor is a vector: one place for each partition, under the epoch of the instance. Whoever keeps one can come back
to any process and go on behind it, as long as the feed still holds what follows. Pure; feed_rows.py reads.
"""

import heapq
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from traffic.audience import Audience

CURSOR_CHARS_MAX = 2048
_EPOCH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLACE = re.compile(r"(\d{1,3}):([1-9]\d{0,17})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Everything up to and with `places[partition]` has been seen; a partition that is not named: nothing of it."""

    epoch: str
    places: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        places = ",".join(f"{partition}:{seq}" for partition, seq in sorted(self.places.items()) if seq > 0)
        return f"{self.epoch}|{places}"

    def place(self, partition: int) -> int:
        """The last number seen of a partition."""
        return self.places.get(partition, 0)

    def reaches(self, other: "Cursor") -> bool:
        """Whether all that `other` has seen was seen here too."""
        return all(self.place(partition) >= seq for partition, seq in other.places.items())

    def joined(self, other: "Cursor") -> "Cursor":
        """What either has seen."""
        partitions = self.places.keys() | other.places.keys()
        return Cursor(epoch=self.epoch, places={p: max(self.place(p), other.place(p)) for p in partitions})

    def after(self, entries: "Iterable[FeedEntry]") -> "Cursor":
        """This cursor after having seen these entries as well."""
        places = dict(self.places)
        for entry in entries:
            places[entry.partition] = max(places.get(entry.partition, 0), entry.seq)
        return Cursor(epoch=self.epoch, places=places)


def parse_cursor(text: str) -> Cursor | None:
    """The cursor of a text `<epoch>|<partition>:<seq>,...`; None when it is no cursor."""
    epoch, bar, rest = text.partition("|")
    if len(text) > CURSOR_CHARS_MAX or not bar or not _EPOCH.fullmatch(epoch):
        return None
    places: dict[int, int] = {}
    for part in rest.split(",") if rest else []:
        match = _PLACE.fullmatch(part) if part.isascii() else None
        if match is None or int(match[1]) in places:
            return None
        places[int(match[1])] = int(match[2])
    return Cursor(epoch=epoch, places=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """One row of the feed. `audience` is that of the row (for flow it stands with the checkpoint); `body` is JSON."""

    partition: int
    seq: int
    at: int  # microseconds
    topic: str
    kind: str
    key: str
    audience: Audience
    body: bytes


def in_feed_order(entries: Iterable[FeedEntry]) -> list[FeedEntry]:
    """By time across partitions; within a partition always by number."""
    of_partition: dict[int, list[FeedEntry]] = {}
    for entry in entries:
        of_partition.setdefault(entry.partition, []).append(entry)
    return list(heapq.merge(*of_partition.values(), key=lambda entry: entry.at))
