"""Error of speed, flow and travel time of links against a simulated truth, with a tenth of the sensors faulty.

Beside it a method without health: the plain mean of the last minute of all detectors on the link, and of the nearest
detector where the link has none. Limits and kernels were chosen on other seeds than the ones that are reported.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import msgspec
import numpy as np

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.evaluate.corridor import START_US, Corridor, drive
from dashboards.evaluate.sensor_faults import FAULTS, Fault, spoil
from traffic.limits import CYCLE_S, LINK_FRESH_S
from traffic.roads import cycle
from traffic.roads.cycle import RoadRules
from traffic.roads.model import Inputs, Level, Sections, SensorKind, Sensors

TUNING_SEEDS = (1, 101)
REPORT_SEEDS = (102, 103, 104)
CYCLE_US = CYCLE_S * 1_000_000
WARM = 30  # cycles before anything is scored: the road fills
FAULTS_FROM = 30  # cycle from which sensors are faulty
FAULTY_SHARE = 0.1


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`draws` of faulty sensors for each simulated drive; `seeds` simulated drives."""

    seeds: int = len(REPORT_SEEDS)
    draws: int = 11
    tuning: bool = False  # on the seeds that thresholds were chosen on


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a method says, by cycle and link (NaN: nothing), and when each detector was not believed any more."""

    speed_kmh: np.ndarray
    flow_vph: np.ndarray
    travel_s: np.ndarray
    level: np.ndarray
    failed: dict[int, tuple[int, str]]  # detector -> (cycle, reason) of the first time


def measure(options: Options, progress: Progress) -> Measured:
    """Drive, spoil, estimate, compare."""
    seeds = (TUNING_SEEDS if options.tuning else REPORT_SEEDS)[: options.seeds]
    rules = RoadRules.from_parameters({})
    plain = replace(rules, link_levels=replace(rules.link_levels, adaptive=0))
    scores: dict[str, list[Errors]] = defaultdict(list)
    health, grey = Detected(), Grey()
    for seed in seeds:
        road = drive(seed)
        progress(f"seed {seed}: {len(road.reports):,} reports of {road.cycles} cycles simulated")
        for draw in range(options.draws):
            chance = np.random.default_rng([seed, draw])
            faults = draw_faults(road, draw, chance)
            reports = spoil(road.reports, faults, chance)
            told = {"ours": run(road, reports, rules), "ours_weighted_mean": run(road, reports, plain)}
            told["plain_mean"] = naive(road, reports)
            affected = _affected(road, faults)
            common = ~np.isnan(told["ours"].speed_kmh) & ~np.isnan(told["plain_mean"].speed_kmh)
            for name, one in told.items():
                scores[name].append(errors(road, one, common))
                scores[f"{name}, links with a faulty sensor"].append(errors(road, one, common & affected))
            health.add(road, faults, told["ours"])
            progress(f"seed {seed} draw {draw + 1}: {scores['ours'][-1].speed_kmh:.2f} km/h")
        scores["ours, all sensors sound"].append(errors(road, run(road, road.reports, rules), None))
        scores["plain_mean, all sensors sound"].append(errors(road, naive(road, road.reports), None))
        grey.add(road, rules, seed)
    return _result(options, seeds, scores, (health, grey))


def draw_faults(road: Corridor, draw: int, chance: np.random.Generator) -> list[Fault]:
    """A tenth of the detectors; kinds take turns over the draws."""
    detectors = np.unique(road.sensors.id[road.sensors.kind == SensorKind.DETECTOR])
    many = max(1, round(len(detectors) * FAULTY_SHARE))
    chosen = chance.choice(detectors, many, replace=False).tolist()
    kinds = list(FAULTS)
    return [
        Fault(detector=one, kind=kinds[(draw * many + at) % len(kinds)], since_us=START_US + FAULTS_FROM * CYCLE_US)
        for at, one in enumerate(chosen)
    ]


# ---------------------------------------------------------------- methods
def run(
    road: Corridor, reports: np.ndarray, rules: RoadRules, *, points: Sensors | None = None, alone: bool = False
) -> Told:
    """The cycle as the monitor turns it. `alone`: point detectors only, no travel times."""
    sensors = road.sensors if points is None else points
    sections = _none(road.sections) if alone else road.sections
    state = cycle.new_state(road.network, sensors)
    shape = (road.cycles, len(road.network))
    speed, flow, travel, level = (np.full(shape, np.nan) for _ in range(4))
    failed: dict[int, tuple[int, str]] = {}
    gates = {int(gate) for gate in sensors.id[sensors.kind == SensorKind.CHECKPOINT]}
    for at in range(road.cycles):
        now_us = START_US + (at + 1) * CYCLE_US
        inputs = _inputs(road, reports, gates, now_us)
        turned = cycle.turn(road.network, sensors, sections, state, inputs, rules, now_us=now_us)
        picture = turned.picture
        speed[at], flow[at], travel[at], level[at] = (
            picture.speed_kmh, picture.flow_vph, picture.travel_s, picture.level,
        )  # fmt: skip
        for change in turned.health:
            wrong = change.kind == SensorKind.DETECTOR and change.state in ("failed", "silent")
            if wrong and at >= FAULTS_FROM:  # while the road fills, most detectors see nothing yet
                failed.setdefault(change.id, (at, change.reason))
    return Told(speed_kmh=speed, flow_vph=flow, travel_s=travel, level=level, failed=failed)


def _inputs(road: Corridor, reports: np.ndarray, gates: set[int], now_us: int) -> Inputs:
    received = reports["received_at"]
    begin, end = np.searchsorted(received, [now_us - CYCLE_US, now_us], "right")
    flows, travel = road.flows, road.travel
    minute_us = 60_000_000
    told = (flows["minute"] >= now_us - 6 * minute_us) & (flows["minute"] + minute_us <= now_us)
    left = (travel["bucket"] + CYCLE_US <= now_us) & (travel["bucket"] > now_us - 900 * 1_000_000)
    return Inputs(
        reports=reports[begin:end],
        flows=flows[told & np.isin(flows["checkpoint"], list(gates))],
        travel=travel[left],
        alive_us=dict.fromkeys(gates, now_us),
    )


def _none(sections: Sections) -> Sections:
    return Sections(
        id=sections.id[:0], length_m=sections.length_m[:0], start=sections.start[:1], link=sections.link[:0],
        weight_m=sections.weight_m[:0],
    )  # fmt: skip


def naive(road: Corridor, reports: np.ndarray) -> Told:
    """Mean speed of the last minute's lanes and detectors; flow of the carriageway; the nearest for bare links."""
    sensors, many = road.sensors, len(road.network)
    detectors = np.flatnonzero(sensors.kind == SensorKind.DETECTOR)
    ids = sensors.id[detectors]
    shape = (road.cycles, len(detectors))
    speed, flow = np.full(shape, np.nan), np.full(shape, np.nan)
    order = np.argsort(ids)
    column = order[np.searchsorted(ids[order], reports["detector"])]
    for at in range(road.cycles):
        end_us = START_US + at * CYCLE_US  # what has come in by the end of the next interval
        last = (reports["observed_at"] > end_us - 2 * CYCLE_US) & (reports["observed_at"] <= end_us)
        rows, of = reports[last], column[last]
        told = ~np.isnan(rows["speed_kmh"])
        with np.errstate(invalid="ignore", divide="ignore"):
            speed[at] = np.bincount(of[told], rows["speed_kmh"][told], len(ids)) / np.bincount(
                of[told], minlength=len(ids)
            )
            seen = np.bincount(of, rows["vehicles"], len(ids)) * 60.0
            flow[at] = np.where(np.bincount(of, minlength=len(ids)) > 0, seen, np.nan)
    place = (
        road.network.from_stake_m[sensors.link[detectors]]
        + sensors.share[detectors] * (road.network.length_m[sensors.link[detectors]])
    )
    of_link_speed, of_link_flow = np.full((road.cycles, many), np.nan), np.full((road.cycles, many), np.nan)
    for link in range(many):
        mine = np.flatnonzero(sensors.link[detectors] == link)
        if not len(mine):
            middle = (road.network.from_stake_m[link] + road.network.to_stake_m[link]) / 2
            mine = np.array([np.argmin(np.abs(place - middle))])
        of_link_speed[:, link], of_link_flow[:, link] = _mean(speed[:, mine]), _mean(flow[:, mine])
    travel = road.network.length_m * 3.6 / np.maximum(of_link_speed, 1.0)
    level = np.where(np.isnan(of_link_speed), 0, 1)
    return Told(speed_kmh=of_link_speed, flow_vph=of_link_flow, travel_s=travel, level=level, failed={})


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0.0).sum(1) / known.sum(1)


# ---------------------------------------------------------------- scores
@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Mean absolute errors where both the truth and the method are known."""

    speed_kmh: float
    speed_rmse_kmh: float
    slow_speed_kmh: float  # where the truth is below 60 km/h
    flow_vph: float
    flow_share: float
    travel_share: float
    known_share: float


def errors(road: Corridor, told: Told, mask: np.ndarray | None) -> Errors:
    """Over all links and cycles after the road has filled (and in the mask)."""
    truth = road.truth
    scored = np.zeros(truth.speed_kmh.shape, bool)
    scored[WARM:] = True
    known = float((told.level[WARM:] != Level.UNKNOWN).mean())
    if mask is not None:
        scored &= mask
    speed = np.abs(told.speed_kmh - truth.speed_kmh)[scored]
    slow = np.abs(told.speed_kmh - truth.speed_kmh)[scored & (truth.speed_kmh < 60)]
    flow = np.abs(told.flow_vph - truth.flow_vph)[scored]
    travel = (np.abs(told.travel_s - truth.travel_s) / truth.travel_s)[scored]
    return Errors(
        speed_kmh=_of(speed),
        speed_rmse_kmh=_of(speed**2) ** 0.5,
        slow_speed_kmh=_of(slow),
        flow_vph=_of(flow),
        flow_share=_of(flow) / float(truth.flow_vph[scored].mean()) if scored.any() else float("nan"),
        travel_share=_of(travel),
        known_share=known,
    )


def _of(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _affected(road: Corridor, faults: list[Fault]) -> np.ndarray:
    """Links on which a faulty detector stands, from when on it is faulty."""
    mask = np.zeros(road.truth.speed_kmh.shape, bool)
    for fault in faults:
        sensor = road.sensors.rows_of(SensorKind.DETECTOR, np.array([fault.detector]))[0]
        mask[FAULTS_FROM:, road.sensors.link[sensor]] = True
    return mask


class Detected:
    """How many faulty detectors of each kind were not believed any more, how soon; and sound ones that were not."""

    def __init__(self) -> None:
        self.of_kind: dict[str, list[int | None]] = {kind: [] for kind in FAULTS}
        self.said_as: dict[str, dict[str, int]] = {kind: defaultdict(int) for kind in FAULTS}
        self.sound = self.accused = 0
        self.accused_as: dict[str, int] = defaultdict(int)

    def add(self, road: Corridor, faults: list[Fault], told: Told) -> None:
        """Count one draw."""
        faulty = {fault.detector: fault for fault in faults}
        for fault in faults:
            found = told.failed.get(fault.detector)
            self.of_kind[fault.kind].append(None if found is None else (found[0] - FAULTS_FROM + 1) * CYCLE_S)
            if found is not None:
                self.said_as[fault.kind][found[1]] += 1
        for detector in road.sensors.id[road.sensors.kind == SensorKind.DETECTOR].tolist():
            if detector not in faulty:
                self.sound += 1
                if detector in told.failed:
                    self.accused += 1
                    self.accused_as[told.failed[detector][1]] += 1

    def as_details(self) -> dict[str, Any]:
        """For the JSON."""
        found = sum(delay is not None for delays in self.of_kind.values() for delay in delays)
        kinds = {}
        for kind, delays in self.of_kind.items():
            times = [delay for delay in delays if delay is not None]
            kinds[kind] = {
                "faulty": len(delays),
                "recall": round(len(times) / len(delays), 3) if delays else None,
                "seconds_median": median(times) if times else None,
                "said_as": dict(self.said_as[kind]),
            }
        return {
            "precision": round(found / max(1, found + self.accused), 3),
            "recall": round(found / max(1, sum(map(len, self.of_kind.values()))), 3),
            "sound_detectors_accused": self.accused,
            "accused_as": dict(self.accused_as),
            "sound_detectors": self.sound,
            "of_kind": kinds,
        }


class Grey:
    """Links all of whose sensors are dead, on a road without travel times: are they shown as unknown?"""

    def __init__(self) -> None:
        self.dead = self.grey = self.lying = self.lying_grey = 0

    def add(self, road: Corridor, rules: RoadRules, seed: int) -> None:
        """Silence all detectors of some links; let all of others lie."""
        chance = np.random.default_rng([seed, 99])
        detectors = np.flatnonzero(road.sensors.kind == SensorKind.DETECTOR)
        points = Sensors(**{name: getattr(road.sensors, name)[detectors] for name in Sensors.__slots__})
        links = chance.choice(np.unique(points.link), 6, replace=False)
        since_us = START_US + FAULTS_FROM * CYCLE_US
        kinds = ["silent"] * 3 + ["no_change", "locked_on", "chatter"]
        faults = [
            Fault(detector=int(detector), kind=kind, since_us=since_us)
            for link, kind in zip(links, kinds, strict=True)
            for detector in points.id[points.link == link]
        ]
        told = run(road, spoil(road.reports, faults, chance), rules, points=points, alone=True)
        # Reports arrive two seconds after their interval, in time for the cycle after it.
        from_dead = FAULTS_FROM + LINK_FRESH_S // CYCLE_S - 1
        self.dead += told.level[from_dead:, links[:3]].size
        self.grey += int((told.level[from_dead:, links[:3]] == Level.UNKNOWN).sum())
        from_lying = FAULTS_FROM + 12
        self.lying += told.level[from_lying:, links[3:]].size
        self.lying_grey += int((told.level[from_lying:, links[3:]] == Level.UNKNOWN).sum())

    def as_details(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "dead_shown_grey": round(self.grey / max(1, self.dead), 4),
            "dead_link_cycles": self.dead,
            "only_lying_sensors_shown_grey_after_6_min": round(self.lying_grey / max(1, self.lying), 4),
        }


def _result(
    options: Options, seeds: tuple[int, ...], scores: Mapping[str, list[Errors]], judged: tuple[Detected, Grey]
) -> Measured:
    means = {
        name: {
            field: round(float(np.nanmean([getattr(one, field) for one in errors])), 4) for field in Errors.__slots__
        }
        for name, errors in scores.items()
    }
    return Measured(
        name="links",
        value=means["ours"]["speed_kmh"],
        unit="km/h mean absolute error of link speed, a tenth of the detectors faulty",
        reference=Reference(name="plain mean of all detectors of a link", value=means["plain_mean"]["speed_kmh"]),
        details={
            "data": "one simulated motorway (SUMO) with a bottleneck and blocked lanes; no claim about real roads",
            "seeds": {"chosen_on": TUNING_SEEDS, "these": seeds, "are_tuning_seeds": options.tuning},
            "errors": means,
            "sensor_health": judged[0].as_details(),
            "dead_links": judged[1].as_details(),
            "options": msgspec.to_builtins(options),
        },
    )


EVALUATION = Measurement(
    describe="error of link states with faulty sensors, and which of these are found", options=Options, measure=measure
)
