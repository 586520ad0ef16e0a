"""What is wrong with a detector's lane or a checkpoint, read from what the last five minutes say.

Nothing here remembers, so late and repeated reports change nothing but the moment. The names, and the limits of no
hits (4 h), chatter (37 vehicles in 30 s), locked on (2 min) and occupancy spike (25 per cent), are those of IRIS, the
traffic system of Minnesota's Department of Transportation (its documentation of vehicle detection, "auto fail"). IRIS
judges each detector alone; here the other lanes, the neighbours and the usual flow count as well:

- a lane without vehicles is empty, not dead, as long as few would have been expected (Poisson: of `expected` vehicles
  none comes with probability exp(-expected));
- full occupancy in a standing queue is no fault where a neighbour stands too;
- occupancy, speed and flow of one lane must fit together: 10 * occupancy / (flow / speed) is the mean length in metres
  over which a vehicle is felt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from traffic.limits import CYCLE_S
from traffic.roads.model import Inputs, RoadNetwork, SensorKind, Sensors
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.roads.window import Columns, Lanes, Reports

RECENT = 10  # intervals that symptoms are read from
PLATES_MIN = 12  # passages, before a share of plates read says something
NEIGHBOUR_M_MAX = 20_000.0  # along one road; farther ones say nothing of each other's flow


class Reason(IntEnum):
    """Why a sensor is not believed. Closed; on screens by its name in small letters. The lowest of several is told."""

    OK = 0
    SELF_REPORTED = 1  # the device says so itself
    CLOCK_SKEW = 2  # its times are not ours
    SILENT = 3  # nothing comes
    CHATTER = 4  # more vehicles than can be
    LOCKED_ON = 5  # always occupied
    NO_CHANGE = 6  # the same values again and again
    NO_HITS = 7  # no vehicles where there must be some
    OCCUPANCY_SPIKE = 8
    SPEED_SPIKE = 9
    IMPLAUSIBLE = 10  # flow, occupancy and speed do not fit together
    READ_RATE = 11  # a checkpoint that sees fewer than pass
    COUNT_MISMATCH = 12  # a detector that counts other than its neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRule:
    """Parameters of rule sensor_health. A `gain` is what each cycle adds to the trouble of a sensor, 1 is failed."""

    silent_s: float = bounded(90.0, 30.0, 3_600.0)
    unheard_s: float = bounded(600.0, 30.0, 86_400.0)  # as long a sensor that was never heard may take to begin
    no_hits_s: float = bounded(14_400.0, 600.0, 604_800.0)  # where nothing says how many would be expected
    no_hits_s_min: float = bounded(180.0, 30.0, 3_600.0)
    expected_failed: float = bounded(15.0, 3.0, 1_000.0)  # vehicles missed
    expected_suspect: float = bounded(8.0, 2.0, 1_000.0)
    expected_share: float = bounded(0.5, 0.05, 1.0)  # of what the most cautious evidence says
    lane_share: float = bounded(0.1, 0.01, 1.0)  # of an equal part: what a lane carries before it is known better
    lane_share_up_s: float = bounded(7_200.0, 60.0, 864_000.0)  # a lane is learned to carry more slowly,
    lane_share_down_s: float = bounded(600.0, 60.0, 864_000.0)  # and less quickly: some lanes are empty for long
    chatter_vph: float = bounded(4_440.0, 2_400.0, 20_000.0)  # of a lane: 37 in 30 s
    chatter_gain: float = bounded(0.5, 0.01, 1.0)
    locked_percent: float = bounded(98.0, 50.0, 100.0)
    locked_intervals: int = bounded(4, 1, RECENT)  # 2 min
    queue_speed_kmh: float = bounded(30.0, 1.0, 100.0)  # a neighbour slower than so, or fuller, stands in a queue
    queue_percent: float = bounded(40.0, 5.0, 100.0)
    stand_s_max: float = bounded(3_600.0, 300.0, 86_400.0)  # a queue without any movement is no queue after it
    no_change_reports: int = bounded(10, 3, RECENT)
    spike_percent: float = bounded(25.0, 5.0, 100.0)  # IRIS: a step of occupancy of so much
    spike_length_m: float = bounded(45.0, 10.0, 500.0)  # felt by the loop: beyond it the occupancy is not of vehicles
    speed_share_max: float = bounded(1.7, 1.0, 5.0)  # of the limit
    speed_step_kmh: float = bounded(60.0, 10.0, 200.0)
    spikes: int = bounded(3, 1, RECENT)  # within five minutes
    spike_gain: float = bounded(0.5, 0.01, 1.0)
    length_m_min: float = bounded(3.2, 0.5, 10.0)
    length_m_max: float = bounded(30.0, 10.0, 500.0)
    length_vehicles_min: float = bounded(12.0, 3.0, 1_000.0)  # within five minutes
    length_gain: float = bounded(0.34, 0.01, 1.0)
    skew_ahead_s: float = bounded(20.0, 1.0, 120.0)
    skew_behind_s: float = bounded(60.0, 30.0, 3_600.0)
    skew_gain: float = bounded(0.34, 0.01, 1.0)
    read_rate_suspect: float = bounded(0.6, 0.05, 1.0)  # of the neighbours' flow, or of plates read
    read_rate_failed: float = bounded(0.35, 0.01, 1.0)
    count_share_max: float = bounded(1.8, 1.1, 20.0)  # of both neighbours' flow
    compared_vehicles_min: float = bounded(30.0, 5.0, 1_000.0)  # within five minutes
    rate_gain: float = bounded(0.1, 0.01, 1.0)
    recover_s: float = bounded(600.0, 30.0, 86_400.0)  # from failed to believed
    recover_silent_s: float = bounded(60.0, 30.0, 86_400.0)
    suspect_trouble: float = bounded(0.3, 0.05, 0.95)


DEFAULTS: dict[str, Any] = defaults_of(HealthRule)


def from_parameters(parameters: Mapping[str, Any]) -> HealthRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("sensor_health", HealthRule, parameters)


# ---------------------------------------------------------------- what stands still
@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Rows of the next sensor up and down the same road, -1 where none is near; `near`: it is on the same link."""

    up: np.ndarray
    down: np.ndarray
    up_near: np.ndarray  # bool
    down_near: np.ndarray


def find_neighbours(network: RoadNetwork, sensors: Sensors) -> Neighbours:
    """The next sensors along the road in either direction of travel."""
    many = len(sensors)
    up, down = np.full(many, -1), np.full(many, -1)
    if many > 1:
        link = sensors.link
        begin, end = network.from_stake_m[link], network.to_stake_m[link]
        stake = begin + (end - begin) * sensors.share
        along = np.where(end >= begin, stake, -stake)
        order = np.lexsort([along, sensors.direction, network.road[link]])
        same = (network.road[link][order][1:] == network.road[link][order][:-1]) & (
            sensors.direction[order][1:] == sensors.direction[order][:-1]
        )
        same &= np.diff(along[order]) <= NEIGHBOUR_M_MAX
        down[order[:-1][same]] = order[1:][same]
        up[order[1:][same]] = order[:-1][same]
    same_link = [(other >= 0) & (sensors.link[np.maximum(other, 0)] == sensors.link) for other in (up, down)]
    return Neighbours(up=up, down=down, up_near=same_link[0], down_near=same_link[1])


# ---------------------------------------------------------------- what symptoms are read from
@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What all sensors said until `newest`. `columns`: the window; `believed`: trust of each sensor before."""

    network: RoadNetwork
    sensors: Sensors
    lanes: Lanes
    neighbours: Neighbours
    reports: Reports
    columns: Columns
    believed: np.ndarray
    inputs: Inputs
    newest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Five minutes of each sensor as its neighbours see it; NaN: not known, or not believed."""

    flow_vph: np.ndarray
    speed_kmh: np.ndarray
    stands: np.ndarray  # bool: it stands in a queue, or a fault looks so, for two minutes
    slowed: np.ndarray  # bool: it or a neighbour is well below free flow
    expected_vph: np.ndarray  # what the most cautious evidence lets expect, without its own word; NaN: none
    limit_kmh: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The last intervals of all lanes, float32 (RECENT, slots)."""

    vph: np.ndarray
    occupancy: np.ndarray
    speed_kmh: np.ndarray
    fault: np.ndarray  # bool (slots): the newest word says so


Symptom = tuple[
    Reason, np.ndarray, float, float
]  # which, where, what it adds in a cycle, and the most it can add up to
SUSPECT_MOST = 0.6


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is known."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0.0).sum(0) / known.sum(0)


def context_of(said: Said, rule: HealthRule) -> Context:
    """What each sensor's surroundings say."""
    flow, speed = _mean(said.columns["flow_vph"][-RECENT:]), _mean(said.columns["speed_kmh"][-RECENT:])
    limit = said.network.limit_kmh[said.sensors.link]
    believed = said.believed > 0.5
    stands = _mean(said.columns["speed_kmh"][-4:]) < rule.queue_speed_kmh
    stands |= _mean(said.columns["occupancy"][-4:]) > rule.queue_percent
    slow = (speed < 0.6 * limit) | stands
    near = said.neighbours
    told_flow = np.where(believed, flow, np.nan)
    evidence = np.stack([_of(told_flow, near.up), _of(told_flow, near.down), _usual_vph(said)])
    # One word alone may mean a closed road: it counts for less.
    share = np.where((~np.isnan(evidence)).sum(0) >= 2, rule.expected_share, rule.expected_share / 3)
    return Context(
        flow_vph=flow,
        speed_kmh=speed,
        stands=stands,
        slowed=slow | _of_bool(slow, near.up) | _of_bool(slow, near.down),
        expected_vph=np.fmin.reduce(evidence, axis=0) * share,
        limit_kmh=limit,
    )


def _usual_vph(said: Said) -> np.ndarray:
    usual = said.inputs.usual_vph
    if usual is None or len(usual) != len(said.network):
        return np.full(len(said.sensors), np.nan)
    return np.where(usual >= 0, usual, np.nan)[said.sensors.link]


def _of(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan) if len(values) else values


def _of_bool(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (rows >= 0) & values[np.maximum(rows, 0)] if len(values) else values


def recent_of(said: Said) -> Recent:
    """The last intervals of all lanes, the newest last."""
    slots = len(said.lanes)
    nothing, silence = np.full(slots, np.nan, np.float32), np.zeros(slots, bool)
    intervals = [said.reports.get(number) for number in range(said.newest - RECENT + 1, said.newest + 1)]
    fault = silence
    for interval in intervals:
        if interval is not None:
            fault = np.where(np.isnan(interval.vph), fault, interval.fault)
    return Recent(
        vph=np.stack([nothing if one is None else one.vph for one in intervals]),
        occupancy=np.stack([nothing if one is None else one.occupancy for one in intervals]),
        speed_kmh=np.stack([nothing if one is None else one.speed_kmh for one in intervals]),
        fault=fault,
    )


# ---------------------------------------------------------------- of lanes
def of_lanes(said: Said, recent: Recent, context: Context, stood: np.ndarray, rule: HealthRule) -> list[Symptom]:
    """Symptoms of every lane. `stood`: where a queue came to a stand, full occupancy is none."""
    sensor = said.lanes.sensor
    with np.errstate(invalid="ignore", divide="ignore"):
        queue = _neighbours_queue(said, context, recent, rule)
        crawl = _mean(recent.speed_kmh) < rule.queue_speed_kmh
        return [
            (Reason.SELF_REPORTED, recent.fault, 1.0, 1.0),
            (Reason.CHATTER, _chatter(said.lanes, recent, rule), rule.chatter_gain, 1.0),
            (Reason.LOCKED_ON, _locked(recent, rule) & ~stood, 1.0, 1.0),
            (Reason.NO_CHANGE, _no_change(said, recent, rule), 1.0, 1.0),
            (Reason.OCCUPANCY_SPIKE, _occupancy_spikes(recent, rule) & ~(queue | crawl | stood), rule.spike_gain, 1.0),
            (Reason.SPEED_SPIKE, _speed_spikes(recent, context.limit_kmh[sensor], queue, rule), rule.spike_gain, 1.0),
            (Reason.IMPLAUSIBLE, _implausible(recent, rule), rule.length_gain, 1.0),
        ]


def _crawls(recent: Recent, rule: HealthRule) -> np.ndarray:
    """Lanes over which vehicles crawl, in the last two minutes. Full occupancy alone proves nothing here."""
    return _mean(recent.speed_kmh[-4:]) < rule.queue_speed_kmh


def _others_queue(lanes: Lanes, recent: Recent, rule: HealthRule) -> np.ndarray:
    """Vehicles crawl over another lane of the same detector."""
    if not len(lanes):
        return np.zeros(0, bool)
    crawls = _crawls(recent, rule) & (lanes.lane > 0)
    crawling = np.add.reduceat(crawls.astype(np.int64), lanes.first)
    of_sensor = np.zeros(len(lanes.start), np.int64)
    of_sensor[lanes.detectors] = crawling
    return of_sensor[lanes.sensor] > crawls


def _neighbours_queue(said: Said, context: Context, recent: Recent, rule: HealthRule) -> np.ndarray:
    """Something else than this lane says that traffic stands here."""
    near = said.neighbours
    beside = _of_bool(context.stands, near.up) | _of_bool(context.stands, near.down)
    return beside[said.lanes.sensor] | _others_queue(said.lanes, recent, rule)


def stood_of(
    said: Said, recent: Recent, context: Context, before: tuple[np.ndarray, np.ndarray], rule: HealthRule
) -> np.ndarray:
    """Lanes over which a queue stands: it was slow before it stood, here or beside, and has not moved on since.

    Two detectors that are full from one moment to the next without anybody having been slow are no queue.
    `before`: where it stood in the last cycle, and seconds without a vehicle.
    """
    sensor, near = said.lanes.sensor, said.neighbours
    stood, idle_s = before
    crawls = _mean(said.columns["speed_kmh"][-4:]) < rule.queue_speed_kmh
    beside = (_of_bool(crawls, near.up) | _of_bool(crawls, near.down))[sensor] | _others_queue(said.lanes, recent, rule)
    with np.errstate(invalid="ignore"):
        full = (recent.occupancy[-3:] > rule.queue_percent).any(0)
        slow = np.fmin.reduce(recent.speed_kmh, axis=0) < 0.6 * context.limit_kmh[sensor]
    return full & (beside | ((stood | slow) & (idle_s < rule.stand_s_max)))


def _chatter(lanes: Lanes, recent: Recent, rule: HealthRule) -> np.ndarray:
    many = np.ones(len(lanes.start))
    many[lanes.detectors] = lanes.of_lanes
    most = np.where(lanes.lane == 0, many[lanes.sensor], 1.0) * rule.chatter_vph
    return (recent.vph > most.astype(np.float32)).sum(0) >= 2


def _locked(recent: Recent, rule: HealthRule) -> np.ndarray:
    last = recent.occupancy[-rule.locked_intervals - 1 :]  # the newest may not be in yet
    return ((last >= rule.locked_percent).sum(0) >= rule.locked_intervals) & ~(last < rule.locked_percent).any(0)


def _no_change(said: Said, recent: Recent, rule: HealthRule) -> np.ndarray:
    """The same flow and speed again and again, in so many reports (one of five minutes is one)."""
    same = np.ones(len(said.lanes), bool)
    for values in (recent.vph, recent.speed_kmh):
        same &= np.fmax.reduce(values, axis=0) == np.fmin.reduce(values, axis=0)  # NaN alone is not the same
    same &= (recent.vph > 0).sum(0) >= min(rule.no_change_reports, RECENT - 1)
    low, high = np.fmin.reduce(recent.occupancy, axis=0), np.fmax.reduce(recent.occupancy, axis=0)
    same &= ~(high > low)
    found = np.flatnonzero(same)
    if not len(found):
        return same
    distinct = np.zeros(len(same))
    for interval in said.reports.values():  # a report of several intervals counts as a part in each
        rows = interval.rows[np.isin(interval.rows["slot"], found)]
        distinct += np.bincount(rows["slot"], rows["share_s"] / rows["period_s"], len(same))
    return same & (distinct >= rule.no_change_reports - 0.01)


def _felt_m(recent: Recent) -> np.ndarray:
    """Length over which vehicles are felt, in each interval."""
    return 10.0 * recent.occupancy * recent.speed_kmh / recent.vph


def _occupancy_spikes(recent: Recent, rule: HealthRule) -> np.ndarray:
    high = recent.occupancy > rule.spike_percent
    alone = high & ((recent.vph == 0) | (_felt_m(recent) > rule.spike_length_m))
    steps = np.abs(np.diff(recent.occupancy, axis=0)) > 2 * rule.spike_percent
    return (alone.sum(0) >= rule.spikes) | (steps.sum(0) >= rule.spikes)


def _speed_spikes(recent: Recent, limit_kmh: np.ndarray, queue: np.ndarray, rule: HealthRule) -> np.ndarray:
    most = np.maximum(limit_kmh, 60.0) * rule.speed_share_max
    beyond = recent.speed_kmh > most.astype(np.float32)
    steps = np.abs(np.diff(recent.speed_kmh, axis=0)) > rule.speed_step_kmh
    return (beyond.sum(0) >= rule.spikes) | ((steps.sum(0) >= rule.spikes) & ~queue)


def _implausible(recent: Recent, rule: HealthRule) -> np.ndarray:
    known = ~np.isnan(recent.speed_kmh) & ~np.isnan(recent.occupancy) & (recent.vph > 0)
    density = np.where(known, recent.vph / np.maximum(recent.speed_kmh, 3.0), 0.0).sum(0)
    vehicles = np.where(known, recent.vph, 0.0).sum(0) / 120.0
    felt_m = 10.0 * np.where(known, recent.occupancy, 0.0).sum(0) / density
    return (vehicles >= rule.length_vehicles_min) & ((felt_m < rule.length_m_min) | (felt_m > rule.length_m_max))


# ---------------------------------------------------------------- of whole sensors
def of_counts(said: Said, recent: Recent, context: Context, rule: HealthRule) -> list[Symptom]:
    """Sensors that count other than their neighbours, while all flows freely (a queue stores vehicles)."""
    near, believed = said.neighbours, np.where(said.believed > 0.5, context.flow_vph, np.nan)
    flow, least = context.flow_vph, rule.compared_vehicles_min * 12.0
    up, down = _of(believed, near.up), _of(believed, near.down)
    with np.errstate(invalid="ignore"):
        agree = (np.fmax(up, down) <= 1.25 * np.fmin(up, down)) & ~np.isnan(up) & ~np.isnan(down)
        both = np.where(agree, (up + down) / 2, np.nan)
        close = _mean(np.stack([np.where(near.up_near, up, np.nan), np.where(near.down_near, down, np.nan)]))
        reference = np.where(np.isnan(close), both, np.where(agree, both, close))
        free = ~context.slowed & (reference >= least) & ~_half_blind(said.lanes, recent)
        share = flow / reference
        more = free & agree & (flow > rule.count_share_max * np.fmax(up, down))
        gate = said.sensors.kind == SensorKind.CHECKPOINT
        few, fewer = free & (share < rule.read_rate_suspect), free & (share < rule.read_rate_failed)
        read = _plates_read(said)
        return [
            (Reason.READ_RATE, (gate & fewer) | (read < rule.read_rate_failed), rule.rate_gain, 1.0),
            (Reason.READ_RATE, (gate & few) | (read < rule.read_rate_suspect), rule.rate_gain, SUSPECT_MOST),
            (Reason.COUNT_MISMATCH, ~gate & fewer, rule.rate_gain, 1.0),
            (Reason.COUNT_MISMATCH, ~gate & few, rule.rate_gain, SUSPECT_MOST),
            (Reason.COUNT_MISMATCH, more & (share > rule.count_share_max**2), rule.rate_gain, 1.0),
            (Reason.COUNT_MISMATCH, more, rule.rate_gain, SUSPECT_MOST),
        ]


def _plates_read(said: Said) -> np.ndarray:
    """Share of plates that each gate read in the minutes that are told; NaN where too few passed."""
    flows, many = said.inputs.flows, len(said.sensors)
    row = said.sensors.rows_of(SensorKind.CHECKPOINT, flows["checkpoint"], flows["direction"])
    good = (row >= 0) & (flows["passages"] > 0) & (flows["readable"] >= 0)
    passages = np.bincount(row[good], flows["passages"][good], many)
    read = np.bincount(row[good], flows["readable"][good], many)
    return np.where(passages >= PLATES_MIN, read / np.maximum(passages, 1.0), np.nan)


def _half_blind(lanes: Lanes, recent: Recent) -> np.ndarray:
    """Detectors of which one lane counts and another does not: the lane's matter, not the detector's."""
    half = np.zeros(len(lanes.start), bool)
    if len(lanes):
        own, counts = lanes.lane > 0, (recent.vph > 0).any(0)
        dumb = (recent.vph == 0).any(0) & ~counts
        some = np.logical_or.reduceat(own & counts, lanes.first)
        half[lanes.detectors] = some & np.logical_or.reduceat(own & dumb, lanes.first)
    return half


def others_vph(lanes: Lanes, recent: Recent) -> tuple[np.ndarray, np.ndarray]:
    """Five minutes' flow of each lane, and of the other lanes of its detector together (0 for lane 0)."""
    own = np.nan_to_num(_mean(recent.vph).astype(np.float64))
    total = np.zeros(len(lanes.start))
    if len(lanes):
        total[lanes.detectors] = np.add.reduceat(own, lanes.first) - own[lanes.first]
    return own, np.where(lanes.lane > 0, total[lanes.sensor] - own, 0.0)


def learned_share(said: Said, recent: Recent, share: np.ndarray, rule: HealthRule) -> np.ndarray:
    """Share of its detector's flow that each lane carries, learned cautiously while it counts. NaN: not yet."""
    lanes = said.lanes
    own, others = others_vph(lanes, recent)
    if len(lanes):
        many = np.ones(len(lanes.start))
        many[lanes.detectors] = lanes.of_lanes
        share = np.where(np.isnan(share), rule.lane_share / many[lanes.sensor], share)
    with np.errstate(invalid="ignore", divide="ignore"):
        now = own / (own + others)
    step = np.where(now > share, CYCLE_S / rule.lane_share_up_s, CYCLE_S / rule.lane_share_down_s)
    return np.where((own > 0) & (others > 0), share + step * (now - share), share)


def expected_of_lanes(said: Said, recent: Recent, context: Context, share: np.ndarray, rule: HealthRule) -> np.ndarray:
    """Vehicles an hour that each lane must be expected to see while it sees none; NaN: nothing says.

    While the detector's other lanes count: its learned share; else what the surroundings say. A standing queue: none.
    """
    lanes = said.lanes
    _, others = others_vph(lanes, recent)
    # Lanes are chosen in phases, not vehicle by vehicle: they are empty for longer than chance would have it.
    by_others = 0.5 * rule.expected_share * others * share / (1.0 - np.minimum(share, 0.9))
    expected = np.where(others > 0, by_others, context.expected_vph[lanes.sensor])
    with np.errstate(invalid="ignore"):
        return np.where(_mean(recent.occupancy[-4:]) > rule.queue_percent, 0.0, expected)
