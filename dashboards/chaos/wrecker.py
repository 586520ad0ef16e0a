"""Deals the planned blows to an instance, and starts again what they ended."""

import asyncio
import os
import signal
from collections.abc import Callable

from dashboards.chaos.blows import PAUSES, STOPS, Blow, Disturbance
from dashboards.chaos.instance import Instance, Process
from traffic.clock import monotonic_s
from traffic.service import Service

_KIND = {
    Blow.WORKER_KILLED: "worker",
    Blow.WORKER_PAUSED: "worker",
    Blow.WORKER_STOPPED: "worker",
    Blow.MONITOR_KILLED: "monitor",
    Blow.MONITOR_PAUSED: "monitor",
    Blow.MONITOR_STOPPED: "monitor",
    Blow.DOORS_KILLED: "doors",
    Blow.DOORS_STOPPED: "doors",
    Blow.API_KILLED: "api",
}
_SERVICE = {Blow.REDIS_KILLED: "redis", Blow.POSTGRES_KILLED: "postgres", Blow.BACKEND_KILLED: "postgres"}


class Wrecker:
    """One for a run. `dealt`: what was done, for the report."""

    def __init__(self, instance: Instance, *, begin_s: float, say: Callable[[str], None]) -> None:
        self._instance = instance
        self._begin_s = begin_s
        self._say = say
        self._down = {name: asyncio.Lock() for name in ("redis", "postgres")}
        self.dealt: list[dict[str, object]] = []

    async def deal_all(self, disturbances: list[Disturbance]) -> None:
        """Deal every blow at its time; returns when all that was ended runs again."""
        async with asyncio.TaskGroup() as group:
            for disturbance in disturbances:
                await asyncio.sleep(max(0.0, self._begin_s + disturbance.at_s - monotonic_s()))
                group.create_task(self._deal(disturbance))

    async def _deal(self, disturbance: Disturbance) -> None:
        if disturbance.blow in _SERVICE:
            await self._hit_service(disturbance, _SERVICE[disturbance.blow])
            return
        standing = [p for p in self._instance.of_kind(_KIND[disturbance.blow]) if not p.held and p.child.is_running()]
        if standing:
            await self._hit(disturbance, standing[disturbance.which % len(standing)])

    def _note(self, disturbance: Disturbance, whom: str) -> None:
        at_s = round(monotonic_s() - self._begin_s, 2)
        self.dealt.append({"at_s": at_s, "blow": str(disturbance.blow), "whom": whom, "for_s": disturbance.for_s})
        self._say(f"{at_s:6.1f} s  {disturbance.blow} ({whom}), for {disturbance.for_s:.1f} s")

    async def _hit(self, disturbance: Disturbance, process: Process) -> None:
        child = process.child
        if child.process is None:
            return
        self._note(disturbance, child.part.name)
        process.held = True
        try:
            if disturbance.blow in PAUSES:
                child.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(disturbance.for_s)
                child.process.send_signal(signal.SIGCONT)
                return
            if disturbance.blow in STOPS:
                child.ask_stop()
                await asyncio.to_thread(child.wait_stopped)
            else:
                child.process.kill()
                await asyncio.to_thread(child.process.wait)
            await asyncio.sleep(disturbance.for_s)
            child.start()  # in this thread: the kernel ends a child with the thread that started it
        finally:
            process.held = False

    async def _hit_service(self, disturbance: Disturbance, name: str) -> None:
        async with self._down[name]:
            service = self._instance.service(name)
            if disturbance.blow is Blow.BACKEND_KILLED:
                victim = _one_backend(service, disturbance.which)
                if victim is None:
                    return
                self._note(disturbance, f"process {victim}")
                os.kill(victim, signal.SIGKILL)  # the others are ended by the postmaster, which recovers by itself
                await asyncio.sleep(disturbance.for_s)
                return
            self._note(disturbance, service.name)
            await asyncio.to_thread(service.kill)
            await asyncio.sleep(disturbance.for_s)
            await asyncio.to_thread(service.start)


def _one_backend(service: Service, which: int) -> int | None:
    backends = sorted(pid for pid in service.processes() if pid != service.pid)
    return backends[which % len(backends)] if backends else None
