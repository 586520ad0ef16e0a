"""What the bench of rules judges: drives along the model province's roads, and the rules over it. Pure, and seeded.

Vehicles pass one checkpoint of a road after another; some too fast, some under a plate that another one bears at the
same time, some key vehicles without a rest; cameras misread and miss. In the order of event time.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from traffic.findings import CLONED_PLATE, DRIVING_TIME
from traffic.plates import plate_key
from traffic.positions import PLACE, PlaceIndex
from traffic.province_rules import RULES
from traffic.province_tables import model_province
from traffic.readings import PASSAGE
from traffic.rule_rows import SCOPED, read_terms
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.ground import Ground
from traffic.vehicles.key_index import KeyIndex
from traffic.vehicles.registry import COLUMNS, KINDS, NEVER_US, Registry
from traffic.vehicles.usual_paths import LinkSpeeds, composed
from traffic.vehicles.usual_times import HOURS, USUAL, UsualTimes
from traffic.vehicles.watchlist import WatchEntry

START_US = 1_795_478_400_000_000  # 2026-11-24 08:00 local
SPAN_S = 6 * 3600
REGISTERED_SHARE = 0.05  # of vehicles: coaches, tankers, heavy lorries
TIRED_SHARE = 0.02  # of them, who drive on and on
CLONED_SHARE, MISREAD_SHARE, UNREADABLE_SHARE, FAST_SHARE = 0.001, 0.01, 0.01, 0.001
PASSAGES_OF_VEHICLE = 6.0  # on average
SPREAD = 0.1
USUAL_SHARE = 0.8  # of the limit
KEY_VEHICLES = (("heavy_truck", 14), ("scheduled_coach", 3), ("tour_coach", 2), ("hazardous_goods", 1))  # of twenty
WATCHED, SEEN = 1_000, 20  # plates on the watch-list, and those of them that drive here
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`rows`: PASSAGE by event time. `three`: section speed, clones, driving time. `every`: all rules of the model."""

    rows: np.ndarray
    three: RuleBook
    every: RuleBook


@dataclass(frozen=True, slots=True)
class _Gates:
    """The checkpoints of a road, by stake."""

    ids: np.ndarray
    stake_m: np.ndarray
    usual_kmh: float


def make(passages: int, seed: int) -> World:
    """A world with about so many passages."""
    rng = np.random.default_rng(seed)
    vehicles = max(50, int(passages / PASSAGES_OF_VEHICLE))
    plates = _plates(rng, vehicles + WATCHED)
    keys = np.array([plate_key(plate) for plate in plates[:vehicles]], np.int64)
    registered = np.arange(vehicles) < vehicles * REGISTERED_SHARE
    rows = _drives(rng, keys, registered, passages)
    watched = [*plates[vehicles : vehicles + WATCHED - SEEN], *plates[:SEEN]]
    return World(rows=rows, **_books(keys, registered, watched))


def _plates(rng: np.random.Generator, count: int) -> list[str]:
    """Of the form of ordinary plates: a letter of the place, then two characters of any kind and three digits."""
    place, any_one, digits = "ABCDEFGHJ", "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", "0123456789"
    found: dict[str, None] = {}
    while len(found) < count:
        at = [rng.integers(len(of), size=count).tolist() for of in (place, any_one, any_one, digits, digits, digits)]
        for a, b, c, d, e, f in zip(*at, strict=True):
            found[f"吉{place[a]}{any_one[b]}{any_one[c]}{digits[d]}{digits[e]}{digits[f]}"] = None
    return list(found)[:count]


# ---------------------------------------------------------------- drives
def _drives(rng: np.random.Generator, keys: np.ndarray, registered: np.ndarray, passages: int) -> np.ndarray:
    roads = _roads()
    parts: list[np.ndarray] = []
    count, vehicle = 0, 0
    while count < passages and vehicle < len(keys):
        tired = bool(registered[vehicle]) and rng.random() < TIRED_SHARE
        drives = 2 if rng.random() < CLONED_SHARE else 1
        start_s = rng.uniform(0, 600 if tired else SPAN_S)
        for _ in range(drives):
            parts.append(_drive(rng, roads, keys[vehicle], start_s, tired))
            parts[-1]["plate_class"] = 1 if registered[vehicle] else 2
            parts[-1]["vehicle_class"] = 1110 if registered[vehicle] else 1133
            parts[-1]["body_color"] = rng.integers(1, 9)
            count += len(parts[-1])
        vehicle += 1
    rows = np.concatenate(parts)
    rows["source_hash"] = rng.permutation(len(rows)) + 1
    rows = rows[np.lexsort((rows["source_hash"], rows["observed_at"]))]
    wrong = rng.random(len(rows)) < MISREAD_SHARE
    rows["plate_key"][wrong] = rng.permutation(rows["plate_key"])[wrong]
    rows["plate_key"][rng.random(len(rows)) < UNREADABLE_SHARE] = 0
    rows["received_at"] = rows["observed_at"] + 1_000_000
    rows["length_m"], rows["lane"], rows["device"], rows["door"] = np.nan, 1, 1, 2
    return rows


def _roads() -> list[_Gates]:
    """Roads with at least four gates; drivers keep to what is allowed where it is least."""
    of_road = defaultdict(list)
    for checkpoint in sorted(model_province().checkpoints, key=lambda one: one.stake_m):
        of_road[checkpoint.road_id].append(checkpoint)
    return [
        _Gates(
            np.array([gate.id for gate in gates], np.int64),
            np.array([gate.stake_m for gate in gates], np.float64),
            USUAL_SHARE * min(gate.limit_kmh for gate in gates),
        )
        for gates in of_road.values()
        if len(gates) >= 4
    ]


def _drive(rng: np.random.Generator, roads: list[_Gates], key: int, start_s: float, tired: bool) -> np.ndarray:
    """One vehicle from gate to gate of a road; who is tired turns at its end, again and again."""
    road = roads[int(rng.integers(len(roads)))]
    last = len(road.ids) - 1
    here, step = int(rng.integers(last + 1)), 1 if rng.random() < 0.5 else -1
    kmh = road.usual_kmh * np.exp(rng.normal(0, SPREAD)) * (1.5 if rng.random() < FAST_SHARE else 1.0)
    order = [here]
    length_m, far_m = 0.0, 5.2 * 3600 * kmh / 3.6 if tired else np.inf
    while length_m < far_m:
        if not 0 <= here + step <= last:
            if not tired:
                break
            step = -step
        length_m += abs(road.stake_m[here + step] - road.stake_m[here])
        here += step
        order.append(here)
    at_m = np.abs(np.diff(road.stake_m[order], prepend=road.stake_m[order[0]])).cumsum()
    rows = np.zeros(len(order), PASSAGE)
    rows["observed_at"] = START_US + ((start_s + at_m * 3.6 / kmh) * 1e6).astype(np.int64)
    rows["checkpoint"], rows["plate_key"] = road.ids[order], key
    rows["speed_kmh"] = kmh * rng.normal(1.0, 0.03, len(order))
    rows["direction"] = 1 if step > 0 else 2
    return rows[rng.random(len(rows)) >= 0.05]  # missed reads


# ---------------------------------------------------------------- rules
def _books(keys: np.ndarray, registered: np.ndarray, watched: list[str]) -> dict[str, RuleBook]:
    province = model_province()
    ground = _ground()
    rows = [{**asdict(row), "version": 1} for row in RULES if row.state == "armed"]
    terms = tuple(read_terms(row, ground) for row in rows if row["kind"] in SCOPED)
    checkpoints = Checkpoints.of(
        (one.id, one.road_id, one.stake_m, one.limit_kmh, one.lon, one.lat) for one in province.checkpoints
    )
    unknown = np.full((len(province.links), HOURS), np.nan)
    speeds = LinkSpeeds(median_kmh=unknown, spread=np.full_like(unknown, SPREAD))
    usual = UsualTimes.of(composed(province.links, checkpoints, speeds, np.empty(0, USUAL)))
    every = build_rulebook(
        entries=_entries(watched),
        sections=[(s.id, s.from_checkpoint, s.to_checkpoint, s.length_m, s.limit_kmh) for s in province.sections],
        rules=[row for row in rows if row["kind"] in ("watch_hit", "section_speed")],
        audience_of_checkpoint={c.id: frozenset({1, c.unit_id}) for c in province.checkpoints},
        audience_of_unit={unit.id: frozenset({1, unit.id}) for unit in province.units},
        terms=terms,
        registry=_registry(keys[registered]),
        usual=usual,
        checkpoints=checkpoints,
        places=PlaceIndex(province.links),
    )
    everybody: dict[str, Any] = {"scope": {}, "schedule": {}, "exemptions": {}}
    of_kind = {row["kind"]: row for row in reversed(rows)}
    chosen = tuple(read_terms({**of_kind[kind], **everybody}, ground) for kind in (CLONED_PLATE, DRIVING_TIME))
    return {"every": every, "three": replace(every, terms=chosen, watch_rule=None)}


def _ground() -> Ground:
    province = model_province()
    checkpoints = sorted(province.checkpoints, key=lambda one: one.id)
    places = np.zeros(len(checkpoints), PLACE)
    for number, checkpoint in enumerate(checkpoints):
        places[number]["road"], places[number]["stake_m"] = checkpoint.road_id, checkpoint.stake_m
        places[number]["unit"] = checkpoint.unit_id
    below = defaultdict(set, {unit.id: {unit.id} for unit in province.units})
    parent = {link.unit_id: link.parent_id for link in province.parents}
    for unit in province.units:
        above = unit.id
        while above in parent:
            above = parent[above]
            below[above].add(unit.id)
    return Ground(
        checkpoints=np.array([c.id for c in checkpoints], np.int64),
        checkpoint_places=places,
        checkpoint_lon=np.array([c.lon for c in checkpoints]),
        checkpoint_lat=np.array([c.lat for c in checkpoints]),
        roads={road.code: road.id for road in province.roads},
        road_kinds={road.id: road.kind for road in province.roads},
        below={unit: frozenset(members) for unit, members in below.items()},
    )


def _registry(keys: np.ndarray) -> Registry:
    count = len(keys)
    columns = {name: np.zeros(count, getattr(Registry(), name).dtype) for name in COLUMNS}
    columns["keys"], columns["enabled"] = (keys << 3) | 1, np.ones(count, bool)
    kinds = [KINDS.index(name) for name, share in KEY_VEHICLES for _ in range(share)]
    columns["kind"] = np.resize(np.array(kinds, np.int8), count)
    columns["inspection_until_us"] = np.where(np.arange(count) % 200 == 0, START_US - _DAY_US, NEVER_US)
    columns["scrap_by_us"] = np.full(count, NEVER_US)
    columns["unit"], columns["plate_class"] = np.ones(count, np.int32), np.ones(count, np.int16)
    index = KeyIndex()
    index.put(columns["keys"], np.arange(count))
    return Registry.of(1, columns, index)


def _entries(plates: list[str]) -> list[WatchEntry]:
    return [
        WatchEntry(
            id=number, number=f"BK-{number}", plate=plate, plate_key=plate_key(plate), class_group=0, category=1,
            level=1, facts="", intercept=True, unit_id=1, visibility=0, audience=frozenset({1}),
            addressees=frozenset(), valid_from_us=START_US - _DAY_US, valid_to_us=START_US + _DAY_US, version=1,
        )
        for number, plate in enumerate(plates)
    ]  # fmt: skip
