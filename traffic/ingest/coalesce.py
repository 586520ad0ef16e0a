"""Many requests, few appends: while one flush is on its way to the bus, the next collects what arrives.

Each append waits for Redis's disk, so a flush of one record costs as much as one of ten thousand.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import numpy as np

from traffic.errors import BusClosed, BusFull, ServiceError, TrafficError
from traffic.readings import Batch, DeviceEvent, EntryKind, PassageBatch, Reject

WAITING_ROWS_MAX = 100_000  # rows and refusals that wait for a flush; beyond it the sender must try again later
REJECTS_BYTES_MAX = 256 * 1024  # of refused records in one entry


class Writer(Protocol):
    """What of the bus a door uses (stream.BusWriter)."""

    async def append(self, kind: EntryKind, batch: Batch) -> np.ndarray: ...

    async def append_small(self, kind: EntryKind, items: list, routing: int) -> None: ...


@dataclass(slots=True, kw_only=True)
class Taken:
    """What of one request is durable. `error`: why not all of it is; None when it is."""

    rows: np.ndarray
    rejects: bool = True
    events: bool = True
    error: TrafficError | None = None


@dataclass(slots=True, kw_only=True)
class _Waiting:
    kind: EntryKind
    batch: Batch
    rejects: list[Reject]
    events: list[DeviceEvent]
    done: asyncio.Future
    taken: Taken = field(init=False)

    def __post_init__(self) -> None:
        self.taken = Taken(rows=np.zeros(len(self.batch), bool))


EMPTY = PassageBatch.concat([])
Flushed = tuple[np.ndarray, TrafficError | None]


class Coalescer:
    """Puts requests on the bus together; each learns what was taken of its own."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: list[_Waiting] = []
        self._weight = 0
        self._flushing: asyncio.Task | None = None

    async def put(
        self,
        batch: Batch = EMPTY,
        *,
        kind: EntryKind = EntryKind.PASSAGES,
        rejects: Sequence[Reject] = (),
        events: Sequence[DeviceEvent] = (),
    ) -> Taken:
        """Wait until all is on the bus's disk or refused; raises nothing but cancellation: read `error`.

        `batch` holds records of one `kind`: passages, positions, detector reports, or what is at the roadside.
        """
        weight = len(batch) + len(rejects) + len(events)
        if not weight:
            return Taken(rows=np.zeros(0, bool))
        if self._weight + weight > WAITING_ROWS_MAX:
            error = BusFull("too many records wait for the bus; send again later")
            return Taken(rows=np.zeros(len(batch), bool), rejects=not rejects, events=not events, error=error)
        done = asyncio.get_running_loop().create_future()
        waiting = _Waiting(kind=kind, batch=batch, rejects=list(rejects), events=list(events), done=done)
        self._waiting.append(waiting)
        self._weight += weight
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_all())
        return await done

    async def _flush_all(self) -> None:
        while self._waiting:
            group, self._waiting, self._weight = self._waiting, [], 0
            try:
                await self._flush(group)
            finally:
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_result(waiting.taken)

    async def _flush(self, group: list[_Waiting]) -> None:
        for waiting in group:  # what holds if the flush does not come to its end
            waiting.taken.rejects, waiting.taken.events = not waiting.rejects, not waiting.events
            waiting.taken.error = ServiceError("the door stopped before the records were on the bus")
        kinds: dict[EntryKind, list[_Waiting]] = {}
        for waiting in group:
            kinds.setdefault(waiting.kind, []).append(waiting)
        rejects, events, *_ = await asyncio.gather(
            self._flush_rejects([reject for waiting in group for reject in waiting.rejects]),
            self._flush_events([event for waiting in group for event in waiting.events]),
            *(self._flush_kind(kind, alike) for kind, alike in kinds.items()),
        )
        for waiting in group:
            waiting.taken.rejects = not waiting.rejects or rejects is None
            waiting.taken.events = not waiting.events or events is None
            if waiting.taken.error is None and not waiting.taken.rejects:
                waiting.taken.error = rejects
            elif waiting.taken.error is None and not waiting.taken.events:
                waiting.taken.error = events

    async def _flush_kind(self, kind: EntryKind, group: list[_Waiting]) -> None:
        """Append the records of all as one batch, and tell each what was taken of its own."""
        taken, error = await self._flush_batch(kind, [waiting.batch for waiting in group])
        start = 0
        for waiting in group:
            end = start + len(waiting.batch)
            waiting.taken.rows = taken[start:end]
            start = end
            waiting.taken.error = None
            if not waiting.taken.rows.all():
                waiting.taken.error = error or BusFull("the bus is full; send again later")

    async def _flush_batch(self, kind: EntryKind, batches: list[Batch]) -> Flushed:
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return np.zeros(0, bool), None
        try:
            return await self._writer.append(kind, _together(batches)), None
        except (BusFull, BusClosed, ServiceError) as error:
            return np.zeros(sum(map(len, batches)), bool), error

    async def _flush_rejects(self, rejects: list[Reject]) -> TrafficError | None:
        for chunk in _chunks(rejects):
            error = await self._append(EntryKind.REJECTS, chunk, chunk[0].device_id or 0)
            if error:
                return error  # those written before are kept twice when they come again: a bounded nuisance
        return None

    async def _flush_events(self, events: list[DeviceEvent]) -> TrafficError | None:
        by_device: dict[int, list[DeviceEvent]] = {}
        for event in events:
            by_device.setdefault(event.device_id, []).append(event)
        for device_id, items in by_device.items():  # one partition a device keeps its events in order
            error = await self._append(EntryKind.DEVICE, items, device_id)
            if error:
                return error
        return None

    async def _append(self, kind: EntryKind, items: list, routing: int) -> TrafficError | None:
        try:
            await self._writer.append_small(kind, items, routing)
        except (BusFull, BusClosed, ServiceError) as error:
            return error
        return None


def _together(batches: list[Any]) -> Batch:
    """One batch of several of the same kind."""
    if isinstance(batches[0], PassageBatch):
        return PassageBatch.concat(batches)
    if isinstance(batches[0], np.ndarray):
        return np.concatenate(batches)
    return [item for items in batches for item in items]


def _chunks(rejects: list[Reject]) -> list[list[Reject]]:
    chunks: list[list[Reject]] = []
    room = 0
    for reject in rejects:
        size = len(msgspec.msgpack.encode(reject))
        if size > room:
            chunks.append([])
            room = REJECTS_BYTES_MAX
        chunks[-1].append(reject)
        room -= size
    return chunks
