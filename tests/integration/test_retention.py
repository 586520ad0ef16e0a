"""How long what is kept: in the Apache edition of the services, and in the real Community edition."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests import community
from tests.conftest import wait_until
from traffic import database, retention, rollups, store
from traffic.buckets import Width, begin_us
from traffic.clock import Clock
from traffic.readings import PASSAGE
from traffic.settings import Settings
from traffic.store import us_of, when
from traffic.upkeep import Upkeep

REAL = Clock()
LINK = "1, 30, 30, 0, 0, 0, 0, 30, 2400, 70, 30, 30000, 0, 0, 0, 0, 0, 0, 0, 0, 27, 0"
TABLES = {
    "passage": "INSERT INTO passage VALUES (%(at)s, %(at)s, %(n)s, 5, 1, 1, 'NaN', 'NaN', 2, 1, 1, 0, 0, 0, 2, 0)",
    "position": "INSERT INTO position VALUES (%(at)s, %(at)s, 1, 5, 2, 1, 125, 43, 'NaN', 'NaN', 4, 0)",
    "detector_report": "INSERT INTO detector_report VALUES (%(at)s, %(at)s, 1, 1, 1, 30, 5, 0, 'NaN', 'NaN', 3, 0)",
    "travel_time": "INSERT INTO travel_time VALUES (%(at)s, 1, 0, 2, '{1,2}')",
    "checkpoint_minute": "INSERT INTO checkpoint_minute VALUES (%(at)s, 1, 1, 0, 5, 5, 400, 1)",
    "link_quarter": f"INSERT INTO link_quarter SELECT %(at)s, {LINK}",
    "link_day": f"INSERT INTO link_day SELECT %(at)s, {LINK}",
}
AGES = (1, 20, 60, 500)  # days


def fill(connection: psycopg.Connection, now: datetime) -> None:
    for statement in TABLES.values():
        for age in AGES:
            connection.execute(statement, {"at": now - timedelta(days=age), "n": age})  # type: ignore[call-overload]


def ages_kept(connection: psycopg.Connection, now: datetime) -> dict[str, list[int]]:
    kept = {}
    for table in TABLES:
        column = {"passage": "observed_at", "position": "observed_at", "detector_report": "observed_at"}.get(
            table, "minute" if table == "checkpoint_minute" else "bucket"
        )
        rows = connection.execute(f"SELECT {column} FROM {table} ORDER BY 1 DESC").fetchall()  # type: ignore[call-overload]
        kept[table] = [round((now - row[0]) / timedelta(days=1)) for row in rows]
    return kept


KEPT = {
    "passage": [1, 20, 60],
    "position": [1, 20],
    "detector_report": [1, 20],
    "travel_time": [1, 20],
    "checkpoint_minute": [1, 20],
    "link_quarter": [1, 20, 60],
    "link_day": [1, 20, 60, 500],
}


@pytest.fixture
def writer(database_url: str) -> Iterator[psycopg.Connection]:
    with database.connect(database_url, database.WRITER, autocommit=True) as connection:
        yield connection


# ---------------------------------------------------------------- Apache edition
@pytest.mark.parametrize("clock", [REAL, Clock(offset_s=-200 * 86_400.0), Clock(rate=60.0, offset_s=86_400.0)])
def test_what_is_older_than_its_time_goes_by_the_clock_of_the_instance(writer: psycopg.Connection, clock: Clock):
    now = clock.now()
    fill(writer, now)
    kept = retention.keep(writer, clock)
    assert ages_kept(writer, now) == KEPT
    assert kept.dropped == {name: len(AGES) - len(ages) for name, ages in KEPT.items() if len(ages) < len(AGES)}
    assert kept.compressed == {} and kept.policies == ()
    assert retention.keep(writer, clock).dropped == {}


def test_a_changed_row_is_the_rule_from_the_next_look_on(writer: psycopg.Connection):
    now = REAL.now()
    fill(writer, now)
    writer.execute("UPDATE retention SET keep_days = NULL, changed_by = 'test' WHERE what = 'passage'")
    writer.execute("UPDATE retention SET keep_days = 5, changed_by = 'test' WHERE what = 'link_quarter'")
    retention.keep(writer, REAL)
    kept = ages_kept(writer, now)
    assert kept["passage"] == [1, 20, 60, 500]
    assert kept["link_quarter"] == [1]


def test_every_hypertable_has_its_row_and_plain_rows_go_too(
    writer: psycopg.Connection, owner: psycopg.Connection, world
):
    tables = {row[0] for row in owner.execute("SELECT hypertable_name FROM timescaledb_information.hypertables")}
    assert tables <= {row[0] for row in writer.execute("SELECT what FROM retention")}
    for days in (1, 500):
        writer.execute(
            "INSERT INTO weather_report (station, observed_at, received_at, valid_to, device, road_id, from_stake_m,"
            " to_stake_m, direction, kind, unit_id) VALUES ('S', %(at)s, %(at)s, %(at)s, 1, 1, 0, 1, 0, 'weather', 1)",
            {"at": world.now - timedelta(days=days)},
        )
    assert retention.keep(writer, REAL).dropped == {"weather_report": 1}


def test_nobody_but_the_workers_drops_anything(owner: psycopg.Connection, database_url: str):
    for role in (database.API, database.HUB):
        with database.connect(database_url, role, autocommit=True) as connection:
            for call in ("retention_drop('passage', '2030-01-01')", "retention_policies('passage')"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT {call}")  # type: ignore[call-overload]


def test_the_upkeep_beside_a_worker_looks_at_what_is_too_old(
    settings: Settings, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("traffic.upkeep.PAUSE_S", 0.01)
    monkeypatch.setattr("traffic.upkeep.RETENTION_FIRST_S", 0.0)
    now = settings.clock.now()
    fill(writer, now)
    stop = threading.Event()
    beside = threading.Thread(target=Upkeep(settings, stop).run)
    beside.start()
    try:
        wait_until(lambda: ages_kept(writer, now) == KEPT, what="the chunks to go")
    finally:
        stop.set()
        beside.join()


def test_a_table_in_use_is_left_for_the_next_look(writer: psycopg.Connection, owner: psycopg.Connection):
    now = REAL.now()
    fill(writer, now)
    writer.execute("SET lock_timeout = 50")
    with owner.transaction():
        owner.execute("LOCK TABLE position IN ACCESS EXCLUSIVE MODE")
        kept = retention.keep(writer, REAL)
        assert kept.busy == ("position",) and kept.dropped["passage"] == 1
    assert retention.keep(writer, REAL).dropped == {"position": 2}


# ---------------------------------------------------------------- Community edition
def test_the_community_edition_compresses_keeps_and_drops_and_takes_what_comes_late(open_folder: Path):
    folder = open_folder / "community"
    folder.mkdir()
    with community.running(folder) as connection:
        community.migrate(connection)
        now = REAL.now()
        fill(connection, now)
        assert connection.execute("SELECT has_policies()").fetchone() == (True,)
        what_the_policies_are(connection)
        what_the_policies_do(connection, now)
        what_comes_late(connection, now)
        what_another_clock_does(connection)


def what_the_policies_are(connection: psycopg.Connection) -> None:
    changed = retention.keep(connection, Clock()).policies
    assert {"passage", "position", "link_minute", "checkpoint_hour"} <= set(changed) and "link_day" not in changed
    assert retention.keep(connection, Clock()).policies == ()  # nothing is made anew
    connection.execute("UPDATE retention SET keep_days = 400, pack_days = 5 WHERE what = 'passage'")
    assert retention.keep(connection, Clock()).policies == ("passage",)
    assert connection.execute(
        "SELECT policy_days('passage', 'policy_retention'), policy_days('passage', 'policy_compression'),"
        " policy_days('link_day', 'policy_retention')"
    ).fetchone() == (400, 5, None)


def what_the_policies_do(connection: psycopg.Connection, now: datetime) -> None:
    """Run the jobs, which a server does by itself; what is too old has come back meanwhile."""
    for statement in TABLES.values():
        connection.execute(statement, {"at": now - timedelta(days=501), "n": 501})  # type: ignore[call-overload]
    jobs = connection.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL"
    ).fetchall()
    for (job,) in jobs:
        connection.execute("CALL run_job(%s)", [job])
    packed = dict(
        connection.execute(
            "SELECT hypertable_name::text, count(*) FROM timescaledb_information.chunks WHERE is_compressed GROUP BY 1"
        ).fetchall()
    )
    assert packed["passage"] == 2 and packed["position"] == 1 and packed["link_quarter"] == 1
    assert "link_day" not in packed
    assert ages_kept(connection, now) == {**KEPT, "link_day": [*KEPT["link_day"], 501]}


def what_comes_late(connection: psycopg.Connection, now: datetime) -> None:
    """Into compressed chunks: once as ever, amended as ever, found by plate as ever."""
    at = now - timedelta(days=20)
    late = np.zeros(2, PASSAGE)
    late["observed_at"], late["received_at"], late["source_hash"] = us_of(at), us_of(now), (20, 21)
    late["plate_key"], late["plate_class"], late["checkpoint"], late["direction"] = 5, 2, 1, 1
    late["speed_kmh"], late["length_m"] = 80.0, np.nan
    with pytest.raises(psycopg.errors.UniqueViolation):  # INSERT, because COPY does not go through the test's socket
        connection.execute(TABLES["passage"], {"at": at, "n": 20})  # type: ignore[call-overload]
    assert list(store.find_stored(connection, late)) == [0]
    connection.execute(TABLES["passage"], {"at": at, "n": 21})  # type: ignore[call-overload]
    assert store.amend(connection, late[:1]) is not None
    connection.execute(TABLES["position"] + " ON CONFLICT DO NOTHING", {"at": at})  # type: ignore[call-overload]
    found = connection.execute(
        "SELECT source_hash, nullif(speed_kmh, 'NaN') FROM passage WHERE plate_key = 5 AND observed_at = %s ORDER BY 1",
        [at],
    )
    assert found.fetchall() == [(20, 80.0), (21, None)]
    what_comes_late_into_roll_ups(connection, now)
    assert ages_kept(connection, now)["position"] == KEPT["position"]


def what_comes_late_into_roll_ups(connection: psycopg.Connection, now: datetime) -> None:
    minute = connection.execute("SELECT minute FROM checkpoint_minute ORDER BY minute LIMIT 1").fetchone()
    assert minute
    quarter = begin_us(us_of(minute[0]), Width.QUARTER)
    connection.execute(
        "INSERT INTO checkpoint_minute AS kept VALUES (%s, 1, 1, 0, 2, 2, 160, 1) ON CONFLICT (checkpoint, minute,"
        " direction, class, slot) DO UPDATE SET passages = kept.passages + excluded.passages",
        minute,
    )
    connection.execute("INSERT INTO checkpoint_quarter VALUES (%s, 1, 1, 1, 3, 3, 240, 0)", [when(quarter)])
    connection.execute("SELECT compress_chunk(c) FROM show_chunks('checkpoint_quarter') AS c")
    rollups.mark(connection, rollups.Subject.CHECKPOINTS, Width.QUARTER, [quarter], now_us=us_of(now))
    rollups.settle(connection, now_us=us_of(now) + 60_000_000)
    assert connection.execute("SELECT passages FROM checkpoint_quarter").fetchall() == [(7,)]


def what_another_clock_does(connection: psycopg.Connection) -> None:
    """Where time is not the real one no job of TimescaleDB's may run: chunks are compressed by the clock's time."""
    clock = Clock(offset_s=-10 * 86_400.0)
    connection.execute("UPDATE retention SET pack_days = 1 WHERE what = 'travel_time'")
    connection.execute(TABLES["travel_time"], {"at": clock.now() - timedelta(days=4)})
    kept = retention.keep(connection, clock)
    assert kept.compressed == {"travel_time": 1} and kept.policies == ()
    jobs = connection.execute("SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL")
    assert jobs.fetchone() == (0,)
