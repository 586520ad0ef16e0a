"""Words to platforms and subscriptions over the API's port: who may, within which units, and what the audit keeps."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import psycopg
import pytest

from tests.apikit import Api, add_person, running
from tests.platformkit import PLATFORM, add_device, add_platform
from tests.world import CORPS, WEST, WEST_SQUADRON, World
from traffic.secrets import encrypt
from traffic.settings import Settings

NEIGHBOUR = "21000000005030000001"
SUPERVISE = {"kind": "supervise", "plate": "吉a·12345", "plate_color": 2, "alarm_type": 2, "urgent": True}


@pytest.fixture
async def api(settings: Settings, world: World, owner: psycopg.Connection) -> AsyncIterator[Api]:
    for login, unit, role in (
        ("corps", CORPS, "commander"), ("west", WEST, "dispatcher"), ("crew", WEST_SQUADRON, "crew"),
        ("admin", CORPS, "administrator"),
    ):  # fmt: skip
        add_person(owner, login, unit, role=role)
    add_platform(owner, settings, world.now)
    shown = encrypt(str(settings.secret_key), msgspec.json.encode({"user": "u", "password": "p"}))
    add_device(
        owner, world.now, NEIGHBOUR, "gat1400", b"", unit=CORPS, link={"address": "http://127.0.0.1:1"},
        link_secret=shown,
    )  # fmt: skip
    async with running(settings) as found:
        yield found


async def posted(client: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    return await client.post(path, json=body)


async def test_a_word_waits_for_its_platform_and_stands_in_the_audit(api: Api, owner: psycopg.Connection) -> None:
    path = f"/api/platforms/{PLATFORM}/messages"
    async with api.client("west") as west, api.client("corps") as corps, api.client("crew") as crew:
        platforms = (await west.get("/api/platforms")).json()["platforms"]
        assert [(row["code"], row["state"]) for row in platforms] == [(PLATFORM, None)]
        answer = await posted(west, path, SUPERVISE)
        assert answer.status_code == 202, answer.text
        number = answer.json()["id"]
        word = (await corps.get(f"/api/platform-messages/{number}")).json()
        assert (word["state"], word["kind"], word["asked_by"]) == ("queued", "supervise", "west")
        assert word["body"] == {
            "plate": "吉A12345", "plate_color": 2, "alarm_type": 2, "level": 0, "supervisor": "Name of west",
            "phone": "", "mail": "",
        }  # fmt: skip
        assert (await posted(corps, path, {"kind": "presence", "text": "在吗？"})).status_code == 202
        assert [row["kind"] for row in (await west.get(path)).json()["messages"]] == ["supervise"], "not the corps' own"
        assert (await posted(crew, path, SUPERVISE)).status_code == 403
        assert (await posted(west, "/api/platforms/none/messages", SUPERVISE)).status_code == 404
        owner.execute("UPDATE device SET enabled = false WHERE kind = 'jt809'")
        assert (await posted(west, path, SUPERVISE)).status_code == 409
    audit = "SELECT action, subject, outcome FROM audit WHERE action LIKE 'platform%%' ORDER BY at"
    assert owner.execute(audit).fetchall() == [
        ("platform_supervise", f"{PLATFORM} 吉A12345", "ok"), ("platform_presence", PLATFORM, "ok"),
    ]  # fmt: skip


WRONG = (
    {"kind": "shout"},
    {**SUPERVISE, "plate": "-"},
    {**SUPERVISE, "plate_color": 1000},
    {**SUPERVISE, "until_min": 0},
    {**SUPERVISE, "finding": "00000000-0000-0000-0000-000000000001"},
    {"kind": "warn", "plate": "吉A1", "text": ""},
    {"kind": "presence", "text": "\0"},
)


async def test_a_wrong_word_is_refused_by_field(api: Api) -> None:
    async with api.client("corps") as corps:
        for wrong in WRONG:
            answer = await posted(corps, f"/api/platforms/{PLATFORM}/messages", wrong)
            assert answer.status_code == 422 and "field" in answer.json()["error"], wrong


async def test_ours_are_subscribed_renewed_and_ended_by_who_decides(api: Api, owner: psycopg.Connection) -> None:
    wish = {"device": NEIGHBOUR, "title": "辽宁省际", "resource": "2101", "days": 30}
    async with api.client("admin") as admin, api.client("west") as west:
        made = await posted(admin, "/api/subscriptions", wish)
        assert made.status_code == 202, made.text
        found = made.json()
        assert (found["direction"], found["status"], found["told"], found["waiting"]) == ("in", 0, False, 0)
        assert found["receive_addr"].endswith("/VIID/SubscribeNotifications") and len(found["id"]) == 33
        number = found["id"]
        assert (await west.get("/api/subscriptions")).json()["subscriptions"] == [], "not of the west's senders"
        assert (await posted(west, "/api/subscriptions", wish)).status_code == 403
        assert (await west.delete(f"/api/subscriptions/{number}")).status_code == 403
        assert (await posted(admin, "/api/subscriptions", {**wish, "device": PLATFORM})).status_code == 422
        assert (await posted(admin, "/api/subscriptions", {**wish, "receive_addr": "file:///x"})).status_code == 422
        owner.execute("UPDATE subscription SET told = true")
        renewed = await posted(admin, f"/api/subscriptions/{number}/renew", {"days": 60})
        assert renewed.status_code == 202 and renewed.json()["told"] is False
        ended = await admin.delete(f"/api/subscriptions/{number}")
        assert (ended.json()["status"], ended.json()["told"]) == (1, False), "the other side has yet to be told"
        assert (await admin.delete(f"/api/subscriptions/{number}")).status_code == 409
        assert (await admin.delete("/api/subscriptions/unknown")).status_code == 404
    actions = [row[0] for row in owner.execute("SELECT action FROM audit WHERE action LIKE 'subscri%%' ORDER BY at")]
    assert actions == ["subscribe", "subscription_renew", "subscription_end"]
