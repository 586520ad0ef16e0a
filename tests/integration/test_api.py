"""The HTTP API over a real port: findings, refused records, health, headers, and the one shape of errors."""

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
import redis

from dashboards import protocol, shell
from tests.apikit import Feed, add_person, running
from tests.conftest import wait_until_async
from tests.world import CORPS, EAST, EAST_SQUADRON, WEST, WEST_SQUADRON
from traffic.readings import EntryKind, decode_entry
from traffic.stream import BusReader, stream_key


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


@pytest.fixture
def open_bus(settings):
    """The bus as a worker opens it."""
    with redis.Redis.from_url(settings.redis_url) as client:
        reader = BusReader(client, bytes_max=settings.bus_bytes_max)
        for partition in range(settings.partitions):
            reader.open(partition, 1)
        yield client


def passages(client: redis.Redis, partitions: int) -> list:
    rows = []
    for partition in range(partitions):
        for _, fields in client.xrange(stream_key(partition)):
            kind, batch = decode_entry(fields[b"e"])
            if kind is EntryKind.PASSAGES:
                rows += batch.rows.tolist()
    return rows


def refuse(owner, world, *, unit=WEST, device=None, body=b"{}") -> int:
    audience = {CORPS: [CORPS], WEST: [CORPS, WEST], EAST: [CORPS, EAST]}[unit]
    row = owner.execute(
        "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body,"
        " audience) VALUES (%s, 2, %s, %s, 0, 'plate', 'malformed', 'why', %s, %s) RETURNING id",
        [world.now, device or world.gat_id, unit, body, audience],
    ).fetchone()
    return int(row[0])


# ---------------------------------------------------------------- findings
async def test_findings_come_by_page_under_the_readers_reach(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    ours = [feed.finding(WEST_SQUADRON) for _ in range(5)]
    feed.finding(EAST_SQUADRON)
    secret = feed.finding(WEST_SQUADRON, addressees=[WEST])
    async with running(settings) as api, api.client("west") as client:
        seen, before = [], None
        while True:
            query = {"limit": 2} | ({"before": before} if before else {})
            page = (await client.get("/api/findings", params=query)).json()
            assert len(page["findings"]) <= 2
            seen += [card["id"] for card in page["findings"]]
            before = page["next"]
            if before is None:
                break
        assert sorted(seen) == sorted(ours) and secret not in seen


async def test_a_finding_is_told_with_its_history_and_the_reading_is_noted(settings, world, owner, feed):
    person = add_person(owner, "west", WEST)
    feed.finding(WEST_SQUADRON, id=(number := uuid4()))
    feed.finding(WEST_SQUADRON, id=number, revision=2, state="retracted")
    other = feed.finding(EAST_SQUADRON)
    async with running(settings) as api, api.client("west") as client:
        answer = (await client.get(f"/api/findings/{number}")).json()
        assert answer["finding"]["state"] == "retracted" and answer["finding"]["plate"] == "吉A12345"
        assert [revision["revision"] for revision in answer["revisions"]] == [2, 1]
        assert answer["checkpoints"] == [
            {
                "id": 1,
                "code": world.gates[0].code,
                "name": "测试卡口1",
                "name_en": "Test gate 1",
                "road": "G1",
                "stake_m": 0,
            }
        ]
        read = owner.execute("SELECT person_id, subject FROM audit WHERE action = 'read_finding'").fetchall()
        assert read == [(person, str(number))]
        for path in (other, uuid4()):
            assert (await client.get(f"/api/findings/{path}")).status_code == 404


async def test_an_odd_plate_is_shown_as_it_was_read(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    feed.finding(WEST_SQUADRON)
    owner.execute("UPDATE finding SET plate_key = -77")
    owner.execute("INSERT INTO odd_plate VALUES (-77, 'ODD-PLATE-1'), (-78, 'NOT-ASKED-FOR')")
    async with running(settings) as api, api.client("west") as client:
        [card] = (await client.get("/api/findings")).json()["findings"]
        assert card["plate"] == "ODD-PLATE-1"


async def test_parameters_that_are_none_are_named(settings, world, owner):
    add_person(owner, "west", WEST)
    wrong = {
        "/api/findings?limit=0": "limit", "/api/findings?limit=x": "limit", "/api/findings?before=yesterday": "before",
        "/api/findings?before=999999999999999999": "before", "/api/findings/7": "id",
        "/api/quarantine?state=lost": "state", "/api/quarantine?before=0": "before", 
        "/api/quarantine?before=99999999999999999999": "before",
    }  # fmt: skip
    async with running(settings) as api, api.client("west") as client:
        for path, field in wrong.items():
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["field"]) == (
                422, "wrong_value", field,
            ), path  # fmt: skip


# ---------------------------------------------------------------- refused records
async def test_refused_records_are_for_their_unit_and_three_roles(settings, world, owner):
    for login, unit, role in (("w", WEST, "dispatcher"), ("e", EAST, "administrator"), ("c", WEST, "crew")):
        add_person(owner, login, unit, role=role)
    number = refuse(owner, world, body='{"plate":"吉'.encode() + b"\xff")
    async with running(settings) as api:
        async with api.client("w") as client:
            [record] = (await client.get("/api/quarantine")).json()["records"]
            assert record["id"] == number and record["device_code"] == world.gat_code
            assert record["body"] == '{"plate":"吉\ufffd'
        async with api.client("e") as client:
            assert (await client.get("/api/quarantine")).json() == {"records": [], "next": None}
            for deed in ("retry", "dismiss"):
                assert (await client.post(f"/api/quarantine/{number}/{deed}", json={})).status_code == 404
        async with api.client("c") as client:
            assert (await client.get("/api/quarantine")).json()["error"]["code"] == "forbidden"
            assert (await client.post(f"/api/quarantine/{number}/dismiss")).status_code == 403
    assert owner.execute("SELECT state FROM quarantine").fetchone() == ("open",)


async def test_a_corrected_record_goes_on_the_bus_once_and_is_closed(settings, world, owner, open_bus):
    add_person(owner, "w", WEST)
    number = refuse(owner, world)
    record = world.native_record(0, world.now - timedelta(seconds=3), "吉A12345", id="r1")
    async with running(settings) as api, api.client("w") as client:
        answers = await asyncio.gather(*(client.post(f"/api/quarantine/{number}/retry", json=record) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(passages(open_bus, settings.partitions)) == 1
    assert owner.execute("SELECT state, closed_by FROM quarantine").fetchone() == ("corrected", "w")
    assert owner.execute("SELECT count(*) FROM audit WHERE action = 'quarantine_corrected'").fetchone() == (1,)


async def test_a_record_that_is_still_wrong_stays_open_and_the_fault_is_named(settings, world, owner, open_bus):
    add_person(owner, "w", WEST)
    number = refuse(owner, world)
    good = world.native_record(0, world.now - timedelta(seconds=3), "吉A12345")
    faults = (
        (b"not json", "", "malformed"),
        (json.dumps({**good, "speed_kmh": 900}).encode(), "speed_kmh", "out_of_range"),
        (json.dumps({**good, "checkpoint": world.gates[3].code}).encode(), "checkpoint", "not_this_device"),
        (json.dumps({**good, "observed_at": "2026-11-24T08:00:00"}).encode(), "observed_at", "time_without_zone"),
    )
    async with running(settings) as api, api.client("w") as client:
        for body, field, reason in faults:
            answer = await client.post(f"/api/quarantine/{number}/retry", content=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["field"], error["reason"]) == (
                422, "record_refused", field, reason,
            )  # fmt: skip
    assert passages(open_bus, settings.partitions) == []
    assert owner.execute("SELECT state FROM quarantine").fetchone() == ("open",)


async def test_when_the_bus_does_not_take_it_a_record_stays_open(settings, world, owner):
    add_person(owner, "w", WEST)
    number = refuse(owner, world)
    record = world.native_record(0, world.now - timedelta(seconds=3), "吉A12345")
    async with running(settings) as api, api.client("w") as client:
        answer = await client.post(f"/api/quarantine/{number}/retry", json=record)
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "bus_closed"
        assert "retry-after" in answer.headers
        assert owner.execute("SELECT state FROM quarantine").fetchone() == ("open",)
        assert (await client.post(f"/api/quarantine/{number}/dismiss")).json() == {"id": number, "state": "dismissed"}
        assert (await client.post(f"/api/quarantine/{number}/dismiss")).status_code == 409


# ---------------------------------------------------------------- units
async def test_units_are_ones_own_with_the_line_above(settings, world, owner):
    add_person(owner, "w", WEST)
    async with running(settings) as api, api.client("w") as client:
        units = (await client.get("/api/units")).json()["units"]
        assert [(unit["id"], unit["parent"], unit["within"]) for unit in units] == [
            (CORPS, None, False), (WEST, CORPS, True), (111, WEST, True), (WEST_SQUADRON, 111, True),
        ]  # fmt: skip


# ---------------------------------------------------------------- the house
async def test_health_readiness_and_metrics(settings, world, owner):
    owner.execute(
        "INSERT INTO part (kind, instance, started_at, seen_at, figures)"
        """ VALUES ('worker', 'w:1', now(), clock_timestamp(), '{"records": 42, "odd name": 1, "text": "x"}')"""
    )
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {
            "status": "ok", "parts": {"database": "ok", "bus": "ok", "feed": "ok"},
        }  # fmt: skip
        page = (await client.get("/metrics")).text
        for line in (
            'traffic_worker_records{instance="w:1"} 42.0', 'traffic_part_up{part="database"} 1.0',
            'traffic_partition_leased{partition="0"} 0.0', 'traffic_api_logins_total{outcome="ok"} 1.0',
            'traffic_api_requests_total{route="/readyz",status="200"}', 'traffic_bus_kept_bytes{partition="3"} 0.0',
            'traffic_partition_leased{partition="64"} 0.0', "traffic_api_links_known 0.0",
            "traffic_api_events_kept 0.0", "traffic_api_crews_kept 0.0", "traffic_api_vehicles_kept 0.0",
        ):  # fmt: skip
            assert line in page
        helps = [line for line in page.splitlines() if line.startswith("# HELP")]
        assert len(helps) == len({line.split()[2] for line in helps}), "each figure is described once"
        assert "odd name" not in page
        beats = "SELECT figures->>'sockets' FROM part WHERE kind = 'api'"
        assert await wait_until_async(lambda: owner.execute(beats).fetchone()) == ("0",)


async def test_every_answer_carries_the_headers_that_browsers_need(settings, world):
    async with running(settings) as api, api.client() as client:
        for path in ("/healthz", "/nothing.here", "/api/me", "/"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer" and "server" not in headers
            policy = headers["content-security-policy"]
            assert f"connect-src 'self' ws://127.0.0.1:{api.settings.socket_port};" in policy
            assert "frame-ancestors 'none'" in policy and "script-src 'self';" in policy
        hostile = await client.get("/healthz", headers={"Host": "x; script-src *"})
        assert "script-src *" not in hostile.headers.get("content-security-policy", "")


async def test_every_failure_has_the_one_shape(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        cases = (
            ("GET", "/api/nothing", 404, "not_found"), ("DELETE", "/api/me", 405, "method_not_allowed"),
            ("POST", "/", 405, "method_not_allowed"), ("POST", "/api/login", 422, "wrong_value"),
            ("GET", "/assets/none.js", 404, "not_found"),
        )  # fmt: skip
        for method, path, status, code in cases:
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
            assert answer.json()["error"]["message"]


async def test_a_body_over_the_bound_is_refused_whether_it_tells_its_length_or_not(settings, world):
    async def endless():
        for _ in range(100):
            yield b"x" * 10_000

    async with running(settings) as api, api.client() as client:
        for content in (b"x" * 70_000, endless()):
            answer = await client.post("/api/login", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


async def test_the_web_client_is_served_and_its_addresses_are_pages_of_it(settings, world, tmp_path, monkeypatch):
    async with running(settings) as api, api.client() as client:
        monkeypatch.setattr(shell, "DIST", tmp_path / "none")
        answer = await client.get("/")
        assert answer.status_code == 503 and "make setup" in answer.text
        dist = tmp_path / "dist"
        (dist / "assets").mkdir(parents=True)
        (dist / "index.html").write_text("<title>ours</title>")
        (dist / "assets" / "app-1.js").write_text("1")
        (tmp_path / "secret.txt").write_text("secret")
        (dist / "link").symlink_to(tmp_path / "secret.txt")
        monkeypatch.setattr(shell, "DIST", dist)
        for path in ("/", "/alerts/7", "/quarantine"):
            answer = await client.get(path)
            assert answer.text == "<title>ours</title>" and answer.headers["cache-control"] == "no-cache"
        assert "immutable" in (await client.get("/assets/app-1.js")).headers["cache-control"]
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/link", "/a%00b", "/" + "x" * 3000):
            assert "secret" not in (await client.get(path)).text


async def test_the_interfaces_describe_themselves(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        openapi = (await client.get("/openapi.json")).json()
        assert {"/api/login", "/api/map", "/api/findings/{id}", "/api/quarantine/{id}/retry"} <= openapi["paths"].keys()
        asyncapi = (await client.get("/asyncapi.json")).json()
        assert asyncapi["asyncapi"] == "3.0.0"
        assert asyncapi["servers"]["live"]["host"] == f"127.0.0.1:{api.settings.socket_port}"


FRAMES = {
    ("hello", None): protocol.Greeting, ("stale", None): protocol.StaleFrame, ("ping", None): protocol.PingFrame,
    ("snapshot", "roads"): protocol.RoadsFrame, ("delta", "roads"): protocol.RoadsFrame,
    ("snapshot", "alerts"): protocol.AlertsFrame, ("delta", "alerts"): protocol.AlertsFrame,
    ("snapshot", "figures"): protocol.FiguresFrame, ("delta", "figures"): protocol.FiguresFrame,
}  # fmt: skip


async def test_what_is_sent_is_what_the_description_says(settings, world, owner, feed):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["roads", "alerts", "figures"])
        await live.until(lambda live: live.figures)
        feed.finding(WEST_SQUADRON)
        feed.flow([[1, settings.clock.now_us() // 10_000_000 * 10_000_000, 1, 1, 1, 80.5]])
        await live.until(lambda live: live.alerts and live.checkpoints[1]["per_minute"] == 1)
        await live.until(lambda live: live.figures["alerts_today"] == 1)
        seen = set()
        for frame in live.frames:
            kind = frame["type"], frame.get("topic")
            decoded = msgspec.convert(frame, FRAMES[kind])
            assert json.loads(msgspec.json.encode(decoded)) == frame, "nothing more and nothing less"
            seen.add(kind)
        assert seen >= FRAMES.keys() - {("ping", None), ("stale", None)}
