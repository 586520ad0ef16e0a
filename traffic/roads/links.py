"""State of every link from trusted point sensors and travel times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULTS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRule:
    """Parameters of rule link_levels."""


def from_parameters(parameters: Mapping[str, Any]) -> LinkRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return LinkRule()
