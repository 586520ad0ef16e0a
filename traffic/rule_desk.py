"""Where rules are tended: drafts, changes, arming and putting off. Nothing is ever overwritten: each deed is a version.

A draft is not in force; what is in force is the newest version that was armed or put off. Whoever changes a rule says
which version was seen: if another came first, nothing is written (`Stale`). Rights are the caller's matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from traffic.database import queries
from traffic.errors import TrafficError
from traffic.rule_kinds import KINDS
from traffic.rule_rows import read_terms
from traffic.vehicles.ground import Ground
from traffic.vehicles.said import checked_text, refused
from traffic.vehicles.terms import RuleTerms

SQL = queries("traffic", "rule_desk.sql")
VERSIONS_MAX = 200  # shown of one rule; the oldest are left out
NAME_CHARS, CLAUSE_CHARS, NOTE_CHARS = (2, 80), (1, 400), (0, 400)
YEARS = (2000, 2100)  # in which a rule may begin or end
FIELDS = (
    "kind", "name", "clause", "unit_id", "state", "level", "lateness_s", "parameters", "scope", "schedule",
    "exemptions", "valid_from", "valid_to",
)  # fmt: skip


class NoSuchRule(TrafficError):
    """There is no rule of this number."""


class Stale(TrafficError):
    """The rule was changed by somebody else in between: nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a rule says. `unit_id` None: the province's rule. `valid_from` None: as soon as it is armed."""

    kind: str
    name: str
    clause: str
    unit_id: int | None = None
    level: int | None = None
    lateness_s: int = 900
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    exemptions: Mapping[str, Any] = field(default_factory=dict)
    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who writes a version, when and why."""

    login: str
    now: datetime
    note: str = ""


# ---------------------------------------------------------------- checking
def checked(content: Content, ground: Ground) -> RuleTerms | None:
    """The terms that the content comes to (None: its kind has none); raises SettingsError naming field and reason."""
    kind = KINDS.get(content.kind)
    if kind is None:
        raise refused("kind", f"must be one of {', '.join(KINDS)}", content.kind)
    checked_text("name", content.name, *NAME_CHARS)
    checked_text("clause", content.clause, *CLAUSE_CHARS)
    for name, moment in (("valid_from", content.valid_from), ("valid_to", content.valid_to)):
        if moment is not None and not YEARS[0] <= moment.year < YEARS[1]:
            raise refused(name, f"must lie in the years from {YEARS[0]} to {YEARS[1]}")
    if content.valid_from and content.valid_to and content.valid_to <= content.valid_from:
        raise refused("valid_to", "must lie behind valid_from")
    if kind.scoped:
        return read_terms({**row_of(content), "id": 1, "version": 1}, ground)
    for name in ("scope", "schedule", "exemptions"):
        if getattr(content, name):
            raise refused(name, f"must be empty: rules of kind {content.kind} have none")
    for name in ("unit_id", "level"):
        if getattr(content, name) is not None:
            raise refused(name, f"must be left out: rules of kind {content.kind} are the province's")
    kind.read(content.parameters)
    return None


def row_of(content: Content) -> dict[str, Any]:
    """The content as columns of table `rule`."""
    names = [name for name in FIELDS if name != "state"]
    return {name: getattr(content, name) for name in names}


def content_of(row: Mapping[str, Any]) -> Content:
    """What a row of table `rule` says, without its times."""
    return Content(**{name: row[name] for name in FIELDS if name not in ("state", "valid_from", "valid_to")})


def changes(versions: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """For each version (newest first) what it changed: [{field, before, after}]; of the first nothing is before."""
    found = []
    for now, before in zip(versions, [*versions[1:], None], strict=True):
        found.append(_differences(before, now) if before is not None else [])
    return found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Objects are compared by their names, so that one changed number reads as such."""
    said = []
    for name in FIELDS:
        old, new = before[name], now[name]
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    said.append({"field": f"{name}.{key}", "before": old.get(key), "after": new.get(key)})
        else:
            said.append({"field": name, "before": old, "after": new})
    return said


# ---------------------------------------------------------------- reading
async def list_rules(connection: psycopg.AsyncConnection, at: datetime) -> list[dict[str, Any]]:
    """Every rule in its newest version, with `in_force`: the version that holds now, or None."""
    return await _rows(connection, "desk_list", {"at": at, "id": None})


async def get_rule(connection: psycopg.AsyncConnection, id: int, at: datetime) -> dict[str, Any]:
    """One rule in its newest version; raises NoSuchRule."""
    found = await _rows(connection, "desk_list", {"at": at, "id": id})
    if not found:
        raise NoSuchRule(f"there is no rule {id}")
    return found[0]


async def list_versions(connection: psycopg.AsyncConnection, id: int) -> list[dict[str, Any]]:
    """The versions of a rule, newest first."""
    return await _rows(connection, "desk_versions", {"id": id, "limit": VERSIONS_MAX})


async def count_fired(
    connection: psycopg.AsyncConnection, rule: Mapping[str, Any], since: datetime
) -> list[dict[str, Any]]:
    """Findings of the rule by local day, as far as the viewer of the transaction may see."""
    return await _rows(connection, "desk_fired", {"kind": rule["kind"], "id": rule["id"], "since": since})


# ---------------------------------------------------------------- writing
async def draft(connection: psycopg.AsyncConnection, content: Content, author: Author) -> int:
    """Write a new rule as a draft (the content was checked); returns its number.

    Raises Stale for a second rule of a kind that has but one.
    """
    if not KINDS[content.kind].many:
        raise Stale(f"there is a rule of kind {content.kind} already: change that one")
    row = await (await connection.execute(SQL["desk_number"])).fetchone()
    assert row is not None
    await _insert(connection, row[0], 0, {**row_of(content), "state": "draft"}, author)
    return int(row[0])


async def change(connection: psycopg.AsyncConnection, id: int, based_on: int, content: Content, author: Author) -> int:
    """Write a changed draft (the content was checked) behind version `based_on`; returns its version. Raises Stale."""
    await _insert(connection, id, based_on, {**row_of(content), "state": "draft"}, author)
    return based_on + 1


async def arm(
    connection: psycopg.AsyncConnection, rule: Mapping[str, Any], author: Author, valid_from: datetime | None = None
) -> int:
    """Put the newest version (as read) in force, now or from a later time; returns the new version. Raises Stale."""
    begin = max(valid_from or rule["valid_from"], author.now)
    if rule["valid_to"] <= begin:
        raise refused("valid_to", "has passed: change the rule first")
    content = {**rule, "state": "armed", "valid_from": begin}
    await _insert(connection, rule["id"], rule["version"], content, author)
    await bump(connection, "rule")
    return int(rule["version"]) + 1


async def put_off(connection: psycopg.AsyncConnection, rule: Mapping[str, Any], author: Author) -> int:
    """Put the rule out of force at once; returns the new version. Raises Stale."""
    content = {**rule, "state": "off", "valid_from": author.now, "valid_to": None}
    await _insert(connection, rule["id"], rule["version"], content, author)
    await bump(connection, "rule")
    return int(rule["version"]) + 1


async def bump(connection: psycopg.AsyncConnection, name: str) -> None:
    """Tell whoever holds what this version counts that it is another now."""
    await connection.execute(SQL["desk_changed"], {"name": name})


async def _insert(
    connection: psycopg.AsyncConnection, id: int, based_on: int, row: Mapping[str, Any], author: Author
) -> None:
    values = {
        **{name: row[name] for name in FIELDS},
        **{name: Jsonb(row[name]) for name in ("parameters", "scope", "schedule", "exemptions")},
        "id": id,
        "based_on": based_on,
        "valid_from": row["valid_from"] or author.now,
        "note": checked_text("note", author.note, *NOTE_CHARS),
        "by": author.login,
        "now": author.now,
    }
    try:
        async with connection.transaction():
            written = (await connection.execute(SQL["desk_insert"], values)).rowcount
    except psycopg.errors.UniqueViolation:
        written = 0
    if not written:
        raise Stale(f"rule {id} was changed in between: read it again, version {based_on} is not the newest any more")


async def _rows(connection: psycopg.AsyncConnection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(SQL[name], values)).fetchall()
