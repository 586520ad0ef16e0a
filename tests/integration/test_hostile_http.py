"""HTTP as an intruder speaks it: every address with every nasty value, raw bytes, foreign pages, floods."""

import asyncio
import contextlib
import itertools
import json
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from dashboards import shell
from dispatch.people import FAILURES_MAX, Passwords
from tests.apikit import PASSWORD, Api, Feed, add_person, running
from tests.world import WEST_SQUADRON

NASTY = [
    "", " ", "0", "-1", "1", "00000000", "1e400", "NaN", "null", "true", "[]", "{}", "9" * 40, "-" + "9" * 40, "1.5",
    "9223372036854775807", "9223372036854775808", "250000000000000001", "\x00", "a\x00b", "\r\nSet-Cookie: x=1",
    "' OR '1'='1", "1; DROP TABLE finding --", "%27", "%00", "../../etc/passwd", "..%2f..%2fetc", "吉A12345",
    "\u202e吉",
    "\u200d", "😀", "\ud7ff", "\uffff", "é" * 100, "x" * 4000, "<script>alert(1)</script>", "${jndi:ldap://x}",
    "{{7*7}}",
    str(uuid4()), str(uuid4()).upper(), "{" + str(uuid4()) + "}", "٣", "１", "+1", "0x10", "1_000", "open", "limit",
]  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff\xfe", b"\x00", b"[" * 30_000, b'{"a":' * 10_000,
    b"9" * 60_000,
    b'{"login":1,"password":2}', b'{"login":"\\u0000","password":"x"}', b'{"login":"\\ud800","password":"x"}',
    b'{"login":"x","password":"\\ud800"}', b'{"login":["x"],"password":{"a":1}}',
    b'{"login":"a","login":"b","password":"x"}',
    b'{"login":"' + b"x" * 50_000 + b'","password":"x"}', b'{"login":"x","password":"' + b"x" * 50_000 + b'"}',
    b'{"checkpoint":1e400}', b'{"observed_at":"0001-01-01T00:00:00+14:00","checkpoint":"x","plate":""}',
    '{"login":"\u202eroot","password":"\u200d"}'.encode(), b"login=x&password=y",
]  # fmt: skip
TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
    "application/xml",
]
FOREIGN = [
    "http://evil.example",
    "null",
    "https://127.0.0.1",
    "http://127.0.0.1:1",
    "file://",
    "http://",
    "javascript:",
    "x",
]


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


class Cheap(Passwords):
    """Counts what is judged, and finds everything wrong without the work."""

    judged: list[str | None] = []  # noqa: RUF012 - one for the test

    def _verify(self, stored: str | None, password: str) -> bool:
        self.judged.append(stored)
        return password == PASSWORD and stored is not None


@pytest.fixture
def cheap(monkeypatch):
    Cheap.judged = []
    monkeypatch.setattr("dashboards.app.Passwords", Cheap)
    return Cheap.judged


async def operations(client: httpx.AsyncClient) -> list[tuple[str, str, list[str]]]:
    """(method, path, query parameters) of every address that is described."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    return [
        (method, path, [p["name"] for p in found.get("parameters", ()) if p["in"] == "query"])
        for path, methods in paths.items()
        for method, found in methods.items()
    ]


def fill(path: str, value: str) -> str:
    return path.replace("{id}", quote(value, safe="", errors="replace"))


# ---------------------------------------------------------------- never 500
async def test_no_nasty_value_in_any_place_of_any_address_is_an_error_of_ours(settings, world, owner, feed, cheap):
    add_person(owner, "chief", clearance=1)
    feed.finding(WEST_SQUADRON)
    async with running(settings) as api, api.client("chief") as client:
        for method, path, parameters in await operations(client):
            if path == "/api/logout":
                continue
            asked = [_judge(client, method, fill(path, value)) for value in NASTY if "{id}" in path]
            asked += [_judge(client, method, path, params={name: value}) for value in NASTY for name in parameters]
            asked += [_judge(client, method, path, params=[(name, "1"), (name, "x")]) for name in parameters]
            while asked:
                await asyncio.gather(*asked[:8])
                del asked[:8]
        assert (await client.get("/api/me")).status_code == 200


async def _judge(client: httpx.AsyncClient, method: str, path: str, **more: object) -> None:
    answer = await client.request(method, path, **more)  # type: ignore[arg-type]
    assert answer.status_code < 500, (method, path, more, answer.text)
    assert "Traceback" not in answer.text and "psycopg" not in answer.text and "SELECT" not in answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"} and answer.json()["error"]["message"]


async def test_no_body_of_any_kind_is_an_error_of_ours(settings, world, owner, cheap):
    add_person(owner, "chief")
    owner.execute(
        "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body,"
        " audience) VALUES (%s, 2, %s, 1, 0, '', 'malformed', '', 'x', '{1}')",
        [world.now, world.native_id],
    )
    async with running(settings) as api, api.client("chief") as client:
        cases = [(body, TYPES[0]) for body in BODIES] + [(body, kind) for body in BODIES[-2:] for kind in TYPES[1:]]
        for path, (body, kind) in itertools.product(("/api/login", "/api/quarantine/1/retry"), cases):
            await _judge(client, "POST", path, content=body, headers={"Content-Type": kind})
    assert owner.execute("SELECT state FROM quarantine").fetchone() == ("open",)


async def test_any_text_in_the_address_is_answered(settings, world, owner, feed, cheap):
    """Whatever hypothesis makes up, against the running server."""
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        token = client.cookies["session"]

        @example_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from(["/api/findings", "/api/findings/{id}", "/api/quarantine", "/{id}", "/api/{id}"]),
            st.text(max_size=60),
            st.sampled_from(["before", "limit", "state", "x"]),
            st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE"]),
        )  # fmt: skip
        def ask(path: str, text: str, name: str, method: str) -> None:
            answer = plain.request(method, fill(path, text), params={name: text.encode("utf-8", "replace")})
            assert answer.status_code < 500 or (answer.status_code == 503 and b"<!doctype" in answer.content)

        with httpx.Client(base_url=api.base, cookies={"session": token}, timeout=30) as plain:
            await asyncio.to_thread(ask)


# ---------------------------------------------------------------- raw bytes
async def raw(api: Api, data: bytes, *, wait_s: float = 1.0) -> bytes:
    """What the server says to these bytes until it closes or is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.settings.port)
    writer.write(data)
    got = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        await writer.drain()
        async with asyncio.timeout(wait_s):
            while piece := await reader.read(65_536):
                got += piece
    writer.close()
    return got


SMUGGLED = b"GET /api/findings HTTP/1.1\r\nHost: x\r\n\r\n"


DISHONEST = [
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 44\r\n\r\n{}" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked, x\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n{}" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}" + SMUGGLED,
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + SMUGGLED,
    b"GET / HTTP/1.1\nHost: x\nX: a\rb\n\n" + SMUGGLED,
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]  # fmt: skip


async def test_bytes_that_are_no_honest_request_get_one_answer_at_most_and_no_500(settings, world):
    async with running(settings) as api, api.client() as client:
        for data, told in zip(DISHONEST, await asyncio.gather(*(raw(api, data) for data in DISHONEST)), strict=True):
            assert b" 500 " not in told and b"Traceback" not in told, data[:200]
            if data.endswith(SMUGGLED):  # the second request was inside of the first one's bytes: it is not answered
                assert told.count(b"HTTP/1.1 ") <= 1 or b"HTTP/1.1 4" in told[:20], data[:200]
        assert (await client.get("/healthz")).status_code == 200


async def test_requests_one_behind_the_other_are_answered_in_order(settings, world):
    async with running(settings) as api:
        told = await raw(api, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20, wait_s=3.0)
        assert told.count(b"HTTP/1.1 200") == 20


async def test_a_body_is_bounded_whether_its_length_is_told_or_not(settings, world, owner):
    add_person(owner, "chief")
    big = b"x" * (shell.BODY_BYTES_MAX + 1)

    async def pieces():
        for start in range(0, len(big), 8192):
            yield big[start : start + 8192]

    async with running(settings) as api, api.client("chief") as client:
        for path in ("/api/login", "/api/quarantine/1/retry"):
            for content in (big, pieces()):
                answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
                assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


# ---------------------------------------------------------------- files
OUTSIDE = [
    "/../secret.key", "/..%2fsecret.key", "/%2e%2e/secret.key", "/%2e%2e%2fsecret.key", "/a/..%2f..%2fsecret.key",
    "/..%5csecret.key", "/....//secret.key", "/assets/../../secret.key", "//secret.key", "/%2fetc%2fpasswd",
    "//etc/passwd", "/link.key", "/folder/secret.key", "/secret.key%00.js", "/secret.key/", "/./secret.key",
]  # fmt: skip


async def test_no_file_outside_of_the_web_clients_folder_is_served(settings, world, monkeypatch, tmp_path):
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html>index")
    (dist / "assets" / "a.js").write_text("1")
    (tmp_path / "secret.key").write_text("the-secret")
    (dist / "link.key").symlink_to(tmp_path / "secret.key")
    (dist / "folder").symlink_to(tmp_path)
    monkeypatch.setattr(shell, "DIST", dist)
    async with running(settings) as api:
        for path in OUTSIDE:
            told = await raw(api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert told.startswith(b"HTTP/1.1 ") and b"the-secret" not in told and b"root:" not in told, path
        good = await raw(api, b"GET /assets/a.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 200 " in good and b"nosniff" in good


# ---------------------------------------------------------------- browsers
async def test_a_foreign_page_changes_nothing(settings, world, owner, cheap):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        posts = [path for method, path, _ in await operations(client) if method == "post"]
        assert len(posts) >= 5
        for path, origin in itertools.product(posts, FOREIGN):
            answer = await client.post(
                fill(path, "1"), json={"login": "chief", "password": PASSWORD}, headers={"Origin": origin}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin"), (path, origin)
            assert "set-cookie" not in answer.headers
        assert (await client.get("/api/me")).status_code == 200  # not logged out by any of them


async def test_every_answer_carries_what_protects_a_browser(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client() as client:
        answer = await client.post("/api/login", json={"login": "chief", "password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie and "domain" not in cookie
        assert PASSWORD not in answer.text and client.cookies["session"] not in answer.text
        for method, path in (
            ("GET", "/"),
            ("GET", "/api/me"),
            ("GET", "/nothing.js"),
            ("POST", "/api/me"),
            ("PUT", "/x"),
        ):
            headers = (await client.request(method, path)).headers
            assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
            assert policy["default-src"] == policy.get("script-src", "'self'") == "'self'"
            assert "access-control-allow-origin" not in headers and "server" not in headers
        assert (await client.get("/api/me")).headers["cache-control"] == "no-store"


async def test_a_host_header_cannot_write_headers_or_addresses(settings, world, owner):
    add_person(owner, "chief")
    async with running(settings) as api, api.client("chief") as client:
        for host in ("evil.example; script-src *", "a b", "x'", '"', "evil.example:99999999", "[::1", "x,y"):
            answer = await client.post("/api/socket-ticket", headers={"Host": host})
            assert answer.status_code < 500
            assert "script-src *" not in answer.headers["content-security-policy"]
            if answer.status_code == 200:
                assert answer.json()["url"] == f"ws://127.0.0.1:{settings.socket_port}/view".replace(
                    str(settings.socket_port), str(api.settings.socket_port)
                )


# ---------------------------------------------------------------- logging in
async def test_known_and_unknown_logins_cannot_be_told_apart(settings, world, owner, cheap):
    """Same answers, same headers, the same work, the same lock after the same number of attempts."""
    add_person(owner, "known")
    add_person(owner, "disabled")
    owner.execute("UPDATE person SET disabled = true WHERE login = 'disabled'")
    async with running(settings) as api, api.client() as client:
        stories = []
        for login in ("known", "disabled", "stranger", "' OR 1=1 --", "KNOWN", "known ", "\u202eknown", "k" * 64):
            cheap.clear()
            story = []
            for _ in range(FAILURES_MAX + 2):
                answer = await client.post("/api/login", json={"login": login, "password": "wrong"})
                headers = {name: value for name, value in answer.headers.items() if name != "date"}
                story.append((answer.status_code, answer.text, headers))
            stories.append((story, len(cheap)))
        assert all(story == stories[0] for story in stories)
        assert [status for status, *_ in stories[0][0]] == [401] * FAILURES_MAX + [429] * 2
        assert stories[0][1] == FAILURES_MAX  # each attempt that counts is judged, also for who is not there
        right = await client.post("/api/login", json={"login": "known", "password": PASSWORD})
        assert right.status_code == 429  # while it is locked the right password does not tell either


async def test_knocking_at_a_locked_login_does_not_fill_the_audit(settings, world, owner, cheap):
    add_person(owner, "known")
    async with running(settings) as api, api.client() as client:
        for _ in range(FAILURES_MAX + 40):
            await client.post("/api/login", json={"login": "known", "password": "wrong"})
    rows = dict(owner.execute("SELECT outcome, count(*) FROM audit GROUP BY 1").fetchall())
    assert rows == {"wrong password": FAILURES_MAX, "locked": 1}


async def test_a_lock_ends_nobodys_session(settings, world, owner, cheap):
    add_person(owner, "known")
    async with running(settings) as api, api.client("known") as inside, api.client() as client:
        for _ in range(FAILURES_MAX + 1):
            await client.post("/api/login", json={"login": "known", "password": "wrong"})
        assert (await inside.get("/api/me")).status_code == 200
        async with api.live(inside) as live:
            assert live.user["login"] == "known"


async def test_attempts_at_once_are_not_more_than_the_lock_allows(settings, world, owner, cheap):
    add_person(owner, "known")
    async with running(settings) as api, api.client() as client:
        answers = await asyncio.gather(
            *(client.post("/api/login", json={"login": "known", "password": f"guess {n}"}) for n in range(30))
        )
    assert sum(answer.status_code == 401 for answer in answers) == FAILURES_MAX
    assert len(cheap) == FAILURES_MAX


# ---------------------------------------------------------------- what is written down
async def test_nothing_secret_or_personal_is_in_the_logs(settings, world, owner, feed, capfd, caplog):
    add_person(owner, "chief")
    caplog.set_level("DEBUG", logger="uvicorn")
    feed.finding(WEST_SQUADRON, plate="吉A77777")
    async with running(settings) as api, api.client("chief") as client:
        ticket = await api.ticket(client)
        async with api.socket() as live:
            await live.say(type="hello", ticket=ticket)
            await live.hear()
            await live.say(type="subscribe", topics=["alerts"], viewport=None)
            await live.until(lambda live: live.shown)
            await live.raw.send(json.dumps({"type": "吉A77777"}))
            await live.hear()
        await client.get("/api/findings", params={"before": "吉A77777"})
        await client.get("/api/findings")
        await client.post("/api/login", json={"login": "chief", "password": "wrong-password-77"})
        await client.post("/api/login", content=b'{"password":"wrong-password-77"')
        secrets = [ticket, client.cookies["session"], PASSWORD, "wrong-password-77", "77777"]
        metrics = (await client.get("/metrics")).text
    out, err = capfd.readouterr()
    for secret in secrets:
        assert secret not in out and secret not in err and secret not in caplog.text and secret not in metrics
