"""The API's process inside a test: real ports, a person to log in with, a feed to write, a client of the live view."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import psycopg
from argon2 import PasswordHasher
from psycopg.types.json import Jsonb
from websockets.asyncio.client import ClientConnection, connect

from dashboards.app import serve
from tests.world import CORPS, UNITS
from traffic.database import WRITER, as_role
from traffic.feed import Cursor, parse_cursor
from traffic.plates import plate_key
from traffic.settings import Settings
from traffic.store import us_of, when

PASSWORD = "correct-horse"
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def add_person(
    owner: psycopg.Connection, login: str, unit: int = CORPS, *, role: str = "commander", clearance: int = 0
) -> int:
    """A person whose password is PASSWORD."""
    row = owner.execute(
        "INSERT INTO person (login, name, unit_id, role, clearance, password_hash) VALUES (%s, %s, %s, %s, %s, %s)"
        " RETURNING id",
        [login, f"Name of {login}", unit, role, clearance, _HASH],
    ).fetchone()
    assert row
    return int(row[0])


def above(unit: int) -> list[int]:
    """A unit and all above it."""
    found: list[int] = []
    at: int | None = unit
    while at is not None:
        found.append(at)
        at = UNITS[at][0]
    return sorted(found)


class Feed:
    """Writes as a worker would: findings and feed rows in one transaction, numbered without gaps."""

    def __init__(self, url: str, now_us: int) -> None:
        self._connection = psycopg.connect(as_role(url, WRITER), autocommit=True)
        self._now_us = now_us

    def close(self) -> None:
        self._connection.close()

    def _write(self, row: dict[str, object], partition: int) -> int:
        moved = self._connection.execute(
            "UPDATE partition SET feed_seq = feed_seq + 1 WHERE id = %s RETURNING feed_seq", [partition]
        ).fetchone()
        assert moved
        self._connection.execute(
            "INSERT INTO feed (partition, seq, at, topic, kind, key, audience, visibility, addressees, body) VALUES"
            " (%(partition)s, %(seq)s, %(at)s, %(topic)s, %(kind)s, %(key)s, %(audience)s, %(visibility)s,"
            " %(addressees)s, %(body)s)",
            {"partition": partition, "seq": moved[0], "visibility": 0, "addressees": [], **row},
        )
        return int(moved[0])

    def flow(self, rows: Sequence[Sequence[float]], *, partition: int = 0, units: Sequence[int] = (CORPS,)) -> int:
        """One row of increments [checkpoint, bucket_us, direction, passages, measured, speed_sum]."""
        with self._connection.transaction():
            row = {"at": when(self._now_us), "topic": "roads", "kind": "flow", "key": "1", "audience": list(units)}
            return self._write({**row, "body": Jsonb({"b": list(rows)})}, partition)

    def device(self, device: int, at_us: int, *, state: str = "alive", partition: int = 0) -> int:
        """A sender's sign of life."""
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO device_status (device_id, seen_at, state) VALUES (%s, %s, %s)"
                " ON CONFLICT (device_id) DO UPDATE SET seen_at = excluded.seen_at, state = excluded.state",
                [device, when(at_us), state],
            )
            row = {
                "at": when(self._now_us),
                "topic": "roads",
                "kind": "device",
                "key": str(device),
                "audience": [CORPS],
            }
            body = {"device": device, "state": state, "seen_at": at_us}
            return self._write({**row, "body": Jsonb(body)}, partition)

    def finding(
        self, unit: int, *, partition: int = 0, id: UUID | None = None, addressees: Sequence[int] | None = None,
        **fields: object,
    ) -> str:  # fmt: skip
        """A finding of a unit (restricted to `addressees` where given) and its row of the feed; returns its id.

        `fields`: level, revision, state, plate, facts.
        """
        id, plate, revision = id or uuid4(), str(fields.get("plate", "吉A12345")), fields.get("revision", 1)
        level, state, facts = fields.get("level", 2), fields.get("state", "active"), fields.get("facts", "x")
        at = when(self._now_us)
        observation = {
            "at": self._now_us, "checkpoint": 1, "direction": 1, "lane": 1, "speed_kmh": 88.5,
            "record": f"{self._now_us}:7",
        }  # fmt: skip
        entry = {"number": "BK-1", "category": 1, "level": level, "facts": facts, "intercept": True, "version": 1}
        grounds = {
            "rule": {"name": "布控比中", "clause": "条款"}, "count": 1, "observations": [observation],
            "detail": {"entry": entry}, "cause": None,
        }  # fmt: skip
        card = {
            "id": str(id), "kind": "watch_hit", "revision": revision, "change": "new" if revision == 1 else "updated",
            "state": state, "level": level, "plate": plate, "plate_class_group": 2,
            "rule": {"id": 1, "version": 1, "name": "布控比中", "clause": "条款"}, "confidence": 1.0,
            "first_at": self._now_us, "observed_at": self._now_us, "raised_at": self._now_us, "count": 1,
            "observations": [observation], "entry": {k: v for k, v in entry.items() if k != "version"}, "cause": None,
        }  # fmt: skip
        reach = {
            "audience": above(unit), "visibility": 0 if addressees is None else 1, "addressees": list(addressees or ()),
        }  # fmt: skip
        values = {
            "id": id, "partition": partition, "plate_key": plate_key(plate), "revision": revision,
            "change": card["change"], "state": state, "level": level, "at": at, "grounds": Jsonb(grounds), **reach,
        }  # fmt: skip
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO finding VALUES (%(id)s, 'watch_hit', %(partition)s, %(plate_key)s, 2, 'BK-1',"
                " %(revision)s, %(change)s, %(state)s, %(level)s, 1, 1, 1.0, %(at)s, %(at)s, %(at)s, %(grounds)s,"
                " %(audience)s, %(visibility)s, %(addressees)s) ON CONFLICT (id) DO UPDATE"
                " SET revision = excluded.revision, change = excluded.change, state = excluded.state,"
                " level = excluded.level",
                values,
            )
            self._connection.execute(
                "INSERT INTO finding_revision VALUES (%(id)s, %(revision)s, %(change)s, %(at)s, 'null', %(grounds)s)",
                values,
            )
            row = {"at": at, "topic": "alerts", "kind": "finding", "key": str(id), "body": Jsonb(card), **reach}
            self._write(row, partition)
        return str(id)


class Live:
    """A client of the live view that remembers what it was told."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw
        self.frames: list[dict] = []
        self.user: dict = {}
        self.cursor: str | None = None
        self.checkpoints: dict[int, dict] = {}
        self.alerts: list[str] = []  # ids of deltas, in the order of arrival
        self.shown: list[str] = []  # ids of the last snapshot
        self.figures: dict = {}
        self.links: dict[int, list] = {}
        self.events: dict[str, dict] = {}
        self.crews: dict[int, list] = {}
        self.vehicles: dict[tuple[str, int], list] = {}
        self.topics: set[str] = set()  # of which there was a snapshot
        self.stale: dict | None = None

    async def say(self, **message: object) -> None:
        await self.raw.send(json.dumps(message))

    async def hear(self, timeout_s: float = 10.0) -> dict:
        """The next frame, taken in."""
        async with asyncio.timeout(timeout_s):
            frame = json.loads(await self.raw.recv())
        self.frames.append(frame)
        self._take(frame)
        return frame

    def _take(self, frame: dict) -> None:
        kind, topic = frame["type"], frame.get("topic")
        if frame.get("seq"):
            self.cursor = frame["seq"]
        if kind == "snapshot":
            self.topics.add(str(topic))
        if kind == "stale":
            self.stale = frame
        elif topic == "roads":
            if kind == "snapshot":
                self.checkpoints = {}
            self.checkpoints |= {item["id"]: item for item in frame["checkpoints"]}
        elif topic == "figures":
            self.figures = frame["figures"]
        elif topic in ("links", "events", "units"):
            self._take_roads(kind == "snapshot", frame)
        elif topic == "alerts":
            ids = [card["id"] for card in frame["alerts"]]
            if kind == "snapshot":
                self.shown = ids
            else:
                self.alerts += ids

    def _take_roads(self, whole: bool, frame: dict) -> None:
        if frame["topic"] == "links":
            self.links = ({} if whole else self.links) | {row[0]: row for row in frame["links"]}
        elif frame["topic"] == "events":
            self.events = ({} if whole else self.events) | {card["id"]: card for card in frame["events"]}
            for id in frame["gone"]:
                self.events.pop(id, None)
        else:
            self.crews = ({} if whole else self.crews) | {row[0]: row for row in frame["crews"]}
            self.vehicles = ({} if whole else self.vehicles) | {(row[0], row[1]): row for row in frame["vehicles"]}
            for crew in frame["gone"]["crews"]:
                self.crews.pop(crew, None)
            for plate, group in frame["gone"]["vehicles"]:
                self.vehicles.pop((plate, group), None)

    async def error(self) -> str:
        """The code of the next error frame."""
        await self.until(lambda live: bool(live.frames) and live.frames[-1]["type"] == "error")
        return str(self.frames[-1]["code"])

    async def until(self, condition, timeout_s: float = 15.0) -> None:
        """Hear frames until the condition holds."""
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                await self.hear(timeout_s)

    @property
    def place(self) -> Cursor:
        cursor = parse_cursor(self.cursor or "")
        assert cursor is not None
        return cursor


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API."""

    settings: Settings
    base: str

    @asynccontextmanager
    async def client(self, login: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client, logged in where a login is given."""
        async with httpx.AsyncClient(base_url=self.base, timeout=20) as client:
            if login is not None:
                answer = await client.post("/api/login", json={"login": login, "password": PASSWORD})
                assert answer.status_code == 200, answer.text
            yield client

    async def ticket(self, client: httpx.AsyncClient) -> str:
        answer = await client.post("/api/socket-ticket")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ticket"])

    @asynccontextmanager
    async def socket(self, headers: Mapping[str, str] | None = None, **options: object) -> AsyncIterator[Live]:
        """A live view before its hello."""
        url = f"ws://127.0.0.1:{self.settings.socket_port}/view"
        async with connect(url, additional_headers=headers, compression=None, **options) as raw:  # type: ignore[arg-type]
            yield Live(raw)

    @asynccontextmanager
    async def live(self, client: httpx.AsyncClient, **options: object) -> AsyncIterator[Live]:
        """A live view that was greeted."""
        ticket = await self.ticket(client)
        async with self.socket(**options) as live:  # type: ignore[arg-type]
            await live.say(type="hello", ticket=ticket)
            live.user = (await live.hear())["user"]
            yield live


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Api]:
    """The API's process on free ports."""
    pages, sockets = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    sockets.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024)  # what is unsent is to be seen soon
    bound = settings.model_copy(
        update={"port": pages.getsockname()[1], "socket_port": sockets.getsockname()[1], "host": "127.0.0.1"}
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(bound, stop, (pages, sockets)))
    try:
        api = Api(settings=bound, base=f"http://127.0.0.1:{bound.port}")
        await _ready(api, serving)
        yield api
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await serving


async def _ready(api: Api, serving: asyncio.Task) -> None:
    async with api.client() as client, asyncio.timeout(30):
        while True:
            assert not serving.done(), serving.result()
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


def second_us(settings: Settings) -> int:
    """Now, at its whole second."""
    return us_of(settings.clock.now()) // 1_000_000 * 1_000_000
