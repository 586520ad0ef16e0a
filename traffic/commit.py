"""The one transaction of a batch: offsets, passages, roll-ups, findings, feed and quarantine together, or nothing."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import psycopg

from traffic import finding_writer, store, subscriptions, tracking
from traffic.buckets import Width, begins_us, due_us
from traffic.collect import Gap, Place, Work
from traffic.device_figures import sent_by_device, store_sent
from traffic.errors import LeaseLost
from traffic.feed_writer import FeedRow, write_feed
from traffic.finding_writer import Said
from traffic.findings import Candidate
from traffic.lease import Held
from traffic.limits import LEASE_S
from traffic.readings import PASSAGE, PassageBatch
from traffic.road_readings import vehicle_groups
from traffic.rulebook import Book
from traffic.store import SQL, when
from traffic.vehicles import travel_time

BUCKET_US = 10_000_000  # flow goes to the screens by 10 s of event time
FLOW_AGE_MAX_US = 600_000_000  # older passages are in the roll-ups, and of no use to a live picture
MINUTE_US = 60_000_000


@dataclass(slots=True, kw_only=True)
class Judged:
    """What became of a batch's rows."""

    new: PassageBatch
    of_rows: np.ndarray  # partition of each new row
    candidates: list[Candidate] = field(default_factory=list)
    partition_of_candidate: list[int] = field(default_factory=list)
    second_sources: np.ndarray = field(default_factory=lambda: np.empty(0, PASSAGE))
    changed: np.ndarray = field(default_factory=lambda: np.empty(0, PASSAGE))  # known records with other content
    travels: np.ndarray = field(default_factory=travel_time.nothing)
    duplicates: int = 0


def commit(
    connection: psycopg.Connection, book: Book, held: dict[int, Held], work: Work, judged: Judged, *, now_us: int
) -> dict[int, int]:
    """Write the batch; returns the feed's new sequence for each partition that spoke. The caller moves `held` after it.

    Raises LeaseLost when another worker owns one of the partitions, psycopg.Error when the database refuses.
    """
    with connection.transaction():
        advance(connection, held, work.moves, judged)
        rows = judged.new.rows
        if len(rows):
            store.copy_passages(connection, judged.new)
            _roll_up(connection, rows, slot=min(held), now_us=now_us)
            _log_batches(connection, book, work)
            subscriptions.outbox(connection, book.subscriptions, judged.new, now_us=now_us)
        if len(judged.second_sources):
            store.add_sources(connection, judged.second_sources)
        store.write_travel_times(connection, judged.travels, slot=min(held))
        _amend(connection, judged.changed, slot=min(held), now_us=now_us)
        moved = tracking.store_positions(connection, book.tracked, work.positions, slot=min(held))
        store.add_alarms(connection, work.alarms)
        sent = sent_by_device((rows, work.positions, work.alarms))
        store_sent(connection, sent, received_us=now_us, slot=min(held))
        if work.rejects:
            store.write_rejects(connection, work.rejects, book.above_unit, book.top_unit)
        feed = flow_rows(rows, book, slot=min(held), now_us=now_us)
        feed += device_rows(connection, book, work, slot=min(held))
        feed += moved
        feed += finding_writer.write(connection, _said(work, judged, slot=min(held)), now_us=now_us)
        return write_feed(connection, held, feed, now_us=now_us)


def _said(work: Work, judged: Judged, *, slot: int) -> Said:
    return Said(
        candidates=list(zip(judged.partition_of_candidate, judged.candidates, strict=True)),
        deeds=work.deeds,
        tick_us=max(work.ticks.values(), default=0),
        slot=slot,
        odd_plates=judged.new.odd_plates,
    )


def advance(
    connection: psycopg.Connection, held: dict[int, Held], moves: dict[int, tuple[Place, Place]], judged: Judged | None
) -> None:
    """First statement: every partition moves on from where this owner believes it to be, or LeaseLost."""
    ids = sorted(moves)
    newest = {}
    if judged is not None and len(judged.new):
        for partition in ids:
            times = judged.new.rows["observed_at"][judged.of_rows == partition]
            if len(times):
                newest[partition] = int(times.max())
    done = connection.execute(
        SQL["advance"],
        {
            "ids": ids,
            "epochs": [held[p].epoch for p in ids],
            "generations": [moves[p][0][0] for p in ids],
            "offsets": [moves[p][0][1] for p in ids],
            "to_generations": [moves[p][1][0] for p in ids],
            "to_offsets": [moves[p][1][1] for p in ids],
            "observed": [newest.get(p) for p in ids],
            "lease_s": LEASE_S,
        },
    ).rowcount
    if done != len(ids):
        raise LeaseLost(f"{len(ids) - done} of the partitions {ids} belong to another worker by now")


def record_gaps(
    connection: psycopg.Connection,
    held: dict[int, Held],
    moves: dict[int, tuple[Place, Place]],
    gaps: list[Gap],
    *,
    now_us: int,
) -> None:
    """Move partitions over what the bus lost, and say what is missing, in one transaction."""
    with connection.transaction():
        advance(connection, held, moves, None)
        for gap in gaps:
            connection.execute(
                SQL["gap"],
                {
                    "partition": gap.partition,
                    "generation": gap.generation,
                    "from_counter": gap.first,
                    "to_counter": gap.upto,
                    "reason": gap.reason,
                    "detected_at": when(now_us),
                },
            )


def _log_batches(connection: psycopg.Connection, book: Book, work: Work) -> None:
    versions = {"rule": book.versions["rule"], "watchlist": book.versions["watchlist"]}
    with connection.cursor() as cursor:
        cursor.executemany(
            SQL["batch_log"],
            [
                {
                    **versions,
                    "network": book.versions["network"],
                    "partition": partition,
                    "generation": there[0],
                    "from_offset": here[1],
                    "to_offset": there[1],
                }
                for partition, (here, there) in work.moves.items()
            ],
        )


def _grouped(rows: np.ndarray, width_us: int, classes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Passages by checkpoint, direction, class and stretch of event time.

    Keys, then of each: count, those measured, sum of their speeds, plates read. Without `classes`
    (VehicleGroup of each) all count as one.
    """
    start = rows["observed_at"] // width_us
    if classes is None:
        classes = np.zeros(len(rows), np.int8)
    # One number a passage sorts many times faster than four: 32 bits of checkpoint, 2 of direction, 3 of class.
    packed = (start - start.min()) << 37 | rows["checkpoint"].astype(np.int64) << 5 | rows["direction"] << 3 | classes
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    keys = np.empty(len(first), [("checkpoint", "<i8"), ("start", "<i8"), ("direction", "<i8"), ("class", "<i8")])
    keys["checkpoint"], keys["direction"] = rows["checkpoint"][first], rows["direction"][first]
    keys["start"], keys["class"] = start[first] * width_us, classes[first]
    has_speed = ~np.isnan(rows["speed_kmh"])
    speeds = np.where(has_speed, rows["speed_kmh"], 0.0)
    return (
        keys,
        np.bincount(inverse, minlength=len(keys)),
        np.bincount(inverse, has_speed, minlength=len(keys)).astype(np.int64),
        np.bincount(inverse, speeds, minlength=len(keys)),
        np.bincount(inverse, rows["plate_key"] != 0, minlength=len(keys)).astype(np.int64),
    )


def _amend(connection: psycopg.Connection, changed: np.ndarray, *, slot: int, now_us: int) -> None:
    """Bring amended passages up to date, and the roll-ups with them: what they said is taken out of the minute."""
    done = [store.amend(connection, changed[row : row + 1]) for row in range(len(changed))]
    pairs = [pair for pair in done if pair is not None]
    if pairs:
        _roll_up(connection, np.array([before for before, _ in pairs], PASSAGE), slot=slot, now_us=now_us, sign=-1)
        _roll_up(connection, np.array([now for _, now in pairs], PASSAGE), slot=slot, now_us=now_us)


def _roll_up(connection: psycopg.Connection, rows: np.ndarray, *, slot: int, now_us: int, sign: int = 1) -> None:
    """Add the rows to their minutes (or take them out), and mark the quarters of an hour to be computed anew."""
    keys, *figures = _grouped(rows, MINUTE_US, vehicle_groups(rows["vehicle_class"], rows["plate_class"]))
    count, measured, sums, readable = (sign * figure for figure in figures)
    quarters = begins_us(keys["start"], Width.QUARTER).tolist()
    connection.execute(
        SQL["roll_up"],
        {
            "slot": slot,
            "quarters": quarters,
            "dues": [due_us(quarter, Width.QUARTER, now_us=now_us) for quarter in quarters],
            "minutes": keys["start"].tolist(),
            "checkpoints": keys["checkpoint"].tolist(),
            "directions": keys["direction"].tolist(),
            "classes": keys["class"].tolist(),
            "passages": count.tolist(),
            "measured": measured.tolist(),
            "sums": sums.tolist(),
            "readable": readable.tolist(),
        },
    )


def flow_rows(rows: np.ndarray, book: Book, *, slot: int, now_us: int) -> list[FeedRow]:
    """The batch's passages as increments of flow: one feed row for each owner and circle of units that see its traffic.

    An owner's checkpoints can have different neighbours along their corridors, and a row must not tell one of them
    more than its own. Body: `b` the increments, `n` the newest event time (us) of each checkpoint among them.
    """
    is_recent = rows["observed_at"] > now_us - FLOW_AGE_MAX_US
    recent = rows if is_recent.all() else rows[is_recent]
    if not len(recent):
        return []
    keys, count, measured, sums, _ = _grouped(recent, BUCKET_US)
    nobody_else = frozenset({book.top_unit})
    bodies: dict[tuple[int, frozenset[int]], dict[str, list]] = defaultdict(lambda: {"b": [], "n": []})
    circles = {}
    for checkpoint, newest in _newest(recent):
        owner = book.owner_of_checkpoint.get(checkpoint, book.top_unit)
        circles[checkpoint] = (owner, book.traffic_of_checkpoint.get(checkpoint, nobody_else))
        bodies[circles[checkpoint]]["n"].append([checkpoint, newest])
    for key, *figures in zip(keys.tolist(), count.tolist(), measured.tolist(), sums.round(1).tolist(), strict=True):
        bodies[circles[key[0]]]["b"].append([*key[:3], *figures])
    return [
        FeedRow(partition=slot, topic="roads", kind="flow", key=str(owner), units=units, body=body)
        for (owner, units), body in bodies.items()
    ]


def _newest(rows: np.ndarray) -> list[tuple[int, int]]:
    """Each checkpoint with the newest event time among its passages."""
    checkpoints, inverse = np.unique(rows["checkpoint"], return_inverse=True)
    newest = np.full(len(checkpoints), np.iinfo(np.int64).min)
    np.maximum.at(newest, inverse, rows["observed_at"])
    return list(zip(checkpoints.tolist(), newest.tolist(), strict=True))


class Devices(Protocol):
    """Whose devices are whose: part of every book."""

    @property
    def above_unit(self) -> Mapping[int, frozenset[int]]: ...
    @property
    def unit_of_device(self) -> Mapping[int, int]: ...
    @property
    def top_unit(self) -> int: ...


def device_rows(connection: psycopg.Connection, book: Devices, work: Work, *, slot: int) -> list[FeedRow]:
    """Note what devices said of themselves, and tell it where it is news."""
    rows = []
    for event in work.devices:
        changed = connection.execute(
            SQL["device_seen"],
            {
                "device_id": event.device_id,
                "seen_at": when(event.at),
                "state": event.state,
                "peer": event.peer,
            },
        ).rowcount
        if changed:
            units = book.above_unit.get(book.unit_of_device.get(event.device_id, 0), frozenset({book.top_unit}))
            body = {"device": event.device_id, "state": event.state, "seen_at": event.at}
            rows.append(
                FeedRow(partition=slot, topic="roads", kind="device", key=str(event.device_id), units=units, body=body)
            )
    return rows
