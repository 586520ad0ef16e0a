"""The demonstration's outside world: SUMO's vehicles on the province's roads, seen by sensors, sent to the doors.

It knows the doors' address and the senders' passwords and keys, as real platforms do; it never touches the database,
and its truth files are read by nothing in the system.
"""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable

import httpx
import structlog

from sim import pictures
from sim.engine_process import EngineLost, EngineProcess
from sim.native import POSITIONS, NativeSender
from sim.others import Others
from sim.platform import TIMEOUT_S, Platform
from sim.terminal_lines import TerminalLines
from sim.world import STEPS_AT_ONCE_MAX, VEHICLES, Seen, World
from traffic.clock import Clock, monotonic_s
from traffic.demonstration import NATIVE_SENDER, demo_file
from traffic.errors import SettingsError, TrafficError
from traffic.province_tables import model_province
from traffic.settings import Settings

BEHIND_S_MAX = 300.0  # a machine that slept so long does not replay what it missed
UPDATES_S_MAX = 45_000.0  # vehicles times rate that a machine with other work can do; faster clocks get fewer vehicles
VEHICLES_IN_ALL = 3.0  # vehicles under way for each ordinary one: streams are the greater part
REPORT_EVERY_S = 60.0
LOST_MAX, LOST_PAUSE_S = 5, 2.0  # engines lost one after the other, none of which lived LOST_FORGOTTEN_S
LOST_FORGOTTEN_S = 600.0

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Drive and send until SIGTERM or SIGINT; raises SettingsError where the demonstration was not set up."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await drive(settings, stop)


class Senders:
    """Everyone who speaks to the doors."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings, *, others: bool = True) -> None:
        passwords, key = secrets_of(settings)
        self.others = Others(client, settings, model_province()) if others else None
        self.platforms = {
            unit: Platform(client, code, password, clock=settings.clock) for unit, (code, password) in passwords.items()
        }
        self.native = NativeSender(client, key)
        self.terminals = TerminalLines(settings)

    def put(self, seen: Seen) -> None:
        """Hand over what was seen."""
        for unit, records in seen.passages.items():
            self.platforms[unit].put(self.others.passages(unit, records) if self.others else records)
        for path, records in seen.native.items():
            self.native.put(path, self.others.positions(records) if self.others and path == POSITIONS else records)
        self.terminals.put(seen.terminals)

    def figures(self) -> dict[str, object]:
        """For the log."""
        counts = [platform.counts for platform in self.platforms.values()]
        native = self.native.counts
        return {
            "waiting": sum(platform.waiting for platform in self.platforms.values()) + self.native.waiting,
            **self.terminals.figures(),
            **(self.others.figures() if self.others else {}),
            "passages_taken": sum(count.taken for count in counts),
            "refused": sum(count.refused for count in counts) + sum(count.refused for count in native.values()),
            "given_up": sum(count.given_up for count in counts) + sum(count.given_up for count in native.values()),
            **{path.rpartition("/")[2].replace("-", "_") + "_taken": count.taken for path, count in native.items()},
        }


async def drive(
    settings: Settings, stop: asyncio.Event, *, vehicles: int | None = None, others: bool = True,
    start_engine: Callable[[dict[str, object]], Awaitable[EngineProcess]] = EngineProcess.start,
) -> None:  # fmt: skip
    """The twin on the running event loop, until `stop` is set. A lost engine is started again with a new world.

    Without `others` everything comes by the platforms of our own units, as where nobody else is connected.
    """
    secrets_of(settings)
    size = vehicles if vehicles is not None else vehicles_for(settings.clock)
    address = f"http://{settings.host}:{settings.door_port}"
    async with (
        pictures.serving(settings),
        httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, trust_env=False) as client,
    ):
        senders = Senders(client, settings, others=others)
        ended = asyncio.Event()  # the cameras first, then the senders, which still send what was seen

        async def live() -> None:
            try:
                await _keep_alive(lambda: _life(settings, senders, stop, size, start_engine), stop)
            finally:
                ended.set()

        try:
            async with asyncio.TaskGroup() as tasks:
                for platform in senders.platforms.values():
                    tasks.create_task(platform.run(ended))
                tasks.create_task(senders.native.run(ended))
                if senders.others:
                    tasks.create_task(senders.others.run(ended))
                tasks.create_task(senders.terminals.run(ended))
                tasks.create_task(live())
        except* TrafficError as group:
            raise group.exceptions[0] from None  # one sentence, not a group of them


def vehicles_for(clock: Clock) -> int:
    """As many ordinary vehicles as a machine can move at the clock's rate beside its other work."""
    possible = UPDATES_S_MAX / (VEHICLES_IN_ALL * clock.rate)
    if possible >= VEHICLES:
        return VEHICLES
    log.info("the clock is fast: fewer vehicles drive", rate=clock.rate, share=round(possible / VEHICLES, 2))
    return round(possible)


def secrets_of(settings: Settings) -> tuple[dict[int, tuple[str, str]], str]:
    """Unit -> (code, password) of each detachment's platform, and the native sender's key, out of demo.json."""
    path = demo_file(settings)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        keys = {row["name"]: row["key"] for row in kept["native"]}
        return {int(row["unit_id"]): (row["code"], row["password"]) for row in kept["devices"]}, keys[NATIVE_SENDER]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} holds no secrets of senders: load the province first") from error


async def _keep_alive(life: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """One life after the other; engines that are lost too often are no accident."""
    lost = 0
    while not stop.is_set():
        began_s = monotonic_s()
        try:
            await life()
        except EngineLost as error:
            lost = 1 if monotonic_s() - began_s > LOST_FORGOTTEN_S else lost + 1
            if lost >= LOST_MAX:
                raise
            log.warning("the simulation is started again", why=str(error))
            await _pause(stop, LOST_PAUSE_S)


async def _life(
    settings: Settings, senders: Senders, stop: asyncio.Event, vehicles: int,
    start_engine: Callable[[dict[str, object]], Awaitable[EngineProcess]],
) -> None:  # fmt: skip
    """One world with its engine, until told to stop."""
    world = World(model_province(), settings, vehicles=vehicles)
    try:
        engine = await start_engine(world.engine_start())
        try:
            await world.warm_up(engine, stop)
            await _live(world, engine, senders, stop, rate=settings.clock.rate)
            senders.put(world.end())
        finally:
            await engine.close()
    finally:
        world.close()


async def _live(world: World, engine: EngineProcess, senders: Senders, stop: asyncio.Event, *, rate: float) -> None:
    """Keep pace with the clock until told to stop."""
    pace = Pace(rate)
    while not stop.is_set():
        behind_s = world.behind_s()
        if behind_s > BEHIND_S_MAX * max(1.0, rate):
            log.warning("the twin fell behind and goes on from now", seconds=round(behind_s), **pace.figures())
            world.anchor()
            continue
        steps = min(int(behind_s), STEPS_AT_ONCE_MAX)
        if steps < 1:
            await _pause(stop, 0.2 / max(1.0, rate))
            continue
        before_s, began_s = world.time_s, monotonic_s()
        senders.put(await world.step(engine, steps))
        pace.drove(world.time_s - before_s, monotonic_s() - began_s)
        if pace.is_due():
            figures = pace.report(behind_s)
            log.info("the twin's last minute", vehicles=world.running, **figures, **senders.figures())


class Pace:
    """How fast the world can be driven, beside how fast it should be."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due_s = monotonic_s() + REPORT_EVERY_S
        self._driven_s = self._busy_s = 0.0

    def drove(self, seconds: float, took_s: float) -> None:
        """So many seconds of the world, in so many real ones."""
        self._driven_s += seconds
        self._busy_s += took_s

    def is_due(self) -> bool:
        """Whether a minute is over."""
        return monotonic_s() >= self._due_s

    def figures(self) -> dict[str, object]:
        """The rate that this machine sustains now."""
        return {"rate": self._rate, "sustained_rate": round(self._driven_s / self._busy_s, 1) if self._busy_s else None}

    def report(self, behind_s: float) -> dict[str, object]:
        """The last minute's figures; says so when the world cannot keep up."""
        figures = {**self.figures(), "behind_s": round(behind_s)}
        if self._busy_s and self._driven_s / self._busy_s < self._rate:
            log.warning("this machine does not keep up with the clock", **figures)
        self._due_s = monotonic_s() + REPORT_EVERY_S
        self._driven_s = self._busy_s = 0.0
        return figures


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
