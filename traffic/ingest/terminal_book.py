"""The terminals as the database has them: who may register, what doors heard of whom. Outlives the database."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg.rows import TupleRow

from traffic.clock import Clock, monotonic_s
from traffic.database import WRITER, as_role, queries
from traffic.health import BEAT_S
from traffic.ingest.jt808_bodies import Registration
from traffic.ingest.terminal_positions import Terminal
from traffic.plates import plate_key

SQL = queries("traffic.ingest", "terminals.sql")
RELOAD_S = 60.0  # codes change without a change of version
ALIVE_S = 90.0  # a terminal heard so recently by another process is not registered anew
_CONNECT_S = 5

log = structlog.get_logger(__name__)
Changed = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a door knows of one terminal; `held`: it is connected here."""

    terminal_id: int
    held: bool
    peer: str
    protocol: int
    since: datetime
    seen_at: datetime
    mileage_km: float | None = None
    fuel_l: float | None = None


class TerminalBook:
    """One for each doors process; the last ones read stay in use. What writes raises psycopg.Error, OSError."""

    def __init__(self, url: str, clock: Clock, door: str) -> None:
        self._url = url
        self.clock = clock
        self.door = door
        self._connection: psycopg.AsyncConnection | None = None
        self._opening = asyncio.Lock()
        self._version: int | None = None
        self._read_s = 0.0
        self.by_phone: dict[str, Terminal] = {}
        self.plates: frozenset[int] = frozenset()

    async def keep(self, changed: Changed = lambda: None) -> None:
        """Read again when something changed, until cancelled; `changed` is called after each reading."""
        try:
            while True:
                try:
                    if await self._look():
                        changed()
                except (psycopg.Error, OSError) as error:
                    log.warning("terminals cannot be read; the door goes on with what it knows", why=str(error))
                await asyncio.sleep(BEAT_S)
        finally:
            await self._close()

    async def _look(self) -> bool:
        version = (await self.run("version"))[0][0]
        if version == self._version and monotonic_s() - self._read_s < RELOAD_S:
            return False
        await self.run("senders", at=self.clock.now())
        self._take(await self._select(None))
        self._version, self._read_s = version, monotonic_s()
        return True

    async def _select(self, phone: str | None) -> list[Terminal]:
        return [
            Terminal(
                id=row[0], phone=row[1], plate_key=row[2], class_group=row[3], plate=row[4], plate_color=row[5],
                unit_id=row[6], device=row[7], number=row[8], code_hash=row[9] and bytes(row[9]), enabled=row[10],
            )
            for row in await self.run("terminals", phone=phone)
        ]  # fmt: skip

    def _take(self, terminals: Iterable[Terminal]) -> None:
        self.by_phone = {terminal.phone: terminal for terminal in terminals}
        self.plates = frozenset(terminal.plate_key for terminal in self.by_phone.values())

    def is_known(self, plate: str) -> bool:
        """Whether some terminal was entered for this vehicle."""
        return plate_key(plate) in self.plates

    # ------------------------------------------------------------ single terminals
    async def look_up(self, phone: str) -> Terminal | None:
        """The terminal as it is in the database now: another process may have registered it."""
        found = await self._select(phone)
        return self._remember(found[0]) if found else None

    async def register(self, terminal: Terminal, told: Registration, code_hash: bytes) -> bool:
        """Keep a new code; False when another process holds the terminal, or it is gone."""
        now = self.clock.now()
        found = await self.run(
            "register", id=terminal.id, code_hash=code_hash, maker=told.maker, model=told.model, number=told.number,
            at=now, door=self.door, alive_since=now - timedelta(seconds=ALIVE_S),
        )  # fmt: skip
        if found:
            await self.look_up(terminal.phone)
        return bool(found)

    async def unregister(self, terminal: Terminal) -> None:
        """Its code is no longer good."""
        await self.run("unregister", id=terminal.id)
        await self.look_up(terminal.phone)

    def _remember(self, terminal: Terminal) -> Terminal:
        self.by_phone[terminal.phone] = terminal
        return terminal

    async def note(self, heard: Iterable[Heard]) -> None:
        """Write what was heard of many terminals."""
        rows = list(heard)
        if rows:
            await self.run(
                "heard", door=self.door, ids=[row.terminal_id for row in rows], held=[row.held for row in rows],
                peers=[row.peer for row in rows], protocols=[row.protocol for row in rows],
                since=[row.since for row in rows], seen=[row.seen_at for row in rows],
                mileage=[row.mileage_km for row in rows], fuel=[row.fuel_l for row in rows],
            )  # fmt: skip

    # ------------------------------------------------------------ the connection
    async def run(self, name: str, /, **values: object) -> list[TupleRow]:
        """One statement by itself; its rows."""
        connection = await self._open()
        return await _rows(connection, name, values)

    async def _open(self) -> psycopg.AsyncConnection:
        async with self._opening:
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(
                    as_role(self._url, WRITER), autocommit=True, connect_timeout=_CONNECT_S
                )
            return self._connection

    async def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


async def _rows(connection: psycopg.AsyncConnection, name: str, values: Mapping[str, Any]) -> list[TupleRow]:
    cursor = await connection.execute(SQL[name], values)
    return await cursor.fetchall() if cursor.description else []
