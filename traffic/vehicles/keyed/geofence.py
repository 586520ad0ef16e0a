"""Geofences (电子围栏): a vehicle stays inside a fence that is not for it, or leaves it again.

Inside counts from the border inwards, outside only from the margin outwards: who drives along a border does not come
and go with every position. Shorter stays than the dwell time are no matter. Of overlapping fences two are followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import GEOFENCE
from traffic.roads.parameters import bounded, defaults_of, fill

MARGIN_M_MAX = 1_000.0
_SEEN, _SILENT = 0.9, 0.7  # confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceParameters:
    """`silent_s`: of a terminal that falls silent inside a tick tells it so long after."""

    dwell_s: int = bounded(120, 0, 86_400)
    margin_m: float = bounded(50.0, 0.0, MARGIN_M_MAX)
    silent_s: int = bounded(300, 0, 3600)


DEFAULTS = defaults_of(FenceParameters)


def from_parameters(parameters: Mapping[str, Any]) -> FenceParameters:
    """Raises SettingsError naming the parameter."""
    return fill(GEOFENCE, FenceParameters, parameters)


def numbers(rule: FenceParameters) -> list[float]:
    """As the kernel knows them: microseconds, metres."""
    return [1e6 * rule.dwell_s, rule.margin_m, 1e6 * rule.silent_s]


def describe(event: np.void, rule: FenceParameters, fence: Mapping[str, Any]) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said; `fence`: its number, code, name and kind."""
    detail = {
        **fence,
        "inside_s": round(float(event["a"]), 1),
        "dwell_s": rule.dwell_s,
        "margin_m": rule.margin_m,
        "silent": bool(event["b"]),
        "left": bool(event["over"]),
    }
    return detail, 3, _SILENT if event["b"] else _SEEN
