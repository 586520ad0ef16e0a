"""What happens behind each door's address: who is it, what does it say, what is durable, what is answered.

The codecs judge, the bus keeps; here the two meet. Nothing is acknowledged before the bus has it on disk.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from fastapi import Request

from traffic.errors import BusFull, ServiceError, TrafficError
from traffic.ingest import digest, gat1400
from traffic.ingest.bodies import Records, Refusal
from traffic.ingest.catalogue import Catalogue, Device
from traffic.ingest.checks import Checked
from traffic.ingest.coalesce import Coalescer
from traffic.ingest.devices import Registry, Sessions, SignsOfLife
from traffic.ingest.figures import Figures
from traffic.ingest.plate_column import PlateReader
from traffic.ingest.subjects import Subject
from traffic.ingest.validate import Bench
from traffic.readings import DeviceEvent, Door, Reject
from traffic.secrets import SecretUnreadable, decrypt, derived_key, ha1, key_hash
from traffic.settings import Settings

ONE_BY_ONE_MAX = 200  # records judged one by one while all other senders wait; more go to a thread

log = structlog.get_logger(__name__)


class Unauthorized(TrafficError):
    """The sender is not who may send here. `status` 401: not known or not registered; 403: known and shut out."""

    def __init__(self, message: str, *, status: int = 401, stale: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.stale = stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the records of one request; `refusals` are judged for good, `not_taken` are to be sent again."""

    count: int
    accepted: int
    refusals: Sequence[Refusal]
    not_taken: Sequence[int]
    error: TrafficError | None

    @property
    def status(self) -> int:
        """HTTP status: 200 when all is durable, 429 when the bus is full, 503 when it is closed or down."""
        if self.error is None:
            return 200
        return 429 if isinstance(self.error, BusFull) else 503


class Desk:
    """One for each door process."""

    def __init__(
        self, settings: Settings, registry: Registry, sessions: Sessions, coalescer: Coalescer, figures: Figures
    ) -> None:
        if not settings.secret_key:
            raise ServiceError("the doors need TRAFFIC_SECRET_KEY: without it no device's password can be checked")
        self.clock = settings.clock
        self.secret_key = settings.secret_key
        self.database_url = settings.database_url or ""
        self._nonce_key = derived_key(settings.secret_key, "door-nonce")
        self._nobody = ha1("nobody", digest.REALM, os.urandom(16).hex())
        self._registry = registry
        self._sessions = sessions
        self._coalescer = coalescer
        self._figures = figures
        self._signs = SignsOfLife()
        self._plates = PlateReader()

    # ------------------------------------------------------------ who
    def native_sender(self, request: Request) -> Device:
        """The device of the Bearer key; raises Unauthorized."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("send the key of a native sender as Authorization: Bearer <key>")
        device = self.catalogue.device_of_key.get(key_hash(key.strip()))
        if device is None:
            raise Unauthorized("the key belongs to no sender")
        if not device.enabled or not device.link.may_come_from(peer_of(request)):
            raise Unauthorized("this sender is shut out, or may not come from this address", status=403)
        return device

    async def registered_device(self, request: Request) -> Device:
        """The GA/T 1400 device named by User-Identify, if it is registered from this peer; raises Unauthorized."""
        code = request.headers.get("user-identify", "").strip()
        device = self.catalogue.devices.get(code)
        if device is None or device.kind != "gat1400" or not device.enabled:
            raise Unauthorized("User-Identify names no device that may send here")
        if not await self._sessions.holds(code, peer_of(request)):
            raise Unauthorized("the device is not registered from this address: register again")
        return device

    async def partner(self, request: Request) -> Device:
        """As `registered_device`; a platform is also known by an address that is entered for it."""
        device = self.catalogue.devices.get(request.headers.get("user-identify", "").strip())
        if (
            device is not None
            and device.kind == "gat1400"
            and device.enabled
            and device.link.is_known(peer_of(request))
        ):
            return device
        return await self.registered_device(request)

    async def authenticate(self, request: Request, named: str) -> Device:
        """The device that answered the challenge of Register or UnRegister; raises Unauthorized."""
        header = request.headers.get("authorization")
        if not header:
            raise Unauthorized("answer the challenge")
        try:
            credentials = digest.parse(header)
            device = self.catalogue.devices.get(credentials.username)
            known = device is not None and device.kind == "gat1400" and device.enabled
            digest.verify(
                credentials,
                ha1=self._ha1(device) if known and device else self._nobody,  # the same work for both
                method=request.method,
                path=request.scope["path"],
                key=self._nonce_key,
                at_s=self._now_s(),
            )
        except digest.DigestRefused as error:
            raise Unauthorized(str(error), stale=error.stale) from error
        identify = request.headers.get("user-identify", "").strip()
        if device is None or not known or {named, identify} - {"", device.code}:
            raise Unauthorized("the device named is not the one that answered")
        if not device.link.may_come_from(peer_of(request)):
            raise Unauthorized("the device may not come from this address", status=403)
        if not await self._sessions.first_use(credentials.nonce, credentials.count):
            raise Unauthorized("this answer was used before", stale=True)
        return device

    def challenge(self, *, stale: bool) -> str:
        """A fresh WWW-Authenticate header."""
        nonce = digest.make_nonce(self._nonce_key, at_s=self._now_s(), salt=os.urandom(8))
        return digest.challenge(nonce, stale=stale)

    def _ha1(self, device: Device) -> str:
        try:
            return decrypt(self.secret_key, device.secret).decode()
        except SecretUnreadable as error:
            log.error("device secret cannot be read", device=device.code, why=str(error))
            raise ServiceError("the device's secret cannot be read here: ask the administrator") from error

    def _now_s(self) -> int:
        return self.clock.now_us() // 1_000_000

    @property
    def catalogue(self) -> Catalogue:
        """Who may send, and of what; raises ServiceError before it was read once."""
        catalogue = self._registry.catalogue
        if catalogue is None:
            raise ServiceError("the door has not yet read who may send")
        return catalogue

    @property
    def knows_senders(self) -> bool:
        """Whether the catalogue was read once."""
        return self._registry.catalogue is not None

    # ------------------------------------------------------------ registrations
    async def register(self, device: Device, peer: str) -> None:
        """Open a registration and tell the bus."""
        await self._sessions.open(device.code, peer)
        await self.tell(device, "registered", peer)

    async def unregister(self, device: Device, peer: str) -> None:
        """End a registration and tell the bus."""
        await self._sessions.close(device.code)
        await self.tell(device, "unregistered", peer)

    async def keepalive(self, device: Device, peer: str) -> None:
        """Let a registration last anew; raises Unauthorized when it has ended."""
        if not await self._sessions.keep(device.code, peer):
            raise Unauthorized("the device is not registered from this address: register again")
        await self.tell(device, "alive", peer)

    async def tell(self, device: Device, state: str, peer: str) -> None:
        """Let the bus know what became of a sender: registered, alive, unregistered."""
        events = self._sign(device, state, peer)
        taken = await self._coalescer.put(events=events)
        if not taken.events:  # a registration does not hang on the bus: its next sign of life will be told
            self._signs.forget(device.id)
            log.warning("a device's sign of life is not on the bus", device=device.code, why=str(taken.error))

    def _sign(self, device: Device, state: str, peer: str) -> list[DeviceEvent]:
        if not self._signs.due(device.id, state):
            return []
        return [DeviceEvent(at=self.clock.now_us(), device_id=device.id, state=state, peer=peer)]

    # ------------------------------------------------------------ records
    async def take(self, subject: Subject, body: bytes, device: Device, peer: str, *, lines: bool) -> Outcome:
        """Judge and keep the records of a native request; raises BodyRefused."""
        return await self.take_records(subject, subject.read(body, lines=lines), device, peer)

    async def take_records(
        self, subject: Subject, read: Records, device: Device, peer: str, *, door: Door | None = None
    ) -> Outcome:
        """Judge and keep records that were read; `door`: another way in than the subject's own."""
        received_us = self.clock.now_us()
        bench = self.bench(door or subject.door)
        judge = partial(subject.check, read, device=device, bench=bench, received_us=received_us)
        apart = subject.one_by_one and len(read.records) > ONE_BY_ONE_MAX
        checked = await asyncio.to_thread(judge) if apart else judge()
        return await self.keep(checked, device, bench.door, received_us, peer)

    async def take_motor_vehicles(self, body: bytes, device: Device, peer: str) -> tuple[Outcome, list[str]]:
        """Judge and keep the records of a GA/T 1400 request, with each record's id; raises BodyRefused."""
        received_us = self.clock.now_us()
        read = gat1400.read_motor_vehicles(body)
        checked = gat1400.check(read, device=device, bench=self.bench(Door.GAT1400), received_us=received_us)
        outcome = await self.keep(checked, device, Door.GAT1400, received_us, peer)
        return outcome, gat1400.ids_of(read)

    async def take_notified(self, body: bytes, device: Device, peer: str) -> Outcome:
        """As `take_motor_vehicles`, of a platform's notification."""
        received_us, read = self.clock.now_us(), gat1400.read_motor_vehicles(body)
        checked = gat1400.check(read, device=device, bench=self.bench(Door.SUBSCRIPTION), received_us=received_us)
        return await self.keep(checked, device, Door.SUBSCRIPTION, received_us, peer)

    def bench(self, door: Door) -> Bench:
        """What a door judges with."""
        return Bench(catalogue=self.catalogue, plates=self._plates, door=door)

    async def keep(self, checked: Checked, device: Device, door: Door, received_us: int, peer: str) -> Outcome:
        """Put what was judged on the bus, the refusals too; what is accepted is on disk."""
        rejects = [
            Reject(
                received_at=received_us,
                door=door,
                device_id=device.id,
                unit_id=device.unit_id,
                position=refusal.index,
                field=refusal.field,
                reason=refusal.reason,
                detail=refusal.detail,
                body=refusal.body,
            )
            for refusal in checked.refusals
            if refusal.keep
        ]
        events = self._sign(device, "alive", peer)
        taken = await self._coalescer.put(checked.batch, kind=checked.kind, rejects=rejects, events=events)
        if not taken.events:
            self._signs.forget(device.id)
        not_taken = checked.index[~taken.rows].tolist()
        refusals = checked.refusals
        if not taken.rejects:
            not_taken += [refusal.index for refusal in refusals if refusal.keep]
            refusals = [refusal for refusal in refusals if not refusal.keep]
        accepted = int(taken.rows.sum())
        self._figures.records(door, accepted=accepted, refusals=refusals, not_taken=len(not_taken))
        return Outcome(
            count=checked.count,
            accepted=accepted,
            refusals=refusals,
            not_taken=sorted(not_taken),
            error=taken.error if not_taken else None,
        )


def peer_of(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else "local"
