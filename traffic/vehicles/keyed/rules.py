"""The keyed rules of a book: which rule of each kind speaks of which sighting, and all that kernels need of them.

Of several rules of one kind that mean a sighting one speaks: a unit's own before the province's, then the younger one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from traffic import findings
from traffic.errors import SettingsError
from traffic.limits import LATENESS_S
from traffic.vehicles.areas import Fence
from traffic.vehicles.ground import Ground, Vehicles
from traffic.vehicles.keyed import (
    device_alarm,
    driving_time,
    geofence,
    long_stop,
    night_running,
    overdue_arrival,
    overspeed,
    position_mismatch,
    route_deviation,
    shapes,
)
from traffic.vehicles.keyed.shapes import Rules, Ways
from traffic.vehicles.keyed.surroundings import FenceGrid, PermittedRoutes, rest_fences
from traffic.vehicles.permits import NO_PERMITS, Permits
from traffic.vehicles.registry import Registry
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.terms import RuleTerms
from traffic.vehicles.usual_times import UsualTimes

KINDS: dict[str, ModuleType] = {
    findings.DRIVING_TIME: driving_time,
    findings.NIGHT_RUNNING: night_running,
    findings.OVERSPEED: overspeed,
    findings.LONG_STOP: long_stop,
    findings.GEOFENCE: geofence,
    findings.ROUTE_DEVIATION: route_deviation,
    findings.OVERDUE_ARRIVAL: overdue_arrival,
    findings.DEVICE_ALARM: device_alarm,
    findings.POSITION_MISMATCH: position_mismatch,
}
# Kinds that follow a vehicle over all its sightings: a place or an hour of their scope would cut the thread.
_OF_VEHICLES = frozenset({findings.DRIVING_TIME, findings.POSITION_MISMATCH})
_RULE_MAX = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Sightings that rules are asked about, as columns of one length; `places`: positions.PLACE."""

    vehicles: Vehicles
    times_us: np.ndarray
    received_us: np.ndarray
    checkpoints: np.ndarray  # 0: no passage
    places: np.ndarray
    lon: np.ndarray
    lat: np.ndarray

    def __len__(self) -> int:
        return len(self.times_us)

    def take(self, index: np.ndarray) -> "Seen":
        """The chosen ones."""
        return Seen(
            vehicles=self.vehicles.take(index),
            times_us=self.times_us[index],
            received_us=self.received_us[index],
            checkpoints=self.checkpoints[index],
            places=self.places[index],
            lon=self.lon[index],
            lat=self.lat[index],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRules:
    """The rules as kernels know them, and what decides which of them speaks. Make it with `compile_rules`."""

    of_kind: dict[str, tuple[RuleTerms, ...]]  # in the order in which they are asked
    by_number: dict[int, RuleTerms]
    rules: Rules
    ways: Ways
    ground: Ground
    registry: Registry
    permits: Permits
    routes: PermittedRoutes
    fences: FenceGrid  # that geofence rules are about
    parking: FenceGrid  # where standing is no matter
    successors: dict[tuple[int, int], int]
    next_of_gate: dict[int, int]  # checkpoint * 4 + direction -> the next one
    concerned: dict[int, np.ndarray]  # number of a rule -> which rows of the registry its scope means
    rests_on: tuple[Any, ...]  # parts of the book: as long as they are the same, so is this

    def speaking(self, kind: str, seen: Seen, among: np.ndarray) -> np.ndarray:
        """Number of the rule of a kind that speaks of each sighting (0: none); only those `among` are asked about."""
        speaks = np.zeros(len(seen), np.uint16)
        for terms in self.of_kind.get(kind, ()):
            at = among[speaks[among] == 0]
            if not len(at):
                break
            speaks[self.meant(terms, seen, at, anywhere=kind in _OF_VEHICLES)] = terms.id
        return speaks

    def meant(self, terms: RuleTerms, seen: Seen, at: np.ndarray, *, anywhere: bool) -> np.ndarray:
        """Which of the sightings `at` a rule means; `anywhere`: whatever place and hour it is."""
        at = at[self.concerned[terms.id][seen.vehicles.row[at]]]
        masks: list[Callable[[np.ndarray], np.ndarray]] = []
        if terms.lateness_s < LATENESS_S:  # else all that came so late are left out already
            masks.append(lambda at: seen.received_us[at] - seen.times_us[at] <= terms.lateness_s * 1_000_000)
        if not anywhere:
            if not terms.schedule.always:
                masks.append(lambda at: terms.in_force(seen.times_us[at]))
            if not terms.everywhere:
                masks.append(lambda at: _on_place(terms, seen, at))
        given = terms.exemptions
        if given.permits or any(part is not None for part in (given.plates, given.kinds, given.route_kinds)):
            masks.append(lambda at: ~_exempt(terms, seen, at, self.permits))
        for mask in masks:
            if len(at):
                at = at[mask(at)]
        return at


def _on_place(terms: RuleTerms, seen: Seen, at: np.ndarray) -> np.ndarray:
    """A passage is where its checkpoint is; a position is on its road, and at no checkpoint."""
    passage = seen.checkpoints[at] != 0
    on = passage & terms.checkpoint_mask(seen.checkpoints[at], seen.places["direction"][at])
    beside = at[~passage]
    on[~passage] = terms.on_place(seen.places[beside], seen.lon[beside], seen.lat[beside])
    return on


def _exempt(terms: RuleTerms, seen: Seen, at: np.ndarray, permits: Permits) -> np.ndarray:
    return terms.exempt(seen.vehicles.take(at), seen.times_us[at], seen.places[at], permits)


def compile_rules(book: RuleBook, before: KeyedRules | None = None) -> KeyedRules:
    """From a rule book; `before` where it rests on the same parts (trust changes each half minute, all else seldom).

    Raises SettingsError for a rule's number that sightings cannot hold.
    """
    parts = (*book.terms, book.registry, book.usual, book.checkpoints, book.permits, book.rests)
    if before is not None and len(parts) == len(before.rests_on):
        if all(now is then for now, then in zip(parts, before.rests_on, strict=True)):
            return before
    armed = [terms for terms in book.terms if terms.kind in KINDS]
    armed.sort(key=lambda terms: (terms.unit is None, -terms.id))
    row_of = np.full(_RULE_MAX + 1, -1, np.int16)
    numbers = np.zeros((len(armed), shapes.PARAMETERS), np.float64)
    for row, terms in enumerate(armed):
        if not 0 < terms.id <= _RULE_MAX:
            raise SettingsError(f"rule {terms.id}: key vehicles are judged by rules of numbers up to {_RULE_MAX}")
        row_of[terms.id] = row
        given = KINDS[terms.kind].numbers(terms.parameters)
        numbers[row, : len(given)] = given
    ground = armed[0].ground if armed else Ground()
    fences = tuple(fence for fence in ground.fences.values() if 0 < fence.id <= _RULE_MAX)
    margins = [terms.parameters.margin_m for terms in armed if terms.kind == findings.GEOFENCE]
    permits: Permits = book.permits or NO_PERMITS
    registry = book.registry
    everybody = Vehicles(
        keys=registry.keys,
        vehicle_class=registry.vehicle_class,
        row=np.arange(len(registry), dtype=np.int64),
        registry=registry,
    )
    successors = book.checkpoints.successors()
    return KeyedRules(
        of_kind={kind: tuple(terms for terms in armed if terms.kind == kind) for kind in KINDS},
        by_number={terms.id: terms for terms in armed},
        rules=Rules(row_of=row_of, numbers=numbers),
        ways=_ways_of(book.usual),
        ground=ground,
        registry=registry,
        permits=permits,
        routes=PermittedRoutes.of(permits),
        fences=FenceGrid.of(_about(armed, fences), max(margins, default=0.0)),
        parking=FenceGrid.of(_parking(fences) + rest_fences(book.rests), 0.0),
        successors=successors,
        next_of_gate={gate * 4 + direction: then for (gate, direction), then in successors.items()},
        concerned={terms.id: terms.concerns(everybody) for terms in armed},
        rests_on=parts,
    )


def _about(armed: list[RuleTerms], fences: tuple[Fence, ...]) -> list[Fence]:
    """The fences that a rule may be about: those that it names, where it names none all that forbid."""
    named: set[int] = set()
    for terms in armed:
        if terms.kind == findings.GEOFENCE:
            named |= {fence.id for fence in fences if is_about(terms, fence)}
    return [fence for fence in fences if fence.id in named]


def is_about(terms: RuleTerms, fence: Fence) -> bool:
    """Whether a geofence rule is about this fence."""
    if terms.scope.fences is None:
        return fence.kind == "forbidden"
    return any(one.id == fence.id for one in terms.scope.fences)


def _parking(fences: tuple[Fence, ...]) -> list[Fence]:
    return [fence for fence in fences if fence.kind == "parking"]


def _ways_of(usual: UsualTimes) -> Ways:
    """The matrices as kernels take them: packed and writable, though nobody writes; a copy where they are not."""
    return Ways(
        checkpoints=np.require(usual.checkpoints, np.int64, ("C", "W")),
        median_s=np.require(usual.median_s, np.float32, ("C", "W")),
        spread=np.require(usual.spread, np.float32, ("C", "W")),
    )
