"""What is remembered of registered vehicles, in columns: settled accumulators, pending sightings, and the head of both.

A row belongs to a logical partition, whose rows together are one page of the snapshot. The head is not in a page: it is
folded anew out of what is settled and what is pending.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from traffic.limits import LATENESS_S, LOGICAL_PARTITIONS
from traffic.readings import logical_partitions
from traffic.vehicles.key_index import MISSING, KeyIndex
from traffic.vehicles.keyed import pages, shapes
from traffic.vehicles.keyed.episodes import Episode, episode_of
from traffic.vehicles.keyed.rules import KeyedRules, compile_rules
from traffic.vehicles.keyed.shapes import Fresh, Out, Store
from traffic.vehicles.rules import RuleBook

_ROWS_MIN = 256
_CAPACITIES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # sightings; a vehicle's room grows from one to the next
_FRESH_MAX = 64  # of one vehicle taken in at a time
_SETTLED_AT_ONCE = 8  # settling waits until so many are ready, because it touches twice the memory
_SETTLE_STEP_US = 120_000_000  # whole slots of positions and alarms are settled together
_CLOCKS_APART_US = 60_000_000  # doors' clocks may be apart by so much
_EVENTS = 1 << 14
_TIME_BITS = 38  # three days of microseconds

Standing = dict[Episode, tuple[np.void, np.ndarray]]  # event, its proofs


class KeyedState:
    """The registered vehicles of the partitions that this worker holds. `late`: records that came too late to count."""

    def __init__(self) -> None:
        self._row_of = KeyIndex()
        self._free: list[int] = []
        self._size = 0  # rows ever used
        self._keys = np.zeros(_ROWS_MIN, np.int64)
        self._used = np.zeros(_ROWS_MIN, bool)
        self._newest = np.zeros(_ROWS_MIN, np.int64)
        self._logical = np.zeros(_ROWS_MIN, np.int64)
        self._capacity = np.zeros(_ROWS_MIN, np.int64)
        self._pending_size = 0
        self._rooms: dict[int, list[int]] = defaultdict(list)  # capacity -> free starts
        self._standing: dict[int, Standing] = {}  # row -> what was said of episodes that are settled, but not over
        self._heard_us = np.zeros(LOGICAL_PARTITIONS, np.int64)
        self._dirty = np.zeros(LOGICAL_PARTITIONS, bool)
        self._out = shapes.room_for(_EVENTS)
        self._compiled: tuple[RuleBook, KeyedRules] | None = None
        self._cold: set[int] = set()  # rows of a loaded page, whose head is not folded yet
        self.late = 0
        self.store = Store(
            head=np.zeros(_ROWS_MIN, shapes.MEMORY),
            head_evidence=np.zeros((_ROWS_MIN, shapes.EVIDENCE), shapes.SIGHTING),
            settled=np.zeros(_ROWS_MIN, shapes.MEMORY),
            settled_evidence=np.zeros((_ROWS_MIN, shapes.EVIDENCE), shapes.SIGHTING),
            periods=np.zeros((_ROWS_MIN, shapes.PERIODS), shapes.PERIOD),
            pending=np.zeros(_ROWS_MIN * _CAPACITIES[0], shapes.SIGHTING),
            start=np.zeros(_ROWS_MIN, np.int64),
            held=np.zeros(_ROWS_MIN, np.int64),
            settled_to=np.zeros(_ROWS_MIN, np.int64),
            due=np.zeros(_ROWS_MIN, np.int64),
            gate=np.zeros(_ROWS_MIN, np.int64),
        )

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def bytes_held(self) -> int:
        """Memory of all columns."""
        return sum(column.nbytes for column in self.store)

    def rules_of(self, book: RuleBook) -> KeyedRules:
        """The book's keyed rules, compiled once for each book."""
        if self._compiled is None or self._compiled[0] is not book:
            self._compiled = (book, compile_rules(book, self._compiled and self._compiled[1]))
        return self._compiled[1]

    @property
    def out(self) -> Out:
        """Where kernels write events; empty after it was asked for."""
        self._out.written[:] = 0
        return self._out

    # ------------------------------------------------------------ taking in

    def lay_out(self, keys: np.ndarray, sightings: np.ndarray, rules: KeyedRules) -> Iterable[Fresh]:
        """The sightings by vehicle, with room made for them; of one vehicle at most _FRESH_MAX in one turn.

        What is made here (rows, room, settling beforehand where a vehicle has too much) changes nothing of what the
        rules say.
        """
        rows = self._find_or_make(keys)
        order = _by_row_and_time(rows, sightings["at"])
        rows, sightings = rows[order], sightings[order]
        starts = np.ones(len(rows), bool)
        starts[1:] = rows[1:] != rows[:-1]
        first = np.flatnonzero(starts)
        within = np.arange(len(rows)) - first[np.cumsum(starts) - 1]
        turns = within // _FRESH_MAX
        for turn in range(int(turns.max(initial=0)) + 1):
            now = turns == turn if turns.any() else slice(None)
            yield self._fresh(rows[now], np.ascontiguousarray(sightings[now]), rules)

    def _fresh(self, rows: np.ndarray, sightings: np.ndarray, rules: KeyedRules) -> Fresh:
        first = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])) if len(rows) else np.empty(0, np.int64)
        unique, many = rows[first], np.diff(first, append=len(rows))
        self.warm(unique, rules)
        self._make_room(unique, many, rules)
        return Fresh(
            sightings=sightings,
            first=np.append(first, len(rows)).astype(np.int64),
            rows=unique,
            fate=np.zeros(len(rows), np.uint8),
            displaced=np.zeros(len(rows), shapes.SIGHTING),
        )

    def warm(self, rows: np.ndarray, rules: KeyedRules) -> None:
        """Fold the heads of vehicles of loaded pages, before they are used."""
        if not self._cold:
            return
        cold = np.array(sorted(self._cold.intersection(rows.tolist())), np.int64)
        if len(cold):
            from traffic.vehicles.keyed.kernels.fold import refold_all

            begin = 0
            while begin < len(cold):
                begin = refold_all(self.store, cold, begin, rules.rules, rules.ways, self.out)
            self._cold.difference_update(cold.tolist())

    def heard(self, rows: np.ndarray, received_us: np.ndarray) -> None:
        """Records of these vehicles were received: what is older than the lateness behind that may be settled."""
        np.maximum.at(self._heard_us, self._logical[rows], received_us)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Row of each vehicle, -1 where nothing is remembered of it."""
        return self._row_of.find(keys)

    def touched(self, rows: np.ndarray, newest_us: np.ndarray) -> None:
        """These vehicles (each once) got sightings up to this moment: their pages must be written."""
        self._newest[rows] = np.maximum(self._newest[rows], newest_us)
        self._dirty[self._logical[rows]] = True

    def key_of(self, row: int) -> int:
        """The vehicle of a row."""
        return int(self._keys[row])

    def keys_of(self, rows: np.ndarray) -> np.ndarray:
        """The vehicles of rows."""
        return self._keys[rows]

    def standing(self, row: int) -> Standing:
        """What was last said of a vehicle's episodes that are settled and not over."""
        return self._standing.get(row, {})

    # ------------------------------------------------------------ settling

    def settle(self, rows: np.ndarray, rules: KeyedRules) -> None:
        """Settle what no record within the lateness can come before any more."""
        heard = self._heard_us[self._logical[rows]]
        before = (heard - LATENESS_S * 1_000_000 - _CLOCKS_APART_US) // _SETTLE_STEP_US * _SETTLE_STEP_US
        ready = self.store.held[rows] >= _SETTLED_AT_ONCE
        self._settle(rows[ready], before[ready], _SETTLED_AT_ONCE, rules)

    def _settle(self, rows: np.ndarray, before: np.ndarray, least: int, rules: KeyedRules) -> None:
        from traffic.vehicles.keyed.kernels.fold import settle

        begin = 0
        while begin < len(rows):
            out = self.out
            begin = settle(self.store, rows, begin, before, least, rules.rules, rules.ways, out)
            for number in range(int(out.written[0])):
                self._settle_event(out.events[number].copy(), out.proofs[number].copy())

    def _settle_event(self, event: np.void, proofs: np.ndarray) -> None:
        row = int(event["vehicle"])
        event["vehicle"] = 0  # rows are numbered otherwise in another process
        proofs[int(event["proofs"]) :] = np.zeros((), shapes.SIGHTING)
        name = episode_of(event)
        if event["over"]:
            said = self._standing.get(row)
            if said is not None:
                said.pop(name, None)
            return
        said = self._standing.setdefault(row, {})
        # Of one kind a few episodes are open at a time; an older one cannot change any more, whatever comes.
        same = [other for other in said if other[0] == name[0] and other != name]
        for other in same[: max(0, len(same) - shapes.ALARMS + 1)]:
            del said[other]
        said[name] = (event, proofs)

    def _make_room(self, rows: np.ndarray, more: np.ndarray, rules: KeyedRules) -> None:
        """Afterwards so many sightings fit in; of one that has too many the oldest are settled before their time."""
        crowded = self.store.held[rows] + more > shapes.PENDING_MAX + _FRESH_MAX
        for row, wanted in zip(rows[crowded].tolist(), more[crowded].tolist(), strict=True):
            start, count = int(self.store.start[row]), int(self.store.held[row])
            keep = max(0, shapes.PENDING_MAX - wanted)
            before = int(self.store.pending["at"][start + count - keep - 1]) + 1
            self._settle(np.array([row]), np.array([before]), 1, rules)
        wanted = self.store.held[rows] + more
        short = wanted > self._capacity[rows]
        for row, size in zip(rows[short].tolist(), wanted[short].tolist(), strict=True):
            self._move(row, size)

    def _move(self, row: int, size: int) -> None:
        """Give a vehicle a larger room for its pending sightings."""
        capacity = next(one for one in _CAPACITIES if one >= size)
        store = self.store
        if self._rooms[capacity]:
            start = self._rooms[capacity].pop()
        else:
            start = self._pending_size
            self._pending_size += capacity
            if self._pending_size > len(store.pending):
                wider = np.zeros(max(self._pending_size, 2 * len(store.pending)), shapes.SIGHTING)
                wider[: len(store.pending)] = store.pending
                self.store = store = store._replace(pending=wider)
        count, old = int(store.held[row]), int(store.start[row])
        store.pending[start : start + count] = store.pending[old : old + count]
        if self._capacity[row]:
            self._rooms[int(self._capacity[row])].append(old)
        store.start[row], self._capacity[row] = start, capacity

    # ------------------------------------------------------------ timers

    def due(self, now_us: int, logicals: Iterable[int] | None) -> np.ndarray:
        """Rows of vehicles with a timer that has run out."""
        due = self.store.due[: self._size]
        found = np.flatnonzero((due > 0) & (due <= now_us) & self._used[: self._size])
        return found if logicals is None else found[np.isin(self._logical[found], list(logicals))]

    def expected_at(self, gates: Iterable[int], logicals: Iterable[int] | None) -> np.ndarray:
        """Rows of vehicles that passed one of these gates (checkpoint * 4 + direction) last, and are expected."""
        found = np.flatnonzero(self._used[: self._size] & (self.store.gate[: self._size] != 0))
        found = found[np.isin(self.store.gate[found], list(gates))]
        return found if logicals is None else found[np.isin(self._logical[found], list(logicals))]

    def tell_time(self, now_us: int, logicals: Iterable[int] | None) -> None:
        """A tick has passed: also partitions without records settle."""
        if logicals is None:
            np.maximum(self._heard_us, now_us, out=self._heard_us)
        else:
            held = list(logicals)
            self._heard_us[held] = np.maximum(self._heard_us[held], now_us)

    # ------------------------------------------------------------ leaving memory

    def evict(self, before_us: int) -> int:
        """Vehicles whose newest sighting is older leave memory; returns how many.

        A week is what driving time needs to look back.
        """
        idle = np.flatnonzero(self._used[: self._size] & (self._newest[: self._size] < before_us))
        self._release(idle)
        self._dirty[self._logical[idle]] = True
        return len(idle)

    def drop(self, logicals: Iterable[int]) -> None:
        """Pages of partitions that are no longer held leave memory."""
        lost = np.zeros(LOGICAL_PARTITIONS, bool)
        lost[list(logicals)] = True
        self._release(np.flatnonzero(self._used[: self._size] & lost[self._logical[: self._size]]))
        self._dirty &= ~lost
        self._heard_us[lost] = 0

    # ------------------------------------------------------------ snapshot pages

    def dirty(self) -> set[int]:
        """Logical partitions that changed since they were last marked clean."""
        return set(np.flatnonzero(self._dirty).tolist())

    def mark_dirty(self, logicals: Iterable[int]) -> None:
        """These pages must be written, whatever stands in their place."""
        self._dirty[list(logicals)] = True

    def clear_dirty(self, logicals: Iterable[int]) -> None:
        """These pages have been written (or just been read)."""
        self._dirty[list(logicals)] = False

    def dump(self, logical: int) -> bytes:
        """The page of a logical partition."""
        known = self._newest[: self._size] != 0  # else a row that was made, and nothing came of it
        rows = np.flatnonzero(self._used[: self._size] & known & (self._logical[: self._size] == logical))
        rows = rows[np.argsort(self._keys[rows])]
        store = self.store
        count = store.held[rows]
        place = np.repeat(store.start[rows], count) + np.arange(int(count.sum()))
        place -= np.repeat(np.cumsum(count) - count, count)
        return pages.write(
            pages.Page(
                logical=logical,
                heard_us=int(self._heard_us[logical]),
                keys=self._keys[rows],
                newest=self._newest[rows],
                settled_to=store.settled_to[rows],
                memory=store.settled[rows],
                evidence=store.settled_evidence[rows],
                periods=store.periods[rows],
                count=count,
                pending=store.pending[place],
                standing=[
                    (number, event, proofs)
                    for number, row in enumerate(rows.tolist())
                    for event, proofs in self._standing.get(row, {}).values()
                ],
            )
        )

    def load(self, logical: int, page: bytes) -> None:
        """Put a page in the place of what is held of its logical partition; raises SnapshotUnreadable."""
        read = pages.read(logical, bytes(page))
        self.drop([logical])
        self._heard_us[logical] = read.heard_us
        if not len(read.keys):
            return
        rows = self._find_or_make(read.keys)
        for row, count in zip(rows.tolist(), read.count.tolist(), strict=True):
            if count:
                self._move(row, count)
        store = self.store
        self._newest[rows] = read.newest
        store.settled_to[rows] = read.settled_to
        store.settled[rows] = read.memory
        store.settled_evidence[rows] = read.evidence
        store.periods[rows] = read.periods
        store.held[rows] = read.count
        place = np.repeat(store.start[rows], read.count) + np.arange(len(read.pending))
        place -= np.repeat(np.cumsum(read.count) - read.count, read.count)
        store.pending[place] = read.pending
        for number, event, proofs in read.standing:
            self._standing.setdefault(int(rows[number]), {})[episode_of(event)] = (event, proofs)
        self._cold.update(rows.tolist())

    def warm_all(self, rules: KeyedRules) -> None:
        """Fold every head that is not folded yet: timers are found in heads."""
        if self._cold:
            self.warm(np.array(sorted(self._cold), np.int64), rules)

    # ------------------------------------------------------------ rows

    def _find_or_make(self, keys: np.ndarray) -> np.ndarray:
        rows = self._row_of.find(keys)
        missing = np.unique(keys[rows == MISSING])
        if len(missing):
            fresh = self._take_rows(len(missing))
            self._row_of.put(missing, fresh)
            self._keys[fresh] = missing
            self._logical[fresh] = logical_partitions(missing)
            self._used[fresh] = True
            rows = self._row_of.find(keys)
        return rows

    def _take_rows(self, wanted: int) -> np.ndarray:
        reused = [self._free.pop() for _ in range(min(wanted, len(self._free)))]
        more = wanted - len(reused)
        if self._size + more > len(self._keys):
            self._grow(self._size + more)
        rows = np.array(reused + list(range(self._size, self._size + more)), np.int64)
        self._size += more
        return rows

    def _grow(self, wanted: int) -> None:
        size = len(self._keys)
        while size < wanted:
            size *= 4  # what nobody has written to yet takes no memory
        for name in ("_keys", "_used", "_newest", "_logical", "_capacity"):
            setattr(self, name, _wider(getattr(self, name), size))
        columns = {
            name: column if name == "pending" else _wider(column, size) for name, column in self.store._asdict().items()
        }
        self.store = Store(**columns)

    def _release(self, rows: np.ndarray) -> None:
        """Rows become as if they had never been used."""
        self._row_of.remove(self._keys[rows])
        for row in rows[self._capacity[rows] > 0].tolist():
            self._rooms[int(self._capacity[row])].append(int(self.store.start[row]))
        self._used[rows] = False
        self._newest[rows] = 0
        self._capacity[rows] = 0
        for name, column in self.store._asdict().items():
            if name != "pending":
                column[rows] = np.zeros((), column.dtype)
        for row in rows.tolist():
            self._standing.pop(row, None)
        self._cold.difference_update(rows.tolist())
        self._free += rows.tolist()


def _by_row_and_time(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The order by row, then time; among equal times any will do, because kernels put them right."""
    since = at - at.min(initial=np.iinfo(np.int64).max)
    if since.max(initial=0) >= 1 << _TIME_BITS:
        return np.lexsort((at, rows))
    return np.argsort((rows << _TIME_BITS) | since)


def _wider(column: np.ndarray, size: int) -> np.ndarray:
    wider = np.zeros((size, *column.shape[1:]), column.dtype)
    wider[: len(column)] = column
    return wider
