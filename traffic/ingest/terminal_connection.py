"""One terminal's connection: who it is, what it says, and its bounds. What is wrong with it costs it alone."""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag
from typing import TYPE_CHECKING, Any, cast

import psycopg
import structlog

from traffic.clock import monotonic_s
from traffic.errors import Reason
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import (
    FrameRefused,
    Frames,
    Kind,
    Message,
    Parts,
    Registered,
    Result,
    Whole,
    decode,
    encode,
)
from traffic.ingest.jt808_bodies import Authentication, BodyMalformed, Registration
from traffic.ingest.terminal_desk import Told
from traffic.ingest.terminal_positions import Terminal
from traffic.plates import fold

if TYPE_CHECKING:
    from traffic.ingest.terminals import TerminalDoor

TEXTS_MAX = 16  # said to one terminal and not yet answered
WRITE_BYTES_MAX = 32 * 1024  # of answers that the terminal does not read; then it is not read either
FRAMES_A_TURN = 64  # of one connection; then the others have theirs
AGAIN_S = 1.0  # after the bus did not take its records

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of each connection, and of all together."""

    login_s: float = 20.0
    idle_s: float = 300.0  # several heartbeats missed
    taken_s: float = 60.0  # a terminal heard so recently is not registered from elsewhere
    frames_per_s: float = 100.0
    frames_at_once: int = 1_000
    records_waiting: int = 2_000
    faults: int = 16  # frames and bodies that are wrong, and wrong codes
    strangers_per_peer: int = 512  # connections of one address that have not logged in
    connections: int = 20_000


class Hold(IntFlag):
    """Why a connection is not read at the moment."""

    BUSY = 1  # something of it waits for the database
    WAITING = 2  # its records wait for the bus
    FLOOD = 4
    DEAF = 8  # it does not read its answers
    AGAIN = 16  # the bus did not take its records
    TURN = 32  # it had its turn
    CLOSING = 64


def hash_of(code: str) -> bytes:
    """How an authentication code is kept."""
    return hashlib.sha256(code.encode()).digest()


class Connection(asyncio.Protocol):
    """From the first byte to the last. Times are monotonic seconds."""

    __slots__ = (
        "_asked", "_credit", "_door", "_faults", "_frames", "_held", "_loop", "_parts", "_queue", "_records", "_serial",
        "_spent_s", "_task", "_transport", "began_s", "heard_s", "last_position", "noted_s", "peer", "since",
        "terminal", "version",
    )  # fmt: skip
    _transport: asyncio.Transport
    since: datetime

    def __init__(self, door: "TerminalDoor") -> None:
        self._door = door
        self._frames = Frames()
        self._parts: Parts | None = None
        self._queue: deque[bytes] = deque()
        self._task: asyncio.Task | None = None
        self._held = Hold(0)
        self._faults = self._serial = self._records = 0
        self._asked: OrderedDict[int, int] | None = None  # serial of a text -> number of its row
        self._credit = float(door.bounds.frames_at_once)
        self.began_s = self.heard_s = self._spent_s = monotonic_s()
        self.noted_s = 0.0  # what the database was told last
        self.terminal: Terminal | None = None
        self.version = 0
        self.peer = ""
        self.last_position = b""

    # ------------------------------------------------------------ the transport
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A terminal or a stranger."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._loop = asyncio.get_running_loop()
        address = self._transport.get_extra_info("peername")
        self.peer = address[0] if isinstance(address, tuple) else "local"
        self._transport.set_write_buffer_limits(high=WRITE_BYTES_MAX)
        if not self._door.arrived(self):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone, or was closed here."""
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._door.left(self)

    def pause_writing(self) -> None:
        """It does not read what it is told."""
        self._hold(Hold.DEAF)

    def resume_writing(self) -> None:
        """It reads again."""
        self._release(Hold.DEAF)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of any number of frames."""
        frames = self._frames.feed(data)
        self._queue.extend(frames)
        self._spend(len(frames))
        self._work_off()
        if self._frames.broken:
            self.close("a frame has no end")

    def close(self, why: str) -> None:
        """End it; answers that were written still go out."""
        if not self._transport.is_closing():
            log.info("a terminal's connection is closed", peer=self.peer, terminal=self._name, why=why)
            self._queue.clear()
            self._transport.close()

    def hear_no_more(self) -> None:
        """The door closes: what was received is still answered."""
        self._hold(Hold.CLOSING)
        self._queue.clear()

    def abort(self) -> None:
        """End it at once: a peer that does not read would keep its answers, and us, waiting."""
        self._queue.clear()
        self._transport.abort()

    @property
    def _name(self) -> int | None:
        return self.terminal.id if self.terminal else None

    def _hold(self, why: Hold) -> None:
        if not self._held and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held |= why

    def _release(self, why: Hold) -> None:
        was, self._held = self._held, self._held & ~why
        if was and not self._held and not self._transport.is_closing():
            self._transport.resume_reading()

    def _hold_for(self, why: Hold, seconds: float) -> None:
        self._hold(why)
        self._loop.call_later(seconds, self._release, why)

    def _spend(self, frames: int) -> None:
        """So many frames a second, and some more at once: beyond it the peer waits in its own buffers."""
        bounds, now_s = self._door.bounds, monotonic_s()
        credit = min(bounds.frames_at_once, self._credit + (now_s - self._spent_s) * bounds.frames_per_s)
        self._credit, self._spent_s = credit - frames, now_s
        if self._credit < 0 and not self._held & Hold.FLOOD:
            self._hold_for(Hold.FLOOD, -self._credit / bounds.frames_per_s)

    # ------------------------------------------------------------ messages
    def _work_off(self) -> None:
        """Frame by frame, in order; what needs the database lets the others wait."""
        queue = self._queue
        for _ in range(min(len(queue), FRAMES_A_TURN)):
            if self._task is not None or not queue:
                return
            self._take_frame(queue.popleft())
        if queue and self._task is None and not self._held & Hold.TURN:
            self._hold(Hold.TURN)
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._release(Hold.TURN)
        self._work_off()

    def _take_frame(self, frame: bytes) -> None:
        try:
            message = decode(frame)
        except FrameRefused as error:
            self._fault(str(error))
            return
        self.heard_s = monotonic_s()
        if message.part[1] == 1:
            self._take(Whole(message, (message.serial,)))
            return
        self._parts = self._parts or Parts()
        if whole := self._parts.add(message):
            self._take(whole)

    def _take(self, whole: Whole) -> None:
        message = whole.message
        handler = _HANDLERS.get(message.kind)
        try:
            if self.terminal is not None and message.phone != self.terminal.phone:
                self._reply(whole, Result.FAILED)
                self._fault("a message of another terminal")
            elif handler is None or message.encrypted:
                self._reply(whole, Result.UNSUPPORTED)
            elif self.terminal is None and message.kind not in _BEFORE_LOGIN:
                self._reply(whole, Result.FAILED)
            else:
                handler(self, whole)
        except BodyMalformed as error:
            self._reply(whole, Result.WRONG)
            if self.terminal is not None:
                self._door.desk.refuse(message, self.terminal, Reason.MALFORMED, str(error))
            self._fault(str(error))

    def _fault(self, why: str) -> None:
        self._faults += 1
        if self._faults > self._door.bounds.faults:
            self.close(f"too much is wrong: {why}")

    def _heartbeat(self, whole: Whole) -> None:
        self._reply(whole, Result.OK)

    def _position(self, whole: Whole) -> None:
        self._tell(whole, [bodies.position_of(whole.message.body)])

    def _positions(self, whole: Whole) -> None:
        found = bodies.positions_of(whole.message.body)
        if found:
            self._tell(whole, found)
        else:
            self._reply(whole, Result.OK)

    def _position_answer(self, whole: Whole) -> None:
        self._tell(whole, [bodies.position_of_answer(whole.message.body)[1]])

    def _tell(self, whole: Whole, positions: Sequence[bytes]) -> None:
        assert self.terminal is not None
        message, desk = whole.message, self._door.desk
        self._records += len(positions)
        if self._records > self._door.bounds.records_waiting or desk.is_full:
            self._hold(Hold.WAITING)
        self.last_position = positions[-1]
        desk.put(Told(asker=self, terminal=self.terminal, kind=message.kind, serials=whole.serials, bodies=positions))

    def settled(self, serials: Sequence[int], kind: int, result: Result, records: int) -> None:
        """Its positions are on the bus, or are to be sent again."""
        self._records -= records
        if self._held & Hold.WAITING and not self._records:
            self._release(Hold.WAITING)
        if result is not Result.OK and not self._held & Hold.AGAIN:
            self._hold_for(Hold.AGAIN, AGAIN_S)
        for serial in serials:
            self._answer(serial, kind, self.version, result)

    def _terminal_answer(self, whole: Whole) -> None:
        serial, kind, result = bodies.read_answer(whole.message.body)
        if kind == Kind.TEXT and self._asked and (number := self._asked.pop(serial, None)) is not None:
            self._door.words.answered(number, result)

    def _unregister(self, whole: Whole) -> None:
        self._begin(self._unregistering(whole))

    async def _unregistering(self, whole: Whole) -> None:
        assert self.terminal is not None
        await self._door.book.unregister(self.terminal)
        self._reply(whole, Result.OK)
        self.close("it unregistered")

    # ------------------------------------------------------------ who it is
    def _register(self, whole: Whole) -> None:
        message = whole.message
        told = Registration.read(message.body, message.version)
        self._begin(self._registering(message, told))

    async def _registering(self, message: Message, told: Registration) -> None:
        terminal = self._door.book.by_phone.get(message.phone) or await self._door.book.look_up(message.phone)
        result, code = self._may_register(message, terminal, told), ""
        if result is Registered.OK and terminal is not None:
            code = secrets.token_hex(8)
            if not await self._door.book.register(terminal, told, hash_of(code)):
                result, code = Registered.TERMINAL_TAKEN, ""
        if result is not Registered.OK:
            self._fault(f"registration refused: {result.name.lower()}")
        body = bodies.registered_body(message.serial, result, code)
        self._send(Kind.REGISTER_ANSWER, body, message.phone, message.version)

    def _may_register(self, message: Message, terminal: Terminal | None, told: Registration) -> Registered:
        """A terminal registers for the vehicle that it was entered for, and for no other's place."""
        plate = fold(told.plate)
        if terminal is None or not terminal.enabled:
            why = "nobody entered this telephone number" if terminal is None else "the terminal is shut out"
            self._door.desk.refuse(message, None, Reason.UNKNOWN_TERMINAL, why)
            return Registered.NO_SUCH_TERMINAL
        if terminal.number and told.number != terminal.number:
            self._door.desk.refuse(message, terminal, Reason.UNKNOWN_TERMINAL, "another terminal has this number")
            return Registered.NO_SUCH_TERMINAL
        if plate != terminal.plate:
            self._door.desk.refuse(message, terminal, Reason.UNKNOWN_TERMINAL, "entered for another vehicle")
            taken = self._door.book.is_known(plate)
            return Registered.VEHICLE_TAKEN if taken else Registered.NO_SUCH_VEHICLE
        holder = self._door.held.get(terminal.id)
        if holder and holder is not self and monotonic_s() - holder.heard_s < self._door.bounds.taken_s:
            return Registered.TERMINAL_TAKEN
        return Registered.OK

    def _authenticate(self, whole: Whole) -> None:
        message = whole.message
        code = Authentication.read(message.body, message.version).code
        terminal = self._door.book.by_phone.get(message.phone)
        if _opens(terminal, code):
            self._log_in(whole, terminal)
        else:
            self._begin(self._authenticating(whole, code))

    async def _authenticating(self, whole: Whole, code: str) -> None:
        """It may have registered with another process, or have been entered just now."""
        terminal = await self._door.book.look_up(whole.message.phone)
        if _opens(terminal, code):
            self._log_in(whole, terminal)
            return
        if terminal is None:
            why = "nobody entered this telephone number"
            self._door.desk.refuse(whole.message, None, Reason.UNKNOWN_TERMINAL, why)
        self._reply(whole, Result.FAILED)
        self._fault("the code is not good")

    def _log_in(self, whole: Whole, terminal: Terminal | None) -> None:
        assert terminal is not None
        self.terminal, self.version = terminal, whole.message.version
        self.since = self._door.book.clock.now()
        self._reply(whole, Result.OK)
        self._door.logged_in(self)
        self._say(Kind.POSITION_QUERY, b"")  # so that its place is known before its next report

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """One thing at a time of each connection waits for the database."""
        self._hold(Hold.BUSY)
        self._task = asyncio.create_task(self._finish(work))

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (psycopg.Error, OSError) as error:  # no answer: the terminal will ask again
            log.warning("a terminal cannot be looked up now", peer=self.peer, why=str(error))
        self._task = None
        self._release(Hold.BUSY)
        self._work_off()

    # ------------------------------------------------------------ words down
    def send_text(self, number: int, body: bytes) -> None:
        """Say a text (0x8300); its answer is told under this number."""
        self._asked = self._asked if self._asked is not None else OrderedDict()
        if len(self._asked) >= TEXTS_MAX:
            self._asked.popitem(last=False)
        self._asked[self._say(Kind.TEXT, body)] = number

    def _say(self, kind: Kind, body: bytes) -> int:
        assert self.terminal is not None
        return self._send(kind, body, self.terminal.phone, self.version)

    def _reply(self, whole: Whole, result: Result) -> None:
        for serial in whole.serials:
            self._answer(serial, whole.message.kind, whole.message.version, result, whole.message.phone)

    def _answer(self, serial: int, kind: int, version: int, result: Result, phone: str = "") -> None:
        phone = phone or (self.terminal.phone if self.terminal else "0")
        self._send(Kind.GENERAL_ANSWER, bodies.answer_body(serial, kind, result), phone, version)

    def _send(self, kind: Kind, body: bytes, phone: str, version: int) -> int:
        self._serial = serial = (self._serial + 1) & 0xFFFF
        if not self._transport.is_closing():
            self._transport.write(encode(Message(kind, phone, serial, body, version)))
        return serial


def _opens(terminal: Terminal | None, code: str) -> bool:
    if terminal is None or not terminal.enabled or terminal.code_hash is None:
        return False
    return hmac.compare_digest(hash_of(code), terminal.code_hash)


_HANDLERS: dict[int, Callable[[Connection, Whole], None]] = {
    Kind.TERMINAL_ANSWER: Connection._terminal_answer,
    Kind.HEARTBEAT: Connection._heartbeat,
    Kind.UNREGISTER: Connection._unregister,
    Kind.REGISTER: Connection._register,
    Kind.AUTHENTICATE: Connection._authenticate,
    Kind.POSITION: Connection._position,
    Kind.POSITION_ANSWER: Connection._position_answer,
    Kind.POSITIONS: Connection._positions,
    Kind.PASSTHROUGH: Connection._heartbeat,  # taken politely; nothing in it concerns us
}
_BEFORE_LOGIN = frozenset((Kind.REGISTER, Kind.AUTHENTICATE))
