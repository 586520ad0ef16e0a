"""Who sees what, over every surface at once: HTTP, sockets, counts, errors. Written from the intruder's side.

Every secret carries a mark of its own; whatever a viewer is ever sent is searched for marks that are not its own.
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
from psycopg.types.json import Jsonb
from websockets.exceptions import ConnectionClosed

from tests.apikit import Api, Feed, Live, add_person, running
from tests.conftest import wait_until_async
from tests.world import (
    CORPS,
    EAST,
    EAST_BRIGADE,
    EAST_SQUADRON,
    WEST,
    WEST_BRIGADE,
    WEST_SQUADRON,
    World,
)
from traffic.database import WRITER, as_role
from traffic.feed import Cursor

BUCKET = 10_000_000
TOPICS = ["roads", "alerts", "figures"]
# Every address that answers people who are not logged in; any other must refuse them.
PUBLIC = {
    ("post", "/api/login"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/asyncapi.json"),
}  # fmt: skip
WEST_OPEN, EAST_OPEN, COVERT = "吉A11111", "吉A22222", "吉A33333"
LATE = {WEST_OPEN: "吉B11111", EAST_OPEN: "吉B22222", COVERT: "吉B33333"}  # what comes while the screens look
LATER = {WEST_OPEN: "吉C11111", EAST_OPEN: "吉C22222", COVERT: "吉C33333"}  # while they are away


@dataclass(frozen=True, kw_only=True)
class Case:
    """A viewer, and what of the province is its business. The covert matter is addressed to the west brigade."""

    login: str
    unit: int
    clearance: int
    findings: frozenset[str]
    gates: frozenset[int]


def case(login: str, unit: int, clearance: int, findings: set[str], gates: set[int]) -> Case:
    return Case(login=login, unit=unit, clearance=clearance, findings=frozenset(findings), gates=frozenset(gates))


BOTH = {WEST_OPEN, EAST_OPEN}
CASES = [
    case("corps", CORPS, 0, BOTH, {1, 2, 3, 4}),
    case("corps-cleared", CORPS, 1, BOTH, {1, 2, 3, 4}),
    case("west", WEST, 0, {WEST_OPEN}, {1, 2, 3}),
    case("west-cleared", WEST, 1, {WEST_OPEN}, {1, 2, 3}),
    case("west-brigade", WEST_BRIGADE, 0, {WEST_OPEN}, {1, 2, 3}),
    case("west-brigade-cleared", WEST_BRIGADE, 1, {WEST_OPEN, COVERT}, {1, 2, 3}),
    case("west-squadron", WEST_SQUADRON, 0, {WEST_OPEN}, {1, 2, 3}),
    case("west-squadron-cleared", WEST_SQUADRON, 1, {WEST_OPEN}, {1, 2, 3}),
    case("east-cleared", EAST, 1, {EAST_OPEN}, {2, 3, 4}),
    case("east-brigade", EAST_BRIGADE, 0, {EAST_OPEN}, {2, 3, 4}),
    case("east-squadron-cleared", EAST_SQUADRON, 1, {EAST_OPEN}, {2, 3, 4}),
    case("nowhere-cleared", 19, 1, set(), set()),  # a unit that owns nothing
]


@dataclass(kw_only=True)
class Seen:
    """One viewer at its screen, with all that it was ever sent."""

    case: Case
    client: httpx.AsyncClient
    live: Live | None = None
    texts: list[str] = field(default_factory=list)

    async def get(self, path: str) -> httpx.Response:
        answer = await self.client.get(path)
        self.texts.append(answer.text)
        return answer

    def told(self) -> str:
        frames = json.dumps(self.live.frames, ensure_ascii=False) if self.live else ""
        return frames + "\n".join(self.texts)


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


def _write_findings(feed: Feed, plates: dict[str, str], partition: int) -> dict[str, str]:
    """A finding of each sort; returns ids by sort."""
    return {
        WEST_OPEN: feed.finding(WEST_SQUADRON, plate=plates[WEST_OPEN], level=2, partition=partition),
        EAST_OPEN: feed.finding(EAST_SQUADRON, plate=plates[EAST_OPEN], level=3, partition=partition),
        COVERT: feed.finding(
            WEST_SQUADRON, plate=plates[COVERT], level=1, addressees=[WEST_BRIGADE], partition=partition
        ),
    }


def _add_people(owner: psycopg.Connection, world: World) -> None:
    owner.execute(
        "INSERT INTO unit (id, code, name, name_en, level, branch, valid_from)"
        " VALUES (19, '220000000019', '别处', 'Elsewhere', 2, 'territorial', %s)",
        [world.now - timedelta(days=60)],
    )
    owner.execute(
        "INSERT INTO unit_parent (unit_id, parent_id, valid_from) VALUES (19, 1, %s)", [world.now - timedelta(days=60)]
    )
    for one in CASES:
        add_person(owner, one.login, one.unit, clearance=one.clearance)


def _refuse_records(owner: psycopg.Connection, world: World) -> None:
    for unit, mark in ((WEST, "refused-of-west"), (EAST, "refused-of-east")):
        owner.execute(
            "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body,"
            " audience) VALUES (%s, 2, %s, %s, 0, 'plate', 'malformed', '', %s, %s)",
            [world.now, world.native_id, unit, mark.encode(), [CORPS, unit]],
        )


def _bucket(settings) -> int:
    return settings.clock.now_us() // BUCKET * BUCKET


async def _everyone(api: Api, stack: AsyncExitStack) -> list[Seen]:
    found = []
    for one in CASES:
        client = await stack.enter_async_context(api.client(one.login))
        seen = Seen(case=one, client=client)
        seen.live = await stack.enter_async_context(api.live(client))
        found.append(seen)
    return found


async def _walk(seen: Seen) -> list[dict]:
    """All pages of the list of findings, one by one."""
    cards: list[dict] = []
    path = "/api/findings?limit=1"
    while True:
        page = (await seen.get(path)).json()
        cards += page["findings"]
        if page["next"] is None:
            return cards
        path = f"/api/findings?limit=1&before={page['next']}"


async def test_no_surface_shows_a_viewer_what_is_not_its_own(settings, world, owner, feed):
    _add_people(owner, world)
    _refuse_records(owner, world)
    early = _write_findings(feed, {sort: sort for sort in LATE}, 0)
    async with running(settings) as api, AsyncExitStack() as stack:
        everyone = await _everyone(api, stack)
        for seen in everyone:
            assert seen.live is not None
            await seen.live.say(type="subscribe", topics=TOPICS, viewport=None)
            await seen.live.until(lambda live: live.figures and live.checkpoints is not None)
        late = _write_findings(feed, LATE, 1)
        feed.flow([[gate, _bucket(settings), 1, gate, 0, 0.0] for gate in (1, 2, 3, 4)])
        for seen in everyone:
            await _check_live(seen, early, late)
            await _check_http(seen, early | {f"late {sort}": id for sort, id in late.items()})
        later = _write_findings(feed, LATER, 2)
        for seen in everyone:
            await _check_resume(api, seen, later)
            _check_marks(seen)


async def _check_live(seen: Seen, early: dict[str, str], late: dict[str, str]) -> None:
    live, own = seen.live, seen.case.findings
    assert live is not None
    wanted = [late[sort] for sort in late if sort in own]
    await live.until(lambda live: live.figures["alerts_today"] == 2 * len(own) and len(live.alerts) >= len(wanted))
    assert sorted(live.shown) == sorted(early[sort] for sort in own)
    assert sorted(live.alerts) == sorted(wanted)
    by_level = {"1": COVERT, "2": WEST_OPEN, "3": EAST_OPEN}
    assert live.figures["alerts_by_level"] == {
        level: 2 * (by_level.get(level) in own) for level in ("1", "2", "3", "4")
    }
    gates = seen.case.gates
    if gates:
        await live.until(lambda live: all(live.checkpoints[gate]["per_minute"] == gate for gate in gates))
    assert live.checkpoints.keys() == gates
    assert live.figures["checkpoints_total"] == len(gates)
    await live.until(lambda live: (live.figures["passages_per_minute"] or 0) == sum(gates))


async def _check_http(seen: Seen, ids: dict[str, str]) -> None:
    own = seen.case.findings
    mine = {id for sort, id in ids.items() if sort.removeprefix("late ") in own}
    assert {card["id"] for card in await _walk(seen)} == mine
    listed = (await seen.get("/api/findings?limit=200")).json()
    assert {card["id"] for card in listed["findings"]} == mine
    strange = await seen.client.get(f"/api/findings/{uuid4()}")
    for id in ids.values():
        answer = await seen.get(f"/api/findings/{id}")
        if id in mine:
            assert answer.status_code == 200 and answer.json()["finding"]["id"] == id
        else:  # not even that there is one
            assert (answer.status_code, answer.text) == (404, strange.text)
            assert {*answer.headers} == {*strange.headers}
    area = (await seen.get("/api/map")).json()
    assert {gate["id"] for gate in area["checkpoints"]} == seen.case.gates
    refused = [record["body"] for record in (await seen.get("/api/quarantine")).json()["records"]]
    unit = seen.case.unit
    wanted = {CORPS: ["refused-of-east", "refused-of-west"], WEST: ["refused-of-west"], EAST: ["refused-of-east"]}
    assert refused == wanted.get(unit, [])


async def _check_resume(api: Api, seen: Seen, later: dict[str, str]) -> None:
    """From the place where it was, and with a cursor that claims to have seen nothing at all."""
    assert seen.live is not None
    own = seen.case.findings
    wanted = {later[sort] for sort in later if sort in own}
    place = seen.live.place
    behind = Cursor(epoch=place.epoch, places={0: 3, 1: 3, 2: 0, 3: 0})
    for since, count in ((str(behind), 1), (f"{place.epoch}|", 3)):
        async with api.live(seen.client) as live:
            await live.say(type="resume", topics=["alerts", "figures"], viewport=None, since=since)
            await live.until(
                lambda live, count=count: live.figures and len({*live.alerts, *live.shown}) == count * len(own)
            )
            assert wanted <= {*live.alerts, *live.shown}
            seen.texts.append(json.dumps(live.frames, ensure_ascii=False))


def _check_marks(seen: Seen) -> None:
    told = seen.told()
    for sort in (WEST_OPEN, EAST_OPEN, COVERT):
        for plate in (sort, LATE[sort], LATER[sort]):
            assert (plate in told) == (sort in seen.case.findings), f"{seen.case.login} and {plate}"


# ---------------------------------------------------------------- what is written about other people's matters
async def test_refused_records_of_others_can_neither_be_sent_nor_dismissed(settings, world, owner):
    _refuse_records(owner, world)
    add_person(owner, "west", WEST)
    add_person(owner, "west-squadron", WEST_SQUADRON)
    add_person(owner, "analyst", WEST, role="analyst")
    ids = dict(owner.execute("SELECT unit_id, id FROM quarantine").fetchall())
    record = world.native_record(2, settings.clock.now(), "吉A12345")
    async with running(settings) as api:
        for login in ("west", "west-squadron"):
            async with api.client(login) as client:
                for deed in ("retry", "dismiss"):
                    answer = await client.post(f"/api/quarantine/{ids[EAST]}/{deed}", json=record)
                    strange = await client.post(f"/api/quarantine/{10**9}/{deed}", json=record)
                    assert (answer.status_code, answer.text) == (404, strange.text)
        async with api.client("analyst") as client:
            assert (await client.get("/api/quarantine")).status_code == 403
            for deed in ("retry", "dismiss"):
                assert (await client.post(f"/api/quarantine/{ids[WEST]}/{deed}", json=record)).status_code == 403
    assert owner.execute("SELECT DISTINCT state FROM quarantine").fetchall() == [("open",)]


async def test_a_finding_that_becomes_restricted_is_gone_for_those_who_saw_it(settings, world, owner, feed):
    add_person(owner, "west", WEST)
    id = feed.finding(WEST_SQUADRON, plate=WEST_OPEN)
    async with running(settings) as api, api.client("west") as client:
        assert (await client.get(f"/api/findings/{id}")).status_code == 200
        owner.execute("UPDATE finding SET visibility = 1, addressees = %s WHERE id = %s", [[WEST_BRIGADE], id])
        assert (await client.get(f"/api/findings/{id}")).status_code == 404
        assert (await client.get("/api/findings")).json()["findings"] == []


async def test_a_person_who_is_moved_sees_the_new_units_matters_and_no_others(settings, world, owner, feed):
    number = add_person(owner, "mover", WEST, clearance=1)
    west, east = feed.finding(WEST_SQUADRON, plate=WEST_OPEN), feed.finding(EAST_SQUADRON, plate=EAST_OPEN)
    async with running(settings) as api, api.client("mover") as client:
        assert [card["id"] for card in (await client.get("/api/findings")).json()["findings"]] == [west]
        map_before = (await client.get("/api/map")).json()
        owner.execute("UPDATE person SET unit_id = %s, clearance = 0 WHERE id = %s", [EAST, number])
        assert [card["id"] for card in (await client.get("/api/findings")).json()["findings"]] == [east]
        map_after = (await client.get("/api/map")).json()
        assert (map_before["unit"]["id"], map_after["unit"]["id"]) == (WEST, EAST)


# ---------------------------------------------------------------- who is not logged in (any more)
def _operations(openapi: dict) -> list[tuple[str, str]]:
    return [(method, path) for path, methods in openapi["paths"].items() for method in methods]


def _filled(path: str) -> str:
    return path.replace("/findings/{id}", f"/findings/{uuid4()}").replace("{id}", "1")


async def _statuses(client: httpx.AsyncClient, openapi: dict) -> set[int]:
    found = set()
    for method, path in _operations(openapi):
        if (method, path) not in PUBLIC:
            found.add((await client.request(method, _filled(path))).status_code)
    return found


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE session SET revoked_at = clock_timestamp()",
        "UPDATE session SET expires_at = clock_timestamp()",
        "UPDATE person SET disabled = true",
        "DELETE FROM socket_ticket; DELETE FROM session",
    ],
)
async def test_every_address_refuses_a_session_that_ended(settings, world, owner, end):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        openapi = (await client.get("/openapi.json")).json()
        assert 401 not in await _statuses_without_log_out(client, openapi)
        owner.execute(end)
        assert await _statuses(client, openapi) == {401}


async def _statuses_without_log_out(client: httpx.AsyncClient, openapi: dict) -> set[int]:
    paths = {path: methods for path, methods in openapi["paths"].items() if path != "/api/logout"}
    return await _statuses(client, {"paths": paths})


@pytest.mark.parametrize("cookie", [None, "", "x", "' OR 1=1 --", "a" * 5000, "\u00e9", "null", "%00"])
async def test_every_address_refuses_who_is_not_logged_in(settings, world, owner, cookie):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        openapi = (await client.get("/openapi.json")).json()
        if cookie is not None:
            client.headers = httpx.Headers([(b"Cookie", b"session=" + cookie.encode())])
        assert await _statuses(client, openapi) == {401}


async def test_a_planted_session_is_not_taken_over_by_a_log_in(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        client.cookies.set("session", "planted-by-somebody-else", domain="127.0.0.1", path="/")
        await client.post("/api/login", json={"login": "chief", "password": "correct-horse"})
        async with api.client() as other:
            other.headers["Cookie"] = "session=planted-by-somebody-else"
            assert (await other.get("/api/me")).status_code == 401
        tokens = [cookie.value for cookie in client.cookies.jar if cookie.value != "planted-by-somebody-else"]
        assert len(tokens) == 1 and len(tokens[0] or "") >= 40


# ---------------------------------------------------------------- tickets
async def _refused(api: Api, ticket: str) -> bool:
    async with api.socket() as live:
        await live.say(type="hello", ticket=ticket)
        return (await live.error()) == "ticket"


async def test_a_ticket_opens_its_own_persons_view_and_opens_it_once(settings, world, owner, feed):
    add_person(owner, "east", EAST)
    add_person(owner, "west", WEST)
    feed.finding(WEST_SQUADRON, plate=WEST_OPEN)
    async with running(settings) as api, api.client("east") as east, api.client("west") as west:
        ticket = await api.ticket(east)
        async with api.socket({"Cookie": f"session={west.cookies['session']}"}) as live:
            await live.say(type="hello", ticket=ticket)
            assert (await live.hear())["user"]["login"] == "east"  # the cookie beside it means nothing
            await live.say(type="subscribe", topics=TOPICS, viewport=None)
            await live.until(lambda live: live.figures)
            assert live.shown == [] and live.figures["alerts_today"] == 0
        assert await _refused(api, ticket)
        racing = await api.ticket(east)
        assert sorted(await asyncio.gather(*(_refused_or_not(api, racing) for _ in range(8)))) == [False] + [True] * 7


async def _refused_or_not(api: Api, ticket: str) -> bool:
    async with api.socket() as live:
        await live.say(type="hello", ticket=ticket)
        return (await live.hear())["type"] == "error"


@pytest.mark.parametrize("end", ["logout", "disabled", "expired"])
async def test_a_ticket_dies_with_its_session(settings, world, owner, end):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        ticket = await api.ticket(client)
        if end == "logout":
            assert (await client.post("/api/logout")).status_code == 200
        elif end == "disabled":
            owner.execute("UPDATE person SET disabled = true")
        else:
            owner.execute("UPDATE socket_ticket SET expires_at = clock_timestamp()")
        assert await _refused(api, ticket)


async def test_a_session_cookie_is_no_ticket_and_a_ticket_no_session(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        assert await _refused(api, client.cookies["session"])
        ticket = await api.ticket(client)
        async with api.client() as other:
            other.headers["Cookie"] = f"session={ticket}"
            assert (await other.get("/api/me")).status_code == 401


async def test_an_open_view_is_shut_when_its_clearance_goes(settings, world, owner, feed):
    number = add_person(owner, "brigade", WEST_BRIGADE, clearance=1)
    async with running(settings) as api, api.client("brigade") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS, viewport=None)
        await live.until(lambda live: live.figures)
        owner.execute("UPDATE person SET clearance = 0 WHERE id = %s", [number])
        with pytest.raises(ConnectionClosed):
            while True:
                await live.hear()
        assert live.raw.close_code == 4403
        async with api.live(client) as again:
            feed.finding(WEST_SQUADRON, plate=COVERT, addressees=[WEST_BRIGADE])
            mark = feed.finding(WEST_SQUADRON, plate=WEST_OPEN)
            await again.say(type="resume", topics=TOPICS, viewport=None, since=live.cursor)
            await again.until(lambda live: mark in {*live.alerts, *live.shown} and live.figures)
            assert COVERT not in json.dumps(again.frames, ensure_ascii=False)


# ---------------------------------------------------------------- what tells by the way
async def test_a_covert_alert_makes_no_sound_on_screens_that_may_not_hear_it(settings, world, owner, feed):
    """No frame at all follows it: neither an empty delta nor a changed figure."""
    add_person(owner, "squadron", WEST_SQUADRON, clearance=1)
    async with running(settings) as api, api.client("squadron") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=["alerts", "figures"], viewport=None)
        await live.until(lambda live: live.figures)
        before = dict(live.figures)
        feed.finding(WEST_SQUADRON, plate=COVERT, addressees=[WEST_BRIGADE])
        mark = feed.finding(WEST_SQUADRON, plate=WEST_OPEN)
        heard = len(live.frames)
        await live.until(lambda live: live.alerts and live.figures["alerts_today"])
        assert live.alerts == [mark]
        deltas = [frame for frame in live.frames[heard:] if frame.get("topic") == "alerts"]
        assert len(deltas) == 1
        assert live.figures["alerts_today"] == before["alerts_today"] + 1
        assert live.figures["alerts_by_level"]["2"] == 1


async def test_figures_for_the_house_are_not_told_to_strangers(settings, world, owner, feed):
    """Counters of the parts say how many findings there are, covert ones among them."""
    with psycopg.connect(as_role(settings.database_url, WRITER), autocommit=True) as writer:
        writer.execute(
            "INSERT INTO part (kind, instance, started_at, seen_at, figures)"
            " VALUES ('worker', 'one', clock_timestamp(), clock_timestamp(), %s)",
            [Jsonb({"findings": 4711})],
        )
    async with running(settings) as api, api.client() as client:
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            answer = await client.get("/metrics", headers={header: "203.0.113.9"})
            assert answer.status_code == 404 and "4711" not in answer.text
        assert "4711" in (await client.get("/metrics")).text  # this machine's own Prometheus
        ready = await client.get("/readyz")
        assert set(ready.json()["parts"].values()) <= {"ok", "does not answer", "not read yet", "not migrated"}


async def test_with_a_key_the_figures_are_for_its_holder_alone(settings, world):
    keyed = settings.model_copy(update={"metrics_key": "0123456789abcdef"})
    async with running(keyed) as api, api.client() as client:
        for key in ("", "Bearer x", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef"):
            assert (await client.get("/metrics", headers={"Authorization": key})).status_code == 404
        good = {"Authorization": "Bearer 0123456789abcdef", "X-Forwarded-For": "203.0.113.9"}
        assert (await client.get("/metrics", headers=good)).status_code == 200


async def test_a_reading_of_a_finding_is_in_the_audit_and_a_refused_one_too(settings, world, owner, feed):
    add_person(owner, "east", EAST)
    add_person(owner, "west", WEST)
    id = feed.finding(WEST_SQUADRON, plate=WEST_OPEN)
    async with running(settings) as api, api.client("east") as east, api.client("west") as west:
        await east.get(f"/api/findings/{id}")
        await west.get(f"/api/findings/{id}")

        def rows() -> list:
            return owner.execute(
                "SELECT unit_id, outcome FROM audit WHERE action = 'read_finding' ORDER BY id"
            ).fetchall()

        await wait_until_async(lambda: len(rows()) == 2, what="both readings are in the audit")
        assert rows() == [(EAST, "not found"), (WEST, "ok")]
