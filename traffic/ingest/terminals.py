"""The door for terminals of vehicles (JT/T 808 over TCP): ten thousand connections of one process, and their bounds."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import psycopg
import redis.asyncio
import structlog

from traffic.clock import monotonic_s
from traffic.errors import SettingsError
from traffic.ingest.coalesce import Coalescer
from traffic.ingest.figures import Figures
from traffic.ingest.jt808_bodies import Items, read_items
from traffic.ingest.terminal_book import Heard, TerminalBook
from traffic.ingest.terminal_connection import Bounds, Connection
from traffic.ingest.terminal_desk import PositionDesk
from traffic.ingest.terminal_words import Words
from traffic.settings import Settings
from traffic.store import us_of

SWEEP_S = 1.0
NOTED_EVERY_S = 30.0  # so often the database is told that a terminal was heard
NOTED_AT_ONCE = 5_000
LAST_NOTES_S = 3.0
BACKLOG = 1024

log = structlog.get_logger(__name__)


def listen(settings: Settings) -> socket.socket:
    """The listening socket; raises SettingsError when the address can't be had."""
    try:
        return socket.create_server((settings.host, settings.terminal_port), backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.host}:{settings.terminal_port}"
        raise SettingsError(
            f"the door for terminals cannot listen on {where}: {error.strerror} (TRAFFIC_HOST, TRAFFIC_TERMINAL_PORT)"
        ) from error


class TerminalDoor:
    """All terminals of one doors process; `held`: terminal -> the connection that logged in last."""

    def __init__(
        self, book: TerminalBook, coalescer: Coalescer, figures: Figures, client: redis.asyncio.Redis,
        bounds: Bounds | None = None,
    ) -> None:  # fmt: skip
        self.book = book
        self.bounds = bounds or Bounds()
        self.held: dict[int, Connection] = {}
        self.desk = PositionDesk(coalescer, figures, book.clock)
        self.words = Words(book, client, self.held, self._superseded)
        self._figures = figures
        self._connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}  # that have not logged in, oldest first
        self._of_peer: Counter[str] = Counter()  # of them
        self._left: dict[int, Heard] = {}
        self._gone = asyncio.Event()  # nobody is connected
        self._gone.set()

    @contextlib.asynccontextmanager
    async def open(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve while inside. At the end what was received is on the bus and answered."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=listener, backlog=BACKLOG)
        log.info("the door for terminals is open", address="{}:{}".format(*listener.getsockname()[:2]))
        works = (self.book.keep(self._reread), self.desk.run(), self.words.run(), self.words.listen(), self._sweep())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.hear_no_more()
            await self.desk.finish()
            await _end(*tasks[1:])
            await self._close_all()
            with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
                async with asyncio.timeout(LAST_NOTES_S):
                    await self._note()
            await _end(tasks[0])
            log.info("the door for terminals is closed")

    async def _close_all(self) -> None:
        for connection in list(self._connections):
            connection.close("the door closes")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_NOTES_S):
                await self._gone.wait()
        for connection in list(self._connections):  # they do not read their last answers
            connection.abort()
        await asyncio.sleep(0)

    # ------------------------------------------------------------ connections
    def arrived(self, connection: Connection) -> bool:
        """Whether there is room for one more; where all is full, the stranger who waits longest gives way."""
        if self._of_peer[connection.peer] >= self.bounds.strangers_per_peer:
            return False
        if len(self._connections) >= self.bounds.connections:
            oldest = next(iter(self._strangers), None)
            if oldest is None:
                return False
            oldest.close("others want to log in")
        self._connections.add(connection)
        self._gone.clear()
        self._strangers[connection] = None
        self._of_peer[connection.peer] += 1
        return True

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()
        self._no_stranger(connection)
        terminal = connection.terminal
        if terminal is not None and self.held.get(terminal.id) is connection:
            del self.held[terminal.id]
            self._left[terminal.id] = self._heard(connection, held=False, since=self.book.clock.now())

    def logged_in(self, connection: Connection) -> None:
        """The newest connection of a terminal is the one that counts."""
        self._no_stranger(connection)
        terminal = connection.terminal
        assert terminal is not None
        before = self.held.get(terminal.id)
        self.held[terminal.id] = connection
        if before is not None and before is not connection:
            before.close("the terminal came again")
        self.words.logged_in(terminal.id, us_of(connection.since))

    def _no_stranger(self, connection: Connection) -> None:
        if connection in self._strangers:
            del self._strangers[connection]
            self._of_peer[connection.peer] -= 1
            if not self._of_peer[connection.peer]:
                del self._of_peer[connection.peer]

    def _superseded(self, terminal_id: int, at_us: int) -> None:
        """The terminal logged in with another process; a word that is older than our own log-in says nothing."""
        connection = self.held.get(terminal_id)
        if connection is not None and at_us > us_of(connection.since):
            connection.close("the terminal came again elsewhere")

    def _reread(self) -> None:
        """Terminals were changed: who was shut out, or is another one now, has to leave."""
        known = self.book.by_phone
        for connection in list(self.held.values()):
            was = connection.terminal
            now = known.get(was.phone) if was else None
            if was is None or now is None or not now.enabled or now.id != was.id:
                connection.close("the terminal is no longer entered")
            else:
                connection.terminal = now

    # ------------------------------------------------------------ each second
    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._end_silent()
            self.desk.alive(self._counts())
            try:
                await self._note()
            except (psycopg.Error, OSError) as error:
                log.warning("the database cannot be told of terminals", why=str(error))

    def _end_silent(self) -> None:
        now_s = monotonic_s()
        for connection in list(self._strangers):  # oldest first
            if now_s - connection.began_s < self.bounds.login_s:
                break
            connection.abort()
        silent = [held for held in self.held.values() if now_s - held.heard_s > self.bounds.idle_s]
        for connection in silent:
            connection.abort()

    def _counts(self) -> dict[int, int]:
        self._figures.terminals(connections=len(self._connections), logged_in=len(self.held))
        return Counter(connection.terminal.device for connection in self.held.values() if connection.terminal)

    async def _note(self) -> None:
        """Write who came, left, and was heard; at most NOTED_AT_ONCE at a time."""
        now_s, left = monotonic_s(), self._left
        due = [
            connection
            for connection in self.held.values()
            if not connection.noted_s
            or (connection.heard_s > connection.noted_s and now_s - connection.noted_s > NOTED_EVERY_S)
        ][:NOTED_AT_ONCE]
        rows = {connection.terminal.id: self._heard(connection) for connection in due if connection.terminal}
        rows = {**{number: heard for number, heard in left.items() if number not in self.held}, **rows}
        self._left = {}
        try:
            await self.book.note(rows.values())
        except (psycopg.Error, OSError):
            self._left = {**left, **self._left}
            raise
        for connection in due:
            connection.noted_s = now_s

    def _heard(self, connection: Connection, *, held: bool = True, since: datetime | None = None) -> Heard:
        assert connection.terminal is not None
        items = read_items(connection.last_position) if connection.last_position else Items()
        now = self.book.clock.now()
        return Heard(
            terminal_id=connection.terminal.id, held=held, peer=connection.peer, protocol=connection.version,
            since=since or connection.since, seen_at=now - timedelta(seconds=monotonic_s() - connection.heard_s),
            mileage_km=items.mileage_km, fuel_l=items.fuel_l,
        )  # fmt: skip


async def _end(*tasks: asyncio.Task) -> None:
    """Cancel until they have ended: the drivers of PostgreSQL and Redis can lose a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1.0)
