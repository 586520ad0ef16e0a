"""The live view under attack: forged cursors, floods, odd frames; and it must go on serving others."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dashboards import sockets
from tests.apikit import Api, Feed, Live, add_person, running
from tests.world import CORPS, EAST_SQUADRON, WEST, WEST_BRIGADE, WEST_SQUADRON

TOPICS = ["roads", "alerts", "figures"]
EPOCH = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


async def end_of(live: Live) -> int | None:
    """Hear until the socket is closed; its code."""
    async with asyncio.timeout(20):
        try:
            while True:
                await live.hear()
        except ConnectionClosed:
            return live.raw.close_code


async def goes_on(api: Api, client) -> None:
    """A well-behaved screen is still served."""
    async with api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS, viewport=None)
        await live.until(lambda live: live.figures)


async def test_a_forged_cursor_shows_nothing_that_a_snapshot_would_not(settings, world, owner, feed):
    add_person(owner, "west", WEST, clearance=1)
    mine = feed.finding(WEST_SQUADRON, plate="吉A11111")
    feed.finding(EAST_SQUADRON, plate="吉A22222")
    feed.finding(WEST_SQUADRON, plate="吉A33333", addressees=[WEST_BRIGADE])
    epoch = owner.execute("SELECT epoch::text FROM instance").fetchone()[0]
    forged = [
        "", "|", epoch, f"{epoch}|", f"{epoch}|0:-1", f"{epoch}|0:0", f"{epoch}|0:999999999999999999", f"{epoch}|999:1",
        f"{epoch}|-1:1", f"{epoch}|0:1,0:2", f"{epoch}|0:1,", f"{epoch}|0:１", f"{epoch}|0:1e3", f"{EPOCH}|0:1",
        f"{epoch.upper()}|0:1", f"{epoch}|0:1;DROP TABLE feed", f"{epoch}|" + ",".join(f"{n}:1" for n in range(200)),
        "x" * 60_000, f"{epoch}|0:{'9' * 18},1:1", f"{epoch}|0:\u0000", f"{epoch}|70000:1", f"{epoch}|0:{'9' * 19}",
    ]  # fmt: skip
    async with running(settings) as api, api.client("west") as client, api.live(client) as live:
        for since in forged:
            before = len(live.frames)
            live.shown, live.alerts = [], []
            await live.say(type="resume", topics=["alerts"], viewport=None, since=since)
            await live.until(lambda live: {*live.shown, *live.alerts} == {mine})
            told = json.dumps(live.frames[before:], ensure_ascii=False)
            assert "A22222" not in told and "A33333" not in told, since
            await asyncio.sleep(0.05)  # within the allowed rate of messages


VIEWPORTS = [
    b"[NaN,0,1,1]", b"[0,0,Infinity,1]", b"[1e999,0,1,1]", b"[-1e308,-1e308,1e308,1e308]", b"[1,1,0,0]", b"[0,0,1]",
    b"[0,0,1,1,1]", b'["0",0,1,1]', b"{}", b"[[0],0,1,1]", b"[-180,-90,180,90]", b"[400,400,500,500]", b"[0,0,0,0]",
    b"[124.9,43.4,125.3,43.8]", b"null", b"[" * 20_000, b"[1e-400,0,1,1]",
]  # fmt: skip


async def test_no_viewport_shows_a_gate_that_is_not_the_viewers(settings, world, owner):
    add_person(owner, "squadron", WEST_SQUADRON)
    async with running(settings) as api, api.client("squadron") as client:
        for viewport in VIEWPORTS:
            async with api.live(client) as live:
                await live.raw.send(
                    (b'{"type":"subscribe","topics":["roads","figures"],"viewport":' + viewport + b"}").decode()
                )
                try:
                    await live.until(lambda live: live.figures)
                except (ConnectionClosed, KeyError):
                    pass
                assert live.checkpoints.keys() <= {1, 2, 3}
        await goes_on(api, client)


async def test_odd_frames_end_the_socket_and_nothing_else(settings, world, owner):
    add_person(owner, "chief")
    bad = [
        b"\x00\xff", b'{"type":"subscribe","topics":["roads"]}', "", "[]", "null", "{", '{"type":[]}', '{"type":null}',
        '{"type":"subscribe","topics":[]}', '{"type":"subscribe","topics":["cases"]}', "[" * 30_000, "x" * 70_000,
        '{"type":"subscribe","topics":"roads"}', '{"type":"ack","ids":' + json.dumps(["x"] * 600) + "}",
        '{"type":"ack","ids":["' + "x" * 100 + '"]}', '{"type":"subscribe","topics":["roads"],"type":"hello"}',
    ]  # fmt: skip
    async with running(settings) as api, api.client("chief") as client:
        for message in bad:
            async with api.live(client) as live:
                await live.raw.send(message)
                assert await end_of(live) in (4400, 1009), message[:80]
            async with api.socket() as stranger:
                await stranger.raw.send(message)
                assert await end_of(stranger) in (4400, 1009), message[:80]
        async with api.live(client) as live:  # in many fragments, some of them empty
            await live.raw.send(["", '{"type":"subscribe",', "", '"topics":["figures"]', ",", '"viewport":null', "}"])
            await live.until(lambda live: live.figures)


async def test_ten_thousand_subscriptions_are_cut_off_and_others_served(settings, world, owner, feed):
    add_person(owner, "rude")
    add_person(owner, "polite")
    for _ in range(20):
        feed.finding(WEST_SQUADRON)
    async with running(settings) as api, api.client("rude") as rude, api.client("polite") as polite:
        async with api.live(rude) as live:

            async def flood() -> None:
                for number in range(10_000):
                    await live.say(type="subscribe", topics=TOPICS, viewport=[0, 0, number / 100, 90])

            flooding = asyncio.create_task(flood())
            await goes_on(api, polite)
            assert await end_of(live) == 4400
            await asyncio.gather(flooding, return_exceptions=True)
        await goes_on(api, polite)


async def test_one_person_cannot_take_all_views(settings, world, owner):
    add_person(owner, "greedy")
    add_person(owner, "other", CORPS)
    async with running(settings) as api, api.client("greedy") as greedy, api.client("other") as other:
        async with AsyncExitStack() as stack:
            for _ in range(sockets.VIEWS_OF_PERSON_MAX):
                await stack.enter_async_context(api.live(greedy))
            ticket = await api.ticket(greedy)
            async with api.socket() as live:
                await live.say(type="hello", ticket=ticket)
                assert await live.error() == "too_many_views"
            await goes_on(api, other)
        await goes_on(api, greedy)  # places come free again


async def test_connections_that_say_nothing_are_bounded_and_end(settings, world, owner, monkeypatch):
    monkeypatch.setattr(sockets, "UNGREETED_MAX", 5)
    monkeypatch.setattr(sockets, "HELLO_S", 1.0)
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        async with AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(api.socket()) for _ in range(5)]
            with pytest.raises(InvalidStatus) as told:
                await stack.enter_async_context(api.socket())
            assert told.value.response.status_code == 503
            assert {await end_of(live) for live in silent} == {4400}
        await goes_on(api, client)


async def test_a_code_that_a_client_chose_is_no_label_of_ours(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        for code in (3007, 4711):
            async with api.live(client) as live:
                await live.raw.close(code, "x")
        page = (await client.get("/metrics")).text
        assert "4711" not in page and "3007" not in page
