"""Sensor health: which detectors' lanes and which checkpoints can be believed, and why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULTS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRule:
    """Parameters of rule sensor_health."""


def from_parameters(parameters: Mapping[str, Any]) -> HealthRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return HealthRule()
