"""Risk of every link, now and within the next hour, with the contribution of each factor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.roads.model import Inputs, Picture, RiskLevel, RiskPicture, RoadNetwork, Sensors, Window

FACTORS: tuple[str, ...] = ("speed_drop", "speed_spread", "upstream_difference", "flow", "heavy_share", "weather", "works", "darkness")  # fmt: skip
DEFAULTS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRule:
    """Parameters of rule road_risk."""


def from_parameters(parameters: Mapping[str, Any]) -> RiskRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return RiskRule()


class Memory:
    """What risk remembers from cycle to cycle."""

    @classmethod
    def new(cls, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """Nothing known yet."""
        return cls()

    def dump(self) -> Any:
        """Values for msgpack."""
        return {}

    @classmethod
    def load(cls, data: Any, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """What `dump` gave, for the same network."""
        return cls.new(network, sensors)


def assess(  # noqa: PLR0913 - one argument for each thing that risk rests on
    network: RoadNetwork,
    picture: Picture,
    window: Window,
    sensors: Sensors,
    inputs: Inputs,
    memory: Memory,
    rules: RiskRule,
    *,
    now_us: int,
) -> RiskPicture:
    """Score each link."""
    many = len(network)
    unknown, level = np.full(many, np.nan), np.full(many, RiskLevel.UNKNOWN, np.int8)
    parts = np.full((many, len(FACTORS)), np.nan)
    return RiskPicture(
        factors=FACTORS,
        now=unknown,
        next_hour=unknown.copy(),
        now_level=level,
        next_level=level.copy(),
        now_parts=parts,
        next_parts=parts.copy(),
    )
