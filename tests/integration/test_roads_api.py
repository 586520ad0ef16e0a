"""The roads over HTTP: links, events, sensors, trends, places, search, areas, weather and works."""

from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from dashboards.api import shapes
from tests.apikit import add_person, running, second_us
from tests.roadfeed import RoadFeed
from tests.world import CORPS, CREW_ID, EAST, EAST_SQUADRON, WEST, WEST_SQUADRON
from traffic.store import us_of, when

MINUTE = timedelta(minutes=1)


@pytest.fixture
def feed(settings, world):
    feed = RoadFeed(settings.database_url, second_us(settings))
    yield feed
    feed.close()


def write_minute(owner: psycopg.Connection, bucket, link: int, speed: float, *, table: str = "link_minute") -> None:
    owner.execute(
        f"INSERT INTO {table} VALUES (%s, %s, 2, 2, 0, 0, 0, 0, 2, %s, %s, 2, 2000, 2, 900, 460, 2, 0.4, 2, 0.2, 0.1,"
        " 1.8)",
        [bucket, link, 2 * speed, speed],
    )


# ---------------------------------------------------------------- links
async def test_a_link_tells_its_state_its_risk_its_sensors_and_its_last_hour(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    grounds = {"sensors": [], "risk": {"now": {"speed": 0.25, "night": 0.0125}, "next": {"speed": 0.125, "fog": 0.5}}}
    feed.link(1, 4, speed_kmh=22.5, risk_level=3, grounds=grounds)
    feed.sensor(1, "suspect", [CORPS, WEST])
    now = settings.clock.now().replace(second=0, microsecond=0)
    for minutes in (5, 4, 90):
        write_minute(owner, now - minutes * MINUTE, 1, 60.0 + minutes)
    async with running(settings) as api, api.client("chief") as client:
        link = (await client.get("/api/links/1")).json()
        assert link["link"]["road"] == "G1" and link["link"]["unit_id"] == WEST_SQUADRON
        assert link["state"]["level"] == 4 and link["state"]["speed_kmh"] == 22.5
        assert link["state"]["sources"] == ["detectors", "travel_times"]
        assert link["risk"]["level"] == 3
        assert link["risk"]["factors"] == [
            {"factor": "fog", "now": 0.0, "next": 0.5}, {"factor": "speed", "now": 0.25, "next": 0.125},
            {"factor": "night", "now": 0.0125, "next": None},
        ]  # fmt: skip
        health = {(sensor["kind"], sensor["id"]): sensor["lanes"] for sensor in link["sensors"]}
        assert health.keys() == {("checkpoint", 1), ("checkpoint", 2), ("detector", 1)}
        assert health["detector", 1][0]["state"] == "suspect" and health["checkpoint", 1] == []
        assert link["series"] == [
            [us_of(now - 5 * MINUTE), 65.0, 1000.0, 450.0], [us_of(now - 4 * MINUTE), 64.0, 1000.0, 450.0],
        ]  # fmt: skip
        assert link["usual"] is None


async def test_what_is_usual_on_a_link_is_the_mean_of_the_same_quarter_in_the_weeks_before(settings, world, owner):
    add_person(owner, "chief", CORPS)
    now = settings.clock.now()
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    for weeks, speed in ((1, 50.0), (2, 60.0), (9, 10.0)):
        write_minute(owner, quarter - timedelta(weeks=weeks), 1, speed, table="link_quarter")
    async with running(settings) as api, api.client("chief") as client:
        link = (await client.get("/api/links/1")).json()
        assert link["usual"] == {"speed_kmh": 55.0, "flow_vph": 1000.0}
        assert link["state"] is None and link["risk"]["level"] == 0


@pytest.mark.parametrize("fields", [{"cycle_us": -91}, {"observed_us": -121}])
async def test_a_link_whose_cycle_or_data_is_old_is_unknown(settings, world, owner, feed, fields):
    add_person(owner, "chief", CORPS)
    feed.link(1, 1, **{name: feed.now_us + seconds * 1_000_000 for name, seconds in fields.items()})
    async with running(settings) as api, api.client("chief") as client:
        link = (await client.get("/api/links/1")).json()
        assert link["state"]["level"] == 0 and link["state"]["speed_kmh"] is None and link["risk"]["level"] == 0


# ---------------------------------------------------------------- events and sensors
async def test_events_are_listed_page_by_page_and_by_kind_and_state(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    feed_ids = [feed.event(1, kind=kind, at=feed.now_us - number * 1_000_000)
                for number, kind in enumerate(("incident", "works", "incident", "weather", "sensor"))]  # fmt: skip
    feed.event(1, id=UUID(feed_ids[2]), kind="incident", state="ended", revision=2, at=feed.now_us - 2_000_000)
    async with running(settings) as api, api.client("chief") as client:
        seen, path = [], "/api/events?limit=2"
        while path:
            page = (await client.get(path)).json()
            seen += [event["id"] for event in page["events"]]
            path = page["next"] and f"/api/events?limit=2&before={page['next']}"
        assert seen == feed_ids
        incidents = (await client.get("/api/events?kind=incident&state=open")).json()["events"]
        assert [event["id"] for event in incidents] == [feed_ids[0]]
        one = (await client.get(f"/api/events/{feed_ids[2]}")).json()
        assert one["event"]["state"] == "ended" and [r["revision"] for r in one["revisions"]] == [2, 1]
        assert one["revisions"][1]["body"]["state"] == "open"
        assert (await client.get(f"/api/events/{uuid4()}")).status_code == 404


async def test_bad_sensors_come_first_and_all_are_counted(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    for detector, state in ((1, "suspect"), (2, "ok"), (3, "failed")):
        feed.sensor(detector, state, [CORPS, WEST])
    feed.sensor(4, "failed", [CORPS, EAST])
    async with running(settings) as api, api.client("west") as client:
        bad = (await client.get("/api/sensors")).json()
        assert [(s["id"], s["state"]) for s in bad["sensors"]] == [(3, "failed"), (1, "suspect")]
        assert bad["counts"] == {"ok": 1, "suspect": 1, "failed": 1, "silent": 0}
        everything = (await client.get("/api/sensors?state=all")).json()["sensors"]
        assert [s["id"] for s in everything] == [3, 1, 2]


async def test_a_detector_tells_what_its_lanes_reported_in_the_last_half_hour(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    at = when(feed.now_us)
    for lane, minutes, speed in ((1, 2, 80.0), (1, 1, float("nan")), (2, 1, 70.0), (1, 40, 60.0)):
        owner.execute(
            "INSERT INTO detector_report VALUES (%s, %s, 1, %s, %s, 30, 5, -1, 'NaN', %s, 3, 0)",
            [at - minutes * MINUTE, at, world.native_id, lane, speed],
        )
    feed.sensor(1, "ok", [CORPS, WEST])
    async with running(settings) as api, api.client("west") as client:
        detector = (await client.get("/api/detectors/1")).json()
        assert detector["detector"]["code"] == "D-1" and detector["health"][0]["state"] == "ok"
        assert detector["lanes"] == [
            {"lane": 1, "series": [
                [us_of(at - 2 * MINUTE), 5, None, 80.0, None], [us_of(at - MINUTE), 5, None, None, None],
            ]},
            {"lane": 2, "series": [[us_of(at - MINUTE), 5, None, 70.0, None]]},
        ]  # fmt: skip


# ---------------------------------------------------------------- trends
async def test_a_trend_stands_beside_the_same_of_a_week_before(settings, world, owner):
    add_person(owner, "chief", CORPS)
    now = settings.clock.now().replace(second=0, microsecond=0)
    for back, speed in ((timedelta(minutes=3), 50.0), (timedelta(days=7, minutes=3), 70.0)):
        write_minute(owner, now - back, 1, speed)
    async with running(settings) as api, api.client("chief") as client:
        trend = (await client.get("/api/trend?scope=link&id=1&hours=2&metric=speed_kmh")).json()
        assert trend["bucket_s"] == 60
        assert trend["series"] == [[us_of(now - timedelta(minutes=3)), 50.0]]
        assert trend["before"] == [[us_of(now - timedelta(days=7, minutes=3)), 70.0]]


async def test_a_longer_trend_has_wider_buckets(settings, world, owner):
    add_person(owner, "chief", CORPS)
    scopes = (("link", "risk"), ("checkpoint", "passages"), ("unit", "passages"), ("unit", "index"),
              ("road", "speed_kmh"), ("province", "congested_km"))  # fmt: skip
    async with running(settings) as api, api.client("chief") as client:
        for hours, bucket_s in ((6, 60), (7, 900), (72, 900), (73, 3600), (744, 3600), (745, 86_400)):
            for scope, metric in scopes:
                asked = {"scope": scope, "id": 1, "hours": hours, "metric": metric}
                answer = await client.get("/api/trend", params=asked)
                assert answer.status_code == 200, answer.text
                assert answer.json()["bucket_s"] == bucket_s and answer.json()["series"] == []


# ---------------------------------------------------------------- places and search
async def test_a_stake_in_any_spelling_is_the_same_point_and_back(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        for stake in ("K10+500", "k10+500", "Ｋ１０＋５００", "10+500", "K 10+500"):
            place = (await client.get("/api/place", params={"road": "京哈", "stake": stake, "direction": 2})).json()
            assert (place["stake"], place["direction"], place["link_id"]) == ("K10+500", 2, 6)
        back = (await client.get("/api/place", params={"lon": place["lon"], "lat": place["lat"]})).json()
        assert back["road"]["code"] == "G1" and abs(back["stake_m"] - 10_500) <= 1 and back["away_m"] < 1


NO_PLACES = (
    ({}, 422, "road"), ({"road": "G1"}, 422, "road"), ({"lon": 1}, 422, "road"), ({"lon": "nan", "lat": 1}, 422, "lon"),
    ({"lon": 181, "lat": 1}, 422, "lon"), ({"road": "G1", "stake": "far"}, 422, "stake"),
    ({"road": "G1", "stake": "K9999"}, 404, None), ({"road": "G9", "stake": "K1"}, 404, None),
    ({"road": "G1", "stake": "K1", "direction": 3}, 422, "direction"), ({"road": "x" * 65, "stake": "1"}, 422, "road"),
)  # fmt: skip


async def test_a_place_that_is_none_is_refused_by_name(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        for params, status, field in NO_PLACES:
            answer = await client.get("/api/place", params=params)
            assert (answer.status_code, answer.json()["error"].get("field")) == (status, field), params


async def test_search_finds_places_first_then_names_the_nearest_match_first(settings, world, owner):
    add_person(owner, "west", WEST)
    wanted = {
        "G1 10.5": [("place", None)], "京哈 K10+500": [("place", None)], "ｇ１　ｋ１０": [("place", None)],
        "K10+500": [("place", None)], "G1": [("road", 1)], "西大队": [("unit", 111)], "west toll": [("object", 1)],
        "西收费站": [("object", 1)], "D-1": [("detector", 1)], "W-1": [("crew", CREW_ID)],
        "test gate 3": [("checkpoint", 3)], "22010000001210000001": [("checkpoint", 1)],
        "西": [("unit", 11), ("unit", 111), ("unit", 1111), ("object", 1), ("crew", CREW_ID)],
        "nothing": [], "G1 K999+000": [], "%": [], "_": [], "' OR 1=1 --": [], "\\": [], "🚓": [],
    }  # fmt: skip
    async with running(settings) as api, api.client("west") as client:
        for text, results in wanted.items():
            answer = await client.get("/api/search", params={"q": text})
            found = [(result["kind"], result["id"]) for result in answer.json()["results"]]
            assert found == results, text


# ---------------------------------------------------------------- areas, weather and works
async def test_a_units_summary_counts_what_belongs_to_it_and_to_each_below(settings, world, owner, feed):
    add_person(owner, "chief", CORPS)
    feed.index("province", 0, 3.5, [CORPS, WEST, EAST])
    feed.index("unit", WEST, 4.5, [CORPS, WEST])
    feed.event(1, kind="incident"), feed.event(3, kind="works"), feed.event(3, kind="works", state="ended")
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.5)
    async with running(settings) as api, api.client("chief") as client:
        whole = (await client.get(f"/api/units/{CORPS}/summary")).json()
        assert whole["index"]["index"] == 3.5 and whole["crews"] == {"fresh": 1, "total": 1}
        assert whole["events_open"] == {"congestion": 0, "incident": 1, "weather": 0, "works": 1, "sensor": 0}
        west, east = whole["children"]
        assert (west["unit"]["id"], west["index"]["index"], west["events_open"]["incident"]) == (WEST, 4.5, 1)
        assert (east["unit"]["id"], east["index"], east["events_open"]["works"]) == (EAST, None, 1)
        assert west["index"]["risk_links"] == [4, 3, 2, 1]


def add_weather(
    owner: psycopg.Connection, world, number: int, place: tuple, *, unit: int = CORPS, hold: int = 60
) -> None:
    owner.execute(
        "INSERT INTO weather_report (station, observed_at, received_at, valid_to, device, road_id, from_stake_m,"
        " to_stake_m, direction, kind, visibility_m, unit_id) VALUES (%s, %s, %s, %s, %s, 1, %s, %s, 0, 'weather', 80,"
        " %s)",
        [f"S{number}", world.now, world.now, world.now + hold * MINUTE, world.native_id, *place, unit],
    )


async def test_weather_and_works_come_to_those_whose_stretches_they_touch(settings, world, owner):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    for number, place in enumerate(((1000, 2000), (9_000, 12_000), (24_000, 26_000), (40_000, 41_000)), start=1):
        add_weather(owner, world, number, place)
        owner.execute(
            "INSERT INTO road_work (code, road_id, from_stake_m, to_stake_m, direction, lanes_closed, from_at, to_at,"
            " kind, state, unit_id, observed_at, received_at)"
            " VALUES (%s, 1, %s, %s, 1, '{1}', %s, %s, 'paving', 'active', %s, %s, %s)",
            [f"P{number}", *place, world.now, world.now + 60 * MINUTE, EAST_SQUADRON if number > 2 else WEST_SQUADRON,
             world.now, world.now],
        )  # fmt: skip
    add_weather(owner, world, 9, (1000, 2000), hold=-1)
    async with running(settings) as api, api.client("west") as west, api.client("east") as east:
        for client, numbers in ((west, "123"), (east, "234")):
            reports = (await client.get("/api/weather")).json()["reports"]
            works = (await client.get("/api/road-works")).json()["works"]
            assert sorted(report["station"] for report in reports) == [f"S{n}" for n in numbers]
            assert sorted(work["code"] for work in works) == [f"P{n}" for n in numbers]
            assert (await client.get("/api/road-works?state=ended")).json()["works"] == []


async def test_the_map_shows_a_camera_that_came_after_it_was_first_asked_for(settings, world, owner):
    add_person(owner, "west", WEST)
    async with running(settings) as api, api.client("west") as client:
        area = (await client.get("/api/map")).json()
        line = area["links"]["features"][0]
        assert line["id"] == 1 and line["geometry"] == {
            "type": "LineString",
            "coordinates": [[125.0, 43.5], [125.125, 43.54]],
        }
        assert [thing["id"] for thing in area["objects"]] == [1] and [crew["id"] for crew in area["crews"]] == [CREW_ID]
        owner.execute(
            "INSERT INTO roadside_object (kind, code, name, name_en, road_id, stake_m, direction, lon, lat, unit_id,"
            " changed_at, changed_by) VALUES ('camera', 'C-1', 'x', 'x', 1, 1, 1, 125, 43.5, %s, %s, 'test')",
            [WEST_SQUADRON, settings.clock.now()],
        )
        assert len((await client.get("/api/map")).json()["objects"]) == 2


# ---------------------------------------------------------------- as described
async def test_every_answer_about_roads_has_a_described_shape(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        page = (await client.get("/openapi.json")).json()
        described = {
            name.rpartition("/")[2]
            for methods in page["paths"].values()
            for name in [methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
                         .get("application/json", {}).get("schema", {}).get("$ref", "")]
        }  # fmt: skip
        wanted = ("LinkDetail", "Events", "EventDetail", "Sensors", "DetectorDetail", "Trend", "PlaceAnswer",
                  "FoundList", "AreaSummary", "WeatherReports", "RoadWorks")  # fmt: skip
        assert described >= set(wanted) and all(hasattr(shapes, name) for name in wanted)
