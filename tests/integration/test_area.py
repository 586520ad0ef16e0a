"""What a unit's map and figures are made of: the land around it for all, traffic and its figures for its units only."""

import pytest

from tests.apikit import Feed, add_person, running, second_us
from tests.world import CORPS, EAST, WEST
from traffic import province
from traffic.province_tables import model_province

G1_SQUADRON, COUNTY_SQUADRON, CHANGCHUN = 990101, 18402, 100
PAYLOAD_BYTES_MAX = 250_000  # as it is sent, packed


@pytest.fixture
def feed(database_url, settings):
    feed = Feed(database_url, second_us(settings))
    yield feed
    feed.close()


async def maps_of(settings, owner, *units: int) -> dict[int, dict]:
    """The map of a person of each unit."""
    found = {}
    for unit in units:
        add_person(owner, f"unit{unit}", unit)
    async with running(settings) as api:
        for unit in units:
            async with api.client(f"unit{unit}") as client:
                answer = await client.get("/api/map")
                assert answer.status_code == 200 and int(answer.headers["content-length"]) < PAYLOAD_BYTES_MAX
                found[unit] = answer.json()
    return found


def codes(area: dict) -> set[str]:
    return {feature["properties"]["code"] for feature in area["roads"]["features"]}


def extent(area: dict) -> tuple[float, float]:
    west, south, east, north = area["bounds"]
    return east - west, north - south


async def test_each_level_sees_its_own_checkpoints_on_all_roads_of_the_land_around(settings, owner):
    province.load(owner, settings.clock.now())
    maps = await maps_of(settings, owner, CORPS, CHANGCHUN, COUNTY_SQUADRON, G1_SQUADRON)
    whole = maps[CORPS]
    assert codes(whole) == {road.code for road in model_province().roads}
    assert len(whole["checkpoints"]) == len(model_province().checkpoints)
    assert len(whole["divisions"]["features"]) == len(model_province().divisions)
    assert len(whole["links"]["features"]) == len(model_province().links)
    assert len(whole["detectors"]) == len(model_province().detectors)
    assert len(whole["objects"]) == len(model_province().objects)
    assert len(whole["crews"]) == len(model_province().crews)
    for unit in (CHANGCHUN, COUNTY_SQUADRON, G1_SQUADRON):
        area = maps[unit]
        assert {"G1", "G0102", "G102", "G302"} <= codes(area), unit  # whoever owns them
        assert 0 < len(area["checkpoints"]) < len(whole["checkpoints"]) / 4
        for part in ("detectors", "objects", "crews"):
            assert 0 < len(area[part]) < len(whole[part]) / 3, part
        assert 0 < len(area["links"]["features"]) < len(whole["links"]["features"]) / 3
        assert "长春市" in {feature["properties"]["name"] for feature in area["divisions"]["features"]}
        assert all(across < of_all for across, of_all in zip(extent(area), extent(whole), strict=True))
    for unit in (COUNTY_SQUADRON, G1_SQUADRON):
        assert codes(maps[unit]) < codes(whole)


async def test_a_road_beyond_the_units_own_links_is_drawn_on_without_a_cut(settings, owner):
    province.load(owner, settings.clock.now())
    area = (await maps_of(settings, owner, G1_SQUADRON))[G1_SQUADRON]
    lines = {f["properties"]["code"]: f["geometry"]["coordinates"] for f in area["roads"]["features"]}
    assert len(lines["G1"]) == 1
    west, south, east, north = area["bounds"]
    lats = [lat for _, lat in lines["G1"][0]]
    assert min(lats) < south and max(lats) > north


async def test_the_figures_of_a_unit_say_nothing_of_other_units_traffic(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    now_us = second_us(settings)
    async with running(settings) as api, api.client("west") as one, api.client("east") as two:
        async with api.live(one) as west, api.live(two) as east:
            for live in (west, east):
                await live.say(type="subscribe", topics=["figures"])
                await live.until(lambda live: live.figures)
            feed.flow([[1, now_us // 10_000_000 * 10_000_000, 1, 3, 0, 0.0]])
            await west.until(lambda live: live.figures["passages_per_minute"] == 3)
            assert west.figures["lag_s"] is not None
            assert east.figures["lag_s"] is None and not east.figures["passages_per_minute"]
            feed.flow([[4, now_us // 10_000_000 * 10_000_000, 1, 1, 0, 0.0]])
            await east.until(lambda live: live.figures["lag_s"] is not None)
            assert east.figures["passages_per_minute"] == 1
