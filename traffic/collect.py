"""From entries as read to one batch of work: counters checked, entries unpacked, bounds kept. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from traffic.errors import Reason
from traffic.limits import BATCH_RECORDS_MAX
from traffic.readings import (
    AlertDeed,
    Content,
    DeviceEvent,
    EntryKind,
    EntryUnreadable,
    PassageBatch,
    Reject,
    Tick,
    decode_entry,
)
from traffic.road_readings import ALARM, DETECTOR_REPORT, POSITION, RoadsideItem

Place = tuple[int, int]  # (generation, counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as read: where it stands, the sender's bytes, and the bytes ever taken up to and with it."""

    generation: int
    counter: int
    data: bytes
    in_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BusMeta:
    """What Redis says of a partition. `generation` None: not open.

    `confirmed` False: Redis was started anew and takes nothing before the worker has compared the counters.
    """

    generation: int | None
    confirmed: bool
    counter: int
    previous_generation: int
    previous_end: int
    lost_counter: int | None
    waiting_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Counters of a partition that are missing. `upto` None: how many is not known."""

    partition: int
    generation: int
    first: int
    upto: int | None
    reason: str


@dataclass(slots=True, kw_only=True)
class Work:
    """One batch: what to store and judge, and how far each partition moves when it is committed.

    Passages and positions travel on the partitions of vehicles, detector reports and roadside items on the roads' own.
    """

    moves: dict[int, tuple[Place, Place]] = field(default_factory=dict)
    batch: PassageBatch = field(default_factory=lambda: PassageBatch.concat([]))
    of_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # partition of each row
    positions: np.ndarray = field(default_factory=lambda: np.empty(0, POSITION))
    alarms: np.ndarray = field(default_factory=lambda: np.empty(0, ALARM))
    detectors: np.ndarray = field(default_factory=lambda: np.empty(0, DETECTOR_REPORT))
    roadside: list[RoadsideItem] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    devices: list[DeviceEvent] = field(default_factory=list)
    deeds: list[tuple[int, AlertDeed]] = field(default_factory=list)  # (partition, what a person did to an alert)
    ticks: dict[int, int] = field(default_factory=dict)  # partition -> newest tick, microseconds
    gaps: list[Gap] = field(default_factory=list)
    read: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # (generation, counter, in_bytes)


def collect(
    places: dict[int, Place], found: dict[int, list[Entry]], *, now_us: int, records_max: int = BATCH_RECORDS_MAX
) -> Work:
    """Take entries in order until the batch is full; stop a partition before a hole in its counters.

    An entry that cannot be unpacked becomes a refused record with all its bytes: nothing accepted is dropped unseen.
    """
    work = Work()
    batches: list[PassageBatch] = []
    partitions: list[int] = []
    columns: dict[EntryKind, list[np.ndarray]] = {
        EntryKind.POSITIONS: [],
        EntryKind.DETECTORS: [],
        EntryKind.ALARMS: [],
    }
    share = max(1, records_max // max(1, len(found)))
    for partition, entries in sorted(found.items()):
        taken = 0
        here = start = places[partition]
        for entry in entries:
            if entry.generation == here[0] and entry.counter != here[1] + 1:
                work.gaps.append(
                    Gap(
                        partition=partition,
                        generation=here[0],
                        first=here[1] + 1,
                        upto=entry.counter - 1,
                        reason="hole in the counters",
                    )
                )
                break
            if entry.generation != here[0]:
                break  # the worker closes the old generation before it goes on
            if taken >= share:
                break
            kind, content = _unpack(entry, now_us)
            if isinstance(content, PassageBatch):
                batches.append(content)
                partitions.append(partition)
                taken += len(content)
            elif isinstance(content, np.ndarray):
                columns[kind].append(content)
                taken += len(content)
            else:
                _sort_in(work, partition, content)
            here = (entry.generation, entry.counter)
            work.read.setdefault(partition, []).append((entry.generation, entry.counter, entry.in_bytes))
        if here != start:
            work.moves[partition] = (start, here)
    work.batch = PassageBatch.concat(batches)
    work.of_rows = np.repeat(np.array(partitions, np.int64), [len(b) for b in batches])
    work.positions = _together(columns[EntryKind.POSITIONS], work.positions)
    work.detectors = _together(columns[EntryKind.DETECTORS], work.detectors)
    work.alarms = _together(columns[EntryKind.ALARMS], work.alarms)
    return work


def _unpack(entry: Entry, now_us: int) -> tuple[EntryKind, Content]:
    try:
        return decode_entry(entry.data)
    except EntryUnreadable as error:
        return EntryKind.REJECTS, [_refused(entry, Reason.MALFORMED, str(error), now_us)]


def _together(parts: list[np.ndarray], none: np.ndarray) -> np.ndarray:
    return np.concatenate(parts) if parts else none


def _sort_in(
    work: Work, partition: int, items: Iterable[Tick | DeviceEvent | Reject | RoadsideItem | AlertDeed]
) -> None:
    for item in items:
        if isinstance(item, Tick):
            work.ticks[partition] = max(item.at, work.ticks.get(partition, 0))
        elif isinstance(item, DeviceEvent):
            work.devices.append(item)
        elif isinstance(item, Reject):
            work.rejects.append(item)
        elif isinstance(item, AlertDeed):
            work.deeds.append((partition, item))
        else:
            work.roadside.append(item)


def set_aside(place: Place, partition: int, entry: Entry, why: str, *, now_us: int) -> Work:
    """The batch of an entry that can be stored in no way: its bytes go to quarantine, and the partition goes on."""
    there = (entry.generation, entry.counter)
    return Work(
        moves={partition: (place, there)},
        rejects=[_refused(entry, Reason.NOT_STORABLE, why, now_us)],
        read={partition: [(*there, entry.in_bytes)]},
    )


def _refused(entry: Entry, reason: Reason, detail: str, now_us: int) -> Reject:
    return Reject(
        received_at=now_us,
        door=0,
        device_id=None,
        unit_id=None,
        position=entry.counter % 2**31,
        field="",
        reason=reason,
        detail=detail,
        body=entry.data,
    )


def settle_generation(partition: int, here: Place, meta: BusMeta) -> tuple[Gap | None, int | None]:
    """What a worker with nothing more to read does: (gap to record, generation to open or to go on with).

    (None, None) when the bus and the database agree on where the partition stands.
    """
    generation, counter = here
    if meta.generation == generation and meta.counter >= counter:
        return None, None
    if meta.generation is not None and meta.generation > generation:
        known_end = meta.previous_end if meta.previous_generation == generation else None
        if generation == 0 or known_end == counter:
            return None, meta.generation
        reason = "the closed generation goes further than its entries reach"
        gap = Gap(partition=partition, generation=generation, first=counter + 1, upto=known_end, reason=reason)
        return gap, meta.generation
    if generation == 0:
        return None, 1
    reason = "the bus stands further back than what was committed or acknowledged"
    gap = Gap(partition=partition, generation=generation, first=counter + 1, upto=meta.lost_counter, reason=reason)
    return gap, generation + 1
