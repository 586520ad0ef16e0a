"""What a hub begins with, read from the tables in one transaction: what stands still, and what was told last."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import psycopg

from dashboards.alerts import TALLY_MAX, Counted, day_began_us
from dashboards.facts import Facts, Gate, LinkPlace, SignOfLife, Start, ToldEvent, ToldPosition
from dashboards.flow import FRESH_US
from dashboards.protocol import CrewRow, IndexFigures, LinkRow, VehicleRow
from dashboards.reach import SQL
from dashboards.tiles import Tile, tiles_of
from dashboards.topics import events, units
from traffic import feed_rows, store
from traffic.audience import Audience
from traffic.clock import Clock
from traffic.findings import GRAVEST, LOOKED_AT_FIRST, MISREAD, WILDCARD

# Road events of a table's row, in the order of their statement; a card is these by name, and what changed.
_CARD = (
    "id", "kind", "state", "level", "revision", "link", "road", "direction", "head_stake_m", "tail_stake_m", "unit",
    "started_at", "changed_at", "ended_at", "observed_at", "confidence", "grounds",
)  # fmt: skip


# ---------------------------------------------------------------- what stands still
async def load_facts(connection: psycopg.AsyncConnection, clock: Clock, known: Facts | None = None) -> Facts:
    """Checkpoints and links with who may see their traffic, the senders that cover them, and crews.

    In the caller's transaction. `known`: facts of before; of the same version of the network links lie where they lay.
    """
    at = {"at": clock.now()}
    row = await (await connection.execute(SQL["network_version"])).fetchone()
    version = row[0] if row else 0
    traffic = {row[0]: row[3] async for row in await connection.execute(store.SQL["checkpoints_with_audience"], at)}
    above = {unit: frozenset(line) async for unit, line in await connection.execute(store.SQL["units_above"], at)}
    places = await (await connection.execute(SQL["gates"])).fetchall()
    senders = await (await connection.execute(SQL["senders"])).fetchall()
    crews = await (await connection.execute(SQL["crews"])).fetchall()
    return Facts(
        gates=tuple(
            Gate(id=number, lon=lon, lat=lat, audience=Audience(units=frozenset(traffic.get(number, ()))))
            for number, _, lon, lat in places
        ),
        covered={
            sender: frozenset(number for number, owner, _, _ in places if unit in above.get(owner, ()))
            for sender, unit in senders
        },
        network_version=version,
        links=await _links(connection, above, known if known and known.network_version == version else None),
        crews={crew: Audience(units=above.get(unit, frozenset())) for crew, unit in crews},
        above=above,
    )


async def _links(
    connection: psycopg.AsyncConnection, above: dict[int, frozenset[int]], known: Facts | None
) -> tuple[LinkPlace, ...]:
    """Links in order of their ids. Who sees one: its owner, neighbours along the corridor, and all above these."""
    owners = await (await connection.execute(SQL["link_owners"])).fetchall()
    if known is not None:
        tiles = {link.id: link.tiles for link in known.links}
    else:
        boxes = await connection.execute(SQL["link_boxes"])
        tiles = {number: _tiles_of_box(box) async for number, *box in boxes}
    circles: dict[tuple[int, ...], Audience] = {}
    found = []
    for number, unit, corridor in owners:
        near = (unit, *corridor)
        audience = circles.get(near)
        if audience is None:
            lines = (above.get(member, frozenset()) for member in near)
            audience = circles[near] = Audience(units=frozenset().union(*lines))
        found.append(LinkPlace(number, audience, tiles.get(number, ())))
    return tuple(found)


def _tiles_of_box(box: list[float]) -> tuple[Tile, ...]:
    return tuple(sorted(tiles_of(box) or ()))


# ---------------------------------------------------------------- what was told last
async def load_start(connection: psycopg.AsyncConnection, clock: Clock, known: Facts | None = None) -> Start:
    """All that a hub begins with, in the caller's transaction (REPEATABLE READ: cursor and state are of one moment)."""
    cursor = await feed_rows.position(connection)
    now, now_us = clock.now(), clock.now_us()
    flow = await connection.execute(SQL["flow"], {"since": now - timedelta(microseconds=2 * FRESH_US)})
    increments = [tuple(row) async for row in flow]
    signs = [
        SignOfLife(device=row[0], state=row[1], seen_at=row[2])
        async for row in await connection.execute(SQL["signs_of_life"])
    ]
    since = store.when(day_began_us(now_us))
    to_look_at = {"gravest": GRAVEST, "looked_at_first": sorted(LOOKED_AT_FIRST), "unsure": [WILDCARD, MISREAD]}
    found = await connection.execute(SQL["findings_of_day"], {"since": since, "limit": TALLY_MAX, **to_look_at})
    findings = [_counted(row) async for row in found][::-1]
    links = [(row[0], LinkRow(*row[1:])) async for row in await connection.execute(SQL["link_states"])]
    indices = [_index(row) async for row in await connection.execute(SQL["road_indices"])]
    cycles = [cycle for cycle, _ in links] + [index.at for _, index in indices]
    return Start(
        facts=await load_facts(connection, clock, known),
        cursor=cursor,
        flow=increments,
        signs=signs,
        findings=findings,
        cycle_us=max(cycles, default=None),
        links=[link for _, link in links],
        events=await _events(connection, now_us),
        positions=await _positions(connection, now_us),
        indices=dict(indices),
    )


def _counted(row: tuple) -> Counted:
    number, level, state, first_at, units, visibility, addressees, shelved, unverified = row
    audience = Audience(units=frozenset(units), visibility=visibility, addressees=frozenset(addressees))
    active = state == "active"
    return Counted(
        id=number, level=level, active=active, first_at=first_at, audience=audience, shelved=shelved,
        open=active and unverified,
    )  # fmt: skip


def _index(row: tuple) -> tuple[tuple[str, int], IndexFigures]:
    scope, number, at, index, usual, speed, congested, known, load, risk = row
    return (scope, number), IndexFigures(
        index=index, usual=usual, speed_kmh=speed, congested_km=congested, known_share=known, vehicle_km_h=load,
        risk_links=tuple(risk), at=at,
    )  # fmt: skip


async def _events(connection: psycopg.AsyncConnection, now_us: int) -> list[ToldEvent]:
    since = store.when(now_us - events.KEPT_US)
    rows = await connection.execute(SQL["road_events_of_late"], {"since": since, "limit": events.EVENTS_MAX})
    return [ToldEvent(_open_to(row[-1]), msgspec.json.encode(card_of(row))) async for row in rows]


def card_of(row: tuple) -> dict[str, object]:
    """A row of table `road_event` as its card (see `_CARD`); the newest revision's kind of change follows from it."""
    card: dict[str, object] = dict(zip(_CARD, row[: len(_CARD)], strict=True))
    card["change"] = "ended" if card["state"] == "ended" else "new" if card["revision"] == 1 else "updated"
    return card


async def _positions(connection: psycopg.AsyncConnection, now_us: int) -> list[ToldPosition]:
    since = {"since": store.when(now_us - units.KEPT_US), "limit": units.SUBJECTS_MAX}
    crews = await connection.execute(SQL["crew_positions"], since)
    found = [ToldPosition(_open_to(row[0]), CrewRow(*row[1:])) async for row in crews]
    vehicles = await connection.execute(SQL["vehicle_positions"], since)
    found += [ToldPosition(_open_to(row[0]), VehicleRow(*row[1:])) async for row in vehicles]
    return found


def _open_to(units: Iterable[int]) -> Audience:
    return Audience(units=frozenset(units))
