"""One JT/T 809 platform at our door: its main link, and our link back to it.

A position has no answer of its own in this protocol. So back-pressure is that nothing more is read: what was read is
either on the bus, or, when the bus stays closed for HOLD_S, the connection is closed, and the platform sends what it
was not sure of once more by its own rules (a repeated position changes nothing here).
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from traffic.clock import monotonic_s
from traffic.errors import Reason, TrafficError
from traffic.ingest import jt809
from traffic.ingest.bodies import BODY_KEPT_BYTES, Refusal
from traffic.ingest.catalogue import Device
from traffic.ingest.checks import Checked
from traffic.ingest.desk import Desk
from traffic.ingest.jt809 import Cipher, FrameError, Kind, Message, Splitter
from traffic.ingest.jt809_bodies import (
    Alarm,
    Envelope,
    Part,
    read_alarm,
    read_envelope,
    read_position,
    read_positions,
    read_presence_answer,
    read_registration,
    read_supervision_answer,
)
from traffic.ingest.jt809_records import LastPlaces, Sighting, alarms_of, judge_alarms, judge_positions
from traffic.limits import RETRY_AFTER_S
from traffic.readings import Door, EntryKind
from traffic.road_readings import POSITION

READ_BYTES_MAX = 64 * 1024
IDLE_S = 180.0  # three keepalives of a minute missed
HOLD_S = 60.0  # so long a full or closed bus is waited for; longer, and the peer would think us dead
BAD_FRAMES_MAX = 100  # of one connection
UNSENT_BYTES_MAX = 256 * 1024  # a peer that does not read its answers is closed
BACK_CONNECT_S, BACK_LOGIN_S, BACK_ALIVE_S = 5.0, 10.0, 60.0
BACK_PAUSE_S, BACK_PAUSE_S_MAX = 5.0, 60.0
BACK_MISSED_MAX = 3
ASKED_MAX = 1_000  # serial numbers of questions that are remembered

log = structlog.get_logger(__name__)


class NotTaken(TrafficError):
    """The bus did not take what a platform said, for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a platform answered to a word of ours: `number` of the word."""

    platform: str
    kind: str
    number: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What a login settled: who it is, which edition, how bodies are encrypted (None: not), and where we call back."""

    device: Device
    peer: str
    year: int
    centre: int
    cipher: Cipher | None
    encrypted: bool
    back: tuple[str, int] | None
    verify: int


class Wire:
    """Writes messages of one connection; raises OSError when the peer does not read them."""

    def __init__(self, writer: asyncio.StreamWriter, agreed: Agreed, now_s: Callable[[], int]) -> None:
        self._writer = writer
        self._agreed = agreed
        self._now_s = now_s
        self._serial = 0

    def send(self, kind: Kind, body: bytes = b"") -> int:
        """Send without waiting; returns the message's serial number."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            raise OSError("the platform does not read what we say")
        self._serial += 1
        agreed = self._agreed
        message = Message(
            kind=kind, serial=self._serial, centre=agreed.centre, body=body, encrypted=agreed.encrypted,
            key=secrets.randbits(31) if agreed.encrypted else 0, time_s=self._now_s() if agreed.year >= 2019 else None,
        )  # fmt: skip
        self._writer.write(jt809.pack(message, agreed.cipher))
        return self._serial


@dataclass(slots=True)
class _Batch:
    """What one read brought."""

    sightings: list[Sighting] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, frame: bytes, why: FrameError) -> None:
        """A frame that cannot be read."""
        self.refusals.append(
            Refusal(
                index=len(self.refusals), field="frame", reason=Reason.MALFORMED, detail=str(why),
                body=frame[:BODY_KEPT_BYTES],
            )
        )  # fmt: skip


class PlatformLink:
    """A platform that has logged in. `answers`: where its answers go; it must take them at once."""

    def __init__(
        self, desk: Desk, agreed: Agreed, writer: asyncio.StreamWriter, answers: Callable[[Answer], None]
    ) -> None:
        self.device = agreed.device
        self._desk = desk
        self._agreed = agreed
        self._writer = writer
        self._answers = answers
        self._wire = Wire(writer, agreed, self._now_s)
        self._back: Wire | None = None
        self._places = LastPlaces()
        self._asked: dict[int, int] = {}  # serial of a question -> its number
        self._bad = 0
        self._leaving = False
        self.registered = 0

    # ------------------------------------------------------------ main link
    async def run(self, reader: asyncio.StreamReader, splitter: Splitter, frames: list[bytes]) -> None:
        """Take what comes until the platform leaves; raises OSError, TimeoutError, FrameError, NotTaken."""
        calling = asyncio.create_task(self._call_back(*self._agreed.back)) if self._agreed.back else None
        try:
            await self._take(frames)
            while not self._leaving:
                async with asyncio.timeout(IDLE_S):
                    data = await reader.read(READ_BYTES_MAX)
                if not data:
                    break
                await self._take(splitter.feed(data))
        finally:
            if calling is not None:
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)

    def close(self) -> None:
        """End the connection; `run` ends with it."""
        self._leaving = True
        with contextlib.suppress(OSError):
            (self._back or self._wire).send(Kind.BACK_CLOSING, b"\0")
        self._writer.close()

    async def _take(self, frames: list[bytes]) -> None:
        batch = _Batch()
        for frame in frames:
            try:
                message = jt809.unpack(frame, cipher=self._agreed.cipher, year=self._agreed.year)
                self._hear(message, batch, self._wire)
            except FrameError as error:
                self._bad += 1
                batch.refuse(frame, error)
        await self._keep_all(batch)
        if self._bad > BAD_FRAMES_MAX:
            raise FrameError(f"more than {BAD_FRAMES_MAX} frames could not be read")

    def _hear(self, message: Message, batch: _Batch, wire: Wire) -> None:
        match message.kind:
            case Kind.ALIVE:
                wire.send(Kind.ALIVE_ANSWER)
            case Kind.LOGOUT:
                wire.send(Kind.LOGOUT_ANSWER)
                self._leaving = True
            case Kind.VEHICLE:
                self._hear_vehicle(read_envelope(message.body, vehicle=True), batch)
            case Kind.ALARM:
                self._hear_alarm(self._about_alarm(message.body), batch)
            case Kind.PLATFORM:
                self._hear_platform(read_envelope(message.body, vehicle=False))
            case Kind.BACK_LOGOUT:
                wire.send(Kind.BACK_LOGOUT_ANSWER)
            case _:  # other business of the protocol is none of ours
                return

    def _hear_vehicle(self, about: Envelope, batch: _Batch) -> None:
        year = self._agreed.year
        if about.part == Part.POSITION:
            parts = [about.data]
        elif about.part == Part.HISTORY:
            parts = read_positions(about.data, year=year)
        elif about.part == Part.REGISTER:
            read_registration(about.data, year=year)
            self.registered += 1  # whose it is stands in the registry; a platform does not rewrite it
            return
        else:
            return
        batch.sightings += [
            Sighting(plate=about.plate, color=about.color, position=read_position(part, year=year)) for part in parts
        ]

    def _about_alarm(self, body: bytes) -> Envelope:
        """2019 leaves the vehicle out before the sub type; some platforms of 2019 do not."""
        if self._agreed.year >= 2019 and body[:1] == b"\x14":
            return read_envelope(body, vehicle=False)
        return read_envelope(body, vehicle=True)

    def _hear_alarm(self, about: Envelope, batch: _Batch) -> None:
        if about.part == Part.ALARM:
            batch.alarms.append(read_alarm(about, year=self._agreed.year))
        elif about.part in (Part.SUPERVISION_ANSWER, Part.SUPERVISION_ANSWER_2019):
            number, result = read_supervision_answer(about.data)
            self._answers(Answer(platform=self.device.code, kind="supervise", number=number, body={"result": result}))

    def _hear_platform(self, about: Envelope) -> None:
        if about.part == Part.PRESENCE_ANSWER:
            number, text = read_presence_answer(about.data, year=self._agreed.year)
            number = self._asked.pop(number, number) if self._agreed.year >= 2019 else number
            self._answers(Answer(platform=self.device.code, kind="presence", number=number, body={"text": text}))

    # ------------------------------------------------------------ to the bus
    async def _keep_all(self, batch: _Batch) -> None:
        received_us, bench = self._desk.clock.now_us(), self._desk.bench(Door.JT809)
        if batch.refusals:
            none = np.empty(0, POSITION)
            await self._keep(
                Checked(batch=none, index=np.empty(0, np.int64), refusals=batch.refusals, count=len(batch.refusals),
                        kind=EntryKind.POSITIONS), received_us
            )  # fmt: skip
        if batch.sightings:
            positions = judge_positions(batch.sightings, device=self.device, bench=bench, received_us=received_us)
            self._places.learn(positions.batch)
            await self._keep(positions, received_us)
            alarms = alarms_of(batch.sightings, positions)
            await self._keep(_all_good(alarms), received_us)
        if batch.alarms:
            told = judge_alarms(batch.alarms, self._places, device=self.device, bench=bench, received_us=received_us)
            await self._keep(told, received_us)
        if not (batch.sightings or batch.alarms or batch.refusals):
            await self._desk.tell(self.device, "alive", self._agreed.peer)

    async def _keep(self, checked: Checked[np.ndarray], received_us: int) -> None:
        until_s = monotonic_s() + HOLD_S
        while checked.count:
            outcome = await self._desk.keep(checked, self.device, Door.JT809, received_us, self._agreed.peer)
            if outcome.error is None:
                return
            if monotonic_s() > until_s or self._leaving:
                raise NotTaken(f"{len(outcome.not_taken)} records of {self.device.code}: {outcome.error}")
            await asyncio.sleep(RETRY_AFTER_S)
            checked = _left(checked, frozenset(outcome.not_taken))

    def _now_s(self) -> int:
        return self._desk.clock.now_us() // 1_000_000

    # ------------------------------------------------------------ words down
    @property
    def year(self) -> int:
        """Edition of the protocol that this platform speaks."""
        return self._agreed.year

    @property
    def has_link_back(self) -> bool:
        """Whether our link back stands."""
        return self._back is not None

    def say(self, kind: Kind, body: bytes, number: int) -> None:
        """Send a word by the link back, or by the main link where that does not stand; raises OSError."""
        serial = (self._back or self._wire).send(kind, body)
        self._asked[serial] = number
        while len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    async def _call_back(self, host: str, port: int) -> None:
        """Keep our link back open as long as the main link stands."""
        pause_s, said = BACK_PAUSE_S, ""
        while True:
            try:
                await self._link_back(host, port)
                pause_s = BACK_PAUSE_S
            except (OSError, TimeoutError, FrameError) as error:
                why = str(error) or type(error).__name__
                if why != said:
                    said = why
                    log.info("no link back to a platform", platform=self.device.code, why=why)
            await asyncio.sleep(pause_s)
            pause_s = min(BACK_PAUSE_S_MAX, pause_s * 2)

    async def _link_back(self, host: str, port: int) -> None:
        async with asyncio.timeout(BACK_CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
        wire = Wire(writer, self._agreed, self._now_s)
        try:
            wire.send(Kind.BACK_LOGIN, self._agreed.verify.to_bytes(4, "big"))
            missed, splitter = 0, Splitter()
            limit_s = BACK_LOGIN_S
            while missed < BACK_MISSED_MAX:
                try:
                    async with asyncio.timeout(limit_s):
                        data = await reader.read(READ_BYTES_MAX)
                except TimeoutError:
                    if self._back is None:
                        raise
                    missed += 1
                    wire.send(Kind.BACK_ALIVE)
                    continue
                if not data:
                    return
                missed = 0
                await self._take_back(splitter.feed(data), wire)
                if self._back is not None:
                    limit_s = BACK_ALIVE_S
        finally:
            self._back = None
            writer.close()

    async def _take_back(self, frames: list[bytes], wire: Wire) -> None:
        batch = _Batch()
        for frame in frames:
            message = jt809.unpack(frame, cipher=self._agreed.cipher, year=self._agreed.year)
            if message.kind == Kind.BACK_LOGIN_ANSWER:
                if message.body[:1] != b"\0":
                    raise FrameError(f"the platform refused our link back with {message.body[:1].hex()}")
                self._back = wire
            elif message.kind == Kind.BACK_LOGOUT:
                wire.send(Kind.BACK_LOGOUT_ANSWER)
                raise FrameError("the platform ended our link back")
            else:
                self._hear(message, batch, wire)
        if batch.sightings or batch.alarms:
            await self._keep_all(batch)


def _all_good(rows: np.ndarray) -> Checked[np.ndarray]:
    return Checked(batch=rows, index=np.arange(len(rows)), refusals=[], count=len(rows), kind=EntryKind.ALARMS)


def _left(checked: Checked[np.ndarray], places: frozenset[int]) -> Checked[np.ndarray]:
    """What the bus did not take."""
    mask = np.isin(checked.index, list(places))
    refusals = [refusal for refusal in checked.refusals if refusal.index in places]
    return replace(
        checked, batch=checked.batch[mask], index=checked.index[mask], refusals=refusals,
        count=int(mask.sum()) + len(refusals),
    )  # fmt: skip
