"""One run of `bench twin` in a process of its own, on one core: the twin at full speed against a door, or SUMO alone.

    python -m dashboards.bench.twin_drive '{"vehicles": 10000, ...}'

Prints one line of JSON: seconds of the world, real seconds, CPU seconds by process, and what was handed over.
"""

import asyncio
import os
import sys
from pathlib import Path

import httpx
import msgspec

from dashboards.bench.scratch import cpu_s
from sim.engine_process import EngineProcess
from sim.native import NativeSender
from sim.platform import Platform
from sim.world import World
from traffic.clock import monotonic_s
from traffic.province_tables import model_province
from traffic.settings import load_settings

WARM_UP_STEPS = 40
STEPS = 10  # at once: what a clock at real time never needs, and what costs least
TIMEOUT_S = 30.0
COMMAND_S_MAX = 900.0  # a machine with other work is slow, not lost


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """What is driven. `door`: address; none: SUMO alone, which nobody looks at, with these `options`."""

    folder: str
    vehicles: int
    seconds: int
    clock_offset_s: float
    door: str = ""
    options: tuple[str, ...] = ()
    step_s: float = 1.0


class Driven(msgspec.Struct, kw_only=True, frozen=True):
    """What came of it."""

    vehicles: int
    world_s: float
    real_s: float
    engine_cpu_s: float
    twin_cpu_s: float = 0.0
    passages: int = 0
    records: int = 0

    @property
    def cpu_share(self) -> float:
        """Of one core at real time."""
        return (self.engine_cpu_s + self.twin_cpu_s) / self.world_s


async def drive(wanted: Wanted) -> Driven:
    """One run."""
    settings = load_settings(data_dir=Path(wanted.folder), clock_offset_s=wanted.clock_offset_s)
    world = World(model_province(), settings, vehicles=wanted.vehicles)
    start = world.engine_start() | {"options": list(wanted.options), "step_s": wanted.step_s}
    try:
        engine = await EngineProcess.start(start | {"observe": bool(wanted.door)}, command_s_max=COMMAND_S_MAX)
        try:
            return await (_look(world, engine, wanted) if wanted.door else _alone(world, engine, wanted))
        finally:
            await engine.close()
    finally:
        world.close()


async def _look(world: World, engine: EngineProcess, wanted: Wanted) -> Driven:
    """The whole twin: everything is seen, encoded and handed to the door."""
    passages = records = 0
    async with httpx.AsyncClient(base_url=wanted.door, timeout=TIMEOUT_S, trust_env=False) as client:
        units = {unit for unit in world.detachment.values() if unit is not None}
        platforms = {unit: Platform(client, str(unit), "", clock=_CLOCK) for unit in units}
        native, ended = NativeSender(client, "bench"), asyncio.Event()
        tasks = [asyncio.create_task(platform.run(ended)) for platform in platforms.values()]
        tasks.append(asyncio.create_task(native.run(ended)))
        await world.warm_up(engine, asyncio.Event(), look_back_s=0.0, steps=WARM_UP_STEPS)
        began_s, before, own = monotonic_s(), cpu_s(engine.pid), _own_cpu_s()
        first_s = world.time_s
        while world.time_s < first_s + wanted.seconds:
            seen = await world.step(engine, STEPS)
            for unit, found in seen.passages.items():
                platforms[unit].put(found)
                passages += len(found)
            for path, found in seen.native.items():
                native.put(path, found)
                records += len(found)
            await asyncio.sleep(0)
        ended.set()
        await asyncio.gather(*tasks)
        return Driven(
            vehicles=world.running, world_s=world.time_s - first_s, real_s=monotonic_s() - began_s,
            engine_cpu_s=cpu_s(engine.pid) - before, twin_cpu_s=_own_cpu_s() - own, passages=passages, records=records,
        )  # fmt: skip


async def _alone(world: World, engine: EngineProcess, wanted: Wanted) -> Driven:
    """The same vehicles on the same roads; nobody looks, nobody is replaced."""
    trips = world.everyone()
    steps = round(wanted.seconds / wanted.step_s)
    await engine.run(trips, round(WARM_UP_STEPS / wanted.step_s))
    began_s, before = monotonic_s(), cpu_s(engine.pid)
    stretch = await engine.run([], steps)
    return Driven(
        vehicles=stretch.running, world_s=wanted.seconds, real_s=monotonic_s() - began_s,
        engine_cpu_s=cpu_s(engine.pid) - before,
    )  # fmt: skip


_CLOCK = load_settings().clock


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def main() -> None:
    """Run on the first core that is allowed, and print."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    wanted = msgspec.json.decode(sys.argv[1], type=Wanted)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(drive(wanted))) + b"\n")


if __name__ == "__main__":
    main()
