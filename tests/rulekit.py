"""What tests of rules share: a ground, vehicles of a registry, and rules as people write them."""

from typing import Any

import numpy as np

from tests.world import EAST_SQUADRON, ROAD_CODE, UNITS, WEST_SQUADRON, point_at
from traffic.plates import CLASS_LARGE, plate_key
from traffic.positions import PLACE
from traffic.readings import PASSAGE
from traffic.rule_rows import read_terms
from traffic.vehicles.ground import Ground
from traffic.vehicles.key_index import KeyIndex
from traffic.vehicles.registry import COLUMNS, KINDS, NEVER_US, STATES, Registry
from traffic.vehicles.schedule import NO_HOLIDAYS, Holidays
from traffic.vehicles.terms import RuleTerms

GATES = ((1, 0, WEST_SQUADRON), (2, 10_000, WEST_SQUADRON), (3, 30_000, EAST_SQUADRON), (4, 50_000, EAST_SQUADRON))
NOON_US = 1_795_491_600_000_000  # 2026-11-24 12:20 local
DAY_US, HOUR_US, MINUTE_US = 86_400_000_000, 3_600_000_000, 60_000_000


def ground(holidays: Holidays = NO_HOLIDAYS, **more: Any) -> Ground:
    """The tiny province's road with its four gates."""
    places = np.zeros(len(GATES), PLACE)
    for number, (_, stake_m, unit) in enumerate(GATES):
        places[number]["road"], places[number]["stake_m"], places[number]["unit"] = 1, stake_m, unit
    return Ground(
        checkpoints=np.array([gate[0] for gate in GATES]),
        checkpoint_places=places,
        checkpoint_lon=np.array([point_at(gate[1])[0] for gate in GATES]),
        checkpoint_lat=np.array([point_at(gate[1])[1] for gate in GATES]),
        roads={ROAD_CODE: 1},
        road_kinds={1: "expressway"},
        below={unit: frozenset(_below(unit)) for unit in UNITS},
        holidays=holidays,
        **more,
    )


def _below(unit: int) -> list[int]:
    return [unit, *(member for child, (parent, *_) in UNITS.items() if parent == unit for member in _below(child))]


def rule(kind: str = "ban", on: Ground | None = None, **fields: Any) -> RuleTerms:
    """A rule as people write it."""
    row = {
        "id": 6, "version": 1, "kind": kind, "name": "测试规则", "clause": "测试条款", "unit_id": None, "level": None,
        "lateness_s": 900, "parameters": {}, "scope": {}, "schedule": {}, "exemptions": {},
    }  # fmt: skip
    return read_terms(row | fields, on or ground())


def registry(*vehicles: dict[str, Any]) -> Registry:
    """A registry of vehicles with large plates: plate and whatever column is not as usual."""
    usual = {
        "enabled": True, "kind": KINDS.index("hazardous_goods"), "state": STATES.index("normal"),
        "inspection_until_us": NEVER_US, "scrap_by_us": NEVER_US, "route_km": np.nan,
    }  # fmt: skip
    empty = Registry()
    columns = {name: np.zeros(len(vehicles), getattr(empty, name).dtype) for name in COLUMNS}
    for number, vehicle in enumerate(vehicles):
        said = usual | vehicle
        columns["keys"][number] = plate_key(said.pop("plate")) << 3 | CLASS_LARGE
        for name, value in said.items():
            columns[name][number] = value
    changes = Registry.of(1, columns, KeyIndex())
    return empty.with_changes(changes)


def passage(plate: str, gate: int = 1, at_us: int = NOON_US, **fields: Any) -> np.ndarray:
    """One PASSAGE row of a vehicle with a large plate."""
    row = np.zeros(1, PASSAGE)
    row["observed_at"], row["received_at"] = at_us, at_us + 400_000
    row["plate_key"], row["plate_class"] = plate_key(plate), 1
    row["checkpoint"], row["direction"], row["lane"], row["speed_kmh"] = gate, 1, 1, 88.0
    row["source_hash"] = at_us % 1_000_003 + gate
    for name, value in fields.items():
        row[name] = value
    return row
