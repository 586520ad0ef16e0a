"""What the registry says against a vehicle on the road: inspection overdue, scrapped, false papers, former coach.

逾期未检验, 已报废或达到报废期限, 注销或虚假登记, 查封扣押, 营转非大客车. One rule for each condition. Every sighting
speaks by itself, and those of one vehicle on one local day are one finding, which grows. A vehicle that is not in the
registry says nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.findings import REGISTRY_STATE, Candidate
from traffic.roads.parameters import bounded, choice, defaults_of, fill
from traffic.vehicles.registry import KINDS, NEVER_US, STATES, Registry
from traffic.vehicles.schedule import day_text, local_days
from traffic.vehicles.sightings import by_vehicle_and_day, candidate, in_scope, not_exempt, passages_seen
from traffic.vehicles.terms import RuleTerms, Vehicles

if TYPE_CHECKING:
    from traffic.vehicles.rules import RuleBook

OVERDUE_INSPECTION, SCRAPPED, FALSE_REGISTERED = "overdue_inspection", "scrapped", "false_registered"
EX_COMMERCIAL, SEIZED = "ex_commercial", "seized"
LEVELS = {OVERDUE_INSPECTION: 4, SCRAPPED: 2, FALSE_REGISTERED: 2, EX_COMMERCIAL: 4, SEIZED: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryParameters:
    """`grace_days`: how long after the day (of inspection, of scrapping) nothing is said yet."""

    condition: str = choice(OVERDUE_INSPECTION, SCRAPPED, FALSE_REGISTERED, EX_COMMERCIAL, SEIZED)
    grace_days: int = bounded(0, 0, 365)


DEFAULTS = defaults_of(RegistryParameters)


def from_parameters(parameters: Mapping[str, Any]) -> RegistryParameters:
    """Raises SettingsError naming the parameter."""
    return fill(REGISTRY_STATE, RegistryParameters, parameters)


def judge(book: "RuleBook", rows: np.ndarray, vehicles: Vehicles | None = None) -> list[Candidate]:
    """What the registry says against the vehicles of new PASSAGE rows."""
    rules = [terms for terms in book.terms if terms.kind == REGISTRY_STATE]
    if not rules or not len(rows) or not len(book.registry):
        return []
    seen = vehicles or Vehicles.of_passages(rows, book.registry)
    registered = np.flatnonzero(seen.row >= 0)
    days = local_days(rows["observed_at"][registered])
    said: list[Candidate] = []
    for terms in rules:
        parameters: RegistryParameters = terms.parameters
        wrong = _WRONG[parameters.condition](book.registry, seen.row[registered], days - parameters.grace_days)
        at = in_scope(terms, rows, seen, registered[wrong])
        at = not_exempt(terms, rows, seen, book, at)
        said += _candidates(book, terms, rows[at], seen.take(at))
    return said


def _candidates(book: "RuleBook", terms: RuleTerms, rows: np.ndarray, vehicles: Vehicles) -> list[Candidate]:
    condition = terms.parameters.condition
    said = []
    evidence = passages_seen(book, rows)
    for (key, day), numbers in by_vehicle_and_day(vehicles.keys, rows["observed_at"]).items():
        detail = _detail(book.registry, int(vehicles.row[numbers[0]]), condition, day)
        seen = [evidence[number] for number in numbers]
        said.append(candidate(book, terms, (key, day), seen, detail, LEVELS[condition]))
    return said


# ---------------------------------------------------------------- conditions, over rows of the registry and local days
Wrong = Callable[[Registry, np.ndarray, np.ndarray], np.ndarray]


def _last_days(ends_us: np.ndarray) -> np.ndarray:
    """The last day (since 1970) on which a paper holds; one whose end is not known holds for ever."""
    return np.where(ends_us == NEVER_US, NEVER_US, local_days(np.where(ends_us == NEVER_US, 1, ends_us) - 1))


def _overdue(registry: Registry, row: np.ndarray, days: np.ndarray) -> np.ndarray:
    return days > _last_days(registry.inspection_until_us[row])


def _scrapped(registry: Registry, row: np.ndarray, days: np.ndarray) -> np.ndarray:
    return _in_state("scrapped")(registry, row, days) | (days > _last_days(registry.scrap_by_us[row]))


def _former_coach(registry: Registry, row: np.ndarray, _days: np.ndarray) -> np.ndarray:
    return registry.ex_commercial[row] | (registry.kind[row] == KINDS.index("ex_commercial_coach"))


def _in_state(*states: str) -> Wrong:
    numbers = [STATES.index(state) for state in states]
    return lambda registry, row, _days: np.isin(registry.state[row], numbers)


_WRONG: dict[str, Wrong] = {
    OVERDUE_INSPECTION: _overdue,
    SCRAPPED: _scrapped,
    FALSE_REGISTERED: _in_state("deregistered", "false_registered"),
    SEIZED: _in_state("seized"),
    EX_COMMERCIAL: _former_coach,
}


def _detail(registry: Registry, row: int, condition: str, day: int) -> dict[str, Any]:
    """What the finding says: it depends on vehicle, condition and day alone."""
    ends = {OVERDUE_INSPECTION: registry.inspection_until_us, SCRAPPED: registry.scrap_by_us}.get(condition)
    last = int(_last_days(ends[row : row + 1])[0]) if ends is not None else NEVER_US
    known = last != NEVER_US
    return {
        "condition": condition,
        "vehicle_kind": KINDS[registry.kind[row]],
        "state": STATES[registry.state[row]],
        "until": day_text(last) if known else None,
        "overdue_days": max(0, day - last) if known else None,
        "as_of": int(registry.as_of_us[row]),
    }
