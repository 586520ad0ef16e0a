"""Senders over the API: who still speaks, what was refused of them, how late they are, and only the own ones."""

from datetime import timedelta

import numpy as np
import pytest

from tests.apikit import add_person, running
from tests.world import CORPS, EAST, WEST, WEST_SQUADRON, World
from traffic.device_figures import Sent, store_sent
from traffic.store import us_of


@pytest.fixture
def senders(owner, world: World, settings) -> World:
    """Beside the world's two: one of the east that is silent, one that is shut out, one never heard."""
    for code, unit, kind, enabled in (
        ("E-jt808", EAST, "jt808", True), ("W-ministry", WEST, "ministry", False), ("W-jt809", WEST, "jt809", True),
    ):  # fmt: skip
        owner.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, enabled, changed_at, changed_by)"
            " VALUES (%s, %s, %s, %s, 'x', %s, %s, 'test')",
            [code, f"{code} 平台", unit, kind, enabled, world.now],
        )
    seen = {world.gat_id: ("alive", timedelta(seconds=20)), id_of(owner, "E-jt808"): ("alive", timedelta(hours=2))}
    for device, (state, ago) in seen.items():
        owner.execute(
            "INSERT INTO device_status (device_id, seen_at, state) VALUES (%s, %s, %s)",
            [device, world.now - ago, state],
        )
    for reason, count in (("malformed", 3), ("time_in_future", 1)):
        for number in range(count):
            owner.execute(
                "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body,"
                " audience) VALUES (%s, 1, %s, %s, %s, 'plate', %s, 'why', %s, %s)",
                [world.now, world.gat_id, WEST, number, reason, '{"PlateNo": "吉A12345"}'.encode(), [CORPS, WEST]],
            )
    for slot in (0, 2):
        import_sent(owner, world, [world.gat_id], [100], [1.0 if slot else 3.0], slot)
    owner.execute(
        "INSERT INTO sensor_health VALUES ('checkpoint', 1, 1, 'suspect', 'stuck', 0.4, %s, '{}', %s),"
        " ('checkpoint', 2, 1, 'ok', '', 1.0, %s, '{}', %s)",
        [world.now, [CORPS, WEST], world.now, [CORPS, WEST]],
    )
    return world


def id_of(owner, code: str) -> int:
    return int(owner.execute("SELECT id FROM device WHERE code = %s", [code]).fetchone()[0])


def import_sent(owner, world: World, devices: list[int], records: list[int], late_s: list[float], slot: int) -> None:

    sent = Sent(devices=np.array(devices, np.int32), records=np.array(records), late_s=np.array(late_s))
    store_sent(owner, sent, received_us=us_of(world.now), slot=slot)


async def codes(client, **asked: object) -> dict[str, dict]:
    answer = await client.get("/api/devices", params=asked)
    assert answer.status_code == 200, answer.text
    return {row["code"]: row for row in answer.json()["devices"]}


async def test_a_sender_is_told_with_its_life_its_refusals_its_sensors_and_its_clock(settings, owner, senders):
    add_person(owner, "west", WEST, role="dispatcher")
    async with running(settings) as api, api.client("west") as client:
        found = await codes(client)
    own = found[senders.gat_code]
    assert set(found) == {senders.gat_code, "W-ministry", "W-jt809"}
    assert own["state"] == "alive" and own["seen_at"] == us_of(senders.now - timedelta(seconds=20))
    assert own["records_24h"] == 200 and own["skew_s"] == 2.0
    assert own["refused_24h"] == {"malformed": 3, "time_in_future": 1}
    assert own["trust"] == 0.7 and own["doubtful_sensors"] == 1 and own["unit"] == "西支队"
    assert found["W-ministry"]["state"] == "off" and found["W-jt809"]["state"] == "never"
    assert found["W-jt809"]["records_24h"] == 0 and found["W-jt809"]["skew_s"] is None


async def test_each_unit_sees_the_senders_of_its_own_and_of_those_below(settings, owner, senders):
    for login, unit in (("corps", CORPS), ("east", EAST), ("squadron", WEST_SQUADRON)):
        add_person(owner, login, unit)
    west = id_of(owner, "W-jt809")
    async with running(settings) as api, api.client("corps") as corps, api.client("east") as east:
        assert len(await codes(corps)) == 5
        assert set(await codes(east)) == {"E-jt808"}
        assert (await corps.get(f"/api/devices/{west}")).status_code == 200
        assert (await east.get(f"/api/devices/{west}")).status_code == 404
        async with api.client("squadron") as squadron:
            assert await codes(squadron) == {}


@pytest.mark.parametrize("role", ["crew", "auditor"])
async def test_who_may_not_read_senders_is_told_so(settings, owner, senders, role: str):
    add_person(owner, "reader", CORPS, role=role)
    async with running(settings) as api, api.client("reader") as client:
        assert (await client.get("/api/devices")).status_code == 403
        assert (await client.get(f"/api/devices/{senders.gat_id}")).status_code == 403


async def test_senders_are_found_by_kind_state_and_name_and_come_by_page(settings, owner, senders):
    add_person(owner, "corps", CORPS)
    async with running(settings) as api, api.client("corps") as client:
        assert set(await codes(client, kind="jt808")) == {"E-jt808"}
        assert set(await codes(client, state="quiet")) == {"E-jt808"}
        assert set(await codes(client, q="jt809 平")) == {"W-jt809"}
        assert await codes(client, q="%") == {}
        seen, before = [], ""
        while before is not None:
            page = (await client.get("/api/devices", params={"limit": 2, "before": before})).json()
            seen += [row["code"] for row in page["devices"]]
            before = page["next"]
        assert len(seen) == len(set(seen)) == 5
        assert (await client.get("/api/devices", params={"kind": "spaceship"})).status_code == 422


async def test_refused_records_come_by_page_and_their_text_only_for_who_tends_them(settings, owner, senders):
    add_person(owner, "west", WEST, role="dispatcher")
    add_person(owner, "analyst", WEST, role="analyst")
    path = f"/api/devices/{senders.gat_id}"
    async with running(settings) as api, api.client("west") as tends, api.client("analyst") as reads:
        first = (await tends.get(path, params={"limit": 3})).json()
        rest = (await tends.get(path, params={"limit": 3, "before": first["next"]})).json()
        plain = await reads.get(path)
    assert [row["reason"] for row in first["refused"]] == ["time_in_future", "malformed", "malformed"]
    assert len(rest["refused"]) == 1 and rest["next"] is None
    assert "吉A12345" in first["refused"][0]["body"]
    assert "吉A12345" not in plain.text and len(plain.json()["refused"]) == 4
    assert [(row["kind"], row["reason"], row["trust"]) for row in first["sensors"]] == [("checkpoint", "stuck", 0.4)]
