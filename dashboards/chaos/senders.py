"""Senders that do what the plan says and do not give up before all is acknowledged."""

import asyncio
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx

from dashboards.chaos.bodies import body_of, packed
from dashboards.chaos.plan import Fault, Passage, Request
from dashboards.chaos.scene import Sender
from traffic.clock import monotonic_s
from traffic.readings import Door

TIMEOUT_S = 5.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 1.0
AT_ONCE_MAX = 24
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
PATHS = {Door.NATIVE: "/api/passages", Door.GAT1400: "/VIID/MotorVehicles"}


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the senders saw."""

    acknowledged: set[int] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    wrong: list[str] = field(default_factory=list)  # answers that no door should give

    def count(self, answer: str) -> None:
        """One more of a kind."""
        self.answers[answer] = self.answers.get(answer, 0) + 1


class Senders:
    """All senders of a run. `hurry`: nothing waits for its time, nothing is cut off (the undisturbed run)."""

    def __init__(
        self, doors: list[str], senders: dict[Door, list[Sender]], *, start_us: int, begin_s: float, hurry: bool = False
    ) -> None:
        self._doors = doors
        self._senders = senders
        self._start_us = start_us
        self._begin_s = begin_s  # monotonic time of the plan's start
        self._hurry = hurry
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._done: dict[int, asyncio.Event] = {}
        self._registering: dict[str, asyncio.Lock] = {}
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        self.tally = Tally()

    async def send_all(self, requests: list[Request]) -> None:
        """Send all; returns when each is acknowledged (ghosts: when they are cut off)."""
        self._done = {request.number: asyncio.Event() for request in requests}
        try:
            async with asyncio.TaskGroup() as group:
                for request in requests:
                    group.create_task(self._see_to(request))
        finally:
            await self._client.aclose()

    async def _see_to(self, request: Request) -> None:
        if not self._hurry:
            await asyncio.sleep(max(0.0, self._begin_s + request.due_s - monotonic_s()))
        if request.after is not None:
            await self._done[request.after].wait()
        async with self._turns:
            if request.cut and not self._hurry:
                await self._cut_off(request)
            if not request.ghost:
                await self._insist(request)
                self.tally.acknowledged.add(request.number)
        self._done[request.number].set()

    async def _insist(self, request: Request) -> None:
        pause_s, attempt, left = BACKOFF_S_MIN, request.number, request
        while True:
            again = await self._try(left, self._doors[attempt % len(self._doors)])
            if again is None:
                return
            left = again
            attempt += 1
            await asyncio.sleep(pause_s)
            pause_s = min(BACKOFF_S_MAX, pause_s * 1.5)

    async def _try(self, request: Request, door: str) -> Request | None:
        """One attempt; what is still to be sent, None when all is acknowledged."""
        sender = self._senders[request.door][request.sender]
        body, headers = packed(request, body_of(request, self._start_us, sender.code))
        try:
            response = await self._client.post(
                door + PATHS[request.door], content=body, headers=headers | _who(request.door, sender)
            )
            if response.status_code == 401 and request.door is Door.GAT1400:
                await self._register(door, sender)
                return request
        except (httpx.HTTPError, OSError) as error:
            self.tally.count(type(error).__name__)
            return request
        self.tally.count(str(response.status_code))
        if response.status_code in TRY_AGAIN:
            return _left(request, response)
        if response.status_code != 200:
            self.tally.wrong.append(f"request {request.number}: {response.status_code} {response.text[:200]}")
            return None
        self._check_answer(request, response)
        return None

    async def _register(self, door: str, sender: Sender) -> None:
        lock = self._registering.setdefault(sender.code, asyncio.Lock())
        async with lock:
            response = await self._client.post(
                f"{door}/VIID/System/Register",
                json={"RegisterObject": {"DeviceID": sender.code}},
                headers={"User-Identify": sender.code},
                auth=httpx.DigestAuth(sender.code, sender.secret),
            )
            self.tally.count(f"register {response.status_code}")

    def _check_answer(self, request: Request, response: httpx.Response) -> None:
        """The faulty records and no others are refused, each at its place."""
        told = response.json()
        if request.door is Door.NATIVE:
            refused = {entry["index"] for entry in told["rejected"]}
        else:
            statuses = told["ResponseStatusListObject"]["ResponseStatusObject"]
            refused = {place for place, status in enumerate(statuses) if status["StatusCode"] != "0"}
        planned = {place for place, record in enumerate(request.records) if isinstance(record, Fault)}
        if refused != planned:
            self.tally.wrong.append(f"request {request.number}: refused {sorted(refused)}, faulty {sorted(planned)}")

    async def _cut_off(self, request: Request) -> None:
        """Send the head and half of the body, then hang up, politely or not."""
        sender = self._senders[request.door][request.sender]
        body, headers = packed(request, body_of(request, self._start_us, sender.code))
        where = urlsplit(self._doors[request.number % len(self._doors)])
        head = {"Host": where.netloc, "Content-Length": str(len(body)), **headers, **_who(request.door, sender)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_connection(where.hostname, where.port)
                writer.write(f"POST {PATHS[request.door]} HTTP/1.1\r\n{lines}\r\n".encode() + body[: len(body) // 2])
                await writer.drain()
                await asyncio.sleep(0.05)
                if request.number % 2:
                    writer.transport.abort()
                writer.close()
                self.tally.cut += 1
        except (OSError, TimeoutError) as error:
            self.tally.count(f"cut {type(error).__name__}")


def _who(door: Door, sender: Sender) -> dict[str, str]:
    if door is Door.NATIVE:
        return {"Authorization": f"Bearer {sender.secret}"}
    return {"User-Identify": sender.code}


def _left(request: Request, response: httpx.Response) -> Request:
    """After a part was taken: every second request sends only what was not, the others send all again."""
    if request.number % 2 or request.door is not Door.NATIVE:
        return request
    try:
        places = response.json().get("not_taken")
    except ValueError:
        return request
    if not places:
        return request
    records: tuple[Passage | Fault, ...] = tuple(request.records[place] for place in places)
    return replace(request, records=records)
