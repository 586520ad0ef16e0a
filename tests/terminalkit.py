"""Terminals for tests: rows in the database, frames, and a client that speaks to the door like a real one."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import redis

from tests.conftest import wait_until_async
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.coalesce import Coalescer
from traffic.ingest.figures import Figures
from traffic.ingest.jt808 import V2019, Frames, Kind, Message, decode, encode
from traffic.ingest.jt808_bodies import Authentication, Position, Registration
from traffic.ingest.terminal_book import TerminalBook
from traffic.ingest.terminal_connection import Bounds
from traffic.ingest.terminal_positions import Terminal
from traffic.ingest.terminals import TerminalDoor
from traffic.plates import plate_key
from traffic.readings import EntryKind, decode_entry
from traffic.settings import Settings
from traffic.stream import BusReader, BusWriter, connect_redis, stream_key

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
PLACE = (125.3245, 43.8868)
CODE = "0123456789abcdef"


def plate_of(number: int) -> str:
    """The plate of the numbered terminal's vehicle."""
    return f"吉A{10_000 + number}"


def phone_of(number: int) -> str:
    """Its telephone number, without leading zeros."""
    return str(13_900_000_000 + number)


def terminal(number: int, **fields: object) -> Terminal:
    """A terminal as the door knows it."""
    known: dict[str, object] = {
        "id": number, "phone": phone_of(number), "plate_key": plate_key(plate_of(number)), "class_group": 1,
        "plate": plate_of(number), "plate_color": 2, "unit_id": 11, "device": 7, "number": "", "code_hash": None,
        "enabled": True, **fields,
    }  # fmt: skip
    return Terminal(**known)  # type: ignore[arg-type]


def registration(number: int, /, **fields: object) -> Registration:
    """What the numbered terminal says of itself."""
    told: dict[str, object] = {
        "province": 22, "city": 100, "maker": "TMRI", "model": "T-1", "number": f"T{number:06d}", "plate_color": 2,
        "plate": plate_of(number), **fields,
    }  # fmt: skip
    return Registration(**told)  # type: ignore[arg-type]


def enter(
    owner: psycopg.Connection, numbers: range, unit: int, *, code: str | None = None, group: int = 1
) -> list[int]:
    """Terminals in the table, registered with `code` if there is one; their ids."""
    code_hash = hashlib.sha256(code.encode()).digest() if code else None
    with owner.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO terminal (phone, plate_key, class_group, plate, plate_color, unit_id, code_hash)"
            " VALUES (%s, %s, %s, %s, 2, %s, %s)",
            [(phone_of(n), plate_key(plate_of(n)), group, plate_of(n), unit, code_hash) for n in numbers],
        )
    rows = owner.execute("SELECT id FROM terminal ORDER BY id").fetchall()
    return [row[0] for row in rows]


@dataclass(slots=True)
class Client:
    """One connection to the door; it says what the test wants and keeps what it hears."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    phone: str
    version: int = V2019
    serial: int = 0
    heard: list[Message] = field(default_factory=list)
    _frames: Frames = field(default_factory=Frames)

    @classmethod
    async def connect(cls, port: int, number: int = 1, *, version: int = V2019, source: str = "127.0.0.1") -> "Client":
        """A new connection of the numbered terminal."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        return cls(reader=reader, writer=writer, phone=phone_of(number), version=version)

    def say(self, kind: int, body: bytes = b"") -> int:
        """Send a message; its serial."""
        self.serial += 1
        self.writer.write(encode(Message(kind, self.phone, self.serial, body, self.version)))
        return self.serial

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def hear(self, kind: int) -> Message:
        """The next message of this kind."""
        while True:
            for place, message in enumerate(self.heard):
                if message.kind == kind:
                    return self.heard.pop(place)
            data = await asyncio.wait_for(self.reader.read(65_536), 20)
            if not data:
                raise EOFError("the door closed the connection")
            self.heard += [decode(frame) for frame in self._frames.feed(data)]

    async def result(self, serial: int) -> int:
        """The result of the general answer to the message of this serial; others are kept."""
        kept = []
        try:
            while True:
                answer = await self.hear(Kind.GENERAL_ANSWER)
                found, _, result = bodies.read_answer(answer.body)
                if found == serial:
                    return result
                kept.append(answer)
        finally:
            self.heard = kept + self.heard

    async def ask(self, kind: int, body: bytes = b"") -> int:
        """Send a message and wait for the result of its answer."""
        return await self.result(self.say(kind, body))

    async def register(self, told: Registration) -> tuple[int, str]:
        """(result, code) of a registration."""
        self.say(Kind.REGISTER, told.body(self.version))
        _, result, code = bodies.read_registered((await self.hear(Kind.REGISTER_ANSWER)).body)
        return result, code

    async def log_in(self, code: str = CODE) -> int:
        """The result of an authentication."""
        return await self.ask(Kind.AUTHENTICATE, Authentication(code=code, imei="8" * 15).body(self.version))

    async def closed(self) -> bool:
        """Wait until the door ends the connection."""
        try:
            while data := await asyncio.wait_for(self.reader.read(65_536), 20):
                self.heard += [decode(frame) for frame in self._frames.feed(data)]
        except ConnectionError:
            pass
        return True

    async def close(self) -> None:
        """End it."""
        self.writer.close()


def position(at: datetime, **fields: object) -> bytes:
    """The body of a position in Changchun."""
    told: dict[str, object] = {"lon": PLACE[0], "lat": PLACE[1], "speed_kmh": 60.0, "bearing_deg": 90.0, **fields}
    return Position(at_us=int(at.timestamp() * 1e6), **told).body()  # type: ignore[arg-type]


def whole_second(at: datetime, seconds: float = 0.0) -> datetime:
    """Terminals know no fractions of a second."""
    return (at + timedelta(seconds=seconds)).replace(microsecond=0)


@dataclass(slots=True, kw_only=True)
class Door:
    """A door for terminals on its port, with a look at its bus."""

    door: TerminalDoor
    port: int
    redis: redis.Redis
    partitions: int

    async def ready(self, count: int = 1) -> None:
        """Wait until it has read so many terminals."""
        await wait_until_async(lambda: len(self.door.book.by_phone) >= count, what="the door knows its terminals")

    async def client(self, number: int = 1, **how: Any) -> Client:
        """A connection."""
        return await Client.connect(self.port, number, **how)

    async def logged_in(self, number: int = 1, **how: Any) -> Client:
        """A connection of a terminal that was entered with CODE."""
        client = await self.client(number, **how)
        assert await client.log_in() == 0
        return client

    def rows(self, kind: EntryKind) -> list[Any]:
        """All records of a kind on the bus."""
        found: list[Any] = []
        for partition in range(self.partitions):
            entries: Any = self.redis.xrange(stream_key(partition))
            for _, fields in entries:
                got, content = decode_entry(fields[b"e"])
                if got is kind:
                    found.extend(content)  # type: ignore[arg-type]
        return found


@asynccontextmanager
async def opened(settings: Settings, *, bus_open: bool = True, **bounds: Any) -> AsyncIterator[Door]:
    """The door by itself, with its own bounds."""
    assert settings.database_url and settings.redis_url
    sync = redis.Redis.from_url(settings.redis_url)
    if bus_open:
        reader = BusReader(sync, bytes_max=settings.bus_bytes_max)
        for partition in range(settings.partitions):
            reader.open(partition, 1)
    client = connect_redis(settings.redis_url)
    writer = BusWriter(client, partitions=settings.partitions, bytes_max=settings.bus_bytes_max)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = int(listener.getsockname()[1])
    book = TerminalBook(settings.database_url, settings.clock, f"test:{port}")
    door = TerminalDoor(book, Coalescer(writer), Figures(), client, Bounds(**bounds))
    async with door.open(listener):
        yield Door(door=door, port=port, redis=sync, partitions=settings.partitions)
    await client.aclose()
    sync.close()
