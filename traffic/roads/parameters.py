"""Rules as data: a frozen dataclass with bounds on its numbers, and the same as a row's `parameters`."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar

from traffic.errors import SettingsError

Rule = TypeVar("Rule")


def bounded(default: float, low: float, high: float) -> Any:
    """A number between two bounds, both allowed; a whole number where its default is one."""
    return field(default=default, metadata={"bounds": (low, high)})


def steps(*default: float, low: float, high: float, rising: bool = True) -> Any:
    """So many numbers between two bounds, each beyond the one before."""
    return field(default=tuple(default), metadata={"bounds": (low, high), "rising": rising})


def numbers(*default: float, low: float, high: float) -> Any:
    """So many numbers between two bounds, in any order."""
    return field(default=tuple(default), metadata={"bounds": (low, high), "rising": None})


def choice(default: str, *others: str) -> Any:
    """One word out of several."""
    return field(default=default, metadata={"choices": (default, *others)})


def defaults_of(rule: type[Any]) -> dict[str, Any]:
    """What stands in table `rule` at first: every parameter with its default, JSON values only."""
    return {entry.name: _as_json(_default(entry)) for entry in fields(rule)}


def fill(kind: str, rule: type[Rule], parameters: Mapping[str, Any]) -> Rule:
    """The rule with the given parameters and defaults for the rest; raises SettingsError naming the parameter."""
    known = {entry.name: entry for entry in fields(rule)}  # type: ignore[arg-type]
    for name in parameters:
        if name not in known:
            raise SettingsError(f"rule {kind}: there is no parameter {name!r}")
    return rule(**{name: _checked(kind, known[name], value) for name, value in parameters.items()})


def _default(entry: "Field[Any]") -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _checked(kind: str, entry: "Field[Any]", value: Any) -> Any:
    where = f"rule {kind}: {entry.name}"
    if choices := entry.metadata.get("choices"):
        if not isinstance(value, str) or value not in choices:
            raise SettingsError(f"{where} must be one of {', '.join(choices)}, not {str(value)[:40]!r}")
        return value
    default, (low, high) = _default(entry), entry.metadata["bounds"]
    if isinstance(default, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(default):
            raise SettingsError(f"{where} must give a number for each of {', '.join(default)}")
        return {name: _number(f"{where}.{name}", value[name], 0.0, (low, high)) for name in default}
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise SettingsError(f"{where} must be a list of {len(default)} numbers")
        numbers = tuple(_number(where, one, default[0], (low, high)) for one in value)
        rising = entry.metadata["rising"]
        if rising is not None and list(numbers) != sorted(set(numbers), reverse=not rising):
            raise SettingsError(f"{where} must {'rise' if rising else 'fall'} from step to step")
        return numbers
    return _number(where, value, default, (low, high))


def _number(where: str, value: Any, default: float, bounds: tuple[float, float]) -> float:
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise SettingsError(f"{where} must be a {'whole number' if whole else 'number'}, not {value!r}")
    if not bounds[0] <= value <= bounds[1]:
        raise SettingsError(f"{where} must lie between {bounds[0]:g} and {bounds[1]:g}, not {value!r}")
    return value if whole else float(value)
