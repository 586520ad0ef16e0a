"""The transport authority's platform: hands on positions by JT/T 809 and answers what it is asked. A lower platform.

It logs in on a main link, is called back on a link of its own, and sends what it was not sure of once more after a
break, as the protocol has it: positions have no answer.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from traffic.clock import Clock, monotonic_s
from traffic.errors import TrafficError
from traffic.ingest import jt809
from traffic.ingest import jt809_bodies as bodies
from traffic.ingest.jt809 import Cipher, FrameError, Kind, Login, Message, Splitter
from traffic.ingest.jt809_bodies import Alarm, Envelope, Part, Position, Word

WAITING_MAX = 50_000  # positions kept while there is no link; beyond it the oldest are given up and counted
SEND_EVERY_S = 1.0
ALIVE_EVERY_S = 60.0
LOGIN_S = 10.0
RETRY_S, RETRY_S_MAX = 1.0, 30.0
UNSURE_S = 30.0  # what was sent so shortly before a break may not have arrived
DONE, LATER = 1, 3  # results of supervision

log = structlog.get_logger(__name__)


class LoginFailed(TrafficError):
    """The upper platform refused the login with this result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What this platform shows above. `encrypted` needs a cipher."""

    user: int
    centre: int
    password: str
    cipher: Cipher | None = None
    encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One position of one vehicle."""

    plate: str
    color: int
    position: Position


@dataclass(slots=True)
class Counts:
    """What this platform did."""

    sent: int = 0
    again: int = 0
    given_up: int = 0
    asked: list[str] = field(default_factory=list)  # kinds of words that came down


class Platform809:
    """One lower platform. `put` from the same event loop; `run` until `stop` is set."""

    def __init__(self, account: Account, host: str, port: int, *, clock: Clock) -> None:
        self.counts = Counts()
        self._account = account
        self._host, self._port = host, port
        self._clock = clock
        self._waiting: deque[Told] = deque()
        self._alarms: deque[tuple[str, int, Alarm]] = deque(maxlen=1_000)
        self._unsure: deque[tuple[float, Told]] = deque()
        self._serial = 0
        self._writer: asyncio.StreamWriter | None = None
        self._verify = 0
        self._spoke_of = ""

    @property
    def waiting(self) -> int:
        """Positions not yet sent."""
        return len(self._waiting)

    def put(self, positions: Sequence[Told]) -> None:
        """Hand over positions, in the order of their times."""
        self._waiting.extend(positions)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.counts.given_up += 1

    def report(self, plate: str, color: int, alarm: Alarm) -> None:
        """Hand over an alarm of a vehicle."""
        self._alarms.append((plate, color, alarm))

    async def run(self, stop: asyncio.Event) -> None:
        """Stay logged in and send until told to stop; then log out."""
        back = await asyncio.start_server(self._called_back, "127.0.0.1", 0)
        port = back.sockets[0].getsockname()[1]
        pause_s = RETRY_S
        try:
            while not stop.is_set():
                try:
                    await self._link(port, stop)
                    pause_s = RETRY_S
                except (OSError, TimeoutError, FrameError, LoginFailed) as error:
                    self._say("no link above", why=str(error) or type(error).__name__)
                if not stop.is_set():
                    await _pause(stop, pause_s)
                    pause_s = min(RETRY_S_MAX, pause_s * 2)
        finally:
            back.close()

    async def _link(self, back_port: int, stop: asyncio.Event) -> None:
        async with asyncio.timeout(LOGIN_S):
            reader, writer = await asyncio.open_connection(self._host, self._port)
        self._writer = writer
        try:
            splitter = Splitter()
            await self._log_in(reader, splitter, back_port)
            self._say("logged in above")
            hearing = asyncio.create_task(self._hear_all(reader, splitter))
            try:
                self._resend()
                await self._send_all(stop, hearing)
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
        finally:
            self._writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _log_in(self, reader: asyncio.StreamReader, splitter: Splitter, back_port: int) -> None:
        account = self._account
        login = Login(user=account.user, password=account.password, back_host="127.0.0.1", back_port=back_port)
        self._send(Kind.LOGIN, jt809.login_body(login))
        async with asyncio.timeout(LOGIN_S):
            while True:
                data = await reader.read(64 * 1024)
                if not data:
                    raise OSError("closed at the login")
                for frame in splitter.feed(data):
                    message = jt809.unpack(frame, cipher=account.cipher)
                    if message.kind == Kind.LOGIN_ANSWER:
                        result, self._verify = jt809.read_login_answer(message.body)
                        if result:
                            raise LoginFailed(f"the login was refused with {result}")
                        return

    async def _send_all(self, stop: asyncio.Event, hearing: asyncio.Task[None]) -> None:
        alive_s = monotonic_s()
        while not hearing.done():
            while self._waiting:
                self._send_position(self._waiting.popleft())
            while self._alarms:
                plate, color, alarm = self._alarms.popleft()
                self._send_about(Kind.ALARM, Part.ALARM, bodies.alarm_data(alarm), plate, color)
            if monotonic_s() - alive_s > ALIVE_EVERY_S:
                alive_s = monotonic_s()
                self._send(Kind.ALIVE)
            if self._writer is not None:
                await self._writer.drain()
            if stop.is_set():
                account = self._account
                body = account.user.to_bytes(4, "big") + jt809.fixed_text(account.password, 8)
                self._send(Kind.LOGOUT, body)
                return
            await _pause(stop, SEND_EVERY_S)
        hearing.result()

    def _send_position(self, told: Told) -> None:
        self._send_about(Kind.VEHICLE, Part.POSITION, bodies.position_data(told.position), told.plate, told.color)
        self.counts.sent += 1
        now_s = monotonic_s()
        self._unsure.append((now_s, told))
        while self._unsure and self._unsure[0][0] < now_s - UNSURE_S:
            self._unsure.popleft()

    def _resend(self) -> None:
        """After a break: what was sent last, as past positions."""
        for _, told in self._unsure:
            data = bytes((1,)) + bodies.position_data(told.position)
            self._send_about(Kind.VEHICLE, Part.HISTORY, data, told.plate, told.color)
            self.counts.again += 1
        self._unsure.clear()

    def _send_about(self, kind: Kind, part: Part, data: bytes, plate: str, color: int) -> None:
        about = Envelope(part=part, data=data, plate=plate, color=color)
        self._send(kind, bodies.envelope(about, vehicle=True))

    def _send(self, kind: Kind, body: bytes = b"") -> None:
        if self._writer is None:
            raise OSError("there is no link")
        self._writer.write(self._packed(kind, body))

    def _packed(self, kind: Kind, body: bytes = b"") -> bytes:
        self._serial += 1
        account = self._account
        message = Message(
            kind=kind, serial=self._serial, centre=account.centre, body=body, encrypted=account.encrypted,
            key=self._serial * 7919 if account.encrypted else 0,
        )  # fmt: skip
        return jt809.pack(message, account.cipher)

    # ------------------------------------------------------------ what comes down
    async def _hear_all(self, reader: asyncio.StreamReader, splitter: Splitter) -> None:
        while data := await reader.read(64 * 1024):
            for frame in splitter.feed(data):
                self._hear(jt809.unpack(frame, cipher=self._account.cipher))

    async def _called_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The link from above: it shows the verify code that our login was answered with."""
        splitter = Splitter()
        try:
            while data := await reader.read(64 * 1024):
                for frame in splitter.feed(data):
                    message = jt809.unpack(frame, cipher=self._account.cipher)
                    if message.kind == Kind.BACK_LOGIN:
                        wrong = message.body != self._verify.to_bytes(4, "big")
                        writer.write(self._packed(Kind.BACK_LOGIN_ANSWER, bytes((wrong,))))
                    elif message.kind == Kind.BACK_ALIVE:
                        writer.write(self._packed(Kind.BACK_ALIVE_ANSWER))
                    else:
                        self._hear(message)
        except (OSError, FrameError) as error:
            self._say("the link from above broke", why=str(error))
        finally:
            writer.close()

    def _hear(self, message: Message) -> None:
        if message.kind == Kind.PLATFORM_DOWN:
            about = bodies.read_envelope(message.body, vehicle=False)
            self.counts.asked.append(f"{about.part:#06x}")
            if about.part == Part.PRESENCE:
                self._answer_presence(bodies.read_word(about.data))
        elif message.kind == Kind.ALARM_DOWN:
            about = bodies.read_envelope(message.body, vehicle=True)
            self.counts.asked.append(f"{about.part:#06x}")
            if about.part == Part.SUPERVISION:
                number = bodies.read_supervision(about.data).number
                data = bodies.supervision_answer_data(number, DONE)
                self._send_about(Kind.ALARM, Part.SUPERVISION_ANSWER, data, about.plate, about.color)

    def _answer_presence(self, asked: Word) -> None:
        text = f"在岗。{asked.text}"
        word = Word(object_kind=asked.object_kind, object_id=asked.object_id, number=asked.number, text=text)
        about = Envelope(part=Part.PRESENCE_ANSWER, data=bodies.word_data(word))
        self._send(Kind.PLATFORM, bodies.envelope(about, vehicle=False))

    def _say(self, what: str, **facts: object) -> None:
        """The same word is said once, until another one follows."""
        if what != self._spoke_of:
            self._spoke_of = what
            log.info(what, platform=self._account.centre, **facts)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
