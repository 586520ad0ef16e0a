"""Senders of detector reports that do not give up before all is acknowledged."""

import asyncio
from dataclasses import dataclass, field

import httpx

from dashboards.chaos.road_plan import ReportRequest
from dashboards.chaos.scene import Sender
from dashboards.chaos.senders import BACKOFF_S_MAX, BACKOFF_S_MIN, TIMEOUT_S, TRY_AGAIN
from traffic.clock import monotonic_s

PATH = "/api/detector-reports"
AT_ONCE_MAX = 8


@dataclass(slots=True)
class RoadSenders:
    """All of a run. `begin_s`: monotonic time of the plan's start; `base_us`: end of its half minute number 0."""

    doors: list[str]
    sender: Sender
    base_us: int
    begin_s: float
    acknowledged: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)  # answers that no door should give

    async def send_all(self, requests: list[ReportRequest]) -> None:
        """Send all; returns when each is acknowledged."""
        done = {request.number: asyncio.Event() for request in requests}
        turns = asyncio.Semaphore(AT_ONCE_MAX)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client, asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(self._see_to(client, turns, done, request))

    async def _see_to(
        self,
        client: httpx.AsyncClient,
        turns: asyncio.Semaphore,
        done: dict[int, asyncio.Event],
        request: ReportRequest,
    ) -> None:
        await asyncio.sleep(max(0.0, self.begin_s + request.due_s - monotonic_s()))
        if request.after is not None:
            await done[request.after].wait()
        pause_s, attempt = BACKOFF_S_MIN, request.number
        async with turns:
            while not await self._try(client, request, self.doors[attempt % len(self.doors)]):
                attempt += 1
                await asyncio.sleep(pause_s)
                pause_s = min(BACKOFF_S_MAX, pause_s * 1.5)
        self.acknowledged.add(request.number)
        done[request.number].set()

    async def _try(self, client: httpx.AsyncClient, request: ReportRequest, door: str) -> bool:
        headers = {"Authorization": f"Bearer {self.sender.secret}", "Content-Type": "application/json"}
        try:
            response = await client.post(door + PATH, content=request.body(self.base_us), headers=headers)
        except (httpx.HTTPError, OSError):
            return False
        if response.status_code in TRY_AGAIN:
            return False
        if response.status_code != 200 or response.json()["rejected"]:
            self.wrong.append(f"reports {request.number}: {response.status_code} {response.text[:200]}")
        return True
