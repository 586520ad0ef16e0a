"""What a chaos run sends and when, from a seed alone: vehicles, their passages, and the requests that carry them. Pure.

Times of the plan are seconds since its start; event times lie behind the moment at which they are sent.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from traffic.readings import Door

WAVE_S = 4.0  # vehicles of one wave are sent within it, in any order
TRIP_GATES_MAX = 8  # with what comes beside them fewer than a vehicle's ring holds
DELAYED_SHARE, REPEATED_SHARE, CUT_SHARE = 0.1, 0.2, 0.08
RECORDS_OF_REQUEST = 24
FAULTS = ("gate", "time", "future", "old", "speed", "broken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A checkpoint with what the plan needs; `gat` is the number of the GA/T 1400 sender that may report for it."""

    id: int
    code: str
    stake_m: int
    bearing_deg: float
    lanes: int
    gat: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A measured section, as the gates of a road from its entry to its exit."""

    gates: tuple[Gate, ...]
    limit_kmh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The province as a sender knows it: gates of each road by stake, sections, and how many GA/T senders there are."""

    roads: tuple[tuple[Gate, ...], ...]
    stretches: tuple[Stretch, ...]
    natives: int
    gats: int


class Role(Enum):
    """What a vehicle is there for."""

    PLAIN = "plain"
    SPEEDING = "speeding"
    WATCHED = "watched"
    WATCHED_LATER = "watched_later"  # its watch entry is activated after its passages
    SECRET = "secret"  # under a restricted entry
    TWO_DOORS = "two_doors"  # sent through both doors, without an id
    AMENDED = "amended"  # one passage is sent again with another speed
    CORRECTED = "corrected"  # one passage is sent again with another plate
    ODD = "odd"  # a plate that no key can hold
    UNREADABLE = "unreadable"


_ROLES = tuple(Role)
_SHARES = (0.46, 0.16, 0.07, 0.04, 0.03, 0.08, 0.05, 0.04, 0.03, 0.04)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One passage as a source tells it. `at_us`: microseconds since the plan's start. `source_id` None: not told."""

    gate: Gate
    direction: int
    lane: int
    at_us: int
    plate: str
    plate_class: int
    speed_kmh: float | None
    source_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A record that must be refused; `marker` is found in its bytes."""

    marker: str
    what: str
    gate: Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One body. `cut`: it is first sent cut off in the middle; `ghost`: it is sent cut off only, and never again.

    `after`: number of a request that must be acknowledged before.
    """

    number: int
    due_s: float
    door: Door
    sender: int
    records: tuple[Passage | Fault, ...]
    form: str = "json"  # native: json, lines or gzip
    cut: bool = False
    ghost: bool = False
    after: int | None = None

    @property
    def passages(self) -> list[Passage]:
        """Without the faulty records."""
        return [record for record in self.records if isinstance(record, Passage)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A watch-list entry of the run; `active_s` None: from before the start."""

    number: str
    plate: str
    level: int
    restricted: bool
    active_s: float | None


@dataclass(slots=True, kw_only=True)
class Plan:
    """All of it."""

    length_s: float
    requests: list[Request] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Vehicle:
    number: int
    role: Role
    plate: str
    plate_class: int
    trip: list[Passage]


def make_plan(seed: int, scene: Scene, *, length_s: float, vehicles_per_s: float = 12.0) -> Plan:
    """The plan of a run of `length_s` seconds; the same for the same seed, scene and length."""
    planner = _Planner(np.random.default_rng(seed), scene, length_s)
    for wave in range(max(1, int(length_s / WAVE_S))):
        planner.wave(wave * WAVE_S, round(vehicles_per_s * WAVE_S))
    planner.plan.requests.sort(key=lambda request: request.due_s)
    return planner.plan


class _Planner:
    def __init__(self, chance: np.random.Generator, scene: Scene, length_s: float) -> None:
        self.chance = chance
        self.scene = scene
        self.plan = Plan(length_s=length_s)
        self.vehicles = 0
        self.faults = 0
        self.records = 0

    # ------------------------------------------------------------ vehicles

    def wave(self, begin_s: float, vehicles: int) -> None:
        """Vehicles whose passages are sent in [begin, begin + WAVE_S), a few of them up to two waves later."""
        parcels: dict[tuple[Door, int, bool], list[Passage]] = defaultdict(list)
        changes: list[tuple[Passage, Passage]] = []
        for _ in range(vehicles):
            vehicle = self._vehicle(begin_s)
            self._watch(vehicle, begin_s)
            changed = self._change(vehicle)
            for passage in vehicle.trip:
                for door, sender, told in self._ways(vehicle, passage):
                    is_changed = changed is not None and passage is changed[0]
                    parcels[door, sender, is_changed].append(told)
                    if is_changed and changed:
                        changes.append((told, replace(changed[1], source_id=told.source_id, at_us=told.at_us)))
        self._ship(begin_s, parcels, changes)

    def _vehicle(self, begin_s: float) -> _Vehicle:
        number = self.vehicles
        self.vehicles += 1
        role = _ROLES[int(self.chance.choice(len(_ROLES), p=_SHARES))]
        plate, plate_class = self._plate(number, role), int(self.chance.choice([1, 2, 2, 2, 52]))
        gates, speed_kmh = self._route(role)
        end_us = int((begin_s - self.chance.uniform(60, 150)) * 1e6)
        trip = self._trip(gates, speed_kmh, end_us, (plate, plate_class))
        if role is Role.SPEEDING:
            trip += self._echoes(trip)
        return _Vehicle(number=number, role=role, plate=plate, plate_class=plate_class, trip=trip)

    def _echoes(self, trip: list[Passage]) -> list[Passage]:
        """Further readings at the ends of a section, so that in another order of arrival other pairs are seen first."""
        echoes = []
        if self.chance.random() < 0.5:
            before_us = int(self.chance.integers(20_000, 120_000)) * 1000
            echoes.append(replace(trip[0], at_us=trip[0].at_us - before_us))
        if self.chance.random() < 0.5:
            after_us = int(self.chance.integers(2_000, 40_000)) * 1000
            echoes.append(replace(trip[-1], at_us=trip[-1].at_us + after_us))
        return echoes

    def _plate(self, number: int, role: Role) -> str:
        if role is Role.UNREADABLE:
            return str(self.chance.choice(["", "无车牌", "未识别"]))
        if role is Role.ODD:
            return f"外{number:05d}ÄÖ"
        letter = "ABCDEFGHJK"[number // 100_000 % 10]
        return f"吉{letter}{number % 100_000:05d}"

    def _route(self, role: Role) -> tuple[tuple[Gate, ...], float]:
        """Gates in the order of travel, and a mean speed: over every limit or under every one."""
        if role is Role.SPEEDING:
            stretch = self.scene.stretches[int(self.chance.integers(len(self.scene.stretches)))]
            return stretch.gates[:TRIP_GATES_MAX], stretch.limit_kmh * float(self.chance.uniform(1.2, 1.8))
        road = self.scene.roads[int(self.chance.integers(len(self.scene.roads)))]
        count = int(self.chance.integers(2, min(TRIP_GATES_MAX, len(road)) + 1))
        first = int(self.chance.integers(len(road) - count + 1))
        gates = road[first : first + count]
        return gates if self.chance.random() < 0.5 else gates[::-1], float(self.chance.uniform(40, 58))

    def _trip(self, gates: tuple[Gate, ...], speed_kmh: float, end_us: int, plate: tuple[str, int]) -> list[Passage]:
        direction = 1 if gates[-1].stake_m > gates[0].stake_m else 2
        passages = []
        for gate in gates:
            way_m = abs(gates[-1].stake_m - gate.stake_m)
            at_us = end_us - int(way_m * 3.6e6 / speed_kmh) + int(self.chance.integers(-500_000, 500_000))
            measured = round(speed_kmh + float(self.chance.normal(0, 1)), 1) if self.chance.random() < 0.9 else None
            passages.append(
                Passage(
                    gate=gate,
                    direction=direction,
                    lane=int(self.chance.integers(1, gate.lanes + 1)),
                    at_us=at_us // 1000 * 1000,
                    plate=plate[0],
                    plate_class=plate[1],
                    speed_kmh=measured,
                    source_id=None,
                )
            )
        return passages

    def _watch(self, vehicle: _Vehicle, begin_s: float) -> None:
        if vehicle.role not in (Role.WATCHED, Role.WATCHED_LATER, Role.SECRET):
            return
        later = begin_s + 2 * WAVE_S if vehicle.role is Role.WATCHED_LATER else None
        self.plan.watches.append(
            Watch(
                number=f"HD-{vehicle.number:06d}",
                plate=vehicle.plate,
                level=int(self.chance.integers(1, 4)),
                restricted=vehicle.role is Role.SECRET,
                active_s=later,
            )
        )
        if later is not None:  # the look-back is half an hour: none of its passages may be older
            first_us = int((begin_s - 1000) * 1e6)
            vehicle.trip = [passage for passage in vehicle.trip if passage.at_us > first_us]

    def _change(self, vehicle: _Vehicle) -> tuple[Passage, Passage] | None:
        """The passage that will be sent again with other content, and that content."""
        if vehicle.role is Role.AMENDED:
            passage = vehicle.trip[0]
            return passage, replace(passage, speed_kmh=round((passage.speed_kmh or 50.0) + 11.5, 1))
        if vehicle.role is Role.CORRECTED:
            passage = vehicle.trip[-1]
            return passage, replace(passage, plate=f"吉X{vehicle.number % 100_000:05d}")
        return None

    def _ways(self, vehicle: _Vehicle, passage: Passage) -> Iterator[tuple[Door, int, Passage]]:
        """By which doors and senders a passage is told, and how. GA/T 1400 tells whole seconds."""
        whole = replace(passage, at_us=passage.at_us // 1_000_000 * 1_000_000)
        gat, native = passage.gate.gat, int(self.chance.integers(self.scene.natives))
        if vehicle.role is Role.TWO_DOORS and gat is not None:
            yield Door.NATIVE, native, whole
            yield Door.GAT1400, gat, whole
            return
        self.records += 1
        source_id = f"c{self.records}"
        if gat is not None and self.chance.random() < 0.4:
            yield Door.GAT1400, gat, replace(whole, source_id=source_id)
        else:
            yield Door.NATIVE, native, replace(passage, source_id=source_id)

    # ------------------------------------------------------------ requests

    def _ship(
        self,
        begin_s: float,
        parcels: dict[tuple[Door, int, bool], list[Passage]],
        changes: list[tuple[Passage, Passage]],
    ) -> None:
        carried: dict[int, Request] = {}
        for (door, sender, is_changed), passages in parcels.items():
            self.chance.shuffle(passages)  # type: ignore[arg-type]
            for start in range(0, len(passages), RECORDS_OF_REQUEST):
                part = passages[start : start + RECORDS_OF_REQUEST]
                late_s = WAVE_S * 2 if self.chance.random() < DELAYED_SHARE else 0.0
                request = self._request(
                    begin_s + late_s + float(self.chance.uniform(0, WAVE_S)), door, sender, self._with_faults(part)
                )
                carried |= {id(passage): request for passage in part}
                if not is_changed:
                    self._repeat(request)
        for before, after in changes:
            first = carried[id(before)]
            self._request(first.due_s + 1.0, first.door, first.sender, (after,), after=first.number)
        self._ghost(begin_s)

    def _request(
        self, due_s: float, door: Door, sender: int, records: tuple[Passage | Fault, ...], after: int | None = None
    ) -> Request:
        form = str(self.chance.choice(["json", "lines", "gzip"])) if door is Door.NATIVE else "json"
        if form != "lines":
            records = tuple(record for record in records if not (isinstance(record, Fault) and record.what == "broken"))
        request = Request(
            number=len(self.plan.requests),
            due_s=due_s,
            door=door,
            sender=sender,
            records=records,
            form=form,
            cut=bool(self.chance.random() < CUT_SHARE),
            after=after,
        )
        self.plan.requests.append(request)
        return request

    def _with_faults(self, part: list[Passage]) -> tuple[Passage | Fault, ...]:
        records: list[Passage | Fault] = list(part)
        for _ in range(int(self.chance.choice([0, 0, 0, 1, 2]))):
            self.faults += 1
            what = FAULTS[int(self.chance.integers(len(FAULTS)))]
            fault = Fault(marker=f"fault-{self.faults:06d}", what=what, gate=part[0].gate)
            records.insert(int(self.chance.integers(len(records) + 1)), fault)
        return tuple(records)

    def _repeat(self, request: Request) -> None:
        """Some are sent again, as a source does that lost the answer: at once, beside the first, or later."""
        if self.chance.random() < REPEATED_SHARE:
            later_s = float(self.chance.choice([0.0, 0.2, 5.0]))
            again = self._request(request.due_s + later_s, request.door, request.sender, tuple(request.passages))
            self.plan.requests[again.number] = replace(again, cut=False)

    def _ghost(self, begin_s: float) -> None:
        """A body that is only ever sent in part: nothing of it may be stored."""
        road = self.scene.roads[0]
        self.vehicles += 1
        plate = (f"吉Z{self.vehicles % 100_000:05d}", 2)
        trip = self._trip(road[:4], 50.0, int(begin_s * 1e6), plate)
        records = tuple(replace(passage, source_id=f"ghost{self.vehicles}-{n}") for n, passage in enumerate(trip))
        request = self._request(begin_s + 1.0, Door.NATIVE, 0, records)
        self.plan.requests[request.number] = replace(request, form="lines", cut=True, ghost=True)
