"""The doors' HTTP addresses: parse, call the desk, shape the answer."""

from collections.abc import Awaitable, Callable

import msgspec
import redis
import redis.asyncio
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from traffic.clock import monotonic_s
from traffic.errors import ServiceError, TrafficError
from traffic.ingest import gat1400, native
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.desk import Desk, Outcome, Unauthorized, peer_of
from traffic.ingest.figures import Figures
from traffic.ingest.intake import Budget, read_body
from traffic.limits import RETRY_AFTER_S

NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
SYSTEM_BYTES_MAX = 64 * 1024  # of a body that is read before its sender is known
Handler = Callable[[Request], Awaitable[Response]]


def build_app(desk: Desk, figures: Figures, *, client: redis.asyncio.Redis, server_id: str) -> FastAPI:
    """All addresses of the doors on one application."""
    app = FastAPI(
        title="Traffic doors", description="Where sensors and platforms hand in passages.", redirect_slashes=False
    )
    budget = Budget()
    viid = _Viid(desk, budget, server_id)

    def add(path: str, methods: list[str], door: str, handler: Handler, refuse: "Refuse") -> None:
        app.add_api_route(path, _answered(handler, refuse, door, figures), methods=methods, name=path)

    add("/api/passages", ["POST"], "native", _native(desk, budget), _refuse_native)
    add("/VIID/System/Register", ["POST"], "gat1400", viid.register, viid.refuse)
    add("/VIID/System/UnRegister", ["POST"], "gat1400", viid.unregister, viid.refuse)
    add("/VIID/System/Keepalive", ["POST"], "gat1400", viid.keepalive, viid.refuse)
    add("/VIID/System/Time", ["GET"], "gat1400", viid.time, viid.refuse)
    add("/VIID/MotorVehicles", ["POST"], "gat1400", viid.motor_vehicles, viid.refuse)
    add("/VIID/{rest:path}", ["GET", "POST", "PUT", "DELETE"], "gat1400", viid.unknown, viid.refuse)
    _add_health(app, desk, figures, budget, client)
    return app


Refuse = Callable[[Request, TrafficError], Response]


def _answered(handler: Handler, refuse: Refuse, door: str, figures: Figures) -> Handler:
    async def answer(request: Request) -> Response:
        began_s = monotonic_s()
        try:
            response = await handler(request)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody is there to read it; nothing was taken
        except TrafficError as error:
            response = refuse(request, error)
        figures.request(door, response.status_code, monotonic_s() - began_s)
        return response

    return answer


def _status_of(error: TrafficError) -> int:
    if isinstance(error, BodyRefused | Unauthorized):
        return error.status
    return 503 if isinstance(error, ServiceError) else 500


def _headers(status: int) -> dict[str, str]:
    """What the sender must know beside the body; what is left of a body that is too long or too slow is not awaited."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return headers | ({"Connection": "close"} if status in (408, 413) else {})


# ---------------------------------------------------------------- native
def _native(desk: Desk, budget: Budget) -> Handler:
    async def take(request: Request) -> Response:
        device = desk.native_sender(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with budget.hold() as held:
            body = await read_body(request, held)
            outcome = await desk.take_native(body, device, peer_of(request), lines=content_type in NDJSON_TYPES)
        content = native.answer(
            accepted=outcome.accepted,
            rejected=[(r.index, r.field, r.reason, r.detail) for r in outcome.refusals],
            not_taken=list(outcome.not_taken),
            message=str(outcome.error or ""),
        )
        return Response(content, outcome.status, _taken_headers(outcome), "application/json")

    return take


def _taken_headers(outcome: Outcome) -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_S)} if outcome.status != 200 else {}


def _refuse_native(request: Request, error: TrafficError) -> Response:
    status = _status_of(error)
    headers = _headers(status)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="traffic"'
    codes = {400: "malformed", 401: "unknown_sender", 403: "shut_out", 408: "too_slow", 413: "too_large"}
    code = codes.get(status, "unsupported" if status == 415 else "unavailable")
    content = msgspec.json.encode({"error": {"code": code, "message": str(error)}})
    return Response(content, status, headers, "application/json")


# ---------------------------------------------------------------- GA/T 1400
class _Viid:
    """The addresses under /VIID."""

    def __init__(self, desk: Desk, budget: Budget, server_id: str) -> None:
        self._desk = desk
        self._budget = budget
        self._server_id = server_id

    async def register(self, request: Request) -> Response:
        """POST /VIID/System/Register"""
        device = await self._desk.authenticate(request, await self._named(request))
        await self._desk.register(device, peer_of(request))
        return self._ok(request, device.code)

    async def unregister(self, request: Request) -> Response:
        """POST /VIID/System/UnRegister"""
        device = await self._desk.authenticate(request, await self._named(request))
        await self._desk.unregister(device, peer_of(request))
        return self._ok(request, device.code)

    async def keepalive(self, request: Request) -> Response:
        """POST /VIID/System/Keepalive"""
        device = await self._desk.registered_device(request)
        named = await self._named(request)
        if named not in ("", device.code):
            raise Unauthorized("KeepaliveObject names another device than User-Identify")
        await self._desk.keepalive(device, peer_of(request))
        return self._ok(request, device.code)

    async def time(self, request: Request) -> Response:
        """GET /VIID/System/Time (open to all: a device sets its clock before it registers)"""
        content = gat1400.system_time_body(self._server_id, self._desk.clock.now())
        return Response(content, 200, media_type=gat1400.CONTENT_TYPE)

    async def motor_vehicles(self, request: Request) -> Response:
        """POST /VIID/MotorVehicles"""
        device = await self._desk.registered_device(request)
        with self._budget.hold() as held:
            body = await read_body(request, held)
            outcome, ids = await self._desk.take_motor_vehicles(body, device, peer_of(request))
        content = gat1400.status_list_body(self._statuses(request.scope["path"], outcome, ids))
        return Response(content, outcome.status, _taken_headers(outcome), gat1400.CONTENT_TYPE)

    async def unknown(self, request: Request) -> Response:
        """Any other address of the norm: said clearly, because devices often try them all."""
        text = "this server takes MotorVehicles only"
        content = gat1400.status_body(
            request.scope["path"], gat1400.INVALID_OPERATION, text, "", self._desk.clock.now()
        )
        return Response(content, 404, media_type=gat1400.CONTENT_TYPE)

    def refuse(self, request: Request, error: TrafficError) -> Response:
        """The answer to a request of which nothing was taken."""
        status = _status_of(error)
        headers = _headers(status)
        if isinstance(error, Unauthorized) and status == 401:
            headers["WWW-Authenticate"] = self._desk.challenge(stale=error.stale)
        codes = {400: gat1400.INVALID_FORMAT, 401: gat1400.INVALID_OPERATION, 413: gat1400.INVALID_CONTENT}
        code = codes.get(status, gat1400.BUSY if status in (408, 503) else gat1400.OTHER_ERROR)
        identity = request.headers.get("user-identify", "")[:40]
        content = gat1400.status_body(request.scope["path"], code, str(error), identity, self._desk.clock.now())
        return Response(content, status, headers, gat1400.CONTENT_TYPE)

    def _statuses(self, url: str, outcome: Outcome, ids: list[str]) -> list[dict[str, str]]:
        at = gat1400.local_time(self._desk.clock.now())
        statuses = [gat1400.status(url, gat1400.OK, "OK", identity, at) for identity in ids]
        for refusal in outcome.refusals:
            text = gat1400.explain(refusal.field, refusal.reason, refusal.index, refusal.detail)
            code = gat1400.INVALID_CONTENT if refusal.field else gat1400.INVALID_FORMAT
            statuses[refusal.index] |= {"StatusCode": code, "StatusString": text}
        code = gat1400.BUSY if outcome.status == 429 else gat1400.DEVICE_ERROR
        for place in outcome.not_taken:
            statuses[place] |= {"StatusCode": code, "StatusString": str(outcome.error)}
        return statuses

    async def _named(self, request: Request) -> str:
        with self._budget.hold() as held:
            return gat1400.read_device_id(await read_body(request, held, bytes_max=SYSTEM_BYTES_MAX))

    def _ok(self, request: Request, identity: str) -> Response:
        content = gat1400.status_body(request.scope["path"], gat1400.OK, "OK", identity, self._desk.clock.now())
        return Response(content, 200, media_type=gat1400.CONTENT_TYPE)


# ---------------------------------------------------------------- health
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
