"""A neighbour province's platform: subscribes to the checkpoints on the border, and tells us of one of its own."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence

import httpx
import structlog

from sim.platform import KEEPALIVE_EVERY_S, RETRY_S_MAX, SEND_EVERY_S, Counts
from traffic.clock import Clock, monotonic_s
from traffic.demonstration_others import (
    BORDER_GATE,
    BORDER_GATE_THERE,
    NEIGHBOUR,
    OUR_SUBSCRIPTION,
    THEIR_SUBSCRIPTION,
)
from traffic.ingest.viid_subscriptions import local_time, notification_body
from traffic.viid_client import Credentials, ExchangeFailed, Partner

HOST = "127.0.0.1"
WAITING_MAX = 5_000
BATCH_RECORDS_MAX = 200
BODY_BYTES_MAX = 4 * 1024 * 1024
READ_S_MAX = 30.0

log = structlog.get_logger(__name__)


class Neighbour:
    """One platform. `put` from the same event loop; `run` until `stop` is set. `resource`: what it subscribes to."""

    def __init__(self, client: httpx.AsyncClient, address: str, password: str, *, clock: Clock, resource: str) -> None:
        self.counts = Counts()
        self.told = 0  # vehicles that we were told of
        self._address = address
        self._clock = clock
        self._resource = resource
        self._partner = Partner(
            client, NEIGHBOUR, address=address, credentials=Credentials(user=NEIGHBOUR, password=password)
        )
        self._waiting: deque[dict[str, object]] = deque()
        self._number = 0
        self._spoke_of = ""

    @property
    def waiting(self) -> int:
        """Passages not yet taken by the door."""
        return len(self._waiting)

    def put(self, records: Sequence[dict[str, object]]) -> None:
        """Passages at the gate on the border, which it runs; it knows the gate under its own code."""
        for record in records:
            self._waiting.append({**record, "TollgateID": BORDER_GATE_THERE, "DeviceID": NEIGHBOUR})
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.counts.given_up += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Subscribe, tell, and be told, until told to stop."""
        server = await asyncio.start_server(self._receive, HOST, 0)
        receiver = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/VIID/SubscribeNotifications"
        subscribed, alive_s, pause_s = False, monotonic_s(), SEND_EVERY_S
        try:
            while not stop.is_set():
                try:
                    if not subscribed:
                        await self._subscribe(receiver)
                        subscribed = True
                        self._say("subscribed")
                    await self._tell()
                    if monotonic_s() - alive_s > KEEPALIVE_EVERY_S:
                        alive_s = monotonic_s()
                        await self._partner.keepalive()
                    pause_s = SEND_EVERY_S
                except ExchangeFailed as error:
                    self._say("the door does not take it", why=str(error))
                    pause_s = min(RETRY_S_MAX, pause_s * 1.5)
                await _pause(stop, pause_s)
        finally:
            server.close()

    async def _subscribe(self, receiver: str) -> None:
        wish = {
            "SubscribeID": THEIR_SUBSCRIPTION, "Title": "吉林省界卡口过车", "SubscribeDetail": "13",
            "ResourceURI": self._resource, "ReceiveAddr": receiver, "ReportInterval": 5, "OperateType": 0,
        }  # fmt: skip
        body = json.dumps({"SubscribeListObject": {"SubscribeObject": [wish]}}, ensure_ascii=False).encode()
        await self._partner.send("POST", f"{self._address}/VIID/Subscribes", body)

    async def _tell(self) -> None:
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(len(self._waiting), BATCH_RECORDS_MAX))]
            self._number += 1
            body = notification_body(
                OUR_SUBSCRIPTION, "省界卡口过车", self._number, batch, local_time(self._clock.now())
            )
            try:
                await self._partner.send("POST", f"{self._address}/VIID/SubscribeNotifications", body)
                self.counts.taken += len(batch)
            except ExchangeFailed as error:
                if not error.refused:
                    raise
                self.counts.refused += len(batch)
                self._say("a notification was refused", why=str(error))
            for _ in batch:
                self._waiting.popleft()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What it is told: counted, and answered as the norm has it."""
        try:
            async with asyncio.timeout(READ_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length_of(head)
                body = await reader.readexactly(min(length, BODY_BYTES_MAX))
                self.told += body.count(b'"MotorVehicleID"')
                content = b'{"ResponseStatusObject":{"StatusCode":"0","StatusString":"OK"}}'
                lines = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
                writer.write(lines.encode() + content)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who tells us so will tell it again
        finally:
            writer.close()

    def _say(self, what: str, **facts: object) -> None:
        """The same word is said once, until another one follows."""
        if what != self._spoke_of:
            self._spoke_of = what
            log.info(what, platform=NEIGHBOUR, **facts)


def is_theirs(record: Mapping[str, object]) -> bool:
    """Whether the neighbour's own camera saw this passage."""
    return record["TollgateID"] == BORDER_GATE


def _length_of(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
