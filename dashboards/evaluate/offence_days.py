"""Days with offences in them, what sensors said of them, and the rule book that judges them: no database, no simulator.

Everything is simulated, and labelled so: it tells how the rules bear misreads, missed reads, skewed clocks and late
data in stated shares, and nothing of the shares on real roads.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from sim.journeys import Map
from sim.observed import Nature, Observed, observe
from sim.offences import Act, Day, Truth, perform
from traffic.findings import SECTION_SPEED, WATCH_HIT
from traffic.plates import class_group, plate_key
from traffic.positions import PLACE, PlaceIndex
from traffic.province_rules import RULES
from traffic.province_tables import Province
from traffic.rule_rows import read_terms
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.ground import Ground
from traffic.vehicles.key_index import KeyIndex
from traffic.vehicles.registry import COLUMNS, EMPTY, KINDS, NEVER_US, ROUTE_KINDS, STATES, Registry
from traffic.vehicles.usual_paths import LinkSpeeds, composed
from traffic.vehicles.usual_times import HOURS, USUAL, UsualTimes

MIDNIGHT_US = 1_795_449_600_000_000  # 2026-11-24 00:00 in China
DAY_US = 86_400_000_000
WARNING = "simulated days with stated shares of errors; no claim about real roads"
_NOTHING_MEASURED = np.empty(0, USUAL)
LEARNED_SPREAD = 0.12  # of drivers, as the model roads' traffic has it; the rule learns it in operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """What happened, what was seen of it, and by what book it is judged."""

    acts: tuple[Act, ...]
    truths: tuple[Truth, ...]
    observed: Observed
    book: RuleBook


def live(province: Province, counts: dict[str, int], *, days: int, seed: int, nature: Nature) -> Lived:
    """So many days, each with as many acts of each script."""
    ground = Map(province.links, province.checkpoints)
    rests = [thing for thing in province.objects if thing.kind == "service_area"]
    random = np.random.default_rng(seed)
    acts: list[Act] = []
    for number in range(days):
        day = Day(ground=ground, random=random, begin_us=MIDNIGHT_US + number * DAY_US, rests=rests)
        acts += perform(day, counts, first=number * 1_000_000)
    return Lived(
        acts=tuple(acts),
        truths=tuple(truth for act in acts for truth in act.truths),
        observed=observe(acts, ground, random, nature),
        book=book_of(province, acts),
    )


def book_of(province: Province, acts: Iterable[Act]) -> RuleBook:
    """The rules that an instance begins with, over the model province, with the acts' vehicles in the registry."""
    ground = ground_of(province)
    rows = [
        {
            "id": row.id, "version": 1, "kind": row.kind, "name": row.name, "clause": row.clause, "unit_id": None,
            "level": row.level, "lateness_s": row.lateness_s, "parameters": dict(row.parameters),
            "scope": dict(row.scope), "schedule": dict(row.schedule), "exemptions": dict(row.exemptions),
        }
        for row in RULES
        if row.state == "armed" and row.id < 100
    ]  # fmt: skip
    plain = (WATCH_HIT, SECTION_SPEED)
    checkpoints = Checkpoints.of(
        [(gate.id, gate.road_id, gate.stake_m, gate.limit_kmh, gate.lon, gate.lat) for gate in province.checkpoints],
        {road.id: road.code for road in province.roads},
    )
    everyone = frozenset({1})
    return build_rulebook(
        entries=(),
        sections=[(s.id, s.from_checkpoint, s.to_checkpoint, s.length_m, s.limit_kmh) for s in province.sections],
        rules=[row for row in rows if row["kind"] in plain],
        audience_of_checkpoint={gate.id: everyone for gate in province.checkpoints},
        audience_of_unit={unit.id: everyone for unit in province.units},
        terms=tuple(read_terms(row, ground) for row in rows if row["kind"] not in plain),
        registry=registry_of(acts),
        usual=UsualTimes.of(composed(province.links, checkpoints, _learned(province), _NOTHING_MEASURED)),
        checkpoints=checkpoints,
        places=PlaceIndex(iter(province.links)),
        rests=tuple(
            (thing.lon, thing.lat) for thing in province.objects if thing.kind in ("service_area", "toll_station")
        ),
    )


def ground_of(province: Province) -> Ground:
    """What scopes are laid on."""
    gates = sorted(province.checkpoints, key=lambda gate: gate.id)
    places = np.zeros(len(gates), PLACE)
    for number, gate in enumerate(gates):
        places[number]["road"], places[number]["stake_m"], places[number]["unit"] = (
            gate.road_id,
            gate.stake_m,
            gate.unit_id,
        )
    return Ground(
        checkpoints=np.array([gate.id for gate in gates]),
        checkpoint_places=places,
        checkpoint_lon=np.array([gate.lon for gate in gates]),
        checkpoint_lat=np.array([gate.lat for gate in gates]),
        roads={road.code: road.id for road in province.roads},
        road_kinds={road.id: road.kind for road in province.roads},
        below={unit.id: frozenset({unit.id}) for unit in province.units},
    )


def registry_of(acts: Iterable[Act]) -> Registry:
    """The registered vehicles among the acts, with their papers as they are."""
    registered = [act for act in acts if act.registered]
    columns = {name: np.zeros(len(registered), getattr(EMPTY, name).dtype) for name in COLUMNS}
    columns["enabled"][:] = True
    columns["inspection_until_us"][:] = columns["scrap_by_us"][:] = NEVER_US
    columns["route_km"][:] = np.nan
    places = {"state": STATES, "route_kind": ROUTE_KINDS, "kind": KINDS}
    for number, act in enumerate(registered):
        columns["keys"][number] = plate_key(act.plate) << 3 | class_group(act.plate_class)
        papers = {"kind": act.registered, "plate_class": act.plate_class, "vehicle_class": act.vehicle_class}
        for name, value in (papers | {"body_color": act.body_color} | dict(act.papers)).items():
            columns[name][number] = places[name].index(value) if name in places else value  # type: ignore[arg-type]
    return EMPTY.with_changes(Registry.of(1, columns, KeyIndex()))


def _learned(province: Province) -> LinkSpeeds:
    """What operation teaches of the links: their usual speed, the same at all hours on these roads."""
    usual = np.array([link.limit_kmh * 0.88 for link in province.links])
    kmh = np.repeat(usual[:, None], HOURS, axis=1)
    return LinkSpeeds(median_kmh=kmh, spread=np.full(kmh.shape, LEARNED_SPREAD))


def hour_text(at_us: int) -> str:
    """For progress: the time of the day that is judged."""
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%m-%d %H:%M}Z"
