"""Pictures: copied from listed hosts alone, whatever those answer; kept by hash; served in the finding's reach."""

import hashlib
import io
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.apikit import add_person, running
from tests.workbench import Bench, batch, seen
from tests.world import EAST, WEST
from traffic import pictures
from traffic.errors import SettingsError
from traffic.limits import PICTURE_BYTES_MAX
from traffic.picture_sources import PictureRefused, Sources, media_type_of
from traffic.pictures import Copier, copy, picture_path


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", size, "#336699").save(body, kind)
    return body.getvalue()


def answer(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}Connection: close\r\n\r\n".encode() + body


class Store:
    """A picture server that answers each path as it is told, and remembers who asked for what."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[socket.socket], None] | bytes] = {}
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            path = head.split()[1].decode()
            self.asked.append(path)
            said = self.answers.get(path, answer(b"", status="404 Not Found"))
            try:
                said(client) if callable(said) else client.sendall(said)
            except OSError:
                return  # who asked had enough


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    yield found
    found.close()


def drip(client: socket.socket) -> None:
    """A head that never ends, one byte at a time."""
    client.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        client.sendall(b"a")
        threading.Event().wait(0.05)


def endless(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\n\r\n")
    while True:
        client.sendall(b"\xff\xd8" * 32_768)


# ---------------------------------------------------------------- one address
def test_a_picture_is_kept_under_its_hash(store: Store, tmp_path: Path):
    for kind, media_type in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")):
        body = picture(kind)
        store.answers["/a%20b.jpg?x=1"] = answer(body, headers="Content-Type: text/html\r\n")
        found = copy(Sources.of([store.host]), tmp_path, store.url("/a b.jpg?x=1"))
        assert (found.media_type, found.size, found.error) == (media_type, len(body), "")
        assert found.sha256 == hashlib.sha256(body).digest()
        assert picture_path(tmp_path, found.sha256.hex()).read_bytes() == body
    assert [path.name for path in tmp_path.rglob("*.*")] == []  # nothing half written


HOSTILE = {
    "redirect": (answer(b"", status="302 Found", headers="Location: http://127.0.0.1:1/x\r\n"), "redirect", True),
    "declared too large": (answer(b"", length=PICTURE_BYTES_MAX * 9), "too_large", True),
    "endless": (endless, "too_large", True),
    "a page": (answer(b"<html><script>alert(1)</script></html>"), "not_a_picture", True),
    "an svg": (answer(b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'), "not_a_picture", True),
    "a gif": (answer(picture("GIF")), "not_a_picture", True),
    "half a picture": (answer(picture(size=(400, 300))[:900]), "not_a_picture", True),
    "cut off": (answer(picture()[:300], length=9_000), "cut_off", False),
    "nothing": (answer(b""), "not_a_picture", True),
    "no http": (b"SSH-2.0-OpenSSH\r\n", "unreachable", False),
    "hangs up": (b"", "unreachable", False),
    "an error": (answer(b"", status="500 No"), "status", False),
    "not there yet": (answer(b"", status="404 Not Found"), "status", False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_source_costs_its_own_picture_only(store: Store, tmp_path: Path, name: str):
    said, error, final = HOSTILE[name]
    store.answers["/x.jpg"] = said
    found = copy(Sources.of([store.host]), tmp_path, store.url("/x.jpg"))
    assert (found.sha256, found.error, found.final) == (None, error, final)
    assert store.asked == ["/x.jpg"]
    assert not list(tmp_path.iterdir())


def test_a_source_that_drips_is_cut_off(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "WHOLE_S", 0.3)
    store.answers["/x.jpg"] = drip
    found = copy(Sources.of([store.host]), tmp_path, store.url("/x.jpg"))
    assert (found.error, found.final) == ("slow", False)


def test_a_picture_of_too_many_points_is_none():
    head = b"IHDR" + struct.pack(">II", 20_000, 12_000) + picture("PNG")[24:29]
    bomb = picture("PNG")[:12] + head + struct.pack(">I", zlib.crc32(head)) + picture("PNG")[33:]
    with pytest.raises(PictureRefused) as refusal:
        media_type_of(bomb)
    assert refusal.value.reason == "too_large"


# ---------------------------------------------------------------- who is asked
@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/x.jpg", "http://pictures.example:81/x.jpg", "https://pictures.example:80/x.jpg",
        "http://pictures.example@evil.example/x.jpg", "http://evil.example#@pictures.example/", "http://127.0.0.1/x.jpg",
        "http://2130706433/x.jpg", "http://0x7f.1/x.jpg", "http://[::1]/x.jpg", "http://[::ffff:127.0.0.1]/x.jpg",
        "http://169.254.169.254/latest/meta-data",
    ],
)  # fmt: skip
def test_only_listed_hosts_are_asked(address: str):
    with pytest.raises(PictureRefused) as refusal:
        Sources.of(["pictures.example"]).target(address)
    assert refusal.value.reason == "host"


@pytest.mark.parametrize(
    "address",
    ["", "x.jpg", "/etc/passwd", "file:///etc/passwd", "ftp://pictures.example/x", "gopher://pictures.example/",
     "http://", "http://[::1", "http://pictures.example:99999/", "javascript:alert(1)", "http://x/" + "a" * 3_000],
    ids=["empty", "bare", "path", "file", "ftp", "gopher", "no host", "bracket", "port", "script", "long"],
)  # fmt: skip
def test_what_is_no_address_is_not_asked(address: str):
    with pytest.raises(PictureRefused) as refusal:
        Sources.of(["pictures.example"]).target(address)
    assert refusal.value.reason == "address"


def test_a_line_break_in_an_address_does_not_reach_the_wire():
    target = Sources.of(["pictures.example"]).target("http://pictures.example/a\r\nX: y/日本 ?q=\r\n")
    assert target.path.isascii() and not set(target.path) & set(" \r\n")


@pytest.mark.parametrize("found", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "::1", "fe80::1%eth0",
                                   "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1"])  # fmt: skip
def test_a_listed_name_that_leads_into_the_house_is_not_asked(found: str):
    sources = Sources.of(["pictures.example"])
    with pytest.raises(PictureRefused) as refusal:
        sources.choose(sources.target("http://pictures.example/x.jpg"), [found])
    assert refusal.value.reason == "private_address"


def test_a_network_that_is_listed_may_hold_named_hosts():
    sources = Sources.of(["pictures.example", "10.20.0.0/16"])
    target = sources.target("http://pictures.example/x.jpg")
    assert sources.choose(target, ["10.9.9.9", "10.20.3.4"]) == "10.20.3.4"
    assert sources.choose(target, ["1.1.1.1"]) == "1.1.1.1"


def test_the_name_is_asked_once_and_the_judged_address_is_the_one_connected_to(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A name that leads elsewhere at the second look finds no second look."""
    looks = []

    def resolve(target: pictures.Target) -> list[str]:
        looks.append(target.host)
        return ["127.0.0.1"]

    monkeypatch.setattr(pictures, "_resolve", resolve)
    store.answers["/x.jpg"] = answer(picture())
    listed = Sources.of([f"pictures.example:{store.port}", "127.0.0.0/8"])
    found = copy(listed, tmp_path, f"http://pictures.example:{store.port}/x.jpg")
    assert found.sha256 and looks == ["pictures.example"]


@pytest.mark.parametrize("entry", ["", "http://x/", "a b/33", "x:y", "user@host", "10.0.0.0/99"])
def test_a_listed_host_that_is_none_is_refused_at_the_start(entry: str):
    with pytest.raises(SettingsError, match="TRAFFIC_PICTURE_HOSTS"):
        Sources.of([entry])


# ---------------------------------------------------------------- from the hit to the screen
@pytest.fixture
def bench(settings, owner, world) -> Iterator[Bench]:
    found = Bench(settings, owner)
    yield found
    found.close()


@contextmanager
def copier(bench: Bench, store: Store) -> Iterator[Callable[[], bool]]:
    """A copier that does one turn when it is told to."""
    bound = bench.settings.model_copy(update={"picture_hosts": [store.host]})
    worker = Copier(bound, threading.Event())
    with ThreadPoolExecutor(2) as hands:
        yield lambda: worker.turn(hands)
    worker.close()


def test_pictures_of_every_observation_are_asked_for_with_the_finding_and_when_it_grows(bench, world, store):
    worker = bench.worker()
    for gate, images in ((0, ("/1.jpg", "/2.jpg")), (2, ("/3.jpg",))):
        rows = batch(seen(world, gate, -300 + gate, world.watched_plate), images=tuple(store.url(i) for i in images))
        bench.send_batch(rows)
        bench.drain(worker)
    bench.send_batch(batch(seen(world, 1, -300, "吉A00001"), images=(store.url("/other.jpg"),)))
    bench.drain(worker)
    waiting = bench.rows("SELECT number, address, state FROM finding_picture ORDER BY address")
    assert waiting == [(1, store.url("/1.jpg"), "waiting"), (2, store.url("/2.jpg"), "waiting"),
                       (1, store.url("/3.jpg"), "waiting")]  # fmt: skip


def test_a_pair_of_passages_brings_the_pictures_of_both_though_the_first_came_long_before(bench, world, store):
    worker = bench.worker()
    for gate in (0, 1):
        bench.send_batch(batch(seen(world, gate, -400 + 240 * gate, "吉S00001"), images=(store.url(f"/{gate}.jpg"),)))
        bench.drain(worker)
    kind = "SELECT count(*) FROM finding_picture p JOIN finding f ON f.id = p.finding_id WHERE f.kind = 'section_speed'"
    assert bench.one(kind) == 2


def test_what_cannot_be_had_is_tried_again_at_growing_intervals_and_then_given_up(bench, world, store):
    worker = bench.worker()
    bench.send_batch(batch(seen(world, 0, -300, world.watched_plate), images=(store.url("/late.jpg"),)))
    bench.drain(worker)
    waits = []
    with copier(bench, store) as turn:
        for number in range(pictures.TRIES_MAX):
            assert turn() and not turn()  # not at once again
            ((state, tries, wait),) = bench.rows(
                "SELECT state, tries, extract(epoch FROM due_at - clock_timestamp()) FROM finding_picture"
            )
            assert tries == number + 1 and state == ("failed" if tries == pictures.TRIES_MAX else "waiting")
            waits.append(float(wait))
            bench.execute("UPDATE finding_picture SET due_at = '1970-01-01+00'")
        assert not turn()
    assert waits[:-1] == sorted(waits[:-1]) and waits[-2] > 60
    assert bench.one("SELECT error FROM finding_picture") == "status"


def test_a_copier_that_dies_gives_its_pictures_back(bench, world, store, monkeypatch):
    worker = bench.worker()
    store.answers["/1.jpg"] = answer(picture())
    bench.send_batch(batch(seen(world, 0, -300, world.watched_plate), images=(store.url("/1.jpg"),)))
    bench.drain(worker)
    with copier(bench, store) as turn, monkeypatch.context() as patch:
        patch.setattr(Copier, "_write", lambda *_: None)  # it died before it could write
        assert turn() and not turn()
        bench.execute("UPDATE finding_picture SET due_at = due_at - interval '1 hour'")
    with copier(bench, store) as turn:
        assert turn()
    assert bench.rows("SELECT state, tries FROM finding_picture") == [("copied", 2)]


@pytest.fixture
def copied(bench, world, store) -> tuple[str, bytes]:
    """(finding, picture): a hit at the west's gate with one picture copied and one that never came."""
    worker = bench.worker()
    body = picture()
    store.answers["/1.jpg"] = answer(body)
    images = (store.url("/1.jpg"), "http://elsewhere.example/2.jpg")
    bench.send_batch(batch(seen(world, 0, -300, world.watched_plate), images=images))
    bench.drain(worker)
    with copier(bench, store) as turn:
        assert turn()
    return str(bench.one("SELECT id FROM finding")), body


async def test_a_picture_is_shown_to_who_may_see_its_finding_and_to_nobody_else(settings, world, owner, copied):
    number, body = copied
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    sha256 = hashlib.sha256(body).hexdigest()
    async with running(settings) as api:
        async with api.client("west") as client:
            told = (await client.get(f"/api/findings/{number}")).json()["pictures"]
            assert [(one["number"], one["state"], one["sha256"], one["url"], one["error"]) for one in told] == [
                (1, "copied", sha256, f"/api/pictures/{sha256}", ""), (2, "failed", None, None, "host"),
            ]  # fmt: skip
            shown = await client.get(told[0]["url"])
            assert (shown.status_code, shown.content) == (200, body)
            assert shown.headers["content-type"] == "image/jpeg"
            assert shown.headers["x-content-type-options"] == "nosniff"
            assert shown.headers["cache-control"].startswith("private")
            assert shown.headers["content-disposition"].startswith("inline; filename=")
            for path in ("0" * 64, sha256.upper(), sha256[:-1], "..%2F..%2Fdemo.json"):
                assert (await client.get(f"/api/pictures/{path}")).status_code in (404, 422)
        async with api.client("east") as client:
            assert (await client.get(f"/api/pictures/{sha256}")).status_code == 404
        async with api.client() as client:
            assert (await client.get(f"/api/pictures/{sha256}")).status_code == 401
    seen_by = owner.execute("SELECT outcome FROM audit WHERE action = 'see_picture' AND subject = %s", [sha256])
    assert sorted(row[0] for row in seen_by.fetchall()) == ["not found", "ok"]


async def test_a_file_that_is_gone_is_not_found(settings, world, owner, copied):
    add_person(owner, "west", WEST)
    sha256 = hashlib.sha256(copied[1]).hexdigest()
    picture_path(settings.data_dir, sha256).unlink()
    async with running(settings) as api, api.client("west") as client:
        assert (await client.get(f"/api/pictures/{sha256}")).status_code == 404
