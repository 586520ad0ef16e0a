"""Route deviation (危化品偏离路线): a vehicle with hazardous goods off the roads, stakes or hours of its route permit.

Where no permit at all is held, every known road is off the route, unless the rule does not ask for one. A passage tells
it at once, positions once they have lasted for some time; the margin along the road is the rule's. Off the known roads
(a yard, a loading place) nothing is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import ROUTE_DEVIATION
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.vehicles.keyed import shapes

_WHY = {shapes.ROUTE_LEFT: "off_route", shapes.ROUTE_HOURS: "outside_hours", shapes.ROUTE_NONE: "no_permit"}
_ONE, _MORE = 0.85, 0.93  # confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteParameters:
    """`permit_needed`: 1: without any permit every road is off the route; 0: without one the rule is silent."""

    off_s: int = bounded(300, 0, 7200)
    margin_m: float = bounded(2000.0, 0.0, 20_000.0)
    permit_needed: int = bounded(1, 0, 1)


DEFAULTS = defaults_of(RouteParameters)


def from_parameters(parameters: Mapping[str, Any]) -> RouteParameters:
    """Raises SettingsError naming the parameter."""
    return fill(ROUTE_DEVIATION, RouteParameters, parameters)


def numbers(rule: RouteParameters) -> list[float]:
    """As the kernel knows them: microseconds."""
    return [1e6 * rule.off_s]


def describe(event: np.void, rule: RouteParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    detail = {
        "reason": _WHY.get(int(event["b"]), "off_route"),
        "off_s": round(float(event["a"]), 1),
        "for_s": rule.off_s,
        "margin_m": rule.margin_m,
        "ended": bool(event["over"]),
    }
    return detail, 2, _MORE if int(event["proofs"]) > 1 else _ONE
