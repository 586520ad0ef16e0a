"""What weather and the road's condition mean for those who drive and those who command: grade and speed limit.

Visibility limits (200 m: 60 km/h, 100 m: 40, 50 m: 20 and leave the expressway) are those of the regulation for the
implementation of the road traffic safety law (道路交通安全法实施条例), article 81. Grades (三级 100-200 m,
二级 50-100 m, 一级 below 50 m or ice, 特级 below 30 m) and all other numbers are practice and differ by province:
rule weather_limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traffic.road_readings import WeatherReport
from traffic.roads.parameters import bounded, defaults_of, fill, steps

SPECIAL = "special"  # 特级: graver than level 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardRule:
    """Parameters of rule `weather_limits`. Steps go from the mildest to the gravest."""

    visibility_m: tuple[float, ...] = steps(200.0, 100.0, 50.0, 30.0, low=1.0, high=2_000.0, rising=False)
    visibility_kmh: tuple[float, ...] = steps(60.0, 40.0, 20.0, low=5.0, high=120.0, rising=False)
    wind_ms: tuple[float, ...] = steps(17.2, 20.8, 24.5, low=5.0, high=80.0)  # Beaufort 8, 9, 10
    wind_kmh: tuple[float, ...] = steps(80.0, 60.0, 40.0, low=5.0, high=120.0, rising=False)
    ice_kmh: float = bounded(40.0, 5.0, 120.0)
    snow_kmh: float = bounded(60.0, 5.0, 120.0)
    flooded_kmh: float = bounded(40.0, 5.0, 120.0)
    rain_mm_h: float = bounded(16.0, 0.5, 200.0)  # heavy rain begins
    rain_kmh: float = bounded(80.0, 5.0, 120.0)
    ease_s: int = bounded(300, 0, 7_200)  # how long it must be better before it is called so


DEFAULTS: dict[str, Any] = defaults_of(HazardRule)


def from_parameters(parameters: Mapping[str, Any]) -> HazardRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("weather_limits", HazardRule, parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that a report says: `level` 1 gravest .. 4, the speed that it allows, the value that it rests on."""

    what: str  # visibility, ice, snow, flooded, wind, rain
    level: int
    limit_kmh: float
    value: float | str
    special: bool = False


def causes(report: WeatherReport, rule: HazardRule) -> list[Cause]:
    """Everything in a report that slows traffic, the gravest first; nothing for harmless weather."""
    found = [*_visibility(report, rule), *_surface(report, rule), *_wind(report, rule)]
    return sorted(found, key=lambda cause: (not cause.special, cause.level, cause.limit_kmh, cause.what))


def _visibility(report: WeatherReport, rule: HazardRule) -> list[Cause]:
    if report.visibility_m is None or report.visibility_m >= rule.visibility_m[0]:
        return []
    step = max(n for n, bound in enumerate(rule.visibility_m) if report.visibility_m < bound)
    return [
        Cause(
            what="visibility",
            level=max(1, 3 - step),
            limit_kmh=rule.visibility_kmh[min(step, 2)],
            value=report.visibility_m,
            special=step == 3,
        )
    ]


def _surface(report: WeatherReport, rule: HazardRule) -> list[Cause]:
    found = []
    if report.surface in ("ice", "black_ice"):
        found.append(Cause(what="ice", level=1, limit_kmh=rule.ice_kmh, value=report.surface))
    elif report.precipitation == "freezing_rain":
        found.append(Cause(what="ice", level=1, limit_kmh=rule.ice_kmh, value="freezing_rain"))
    if report.surface == "snow" or report.precipitation in ("snow", "sleet"):
        found.append(Cause(what="snow", level=3, limit_kmh=rule.snow_kmh, value=report.precipitation or "snow"))
    if report.surface == "flooded":
        found.append(Cause(what="flooded", level=2, limit_kmh=rule.flooded_kmh, value="flooded"))
    heavy = report.intensity_mm_h is not None and report.intensity_mm_h >= rule.rain_mm_h
    if report.precipitation in ("rain", "hail") and heavy:
        assert report.intensity_mm_h is not None
        found.append(Cause(what="rain", level=4, limit_kmh=rule.rain_kmh, value=report.intensity_mm_h))
    return found


def _wind(report: WeatherReport, rule: HazardRule) -> list[Cause]:
    if report.wind_ms is None or report.wind_ms < rule.wind_ms[0]:
        return []
    step = max(n for n, bound in enumerate(rule.wind_ms) if report.wind_ms >= bound)
    return [Cause(what="wind", level=3 - step, limit_kmh=rule.wind_kmh[step], value=report.wind_ms)]
