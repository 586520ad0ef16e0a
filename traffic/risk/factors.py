"""Factors of risk, each 0 (as on a good day) .. 1 (as bad as it gets) for every link; NaN where it is not known.

What raises the risk of a crash is from the literature named at each factor; the scales between 0 and 1 are expert
judgement and not fitted to crashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from traffic.road_readings import RoadWork, WeatherReport
from traffic.roads.hazards import works_in_force
from traffic.roads.model import Inputs, Picture, RoadNetwork, Sensors, Window
from traffic.roads.stretches import Stretches
from traffic.roads.weather_grades import HazardRule, causes

SPREAD_INTERVALS = 10  # of 30 s
TRUST_MIN = 0.5  # of a sensor whose spread is heard
_WEATHER_OF_LEVEL = {1: 0.85, 2: 0.6, 3: 0.4, 4: 0.2}  # of weather_grades; special: 1
_WET = 0.15


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, straight between."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def speed_drop(network: RoadNetwork, picture: Picture, usual_kmh: np.ndarray | None) -> np.ndarray:
    """How far traffic is slower than usual here at this time (where that is not known, than the limit).

    Queues and breakdowns come before rear-end crashes: Golob and Recker (2003), Lee, Saccomanno and Hellinga (2002),
    Yeo et al. (2013: crash rates of congested states several times those of free flow).
    """
    expected = network.limit_kmh if usual_kmh is None else np.where(np.isnan(usual_kmh), network.limit_kmh, usual_kmh)
    return ramp(1.0 - picture.speed_kmh / expected, 0.1, 0.6)


def speed_spread(network: RoadNetwork, sensors: Sensors, window: Window, picture: Picture) -> np.ndarray:
    """Coefficient of variation of speed in the last minutes; of travel times where no sensor tells.

    Lee et al. (2002), Oh et al. (2001), Abdel-Aty et al. (2004): the spread of speed is the steadiest of all real-time
    predictors.
    """
    speed = window.speed_kmh[:, -SPREAD_INTERVALS:]
    known = ~np.isnan(speed) & (window.trust >= TRUST_MIN)[:, None]
    many = known.sum(axis=1)
    mean = np.where(known, speed, 0.0).sum(axis=1) / np.maximum(many, 1)
    square = (np.where(known, speed - mean[:, None], 0.0) ** 2).sum(axis=1) / np.maximum(many - 1, 1)
    heard = (many >= SPREAD_INTERVALS // 2) & (mean > 0)
    varied = np.zeros(len(network))
    np.maximum.at(varied, sensors.link[heard], np.sqrt(square[heard]) / mean[heard])
    told = np.bincount(sensors.link[heard], minlength=len(network)) > 0
    by_travel = (picture.travel_p90_s / picture.travel_s - 1.0) / 1.28  # of a normal spread, nine of ten lie below 1.28
    return ramp(np.where(told, varied, by_travel), 0.08, 0.4)


def upstream_difference(network: RoadNetwork, picture: Picture) -> np.ndarray:
    """How much faster traffic comes from the links before than it is here: the tail of a queue.

    Difference of speed between upstream and downstream: Lee et al. (2003), Abdel-Aty and Pande (2005), Hourdos et al.
    (2006: shock waves that meet fast traffic).
    """
    behind = np.repeat(np.arange(len(network)), np.diff(network.prev_start))
    faster = picture.speed_kmh[network.prev_rows] - picture.speed_kmh[behind]
    known = ~np.isnan(faster)
    most = np.full(len(network), -np.inf)
    np.maximum.at(most, behind[known], faster[known])
    return ramp(np.where(np.isinf(most), np.nan, most / network.limit_kmh), 0.1, 0.5)


def flow(network: RoadNetwork, flow_vph: np.ndarray) -> np.ndarray:
    """Vehicles per hour and lane: more of them meet, with shorter gaps.

    Crashes grow with flow: Lord, Manar and Vizioli (2005); Roshandel, Zheng and Washington (2015, meta-analysis of
    real-time predictors: volume, speed difference, spread).
    """
    return ramp(flow_vph / np.maximum(network.lanes, 1), 300.0, 1_900.0)


def heavy_share(picture: Picture) -> np.ndarray:
    """Share of heavy vehicles: speeds differ, and what happens is graver.

    Hiselius (2004), Dong, Richards, Huang and Jiang (2014): mixed traffic of cars and trucks.
    """
    return ramp(picture.heavy_share, 0.1, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Links of stretches, and what weather means."""

    stretches: Stretches
    grades: HazardRule
    many: int

    def weather(self, reports: Sequence[WeatherReport], now_us: int) -> np.ndarray:
        """The worst that is reported of a link; 0 where nothing is.

        Qiu and Nixon (2008, meta-analysis: snow raises crash rates by 84 %, rain by 71 %), Theofilatos and Yannis
        (2014); fog: Abdel-Aty et al. (2011).
        """
        worst = np.zeros(self.many)
        for report in reports:
            if not report.observed_at <= now_us < report.valid_to:
                continue
            found = causes(report, self.grades)
            wet = report.surface == "wet" or report.precipitation not in (None, "none")
            value = _WET if wet else 0.0
            if found:
                value = max(1.0 if cause.special else _WEATHER_OF_LEVEL[cause.level] for cause in found)
            if value:
                rows = self.stretches.rows(report.road_id, report.direction, report.from_stake_m, report.to_stake_m)
                worst[rows] = np.maximum(worst[rows], value)
        return worst

    def works(self, works: Sequence[RoadWork], lanes: np.ndarray, now_us: int) -> np.ndarray:
        """Half for works on a link, the rest by the share of lanes that they close.

        Khattak, Khattak and Council (2002): crash rates in work zones a fifth and more above those before; Theofilatos
        et al. (2017, meta-analysis).
        """
        worst = np.zeros(self.many)
        for work in works_in_force(works, now_us):
            rows = self.stretches.rows(work.road_id, work.direction, work.from_stake_m, work.to_stake_m)
            closed = np.minimum(1.0, len(set(work.lanes_closed)) / np.maximum(lanes[rows], 1))
            worst[rows] = np.maximum(worst[rows], 0.5 + 0.5 * closed)
        return worst


def darkness(at_us: int, latitude_deg: float, longitude_deg: float) -> float:
    """0 while the sun is up, 1 from the end of civil twilight on (sun 6 degrees below the horizon).

    Johansson, Wanvik and Elvik (2009): the risk of a crash with injury in darkness about 1.2-1.5 times that of light.
    Sun's place after the approximate formulas of the Astronomical Almanac (good to a tenth of a degree).
    """
    days = at_us / 86_400e6 - 10_957.5  # from 2000-01-01T12:00Z
    mean = np.radians((357.528 + 0.9856003 * days) % 360)
    ecliptic = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(mean) + 0.020 * np.sin(2 * mean))
    tilt = np.radians(23.439 - 4e-7 * days)
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    sidereal = np.radians((280.46062 + 360.98564737 * days + longitude_deg) % 360)
    latitude = np.radians(latitude_deg)
    height = np.sin(latitude) * np.sin(declination)
    height += np.cos(latitude) * np.cos(declination) * np.cos(sidereal - ascension)
    return float(np.clip(-np.degrees(np.arcsin(height)) / 6.0, 0.0, 1.0))


def traffic_factors(
    network: RoadNetwork, sensors: Sensors, window: Window, picture: Picture, inputs: Inputs
) -> dict[str, np.ndarray]:
    """Those that follow from what traffic does now."""
    return {
        "speed_drop": speed_drop(network, picture, inputs.usual_kmh),
        "speed_spread": speed_spread(network, sensors, window, picture),
        "upstream_difference": upstream_difference(network, picture),
        "flow": flow(network, picture.flow_vph),
        "heavy_share": heavy_share(picture),
    }
