"""The live view over real sockets, a real database and a real Redis."""

import json
import socket
from contextlib import AsyncExitStack

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.apikit import Feed, add_person, running
from tests.conftest import wait_until_async
from tests.world import CORPS, EAST, EAST_SQUADRON, WEST, WEST_SQUADRON

BUCKET = 10_000_000
TOPICS = ["roads", "alerts", "figures"]


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


def bucket(settings) -> int:
    return settings.clock.now_us() // BUCKET * BUCKET


async def closed_with(live) -> int:
    with pytest.raises(ConnectionClosed):
        while True:
            await live.hear()
    return live.raw.close_code


async def test_a_screen_is_greeted_and_gets_a_snapshot_of_each_topic(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        assert live.user["login"] == "chief"
        assert live.user["unit"] == {"id": CORPS, "name": "测试总队", "name_en": "Test Corps", "level": 1}
        await live.say(type="subscribe", topics=TOPICS, viewport=None)
        await live.until(lambda live: live.figures)
        kinds = [(f["type"], f.get("topic")) for f in live.frames if f["type"] in ("snapshot", "delta")]
        assert kinds[:3] == [("snapshot", "alerts"), ("snapshot", "roads"), ("snapshot", "figures")]
        assert sorted(live.checkpoints) == [1, 2, 3, 4]


async def test_a_passage_and_an_alert_come_to_the_screens_of_their_units_only(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    async with running(settings) as api, api.client("west") as one, api.client("east") as two:
        async with api.live(one) as west, api.live(two) as east:
            for live in (west, east):
                await live.say(type="subscribe", topics=TOPICS, viewport=None)
                await live.until(lambda live: live.figures)
            feed.flow([[1, bucket(settings), 1, 3, 2, 180.0], [4, bucket(settings), 2, 1, 0, 0.0]])
            hit = feed.finding(WEST_SQUADRON)
            other = feed.finding(EAST_SQUADRON)
            await west.until(lambda live: live.alerts and live.checkpoints[1]["per_minute"] == 3)
            await east.until(lambda live: live.alerts and live.checkpoints[4]["per_minute"] == 1)
            assert west.alerts == [hit] and east.alerts == [other]
            assert west.checkpoints[1]["flow"][0] == {"direction": 1, "per_minute": 3, "speed_kmh": 90.0}
            assert west.checkpoints[1]["state"] == "live"
            assert sorted(west.checkpoints) == [1, 2, 3], "its own and its neighbour's across the border"
            await west.until(lambda live: live.figures["alerts_today"] == 1)
            assert west.figures["alerts_by_level"] == {"1": 0, "2": 1, "3": 0, "4": 0}


async def test_a_restricted_alert_needs_clearance_and_an_address(settings, world, owner, feed):
    add_person(owner, "cleared", WEST, clearance=1)
    add_person(owner, "plain", WEST)
    async with running(settings) as api, api.client("cleared") as one, api.client("plain") as two:
        async with api.live(one) as cleared, api.live(two) as plain:
            for live in (cleared, plain):
                await live.say(type="subscribe", topics=["alerts", "figures"])
                await live.until(lambda live: live.figures)
            secret = feed.finding(WEST_SQUADRON, addressees=[WEST])
            open_one = feed.finding(WEST_SQUADRON)
            await cleared.until(lambda live: len(live.alerts) == 2)
            await plain.until(lambda live: live.alerts)
            assert cleared.alerts == [secret, open_one]
            assert plain.alerts == [open_one]


async def test_a_screen_that_comes_back_is_told_what_it_missed_and_nothing_twice(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    told: list[str] = []
    async with running(settings) as api, api.client("chief") as client:
        async with api.live(client) as live:
            await live.say(type="subscribe", topics=["alerts"])
            first = feed.finding(WEST_SQUADRON, partition=3)
            await live.until(lambda live: first in live.alerts + live.shown)
            told += live.shown + live.alerts
            cursor = live.cursor
        missed = [feed.finding(WEST_SQUADRON, partition=number % 4) for number in range(30)]
        async with api.live(client) as live:
            await live.say(type="resume", topics=["alerts"], since=cursor)
            later = feed.finding(EAST_SQUADRON)
            await live.until(lambda live: later in live.alerts)
            assert not live.shown
            told += live.alerts
    assert len(told) == len(set(told)) == 32
    assert set(told) == {first, later, *missed}


async def test_another_process_takes_the_cursor_too(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    async with running(settings) as here, here.client("chief") as client, here.live(client) as live:
        await live.say(type="subscribe", topics=["alerts"])
        await live.until(lambda live: live.cursor)
        cursor = live.cursor
    missed = feed.finding(WEST_SQUADRON)
    async with running(settings) as there, there.client("chief") as client, there.live(client) as live:
        await live.say(type="resume", topics=["alerts"], since=cursor)
        await live.until(lambda live: live.alerts)
        assert live.alerts == [missed] and not live.shown


async def test_a_cursor_of_elsewhere_is_answered_with_a_snapshot(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    known = feed.finding(WEST_SQUADRON)
    epoch = owner.execute("SELECT epoch FROM instance").fetchone()[0]
    async with running(settings) as api, api.client("chief") as client:
        for since in ("", "nonsense", "00000000-0000-0000-0000-000000000000|0:1", f"{epoch}|0:999999"):
            async with api.live(client) as live:
                await live.say(type="resume", topics=["alerts"], since=since)
                await live.until(lambda live: live.cursor)
                assert live.shown == [known] and not live.alerts


async def test_a_cursor_older_than_the_feed_is_answered_with_a_snapshot(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    epoch = owner.execute("SELECT epoch FROM instance").fetchone()[0]
    known = [feed.finding(WEST_SQUADRON) for _ in range(3)]
    with psycopg.connect(settings.database_url) as connection:
        connection.execute("SET ROLE traffic_writer")
        connection.execute("DELETE FROM feed WHERE seq <= 2")
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="resume", topics=["alerts"], since=f"{epoch}|0:1")
        await live.until(lambda live: live.cursor)
        assert sorted(live.shown) == sorted(known) and not live.alerts


async def test_a_ticket_is_good_once(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        ticket = await api.ticket(client)
        async with api.socket() as live:
            await live.say(type="hello", ticket=ticket)
            assert (await live.hear())["type"] == "hello"
        async with api.socket() as live:
            await live.say(type="hello", ticket=ticket)
            assert await live.error() == "ticket"
            assert await closed_with(live) == 4401


async def test_a_ticket_that_is_too_old_or_of_an_ended_session_is_refused(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        for ruin in (
            "UPDATE socket_ticket SET expires_at = expires_at - interval '31 seconds'",
            "UPDATE session SET revoked_at = clock_timestamp()",
        ):
            ticket = await api.ticket(client)
            owner.execute(ruin)
            async with api.socket() as live:
                await live.say(type="hello", ticket=ticket)
                assert await closed_with(live) == 4401


NO_HELLO = (
    ('{"type":"subscribe","topics":["roads"]}', "no_hello"),
    ("not json", "malformed"),
    ("[1]", "malformed"),
    ('{"type":"hello"}', "malformed"),
    ('{"type":"hello","ticket":7}', "malformed"),
    ("[" * 50_000, "malformed"),
    (b"bytes", "binary"),
)
WRONG: tuple[tuple[dict, str], ...] = (
    ({"type": "subscribe", "topics": []}, "malformed"),
    ({"type": "subscribe", "topics": ["everything"]}, "malformed"),
    ({"type": "viewport", "viewport": [1, 2, 3]}, "malformed"),
    ({"type": "viewport", "viewport": [5, 0, 4, 1]}, "viewport"),
    ({"type": "hello", "ticket": "x"}, "hello_again"),
    ({"type": "resume", "topics": ["alerts"]}, "malformed"),
)


async def test_a_first_message_that_is_no_hello_ends_the_socket(settings, world):
    async with running(settings) as api:
        for message, code in NO_HELLO:
            async with api.socket() as live:
                await live.raw.send(message)
                assert await live.error() == code
                assert await closed_with(live) == 4400


async def test_a_wrong_message_is_named_and_ends_the_socket(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        for message, code in WRONG:
            async with api.live(client) as live:
                await live.say(**message)
                assert await live.error() == code
                assert await closed_with(live) == 4400


async def test_an_unknown_message_is_named_and_the_socket_goes_on(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="dance")
        assert await live.error() == "unknown_type"
        await live.say(type="ack", ids=["1"])
        await live.say(type="pong")
        await live.say(type="subscribe", topics=["figures"])
        await live.until(lambda live: live.figures)


async def test_messages_have_a_size_and_a_rate(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        async with api.live(client) as live:
            await live.raw.send(json.dumps({"type": "ack", "ids": ["x" * 70_000]}))
            assert await closed_with(live) == 1009
        async with api.live(client) as live:
            for _ in range(200):
                try:
                    await live.say(type="pong")
                except ConnectionClosed:
                    break
            assert await closed_with(live) == 4400
            assert live.frames[-1]["code"] == "too_many"


async def test_a_foreign_page_cannot_open_the_live_view(settings, world):
    async with running(settings) as api:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"):
            with pytest.raises(InvalidStatus) as refused:
                async with api.socket({"Origin": origin}):
                    pass
            assert refused.value.response.status_code == 403


async def test_our_own_pages_can_open_the_live_view(settings, world):
    named = settings.model_copy(update={"public_origins": ["https://traffic.example"]})
    async with running(named) as api:
        for origin in (api.base, f"http://localhost:{api.settings.port}", "https://traffic.example"):
            async with api.socket({"Origin": origin}):
                pass


CHANGES = (
    "UPDATE person SET disabled = true WHERE login = 'one'",
    "UPDATE person SET role = 'crew' WHERE login = 'two'",
    "UPDATE person SET clearance = 1 WHERE login = 'three'",
    f"UPDATE person SET unit_id = {WEST} WHERE login = 'four'",
    "UPDATE session SET expires_at = clock_timestamp() WHERE person_id = (SELECT id FROM person WHERE login = 'five')",
)


async def test_a_change_of_a_persons_rights_closes_its_sockets_and_no_others(settings, world, owner):
    logins = ["one", "two", "three", "four", "five", "other"]
    async with running(settings) as api, AsyncExitStack() as stack:
        screens = []
        for login in logins:
            add_person(owner, login, CORPS)
            client = await stack.enter_async_context(api.client(login))
            screens.append(await stack.enter_async_context(api.live(client)))
        for change in CHANGES:
            owner.execute(change)
        for live in screens[:-1]:
            assert await closed_with(live) == 4403
        await screens[-1].say(type="subscribe", topics=["figures"])
        await screens[-1].until(lambda live: live.figures)


async def test_logging_out_closes_the_sockets_of_that_session_only(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as one, api.client("chief") as two:
        async with api.live(one) as first, api.live(two) as second:
            assert (await one.post("/api/logout")).status_code == 200
            assert await closed_with(first) == 4403
            await second.say(type="subscribe", topics=["figures"])
            await second.until(lambda live: live.figures)


async def test_the_viewport_limits_roads_and_nothing_else(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS, viewport=[125.0, 43.5, 125.2, 43.6])
        await live.until(lambda live: live.figures)
        assert sorted(live.checkpoints) == [1, 2, 3]
        assert live.figures["checkpoints_total"] == 4
        await live.say(type="viewport", viewport=[125.5, 43.5, 126.0, 44.0])
        await live.until(lambda live: sorted(live.checkpoints) == [4])
        await live.say(type="viewport", viewport=None)
        await live.until(lambda live: len(live.checkpoints) == 4)


async def test_a_client_that_does_not_read_is_closed_and_misses_no_alert(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        small.connect(("127.0.0.1", api.settings.socket_port))
        async with api.live(client, max_queue=1, close_timeout=0.1, sock=small) as live:
            await live.say(type="subscribe", topics=["alerts"])
            await live.until(lambda live: live.cursor)
            cursor = live.cursor
            live.raw.transport.pause_reading()
            sent = []

            async def overflown() -> bool:
                sent.extend(feed.finding(WEST_SQUADRON, facts="x" * 20_000) for _ in range(50))
                return 'sockets_closed_total{code="1013"}' in (await client.get("/metrics")).text

            await wait_until_async(overflown, timeout=90)
        async with api.live(client) as live:
            await live.say(type="resume", topics=["alerts"], since=cursor)
            await live.until(lambda live: len(live.alerts) >= len(sent), timeout_s=60)
            assert sorted(live.alerts) == sorted(sent)


async def test_what_stands_still_is_named_with_its_time(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.until(lambda live: live.stale)
        parts = {part["part"] for part in live.stale["parts"]}
        assert parts == {"worker", "monitor", "doors"}, "none runs in this test"
        owner.execute(
            "UPDATE partition SET until = clock_timestamp() + interval '1 minute', committed_at = clock_timestamp()"
        )
        owner.execute(
            "INSERT INTO part (kind, instance, started_at, seen_at)"
            " SELECT kind, 'x', now(), clock_timestamp() FROM unnest('{doors,monitor}'::text[]) kind"
        )
        await live.until(lambda live: live.stale["parts"] == [])
        assert live.stale["age_s"] == 0


async def test_the_hub_goes_on_when_the_network_changes(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS)
        await live.until(lambda live: live.figures)
        owner.execute("DELETE FROM section")
        owner.execute("DELETE FROM checkpoint WHERE id = 4")
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")
        hit = feed.finding(WEST_SQUADRON)
        await live.until(lambda live: len(live.checkpoints) == 3 and live.alerts)
        assert live.alerts == [hit]


async def test_nothing_but_the_view_is_served_on_the_socket_port(settings, world):
    async with running(settings) as api:
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{api.settings.socket_port}/other")).status_code == 404
