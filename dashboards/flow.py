"""The flow of the last minute at every checkpoint, from counts by 10 s of event time. Pure.

State is columns (checkpoint x direction x bucket). A fold adds counts in any order; `tick` says what is shown at a
time, as a function of the counts and that time's whole second only, so that every hub shows the same.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from dashboards.facts import Facts, SignOfLife

BUCKET_US = 10_000_000
WINDOW_BUCKETS = 6  # whole ones; a seventh, the oldest, counts by the part of it that is within the minute
AHEAD_BUCKETS = 13  # events are accepted up to 2 minutes ahead
FRESH_US = 90_000_000  # without a word for so long a checkpoint is unknown
RING = 24  # buckets kept: the window, what is ahead, and room
DIRECTIONS = (1, 2, 0)  # order on the wire and of the columns
UNKNOWN, QUIET, LIVE = 0, 1, 2
STATES = ("unknown", "quiet", "live")
NEVER = np.iinfo(np.int64).min // 2

Increment = tuple[int, int, int, int, int, float]  # checkpoint, bucket_us, direction, passages, measured, speed_sum


class FlowBody(msgspec.Struct, frozen=True):
    """Body of a feed row of kind `flow`."""

    b: list[Increment]
    n: list[tuple[int, int]] = []  # checkpoint, event time (us) of its newest passage


_COLUMN = np.array([2, 0, 1])  # direction -> its place in DIRECTIONS


class Flow:
    """Counts and what they amount to. Rows are the facts' gates in their order."""

    def __init__(self, facts: Facts) -> None:
        self.ids = [gate.id for gate in facts.gates]
        self.row_of = {gate.id: row for row, gate in enumerate(facts.gates)}
        size = len(self.ids)
        self._sorted_ids = np.sort(np.array(self.ids, np.int64))
        self._sorted_rows = np.argsort(np.array(self.ids, np.int64), kind="stable")
        self._bucket = np.full(RING, NEVER, np.int64)
        self._counts = np.zeros((size, 3, RING))
        self._measured = np.zeros((size, 3, RING))
        self._speeds = np.zeros((size, 3, RING))
        self._passed_us = np.full(size, NEVER, np.int64)  # begin of the newest bucket with a passage
        self._newest_us = np.full(size, NEVER, np.int64)  # the newest passage, where it is known; else as above
        self._covered = {
            device: np.array(sorted(self.row_of[c] for c in checkpoints if c in self.row_of), np.int64)
            for device, checkpoints in facts.covered.items()
        }
        self._signs: dict[int, SignOfLife] = {}
        self._alive_us = np.full(size, NEVER, np.int64)
        self._clear_shown(size)
        self.version = 1
        self.changed = np.ones(size, np.int64)  # version in which each checkpoint last changed on screens
        self._items: list[bytes | None] = [None] * size

    def _clear_shown(self, size: int) -> None:
        self.per_minute = np.zeros((size, 3), np.int64)
        self.speed_dkmh = np.full((size, 4), -1, np.int64)  # tenths of km/h, each direction and all; -1: none measured
        self.seen_us = np.full(size, NEVER, np.int64)
        self.state = np.full(size, UNKNOWN, np.int64)

    # ------------------------------------------------------------ folding
    def add(self, increments: Sequence[Increment], now_us: int) -> None:
        """Add counts; what lies outside of the ring's reach, or at an unknown checkpoint, is of no use here."""
        if not increments or not self.ids:
            return
        table = np.array(increments, np.float64).reshape(len(increments), 6)
        buckets = table[:, 1].astype(np.int64) // BUCKET_US
        place = np.searchsorted(self._sorted_ids, table[:, 0])
        place = np.minimum(place, len(self.ids) - 1)
        newest = now_us // BUCKET_US
        directions = table[:, 2].astype(np.int64)
        good = (self._sorted_ids[place] == table[:, 0]) & (buckets <= newest + AHEAD_BUCKETS)
        good &= (directions >= 0) & (directions <= 2)
        rows = self._sorted_rows[place[good]]
        # A sender whose clock is ahead must not look fresh for longer than others.
        np.maximum.at(self._passed_us, rows, np.minimum(buckets[good], newest) * BUCKET_US)
        np.maximum(self._newest_us, self._passed_us, out=self._newest_us)
        in_reach = buckets[good] >= newest - WINDOW_BUCKETS
        rows, buckets, table = rows[in_reach], buckets[good][in_reach], table[good][in_reach]
        self._open(np.unique(buckets))
        slot = (rows, _COLUMN[directions[good][in_reach]], buckets % RING)
        np.add.at(self._counts, slot, table[:, 3])
        np.add.at(self._measured, slot, table[:, 4])
        np.add.at(self._speeds, slot, table[:, 5])

    def reached(self, newest: Iterable[tuple[int, int]], now_us: int) -> None:
        """Take the event times (us) of checkpoints' newest passages."""
        for checkpoint, at_us in newest:
            row = self.row_of.get(checkpoint)
            if row is not None:
                self._newest_us[row] = max(int(self._newest_us[row]), min(at_us, now_us))

    def _open(self, buckets: np.ndarray) -> None:
        for bucket in buckets.tolist():
            slot = bucket % RING
            if self._bucket[slot] != bucket:
                self._bucket[slot] = bucket
                self._counts[:, :, slot] = self._measured[:, :, slot] = self._speeds[:, :, slot] = 0

    def sign(self, signs: Iterable[SignOfLife]) -> None:
        """Take senders' words; one that is older than what is known changes nothing."""
        for sign in signs:
            known = self._signs.get(sign.device)
            rows = self._covered.get(sign.device)
            if rows is None or (known is not None and known.seen_at > sign.seen_at):
                continue
            self._signs[sign.device] = sign
            self._alive_us[rows] = NEVER
            for device, other in self._signs.items():
                if other.state != "unregistered":
                    shared = np.intersect1d(rows, self._covered[device], assume_unique=True)
                    self._alive_us[shared] = np.maximum(self._alive_us[shared], other.seen_at)

    # ------------------------------------------------------------ what is shown
    def tick(self, now_us: int) -> bool:
        """Work out what is shown at this time; True when something changed (and `version` grew)."""
        now_us = now_us // 1_000_000 * 1_000_000
        weights = self._weights(now_us)
        counts, measured, speeds = (part @ weights for part in (self._counts, self._measured, self._speeds))
        measured = np.column_stack((measured, measured.sum(axis=1)))
        speeds = np.column_stack((speeds, speeds.sum(axis=1)))
        per_minute = np.floor(counts + 0.5).astype(np.int64)
        mean = np.divide(speeds, measured, out=np.zeros_like(speeds), where=measured > 1e-9)
        dkmh = np.where(measured > 1e-9, np.floor(mean * 10 + 0.5), -1).astype(np.int64)
        seen = np.minimum(np.maximum(self._passed_us, self._alive_us), now_us)
        state = np.where(per_minute.sum(axis=1) > 0, LIVE, QUIET)
        state[seen <= now_us - FRESH_US] = UNKNOWN
        changed = (per_minute != self.per_minute).any(axis=1) | (dkmh != self.speed_dkmh).any(axis=1)
        changed |= (seen != self.seen_us) | (state != self.state)
        if not changed.any():
            return False
        self.per_minute, self.speed_dkmh, self.seen_us, self.state = per_minute, dkmh, seen, state
        self.version += 1
        self.changed[changed] = self.version
        for row in np.flatnonzero(changed).tolist():
            self._items[row] = None
        return True

    def _weights(self, now_us: int) -> np.ndarray:
        newest = now_us // BUCKET_US
        age = newest - self._bucket
        weights = ((age >= 0) & (age < WINDOW_BUCKETS)).astype(np.float64)
        weights[age == WINDOW_BUCKETS] = 1.0 - (now_us - newest * BUCKET_US) / BUCKET_US
        return weights

    def item(self, row: int) -> bytes:
        """A checkpoint as JSON for the wire, made once for each change."""
        item = self._items[row]
        if item is None:
            item = self._items[row] = msgspec.json.encode(self._shown(row))
        return item

    def _shown(self, row: int) -> dict[str, object]:
        known = self.state[row] != UNKNOWN
        counts = self.per_minute[row].tolist()
        speeds = [None if tenths < 0 else tenths / 10 for tenths in self.speed_dkmh[row].tolist()]
        return {
            "id": self.ids[row],
            "flow": [
                {"direction": direction, "per_minute": counts[column], "speed_kmh": speeds[column]}
                for column, direction in enumerate(DIRECTIONS)
                if known and (direction or counts[column])
            ],
            "per_minute": sum(counts) if known else None,
            "speed_kmh": speeds[3] if known else None,
            "seen_at": int(self.seen_us[row]) if self.seen_us[row] > NEVER else None,
            "state": STATES[int(self.state[row])],
        }

    def changed_since(self, rows: np.ndarray, version: int) -> np.ndarray:
        """Of these rows, those that changed after a version."""
        return rows[self.changed[rows] > version]

    def figures(self, rows: np.ndarray) -> tuple[int | None, int, int]:
        """Of these rows: passages per minute (None: nothing is known), checkpoints of which there is word, all."""
        known = self.state[rows] != UNKNOWN
        total = int(self.per_minute[rows][known].sum())
        return (total if known.any() else None), int(known.sum()), len(rows)

    def newest_us(self, rows: np.ndarray) -> int | None:
        """Event time of the newest passage at these rows; None where none is known of."""
        newest = int(self._newest_us[rows].max(initial=NEVER))
        return newest if newest > NEVER else None
