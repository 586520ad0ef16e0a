"""Overspeed by segment (超速): faster than the limit of the road and of the vehicle's kind, for at least so long.

It begins above the limit with its tolerance and ends a few km/h lower, so that a speed about the limit is one matter.
Positions alone speak here: what one passage says of speed is judged beside (the same kind of rule), section speed is a
rule of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import OVERSPEED
from traffic.roads.parameters import bounded, defaults_of, fill

_CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class OverspeedParameters:
    """`limit_kmh`: of the kind of vehicle, where it is lower than the road's; 0: the road's alone.

    `gap_s`: positions farther apart say nothing of what is between them; `positions`: so many at least, because one or
    two may lie on another road than they seem to.
    """

    tolerance_percent: float = bounded(10.0, 0.0, 100.0)
    for_s: int = bounded(60, 0, 3600)
    back_kmh: float = bounded(5.0, 0.0, 50.0)
    gap_s: int = bounded(150, 5, 900)
    limit_kmh: int = bounded(0, 0, 200)
    positions: int = bounded(3, 2, 60)


DEFAULTS = defaults_of(OverspeedParameters)


def from_parameters(parameters: Mapping[str, Any]) -> OverspeedParameters:
    """Raises SettingsError naming the parameter."""
    return fill(OVERSPEED, OverspeedParameters, parameters)


def numbers(rule: OverspeedParameters) -> list[float]:
    """As the kernel knows them: share of the limit, microseconds, km/h."""
    return [
        1 + rule.tolerance_percent / 100,
        1e6 * rule.for_s,
        rule.back_kmh,
        1e6 * rule.gap_s,
        rule.limit_kmh,
        rule.positions,
    ]


def describe(event: np.void, rule: OverspeedParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    share = float(event["d"])
    detail = {
        "speed_kmh": round(float(event["a"]), 1),
        "limit_kmh": round(float(event["b"])),
        "over_percent": round(100 * share, 1),
        "tolerance_percent": rule.tolerance_percent,
        "lasted_s": round(float(event["c"]), 1),
        "for_s": rule.for_s,
        "ended": bool(event["over"]),
    }
    return detail, 2 if share >= 0.5 else 3 if share >= 0.2 else 4, _CONFIDENCE
