"""First detection of incidents from point sensors and travel times, as road events with their grounds.

Where enough evidence has come together (incident_sums.py) an incident is said to be between the two stations that tell
it. What follows from it is no second one: its queue that grows upstream, and that queue as it moves on for some minutes
after the incident has ended. An incident ends when traffic flows again at its upstream station; when nothing is known
of its place for too long it is closed as not known any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.roads.episodes import event_id
from traffic.roads.incident_evidence import PAIR_FEATURES, STATION_FEATURES, fewer
from traffic.roads.incident_sums import (
    DEFAULTS,
    Circumstances,
    Evidence,
    IncidentRule,
    Memory,
    Record,
    Sums,
    add_up,
    from_parameters,
)
from traffic.roads.model import EventKind, Inputs, Picture, RoadEvent, RoadNetwork, Sensors, Window

__all__ = ["DEFAULTS", "IncidentRule", "Memory", "detect", "from_parameters"]

PAIR, STATION, TRAVEL = "upstream_downstream", "sudden_change", "travel_time"
SLOW_INTERVALS = 20  # newest of a window: a queue has stood where all were slow at some time
TAIL_MOVED_M = 200.0
STANDING_KMH = 10.0
FLOW_STEP = 0.15  # a cycle's part in the flow behind an incident
TRAVEL_CLEAR = 1.25  # travel time over that of before: it flows again


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place that is over its threshold. `up`, `down`: rows of sensors, `row`: in its sums."""

    method: str
    row: int
    up: int
    down: int
    link: int
    head_m: float
    tail_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One cycle."""

    network: RoadNetwork
    sensors: Sensors
    memory: Memory
    evidence: Evidence
    slow: np.ndarray  # bool, of each sensor: lately, at some time
    circumstances: Circumstances

    @property
    def rules(self) -> IncidentRule:
        """As given."""
        return self.circumstances.rules

    @property
    def now_us(self) -> int:
        """Time of the cycle."""
        return self.circumstances.now_us

    def of(self, method: str) -> tuple[Sums, float]:
        """Sums and threshold of a method."""
        return {
            PAIR: (self.memory.pair, self.rules.pair_sum),
            STATION: (self.memory.station, self.rules.station_sum),
            TRAVEL: (self.memory.link, self.rules.travel_sum),
        }[method]


def detect(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    sensors: Sensors,
    window: Window,
    picture: Picture,
    memory: Memory,
    rules: IncidentRule,
    *,
    now_us: int,
    inputs: Inputs | None = None,
) -> list[RoadEvent]:
    """Incidents that are new, changed or ended in this cycle."""
    circumstances = Circumstances(rules=rules, inputs=inputs or Inputs(), now_us=now_us)
    evidence = add_up(network, sensors, window, picture, memory, circumstances)
    lately: np.ndarray = window.speed_kmh[:, -SLOW_INTERVALS:] < rules.slow_share * evidence.limit_kmh[:, None]
    scene = Scene(
        network=network, sensors=sensors, memory=memory, evidence=evidence, slow=np.asarray(lately.any(axis=1)),
        circumstances=circumstances,
    )  # fmt: skip
    kept_us = rules.after_s * 1_000_000
    memory.records = [one for one in memory.records if not one.ended_us or now_us - one.ended_us < kept_us]
    known = list(memory.records)
    for record in known:
        _learn_flow(scene, record)
    found = _raise(scene)
    return [_card(scene, record, "new") for record in found] + [
        event for record in known if not record.ended_us for event in _go_on(scene, record)
    ]


# ---------------------------------------------------------------- new ones
def _raise(scene: Scene) -> list[Record]:
    """New incidents; a site that belongs to a known one is added to that."""
    found: list[Record] = []
    for site in _sites(scene):
        record = _same(scene, site)
        if record is None:
            record = _record(scene, site)
            scene.memory.records.append(record)
            found.append(record)
        elif not record.ended_us:
            if site.method not in record.methods:
                record.methods.append(site.method)
            way = onward(record.direction)
            record.tail_m = min(record.tail_m * way, site.tail_m * way) * way
    return found


def _sites(scene: Scene) -> Iterator[Site]:
    memory, sensors, ground = scene.memory, scene.sensors, scene.memory.ground
    for row in memory.pair.over(scene.rules.pair_sum, scene.rules.persist_cycles).tolist():
        up, down = int(ground.pairs.up[row]), int(ground.pairs.down[row])
        yield Site(
            method=PAIR, row=row, up=up, down=down, link=int(sensors.link[up]),
            head_m=float(ground.stake_m[down]), tail_m=float(ground.stake_m[up]),
        )  # fmt: skip
    for row in memory.station.over(scene.rules.station_sum, scene.rules.persist_cycles).tolist():
        stake_m = float(ground.stake_m[row])
        yield Site(
            method=STATION, row=row, up=row, down=-1, link=int(sensors.link[row]), head_m=stake_m, tail_m=stake_m
        )
    for row in memory.link.over(scene.rules.travel_sum, scene.rules.persist_cycles).tolist():
        yield Site(
            method=TRAVEL, row=row, up=-1, down=-1, link=row,
            head_m=float(scene.network.to_stake_m[row]), tail_m=float(scene.network.from_stake_m[row]),
        )  # fmt: skip


def _same(scene: Scene, site: Site) -> Record | None:
    """The incident that explains a site: near by, or downstream of it at the head of one queue."""
    road, direction = int(scene.network.road[site.link]), int(scene.network.direction[site.link])
    way = onward(direction)
    head, tail = site.head_m * way, site.tail_m * way
    for record in scene.memory.records:
        if record.road != road or record.direction != direction:
            continue
        its_head, its_tail = record.head_m * way, record.tail_m * way
        own = site.up == record.up and site.method == record.method
        if not own and _is_fresh(scene, site, record):
            continue
        if own or max(its_tail - head, tail - its_head) <= scene.rules.near_m:
            return record
        if 0 < its_tail - head <= scene.rules.queue_m_max and _queue_between(scene, site, tail, its_tail):
            return record
    return None


def _is_fresh(scene: Scene, site: Site, record: Record) -> bool:
    """Whether fewer vehicles come through than behind the known incident: a queue that grows takes nothing more."""
    if site.method != PAIR or np.isnan(record.flow_since):
        return False
    now = float(scene.evidence.stations.flow[site.down])
    return bool(fewer(record.flow_since, now) >= scene.rules.fresh_flow)


def _learn_flow(scene: Scene, record: Record) -> None:
    if record.down < 0 or np.isnan(flow := float(scene.evidence.stations.flow[record.down])):
        return
    known = not np.isnan(record.flow_since)
    record.flow_since = record.flow_since + FLOW_STEP * (flow - record.flow_since) if known else flow


def _queue_between(scene: Scene, site: Site, begin: float, end: float) -> bool:
    """Whether every station from `begin` to `end` (metres onward) has been slow lately."""
    network, link = scene.network, scene.sensors.link
    on_way = (network.road[link] == network.road[site.link]) & (network.direction[link] == network.direction[site.link])
    place = scene.memory.ground.stake_m * onward(int(network.direction[site.link]))
    return bool(scene.slow[on_way & (begin <= place) & (place <= end)].all())


def onward(direction: int) -> float:
    """What turns a stake into metres that grow in the direction of travel."""
    return 1.0 if direction == 1 else -1.0


def _record(scene: Scene, site: Site) -> Record:
    sums, threshold = scene.of(site.method)
    stations, link = scene.evidence.stations, site.link
    before = stations.speed_before[site.up] if site.up >= 0 else np.nan
    record = Record(
        method=site.method, methods=[site.method], up=site.up, down=site.down, link=link,
        road=int(scene.network.road[link]), direction=int(scene.network.direction[link]),
        declared_us=scene.now_us, started_us=scene.now_us - int(sums.run[site.row]) * 30_000_000,
        head_m=site.head_m, tail_m=site.tail_m, told_tail_m=site.tail_m,
        speed_before=float(before), flow_before=float(stations.flow_before[site.down]) if site.down >= 0 else np.nan,
        flow_since=np.nan, level=4, revision=1, confidence=_confidence(scene, site.method, site.row, threshold),
        observed_us=scene.now_us, seen_us=scene.now_us,
    )  # fmt: skip
    record.level = _level(scene, record)
    return record


def _confidence(scene: Scene, method: str, row: int, threshold: float) -> float:
    """Half at the threshold, more with each further sum, and never more than its sensors are trusted."""
    sums, _ = scene.of(method)
    return 1.0 - 0.5 * float(np.exp2(1.0 - max(1.0, float(sums.sum[row]) / threshold)))


# ---------------------------------------------------------------- known ones
def _go_on(scene: Scene, record: Record) -> list[RoadEvent]:
    """What an open incident has to tell: an end, a change, or nothing."""
    speed, flows = _now(scene, record)
    if not np.isnan(speed):
        record.seen_us = record.observed_us = scene.now_us
        record.quiet = record.quiet + 1 if flows else 0
    end = "cleared" if record.quiet >= scene.rules.clear_cycles else None
    if scene.now_us - record.seen_us > scene.rules.unknown_s_max * 1_000_000:
        end = "unknown"
    if end is not None:
        record.ended_us = scene.now_us
        record.revision += 1
        sums, _ = scene.of(record.method)
        sums.sum[_row(scene, record)] = 0.0
        return [_card(scene, record, "ended", {"end": end})]
    level = _level(scene, record)
    record.easing = record.easing + 1 if level > record.level else 0
    other_level = level < record.level or record.easing >= scene.rules.ease_cycles
    confirmed = len(record.methods) > 1 and record.revision == 1
    if not (other_level or confirmed or abs(record.tail_m - record.told_tail_m) >= TAIL_MOVED_M):
        return []
    if other_level:
        record.level, record.easing = level, 0
    _, threshold = scene.of(record.method)
    now = _confidence(scene, record.method, _row(scene, record), threshold)
    record.confidence = max(record.confidence, now) if confirmed else now
    record.told_tail_m = record.tail_m
    record.revision += 1
    return [_card(scene, record, "updated")]


def _row(scene: Scene, record: Record) -> int:
    """Of its sums."""
    if record.method == PAIR:
        return int(scene.memory.ground.pairs.of_up[record.up])
    return record.up if record.method == STATION else record.link


def _now(scene: Scene, record: Record) -> tuple[float, bool]:
    """Speed at its place (NaN: not known), and whether traffic flows there as before, as usual, or as downstream."""
    if record.method == TRAVEL:
        jump = float(scene.evidence.travel_jump[record.link])
        return jump, jump <= TRAVEL_CLEAR
    if not scene.evidence.trusted[record.up]:
        return np.nan, False
    speed = float(scene.evidence.stations.speed[record.up])
    usual_kmh = scene.circumstances.inputs.usual_kmh
    usual = float(usual_kmh[record.link]) if usual_kmh is not None else np.nan
    down = float(scene.evidence.stations.speed[record.down]) if record.down >= 0 else np.nan
    share = scene.rules.clear_share
    flows = speed >= share * record.speed_before or speed >= share * down or speed >= scene.rules.usual_share * usual
    return speed, bool(flows)


def _level(scene: Scene, record: Record) -> int:
    """1 nothing comes through .. 4 little is felt: from the fall of speed at it and of flow behind it."""
    if record.method == TRAVEL:
        jump = float(scene.evidence.travel_jump[record.link])
        return 2 if jump >= 4.0 else 3 if jump >= 2.0 else 4
    stations = scene.evidence.stations
    speed = float(stations.speed[record.up])
    lost = 0.0
    if record.down >= 0 and record.flow_before > 0:
        lost = 1.0 - float(stations.flow[record.down]) / record.flow_before
    share = speed / max(1.0, record.speed_before)
    if np.isnan(share):
        return record.level
    if lost >= 0.9 or (speed <= STANDING_KMH and lost >= 0.7):
        return 1
    return 2 if lost >= 0.5 or share <= 0.3 else 3 if share <= 0.7 else 4


# ---------------------------------------------------------------- words
def _card(scene: Scene, record: Record, change: str, more: dict[str, Any] | None = None) -> RoadEvent:
    network, link = scene.network, record.link
    sensor = int(scene.sensors.id[record.up]) if record.up >= 0 else 0
    return RoadEvent(
        id=event_id(EventKind.INCIDENT, record.method, int(network.ids[link]), sensor, record.declared_us),
        kind=EventKind.INCIDENT,
        change=change,
        state="ended" if record.ended_us else "open",
        level=record.level,
        revision=record.revision,
        link=int(network.ids[link]),
        road=record.road,
        direction=record.direction,
        head_stake_m=round(record.head_m),
        tail_stake_m=round(record.tail_m),
        unit=int(network.unit[link]),
        started_us=record.started_us,
        changed_us=scene.now_us,
        ended_us=record.ended_us or None,
        observed_us=record.observed_us,
        confidence=round(record.confidence, 3),
        grounds=_grounds(scene, record) | (more or {}),
    )


def _grounds(scene: Scene, record: Record) -> dict[str, Any]:
    """Methods, sums beside their thresholds, what each feature adds, and what the sensors say now and said before."""
    row = _row(scene, record)
    sums, threshold = scene.of(record.method)
    grounds: dict[str, Any] = {
        "methods": list(record.methods),
        "evidence": round(float(sums.sum[row]), 2),
        "threshold": threshold,
        "cycles": int(sums.run[row]),
        "adds": _adds(scene, record, row),
    }
    if record.method == TRAVEL:
        grounds["values"] = {
            "travel_over_before": _number(scene.evidence.travel_jump[row]),
            "before_s": _number(scene.memory.travel_before_s[row]),
        }
        return grounds
    grounds["sensors"] = {
        name: {"id": int(scene.sensors.id[at]), "kind": int(scene.sensors.kind[at])}
        for name, at in (("up", record.up), ("down", record.down))
        if at >= 0
    }
    grounds["values"] = {name: _values(scene, at) for name, at in (("up", record.up), ("down", record.down)) if at >= 0}
    return grounds


def _adds(scene: Scene, record: Record, row: int) -> dict[str, float | None]:
    """What each feature adds to the log-likelihood ratio of this cycle."""
    rules, evidence = scene.rules, scene.evidence
    if record.method == TRAVEL:
        return {"travel_time": _number(np.log(evidence.travel_jump[row]) * rules.travel_weights[0])}
    names, values, weights = (
        (PAIR_FEATURES, evidence.pair[row], rules.pair_weights)
        if record.method == PAIR
        else (STATION_FEATURES, evidence.station[row], rules.station_weights)
    )
    return {name: _number(value * weight) for name, value, weight in zip(names, values, weights, strict=False)}


def _values(scene: Scene, at: int) -> dict[str, float | None]:
    stations = scene.evidence.stations
    return {
        "speed_kmh": _number(stations.speed[at]),
        "speed_before_kmh": _number(stations.speed_before[at]),
        "flow_vph": _number(stations.flow[at]),
        "flow_before_vph": _number(stations.flow_before[at]),
        "occupancy": _number(stations.occupancy[at]),
        "occupancy_before": _number(stations.occupancy_before[at]),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)
