"""Long stop (长时间停车): a vehicle stands on an expressway or trunk road, where standing is no ordinary matter.

Not counted is standing inside fences of kind parking and near service areas and toll plazas. When the terminal falls
silent while the vehicle stands, a tick tells it; what comes later ends it or takes it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import LONG_STOP
from traffic.roads.parameters import bounded, defaults_of, fill

_SEEN, _SILENT = 0.9, 0.6  # confidence: positions show it standing, or it stood and was not heard of since


@dataclass(frozen=True, slots=True, kw_only=True)
class StopParameters:
    """`radius_m`: a standing terminal wanders so far; `silent_s`, `seen_s`: not heard of for so long, and seen
    standing before for so long, a tick may tell it (who parks and switches off is seen standing once)."""

    for_min: float = bounded(10.0, 1.0, 600.0)
    standing_kmh: float = bounded(3.0, 0.0, 20.0)
    radius_m: float = bounded(100.0, 20.0, 1000.0)
    silent_s: int = bounded(180, 0, 3600)
    seen_s: int = bounded(120, 0, 3600)


DEFAULTS = defaults_of(StopParameters)


def from_parameters(parameters: Mapping[str, Any]) -> StopParameters:
    """Raises SettingsError naming the parameter."""
    return fill(LONG_STOP, StopParameters, parameters)


def numbers(rule: StopParameters) -> list[float]:
    """As the kernel knows them: microseconds, km/h, metres."""
    return [6e7 * rule.for_min, rule.standing_kmh, rule.radius_m, 1e6 * rule.silent_s, 1e6 * rule.seen_s]


def describe(event: np.void, rule: StopParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    detail = {
        "stood_min": round(float(event["a"]) / 60, 1),
        "seen_standing_min": round(float(event["b"]) / 60, 1),
        "for_min": rule.for_min,
        "silent": bool(event["c"]),
        "ended": bool(event["over"]),
    }
    return detail, 3, _SILENT if event["c"] else _SEEN
