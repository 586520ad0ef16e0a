"""A screen of the live view that a bench looks at: logged in, subscribed, noting when what arrived."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from argon2 import PasswordHasher
from websockets.asyncio.client import ClientConnection, connect

from dashboards.bench.scratch import Scratch
from traffic.clock import monotonic_s

LOGIN, PASSWORD = "bench", "bench-password"
_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
FRAME_BYTES_MAX = 64 * 1024 * 1024


class Screen:
    """First moments (of the monotonic clock): `alerts` of a plate, `flow` of a checkpoint with any passages."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw
        self.alerts: dict[str, float] = {}
        self.flow: dict[int, float] = {}

    async def listen(self) -> None:
        """Take frames in until cancelled."""
        async for text in self.raw:
            at = monotonic_s()
            frame = json.loads(text)
            for card in frame.get("alerts", ()):
                self.alerts.setdefault(card["plate"], at)
            for checkpoint in frame.get("checkpoints", ()):
                if checkpoint["per_minute"]:
                    self.flow.setdefault(checkpoint["id"], at)

    async def echo_s(self) -> float:
        """Seconds from a ping to its pong: what the socket and its process cost without any content."""
        began_s = monotonic_s()
        await (await self.raw.ping())
        return monotonic_s() - began_s


def add_person(instance: Scratch) -> None:
    """Somebody of the corps who may log in."""
    with instance.connect() as connection:
        connection.execute(
            "INSERT INTO person (login, name, unit_id, role, password_hash) VALUES (%s, 'bench', 1, 'commander', %s)",
            [LOGIN, _HASHER.hash(PASSWORD)],
        )


def api_is_ready(instance: Scratch) -> bool:
    """Whether the API answers that it can serve."""
    try:
        return httpx.get(f"{_base(instance)}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def screen(instance: Scratch) -> AsyncIterator[Screen]:
    """A screen of the corps that has its snapshot and listens."""
    async with httpx.AsyncClient(base_url=_base(instance), timeout=30) as client:
        (await client.post("/api/login", json={"login": LOGIN, "password": PASSWORD})).raise_for_status()
        told = (await client.post("/api/socket-ticket")).raise_for_status().json()
    async with connect(told["url"], compression=None, max_size=FRAME_BYTES_MAX) as raw:
        await raw.send(json.dumps({"type": "hello", "ticket": told["ticket"]}))
        await raw.recv()
        await raw.send(json.dumps({"type": "subscribe", "topics": ["roads", "alerts"], "viewport": None}))
        shown = Screen(raw)
        listening = asyncio.create_task(shown.listen())
        try:
            yield shown
        finally:
            listening.cancel()


def _base(instance: Scratch) -> str:
    return f"http://{instance.settings.host}:{instance.settings.port}"
