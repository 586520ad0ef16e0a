"""The demonstration's world and its platforms, against a door that only records, and against the real codec."""

import asyncio
import json
import re
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs

from sim.casting import watched_vehicles
from sim.engine_process import EngineLost, EngineProcess
from sim.native import DETECTORS, POSITIONS, WEATHER, WORKS, NativeSender
from sim.native import left_over as native_left_over
from sim.platform import Platform, left_over
from sim.sightings import Camera, compass
from sim.truth import TruthFile
from sim.twin import Pace, drive, vehicles_for
from sim.vehicles import KINDS, Maker
from sim.world import VEHICLES, World
from tests.conftest import wait_until_async
from tests.twinkit import CODE, PASSWORD, RecordingDoor
from traffic.clock import Clock
from traffic.demonstration import demo_terminals, known_secrets, watch_rows
from traffic.errors import SettingsError
from traffic.ingest import gat1400
from traffic.ingest.catalogue import Device, Gate
from traffic.ingest.catalogue import build as build_catalogue
from traffic.ingest.plate_column import PlateReader
from traffic.ingest.validate import Bench
from traffic.plates import fold
from traffic.province_tables import model_province
from traffic.readings import Door
from traffic.settings import load_settings

PROVINCE = model_province()
TOP_KMH = max(kind.speed_kmh_max for kind in KINDS)  # a simulated driver is now and then a little over it


@pytest.fixture
def settings(tmp_path):
    """The outside world has a folder and an address, and no database."""
    return load_settings(data_dir=tmp_path / "data")


@pytest.fixture
def door():
    server = RecordingDoor()
    yield server
    server.stop()


@pytest.fixture
async def client(door):
    async with httpx.AsyncClient(base_url=door.address, trust_env=False) as client:
        yield client


def numbered(first: int, count: int) -> list[dict[str, object]]:
    return [{"MotorVehicleID": str(number)} for number in range(first, first + count)]


def ids(records: list[dict]) -> list[int]:
    return [int(record["MotorVehicleID"]) for record in records]


async def test_a_platform_registers_by_digest_sends_in_order_and_leaves_with_an_unregister(door, client):
    platform, stop = Platform(client, CODE, PASSWORD, clock=Clock()), asyncio.Event()
    platform.put(numbered(0, 1_200))
    task = asyncio.create_task(platform.run(stop))
    await wait_until_async(lambda: len(door.taken) == 1_200)
    stop.set()
    platform.put(numbered(1_200, 3))  # the last second's records still go out
    await task
    assert ids(door.taken) == list(range(1_203))
    paths = [path.rsplit("/", 1)[1] for path, _ in door.requests]
    assert paths[:4] == ["Register", "Register", "Time", "MotorVehicles"]
    assert paths[-1] == "UnRegister"
    assert {device for _, device in door.requests} == {CODE}
    assert (platform.counts.taken, platform.counts.refused, platform.waiting) == (1_203, 0, 0)


async def test_a_full_door_gets_the_rest_again_in_order_and_a_forgotten_registration_is_renewed(door, client):
    door.script.extend([
        (429, {"Retry-After": "0"}, 120), (503, {}, 0), (401, {}, 0), (429, {"Retry-After": "0"}, 0),
    ])  # fmt: skip
    platform, stop = Platform(client, CODE, PASSWORD, clock=Clock()), asyncio.Event()
    platform.put(numbered(0, 500))
    task = asyncio.create_task(platform.run(stop))
    await wait_until_async(lambda: len(door.taken) >= 500)
    stop.set()
    await task
    assert ids(door.taken) == list(range(500))
    assert sum(1 for path, _ in door.requests if path.endswith("/Register")) >= 3
    assert platform.counts.taken == 500


async def test_a_door_that_is_away_costs_nothing_but_time_and_the_memory_has_a_bound(door, client, monkeypatch):
    monkeypatch.setattr("sim.platform.RECORDS_MAX", 100)
    port = door.server_address[1]
    door.stop()
    platform, stop = Platform(client, CODE, PASSWORD, clock=Clock()), asyncio.Event()
    platform.put(numbered(0, 150))
    assert (platform.waiting, platform.counts.given_up) == (100, 50)
    task = asyncio.create_task(platform.run(stop))
    await asyncio.sleep(0)
    stop.set()
    await task
    assert port and platform.waiting == 100


async def test_a_wrong_password_is_never_answered_with_records(door, client):
    platform, stop = Platform(client, CODE, "wrong", clock=Clock()), asyncio.Event()
    platform.put(numbered(0, 5))
    task = asyncio.create_task(platform.run(stop))
    await wait_until_async(lambda: len(door.requests) >= 2)
    stop.set()
    await task
    assert not door.taken and platform.waiting == 5


def test_an_answer_is_believed_record_by_record_and_otherwise_as_a_whole():
    batch = numbered(0, 3)

    def body(*codes: str) -> bytes:
        statuses = [{"StatusCode": code} for code in codes]
        return json.dumps({"ResponseStatusListObject": {"ResponseStatusObject": statuses}}).encode()

    assert left_over(200, body("0", "0", "0"), batch) == ([], 0)
    assert left_over(200, body("0", "8", "0"), batch) == ([], 1)
    assert left_over(429, body("0", "2", "2"), batch) == (batch[1:], 0)
    assert left_over(503, body("3", "8", "0"), batch) == (batch[:1], 1)
    for content in (b"", b"<html>", b"[]", body("0"), b'{"ResponseStatusListObject": 5}'):
        assert left_over(200, content, batch) == ([], 0)
        assert left_over(503, content, batch) == (batch, 0)
        assert left_over(400, content, batch) == ([], 3)


@pytest.mark.parametrize(
    ("bearing_deg", "code"),
    [
        (90, "1"),
        (270, "2"),
        (180, "3"),
        (0, "4"),
        (359, "4"),
        (44, "5"),
        (226, "6"),
        (130, "7"),
        (316, "8"),
        (450, "1"),
    ],
)
def test_bearings_are_told_as_compass_codes(bearing_deg, code):
    assert compass(bearing_deg) == code


def test_cameras_err_seldom_but_do(tmp_path):
    camera, plate = Camera(np.random.default_rng(1)), "吉A80D25"
    read = [camera.read(plate) for _ in range(5_000)]
    assert 0.95 < read.count(plate) / len(read) < 0.995
    assert read.count("") > 10
    assert all(text == "" or (len(text) == len(plate) and text[:2] == plate[:2]) for text in read)


def test_plates_of_the_demonstration_are_standard_and_never_given_twice():
    maker = Maker(np.random.default_rng(2), ["吉A12345"])
    plates = [maker.any().plate for _ in range(3_000)]
    assert len(set(plates)) == 3_000
    assert all(re.fullmatch(r"[吉辽黑蒙京冀鲁][A-Z]([DF]\d{5}|[0-9A-HJ-NP-Z]{5})", plate) for plate in plates)
    assert {vehicle.plate for vehicle in watched_vehicles()} == {fold(row["plate"]) for row in watch_rows()}
    assert {vehicle.kind for vehicle in watched_vehicles()} <= {kind.id for kind in KINDS}


def test_the_truth_file_has_a_bound(tmp_path):
    truth = TruthFile(tmp_path, bytes_max=2_000)
    for number in range(200):
        truth.write([{"number": number, "plate": "吉A12345"}])
    truth.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2 and max(sizes) < 2_100
    lines = (tmp_path / "truth.old.ndjson").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["plate"] == "吉A12345" for line in lines)


async def test_within_two_minutes_the_real_codec_sees_passages_watched_plates_and_a_measured_section(settings):
    world = World(PROVINCE, settings, vehicles=300)
    engine = await EngineProcess.start(world.engine_start())
    tens: list[list[tuple[int, dict]]] = []  # what each ten seconds bring, with the detachment
    try:
        await world.warm_up(engine, asyncio.Event())
        for _ in range(12):
            found = (await world.step(engine, 10)).passages
            tens.append([(unit, record) for unit, records in found.items() for record in records])
    finally:
        await engine.close()
        world.close()
    watched = {fold(row["plate"]) for row in watch_rows()}
    assert any(record["PlateNo"] in watched for ten in tens[:2] for _, record in ten)
    everything = [pair for ten in tens for pair in ten]
    assert len({record["MotorVehicleID"] for _, record in everything}) == len(everything) > 30
    for unit in {unit for unit, _ in everything}:
        _assert_taken_by_the_codec(unit, [record for owner, record in everything if owner == unit])
    _assert_a_section_was_driven_too_fast(settings)


def _assert_taken_by_the_codec(unit: int, found: list[dict]) -> None:
    device = Device(
        id=1, code=CODE, unit_id=unit, kind="gat1400", secret=b"", time_zone="Asia/Shanghai", enabled=True
    )  # fmt: skip
    gates = [Gate(id=g.id, code=g.code, bearing_deg=g.bearing_deg, unit_id=g.unit_id) for g in PROVINCE.checkpoints]
    parents = [(row.unit_id, row.parent_id) for row in PROVINCE.parents if row.valid_to.year == 9999]
    catalogue = build_catalogue(versions={}, devices=[device], gates=gates, parents=parents)
    body = json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": found}}, ensure_ascii=False).encode()
    checked = gat1400.check(
        gat1400.read_motor_vehicles(body),
        device=device,
        bench=Bench(catalogue=catalogue, plates=PlateReader(), door=Door.GAT1400),
        received_us=int(datetime.now(UTC).timestamp() * 1e6) + 110_000_000,  # noqa: TID251
    )
    assert not checked.refusals
    rows = checked.batch.rows
    assert set(np.unique(rows["direction"])) <= {1, 2}
    assert (rows["plate_class"] >= 0).all() and (rows["vehicle_class"] > 0).all()


def _assert_a_section_was_driven_too_fast(settings) -> None:
    lines = (settings.data_dir / "twin" / "truth.ndjson").read_text(encoding="utf-8").splitlines()
    facts = [json.loads(line) for line in lines]
    gates = {gate.code: gate for gate in PROVINCE.checkpoints}
    seen = {}
    for fact in facts:
        if fact["role"] == "speeder":
            seen.setdefault(fact["plate"], []).append((fact["at"], gates[fact["checkpoint"]]))
    lengths = {(s.from_checkpoint, s.to_checkpoint): s for s in PROVINCE.sections}
    speeds = [
        (lengths[a.id, b.id].length_m / (b_at - a_at) * 3.6e6, lengths[a.id, b.id].limit_kmh)
        for passes in seen.values()
        for (a_at, a), (b_at, b) in zip(passes, passes[1:], strict=False)
    ]
    assert any(speed_kmh > 1.1 * limit_kmh for speed_kmh, limit_kmh in speeds)


async def test_the_twin_sends_for_every_detachment_and_every_native_door_and_stops_when_told(settings, door):
    secrets = known_secrets(settings)
    door.passwords = {row["code"]: row["password"] for row in secrets["devices"]}
    settings = settings.model_copy(update={"door_port": door.server_address[1]})
    stop, engines = asyncio.Event(), []

    async def start_engine(start: dict) -> EngineProcess:
        engines.append(await EngineProcess.start(start))
        return engines[-1]

    task = asyncio.create_task(drive(settings, stop, vehicles=150, others=False, start_engine=start_engine))
    paths = {DETECTORS, POSITIONS, WEATHER, WORKS}
    await wait_until_async(lambda: len(door.registered) == 10 and len(door.taken) > 3 and paths <= set(door.native), 60)
    assert door.keys == {f"Bearer {secrets['native'][0]['key']}"}
    _assert_native_records(door.native)
    engines[0]._process.kill()  # the simulation is lost: another one takes over
    await wait_until_async(lambda: len(engines) == 2, 30)
    before = len(door.native[POSITIONS])
    await wait_until_async(lambda: len(door.native[POSITIONS]) > before, 60)
    stop.set()
    await asyncio.wait_for(task, 30)
    assert {record["TollgateID"] for record in door.taken} <= {gate.code for gate in PROVINCE.checkpoints}
    ended = {work["code"] for work in door.native[WORKS] if work["state"] == "ended"}
    assert {code for code in ended if code.startswith("SG-T")} == ended != set()
    _assert_truth(settings)


def _assert_native_records(native: dict[str, list[dict]]) -> None:
    reports = native[DETECTORS]
    ends = {datetime.fromisoformat(report["observed_at"]) for report in reports}
    assert all(end.second % 30 in (0, 15) and end.utcoffset() for end in ends)  # one sensor's clock may be wrong
    lanes = {detector.code: detector.lanes for detector in PROVINCE.detectors}
    assert all(1 <= report["lane"] <= lanes[report["detector"]] for report in reports)
    newest = max(ends)
    told = {(one["detector"], one["lane"]) for one in reports if datetime.fromisoformat(one["observed_at"]) == newest}
    assert len(told) > 0.97 * sum(lanes.values())
    crews = {record["crew"] for record in native[POSITIONS] if "crew" in record}
    plates = {record["plate"] for record in native[POSITIONS] if "plate" in record}
    straight = {terminal.plate for terminal in demo_terminals()}  # to the terminals' own door
    driving = {vehicle.plate for vehicle in PROVINCE.key_vehicles if vehicle.drives} - straight
    assert len(crews) > 0.7 * len(PROVINCE.crews) and len(plates) > 0.8 * len(driving)
    assert crews <= {crew.code for crew in PROVINCE.crews}
    assert plates <= driving
    works = native[WORKS]
    assert {work["state"] for work in works} <= {"planned", "active"} and len(works) >= 8
    assert all(record["precipitation"] for record in native[WEATHER])


def _assert_truth(settings) -> None:
    folder = settings.data_dir / "twin"
    facts = [json.loads(line) for line in (folder / "events.ndjson").read_text(encoding="utf-8").splitlines()]
    assert {"accident", "works", "fault", "front"} <= {fact["fact"] for fact in facts}
    links = [json.loads(line) for line in (folder / "links.ndjson").read_text(encoding="utf-8").splitlines()]
    lengths = {str(link.id): link.length_m for link in PROVINCE.links}
    for moment in links:
        assert moment["at"] % 30_000_000 == 0
        for link, (speed_kmh, flow_vph, travel_s) in moment["links"].items():
            assert 0.0 <= speed_kmh <= 1.05 * TOP_KMH and flow_vph >= 0.0
            assert speed_kmh < 5.0 or travel_s == pytest.approx(lengths[link] / (speed_kmh / 3.6), rel=0.05, abs=5.0)


async def test_native_records_that_were_not_taken_go_again_in_order_and_the_rest_is_settled(door, client):
    door.native_script.extend([(429, {"Retry-After": "0"}, [1, 2]), (503, {"Retry-After": "0"}, [0, 1])])
    sender, stop = NativeSender(client, "key"), asyncio.Event()
    sender.put(WEATHER, [{"n": number} for number in range(3)])
    task = asyncio.create_task(sender.run(stop))
    await wait_until_async(lambda: not sender.waiting)
    stop.set()
    sender.put(WORKS, [{"n": 9}])
    await task
    assert [record["n"] for record in door.native[WEATHER]] == [0, 1, 2]
    assert door.native[WORKS] == [{"n": 9}] and door.keys == {"Bearer key"}
    assert (sender.counts[WEATHER].taken, sender.counts[WEATHER].refused) == (3, 0)


async def test_a_native_sender_without_a_door_keeps_the_newest(door, client, monkeypatch):
    monkeypatch.setattr("sim.native.RECORDS_MAX", 10)
    door.stop()
    sender, stop = NativeSender(client, "key"), asyncio.Event()
    sender.put(POSITIONS, [{"n": number} for number in range(15)])
    assert (sender.waiting, sender.counts[POSITIONS].given_up) == (10, 5)
    stop.set()
    await sender.run(stop)
    assert sender.waiting == 10


def test_a_native_answer_is_believed_where_it_names_records():
    batch: list[dict[str, object]] = [{"n": number} for number in range(3)]

    def body(**fields: object) -> bytes:
        return json.dumps({"accepted": 1, "rejected": [], **fields}).encode()

    assert native_left_over(200, body(), batch) == ([], 0)
    assert native_left_over(200, body(rejected=[{"index": 1}]), batch) == ([], 1)
    assert native_left_over(429, body(not_taken=[2], rejected=[{"index": 0}]), batch) == (batch[2:], 1)
    for content in (b"", b"<html>", b"[]", b"{}", body(not_taken=[7])):
        assert native_left_over(503, content, batch) == (batch, 0)
        assert native_left_over(200, content, batch) == ([], 0)
    assert [native_left_over(status, b"", batch) for status in (400, 404, 413)] == [([], 3)] * 3
    assert native_left_over(401, b"", batch) == (batch, 0) == native_left_over(500, b"", batch)


async def test_engines_that_are_lost_again_and_again_are_no_accident(settings, monkeypatch):
    known_secrets(settings)
    monkeypatch.setattr("sim.twin.LOST_PAUSE_S", 0.0)
    monkeypatch.setattr("sim.twin.LOST_MAX", 2)
    tried = []

    async def start_engine(start: dict) -> EngineProcess:
        tried.append(start)
        raise EngineLost("gone")

    with pytest.raises(EngineLost, match="gone"):
        await drive(settings, asyncio.Event(), vehicles=20, start_engine=start_engine)
    assert len(tried) == 2


def test_a_fast_clock_gets_fewer_vehicles_and_a_slow_machine_says_so():
    assert vehicles_for(Clock()) == VEHICLES == vehicles_for(Clock(rate=5.0, origin_us=1))
    assert vehicles_for(Clock(rate=60.0, origin_us=1)) < 0.2 * VEHICLES
    pace = Pace(10.0)
    pace.drove(20.0, 1.0)
    assert pace.figures() == {"rate": 10.0, "sustained_rate": 20.0}
    pace.drove(20.0, 7.0)
    with capture_logs() as said:
        assert pace.report(3.2) == {"rate": 10.0, "sustained_rate": 5.0, "behind_s": 3}
    assert [line["log_level"] for line in said] == ["warning"]
    assert pace.figures()["sustained_rate"] is None and not pace.is_due()


async def test_without_a_demonstration_the_twin_says_so(settings):
    with pytest.raises(SettingsError, match=r"demo\.json"):
        await drive(settings, asyncio.Event())
