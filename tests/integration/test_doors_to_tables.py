"""From the native doors and from files into the tables, by the processes that own them; sent twice, kept once."""

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import psycopg
import pytest

from tests.integration.test_imports import door_in_a_thread
from tests.integration.test_road_doors import MAKERS
from tests.roadbench import RoadBench
from tests.world import ROAD_ID, WEST_SQUADRON, World
from traffic.plates import plate_key
from traffic.readings import Door
from traffic.settings import Settings


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[RoadBench]:
    bench = RoadBench(settings, owner, world)
    yield bench
    bench.close()


def test_what_a_door_has_acknowledged_is_in_the_tables_once(bench: RoadBench, settings: Settings, world: World):
    worker, monitor = bench.worker(), bench.monitor()
    at = world.now - timedelta(seconds=60)
    headers = {"Authorization": f"Bearer {world.native_key}"}
    with door_in_a_thread(settings) as url, httpx.Client(base_url=url, headers=headers, timeout=20) as client:
        for path, make in MAKERS.items():
            good = json.dumps(make(at))
            for _ in range(2):
                answer = client.post(path, content=f"[{good},{{}}]", headers={"Content-Type": "application/json"})
                assert answer.json()["accepted"] == 1, answer.text
            file = {"Content-Type": "application/x-ndjson"}
            answer = client.post(path.replace("/api/", "/api/import/"), content=good, headers=file)
            assert answer.json()["accepted"] == 1, answer.text
        bench.drain(worker)
        bench.drain_roads(monitor)

    assert bench.rows("SELECT detector, lane, vehicles, revision FROM detector_report") == [(1, 1, 12, 0)]
    assert bench.rows("SELECT subject_kind, subject FROM position") == [(1, plate_key("吉A12345"))]
    assert bench.rows("SELECT station, road_id, from_stake_m, to_stake_m, visibility_m FROM weather_report") == [
        ("S-1", ROAD_ID, 5_000, 9_500, 120)
    ]
    assert bench.rows("SELECT code, lanes_closed, unit_id, state, revision FROM road_work") == [
        ("W-1", [2], WEST_SQUADRON, "planned", 1)
    ]
    assert bench.rows("SELECT code, stake_m, direction FROM roadside_object WHERE kind = 'camera'") == [
        ("V-1", 7_000, 2)
    ]
    doors = {Door(door).name for (door,) in bench.rows("SELECT DISTINCT door FROM quarantine")}
    assert doors == {"NATIVE_DETECTORS", "NATIVE_POSITIONS", "NATIVE_WEATHER", "NATIVE_WORKS", "NATIVE_CAMERAS"}
    assert bench.one("SELECT count(*) FROM quarantine WHERE reason = 'missing_field'") == 10
