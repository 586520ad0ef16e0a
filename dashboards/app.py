"""Process `api`: HTTP, the web client and the live view in one event loop."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Generator
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from dashboards import shell
from dashboards.api import (
    alerts,
    area,
    conditions,
    devices,
    dry_runs,
    errors,
    events,
    fences,
    findings,
    links,
    lookups,
    pictures,
    places,
    platforms,
    quarantine,
    registry,
    registry_imports,
    rules,
    sensors,
    service,
    session,
    subscriptions,
    terminals,
    trends,
    units,
)
from dashboards.asyncapi import VERSION
from dashboards.deps import Deps
from dashboards.dry_runners import DryRunner
from dashboards.feed_reader import FeedReader
from dashboards.grounds import Grounds
from dashboards.metrics import Metrics
from dashboards.monitor import Monitor
from dashboards.protocol import prepared
from dashboards.reach import Reach
from dashboards.sockets import LiveView
from dispatch.people import Passwords
from traffic.errors import SettingsError
from traffic.ingest.protocol import BoundedProtocol
from traffic.settings import Settings
from traffic.stream import BusWriter, connect_redis

CONNECTIONS_MAX = 1024
GRACE_S = 5

log = structlog.get_logger(__name__)


def build_app(deps: Deps) -> FastAPI:
    """All HTTP addresses on one application."""
    app = FastAPI(
        title="Traffic command", version=VERSION, docs_url=None, redoc_url=None,
        description="People, roads, findings, refused records and the map's facts. The live view is at /asyncapi.json.",
    )  # fmt: skip
    app.state.deps = deps
    app.state.areas = area.Areas()
    app.state.gazetteer = places.Gazetteer()
    app.state.grounds = Grounds()
    app.state.dry_runner = DryRunner(deps.settings)
    errors.install(app)
    roads = (links, events, sensors, trends, places, conditions)
    standing = (registry, registry_imports, devices, terminals, platforms, subscriptions)
    told, ruled = (findings, alerts, pictures), (rules, dry_runs, fences)
    for module in (session, area, units, *roads, *told, lookups, quarantine, *ruled, *standing, service):
        app.include_router(module.router)
    app.add_route("/{path:path}", shell.web_client, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(shell.Bounds)
    app.add_middleware(shell.Headers, settings=deps.settings, metrics=deps.metrics)
    return app


@contextlib.asynccontextmanager
async def parts(settings: Settings) -> AsyncIterator[Deps]:
    """What the API is made of, started; all of it is stopped at the end."""
    if not settings.database_url or not settings.redis_url:
        raise SettingsError("the API needs TRAFFIC_DATABASE_URL and TRAFFIC_REDIS_URL")
    metrics = Metrics()
    reach = Reach(settings.database_url, settings.clock)
    client = connect_redis(settings.redis_url)
    reader = FeedReader(settings.database_url, settings.clock, prepared)
    live = LiveView(settings, reach, reader, metrics)
    reader.tell(live.told)
    monitor = Monitor(reach, client, live, reader, metrics, settings.clock)
    deps = Deps(
        settings=settings,
        reach=reach,
        redis=client,
        bus=BusWriter(client, partitions=settings.partitions, bytes_max=settings.bus_bytes_max),
        passwords=Passwords(),
        reader=reader,
        live=live,
        monitor=monitor,
        metrics=metrics,
    )
    await reach.start()
    try:
        yield deps
    finally:
        await reach.close()
        await client.aclose()


class _Server(uvicorn.Server):
    """Signals are the process's own matter: uvicorn would raise them again after a clean stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int, what: str) -> socket.socket:
    """A listening socket; raises SettingsError when the address can't be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(f"{what} cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error


async def serve(
    settings: Settings, stop: asyncio.Event, listeners: tuple[socket.socket, socket.socket] | None = None
) -> None:
    """Serve until `stop` is set. `listeners`: for HTTP and for the live view."""
    pages, sockets = listeners or (
        listen(settings.host, settings.port, "the API (TRAFFIC_HOST, TRAFFIC_PORT)"),
        listen(settings.host, settings.socket_port, "the live view (TRAFFIC_HOST, TRAFFIC_SOCKET_PORT)"),
    )
    async with parts(settings) as deps:
        app = build_app(deps)
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
        )
        server = _Server(config)
        live = await deps.live.listen(sockets)
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("http", server.serve(sockets=[pages])),
                ("feed", deps.reader.run()),
                ("wake", deps.reader.listen(deps.redis)),
                ("pace", deps.live.pace()),
                ("watch", deps.monitor.watch()),
                ("sessions", deps.monitor.watch_sessions()),
            )
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        log.info("the API serves", http=pages.getsockname()[1], live=sockets.getsockname()[1])
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        deps.live.close_all()
        live.close()
        server.should_exit = True
        stopping.cancel()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, stopping, live.wait_closed(), return_exceptions=True)
        await asyncio.to_thread(app.state.dry_runner.stop)
        for task in done - {stopping}:
            task.result()  # a part that ended by itself has failed: the process says so
    log.info("the API is closed")


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; sockets are told to come back elsewhere."""
    uvloop.run(_run(settings))
