"""The doors on real services: who may send, what is durable, what is answered when something is wrong."""

import asyncio
import contextlib
import gzip
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import msgspec
import psycopg
import pytest
import redis

from tests.conftest import wait_until_async
from tests.world import World, build
from traffic.database import connect
from traffic.embedded import Embedded
from traffic.errors import ServiceError, SettingsError
from traffic.ingest.server import listen, serve, verify_durable
from traffic.limits import ROADS_PARTITION
from traffic.plates import plate_key
from traffic.readings import DeviceEvent, EntryKind, PassageBatch, Reject, decode_entry
from traffic.secrets import key_hash
from traffic.settings import Settings, load_settings
from traffic.stream import BusReader, stream_key

REGISTER, UNREGISTER, KEEPALIVE = "/VIID/System/Register", "/VIID/System/UnRegister", "/VIID/System/Keepalive"
VEHICLES = "/VIID/MotorVehicles"


@dataclass(slots=True, kw_only=True)
class Doors:
    """Open doors with a sender's client, and a look at the bus behind them."""

    settings: Settings
    world: World
    client: httpx.AsyncClient
    redis: redis.Redis
    port: int

    def entries(self) -> list[tuple[EntryKind, object]]:
        """All that is on the bus."""
        found = []
        for partition in (*range(self.settings.partitions), ROADS_PARTITION):
            for _, fields in self.redis.xrange(stream_key(partition)):
                found.append(decode_entry(fields[b"e"]))
        return found

    def plates(self) -> list[int]:
        """Plate keys of all passages on the bus, sorted."""
        batches = [content for _, content in self.entries() if isinstance(content, PassageBatch)]
        return sorted(key for batch in batches for key in batch.rows["plate_key"].tolist())

    def of_kind(self, kind: EntryKind) -> list:
        """All items of a small kind on the bus."""
        return [item for found, content in self.entries() if found is kind for item in content]  # type: ignore[union-attr]

    def database(self) -> psycopg.Connection:
        """A connection of the owner."""
        return connect(str(self.settings.database_url), None, autocommit=True)

    async def post(self, records: object, path: str = "/api/passages", **headers: str) -> httpx.Response:
        """Post to a native door with the world's key."""
        body = records if isinstance(records, bytes) else msgspec.json.encode(records)
        return await self.client.post(
            path, content=body, headers={"Authorization": f"Bearer {self.world.native_key}", **headers}
        )

    def digest(self, password: str | None = None) -> httpx.DigestAuth:
        """The GA/T 1400 device's log-in."""
        return httpx.DigestAuth(self.world.gat_code, password or self.world.gat_password)

    async def register(self) -> httpx.Response:
        """Register the GA/T 1400 device."""
        body = {"RegisterObject": {"DeviceID": self.world.gat_code}}
        return await self.client.post(REGISTER, json=body, auth=self.digest())

    async def send(self, records: list, client: httpx.AsyncClient | None = None) -> httpx.Response:
        """Post motor vehicles as the GA/T 1400 device."""
        return await (client or self.client).post(
            VEHICLES,
            content=msgspec.json.encode({"MotorVehicleListObject": {"MotorVehicleObject": records}}),
            headers={"User-Identify": self.world.gat_code, "Content-Type": "application/VIID+JSON;charset=utf-8"},
        )

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own and read until it is closed (or 5 s)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                answer = await reader.read()
                writer.close()
                return answer
        writer.close()
        return b"nothing within 5 s"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def settings(settings) -> Settings:
    return settings.model_copy(update={"door_port": free_port()})


@contextlib.asynccontextmanager
async def opened(settings: Settings, world: World, *, bus_open: bool = True) -> AsyncIterator[Doors]:
    client = redis.Redis.from_url(str(settings.redis_url))
    if bus_open:
        reader = BusReader(client, bytes_max=settings.bus_bytes_max)
        for partition in (*range(settings.partitions), ROADS_PARTITION):
            reader.open(partition, 1)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stop, listen(settings)))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.door_port}", timeout=20) as http:
        await wait_until_async(lambda: answers(http, serving), what="the doors answer")
        yield Doors(settings=settings, world=world, client=http, redis=client, port=settings.door_port)
    stop.set()
    await serving
    client.close()


async def answers(http: httpx.AsyncClient, serving: asyncio.Task) -> bool:
    if serving.done():
        serving.result()
    with contextlib.suppress(httpx.TransportError):
        return (await http.get("/readyz", timeout=0.5)).status_code == 200
    return False


@pytest.fixture
def world(settings) -> World:
    with connect(str(settings.database_url), None) as connection:
        return build(connection, settings, settings.clock.now())


@pytest.fixture
async def doors(settings, world):
    async with opened(settings, world) as found:
        yield found


# ---------------------------------------------------------------- native
async def test_good_records_are_on_the_bus_when_they_are_acknowledged_and_bad_ones_are_kept(doors):
    now = doors.world.now
    records = [
        doors.world.native_record(0, now, "吉A00001", id="1"),
        doors.world.native_record(0, now, "吉A00002", id="2", lane=100),
        doors.world.native_record(3, now, "吉A00003", id="3"),
    ]
    answer = await doors.post(records)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 2
    (rejected,) = answer.json()["rejected"]
    assert (rejected["index"], rejected["field"], rejected["reason"]) == (1, "lane", "out_of_range")
    assert doors.plates() == sorted([plate_key("吉A00001"), plate_key("吉A00003")])
    (kept,) = doors.of_kind(EntryKind.REJECTS)
    assert isinstance(kept, Reject)
    assert (kept.device_id, kept.unit_id, kept.position) == (doors.world.native_id, 1, 1)
    assert msgspec.json.decode(kept.body)["id"] == "2"


async def test_lines_and_gzip_are_taken(doors):
    lines = b"\n".join(
        msgspec.json.encode(doors.world.native_record(0, doors.world.now, f"吉A0000{n}", id=str(n))) for n in range(5)
    )
    answer = await doors.post(
        gzip.compress(lines + b"\n{broken\n"), **{"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    )
    assert (answer.status_code, answer.json()["accepted"]) == (200, 5)
    assert [refused["index"] for refused in answer.json()["rejected"]] == [5]
    assert len(doors.plates()) == 5


async def test_many_small_requests_at_once_are_all_taken(doors):
    posts = [doors.post([doors.world.native_record(0, doors.world.now, f"吉B{n:05d}", id=str(n))]) for n in range(100)]
    answers = await asyncio.gather(*posts)
    assert [answer.json() for answer in answers] == [{"accepted": 1, "rejected": []}] * 100
    assert len(doors.plates()) == 100
    passages = [content for kind, content in doors.entries() if kind is EntryKind.PASSAGES]
    assert len(passages) < 100, "requests share flushes"


async def test_a_sender_without_a_known_key_is_refused(doors):
    record = [doors.world.native_record(0, doors.world.now, "吉A00001")]
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        answer = await doors.post(record, **headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unknown_sender"
    assert doors.entries() == []


async def test_a_sender_that_is_shut_out_is_refused_within_seconds_and_a_new_one_is_known(doors):
    record = [doors.world.native_record(0, doors.world.now, "吉A00001")]
    assert (await doors.post(record)).status_code == 200
    with doors.database() as connection, connection.transaction():
        connection.execute("UPDATE device SET enabled = false WHERE id = %s", [doors.world.native_id])
        connection.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, time_zone, changed_at, changed_by) "
            "VALUES ('second', 'second', 1, 'native', %s, 'Nowhere/Else', %s, 'test')",
            [key_hash("second-key"), doors.world.now],
        )
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'device'")

    async def shut_out() -> bool:
        return (await doors.post(record)).status_code == 403

    await wait_until_async(shut_out, what="the sender is shut out")
    assert (await doors.post(record, Authorization="Bearer second-key")).status_code == 200


async def test_a_full_bus_is_answered_with_429_and_what_was_taken(settings, world):
    async with opened(settings.model_copy(update={"bus_bytes_max": 2048}), world) as doors:
        records = [doors.world.native_record(0, world.now, f"吉C{n:05d}", id=str(n)) for n in range(70)]
        answer = await doors.post(records)
        while answer.status_code == 200:
            records = [{**record, "id": f"{record['id']}+"} for record in records]
            answer = await doors.post(records)
        body = answer.json()
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert body["accepted"] + len(body["not_taken"]) == len(records)
        assert body["error"]["message"]
        whole = await doors.post([doors.world.native_record(0, world.now, "吉C00000", id="x", images=["i" * 250] * 9)])
        assert whole.status_code == 429
        assert whole.json()["not_taken"] == [0]


async def test_a_bus_that_no_worker_has_opened_is_answered_with_503(settings, world):
    async with opened(settings, world, bus_open=False) as doors:
        records = [doors.world.native_record(0, world.now, "吉A00001"), {"plate": 1}]
        answer = await doors.post(records)
        assert answer.status_code == 503
        assert answer.json()["accepted"] == 0
        assert answer.json()["rejected"] == []
        assert answer.json()["not_taken"] == [0, 1], "a refusal that could not be kept is not final either"
        assert "Retry-After" in answer.headers
        assert (await doors.register()).status_code == 200, "a registration does not hang on the bus"
        answer = await doors.send([world.motor_vehicle(0, world.now, "吉A00001")])
        assert answer.status_code == 503
        (status,) = answer.json()["ResponseStatusListObject"]["ResponseStatusObject"]
        assert status["StatusCode"] == "3"


# ---------------------------------------------------------------- GA/T 1400
async def test_a_device_registers_keeps_alive_sends_and_leaves(doors):
    world = doors.world
    registered = await doors.register()
    assert registered.status_code == 200
    status = registered.json()["ResponseStatusObject"]
    assert (status["StatusCode"], status["Id"], status["RequestURL"]) == ("0", world.gat_code, REGISTER)
    assert re.fullmatch(r"\d{14}", status["LocalTime"])

    alive = {"KeepaliveObject": {"DeviceID": world.gat_code}}
    kept = await doors.client.post(KEEPALIVE, json=alive, headers={"User-Identify": world.gat_code})
    assert kept.json()["ResponseStatusObject"]["StatusCode"] == "0"

    sent = await doors.send(
        [
            world.motor_vehicle(0, world.now, "吉A00001", MotorVehicleID="v1"),
            world.motor_vehicle(2, world.now, "吉A00002", MotorVehicleID="v2"),
            world.motor_vehicle(1, world.now, "吉A00003", MotorVehicleID="v3", Direction="2"),
        ]
    )
    assert sent.status_code == 200
    statuses = sent.json()["ResponseStatusListObject"]["ResponseStatusObject"]
    assert [status["Id"] for status in statuses] == ["v1", "v2", "v3"]
    assert [status["StatusCode"] for status in statuses] == ["0", "8", "0"]
    assert statuses[1]["StatusString"].startswith("TollgateID: not_this_device (record 1")
    assert doors.plates() == sorted([plate_key("吉A00001"), plate_key("吉A00003")])

    left = await doors.client.post(
        UNREGISTER, json={"UnRegisterObject": {"DeviceID": world.gat_code}}, auth=doors.digest()
    )
    assert left.json()["ResponseStatusObject"]["StatusCode"] == "0"
    assert (await doors.send([world.motor_vehicle(0, world.now, "吉A00004")])).status_code == 401
    events = doors.of_kind(EntryKind.DEVICE)
    assert [event.state for event in events] == ["registered", "unregistered"]
    assert all(isinstance(event, DeviceEvent) and event.device_id == world.gat_id for event in events)


async def test_a_single_motor_vehicle_object_is_taken(doors):
    await doors.register()
    answer = await doors.client.post(
        VEHICLES,
        json={"MotorVehicleObject": doors.world.motor_vehicle(0, doors.world.now, "吉A00001")},
        headers={"User-Identify": doors.world.gat_code},
    )
    (status,) = answer.json()["ResponseStatusListObject"]["ResponseStatusObject"]
    assert status["StatusCode"] == "0"
    assert doors.plates() == [plate_key("吉A00001")]


async def test_nothing_is_taken_from_a_device_that_is_not_registered(doors):
    record = doors.world.motor_vehicle(0, doors.world.now, "吉A00001")
    answer = await doors.send([record])
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Digest realm=")
    assert answer.json()["ResponseStatusObject"]["StatusCode"] == "4"
    for code in ("", "22010000001190000099", doors.world.native_name):
        answer = await doors.client.post(VEHICLES, json={"MotorVehicleObject": record}, headers={"User-Identify": code})
        assert answer.status_code == 401
    alive = await doors.client.post(KEEPALIVE, json={}, headers={"User-Identify": doors.world.gat_code})
    assert alive.status_code == 401
    assert doors.entries() == []


async def test_a_wrong_password_or_name_does_not_register(doors):
    body = {"RegisterObject": {"DeviceID": doors.world.gat_code}}
    for auth in (doors.digest("wrong"), httpx.DigestAuth("22010000001190000099", "x"), httpx.BasicAuth("a", "b"), None):
        answer = await doors.client.post(REGISTER, json=body, auth=auth)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Digest ")
    other = {"RegisterObject": {"DeviceID": "22010000001190000099"}}
    assert (await doors.client.post(REGISTER, json=other, auth=doors.digest())).status_code == 401
    assert (await doors.send([])).status_code == 401


async def test_an_answer_to_a_challenge_counts_once(doors):
    await doors.register()
    header = (await doors.client.post(REGISTER, json={}, auth=doors.digest())).request.headers["Authorization"]
    again = await doors.client.post(REGISTER, json={}, headers={"Authorization": header})
    assert again.status_code == 401
    assert "stale=true" in again.headers["WWW-Authenticate"]
    elsewhere = await doors.client.post(UNREGISTER, json={}, headers={"Authorization": header})
    assert elsewhere.status_code == 401


async def test_a_registration_is_bound_to_its_peer(doors):
    await doors.register()
    record = doors.world.motor_vehicle(0, doors.world.now, "吉A00001")
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=doors.client.base_url, transport=transport) as stranger:
        assert (await doors.send([record], stranger)).status_code == 401
    assert (await doors.send([record])).status_code == 200


async def test_a_registration_ends_without_keepalive_and_outlives_a_door(doors):
    await doors.register()
    key = f"door:registration:{doors.world.gat_code}"
    assert 0 < doors.redis.ttl(key) <= 180
    doors.redis.expire(key, 1_000_000)  # as if another door had kept it alive
    alive = {"User-Identify": doors.world.gat_code}
    assert (await doors.client.post(KEEPALIVE, json={}, headers=alive)).status_code == 200
    assert doors.redis.ttl(key) <= 180
    doors.redis.delete(key)  # time is up
    assert (await doors.client.post(KEEPALIVE, json={}, headers=alive)).status_code == 401
    doors.redis.set(key, "127.0.0.1", ex=60)  # registered at another door

    async def known() -> bool:
        return (await doors.send([])).status_code == 200

    await wait_until_async(known, what="the registration at another door is known")


async def test_the_time_is_told_to_everyone(doors):
    content = (await doors.client.get("/VIID/System/Time")).json()["SystemTimeObject"]
    assert content["VIIDServerID"] == doors.settings.viid_server_id
    assert (content["TimeMode"], content["TimeZone"]) == ("1", "Asia/Shanghai")
    assert re.fullmatch(r"\d{14}", content["LocalTime"])


async def test_other_addresses_of_the_norm_are_answered_clearly(doors):
    answer = await doors.client.post("/VIID/Faces", json={})
    assert answer.status_code == 404
    assert answer.json()["ResponseStatusObject"]["StatusCode"] == "4"


async def test_times_out_of_the_window_are_refused_by_the_instances_clock(doors):
    await doors.register()
    now = doors.world.now
    answer = await doors.send(
        [
            doors.world.motor_vehicle(0, time, "吉A00001")
            for time in (now + timedelta(minutes=5), now - timedelta(days=31))
        ]
    )
    statuses = answer.json()["ResponseStatusListObject"]["ResponseStatusObject"]
    assert [status["StatusString"].split(" (")[0] for status in statuses] == [
        "PassTime: time_in_future",
        "PassTime: time_too_old",
    ]


# ---------------------------------------------------------------- hostile and broken
async def test_bodies_that_are_too_large_or_broken_are_refused_whole(doors):
    gz = {"Content-Encoding": "gzip"}
    for body, headers, status in (
        (b"", {}, 400),
        (b"not json", {}, 400),
        (b"[1,", {}, 400),
        (gzip.compress(b"0" * 40_000_000), gz, 413),
        (b"not gzip", gz, 400),
        (b"[]", {"Content-Encoding": "br"}, 415),
        (b" " * (16 * 1024 * 1024 + 1), {}, 413),
    ):
        answer = await doors.post(body, **headers)
        assert answer.status_code == status, body[:20]
        assert answer.json()["error"]["message"]
    await doors.register()
    answer = await doors.client.post(VEHICLES, content=b"{", headers={"User-Identify": doors.world.gat_code})
    assert answer.status_code == 400
    assert answer.json()["ResponseStatusObject"]["StatusCode"] == "7"
    assert doors.plates() == []


async def test_raw_connections_get_an_answer_or_an_end(doors):
    host = (
        b"POST /api/passages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + doors.world.native_key.encode() + b"\r\n"
    )
    too_long = await doors.raw(host + b"Content-Length: 99999999999\r\n\r\n[")
    assert b" 413 " in too_long.split(b"\r\n")[0]
    assert b" 400 " in (await doors.raw(b"\0\1\2 nonsense\r\n\r\n")).split(b"\r\n")[0]
    assert b" 431 " in (await doors.raw(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 40_000)).split(b"\r\n")[0]
    chunked = host + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
    assert b" 200 " in (await doors.raw(chunked)).split(b"\r\n")[0]
    odd_host = b"POST /VIID/System/Register HTTP/1.1\r\nHost: [\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert b" 401 " in (await doors.raw(odd_host)).split(b"\r\n")[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(host + b"Content-Length: 1000\r\n\r\n[")  # and then nothing: the sender hangs up
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await doors.client.get("/healthz")).status_code == 200


async def test_the_door_goes_on_when_the_database_hangs_up_and_finds_it_again(doors):
    with doors.database() as connection:
        await wait_until_async(lambda: beats(connection), what="the door beats")
        connection.execute("DELETE FROM part")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        answer = await doors.post([doors.world.native_record(0, doors.world.now, "吉A00001")])
        assert answer.status_code == 200
        await wait_until_async(lambda: beats(connection), what="the door beats again")
        (figures,) = connection.execute("SELECT figures FROM part WHERE kind = 'doors'").fetchone()
        assert set(figures) >= {"requests", "accepted", "rejected", "not_taken"}


def beats(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM part WHERE kind = 'doors'").fetchone() == (1,)


async def test_figures_are_counted(doors):
    await doors.post([doors.world.native_record(0, doors.world.now, "吉A00001"), {"plate": "x"}])
    page = (await doors.client.get("/metrics")).text
    assert 'traffic_door_accepted_records_total{door="native"} 1.0' in page
    assert 'traffic_door_rejected_records_total{door="native",reason="missing_field"} 1.0' in page
    assert 'traffic_door_requests_total{door="native",status="200"} 1.0' in page
    assert (await doors.client.get("/readyz")).json() == {"status": "ok", "catalogue": "ok", "redis": "ok"}


@pytest.fixture
def own_redis(open_folder, database_url):
    """A Redis that the test may kill, empty at its beginning."""
    with Embedded(load_settings(data_dir=open_folder / "own-redis", database_url=database_url)) as embedded:
        with redis.Redis.from_url(embedded.redis_url) as client:
            client.flushall()
        yield embedded


async def test_while_redis_is_dead_nothing_is_acknowledged_and_what_was_is_still_there(settings, world, own_redis):
    settings = settings.model_copy(update={"redis_url": own_redis.redis_url})
    async with opened(settings, world) as doors:
        await doors.register()
        record = doors.world.native_record(0, world.now, "吉A00001")
        assert (await doors.post([record])).status_code == 200
        os.kill(own_redis.redis.pid, signal.SIGKILL)
        await wait_until_async(lambda: not own_redis.redis.is_running(), what="Redis is dead")
        answer = await doors.post([record])
        assert (answer.status_code, answer.json()["not_taken"]) == (503, [0])
        assert (await doors.register()).status_code == 503
        assert (await doors.client.get("/readyz")).status_code == 503
        await asyncio.to_thread(own_redis.redis.start)
        answer = await doors.post([{**record, "plate": "吉A00002"}])
        assert answer.status_code == 503, "a Redis started anew takes nothing before a worker has looked at it"
        confirm_bus(settings)
        answer = await doors.post([{**record, "plate": "吉A00002"}])
        assert answer.status_code == 200
        assert doors.plates() == sorted([plate_key("吉A00001"), plate_key("吉A00002")])
        assert (await doors.send([world.motor_vehicle(0, world.now, "吉A00003")])).status_code == 200


def confirm_bus(settings: Settings) -> None:
    """What a worker does when it finds nothing missing."""
    reader = BusReader(redis.Redis.from_url(str(settings.redis_url)), bytes_max=settings.bus_bytes_max)
    for partition in (*range(settings.partitions), ROADS_PARTITION):
        reader.confirm(partition, reader.meta(partition))


# ---------------------------------------------------------------- the process
async def test_sigterm_finishes_what_is_in_flight_and_ends_with_zero(settings, world):
    client = redis.Redis.from_url(str(settings.redis_url))
    for partition in range(settings.partitions):
        BusReader(client, bytes_max=settings.bus_bytes_max).open(partition, 1)
    code = "from traffic.ingest.server import run; from traffic.settings import load_settings; run(load_settings())"
    environment = {
        **os.environ,
        "TRAFFIC_DATABASE_URL": str(settings.database_url),
        "TRAFFIC_REDIS_URL": str(settings.redis_url),
        "TRAFFIC_SECRET_KEY": str(settings.secret_key),
        "TRAFFIC_DOOR_PORT": str(settings.door_port),
        "TRAFFIC_TERMINAL_PORT": str(settings.terminal_port),
        "TRAFFIC_PLATFORM_PORT": str(settings.platform_port),
        "TRAFFIC_DATA_DIR": str(settings.data_dir),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.door_port}", timeout=20) as http:

        async def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await http.get("/readyz")).status_code == 200
            return False

        await wait_until_async(ready, what="the process answers")
        head = f"POST /api/passages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.native_key}\r\n"
        head += "Content-Length: 2\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.door_port)
        writer.write(head.encode() + b"[")
        await writer.drain()
        await http.get("/healthz")  # the first bytes have been read by now
        process.send_signal(signal.SIGTERM)

        async def closed() -> bool:
            try:
                await http.get("/healthz")
            except httpx.TransportError:
                return True
            return False

        await wait_until_async(closed, what="nobody new is let in")
        writer.write(b"]")
        await writer.drain()
        assert b" 200 " in await reader.readline()
        writer.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0
    client.close()


def test_a_taken_port_is_one_clear_sentence(tmp_path):
    settings = Settings(data_dir=tmp_path, door_port=free_port())
    with socket.create_server((settings.host, settings.door_port)), pytest.raises(SettingsError, match="cannot listen"):
        listen(settings)


class ForgetfulRedis:
    """Answers CONFIG GET as a Redis that acknowledges before it writes."""

    async def config_get(self, pattern: str) -> dict[str, str]:
        return {"appendonly": "yes", "appendfsync": "everysec"}


async def test_a_redis_that_may_forget_is_not_used():
    with pytest.raises(ServiceError, match="appendfsync"):
        await verify_durable(ForgetfulRedis())
