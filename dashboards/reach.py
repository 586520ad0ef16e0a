"""The API's hands in the database: a pool under its role, and transactions that carry one viewer's reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from traffic.audience import Viewer
from traffic.clock import Clock
from traffic.database import API, as_role, queries

SQL = queries("dashboards")
POOL_MAX = 8
POOL_WAIT_S = 5.0
POOL_WAITING_MAX = 256
STATEMENT_MS_MAX = 10_000
USE_S = 15.0  # for everything that one request does in one transaction


def with_options(url: str, options: str) -> str:
    """The connection string with further server options."""
    kept = psycopg.conninfo.conninfo_to_dict(url).get("options", "") or ""
    return make_conninfo(url, options=f"{kept} {options}".strip())


def scope_of(viewer: Viewer, at: datetime) -> dict[str, str]:
    """What the row-level policies know of a viewer, for the statement `scope`."""
    return {"unit": str(viewer.unit), "clearance": str(viewer.clearance), "at": at.isoformat()}


class Reach:
    """Opens transactions as the API's role. Without a viewer the row-level policies show nothing."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection] = AsyncConnectionPool(
            as_role(with_options(url, f"-c statement_timeout={STATEMENT_MS_MAX}"), API),
            kwargs={"autocommit": True, "connect_timeout": 5},
            min_size=1,
            max_size=POOL_MAX,
            max_waiting=POOL_WAITING_MAX,
            timeout=POOL_WAIT_S,
            check=AsyncConnectionPool.check_connection,  # after the database came back, dead ones are told by this
            open=False,
        )

    async def start(self) -> None:
        """Begin to connect, without waiting for it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Give all connections back."""
        await self._pool.close(timeout=3.0)

    @asynccontextmanager
    async def open(self, *, wait_s: float = POOL_WAIT_S) -> AsyncIterator[psycopg.AsyncConnection]:
        """A transaction of nobody in particular; raises psycopg.OperationalError or TimeoutError."""
        async with asyncio.timeout(USE_S), self._pool.connection(timeout=wait_s) as connection:
            async with connection.transaction():
                yield connection

    @asynccontextmanager
    async def as_viewer(self, viewer: Viewer, *, one_moment: bool = False) -> AsyncIterator[psycopg.AsyncConnection]:
        """A transaction that sees what the viewer may see; `one_moment`: all its reads show the same time."""
        async with self.open() as connection:
            if one_moment:
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            await connection.execute(SQL["scope"], scope_of(viewer, self._clock.now()))
            yield connection
