"""Satellite positions against plate reads (车辆位置与过车不符): the terminal is elsewhere than the plate.

A passage is compared with the vehicle's own positions before and after it, between which it is interpolated. Far apart
means that plate and terminal are on two vehicles, and each explanation gets a probability:
- misread: a camera took another plate for this one; likely for one passage, hardly for three in a row;
- clone (套牌): another vehicle bears the plate, while the terminal's own is driving somewhere else;
- device_removed: the terminal lies still (at the depot) while cameras see its vehicle drive;
- plate_swapped: the plate was put on another vehicle of the owner.
A terminal that spoke and is silent now, while cameras go on to see the vehicle, was unplugged or broke down. One
finding for each episode of passages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.findings import POSITION_MISMATCH
from traffic.roads.parameters import bounded, defaults_of, fill

_MISREAD = (0.5, 0.12, 0.03)  # of one, two, three or more passages: 5 % of readings are wrong, clones are rare
_MOVING = {"clone": 0.75, "plate_swapped": 0.25}
_STILL = {"device_removed": 0.6, "clone": 0.3, "plate_swapped": 0.1}
_SILENT = {"device_removed": 0.7, "device_failed": 0.3}
AWAY, AWAY_STILL, AWAY_SILENT = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MismatchParameters:
    """`gap_s`: positions must lie so near to the passage, on both sides; `passages_min`: seen by cameras so often
    while the terminal is silent for `silent_min`."""

    away_km: float = bounded(3.0, 0.5, 100.0)
    gap_s: int = bounded(600, 30, 3600)
    silent_min: int = bounded(45, 10, 720)
    passages_min: int = bounded(3, 1, 20)


DEFAULTS = defaults_of(MismatchParameters)


def from_parameters(parameters: Mapping[str, Any]) -> MismatchParameters:
    """Raises SettingsError naming the parameter."""
    return fill(POSITION_MISMATCH, MismatchParameters, parameters)


def numbers(rule: MismatchParameters) -> list[float]:
    """As the kernel knows them: metres, microseconds."""
    return [1e3 * rule.away_km, 1e6 * rule.gap_s, 6e7 * rule.silent_min, rule.passages_min]


def describe(event: np.void, rule: MismatchParameters) -> tuple[dict[str, Any], int, float]:
    """(detail, level, confidence) of what was said: every explanation with its probability, the likeliest first."""
    how, passages = int(event["a"]), int(event["c"])
    misread = _MISREAD[min(passages, len(_MISREAD)) - 1]
    shares = (_MOVING, _STILL, _SILENT)[how]
    chances = {name: round(share * (1 - misread), 3) for name, share in shares.items()} | {"misread": misread}
    ranked = sorted(chances.items(), key=lambda pair: -pair[1])
    # The likeliest of what is wrong with the vehicle: a misreading is a fault of the camera, and no explanation of it.
    explanation = max(shares, key=lambda name: shares[name])
    detail = {
        "explanation": explanation,
        "probability": chances[explanation],
        "explanations": [{"explanation": name, "probability": chance} for name, chance in ranked],
        "away_km": round(float(event["b"]) / 1e3, 2) if how != AWAY_SILENT else None,
        "away_limit_km": rule.away_km,
        "passages": passages,
        "terminal_moved_m": round(float(event["d"])) if how != AWAY_SILENT else None,
        "silent_min": round(float(event["e"]) / 60, 1) if how == AWAY_SILENT else None,
    }
    return detail, 2 if passages > 1 else 3, round(1 - misread, 3)
