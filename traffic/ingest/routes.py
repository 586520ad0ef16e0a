"""The doors' application: every door's addresses, health, figures and description."""

from typing import Any

import msgspec
import redis
import redis.asyncio
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from traffic.ingest.answers import Doorway
from traffic.ingest.desk import Desk
from traffic.ingest.figures import Figures
from traffic.ingest.import_routes import add_imports
from traffic.ingest.intake import Budget
from traffic.ingest.ministry_routes import add_ministry
from traffic.ingest.native_routes import add_native
from traffic.ingest.viid_routes import add_viid


def build_app(desk: Desk, figures: Figures, *, client: redis.asyncio.Redis, server_id: str) -> FastAPI:
    """All addresses of the doors on one application."""
    app = FastAPI(
        title="Traffic doors",
        description="Where sensors, platforms and people hand in what they saw.",
        redirect_slashes=False,
    )
    budget = Budget()
    doorway = Doorway(app, figures)
    add_native(doorway, desk, budget)
    add_imports(doorway, desk, client)
    add_ministry(doorway, desk, budget)
    add_viid(doorway, desk, budget, server_id)
    _add_health(app, desk, figures, budget, client)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with how a native sender shows who it is."""
    if not app.openapi_schema:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["sender"] = {"type": "http", "scheme": "bearer", "description": "the key of a native sender"}
        app.openapi_schema = found
    return app.openapi_schema


def _add_health(app: FastAPI, desk: Desk, figures: Figures, budget: Budget, client: redis.asyncio.Redis) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> Response:
        """The process can take records: it knows who may send, and Redis answers."""
        parts = {"catalogue": "ok" if desk.knows_senders else "not read yet", "redis": "ok"}
        try:
            await client.ping()
        except redis.RedisError as error:
            parts["redis"] = str(error) or type(error).__name__
        ready = all(state == "ok" for state in parts.values())
        content = msgspec.json.encode({"status": "ok" if ready else "not ready", **parts})
        return Response(content, 200 if ready else 503, media_type="application/json")

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures for Prometheus."""
        figures.bodies(budget.bodies)
        return Response(figures.page(), media_type="text/plain; version=0.0.4; charset=utf-8")
