"""The doors of detector reports, positions, weather, road works and cameras on real services."""

import asyncio
import os
import signal
from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest

from tests.conftest import wait_until_async
from tests.integration.test_doors import confirm_bus, doors, opened, own_redis, settings  # noqa: F401
from tests.integration.test_doors import world as _world  # noqa: F401
from tests.world import CREW_CODE, CREW_ID, EAST_SQUADRON, ROAD_ID, TOLL_CODE, WEST, WEST_SQUADRON, point_at
from traffic.geo import distance_m, wgs84_to_gcj02
from traffic.ingest.subjects import SUBJECTS
from traffic.plates import CLASS_LARGE, plate_key
from traffic.readings import Door, EntryKind
from traffic.road_readings import DETECTOR_REPORT, POSITION, CameraRow, RoadWork, WeatherReport
from traffic.secrets import key_hash

REPORTS, POSITIONS, WEATHER = "/api/detector-reports", "/api/positions", "/api/weather"
WORKS, CAMERAS = "/api/road-works", "/api/cameras"
world = _world


def report(at: datetime, **fields: object) -> dict[str, object]:
    return {"detector": "D-1", "observed_at": at.isoformat(), "vehicles": 12, "lane": 1, **fields}


def position(at: datetime, **fields: object) -> dict[str, object]:
    lon, lat = point_at(5_000)
    return {"plate": "吉A12345", "plate_class": 1, "observed_at": at.isoformat(), "lon": lon, "lat": lat, **fields}


def weather(at: datetime, **fields: object) -> dict[str, object]:
    return {
        "station": "S-1", "observed_at": at.isoformat(), "road": "G1", "from_stake": "K5+000", "to_stake": "K9+500",
        "visibility_m": 120, **fields,
    }  # fmt: skip


def works(at: datetime, **fields: object) -> dict[str, object]:
    return {
        "code": "W-1", "observed_at": at.isoformat(), "road": "G1", "from_stake": "K3+000", "to_stake": "K4+000",
        "direction": 1, "lanes_closed": [2], "from_at": at.isoformat(),
        "to_at": (at + timedelta(hours=4)).isoformat(), "kind": "resurfacing", **fields,
    }  # fmt: skip


def camera(at: datetime, **fields: object) -> dict[str, object]:
    return {"code": "V-1", "name": "球机", "road": "G1", "stake": "K7+000", "direction": 2, **fields}


MAKERS = {REPORTS: report, POSITIONS: position, WEATHER: weather, WORKS: works, CAMERAS: camera}


def rows_of(doors, kind: EntryKind) -> np.ndarray:  # noqa: F811
    dtype = DETECTOR_REPORT if kind is EntryKind.DETECTORS else POSITION
    found = [content for k, content in doors.entries() if k is kind]
    return np.concatenate([np.empty(0, dtype), *found])


def told(answer) -> list[tuple]:
    return [(r["index"], r["field"], r["reason"]) for r in answer.json()["rejected"]]


@pytest.fixture
def west_key(doors) -> str:  # noqa: F811
    """The key of a native sender of the west detachment, known to the doors from the next look on."""
    with doors.database() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by) "
            "VALUES ('west-native', 'west', %s, 'native', %s, %s, 'test')",
            [WEST, key_hash("west-key"), doors.world.now],
        )
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'device'")
    return "Bearer west-key"


async def known(doors, key: str) -> None:  # noqa: F811
    async def sender_is_known() -> bool:
        return (await doors.post([], Authorization=key)).status_code == 200

    await wait_until_async(sender_is_known, what="the new sender is known")


# ---------------------------------------------------------------- each door
async def test_detector_reports_are_on_the_bus_as_rows(doors):  # noqa: F811
    now = doors.world.now
    answer = await doors.post(
        [
            doors.world.detector_report(0, now),
            report(now, lane=None, fault=True),
            report(now, detector="D-9"),
            report(now, lane=3),
            report(now, vehicles=1, heavy=2),
            report(now, occupancy=101),
            report(now + timedelta(minutes=5)),
            report(now - timedelta(days=31)),
            report(now) | {"observed_at": now.replace(tzinfo=None).isoformat()},
            {"detector": "D-1"},
            doors.world.detector_report(3, now - timedelta(hours=2)),
        ],
        REPORTS,
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
    assert told(answer) == [
        (2, "detector", "unknown_detector"),
        (3, "lane", "out_of_range"),
        (4, "heavy", "out_of_range"),
        (5, "occupancy", "out_of_range"),
        (6, "observed_at", "time_in_future"),
        (7, "observed_at", "time_too_old"),
        (8, "observed_at", "time_without_zone"),
        (9, "observed_at", "missing_field"),
    ]
    first, second, third = rows_of(doors, EntryKind.DETECTORS)
    assert [first[name] for name in ("detector", "lane", "period_s", "vehicles", "heavy")] == [1, 1, 30, 12, 2]
    assert (first["occupancy"], first["speed_kmh"], first["flags"]) == (8.5, 92.0, 0)
    assert (first["device"], first["door"]) == (doors.world.native_id, Door.NATIVE_DETECTORS)
    assert first["observed_at"] == round(now.timestamp() * 1e6)
    assert [second[name] for name in ("lane", "heavy", "flags")] == [0, -1, 1]
    assert np.isnan(second["occupancy"]) and np.isnan(second["speed_kmh"])
    assert third["detector"] == 4
    kept = doors.of_kind(EntryKind.REJECTS)
    assert [(one.position, one.door) for one in kept] == [(i, Door.NATIVE_DETECTORS) for i in range(2, 10)]


async def test_positions_are_of_plates_or_crews_in_wgs84(doors):  # noqa: F811
    now, place = doors.world.now, point_at(5_000)
    shifted = dict(zip(("lon", "lat"), wgs84_to_gcj02(*place), strict=True))
    crew = {"plate": None, "plate_class": None, "crew": CREW_CODE}
    answer = await doors.post(
        [
            position(now, plate="吉a·12345", speed_kmh=80, bearing_deg=360),
            position(now, **crew, **shifted, datum="gcj02"),
            position(now, plate="使224578外"),
            position(now, plate="未识别"),
            position(now, plate=None),
            position(now, crew=CREW_CODE),
            position(now, **crew | {"crew": "W-2"}),
            position(now, lon=place[1], lat=place[0]),
            position(now, lon=0, lat=0),
            position(now, datum="bd09"),
            position(now, plate="x" * 40),
        ],
        POSITIONS,
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
    assert told(answer) == [
        (3, "plate", "missing_field"),
        (4, "plate", "missing_field"),
        (5, "crew", "unsupported"),
        (6, "crew", "unknown_crew"),
        (7, "lat", "out_of_range"),
        (8, "lon", "out_of_range"),
        (9, "datum", "unsupported"),
        (10, "plate", "too_long"),
    ]
    rows = {int(row["subject"]): row for row in rows_of(doors, EntryKind.POSITIONS)}
    assert set(rows) == {plate_key("吉A12345"), CREW_ID, plate_key("使224578外")}
    vehicle, crew_row = rows[plate_key("吉A12345")], rows[CREW_ID]
    assert [vehicle[name] for name in ("subject_kind", "class_group", "speed_kmh", "bearing_deg")] == [
        1, CLASS_LARGE, 80, 0,
    ]  # fmt: skip
    assert (crew_row["subject_kind"], crew_row["class_group"]) == (2, 0)
    assert np.isnan(crew_row["speed_kmh"])
    assert distance_m(place, (float(crew_row["lon"]), float(crew_row["lat"]))) < 0.01


async def test_weather_is_placed_by_stakes_or_by_point(doors):  # noqa: F811
    now, at_us = doors.world.now, round(doors.world.now.timestamp() * 1e6)
    no_stakes = {"from_stake": None, "to_stake": None}
    lon, lat = point_at(25_000)
    answer = await doors.post(
        [
            weather(now, precipitation="snow", temperature_c=-7.5, surface="ice", note=" 雾 "),
            weather(now, **no_stakes, road=None, lon=lon, lat=lat, kind="road_condition", surface="black_ice"),
            weather(now, from_stake="k9+500", to_stake="K5", direction=2),
            weather(now, visibility_m=None),
            weather(now, road="G99"),
            weather(now, to_stake="K60+000"),
            weather(now, from_stake="around K5"),
            weather(now, **no_stakes, road=None, lon=lon, lat=lat + 0.5),
            weather(now, **no_stakes, road=None),
            weather(now, precipitation="frogs"),
            weather(now, valid_to=(now - timedelta(hours=1)).isoformat()),
            weather(now, station=" "),
            weather(now, note="a\0b"),
            weather(now, lon=lon),
        ],
        WEATHER,
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
    assert told(answer) == [
        (3, "visibility_m", "missing_field"),
        (4, "road", "unknown_road"),
        (5, "from_stake", "unknown_place"),
        (6, "from_stake", "malformed"),
        (7, "lon", "unknown_place"),
        (8, "road", "missing_field"),
        (9, "precipitation", "unsupported"),
        (10, "valid_to", "out_of_range"),
        (11, "station", "missing_field"),
        (12, "note", "malformed"),
        (13, "lat", "missing_field"),
    ]
    first, second, third = doors.of_kind(EntryKind.ROADSIDE)
    assert isinstance(first, WeatherReport)
    assert (first.road_id, first.from_stake_m, first.to_stake_m, first.direction) == (ROAD_ID, 5_000, 9_500, 0)
    assert (first.precipitation, first.temperature_c, first.surface, first.note) == ("snow", -7.5, "ice", "雾")
    assert (first.observed_at, first.valid_to) == (at_us, at_us + 3_600_000_000)
    assert (second.kind, second.from_stake_m, second.to_stake_m) == ("road_condition", 25_000, 25_000)
    assert (third.from_stake_m, third.to_stake_m, third.direction) == (5_000, 9_500, 2)


async def test_road_works_say_which_lanes_are_closed_and_when(doors):  # noqa: F811
    now = doors.world.now
    answer = await doors.post(
        [
            works(now, lanes_closed=[2, 1, 2], contact="养护一队", state="active"),
            works(now, code="W-2", lanes_closed=[], from_stake="K18+000", to_stake="K29+000"),
            works(now, lanes_closed=[0]),
            works(now, direction=0),
            works(now, to_at=now.isoformat()),
            works(now, from_at=(now - timedelta(days=5000)).isoformat()),
            works(now, state="maybe"),
            works(now, kind=""),
            {"code": "W-3"},
        ],
        WORKS,
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert told(answer) == [
        (2, "lanes_closed", "out_of_range"),
        (3, "direction", "out_of_range"),
        (4, "to_at", "out_of_range"),
        (5, "from_at", "out_of_range"),
        (6, "state", "unsupported"),
        (7, "kind", "missing_field"),
        (8, "direction", "missing_field"),
    ]
    first, second = doors.of_kind(EntryKind.ROADSIDE)
    assert isinstance(first, RoadWork)
    assert (first.lanes_closed, first.state, first.unit_id) == ((1, 2), "active", WEST_SQUADRON)
    assert (second.lanes_closed, second.state, second.unit_id) == ((), "planned", EAST_SQUADRON), "owns most of it"


async def test_camera_lists_name_places_and_no_other_things(doors):  # noqa: F811
    now, (lon, lat) = doors.world.now, point_at(40_000)
    answer = await doors.post(
        [
            camera(now, facts={"kind": "dome", "height_m": 12}, enabled=False),
            camera(now, code="V-2", road=None, stake=None, direction=None, lon=lon, lat=lat),
            camera(now, code=TOLL_CODE),
            camera(now, code=""),
            camera(now, name="a\0b"),
            camera(now, facts={"a": "\0"}),
            camera(now, facts={str(n): n for n in range(100)}),
            camera(now, stake=None),
        ],
        CAMERAS,
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert told(answer) == [
        (2, "code", "unsupported"),
        (3, "code", "missing_field"),
        (4, "name", "malformed"),
        (5, "facts", "malformed"),
        (6, "facts", "too_long"),
        (7, "stake", "missing_field"),
    ]
    first, second = doors.of_kind(EntryKind.ROADSIDE)
    assert isinstance(first, CameraRow)
    assert (first.stake_m, first.direction, first.unit_id, first.enabled) == (7_000, 2, WEST_SQUADRON, False)
    assert first.facts == {"kind": "dome", "height_m": 12}
    assert distance_m((first.lon, first.lat), point_at(7_000)) < 1
    assert (second.stake_m, second.direction, second.unit_id, second.enabled) == (40_000, 0, EAST_SQUADRON, True)


async def test_a_sender_reports_for_its_own_units_only(doors, west_key):  # noqa: F811
    await known(doors, west_key)
    now = doors.world.now
    crew = {"plate": None, "crew": CREW_CODE}
    for path, good, foreign, field in (
        (REPORTS, report(now), report(now, detector="D-3"), "detector"),
        (WEATHER, weather(now), weather(now, to_stake="K25"), "road"),
        (WORKS, works(now), works(now, from_stake="K30", to_stake="K31"), "road"),
        (CAMERAS, camera(now), camera(now, stake="K45"), "road"),
        (POSITIONS, position(now, **crew), None, ""),
    ):
        answer = await doors.post([good, foreign] if foreign else [good], path, Authorization=west_key)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1), path
        assert told(answer) == ([(1, field, "not_this_device")] if foreign else [])
    with doors.database() as connection, connection.transaction():
        connection.execute("UPDATE crew SET unit_id = %s", [EAST_SQUADRON])
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")

    async def foreign_now() -> bool:
        answer = await doors.post([position(now, **crew)], POSITIONS, Authorization=west_key)
        return told(answer) == [(0, "crew", "not_this_device")]

    await wait_until_async(foreign_now, what="the crew is another unit's")


async def test_a_new_detector_and_a_new_road_are_known_within_seconds(doors):  # noqa: F811
    now = doors.world.now
    assert told(await doors.post([report(now, detector="D-5")], REPORTS)) == [(0, "detector", "unknown_detector")]
    with doors.database() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO detector (id, code, name, name_en, kind, road_id, stake_m, direction, link_id, lanes, lon, "
            "lat, unit_id) VALUES (5, 'D-5', '5', '5', 'loop', 1, 0, 1, 1, 2, 125, 43.5, %s)",
            [WEST_SQUADRON],
        )
        connection.execute("INSERT INTO road VALUES (2, 'G102', '京抚线', 'Jingfu', 'trunk', true)")
        connection.execute(
            "INSERT INTO link (id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, unit_id, "
            "geometry) VALUES (100, 2, 1, 0, 9000, 9000, 1, 70, %s, '[[125, 44], [125.1, 44]]')",
            [WEST_SQUADRON],
        )
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")

    async def accepted() -> bool:
        return (await doors.post([report(now, detector="D-5")], REPORTS)).json()["accepted"] == 1

    await wait_until_async(accepted, what="the detector is known")
    assert (await doors.post([weather(now, road="g102")], WEATHER)).json()["accepted"] == 0, "K9+500 is not on it"
    assert (await doors.post([weather(now, road="g102", to_stake="K6")], WEATHER)).json()["accepted"] == 1


# ---------------------------------------------------------------- every door alike
async def test_lines_objects_and_broken_records_are_taken_as_ever(doors):  # noqa: F811
    lines = {"Content-Type": "application/x-ndjson"}
    for path, make in MAKERS.items():
        good = msgspec.json.encode(make(doors.world.now))
        answer = await doors.post(good + b"\n{broken\n\n[1]\n" + good, path, **lines)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
        assert [index for index, *_ in told(answer)] == [1, 2]
        assert (await doors.post(good, path)).json() == {"accepted": 1, "rejected": []}
        for body, status in ((b"", 400), (b"{", 200), (b"nonsense", 400), (b"[" * 5000, 400), (b"[]", 200)):
            assert (await doors.post(body, path)).status_code == status, body[:10]
        assert (await doors.post(good, path, Authorization="Bearer wrong")).status_code == 401
        deep = b'[{"code":"x","name":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
        answer = await doors.post(deep, path)
        assert (answer.status_code, len(answer.json()["rejected"])) == (200, 1)


async def test_what_comes_again_or_out_of_order_has_the_same_content(doors):  # noqa: F811
    now = doors.world.now
    reports = [report(now - timedelta(seconds=30 * n), vehicles=n) for n in range(6)]
    for body in (reports, reports[::-1], reports[2:4]):
        assert (await doors.post(body, REPORTS)).json()["accepted"] == len(body)
    rows = rows_of(doors, EntryKind.DETECTORS)
    assert len(rows) == 14
    contents = {(int(row["observed_at"]), int(row["lane"]), int(row["vehicles"])) for row in rows}
    assert len(contents) == 6


async def test_many_small_requests_of_all_kinds_share_flushes(doors):  # noqa: F811
    now = doors.world.now
    posts = [doors.post([make(now)], path) for _ in range(30) for path, make in MAKERS.items()]
    assert [answer.json() for answer in await asyncio.gather(*posts)] == [{"accepted": 1, "rejected": []}] * 150
    assert len(rows_of(doors, EntryKind.DETECTORS)) == len(rows_of(doors, EntryKind.POSITIONS)) == 30
    assert len(doors.of_kind(EntryKind.ROADSIDE)) == 90
    assert len(doors.entries()) < 120, "requests share flushes"


async def test_a_request_of_ten_thousand_reports_is_taken_whole_and_one_more_is_not(doors):  # noqa: F811
    now = doors.world.now
    reports = [report(now - timedelta(seconds=n), lane=n % 3) for n in range(10_001)]
    answer = await doors.post(reports, REPORTS)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 10_000)
    assert told(answer) == [(10_000, "", "too_many")]
    assert len(rows_of(doors, EntryKind.DETECTORS)) == 10_000
    answer = await doors.post([weather(now, station=str(n)) for n in range(1200)], WEATHER)
    assert answer.json()["accepted"] == 1200 == len(doors.of_kind(EntryKind.ROADSIDE))


async def test_a_full_roads_bus_is_answered_with_429_while_passages_pass(settings, world):  # noqa: F811
    async with opened(settings.model_copy(update={"bus_bytes_max": 3000}), world) as doors:  # noqa: F811
        answer = await doors.post([report(world.now)] * 40, REPORTS)
        while answer.status_code == 200:
            answer = await doors.post([report(world.now)] * 40, REPORTS)
        assert answer.status_code == 429
        assert answer.json() == {
            "accepted": 0, "rejected": [], "not_taken": list(range(40)),
            "error": {"code": "not_all_taken", "message": answer.json()["error"]["message"]},
        }  # fmt: skip
        assert "monitor" in answer.json()["error"]["message"]
        assert int(answer.headers["Retry-After"]) > 0
        both = [weather(world.now, note="x" * 250, station=str(n)) for n in range(9)] + [weather(world.now, road="G99")]
        answer = await doors.post(both, WEATHER)
        assert (answer.status_code, answer.json()["not_taken"]) == (429, list(range(9)))
        assert told(answer) == [(9, "road", "unknown_road")], "a refusal is kept by the vehicles' bus"
        passage = await doors.post([world.native_record(0, world.now, "吉A00001")])
        assert passage.status_code == 200


async def test_without_a_monitor_the_roads_doors_answer_503(settings, world):  # noqa: F811
    async with opened(settings, world, bus_open=False) as doors:  # noqa: F811
        for path, make in MAKERS.items():
            answer = await doors.post([make(world.now)], path)
            assert (answer.status_code, answer.json()["not_taken"]) == (503, [0])
            assert "is not open" in answer.json()["error"]["message"]


async def test_while_redis_is_dead_no_door_acknowledges(settings, world, own_redis):  # noqa: F811
    settings = settings.model_copy(update={"redis_url": own_redis.redis_url})
    async with opened(settings, world) as doors:  # noqa: F811
        for path, make in MAKERS.items():
            assert (await doors.post([make(world.now)], path)).status_code == 200
        os.kill(own_redis.redis.pid, signal.SIGKILL)
        await wait_until_async(lambda: not own_redis.redis.is_running(), what="Redis is dead")
        for path, make in MAKERS.items():
            answer = await doors.post([make(world.now)], path)
            assert (answer.status_code, answer.json()["not_taken"]) == (503, [0])
        await asyncio.to_thread(own_redis.redis.start)
        confirm_bus(settings)
        for path, make in MAKERS.items():
            assert (await doors.post([make(world.now)], path)).status_code == 200
        assert len(rows_of(doors, EntryKind.DETECTORS)) == 2
        assert len(doors.of_kind(EntryKind.ROADSIDE)) == 6


async def test_the_description_has_every_door_with_a_good_example(doors):  # noqa: F811
    document = (await doors.client.get("/openapi.json")).json()
    for name, subject in SUBJECTS.items():
        post = document["paths"][f"/api/{name}"]["post"]
        content = post["requestBody"]["content"]
        (example,) = content["application/json"]["example"]
        msgspec.convert(example, subject.record)
        assert msgspec.json.decode(content["application/x-ndjson"]["example"], type=subject.record)
        assert set(content["application/json"]["schema"]["items"]["properties"]) == set(
            subject.record.__struct_fields__
        )
        assert {"200", "400", "401", "413", "429", "503"} <= set(post["responses"])
    assert "text/csv" in document["paths"]["/api/import/{kind}"]["post"]["requestBody"]["content"]
    assert document["components"]["securitySchemes"]["sender"]["scheme"] == "bearer"


async def test_figures_are_counted_by_door(doors):  # noqa: F811
    for path, make in MAKERS.items():
        await doors.post([make(doors.world.now), {}], path)
    page = (await doors.client.get("/metrics")).text
    for door in ("detectors", "positions", "weather", "works", "cameras"):
        assert f'traffic_door_accepted_records_total{{door="native_{door}"}} 1.0' in page
        assert f'traffic_door_rejected_records_total{{door="native_{door}",reason="missing_field"}} 1.0' in page
        assert f'traffic_door_requests_total{{door="native_{door}",status="200"}} 1.0' in page
