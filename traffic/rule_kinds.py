"""The kinds of rules that there are: how the parameters of each are read, and what a form needs to know of them."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from traffic import findings
from traffic.roads.cycle import DEFAULTS as ROADS
from traffic.roads.cycle import RoadRules
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.vehicles import bans, cloned_plate, registry_state, watchlist
from traffic.vehicles.keyed import (
    device_alarm,
    driving_time,
    geofence,
    long_stop,
    night_running,
    overdue_arrival,
    overspeed,
    position_mismatch,
    route_deviation,
)
from traffic.vehicles.terms import ReadParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionSpeedParameters:
    """See section_speed.SectionRule."""

    tolerance_percent: float = bounded(10.0, 0, 900)
    travel_s_min: float = bounded(20.0, 1, 600)
    speed_kmh_max: float = bounded(250.0, 50, 999)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleKind:
    """One kind. `scoped`: scope, schedule and exemptions of its rows count; `many`: there may be several of it."""

    name: str
    read: ReadParameters
    defaults: Mapping[str, Any]
    scoped: bool = True
    many: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a form needs of one parameter. `unit`: what its number counts ("" for none); `choices` of a word."""

    name: str
    default: Any
    unit: str
    low: float | None
    high: float | None
    whole: bool
    choices: tuple[str, ...]


def _unscoped(kind: str, parameters: type[Any]) -> RuleKind:
    """A kind of which there is one rule; `lateness_s`, which rows of former times hold, has a column of its own."""

    def read(said: Mapping[str, Any]) -> Any:
        return fill(kind, parameters, {name: value for name, value in said.items() if name != "lateness_s"})

    return RuleKind(name=kind, read=read, defaults=defaults_of(parameters), scoped=False, many=False)


def _of_module(kind: str, module: Any, *, is_alone: bool = False) -> RuleKind:
    return RuleKind(
        name=kind, read=module.from_parameters, defaults=module.DEFAULTS, scoped=not is_alone, many=not is_alone
    )


def _of_roads(kind: str) -> RuleKind:
    """A rule of the 30 s picture, of which there is one."""

    def read(said: Mapping[str, Any]) -> Any:
        return getattr(RoadRules.from_parameters({kind: said}), kind)

    return RuleKind(name=kind, read=read, defaults=ROADS[kind], scoped=False, many=False)


KINDS: Mapping[str, RuleKind] = {
    kind.name: kind
    for kind in (
        _of_module(findings.WATCH_HIT, watchlist, is_alone=True),
        _unscoped(findings.SECTION_SPEED, SectionSpeedParameters),
        _of_module(findings.CLONED_PLATE, cloned_plate),
        _of_module(findings.DRIVING_TIME, driving_time),
        _of_module(findings.NIGHT_RUNNING, night_running),
        _of_module(findings.BAN, bans),
        _of_module(findings.ROUTE_DEVIATION, route_deviation),
        _of_module(findings.OVERSPEED, overspeed),
        _of_module(findings.OVERDUE_ARRIVAL, overdue_arrival),
        _of_module(findings.LONG_STOP, long_stop),
        _of_module(findings.GEOFENCE, geofence),
        _of_module(findings.REGISTRY_STATE, registry_state),
        _of_module(findings.DEVICE_ALARM, device_alarm),
        _of_module(findings.POSITION_MISMATCH, position_mismatch),
        *map(_of_roads, ROADS),
    )
}

_UNITS = {
    "us": "us", "s": "s", "min": "min", "h": "h", "days": "d", "m": "m", "km": "km", "kmh": "km/h", "ms": "m/s",
    "vph": "veh/h", "percent": "%", "deg": "deg",
}  # fmt: skip
_COUNTED = frozenset({"probability", "passages", "trust", "vehicles", "share"})  # of these `_min` is a bound, no unit


def parameters_of(kind: RuleKind) -> Iterator[Parameter]:
    """Every parameter of the kind, in the order of its dataclass."""
    for entry in fields(kind.read({})):
        default = kind.defaults[entry.name]
        low, high = entry.metadata.get("bounds", (None, None))
        yield Parameter(
            name=entry.name,
            default=default,
            unit=_unit(entry.name),
            low=low,
            high=high,
            whole=isinstance(_first(entry), int) and not isinstance(_first(entry), bool),
            choices=tuple(entry.metadata.get("choices", ())),
        )


def _first(entry: "Field[Any]") -> Any:
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    return default[0] if isinstance(default, tuple) and default else default


def _unit(name: str) -> str:
    """Units stand last in a name, but for `_min` and `_max`, which can say that it is a bound."""
    parts = name.split("_")
    is_bound = parts[-1] == "max" or (parts[-1] == "min" and parts[-2] in _COUNTED | _UNITS.keys())
    if is_bound:
        parts.pop()
    return _UNITS.get(parts[-1], "") if len(parts) > 1 else ""
