"""Values that people wrote into rules, checked one by one: a refusal names the field, the reason and what was found."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from traffic.errors import SettingsError

_SHOWN_CHARS_MAX = 40


class FieldRefused(SettingsError):
    """A value that was written cannot be used. `field` is where it stands (schedule.hours), `reason` why."""

    def __init__(self, field: str, reason: str, subject: str = "") -> None:
        super().__init__(f"{subject}: {field} {reason}" if subject else f"{field} {reason}")
        self.field, self.reason = field, reason


def refused(field: str, reason: str, found: Any = None) -> FieldRefused:
    """The refusal of one field, with a piece of what was found there."""
    shown = "" if found is None else f", not {_shown(found)}"
    return FieldRefused(field, reason + shown)


def _shown(found: Any) -> str:
    if isinstance(found, Mapping | list | tuple):
        return "a list" if not isinstance(found, Mapping) else "an object"
    text = str(found) if isinstance(found, str | int | float) else type(found).__name__
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "…"


def checked_mapping(field: str, said: Any) -> Mapping[str, Any]:
    """The object that stands there."""
    if not isinstance(said, Mapping):
        raise refused(field, "must be an object", said)
    return said


def checked_keys(field: str, said: Any, known: Collection[str]) -> None:
    """Refuse an object with a name that means nothing: a misspelt limit must not be taken for none."""
    for name in checked_mapping(field, said):
        if name not in known:
            raise refused(f"{field}.{str(name)[:_SHOWN_CHARS_MAX]}", f"is unknown (known: {', '.join(known)})")


def checked_list(field: str, said: Any, most: int) -> list[Any]:
    """The list that stands there, of at most so many."""
    if not isinstance(said, list | tuple):
        raise refused(field, "must be a list", said)
    if len(said) > most:
        raise refused(field, f"must hold at most {most} values, not {len(said)}")
    return list(said)


def checked_among(field: str, said: Any, options: Iterable[str], most: int) -> tuple[str, ...]:
    """A list of words out of the options."""
    known = tuple(options)
    words = checked_list(field, said, most)
    for word in words:
        if not isinstance(word, str) or word not in known:
            raise refused(field, f"must hold words out of {', '.join(known)}", word)
    return tuple(words)


def checked_whole(field: str, said: Any, low: int, high: int) -> int:
    """A whole number between two bounds."""
    if isinstance(said, bool) or not isinstance(said, int) or not low <= said <= high:
        raise refused(field, f"must be a whole number from {low} to {high}", said)
    return said


def checked_number(field: str, said: Any, low: float, high: float) -> float:
    """A number between two bounds (never NaN)."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not low <= said <= high:
        raise refused(field, f"must be a number from {low:g} to {high:g}", said)
    return float(said)


def checked_text(field: str, said: Any, low: int, high: int) -> str:
    """A text of so many characters without control characters, blanks around it taken off; every database holds it."""
    text = said.strip() if isinstance(said, str) else ""
    if not isinstance(said, str) or not low <= len(text) <= high:
        raise refused(field, f"must be a text of {low} to {high} characters")
    if not text.isprintable():  # control characters, NUL and halves of surrogate pairs
        raise refused(field, "must hold printable characters only")
    return text
