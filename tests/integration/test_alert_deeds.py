"""Alerts in people's hands: over the API to the worker's revision on the socket, and what may not be done."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.apikit import add_person, running
from tests.conftest import wait_until, wait_until_async
from tests.workbench import Bench, seen
from tests.workerkit import running as working
from tests.workerkit import watch
from tests.world import EAST, WEST, WEST_SQUADRON
from traffic.limits import SHELF_S
from traffic.pipeline import Worker
from traffic.plates import plate_key
from traffic.readings import AlertDeed, EntryKind
from traffic.sensor_trust import load_trust

MINUTE = 60_000_000


@pytest.fixture
def bench(settings, owner, world) -> Iterator[Bench]:
    found = Bench(settings, owner)
    yield found
    found.close()


def hit(bench: Bench, world, *gates: int, plate: str | None = None) -> str:
    """A stored watch-list hit of the watched vehicle; its id."""
    worker = bench.worker()
    bench.send(*(seen(world, gate, -300 + 60 * gate, plate or world.watched_plate) for gate in gates))
    bench.drain(worker)
    number = str(bench.one("SELECT id FROM finding WHERE kind = 'watch_hit'"))
    bench.workers.remove(worker)
    bench.dies(worker)
    return number


@pytest.fixture
def number(bench, world) -> str:
    """A hit of the watched vehicle at the west's first gate."""
    return hit(bench, world, 0)


def deed_of(finding: str, action: str = "verify", verdict: str = "valid", **fields: object) -> AlertDeed:
    given = {"id": str(uuid4()), "reason": "", "by": "west", "unit": WEST, "at": 1_790_000_000_000_000, "until": 0}
    return AlertDeed(finding=finding, action=action, verdict=verdict, **{**given, **fields})  # type: ignore[arg-type]


def route(world) -> int:
    return plate_key(world.watched_plate) << 3 | 2


# ---------------------------------------------------------------- the whole way
async def test_a_verdict_over_the_api_becomes_a_revision_on_every_screen(settings, world, owner, bench, number):
    person = add_person(owner, "west", WEST, role="dispatcher")
    with working(bench.worker()):
        async with running(settings) as api, api.client("west") as client, api.live(client) as live:
            await live.say(type="subscribe", topics=["alerts", "figures"])
            await live.until(lambda screen: screen.shown == [number] and screen.figures)
            assert live.figures["alerts_open"] == 1
            body = {"verdict": "false", "reason": "misread"}
            answer = await client.post(f"/api/findings/{number}/verify", json=body)
            assert answer.status_code == 200, answer.text
            card = answer.json()["finding"]
            assert (card["revision"], card["change"], card["needs_verification"]) == (2, "verified", False)
            assert {k: card["verification"][k] for k in ("verdict", "reason", "by")} == {
                "verdict": "false", "reason": "misread", "by": "west",
            }  # fmt: skip
            await live.until(lambda screen: screen.alerts == [number] and screen.figures["alerts_open"] == 0)
            told = [frame for frame in live.frames if frame.get("topic") == "alerts"][-1]["alerts"][0]
            assert told["verification"] == card["verification"]
            whole = (await client.get(f"/api/findings/{number}")).json()
            newest, first = whole["revisions"]
            assert (newest["change"], newest["by"], first["change"]) == ("verified", "west", "new")
            assert "verification" not in newest["before"] and newest["after"]["verification"]["verdict"] == "false"
    assert bench.rows("SELECT checkpoint, valid, misread FROM checkpoint_verdict") == [(world.gates[0].id, 0, 1)]
    done = owner.execute("SELECT person_id, subject, outcome FROM audit WHERE action = 'verify_finding'").fetchall()
    assert done == [(person, number, "false misread")]


@pytest.fixture
def of_two_gates(bench, world) -> str:
    """A hit of the watched vehicle at both gates of the west."""
    return hit(bench, world, 0, 1)


async def test_a_verdict_is_reverted_by_another_and_the_trust_follows(settings, world, owner, bench, of_two_gates):
    add_person(owner, "west", WEST, role="analyst")
    number = of_two_gates
    with working(bench.worker()):
        async with running(settings) as api, api.client("west") as client:
            for verdict, reason in (("false", "misread"), ("valid", "")):
                body = {"verdict": verdict, "reason": reason}
                answer = await client.post(f"/api/findings/{number}/verify", json=body)
                assert answer.status_code == 200
                trust = load_trust(owner, now_us=settings.clock.now_us())
                gates = [world.gates[gate].id for gate in (0, 1)]
                assert [trust.of_checkpoint[gate] < 1.0 for gate in gates] == [verdict == "false"] * 2
    assert bench.rows("SELECT checkpoint, valid, misread FROM checkpoint_verdict ORDER BY 1") == [(1, 1, 0), (2, 1, 0)]
    assert bench.one("SELECT revision FROM finding") == 3


async def test_an_alert_that_is_put_aside_leaves_the_list_and_comes_back_with_the_tick(
    settings, world, owner, bench, number
):
    add_person(owner, "west", WEST, role="dispatcher")
    until = settings.clock.now_us() + 10 * MINUTE
    with working(bench.worker()):
        async with running(settings) as api, api.client("west") as client:
            body = {"reason": "等待复核", "until": until}
            answer = await client.post(f"/api/findings/{number}/shelve", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["finding"]["shelf"] == {"reason": "等待复核", "until": until, "by": "west"}
            listed = (await client.get("/api/findings")).json()
            assert (listed["findings"], listed["shelved"]) == ([], 1)
            for asked in ("only", "all"):
                [card] = (await client.get("/api/findings", params={"shelved": asked})).json()["findings"]
                assert card["id"] == number
            # the shelf's end comes: what is stored is moved into the past instead of waiting for it
            bench.execute(
                "UPDATE finding SET shelf = shelf || jsonb_build_object('until', 1790000000000000) WHERE id = %s",
                number,
            )
            await wait_until_async(lambda: bench.one("SELECT change FROM finding") == "unshelved", what="the tick")
            listed = (await client.get("/api/findings")).json()
            assert (len(listed["findings"]), listed["shelved"]) == (1, 0)
            assert listed["findings"][0]["cause"]["reason"] == "shelf_ended"


async def test_an_alert_is_taken_back_from_the_shelf_by_hand(settings, world, owner, bench, number):
    add_person(owner, "west", WEST, role="commander")
    with working(bench.worker()):
        async with running(settings) as api, api.client("west") as client:
            assert (await client.post(f"/api/findings/{number}/unshelve")).status_code == 409
            body = {"reason": "一小时", "until": settings.clock.now_us() + 60 * MINUTE}
            assert (await client.post(f"/api/findings/{number}/shelve", json=body)).status_code == 200
            answer = await client.post(f"/api/findings/{number}/unshelve")
            assert answer.status_code == 200 and answer.json()["finding"]["shelf"] is None
    assert bench.one("SELECT revision FROM finding") == 3


async def test_without_a_worker_the_deed_waits_on_the_bus_and_is_done_by_the_next(
    settings, world, owner, bench, number, monkeypatch
):
    monkeypatch.setattr("dashboards.api.alerts.REVISION_S_MAX", 0.2)
    add_person(owner, "west", WEST, role="dispatcher")
    async with running(settings) as api, api.client("west") as client:
        given = str(uuid4())
        body = {"verdict": "valid", "id": given}
        for _ in range(2):  # the client sends it again, because it knows nothing
            answer = await client.post(f"/api/findings/{number}/verify", json=body)
            assert (answer.status_code, answer.json()) == (202, {"deed": given, "state": "accepted"})
        worker = bench.worker()
        await asyncio.to_thread(bench.drain, worker)
        answer = await client.post(f"/api/findings/{number}/verify", json=body)
        assert (answer.status_code, answer.json()["revision"]) == (200, 2)
    assert bench.rows("SELECT revision, change FROM finding_revision ORDER BY 1") == [(1, "new"), (2, "verified")]


# ---------------------------------------------------------------- what may not be
async def test_who_may_not_or_cannot_see_the_alert_changes_nothing(settings, world, owner, bench, number):
    add_person(owner, "crew", WEST_SQUADRON, role="crew")
    add_person(owner, "analyst", WEST, role="analyst")
    add_person(owner, "east", EAST)
    verdict, shelf = {"verdict": "valid"}, {"reason": "测试", "until": settings.clock.now_us() + MINUTE * 10}
    async with running(settings) as api:
        async with api.client("crew") as client:
            assert (await client.post(f"/api/findings/{number}/verify", json=verdict)).status_code == 403
            assert (await client.post(f"/api/findings/{number}/shelve", json=shelf)).status_code == 403
        async with api.client("analyst") as client:
            assert (await client.post(f"/api/findings/{number}/shelve", json=shelf)).status_code == 403
            assert (await client.post(f"/api/findings/{number}/unshelve")).status_code == 403
        async with api.client("east") as client:  # no unit of the east sees the west's gate
            for path in (number, str(uuid4())):
                assert (await client.post(f"/api/findings/{path}/verify", json=verdict)).status_code == 404
                assert (await client.post(f"/api/findings/{path}/shelve", json=shelf)).status_code == 404
        async with api.client() as client:
            assert (await client.post(f"/api/findings/{number}/verify", json=verdict)).status_code == 401
    assert bench.rows("SELECT count(*) FROM finding_revision") == [(1,)]
    outcomes = owner.execute("SELECT action, outcome FROM audit WHERE subject = %s", [number]).fetchall()
    assert ("verify_finding", "not found") in outcomes


REFUSED = (
    ("verify", {"verdict": "perhaps"}, "verdict"),
    ("verify", {"verdict": "false"}, "reason"),
    ("verify", {"verdict": "false", "reason": "x" * 201}, "reason"),
    ("verify", {"verdict": "valid", "id": "7"}, "id"),
    ("verify", {"verdict": "valid", "finding": "other"}, "finding"),
    ("shelve", {"reason": "", "until": 1}, "reason"),
    ("shelve", {"reason": "测试", "until": 1}, "until"),
    ("shelve", {"reason": "测试", "until": "2026-01-01T00:00:00"}, "until"),
    ("shelve", {"reason": "太远", "until": "2999-01-01T00:00:00+08:00"}, "until"),
)


async def test_a_deed_that_makes_no_sense_is_refused_with_its_field(api_of_west):
    client, number = api_of_west
    for action, body, field in REFUSED:
        answer = await client.post(f"/api/findings/{number}/{action}", json=body)
        assert answer.status_code == 422 and answer.json()["error"]["field"].startswith(field), (body, answer.text)


@pytest.fixture
async def api_of_west(settings, owner, number):
    add_person(owner, "west", WEST)
    async with running(settings) as api, api.client("west") as client:
        yield client, number


async def test_a_page_of_another_site_cannot_verify(api_of_west):
    client, number = api_of_west
    headers = {"Origin": "https://evil.example"}
    answer = await client.post(f"/api/findings/{number}/verify", json={"verdict": "valid"}, headers=headers)
    assert answer.status_code == 403


# ---------------------------------------------------------------- on the bus
def test_a_deed_that_comes_again_and_again_is_done_once(bench, world):
    number = hit(bench, world, 0)
    deed = deed_of(number, verdict="false", reason="misread")
    bench.open()
    worker = bench.worker()
    bench.send_small(EntryKind.DEEDS, [deed, deed], route(world))
    bench.send_small(EntryKind.DEEDS, [deed], route(world))
    bench.drain(worker)
    bench.dies(worker)
    again = bench.worker()
    bench.send_small(EntryKind.DEEDS, [deed], route(world))
    bench.drain(again)
    assert bench.rows("SELECT revision, change FROM finding_revision ORDER BY 1") == [(1, "new"), (2, "verified")]
    assert bench.rows("SELECT valid, misread FROM checkpoint_verdict") == [(0, 1)]


def test_deeds_on_findings_that_there_are_not_stop_nothing(bench, world):
    number = hit(bench, world, 0)
    worker = bench.worker()
    lost = [deed_of(str(uuid4())), deed_of("no finding at all"), deed_of(number, "shelve", "", until=5)]
    bench.send_small(EntryKind.DEEDS, [*lost, deed_of(number)], route(world))
    bench.drain(worker)
    assert bench.rows("SELECT revision, change FROM finding_revision ORDER BY 1") == [(1, "new"), (2, "verified")]


def test_deeds_of_one_batch_stand_in_their_order_behind_its_sightings(bench, world):
    number = hit(bench, world, 0)
    worker = bench.worker()
    bench.send_small(EntryKind.DEEDS, [deed_of(number, verdict="false", reason="other"), deed_of(number)], route(world))
    bench.send(seen(world, 2, -30, world.watched_plate))
    bench.drain(worker)
    told = bench.rows(
        "SELECT revision, change, grounds -> 'verification' ->> 'verdict' FROM finding_revision ORDER BY 1"
    )
    assert told == [(1, "new", None), (2, "updated", None), (3, "verified", "false"), (4, "verified", "valid")]
    assert bench.one("SELECT verification ->> 'verdict' FROM finding") == "valid"


# ---------------------------------------------------------------- misread plates and two workers
def test_a_misread_plate_is_a_hit_of_the_watched_vehicle_whoever_reads_it(bench, world):
    """吉A8888B can lie on another partition than the watched 吉A88888: the card is one all the same."""
    worker = bench.worker()
    bench.send(seen(world, 0, -300, "吉A8888B"))
    bench.drain(worker)
    bench.send(seen(world, 1, -200, world.watched_plate), seen(world, 2, -100, "吉AB8888"))
    bench.drain(worker)
    ((key, count, match, level),) = bench.rows(
        "SELECT plate_key, (grounds ->> 'count')::int, grounds -> 'detail' -> 'match', level FROM finding"
        " WHERE kind = 'watch_hit'"
    )
    assert (key, count, level) == (plate_key(world.watched_plate), 3, 1)
    assert match["how"] == "exact" and set(match["reads"]) == {"吉A88888", "吉A8888B", "吉AB8888"}


def test_two_workers_with_a_word_on_one_finding_lose_none(bench, world):
    plates = ["吉A8888B", world.watched_plate, "吉AB8888", "吉A888B8"] * 3
    with working(bench.worker()) as first, working(Worker(bench.settings)) as second:
        wait_until(lambda: len(first.held) == len(second.held) == 2, what="each holds its share")
        for number, plate in enumerate(plates):
            bench.send(seen(world, number % 4, -600 + 20 * number, plate))
        count = "SELECT coalesce(max((grounds ->> 'count')::int), 0) FROM finding WHERE kind = 'watch_hit'"
        wait_until(lambda: bench.one(count) == len(plates), what="every sighting in one finding")
    revisions = [row[0] for row in bench.rows("SELECT revision FROM finding_revision ORDER BY 1")]
    assert revisions == list(range(1, len(revisions) + 1))


# ---------------------------------------------------------------- lists and policy
async def test_findings_are_found_by_what_they_are(settings, world, owner, bench, number):
    add_person(owner, "west", WEST)
    person = add_person(owner, "crew", WEST_SQUADRON, role="crew")
    async with running(settings) as api, api.client("west") as client:

        async def ids(**asked: str) -> list[str]:
            answer = await client.get("/api/findings", params=asked)
            assert answer.status_code == 200, answer.text
            return [card["id"] for card in answer.json()["findings"]]

        assert await ids(kind="watch_hit", level="1", state="active", verification="open") == [number]
        assert await ids(kind="", level="", state="", verification="", plate="") == [number]
        assert await ids(plate="吉A·88888") == [number]
        for asked in ({"kind": "section_speed"}, {"level": "2"}, {"state": "retracted"}, {"verification": "valid"},
                      {"verification": "false"}, {"plate": "吉A00000"}):  # fmt: skip
            assert await ids(**asked) == []
        for field, value in (
            ("kind", "weather"),
            ("level", "5"),
            ("state", "x"),
            ("verification", "maybe"),
            ("plate", "·"),
        ):
            answer = await client.get("/api/findings", params={field: value})
            assert answer.status_code == 422 and answer.json()["error"]["field"] == field
        async with api.client("crew") as crew:
            assert (await crew.get("/api/findings", params={"plate": "吉A88888"})).status_code == 403
    subjects = [row[0] for row in owner.execute("SELECT subject FROM audit WHERE action = 'find_by_plate'").fetchall()]
    assert subjects == ["吉A88888", "吉A00000"] and person


async def test_screens_are_told_how_loud_they_may_be(api_of_west):
    client, _ = api_of_west
    policy = (await client.get("/api/alerts/policy")).json()
    assert [row["level"] for row in policy["levels"]] == [1, 2, 3, 4]
    assert policy["levels"][0]["on_top"] and all(row["every_s_min"] >= 10 for row in policy["levels"])
    assert policy["shelved"]["s_max"] == SHELF_S[1]


# ---------------------------------------------------------------- looking back
def test_new_patterns_and_misreadings_are_found_in_the_past_half_hour_too(bench, world):
    worker = bench.worker()
    plates = ("吉K00001", "吉K0000B", "吉Q11111")
    bench.send(*(seen(world, number, -300, plate) for number, plate in enumerate(plates)))
    bench.drain(worker)
    watch(bench, world, "吉K00008", "BK-0002")  # of level 2: 吉K0000B is a misreading of it
    watch(bench, world, "?Q1*", "BK-0003")
    bench.step_until(worker, lambda: bench.one("SELECT count(*) FROM finding") == 2)
    told = bench.rows("SELECT anchor, plate_key, grounds -> 'detail' -> 'match' ->> 'how' FROM finding ORDER BY anchor")
    assert told == [
        ("BK-0002", plate_key("吉K00008"), "misread"), ("BK-0003", plate_key("吉Q11111"), "wildcard"),
    ]  # fmt: skip
