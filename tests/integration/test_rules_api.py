"""Rules in people's hands: drafts, versions, who may do what, lost updates, and hostile bodies."""

import asyncio
import json

import pytest

from tests.apikit import add_person, running
from tests.world import CORPS, EAST, WEST, WEST_BRIGADE

BAN = {
    "kind": "ban",
    "name": "货车禁行",
    "clause": "测试公告第一条",
    "level": 3,
    "parameters": {},
    "scope": {"kinds": ["heavy_truck"], "roads": [{"road": "G1", "from_stake_m": 0, "to_stake_m": 9000}]},
    "schedule": {"hours": [["22:00", "05:00"]], "holidays": "except"},
    "exemptions": {"permits": ["pass"], "plates": ["吉A*警"]},
}


def versions(owner, id: int) -> list[tuple]:
    return owner.execute("SELECT version, state, changed_by, note FROM rule WHERE id = %s ORDER BY 1", [id]).fetchall()


def counted(owner) -> int:
    return owner.execute("SELECT value FROM version WHERE name = 'rule'").fetchone()[0]


def audit(owner) -> list[tuple]:
    return owner.execute("SELECT action, subject, outcome FROM audit WHERE action LIKE '%rule%' ORDER BY id").fetchall()


async def test_a_rule_is_drafted_changed_armed_and_put_off_and_every_deed_stays(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        before = counted(owner)
        made = await client.post("/api/rules", json=BAN | {"note": "先试"})
        assert made.status_code == 201, made.text
        rule = made.json()
        assert (rule["id"], rule["version"], rule["state"], rule["in_force"]) == (1001, 1, "draft", None)
        assert counted(owner) == before, "a draft troubles no worker"
        armed = (await client.post("/api/rules/1001/arm", json={"note": "批准"})).json()
        assert (armed["version"], armed["state"], armed["in_force"]) == (2, "armed", 2)
        assert counted(owner) == before + 1
        changed = BAN | {"level": 2, "schedule": {"hours": [["21:00", "05:00"]]}, "based_on": 2, "note": "提前一小时"}
        drafted = (await client.put("/api/rules/1001", json=changed)).json()
        assert (drafted["version"], drafted["state"], drafted["in_force"]) == (3, "draft", 2)
        off = (await client.post("/api/rules/1001/off", json={"note": "停用", "based_on": 3})).json()
        assert (off["version"], off["state"], off["in_force"]) == (4, "off", None)
        file = (await client.get("/api/rules/1001")).json()
        listed = (await client.get("/api/rules")).json()["rules"]
    assert versions(owner, 1001) == [
        (1, "draft", "chief", "先试"), (2, "armed", "chief", "批准"), (3, "draft", "chief", "提前一小时"),
        (4, "off", "chief", "停用"),
    ]  # fmt: skip
    said = [[(one["field"], one["before"], one["after"]) for one in version["changes"]] for version in file["versions"]]
    assert ("level", 3, 2) in said[1] and ("schedule.hours", [["22:00", "05:00"]], [["21:00", "05:00"]]) in said[1]
    assert ("schedule.holidays", "except", None) in said[1] and said[3] == []
    assert [row["id"] for row in listed] == [1, 2, 1001] and all(row["broken"] is None for row in listed)
    assert [row[0] for row in audit(owner)] == ["rule_drafted", "rule_armed", "rule_changed", "rule_put_off"]


async def test_of_two_who_change_the_same_version_the_second_is_told(settings, world, owner):
    add_person(owner, "one", CORPS)
    add_person(owner, "two", CORPS, role="analyst")
    async with running(settings) as api, api.client("one") as first, api.client("two") as second:
        await first.post("/api/rules", json=BAN)
        assert (await first.put("/api/rules/1001", json=BAN | {"based_on": 1})).status_code == 200
        late = await second.put("/api/rules/1001", json=BAN | {"based_on": 1, "level": 1})
        assert late.status_code == 409 and "in between" in late.json()["error"]["message"]
        assert (await second.post("/api/rules/1001/arm", json={"based_on": 1})).status_code == 409
    assert [row[:3] for row in versions(owner, 1001)] == [(1, "draft", "one"), (2, "draft", "one")]


async def test_a_unit_tends_its_own_rules_and_those_below_but_never_the_provinces(settings, world, owner):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    add_person(owner, "desk", WEST, role="dispatcher")
    add_person(owner, "chief", CORPS)
    async with (
        running(settings) as api, api.client("west") as west, api.client("east") as east, api.client("desk") as desk,
        api.client("chief") as chief,
    ):  # fmt: skip
        own = (await west.post("/api/rules", json=BAN)).json()
        assert own["unit"] == WEST and own["editable"]
        below = (await west.post("/api/rules", json=BAN | {"unit": WEST_BRIGADE})).json()
        assert below["unit"] == WEST_BRIGADE
        for unit in (EAST, CORPS):
            assert (await west.post("/api/rules", json=BAN | {"unit": unit})).status_code == 403
        wide = await west.post("/api/rules", json=BAN | {"scope": {"units": [EAST]}})
        assert wide.status_code == 422 and wide.json()["error"]["field"] == "scope.units"
        assert (await west.post("/api/rules/2/off", json={})).status_code == 403
        assert (await east.get("/api/rules/1001")).status_code == 404
        assert (await east.post("/api/rules/1001/arm", json={})).status_code == 404
        assert (await desk.post("/api/rules", json=BAN)).status_code == 403
        assert (await desk.get("/api/rules/1001")).json()["rule"]["editable"]
        assert [row["id"] for row in (await east.get("/api/rules")).json()["rules"]] == [1, 2]
        assert (await chief.post("/api/rules/1001/arm", json={})).status_code == 200
    assert ("change_rule", "rule 2", "forbidden") in audit(owner)


async def test_a_rule_may_be_armed_for_a_later_time(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        await client.post("/api/rules", json=BAN)
        armed = (await client.post("/api/rules/1001/arm", json={"valid_from": "2090-01-01T00:00:00+08:00"})).json()
        assert (armed["state"], armed["in_force"]) == ("armed", None)
        passed = await client.put("/api/rules/1001", json=BAN | {"based_on": 2, "valid_to": "2020-01-01T00:00:00Z"})
        assert passed.status_code == 200
        refused = await client.post("/api/rules/1001/arm", json={})
        assert refused.status_code == 422 and refused.json()["error"]["field"] == "valid_to"


DEEP = "[" * 30_000 + "]" * 30_000


REFUSED = (
    ({"kind": "no_such"}, "kind"),
    ({"name": ""}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"name": "\ud800\ud800"}, "name"),
    ({"clause": ""}, "clause"),
    ({"level": 5}, "level"),
    ({"level": True}, "level"),
    ({"lateness_s": -1}, "lateness_s"),
    ({"lateness_s": 10**30}, "lateness_s"),
    ({"surprise": 1}, "surprise"),
    ({"note": "a\x00b"}, "note"),
    ({"parameters": {"no_such": 1}}, "parameters"),
    ({"parameters": {"position_every_min": float("nan")}}, "parameters"),
    ({"parameters": {"position_every_min": 10**400}}, "parameters"),
    ({"parameters": [1]}, "parameters"),
    ({"scope": {"nowhere": []}}, "scope.nowhere"),
    ({"scope": {"kinds": ["spaceship"]}}, "scope.kinds"),
    ({"scope": {"kinds": [["heavy_truck"]]}}, "scope.kinds"),
    ({"scope": {"roads": [{"road": "G9999"}]}}, "scope.roads[0].road"),
    ({"scope": {"roads": [{"road": "G1", "from_stake_m": 5, "to_stake_m": 1}]}}, "scope.roads[0].to_stake_m"),
    ({"scope": {"roads": [{"road": {"deep": {}}}]}}, "scope.roads[0].road"),
    ({"scope": {"roads": ["G1"]}}, "scope.roads[0]"),
    ({"scope": {"units": [424242]}}, "scope.units"),
    ({"scope": {"checkpoints": [True]}}, "scope.checkpoints"),
    ({"scope": {"checkpoints": "all"}}, "scope.checkpoints"),
    ({"scope": {"fences": [1]}}, "scope.fences"),
    ({"scope": {"class_groups": [9]}}, "scope.class_groups"),
    ({"scope": {"vehicle_classes": ["h1"]}}, "scope.vehicle_classes"),
    ({"scope": {"plates_like": ["*"]}}, "scope.plates_like"),
    ({"scope": {"plates_like": ["吉A*B*"]}}, "scope.plates_like"),
    ({"scope": {"plates_like": ["吉A\x00"]}}, "scope.plates_like"),
    ({"schedule": {"hours": [["6", "7"]]}}, "schedule.hours"),
    ({"schedule": {"hours": [["06:00", "06:00"]]}}, "schedule.hours"),
    ({"schedule": {"hours": [["24:30", "06:00"]]}}, "schedule.hours"),
    ({"schedule": {"weekdays": [0]}}, "schedule.weekdays"),
    ({"schedule": {"holidays": "sometimes"}}, "schedule.holidays"),
    ({"schedule": {"from": "2026-02-30"}}, "schedule.from"),
    ({"schedule": {"from": "2026-02-02", "to": "2026-02-01"}}, "schedule.to"),
    ({"exemptions": {"route_km_max": 100}}, "exemptions.route_km_max"),
    ({"exemptions": {"route_kinds": ["airport"], "route_km_max": float("inf")}}, "exemptions.route_km_max"),
    ({"valid_from": "2026-01-01T00:00:00"}, "valid_from"),
    ({"valid_from": "0001-01-01T00:00:00Z"}, "valid_from"),
    ({"unit": 424242}, "unit"),
    ({"kind": "watch_hit", "unit": None, "level": None}, "scope"),
)


async def test_a_rule_that_cannot_be_followed_is_refused_with_field_and_reason(rules_client):
    for change, field in REFUSED:
        body = json.dumps(BAN | change, allow_nan=True)
        answer = await rules_client.post("/api/rules", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (change, answer.text)
        assert answer.json()["error"]["field"] == field and answer.json()["error"]["message"], change


HOSTILE = (
    b"{",
    b"[]",
    DEEP.encode(),
    b'{"kind": "ban", "parameters": ' + DEEP.encode()[:40_000],
    b"\xff\xfe",
    json.dumps(BAN | {"note": "x" * 2_000}).encode(),
    json.dumps(BAN | {"clause": "x" * 70_000}).encode(),
)


async def test_a_hostile_body_is_answered_and_costs_nothing(rules_client):
    for body in HOSTILE:
        answer = await rules_client.post("/api/rules", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 413, 422) and answer.json()["error"]["message"], body[:40]
    assert (await rules_client.get("/api/rules")).status_code == 200


ADDRESSES = (
    ("POST", "/api/rules"),
    ("PUT", "/api/rules/1"),
    ("POST", "/api/rules/1/arm"),
    ("POST", "/api/rules/1/off"),
    ("POST", "/api/dry-runs"),
    ("POST", "/api/fences"),
    ("PUT", "/api/fences/1"),
    ("PUT", "/api/holidays"),
)
NASTY_VALUES = (
    None, True, 2**70, float("nan"), "", "\x00", "\ud800", "x" * 3_000, [[]], {"": {}}, "2026-02-30",
    {"a": [{"b": float("-inf")}]},
)  # fmt: skip


async def test_no_value_in_any_field_of_any_address_is_an_error_of_ours(rules_client):
    fence = {"code": "F", "name": "F", "kind": "place", "shape": {"type": "Circle", "centre": [1, 1], "radius_m": 50}}
    whole = {
        "/api/rules": BAN,
        "/api/rules/1": BAN | {"based_on": 1},
        "/api/dry-runs": {"rule": BAN, "days": 1},
        "/api/fences": fence,
        "/api/fences/1": fence,
        "/api/holidays": {"holidays": [{"day": "2027-01-01", "kind": "holiday", "name": "x"}]},
    }
    for method, path in ADDRESSES:
        good = whole.get(path, {})
        names = sorted({*good, "unit", "note", "valid_from", "based_on"})
        bodies = [  # each field meets every third value, and every value many fields
            good | {name: value}
            for place, name in enumerate(names)
            for number, value in enumerate(NASTY_VALUES)
            if (place + number) % 3 == 0
        ]
        for start in range(0, len(bodies), 16):
            part = [json.dumps(body).encode() for body in bodies[start : start + 16]]
            headers = {"Content-Type": "application/json"}
            for answer in await asyncio.gather(
                *(rules_client.request(method, path, content=body, headers=headers) for body in part)
            ):
                assert answer.status_code < 500, (path, answer.request.content, answer.text)
                assert answer.status_code < 400 or answer.json()["error"]["message"]


async def test_the_kinds_say_what_a_form_needs(settings, world, owner, rules_client):
    kinds = {kind["kind"]: kind for kind in (await rules_client.get("/api/rules/kinds")).json()["kinds"]}
    (state, grace) = kinds["registry_state"]["parameters"]
    assert (
        state["choices"][0] == "overdue_inspection"
        and grace["unit"] == "d"
        and (grace["min"], grace["max"]) == (0, 365)
    )
    assert kinds["ban"]["scoped"] and not kinds["watch_hit"]["scoped"] and kinds["link_levels"]["parameters"]


async def test_a_row_that_was_broken_behind_the_desks_back_is_shown_with_its_reason(rules_client, owner):
    owner.execute(
        "INSERT INTO rule (id, version, kind, name, clause, parameters, scope, valid_from, changed_at, changed_by)"
        " VALUES (900, 1, 'ban', 'x', 'x', '{}', '{\"roads\": 7}', '2020-01-01Z', '2020-01-01Z', 'hand')"
    )
    listed = {row["id"]: row for row in (await rules_client.get("/api/rules")).json()["rules"]}
    assert listed[900]["broken"] == "rule 900: scope.roads must be a list, not 7"
    answer = await rules_client.post("/api/rules/900/arm", json={})
    assert answer.status_code == 422 and "scope.roads" in answer.json()["error"]["message"]


async def test_the_api_may_add_versions_but_rewrite_none(owner, world, database_url):
    import psycopg

    from traffic.database import API, connect

    with connect(database_url, API, autocommit=True) as connection:
        for statement in ("UPDATE rule SET name = 'x'", "DELETE FROM rule", "TRUNCATE rule"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.fixture
async def rules_client(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        yield client
