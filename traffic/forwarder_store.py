"""What the forwarder reads and writes: one connection, whose lock says which forwarder is at work."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import TupleRow

from traffic.health import Heartbeat
from traffic.ingest.links import LinkWrong, read_link
from traffic.ingest.viid_subscriptions import Names, Subscription
from traffic.store import when
from traffic.subscriptions import SQL, bounds

LOCK = 6_201_405  # of the forwarder at work
_CONNECT_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A subscription of another platform here; `waiting`: something waits for it."""

    id: str
    title: str
    address: str
    interval_s: int
    device: int
    waiting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One packed batch that waits."""

    id: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerRow:
    """A platform with a door of its own; `secret`: what we show there, encrypted."""

    id: int
    code: str
    address: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A subscription of ours elsewhere. `told`: the other side knows how it stands; `began`: it was told once."""

    subscription: Subscription
    status: int
    told: bool
    began: bool
    device: int


class Store:
    """Raises psycopg.Error and OSError; the caller then closes it and begins anew."""

    def __init__(self, conninfo: str, server_id: str) -> None:
        self._conninfo = conninfo
        self._server_id = server_id
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None
        self._turn = asyncio.Lock()
        self._leads = False
        self._names: Names | None = None
        self._network = -1

    async def close(self) -> None:
        """Give the connection back, and the lock with it."""
        async with self._turn:
            connection, self._connection, self._leads = self._connection, None, False
            if connection is not None:
                await connection.close()

    async def _run(self, name: str, **values: object) -> psycopg.AsyncCursor[TupleRow]:
        async with self._turn:
            return await (await self._connected()).execute(SQL[name], values)

    async def _rows(self, name: str, **values: object) -> Sequence[TupleRow]:
        return await (await self._run(name, **values)).fetchall()

    async def _connected(self) -> psycopg.AsyncConnection[TupleRow]:
        if self._connection is None or self._connection.closed:
            self._leads = False
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, connect_timeout=_CONNECT_S
            )
        return self._connection

    async def beat(self, heartbeat: Heartbeat, figures: Mapping[str, object]) -> None:
        """Say that this process lives."""
        async with self._turn:
            await heartbeat.beat(await self._connected(), figures)

    async def leads(self) -> bool:
        """Whether this forwarder is the one at work."""
        if not self._leads:
            self._leads = bool((await self._rows("lead", lock=LOCK))[0][0])
        return self._leads

    async def keep_up(self, *, now_us: int) -> None:
        """End what is over, and give up what waits too long or too much."""
        await self._run("expire", at=when(now_us))
        await self._run("sweep")
        for row in await self.outgoing():
            if row.waiting:
                await self._run("trim", **bounds(row.id, now_us=now_us))

    # ------------------------------------------------------------ outgoing
    async def outgoing(self) -> list[Outgoing]:
        """Subscriptions of others that stand."""
        return [
            Outgoing(id=row[0], title=row[1], address=row[2], interval_s=row[3], device=row[4], waiting=row[5])
            for row in await self._rows("outgoing")
        ]

    async def oldest(self, subscription: str, *, entries_max: int, records_max: int) -> list[Entry]:
        """What waits longest, as much as one notification holds (at least one entry)."""
        found: list[Entry] = []
        records = 0
        for row in await self._rows("oldest", subscription=subscription, limit=entries_max):
            records += row[2]
            if found and records > records_max:
                break
            found.append(Entry(id=row[0], body=bytes(row[1])))
        return found

    async def names(self) -> Names:
        """What checkpoints are called, read again when the network has changed."""
        version = (await self._rows("network_version"))[0][0]
        if self._names is None or version != self._network:
            rows = await self._rows("checkpoints")
            self._names = Names(server_id=self._server_id, checkpoints={row[0]: (row[1], row[2]) for row in rows})
            self._network = version
        return self._names

    async def taken(self, subscription: str, ids: list[int], at: datetime) -> None:
        """The receiver has them."""
        await self._run("taken", subscription=subscription, ids=ids, at=at)

    async def given_up(self, subscription: str, ids: list[int], error: str) -> None:
        """The receiver will never take them."""
        await self._run("given_up", subscription=subscription, ids=ids, error=error[:500])

    async def troubled(self, subscription: str, error: str) -> None:
        """Why it does not go on."""
        await self._run("troubled", subscription=subscription, error=error[:500])

    # ------------------------------------------------------------ incoming
    async def partners(self) -> list[PartnerRow]:
        """Platforms with a door of their own; one whose link is wrong is left out, as the doors leave it out."""
        found = []
        for row in await self._rows("partners"):
            try:
                address = read_link(row[2]).address
            except LinkWrong:
                continue
            if address:
                found.append(PartnerRow(id=row[0], code=row[1], address=address, secret=bytes(row[3])))
        return found

    async def incoming(self) -> list[Incoming]:
        """Our subscriptions elsewhere that stand, or whose end the other side does not know."""
        return [
            Incoming(
                subscription=Subscription(
                    id=row[0], title=row[1], resource=row[2], checkpoints=(), address=row[3], interval_s=row[4],
                    begins_at=row[5], ends_at=row[6],
                ),
                status=row[7], told=row[8], began=row[9], device=row[10],
            )
            for row in await self._rows("incoming")
        ]  # fmt: skip

    async def changed_at(self, subscription: str) -> datetime:
        """Which change of a subscription is about to be told."""
        found: datetime = (await self._rows("changed_at", subscription=subscription))[0][0]
        return found

    async def told(self, subscription: str, changed_at: datetime, at: datetime) -> None:
        """The other side knows of this change."""
        await self._run("told", subscription=subscription, changed_at=changed_at, at=at)
