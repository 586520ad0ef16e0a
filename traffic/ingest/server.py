"""The doors' process: moves bytes between senders, codecs and the bus, and owns no rule."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Coroutine, Generator

import redis
import redis.asyncio
import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from traffic.errors import ServiceError, SettingsError
from traffic.health import Heartbeat, instance_name
from traffic.ingest.coalesce import Coalescer
from traffic.ingest.desk import Desk
from traffic.ingest.devices import POLL_S, Registry, Sessions
from traffic.ingest.figures import Figures
from traffic.ingest.platforms import Platforms
from traffic.ingest.platforms import listen as listen_for_platforms
from traffic.ingest.protocol import BoundedProtocol
from traffic.ingest.routes import build_app
from traffic.ingest.terminal_book import TerminalBook
from traffic.ingest.terminals import TerminalDoor
from traffic.ingest.terminals import listen as listen_for_terminals
from traffic.log import configure
from traffic.settings import Settings
from traffic.stream import BusWriter, connect_redis

CONNECTIONS_MAX = 1024
IDLE_S = 75  # longer than a device's keepalive of 60 s, so that it may keep its connection
GRACE_S = 20

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop accepting, finish what is in flight, and return."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a file for each terminal
    gc.freeze()  # what was imported stays: the collector need not walk over it again and again
    gc.set_threshold(50_000)  # a body of records makes thousands of tuples that live for milliseconds
    configure(settings.log_level, "doors")
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


def listen(settings: Settings) -> socket.socket:
    """The door's listening socket; raises SettingsError when the address can't be had."""
    try:
        return socket.create_server((settings.host, settings.door_port), backlog=1024)
    except OSError as error:
        where = f"{settings.host}:{settings.door_port}"
        raise SettingsError(
            f"the doors cannot listen on {where}: {error.strerror} (TRAFFIC_HOST, TRAFFIC_DOOR_PORT)"
        ) from error


async def serve(settings: Settings, stop: asyncio.Event, listener: socket.socket | None = None) -> None:
    """Serve until `stop` is set. It first waits for a catalogue and for a Redis that keeps what it takes."""
    if not settings.database_url or not settings.redis_url:
        raise SettingsError("the doors need TRAFFIC_DATABASE_URL and TRAFFIC_REDIS_URL")
    figures = Figures()
    client = connect_redis(settings.redis_url)
    registry = Registry(settings.database_url, settings.clock, Heartbeat("doors", instance_name()), figures)
    writer = BusWriter(client, partitions=settings.partitions, bytes_max=settings.bus_bytes_max)
    coalescer = Coalescer(writer)
    desk = Desk(settings, registry, Sessions(client), coalescer, figures)
    book = TerminalBook(settings.database_url, settings.clock, f"{instance_name()}:{settings.terminal_port}")
    terminals = TerminalDoor(book, coalescer, figures, client)
    app = build_app(desk, figures, client=client, server_id=settings.viid_server_id)
    loaded = asyncio.Event()
    keeping = asyncio.create_task(registry.keep(loaded))
    try:
        if await _either(_ready(client, loaded), stop, keeping):
            platforms = Platforms(desk, settings)
            async with terminals.open(listen_for_terminals(settings)), platforms.open(listen_for_platforms(settings)):
                await _serve(app, listener or listen(settings), stop, keeping)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.aclose()


async def _ready(client: redis.asyncio.Redis, loaded: asyncio.Event) -> None:
    while True:
        try:
            await verify_durable(client)
            break
        except redis.RedisError as error:
            log.warning("Redis cannot be reached; the door waits for it", why=str(error))
            await asyncio.sleep(POLL_S)
    await loaded.wait()


async def verify_durable(client: redis.asyncio.Redis) -> None:
    """Raise ServiceError unless Redis writes each command to disk before it answers."""
    try:
        found = await client.config_get("append*")
    except redis.ResponseError:
        log.warning("Redis does not tell its settings: see to it that appendonly is yes and appendfsync is always")
        return
    told = {_text(key): _text(value) for key, value in found.items()}
    for name, wanted in (("appendonly", "yes"), ("appendfsync", "always")):
        if told.get(name, wanted) != wanted:
            raise ServiceError(
                f"Redis has {name} {told[name]}, but it must be {wanted}: else an acknowledged record can be lost"
            )


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


async def _either(ready: Coroutine[None, None, None], stop: asyncio.Event, keeping: asyncio.Task) -> bool:
    """Wait until ready (True) or told to stop (False); an error of either is raised."""
    getting_ready = asyncio.create_task(ready)
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({getting_ready, stopping, keeping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return getting_ready in done and stopping not in done
    finally:
        for task in (getting_ready, stopping):
            task.cancel()


class _Server(uvicorn.Server):
    """Signals are the process's own matter: uvicorn would raise them again after a clean stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(app: FastAPI, listener: socket.socket, stop: asyncio.Event, keeping: asyncio.Task) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a registration is bound to the true peer
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    log.info("the doors are open", address="{}:{}".format(*listener.getsockname()[:2]))
    await asyncio.wait({serving, stopping, keeping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving
    log.info("the doors are closed")
    if keeping.done():
        keeping.result()  # a door that no longer learns who may send must not go on
