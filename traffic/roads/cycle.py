"""One turn of the 30 s cycle: what sensors said becomes one picture of the roads and what is wrong on them.

Pure: the monitor reads, calls `turn`, writes what it returns. The same state and inputs give the same turn.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from traffic.errors import TrafficError
from traffic.limits import SENSOR_INTERVALS
from traffic.risk import model as risk
from traffic.roads import congestion, hazards, incidents, indices, links, trust, window
from traffic.roads.geometry import Weights, smoothing_key, weigh
from traffic.roads.model import Inputs, RoadNetwork, Sections, Sensors, Turn
from traffic.roads.symptoms import Neighbours, Said, find_neighbours

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


class TurnedBack(TrafficError):
    """A turn was asked for a time before the last one's."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What stands still as long as the network and its sensors do."""

    lanes: window.Lanes
    neighbours: Neighbours
    mark: bytes  # of the network and the sensors


@dataclass(slots=True, kw_only=True)
class State:
    """What the cycle remembers. Belongs to one network and its sensors; only `turn` changes it."""

    ground: Ground
    at_us: int  # of the last turn; 0: none yet
    reports: window.Reports
    columns: window.Columns
    health: trust.Memory
    level: np.ndarray  # int8 (links): of the last picture
    congestion: congestion.Memory
    incidents: incidents.Memory
    hazards: hazards.Memory
    risk: risk.Memory
    weights: Weights | None = None  # worked out anew when the rule's smoothing changes; not dumped


def new_state(network: RoadNetwork, sensors: Sensors) -> State:
    """Nothing known yet."""
    lanes = window.lay_out(sensors)
    return State(
        ground=Ground(lanes=lanes, neighbours=find_neighbours(network, sensors), mark=_mark(network, sensors)),
        at_us=0,
        reports=window.NO_REPORTS,
        columns=window.no_columns(len(sensors)),
        health=trust.new_memory(lanes),
        level=np.zeros(len(network), np.int8),
        congestion=congestion.Memory.new(network, sensors),
        incidents=incidents.Memory.new(network, sensors),
        hazards=hazards.Memory.new(network, sensors),
        risk=risk.Memory.new(network, sensors),
    )


def _mark(network: RoadNetwork, sensors: Sensors) -> bytes:
    """The same only for the same links and sensors in the same order."""
    digest = blake2b(digest_size=16)
    for columns in (network, sensors):
        for entry in fields(columns):
            values = np.ascontiguousarray(getattr(columns, entry.name))
            digest.update(f"{entry.name} {values.dtype.str} {len(values)}".encode())
            digest.update(values.tobytes())
    return digest.digest()


# ---------------------------------------------------------------- snapshots
def dump(state: State) -> bytes:
    """The state as bytes for a snapshot."""
    gates = state.ground.lanes.checkpoints
    body = {
        "format": FORMAT,
        "mark": state.ground.mark,
        "at_us": state.at_us,
        "reports": {number: interval.rows.tobytes() for number, interval in state.reports.items()},
        "gates": {name: state.columns[name][:, gates].tobytes() for name in window.VALUES},
        "health": state.health.dump(),
        "level": state.level.tobytes(),
        "congestion": state.congestion.dump(),
        "incidents": state.incidents.dump(),
        "hazards": state.hazards.dump(),
        "risk": state.risk.dump(),
    }
    return msgspec.msgpack.encode(body)


def load(data: bytes, network: RoadNetwork, sensors: Sensors) -> State:
    """What `dump` gave, for the same network and sensors; raises StateUnreadable."""
    state = new_state(network, sensors)
    try:
        body = msgspec.msgpack.decode(data, strict=False)
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise StateUnreadable(f"a dumped state of another format than {FORMAT}")
        if body["mark"] != state.ground.mark:
            raise StateUnreadable("the dumped state belongs to another network or to other sensors")
        _fill(state, body, network, sensors)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StateUnreadable(f"the dumped state is damaged: {type(error).__name__}: {error}") from error
    return state


def _fill(state: State, body: Mapping[str, Any], network: RoadNetwork, sensors: Sensors) -> None:
    lanes = state.ground.lanes
    state.at_us = int(body["at_us"])
    state.reports = {
        int(number): window.fold_interval(np.frombuffer(rows, window.LANE_REPORT).copy(), len(lanes))
        for number, rows in body["reports"].items()
    }
    state.health = trust.Memory.load(body["health"])
    if len(state.health.seen) != len(lanes) + len(lanes.checkpoints):
        raise StateUnreadable("the dumped state has another number of sensors")
    state.level = np.frombuffer(body["level"], np.int8).copy()
    for name in window.VALUES:
        told = np.frombuffer(body["gates"][name], np.float64)
        state.columns[name][:, lanes.checkpoints] = told.reshape(SENSOR_INTERVALS, len(lanes.checkpoints))
    newest = window.number_of(state.at_us)
    places = {number: window.place_of(number, newest) for number in state.reports}
    usable = trust.usable(state.health, lanes)
    window.put_detectors(state.columns, state.reports, lanes, usable, places)
    state.congestion = congestion.Memory.load(body["congestion"], network, sensors)
    state.incidents = incidents.Memory.load(body["incidents"], network, sensors)
    state.hazards = hazards.Memory.load(body["hazards"], network, sensors)
    state.risk = risk.Memory.load(body["risk"], network, sensors)


# ---------------------------------------------------------------- one cycle
@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What the sensors' part of a turn comes to."""

    reports: window.Reports
    columns: window.Columns
    health: trust.Memory
    changes: list[trust.HealthChange]


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
    `now_us` waits inside the state for its turn. Raises TurnedBack.
    """
    if now_us < state.at_us:
        raise TurnedBack(f"a turn at {now_us} after one at {state.at_us}")
    inputs = _sensible(inputs, len(network))
    heard = _hear(network, sensors, state, inputs, rules, now_us=now_us)
    lanes = state.ground.lanes
    trusted = trust.trust_of_sensors(heard.health, lanes, len(sensors))
    seen = window.as_window(heard.columns, trusted, now_us=now_us)
    weights = state.weights
    if weights is None or weights.key != smoothing_key(rules.link_levels):
        weights = weigh(network, sensors, rules.link_levels)
    picture = links.estimate(
        network, sensors, sections, seen, inputs, rules.link_levels, weights=weights, before=state.level, now_us=now_us
    )
    # They change what they remember as they go: they are given copies, which take the place of the old at the end.
    jams, found, hazard, risks = deepcopy((state.congestion, state.incidents, state.hazards, state.risk))
    events = [
        *congestion.follow(network, sensors, seen, picture, jams, rules.congestion, now_us=now_us),
        *incidents.detect(
            network, sensors, seen, picture, found, rules.incident_detection, now_us=now_us, inputs=inputs
        ),
        *hazards.follow(
            network, inputs.weather, inputs.works, hazard, rules.weather_limits,
            now_us=now_us, health=heard.changes, sensors=sensors,
        ),
    ]  # fmt: skip
    scored = risk.assess(
        network, picture, seen, sensors, inputs, risks, rules.road_risk, now_us=now_us, grades=rules.weather_limits
    )
    told = indices.indices(network, inputs.above, picture, scored, inputs, rules.link_levels)
    state.at_us, state.reports, state.columns, state.health = now_us, heard.reports, heard.columns, heard.health
    state.level, state.weights = picture.level.copy(), weights
    state.congestion, state.incidents, state.hazards, state.risk = jams, found, hazard, risks
    return Turn(picture=picture, risk=scored, window=seen, events=events, health=heard.changes, indices=told)


def _sensible(inputs: Inputs, links: int) -> Inputs:
    """The inputs with usual values that can be; what history cannot tell is not known."""

    def cleaned(values: np.ndarray | None, least: float) -> np.ndarray | None:
        if values is None or len(values) != links:
            return None
        return np.where(np.isfinite(values) & (values >= least), values, np.nan)

    return replace(inputs, usual_kmh=cleaned(inputs.usual_kmh, 1.0), usual_vph=cleaned(inputs.usual_vph, 0.0))


def _hear(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork, sensors: Sensors, state: State, inputs: Inputs, rules: RoadRules, *, now_us: int
) -> _Heard:
    """Fold what came in, judge the sensors by it, and fold again where other lanes are believed now."""
    lanes, newest = state.ground.lanes, window.number_of(now_us)
    reports, touched = window.absorb(state.reports, inputs.reports, lanes, now_us=now_us)
    before = window.number_of(state.at_us)
    columns = window.shifted(state.columns, min(newest - before, SENSOR_INTERVALS))
    usable = trust.usable(state.health, lanes)
    fresh = touched | {number for number in reports if number > before}
    places = {number: window.place_of(number, newest) for number in fresh}
    window.put_detectors(columns, reports, lanes, usable, places)
    window.put_checkpoints(columns, sensors, lanes, inputs, now_us=now_us)
    said = Said(
        network=network,
        sensors=sensors,
        lanes=lanes,
        neighbours=state.ground.neighbours,
        reports=reports,
        columns=columns,
        believed=trust.trust_of_sensors(state.health, lanes, len(sensors)),
        inputs=inputs,
        newest=newest,
    )
    health, changes = trust.judge(state.health, said, rules.sensor_health, now_us=now_us)
    other = np.unique(lanes.sensor[usable != trust.usable(health, lanes)])
    window.put_again(columns, reports, lanes, trust.usable(health, lanes), (other, newest))
    return _Heard(reports=reports, columns=columns, health=health, changes=changes)
