"""Bringing the state of vehicles back: snapshot pages and what the bus holds behind them, else the tables."""

from collections.abc import Callable, Iterable

import numpy as np
import psycopg
import structlog

from traffic import store
from traffic.lease import Held
from traffic.limits import LATENESS_S, LOGICAL_PARTITIONS, SECTION_TRAVEL_MAX_S
from traffic.plates import vehicle_keys
from traffic.readings import Content, EntryUnreadable, PassageBatch, decode_entry, logical_partitions
from traffic.store import SQL, when
from traffic.stream import BusReader
from traffic.vehicles import absorb
from traffic.vehicles.state import SnapshotUnreadable, VehicleState

log = structlog.get_logger()
STATE_AGE_US = (SECTION_TRAVEL_MAX_S + LATENESS_S) * 1_000_000
REPLAY_ENTRIES = 200


def logicals_of(partition: int, partitions: int) -> list[int]:
    """The logical partitions (pages of the vehicle state) that a partition of the bus carries."""
    return list(range(partition, LOGICAL_PARTITIONS, partitions))


def restore(
    connection: psycopg.Connection, reader: BusReader, state: VehicleState, own: Held, partitions: int, *, now_us: int
) -> str:
    """Fill the pages of one partition as they stood at its committed offset; says from what: snapshot or tables."""
    logicals = logicals_of(own.id, partitions)
    state.drop(logicals)
    try:
        rows = connection.execute(SQL["snapshot_read"], {"logicals": logicals}).fetchall()
        for logical, body in rows:
            state.load(logical, body)
        state.clear_dirty(logicals)  # what the replay adds is in no page yet
        if own.snapshot[0] == own.generation and _replay(reader, state, own):
            return "snapshot"
        log.info("rebuild", partition=own.id, why="the bus no longer holds what follows the snapshot")
    except SnapshotUnreadable as error:
        log.warning("rebuild", partition=own.id, why=str(error))
    state.drop(logicals)
    _rebuild(connection, state, logicals, now_us=now_us)
    state.mark_dirty(logicals)  # also pages that are empty now: another one stands in their place
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


def _replay(reader: BusReader, state: VehicleState, own: Held) -> bool:
    def take(content: Content) -> None:
        if isinstance(content, PassageBatch):
            absorb(state, content.rows)

    return replay_bus(reader, own, take)


def _rebuild(connection: psycopg.Connection, state: VehicleState, logicals: Iterable[int], *, now_us: int) -> None:
    rows = store.copy_out(connection, "passages_since", after=when(now_us - STATE_AGE_US))
    mine = np.isin(logical_partitions(vehicle_keys(rows["plate_key"], rows["plate_class"])), list(logicals))
    absorb(state, rows[mine])
