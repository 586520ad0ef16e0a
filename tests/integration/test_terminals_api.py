"""Terminals over the API: each unit's own, a text from the desk to the driver and its answer back, audited."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psycopg
import pytest

from tests.apikit import above, add_person, running
from tests.conftest import wait_until_async
from tests.terminalkit import CODE, PLACE, enter, opened, phone_of, plate_of
from tests.world import CORPS, EAST_SQUADRON, WEST, WEST_BRIGADE, WEST_SQUADRON, World
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import V2019, Kind, Result
from traffic.plates import plate_key
from traffic.settings import Settings


@pytest.fixture
def ids(owner: psycopg.Connection, world: World) -> list[int]:
    """Two terminals of the west squadron, one of the east's."""
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    return enter(owner, range(3, 4), EAST_SQUADRON, code=CODE)


@asynccontextmanager
async def desks(settings: Settings, *logins: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """The API with somebody logged in at each desk."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running(settings))
        yield [await stack.enter_async_context(api.client(login)) for login in logins]


async def get(client: httpx.AsyncClient, path: str, status: int = 200, **asked: object) -> dict:
    answer = await client.get(path, params=asked)
    assert answer.status_code == status, answer.text
    return answer.json()


async def post(client: httpx.AsyncClient, terminal: int, status: int = 202, **said: object) -> dict:
    answer = await client.post(f"/api/terminals/{terminal}/messages", json={"text": "减速慢行", **said})
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_each_unit_sees_its_own_terminals(settings: Settings, owner: psycopg.Connection, ids: list[int]):
    for login, unit in (("corps", CORPS), ("west", WEST), ("east", EAST_SQUADRON)):
        add_person(owner, login, unit)
    async with desks(settings, "corps", "west", "east") as (corps, west, east):
        assert [row["id"] for row in (await get(corps, "/api/terminals"))["terminals"]] == ids[::-1]
        assert [row["id"] for row in (await get(west, "/api/terminals"))["terminals"]] == ids[1::-1]
        assert [row["id"] for row in (await get(east, "/api/terminals"))["terminals"]] == ids[2:]
        await get(west, f"/api/terminals/{ids[2]}", 404)
        await post(west, ids[2], 404)
        page = await get(corps, "/api/terminals", limit=2)
        assert page["next"] == ids[1] and len(page["terminals"]) == 2
        rest = await get(corps, "/api/terminals", limit=2, before=page["next"])
        assert rest["next"] is None and len(rest["terminals"]) == 1
        for text in (plate_of(2), plate_of(2)[:7].lower(), phone_of(2), f"0{phone_of(2)}"):
            assert ids[1] in [row["id"] for row in (await get(corps, "/api/terminals", q=text))["terminals"]]
        assert (await get(corps, "/api/terminals", q="%"))["terminals"] == []


async def test_a_terminal_is_shown_with_what_was_heard_of_it(
    settings: Settings, owner: psycopg.Connection, ids: list[int], world: World
):
    add_person(owner, "west", WEST)
    owner.execute(
        "INSERT INTO position_latest (subject_kind, subject, class_group, observed_at, received_at, lon, lat,"
        " speed_kmh, bearing_deg, unit_id, audience) VALUES (1, %s, 1, %s, %s, %s, %s, 'NaN', 90, %s, %s)",
        [plate_key(plate_of(1)), world.now, world.now, *PLACE, WEST_SQUADRON, above(WEST_SQUADRON)],
    )
    async with desks(settings, "west") as (west,), opened(settings) as door:
        assert (await get(west, f"/api/terminals/{ids[0]}"))["terminal"]["online"] is None
        await door.ready(3)
        driver = await door.logged_in(1)

        async def online() -> bool:
            return bool((await get(west, "/api/terminals"))["terminals"][1]["online"])

        await wait_until_async(online, what="the terminal is shown as connected")
        shown = (await get(west, f"/api/terminals/{ids[0]}"))["terminal"]
        assert (shown["plate"], shown["protocol"], shown["unit_id"]) == (plate_of(1), V2019, WEST_SQUADRON)
        assert (shown["position"]["lon"], shown["position"]["lat"], shown["position"]["speed_kmh"]) == (*PLACE, None)
        assert "code_hash" not in shown
        await driver.close()
    audited = owner.execute("SELECT DISTINCT action, subject FROM audit WHERE action LIKE '%%terminal%%'").fetchall()
    assert audited == [("read_terminal", str(ids[0]))]


async def test_a_text_goes_from_the_desk_to_the_driver_and_its_answer_back(
    settings: Settings, owner: psycopg.Connection, ids: list[int]
):
    add_person(owner, "west", WEST, role="dispatcher")
    add_person(owner, "brigade", WEST_BRIGADE)
    add_person(owner, "east", EAST_SQUADRON)
    async with desks(settings, "west", "brigade", "east") as (west, brigade, east), opened(settings) as door:
        await door.ready(3)
        driver = await door.logged_in(1)
        sent = await post(west, ids[0], text="前方大雾，限速60", urgent=True, tts=True)
        assert sent["state"] == "queued"
        text = await driver.hear(Kind.TEXT)
        assert bodies.read_text(text.body, V2019)[1] == "前方大雾，限速60"
        driver.say(Kind.TERMINAL_ANSWER, bodies.answer_body(text.serial, Kind.TEXT, Result.OK))

        async def answered() -> bool:
            return (await get(brigade, f"/api/terminal-messages/{sent['id']}"))["state"] == "answered"

        await wait_until_async(answered, what="the desk reads the answer")
        assert (await get(west, f"/api/terminals/{ids[0]}"))["messages"][0]["answer"] == {"tries": 1, "result": 0}
        await get(east, f"/api/terminal-messages/{sent['id']}", 404)
    row = owner.execute("SELECT asked_by, audience FROM terminal_message").fetchone()
    assert row == ("west", above(WEST_SQUADRON))
    audited = owner.execute("SELECT subject FROM audit WHERE action = 'terminal_text'").fetchall()
    assert audited == [(f"{plate_of(1)} {sent['id']}",)]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "吉" * 501}, "text"),
        ({"text": "减速😀"}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"until_min": 0}, "until_min"),
        ({"until_min": 100_000}, "until_min"),
        ({"finding": "00000000-0000-4000-8000-000000000000"}, "finding"),
    ],
    ids=["empty", "long", "no character for it", "nul", "no time", "too long a time", "no finding"],
)
async def test_what_cannot_be_said_is_refused_by_field(
    settings: Settings, owner: psycopg.Connection, ids: list[int], said: dict, field: str
):
    add_person(owner, "west", WEST)
    async with desks(settings, "west") as (west,):
        assert (await post(west, ids[0], 422, **said))["error"]["field"] == field
    assert owner.execute("SELECT count(*) FROM terminal_message").fetchone() == (0,)


async def test_who_may_not_speak_does_not_and_texts_that_wait_are_bounded(
    settings: Settings, owner: psycopg.Connection, ids: list[int]
):
    add_person(owner, "west", WEST)
    add_person(owner, "analyst", WEST, role="analyst")
    add_person(owner, "crew", WEST_SQUADRON, role="crew")
    async with desks(settings, "west", "analyst", "crew") as (west, analyst, crew):
        await post(analyst, ids[0], 403)
        await get(crew, "/api/terminals", 403)
        for _ in range(10):
            await post(west, ids[0])
        await post(west, ids[0], 409)
        await post(west, ids[1])
        owner.execute("UPDATE terminal SET enabled = false WHERE id = %s", [ids[1]])
        await post(west, ids[1], 409)
        strange = await west.post(
            f"/api/terminals/{ids[0]}/messages", json={"text": "x"}, headers={"Origin": "https://elsewhere.example"}
        )
        assert strange.status_code == 403


async def test_a_site_enters_its_terminals_and_moves_one_to_another_vehicle(
    settings: Settings, owner: psycopg.Connection, ids: list[int]
):
    add_person(owner, "west", WEST)
    add_person(owner, "dispatcher", WEST, role="dispatcher")
    add_person(owner, "east", EAST_SQUADRON)
    new = {"phone": "013900000077", "plate": " 吉a·10077", "plate_class": 1, "plate_color": 2, "unit": WEST_SQUADRON}
    async with desks(settings, "west", "dispatcher", "east") as (west, dispatcher, east):
        assert (await dispatcher.put("/api/terminals", json=[new])).status_code == 403
        assert (await west.put("/api/terminals", json=[{**new, "unit": EAST_SQUADRON}])).status_code == 409
        assert (await west.put("/api/terminals", json=[{**new, "unit": 999_999}])).status_code == 409
        assert (await west.put("/api/terminals", json=[new, {**new, "plate": "-"}])).status_code == 422
        assert (await west.put("/api/terminals", json=[{**new, "phone": "+86139"}])).status_code == 422
        assert owner.execute("SELECT count(*) FROM terminal").fetchone() == (3,)
        answer = await west.put("/api/terminals", json=[new])
        assert answer.status_code == 200, answer.text
        (number,) = answer.json()["ids"]
        moved = {"phone": phone_of(1), "plate": plate_of(50), "plate_class": 2, "unit": WEST_SQUADRON}
        assert (await west.put("/api/terminals", json=[moved])).json()["ids"] == [ids[0]]
        stolen = {**new, "phone": phone_of(2), "unit": EAST_SQUADRON}
        assert (await east.put("/api/terminals", json=[stolen])).status_code == 409
    entered = "SELECT phone, plate, class_group, unit_id, code_hash IS NULL FROM terminal WHERE id = %s"
    assert owner.execute(entered, [number]).fetchone() == ("13900000077", "吉A10077", 1, WEST_SQUADRON, True)
    assert owner.execute(entered, [ids[0]]).fetchone() == (phone_of(1), plate_of(50), 2, WEST_SQUADRON, True)
    assert owner.execute(entered, [ids[1]]).fetchone() == (phone_of(2), plate_of(2), 1, WEST_SQUADRON, False)
