"""The province with its drivers, sensors and crews: the engine moves it, this says what is seen and sent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sim import demand
from sim.accidents import Obstacles
from sim.beats import Beat
from sim.camera_pictures import path_of
from sim.casting import fleet_vehicles, gates_of, grounds, patrols, watched_vehicles
from sim.detectors import PERIOD_S, Observer
from sim.engine_process import Command, EngineProcess, Stretch
from sim.fleet import Fleet, Told, tunnels_of
from sim.flows import Flows, streams_of
from sim.instants import rfc3339
from sim.native import DETECTORS, POSITIONS, WEATHER, WORKS
from sim.netbuild import Built, build
from sim.pictures import base_address
from sim.places import Places
from sim.population import Population, Trip
from sim.roads import Roads
from sim.scene import Change, Scene, zone_of
from sim.sightings import Camera, Crossing
from sim.truth import TruthFile
from sim.usual import busy, flows_vph
from sim.vehicles import KINDS
from traffic.demonstration import LIVELY_DETACHMENT, LIVELY_SQUADRON, demo_terminals
from traffic.province_tables import Province
from traffic.settings import Settings
from traffic.units import DETACHMENT, UnitTree

VEHICLES = 2_400  # ordinary ones in the busiest hour, beside the streams through busy stretches
SEED = 20_240_601
WARM_UP_STEPS = 60  # until everyone drives; the cameras look from then on
SCRIPT_AT_STEP = 20
STEPS_AT_ONCE_MAX = 20
LOOK_BACK_S = 90.0  # so much the cameras have stored when the platforms come up, as real ones do
LIVE_S = 45.0  # detectors and satellite receivers store nothing: what is older when it could be sent is not told
LINKS_BYTES_MAX = 32 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Seen:
    """What some seconds bring: records of each detachment's platform, and of each native address."""

    passages: dict[int, list[dict[str, object]]] = field(default_factory=dict)
    native: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    terminals: dict[str, Told] = field(default_factory=dict)  # by plate

    def add(self, path: str, records: Sequence[dict[str, object]]) -> None:
        """More of one native address."""
        if records:
            self.native.setdefault(path, []).extend(records)


class World:
    """One run of the simulated province; fewer `vehicles` thin out the streams as well."""

    def __init__(self, province: Province, settings: Settings, *, vehicles: int = VEHICLES, seed: int = SEED) -> None:
        self._province = province
        self._clock = settings.clock
        self._size = vehicles
        self._seed = seed
        self._built: Built = build(
            province.links, province.checkpoints, province.detectors, cache=settings.data_dir / "sumo"
        )
        self._roads = Roads(province.links, self._built.after)
        self.places = Places(province.links)
        self._tree = UnitTree(province.units, province.parents, at=self._clock.now())
        self._ground = grounds(province, self._tree, self._roads)
        self._people = self._population(seed)
        self._flows = self._streams()
        self._scene = self._make_scene()
        self._random = np.random.default_rng([seed, self._clock.now_us() // 1_000_000])
        self._camera = Camera(self._random)
        self._observer = Observer(
            province.detectors, list(self._built.detector_loops.values()), np.random.default_rng([seed, 17])
        )
        self._key_vehicles = fleet_vehicles(province, seed)
        self._fleet = Fleet(
            [(vehicle.plate, vehicle.plate_class) for vehicle, _ in self._key_vehicles], self.places,
            tunnels_of(province.links, province.roads), np.random.default_rng([seed, 19]),
            straight=frozenset(terminal.plate for terminal in demo_terminals()),
        )  # fmt: skip
        self._picture_store = base_address(settings)
        self._pictured = {vehicle.plate for vehicle in watched_vehicles()}
        self._pictured |= {vehicle.plate for vehicle, _ in self._key_vehicles}
        self._patrols = patrols(province, self._tree, self.places, seed)
        own = {gate.id for gate in gates_of(province, self._tree, LIVELY_SQUADRON)}
        self._near = [part for part in province.sections if {part.from_checkpoint, part.to_checkpoint} <= own]
        self._truth = TruthFile(settings.data_dir / "twin")
        self._events = TruthFile(settings.data_dir / "twin", name="events")
        self._links = TruthFile(settings.data_dir / "twin", name="links", bytes_max=LINKS_BYTES_MAX)
        self._gates = {gate.id: gate for gate in province.checkpoints}
        self.detachment = {gate.id: self._tree.at_level(gate.unit_id, DETACHMENT) for gate in province.checkpoints}
        self._pending: list[Trip] = []
        self.time_s = 0.0
        self.running = 0
        self._anchor_us = 0
        self._change, self._said = Change(), Seen()
        self._whole = False  # whether the sums of the running interval cover all of it

    # ---------------------------------------------------------------- who and what there is
    def _population(self, seed: int) -> Population:
        return Population(
            self._roads, list(self._built.loops.values()), size=self._wanted(self._clock.now_us()),
            watched=watched_vehicles(), seed=seed, grounds=self._ground,
        )  # fmt: skip

    def _streams(self) -> Flows:
        scale = min(1.0, self._size / VEHICLES)
        streams = [
            replace(stream, per_h=stream.per_h * scale) for stream in streams_of(self._province.roads, self.places)
        ]
        lengths = {edge: facts.length_m for edge, facts in self._roads.edges.items()}
        return Flows(streams, lengths, np.random.default_rng([self._seed, 5]))

    def _make_scene(self) -> Scene:
        usual = flows_vph(
            self._roads, self._population(self._seed + 1), self._flows.streams, self._ground, vehicles=self._size
        )
        lengths = {edge: float(facts.length_m) for edge, facts in self._roads.edges.items()}
        weights = busy(usual, lengths)
        loops: dict[str, list[float]] = {}
        for edge, position_m in self._built.loop_places():
            loops.setdefault(edge, []).append(position_m)
        obstacles = Obstacles(loops, {edge: facts.lanes for edge, facts in self._roads.edges.items()}, lengths)
        zones = [
            zone_of(self._province, unit, self._tree.subtree(unit), usual)
            for unit in (LIVELY_SQUADRON, LIVELY_DETACHMENT)
        ]
        return Scene(self._province, zones, weights, obstacles, seed=self._seed)

    def engine_start(self) -> dict[str, object]:
        """What the engine begins with."""
        return {
            "network": str(self._built.network),
            "loops_file": str(self._built.loops_file),
            "seed": self._seed,
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

    def _wanted(self, now_us: int) -> int:
        return round(self._size * demand.share(now_us))

    # ---------------------------------------------------------------- time
    async def warm_up(
        self,
        engine: EngineProcess,
        stop: asyncio.Event,
        *,
        look_back_s: float = LOOK_BACK_S,
        steps: int = WARM_UP_STEPS,
    ) -> None:
        """Everyone gets on the road, unseen; then the watched ones start, and the cameras have looked for a while."""
        share = demand.share(self._clock.now_us())
        self._pending = self._begin(share)
        self.anchor(look_back_s + steps)
        for step in range(0, steps, STEPS_AT_ONCE_MAX):
            if stop.is_set():
                return
            if step == SCRIPT_AT_STEP:
                self._scene.begin(self.time_s, steps, self.now_us + round((steps - step) * 1e6))
            if step >= SCRIPT_AT_STEP:
                self._said = self._happen(share)  # kept until somebody sends it
            self._follow(await engine.run(self._command(), STEPS_AT_ONCE_MAX))
        self._pending += self._people.watched()
        self.anchor(look_back_s)

    def _begin(self, share: float) -> list[Trip]:
        now_us = self._clock.now_us()
        self._people.expect(self._wanted(now_us), demand.heavy_share(now_us), new_max=0)
        trips = self._people.begin() + self._people.through(self._flows.begin(share))
        return trips + self._people.keys([vehicle for vehicle, _ in self._key_vehicles], self._key_beats())

    def everyone(self) -> list[dict[str, object]]:
        """The vehicles of the begin as the engine is told of them, for a run that nobody looks at."""
        return [trip.command() for trip in self._begin(demand.share(self._clock.now_us()))]

    def anchor(self, behind_s: float = 0.0) -> None:
        """From here simulated time and domain time run together; `behind_s` of it are still to be driven."""
        self._anchor_us = (self._clock.now_us() // 1_000_000 - round(self.time_s + behind_s)) * 1_000_000
        self._whole = False

    @property
    def now_us(self) -> int:
        """Domain time of the simulation."""
        return self._anchor_us + round(self.time_s * 1e6)

    def behind_s(self) -> float:
        """How far domain time is ahead of the simulation."""
        return (self._clock.now_us() - self.now_us) / 1e6

    async def step(self, engine: EngineProcess, steps: int) -> Seen:
        """Let some seconds go by, at most to the next full half minute; what is seen of them."""
        to_boundary = PERIOD_S - self.now_us // 1_000_000 % PERIOD_S
        steps = min(steps, to_boundary)
        share = demand.share(self.now_us)
        self._demand(share)
        seen = self._happen(share)
        trips = dict(self._people.trips)
        asked = {self._people.of_key[plate]: plate for plate in self._fleet.due(self.time_s + steps)}
        command = self._command()
        command.where, command.count = list(asked), steps == to_boundary
        stretch = await engine.run(command, steps)
        self._look(stretch, trips, seen)
        self._follow(stretch)
        if command.count:
            self._count(stretch, seen)
        self._locate(stretch, asked, seen)
        return seen

    def end(self) -> Seen:
        """What is said last: works that nobody will see any more are over."""
        seen = Seen()
        seen.add(WORKS, self._scene.end(self.now_us))
        return seen

    def close(self) -> None:
        """Close the truth files."""
        for file in (self._truth, self._events, self._links):
            file.close()

    # ---------------------------------------------------------------- what moves
    def _demand(self, share: float) -> None:
        """As many on the roads as the hour wants."""
        self._pending += self._people.expect(self._wanted(self.now_us), demand.heavy_share(self.now_us))
        self._pending += self._people.through(self._flows.due(self.time_s, share))
        self._pending += self._people.speeders(self.time_s, self._province.sections, self._near)

    def _happen(self, share: float) -> Seen:
        """Accidents, works, weather and faults of now."""
        change = self._scene.turn(self.time_s, self.now_us, share)
        self._change.block += change.block
        self._change.unblock += change.unblock
        self._change.limits |= change.limits
        self._events.write(change.facts)
        self._said.add(WEATHER, change.weather)
        self._said.add(WORKS, change.works)
        said, self._said = self._said, Seen()
        return said

    def _command(self) -> Command:
        change, self._change = self._change, Change()
        trips, self._pending = self._pending, []
        return Command(
            add=[trip.command(self._haste(trip)) for trip in trips],
            block=change.block,
            unblock=change.unblock,
            limits=change.limits,
        )

    def _haste(self, trip: Trip) -> float:
        """Who drives too fast does so in any weather."""
        return 1.0 / self._scene.slowed(trip.route[0]) if trip.role == "speeder" else 1.0

    def _follow(self, stretch: Stretch) -> None:
        self.time_s, self.running = stretch.time_s, stretch.running
        for name in stretch.ended:
            trip = self._people.trips.get(name)
            if trip is not None and trip.stream >= 0:
                self._flows.left(trip.stream)
        self._pending += self._people.ended(stretch.ended)
        self._pending += self._people.refused(stretch.refused)
        self._scene.refused(stretch.refused)

    def _key_beats(self) -> dict[str, Sequence[Beat]]:
        """Some key vehicles stay where the demonstration's logins look."""
        return {vehicle.plate: self._ground.local for vehicle, home in self._key_vehicles if home == LIVELY_DETACHMENT}

    # ---------------------------------------------------------------- what is seen
    def _look(self, stretch: Stretch, trips: dict[str, Trip], seen: Seen) -> None:
        """Cameras: a record of each crossing for the platform of its detachment."""
        facts = []
        for loop_id, name, at_s, speed_ms, length_m in stretch.crossings:
            trip, loop = trips.get(name), self._built.loops[loop_id]
            if trip is None:
                continue
            gate = self._gates[loop.checkpoint]
            crossing = Crossing(
                at_us=self._anchor_us + round(at_s * 1e6), direction=loop.direction, lane=loop.lane,
                speed_ms=speed_ms, length_m=length_m,
            )  # fmt: skip
            record = self._camera.record(crossing, trip.vehicle, gate)
            if self._scene.faults.unreadable(gate.id, at_s):
                record |= {"HasPlate": "0", "PlateNo": "未识别"}
            if trip.vehicle.plate in self._pictured or trip.role == "speeder":
                path = path_of(trip.vehicle, at_us=crossing.at_us, gate=gate.code, lane=crossing.lane)
                record["StorageUrl1"] = self._picture_store + path
            owner = self.detachment[gate.id]
            if owner is not None:
                seen.passages.setdefault(owner, []).append(record)
            facts.append(_truth(crossing, trip, gate.code, record))
        self._truth.write(facts)

    def _count(self, stretch: Stretch, seen: Seen) -> None:
        """Detectors at a full half minute; an interval that was not counted whole is not reported."""
        if self._whole:
            if self._is_live():
                reports = self._observer.reports(stretch.counts, self.now_us)
                seen.add(DETECTORS, self._observer.records(self._scene.faults.said(reports, self.time_s)))
            self._links.write([_links_truth(stretch, self.now_us, self._roads)])
        self._whole = True

    def _is_live(self) -> bool:
        return self.behind_s() < LIVE_S * max(1.0, self._clock.rate)

    def _locate(self, stretch: Stretch, asked: dict[str, str], seen: Seen) -> None:
        """Satellite positions of key vehicles and of crews."""
        self._patrols.step(self.time_s, self._scene.reported(self.time_s))
        if not self._is_live():
            return
        places = {asked[name]: (edge, place_m, speed_ms) for name, edge, place_m, speed_ms in stretch.places}
        seen.add(POSITIONS, self._fleet.records(places, self.time_s, self.now_us))
        seen.terminals = self._fleet.told(places, self.time_s, self.now_us)
        for code, spot, speed_kmh, lon, lat in self._patrols.positions(self.time_s):
            bearing_deg = round(self.places.point(spot.edge, spot.position_m)[1], 1) % 360.0
            seen.add(POSITIONS, [{"crew": code, "observed_at": rfc3339(self.now_us), "lon": lon, "lat": lat,
                                  "speed_kmh": round(speed_kmh, 1), "bearing_deg": bearing_deg}])  # fmt: skip


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


def _links_truth(stretch: Stretch, at_us: int, roads: Roads) -> dict[str, object]:
    """Each link that was driven on in the interval: speed km/h (space mean), flow per hour, travel time s (Edie)."""
    links = {}
    for edge, vehicle_s, vehicle_m in stretch.edges:
        length_m = roads.edges[edge].length_m
        speed_ms = vehicle_m / vehicle_s
        flow_vph = vehicle_m / length_m / PERIOD_S * 3600.0
        travel_s = round(length_m / speed_ms, 1) if speed_ms > 0.1 else None
        links[edge] = [round(speed_ms * 3.6, 1), round(flow_vph, 1), travel_s]
    return {"at": at_us, "links": links}
