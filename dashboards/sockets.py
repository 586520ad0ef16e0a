"""The live view's sockets: handshake, tickets, messages, and one write for each client and tick."""

import asyncio
import http
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

import psycopg
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from dashboards import replay
from dashboards.connection import MESSAGES_PER_S, Bucket, Connection
from dashboards.feed_reader import FeedReader
from dashboards.hub import Hub, Screen
from dashboards.metrics import Metrics
from dashboards.origins import origin_allowed
from dashboards.protocol import (
    CLOSE_GOING,
    CLOSE_OVERFLOW,
    CLOSE_PROTOCOL,
    CLOSE_SESSION,
    CLOSE_TICKET,
    MESSAGE_BYTES_MAX,
    Ack,
    ErrorFrame,
    Greeting,
    Hello,
    Look,
    MessageWrong,
    PingFrame,
    Pong,
    Resume,
    Subscribe,
    UnitName,
    User,
    encode,
    prepared,
    read_message,
)
from dashboards.reach import Reach
from dashboards.tiles import ViewportWrong, tiles_of
from dispatch import people
from dispatch.access import Action, Actor, may
from traffic.clock import monotonic_s
from traffic.feed import Cursor
from traffic.limits import SOCKET_BUFFER_BYTES_MAX, SOCKET_TICK_MS
from traffic.settings import Settings

PATH = "/view"
CLOSE_CODES = frozenset(
    (1000, 1002, 1007, 1009, 1011, CLOSE_GOING, CLOSE_OVERFLOW, CLOSE_PROTOCOL, CLOSE_TICKET, CLOSE_SESSION)
)
HELLO_S = 5.0
CLIENTS_MAX = 6_000
VIEWS_OF_PERSON_MAX = 16  # open at once: one person cannot take all places
UNGREETED_MAX = 256  # connections that have not said who they are
PING_S = 10.0
KEEPALIVE_S = 20.0  # pings of the protocol itself: a dead peer is noticed
SLOW_BYTES = 128 * 1024  # unsent beyond it: roads and figures wait until the client has taken what there is
CLOSE_S = 2.0
REJOIN_S = 1.0

log = structlog.get_logger(__name__)


class Client:
    """One socket of one person."""

    def __init__(self, connection: Connection, session: bytes, actor: Actor) -> None:
        self.connection = connection
        self.session = session
        self.actor = actor
        self.screen: Screen | None = None
        self.joining: asyncio.Task[None] | None = None
        self.bucket = Bucket()
        self.begun_bytes = 0  # the write that began what is unsent now: a province's picture alone is no backlog


class LiveView:
    """All sockets of this process."""

    def __init__(self, settings: Settings, reach: Reach, reader: FeedReader, metrics: Metrics) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._reach = reach
        self._reader = reader
        self._metrics = metrics
        self._dirty = asyncio.Event()
        self._joined: dict[tuple[int, ...], tuple[list[bytes], bytes]] = {}
        self._pings: dict[str, bytes] = {}
        self._stale: Callable[[], bytes | None] = lambda: None
        self.clients: set[Client] = set()
        self._ungreeted = 0
        self._sent_bytes = 0  # not yet counted

    def told(self) -> None:
        """The hub changed: the next tick comes soon."""
        self._dirty.set()

    def banner(self, stale: Callable[[], bytes | None]) -> None:
        """Where a new screen learns which parts stand still (None: all is well)."""
        self._stale = stale

    # ------------------------------------------------------------ serving
    async def listen(self, listener: socket.socket, *, keepalive_s: float | None = KEEPALIVE_S) -> Server:
        """Accept sockets on this listener; the caller closes the server."""
        return await serve(
            self._handle,
            sock=listener,
            process_request=self._admit,
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=8,
            open_timeout=HELLO_S,
            ping_interval=keepalive_s,
            ping_timeout=keepalive_s,
            close_timeout=CLOSE_S,
            server_header=None,
        )

    def _admit(self, raw: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] != PATH:
            return raw.respond(http.HTTPStatus.NOT_FOUND, "the live view is at /view\n")
        origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
        if not origin_allowed(origin, host, self._settings):
            self._metrics.closed("origin")
            return raw.respond(http.HTTPStatus.FORBIDDEN, "this origin may not open the live view\n")
        if len(self.clients) >= CLIENTS_MAX or self._ungreeted >= UNGREETED_MAX:
            return raw.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many live views here\n")
        return None

    async def _handle(self, raw: ServerConnection) -> None:
        connection = Connection(raw)
        client = None
        try:
            self._ungreeted += 1
            try:
                client = await self._greet(raw, connection)
            finally:
                self._ungreeted -= 1
            if client is not None:
                self.clients.add(client)
                await self._converse(raw, client)
        except ConnectionClosed:
            pass
        finally:
            if client is not None:
                self.clients.discard(client)
                if client.joining is not None:
                    client.joining.cancel()
            await connection.closed()
            self._metrics.closed(_close_label(raw))

    async def _greet(self, raw: ServerConnection, connection: Connection) -> Client | None:
        """Ticket in, hello out; None when there will be no conversation."""
        try:
            async with asyncio.timeout(HELLO_S):
                message = read_message(await raw.recv())
        except TimeoutError:
            connection.fail(CLOSE_PROTOCOL, "no_hello", f"the first message did not come within {HELLO_S:g} s")
            return None
        except MessageWrong as error:
            connection.fail(CLOSE_PROTOCOL, error.code, str(error))
            return None
        if not isinstance(message, Hello):
            connection.fail(CLOSE_PROTOCOL, "no_hello", "the first message must be hello with a ticket")
            return None
        try:
            return await self._redeem(connection, message.ticket)
        except (psycopg.Error, TimeoutError):
            connection.fail(1013, "unavailable", "the database cannot be reached: come back in a moment")
            return None

    async def _redeem(self, connection: Connection, ticket: str) -> Client | None:
        async with self._reach.open() as database:
            found = await people.use_ticket(database, ticket)
            unit = await people.find_unit(database, found[1].unit) if found else None
        hub = self._reader.hub
        if found is None or unit is None or not may(found[1], Action.WATCH_LIVE):
            connection.fail(CLOSE_TICKET, "ticket", "the ticket is not good: used, too old, or none")
            return None
        if hub is None:
            connection.fail(1013, "starting", "the live view is starting: come back in a moment")
            return None
        session, actor = found
        if sum(client.actor.person_id == actor.person_id for client in self.clients) >= VIEWS_OF_PERSON_MAX:
            connection.fail(CLOSE_OVERFLOW, "too_many_views", f"at most {VIEWS_OF_PERSON_MAX} live views of one person")
            return None
        user = User(
            login=actor.login, name=actor.name, role=str(actor.role), clearance=actor.clearance,
            unit=UnitName(id=unit[0], name=unit[1], name_en=unit[2], level=unit[3]),
        )  # fmt: skip
        greeting = Greeting(
            epoch=hub.cursor.epoch, user=user, tick_ms=SOCKET_TICK_MS,
            purpose=self._settings.purpose, rate=self._settings.clock_rate,
        )  # fmt: skip
        connection.send_prepared(prepared(encode(greeting)))
        stale = self._stale()
        if stale is not None:
            connection.send_prepared(stale)
        return Client(connection, session, actor)

    # ------------------------------------------------------------ what a client says
    async def _converse(self, raw: ServerConnection, client: Client) -> None:
        async for data in raw:
            if not client.bucket.take():
                client.connection.fail(CLOSE_PROTOCOL, "too_many", f"at most {MESSAGES_PER_S:g} messages a second")
                return
            try:
                self._hear(client, data)
            except MessageWrong as error:
                if error.fatal:
                    client.connection.fail(CLOSE_PROTOCOL, error.code, str(error))
                    return
                client.connection.send_prepared(prepared(encode(ErrorFrame(code=error.code, message=str(error)))))

    def _hear(self, client: Client, data: str | bytes) -> None:
        match read_message(data):
            case Subscribe(topics=topics, viewport=viewport):
                self._begin(client, topics, viewport, None)
            case Resume(topics=topics, viewport=viewport, since=since):
                self._begin(client, topics, viewport, since)
            case Look(viewport=viewport):
                tiles = _tiles(viewport)
                if client.screen is not None and self._reader.hub is not None:
                    self._reader.hub.look(client.screen, tiles)
                    self.told()
            case Ack(ids=ids):
                self._metrics.acknowledged(len(ids))
            case Pong():
                pass
            case Hello():
                raise MessageWrong("hello_again", "hello was said already")

    def _begin(
        self, client: Client, topics: Sequence[str], viewport: Sequence[float] | None, since: str | None
    ) -> None:
        hub = self._reader.hub
        assert hub is not None  # a client was greeted only when there was one
        screen = hub.screen(client.actor.viewer, topics, _tiles(viewport))
        if client.joining is not None:
            client.joining.cancel()
            client.joining = None
        client.screen = screen
        if "alerts" in screen.topics:
            client.joining = asyncio.create_task(self._join(client, screen, since))
        self.told()

    async def _join(self, client: Client, screen: Screen, since: str | None) -> None:
        """Bring the alerts that the database knows; it is asked again until it answers."""
        place: str | Cursor | None = since
        while client.connection.is_open:
            try:
                async with aclosing(replay.alerts(self._reach, self._reader, screen, place)) as frames:
                    async for frame in frames:
                        if not client.connection.is_open:
                            return
                        place = screen.delivered
                        self._send(client, frame)
                        await self._drained(client)
                break
            except (psycopg.Error, TimeoutError) as error:
                log.warning("a screen waits for its alerts", login=client.actor.login, why=str(error))
                await asyncio.sleep(REJOIN_S)
        self.told()

    async def _drained(self, client: Client) -> None:
        while client.connection.is_open and client.connection.unsent_bytes > SLOW_BYTES:  # noqa: ASYNC110 - a buffer
            await asyncio.sleep(SOCKET_TICK_MS / 1000)

    # ------------------------------------------------------------ what clients are told
    async def pace(self) -> None:
        """A tick when something changed, at most one each SOCKET_TICK_MS, and one each second because time passes."""
        pinged_s = monotonic_s()
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self._dirty.wait()
            except TimeoutError:
                pass
            self._dirty.clear()
            ping = monotonic_s() - pinged_s >= PING_S
            if ping:
                pinged_s = monotonic_s()
            if self._reader.hub is not None:
                self._tick(self._reader.hub, ping=ping)
            await asyncio.sleep(SOCKET_TICK_MS / 1000)

    def _tick(self, hub: Hub, *, ping: bool) -> None:
        hub.tick(self._clock.now_us())
        self._joined.clear()
        self._pings.clear()
        for client in list(self.clients):
            if not client.connection.is_open:
                continue
            frames = self._frames(hub, client)
            if ping:
                frames.append(self._ping(hub, client))
            if frames:
                self._send(client, frames[0] if len(frames) == 1 else self._together(frames))
        self.flush_metrics()

    def _frames(self, hub: Hub, client: Client) -> list[bytes]:
        screen = client.screen
        if screen is None:
            return []
        if hub.waits(screen):
            if client.joining is None or client.joining.done():
                since = str(screen.delivered) if screen.delivered is not None else None
                client.joining = asyncio.create_task(self._join(client, screen, since))
            return []
        return hub.pump(screen, hold=client.connection.unsent_bytes > SLOW_BYTES)

    def _ping(self, hub: Hub, client: Client) -> bytes:
        delivered = client.screen.delivered if client.screen is not None else None
        seq = "" if delivered is None else str(delivered)
        if seq not in self._pings:
            self._pings[seq] = prepared(encode(PingFrame(at=hub.now_us, seq=seq)))
        return self._pings[seq]

    def _together(self, frames: list[bytes]) -> bytes:
        """The frames of one tick as one piece of bytes, put together once for all who get the same."""
        key = tuple(map(id, frames))
        if key not in self._joined:
            self._joined[key] = frames, b"".join(frames)  # the frames are kept, so that no other takes their identity
        return self._joined[key][1]

    def _send(self, client: Client, data: bytes) -> None:
        connection = client.connection
        unsent = connection.unsent_bytes
        if not unsent:
            client.begun_bytes = len(data)
        elif unsent + len(data) > SOCKET_BUFFER_BYTES_MAX + client.begun_bytes:
            connection.close(CLOSE_OVERFLOW, "overflow")  # what is not told now is replayed when the client comes back
            return
        connection.send_prepared(data)
        self._sent_bytes += len(data)

    def send_all(self, clients: Iterable[Client], data: bytes) -> None:
        """The same ready frames to many."""
        for client in clients:
            if client.connection.is_open:
                self._send(client, data)

    def tell_all(self, frame: bytes) -> None:
        """Something that concerns every screen."""
        self.send_all(list(self.clients), frame)

    def flush_metrics(self) -> None:
        """Count what was sent: once for many writes, since a counter's lock costs as much as a write."""
        self._metrics.sent(self._sent_bytes)
        self._sent_bytes = 0

    async def check_sessions(self) -> None:
        """One look at all sessions: who logged out, was disabled or is someone else now, is shown the door."""
        clients = [client for client in self.clients if client.connection.is_open]
        if not clients:
            return
        async with self._reach.open() as connection:
            good = await people.live_sessions(connection, list({client.session for client in clients}))
        for client in clients:
            if good.get(client.session) != client.actor:
                client.connection.fail(CLOSE_SESSION, "session", "the session ended, or its rights changed")

    def close_session(self, session: bytes) -> None:
        """A log-out in this process: its sockets go at once."""
        for client in list(self.clients):
            if client.session == session:
                client.connection.fail(CLOSE_SESSION, "session", "the session has ended")

    def close_all(self) -> None:
        """The process goes: screens come back elsewhere with their cursor."""
        for client in list(self.clients):
            client.connection.close(CLOSE_GOING, "going")


def _close_label(raw: ServerConnection) -> str:
    """For the count of ends: only codes that we give, since a client may choose among thousands."""
    sent = raw.protocol.close_sent
    if sent is None:
        return "gone"
    return str(sent.code) if sent.code in CLOSE_CODES else "other"


def _tiles(viewport: Sequence[float] | None) -> frozenset[tuple[int, int]] | None:
    try:
        return tiles_of(viewport)
    except ViewportWrong as error:
        raise MessageWrong("viewport", str(error)) from error
