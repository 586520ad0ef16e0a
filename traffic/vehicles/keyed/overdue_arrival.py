"""Overdue at the next checkpoint (逾期未到): a vehicle passed a gate and was seen by nothing since, for too long.

Too long is what all but a few drivers need to the next checkpoint of the road in that direction (usual times), and a
margin. Every position of the vehicle begins the count anew: whose terminal still speaks is not lost. A position off the
known roads, or standing, suspends it: the vehicle has turned off or stopped before everybody's eyes (standing where it
must not is another rule's matter). While the next checkpoint is not heard of, nothing is expected of the vehicles on
their way to it. Ticks alone find that time ran out. A sighting that comes late and lies before that takes it back; one
that lies behind says when the vehicle came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import OVERDUE_ARRIVAL
from traffic.roads.parameters import bounded, defaults_of, fill

_CONFIDENCE = 0.6  # an exit, a missed reading and an accident look alike


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueParameters:
    """`quantile`: the share of drivers who are there in time; `margin_s` more for all."""

    quantile: float = bounded(0.95, 0.5, 0.999)
    margin_s: int = bounded(900, 0, 14_400)
    distance_m_max: int = bounded(150_000, 1_000, 1_000_000)


DEFAULTS = defaults_of(OverdueParameters)


def from_parameters(parameters: Mapping[str, Any]) -> OverdueParameters:
    """Raises SettingsError naming the parameter."""
    return fill(OVERDUE_ARRIVAL, OverdueParameters, parameters)


def numbers(rule: OverdueParameters) -> list[float]:
    """The kernel takes the time from the passage itself."""
    return []


def describe(event: np.void, rule: OverdueParameters, expected_at: int) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said; `expected_at`: the next checkpoint."""
    detail = {
        "expected_at": expected_at,
        "allowed_s": round(float(event["b"]), 1),
        "since_s": round(float(event["a"]), 1),
        "overdue_s": round(float(event["c"]), 1),
        "quantile": rule.quantile,
        "margin_s": rule.margin_s,
        "seen_again": bool(event["over"]),
    }
    return detail, 3, _CONFIDENCE
