"""Rules as data: a row of table `rule`, read strictly, and compiled to masks over columns.

A rule speaks where its scope, its schedule and its own condition agree, and nobody is exempt. Within one field of the
scope any value fits, all fields that are given must fit; an empty field means everywhere, everybody, always.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traffic.findings import Rule
from traffic.vehicles.areas import Fence
from traffic.vehicles.ground import Ground, PlaceColumns, Vehicles
from traffic.vehicles.permits import PERMIT_KINDS, Permits
from traffic.vehicles.plate_patterns import PlatePatterns, parse_patterns
from traffic.vehicles.registry import KINDS, ROUTE_KINDS
from traffic.vehicles.said import (
    FieldRefused,
    checked_among,
    checked_keys,
    checked_list,
    checked_number,
    checked_whole,
    refused,
)
from traffic.vehicles.schedule import Schedule, parse_schedule
from traffic.vehicles.stretches import Stretches, parse_stretches

RULE_NUMBER_MAX = 65_535  # what columns of the state hold of a rule
IDS_MAX = 5_000  # numbers in one field
ROAD_KINDS = ("expressway", "trunk", "urban")
CLASS_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Reads a rule's parameters: raises SettingsError naming rule and parameter. One for each kind of rule.
ReadParameters = Callable[[Mapping[str, Any]], Any]


# ---------------------------------------------------------------- one rule
@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where and whom; None: not limited."""

    units: frozenset[int] | None = None  # with all below them, inside the rule's own unit
    stretches: Stretches | None = None
    road_kinds: frozenset[str] | None = None
    checkpoints: np.ndarray | None = None
    fences: tuple[Fence, ...] | None = None
    kinds: np.ndarray | None = None  # places in registry.KINDS
    class_groups: frozenset[int] | None = None
    vehicle_classes: np.ndarray | None = None  # bool[2700]: GA 24.4 numbers that are meant
    plates: PlatePatterns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemptions:
    """Who not: any one of these is enough."""

    permits: tuple[str, ...] = ()
    plates: PlatePatterns | None = None
    kinds: np.ndarray | None = None
    route_kinds: np.ndarray | None = None  # places in registry.ROUTE_KINDS
    route_km_max: float | None = None  # with route_kinds: and the way is known to be no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTerms:
    """One rule in force. `parameters`: the frozen dataclass of its kind. All masks are over columns of one length."""

    id: int
    version: int
    kind: str
    name: str
    clause: str
    level: int | None
    unit: int | None
    lateness_s: int
    parameters: Any
    scope: Scope
    schedule: Schedule
    exemptions: Exemptions
    ground: Ground
    _here: np.ndarray = field(repr=False)  # bool (checkpoints of the ground, 3): by direction 0, 1, 2

    @property
    def rule(self) -> Rule:
        """As findings name it."""
        return Rule(id=self.id, version=self.version, name=self.name, clause=self.clause)

    @property
    def registered_only(self) -> bool:
        """Whether only vehicles of the registry can be meant."""
        return self.scope.kinds is not None

    @property
    def everywhere(self) -> bool:
        """Whether no place is excluded, not even one that the network does not know."""
        scope = self.scope
        return all(part is None for part in (scope.units, *_places_of(scope)))

    def on_time(self, rows: np.ndarray) -> np.ndarray:
        """Which records (any rows with observed_at and received_at) came within the rule's lateness."""
        return rows["received_at"] - rows["observed_at"] <= self.lateness_s * 1_000_000

    def in_force(self, times_us: np.ndarray) -> np.ndarray:
        """Which of these moments (microseconds UTC) its schedule covers."""
        return self.schedule.in_force(times_us, self.ground.holidays)

    def checkpoint_mask(self, checkpoints: np.ndarray, directions: np.ndarray | None = None) -> np.ndarray:
        """Which of these checkpoints (ids) its scope holds, each in a direction of travel (0 or None: either)."""
        if self.everywhere:
            return np.ones(len(checkpoints), bool)
        known = self.ground.checkpoints
        if not len(known):
            return np.zeros(len(checkpoints), bool)
        at = np.minimum(np.searchsorted(known, checkpoints), len(known) - 1)
        way = 0 if directions is None else np.where((directions == 1) | (directions == 2), directions, 0)
        return (known[at] == checkpoints) & self._here[at, way]

    def on_place(
        self, places: PlaceColumns, lon: np.ndarray | None = None, lat: np.ndarray | None = None
    ) -> np.ndarray:
        """Which of these PLACEs (positions.PLACE) its scope holds; fences need the points too, else none is inside."""
        return _on_place(self.scope, self.ground, places, lon, lat)

    def concerns(self, vehicles: Vehicles) -> np.ndarray:
        """Which of these vehicles its scope means."""
        scope, registry, row = self.scope, vehicles.registry, vehicles.row
        meant = np.ones(len(vehicles), bool)
        if scope.kinds is not None:
            meant = row >= 0
            meant[meant] = np.isin(registry.kind[row[meant]], scope.kinds)
        if scope.class_groups is not None:
            meant &= np.isin(vehicles.keys & 7, list(scope.class_groups))
        if scope.vehicle_classes is not None:
            classes = vehicles.vehicle_class
            inside = (classes > 0) & (classes < len(scope.vehicle_classes))
            meant &= inside & scope.vehicle_classes[np.where(inside, classes, 0)]
        if scope.plates is not None:
            meant &= scope.plates.match(vehicles.keys >> 3)
        return meant

    def exempt(self, vehicles: Vehicles, times_us: np.ndarray, places: PlaceColumns, permits: Permits) -> np.ndarray:
        """Which of these vehicles the rule does not mean at that moment and PLACE."""
        given, registry, row = self.exemptions, vehicles.registry, vehicles.row
        exempt = permits.covers(given.permits, vehicles.keys, times_us, places)
        if given.plates is not None:
            exempt |= given.plates.match(vehicles.keys >> 3)
        known = row >= 0
        if given.kinds is not None:
            exempt[known] |= np.isin(registry.kind[row[known]], given.kinds)
        if given.route_kinds is not None:
            fits = np.isin(registry.route_kind[row[known]], given.route_kinds)
            if given.route_km_max is not None:
                fits &= registry.route_km[row[known]] <= given.route_km_max  # a length that is not known proves nothing
            exempt[known] |= fits
        return exempt


def _places_of(scope: Scope) -> tuple[Any, ...]:
    return scope.stretches, scope.road_kinds, scope.checkpoints, scope.fences


def _on_place(
    scope: Scope, ground: Ground, places: PlaceColumns, lon: np.ndarray | None, lat: np.ndarray | None
) -> np.ndarray:
    on = np.full(len(places), scope.checkpoints is None)
    if scope.units is not None:
        on &= np.isin(places["unit"], list(scope.units))
    if scope.stretches is not None:
        on &= scope.stretches.hold(places)
    if scope.road_kinds is not None:
        meant = [road for road, kind in ground.road_kinds.items() if kind in scope.road_kinds]
        on &= np.isin(places["road"], meant)
    if scope.fences is not None:
        inside = np.zeros(len(places), bool)
        if lon is not None and lat is not None:
            for fence in scope.fences:
                inside |= fence.inside(lon, lat)
        on &= inside
    return on


# ---------------------------------------------------------------- reading a row
def parse_terms(row: Mapping[str, Any], read_parameters: ReadParameters, ground: Ground) -> RuleTerms:
    """A row of table `rule` as terms; raises SettingsError naming the rule, the field and the reason."""
    name = f"rule {row['id']}"
    try:
        checked_whole("id", row["id"], 1, RULE_NUMBER_MAX)
        unit = row.get("unit_id")
        if unit is not None and unit not in ground.below:
            raise refused("unit_id", "must be a known unit", unit)
        level = row.get("level")
        if level is not None:
            checked_whole("level", level, 1, 4)
        scope = parse_scope("scope", row.get("scope") or {}, ground, unit)
        return RuleTerms(
            id=row["id"],
            version=row["version"],
            kind=row["kind"],
            name=row["name"],
            clause=row["clause"],
            level=level,
            unit=unit,
            lateness_s=checked_whole("lateness_s", row.get("lateness_s", 900), 0, 86_400),
            parameters=read_parameters(row.get("parameters") or {}),
            scope=scope,
            schedule=parse_schedule("schedule", row.get("schedule") or {}),
            exemptions=parse_exemptions("exemptions", row.get("exemptions") or {}),
            ground=ground,
            _here=_checkpoints_of(scope, ground),
        )
    except FieldRefused as error:
        raise FieldRefused(error.field, error.reason, subject=name) from error


def parse_scope(where: str, said: Any, ground: Ground, unit: int | None) -> Scope:
    """Where and whom; `unit` (None: the province) is whose rule it is: its area bounds every scope."""
    checked_keys(where, said, _SCOPE)
    given = {name: value for name, value in said.items() if value not in (None, [])}
    units = None if unit is None else ground.below[unit]
    if "units" in given:
        numbers = _known(f"{where}.units", given["units"], ground.below, "unit")
        wider = [number for number in numbers if units is not None and number not in units]
        if wider:
            raise refused(f"{where}.units", f"must lie inside the rule's own unit {unit}", wider[0])
        units = frozenset().union(*(ground.below[number] for number in numbers))
    checkpoints, fences = None, None
    if "checkpoints" in given:
        known = {int(number): None for number in ground.checkpoints}
        checkpoints = np.array(_known(f"{where}.checkpoints", given["checkpoints"], known, "checkpoint"), np.int64)
    if "fences" in given:
        numbers = _known(f"{where}.fences", given["fences"], ground.fences, "fence")
        fences = tuple(ground.fences[number] for number in numbers)
    return Scope(
        units=units,
        checkpoints=checkpoints,
        fences=fences,
        stretches=parse_stretches(f"{where}.roads", given["roads"], ground.roads) if "roads" in given else None,
        road_kinds=_words(where, given, "road_kinds", ROAD_KINDS),
        kinds=_places_in(where, given, "kinds", KINDS),
        class_groups=_groups(where, given),
        vehicle_classes=_classes(f"{where}.vehicle_classes", given.get("vehicle_classes")),
        plates=parse_patterns(f"{where}.plates_like", given["plates_like"]) if "plates_like" in given else None,
    )


_SCOPE = (
    "units", "roads", "road_kinds", "checkpoints", "fences", "kinds", "class_groups", "vehicle_classes", "plates_like",
)  # fmt: skip
_EXEMPTIONS = ("permits", "plates", "kinds", "route_kinds", "route_km_max")


def parse_exemptions(where: str, said: Any) -> Exemptions:
    """Who not; raises FieldRefused."""
    checked_keys(where, said, _EXEMPTIONS)
    given = {name: value for name, value in said.items() if value not in (None, [])}
    km_max = None
    if "route_km_max" in given:
        if "route_kinds" not in given:
            raise refused(f"{where}.route_km_max", "needs route_kinds beside it")
        km_max = checked_number(f"{where}.route_km_max", given["route_km_max"], 0, 10_000)
    return Exemptions(
        permits=checked_among(f"{where}.permits", given.get("permits", []), PERMIT_KINDS, len(PERMIT_KINDS)),
        plates=parse_patterns(f"{where}.plates", given["plates"]) if "plates" in given else None,
        kinds=_places_in(where, given, "kinds", KINDS),
        route_kinds=_places_in(where, given, "route_kinds", ROUTE_KINDS[1:], offset=1),
        route_km_max=km_max,
    )


def _known(where: str, said: Any, known: Mapping[int, Any], what: str) -> list[int]:
    numbers = checked_list(where, said, IDS_MAX)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or number not in known:
            raise refused(where, f"must hold numbers of known {what}s", number)
    return numbers


def _words(where: str, given: Mapping[str, Any], name: str, options: tuple[str, ...]) -> frozenset[str] | None:
    return frozenset(checked_among(f"{where}.{name}", given[name], options, len(options))) if name in given else None


def _places_in(
    where: str, given: Mapping[str, Any], name: str, options: tuple[str, ...], *, offset: int = 0
) -> np.ndarray | None:
    words = _words(where, given, name, options)
    return None if words is None else np.array(sorted(options.index(word) + offset for word in words), np.int8)


def _groups(where: str, given: Mapping[str, Any]) -> frozenset[int] | None:
    if "class_groups" not in given:
        return None
    field_ = f"{where}.class_groups"
    return frozenset(checked_whole(field_, group, 1, 4) for group in checked_list(field_, given["class_groups"], 4))


def _classes(where: str, said: Any) -> np.ndarray | None:
    """GA 24.4 classes as a table over letter * 100 + number: "K" all coaches, "H1" heavy lorries, "H11" one of them."""
    if said is None:
        return None
    meant = np.zeros(2_700, bool)
    for text in checked_list(where, said, 100):
        if not isinstance(text, str) or not 1 <= len(text) <= 3 or text[0] not in CLASS_LETTERS:
            raise refused(where, "must hold classes of GA 24.4 like K, H1 or Q11", text)
        if text[1:] and not (text[1:].isascii() and text[1:].isdigit()):
            raise refused(where, "must hold classes of GA 24.4 like K, H1 or Q11", text)
        start = (CLASS_LETTERS.index(text[0]) + 1) * 100
        width = (100, 10, 1)[len(text) - 1]
        first = start + int(text[1:].ljust(2, "0") or 0)
        meant[first : first + width] = True
    return meant


def _checkpoints_of(scope: Scope, ground: Ground) -> np.ndarray:
    """For each checkpoint of the ground whether the scope holds it: in either direction, in 1, in 2."""
    here = np.zeros((len(ground.checkpoints), 3), bool)
    free = Scope(units=scope.units, stretches=scope.stretches, road_kinds=scope.road_kinds, fences=scope.fences)
    for direction in (1, 2):
        places = ground.checkpoint_places.copy()
        places["direction"] = direction
        here[:, direction] = _on_place(free, ground, places, ground.checkpoint_lon, ground.checkpoint_lat)
    here[:, 0] = here[:, 1] | here[:, 2]
    if scope.checkpoints is not None:
        here &= np.isin(ground.checkpoints, scope.checkpoints)[:, None]
    return here
