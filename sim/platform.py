"""A detachment's checkpoint platform as it talks to the door: GA/T 1400 over HTTP, and nothing else.

Register with Digest, keepalive, time; records in order, kept until the door has taken or refused each one.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx
import structlog

from traffic.clock import SHANGHAI, Clock, monotonic_s

RECORDS_MAX = 20_000  # kept while the door cannot take them; beyond it the oldest are given up and counted
BATCH_RECORDS_MAX = 500
SEND_EVERY_S = 1.0
KEEPALIVE_EVERY_S = 30.0
TIME_EVERY_S = 600.0
RETRY_S, RETRY_S_MAX = 1.0, 10.0
TIMEOUT_S = 20.0
LAST_TRIES = 3  # to hand over what is left when told to stop
CLOCK_TOLERANCE_S = 5.0
_TAKE_AGAIN = frozenset({"2", "3"})  # StatusCode: busy, device error
_HEADERS = {"Content-Type": "application/VIID+JSON;charset=UTF-8"}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Counts:
    """What became of the records handed to a platform."""

    taken: int = 0
    refused: int = 0
    given_up: int = 0


class Platform:
    """One sender. `put` from the same event loop; `run` until `stop` is set."""

    def __init__(self, client: httpx.AsyncClient, code: str, password: str, *, clock: Clock) -> None:
        self.code = code
        self.counts = Counts()
        self._client = client
        self._clock = clock
        self._keepalive_s = max(SEND_EVERY_S, KEEPALIVE_EVERY_S / max(1.0, clock.rate))  # by the instance's clock
        self._auth = httpx.DigestAuth(code, password)
        self._waiting: deque[dict[str, object]] = deque()
        self._registered = False
        self._keepalive_due_s = self._time_due_s = 0.0
        self._retry_s = RETRY_S
        self._spoke_of = ""

    @property
    def waiting(self) -> int:
        """Records not yet taken by the door."""
        return len(self._waiting)

    def put(self, records: Sequence[dict[str, object]]) -> None:
        """Hand over records, in the order of their passing."""
        self._waiting.extend(records)
        while len(self._waiting) > RECORDS_MAX:
            self._waiting.popleft()
            self.counts.given_up += 1

    async def run(self, stop: asyncio.Event) -> None:
        """Send what comes until told to stop; then a last time, and unregister."""
        while not stop.is_set():
            pause_s = await self._try_round()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue
        if self._registered:
            for _ in range(LAST_TRIES):
                if await self._try_round() == SEND_EVERY_S and not self._waiting:
                    break
            await self._unregister()

    async def _try_round(self) -> float:
        """One round; returns how long to wait before the next."""
        try:
            wait_s = await self._round()
        except httpx.HTTPError as error:
            self._say("the door does not answer", why=type(error).__name__)
            wait_s = self._backoff()
        if wait_s is None:
            self._retry_s = RETRY_S
            return SEND_EVERY_S
        return wait_s

    async def _round(self) -> float | None:
        if not self._registered:
            refused_s = await self._register()
            if refused_s is not None:
                return refused_s
        now_s = monotonic_s()
        if now_s >= self._time_due_s:
            await self._read_time()
            self._time_due_s = now_s + TIME_EVERY_S
        if now_s >= self._keepalive_due_s:
            body = {"KeepaliveObject": {"DeviceID": self.code}}
            answer = await self._post("/VIID/System/Keepalive", json.dumps(body).encode())
            if answer.status_code != 200:
                return self._not_ok(answer)
            self._keepalive_due_s = now_s + self._keepalive_s
        while self._waiting:
            wait_s = await self._send_batch()
            if wait_s is not None:
                return wait_s
        return None

    async def _register(self) -> float | None:
        body = {"RegisterObject": {"DeviceID": self.code}}
        answer = await self._post("/VIID/System/Register", json.dumps(body).encode(), auth=self._auth)
        if answer.status_code != 200:
            return self._not_ok(answer)
        self._registered = True
        self._keepalive_due_s = monotonic_s() + self._keepalive_s
        self._say("registered")
        return None

    async def _unregister(self) -> None:
        body = {"UnRegisterObject": {"DeviceID": self.code}}
        try:
            await self._post("/VIID/System/UnRegister", json.dumps(body).encode(), auth=self._auth)
        except httpx.HTTPError:
            self._say("the door does not answer", why="at the end")
        self._registered = False

    async def _read_time(self) -> None:
        """Compare clocks as the norm asks; a difference is told, not followed: one instance has one clock."""
        answer = await self._client.get("/VIID/System/Time", headers={"User-Identify": self.code})
        if answer.status_code != 200:
            return
        try:
            text = answer.json()["SystemTimeObject"]["LocalTime"]
            there = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI)
        except (ValueError, KeyError, TypeError):
            self._say("the door's time cannot be read")
            return
        offset_s = (there - self._clock.now()).total_seconds()
        if abs(offset_s) > CLOCK_TOLERANCE_S:
            self._say("the door's clock is another one", offset_s=round(offset_s))

    async def _send_batch(self) -> float | None:
        """Send the oldest records; what was not taken goes back to the front, in order."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_RECORDS_MAX))]
        body = json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": batch}}, ensure_ascii=False).encode()
        kept = batch
        try:
            answer = await self._post("/VIID/MotorVehicles", body)
            kept, refused = left_over(answer.status_code, answer.content, batch)
            self.counts.refused += refused
            self.counts.taken += len(batch) - len(kept) - refused
            if refused:
                self._say("records were refused", count=refused)
        finally:
            self._waiting.extendleft(reversed(kept))
        return None if answer.status_code == 200 else self._not_ok(answer)

    async def _post(self, path: str, body: bytes, auth: httpx.Auth | None = None) -> httpx.Response:
        headers = {**_HEADERS, "User-Identify": self.code}
        return await self._client.post(path, content=body, headers=headers, auth=auth or httpx.USE_CLIENT_DEFAULT)

    def _not_ok(self, answer: httpx.Response) -> float:
        """How long to wait after an answer that is no success; after 401 the device registers anew."""
        if answer.status_code == 401:
            was_registered, self._registered = self._registered, False
            self._say("the registration has ended" if was_registered else "the door refused the registration")
            return 0.0 if was_registered else self._backoff()
        self._say("the door cannot take more now", status=answer.status_code)
        try:
            return min(RETRY_S_MAX, max(0.1, float(answer.headers.get("Retry-After", ""))))
        except ValueError:
            return self._backoff()

    def _backoff(self) -> float:
        wait_s, self._retry_s = self._retry_s, min(RETRY_S_MAX, self._retry_s * 1.5)
        return wait_s

    def _say(self, what: str, **facts: object) -> None:
        """The same word is said once, until another one follows."""
        if what != self._spoke_of:
            self._spoke_of = what
            log.info(what, platform=self.code, **facts)


def left_over(status: int, content: bytes, batch: Sequence[dict[str, object]]) -> tuple[list[dict[str, object]], int]:
    """(records to send again, number refused for good) after the door's answer to a batch.

    An answer that names each record is believed; one that does not means all (200) or none. To send a taken record
    again does no harm, its MotorVehicleID being the same.
    """
    codes = _status_codes(content)
    if codes is None or len(codes) != len(batch):
        if status == 200:
            return [], 0
        if status in (400, 413):  # the body itself is wrong: it would be wrong again
            return [], len(batch)
        return list(batch), 0
    again = [record for record, code in zip(batch, codes, strict=True) if code in _TAKE_AGAIN]
    refused = sum(1 for code in codes if code != "0" and code not in _TAKE_AGAIN)
    return again, refused


def _status_codes(content: bytes) -> list[str] | None:
    try:
        statuses = json.loads(content)["ResponseStatusListObject"]["ResponseStatusObject"]
        return [str(status["StatusCode"]) for status in statuses]
    except (ValueError, KeyError, TypeError):
        return None
