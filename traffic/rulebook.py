"""What the stream's rules rest on, read from the tables in one go; what has not changed is kept from the last book."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from traffic.limits import WATCH_LOOKBACK_S
from traffic.network import Link
from traffic.positions import PlaceIndex
from traffic.registry_load import load_registry
from traffic.rule_rows import load_ground, load_permits, load_rules, next_change_us, tell_broken
from traffic.sensor_trust import load_trust
from traffic.store import SQL, us_of, when
from traffic.subscriptions import Subscriptions, load_subscriptions
from traffic.tracking import Tracked
from traffic.usual_times import load_clock_suspects, load_usual_times
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.ground import Ground
from traffic.vehicles.permits import Permits
from traffic.vehicles.terms import RuleTerms
from traffic.vehicles.watchlist import WatchEntry

Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """The network, who owns and sees what of it, and whose devices are whose."""

    checkpoints: list[tuple]  # (id, owner, who sees its findings, who sees its traffic)
    above: Mapping[int, frozenset[int]]
    sections: list[tuple]
    places: PlaceIndex
    crews: Mapping[int, int]
    devices: Mapping[int, int]
    facts: Checkpoints
    rests: tuple[tuple[float, float], ...]  # where who stands may stand: service areas, toll plazas


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """Rules that are rows with scope and schedule, laid on the ground."""

    ground: Ground
    terms: tuple[RuleTerms, ...]
    changes_us: int | None  # when the next version that is known already begins or ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The rules and, for each checkpoint, unit and device, who may see what comes of it."""

    versions: Mapping[str, int]
    rules: RuleBook
    entries: tuple[WatchEntry, ...]
    owner_of_checkpoint: Mapping[int, int]
    traffic_of_checkpoint: Mapping[int, frozenset[int]]
    above_unit: Mapping[int, frozenset[int]]  # a unit and all above it
    unit_of_device: Mapping[int, int]
    top_unit: int
    tracked: Tracked  # whose positions are shown to whom
    quiet: frozenset[int]  # checkpoints that see nothing now
    subscriptions: Subscriptions  # what others want of the passages
    pieces: Mapping[str, Any]  # by name: (versions that it rests on, what was read)

    def stands(self, versions: Mapping[str, int], *, now_us: int) -> bool:
        """Whether nothing that it rests on has changed, and no known change of a rule has come due."""
        changes_us = self.pieces["terms"][1].changes_us
        return versions == self.versions and (changes_us is None or now_us < changes_us)

    def with_sensors(self, connection: psycopg.Connection, *, now_us: int) -> "Book":
        """The same book with what is known now of the sensors: that changes each half minute, all else seldom."""
        trust, suspects = load_trust(connection, now_us=now_us), load_clock_suspects(connection)
        rules = replace(self.rules, trust=trust, clock_suspects=suspects)
        return replace(self, rules=rules, quiet=_quiet(connection))


def load_book(connection: psycopg.Connection, before: Book | None = None, *, now_us: int) -> Book:
    """Read everything that changed in one snapshot, so that the versions belong to what was read."""
    at = when(now_us)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        versions: dict[str, int] = dict(connection.execute(SQL["versions"]).fetchall())
        pieces: dict[str, Any] = {}

        def piece(name: str, rests_on: tuple[str, ...], read: Callable[[], Piece]) -> Piece:
            stamp = tuple(versions.get(one, 0) for one in rests_on)
            kept = before.pieces.get(name) if before else None
            pieces[name] = kept if kept and kept[0] == stamp else (stamp, read())
            return pieces[name][1]  # type: ignore[no-any-return]

        network = piece("network", ("network", "device"), lambda: _network(connection, at))
        registry = load_registry(connection, before.rules.registry if before else None)
        permits: Permits = piece("permits", ("permit",), lambda: load_permits(connection, at))
        terms = piece("terms", ("rule", "network", "calendar"), lambda: _terms(connection, at))
        if terms.changes_us is not None and now_us >= terms.changes_us:  # a version that was known before has come due
            terms = _terms(connection, at)
            pieces["terms"] = (pieces["terms"][0], terms)
        with connection.cursor(row_factory=dict_row) as cursor:
            rules = cursor.execute(SQL["rules"], {"at": at}).fetchall()
            entries = tuple(_entry(row) for row in cursor.execute(SQL["watchlist"], {"at": at}))
        usual = piece("usual", ("usual_times",), lambda: load_usual_times(connection))
        subscriptions = piece("subscriptions", ("subscription",), lambda: load_subscriptions(connection))
        trust, quiet = load_trust(connection, now_us=now_us), _quiet(connection)
        suspects = load_clock_suspects(connection)
    top = min((unit for unit, units in network.above.items() if len(units) == 1), default=0)
    return Book(
        versions=versions,
        rules=build_rulebook(
            entries=entries,
            sections=network.sections,
            rules=rules,
            audience_of_checkpoint={row[0]: frozenset(row[2]) for row in network.checkpoints},
            audience_of_unit=network.above,
            terms=terms.terms,
            registry=registry,
            checkpoints=network.facts,
            places=network.places,
            usual=usual,
            permits=permits,
            rests=network.rests,
            fences=tuple(terms.ground.fences.values()),
            trust=trust,
            clock_suspects=suspects,
        ),
        entries=entries,
        owner_of_checkpoint={row[0]: row[1] for row in network.checkpoints},
        traffic_of_checkpoint={row[0]: frozenset(row[3]) for row in network.checkpoints},
        above_unit=network.above,
        unit_of_device=network.devices,
        top_unit=top,
        tracked=Tracked(
            places=network.places, crews=network.crews, registry=registry, above_unit=network.above, top_unit=top
        ),
        quiet=quiet,
        subscriptions=subscriptions,
        pieces=pieces,
    )


def _quiet(connection: psycopg.Connection) -> frozenset[int]:
    return frozenset(row[0] for row in connection.execute(SQL["quiet_checkpoints"]))


def _network(connection: psycopg.Connection, at: Any) -> _Network:
    return _Network(
        checkpoints=connection.execute(SQL["checkpoints_with_audience"], {"at": at}).fetchall(),
        above={unit: frozenset(units) for unit, units in connection.execute(SQL["units_above"], {"at": at})},
        sections=connection.execute(SQL["sections"]).fetchall(),
        places=PlaceIndex(_links(connection)),
        crews=dict(connection.execute(SQL["crews"]).fetchall()),
        devices=dict(connection.execute(SQL["device_units"]).fetchall()),
        facts=Checkpoints.of(
            connection.execute(SQL["checkpoint_facts"]).fetchall(),
            dict(connection.execute(SQL["road_codes"]).fetchall()),
        ),
        rests=tuple(connection.execute(SQL["rests"]).fetchall()),
    )


def _terms(connection: psycopg.Connection, at: Any) -> _Terms:
    ground = load_ground(connection, at)
    rules = load_rules(connection, at, ground)
    tell_broken(rules.broken)
    return _Terms(ground=ground, terms=rules.terms, changes_us=next_change_us(connection, at))


def _links(connection: psycopg.Connection) -> Iterator[Link]:
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(SQL["links"]):
            geometry = tuple((lon, lat) for lon, lat in row.pop("geometry"))
            yield Link(**{**row, "corridor": tuple(row["corridor"])}, geometry=geometry)


def _entry(row: dict) -> WatchEntry:
    """A watch-list row; it matches from half an hour before it became valid, whatever the order of arrival."""
    return WatchEntry(
        id=row["id"],
        number=row["number"],
        plate=row["plate"],
        plate_key=row["plate_key"],
        class_group=row["class_group"],
        category=row["category"],
        level=row["level"],
        facts=row["facts"],
        intercept=row["intercept"],
        unit_id=row["unit_id"],
        visibility=row["visibility"],
        audience=frozenset(row["audience"]),
        addressees=frozenset(row["addressees"]),
        valid_from_us=us_of(row["valid_from"]) - WATCH_LOOKBACK_S * 1_000_000,
        valid_to_us=us_of(row["valid_to"]),
        version=row["version"],
        misread=row["misread"],
    )
