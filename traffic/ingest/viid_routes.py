"""The addresses of GA/T 1400 under /VIID: parse, call the desk, shape the answer."""

from fastapi import Request, Response

from traffic.errors import TrafficError
from traffic.ingest import gat1400
from traffic.ingest.answers import Doorway, headers_of, retry_headers, status_of
from traffic.ingest.desk import Desk, Outcome, Unauthorized, peer_of
from traffic.ingest.intake import Budget, read_body
from traffic.ingest.subscription_routes import add_subscriptions

SYSTEM_BYTES_MAX = 64 * 1024  # of a body that is read before its sender is known


def add_viid(doorway: Doorway, desk: Desk, budget: Budget, server_id: str) -> None:
    """Open the door of GA/T 1400."""
    viid = _Viid(desk, budget, server_id)
    add_subscriptions(doorway, desk, budget, viid.refuse)
    for path, methods, handler in (
        ("/VIID/System/Register", ["POST"], viid.register),
        ("/VIID/System/UnRegister", ["POST"], viid.unregister),
        ("/VIID/System/Keepalive", ["POST"], viid.keepalive),
        ("/VIID/System/Time", ["GET"], viid.time),
        ("/VIID/MotorVehicles", ["POST"], viid.motor_vehicles),
        ("/VIID/{rest:path}", ["GET", "POST", "PUT", "DELETE"], viid.unknown),
    ):
        # The rest is no address of ours: it is answered, but not described.
        doorway.add(path, methods, "gat1400", handler, viid.refuse, include_in_schema=handler != viid.unknown)


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
        return Response(content, outcome.status, retry_headers(outcome), gat1400.CONTENT_TYPE)

    async def unknown(self, request: Request) -> Response:
        """Any other address of the norm: said clearly, because devices often try them all."""
        text = "this server takes MotorVehicles, Subscribes and SubscribeNotifications"
        content = gat1400.status_body(
            request.scope["path"], gat1400.INVALID_OPERATION, text, "", self._desk.clock.now()
        )
        return Response(content, 404, media_type=gat1400.CONTENT_TYPE)

    def refuse(self, request: Request, error: TrafficError) -> Response:
        """The answer to a request of which nothing was taken."""
        status = status_of(error)
        headers = headers_of(status)
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
