"""The monitor's two transactions: a batch of what came in, and a cycle of the picture. Each is written whole or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import numpy as np
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from traffic import monitor_store, rollups, store
from traffic.collect import Place, Work
from traffic.commit import advance, device_rows
from traffic.device_figures import sent_by_device, store_sent
from traffic.errors import LeaseLost
from traffic.feed_writer import FeedRow, int_array, write_feed
from traffic.lease import Held
from traffic.limits import LEASE_S
from traffic.monitor_store import Written
from traffic.readings import Reject
from traffic.road_said import (
    changed_links,
    event_card,
    grounds_of,
    index_of_table,
    index_values,
    link_items,
    links_said,
    sensor_body,
    sensor_key,
)
from traffic.roadbook import SQL, Circle, RoadBook
from traffic.roads.model import EventKind, HealthChange, RoadEvent, SensorKind, Turn
from traffic.store import SQL as SHARED
from traffic.store import when

FORMAT = 1  # of a snapshot's body


@dataclass(slots=True, kw_only=True)
class Told:
    """What was last said, so that only changes are written: link states (LINK_SAID) and indices by scope and id."""

    links: np.ndarray | None = None
    indices: dict[tuple[str, int], dict] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One turn to be written: at which time, over which tick of the bus, and the state behind it."""

    at_us: int
    turn: Turn
    ended: Sequence[RoadEvent]  # events of a lost memory, which nobody follows any more
    over: tuple[Place, Place]
    snapshot: bytes
    rejects: Sequence[Reject] = ()


# ---------------------------------------------------------------- a batch
def commit_batch(
    connection: psycopg.Connection, book: RoadBook, own: Held, work: Work, *, now_us: int
) -> tuple[Written, dict[int, int]]:
    """Write a batch; gives what became of it, and where the feed stands. Raises LeaseLost, psycopg.Error."""
    written = Written()
    with connection.transaction():
        advance(connection, {own.id: own}, work.moves, None)
        monitor_store.write_reports(connection, work.detectors, written)
        store_sent(connection, sent_by_device((work.detectors,)), received_us=now_us, slot=own.id)
        if work.roadside:
            monitor_store.write_items(connection, work.roadside, written, now_us=now_us)
        refused = [*work.rejects, *written.refused]
        if refused:
            store.write_rejects(connection, refused, book.above_unit, book.top_unit)
        feed = device_rows(connection, book, work, slot=own.id)
        return written, write_feed(connection, {own.id: own}, feed, now_us=now_us)


# ---------------------------------------------------------------- a cycle
def commit_cycle(
    connection: psycopg.Connection, book: RoadBook, own: Held, told: Told, cycle: Cycle
) -> tuple[Told, dict[int, int]]:
    """Write a cycle and the snapshot behind it; gives what is said now, and where the feed stands."""
    turn, at_us = cycle.turn, cycle.at_us
    with connection.transaction():
        advance(connection, {own.id: own}, {own.id: cycle.over}, None)
        said = links_said(turn.picture, turn.risk)
        for_table, for_screens = changed_links(said, told.links)
        _write_links(connection, book, cycle, said, for_table)
        events = [*cycle.ended, *turn.events]
        _write_events(connection, book, events)
        _write_health(connection, book, turn.health)
        indices = {(index.scope, index.scope_id): index_values(index) for index in turn.indices}
        _write_indices(connection, book, list(indices.values()), at_us=at_us)
        rollups.add_links(connection, book.network, turn.picture, turn.risk, at_us=at_us)
        rollups.add_indices(connection, turn.indices, at_us=at_us)
        _log_cycle(connection, book, own, cycle)
        if cycle.rejects:
            store.write_rejects(connection, cycle.rejects, book.above_unit, book.top_unit)
        write_snapshot(connection, own, cycle.over[1], cycle.snapshot, at_us=at_us)
        feed = _link_rows(book, own, said, for_screens, at_us=at_us)
        feed += [_event_row(book, own, event) for event in events]
        feed += [_sensor_row(book, own, change) for change in turn.health]
        feed += [
            _index_row(book, own, key, values, at_us=at_us)
            for key, values in indices.items()
            if told.indices is None or told.indices.get(key) != values
        ]
        moved = write_feed(connection, {own.id: own}, feed, now_us=at_us)
        connection.execute(SQL["lease_longer"], {"id": own.id, "epoch": own.epoch, "lease_s": LEASE_S})
    return Told(links=said, indices={**(told.indices or {}), **indices}), moved


def write_snapshot(connection: psycopg.Connection, own: Held, place: Place, body: bytes, *, at_us: int) -> None:
    """Keep the state as it stands at this place of the bus, where the partition stands in this transaction."""
    stands = {"id": own.id, "epoch": own.epoch, "generation": place[0], "bus_offset": place[1]}
    if connection.execute(SHARED["snapshot_stands"], stands).rowcount != 1:
        raise LeaseLost("the roads belong to another monitor by now")
    snapshot = {"format": FORMAT, "taken_at": when(at_us), "body": body}
    connection.execute(SQL["snapshot_write"], {**snapshot, "generation": place[0], "bus_offset": place[1]})


def _write_links(
    connection: psycopg.Connection, book: RoadBook, cycle: Cycle, said: np.ndarray, rows: np.ndarray
) -> None:
    at = when(cycle.at_us)
    if len(rows):
        some = said[rows]
        audiences = [int_array(circle.units) for circle in book.circles]
        values = {name: some[name].tolist() for name in said.dtype.names or ()}
        values |= {
            "at": at,
            "link": book.network.ids[rows].tolist(),
            "grounds": grounds_of(book.sensors, cycle.turn, rows),
            "audience": [audiences[circle] for circle in book.circle_of_link[rows].tolist()],
        }
        connection.execute(SQL["links_write"], values)
    connection.execute(SQL["links_stand"], {"at": at})


def _write_events(connection: psycopg.Connection, book: RoadBook, events: Sequence[RoadEvent]) -> None:
    rows = [
        {
            "id": event.id,
            "kind": str(event.kind),
            "state": event.state,
            "level": event.level,
            "revision": event.revision,
            "link": event.link,
            "road": event.road,
            "direction": event.direction,
            "head_stake_m": event.head_stake_m,
            "tail_stake_m": event.tail_stake_m,
            "unit": event.unit,
            "started_at": when(event.started_us),
            "changed_at": when(event.changed_us),
            "ended_at": None if event.ended_us is None else when(event.ended_us),
            "observed_at": when(event.observed_us),
            "confidence": event.confidence,
            "grounds": Jsonb(dict(event.grounds), msgspec.json.encode),
            "audience": sorted(audience_of_event(book, event)),
            "body": Jsonb(event_card(event), msgspec.json.encode),
        }
        for event in events
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(SQL["event_write"], rows)
            cursor.executemany(SQL["event_revision_write"], rows)


def audience_of_event(book: RoadBook, event: RoadEvent) -> frozenset[int]:
    """Owner and neighbours of the link, else the owner that the event names; and all above."""
    units = book.audience_of_unit(event.unit)
    if event.link is not None:
        (row,) = book.network.rows_of(np.array([event.link], np.int64)).tolist()
        if row >= 0:
            units |= book.audience_of_link(row)
    return units


def _audience_of_sensor(book: RoadBook, change: HealthChange) -> frozenset[int]:
    return book.audience_of_sensor.get((int(change.kind), change.id), frozenset({book.top_unit}))


def _write_health(connection: psycopg.Connection, book: RoadBook, changes: Sequence[HealthChange]) -> None:
    rows = [
        {
            "kind": SensorKind(change.kind).name.lower(),
            "id": change.id,
            "lane": change.lane,
            "state": change.state,
            "reason": change.reason,
            "trust": change.trust,
            "since": when(change.since_us),
            "detail": Jsonb(dict(change.detail), msgspec.json.encode),
            "audience": sorted(_audience_of_sensor(book, change)),
        }
        for change in changes
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(SQL["health_write"], rows)


def _write_indices(connection: psycopg.Connection, book: RoadBook, said: Sequence[dict], *, at_us: int) -> None:
    if not said:
        return
    columns: dict[str, list] = {name: [index[name] for index in said] for name in said[0]}
    columns["risk_links"] = [f"{{{','.join(map(str, counts))}}}" for counts in columns["risk_links"]]  # in their order
    columns["audience"] = [int_array(_audience_of_index(book, index["scope"], index["id"])) for index in said]
    connection.execute(SQL["indices_write"], {**columns, "at": when(at_us)})


def _audience_of_index(book: RoadBook, scope: str, scope_id: int) -> frozenset[int]:
    return book.audience_of_unit(scope_id) if scope == "unit" else book.everyone


def _log_cycle(connection: psycopg.Connection, book: RoadBook, own: Held, cycle: Cycle) -> None:
    """With which versions this stretch of the bus was judged."""
    (_, start), (generation, end) = cycle.over
    versions = {name: book.versions[name] for name in ("rule", "watchlist", "network")}
    place = {"partition": own.id, "generation": generation, "from_offset": start, "to_offset": end}
    connection.execute(SHARED["batch_log"], {**place, **versions})


# ---------------------------------------------------------------- rows of the feed
def _link_rows(book: RoadBook, own: Held, said: np.ndarray, rows: np.ndarray, *, at_us: int) -> list[FeedRow]:
    """One row for each circle of units, with the links that they may see."""
    if not len(rows):  # that the cycle was done is news of its own
        return [_links_row(own, Circle(key="none", units=book.everyone), {"at": at_us, "l": []})]
    circle_of = book.circle_of_link[rows]
    order = np.argsort(circle_of, kind="stable")
    circles, starts = np.unique(circle_of[order], return_index=True)
    found = []
    for circle, some in zip(circles.tolist(), np.split(rows[order], starts[1:]), strict=False):
        body = {"at": at_us, "l": link_items(book.network, said, some)}
        found.append(_links_row(own, book.circles[circle], body))
    return found


def _links_row(own: Held, circle: Circle, body: dict) -> FeedRow:
    return FeedRow(partition=own.id, topic="roads", kind="links", key=circle.key, units=circle.units, body=body)


def _event_row(book: RoadBook, own: Held, event: RoadEvent) -> FeedRow:
    return FeedRow(
        partition=own.id, topic="roads", kind="event", key=str(event.id), units=audience_of_event(book, event),
        body=event_card(event),
    )  # fmt: skip


def _sensor_row(book: RoadBook, own: Held, change: HealthChange) -> FeedRow:
    return FeedRow(
        partition=own.id, topic="roads", kind="sensor", key=sensor_key(change), units=_audience_of_sensor(book, change),
        body=sensor_body(change),
    )  # fmt: skip


def _index_row(book: RoadBook, own: Held, key: tuple[str, int], values: dict, *, at_us: int) -> FeedRow:
    scope, number = key
    return FeedRow(
        partition=own.id, topic="figures", kind="index", key=f"{scope}:{number}",
        units=_audience_of_index(book, scope, number), body={**values, "at": at_us},
    )  # fmt: skip


# ---------------------------------------------------------------- after a takeover
def read_told_indices(connection: psycopg.Connection) -> dict[tuple[str, int], dict]:
    """What was last said of each scope."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return {(row["scope"], row["scope_id"]): index_of_table(row) for row in cursor.execute(SQL["indices_told"])}


def ended_events(connection: psycopg.Connection, *, at_us: int) -> list[RoadEvent]:
    """Open events as they end when the memory that followed them is lost; what goes on is found anew."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_ended(row, at_us) for row in cursor.execute(SQL["events_open"])]


def _ended(row: dict, at_us: int) -> RoadEvent:
    identity: UUID = row["id"]
    return RoadEvent(
        id=identity,
        kind=EventKind(row["kind"]),
        change="ended",
        state="ended",
        level=row["level"],
        revision=row["revision"] + 1,
        link=row["link_id"],
        road=row["road_id"],
        direction=row["direction"],
        head_stake_m=row["head_stake_m"],
        tail_stake_m=row["tail_stake_m"],
        unit=row["unit_id"],
        started_us=row["started_us"],
        changed_us=max(at_us, row["changed_us"]),
        ended_us=max(at_us, row["changed_us"]),
        observed_us=row["observed_us"],
        confidence=row["confidence"],
        grounds={**row["grounds"], "ended_by": "memory_lost"},
    )
