"""Records of the registry in its tables: codes looked up, rows compared, only what differs written.

Nothing is deleted, and what is newer in the table stays. Every change raises the version that workers and doors watch,
so that they read the changed rows alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from traffic import plates
from traffic.database import queries
from traffic.registry_records import Fault, Refused

SQL = queries("traffic", "registry.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Where the records of a sheet stand. `version`: of what grows when one of them changes."""

    name: str
    keys: tuple[str, ...]
    version: str | None
    numbered: bool = False  # has a column `version`


TABLES = {
    "companies": Table(name="company", keys=("code",), version="registry", numbered=True),
    "vehicles": Table(name="key_vehicle", keys=("plate_key", "class_group"), version="registry", numbered=True),
    "permits": Table(name="permit", keys=("number",), version="permit"),
    "drivers": Table(name="driver", keys=("licence",), version=None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where records come from. `only_own`: rows from elsewhere stay as they are; `adds`: new ones are taken."""

    source: str  # import, platform, setup
    as_of: datetime
    only_own: bool = False
    adds: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What codes in a file are looked up in. `own`: the units that the importer may write for; None: all."""

    units: Mapping[str, int]
    roads: frozenset[str]
    own: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record of a chunk, as columns of its table."""

    line: int
    values: dict[str, Any]

    def key(self, table: Table) -> tuple[Any, ...]:
        """Which row it is."""
        return tuple(self.values[name] for name in table.keys)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a chunk."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    older: int = 0
    elsewhere: list[Line] = field(default_factory=list)  # there already, where the writer does not see it


def load_ground(connection: psycopg.Connection, at: datetime, own: frozenset[int] | None = None) -> Ground:
    """Units and roads by their codes, in the caller's transaction."""
    return Ground(
        units=dict(connection.execute(SQL["units_by_code"], {"at": at}).fetchall()),
        roads=frozenset(row[0] for row in connection.execute(SQL["road_codes"])),
        own=own,
    )


def resolve(
    connection: psycopg.Connection, what: str, found: Iterable[tuple[int, dict[str, Any]]], ground: Ground
) -> tuple[list[Line], list[Refused]]:
    """Codes of units, companies and roads looked up: (columns of the table, what can't be looked up)."""
    found = list(found)
    codes = sorted({values["company"] for _, values in found if values.get("company")})
    companies = {row[0]: row[1:] for row in connection.execute(SQL["companies_by_code"], {"codes": codes})}
    lines: list[Line] = []
    refused: list[Refused] = []
    for line, values in found:
        wrong = _wrong_code(values, companies, ground)
        if wrong is not None:
            refused.append(Refused(line=line, field=wrong[0], reason=wrong[1], detail=wrong[2]))
        else:
            lines.append(Line(line=line, values=_row(what, values, companies, ground)))
    return lines, refused


def _wrong_code(
    values: Mapping[str, Any], companies: Mapping[str, Any], ground: Ground
) -> tuple[str, Fault, str] | None:
    unit = ground.units.get(values["unit"])
    if unit is None:
        return "unit", Fault.UNKNOWN_UNIT, "there is no unit of this code"
    if ground.own is not None and unit not in ground.own:
        return "unit", Fault.NOT_YOUR_UNIT, "the unit is not below yours"
    if values.get("company") and values["company"] not in companies:
        return "company", Fault.UNKNOWN_COMPANY, "there is no company of this code: import the companies first"
    road = next((part["road"] for part in values.get("roads") or () if part["road"] not in ground.roads), None)
    return None if road is None else ("roads", Fault.UNKNOWN_ROAD, f"there is no road {road}")


def _row(what: str, values: Mapping[str, Any], companies: Mapping[str, Any], ground: Ground) -> dict[str, Any]:
    """Values of a sheet as columns of its table."""
    row = {name: value for name, value in values.items() if name not in ("unit", "company")}
    row["unit_id"] = ground.units[values["unit"]]
    if "company" in values:
        number, name = companies[values["company"]] if values["company"] else (None, "")
        row["company_id"] = number
        if what == "vehicles":
            row["company"] = name
    if "plate" in values:
        row["plate_key"] = plates.plate_key(values["plate"])
        row["class_group"] = plates.class_group(values["plate_class"])
        if what == "permits":
            del row["plate_class"]
    return row


def store(connection: psycopg.Connection, what: str, lines: Sequence[Line], origin: Origin) -> Outcome:
    """Write what differs, in the caller's transaction; all lines have the same columns, and each thing stands once."""
    outcome = Outcome()
    if not lines:
        return outcome
    table = TABLES[what]
    if table.version:
        # Writers take turns here, so that versions are seen in the order in which they were given.
        connection.execute(SQL["version_turn"], {"name": table.version})
    statements = _Statements.of(table, list(lines[0].values))
    fresh: list[Line] = []
    differing: list[Line] = []
    agreeing: list[Line] = []
    of_key = {line.key(table): line for line in lines}
    for *key, known, differs, as_of, source in connection.execute(statements.compare, {"rows": _packed(lines)}):
        line = of_key[tuple(key)]
        if not known:
            fresh += [line] if origin.adds else []
        elif origin.only_own and source != origin.source:
            outcome.unchanged += 1
        elif as_of > origin.as_of:
            outcome.older += 1
        else:
            (differing if differs else agreeing).append(line)
    version = _raised(connection, table) if fresh or differing else 0
    if fresh:
        written = {tuple(row) for row in connection.execute(statements.insert, _values(fresh, origin, version))}
        outcome.added = len(written)
        outcome.elsewhere = [line for line in fresh if line.key(table) not in written]
    if differing:
        connection.execute(statements.update, _values(differing, origin, version))
        outcome.changed = len(differing)
    if agreeing:
        connection.execute(statements.touch, _values(agreeing, origin, version))
        outcome.unchanged += len(agreeing)
    return outcome


def _raised(connection: psycopg.Connection, table: Table) -> int:
    if table.version is None:
        return 0
    found = connection.execute(SQL["version_raise"], {"name": table.version}).fetchone()
    assert found is not None
    return int(found[0])


def _packed(lines: Sequence[Line]) -> str:
    return msgspec.json.encode([line.values for line in lines]).decode()


def _values(lines: Sequence[Line], origin: Origin, version: int) -> dict[str, Any]:
    return {"rows": _packed(lines), "source": origin.source, "as_of": origin.as_of, "version": version}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statements:
    """What is asked of a table about rows with certain columns; rows come as one JSON list."""

    table: Table
    compare: sql.Composed
    insert: sql.Composed
    update: sql.Composed
    touch: sql.Composed

    @staticmethod
    def of(table: Table, columns: list[str]) -> "_Statements":
        """The statements for rows with these columns."""
        name, others = sql.Identifier(table.name), [column for column in columns if column not in table.keys]
        parts = {
            "table": name,
            "keys": _names(table.keys),
            "their_keys": _names(table.keys, "s"),
            "same": sql.SQL(" AND ").join(
                sql.SQL("t.{key} = s.{key}").format(key=sql.Identifier(key)) for key in table.keys
            ),
            "first": sql.Identifier("t", table.keys[0]),
            "columns": _names(columns),
            "old": _names(others, "t"),
            "new": _names(others, "s"),
            "changes": sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Identifier("s", column)) for column in others
            ),
            # A column that must not be null and that the file does not have.
            "more": sql.SQL(", company" if table.name == "key_vehicle" and "company" not in columns else ""),
            "more_values": sql.SQL(", ''" if table.name == "key_vehicle" and "company" not in columns else ""),
            "version": sql.SQL(", version" if table.numbered else ""),
            "version_value": sql.SQL(", %(version)s" if table.numbered else ""),
            "version_change": sql.SQL(", version = %(version)s" if table.numbered else ""),
        }
        return _Statements(table=table, **{title: sql.SQL(SQL[f"rows_{title}"]).format(**parts) for title in _TITLES})  # type: ignore[arg-type]


_TITLES = ("compare", "insert", "update", "touch")


def _names(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*((table, name) if table else (name,))) for name in columns)
