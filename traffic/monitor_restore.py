"""Bringing the roads' state back: the snapshot and what the bus holds behind it, else the tables."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import psycopg
import structlog

from traffic import monitor_store
from traffic.lease import Held
from traffic.limits import CYCLE_S, SENSOR_INTERVALS
from traffic.monitor_commit import FORMAT, Told, read_told_indices
from traffic.readings import Content
from traffic.restore import replay_bus
from traffic.road_readings import DETECTOR_REPORT
from traffic.road_said import said_of_table
from traffic.roadbook import SQL, RoadBook
from traffic.roads.cycle import RoadRules, StateUnreadable
from traffic.roads.model import Inputs, RoadNetwork, Sections, Sensors, Turn
from traffic.stream import BusReader

log = structlog.get_logger()
WINDOW_US = SENSOR_INTERVALS * CYCLE_S * 1_000_000
REPORTS_MAX = 2_000_000  # that wait for a cycle or warm a state; beyond it the oldest go (the table has them)


class Turning(Protocol):
    """The cycle as the monitor calls it (traffic/roads/cycle.py)."""

    def new_state(self, network: RoadNetwork, sensors: Sensors) -> Any: ...
    def dump(self, state: Any) -> bytes: ...
    def load(self, data: bytes, network: RoadNetwork, sensors: Sensors) -> Any: ...
    def turn(  # noqa: PLR0913 - one argument for each thing that a picture rests on
        self,
        network: RoadNetwork,
        sensors: Sensors,
        sections: Sections,
        state: Any,
        inputs: Inputs,
        rules: RoadRules,
        *,
        now_us: int,
    ) -> Turn: ...


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot's body: the state behind a cycle, and the reports that came since."""

    at_us: int  # of the last cycle
    orphaned: bool  # open events of the table are followed by nobody: the next cycle ends them
    state: bytes
    waiting: bytes  # DETECTOR_REPORT rows


@dataclass(slots=True, kw_only=True)
class Memory:
    """What the monitor knows between two cycles."""

    state: Any
    waiting: list[np.ndarray]  # reports since the last cycle, in the order of the bus
    at_us: int  # of the last cycle; 0: none yet
    orphaned: bool
    told: Told
    source: str  # snapshot, or tables

    def reports(self) -> np.ndarray:
        """Everything that waits, the newest when there is more than the bound."""
        rows = np.concatenate(self.waiting) if self.waiting else np.empty(0, DETECTOR_REPORT)
        if len(rows) > REPORTS_MAX:
            log.warning("reports left out of the picture", rows=len(rows) - REPORTS_MAX)
            rows = rows[np.argsort(rows["observed_at"], kind="stable")[-REPORTS_MAX:]]
        self.waiting = [rows]
        return rows


def dump(cycle: Turning, memory: Memory) -> bytes:
    """The memory as the body of a snapshot."""
    return msgspec.msgpack.encode(
        Body(
            at_us=memory.at_us,
            orphaned=memory.orphaned,
            state=cycle.dump(memory.state),
            waiting=memory.reports().tobytes(),
        )
    )


def read_body(data: bytes) -> Body:
    """What `dump` wrote; raises msgspec.MsgspecError."""
    return msgspec.msgpack.decode(data, type=Body)


def restore(
    connection: psycopg.Connection, reader: BusReader, cycle: Turning, book: RoadBook, own: Held, *, now_us: int
) -> Memory:
    """The memory as it stood at the committed offset."""
    told = read_told(connection, book)
    last = connection.execute(SQL["last_cycle"]).fetchone()
    at_us = last[0] if last else 0
    row = connection.execute(SQL["snapshot_read"]).fetchone()
    if row is not None:
        at_us = max(at_us, row[3])
    try:
        memory = _of_snapshot(cycle, book, row, told)
    except (StateUnreadable, msgspec.MsgspecError, ValueError) as error:
        log.warning("the roads' state begins anew", why=str(error))
        return anew(connection, cycle, book, at_us, told, now_us=now_us)
    assert row is not None
    if row[1:3] != own.snapshot or not _replay(reader, memory, own):
        log.info("rebuild", partition=own.id, why="the bus no longer holds what follows the snapshot")
        # Whatever the state has seen of these changes nothing when it is seen again.
        memory.waiting = [_stored(connection, since_us=memory.at_us - WINDOW_US)]
        memory.source = "tables"
    return memory


def read_told(connection: psycopg.Connection, book: RoadBook) -> Told:
    """What was last said, as the tables have it."""
    links = said_of_table(book.network, connection.execute(SQL["links_told"]))
    return Told(links=links, indices=read_told_indices(connection))


def anew(
    connection: psycopg.Connection, cycle: Turning, book: RoadBook, at_us: int, told: Told, *, now_us: int
) -> Memory:
    """A state that knows the last quarter of an hour of reports, and nothing of what was wrong before."""
    return Memory(
        state=cycle.new_state(book.network, book.sensors),
        waiting=[_stored(connection, since_us=now_us - WINDOW_US)],
        at_us=at_us,
        orphaned=True,
        told=told,
        source="tables",
    )


def _of_snapshot(cycle: Turning, book: RoadBook, row: tuple | None, told: Told) -> Memory:
    if row is None:
        raise StateUnreadable("there is no snapshot yet")
    if row[0] != FORMAT:
        raise StateUnreadable(f"the snapshot is of format {row[0]}, this monitor reads {FORMAT}")
    body = read_body(row[4])
    return Memory(
        state=cycle.load(body.state, book.network, book.sensors),
        waiting=[np.frombuffer(body.waiting, DETECTOR_REPORT)],
        at_us=body.at_us,
        orphaned=body.orphaned,
        told=told,
        source="snapshot",
    )


def _replay(reader: BusReader, memory: Memory, own: Held) -> bool:
    def take(content: Content) -> None:
        if isinstance(content, np.ndarray) and content.dtype == DETECTOR_REPORT:
            memory.waiting.append(content)

    return replay_bus(reader, own, take)


def _stored(connection: psycopg.Connection, *, since_us: int) -> np.ndarray:
    return monitor_store.reports_since(connection, since_us=since_us, limit=REPORTS_MAX)
