"""Process `forwarder`: tells other platforms what they subscribed to, and subscribes where people want it.

One is at work, others stand by (a lock of the database). What waits in an outbox is deleted only when its receiver has
answered that it took it, so a restart loses nothing and may repeat the last notification (the same ids in it). Each
receiver has a task of its own: one that is slow or broken holds up itself alone.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import msgspec
import psycopg
import structlog

from traffic.clock import Clock, monotonic_s
from traffic.database import WRITER, as_role
from traffic.errors import SettingsError
from traffic.forwarder_store import Incoming, Outgoing, PartnerRow, Store
from traffic.health import BEAT_S, Heartbeat, instance_name
from traffic.ingest.viid_subscriptions import (
    CANCELLED,
    local_time,
    motor_vehicles,
    notification_body,
    subscribe_list_body,
    subscribe_object,
)
from traffic.readings import EntryUnreadable, PassageBatch, decode_entry
from traffic.secrets import SecretUnreadable, decrypt
from traffic.settings import Settings
from traffic.viid_client import Credentials, ExchangeFailed, Partner, new_client

POLL_S = 0.5
UPKEEP_S = 60.0
KEEPALIVE_S = 60.0
PAUSE_S, PAUSE_S_MAX = 1.0, 60.0
REFUSALS_MAX = 5  # of one notification for good; then it is given up, or all behind it would wait for ever
ENTRIES_MAX, RECORDS_MAX = 100, 500  # of one notification

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Forward until SIGTERM or SIGINT; what is on its way then is sent again by whoever goes on."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await forward(settings, stop)


async def forward(settings: Settings, stop: asyncio.Event) -> None:
    """The forwarder on the running event loop, until `stop` is set."""
    if not settings.database_url or not settings.secret_key:
        raise SettingsError("the forwarder needs TRAFFIC_DATABASE_URL and TRAFFIC_SECRET_KEY")
    async with new_client() as client:
        await Forwarder(settings, client).run(stop)


@dataclass(slots=True)
class _Receiver:
    """One subscription of others, and the task that tells it."""

    row: Outgoing
    task: asyncio.Task[None] | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    pause_s: float = PAUSE_S
    refusals: int = 0


class Forwarder:
    """One for each process."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        self._clock: Clock = settings.clock
        self._server_id = settings.viid_server_id
        self._secret_key = settings.secret_key or ""
        self._client = client
        self._store = Store(as_role(settings.database_url or "", WRITER), settings.viid_server_id)
        self._heartbeat = Heartbeat("forwarder", instance_name())
        self._receivers: dict[str, _Receiver] = {}
        self._partners: dict[int, tuple[PartnerRow, Partner]] = {}
        self._speaking: dict[int, asyncio.Task[None]] = {}
        self._due: dict[str, float] = {}
        self._figures: dict[str, object] = {"sent": 0, "failures": 0}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        try:
            while not stop.is_set():
                try:
                    await self._turn()
                except (psycopg.Error, OSError) as error:
                    log.warning("the database cannot be used; nothing is forwarded", why=_sentence(error))
                    await self._rest()
                    await self._store.close()
                await _pause(stop, POLL_S)
        finally:
            await self._rest()
            await self._store.close()

    async def _turn(self) -> None:
        if self._is_due("beat", BEAT_S):
            await self._store.beat(self._heartbeat, self._figures)
        if not await self._store.leads():
            await self._rest()
            return
        if self._is_due("upkeep", UPKEEP_S):
            await self._store.keep_up(now_us=self._clock.now_us())
        await self._meet_partners()
        await self._meet_receivers()

    def _is_due(self, what: str, every_s: float) -> bool:
        if monotonic_s() < self._due.get(what, 0.0):
            return False
        self._due[what] = monotonic_s() + every_s
        return True

    async def _rest(self) -> None:
        """Drop what is on its way: it still waits in the outbox."""
        tasks = [receiver.task for receiver in self._receivers.values() if receiver.task] + [*self._speaking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._receivers.clear()
        self._speaking.clear()

    # ------------------------------------------------------------ others subscribed here
    async def _meet_receivers(self) -> None:
        rows = {row.id: row for row in await self._store.outgoing()}
        for gone in self._receivers.keys() - rows.keys():
            receiver = self._receivers.pop(gone)
            if receiver.task is not None:
                receiver.task.cancel()
        for name, row in rows.items():
            receiver = self._receivers.setdefault(name, _Receiver(row=row))
            receiver.row = row
            if row.waiting:
                receiver.waiting.set()
            if receiver.task is None or receiver.task.done():
                receiver.task = asyncio.create_task(self._guarded(self._tell, receiver))

    async def _guarded(self, work: Callable[[_Receiver], Awaitable[None]], receiver: _Receiver) -> None:
        """A receiver's task ends with the database's troubles; the next turn begins another."""
        try:
            await work(receiver)
        except (psycopg.Error, OSError) as error:
            log.info("a receiver waits for the database", subscription=receiver.row.id, why=_sentence(error))

    async def _tell(self, receiver: _Receiver) -> None:
        """Notification after notification, in order, as often as the receiver wants to hear."""
        while True:
            await receiver.waiting.wait()
            began_s = monotonic_s()
            if not await self._tell_once(receiver):
                await asyncio.sleep(receiver.pause_s)
                receiver.pause_s = min(PAUSE_S_MAX, receiver.pause_s * 2)
            else:
                receiver.pause_s = PAUSE_S
                await asyncio.sleep(max(0.0, receiver.row.interval_s - (monotonic_s() - began_s)))

    async def _tell_once(self, receiver: _Receiver) -> bool:
        """Send what waits longest; False when it has to be tried again."""
        row = receiver.row
        entries = await self._store.oldest(row.id, entries_max=ENTRIES_MAX, records_max=RECORDS_MAX)
        if not entries:
            receiver.waiting.clear()
            return True
        ids = [entry.id for entry in entries]
        vehicles = motor_vehicles(_together([entry.body for entry in entries]), await self._store.names())
        at = local_time(self._clock.now())
        try:
            if vehicles:
                body = notification_body(row.id, row.title, ids[0], vehicles, at)
                await self._partner_of(row).send("POST", row.address, body)
        except ExchangeFailed as error:
            await self._failed(receiver, ids, error)
            return False
        receiver.refusals = 0
        await self._store.taken(row.id, ids, self._clock.now())
        self._count("sent", len(vehicles))
        return True

    async def _failed(self, receiver: _Receiver, ids: list[int], error: ExchangeFailed) -> None:
        self._count("failures", 1)
        receiver.refusals = receiver.refusals + 1 if error.refused else 0
        if receiver.refusals >= REFUSALS_MAX:
            receiver.refusals, receiver.pause_s = 0, PAUSE_S
            log.warning("a notification is given up", subscription=receiver.row.id, why=str(error))
            await self._store.given_up(receiver.row.id, ids, f"given up: {error}")
        else:
            await self._store.troubled(receiver.row.id, str(error))

    def _partner_of(self, row: Outgoing) -> Partner:
        known = self._partners.get(row.device)
        return known[1] if known is not None else Partner(self._client, self._server_id)

    def _count(self, what: str, more: int) -> None:
        self._figures[what] = int(str(self._figures[what])) + more

    # ------------------------------------------------------------ we subscribe elsewhere
    async def _meet_partners(self) -> None:
        rows = {row.id: row for row in await self._store.partners()}
        for gone in self._partners.keys() - rows.keys():
            del self._partners[gone]
        for number, row in rows.items():
            known = self._partners.get(number)
            if known is None or known[0] != row:
                self._partners[number] = (row, self._new_partner(row))
        wanted: dict[int, list[Incoming]] = {}
        for one in await self._store.incoming():
            wanted.setdefault(one.device, []).append(one)
        for number, ours in wanted.items():
            task = self._speaking.get(number)
            if (task is None or task.done()) and number in self._partners and self._is_speaking_due(number, ours):
                self._speaking[number] = asyncio.create_task(self._speak(number, ours))

    def _is_speaking_due(self, number: int, ours: list[Incoming]) -> bool:
        """News waits for its pause after a failure; else a sign of life each KEEPALIVE_S."""
        if monotonic_s() < self._due.get(f"pause {number}", 0.0):
            return False
        news = any(not one.told for one in ours)
        return news or self._is_due(f"alive {number}", KEEPALIVE_S)

    def _new_partner(self, row: PartnerRow) -> Partner:
        credentials = None
        if row.secret:
            try:
                told = msgspec.json.decode(decrypt(self._secret_key, row.secret), type=dict[str, str])
                credentials = Credentials(user=told["user"], password=told["password"])
            except (SecretUnreadable, msgspec.MsgspecError, KeyError) as error:
                log.error("what we show at a platform cannot be read", platform=row.code, why=str(error))
        return Partner(self._client, self._server_id, address=row.address, credentials=credentials)

    async def _speak(self, number: int, ours: list[Incoming]) -> None:
        row, partner = self._partners[number]
        news = [one for one in ours if not one.told]
        try:
            for one in news:
                await self._subscribe(partner, one)
            if not news and partner.registered:
                await partner.keepalive()
            elif not news and partner.credentials is not None:
                await partner.register()
        except ExchangeFailed as error:
            self._count("failures", 1)
            self._due[f"pause {number}"] = monotonic_s() + PAUSE_S_MAX / 6
            log.info("a platform cannot be told", platform=row.code, why=str(error))
        except (psycopg.Error, OSError) as error:
            log.info("a platform waits for the database", platform=row.code, why=_sentence(error))

    async def _subscribe(self, partner: Partner, one: Incoming) -> None:
        """Tell the other side how a subscription of ours stands: begun, changed, ended."""
        changed_at = await self._store.changed_at(one.subscription.id)
        address = f"{partner.address}/VIID/Subscribes"
        told = subscribe_object(
            one.subscription, status=one.status, applicant=self._server_id, operate=int(one.status == CANCELLED)
        )
        try:
            if one.status == CANCELLED:
                await partner.send("DELETE", f"{address}?IDList={one.subscription.id}")
            else:
                await partner.send("PUT" if one.began else "POST", address, subscribe_list_body([told]))
        except ExchangeFailed as error:
            await self._store.troubled(one.subscription.id, str(error))
            raise
        await self._store.told(one.subscription.id, changed_at, self._clock.now())


def _together(bodies: list[bytes]) -> PassageBatch:
    """The passages of several entries; one that cannot be read any more is left out, and said."""
    batches = []
    for body in bodies:
        try:
            _, content = decode_entry(body)
        except EntryUnreadable as error:
            log.error("an entry of an outbox cannot be read", why=str(error))
            continue
        if isinstance(content, PassageBatch):
            batches.append(content)
    return PassageBatch.concat(batches)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
