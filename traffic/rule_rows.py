"""What rules rest on, read from the tables: terms, permits, fences, calendar. A broken row stops nobody: it is told of.

The pure halves (`build_ground`, `read_terms`) take rows, so that the API reads them with its own connection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import structlog
from psycopg.rows import dict_row

from traffic.database import queries
from traffic.errors import SettingsError
from traffic.positions import PLACE
from traffic.rule_kinds import KINDS, RuleKind
from traffic.store import us_of
from traffic.vehicles.areas import Fence, parse_fence
from traffic.vehicles.ground import Ground
from traffic.vehicles.permits import Permits, parse_permit
from traffic.vehicles.schedule import Holidays
from traffic.vehicles.terms import RuleTerms, parse_terms

SQL = queries("traffic", "rule_desk.sql")
LATE = timedelta(days=2)  # permits that ended so long ago are still asked for by late records
SCOPED = tuple(kind.name for kind in KINDS.values() if kind.scoped)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRow:
    """A row that cannot be followed, and the sentence that says why."""

    what: str  # rule, permit, fence
    id: int
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The terms in force, and the rows that should be but cannot be followed."""

    terms: tuple[RuleTerms, ...]
    broken: tuple[BrokenRow, ...]


# ---------------------------------------------------------------- workers
def load_rules(connection: psycopg.Connection, at: datetime, ground: Ground | None = None) -> Rules:
    """The rules in force at a time that have terms (all but watch-list hits and measured sections)."""
    laid_on = ground or load_ground(connection, at)
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(SQL["rules_in_force"], {"at": at, "kinds": list(SCOPED)}).fetchall()
    return read_rules(rows, laid_on)


def load_terms(connection: psycopg.Connection, at: datetime) -> list[RuleTerms]:
    """As `load_rules`; rows that cannot be followed are logged and left out."""
    rules = load_rules(connection, at)
    tell_broken(rules.broken)
    return list(rules.terms)


def tell_broken(broken: Iterable[BrokenRow]) -> None:
    """Log what cannot be followed."""
    for row in broken:
        log.error(f"{row.what} cannot be followed", id=row.id, version=row.version, why=row.reason)


def next_change_us(connection: psycopg.Connection, at: datetime) -> int | None:
    """When a version of a rule that is known already begins or ends next: then the book is read anew."""
    row = connection.execute(SQL["next_change"], {"at": at}).fetchone()
    return us_of(row[0]) if row and row[0] is not None else None


def load_permits(connection: psycopg.Connection, at: datetime) -> Permits:
    """Permits that hold at a time, held lately or will hold; broken ones are logged and left out."""
    roads = {code: number for number, code, _ in connection.execute(SQL["ground_roads"])}
    with connection.cursor(row_factory=dict_row) as cursor:
        permits, broken = read_permits(cursor.execute(SQL["permits"], {"since": at - LATE}), roads)
    tell_broken(broken)
    return permits


def load_fences(connection: psycopg.Connection) -> tuple[Fence, ...]:
    """All fences in use; broken ones are logged and left out."""
    with connection.cursor(row_factory=dict_row) as cursor:
        fences, broken = read_fences(cursor.execute(SQL["fences"]))
    tell_broken(broken)
    return fences


def load_holidays(connection: psycopg.Connection) -> Holidays:
    """Days that differ from their weekday."""
    return Holidays.of(connection.execute(SQL["ground_holidays"]))


def load_ground(connection: psycopg.Connection, at: datetime) -> Ground:
    """What scopes are resolved with."""
    rows = {name: connection.execute(SQL[name], {"at": at}).fetchall() for name in _GROUND}
    return build_ground(rows, load_fences(connection))


async def load_ground_async(connection: psycopg.AsyncConnection, at: datetime) -> Ground:
    """As `load_ground`, for the API; broken fences are left out."""
    rows = {name: await (await connection.execute(SQL[name], {"at": at})).fetchall() for name in _GROUND}
    async with connection.cursor(row_factory=dict_row) as cursor:
        fences, _ = read_fences(await (await cursor.execute(SQL["fences"])).fetchall())
    return build_ground(rows, fences)


# ---------------------------------------------------------------- rows to facts
_GROUND = ("ground_checkpoints", "ground_roads", "ground_units", "ground_holidays")


def build_ground(rows: Mapping[str, Sequence[Sequence[Any]]], fences: Iterable[Fence]) -> Ground:
    """From the rows of the statements of these names."""
    checkpoints, roads = rows["ground_checkpoints"], rows["ground_roads"]
    places = np.zeros(len(checkpoints), PLACE)
    for number, (_, road, stake_m, unit, _, _) in enumerate(checkpoints):
        places[number]["road"], places[number]["stake_m"], places[number]["unit"] = road, stake_m, unit
    return Ground(
        checkpoints=np.array([row[0] for row in checkpoints], np.int64),
        checkpoint_places=places,
        checkpoint_lon=np.array([row[4] for row in checkpoints], np.float64),
        checkpoint_lat=np.array([row[5] for row in checkpoints], np.float64),
        roads={code: number for number, code, _ in roads},
        road_kinds={number: kind for number, _, kind in roads},
        below={unit: frozenset(members) for unit, members in rows["ground_units"]},
        holidays=Holidays.of((day, kind) for day, kind in rows["ground_holidays"]),
        fences={fence.id: fence for fence in fences},
    )


def read_rules(rows: Iterable[Mapping[str, Any]], ground: Ground) -> Rules:
    """Rows of `rule` as terms, and those that cannot be followed."""
    terms: list[RuleTerms] = []
    broken: list[BrokenRow] = []
    for row in rows:
        try:
            terms.append(read_terms(row, ground))
        except SettingsError as error:
            broken.append(BrokenRow(what="rule", id=row["id"], version=row["version"], reason=str(error)))
    return Rules(terms=tuple(terms), broken=tuple(broken))


def read_terms(row: Mapping[str, Any], ground: Ground) -> RuleTerms:
    """A row of `rule` as terms; raises SettingsError naming rule, field and reason."""
    kind: RuleKind | None = KINDS.get(row["kind"])
    if kind is None:
        raise SettingsError(f"rule {row['id']}: there is no kind of rule {row['kind']!r}")
    return parse_terms(row, kind.read, ground)


def read_permits(rows: Iterable[Mapping[str, Any]], roads: Mapping[str, int]) -> tuple[Permits, list[BrokenRow]]:
    """Rows of `permit` as columns, and those that cannot be followed."""
    good, broken = [], []
    for row in rows:
        moments = {"valid_from_us": us_of(row["valid_from"]), "valid_to_us": us_of(row["valid_to"])}
        try:
            good.append(parse_permit({**row, **moments}, roads))
        except SettingsError as error:
            broken.append(BrokenRow(what="permit", id=row["id"], version=0, reason=str(error)))
    return Permits.of(good), broken


def read_fences(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[Fence, ...], list[BrokenRow]]:
    """Rows of `fence` as facts, and those that cannot be followed."""
    good, broken = [], []
    for row in rows:
        try:
            good.append(parse_fence(row))
        except SettingsError as error:
            broken.append(BrokenRow(what="fence", id=row["id"], version=0, reason=str(error)))
    return tuple(good), broken


def why_broken(row: Mapping[str, Any], ground: Ground) -> str | None:
    """The sentence that says why a row of `rule` cannot be followed; None where it can."""
    try:
        kind = KINDS.get(row["kind"])
        if kind is not None and not kind.scoped:
            kind.read(row["parameters"])
        else:
            read_terms(row, ground)
    except SettingsError as error:
        return str(error)
    return None
