"""Doors with other platforms in front of them: JT/T 809, the ministry's SOAP, GA/T 1400 subscriptions."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import numpy as np
import psycopg
import redis
from psycopg.types.json import Jsonb

from tests.conftest import wait_until_async
from tests.world import World
from traffic.clock import SHANGHAI
from traffic.ingest import jt809
from traffic.ingest import jt809_bodies as bodies
from traffic.ingest.jt809 import Cipher, Kind, Login, Message, Splitter
from traffic.ingest.jt809_bodies import Envelope, Part, Position
from traffic.ingest.links import PlatformSecret
from traffic.ingest.server import listen, serve
from traffic.limits import ROADS_PARTITION
from traffic.readings import EntryKind, PassageBatch, decode_entry
from traffic.secrets import encrypt, key_hash
from traffic.settings import Settings
from traffic.stream import BusReader, stream_key

CENTRE, USER, PASSWORD = 22_000_001, 2201, "809-pass"
CIPHER = Cipher(m1=30_000_000, ia1=20_000_000, ic1=20_000_000)
PLATFORM, MINISTRY, MINISTRY_KEY = "transport-809", "west-soap", "soap-key-1"
PLACE = (125.3245, 43.8868)


# ---------------------------------------------------------------- who there is
def add_device(owner: psycopg.Connection, now: datetime, code: str, kind: str, secret: bytes, **fields: Any) -> int:
    """A sender's row; `unit`, `link` and `link_secret` as wanted."""
    row = owner.execute(
        "INSERT INTO device (code, name, unit_id, kind, secret, link, link_secret, changed_at, changed_by)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'test') RETURNING id",
        [code, code, fields.get("unit", 1), kind, secret, Jsonb(fields.get("link", {})), fields.get("link_secret", b""),
         now],
    ).fetchone()  # fmt: skip
    assert row is not None
    owner.execute("UPDATE version SET value = value + 1 WHERE name = 'device'")
    return int(row[0])


def add_platform(owner: psycopg.Connection, settings: Settings, now: datetime, **link: Any) -> int:
    """The transport authority's platform."""
    secret = PlatformSecret(password=PASSWORD, m1=CIPHER.m1, ia1=CIPHER.ia1, ic1=CIPHER.ic1)
    told = {"user": USER, "centre": CENTRE, **link}
    sealed = encrypt(str(settings.secret_key), msgspec.json.encode(secret))
    return add_device(owner, now, PLATFORM, "jt809", sealed, link=told)


def add_ministry(owner: psycopg.Connection, now: datetime, unit: int, **link: Any) -> int:
    """A detachment's SOAP sender."""
    return add_device(owner, now, MINISTRY, "ministry", key_hash(MINISTRY_KEY), unit=unit, link=link)


# ---------------------------------------------------------------- the doors
@dataclass(kw_only=True)
class Doors:
    """Running doors, and what they put on the bus."""

    settings: Settings
    world: World
    client: httpx.AsyncClient
    redis: redis.Redis

    def entries(self, kind: EntryKind) -> list[Any]:
        """The contents of this kind on the bus."""
        found = []
        for partition in range(self.settings.partitions):
            for _, fields in self.redis.xrange(stream_key(partition)):  # type: ignore[union-attr]
                got, content = decode_entry(fields[b"e"])
                if got is kind:
                    found.append(content)
        return found

    def rows(self, kind: EntryKind) -> np.ndarray:
        """Rows of positions or alarms on the bus, by time."""
        parts = self.entries(kind)
        rows = np.concatenate(parts) if parts else np.empty(0, [("observed_at", "<i8")])
        return np.sort(rows, order="observed_at")

    def passages(self) -> PassageBatch:
        """Passages on the bus."""
        return PassageBatch.concat(self.entries(EntryKind.PASSAGES))

    def rejects(self) -> list[Any]:
        """Refused records on the bus."""
        return [reject for items in self.entries(EntryKind.REJECTS) for reject in items]

    def states(self) -> list[str]:
        """What became of senders, in order."""
        return [event.state for items in self.entries(EntryKind.DEVICE) for event in items]


@asynccontextmanager
async def opened(settings: Settings, world: World, *, bus_open: bool = True) -> AsyncIterator[Doors]:
    """The doors' process on this event loop."""
    client = redis.Redis.from_url(str(settings.redis_url))
    if bus_open:
        open_bus(settings, client)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stop, listen(settings)))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.door_port}", timeout=20) as http:

        async def ready() -> bool:
            assert not serving.done(), serving.result()
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await wait_until_async(ready, what="the doors answer")
        try:
            yield Doors(settings=settings, world=world, client=http, redis=client)
        finally:
            stop.set()
            await serving
            client.close()


def open_bus(settings: Settings, client: redis.Redis) -> None:
    """Open all partitions, as their owners do."""
    reader = BusReader(client, bytes_max=settings.bus_bytes_max)
    for partition in (*range(settings.partitions), ROADS_PARTITION):
        reader.open(partition, 1)


# ---------------------------------------------------------------- a lower platform, byte by byte
@dataclass(kw_only=True)
class Lower:
    """A main link, driven step by step."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    year: int = 2011
    encrypted: bool = False
    centre: int = CENTRE
    splitter: Splitter = field(default_factory=Splitter)
    heard: list[Message] = field(default_factory=list)
    serial: int = 0

    def frame(self, kind: Kind, body: bytes = b"") -> bytes:
        self.serial += 1
        message = Message(
            kind=kind, serial=self.serial, centre=self.centre, body=body, encrypted=self.encrypted,
            key=99 if self.encrypted else 0, time_s=1_795_000_000 if self.year >= 2019 else None,
        )  # fmt: skip
        return jt809.pack(message, CIPHER)

    async def say(self, kind: Kind, body: bytes = b"") -> None:
        self.writer.write(self.frame(kind, body))
        await self.writer.drain()

    async def hear(self, timeout_s: float = 10.0) -> Message:
        """The next message."""
        async with asyncio.timeout(timeout_s):
            while not self.heard:
                data = await self.reader.read(65536)
                assert data, "the connection was closed"
                for inner in self.splitter.feed(data):
                    self.heard.append(jt809.unpack(inner, cipher=CIPHER, year=self.year))
        return self.heard.pop(0)

    async def closed(self, timeout_s: float = 15.0) -> bool:
        """Wait for the end of the connection."""
        async with asyncio.timeout(timeout_s):
            try:
                while await self.reader.read(65536):
                    pass
            except OSError:
                return True
        return True

    async def log_in(self, **fields: Any) -> tuple[int, int]:
        """(result, verify code)."""
        login = Login(
            user=fields.get("user", USER), password=fields.get("password", PASSWORD),
            back_host=fields.get("back_host", ""), back_port=fields.get("back_port", 0),
            centre=self.centre if self.year >= 2019 else None,
        )  # fmt: skip
        await self.say(Kind.LOGIN, jt809.login_body(login))
        answer = await self.hear()
        assert answer.kind == Kind.LOGIN_ANSWER
        return jt809.read_login_answer(answer.body)

    async def tell(self, kind: Kind, part: Part, data: bytes, plate: str = "吉A12345", color: int = 2) -> None:
        about = Envelope(part=part, data=data, plate=plate, color=color)
        await self.say(kind, bodies.envelope(about, vehicle=True))

    async def position(self, at: datetime, plate: str = "吉A12345", **fields: Any) -> None:
        data = bodies.position_data(position(at, **fields), year=self.year)
        await self.tell(Kind.VEHICLE, Part.POSITION, data, plate, fields.get("color", 2))


def position(at: datetime, **fields: Any) -> Position:
    """A good position."""
    told: dict[str, Any] = {
        "time": at, "lon": PLACE[0], "lat": PLACE[1], "speed_kmh": 86, "bearing_deg": 45, "status": 3, "alarm": 0,
    }  # fmt: skip
    return Position(**{**told, **{name: value for name, value in fields.items() if name != "color"}})


@asynccontextmanager
async def lower(doors: Doors, **fields: Any) -> AsyncIterator[Lower]:
    """A connection of a lower platform, not logged in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.settings.platform_port)
    try:
        yield Lower(reader=reader, writer=writer, **fields)
    finally:
        writer.close()


def moment(world: World, before_s: float) -> datetime:
    """A whole second so long before the world's now, in Beijing time."""
    return (world.now - timedelta(seconds=before_s)).astimezone(SHANGHAI).replace(microsecond=0)


# ---------------------------------------------------------------- a receiver of notifications
@dataclass(kw_only=True)
class Receiver:
    """An HTTP server of one address that remembers; `script`: answers that come first, as (status, headers, body)."""

    port: int
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    script: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    silent: bool = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/VIID/SubscribeNotifications"

    def vehicles(self) -> list[dict[str, Any]]:
        """All motor vehicles that came, in order."""
        found = []
        for _, path, body in self.requests:
            if path.endswith("SubscribeNotifications"):
                for told in json.loads(body)["SubscribeNotificationListObject"]["SubscribeNotificationObject"]:
                    found += told["MotorVehicleObjectList"]["MotorVehicleObject"]
        return found


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(attend(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                if receiver.silent:
                    await asyncio.Event().wait()  # until the peer gives up and the connection is closed
                status, headers, content = receiver.script.pop(0) if receiver.script else (200, {}, b"")
                if status == 200:
                    receiver.requests.append((method, path, body))
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.start_server(accept, sock=listener.dup())
        receiver = Receiver(port=listener.getsockname()[1])
        try:
            yield receiver
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
