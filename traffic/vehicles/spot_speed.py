"""Overspeed at a checkpoint (超速): what the camera measured, over the limit of the place or the lower one of the rule.

By default it speaks of the key vehicles of the registry, whatever of them the scope names; a scope of plates or classes
makes it speak of others too. Each passage is judged by itself and is a finding of its own.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.audience import Audience
from traffic.findings import OVERSPEED, Candidate
from traffic.vehicles.sightings import in_scope, not_exempt, passage_seen
from traffic.vehicles.terms import RuleTerms, Vehicles

if TYPE_CHECKING:
    from traffic.vehicles.rules import RuleBook

LIKELY_KMH_MAX = 250.0  # faster is a fault of the radar
CONFIDENCE = 0.9  # of a radar beside a camera, which may take one vehicle for its neighbour
_SHARES_OF_LEVEL = ((0.5, 2), (0.2, 3))  # 50 % and 20 % over the limit are where the law becomes graver
_LEVEL_ELSE = 4


def judge(book: "RuleBook", rows: np.ndarray, vehicles: Vehicles) -> list[Candidate]:
    """What the rules of this kind say of new PASSAGE rows; `vehicles`: of these rows."""
    rules = [terms for terms in book.terms if terms.kind == OVERSPEED]
    if not rules or not len(rows):
        return []
    at = book.checkpoints.find(rows["checkpoint"])
    limit_kmh = np.zeros(len(rows))
    if len(book.checkpoints):
        limit_kmh = np.where(at >= 0, book.checkpoints.rows["limit_kmh"][at], 0).astype(np.float64)
    said: list[Candidate] = []
    for terms in rules:
        own_kmh = float(terms.parameters.limit_kmh)
        limit = np.where((limit_kmh <= 0) | (limit_kmh > own_kmh), own_kmh, limit_kmh) if own_kmh > 0 else limit_kmh
        allowed = limit * (1 + terms.parameters.tolerance_percent / 100)
        fast = (rows["speed_kmh"] > allowed) & (rows["speed_kmh"] <= LIKELY_KMH_MAX) & (limit > 0)
        fast &= (rows["plate_key"] != 0) if _names_others(terms) else (vehicles.row >= 0)
        chosen = in_scope(terms, rows, vehicles, np.flatnonzero(fast))
        chosen = not_exempt(terms, rows, vehicles, book, chosen)
        said += [_candidate(book, terms, rows[n], int(vehicles.keys[n]), float(limit[n])) for n in chosen.tolist()]
    return said


def _names_others(terms: RuleTerms) -> bool:
    scope = terms.scope
    return any(part is not None for part in (scope.class_groups, scope.vehicle_classes, scope.plates))


def _candidate(book: "RuleBook", terms: RuleTerms, row: np.void, key: int, limit_kmh: float) -> Candidate:
    observation, units = passage_seen(book, row)
    speed = float(row["speed_kmh"])
    share = speed / limit_kmh - 1
    detail: dict[str, Any] = {
        "speed_kmh": round(speed, 1),
        "limit_kmh": round(limit_kmh),
        "over_percent": round(100 * share, 1),
        "tolerance_percent": terms.parameters.tolerance_percent,
    }
    return Candidate(
        kind=OVERSPEED,
        plate_key=key >> 3,
        class_group=key & 7,
        anchor=f"{terms.id}:{observation.record}",
        level=terms.level or next((level for over, level in _SHARES_OF_LEVEL if share >= over), _LEVEL_ELSE),
        confidence=book.trusted(CONFIDENCE, (observation.checkpoint,)),
        rule=terms.rule,
        observations=(observation,),
        detail={OVERSPEED: detail},
        audience=Audience(units=units),
    )
