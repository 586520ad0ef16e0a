"""Links, events and units on the live view, over real sockets and a real database."""

from uuid import UUID

import pytest

from tests.apikit import add_person, running, second_us
from tests.roadfeed import RoadFeed
from tests.world import CORPS, CREW_ID, EAST, EAST_SQUADRON, WEST, WEST_SQUADRON

TOPICS = ["links", "events", "units", "figures"]
TANKER = "吉A60001"


@pytest.fixture
def feed(settings, world):
    feed = RoadFeed(settings.database_url, second_us(settings))
    yield feed
    feed.close()


async def test_a_screen_begins_with_what_the_tables_hold(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    feed.link(1, 4, speed_kmh=22.5)
    feed.link(2, 0, observed_us=feed.now_us - 600_000_000)
    event = feed.event(2)
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.52)
    feed.vehicle(TANKER, EAST_SQUADRON, 125.5, 43.65)
    feed.index("province", 0, 3.4, [CORPS, WEST, EAST])
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS, viewport=None)
        await live.until(lambda live: live.topics == set(TOPICS))
        assert sorted(live.links) == list(range(1, 9)), "each link of the area, known or not"
        assert live.links[1] == [1, 4, 22.5, 1200, 15, 450, 520, 0.9, feed.now_us, 1, 1]
        unknown = [0, None, None, None, None, None, 0, None, 0, 0]
        assert live.links[2] == [2, *unknown] and live.links[8] == [8, *unknown]
        assert live.events[event]["head_stake_m"] == 15_000
        assert live.crews[CREW_ID][2:4] == [125.1, 43.52]
        assert live.vehicles[TANKER, 2][2] == "hazardous_goods"
        figures = live.figures
        assert figures["index"]["index"] == 3.4 and figures["index"]["risk_links"] == [4, 3, 2, 1]
        assert figures["events_open"]["congestion"] == 1 and figures["crews"] == {"fresh": 1, "total": 1}


async def test_what_a_cycle_and_a_crew_say_comes_to_the_screens_that_may_see_it(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    async with running(settings) as api, api.client("west") as one, api.client("east") as two:
        async with api.live(one) as west, api.live(two) as east:
            for live in (west, east):
                await live.say(type="subscribe", topics=TOPICS, viewport=None)
                await live.until(lambda live: live.topics == set(TOPICS))
            for link in (1, 2, 4):
                feed.link(link, 3)
            mine, ours, theirs = feed.event(1), feed.event(2), feed.event(4)
            feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.52)
            feed.vehicle(TANKER, EAST_SQUADRON, 125.5, 43.65)
            feed.index("unit", WEST, 5.5, [CORPS, WEST])
            await west.until(lambda live: live.crews and live.figures["index"])
            await east.until(lambda live: live.vehicles and len(live.events) == 2)
            assert sorted(west.links) == [1, 2, 3, 5, 6, 7] and sorted(east.links) == [2, 3, 4, 6, 7, 8]
            assert set(west.events) == {mine, ours} and set(east.events) == {ours, theirs}
            assert not west.vehicles and not east.crews, "plates and crews are for those whose business they are"
            assert west.figures["index"]["index"] == 5.5 and east.figures["index"] is None
            assert west.figures["crews"] == {"fresh": 1, "total": 1}
            assert east.figures["crews"] == {"fresh": 0, "total": 0}


async def test_a_vehicle_that_drives_on_goes_from_the_screens_of_those_behind_it(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    add_person(owner, "chief", CORPS)
    feed.vehicle(TANKER, WEST_SQUADRON, 125.2, 43.55, at_us=feed.now_us - 30_000_000)
    async with running(settings) as api, api.client("west") as one, api.client("chief") as two:
        async with api.live(one) as west, api.live(two) as chief:
            for live in (west, chief):
                await live.say(type="subscribe", topics=["units"], viewport=None)
                await live.until(lambda live: live.vehicles)
            feed.vehicle(TANKER, EAST_SQUADRON, 125.3, 43.6)
            await west.until(lambda live: not live.vehicles)
            await chief.until(lambda live: live.vehicles[TANKER, 2][4:6] == [125.3, 43.6])


async def test_a_vehicle_that_left_the_registry_is_on_no_screen(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.52)
    feed.vehicle(TANKER, WEST_SQUADRON, 125.2, 43.55)
    owner.execute("UPDATE key_vehicle SET enabled = false")
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["units"], viewport=None)
        await live.until(lambda live: live.crews)
        assert not live.vehicles


async def test_an_ended_event_is_told_and_remembered(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    event = feed.event(1)
    async with running(settings) as api, api.client("chief") as client:
        async with api.live(client) as live:
            await live.say(type="subscribe", topics=["events"], viewport=None)
            await live.until(lambda live: live.events)
            feed.event(1, id=UUID(event), state="ended", revision=2)
            await live.until(lambda live: live.events[event]["state"] == "ended")
        async with api.live(client) as live:
            await live.say(type="subscribe", topics=["events"], viewport=None)
            await live.until(lambda live: live.events)
            assert live.events[event]["state"] == "ended"


async def test_a_map_that_moves_is_told_of_its_part(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.52)
    feed.vehicle(TANKER, EAST_SQUADRON, 125.6, 43.69)
    async with running(settings) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["links", "units"], viewport=[125.5, 43.5, 126.0, 44.0])
        await live.until(lambda live: live.topics == {"links", "units"})
        assert sorted(live.links) == [4, 8] and not live.crews and len(live.vehicles) == 1
        await live.say(type="viewport", viewport=[125.0, 43.5, 125.2, 43.6])
        await live.until(lambda live: live.crews)
        assert sorted(live.links) == [1, 2, 3, 4, 5, 6, 7, 8] and not live.vehicles, "a tile is half a degree"
        await live.say(type="viewport", viewport=None)
        await live.until(lambda live: live.vehicles)
