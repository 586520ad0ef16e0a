"""The demonstration's past at its first start: some days of roll-ups, marked as history that was brought in."""

import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg

from sim import demand
from sim.casting import grounds, watched_vehicles
from sim.flows import streams_of
from sim.history import QUARTER_US, History
from sim.loops import loops_of
from sim.places import Places
from sim.population import Population
from sim.roads import Roads
from sim.usual import flows_vph
from sim.world import SEED, VEHICLES
from traffic import database, rollups
from traffic.clock import monotonic_s
from traffic.demonstration import LIVELY_DETACHMENT, LIVELY_SQUADRON
from traffic.province_tables import Province, model_province
from traffic.settings import Settings
from traffic.store import when
from traffic.units import UnitTree

DAYS = 8  # a week and a day: the same time of last week is always there


def backfill(settings: Settings, say: Callable[[str], None] = lambda line: None, *, days: int = DAYS) -> int:
    """Write each of the last days, and today up to now, of which nothing is known; returns how many quarters.

    A day is one transaction: called off at any place, the next call goes on. Days that were lived through, even in
    part, stay as they are. Nothing is done on an instance that is no demonstration.
    """
    if not settings.demo or not settings.database_url:
        return 0
    with psycopg.connect(database.as_role(settings.database_url, database.WRITER), autocommit=True) as connection:
        end_us = settings.clock.now_us() // QUARTER_US * QUARTER_US
        missing = [span for span in _spans(end_us, days) if not _is_known(connection, span)]
        if not missing:
            return 0
        say(f"writing {len(missing)} days of simulated history")
        began_s = monotonic_s()
        history = make_history(model_province(), settings)
        for begin_us, until_us in missing:
            made = history.day(begin_us, until_us)
            rollups.write_history(connection, links=made.links, checkpoints=made.checkpoints, indices=made.indices)
        quarters = sum(until_us - begin_us for begin_us, until_us in missing) // QUARTER_US
        say(f"simulated history is written ({monotonic_s() - began_s:.0f} s)")
        return quarters


def backfill_beside(settings: Settings, say: Callable[[str], None] = lambda line: None) -> threading.Thread:
    """`backfill` on a thread of its own that ends with the process, so that nobody waits for it at a start."""

    def write() -> None:
        try:
            backfill(settings, say)
        except psycopg.Error as error:
            say(f"the simulated history could not be written: {str(error).strip().splitlines()[0]}")

    thread = threading.Thread(target=write, name="history", daemon=True)
    thread.start()
    return thread


def _spans(end_us: int, days: int) -> list[tuple[int, int]]:
    """(begin, end) of today and the days before; today and the same day of last week first."""
    today = demand.local_day(end_us - 1)
    begins = [demand.day_begin_us(today - timedelta(days=back)) for back in sorted(range(days + 1), key=_urgency)]
    return [(begin, until) for begin in begins if (until := min(begin + demand.DAY_US, end_us)) > begin]


def _urgency(back: int) -> tuple[int, int]:
    return back % 7, back


def _is_known(connection: psycopg.Connection, span: tuple[int, int]) -> bool:
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM link_quarter WHERE bucket >= %s AND bucket < %s)", [when(us) for us in span]
    ).fetchone()
    return bool(found and found[0])


def make_history(province: Province, settings: Settings) -> History:
    """The generator for a province, with the flows that the twin would put on its roads."""
    tree = UnitTree(province.units, province.parents, at=settings.clock.now())
    after: dict[str, list[str]] = {}
    begins: dict[int, list[str]] = {}
    for link in province.links:
        begins.setdefault(link.from_node, []).append(str(link.id))
    for link in province.links:
        onward = begins.get(link.to_node, []) if link.to_node else []
        after[str(link.id)] = [edge for edge in onward if int(edge) // 10 != link.id // 10]
    roads = Roads(province.links, after)
    ground = grounds(province, tree, roads)
    people = Population(
        roads, loops_of(province.links, province.checkpoints), size=0, watched=watched_vehicles(), seed=SEED + 1,
        grounds=ground,
    )  # fmt: skip
    streams = streams_of(province.roads, Places(province.links))
    flows = flows_vph(roads, people, streams, ground, vehicles=VEHICLES)
    lively = [sorted(tree.subtree(unit)) for unit in (LIVELY_SQUADRON, LIVELY_DETACHMENT)]
    above = {unit: (unit, *tree.ancestors(unit)) for unit in tree.units}
    return History(province, flows, above, lively)
