"""Who sees a link: the monitor that writes, the hub that shows and the database that answers hold one rule."""

import asyncio
from datetime import timedelta

import psycopg
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from dashboards.beginning import load_facts
from tests.world import UNITS
from traffic.audience import Viewer, may_see
from traffic.clock import Clock
from traffic.database import API, HUB, WRITER, as_role
from traffic.roadbook import load_roadbook
from traffic.store import us_of

units = st.sampled_from(sorted(UNITS))
owned = st.lists(st.tuples(units, st.lists(units, max_size=3)), min_size=8, max_size=8)
moves = st.lists(st.tuples(st.sampled_from([111, 121, 1111, 1211]), st.sampled_from([1, 11, 12])), max_size=2)


def rearrange(connection: psycopg.Connection, links: list, parents: list, at) -> None:
    """Links get other owners and neighbours; some units stand below others from now on."""
    connection.execute("DELETE FROM unit_parent WHERE valid_from = %s", [at])
    connection.execute("UPDATE unit_parent SET valid_to = '9999-12-31 00:00:00+00'")
    for unit, parent in dict(parents).items():
        connection.execute("UPDATE unit_parent SET valid_to = %s WHERE unit_id = %s", [at, unit])
        connection.execute(
            "INSERT INTO unit_parent (unit_id, parent_id, valid_from) VALUES (%s, %s, %s)", [unit, parent, at]
        )
    for number, (owner, corridor) in enumerate(links, start=1):
        connection.execute("UPDATE link SET unit_id = %s, corridor = %s WHERE id = %s", [owner, corridor, number])


async def hub_facts(url: str):
    async with await psycopg.AsyncConnection.connect(as_role(url, HUB)) as connection:
        return await load_facts(connection, Clock())


def test_writer_hub_and_database_agree_for_every_unit(settings, world, owner):
    at = world.now - timedelta(minutes=1)

    @example_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(owned, moves)
    def agree(links, parents):
        rearrange(owner, links, parents, at)
        facts = asyncio.run(hub_facts(settings.database_url))
        with psycopg.connect(as_role(settings.database_url, WRITER), autocommit=True) as connection:
            book = load_roadbook(connection, now_us=us_of(world.now))
        with psycopg.connect(as_role(settings.database_url, API)) as connection:
            for unit in UNITS:
                connection.execute("SELECT set_config('traffic.unit', %s, true)", [str(unit)])
                told = {
                    row[0]
                    for row in connection.execute(
                        "SELECT id FROM link WHERE sees_traffic(unit_id, corridor, %s)", [world.now]
                    )
                }
                below = facts.below(unit)
                asked = {
                    row[0]
                    for row in connection.execute(
                        "SELECT id FROM link WHERE unit_id = ANY (%(b)s) OR corridor && %(b)s::int[]", {"b": below}
                    )
                }
                shown = {link.id for link in facts.links if may_see(Viewer(unit=unit), link.audience)}
                ids = book.network.ids.tolist()
                written = {ids[row] for row in range(len(ids)) if unit in book.audience_of_link(row)}
                assert told == asked == shown == written, (unit, links, parents)

    agree()
