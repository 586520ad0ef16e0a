"""The server under bench fanout, as its own process: our live view over a hub without services, on real sockets.

The same sockets take what `websockets.broadcast` sends, so that both are measured on one process in one run. A line
with a command comes in, a line with what was measured goes out.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import uvloop
from websockets.asyncio.server import broadcast

from dashboards.bench.fanout_words import Answer, Begin, Command, Flood, Live, Method, raise_files_max
from dashboards.facts import Facts, LinkPlace, Start
from dashboards.hub import Hub
from dashboards.metrics import Metrics
from dashboards.protocol import Greeting, UnitName, User, encode, prepared
from dashboards.sockets import Client, LiveView
from dispatch.access import Actor, Role
from traffic.audience import Audience, Viewer
from traffic.clock import Clock, monotonic_s
from traffic.feed import Cursor, FeedEntry
from traffic.limits import SOCKET_TICK_MS
from traffic.settings import load_settings

UNITS = 10  # views: each client belongs to one of these, and sees a tenth of the links besides the common one
LINKS = 750
UNSENT_MAX = 512 * 1024  # of the slowest client while flooding: the measured rate is one that clients take
CATCH_UP_S_MAX = 60.0
EPOCH = "00000000-0000-4000-8000-00000000beef"
SEND_BUFFER_BYTES = 16 * 1024  # of each socket: what a slow client does not take is soon seen here


class Reader:
    """A feed reader without a database."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub


class OpenView(LiveView):
    """The live view, where the ticket is the number of a unit and alerts begin with the next one."""

    async def _redeem(self, connection, ticket: str) -> Client | None:  # type: ignore[no-untyped-def]
        unit = int(ticket)
        actor = Actor(person_id=0, login="bench", name="bench", unit=unit, role=Role.COMMANDER, clearance=0)
        user = User(login="bench", name="bench", role="commander", clearance=0,
                    unit=UnitName(id=unit, name="", name_en="", level=4))  # fmt: skip
        connection.send_prepared(prepared(encode(Greeting(epoch=EPOCH, user=user, tick_ms=SOCKET_TICK_MS))))
        return Client(connection, b"", actor)

    async def _join(self, client: Client, screen, since) -> None:  # type: ignore[no-untyped-def]
        hub = self._reader.hub
        assert hub is not None
        hub.join(screen, hub.log.end, hub.cursor)
        self.told()


def make_hub(clock: Clock) -> Hub:
    """Links of ten units; the first link is seen by all."""
    everyone = Audience(units=frozenset(range(1, UNITS + 1)))
    places = [
        LinkPlace(number, everyone if number == 1 else Audience(units=frozenset({1 + number % UNITS})), ((250, 87),))
        for number in range(1, LINKS + 1)
    ]
    facts = Facts(gates=(), covered={}, links=tuple(places), above={unit: frozenset({unit}) for unit in range(1, 11)})
    start = Start(facts=facts, cursor=Cursor(epoch=EPOCH, places={0: 0}), flow=[], signs=[], findings=[])
    return Hub(start, clock.now_us(), wrap=prepared)


class Feed:
    """What a monitor and workers would write."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._clock = hub, clock
        self.seq = self.alerts = 0

    def links(self) -> FeedEntry:
        """A third of the links of each view changed, and the common one."""
        now_us = self._clock.now_us()
        changed = [1, *(n for n in range(2, LINKS + 1) if (n // UNITS + self.seq) % 3 == 0)]
        rows = [[n, 1 + (self.seq + n) % 5, 61.5, 900, 12.5, 60, 75, 0.85, now_us, 1, 1] for n in changed]
        return self._entry("roads", "links", {"at": now_us, "l": rows}, frozenset())

    def alert(self) -> FeedEntry:
        """An alert for everyone that says when it was written, and which one it is."""
        self.alerts += 1
        now_us = self._clock.now_us()
        card = {"id": f"{self.alerts}", "level": 2, "state": "active", "first_at": now_us, "facts": "x" * 500,
                "n": self.alerts, "t": now_us}  # fmt: skip
        return self._entry("alerts", "finding", card, frozenset(range(1, UNITS + 1)))

    def _entry(self, topic: str, kind: str, body: dict, units: frozenset[int]) -> FeedEntry:
        self.seq += 1
        return FeedEntry(
            partition=0, seq=self.seq, at=self._clock.now_us(), topic=topic, kind=kind, key="1",
            audience=Audience(units=units), body=msgspec.json.encode(body),
        )  # fmt: skip


@dataclass(slots=True)
class Bench:
    """What the commands work on."""

    live: OpenView
    hub: Hub
    feed: Feed
    clock: Clock
    began_bytes: int

    async def flood(self, command: Flood) -> Answer:
        """Send one frame again and again to all, as fast as they take it."""
        frame, text = self._frame()
        clients = [client for client in self.live.clients if client.connection.is_open]
        raws = [client.connection.raw for client in clients]
        many = frame * command.batch
        long_text = text * command.batch
        sends: dict[Method, Callable[[], None]] = {
            "ours": lambda: self.live.send_all(clients, frame),
            "ours, a tick in one write": lambda: self.live.send_all(clients, many),
            "broadcast": lambda: broadcast(raws, text),
            "broadcast, a tick in one message": lambda: broadcast(raws, long_text),
        }
        deltas = 1 if command.method in ("ours", "broadcast") else command.batch
        send, rounds = sends[command.method], 0
        began_s, spent_s = monotonic_s(), cpu_s()
        while monotonic_s() - began_s < command.seconds:
            send()
            rounds += 1
            await self._until(clients, UNSENT_MAX)
        await self._until(clients, 0)
        took_s = monotonic_s() - began_s
        told = rounds * deltas * len(clients)
        return Answer(
            per_s=told / took_s, cpu_us=1e6 * (cpu_s() - spent_s) / told, bytes_each=len(frame), clients=len(clients)
        )

    def _frame(self) -> tuple[bytes, str]:
        """A delta of links as the hub makes it: about a kilobyte."""
        screen = self.hub.screen(Viewer(unit=1), ("links",), None)
        self.hub.pump(screen)
        rows = [[n, 2, 61.5, 900, 12.5, 60, 75, 0.85, self.clock.now_us(), 1, 1] for n in range(10, 110, 10)]
        body = {"at": self.clock.now_us(), "l": rows}
        self.hub.fold([self.feed._entry("roads", "links", body, frozenset())], self.clock.now_us())
        [frame] = self.hub.pump(screen)
        text = frame[4:].decode() if frame[1] == 126 else frame[2:].decode()
        return frame, text

    async def _until(self, clients: list[Client], unsent_max: int) -> None:
        await asyncio.sleep(0)
        while max(client.connection.unsent_bytes for client in clients) > unsent_max:  # noqa: ASYNC110 - a buffer
            await asyncio.sleep(0.001)

    async def run_live(self, command: Live) -> Answer:
        """The whole way from a feed row: hub, tick, sockets. With every change some links and an alert come."""
        pace = asyncio.create_task(self.live.pace())
        began_s, spent_s, first = monotonic_s(), cpu_s(), self.feed.alerts
        rounds = 0
        while monotonic_s() - began_s < command.seconds:
            self.hub.fold([self.feed.links(), self.feed.alert()], self.clock.now_us())
            self.live.told()
            rounds += 1
            await asyncio.sleep(max(0.0, began_s + rounds * command.every_s - monotonic_s()))
        took_s = monotonic_s() - began_s
        spent = cpu_s() - spent_s
        await self._caught_up()  # the slow ones begin to read again
        pace.cancel()
        self.live.flush_metrics()
        return Answer(
            per_s=rounds * len(self.live.clients) / took_s, cpu_us=1e6 * spent / max(1, rounds),
            clients=len(self.live.clients), alerts=(first + 1, self.feed.alerts), busy=spent / took_s,
            last_observed_us=self.hub.links.cycle_us or 0,
        )  # fmt: skip

    async def _caught_up(self) -> None:
        until_s = monotonic_s() + CATCH_UP_S_MAX
        while not self._all_know_all() and monotonic_s() < until_s:  # noqa: ASYNC110 - buffers
            await asyncio.sleep(0.05)

    def _all_know_all(self) -> bool:
        """Whether every screen stands at the newest state, and nothing waits to be taken."""
        return all(
            not client.connection.unsent_bytes
            and client.screen is not None
            and client.screen.alerts_at == self.hub.log.end
            and all(standing.since == standing.topic.version for standing in client.screen.standings)
            for client in self.live.clients
        )

    def begin(self) -> Answer:
        """How many clients there are, and what memory each takes."""
        count = len(self.live.clients)
        return Answer(clients=count, bytes_each=round((rss_bytes() - self.began_bytes) / max(1, count)))


def rss_bytes() -> int:
    """Memory of this process that is in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def cpu_s() -> float:
    """CPU seconds of this process."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def serve(port: int) -> None:
    """Serve until standard input ends."""
    clock = Clock()
    hub = make_hub(clock)
    settings = load_settings()
    live = OpenView(settings, None, Reader(hub), Metrics())  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    server = await live.listen(listener, keepalive_s=None)
    bench = Bench(live, hub, Feed(hub, clock), clock, rss_bytes())
    handlers: dict[type, Callable[..., Awaitable[Answer]]] = {Flood: bench.flood, Live: bench.run_live}
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        command = msgspec.json.decode(line, type=Command)
        answer = bench.begin() if isinstance(command, Begin) else await handlers[type(command)](command)
        print(msgspec.json.encode(answer).decode(), flush=True)
    live.close_all()
    server.close()


if __name__ == "__main__":
    raise_files_max()
    uvloop.run(serve(int(sys.argv[1])))
