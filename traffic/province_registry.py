"""The demonstration's registry as registry files, and its way into the tables: the same as any file's.

Days stand in its tables as months from the month in which they are loaded, so that a demonstration never grows old.
What people or the platform have changed since stays as they left it.
"""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import psycopg

from traffic.clock import SHANGHAI
from traffic.province_tables import model_province, rows_of
from traffic.registry_records import SHEETS, Refused
from traffic.registry_store import Ground, Origin, resolve, store

FILES = {
    "companies": "companies.csv", "vehicles": "key_vehicles.csv", "permits": "permits.csv", "drivers": "drivers.csv",
}  # fmt: skip
# What a column of months is as a day; all but a permit's beginning end with their month.
_DAYS = {
    "inspection_months": "inspection_until", "scrap_months": "scrap_by", "insurance_months": "insurance_until",
    "licence_months": "licence_until", "qualification_months": "qualification_until", "to_months": "valid_to",
    "from_months": "valid_from",
}  # fmt: skip


def load_registry_tables(connection: psycopg.Connection, now: datetime) -> dict[str, int]:
    """Bring the demonstration's registry to what its tables say, in the caller's transaction; rows written of each.

    It is a copy of this morning: what the platform says later in the day counts for more.
    """
    origin = Origin(source="setup", as_of=_midnight(now), only_own=True)
    written = {}
    for what in FILES:
        ground = Ground(
            units={str(unit.id): unit.id for unit in model_province().units},
            roads=frozenset(road.code for road in model_province().roads),
        )
        found = [(line, _values(what, line, cells)) for line, cells in enumerate(list_cells(what, now), start=2)]
        lines, refused = resolve(connection, what, found, ground)
        assert not refused, f"{FILES[what]}: {refused[0]}"
        outcome = store(connection, what, lines, origin)
        written[what] = outcome.added + outcome.changed
    return written


def list_cells(what: str, now: datetime) -> Iterator[dict[str, str]]:
    """The lines of one of FILES as cells of a registry file; units by their number, companies by their code."""
    codes = {row["name"]: row["code"] for row in rows_of("companies.csv")}
    columns = SHEETS[what].columns
    for row in rows_of(FILES[what]):
        cells = {name: text for name, text in row.items() if name in columns}
        cells["unit"] = row["unit_id"]
        if "company" in cells:
            cells["company"] = codes[row["company"]] if row["company"] else ""
        for name, day in _DAYS.items():
            if name in row:
                months = row[name]
                cells[day] = _day(now, int(months), first=day == "valid_from").isoformat() if months else ""
        yield cells


def _values(what: str, line: int, cells: Mapping[str, str]) -> dict[str, Any]:
    values = SHEETS[what].read(line, cells)
    assert not isinstance(values, Refused), f"{FILES[what]}: {values}"
    return values


def _midnight(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(SHANGHAI).date(), datetime.min.time(), SHANGHAI)


def _day(now: datetime, months: int, *, first: bool) -> date:
    """The last (or first) day of the month so many months from now."""
    today = now.astimezone(SHANGHAI).date()
    year, month = divmod(today.year * 12 + today.month - 1 + months, 12)
    return date(year, month + 1, 1 if first else monthrange(year, month + 1)[1])
