"""The evidence for incidents summed up over the cycles: rule, memory, and which sites are over their threshold.

At each site (a pair of stations, a single station, a link with travel times) the log-likelihood ratio of every cycle is
added, never below 0 (CUSUM): one odd minute decays, what lasts adds up. A station speaks alone only where it has no
neighbour downstream that can be believed. Nothing is added where a sensor is not trusted, where it is always like this
at this hour, or where road works have just begun.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from traffic.limits import CYCLE_S
from traffic.roads.episodes import pack, stake_at, unpack
from traffic.roads.hazards import works_in_force
from traffic.roads.incident_evidence import (
    Pairs,
    Stations,
    log_likelihood_ratio,
    pair_features,
    pairs_of,
    station_features,
    stations_of,
)
from traffic.roads.jams import Graph
from traffic.roads.model import Inputs, Level, Picture, RoadNetwork, Sensors, Source, Window
from traffic.roads.parameters import bounded, defaults_of, fill, numbers
from traffic.roads.stretches import Stretches

GAP_M_MAX = 50_000.0  # of pairs that are worked out; the rule says up to where they are heard
TRAVEL_BEFORE_S = 900.0  # over which the travel time of before is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRule:
    """Parameters of rule `incident_detection`. Weights belong to the features named in incident_evidence.py, then base.

    Weights and thresholds were chosen on simulated incidents (`traffic evaluate incidents`, its tuning seeds), not on
    real ones.
    """

    pair_weights: tuple[float, ...] = numbers(3.0, 3.0, 1.0, 0.3, -1.5, low=-20.0, high=20.0)
    pair_sum: float = bounded(5.0, 0.5, 100.0)  # an alarm from here on
    station_weights: tuple[float, ...] = numbers(4.0, 1.0, 0.3, -2.0, low=-20.0, high=20.0)
    station_sum: float = bounded(6.0, 0.5, 100.0)
    travel_weights: tuple[float, ...] = numbers(4.0, -1.6, low=-20.0, high=20.0)  # of ln(travel time / before)
    travel_sum: float = bounded(5.0, 0.5, 100.0)
    llr_max: float = bounded(2.0, 0.1, 20.0)  # one cycle says no more than this
    persist_cycles: int = bounded(2, 1, 20)  # on end, with evidence
    fell_share_min: float = bounded(0.08, 0.0, 0.9)  # of the limit: without such a fall of speed nothing is added
    usual_share: float = bounded(0.9, 0.3, 1.2)  # of the usual speed: what is not slower is explained
    trust_min: float = bounded(0.6, 0.0, 1.0)
    pair_m_max: float = bounded(5_000.0, 100.0, GAP_M_MAX)
    slow_share: float = bounded(0.6, 0.1, 0.95)  # of the limit: slower stations hang together as one queue
    queue_m_max: float = bounded(10_000.0, 0.0, 50_000.0)  # upstream of an incident: how far its own queue may reach
    near_m: float = bounded(500.0, 0.0, 10_000.0)  # around an incident: it is the same one
    fresh_flow: float = bounded(2.5, 0.0, 10.0)  # standard deviations of flow downstream: a queue that grows costs none
    after_s: int = bounded(300, 0, 7_200)  # so long its queue may move on after it
    works_s: int = bounded(900, 0, 7_200)  # road works explain what happens so soon after their begin
    clear_share: float = bounded(0.8, 0.3, 1.2)  # of the speed before, or of that downstream: it flows again
    clear_cycles: int = bounded(6, 1, 120)
    ease_cycles: int = bounded(6, 1, 120)  # before an incident is called less grave
    unknown_s_max: int = bounded(1_800, 120, 86_400)


DEFAULTS: dict[str, Any] = defaults_of(IncidentRule)


def from_parameters(parameters: Mapping[str, Any]) -> IncidentRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("incident_detection", IncidentRule, parameters)


class Record(msgspec.Struct, kw_only=True):
    """An incident, open or ended lately. `up`, `down`: rows of sensors, `link` of its link; -1: none."""

    method: str  # the one that raised it: pair, station, travel_time
    methods: list[str]
    up: int
    down: int
    link: int
    road: int
    direction: int
    declared_us: int
    started_us: int
    head_m: float
    tail_m: float
    speed_before: float  # of `up`, or of the link
    flow_before: float  # of `down`
    flow_since: float  # of `down` while it lasts and after, smoothed
    level: int
    revision: int
    confidence: float
    observed_us: int
    seen_us: int  # when its place was last known
    quiet: int = 0  # cycles on end in which it flows again
    easing: int = 0
    told_tail_m: float = 0.0
    ended_us: int = 0


@dataclass(slots=True, kw_only=True)
class Sums:
    """Of one kind of site: sum of evidence, and cycles on end that added to it."""

    sum: np.ndarray
    run: np.ndarray

    @classmethod
    def new(cls, many: int) -> "Sums":
        """Nothing added yet."""
        return cls(sum=np.zeros(many), run=np.zeros(many, np.int64))

    def copy(self) -> "Sums":
        """To go on from."""
        return Sums(sum=self.sum.copy(), run=self.run.copy())

    def add(self, llr: np.ndarray, most: float) -> None:
        """One cycle's evidence; 0 says nothing at all."""
        self.run = np.where(llr > 0, self.run + 1, np.where(llr < 0, 0, self.run))
        self.sum = np.clip(self.sum + llr, 0.0, most)

    def over(self, threshold: float, cycles: int) -> np.ndarray:
        """Rows of sites with enough evidence, the most certain first."""
        found = np.flatnonzero((self.sum >= threshold) & (self.run >= cycles))
        return found[np.argsort(-self.sum[found], kind="stable")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What follows from the network and where its sensors stand."""

    pairs: Pairs
    graph: Graph
    stretches: Stretches
    stake_m: np.ndarray  # of each sensor

    @classmethod
    def of(cls, network: RoadNetwork, sensors: Sensors) -> "Ground":
        """Worked out once."""
        graph = Graph.of(network)
        begin, end = network.from_stake_m[sensors.link], network.to_stake_m[sensors.link]
        return cls(
            pairs=pairs_of(network, sensors, graph.neighbours, gap_m_max=GAP_M_MAX),
            graph=graph,
            stretches=Stretches.of(network),
            stake_m=stake_at(begin, end, sensors.share),
        )


@dataclass(slots=True, kw_only=True)
class Memory:
    """Sums of pairs (by their row), single stations and links; travel times of before; incidents."""

    pair: Sums
    station: Sums
    link: Sums
    travel_before_s: np.ndarray
    records: list[Record] = field(default_factory=list)
    ground: Ground

    @classmethod
    def new(cls, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """Nothing known yet."""
        ground = Ground.of(network, sensors)
        return cls(
            pair=Sums.new(len(ground.pairs)), station=Sums.new(len(sensors)), link=Sums.new(len(network)),
            travel_before_s=np.full(len(network), np.nan), ground=ground,
        )  # fmt: skip

    def __deepcopy__(self, memo: Any) -> "Memory":
        """A copy to go on from; what belongs to the network is shared."""
        return Memory(
            pair=self.pair.copy(), station=self.station.copy(), link=self.link.copy(),
            travel_before_s=self.travel_before_s.copy(),
            records=[msgspec.structs.replace(record) for record in self.records], ground=self.ground,
        )  # fmt: skip

    def dump(self) -> Any:
        """Values for msgpack."""
        columns = {"travel_before_s": self.travel_before_s}
        for name in ("pair", "station", "link"):
            sums = getattr(self, name)
            columns |= {f"{name}_sum": sums.sum, f"{name}_run": sums.run}
        return {"columns": pack(columns), "records": msgspec.to_builtins(self.records)}

    @classmethod
    def load(cls, data: Any, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """What `dump` gave, for the same network and sensors; raises ValueError where they are others."""
        columns, memory = unpack(data["columns"]), cls.new(network, sensors)
        for name in ("pair", "station", "link"):
            sums = Sums(sum=columns[f"{name}_sum"], run=columns[f"{name}_run"])
            if len(sums.sum) != len(getattr(memory, name).sum):
                raise ValueError("incidents were remembered for another network or other sensors")
            setattr(memory, name, sums)
        memory.travel_before_s = columns["travel_before_s"]
        memory.records = msgspec.convert(data["records"], list[Record])
        return memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What this cycle adds: stations, features of each site (for grounds), and travel time over that of before."""

    stations: Stations
    limit_kmh: np.ndarray  # of each sensor
    trusted: np.ndarray  # bool, of each sensor
    pair: np.ndarray
    station: np.ndarray
    travel_jump: np.ndarray  # of each link; NaN: not known


def add_up(
    network: RoadNetwork,
    sensors: Sensors,
    window: Window,
    picture: Picture,
    memory: Memory,
    circumstances: "Circumstances",
) -> Evidence:
    """Add this cycle's evidence to the sums in memory."""
    rules, pairs = circumstances.rules, memory.ground.pairs
    stations = stations_of(window)
    limit_kmh = network.limit_kmh[sensors.link]
    trusted = window.trust >= rules.trust_min
    explained = circumstances.explained(network, memory.ground.stretches)
    as_usual = circumstances.as_usual(stations, sensors.link) | explained[sensors.link]
    fell = (stations.speed_before - stations.speed) / limit_kmh >= rules.fell_share_min
    most = 4.0

    of_pair = pair_features(stations, pairs, limit_kmh)
    heard = trusted[pairs.up] & trusted[pairs.down] & (pairs.gap_m <= rules.pair_m_max)
    llr = log_likelihood_ratio(of_pair, rules.pair_weights, most=rules.llr_max)
    memory.pair.add(_held(llr, heard, fell[pairs.up] & ~as_usual[pairs.up]), most * rules.pair_sum)

    alone = trusted.copy()
    told = heard & ~np.isnan(of_pair).any(axis=1)
    alone[pairs.up[told]] = False
    of_station = station_features(stations, limit_kmh)
    llr = log_likelihood_ratio(of_station, rules.station_weights, most=rules.llr_max)
    memory.station.add(_held(llr, alone, fell & ~as_usual), most * rules.station_sum)

    jump = _travel_jump(picture, memory)
    llr = log_likelihood_ratio(np.log(jump)[:, None], rules.travel_weights, most=rules.llr_max)
    usual = circumstances.link_as_usual(picture) | explained
    memory.link.add(_held(llr, np.ones(len(network), bool), ~usual), most * rules.travel_sum)
    _learn_travel(picture, memory)
    return Evidence(
        stations=stations, limit_kmh=limit_kmh, trusted=trusted, pair=of_pair, station=of_station, travel_jump=jump
    )


def _held(llr: np.ndarray, heard: np.ndarray, may_add: np.ndarray) -> np.ndarray:
    """Nothing from a site that is not heard (its sum fades), and nothing for an incident where it may not add."""
    return np.where(heard, np.where(may_add, llr, np.minimum(llr, -0.1)), np.where(llr == 0, 0.0, -0.25))


def _travel_jump(picture: Picture, memory: Memory) -> np.ndarray:
    measured = (picture.sources & Source.TRAVEL_TIMES) != 0
    return np.where(measured, picture.travel_s / memory.travel_before_s, np.nan)


def _learn_travel(picture: Picture, memory: Memory) -> None:
    """Travel times of before: they follow slowly, and not at all while something speaks for an incident."""
    measured = (picture.sources & Source.TRAVEL_TIMES) != 0
    fresh = measured & np.isnan(memory.travel_before_s)
    memory.travel_before_s[fresh] = picture.travel_s[fresh]
    calm = measured & ~fresh & (memory.link.sum == 0)
    step = CYCLE_S / TRAVEL_BEFORE_S
    memory.travel_before_s[calm] += step * (picture.travel_s[calm] - memory.travel_before_s[calm])


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What can explain a fall of speed, beside an incident."""

    rules: IncidentRule
    inputs: Inputs
    now_us: int

    def explained(self, network: RoadNetwork, stretches: Stretches) -> np.ndarray:
        """Links where road works have just begun."""
        links = np.zeros(len(network), bool)
        for work in works_in_force(self.inputs.works, self.now_us):
            if self.now_us - work.from_at < self.rules.works_s * 1_000_000:
                links[stretches.rows(work.road_id, work.direction, work.from_stake_m, work.to_stake_m)] = True
        return links

    def as_usual(self, stations: Stations, link: np.ndarray) -> np.ndarray:
        """Stations no slower than their link is at this hour on other days."""
        if self.inputs.usual_kmh is None:
            return np.zeros(len(link), bool)
        with np.errstate(invalid="ignore"):
            return stations.speed >= self.rules.usual_share * self.inputs.usual_kmh[link]

    def link_as_usual(self, picture: Picture) -> np.ndarray:
        """The same of links; and those whose state is not known."""
        unknown = picture.level == Level.UNKNOWN
        if self.inputs.usual_kmh is None:
            return unknown
        with np.errstate(invalid="ignore"):
            return unknown | (picture.speed_kmh >= self.rules.usual_share * self.inputs.usual_kmh)
