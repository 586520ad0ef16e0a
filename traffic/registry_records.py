"""Lines of registry files as records: what each column may hold, and why a cell is refused. Pure.

A file is CSV whose first line names the columns; an empty cell means "none". Codes of units, companies and roads are
looked up by whoever stores the records; here they are texts of the right form.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from traffic import plates
from traffic.zone import SHANGHAI

FIELD_CHARS_MAX = 200
WINDOWS_MAX, STRETCHES_MAX = 24, 200  # of one permit
# Kinds and states of key vehicles: their order is that of the codes in vehicles/registry.py.
KINDS = (
    "tour_coach", "scheduled_coach", "hazardous_goods", "heavy_truck", "minivan", "school_bus", "ex_commercial_coach",
    "other",
)  # fmt: skip
STATES = ("normal", "scrapped", "deregistered", "false_registered", "seized")
ROUTE_KINDS = ("", "airport", "high_speed_rail", "relay", "other")
COMPANY_KINDS = ("passenger", "hazardous_goods", "freight", "school", "other")
PERMIT_KINDS = ("pass", "hazardous_route", "school_bus", "relay")
DRIVER_CLASSES = ("A1", "A2", "A3", "B1", "B2", "C1", "C2", "C3", "C4", "C5", "C6", "D", "E", "F", "M", "N", "P")
_DAYS = date(1950, 1, 1), date(2199, 12, 31)


class Fault(StrEnum):
    """Why a line of a registry file was refused. Closed: told by this code, which screens put into words."""

    MALFORMED = "malformed"  # no CSV, or a text that is not of the field's form
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"  # no number, no day
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    UNKNOWN_VALUE = "unknown_value"  # none of a closed list
    WRONG_CHECK_DIGIT = "wrong_check_digit"  # of a credit code, an identity number or a VIN: a slip of the pen
    UNKNOWN_UNIT = "unknown_unit"
    UNKNOWN_COMPANY = "unknown_company"
    UNKNOWN_ROAD = "unknown_road"
    NOT_YOUR_UNIT = "not_your_unit"  # the unit named, or the one that has the record now, is not below the importer's
    DUPLICATE = "duplicate"  # an earlier line of the same file is of the same thing
    TOO_MANY = "too_many"  # behind the bound of records in one file


class CellRefused(Exception):
    """A cell that cannot stand; kept inside this module."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One refused line of a file; `line` counts from 1, the header's."""

    line: int
    field: str
    reason: Fault
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a file. `read`: text -> value, raises CellRefused; an empty cell is `blank`, or refused."""

    read: Callable[[str], Any]
    required: bool = False
    blank: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A kind of file: its columns, and those that say which thing a line is of."""

    name: str
    columns: Mapping[str, Column]
    key: Callable[[Mapping[str, Any]], object]
    record: type[msgspec.Struct]
    blank: frozenset[str] = frozenset()  # no cell is told apart from an empty one
    together: Callable[[Mapping[str, Any]], tuple[str, Fault, str] | None] = field(default=lambda _values: None)

    def read(self, line: int, cells: Mapping[str, str]) -> dict[str, Any] | Refused:
        """The values of a line by column name, of those columns that the file has; or the first thing wrong with it."""
        values: dict[str, Any] = {}
        for name, text in cells.items():
            column = self.columns[name]
            if not text:
                if column.required:
                    return Refused(line=line, field=name, reason=Fault.MISSING_FIELD, detail=f"{name} is needed")
                values[name] = column.blank
                continue
            try:
                values[name] = column.read(text)
            except CellRefused as fault:
                return Refused(line=line, field=name, reason=fault.fault, detail=str(fault))
        wrong = self.together(values)
        if wrong is not None:
            return Refused(line=line, field=wrong[0], reason=wrong[1], detail=wrong[2])
        return values


# ---------------------------------------------------------------- cells
def _text(chars_max: int = FIELD_CHARS_MAX) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > chars_max:
            raise CellRefused(Fault.TOO_LONG, f"at most {chars_max} characters")
        if not text.isprintable():
            raise CellRefused(Fault.MALFORMED, "holds a character that cannot be printed")
        return text

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise CellRefused(Fault.UNKNOWN_VALUE, f"one of {', '.join(filter(None, words))}")
        return text

    return read


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise CellRefused(Fault.WRONG_TYPE, "a whole number")
        if not low <= int(text) <= high:
            raise CellRefused(Fault.OUT_OF_RANGE, f"{low} to {high}")
        return int(text)

    return read


def _kilometres(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise CellRefused(Fault.WRONG_TYPE, "a number of kilometres")
    if not 0 < float(text) <= 5_000:
        raise CellRefused(Fault.OUT_OF_RANGE, "more than 0 and at most 5000")
    return float(np.float32(text))  # as the table keeps it, so that the same file says the same


def _flag(text: str) -> bool:
    found = {"1": True, "0": False, "true": True, "false": False, "是": True, "否": False}.get(text.lower())
    if found is None:
        raise CellRefused(Fault.UNKNOWN_VALUE, "1 or 0")
    return found


def _day(text: str) -> date:
    match = re.fullmatch(r"([0-9]{4})([-/.]?)([0-9]{1,2})\2([0-9]{1,2})", text)
    try:
        day = date(int(match[1]), int(match[3]), int(match[4])) if match and (match[2] or len(text) == 8) else None
    except ValueError:
        day = None
    if day is None:
        raise CellRefused(Fault.WRONG_TYPE, "a day like 2026-11-30")
    if not _DAYS[0] <= day <= _DAYS[1]:
        raise CellRefused(Fault.OUT_OF_RANGE, f"a day from {_DAYS[0]} to {_DAYS[1]}")
    return day


def _moment(*, end: bool) -> Callable[[str], datetime]:
    """A moment with its zone, or a day of China: its beginning, or its end."""

    def read(text: str) -> datetime:
        if "T" not in text:
            return datetime.combine(_day(text) + timedelta(days=int(end)), datetime.min.time(), SHANGHAI)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise CellRefused(Fault.WRONG_TYPE, "a day, or a time like 2026-11-30T08:00:00+08:00") from error
        if moment.tzinfo is None:
            raise CellRefused(Fault.WRONG_TYPE, "a time needs its zone, like +08:00")
        if not _DAYS[0] <= moment.date() <= _DAYS[1]:
            raise CellRefused(Fault.OUT_OF_RANGE, f"a time from {_DAYS[0]} to {_DAYS[1]}")
        return moment

    return read


def _plate(text: str) -> str:
    folded = plates.fold(text)
    if not 5 <= len(folded) <= 8 or plates.plate_key(folded) <= 0:
        raise CellRefused(Fault.MALFORMED, "no number plate")
    return folded


def _vehicle_class(text: str) -> int:
    match = re.fullmatch(r"([A-Z])([0-9]{1,2})", text.upper())
    if match is None:
        raise CellRefused(Fault.MALFORMED, "a class of GA 24.4 like K33")
    return (ord(match[1]) - ord("A") + 1) * 100 + int(match[2])


def _hours(text: str) -> list[list[str]]:
    """`06:00-08:30;16:00-18:00`; a window may run over midnight."""
    windows = []
    for part in re.split(r"[;,，；\s]+", text):
        match = re.fullmatch(r"(([01]?[0-9]|2[0-3]):[0-5][0-9])-((([01]?[0-9]|2[0-3]):[0-5][0-9])|24:00)", part)
        if match is None:
            raise CellRefused(Fault.MALFORMED, "hours like 06:00-08:30;16:00-18:00")
        windows.append([match[1].zfill(5), match[3].zfill(5)])
    if len(windows) > WINDOWS_MAX:
        raise CellRefused(Fault.TOO_LONG, f"at most {WINDOWS_MAX} windows")
    return windows


def _weekdays(text: str) -> list[int]:
    days = sorted(set(re.sub(r"[;,，；\s]", "", text)))
    if not days or set(days) - set("1234567"):
        raise CellRefused(Fault.MALFORMED, "days of the week like 12345 (1: Monday)")
    return [int(day) for day in days]


def _roads(text: str) -> list[dict[str, Any]]:
    """`G1:890000-990000:1;G12`: road, stakes in metres, direction (0 or none: both)."""
    stretches: list[dict[str, Any]] = []
    for part in re.split(r"[;；]", text):
        match = re.fullmatch(r"\s*([A-Z][A-Z0-9]{0,15})(?::([0-9]{1,7})-([0-9]{1,7}))?(?::([012]))?\s*", part)
        if match is None:
            raise CellRefused(Fault.MALFORMED, "roads like G1:890000-990000:0;G12")
        low, high = sorted((int(match[2]), int(match[3]))) if match[2] else (0, 9_999_999)
        stretches.append({"road": match[1], "from_stake_m": low, "to_stake_m": high, "direction": int(match[4] or 0)})
    if len(stretches) > STRETCHES_MAX:
        raise CellRefused(Fault.TOO_LONG, f"at most {STRETCHES_MAX} stretches")
    return stretches


# ---------------------------------------------------------------- numbers that carry a check digit
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = [pow(3, place, 31) for place in range(17)]
_IDENTITY_WEIGHTS = [pow(2, 17 - place, 11) for place in range(17)]
_VIN_VALUES = dict(
    zip(
        "0123456789ABCDEFGHJKLMNPRSTUVWXYZ", [*range(10), *range(1, 9), 1, 2, 3, 4, 5, 7, 9, *range(2, 10)], strict=True
    )
)
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def credit_code(body: str) -> str:
    """A unified social credit code (GB 32100) from its first 17 characters."""
    total = sum(_CREDIT_ALPHABET.index(sign) * weight for sign, weight in zip(body, _CREDIT_WEIGHTS, strict=True))
    return body + _CREDIT_ALPHABET[-total % 31]


def identity_number(body: str) -> str:
    """A citizen's number (GB 11643), which a driving licence bears, from its first 17 digits."""
    total = sum(int(digit) * weight for digit, weight in zip(body, _IDENTITY_WEIGHTS, strict=True))
    return body + "10X98765432"[total % 11]


def vin(text: str) -> str:
    """A vehicle identification number (GB 16735) with its ninth place set right."""
    total = sum(_VIN_VALUES[sign] * weight for sign, weight in zip(text, _VIN_WEIGHTS, strict=True)) % 11
    return f"{text[:8]}{'X' if total == 10 else total}{text[9:]}"


def _credit_code(text: str) -> str:
    code = text.upper()
    if not re.fullmatch(f"[{_CREDIT_ALPHABET}]{{18}}", code):
        raise CellRefused(Fault.MALFORMED, "18 characters of a unified social credit code")
    if credit_code(code[:17]) != code:
        raise CellRefused(Fault.WRONG_CHECK_DIGIT, "the check digit does not fit")
    return code


def _licence(text: str) -> str:
    number = text.upper()
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        raise CellRefused(Fault.MALFORMED, "18 digits of a driving licence")
    if identity_number(number[:17]) != number:
        raise CellRefused(Fault.WRONG_CHECK_DIGIT, "the check digit does not fit")
    return number


def _vin(text: str) -> str:
    code = text.upper()
    if not re.fullmatch(r"[0-9A-HJ-NPR-Z]{17}", code):
        raise CellRefused(Fault.MALFORMED, "17 characters of a VIN, without I, O and Q")
    if vin(code) != code:
        raise CellRefused(Fault.WRONG_CHECK_DIGIT, "the check digit does not fit")
    return code


# ---------------------------------------------------------------- sheets
_UNIT = Column(read=_text(20), required=True)
_COMPANY = Column(read=_credit_code)
_ENABLED = Column(read=_flag, blank=True)
_PLATE = Column(read=_plate, required=True)
_PLATE_CLASS = Column(read=_number(1, 99), required=True)  # GA 24.7


def _vehicle(values: Mapping[str, Any]) -> tuple[int, int]:
    return plates.plate_key(values["plate"]), plates.class_group(values["plate_class"])


def _ends_later(values: Mapping[str, Any]) -> tuple[str, Fault, str] | None:
    if values["valid_to"] <= values["valid_from"]:
        return "valid_to", Fault.OUT_OF_RANGE, "the end lies before the beginning"
    return None


def _sheet(name: str, key: Callable[[Mapping[str, Any]], object], columns: dict[str, Column], **more: Any) -> Sheet:
    fields: list[Any] = [(title, str) for title, column in columns.items() if column.required]
    fields += [(title, str, "") for title, column in columns.items() if not column.required]
    blank = frozenset(columns)  # an empty cell is judged here, with the column's own words
    return Sheet(name=name, columns=columns, key=key, record=msgspec.defstruct(name, fields), blank=blank, **more)


SHEETS: dict[str, Sheet] = {
    sheet.name: sheet
    for sheet in (
        _sheet("companies", lambda values: values["code"], {
            "code": Column(read=_credit_code, required=True),
            "name": Column(read=_text(100), required=True),
            "kind": Column(read=_one_of(*COMPANY_KINDS), required=True),
            "unit": _UNIT,
            "licence": Column(read=_text(40), blank=""),
            "licence_until": Column(read=_day),
            "contact": Column(read=_text(40), blank=""),
            "phone": Column(read=_text(30), blank=""),
        }),
        _sheet("vehicles", _vehicle, {
            "plate": _PLATE,
            "plate_class": _PLATE_CLASS,
            "kind": Column(read=_one_of(*KINDS), required=True),
            "unit": _UNIT,
            "plate_color": Column(read=_number(0, 99), blank=0),
            "company": _COMPANY,
            "vin": Column(read=_vin, blank=""),
            "brand": Column(read=_text(60), blank=""),
            "body_color": Column(read=_number(0, 99), blank=0),
            "vehicle_class": Column(read=_vehicle_class, blank=0),
            "seats": Column(read=_number(1, 200)),
            "state": Column(read=_one_of(*STATES), blank="normal"),
            "inspection_until": Column(read=_day),
            "scrap_by": Column(read=_day),
            "insurance_until": Column(read=_day),
            "violations_open": Column(read=_number(0, 10_000), blank=0),
            "ex_commercial": Column(read=_flag, blank=False),
            "route_kind": Column(read=_one_of(*ROUTE_KINDS), blank=""),
            "route_km": Column(read=_kilometres),
            "enabled": _ENABLED,
        }),
        _sheet("permits", lambda values: values["number"], {
            "number": Column(read=_text(40), required=True),
            "kind": Column(read=_one_of(*PERMIT_KINDS), required=True),
            "plate": _PLATE,
            "plate_class": _PLATE_CLASS,
            "unit": _UNIT,
            "company": _COMPANY,
            "valid_from": Column(read=_moment(end=False), required=True),
            "valid_to": Column(read=_moment(end=True), required=True),
            "hours": Column(read=_hours, blank=[]),
            "weekdays": Column(read=_weekdays, blank=[1, 2, 3, 4, 5, 6, 7]),
            "roads": Column(read=_roads, blank=[]),
            "goods": Column(read=_text(60), blank=""),
            "enabled": _ENABLED,
        }, together=_ends_later),
        _sheet("drivers", lambda values: values["licence"], {
            "licence": Column(read=_licence, required=True),
            "name": Column(read=_text(40), required=True),
            "class": Column(read=_one_of(*DRIVER_CLASSES), required=True),
            "unit": _UNIT,
            "company": _COMPANY,
            "licence_until": Column(read=_day),
            "qualification": Column(read=_text(40), blank=""),
            "qualification_until": Column(read=_day),
            "enabled": _ENABLED,
        }),
    )
}  # fmt: skip


# ---------------------------------------------------------------- what persons may see of persons
def masked_licence(number: str) -> str:
    """220***********1234: the place of issue and the end."""
    return f"{number[:3]}{'*' * (len(number) - 7)}{number[-4:]}" if len(number) > 7 else "*" * len(number)


def masked_phone(number: str) -> str:
    """138****5678 of a mobile telephone; of a shorter number the beginning alone."""
    return (
        f"{number[:3]}{'*' * (len(number) - 7)}{number[-4:]}"
        if len(number) > 10
        else number[:2] + "*" * len(number[2:])
    )


def masked_name(name: str) -> str:
    """张**: the family name alone."""
    return name[:1] + "*" * (len(name) - 1)
