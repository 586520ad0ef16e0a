"""State of every link from trusted point sensors and travel times.

Speed between point sensors: the adaptive smoothing method (Treiber, Helbing 2002) in space and time, over the points of
a link, or a plain weighted mean (`adaptive` 0). Travel times of sections are shared out over their links in proportion
to free flow. Both are joined as pace, weighted by their confidence.

Levels: urban expressways by speed, km/h > 65 free, 50-65 light, 35-50 moderate, 20-35 heavy, <= 20 blocked (practice of
Chinese cities); other roads, and expressways with another limit, by the share of free-flow speed. A level changes only
when the speed has left the old one by a margin. A link that no trusted fresh data speaks of is UNKNOWN with NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traffic.limits import CYCLE_S, LINK_FRESH_S
from traffic.roads.geometry import SPEED_INTERVALS, Smoothing, Weights
from traffic.roads.model import (
    KINDS,
    Inputs,
    Level,
    Picture,
    RoadNetwork,
    Sections,
    SensorKind,
    Sensors,
    Source,
    Window,
)
from traffic.roads.parameters import bounded, defaults_of, fill, steps
from traffic.roads.section_times import SectionTimes, share_out

RECENT = 10  # intervals that flow and spread rest on
EMPTY_WEIGHT = 0.05  # vehicles' worth of an interval in which a trusted sensor saw none: free flow is assumed
STANDING_KMH = 3.0  # of a full sensor over which nothing moves
SPEED_KMH_MIN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRule(Smoothing):
    """Parameters of rule link_levels."""

    bands_kmh: tuple[float, ...] = steps(65.0, 50.0, 35.0, 20.0, low=1.0, high=150.0, rising=False)
    band_limit_kmh_min: float = bounded(70.0, 0.0, 200.0)  # the bands hold for links with limits between
    band_limit_kmh_max: float = bounded(90.0, 0.0, 200.0)
    shares: tuple[float, ...] = steps(0.7, 0.5, 0.35, 0.2, low=0.01, high=1.0, rising=False)
    level_margin: float = bounded(0.06, 0.0, 0.5)
    free_share: Mapping[str, float] = field(
        default_factory=lambda: {"expressway": 0.95, "trunk": 0.9, "urban": 0.75}, metadata={"bounds": (0.1, 1.5)}
    )
    adaptive: int = bounded(1, 0, 1)
    flow_s: float = bounded(90.0, 30.0, 600.0)  # how fast what was counted is forgotten
    cover_m: float = bounded(2_000.0, 50.0, 50_000.0)  # of road that a point sensor speaks for
    felt_m: float = bounded(6.5, 3.0, 20.0)  # length over which a vehicle is felt
    standing_percent: float = bounded(30.0, 5.0, 100.0)  # fuller without a vehicle counted: a standing queue
    stop_share: float = bounded(1.6, 1.1, 10.0)  # of the quick ones' time: who takes longer has stopped on the way
    vehicles_few: int = bounded(5, 1, 64)


DEFAULTS: dict[str, Any] = defaults_of(LinkRule)


def from_parameters(parameters: Mapping[str, Any]) -> LinkRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("link_levels", LinkRule, parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What point sensors say of each link; NaN and 0 where they say nothing."""

    pace: np.ndarray  # times free flow
    flow_vph: np.ndarray
    occupancy: np.ndarray
    heavy_share: np.ndarray
    spread: np.ndarray  # standard deviation of speed over its mean
    coverage: np.ndarray  # 0..1: of the link, by sensors as far as they are trusted
    confidence: np.ndarray
    observed_us: np.ndarray
    enough: np.ndarray  # bool: they alone may tell the link
    detectors: np.ndarray  # bool: some of them are
    checkpoints: np.ndarray


# ---------------------------------------------------------------- free flow
def free_flow_kmh(network: RoadNetwork, inputs: Inputs, rule: LinkRule) -> np.ndarray:
    """Speed of each link when nobody is in the way: a share of the limit, or the usual speed where that is higher."""
    share = np.array([rule.free_share[name] for name in KINDS])
    free = np.maximum(network.limit_kmh * share[network.kind], 5.0)
    usual = inputs.usual_kmh
    if usual is None or len(usual) != len(network):
        return free
    with np.errstate(invalid="ignore"):
        return np.where(usual > free, np.minimum(usual, 1.05 * np.maximum(network.limit_kmh, 5.0)), free)


# ---------------------------------------------------------------- point sensors
@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Sensors' last intervals made usable: (SPEED_INTERVALS or RECENT, sensors)."""

    speed_kmh: np.ndarray  # no NaN where `weight` > 0
    weight: np.ndarray
    flow_vph: np.ndarray  # (sensors)
    occupancy: np.ndarray
    heavy_share: np.ndarray
    spread: np.ndarray
    trust: np.ndarray  # 0 where nothing fresh is there
    observed_us: np.ndarray


def _tell(network: RoadNetwork, sensors: Sensors, window: Window, free_kmh: np.ndarray, rule: LinkRule) -> _Told:
    speed, flow, occupancy = (getattr(window, name).T[-RECENT:] for name in ("speed_kmh", "flow_vph", "occupancy"))
    known = ~np.isnan(flow)
    back = np.argmax(known[::-1], axis=0)
    observed = np.where(known.any(0), window.ends_us[-1] - back * CYCLE_S * 1_000_000, 0)
    fresh = observed > window.ends_us[-1] - LINK_FRESH_S * 1_000_000
    trust = np.where(fresh, window.trust, 0.0)
    lanes = np.maximum(sensors.lanes, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_occupancy = flow / lanes * rule.felt_m / (10.0 * occupancy)  # where a device tells no speed
        standing = (flow == 0) & (occupancy >= rule.standing_percent)
    seen = np.where(np.isnan(speed) & (flow > 0), by_occupancy, speed)
    seen = np.where(standing, STANDING_KMH, seen)
    empty = (flow == 0) & ~standing
    seen = np.clip(np.where(empty, free_kmh[sensors.link], seen), SPEED_KMH_MIN, 250.0)
    counted = np.where(standing, 5.0, np.where(empty, EMPTY_WEIGHT, np.minimum(flow / 120.0, 10.0)))
    weight = np.where(np.isnan(seen) | ~known, 0.0, counted) * trust
    ages = np.exp(-np.arange(RECENT)[::-1, None] * CYCLE_S / rule.flow_s)
    _, spread = _moments(seen, np.where(empty | (weight == 0), 0.0, weight))
    return _Told(
        speed_kmh=np.where(weight > 0, seen, 0.0)[-SPEED_INTERVALS:],
        weight=weight[-SPEED_INTERVALS:],
        flow_vph=_faded(flow, ages),
        occupancy=_faded(occupancy, ages),
        heavy_share=_faded(window.heavy_share.T[-RECENT:], ages * np.nan_to_num(flow)),
        spread=spread,
        trust=trust,
        observed_us=np.where(trust > 0, observed, 0),
    )


def _faded(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    held = np.where(np.isnan(values), 0.0, weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.nan_to_num(values) * held).sum(0) / held.sum(0)


def _moments(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over the first axis, and standard deviation over it as a share."""
    values = np.where(weight > 0, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (values * weight).sum(0) / weight.sum(0)
        square = (values**2 * weight).sum(0) / weight.sum(0)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0)) / mean


def _by_points(
    network: RoadNetwork, sensors: Sensors, window: Window, weights: Weights, given: tuple[np.ndarray, LinkRule]
) -> Points:
    """What point sensors say of each link."""
    free_kmh, rule = given
    told = _tell(network, sensors, window, free_kmh, rule)
    near, of_trust = weights.near, told.trust
    share = near @ of_trust
    trusted_own = np.bincount(sensors.link, of_trust, len(network))
    known = share > 0

    def over(values: np.ndarray) -> np.ndarray:
        held = np.where(np.isnan(values), 0.0, of_trust)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known, (near @ (np.nan_to_num(values) * held)) / (near @ held), np.nan)

    speed = _adaptive(told, weights, free_kmh, rule) if rule.adaptive else _plain(told, weights, rule)
    length = np.maximum(network.length_m, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_trust = share / (near @ (of_trust > 0).astype(np.float64))
    sensors_here = np.where(trusted_own > 0, trusted_own, 0.5 * known)  # near ones alone are half as good as one here
    coverage = np.minimum(1.0, sensors_here * 2 * rule.cover_m / length)
    pace = np.where(known, free_kmh / speed, np.nan)
    known &= ~np.isnan(pace)
    kinds = [near @ ((sensors.kind == kind) * of_trust) > 0 for kind in (SensorKind.DETECTOR, SensorKind.CHECKPOINT)]
    return Points(
        pace=pace,
        flow_vph=over(told.flow_vph),
        occupancy=over(told.occupancy),
        heavy_share=over(told.heavy_share),
        spread=over(told.spread),
        coverage=np.where(known, coverage, 0.0),
        confidence=np.where(known, mean_trust * (0.3 + 0.7 * coverage) * (1.0 - 0.25**sensors_here), 0.0),
        enough=(weights.own == 0) | (trusted_own > 0),
        observed_us=np.where(known, _newest(weights, told.observed_us), 0),
        detectors=known & kinds[0],
        checkpoints=known & kinds[1],
    )


def _newest(weights: Weights, observed_us: np.ndarray) -> np.ndarray:
    """Newest data among the sensors of each link."""
    near = weights.near
    many = np.diff(near.indptr)
    newest = np.zeros(near.shape[0], np.int64)
    some = np.flatnonzero(many)
    if len(some):
        newest[some] = np.maximum.reduceat(observed_us[near.indices], near.indptr[some])
    return newest


def _adaptive(told: _Told, weights: Weights, free_kmh: np.ndarray, rule: LinkRule) -> np.ndarray:
    """Speed over each link: harmonic mean of its points, each between the pictures of free flow and of jams."""
    weight = told.weight.reshape(-1)
    both = np.stack([weight * told.speed_kmh.reshape(-1), weight], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        free, jam = ((total[:, 0] / total[:, 1]) for total in (weights.free @ both, weights.jam @ both))
        lower = np.fmin(free, jam)
        at_free = free_kmh[weights.link]
        jammed = 0.5 * (1.0 + np.tanh((0.55 * at_free - lower) / (0.2 * at_free)))
        speed = np.where(np.isnan(free), jam, np.where(np.isnan(jam), free, jammed * jam + (1.0 - jammed) * free))
        known = ~np.isnan(speed)
        slow = np.add.reduceat(np.where(known, 1.0 / speed, 0.0), weights.first) if len(weights.first) else speed
        many = np.add.reduceat(known.astype(np.float64), weights.first) if len(weights.first) else speed
        return many / slow


def _plain(told: _Told, weights: Weights, rule: LinkRule) -> np.ndarray:
    """Speed over each link: weighted harmonic mean of its sensors, the newest counting most."""
    ages = np.exp(-np.arange(SPEED_INTERVALS)[::-1, None] * CYCLE_S / rule.smooth_s)
    weight = told.weight * ages
    with np.errstate(invalid="ignore", divide="ignore"):
        slow = np.where(weight > 0, weight / told.speed_kmh, 0.0).sum(0)
        return (weights.near @ weight.sum(0)) / (weights.near @ slow)


# ---------------------------------------------------------------- levels
def levels_of(
    network: RoadNetwork, speed_kmh: np.ndarray, free_kmh: np.ndarray, before: np.ndarray, rule: LinkRule
) -> np.ndarray:
    """Level of each link; the one `before` stays while the speed is within a margin of it."""
    banded = (network.limit_kmh >= rule.band_limit_kmh_min) & (network.limit_kmh <= rule.band_limit_kmh_max)
    banded &= network.kind != KINDS["trunk"]
    steps_kmh = np.where(banded[:, None], np.array(rule.bands_kmh), free_kmh[:, None] * np.array(rule.shares))

    def level(speed: np.ndarray) -> np.ndarray:
        return 1 + (speed[:, None] <= steps_kmh).sum(1)

    plain = level(speed_kmh)
    stays = (level(speed_kmh * (1 + rule.level_margin)) <= before) & (
        before <= level(speed_kmh * (1 - rule.level_margin))
    )
    found = np.where(stays & (before > 0), before, plain)
    return np.where(np.isnan(speed_kmh), Level.UNKNOWN, found).astype(np.int8)


# ---------------------------------------------------------------- the picture
def estimate(  # noqa: PLR0913 - one argument for each thing that a picture rests on
    network: RoadNetwork,
    sensors: Sensors,
    sections: Sections,
    window: Window,
    inputs: Inputs,
    rule: LinkRule,
    *,
    weights: Weights,
    before: np.ndarray,
    now_us: int,
) -> Picture:
    """The state of every link now. `before`: levels of the last picture."""
    free_kmh = free_flow_kmh(network, inputs, rule)
    points = _by_points(network, sensors, window, weights, (free_kmh, rule))
    times = share_out(network, sections, inputs.travel, free_kmh, (rule.stop_share, rule.vehicles_few), now_us=now_us)
    pace, confidence = _join(points, times)
    observed = np.maximum(np.where(points.enough, points.observed_us, 0), times.observed_us)
    known = ~np.isnan(pace) & (observed > now_us - LINK_FRESH_S * 1_000_000)
    length = np.maximum(network.length_m, 1.0)
    speed = np.where(known, free_kmh / pace, np.nan)
    travel = length / (speed / 3.6)
    flow = np.where(known, points.flow_vph, np.nan)
    from_points = np.clip(1.0 + 1.28 * points.spread, 1.05, 3.0)
    spread = np.where(np.isnan(times.spread), np.where(np.isnan(from_points), 1.15, from_points), times.spread)
    sources = points.detectors * Source.DETECTORS + points.checkpoints * Source.CHECKPOINTS
    sources = np.where(known, sources + ~np.isnan(times.pace) * Source.TRAVEL_TIMES, 0)
    age_s = np.maximum(now_us - observed, 0) / 1e6
    return Picture(
        at_us=now_us,
        observed_us=np.where(known, observed, 0),
        level=levels_of(network, speed, free_kmh, before, rule),
        speed_kmh=speed,
        flow_vph=flow,
        density_vkm=_density(network, flow, speed, points.occupancy, rule),
        travel_s=travel,
        travel_p90_s=travel * spread,
        heavy_share=np.where(known, points.heavy_share, np.nan),
        confidence=np.where(known, np.clip(confidence * np.exp2(-age_s / 180.0), 0.0, 1.0), 0.0),
        sources=sources.astype(np.int8),
    )


def _join(points: Points, times: SectionTimes) -> tuple[np.ndarray, np.ndarray]:
    """Pace (times free flow) and confidence from both; less of it where they differ.

    Travel times speak for what point sensors do not cover: they mean a long stretch, and what was minutes ago. A link
    whose own sensors are all dead is told by its neighbours together with travel times, never by neighbours alone.
    """
    by_points, by_times = points.confidence, times.confidence
    pace = np.where(np.isnan(times.pace), np.where(points.enough, points.pace, np.nan), times.pace)
    both = ~np.isnan(points.pace) & ~np.isnan(times.pace)
    weight = (1.0 - points.coverage) * by_times
    with np.errstate(invalid="ignore", divide="ignore"):
        joined = (points.pace * points.coverage + times.pace * weight) / (points.coverage + weight)
        agreement = np.clip(np.exp(-np.abs(np.log(points.pace / times.pace))), 0.4, 1.0)
    pace = np.where(both, joined, pace)
    confidence = 1.0 - (1.0 - by_points) * (1.0 - by_times)
    return pace, np.where(both, confidence * agreement, confidence)


def _density(
    network: RoadNetwork, flow: np.ndarray, speed: np.ndarray, occupancy: np.ndarray, rule: LinkRule
) -> np.ndarray:
    """Vehicles per kilometre, all lanes: flow over speed; in a crawl, where counts say little, by occupancy."""
    with np.errstate(invalid="ignore", divide="ignore"):
        by_flow = flow / speed
        by_occupancy = occupancy * 10.0 / rule.felt_m * np.maximum(network.lanes, 1)
    crawl = (speed < 20.0) & ~np.isnan(by_occupancy)
    return np.where(np.isnan(speed), np.nan, np.where(crawl, by_occupancy, by_flow))
