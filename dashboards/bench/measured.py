"""What a bench or an evaluation says: one value beside a reference from the same run, and the details."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from traffic.errors import SettingsError

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the value is held against, measured in the same run."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One result; `as_json` adds `ratio`, value divided by reference."""

    name: str
    value: float
    unit: str
    reference: Reference
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The one JSON object that the command prints."""
        ratio = round(self.value / self.reference.value, 4) if self.reference.value else None
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "reference": asdict(self.reference),
            "ratio": ratio,
            "details": self.details,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """An entry of a registry: what is measured, with which options (a msgspec struct), by which function."""

    describe: str
    options: type[msgspec.Struct]
    measure: Callable[[Any, Progress], Measured]


def run(registry: Mapping[str, Measurement], name: str, options: Mapping[str, str], progress: Progress) -> dict:
    """Measure by name with options as text (`{"repeats": "1"}`); raises SettingsError with one sentence."""
    if name not in registry:
        raise SettingsError(f"there is no {name!r}; there are: {', '.join(sorted(registry))}")
    measurement = registry[name]
    unknown = sorted(set(options) - set(measurement.options.__struct_fields__))
    if unknown:
        known = ", ".join(measurement.options.__struct_fields__)
        raise SettingsError(f"{name} has no option {unknown[0]!r}; there are: {known}")
    try:
        chosen = msgspec.convert(dict(options), measurement.options, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"a wrong option of {name}: {error}") from error
    return measurement.measure(chosen, progress).as_json()


def as_text(result: Mapping[str, Any]) -> str:
    """The result for a person to read."""
    reference = result["reference"]
    lines = [
        f"{result['name']}: {result['value']:,.4g} {result['unit']}",
        f"reference: {reference['value']:,.4g} ({reference['name']}), ratio {result['ratio']}",
    ]
    lines += [f"  {key}: {value}" for key, value in result["details"].items()]
    return "\n".join(lines)
