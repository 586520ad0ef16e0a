"""Positions and alarms of all terminals on their way to the bus: gathered, judged as columns, answered when durable."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import msgspec
import numpy as np
import structlog

from traffic.clock import Clock, monotonic_s
from traffic.errors import Reason
from traffic.ingest.bodies import BODY_KEPT_BYTES, Refusal
from traffic.ingest.coalesce import Coalescer
from traffic.ingest.devices import SignsOfLife
from traffic.ingest.figures import Figures
from traffic.ingest.jt808 import Message, Result
from traffic.ingest.terminal_positions import Judged, Terminal, judge
from traffic.readings import DeviceEvent, Door, EntryKind, Reject

GATHER_S = 0.02  # each append waits for Redis's disk: many terminals share one
FLUSHES_MAX = 4  # on their way to the bus at once
WAITING_MAX = 50_000  # positions that wait for a flush; beyond it nobody who sends more is read
SAME_REFUSAL_S = 600.0  # a receiver without a fix, or a stranger, is told to quarantine so often; all are counted
STRANGERS_MAX = 1_000  # remembered, so that they are told once

log = structlog.get_logger(__name__)


class Asker(Protocol):
    """A connection that waits for its answer."""

    def settled(self, serials: Sequence[int], kind: int, result: Result, records: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The positions of one message. `serials`: of its parts."""

    asker: Asker
    terminal: Terminal
    kind: int
    serials: Sequence[int]
    bodies: Sequence[bytes]


class PositionDesk:
    """One for each doors process; `run` until cancelled, then `finish`."""

    def __init__(self, coalescer: Coalescer, figures: Figures, clock: Clock) -> None:
        self._coalescer = coalescer
        self._figures = figures
        self._clock = clock
        self._told: list[Told] = []
        self._refused: list[tuple[Refusal, Terminal | None]] = []
        self._alive: dict[int, int] = {}  # device -> its terminals that are connected
        self._arrived = asyncio.Event()
        self._flushing: set[asyncio.Task] = set()
        self._room = asyncio.Semaphore(FLUSHES_MAX)
        self._last: dict[int, tuple[float, float]] = {}  # terminal -> where it was last
        self._quiet: dict[int, float] = {}  # terminal -> until when a missing fix is only counted
        self._strangers: OrderedDict[str, float] = OrderedDict()
        self._signs = SignsOfLife()
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether those who send should not be read now."""
        return self.waiting >= WAITING_MAX

    # ------------------------------------------------------------ what comes
    def put(self, told: Told) -> None:
        """Take over positions; their asker is told what became of them."""
        self._told.append(told)
        self.waiting += len(told.bodies)
        self._arrived.set()

    def refuse(self, message: Message, terminal: Terminal | None, reason: Reason, why: str) -> None:
        """Keep a message that cannot be used, as far as it is worth it: a stranger only now and then."""
        if terminal is None and self._is_known_stranger(message.phone):
            return
        told = {"terminal": message.phone, "message": f"0x{message.kind:04x}", "body": message.body.hex()}
        kept = msgspec.json.encode(told)[:BODY_KEPT_BYTES]
        refusal = Refusal(index=message.serial, field="terminal", reason=reason, detail=why, body=kept)
        self._refused.append((refusal, terminal))
        self._arrived.set()

    def _is_known_stranger(self, phone: str) -> bool:
        now_s = monotonic_s()
        if now_s - self._strangers.get(phone, -SAME_REFUSAL_S) < SAME_REFUSAL_S:
            return True
        if len(self._strangers) >= STRANGERS_MAX:
            oldest, told_s = next(iter(self._strangers.items()))
            if now_s - told_s < SAME_REFUSAL_S:
                return True  # too many of them at once: somebody tries numbers
            del self._strangers[oldest]
        self._strangers[phone] = now_s
        self._strangers.move_to_end(phone)
        return False

    def alive(self, devices: dict[int, int]) -> None:
        """So many terminals of each sender are connected."""
        self._alive = devices
        self._arrived.set()

    # ------------------------------------------------------------ the way to the bus
    async def run(self) -> None:
        """Gather and flush until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            await self._room.acquire()
            self._start()

    async def finish(self) -> None:
        """What came until now goes to the bus and is answered."""
        self._start()
        while self._flushing:
            await asyncio.wait(self._flushing)

    def _start(self) -> None:
        self._arrived.clear()
        told, self._told = self._told, []
        refused, self._refused = self._refused, []
        task = asyncio.create_task(self._flush(told, refused))
        self._flushing.add(task)
        task.add_done_callback(self._flushed)

    def _flushed(self, task: asyncio.Task) -> None:
        self._flushing.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("positions could not be judged; their terminals will send them again", exc_info=error)

    async def _flush(self, told: list[Told], refused: list[tuple[Refusal, Terminal | None]]) -> None:
        lost = np.ones(len(told), bool)  # until the bus has them
        try:
            lost = await self._keep(told, refused)
        finally:
            for one, is_lost in zip(told, lost.tolist(), strict=True):
                count = len(one.bodies)
                self.waiting -= count
                one.asker.settled(one.serials, one.kind, Result.FAILED if is_lost else Result.OK, count)

    async def _keep(self, told: list[Told], refused: list[tuple[Refusal, Terminal | None]]) -> np.ndarray:
        """Whether something of each message is not on the bus."""
        received_us = self._clock.now_us()
        of = np.repeat(np.arange(len(told)), np.array([len(one.bodies) for one in told], np.int64))
        owners = [told[number].terminal for number in of.tolist()]
        judged = self._judge(list(chain.from_iterable(one.bodies for one in told)), owners, received_us)
        kept = self._worth_keeping(judged.refusals, owners)
        rejects = [_reject(refusal, terminal, received_us) for refusal, terminal in chain(kept, refused)]
        positions, alarms = await asyncio.gather(
            self._coalescer.put(
                judged.positions, kind=EntryKind.POSITIONS, rejects=rejects, events=self._events(received_us)
            ),
            self._coalescer.put(judged.alarms, kind=EntryKind.ALARMS),
        )
        lost = np.zeros(len(told), bool)
        lost[of[judged.position_of[~positions.rows]]] = True
        lost[of[judged.alarm_of[~alarms.rows]]] = True
        if not positions.rejects:
            lost[of[[refusal.index for refusal, _ in kept]]] = True
        if not positions.events:
            self._signs = SignsOfLife()
        self._count(judged, refused, taken=int(positions.rows.sum()))
        self._remember(judged.positions, [owners[number].id for number in judged.position_of.tolist()])
        return lost

    def _judge(self, bodies: list[bytes], owners: list[Terminal], received_us: int) -> Judged:
        nowhere = (np.nan, np.nan)
        last = np.array([self._last.get(owner.id, nowhere) for owner in owners], np.float64).reshape(-1, 2)
        return judge(bodies, owners, last, received_us=received_us)

    def _worth_keeping(self, refusals: Iterable[Refusal], owners: Sequence[Terminal]) -> list[tuple[Refusal, Terminal]]:
        """In a tunnel or a yard a receiver has no fix for hours: that is no record to mend."""
        found, now_s = [], monotonic_s()
        for refusal in refusals:
            owner = owners[refusal.index]
            if refusal.reason is Reason.NO_FIX:
                if self._quiet.get(owner.id, 0.0) > now_s:
                    continue
                self._quiet[owner.id] = now_s + SAME_REFUSAL_S
            found.append((refusal, owner))
        return found

    def _events(self, at_us: int) -> list[DeviceEvent]:
        alive, self._alive = self._alive, {}
        return [
            DeviceEvent(at=at_us, device_id=device, state="alive", peer=f"{count} terminals")
            for device, count in alive.items()
            if self._signs.due(device, "alive")
        ]

    def _count(self, judged: Judged, refused: list[tuple[Refusal, Terminal | None]], *, taken: int) -> None:
        refusals = [*judged.refusals, *(refusal for refusal, _ in refused)]
        not_taken = len(judged.positions) - taken
        if taken or not_taken or refusals:
            self._figures.records(Door.JT808, accepted=taken, refusals=refusals, not_taken=not_taken)

    def _remember(self, rows: np.ndarray, terminals: list[int]) -> None:
        self._last.update(zip(terminals, zip(rows["lon"].tolist(), rows["lat"].tolist(), strict=True), strict=True))


def _reject(refusal: Refusal, terminal: Terminal | None, received_us: int) -> Reject:
    return Reject(
        received_at=received_us,
        door=Door.JT808,
        device_id=terminal.device if terminal else None,
        unit_id=terminal.unit_id if terminal else None,
        position=refusal.index,
        field=refusal.field,
        reason=refusal.reason,
        detail=refusal.detail,
        body=refusal.body,
    )
