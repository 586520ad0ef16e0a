"""Running by night (凌晨 2-5 时运行): between 02:00 and 05:00 long-distance coaches stop driving or are relayed (接驳).

Exempt are fixed lines of airports and high-speed railways, lines of no more than 100 km one way, and who holds a relay
permit: all this is the rule's data. A passage shows a vehicle on the road; positions show it once they have it moving
for some time. One finding for each vehicle and night.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import NIGHT_RUNNING
from traffic.roads.parameters import bounded, defaults_of, fill

_ONE_CAMERA, _MORE = 0.9, 0.97  # confidence: one reading of a plate can be a misreading


@dataclass(frozen=True, slots=True, kw_only=True)
class NightParameters:
    """Minutes of the day, local; `running_s`: so long positions must show it moving; `step_min`: told again after."""

    from_min: int = bounded(120, 0, 1439)
    to_min: int = bounded(300, 1, 1440)
    moving_kmh: float = bounded(20.0, 1.0, 60.0)
    running_s: int = bounded(180, 0, 3600)
    step_min: int = bounded(30, 5, 240)


DEFAULTS = defaults_of(NightParameters)


def from_parameters(parameters: Mapping[str, Any]) -> NightParameters:
    """Raises SettingsError naming the parameter."""
    return fill(NIGHT_RUNNING, NightParameters, parameters)


def numbers(rule: NightParameters) -> list[float]:
    """As the kernel knows them: minutes, km/h, microseconds."""
    return [rule.from_min, rule.to_min, rule.moving_kmh, 1e6 * rule.running_s, 6e7 * rule.step_min]


def describe(event: np.void, rule: NightParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    detail = {
        "hours": [[_hour(rule.from_min), _hour(rule.to_min)]],
        "seen_for_min": round(float(event["a"]) / 60, 1),
        "sightings": int(event["b"]),
    }
    return detail, 3, _MORE if int(event["b"]) > 1 else _ONE_CAMERA


def _hour(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
