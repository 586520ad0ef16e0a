"""One turn of the 30 s cycle: what sensors said becomes one picture of the roads and what is wrong on them.

Pure: the monitor reads, calls `turn`, writes what it returns. The same state and inputs give the same turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.errors import TrafficError
from traffic.risk import model as risk
from traffic.roads import congestion, hazards, incidents, links, trust
from traffic.roads.model import Inputs, Level, Picture, RoadNetwork, Sections, Sensors, Turn, Window

FORMAT = 1  # of a dumped state

# Kinds of rules in table `rule`, with the parameters that an instance begins with.
DEFAULTS: dict[str, dict[str, Any]] = {
    "link_levels": links.DEFAULTS,
    "sensor_health": trust.DEFAULTS,
    "congestion": congestion.DEFAULTS,
    "incident_detection": incidents.DEFAULTS,
    "road_risk": risk.DEFAULTS,
    "weather_limits": hazards.DEFAULTS,
}


class StateUnreadable(TrafficError):
    """A dumped state is of another format, of another network, or damaged: begin with a new one and replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadRules:
    """The six rules of the roads."""

    link_levels: links.LinkRule
    sensor_health: trust.HealthRule
    congestion: congestion.CongestionRule
    incident_detection: incidents.IncidentRule
    road_risk: risk.RiskRule
    weather_limits: hazards.HazardRule

    @classmethod
    def from_parameters(cls, of_kind: Mapping[str, Mapping[str, Any]]) -> "RoadRules":
        """From rows of table `rule` by kind; a missing kind has its defaults. Raises SettingsError."""
        return cls(
            link_levels=links.from_parameters(of_kind.get("link_levels", {})),
            sensor_health=trust.from_parameters(of_kind.get("sensor_health", {})),
            congestion=congestion.from_parameters(of_kind.get("congestion", {})),
            incident_detection=incidents.from_parameters(of_kind.get("incident_detection", {})),
            road_risk=risk.from_parameters(of_kind.get("road_risk", {})),
            weather_limits=hazards.from_parameters(of_kind.get("weather_limits", {})),
        )


@dataclass(slots=True, kw_only=True)
class State:
    """What the cycle remembers. Belongs to one network and its sensors; only `turn` changes it."""

    at_us: int  # of the last turn; 0: none yet
    congestion: congestion.Memory
    incidents: incidents.Memory
    hazards: hazards.Memory
    risk: risk.Memory


def new_state(network: RoadNetwork, sensors: Sensors) -> State:
    """Nothing known yet."""
    return State(
        at_us=0,
        congestion=congestion.Memory.new(network, sensors),
        incidents=incidents.Memory.new(network, sensors),
        hazards=hazards.Memory.new(network, sensors),
        risk=risk.Memory.new(network, sensors),
    )


def dump(state: State) -> bytes:
    """The state as bytes for a snapshot."""
    return b""


def load(data: bytes, network: RoadNetwork, sensors: Sensors) -> State:
    """What `dump` gave, for the same network and sensors; raises StateUnreadable."""
    return new_state(network, sensors)


def turn(  # noqa: PLR0913 - one argument for each thing that a picture rests on
    network: RoadNetwork,
    sensors: Sensors,
    sections: Sections,
    state: State,
    inputs: Inputs,
    rules: RoadRules,
    *,
    now_us: int,
) -> Turn:
    """One cycle at a full half minute. Changes `state` at its end only: after an error it is what it was.

    `inputs.reports`: whatever came in since the last turn, in any order, repeated or late; what is observed after
    `now_us` waits inside the state for its turn.
    """
    window, picture = _nothing(network, sensors, now_us)
    scored = risk.assess(network, picture, window, sensors, inputs, state.risk, rules.road_risk, now_us=now_us)
    return Turn(picture=picture, risk=scored, window=window, events=(), health=(), indices=())


def _nothing(network: RoadNetwork, sensors: Sensors, now_us: int) -> tuple[Window, Picture]:
    shape = (len(sensors), 30)
    window = Window(
        ends_us=now_us + np.arange(-29, 1) * 30_000_000,
        speed_kmh=np.full(shape, np.nan),
        flow_vph=np.full(shape, np.nan),
        occupancy=np.full(shape, np.nan),
        heavy_share=np.full(shape, np.nan),
        trust=np.zeros(len(sensors)),
    )
    many = len(network)
    picture = Picture(
        at_us=now_us,
        observed_us=np.zeros(many, np.int64),
        level=np.full(many, Level.UNKNOWN, np.int8),
        speed_kmh=np.full(many, np.nan),
        flow_vph=np.full(many, np.nan),
        density_vkm=np.full(many, np.nan),
        travel_s=np.full(many, np.nan),
        travel_p90_s=np.full(many, np.nan),
        heavy_share=np.full(many, np.nan),
        confidence=np.zeros(many),
        sources=np.zeros(many, np.int8),
    )
    return window, picture
