"""The plan's view of the loaded model province: gates along roads, sections, senders; and its watch-list entries."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from dashboards.chaos.plan import Gate, Scene, Stretch, Watch
from traffic.audience import OPEN, RESTRICTED
from traffic.ingest.load import load_catalogue
from traffic.plates import plate_key
from traffic.readings import Door

CATEGORY_CRIME = 1
GATES_OF_STRETCH_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends: code of the device, its number in the database, and its secret."""

    device_id: int
    code: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The scene, and the senders that its numbers name."""

    scene: Scene
    senders: dict[Door, list[Sender]]


def read_cast(connection: psycopg.Connection, demo: dict[str, list[dict[str, str]]], now: datetime) -> Cast:
    """Read the loaded province."""
    catalogue = load_catalogue(connection, now=now)
    natives = [
        Sender(device_id=catalogue.devices[row["name"]].id, code=row["name"], secret=row["key"])
        for row in demo["native"]
    ]
    gats = [
        Sender(device_id=catalogue.devices[row["code"]].id, code=row["code"], secret=row["password"])
        for row in demo["devices"]
    ]
    gat_of_gate = {
        code: number
        for number, sender in enumerate(gats)
        for code in catalogue.rows_for(catalogue.devices[sender.code])
    }
    roads: dict[int, list[Gate]] = defaultdict(list)
    rows = connection.execute("SELECT road_id, id, code, stake_m, bearing_deg, lanes FROM checkpoint ORDER BY 1, 4, 2")
    for road, number, code, stake_m, bearing_deg, lanes in rows:
        gat = gat_of_gate.get(code)
        gate = Gate(id=number, code=code, stake_m=stake_m, bearing_deg=bearing_deg, lanes=lanes, gat=gat)
        roads[road].append(gate)
    scene = Scene(
        roads=tuple(tuple(gates) for gates in roads.values() if len(gates) >= 3),
        stretches=_stretches(connection, roads.values()),
        natives=len(natives),
        gats=len(gats),
    )
    return Cast(scene=scene, senders={Door.NATIVE: natives, Door.GAT1400: gats})


def _stretches(connection: psycopg.Connection, roads: Iterable[list[Gate]]) -> tuple[Stretch, ...]:
    place = {gate.id: (number, at) for number, road in enumerate(roads) for at, gate in enumerate(road)}
    by_road = list(roads)
    found = []
    for start, end, limit_kmh in connection.execute(
        "SELECT from_checkpoint, to_checkpoint, limit_kmh FROM section ORDER BY id"
    ):
        (road, first), (other, last) = place[start], place[end]
        if road != other or abs(first - last) >= GATES_OF_STRETCH_MAX:
            continue
        low, high = min(first, last), max(first, last)
        gates = tuple(by_road[road][low : high + 1])
        found.append(Stretch(gates=gates if first < last else gates[::-1], limit_kmh=limit_kmh))
    return tuple(found)


def enter_watches(connection: psycopg.Connection, watches: list[Watch], *, valid_from: datetime) -> None:
    """Put entries into force; open ones are for every unit, restricted ones for the top unit."""
    if not watches:
        return
    units = [row[0] for row in connection.execute("SELECT id FROM unit ORDER BY id")]
    top = connection.execute("SELECT id FROM unit WHERE level = 1 ORDER BY id LIMIT 1").fetchone()
    assert top
    with connection.transaction():
        version = connection.execute(
            "UPDATE version SET value = value + 1 WHERE name = 'watchlist' RETURNING value"
        ).fetchone()
        assert version
        for watch in watches:
            connection.execute(
                "INSERT INTO watchlist_entry (number, plate, plate_key, category, level, facts, intercept, unit_id,"
                " visibility, audience, addressees, state, valid_from, valid_to, version, applied_by, approved_by)"
                " VALUES (%s, %s, %s, %s, %s, 'chaos', false, %s, %s, %s, %s, 'active', %s, %s, %s, 'chaos', 'trial')",
                [
                    watch.number, watch.plate, plate_key(watch.plate), CATEGORY_CRIME, watch.level, top[0],
                    RESTRICTED if watch.restricted else OPEN, [top[0]] if watch.restricted else units,
                    [top[0]] if watch.restricted else [], valid_from, valid_from + timedelta(days=30), version[0],
                ],
            )  # fmt: skip
