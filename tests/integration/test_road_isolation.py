"""Who sees what of the roads, over every surface: written from the intruder's side, as test_isolation.py.

Each thing carries a mark: W is the west's alone, S lies on the corridor between the two, E is the east's alone.
Whatever a viewer is ever sent is searched for marks that are not its own.
"""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.apikit import Api, Live, above, add_person, running, second_us
from tests.roadfeed import RoadFeed, audience_of_link
from tests.world import (
    CORPS,
    CREW_ID,
    EAST,
    EAST_SQUADRON,
    UNITS,
    WEST,
    WEST_BRIGADE,
    WEST_SQUADRON,
    World,
)
from traffic.database import API, as_role

TOPICS = ["links", "events", "units", "figures"]
LINK_OF = {"W": 1, "S": 2, "E": 4}
PLATE_OF = {"W": "吉W10001", "E": "吉E10001"}
NOWHERE = 19  # a unit that owns nothing


@dataclass(frozen=True, kw_only=True)
class Case:
    """A viewer, and which marks are its business."""

    login: str
    unit: int
    marks: str
    role: str = "commander"
    clearance: int = 0


CASES = (
    Case(login="corps", unit=CORPS, marks="WSE"),
    Case(login="west", unit=WEST, marks="WS", role="analyst"),
    Case(login="west-brigade", unit=WEST_BRIGADE, marks="WS", role="auditor", clearance=1),
    Case(login="west-squadron", unit=WEST_SQUADRON, marks="WS", role="crew"),
    Case(login="east", unit=EAST, marks="SE", role="administrator", clearance=1),
    Case(login="east-squadron", unit=EAST_SQUADRON, marks="SE", role="dispatcher"),
    Case(login="nowhere", unit=NOWHERE, marks="", clearance=1),
)


@dataclass(kw_only=True)
class Seen:
    """One viewer at its screen, with all that it was ever sent."""

    case: Case
    client: httpx.AsyncClient
    live: Live
    texts: list[str] = field(default_factory=list)

    async def get(self, path: str) -> httpx.Response:
        answer = await self.client.get(path)
        self.texts.append(answer.text)
        return answer

    def told(self) -> str:
        return json.dumps(self.live.frames, ensure_ascii=False) + "\n".join(self.texts)


@pytest.fixture
def feed(settings, world):
    feed = RoadFeed(settings.database_url, second_us(settings))
    yield feed
    feed.close()


def _add_people(owner: psycopg.Connection, world: World) -> None:
    since = world.now - timedelta(days=60)
    owner.execute(
        "INSERT INTO unit (id, code, name, name_en, level, branch, valid_from)"
        " VALUES (%s, '220000000019', '别处', 'Elsewhere', 2, 'territorial', %s)",
        [NOWHERE, since],
    )
    owner.execute("INSERT INTO unit_parent (unit_id, parent_id, valid_from) VALUES (%s, 1, %s)", [NOWHERE, since])
    for case in CASES:
        add_person(owner, case.login, case.unit, role=case.role, clearance=case.clearance)


def _stand(owner: psycopg.Connection, world: World) -> None:
    """What stands on the roads, marked."""
    places = {"W": (1_000, WEST_SQUADRON), "S": (15_000, WEST_SQUADRON), "E": (40_000, EAST_SQUADRON)}
    later = world.now + timedelta(hours=1)
    for mark, (stake_m, unit) in places.items():
        owner.execute(
            "UPDATE detector SET name_en = %s WHERE link_id = ANY (%s)",
            [f"MARK-{mark}", [LINK_OF[mark], LINK_OF[mark] + 4]],
        )
        owner.execute(
            "INSERT INTO weather_report (station, observed_at, received_at, valid_to, device, road_id, from_stake_m,"
            " to_stake_m, direction, kind, unit_id) VALUES (%s, %s, %s, %s, %s, 1, %s, %s, 0, 'weather', %s)",
            [
                f"MARK-{mark}",
                world.now,
                world.now,
                world.now + timedelta(hours=1),
                world.native_id,
                stake_m,
                stake_m,
                unit,
            ],
        )
        owner.execute(
            "INSERT INTO road_work (code, road_id, from_stake_m, to_stake_m, direction, lanes_closed, from_at, to_at,"
            " kind, state, unit_id, observed_at, received_at)"
            " VALUES (%s, 1, %s, %s, 1, '{1}', %s, %s, 'x', 'active', %s, %s, %s)",
            [f"MARK-{mark}", stake_m, stake_m, world.now, later, unit, world.now, world.now],
        )
        if mark != "S":  # objects and crews are no neighbour's business
            owner.execute(
                "INSERT INTO roadside_object (kind, code, name, name_en, road_id, stake_m, direction, lon, lat,"
                " unit_id, changed_at, changed_by) VALUES ('camera', %s, %s, 'x', 1, %s, 1, 125, 43.5, %s, %s, 'test')",
                [f"MARK-{mark}", f"MARK-{mark}", stake_m, unit, world.now],
            )
    owner.execute("UPDATE detector SET corridor = %s WHERE link_id = 2", [[EAST_SQUADRON]])
    owner.execute("UPDATE crew SET name_en = 'MARK-W'")


def _speak(feed: RoadFeed) -> dict[str, str]:
    """What is said of the roads, marked; ids of events by mark."""
    events = {mark: feed.event(link, mark=f"MARK-{mark}") for mark, link in LINK_OF.items()}
    for mark, link in LINK_OF.items():
        feed.link(link, 4, grounds={"mark": f"MARK-{mark}"})
    for detector, mark in ((1, "W"), (2, "S"), (4, "E")):
        feed.sensor(detector, "failed", audience_of_link(LINK_OF[mark]), mark=f"MARK-{mark}")
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.52)
    feed.vehicle(PLATE_OF["W"], WEST_SQUADRON, 125.1, 43.52)
    feed.vehicle(PLATE_OF["E"], EAST_SQUADRON, 125.5, 43.66)
    for unit, index in ((WEST, 7.125), (EAST, 8.125)):
        feed.index("unit", unit, index, above(unit))
    return events


async def test_no_surface_shows_a_viewer_what_of_the_roads_is_not_its_own(settings, world, owner, feed):
    _add_people(owner, world)
    _stand(owner, world)
    async with running(settings) as api, AsyncExitStack() as stack:
        everyone = [await _seat(api, stack, case) for case in CASES]
        early = _speak(feed)
        for seen in everyone:
            await _check_live(seen, early)
            await _check_http(seen, early)
        for seen in everyone:
            async with api.live(seen.client) as late:  # what is told from the tables
                await late.say(type="subscribe", topics=TOPICS, viewport=None)
                await late.until(lambda live: live.topics == set(TOPICS))
                assert late.links.keys() == seen.live.links.keys() and late.events.keys() == seen.live.events.keys()
                assert late.vehicles.keys() == seen.live.vehicles.keys() and late.crews.keys() == seen.live.crews.keys()
                seen.texts.append(json.dumps(late.frames, ensure_ascii=False))
            _check_marks(seen)


async def _seat(api: Api, stack: AsyncExitStack, case: Case) -> Seen:
    client = await stack.enter_async_context(api.client(case.login))
    live = await stack.enter_async_context(api.live(client))
    await live.say(type="subscribe", topics=TOPICS, viewport=None)
    await live.until(lambda live: live.topics == set(TOPICS))
    return Seen(case=case, client=client, live=live)


async def _check_live(seen: Seen, events: dict[str, str]) -> None:
    live, marks = seen.live, seen.case.marks
    mine = [mark for mark in "WE" if mark in marks]
    await live.until(
        lambda live: (
            len(live.events) == len(marks)
            and len(live.vehicles) == len(mine)
            and all(live.links[LINK_OF[mark]][1] == 4 for mark in marks)
            and len(live.crews) == ("W" in marks)
            and sum(live.figures["events_open"].values()) == len(marks)
        )
    )
    assert set(live.events) == {events[mark] for mark in marks}
    assert {plate for plate, _ in live.vehicles} == {PLATE_OF[mark] for mark in mine}
    of_west, of_east = {1, 2, 3, 5, 6, 7}, {2, 3, 4, 6, 7, 8}
    assert live.links.keys() == (of_west if "W" in marks else set()) | (of_east if "E" in marks else set())
    assert live.figures["crews"]["total"] == ("W" in marks)


async def _check_http(seen: Seen, events: dict[str, str]) -> None:
    marks = seen.case.marks
    await _check_one_by_one(seen, "/api/events", {id: mark in marks for mark, id in events.items()}, str(uuid4()))
    links = {str(link): mark in marks for mark, link in LINK_OF.items()}
    await _check_one_by_one(seen, "/api/links", links, "999999")
    await _check_one_by_one(seen, "/api/detectors", {"1": "W" in marks, "2": "S" in marks, "4": "E" in marks}, "999999")
    mine = {unit for unit in UNITS if seen.case.unit in above(unit)}
    summaries = {f"{unit}/summary": unit in mine for unit in UNITS}
    await _check_one_by_one(seen, "/api/units", summaries, "999999/summary")
    for scope, wanted in (("link", {1: "W", 2: "S", 4: "E"}), ("checkpoint", {1: "W", 2: "S", 4: "E"})):
        for number, mark in wanted.items():
            answer = await seen.get(f"/api/trend?scope={scope}&id={number}&metric=speed_kmh")
            assert answer.status_code == (200 if mark in marks else 404)
    for unit in UNITS:
        answer = await seen.get(f"/api/trend?scope=unit&id={unit}&metric=index")
        assert answer.status_code == (200 if unit in mine else 404)
    listed = (await seen.get("/api/events")).json()["events"]
    assert len(listed) == len(marks)
    counts = (await seen.get("/api/sensors")).json()["counts"]
    assert counts == {"ok": 0, "suspect": 0, "failed": len(marks), "silent": 0}
    for path, key in (("/api/weather", "reports"), ("/api/road-works", "works")):
        assert len((await seen.get(path)).json()[key]) == len(marks)
    area = (await seen.get("/api/map")).json()
    assert {line["id"] for line in area["links"]["features"]} == seen.live.links.keys()
    assert len(area["crews"]) == ("W" in marks)
    for text in ("MARK", "K15+000", "squadron", "2201", "T-1", "吉"):
        await seen.get(f"/api/search?q={text.replace('+', '%2B')}")
    place = (await seen.get("/api/place?road=G1&stake=K1")).json()
    assert (place["link_id"], place["unit_id"]) == ((1, WEST_SQUADRON) if "W" in marks else (None, None))


async def _check_one_by_one(seen: Seen, path: str, things: dict[str, bool], strange: str) -> None:
    """What is not the viewer's is answered as what is not there."""
    nothing = await seen.client.get(f"{path}/{strange}")
    assert nothing.status_code == 404
    for name, is_mine in things.items():
        answer = await seen.get(f"{path}/{name}")
        assert answer.status_code == (200 if is_mine else 404), f"{seen.case.login}: {path}/{name}"
        if not is_mine:
            assert answer.text == nothing.text and {*answer.headers} == {*nothing.headers}


def _check_marks(seen: Seen) -> None:
    told = seen.told()
    for mark in "WSE":
        assert (f"MARK-{mark}" in told) == (mark in seen.case.marks), f"{seen.case.login} and {mark}"
    for mark, plate in PLATE_OF.items():
        assert (plate in told) == (mark in seen.case.marks), f"{seen.case.login} and {plate}"
    assert ("吉A1001警" in told) == ("W" in seen.case.marks)
    for index, unit in ((7.125, WEST), (8.125, EAST)):
        assert (str(index) in told) == (seen.case.unit in above(unit)), "an index is its unit's, and of those above"


async def test_the_hub_and_the_database_hold_the_same_rule_of_who_sees_a_link(settings, world, owner, feed):
    _add_people(owner, world)
    for link in range(1, 9):
        feed.link(link, 2)
    async with running(settings) as api, AsyncExitStack() as stack:
        for case in CASES:
            seen = await _seat(api, stack, case)
            with psycopg.connect(as_role(settings.database_url, API)) as connection:
                connection.execute("SELECT set_config('traffic.unit', %s, true)", [str(case.unit)])
                stored = {row[0] for row in connection.execute("SELECT link_id FROM link_state")}
                asked = {
                    row[0]
                    for row in connection.execute(
                        "SELECT id FROM link WHERE sees_traffic(unit_id, corridor, %s)", [settings.clock.now()]
                    )
                }
            assert seen.live.links.keys() == stored == asked, case.login


async def test_a_person_who_is_moved_sees_the_new_units_roads_and_no_others(settings, world, owner, feed):
    number = add_person(owner, "mover", WEST)
    events = _speak(feed)
    async with running(settings) as api, api.client("mover") as client:
        assert (await client.get(f"/api/events/{events['W']}")).status_code == 200
        owner.execute("UPDATE person SET unit_id = %s WHERE id = %s", [EAST, number])
        assert (await client.get(f"/api/events/{events['W']}")).status_code == 404
        assert (await client.get("/api/links/1")).status_code == 404
        assert (await client.get("/api/links/4")).status_code == 200
        area = (await client.get("/api/map")).json()
        assert {line["id"] for line in area["links"]["features"]} == {2, 3, 4, 6, 7, 8} and area["crews"] == []


async def test_a_vehicle_that_passes_by_leaves_no_trace_on_a_screen_that_may_not_see_it(settings, world, owner, feed):
    """No frame at all: not even an empty one tells that something moved."""
    add_person(owner, "east", EAST)
    async with running(settings) as api, api.client("east") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["units"], viewport=None)
        await live.until(lambda live: live.topics)
        heard = len(live.frames)
        for second in range(3):
            feed.vehicle(PLATE_OF["W"], WEST_SQUADRON, 125.1 + second / 100, 43.52, at_us=feed.now_us + second)
        feed.vehicle(PLATE_OF["E"], EAST_SQUADRON, 125.5, 43.66)
        await live.until(lambda live: live.vehicles)
        told = [frame for frame in live.frames[heard:] if frame.get("topic") == "units"]
        assert len(told) == 1 and PLATE_OF["W"] not in json.dumps(live.frames, ensure_ascii=False)


async def test_odd_viewports_show_nothing_that_is_not_the_viewers(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    _speak(feed)
    views = [[-180, -90, 180, 90], [125.5, 43.5, 126, 44], [-1e308, -1e308, 1e308, 1e308], [125, 43.5, 125, 43.5]]
    async with running(settings) as api, api.client("west") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["links", "units"], viewport=None)
        await live.until(lambda live: live.topics == {"links", "units"})
        for view in views:
            await live.say(type="viewport", viewport=view)
            await asyncio.sleep(0)
        await live.say(type="viewport", viewport=None)
        await live.until(lambda live: len(live.links) == 6 and live.vehicles)
        told = json.dumps(live.frames, ensure_ascii=False)
        assert PLATE_OF["E"] not in told
        assert all(row[0] not in (4, 8) for frame in live.frames for row in frame.get("links", ()))
        for wrong in ([float("nan")] * 4, [1e999, 0, 0, 0]):
            async with api.live(client) as other:
                await other.raw.send(json.dumps({"type": "viewport", "viewport": wrong}))
                assert await other.error() in ("malformed", "viewport")
