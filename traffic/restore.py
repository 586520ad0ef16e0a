"""Bringing the state of vehicles back: snapshot pages and what the bus holds behind them, else the tables."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import psycopg
import structlog

from traffic import store
from traffic.lease import Held
from traffic.limits import KEYED_REBUILD_S, LATENESS_S, LOGICAL_PARTITIONS, SECTION_TRAVEL_MAX_S
from traffic.plates import vehicle_keys
from traffic.readings import PASSAGE, Content, EntryUnreadable, PassageBatch, Tick, decode_entry, logical_partitions
from traffic.road_readings import ALARM, POSITION
from traffic.store import SQL, when
from traffic.stream import BusReader
from traffic.vehicles import RuleBook, absorb, keyed
from traffic.vehicles.keyed import KeyedState
from traffic.vehicles.keyed.pages import FORMAT as KEYED_FORMAT
from traffic.vehicles.state import FORMAT, SnapshotUnreadable, VehicleState

log = structlog.get_logger()
STATE_AGE_US = (SECTION_TRAVEL_MAX_S + LATENESS_S) * 1_000_000
REPLAY_ENTRIES = 200
REBUILD_STEP_US = 900_000_000
KEYED_KEEP_US = 8 * 86_400_000_000  # driving of seven days counts
_NONE = {"passages": np.empty(0, PASSAGE), "positions": np.empty(0, POSITION), "alarms": np.empty(0, ALARM)}


@dataclass(slots=True, kw_only=True)
class Memory:
    """What a worker remembers of the vehicles of its partitions: the passages of all, and more of key vehicles."""

    passages: VehicleState = field(default_factory=VehicleState)
    keyed: KeyedState = field(default_factory=KeyedState)

    def kinds(self) -> Iterator[tuple[str, int, VehicleState | KeyedState]]:
        """(kind of its snapshot pages, their format, the state)."""
        yield "passages", FORMAT, self.passages
        yield "keyed", KEYED_FORMAT, self.keyed

    def drop(self, logicals: Iterable[int]) -> None:
        """Forget the vehicles of these pages."""
        for _, _, state in self.kinds():
            state.drop(logicals)

    def mark_dirty(self, logicals: Iterable[int]) -> None:
        """These pages are to be written, whatever is in them."""
        for _, _, state in self.kinds():
            state.mark_dirty(logicals)

    def clear_dirty(self, logicals: Iterable[int]) -> None:
        """These pages are written."""
        for _, _, state in self.kinds():
            state.clear_dirty(logicals)

    def evict(self, before_us: int) -> None:
        """Vehicles that were not seen since leave memory; key vehicles stay as long as their weeks count."""
        self.passages.evict(before_us)
        self.keyed.evict(before_us - KEYED_KEEP_US)


Remembered = tuple[Memory, RuleBook]  # what is brought back, and the rules that it was made by


def logicals_of(partition: int, partitions: int) -> list[int]:
    """The logical partitions (pages of the vehicle state) that a partition of the bus carries."""
    return list(range(partition, LOGICAL_PARTITIONS, partitions))


def restore(
    connection: psycopg.Connection, reader: BusReader, back: Remembered, own: Held, partitions: int, *, now_us: int
) -> str:
    """Fill the pages of one partition as they stood at its committed offset; says from what: snapshot or tables."""
    memory, _ = back
    logicals = logicals_of(own.id, partitions)
    memory.drop(logicals)
    states = {kind: state for kind, _, state in memory.kinds()}
    try:
        for kind, logical, body in connection.execute(SQL["snapshot_read"], {"logicals": logicals}).fetchall():
            states[kind].load(logical, body)
        memory.clear_dirty(logicals)  # what the replay adds is in no page yet
        if own.snapshot[0] == own.generation and _replay(reader, back, own, logicals):
            return "snapshot"
        log.info("rebuild", partition=own.id, why="the bus no longer holds what follows the snapshot")
    except SnapshotUnreadable as error:
        log.warning("rebuild", partition=own.id, why=str(error))
    memory.drop(logicals)
    _rebuild(connection, back, logicals, now_us=now_us)
    memory.mark_dirty(logicals)  # also pages that are empty now: another one stands in their place
    return "tables"


def replay_bus(reader: BusReader, own: Held, take: Callable[[Content], None]) -> bool:
    """Hand on what was committed after the snapshot, in order; False when the bus no longer holds all of it."""
    place, target = own.snapshot, (own.generation, own.offset)
    if place[0] != own.generation:
        return False
    while place < target:
        entries = reader.read_between(own.id, place, target, REPLAY_ENTRIES)
        if not entries:
            return False
        for entry in entries:
            if (entry.generation, entry.counter) != (place[0], place[1] + 1):
                return False
            place = (entry.generation, entry.counter)
            own.read.append((entry.generation, entry.counter, entry.in_bytes))
            try:
                _, content = decode_entry(entry.data)
            except EntryUnreadable:
                continue  # it went to quarantine when it was first read
            take(content)
    return True


def _replay(reader: BusReader, back: Remembered, own: Held, logicals: list[int]) -> bool:
    """Nothing is said: what these entries came to is committed already.

    Timers rest meanwhile, because who was silent then is not known now; they say the same again at the next tick.
    """
    memory, rules = back
    everywhere = frozenset(rules.checkpoints.rows["id"].tolist())

    def take(content: Content) -> None:
        if isinstance(content, PassageBatch):
            absorb(memory.passages, content.rows)
            _learn(back, "passages", content.rows)
        elif isinstance(content, np.ndarray):
            _learn(back, "positions" if content.dtype == POSITION else "alarms", content)
        elif content and isinstance(content[0], Tick):
            keyed.tick(memory.keyed, rules, now_us=content[-1].at, quiet=everywhere, logicals=logicals)

    return replay_bus(reader, own, take)


def _learn(back: Remembered, name: str, rows: np.ndarray) -> None:
    memory, rules = back
    if len(rows):
        keyed.absorb(memory.keyed, rules, **{**_NONE, name: rows}, now_us=int(rows["received_at"].max()))


def _rebuild(connection: psycopg.Connection, back: Remembered, logicals: list[int], *, now_us: int) -> None:
    """From the tables: passages as long as sections reach back, and some hours of the key vehicles.

    Driving of days before that is then not known: daily and weekly sums begin anew.
    """
    memory, rules = back
    rows = store.copy_out(connection, "passages_since", after=when(now_us - STATE_AGE_US))
    absorb(memory.passages, rows[_mine(vehicle_keys(rows["plate_key"], rows["plate_class"]), logicals)])
    if not len(rules.registry):
        return
    for since_us in range(now_us - KEYED_REBUILD_S * 1_000_000, now_us, REBUILD_STEP_US):
        until_us = min(now_us, since_us + REBUILD_STEP_US)
        span = {"after": when(since_us), "until": when(until_us)}
        rows = store.copy_out(connection, "key_passages_between", **span)
        positions = store.copy_out_positions(connection, **span)
        keyed.absorb(
            memory.keyed, rules, alarms=_NONE["alarms"], now_us=until_us,
            passages=rows[_mine(vehicle_keys(rows["plate_key"], rows["plate_class"]), logicals)],
            positions=positions[_mine((positions["subject"] << 3) | positions["class_group"], logicals)],
        )  # fmt: skip


def _mine(keys: np.ndarray, logicals: list[int]) -> np.ndarray:
    return np.isin(logical_partitions(keys), logicals)
