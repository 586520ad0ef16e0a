"""Congestion events along the network: where a queue begins, how far it reaches, what it spills into, when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traffic.roads.model import Picture, RoadEvent, RoadNetwork, Sensors, Window

DEFAULTS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionRule:
    """Parameters of the rule."""


def from_parameters(parameters: Mapping[str, Any]) -> CongestionRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return CongestionRule()


class Memory:
    """What is remembered from cycle to cycle."""

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


def follow(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    sensors: Sensors,
    window: Window,
    picture: Picture,
    memory: Memory,
    rules: CongestionRule,
    *,
    now_us: int,
) -> list[RoadEvent]:
    """Events that are new, changed or ended in this cycle."""
    return []
