"""For those who run the system: health, metrics, and the description of the live view."""

import asyncio
import hmac
from typing import Any

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dashboards.api.errors import NotFound
from dashboards.asyncapi import describe
from dashboards.auth import DepsOf
from dashboards.deps import Deps
from dashboards.monitor import ANSWER_S
from dashboards.origins import is_loopback, socket_url
from dashboards.reach import SQL

router = APIRouter(tags=["service"])
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(deps: DepsOf) -> JSONResponse:
    """The process can serve: the database answers with our schema, Redis answers, the hub has read the feed."""
    database, bus = await asyncio.gather(_database(deps), deps.monitor.bus_answers())
    parts = {
        "database": database,
        "bus": "ok" if bus else "does not answer",
        "feed": "ok" if deps.reader.hub is not None else "not read yet",
    }
    ready = all(state == "ok" for state in parts.values())
    return JSONResponse({"status": "ok" if ready else "not ready", "parts": parts}, 200 if ready else 503)


async def _database(deps: Deps) -> str:
    try:
        async with deps.reach.open(wait_s=ANSWER_S) as connection:
            await connection.execute(SQL["network_version"])
    except psycopg.errors.UndefinedTable:
        return "not migrated"
    except (psycopg.Error, TimeoutError):
        return "does not answer"  # no more: whoever asks need not be logged in
    return "ok"


def _may_scrape(request: Request, deps: Deps) -> bool:
    """The figures count covert findings too: they are for the holder of the key, else for this machine alone."""
    if deps.settings.metrics_key is not None:
        wanted = f"Bearer {deps.settings.metrics_key}".encode()
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted)
    peer = request.client.host if request.client else "localhost"
    return is_loopback(peer) and not any(name in request.headers for name in FORWARDED)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, deps: DepsOf) -> Response:
    """Figures for Prometheus; with TRAFFIC_METRICS_KEY from anywhere."""
    if not _may_scrape(request, deps):
        raise NotFound("there is nothing at this address")
    return Response(await deps.monitor.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/asyncapi.json")
async def asyncapi(request: Request, deps: DepsOf) -> dict[str, Any]:
    """The live view's protocol as AsyncAPI 3.0."""
    return describe(socket_url(None, request.headers.get("host", ""), deps.settings))
