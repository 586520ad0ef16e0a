"""Reads what a run left of the roads, and lays it beside what should be there."""

import asyncio

import numpy as np
import psycopg

from dashboards.chaos import compare
from dashboards.chaos.instance import Instance
from dashboards.chaos.road_plan import DETECTORS_MAX, Interval, Point, Report
from dashboards.chaos.verify import POLL_S, Checks
from traffic import monitor_store
from traffic.clock import monotonic_s
from traffic.limits import ROADS_PARTITION
from traffic.monitor_restore import REPORTS_MAX, WINDOW_US, Body, read_body
from traffic.roadbook import load_roadbook
from traffic.roads import cycle, window
from traffic.store import us_of

CYCLE_S_MAX = 60.0  # for the first cycle behind everything


def read_points(connection: psycopg.Connection) -> list[Point]:
    """Some detectors of the province."""
    rows = connection.execute("SELECT id, code, lanes FROM detector ORDER BY id LIMIT %s", [DETECTORS_MAX])
    return [Point(id=number, code=code, lanes=lanes) for number, code, lanes in rows]


async def cycled(instance: Instance) -> list[str]:
    """Wait for a cycle that has seen everything that was sent."""
    wanted_us = instance.settings.clock.now_us()
    until = monotonic_s() + CYCLE_S_MAX
    while monotonic_s() < until:
        with instance.connect() as connection:
            row = connection.execute("SELECT taken_at FROM monitor_snapshot").fetchone()
        if row and us_of(row[0]) > wanted_us:
            return []
        await asyncio.sleep(POLL_S)
    return [f"no cycle within {CYCLE_S_MAX:.0f} s"]


def check_roads(connection: psycopg.Connection, expected: dict[Interval, tuple[Report, int]], checks: Checks) -> None:
    """Reports, events, cycles, and what the monitor remembers."""
    checks.add("every report once, as told last", _reports(connection, expected))
    checks.add("road events' revisions without holes, each told once", _events(connection))
    checks.add("every cycle counted once", _cycles(connection))
    checks.add("the monitor remembers what the table holds", _memory(connection))


def _reports(connection: psycopg.Connection, expected: dict[Interval, tuple[Report, int]]) -> list[str]:
    found = {
        (row[0], row[1], us_of(row[2])): tuple(map(float, row[3:]))
        for row in connection.execute(
            "SELECT detector, lane, observed_at, vehicles, heavy, occupancy, speed_kmh, revision FROM detector_report"
        )
    }
    wanted = {
        key: tuple(map(float, (told.vehicles, told.heavy, told.occupancy, told.speed_kmh, revision)))
        for key, (told, revision) in expected.items()
    }
    return compare.compare_rows("report", dict(wanted), dict(found))


def _events(connection: psycopg.Connection) -> list[str]:
    holes = connection.execute(
        "SELECT e.id, e.revision, count(r.revision), max(r.revision) FROM road_event e"
        " LEFT JOIN road_event_revision r ON r.event_id = e.id GROUP BY 1, 2"
        " HAVING count(r.revision) <> e.revision OR max(r.revision) <> e.revision"
    ).fetchall()
    odd = connection.execute(
        "SELECT coalesce(r.event_id::text, f.key), coalesce(r.revision, f.revision), count(*)"
        " FROM road_event_revision r FULL JOIN"
        " (SELECT key, (body ->> 'revision')::int AS revision FROM feed WHERE kind = 'event') f"
        " ON f.key = r.event_id::text AND f.revision = r.revision"
        " GROUP BY 1, 2 HAVING count(*) <> 1 OR count(r.revision) <> 1 OR count(f.revision) <> 1"
    ).fetchall()
    return compare.lists("event with holes", holes) + compare.lists("event, revision, times told", odd)


def _cycles(connection: psycopg.Connection) -> list[str]:
    """Cycles that screens were told of, beside those that the province's minutes have added up."""
    told = connection.execute(
        "SELECT (body ->> 'at')::bigint / 60000000, count(DISTINCT body ->> 'at') FROM feed"
        " WHERE partition = %s AND kind = 'links' GROUP BY 1",
        [ROADS_PARTITION],
    ).fetchall()
    counted = connection.execute(
        "SELECT extract(epoch FROM bucket)::bigint / 60, cycles FROM index_minute WHERE scope = 0"
    ).fetchall()
    if len(told) < 2:
        return [f"there were cycles in {len(told)} minutes only"]
    both = [{(minute,): (float(count),) for minute, count in rows} for rows in (told, counted)]
    return compare.compare_rows("cycles of minute", dict(both[0]), dict(both[1]))


def _memory(connection: psycopg.Connection) -> list[str]:
    """The window of reports in the last snapshot, beside one that is folded from the table."""
    row = connection.execute("SELECT body FROM monitor_snapshot").fetchone()
    if row is None:
        return ["there is no snapshot"]
    body: Body = read_body(row[0])
    book = load_roadbook(connection, now_us=body.at_us)
    state = cycle.load(body.state, book.network, book.sensors)
    stored = monitor_store.reports_since(connection, since_us=state.at_us - WINDOW_US, limit=REPORTS_MAX)
    in_time = stored["received_at"] <= stored["observed_at"] + window.LATE_US_MAX
    wanted, _ = window.absorb(window.NO_REPORTS, stored[in_time], state.ground.lanes, now_us=state.at_us)
    late, _ = window.absorb(window.NO_REPORTS, _in_time(stored[~in_time]), state.ground.lanes, now_us=state.at_us)
    unclear = {key[:2] for key in _keys(late)}
    remembered, told = (
        {key for key in _keys(reports) if key[:2] not in unclear} for reports in (state.reports, wanted)
    )
    return compare.lists("remembered, not in the table", remembered - told) + compare.lists(
        "in the table, not remembered", told - remembered
    )


def _in_time(rows: np.ndarray) -> np.ndarray:
    """Reports as if they had not been late: their intervals say nothing here, the first copy may have been in time."""
    rows = rows.copy()
    rows["received_at"] = rows["observed_at"]
    return rows


def _keys(reports: window.Reports) -> set[tuple]:
    return {
        (number, int(row["slot"]), int(row["vehicles"]), round(float(row["speed_kmh"]), 1))
        for number, interval in reports.items()
        for row in interval.rows
    }
