"""People at screens: they log in, subscribe to alerts, lose their sockets, come back, and remember what they saw."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from traffic.clock import monotonic_s

TIMEOUT_S = 5.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 2.5  # before a client comes back
OWN_LOSS_S = 15.0  # on average a socket is dropped by its own client once in this time


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One frame of alerts: snapshot or delta, the cursor with it, and (finding, revision) of each card."""

    kind: str
    cursor: str
    cards: tuple[tuple[str, int], ...]


class Protocol(Exception):  # noqa: N818 - the sentence says it
    """A server said what it must not say."""


@dataclass(slots=True, kw_only=True)
class Watcher:
    """One person. `told`: every frame of alerts, in order, over all sockets."""

    login: str
    password: str
    apis: list[str]
    chance: np.random.Generator
    told: list[Told] = field(default_factory=list)
    cursor: str = ""
    sockets: int = 0
    wrong: list[str] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)
    _cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    async def watch(self) -> None:
        """Look until cancelled, coming back after every loss at the next API."""
        turn = int(self.chance.integers(len(self.apis)))
        while True:
            try:
                await self._look(self.apis[turn % len(self.apis)])
            except (OSError, TimeoutError, httpx.HTTPError, WebSocketException) as error:
                self._count(type(error).__name__)
            except Protocol as error:
                self.wrong.append(str(error))
            turn += 1
            await asyncio.sleep(float(self.chance.uniform(PAUSE_S_MIN, PAUSE_S_MAX)))

    def _count(self, loss: str) -> None:
        self.losses[loss] = self.losses.get(loss, 0) + 1

    async def _look(self, api: str) -> None:
        async with httpx.AsyncClient(
            base_url=api, cookies=self._cookies, headers={"Origin": api}, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            ticket = await self._ticket(client)
        if ticket is None:
            return
        async with asyncio.timeout(TIMEOUT_S):
            socket = await connect(ticket["url"], origin=api, open_timeout=TIMEOUT_S, max_size=None, compression=None)  # type: ignore[arg-type]
        try:
            await self._listen(socket, ticket["ticket"])
        finally:
            await socket.close()

    async def _ticket(self, client: httpx.AsyncClient) -> dict[str, Any] | None:
        """A socket ticket, after logging in where need be; None when the API cannot give one now."""
        for _ in range(2):
            response = await client.post("/api/socket-ticket")
            if response.status_code == 200:
                return response.json()  # type: ignore[no-any-return]
            if response.status_code != 401:
                break
            entered = await client.post("/api/login", json={"login": self.login, "password": self.password})
            if entered.status_code != 200:
                response = entered
                break
            self._cookies = client.cookies
        self._count(f"http {response.status_code}")
        if response.status_code < 500 and response.status_code != 429:
            raise Protocol(f"{self.login}: {response.request.url.path} answered {response.status_code} {response.text}")
        return None

    async def _listen(self, socket: ClientConnection, ticket: str) -> None:
        await self._say(socket, {"type": "hello", "ticket": ticket})
        if self.cursor:
            await self._say(socket, {"type": "resume", "topics": ["alerts"], "viewport": None, "since": self.cursor})
        else:
            await self._say(socket, {"type": "subscribe", "topics": ["alerts"], "viewport": None})
        self.sockets += 1
        until = monotonic_s() + float(self.chance.exponential(OWN_LOSS_S))
        while (left_s := until - monotonic_s()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    frame = await socket.recv()
            except TimeoutError:
                break
            await self._take(socket, msgspec.json.decode(frame))
        if self.chance.random() < 0.5:
            socket.transport.abort()

    async def _take(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if kind == "ping":
            await self._say(socket, {"type": "pong"})
        if kind == "error":
            self._count(f"told {frame['code']}")
        if kind in ("snapshot", "delta") and frame["topic"] == "alerts":
            cards = tuple((card["id"], card["revision"]) for card in frame["alerts"])
            self.told.append(Told(kind=kind, cursor=frame["seq"], cards=cards))
            self.cursor = frame["seq"]
        elif kind == "ping" and self.cursor:
            self.cursor = frame.get("seq") or self.cursor

    @staticmethod
    async def _say(socket: ClientConnection, message: dict[str, Any]) -> None:
        await socket.send(msgspec.json.encode(message).decode())
