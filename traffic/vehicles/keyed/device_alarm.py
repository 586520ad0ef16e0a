"""Alarm bits of terminals (终端报警), JT/T 808-2019 table 24: each bit that matters is an episode of its own.

The same bit again within the gap continues its episode; of alarms with the same bits the first of each minute counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import DEVICE_ALARM
from traffic.roads.parameters import bounded, defaults_of, fill

NAMES = {
    0: "sos", 1: "overspeed", 2: "fatigue", 3: "danger", 13: "overspeed_warning", 14: "fatigue_warning",
    18: "driving_overtime", 19: "long_stop", 20: "area", 21: "route", 22: "route_time", 23: "deviation",
    27: "unlawful_ignition", 28: "unlawful_move", 29: "collision", 30: "rollover",
}  # fmt: skip
LEVELS = {0: 1, 1: 3, 2: 3, 3: 2, 18: 3, 19: 4, 20: 3, 21: 3, 22: 4, 23: 3, 29: 1, 30: 1}
_MASK = sum(1 << bit for bit in LEVELS)  # pre-warnings of the driver and faults of the terminal are no matter
_CONFIDENCE = 0.7  # a terminal's own word


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmParameters:
    """`bits`: those that matter, as a mask; `step_min`: told again after so long, while it goes on."""

    bits: int = bounded(_MASK, 0, (1 << 32) - 1)
    gap_s: int = bounded(600, 60, 7200)
    step_min: int = bounded(30, 5, 1440)


DEFAULTS = defaults_of(AlarmParameters)


def from_parameters(parameters: Mapping[str, Any]) -> AlarmParameters:
    """Raises SettingsError naming the parameter."""
    return fill(DEVICE_ALARM, AlarmParameters, parameters)


def numbers(rule: AlarmParameters) -> list[float]:
    """As the kernel knows them: microseconds."""
    return [rule.bits, 1e6 * rule.gap_s, 6e7 * rule.step_min]


def describe(event: np.void, rule: AlarmParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said."""
    bit = int(event["anchor"])
    detail = {
        "bit": bit,
        "alarm": NAMES.get(bit, f"bit_{bit}"),
        "lasted_s": round(float(event["a"]), 1),
        "gap_s": rule.gap_s,
    }
    return detail, LEVELS.get(bit, 4), _CONFIDENCE
