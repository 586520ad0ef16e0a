"""Thousands of terminals in one process, for the bench of their door; told what to do line by line.

Run by its file with one argument, a Spec as JSON. Each line on standard input is an Order, each line on standard output
what came of it.
"""

import asyncio
import contextlib
import sys
import time
from collections import deque
from functools import reduce
from operator import xor
from typing import cast

import msgspec
import uvloop

from traffic.ingest.jt808 import V2013, V2019, Kind, Message, encode
from traffic.ingest.jt808_bodies import Authentication, Items, Position

TICK_S = 0.005
CONNECTING_MAX = 200
HEARTBEAT_S = 60.0
LAST_ANSWERS_S = 20.0
LOG_IN_S = 60.0


class Spec(msgspec.Struct, kw_only=True):
    """`talkers` of the `terminals` send positions. `login_frames`: heard after a log-in (an echo gives one)."""

    host: str
    port: int
    code: str
    first_phone: int
    terminals: int
    talkers: int
    login_frames: int


class Order(msgspec.Struct, kw_only=True):
    """`connect`; `paced`: positions at `per_s`; `window`: each talker has so many unanswered; both for `seconds`."""

    do: str
    seconds: float = 0.0
    per_s: float = 0.0
    window: int = 0


class Told(msgspec.Struct, kw_only=True):
    """What came of an order. Milliseconds from sending to the answer; `elapsed_s` to the last answer."""

    sent: int = 0
    answered: int = 0
    elapsed_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    lost: int = 0  # connections that the door ended


class Line(asyncio.Protocol):
    """One terminal."""

    __slots__ = ("flags", "frames", "head", "ready", "sent", "serial", "swarm", "transport", "xored")
    transport: asyncio.Transport

    def __init__(self, swarm: "Swarm", phone: str, version: int) -> None:
        self.swarm = swarm
        self.flags = self.frames = self.serial = 0
        self.ready = asyncio.get_running_loop().create_future()
        self.sent: deque[float] = deque()
        until_serial = 15 if version == V2019 else 10
        empty = encode(Message(Kind.POSITION, phone, 0, b"", version))[1 : 1 + until_serial]
        length = len(swarm.body)
        self.head = empty[:2] + (int.from_bytes(empty[2:4]) | length).to_bytes(2) + empty[4:]
        self.xored = reduce(xor, self.head)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.swarm.lost += 1
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the door closed the connection before the log-in"))

    def data_received(self, data: bytes) -> None:
        self.flags += data.count(b"\x7e")
        frames, self.flags = divmod(self.flags, 2)
        self.frames += frames
        if not self.ready.done():
            if self.frames >= self.swarm.spec.login_frames:
                self.ready.set_result(None)
        elif self.sent:
            self.swarm.answered(self, frames)

    def tell(self, now_s: float) -> None:
        """Send a position."""
        swarm = self.swarm
        if self.transport.is_closing():
            return
        self.serial = serial = (self.serial + 1) & 0xFFFF
        check = self.xored ^ swarm.xored ^ (serial >> 8) ^ (serial & 0xFF)
        data = b"".join((self.head, serial.to_bytes(2), swarm.body, bytes((check,))))
        if 0x7D in data or 0x7E in data:
            data = data.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")
        self.transport.write(b"\x7e" + data + b"\x7e")
        self.sent.append(now_s)


class Swarm:
    """All terminals, and the figures of the running order."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.lines: list[Line] = []
        self.lost = self.count_sent = 0
        self.delays: list[float] = []
        self.window = 0
        self.until_s = 0.0
        self.last_s = 0.0
        self._all_answered = asyncio.Event()
        self.body, self.xored = b"", 0
        self.renew_body()

    def renew_body(self) -> None:
        """The position of this second."""
        at_us = time.time_ns() // 1_000_000_000 * 1_000_000
        position = Position(at_us=at_us, lon=125.3245, lat=43.8868, speed_kmh=72.5, items=Items(mileage_km=12_345.6))
        self.body = position.body()
        self.xored = reduce(xor, self.body)

    async def connect(self) -> Told:
        """All log in."""
        begin_s, room = time.perf_counter(), asyncio.Semaphore(CONNECTING_MAX)
        await asyncio.gather(*(self._connect(number, room) for number in range(self.spec.terminals)))
        return Told(elapsed_s=time.perf_counter() - begin_s, answered=len(self.lines), lost=self.lost)

    async def _connect(self, number: int, room: asyncio.Semaphore) -> None:
        spec, version = self.spec, V2019 if number % 2 else V2013
        phone = str(spec.first_phone + number)
        async with room:
            loop = asyncio.get_running_loop()
            transport, line = await loop.create_connection(lambda: Line(self, phone, version), spec.host, spec.port)
            body = Authentication(code=spec.code).body(version)
            transport.write(encode(Message(Kind.AUTHENTICATE, phone, 0, body, version)))
            async with asyncio.timeout(LOG_IN_S):
                await line.ready
        if number < spec.talkers:
            self.lines.insert(0, line)
        else:
            self.lines.append(line)
            beat = encode(Message(Kind.HEARTBEAT, phone, 1, b"", version))
            loop.call_later(HEARTBEAT_S * (number % 1000) / 1000, self._beat, line, beat)

    def _beat(self, line: Line, frame: bytes) -> None:
        if not line.transport.is_closing():
            line.transport.write(frame)
            asyncio.get_running_loop().call_later(HEARTBEAT_S, self._beat, line, frame)

    def answered(self, line: Line, frames: int) -> None:
        """A talker was answered; in a window it tells the next."""
        now_s = self.last_s = time.perf_counter()
        for _ in range(min(frames, len(line.sent))):
            self.delays.append(now_s - line.sent.popleft())
        if len(self.delays) >= self.count_sent:
            self._all_answered.set()
        if self.window and now_s < self.until_s:
            self.count_sent += self.window - len(line.sent)
            for _ in range(self.window - len(line.sent)):
                line.tell(now_s)

    async def talk(self, order: Order) -> Told:
        """Positions, paced or in a window, and their answers."""
        talkers = self.lines[: self.spec.talkers]
        self.count_sent, self.delays, self.window = 0, [], order.window
        begin_s = self.last_s = time.perf_counter()
        self.until_s = begin_s + order.seconds
        for line in talkers if order.window else ():
            self.count_sent += order.window
            for _ in range(order.window):
                line.tell(begin_s)
        renewed_s = begin_s
        while (now_s := time.perf_counter()) < self.until_s:
            if now_s - renewed_s > 1.0:
                self.renew_body()
                renewed_s = now_s
            due = int((now_s - begin_s) * order.per_s) - self.count_sent if order.per_s else 0
            for _ in range(due):
                talkers[self.count_sent % len(talkers)].tell(now_s)
                self.count_sent += 1
            await asyncio.sleep(TICK_S)
        if len(self.delays) < self.count_sent:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_ANSWERS_S):
                    await self._all_answered.wait()
        return self._told(begin_s)

    def _told(self, begin_s: float) -> Told:
        ordered = sorted(self.delays) or [0.0]
        return Told(
            sent=self.count_sent, answered=len(self.delays), elapsed_s=self.last_s - begin_s, lost=self.lost,
            p50_ms=ordered[len(ordered) // 2] * 1000, p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        )  # fmt: skip


async def _run(spec: Spec) -> None:
    swarm, loop = Swarm(spec), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order = msgspec.json.decode(line, type=Order)
        told = await swarm.connect() if order.do == "connect" else await swarm.talk(order)
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_run(msgspec.json.decode(sys.argv[1].encode(), type=Spec)))
