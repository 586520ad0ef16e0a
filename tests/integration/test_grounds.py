"""One call explains a finding whole: rule, records, what late data changed, pictures, trust, map and registry."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.apikit import add_person, running
from tests.workbench import Bench, batch, seen
from tests.world import EAST, WEST, WEST_SQUADRON, point_at
from traffic.plates import plate_key

PLATE = "吉S00001"


@pytest.fixture
def bench(settings, owner, world) -> Iterator[Bench]:
    found = Bench(settings, owner)
    yield found
    found.close()


@pytest.fixture
def story(bench, world, owner) -> str:
    """10 km in 240 s; then a late reading at the entrance makes it 180 s, and another one far too fast to be true."""
    owner.execute(
        "INSERT INTO company (code, name, kind, unit_id, source, as_of)"
        " VALUES ('912200000000000001', '测试运输公司', 'freight', %s, 'import', %s)",
        [WEST, world.now],
    )
    owner.execute(
        "INSERT INTO key_vehicle (plate_key, class_group, plate, kind, company, unit_id, company_id, as_of, version)"
        " VALUES (%s, 2, %s, 'heavy_truck', '', %s, 1, %s, 1)",
        [plate_key(PLATE), PLATE, WEST_SQUADRON, world.now],
    )
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'registry'")
        owner.execute(
            "INSERT INTO sensor_health (sensor_kind, sensor_id, lane, state, reason, trust, since, detail, audience)"
            " VALUES ('checkpoint', 1, 1, 'suspect', 'clock_off', 0.5, %s, '{}', %s)",
            [world.now, [1, WEST, 111, WEST_SQUADRON]],
        )
    worker = bench.worker()
    for rows in (
        batch(seen(world, 0, -400, PLATE), seen(world, 1, -160, PLATE), images=("http://elsewhere/1.jpg",)),
        batch(seen(world, 0, -340, PLATE)),
        batch(seen(world, 0, -200, PLATE)),
    ):
        bench.send_batch(rows)
        bench.drain(worker)
    return str(bench.one("SELECT id FROM finding WHERE kind = 'section_speed'"))


async def test_one_call_tells_everything(settings, world, owner, bench, story):
    add_person(owner, "west", WEST, role="dispatcher")
    async with running(settings) as api, api.client("west") as client:
        told = (await client.get(f"/api/findings/{story}")).json()
    assert told["notice"] == "线索，不作处罚证据"
    assert told["finding"]["state"] == "retracted" and told["finding"]["cause"]["reason"] == "late_entry"
    assert told["finding"]["trust"] == 0.5
    assert told["rule"]["parameters"]["tolerance_percent"] == 10 and told["rule"]["version"] == 1
    retracted, corrected, new = told["revisions"]
    assert [one["change"] for one in told["revisions"]] == ["retracted", "corrected", "new"]
    assert new["before"] is None and new["after"]["section"]["travel_s"] == 240.0
    assert (corrected["before"]["section"]["speed_kmh"], corrected["after"]["section"]["speed_kmh"]) == (150.0, 200.0)
    assert corrected["cause"]["record"] == corrected["after"]["records"][0]
    assert (retracted["before"]["state"], retracted["after"]["state"]) == ("active", "retracted")
    assert retracted["after"]["section"] == corrected["after"]["section"]  # what stood is kept
    assert retracted["cause"]["record"] not in corrected["after"]["records"]
    assert [(one["name"], one["road"], one["stake_m"]) for one in told["observations"]] == [
        ("测试卡口1", "G1", 0), ("测试卡口2", "G1", 10_000),
    ]  # fmt: skip
    assert [one["state"] for one in told["pictures"]] == ["waiting"]
    gates = {one["id"]: one for one in told["trust"]}
    assert (gates[1]["trust"], gates[1]["why"], gates[2]["trust"]) == (0.5, "clock_off", 1.0)
    line = told["map"]["features"][-1]
    assert line["properties"]["kind"] == "road" and line["geometry"]["coordinates"][0] == list(point_at(0))
    registry = told["registry"]
    assert (registry["kind"], registry["company"], registry["unit"]) == ("heavy_truck", "测试运输公司", "西中队")


async def test_who_may_not_read_the_registry_gets_the_rest_and_the_other_side_nothing(settings, world, owner, story):
    add_person(owner, "crew", WEST_SQUADRON, role="crew")
    add_person(owner, "east", EAST)
    async with running(settings) as api:
        async with api.client("crew") as client:
            told = (await client.get(f"/api/findings/{story}")).json()
            assert told["registry"] is None and told["observations"]
        async with api.client("east") as client:
            assert (await client.get(f"/api/findings/{story}")).status_code == 404


async def test_health_of_another_units_checkpoint_is_not_told_but_the_trust_that_the_finding_states(
    settings, world, owner, bench, story
):
    add_person(owner, "west", WEST)
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        owner.execute("UPDATE sensor_health SET audience = '{12}', trust = 0.1")
    async with running(settings) as api, api.client("west") as client:
        told = (await client.get(f"/api/findings/{story}")).json()
    gate = told["trust"][0]
    assert (gate["trust"], gate["then"], gate["state"]) == (0.5, 0.5, None)


async def test_a_rule_of_which_no_row_is_left_is_told_as_the_finding_knows_it(settings, world, owner, story):
    add_person(owner, "west", WEST)
    owner.execute("UPDATE rule SET valid_to = %s, parameters = %s", [world.now + timedelta(1), Jsonb({})])
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        owner.execute("UPDATE finding SET rule_version = 99")
    async with running(settings) as api, api.client("west") as client:
        rule = (await client.get(f"/api/findings/{story}")).json()["rule"]
    assert (rule["name"], rule["version"], rule["lateness_s"]) == ("区间测速", 99, None)
