"""The demonstration's outside world: SUMO's vehicles on the province's roads, seen by cameras, sent to the door.

It knows the door's address and the platforms' passwords, as real platforms do; it never touches the database, and its
truth file is read by nothing in the system.
"""

import asyncio
import json
import signal
from collections.abc import Sequence

import httpx
import numpy as np
import structlog

from sim.beats import Beat, beats_past, local_beats
from sim.engine_process import EngineProcess, Stretch
from sim.netbuild import Built, build
from sim.platform import TIMEOUT_S, Platform
from sim.population import Grounds, Population, Trip
from sim.roads import Roads
from sim.sightings import Camera, Crossing
from sim.truth import TruthFile
from sim.vehicles import KINDS, Vehicle
from traffic.clock import monotonic_s
from traffic.demonstration import LIVELY_DETACHMENT, LIVELY_SQUADRON, demo_file, watch_rows
from traffic.errors import SettingsError, TrafficError
from traffic.network import Checkpoint
from traffic.plates import fold
from traffic.province_tables import Province, model_province
from traffic.settings import Settings
from traffic.units import DETACHMENT, UnitTree

VEHICLES = 1_500
SEED = 20_240_601
LOCAL_SHARE = 0.15  # of them stay about the checkpoints of a demonstration's detachment
WARM_UP_STEPS = 60  # until everyone drives; the cameras look from then on
STEPS_AT_ONCE_MAX = 20
LOOK_BACK_S = 150.0  # so much the cameras have stored when the platforms come up, as real ones do
BEHIND_S_MAX = 300.0  # a machine that slept so long does not replay what it missed
REPORT_EVERY_S = 60.0

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


async def drive(settings: Settings, stop: asyncio.Event, *, vehicles: int = VEHICLES) -> None:
    """The twin on the running event loop, until `stop` is set."""
    passwords = platform_passwords(settings)
    world = World(model_province(), settings, vehicles=vehicles)
    address = f"http://{settings.host}:{settings.door_port}"
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S, trust_env=False) as client:
        platforms = {
            unit: Platform(client, code, password, clock=settings.clock) for unit, (code, password) in passwords.items()
        }
        engine = await EngineProcess.start(world.engine_start())
        try:
            await world.warm_up(engine, stop)
            ended = asyncio.Event()  # the cameras first, then the platforms, which still send what was seen
            async with asyncio.TaskGroup() as tasks:
                for platform in platforms.values():
                    tasks.create_task(platform.run(ended))
                tasks.create_task(_live(world, engine, platforms, stop=stop, ended=ended))
        except* TrafficError as group:
            raise group.exceptions[0] from None  # one sentence, not a group of them
        finally:
            await engine.close()
            world.close()


def platform_passwords(settings: Settings) -> dict[int, tuple[str, str]]:
    """Unit -> (code, password) of each detachment's platform, out of the instance's demo.json."""
    path = demo_file(settings)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["devices"]
        return {int(row["unit_id"]): (row["code"], row["password"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} holds no passwords of platforms: load the province first") from error


def watched_vehicles() -> list[Vehicle]:
    """The vehicles of the demonstration's watch list, as they look."""
    found = []
    for row in watch_rows():
        kind = next(kind for kind in KINDS if _fits(kind.plate_class, kind.vehicle_classes, row))
        found.append(
            Vehicle(
                plate=fold(row["plate"]),
                plate_class=int(row["plate_class"]),
                plate_color=kind.plate_color,
                vehicle_class=row["vehicle_class"],
                body_color=int(row["body_color"]),
                kind=kind.id,
                speed_factor=1.0,
            )
        )
    return found


def gates_of(province: Province, tree: UnitTree, unit: int) -> list[Checkpoint]:
    """The checkpoints of a unit and all below it."""
    below = tree.subtree(unit)
    return [gate for gate in province.checkpoints if gate.unit_id in below]


def grounds(province: Province, tree: UnitTree, roads: Roads) -> Grounds:
    """Who stays where in the demonstration, so that each of its logins has something to see."""

    def kept_to(unit: str) -> tuple[str, list[Beat]]:
        return unit, beats_past(province.links, gates_of(province, tree, int(unit)), roads)

    units = {row["keeps_to"]: kept_to(row["keeps_to"]) for row in watch_rows() if row["keeps_to"]}
    return Grounds(
        local=local_beats(province.links, gates_of(province, tree, LIVELY_DETACHMENT), roads),
        local_share=LOCAL_SHARE,
        keepers={fold(row["plate"]): units[row["keeps_to"]] for row in watch_rows() if row["keeps_to"]},
    )


def _fits(plate_class: int, vehicle_classes: Sequence[str], row: dict[str, str]) -> bool:
    return plate_class == int(row["plate_class"]) and vehicle_classes[0][0] == row["vehicle_class"][0]


class World:
    """The province with its drivers and cameras; the engine moves it, this says what is seen."""

    def __init__(self, province: Province, settings: Settings, *, vehicles: int) -> None:
        self._province = province
        self._clock = settings.clock
        self._built: Built = build(province.links, province.checkpoints, cache=settings.data_dir / "sumo")
        self._roads = Roads(province.links, self._built.after)
        loops = list(self._built.loops.values())
        tree = UnitTree(province.units, province.parents, at=self._clock.now())
        self._people = Population(
            self._roads, loops, size=vehicles, watched=watched_vehicles(), seed=SEED,
            grounds=grounds(province, tree, self._roads),
        )  # fmt: skip
        own = {gate.id for gate in gates_of(province, tree, LIVELY_SQUADRON)}
        self._near = [part for part in province.sections if {part.from_checkpoint, part.to_checkpoint} <= own]
        self._camera = Camera(np.random.default_rng([SEED, self._clock.now_us() // 1_000_000]))
        self._truth = TruthFile(settings.data_dir / "twin")
        self._gates = {gate.id: gate for gate in province.checkpoints}
        self.detachment = {gate.id: tree.at_level(gate.unit_id, DETACHMENT) for gate in province.checkpoints}
        self._pending: list[Trip] = []
        self.time_s = 0.0
        self._anchor_us = 0

    def engine_start(self) -> dict[str, object]:
        """What the engine begins with."""
        return {
            "network": str(self._built.network),
            "loops_file": str(self._built.loops_file),
            "seed": SEED,
            "step_s": 1.0,
            "types": [
                {
                    "id": kind.id,
                    "length_m": kind.length_m,
                    "speed_kmh_max": kind.speed_kmh_max,
                    "accel_ms2": kind.accel_ms2,
                }
                for kind in KINDS
            ],
        }

    async def warm_up(self, engine: EngineProcess, stop: asyncio.Event) -> None:
        """Everyone gets on the road, unseen; then the watched ones start, and the cameras have looked for a while."""
        self._pending = self._people.begin()
        for _ in range(0, WARM_UP_STEPS, STEPS_AT_ONCE_MAX):
            if stop.is_set():
                return
            self._follow(await engine.run(self._commands(), STEPS_AT_ONCE_MAX))
        self._pending += self._people.watched()
        self.anchor(LOOK_BACK_S)

    def anchor(self, behind_s: float = 0.0) -> None:
        """From here simulated time and domain time run together; `behind_s` of it are still to be driven."""
        self._anchor_us = self._clock.now_us() - round((self.time_s + behind_s) * 1e6)

    def behind_s(self) -> float:
        """How far domain time is ahead of the simulation."""
        return (self._clock.now_us() - self._anchor_us) / 1e6 - self.time_s

    async def step(self, engine: EngineProcess, steps: int) -> dict[int, list[dict[str, object]]]:
        """Let some seconds go by; returns the records of each detachment's platform."""
        self._pending += self._people.speeders(self.time_s, self._province.sections, self._near)
        trips = dict(self._people.trips)
        stretch = await engine.run(self._commands(), steps)
        records: dict[int, list[dict[str, object]]] = {}
        facts = []
        for loop_id, name, at_s, speed_ms, length_m in stretch.crossings:
            trip, loop = trips.get(name), self._built.loops[loop_id]
            if trip is None:
                continue
            gate = self._gates[loop.checkpoint]
            crossing = Crossing(
                at_us=self._anchor_us + round(at_s * 1e6),
                direction=loop.direction,
                lane=loop.lane,
                speed_ms=speed_ms,
                length_m=length_m,
            )
            record = self._camera.record(crossing, trip.vehicle, gate)
            owner = self.detachment[gate.id]
            if owner is not None:
                records.setdefault(owner, []).append(record)
            facts.append(_truth(crossing, trip, gate.code, record))
        self._truth.write(facts)
        self._follow(stretch)
        return records

    def close(self) -> None:
        """Close the truth file."""
        self._truth.close()

    def _commands(self) -> list[dict[str, object]]:
        commands = [trip.command() for trip in self._pending]
        self._pending = []
        return commands

    def _follow(self, stretch: Stretch) -> None:
        self.time_s = stretch.time_s
        self._pending += self._people.ended(stretch.ended)
        self._pending += self._people.refused(stretch.refused)


def _truth(crossing: Crossing, trip: Trip, gate_code: str, record: dict[str, object]) -> dict[str, object]:
    return {
        "at": crossing.at_us,
        "checkpoint": gate_code,
        "direction": crossing.direction,
        "lane": crossing.lane,
        "plate": trip.vehicle.plate,
        "read": record["PlateNo"],
        "speed_kmh": round(crossing.speed_ms * 3.6, 1),
        "role": trip.role,
        "record": record["MotorVehicleID"],
    }


async def _live(
    world: World, engine: EngineProcess, platforms: dict[int, Platform], *, stop: asyncio.Event, ended: asyncio.Event
) -> None:
    """Keep pace with the clock until told to stop; then say that it has ended."""
    report_due_s = monotonic_s() + REPORT_EVERY_S
    passages = 0
    try:
        while not stop.is_set():
            behind_s = world.behind_s()
            if behind_s > BEHIND_S_MAX:
                log.warning("the twin fell behind and goes on from now", seconds=round(behind_s))
                world.anchor()
                continue
            steps = min(int(behind_s), STEPS_AT_ONCE_MAX)
            if steps < 1:
                await _pause(stop, 0.2)
                continue
            for unit, records in (await world.step(engine, steps)).items():
                platforms[unit].put(records)
                passages += len(records)
            if monotonic_s() >= report_due_s:
                report_due_s += REPORT_EVERY_S
                _report(platforms, passages)
                passages = 0
    finally:
        ended.set()


def _report(platforms: dict[int, Platform], passages: int) -> None:
    counts = [platform.counts for platform in platforms.values()]
    log.info(
        "the twin's last minute",
        passages=passages,
        waiting=sum(platform.waiting for platform in platforms.values()),
        taken_total=sum(count.taken for count in counts),
        refused_total=sum(count.refused for count in counts),
        given_up_total=sum(count.given_up for count in counts),
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
