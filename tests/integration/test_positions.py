"""Positions of crews and vehicles through the worker: each once, the newest of each, and for whose eyes."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from tests.workbench import Bench, identities_of, seen
from tests.world import (
    CORPS,
    CREW_ID,
    EAST,
    EAST_BRIGADE,
    EAST_SQUADRON,
    ROAD_ID,
    WEST,
    WEST_BRIGADE,
    WEST_SQUADRON,
    World,
    point_at,
)
from traffic.plates import CLASS_LARGE, plate_key
from traffic.readings import Door, decode_entry, logical_partitions, position_routing
from traffic.road_readings import POSITION, Subject
from traffic.store import us_of

COACH = "吉A5588Z"
NAN = float("nan")
WESTERN = [CORPS, WEST, WEST_BRIGADE, WEST_SQUADRON]
EASTERN = [CORPS, EAST, EAST_BRIGADE, EAST_SQUADRON]


@pytest.fixture
def bench(settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    owner.execute(
        "INSERT INTO key_vehicle VALUES (%s, %s, %s, 'tour_coach', '测试客运', %s)",
        [plate_key(COACH), CLASS_LARGE, COACH, WEST],
    )
    bench = Bench(settings, owner)
    yield bench
    bench.close()


def at_stake(world: World, stake_m: int, at_s: float, subject: int | str = CREW_ID, **fields: object) -> np.ndarray:
    """A position on the test road, so many seconds after the world's now: of the crew, or of a vehicle by its plate."""
    row = np.zeros(1, POSITION)
    row["observed_at"] = us_of(world.now) + round(at_s * 1e6)
    row["received_at"] = row["observed_at"] + 300_000
    row["lon"], row["lat"] = point_at(stake_m)
    row["speed_kmh"], row["bearing_deg"] = 60.0, 60.0
    row["device"], row["door"] = world.native_id, Door.NATIVE_POSITIONS
    is_crew = isinstance(subject, int)
    row["subject_kind"] = Subject.CREW if is_crew else Subject.VEHICLE
    row["subject"] = subject if is_crew else plate_key(str(subject))
    row["class_group"] = 0 if is_crew else CLASS_LARGE
    for name, value in fields.items():
        row[name] = value
    return row


def send(bench: Bench, *rows: np.ndarray) -> None:
    assert bench._loop.run(bench.writer.append_positions(np.concatenate(rows))).all()


def stored(bench: Bench) -> list[tuple]:
    return bench.rows("SELECT subject_kind, subject, class_group, observed_at FROM position ORDER BY 1, 2, 3, 4")


def latest(bench: Bench) -> list[tuple]:
    return bench.rows("SELECT * FROM position_latest ORDER BY subject_kind, subject, class_group")


def told(bench: Bench, kind: str) -> list[tuple]:
    return bench.rows(
        "SELECT body -> 'p', audience FROM feed WHERE topic = 'units' AND kind = %s ORDER BY partition, seq", kind
    )


def test_a_crew_is_shown_to_its_unit_and_all_above_with_its_place(bench: Bench, world: World):
    worker = bench.worker()
    send(bench, at_stake(world, 25_000, -5))  # on the east's road, and still the west's crew
    bench.drain(worker)
    at = us_of(world.now) - 5_000_000
    lon, lat = (round(part, 6) for part in point_at(25_000))
    assert told(bench, "crews") == [([[CREW_ID, at, lon, lat, 60.0, 60.0, ROAD_ID, 25_000, 1]], WESTERN)]
    ((road, stake, direction, unit, audience),) = bench.rows(
        "SELECT road_id, stake_m, direction, unit_id, audience FROM position_latest"
    )
    assert (road, stake, direction, unit, audience) == (ROAD_ID, 25_000, 1, WEST_SQUADRON, WESTERN)
    assert worker.figures["positions"] == 1


def test_a_key_vehicle_is_shown_to_whom_the_road_belongs_and_others_to_nobody(bench: Bench, world: World):
    worker = bench.worker()
    send(bench, at_stake(world, 5_000, -9, COACH), at_stake(world, 5_000, -9, "吉A00001"))
    bench.drain(worker)
    send(bench, at_stake(world, 45_000, -4, COACH, bearing_deg=240.0, speed_kmh=NAN))
    bench.drain(worker)
    parts = told(bench, "vehicles")
    assert [audience for _, audience in parts] == [WESTERN, EASTERN]
    ((plate, group, kind, *_, road, stake),), ((*_, speed, bearing, _, there),) = (body for body, _ in parts)
    assert (plate, group, kind, road, stake) == (COACH, CLASS_LARGE, "tour_coach", ROAD_ID, 5_000)
    assert (speed, bearing, there) == (None, 240.0, 45_000)
    assert bench.rows("SELECT direction, unit_id FROM position_latest WHERE subject = %s", plate_key(COACH)) == [
        (2, EAST_SQUADRON)
    ]
    assert bench.rows("SELECT audience FROM position_latest WHERE subject = %s", plate_key("吉A00001")) == [([],)]
    assert len(stored(bench)) == 3


def test_a_device_that_tells_no_class_is_known_by_its_plate_and_off_the_roads_is_where_it_is_registered(
    bench: Bench, world: World
):
    worker = bench.worker()
    send(bench, at_stake(world, 5_000, -9, COACH, class_group=0, lon=126.0, lat=42.0))
    bench.drain(worker)
    ((body, audience),) = told(bench, "vehicles")
    assert (body[0][:3], body[0][-2:], audience) == ([COACH, CLASS_LARGE, "tour_coach"], [None, None], [CORPS, WEST])
    assert bench.rows("SELECT road_id, stake_m, direction, unit_id FROM position_latest") == [(None, None, None, WEST)]
    assert [row[2] for row in stored(bench)] == [0]  # as it came
    send(bench, at_stake(world, 5_000, -3, COACH))
    bench.drain(worker)
    assert bench.rows("SELECT class_group, stake_m FROM position_latest") == [(CLASS_LARGE, 5_000)]


def test_every_position_is_stored_once_although_it_comes_again_by_every_way(bench: Bench, world: World):
    worker = bench.worker()
    rows = [at_stake(world, 100 * n, -60 + n, subject) for n in range(20) for subject in (CREW_ID, COACH)]
    send(bench, *rows, *rows[:10])
    bench.drain(worker)
    before, feed = latest(bench), bench.one("SELECT count(*) FROM feed WHERE topic = 'units'")
    send(bench, *rows)
    bench.drain(worker)
    bench.dies(worker)
    send(bench, *rows[5:15])
    bench.drain(bench.worker())
    assert len(stored(bench)) == len(rows)
    assert latest(bench) == before
    assert bench.one("SELECT count(*) FROM feed WHERE topic = 'units'") == feed  # nothing new, nothing told


def test_any_order_of_arrival_ends_in_the_same_picture(bench: Bench, world: World):
    worker = bench.worker()
    subjects = (CREW_ID, COACH, "吉A00001", "吉A00002")
    rows = [at_stake(world, 500 * n, -100 + n, subject) for n in range(25) for subject in subjects]
    rows += [at_stake(world, 9_000, -76, CREW_ID)]  # another place at a time that is taken: both cannot be
    send(bench, *rows)
    bench.drain(worker)
    in_order = latest(bench)
    bench.execute("TRUNCATE position_latest")
    bench.execute("DELETE FROM position")
    for number in np.random.default_rng(3).permutation(len(rows)):
        send(bench, rows[number])
        if number % 9 == 0:
            bench.drain(worker)
    bench.drain(worker)
    assert latest(bench) == in_order
    assert len(stored(bench)) == len(rows) - 1


def test_a_late_position_is_kept_and_moves_nothing_on_the_map(bench: Bench, world: World):
    worker = bench.worker()
    send(bench, at_stake(world, 8_000, -10))
    bench.drain(worker)
    send(bench, at_stake(world, 1_000, -600))
    bench.drain(worker)
    assert len(stored(bench)) == 2
    assert bench.rows("SELECT stake_m FROM position_latest") == [(8_000,)]
    assert len(told(bench, "crews")) == 1


def test_positions_and_passages_of_a_vehicle_are_on_one_partition_and_passages_go_on_beside_them(
    bench: Bench, world: World
):
    worker = bench.worker()
    passages = [seen(world, gate, -400 + gate, COACH, plate_class=1) for gate in range(3)]
    bench.send(*passages)
    send(bench, at_stake(world, 1_000, -10, COACH))
    partition = int(logical_partitions(position_routing(at_stake(world, 0, 0, COACH)))[0] % bench.settings.partitions)
    entries = bench.reader.read({partition: (1, 0)}, count=100, wait_ms=1)[partition]
    kinds = {decode_entry(entry.data)[0].name for entry in entries}
    assert {"PASSAGES", "POSITIONS"} <= kinds
    bench.drain(worker)
    assert bench.identities() == identities_of(*passages)
    assert len(stored(bench)) == 1


def test_a_network_that_changed_is_known_without_a_restart(bench: Bench, world: World):
    worker = bench.worker()
    bench.execute("UPDATE link SET unit_id = %s WHERE id = 1", EAST_SQUADRON)
    bench.execute("INSERT INTO crew VALUES (2, 'E-1', '东', 'East crew', %s, '吉A1002警')", EAST_SQUADRON)
    bench.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")
    bench.step_until(worker, lambda: worker.book and 2 in worker.book.tracked.crews)
    send(bench, at_stake(world, 5_000, -9, COACH), at_stake(world, 5_000, -9, 2))
    bench.drain(worker)
    assert [audience for _, audience in told(bench, "vehicles") + told(bench, "crews")] == [EASTERN, EASTERN]
