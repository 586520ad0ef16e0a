"""Weather, road works and failed sensors as road events: start, change, end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traffic.road_readings import RoadWork, WeatherReport
from traffic.roads.model import HealthChange, RoadEvent, RoadNetwork, Sensors

DEFAULTS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardRule:
    """Parameters of rule weather_limits."""


def from_parameters(parameters: Mapping[str, Any]) -> HazardRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return HazardRule()


class Memory:
    """What is in force, as last told."""

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
    weather: Sequence[WeatherReport],
    works: Sequence[RoadWork],
    memory: Memory,
    rules: HazardRule,
    *,
    now_us: int,
    health: Sequence[HealthChange] = (),
    sensors: Sensors | None = None,
) -> list[RoadEvent]:
    """Events that are new, changed or ended in this cycle. `health`: what changed in this cycle, on `sensors`."""
    return []
