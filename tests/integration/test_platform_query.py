"""The national platform asked over real sockets: one that answers, one that is hostile, and the stand-in."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import uvicorn

from sim import registry_platform
from tests.apikit import add_person, running
from tests.conftest import free_port, wait_until_async
from tests.registrykit import Writer, code_of, csv_file, vehicle
from tests.world import EAST, WEST, World
from traffic import registry_answers, registry_sync
from traffic.circuit_breaker import CircuitBreaker
from traffic.clock import SHANGHAI, Clock
from traffic.platform_query import ANSWER_BYTES_MAX, WAITING_MAX, Outcome, Platform, Vehicle
from traffic.province_tables import rows_of

COACH = Vehicle(plate="吉A00001", plate_class=1)
Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def told(**fields: object) -> dict[str, object]:
    return {"plate": "吉A00001", "plate_class": "01", "state": "normal", "inspection_until": "2028-05-31", **fields}


def http(status: int, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def good(now: datetime, **fields: object) -> bytes:
    return http(200, json.dumps({"as_of": now.isoformat(), "vehicle": told(**fields)}).encode())


class Fake:
    """A platform that answers bytes; it counts who asked and what."""

    def __init__(self, answer: bytes | Answering) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.at_once = self.at_once_most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(self.asked[-1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.at_once -= 1
            writer.close()


@asynccontextmanager
async def served(answer: bytes | Answering) -> AsyncIterator[tuple[Fake, str]]:
    fake = Fake(answer)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        yield fake, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/registry"
        await wait_until_async(lambda: not fake.at_once, what="the end of all answers")


def platform(url: str, **options: object) -> Platform:
    return Platform(url, "secret-key", Clock(), **options)  # type: ignore[arg-type]


async def test_an_answer_carries_its_values_and_their_date():
    now = Clock().now()
    async with served(good(now, ex_commercial=True, seats=45, vin=None, shoe_size=44)) as (fake, url):
        answer = await platform(url).ask(COACH)

    assert answer.outcome is Outcome.FOUND and answer.as_of == now
    assert answer.values["inspection_until"] == date(2028, 5, 31) and answer.values["ex_commercial"] is True
    assert answer.values["seats"] == 45 and answer.values["vin"] == "" and "shoe_size" not in answer.values
    assert fake.asked[0].startswith(b"GET /registry/vehicles?plate=%E5%90%89A00001&plate_class=01 ")
    assert b"Bearer secret-key" in fake.asked[0]


NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (http(404, b"{}"), Outcome.NOT_FOUND),
        (http(500, b"oops"), Outcome.UNREACHABLE),
        (http(503, b""), Outcome.UNREACHABLE),
        (http(429, b""), Outcome.UNREACHABLE),
        (http(401, b""), Outcome.REFUSED),
        (http(403, b"{}"), Outcome.REFUSED),
        (http(302, b"", "Location: http://127.0.0.1:1/"), Outcome.MALFORMED),
        (http(200, b""), Outcome.MALFORMED),
        (http(200, b"[]"), Outcome.MALFORMED),
        (http(200, b"{\"as_of\": 1"), Outcome.MALFORMED),
        (http(200, b"\xff\xfe{}"), Outcome.MALFORMED),
        (http(200, b"[" * 60_000), Outcome.MALFORMED),
        (http(200, json.dumps({"as_of": "2026-11-24T08:00:00", "vehicle": told()}).encode()), Outcome.MALFORMED),
        (http(200, json.dumps({"as_of": "2999-01-01T00:00:00Z", "vehicle": told()}).encode()), Outcome.MALFORMED),
        (good(NOW, plate="吉A00002"), Outcome.MALFORMED),
        (good(NOW, plate_class="02"), Outcome.MALFORMED),
        (good(NOW, state="flying"), Outcome.MALFORMED),
        (good(NOW, inspection_until="soon"), Outcome.MALFORMED),
        (good(NOW, brand={"a": 1}), Outcome.MALFORMED),
        (http(200, json.dumps({"as_of": NOW.isoformat(), "vehicle": {}}).encode()), Outcome.MALFORMED),
        (http(200, b" " * (ANSWER_BYTES_MAX + 1)), Outcome.MALFORMED),
        (http(200, b"\x1f\x8b\x08broken", "Content-Encoding: gzip"), Outcome.MALFORMED),
        (b"SSH-2.0-OpenSSH\r\n", Outcome.UNREACHABLE),
        (b"", Outcome.UNREACHABLE),
    ],
    ids=[
        "unknown", "500", "503", "429", "no key", "no right", "redirect", "empty", "list", "cut", "no text", "deep",
        "time without zone", "time to come", "other plate", "other class", "wrong state", "wrong day", "nested", "bare",
        "too large", "broken gzip", "not http", "hung up",
    ],
)  # fmt: skip
async def test_whatever_the_platform_does_is_an_outcome(answer: bytes, outcome: Outcome):
    async with served(answer) as (fake, url):
        found = await platform(url).ask(COACH)
    assert found.outcome is outcome and len(fake.asked) == 1
    assert (found.values == {}) and (found.reason or outcome is Outcome.FOUND)


async def test_a_platform_that_trickles_is_left_in_time():
    async def trickle(_asked: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with served(trickle) as (_, url):
        found = await platform(url, timeout_s=0.3).ask(COACH)
    assert found.outcome is Outcome.UNREACHABLE and "0.3 s" in found.reason


async def test_an_endless_answer_is_not_read_to_its_end():
    async def pour(_asked: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    async with served(pour) as (_, url):
        found = await platform(url).ask(COACH)
    assert found.outcome is Outcome.MALFORMED


async def test_where_nobody_listens_is_unreachable():
    found = await platform(f"http://127.0.0.1:{free_port()}").ask(COACH)
    assert found.outcome is Outcome.UNREACHABLE and found.reason


async def test_a_few_ask_at_once_and_too_many_are_turned_away():
    release = asyncio.Event()

    async def held(_asked: bytes, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(http(404, b""))
        await writer.drain()

    async with served(held) as (fake, url):
        asking = platform(url, timeout_s=20.0)
        tasks = [asyncio.create_task(asking.ask(COACH)) for _ in range(WAITING_MAX + 5)]
        await wait_until_async(lambda: fake.at_once == 4, what="four questions at once")
        release.set()
        found = [answer.outcome for answer in await asyncio.gather(*tasks)]
    assert fake.at_once_most == 4
    assert found.count(Outcome.UNREACHABLE) == 5 and found.count(Outcome.NOT_FOUND) == WAITING_MAX


async def test_a_platform_that_fails_again_and_again_is_left_in_peace_then_tried_once():
    breaker = CircuitBreaker(failures_max=3, rest_s=0.0)
    async with served(http(500, b"")) as (fake, url):
        asking = platform(url, breaker=breaker)
        for _ in range(3):
            await asking.ask(COACH)
        breaker.open_until_s += 1e6
        left = await asking.ask(COACH)
        assert left.outcome is Outcome.UNREACHABLE and len(fake.asked) == 3
        breaker.open_until_s = 0.0
        fake.answer = good(Clock().now())
        assert (await asking.ask(COACH)).outcome is Outcome.FOUND
        assert (await asking.ask(COACH)).outcome is Outcome.FOUND and len(fake.asked) == 5


# ---------------------------------------------------------------- what is kept of it
@pytest.fixture
def writer(settings, world: World):
    writer = Writer(settings.database_url, world.now)
    writer.take(
        "vehicles",
        csv_file(
            [vehicle(1, unit=code_of(WEST), inspection_until=f"{world.now.date() + timedelta(days=5)}"),
             vehicle(2, unit=code_of(EAST), inspection_until="2099-01-31")]
        ),
        later=timedelta(days=-1),
    )  # fmt: skip
    yield writer
    writer.close()


def row(owner, plate: str = "吉A00001") -> tuple:
    return owner.execute("SELECT state, source, kind FROM key_vehicle WHERE plate = %s", [plate]).fetchone()


def with_platform(settings, url: str):
    return settings.model_copy(update={"registry_url": url, "registry_key": "secret-key"})


async def test_a_person_asks_anew_and_sees_what_the_platform_knows_and_since_when(settings, owner, writer, world):
    add_person(owner, "reader", WEST)
    async with served(good(world.now, state="scrapped")) as (fake, url):
        async with running(with_platform(settings, url)) as api, api.client("reader") as client:
            file = (await client.post("/api/registry/vehicles/吉A00001/refresh")).json()
            again = (await client.post("/api/registry/vehicles/吉A00001/refresh")).json()
            other = await client.post("/api/registry/vehicles/吉A00002/refresh")
    assert file["vehicle"]["state"] == "scrapped" and file["vehicle"]["source"] == "platform"
    assert file["vehicle"]["kind"] == "tour_coach" and file["as_of"] == round(world.now.timestamp() * 1e6)
    assert file["query"]["outcome"] == "found" and again["query"] == file["query"] and len(fake.asked) == 1
    assert other.status_code == 404 and row(owner) == ("scrapped", "platform", "tour_coach")
    deeds = owner.execute("SELECT subject, outcome FROM audit WHERE action = 'refresh_vehicle' ORDER BY id").fetchall()
    assert deeds == [("吉A00001", "found"), ("吉A00001", "found, asked a moment ago")]


async def test_while_the_platform_is_away_the_copy_stands_with_its_date(settings, owner, writer, world):
    add_person(owner, "reader", WEST)
    url = f"http://127.0.0.1:{free_port()}"
    async with running(with_platform(settings, url)) as api, api.client("reader") as client:
        answer = await client.post("/api/registry/vehicles/吉A00001/refresh")
    file = answer.json()
    assert answer.status_code == 200 and file["query"]["outcome"] == "unreachable"
    assert file["vehicle"]["state"] == "normal" and file["as_of"] < round(world.now.timestamp() * 1e6)


async def test_without_a_platform_a_refresh_says_so(settings, owner, writer):
    add_person(owner, "reader", WEST)
    async with running(settings) as api, api.client("reader") as client:
        answer = await client.post("/api/registry/vehicles/吉A00001/refresh")
    assert answer.status_code == 503 and "TRAFFIC_REGISTRY_URL" in answer.json()["error"]["message"]


def test_an_answer_raises_the_version_only_where_it_changes_a_row_and_adds_none(writer, owner, world):
    asked = Vehicle(plate="吉A00009", plate_class=1)
    answer = registry_answers.Answer(
        outcome=Outcome.FOUND, as_of=world.now, values={"plate": "吉A00001", "plate_class": 1, "state": "seized"}
    )
    before = writer.version()
    assert registry_answers.remember(writer.connection, COACH, answer, world.now)
    assert not registry_answers.remember(writer.connection, COACH, answer, world.now + timedelta(hours=1))
    unknown = registry_answers.Answer(
        outcome=Outcome.FOUND, as_of=world.now, values={"plate": "吉A00009", "plate_class": 1}
    )
    assert not registry_answers.remember(writer.connection, asked, unknown, world.now)
    assert writer.version() == before + 1 and row(owner)[0] == "seized" and row(owner, "吉A00009") is None
    newest = registry_answers.find_newest(writer.connection, COACH)
    assert newest and newest["outcome"] == "found" and newest["asked_at"] == world.now + timedelta(hours=1)


async def test_who_is_due_is_asked_about_once_a_day_and_only_by_one(settings, writer, owner):
    now = settings.clock.now()
    stop = asyncio.Event()
    async with served(good(now, inspection_until="2029-01-31")) as (fake, url):
        bound = with_platform(settings, url)
        syncs = [registry_sync.Sync(bound, pace_s=0.01, idle_s=0.02) for _ in range(2)]
        tasks = [asyncio.create_task(sync.run(stop)) for sync in syncs]
        await wait_until_async(lambda: row(owner)[1] == "platform", what="the answer in the table")
        await wait_until_async(lambda: max(sync.rounds for sync in syncs) > 3, what="more rounds")
        stop.set()
        await asyncio.gather(*tasks)
    assert len(fake.asked) == 1 and b"A00001" in fake.asked[0]
    assert sorted(bool(sync.rounds) for sync in syncs) == [False, True]
    assert owner.execute("SELECT count(*) FROM part WHERE kind = 'registry'").fetchone() == (1,)


# ---------------------------------------------------------------- the stand-in
@asynccontextmanager
async def stand_in(clock: Clock, *, away: bool = False) -> AsyncIterator[str]:
    port = free_port()
    app = registry_platform.build(clock, "secret-key", latency_s=(0.0, 0.01), away=away)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined, method-assign]
    task = asyncio.create_task(server._serve())
    await wait_until_async(lambda: server.started, what="the stand-in")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def test_the_stand_in_knows_some_vehicles_better():
    rows = list(rows_of("key_vehicles.csv"))
    scrapped = next(one for one in rows if one["platform"] == "scrapped" and one["state"] == "normal")
    inspected = next(one for one in rows if one["platform"] == "inspected")
    async with stand_in(Clock()) as url:
        asking = platform(url)
        found = [
            await asking.ask(Vehicle(plate=one["plate"], plate_class=int(one["plate_class"])))
            for one in (scrapped, inspected)
        ]
        stranger = await asking.ask(Vehicle(plate="京Z99999", plate_class=2))
        wrong = await Platform(url, "other-key", Clock()).ask(COACH)
    assert [answer.outcome for answer in found] == [Outcome.FOUND] * 2
    assert found[0].values["state"] == "scrapped"
    assert found[1].values["inspection_until"] > Clock().now().astimezone(SHANGHAI).date() + timedelta(days=300)
    assert stranger.outcome is Outcome.NOT_FOUND and wrong.outcome is Outcome.REFUSED


async def test_the_stand_in_is_away_now_and_then():
    period_us = registry_platform.AWAY_EVERY_S * 1_000_000
    moments = [n * 1_000_000 for n in range(0, registry_platform.AWAY_EVERY_S, 10)]
    away = sum(registry_platform.is_away(moment + 7 * period_us) for moment in moments)
    assert away == registry_platform.AWAY_S / 10
    offset_s = -(Clock().now_us() % period_us) / 1e6 - 30.0  # half a minute before the next period
    async with stand_in(Clock(offset_s=offset_s), away=True) as url:
        assert (await platform(url).ask(COACH)).outcome is Outcome.UNREACHABLE
