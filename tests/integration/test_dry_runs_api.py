"""Dry runs, fences and the calendar over HTTP."""

import asyncio
import json

import numpy as np
import pytest

from tests.apikit import add_person, running
from tests.conftest import wait_until_async
from tests.workbench import seen
from tests.world import CORPS, EAST, WEST
from traffic import store
from traffic.database import WRITER, connect
from traffic.dry_run_queue import LOCK, SQL
from traffic.readings import PassageBatch

BAN = {"kind": "ban", "name": "大型车禁行", "clause": "测试公告", "scope": {"class_groups": [1]}}
CIRCLE = {"type": "Circle", "centre": [125.0, 43.5], "radius_m": 500}
FENCE = {"code": "F-1", "name": "一号围栏", "kind": "forbidden", "shape": CIRCLE}


@pytest.fixture
def stored(owner, world):
    """Two lorries at each gate and a car, an hour ago."""
    rows = [
        seen(world, gate, -3600 + 600 * gate + 10 * number, plate, plate_class=1)
        for gate in range(4)
        for number, plate in enumerate(("吉A66666", "吉B77777"))
    ]
    rows.append(seen(world, 0, -3000, "吉C00001"))
    with owner.transaction():
        store.copy_passages(owner, PassageBatch(rows=np.concatenate(rows)))


async def ended(client, id: str) -> dict:
    async def look():
        found = (await client.get(f"/api/dry-runs/{id}")).json()
        return found if found["state"] not in ("queued", "running") else None

    return await wait_until_async(look, timeout=90, what="the dry run")  # type: ignore[return-value]


async def test_a_rule_is_tried_by_a_process_of_its_own_and_plates_are_for_who_may_look_up(
    settings, world, owner, stored
):
    add_person(owner, "chief", CORPS)
    add_person(owner, "auditor", CORPS, role="auditor")
    add_person(owner, "west", WEST)
    async with (
        running(settings) as api, api.client("chief") as chief, api.client("auditor") as auditor,
        api.client("west") as west,
    ):  # fmt: skip
        asked = await chief.post("/api/dry-runs", json={"rule": BAN, "days": 2})
        assert asked.status_code == 202, asked.text
        id = asked.json()["id"]
        done = await ended(chief, id)
        assert (done["state"], done["progress"], done["error"]) == ("done", 1, ""), done
        result = done["result"]
        assert result["fired"] == 2 and result["records"] == 9 and result["took_s"] >= 0
        assert [one["plate"] for one in result["vehicles"]] == ["吉A66666", "吉B77777"]
        assert result["by_checkpoint"] == [{"checkpoint": 4, "count": 2}] and len(result["samples"]) == 2
        masked = (await auditor.get(f"/api/dry-runs/{id}")).json()["result"]
        assert [one["plate"] for one in masked["vehicles"]] == ["吉A****6", "吉B****7"]
        assert "66666" not in json.dumps(masked, ensure_ascii=False)
        assert (await west.get(f"/api/dry-runs/{id}")).status_code == 404
        assert (await west.delete(f"/api/dry-runs/{id}")).status_code == 404
        assert (await auditor.post("/api/dry-runs", json={"rule": BAN, "days": 2})).status_code == 403
    assert owner.execute("SELECT count(*) FROM finding").fetchone() == (0,)
    outcomes = owner.execute("SELECT outcome FROM audit WHERE action = 'dry_run'").fetchall()
    assert outcomes == [("queued",)]


async def test_what_waits_can_be_cancelled_and_what_lost_its_process_is_told(settings, world, owner):
    add_person(owner, "chief", CORPS)
    with connect(settings.database_url, WRITER, autocommit=True) as busy:
        busy.execute(SQL["lock"], {"key": LOCK})
        async with running(settings) as api, api.client("chief") as client:
            one, two = [
                (await client.post("/api/dry-runs", json={"rule": BAN, "days": 1})).json()["id"] for _ in range(2)
            ]
            assert (await client.delete(f"/api/dry-runs/{one}")).json()["state"] == "cancelled"
            assert (await client.get(f"/api/dry-runs/{one}")).json()["state"] == "cancelled"
            busy.execute("UPDATE dry_run SET state = 'running' WHERE id = %s", [two])
            assert (await client.get(f"/api/dry-runs/{two}")).json()["state"] == "running"
            busy.execute(SQL["unlock"], {"key": LOCK})
            lost = (await client.get(f"/api/dry-runs/{two}")).json()
            assert lost["state"] == "failed" and "ended before" in lost["error"]


async def test_too_many_and_wrong_dry_runs_are_refused(settings, world, owner):
    add_person(owner, "chief", CORPS)
    add_person(owner, "east", EAST)
    with connect(settings.database_url, WRITER, autocommit=True) as busy:
        busy.execute(SQL["lock"], {"key": LOCK})
        async with running(settings) as api, api.client("chief") as client, api.client("east") as east:
            for body, field in (
                ({"rule": BAN, "days": 0}, "days"),
                ({"rule": BAN, "days": 31}, "days"),
                ({"rule": BAN | {"scope": {"kinds": ["x"]}}, "days": 1}, "scope.kinds"),
                ({"rule": 2, "days": 1}, "rule.kind"),
            ):
                answer = await client.post("/api/dry-runs", json=body)
                assert answer.status_code == 422 and answer.json()["error"]["field"] == field, answer.text
            assert (await client.post("/api/dry-runs", json={"rule": 4242, "days": 1})).status_code == 404
            beyond = await east.post("/api/dry-runs", json={"rule": BAN | {"unit": WEST}, "days": 1})
            assert beyond.status_code == 403
            answers = await asyncio.gather(
                *(client.post("/api/dry-runs", json={"rule": BAN, "days": 1}) for _ in range(25))
            )
            codes = [answer.status_code for answer in answers]
            assert set(codes) == {202, 409} and codes.count(202) >= 20
            assert (await client.get(f"/api/dry-runs/{'0' * 8}-0000-0000-0000-{'0' * 12}")).status_code == 404


async def test_fences_are_made_changed_and_seen_by_those_whom_they_concern(settings, world, owner):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    async with running(settings) as api, api.client("west") as west, api.client("east") as east:
        made = await west.post("/api/fences", json=FENCE)
        assert made.status_code == 201, made.text
        fence = made.json()
        assert fence["unit"] == WEST and fence["editable"] and fence["changed_by"] == "west"
        twice = await west.post("/api/fences", json=FENCE)
        assert twice.status_code == 422 and twice.json()["error"]["field"] == "code"
        change = FENCE | {"enabled": False, "based_on": fence["changed_at"]}
        path = f"/api/fences/{fence['id']}"
        assert (await west.put(path, json=change)).json()["enabled"] is False
        assert (await west.put(path, json=change)).status_code == 409
        assert (await east.put(path, json=FENCE)).status_code == 404
        assert (await east.get("/api/fences")).json()["fences"] == []
        assert (await west.post("/api/fences", json=FENCE | {"code": "F-2", "unit": EAST})).status_code == 403
        for shape, field in (
            ({"type": "Point"}, "shape.type"),
            (CIRCLE | {"radius_m": 1e12}, "shape.radius_m"),
            (CIRCLE | {"centre": [500, 0]}, "shape.centre"),
            ({"type": "Polygon", "coordinates": [[[1, 1], [1, 1], [1, 1]]]}, "shape.coordinates[0]"),
            ({"type": "Polygon", "coordinates": [[[1, 1], [2, 2], ["x", 1]]]}, "shape.coordinates[0]"),
            ({"type": "Polygon", "coordinates": [[[1, 1]] * 3_000]}, "shape.coordinates[0]"),
        ):
            answer = await west.post("/api/fences", json=FENCE | {"code": "F-3", "shape": shape})
            assert answer.status_code == 422 and answer.json()["error"]["field"] == field, answer.text
        drawn = {"type": "Polygon", "coordinates": [[[125, 43], [126, 43], [126, 44], [125, 43]]]}
        assert (await west.post("/api/fences", json=FENCE | {"code": "F-4", "shape": drawn})).status_code == 201
        rule = BAN | {"scope": {"fences": [fence["id"] + 1]}}
        assert (await west.post("/api/rules", json=rule)).status_code in (201, 422)


async def test_the_calendar_is_the_corps_to_change(settings, world, owner):
    add_person(owner, "chief", CORPS)
    add_person(owner, "west", WEST)
    days = [
        {"day": "2027-02-06", "kind": "holiday", "name": "春节"},
        {"day": "2027-02-13", "kind": "working", "name": "调休"},
    ]
    async with running(settings) as api, api.client("chief") as chief, api.client("west") as west:
        version = (await west.get("/api/holidays")).json()["version"]
        assert (await west.put("/api/holidays", json={"holidays": days})).status_code == 403
        kept = await chief.put("/api/holidays", json={"holidays": days, "based_on": version})
        assert kept.status_code == 200, kept.text
        assert kept.json() == {"holidays": days, "version": version + 1} == (await west.get("/api/holidays")).json()
        late = await chief.put("/api/holidays", json={"holidays": [], "based_on": version})
        assert late.status_code == 409
        for body, field in (
            ({"holidays": [days[0], days[0]]}, "holidays"),
            ({"holidays": [days[0] | {"day": "1890-01-01"}]}, "holidays.0.day"),
            ({"holidays": [days[0] | {"name": "\x00"}]}, "holidays.0.name"),
            ({"holidays": [days[0] | {"kind": "feast"}]}, "holidays.0.kind"),
        ):
            answer = await chief.put("/api/holidays", json=body)
            assert answer.status_code == 422 and answer.json()["error"]["field"] == field, answer.text
        assert (await chief.get("/api/holidays")).json()["version"] == version + 1
