"""GA/T 1400 subscriptions at the door: others subscribe here, and what they tell us of ours comes in."""

from collections.abc import Sequence

import psycopg
from fastapi import Request, Response

from traffic.database import WRITER, as_role, queries
from traffic.errors import ServiceError
from traffic.ingest import gat1400
from traffic.ingest.answers import Doorway, Refuse
from traffic.ingest.catalogue import Device
from traffic.ingest.desk import Desk, Outcome, peer_of
from traffic.ingest.intake import Budget, read_body
from traffic.ingest.viid_subscriptions import (
    Notification,
    Subscription,
    Wish,
    WishRefused,
    id_of,
    is_cancel,
    judge,
    local_time,
    read_ids,
    read_notifications,
    read_wishes,
    subscribe_list_body,
    subscribe_object,
)
from traffic.limits import RETRY_AFTER_S

SQL = queries("traffic.ingest", "subscriptions.sql")
WISHES_BYTES_MAX = 256 * 1024
OF_DEVICE_MAX = 50  # subscriptions of one device that stand
_CONNECT_S = 5


def add_subscriptions(doorway: Doorway, desk: Desk, budget: Budget, refuse: Refuse) -> None:
    """Open the addresses of subscriptions; `refuse` answers as the other addresses of the norm do."""
    shelf = _Subscribes(desk, budget)
    for path, methods, handler in (
        ("/VIID/Subscribes", ["POST"], shelf.subscribe),
        ("/VIID/Subscribes", ["PUT"], shelf.subscribe),
        ("/VIID/Subscribes", ["DELETE"], shelf.cancel),
        ("/VIID/Subscribes", ["GET"], shelf.list_own),
        ("/VIID/SubscribeNotifications", ["POST"], shelf.notified),
    ):
        doorway.add(path, methods, "subscription", handler, refuse)


class _Subscribes:
    def __init__(self, desk: Desk, budget: Budget) -> None:
        self._desk = desk
        self._budget = budget

    async def subscribe(self, request: Request) -> Response:
        """POST and PUT /VIID/Subscribes: each stands, is changed, or is ended on its own."""
        device = await self._desk.registered_device(request)
        with self._budget.hold() as held:
            wishes = read_wishes(await read_body(request, held, bytes_max=WISHES_BYTES_MAX))
        return self._statuses(
            request,
            [(id_of(wish), await self._settle(wish, device, peer_of(request))) for wish in wishes],
        )

    async def cancel(self, request: Request) -> Response:
        """DELETE /VIID/Subscribes?IDList="""
        device = await self._desk.registered_device(request)
        listed = next((text for name, text in request.query_params.items() if name.lower() == "idlist"), "")
        return self._statuses(request, [(name, await self._end(name, device)) for name in read_ids(listed)])

    async def list_own(self, request: Request) -> Response:
        """GET /VIID/Subscribes: those of the device that asks."""
        device = await self._desk.registered_device(request)
        async with _Hand(self._desk.database_url) as hand:
            rows = await hand.rows("list_of_device", device_id=device.id, now=self._desk.clock.now())
        objects = [subscribe_object(_stored(row), status=row[7], applicant=device.code) for row in rows]
        return Response(subscribe_list_body(objects), 200, media_type=gat1400.CONTENT_TYPE)

    async def notified(self, request: Request) -> Response:
        """POST /VIID/SubscribeNotifications: what a platform tells us because we subscribed there."""
        device = await self._desk.partner(request)
        with self._budget.hold() as held:
            told = read_notifications(await read_body(request, held))
            outcomes = [await self._take(one, device, peer_of(request)) for one in told]
        at = local_time(self._desk.clock.now())
        statuses = [
            gat1400.status(request.scope["path"], code, text, one.id, at)
            for one, (code, text, _) in zip(told, outcomes, strict=True)
        ]
        status = max(status for _, _, status in outcomes)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status != 200 else {}
        return Response(gat1400.status_list_body(statuses), status, headers, gat1400.CONTENT_TYPE)

    # ------------------------------------------------------------ one of them
    async def _settle(self, wish: Wish, device: Device, peer: str) -> str:
        """What is wrong with it, "" when it stands."""
        now = self._desk.clock.now()
        if is_cancel(wish):
            return await self._end(id_of(wish), device)
        try:
            subscription = judge(wish, device=device, catalogue=self._desk.catalogue, peer=peer, now=now)
        except WishRefused as error:
            return str(error)
        async with _Hand(self._desk.database_url) as hand:
            standing = await hand.rows("count_of_device", device_id=device.id, id=subscription.id)
            if standing[0][0] >= OF_DEVICE_MAX:
                return f"a device has at most {OF_DEVICE_MAX} subscriptions"
            if not await hand.do("subscribe", device_id=device.id, now=now, **_values(subscription)):
                return "SubscribeID: is another's"
            await hand.do("tell_workers")
        return ""

    async def _end(self, name: str, device: Device) -> str:
        async with _Hand(self._desk.database_url) as hand:
            values = {"id": name, "device_id": device.id}
            if await hand.do("cancel", now=self._desk.clock.now(), **values):
                await hand.do("drop_waiting", id=name)
                await hand.do("tell_workers")
            elif not (await hand.rows("is_known", **values))[0][0]:
                return "SubscribeID: is not known"
        return ""

    async def _take(self, told: Notification, device: Device, peer: str) -> tuple[str, str, int]:
        """(code, text, HTTP status) of one notification."""
        if self._desk.catalogue.awaited.get(told.subscription) != device.id:
            return gat1400.INVALID_OPERATION, "SubscribeID: we have no such subscription with you", 200
        if not told.records:
            return gat1400.OK, "nothing of motor vehicles", 200
        outcome = await self._desk.take_notified(told.records, device, peer)
        return _code(outcome), _sentence(outcome), outcome.status

    def _statuses(self, request: Request, settled: Sequence[tuple[str, str]]) -> Response:
        path, at = request.scope["path"], local_time(self._desk.clock.now())
        statuses = [
            gat1400.status(path, gat1400.INVALID_CONTENT if wrong else gat1400.OK, wrong or "OK", name, at)
            for name, wrong in settled
        ]
        return Response(gat1400.status_list_body(statuses), 200, media_type=gat1400.CONTENT_TYPE)


def _code(outcome: Outcome) -> str:
    if outcome.error is not None:
        return gat1400.BUSY
    return gat1400.INVALID_CONTENT if outcome.refusals else gat1400.OK


def _sentence(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error)
    if not outcome.refusals:
        return "OK"
    first = outcome.refusals[0]
    told = gat1400.explain(first.field, first.reason, first.index, first.detail)
    return f"{len(outcome.refusals)} of {outcome.count} refused, first {told}"


def _values(subscription: Subscription) -> dict[str, object]:
    return {
        "id": subscription.id, "title": subscription.title, "resource": subscription.resource,
        "checkpoints": list(subscription.checkpoints), "receive_addr": subscription.address,
        "interval_s": subscription.interval_s, "begins_at": subscription.begins_at, "ends_at": subscription.ends_at,
    }  # fmt: skip


def _stored(row: Sequence) -> Subscription:
    return Subscription(
        id=row[0], title=row[1], resource=row[2], checkpoints=(), address=row[3], interval_s=row[4], begins_at=row[5],
        ends_at=row[6],
    )  # fmt: skip


class _Hand:
    """One transaction of the doors' own role. Subscribing is rare: a connection is made for it, and given back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection | None = None

    async def __aenter__(self) -> "_Hand":
        try:
            self._connection = await psycopg.AsyncConnection.connect(
                as_role(self._url, WRITER), connect_timeout=_CONNECT_S
            )
        except psycopg.Error as error:
            raise ServiceError("the database cannot be reached: subscribe again later") from error
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_told: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if kind is None:
                await connection.commit()
            await connection.close()

    async def rows(self, name: str, **values: object) -> Sequence[tuple]:
        """The rows of a statement."""
        return await (await self._run(name, values)).fetchall()

    async def do(self, name: str, **values: object) -> int:
        """How many rows a statement changed."""
        return (await self._run(name, values)).rowcount

    async def _run(self, name: str, values: dict[str, object]) -> psycopg.AsyncCursor:
        assert self._connection is not None
        try:
            return await self._connection.execute(SQL[name], values)
        except psycopg.Error as error:
            raise ServiceError("the database cannot be used: subscribe again later") from error
