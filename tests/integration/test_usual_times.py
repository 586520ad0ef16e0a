"""Usual times between checkpoints: learned from the tables, by any number of processes, and not made by clones."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from traffic import database, province, usual_times
from traffic.limits import USUAL_EVERY_S
from traffic.settings import Settings
from traffic.store import us_of, when
from traffic.usual_times import learn_if_due, load_clock_suspects, load_usual_times
from traffic.vehicles.usual_times import UsualTimes, hours_of

SECTION, START, END, LENGTH_M, LIMIT_KMH = 1, 2, 3, 13_000, 120  # of the model province: G1 K910+900 to K923+900


@pytest.fixture
def writer(database_url: str, owner: psycopg.Connection, settings: Settings) -> Iterator[psycopg.Connection]:
    province.load(owner, settings.clock.now())
    owner.commit()
    with database.connect(database_url, database.WRITER, autocommit=True) as connection:
        yield connection


@pytest.fixture
def now_us(settings: Settings) -> int:
    return settings.clock.now_us()


def versions(connection: psycopg.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, value FROM version").fetchall())


def learned(connection: psycopg.Connection, now_us: int) -> UsualTimes:
    assert learn_if_due(connection, now_us=now_us)
    return load_usual_times(connection)


def drive(connection: psycopg.Connection, now_us: int, seconds: list[float], count: int = 30) -> int:
    """Times over the section at one time of day on several days; gives the local hour."""
    at = when(now_us - now_us % 600_000_000)
    for day in range(1, count // len(seconds) + 1):
        connection.execute(
            "INSERT INTO travel_time (bucket, section, slot, vehicles, seconds) VALUES (%s, %s, 0, %s, %s)",
            [at - timedelta(days=day), SECTION, len(seconds), seconds],
        )
    return int(hours_of(np.array(us_of(at))))


def test_every_pair_has_times_that_limits_and_roads_allow(writer: psycopg.Connection, now_us: int) -> None:
    assert len(load_usual_times(writer)) == 0  # before anything was learned
    usual = learned(writer, now_us)
    (checkpoints,) = writer.execute("SELECT count(*) FROM checkpoint").fetchone()
    assert len(usual) == checkpoints
    apart = ~np.eye(checkpoints, dtype=bool)
    assert np.isfinite(usual.distance_m[apart]).all()
    assert np.isfinite(usual.median_s[:, apart]).all()
    assert ((usual.spread[:, apart] >= 0.05) & (usual.spread[:, apart] < 0.6)).all()
    kmh = usual.distance_m[apart] / usual.median_s[12][apart] * 3.6
    assert kmh.max() <= 121
    assert float(usual.between_m(START, END)) == pytest.approx(LENGTH_M, rel=0.1)
    assert 350 < float(usual.usual_s(START, END, 9)) < 500
    assert float(usual.fastest_s(START, END, 9)) < float(usual.usual_s(START, END, 9))


def test_links_that_crawl_in_an_hour_make_every_way_over_them_longer(writer: psycopg.Connection, now_us: int) -> None:
    free = learned(writer, now_us)
    hour_us = now_us - now_us % 3_600_000_000
    for day in range(1, 6):
        writer.execute(
            "INSERT INTO link_hour (bucket, link, cycles, level_1, level_2, level_3, level_4, level_5, speeds,"
            " speed_sum, speed_min, flows, flow_sum, travels, travel_sum, travel_max, heavies, heavy_sum, risks,"
            " risk_sum, risk_max, confidence_sum) SELECT %s, id, 120, 0, 0, 0, 120, 0, 120, 120 * 25.0, 20,"
            " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM link WHERE road_id = 1",
            [when(hour_us) - timedelta(days=day)],
        )
    usual = learned(writer, now_us + USUAL_EVERY_S * 1_000_000)
    hour = int(hours_of(np.array(hour_us)))
    assert float(usual.usual_s(START, END, hour)) > 3 * float(free.usual_s(START, END, hour))


def test_measured_times_take_the_place_of_composed_ones(writer: psycopg.Connection, now_us: int) -> None:
    hour = drive(writer, now_us, [400.0, 420.0, 440.0, 460.0, 480.0, 500.0], 60)
    usual = learned(writer, now_us)
    assert float(usual.usual_s(START, END, hour)) == pytest.approx(450, abs=5)
    (samples,) = writer.execute(
        "SELECT samples FROM usual_time WHERE from_checkpoint = %s AND to_checkpoint = %s", [START, END]
    ).fetchone()
    assert samples == 60


def test_clones_among_the_times_do_not_make_themselves_possible(writer: psycopg.Connection, now_us: int) -> None:
    honest = [430.0, 440.0, 450.0, 455.0, 460.0, 470.0, 480.0, 490.0, 500.0, 510.0]
    hour = drive(writer, now_us, honest, 100)
    before = float(learned(writer, now_us).fastest_s(START, END, hour))
    writer.execute("UPDATE travel_time SET seconds = seconds || '{190}'")  # one of eleven is at 246 km/h
    after = float(learned(writer, now_us + USUAL_EVERY_S * 1_000_000).fastest_s(START, END, hour))
    assert after > 300
    assert after == pytest.approx(before, rel=0.1)


def test_one_process_learns_once_in_an_hour_and_the_rule_books_hear_of_it(
    database_url: str, writer: psycopg.Connection, now_us: int
) -> None:
    before = versions(writer)["usual_times"]
    with database.connect(database_url, database.WRITER) as other:
        other.execute(usual_times.SQL["alone"], {"lock": usual_times.LOCK})
        assert learn_if_due(writer, now_us=now_us) == 0
    assert learn_if_due(writer, now_us=now_us) > 1_000
    assert learn_if_due(writer, now_us=now_us + 60_000_000) == 0
    assert learn_if_due(writer, now_us=now_us + USUAL_EVERY_S * 1_000_000) > 1_000
    assert versions(writer)["usual_times"] == before + 2


def test_where_no_way_is_known_it_is_as_the_crow_flies(
    owner: psycopg.Connection, writer: psycopg.Connection, now_us: int
) -> None:
    owner.execute("UPDATE link SET from_node = 0, to_node = 0, from_stake_m = -2, to_stake_m = -1")
    owner.commit()
    usual = learned(writer, now_us)
    assert 9_000 < float(usual.between_m(START, END)) < LENGTH_M + 1_000
    assert np.isfinite(float(usual.fastest_s(START, END, 3)))


def test_checkpoints_whose_clock_is_distrusted_are_told(owner: psycopg.Connection) -> None:
    assert load_clock_suspects(owner) == frozenset()
    for sensor, reason in ((7, "clock_skew"), (8, "silent")):
        owner.execute(
            "INSERT INTO sensor_health (sensor_kind, sensor_id, lane, state, reason, trust, since, detail, audience)"
            " VALUES ('checkpoint', %s, 0, 'suspect', %s, 0.4, now(), '{}', '{}')",
            [sensor, reason],
        )
    assert load_clock_suspects(owner) == frozenset({7})
