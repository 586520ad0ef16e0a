"""The catalogue out of the database: whole, or only what may have changed since the one before."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import structlog
from psycopg import sql

from traffic.binary_rows import BinaryRows
from traffic.database import queries
from traffic.ingest.catalogue import NO_ROADSIDE, Catalogue, Device, Gate, Object, Roadside, Thing, Things, build
from traffic.ingest.links import NO_LINK, LinkWrong, read_link
from traffic.ingest.places import Roads
from traffic.ingest.registered import NOBODY, Registered
from traffic.network import Chainage, Link

SQL = queries("traffic.ingest")
_ROADS = ("roads", "links", "chainage")  # large: read again only when the network's version has grown
_ROADSIDE = ("detectors", "crews", "objects")
Rows = Mapping[str, Sequence[Any]]
_REGISTERED = np.dtype([("key", "<i8"), ("class", "<i2"), ("color", "<i2"), ("enabled", "?")])

log = structlog.get_logger(__name__)


def load_catalogue(connection: psycopg.Connection, *, now: datetime, secrets: bool = False) -> Catalogue:
    """Read the catalogue in the caller's transaction, without the roads."""
    rows = {name: connection.execute(SQL[name], {"at": now}).fetchall() for name in _small(secrets)}
    return _catalogue(rows, NO_ROADSIDE, NOBODY)


async def load_catalogue_async(
    connection: psycopg.AsyncConnection,
    *,
    now: datetime,
    secrets: bool = False,
    roads: bool = False,
    before: Catalogue | None = None,
) -> Catalogue:
    """As `load_catalogue`; without secrets the API's role may do it. `before`: its roads stay while none changed.

    With secrets, as a door has it, the registered classes of plates come along.
    """
    rows: dict[str, Sequence[Any]] = {name: await _fetch(connection, name, now) for name in _small(secrets)}
    known = NOBODY if before is None else before.registered
    registered = await _registered(connection, known, dict(rows["versions"])) if secrets else NOBODY
    if not roads:
        return _catalogue(rows, NO_ROADSIDE, registered)
    rows |= {name: await _fetch(connection, name, now) for name in _ROADSIDE}
    if before is not None and before.versions.get("network") == dict(rows["versions"]).get("network"):
        return _catalogue(rows, _roadside(rows, before.roadside.roads), registered)
    rows |= {name: await _fetch(connection, name, now) for name in _ROADS}
    network = await asyncio.to_thread(_roads, rows)  # the index of a large network takes a while
    return _catalogue(rows, _roadside(rows, network), registered)


async def _fetch(connection: psycopg.AsyncConnection, name: str, now: datetime) -> Sequence[Any]:
    return await (await connection.execute(SQL[name], {"at": now})).fetchall()


async def _registered(connection: psycopg.AsyncConnection, known: Registered, versions: dict[str, int]) -> Registered:
    """The registered classes: those known, and what changed behind their version."""
    version = versions.get("registry", 0)
    if version == known.version:
        return known
    if version < known.version:  # the tables were made anew
        known = NOBODY
    statement = sql.SQL(SQL["registered"]).format(since=sql.Literal(known.version))  # type: ignore[arg-type]
    reader = BinaryRows(_REGISTERED)
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        async for piece in copy:
            reader.add(piece)
    rows = reader.rows()
    changes = Registered(version=version, keys=rows["key"], classes=rows["class"], colors=rows["color"])
    return await asyncio.to_thread(known.with_changes, changes, rows["enabled"])


def _small(secrets: bool) -> tuple[str, ...]:
    return ("versions", "devices" if secrets else "devices_without_secrets", "gates", "parents", "awaited")


def _catalogue(rows: Rows, roadside: Roadside, registered: Registered) -> Catalogue:
    devices = rows["devices"] if "devices" in rows else rows["devices_without_secrets"]
    catalogue = build(
        versions=dict(rows["versions"]),
        devices=[_device(row) for row in devices],
        gates=[Gate(id=row[0], code=row[1], bearing_deg=row[2], unit_id=row[3]) for row in rows["gates"]],
        parents=list(rows["parents"]),
        roadside=roadside,
        registered=registered,
    )
    return replace(catalogue, awaited=dict(rows["awaited"]))


def _device(row: Sequence[Any]) -> Device:
    link, enabled = NO_LINK, row[6]
    try:
        link = read_link(row[7])
    except LinkWrong as error:  # one device's wrong setting shuts out that device
        log.warning("a sender is shut out", device=row[1], why=str(error))
        enabled = False
    return Device(
        id=row[0], code=row[1], unit_id=row[2], kind=row[3], secret=bytes(row[4]),
        time_zone=_known_zone(row[5], row[1]), enabled=enabled, link=link,
    )  # fmt: skip


def _roadside(rows: Rows, roads: Roads) -> Roadside:
    return Roadside(
        detectors=Things.of(Thing(id=r[0], code=r[1], unit_id=r[2], lanes=r[3]) for r in rows["detectors"]),
        crews=Things.of(Thing(id=r[0], code=r[1], unit_id=r[2]) for r in rows["crews"]),
        objects={row[0]: Object(code=row[0], kind=row[1], unit_id=row[2]) for row in rows["objects"]},
        roads=roads,
    )


def _roads(rows: Rows) -> Roads:
    links = [
        Link(
            id=row[0], road_id=row[1], direction=row[2], from_stake_m=row[3], to_stake_m=row[4], length_m=row[5],
            lanes=row[6], limit_kmh=row[7], unit_id=row[8], geometry=tuple(map(tuple, row[9])), piece=row[10],
        )
        for row in rows["links"]
    ]  # fmt: skip
    chainages = [
        Chainage(road_id=row[0], piece=row[1], from_stake_m=row[2], to_stake_m=row[3], from_m=row[4])
        for row in rows["chainage"]
    ]
    return Roads(dict(rows["roads"]), links, chainages)


def _known_zone(name: str, device: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, OSError, ValueError) as error:  # a wrong setting of one device must not close the door for all
        log.warning("device has an unknown time zone, Asia/Shanghai is taken", device=device, zone=name, why=str(error))
        return "Asia/Shanghai"
