"""Driving time (疲劳驾驶): <= 4 h on end by day, <= 2 h by night (22:00-06:00), a rest is >= 20 min; <= 8 h in 24 h;
<= 44 h in 7 d (客运企业规范: the norm for passenger transport; other limits are other rule rows).

A driving period lasts from the first movement behind a rest to the last one before the next rest. Standing for less
than a rest does not end it, and is not driving. Driving that spans day and night is judged by both limits: the whole
period against the day's, and the part of it that lies between 22:00 and 06:00 against the night's. (Other reading: from
22:00 on the night's limit for the whole period; it would accuse a driver at the stroke of ten. The milder one is used.)

Movement comes from positions, and between sightings far apart from the time that the way usually takes: where a gap is
longer than that by a rest, there may have been one, and the period ends. Then only the least time that the way takes
counts for the sums of 24 h and 7 d.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import DRIVING_TIME
from traffic.roads.parameters import bounded, defaults_of, fill

BY_DAY, BY_NIGHT, IN_24H, IN_7D = 1, 2, 4, 8  # bits of `exceeded`
LIMITS = ((BY_DAY, "continuous"), (BY_NIGHT, "night"), (IN_24H, "24h"), (IN_7D, "7d"))
_CERTAIN, _BLIND = 0.95, 0.3  # confidence, and how much of it is lost where nothing but passages tells the driving


@dataclass(frozen=True, slots=True, kw_only=True)
class DrivingParameters:
    """`step_min`: so much later the finding is told again, while the driving goes on."""

    day_limit_min: int = bounded(240, 30, 1440)
    night_limit_min: int = bounded(120, 30, 1440)
    rest_min: int = bounded(20, 5, 120)
    limit_24h_min: int = bounded(480, 60, 1440)
    limit_7d_min: int = bounded(2640, 60, 10_080)
    moving_kmh: float = bounded(5.0, 1.0, 30.0)
    step_min: int = bounded(30, 5, 240)


DEFAULTS = defaults_of(DrivingParameters)


def from_parameters(parameters: Mapping[str, Any]) -> DrivingParameters:
    """Raises SettingsError naming the parameter."""
    return fill(DRIVING_TIME, DrivingParameters, parameters)


def numbers(rule: DrivingParameters) -> list[float]:
    """As the kernel knows them: seconds, and metres a second."""
    minutes = (rule.day_limit_min, rule.night_limit_min, rule.rest_min, rule.limit_24h_min, rule.limit_7d_min)
    return [60.0 * part for part in minutes] + [rule.moving_kmh / 3.6, 60.0 * rule.step_min]


def describe(event: np.void, rule: DrivingParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    exceeded = [name for bit, name in LIMITS if int(event["f"]) & bit]
    driven_s, blind_s = float(event["a"]), float(event["e"])
    detail = {
        "exceeded": exceeded,
        "driven_min": round(driven_s / 60, 1),
        "driven_limit_min": rule.day_limit_min,
        "night_driven_min": round(float(event["b"]) / 60, 1),
        "night_limit_min": rule.night_limit_min,
        "driven_24h_min": round(float(event["c"]) / 60, 1),
        "limit_24h_min": rule.limit_24h_min,
        "driven_7d_min": round(float(event["d"]) / 60, 1),
        "limit_7d_min": rule.limit_7d_min,
        "rest_min": rule.rest_min,
        "between_far_sightings_min": round(blind_s / 60, 1),
        "ended": bool(event["over"]),
    }
    share = max(driven_s / 60 / rule.day_limit_min, float(event["b"]) / 60 / rule.night_limit_min)
    confidence = _CERTAIN - _BLIND * blind_s / max(driven_s, 1.0)
    return detail, 2 if share >= 1.5 else 3, round(confidence, 3)
