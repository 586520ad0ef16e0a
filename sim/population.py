"""Who drives where in the demonstration: as many as the hour wants, watched ones, key vehicles and speeders among them.

Decisions only, by a seeded generator: which trip a vehicle makes, and what follows when one has ended. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sim.beats import Beat, Run
from sim.flows import USUAL_FACTOR, Entry
from sim.loops import Loop
from sim.roads import Roads
from sim.vehicles import KIND_OF_ID, KINDS, Maker, Vehicle
from traffic.network import Section

TRIP_M_MIN, TRIP_M_MAX = 40_000, 500_000
TRIES_MAX = 30
RENEWED_SHARE = 0.5  # of those who arrive: the vehicle leaves the roads and another one comes
FIRST_WATCHED_S, WATCHED_EVERY_S = 8.0, 18.0  # when the watched vehicles come to their first checkpoints
KEEPER_FIRST_S, KEEPER_EVERY_S = 10.0, 45.0  # the same for those who keep to the roads of one unit, for each unit
SPEEDER_EVERY_S = 45.0
SPEEDER_AHEAD_M = 150.0  # how far before its section a speeder appears
SHORT_SECTION_M = 8_000
SPEEDER_FACTOR = (1.2, 1.55)
NEW_AT_ONCE_MAX = 50  # ordinary vehicles that set out within one step
DENSE = 1 / 16_000  # checkpoints per metre, where watched vehicles keep to


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Where people stay. `local`: the beats of a share of the ordinary vehicles.

    `keepers`: plate of a watched vehicle -> (name of a ground, its beats); the others roam.
    """

    local: Sequence[Beat] = ()
    local_share: float = 0.0
    keepers: Mapping[str, tuple[str, Sequence[Beat]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One run through the network; `id` is never used twice. `role`: ordinary, watched, key, speeder or through.

    Who is `through` belongs to a `stream` (sim/flows.py). On a `beat` a trip ends at `arrival_m` of its last edge, and
    `way` says which one it drives.
    """

    id: str
    vehicle: Vehicle
    route: tuple[str, ...]
    position_m: float
    role: str = "ordinary"
    arrival_m: float | None = None
    beat: Beat | None = None
    way: int = 0
    stream: int = -1

    def command(self, haste: float = 1.0) -> dict[str, object]:
        """What the engine is told; `haste` is a factor on the driver's own speed."""
        return {
            "id": self.id,
            "type": self.vehicle.kind,
            "route": list(self.route),
            "position_m": self.position_m,
            "arrival_m": self.arrival_m,
            "speed_factor": self.vehicle.speed_factor * haste,
        }


class Population:
    """Trips under way. `loops`: places of all checkpoints, from which the dense part of the network is told."""

    def __init__(
        self, roads: Roads, loops: Sequence[Loop], *, size: int, watched: Sequence[Vehicle], seed: int,
        grounds: Grounds | None = None,
    ) -> None:  # fmt: skip
        self._roads = roads
        self._random = np.random.default_rng(seed)
        self._maker = Maker(self._random, [vehicle.plate for vehicle in watched])
        self._watched = watched
        self._grounds = grounds or Grounds()
        self._size = size
        self._loops = loops
        self._edges = sorted(roads.edges)
        self._draw = _shares([roads.edges[edge].draw for edge in self._edges])
        self._gates = {edge: len({loop.checkpoint for loop in loops if loop.edge == edge}) for edge in self._edges}
        self._dense = [edge for edge in self._edges if self._gates[edge] / roads.edges[edge].length_m > DENSE]
        self._dense = self._dense or self._edges
        self._made = 0
        self._speeder_due_s = 0.0
        self._sections_gone = 0
        self._ordinary_now = 0
        self.of_key: dict[str, str] = {}  # plate of a key vehicle -> its trip
        self.trips: dict[str, Trip] = {}

    def expect(self, size: int, heavy_share: float, *, new_max: int = NEW_AT_ONCE_MAX) -> list[Trip]:
        """So many ordinary vehicles are wanted from now on: who is missing sets out, who is too many ends its trip."""
        self._size = size
        self._maker.expect(heavy_share)
        missing = min(size - self._ordinary_now, new_max)
        return [self._ordinary(self._maker.any()) for _ in range(missing)]

    def keys(self, vehicles: Sequence[Vehicle], beats: Mapping[str, Sequence[Beat]]) -> list[Trip]:
        """The key vehicles; some keep to the beats that are given for their plates, the others go everywhere."""
        trips = []
        for number, vehicle in enumerate(vehicles):
            own = beats.get(vehicle.plate, ())
            if own:
                beat = own[number % len(own)]
                place_m = float(self._random.uniform(0.0, 2 * beat.length_m))
                trips.append(self._on_beat(vehicle, beat, beat.run_from(place_m, self._roads), "key"))
            else:
                trips.append(self._ordinary(vehicle, role="key"))
        return trips

    def through(self, entries: Sequence[Entry]) -> list[Trip]:
        """Vehicles of the streams."""
        trips = []
        for entry in entries:
            trip = self._keep(self._maker.any(), entry.route, entry.position_m, "through")
            self.trips[trip.id] = trip = replace(trip, arrival_m=entry.arrival_m, stream=entry.stream)
            trips.append(trip)
        return trips

    def begin(self) -> list[Trip]:
        """The ordinary vehicles: some on their beats, the others all over the network."""
        local = round(self._size * self._grounds.local_share) if self._grounds.local else 0
        at_home = [self._local(self._maker.any(), number) for number in range(local)]
        return at_home + [self._ordinary(self._maker.any()) for _ in range(self._size - local)]

    def watched(self) -> list[Trip]:
        """The watched vehicles, each a bit upstream of a checkpoint, so that they come to it one after the other."""
        of_ground = Counter(ground for ground, _ in self._grounds.keepers.values())
        gone: Counter[str] = Counter()
        trips = []
        for vehicle in self._watched:
            ground, beats = self._grounds.keepers.get(vehicle.plate, ("", ()))
            number = gone[ground]
            gone[ground] += 1
            if beats:
                trips.append(self._keeper(vehicle, beats, number / of_ground[ground], number))
            else:
                trips.append(self._upstream(vehicle, FIRST_WATCHED_S + number * WATCHED_EVERY_S))
        return trips

    def speeders(self, now_s: float, sections: Sequence[Section], near: Sequence[Section] = ()) -> list[Trip]:
        """Those who are due (simulated time): two at first, then one at a time, each through a short section.

        Every second one through one of those that are `near`, the first among them.
        """
        if now_s < self._speeder_due_s:
            return []
        first = self._sections_gone == 0
        self._speeder_due_s = now_s + SPEEDER_EVERY_S
        trips = []
        for _ in range(2 if first else 1):
            place, is_far = divmod(self._sections_gone, 2)
            short = [part for part in (sections if is_far or not near else near) if part.length_m <= SHORT_SECTION_M]
            if short:
                trips += self._speeder(short[place * (5 if is_far else 1) % len(short)])
            self._sections_gone += 1
        return trips

    def ended(self, names: Sequence[str]) -> list[Trip]:
        """What the vehicles whose trips ended do next; a speeder leaves, the others stay or are replaced."""
        trips: list[Trip] = []
        for name in names:
            trip = self._forget(name)
            if trip is None:
                continue
            if trip.role == "watched":
                trips.append(self._next(trip, self._dense))
            elif trip.role == "key":
                trips.append(self._next(trip, self._edges))
            elif trip.role == "ordinary" and self._ordinary_now < self._size:
                if self._random.random() < RENEWED_SHARE:
                    self._maker.release(trip.vehicle.plate)
                    trip = replace(trip, vehicle=self._maker.any())
                trips.append(self._next(trip, self._edges))
            else:
                self._maker.release(trip.vehicle.plate)
        return trips

    def sample(self, vehicles: int, trips_each: int) -> tuple[dict[str, float], float]:
        """What ordinary vehicles would do: how often each edge is passed, and the seconds of all trips together."""
        passes: dict[str, float] = defaultdict(float)
        seconds = 0.0
        for _ in range(vehicles):
            trip = self._ordinary(self._maker.any())
            for _ in range(trips_each):
                for edge in trip.route[1:]:
                    passes[edge] += 1.0
                passes[trip.route[0]] += 0.5 if trip.position_m > 5.0 else 1.0  # the first one begins anywhere
                edges = [self._roads.edges[edge] for edge in trip.route]
                driven = sum(edge.length_m / edge.limit_kmh for edge in edges) - trip.position_m / edges[0].limit_kmh
                seconds += driven * 3.6 / USUAL_FACTOR
                trip = self._onward(trip, self._edges)
        return passes, seconds

    def refused(self, names: Sequence[str]) -> list[Trip]:
        """Trips that the engine could not begin are begun elsewhere."""
        again = []
        for name in names:
            trip = self._forget(name)
            if trip is not None and trip.role not in ("speeder", "through"):
                again.append(self._ordinary(trip.vehicle, role=trip.role))
        return again

    def _ordinary(self, vehicle: Vehicle, role: str = "ordinary") -> Trip:
        """From anywhere on the network, by how much traffic its roads draw."""
        while True:
            origin = self._edges[int(self._random.choice(len(self._edges), p=self._draw))]
            route = self._route_from(origin, self._edges)
            if route:
                position_m = float(self._random.uniform(0.0, self._roads.edges[origin].length_m - 20.0))
                return self._keep(vehicle, route, position_m, role)

    def _local(self, vehicle: Vehicle, number: int) -> Trip:
        """Anywhere on one of the local beats, which are filled evenly."""
        beat = self._grounds.local[number % len(self._grounds.local)]
        place_m = float(self._random.uniform(0.0, 2 * beat.length_m))
        return self._on_beat(vehicle, beat, beat.run_from(place_m, self._roads), "ordinary")

    def _keeper(self, vehicle: Vehicle, beats: Sequence[Beat], share: float, number: int) -> Trip:
        """A watched vehicle on its ground; `share` (of the ground) and `number` say where and when it is seen first."""
        beat = beats[int(share * len(beats))]
        gate_m = beat.gates[int(share * len(beat.gates))]
        speed_kmh = min(beat.limit_kmh * vehicle.speed_factor, KIND_OF_ID[vehicle.kind].speed_kmh_max)
        ahead_m = (KEEPER_FIRST_S + number * KEEPER_EVERY_S) * speed_kmh / 3.6
        return self._on_beat(vehicle, beat, beat.run_from(gate_m - ahead_m, self._roads), "watched")

    def _on_beat(self, vehicle: Vehicle, beat: Beat, run: Run, role: str) -> Trip:
        trip = self._keep(vehicle, run.route, run.position_m, role)
        self.trips[trip.id] = trip = replace(trip, arrival_m=run.arrival_m, beat=beat, way=run.way)
        return trip

    def _next(self, trip: Trip, targets: Sequence[str]) -> Trip:
        """Who has a beat turns round at its end, the others go on to somewhere else."""
        if trip.beat is None:
            return self._onward(trip, targets)
        return self._on_beat(trip.vehicle, trip.beat, trip.beat.back_from(trip.way, self._roads), trip.role)

    def _onward(self, trip: Trip, targets: Sequence[str]) -> Trip:
        """From where it stopped; at the province's border it turns round and comes back."""
        last = trip.route[-1]
        following = self._roads.after(last)
        starts = [following[int(place)] for place in self._random.permutation(len(following))]
        for start in [*starts, self._roads.edges[last].reverse]:
            route = self._route_from(start, targets)
            if route:
                return self._keep(trip.vehicle, route, 5.0, trip.role)
        return self._ordinary(trip.vehicle, role=trip.role)

    def _upstream(self, vehicle: Vehicle, ahead_s: float) -> Trip:
        """On the dense part of the network, `ahead_s` of free driving before a checkpoint."""
        kind = KIND_OF_ID[vehicle.kind]
        places = [loop for loop in self._loops if loop.edge in self._dense and loop.lane == 1]
        for place in self._random.permutation(len(places)):
            loop = places[int(place)]
            speed_kmh = min(self._roads.edges[loop.edge].limit_kmh * vehicle.speed_factor, kind.speed_kmh_max)
            position_m = loop.position_m - ahead_s * speed_kmh / 3.6
            if position_m < 0.0 or any(
                other.edge == loop.edge and position_m < other.position_m < loop.position_m for other in self._loops
            ):
                continue
            route = self._route_from(loop.edge, self._dense)
            if route:
                return self._keep(vehicle, route, position_m, "watched")
        return self._ordinary(vehicle, role="watched")

    def _speeder(self, section: Section) -> list[Trip]:
        """Through one section, far faster than allowed; none where its ends are not as they should be."""
        starts = {loop.direction: loop for loop in self._loops if loop.checkpoint == section.from_checkpoint}
        ends = {loop.direction: loop for loop in self._loops if loop.checkpoint == section.to_checkpoint}
        for direction, start in starts.items():
            end = ends.get(direction)
            route = self._roads.route(start.edge, end.edge) if end else None
            if not end or not route or abs(self._driven_m(start, end, route) - section.length_m) > 1.0:
                continue  # the other direction, or a way round
            factor = float(self._random.uniform(*SPEEDER_FACTOR))
            vehicle = self._maker.of(KINDS[0], speed_factor=factor)
            position_m = max(0.0, start.position_m - SPEEDER_AHEAD_M)
            return [self._keep(vehicle, route, position_m, "speeder")]
        return []

    def _driven_m(self, start: Loop, end: Loop, route: tuple[str, ...]) -> float:
        return self._roads.length_m(route[:-1]) - start.position_m + end.position_m

    def _route_from(self, origin: str, targets: Sequence[str]) -> tuple[str, ...] | None:
        """To some place that is neither next door nor at the other end of the province."""
        if targets is self._dense:
            return self._busy_route_from(origin)
        spare: tuple[str, ...] | None = None
        for _ in range(TRIES_MAX):
            route = self._roads.route(origin, self._edges[int(self._random.choice(len(self._edges), p=self._draw))])
            if route and TRIP_M_MIN <= self._roads.length_m(route) <= TRIP_M_MAX:
                return route
            spare = spare or route
        return spare

    def _busy_route_from(self, origin: str) -> tuple[str, ...] | None:
        """Of some routes the one with most checkpoints for its length."""
        targets = self._random.permutation(len(self._dense))[:TRIES_MAX]
        routes = [self._roads.route(origin, self._dense[int(place)]) for place in targets]
        found = [route for route in routes if route]
        return max(found, key=self._gates_per_m, default=None)

    def _gates_per_m(self, route: tuple[str, ...]) -> float:
        length_m = self._roads.length_m(route)
        return sum(self._gates[edge] for edge in route) / max(length_m, TRIP_M_MIN)

    def _keep(self, vehicle: Vehicle, route: tuple[str, ...], position_m: float, role: str) -> Trip:
        self._made += 1
        trip = Trip(id=f"t{self._made}", vehicle=vehicle, route=route, position_m=position_m, role=role)
        self.trips[trip.id] = trip
        self._ordinary_now += role == "ordinary"
        if role == "key":
            self.of_key[vehicle.plate] = trip.id
        return trip

    def _forget(self, name: str) -> Trip | None:
        trip = self.trips.pop(name, None)
        self._ordinary_now -= trip is not None and trip.role == "ordinary"
        return trip


def _shares(weights: Sequence[float]) -> np.ndarray:
    values = np.array(weights, float)
    return values / values.sum()
