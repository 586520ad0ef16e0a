"""A vehicle's JT/T 808 terminal as a protocol: what it says and what it makes of the answers. Bytes in, bytes out.

It registers, logs in, tells its position, keeps what it could not tell, and sends that as a batch. Whoever holds its
connection calls `connected`, `received`, `told` and `heartbeat`, and sends what these give back.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum, auto

from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import (
    BODY_BYTES_MAX,
    V2019,
    FrameRefused,
    Frames,
    Kind,
    Message,
    Parts,
    Registered,
    Result,
    decode,
    encode,
)
from traffic.ingest.jt808_bodies import Authentication, BodyMalformed, Position, Registration

KEPT_MAX = 2_000  # positions that could not be told yet; then the oldest are given up and counted
UNANSWERED_MAX = 64  # messages; beyond it the terminal waits
TEXTS_KEPT = 20


class State(Enum):
    """How far the terminal has come on its connection."""

    OFFLINE = auto()
    REGISTERING = auto()
    LOGGING_IN = auto()
    READY = auto()
    REFUSED = auto()  # told that it may not register: asking again at once is no use


@dataclass(slots=True)
class TerminalCounts:
    """What became of positions and texts."""

    taken: int = 0
    given_up: int = 0
    refused: int = 0  # log-ins and registrations
    texts: int = 0


class TerminalProtocol:
    """One terminal over all its connections; `code` is "" until it registered."""

    def __init__(self, phone: str, registration: Registration, *, version: int = V2019, code: str = "") -> None:
        self.phone = phone
        self.version = version
        self.code = code
        self.state = State.OFFLINE
        self.counts = TerminalCounts()
        self.texts: deque[str] = deque(maxlen=TEXTS_KEPT)
        self._registration = registration
        self._frames = Frames()
        self._parts = Parts()
        self._serial = 0
        self._kept: deque[bytes] = deque()
        self._unanswered: OrderedDict[int, list[bytes]] = OrderedDict()
        self._latest: bytes | None = None

    @property
    def waiting(self) -> int:
        """Positions that the platform has not yet taken."""
        return len(self._kept) + sum(map(len, self._unanswered.values()))

    @property
    def unanswered(self) -> int:
        """Messages with positions that wait for their answer."""
        return len(self._unanswered)

    # ------------------------------------------------------------ the connection
    def connected(self) -> bytes:
        """A new connection: what was not answered on the old one is told again."""
        self._frames, self._parts = Frames(), Parts()
        self._take_back()
        if self.code:
            return self._log_in()
        self.state = State.REGISTERING
        return self._say(Kind.REGISTER, self._registration.body(self.version))

    def lost(self) -> None:
        """The connection has ended."""
        self.state = State.OFFLINE

    def _log_in(self) -> bytes:
        self.state = State.LOGGING_IN
        return self._say(Kind.AUTHENTICATE, Authentication(code=self.code, software="1.0").body(self.version))

    def _take_back(self) -> None:
        for positions in reversed(self._unanswered.values()):
            self._kept.extendleft(reversed(positions))
        self._unanswered.clear()

    # ------------------------------------------------------------ what it tells
    def keep(self, position: Position) -> None:
        """A position that cannot be told now (no network); it goes with the next batch."""
        self._latest = position.body()
        self._kept.append(self._latest)
        while len(self._kept) > KEPT_MAX:
            self._kept.popleft()
            self.counts.given_up += 1

    def told(self, position: Position) -> bytes:
        """A position to tell now, with what was kept before."""
        self.keep(position)
        return self.pending()

    def pending(self) -> bytes:
        """Everything kept: one position by itself, more as batches of what lay in a blind area."""
        said = []
        while self._kept and self.state is State.READY and len(self._unanswered) < UNANSWERED_MAX:
            positions = self._next_batch()
            alone = len(positions) == 1
            body = positions[0] if alone else bodies.batch_body(positions, blind=True)
            said.append(self._say(Kind.POSITION if alone else Kind.POSITIONS, body))
            self._unanswered[self._serial] = positions
        return b"".join(said)

    def _next_batch(self) -> list[bytes]:
        positions, size = [self._kept.popleft()], 3
        size += 2 + len(positions[0])
        while self._kept and size + 2 + len(self._kept[0]) <= BODY_BYTES_MAX:
            size += 2 + len(self._kept[0])
            positions.append(self._kept.popleft())
        return positions

    def heartbeat(self) -> bytes:
        """A sign of life."""
        return self._say(Kind.HEARTBEAT, b"") if self.state is State.READY else b""

    def _say(self, kind: Kind, body: bytes) -> bytes:
        self._serial = (self._serial + 1) & 0xFFFF
        return encode(Message(kind, self.phone, self._serial, body, self.version))

    # ------------------------------------------------------------ what it is told
    def received(self, data: bytes) -> bytes:
        """Some bytes of the platform's; returns what to send in return."""
        said = []
        for frame in self._frames.feed(data):
            try:
                whole = self._parts.add(decode(frame))
                if whole is not None:
                    said.append(self._hear(whole.message))
            except (FrameRefused, BodyMalformed):
                continue
        return b"".join(said)

    def _hear(self, message: Message) -> bytes:
        if message.kind == Kind.REGISTER_ANSWER:
            return self._registered(message)
        if message.kind == Kind.GENERAL_ANSWER:
            return self._answered(*bodies.read_answer(message.body))
        if message.kind == Kind.TEXT:
            self.texts.append(bodies.read_text(message.body, self.version)[1])
            self.counts.texts += 1
            return self._answer(message, Result.OK)
        if message.kind == Kind.POSITION_QUERY and self._latest is not None:
            return self._say(Kind.POSITION_ANSWER, message.serial.to_bytes(2) + self._latest)
        return self._answer(message, Result.OK if message.kind == Kind.POSITION_QUERY else Result.UNSUPPORTED)

    def _registered(self, message: Message) -> bytes:
        _, result, code = bodies.read_registered(message.body)
        if result != Registered.OK:
            self.state = State.REFUSED
            self.counts.refused += 1
            return b""
        self.code = code
        return self._log_in()

    def _answered(self, serial: int, kind: int, result: int) -> bytes:
        if kind == Kind.AUTHENTICATE:
            if result == Result.OK:
                self.state = State.READY
                return self.pending()
            self.counts.refused += 1
            self.code, self.state = "", State.REFUSED  # it is no longer known there: the next connection registers
            return b""
        positions = self._unanswered.pop(serial, None)
        if positions is not None and result in (Result.OK, Result.WRONG):
            self.counts.taken += len(positions) if result == Result.OK else 0
        elif positions is not None:
            self._kept.extendleft(reversed(positions))  # with the next position, not at once
        return b""

    def _answer(self, message: Message, result: Result) -> bytes:
        return self._say(Kind.TERMINAL_ANSWER, bodies.answer_body(message.serial, message.kind, result))
