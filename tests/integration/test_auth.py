"""Logging in and out, sessions, lock-out, and where requests may come from."""

import asyncio
import hashlib

import pytest

from tests.apikit import PASSWORD, add_person, running
from tests.world import CORPS, WEST

LOGIN = {"login": "chief", "password": PASSWORD}
WRONG = {"login": "chief", "password": "guess"}


def audit(owner) -> list[tuple]:
    return owner.execute("SELECT action, subject, outcome FROM audit ORDER BY id").fetchall()


async def test_a_login_opens_a_session_that_the_browser_keeps_to_itself(settings, world, owner):
    person = add_person(owner, "chief", WEST, role="dispatcher", clearance=1)
    async with running(settings) as api, api.client() as client:
        answer = await client.post("/api/login", json=LOGIN)
        told = answer.json()
        may = told["me"].pop("may")
        assert "verify_alert" in may and "edit_rules" not in may
        assert told == {
            "me": {
                "login": "chief",
                "name": "Name of chief",
                "unit": {"id": WEST, "name": "西支队", "name_en": "West Detachment", "level": 2},
                "role": "dispatcher",
                "clearance": 1,
            }
        }
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "secure" not in cookie
        assert (await client.get("/api/me")).json() == answer.json()
        stored = owner.execute("SELECT token_hash, person_id FROM session").fetchall()
        assert stored == [(hashlib.sha256(client.cookies["session"].encode()).digest(), person)]
        assert audit(owner) == [("login", "chief", "ok")]


async def test_behind_tls_the_cookie_is_secure(settings, world, owner):
    add_person(owner, "chief")
    named = settings.model_copy(update={"public_origins": ["https://traffic.example"]})
    async with running(named) as api, api.client() as client:
        answer = await client.post("/api/login", json=LOGIN, headers={"Origin": "https://traffic.example"})
        assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("login", ["chief", "nobody"])
async def test_wrong_and_unknown_logins_answer_alike_and_rest_after_five_failures(settings, world, owner, login):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        for _ in range(5):
            answer = await client.post("/api/login", json={**WRONG, "login": login})
            assert answer.status_code == 401
            assert answer.json() == {"error": {"code": "wrong_login", "message": "login and password do not fit"}}
        answer = await client.post("/api/login", json={**LOGIN, "login": login})
        assert answer.status_code == 429 and answer.json()["error"]["code"] == "locked"
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "session" not in client.cookies
        assert [outcome for *_, outcome in audit(owner)][-1] == "locked"
        owner.execute("UPDATE person SET locked_until = clock_timestamp()")
        if login == "chief":
            assert (await client.post("/api/login", json=LOGIN)).status_code == 200


async def test_many_guesses_at_once_are_no_more_than_five(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        answers = await asyncio.gather(*(client.post("/api/login", json=WRONG) for _ in range(20)))
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(401) == 5 and statuses.count(429) == 15


async def test_a_good_login_forgets_earlier_failures(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        for _ in range(3):
            for _ in range(4):
                assert (await client.post("/api/login", json=WRONG)).status_code == 401
            assert (await client.post("/api/login", json=LOGIN)).status_code == 200


async def test_a_disabled_person_cannot_log_in_and_the_open_session_ends(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        owner.execute("UPDATE person SET disabled = true")
        assert (await client.get("/api/me")).json()["error"]["code"] == "not_logged_in"
        assert (await client.post("/api/login", json=LOGIN)).status_code == 401
        assert audit(owner)[-1] == ("login", "chief", "disabled")


async def test_a_session_ends_by_logging_out_and_by_time(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        token = client.cookies["session"]
        assert (await client.post("/api/logout")).status_code == 200
        assert "session" not in client.cookies
        answer = await client.get("/api/me", headers={"Cookie": f"session={token}"})
        assert answer.status_code == 401
        assert ("logout", "chief", "ok") in audit(owner)
    async with running(settings) as api, api.client("chief") as client:
        owner.execute("UPDATE session SET expires_at = clock_timestamp()")
        assert (await client.get("/api/me")).status_code == 401


async def test_what_is_no_token_is_nobody(settings, world):
    async with running(settings) as api, api.client() as client:
        for cookie in ("", "x", "x" * 5000, "' OR 1=1 --"):
            answer = await client.get("/api/me", headers={"Cookie": f"session={cookie}"})
            assert answer.status_code == 401


async def test_another_sites_page_changes_nothing(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        for path in ("/api/login", "/api/logout", "/api/socket-ticket", "/api/quarantine/1/dismiss"):
            for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"):
                answer = await client.post(path, json=LOGIN, headers={"Origin": origin})
                assert answer.status_code == 403 and answer.json()["error"]["code"] == "wrong_origin"
        assert (await client.get("/api/me")).status_code == 200


MALFORMED = (
    (b"{", ""),
    (b"[]", ""),
    (b'{"login":"chief"}', "password"),
    (b'{"login":"","password":"x"}', "login"),
    (b'{"login":"a\\u0000b","password":"x"}', "login"),
    (b'{"login":"' + b"x" * 65 + b'","password":"x"}', "login"),
    (b'{"login":"chief","password":"' + b"x" * 300 + b'"}', "password"),
    (b'{"login":{"a":1},"password":["x"]}', "login"),
)


async def test_a_malformed_login_is_answered_in_the_one_shape(settings, world):
    async with running(settings) as api, api.client() as client:
        for body, field in MALFORMED:
            answer = await client.post("/api/login", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            error = answer.json()["error"]
            assert error["code"] == "wrong_value" and error["message"]
            assert not field or error["field"] == field


async def test_a_person_has_a_bounded_number_of_sessions(settings, world, owner):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api:
        async with api.client("chief") as first:
            for _ in range(20):
                async with api.client("chief"):
                    pass
            assert (await first.get("/api/me")).status_code == 401
