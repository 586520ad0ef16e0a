"""Files through the doors: all of it, errors in it, twice, cut off, against a full bus."""

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from dashboards.cli import app
from dashboards.file_import import Order, hand_in
from tests.conftest import wait_until, wait_until_async
from tests.integration.test_doors import doors, opened, settings  # noqa: F401
from tests.integration.test_doors import world as _world  # noqa: F401
from tests.workbench import Bench
from tests.world import CORPS
from traffic.errors import ServiceError, SettingsError
from traffic.ingest import imports
from traffic.ingest.server import listen, serve
from traffic.limits import ROADS_PARTITION
from traffic.plates import plate_key
from traffic.readings import Door, EntryKind
from traffic.secrets import key_hash
from traffic.stream import BusReader

CSV, LINES = {"Content-Type": "text/csv"}, {"Content-Type": "application/x-ndjson"}
HEADER = "detector,observed_at,vehicles,lane"
world = _world


def csv_of(now: datetime, count: int, *, wrong: frozenset[int] = frozenset()) -> bytes:
    """`count` reports of detectors, one a second backwards; the `wrong` ones by their number have a fault each."""
    faults = ("D-9,{at},12,1", "D-1,{at},many,1", "D-1,yesterday,12,1", "D-1,{at},12", 'D-1,{at},"12"x,1')
    lines = [HEADER]
    for number in range(count):
        form = faults[number % len(faults)] if number in wrong else "D-{detector},{at},12,1"
        at = (now - timedelta(seconds=number)).isoformat()
        lines.append(form.format(at=at, detector=number % 4 + 1))
    return ("\r\n".join(lines) + "\r\n").encode()


def reports_on(doors) -> list[tuple[int, int]]:  # noqa: F811
    """(time, detector) of each report on the bus."""
    rows = [row for kind, content in doors.entries() if kind is EntryKind.DETECTORS for row in content]
    assert all(row["door"] == Door.FILE for row in rows)
    return [(int(row["observed_at"]), int(row["detector"])) for row in rows]


async def put(doors, body, kind: str = "detector-reports", **headers: str) -> httpx.Response:  # noqa: F811
    return await doors.client.post(
        f"/api/import/{kind}", content=body, headers={"Authorization": f"Bearer {doors.world.native_key}"} | headers
    )


async def progress(doors, identity: str, key: str | None = None) -> httpx.Response:  # noqa: F811
    headers = {"Authorization": f"Bearer {key or doors.world.native_key}"}
    return await doors.client.get(f"/api/import/{identity}", headers=headers)


# ---------------------------------------------------------------- whole files
async def test_ten_thousand_rows_with_scattered_errors_are_judged_line_by_line(doors):  # noqa: F811
    wrong = frozenset(range(3, 10_000, 97))
    answer = await put(doors, csv_of(doors.world.now, 10_000, wrong=wrong), **CSV)
    found = answer.json()
    assert (answer.status_code, found["state"], found["rows"]) == (200, "done", 10_000)
    assert (found["accepted"], found["rejected"], found["not_taken"]) == (10_000 - len(wrong), len(wrong), 0)
    assert [told["line"] for told in found["refusals"]] == [number + 2 for number in sorted(wrong)]
    reasons = {number % 5: told["reason"] for number, told in zip(sorted(wrong), found["refusals"], strict=True)}
    assert reasons == {0: "unknown_detector", 1: "wrong_type", 2: "time_unreadable", 3: "malformed", 4: "malformed"}
    assert len(set(reports_on(doors))) == len(reports_on(doors)) == 10_000 - len(wrong)
    kept = doors.of_kind(EntryKind.REJECTS)
    assert sorted(one.position for one in kept) == [number + 2 for number in sorted(wrong)]
    assert {one.door for one in kept} == {Door.FILE}
    odd = next(one for one in kept if one.reason == "wrong_type")
    assert json.loads(odd.body)["vehicles"] == "many", "a refused row is kept as a record that can be corrected"
    assert (await progress(doors, found["id"])).json() == found


async def test_lines_gzip_and_every_kind_are_taken(doors):  # noqa: F811
    now = doors.world.now.isoformat()
    passages = f"checkpoint,observed_at,plate,remark\n{doors.world.gates[0].code},{now},吉A12345,x\n"
    answer = await put(doors, passages.encode("gb18030"), "passages", **{"Content-Type": "text/csv; charset=GBK"})
    assert (answer.json()["accepted"], answer.json()["ignored_columns"]) == (1, ["remark"])
    assert doors.plates() == [plate_key("吉A12345")]
    lines = b"\n".join(
        json.dumps(record).encode()
        for record in (
            {"crew": "W-1", "observed_at": now, "lon": 125.1, "lat": 43.6},
            {"crew": "W-9", "observed_at": now, "lon": 125.1, "lat": 43.6},
        )
    )
    packed = gzip.compress(b"\n" + lines) + gzip.compress(b"\n\n{broken")
    answer = await put(doors, packed, "positions", **LINES, **{"Content-Encoding": "gzip"})
    assert [told["line"] for told in answer.json()["refusals"]] == [3, 5]
    assert answer.json()["accepted"] == 1
    for kind, text in (
        ("weather", f"station,observed_at,road,from_stake,surface\nS,{now},G1,K5,ice\n"),
        ("cameras", "code,name,lon,lat,datum\nV,球机,125.0625,43.52,wgs84\n"),
        (
            "road-works",
            "code,observed_at,road,from_stake,to_stake,direction,lanes_closed,from_at,to_at,kind\n"
            f"W,{now},G1,K5+100,K6,2,1;2,{now},2099-01-01T00:00:00Z,x\nW,{now},G1,K5+100,K6,2,1;2,{now},"
            f"{(doors.world.now + timedelta(days=1)).isoformat()},x\n",
        ),
    ):
        found = (await put(doors, text.encode(), kind, **CSV)).json()
        assert found["accepted"] == 1, found
    assert len(doors.of_kind(EntryKind.ROADSIDE)) == 3


async def test_what_is_no_file_of_ours_is_refused_with_a_sentence(doors):  # noqa: F811
    good = csv_of(doors.world.now, 2)
    for body, kind, headers, status in (
        (good, "faces", CSV, 404),
        (good, "detector-reports", {"Content-Type": "application/json"}, 415),
        (good, "detector-reports", {"Content-Type": "text/csv; charset=utf-16"}, 415),
        (good, "detector-reports", CSV | {"Content-Encoding": "br"}, 415),
        (good, "detector-reports", CSV | {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(good)[:-3], "detector-reports", CSV | {"Content-Encoding": "gzip"}, 400),
        (good, "detector-reports", CSV | {"Import-Id": "7"}, 400),
        (good, "detector-reports", CSV | {"Authorization": "Bearer wrong"}, 401),
        (b"", "detector-reports", CSV, 400),
        (b"a,b\n1,2\n", "detector-reports", CSV, 400),
    ):
        answer = await put(doors, body, kind, **headers)
        assert answer.status_code == status, (headers, answer.text)
        error = answer.json()["error"]
        assert error if isinstance(error, str) else error["message"]
    assert len(reports_on(doors)) == 2, "of the gzip file that was cut off, what was whole"
    assert (await progress(doors, "7")).status_code == 400
    assert (await progress(doors, str(uuid4()))).status_code == 404


async def test_a_line_of_progress_belongs_to_its_sender_and_goes_with_time(doors, monkeypatch):  # noqa: F811
    identity = str(uuid4())
    first = await put(doors, csv_of(doors.world.now, 3), **CSV, **{"Import-Id": identity})
    assert first.json()["id"] == first.headers["Import-Id"] == identity
    with doors.database() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by) "
            "VALUES ('other', 'other', %s, 'native', %s, %s, 'test')",
            [CORPS, key_hash("other-key"), doors.world.now],
        )
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'device'")

    async def foreign() -> bool:
        return (await progress(doors, identity, "other-key")).status_code == 404

    await wait_until_async(foreign, what="the other sender is known and sees nothing")
    stolen = await put(
        doors, csv_of(doors.world.now, 3), **CSV, **{"Import-Id": identity, "Authorization": "Bearer other-key"}
    )
    assert stolen.status_code == 409
    again = await put(doors, csv_of(doors.world.now, 3), **CSV, **{"Import-Id": identity})
    assert again.json()["accepted"] == 3, "the same sender may send it again"
    monkeypatch.setattr(imports, "KEPT_MAX", 2)
    for _ in range(2):
        await put(doors, csv_of(doors.world.now, 3), **CSV)
    assert (await progress(doors, identity)).status_code == 404, "reports do not heap up"


# ---------------------------------------------------------------- cut off, waiting, giving up
async def test_what_came_before_the_sender_went_away_is_kept_and_told(doors):  # noqa: F811
    identity = str(uuid4())
    body = csv_of(doors.world.now, 3_000)
    head = (
        f"POST /api/import/detector-reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {doors.world.native_key}\r\n"
        f"Content-Type: text/csv\r\nImport-Id: {identity}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    writer.write(head.encode() + body[: len(body) // 2 + 10])
    await writer.drain()

    async def told() -> dict | None:
        answer = await progress(doors, identity)
        return answer.json() if answer.status_code == 200 else None

    assert (await wait_until_async(told, what="the import is told of"))["state"] == "running"
    second = await put(doors, body, **CSV, **{"Import-Id": identity})
    assert second.status_code == 409, "it is under way"
    writer.close()

    async def ended() -> dict | None:
        found = await told()
        return found if found and found["state"] == "broken_off" else None

    found = await wait_until_async(ended, what="the import has ended")
    whole = body[: len(body) // 2 + 10].count(b"\r\n") - 1
    assert (found["rows"], found["accepted"]) == (whole, whole)
    assert len(reports_on(doors)) == whole
    again = (await put(doors, body, **CSV, **{"Import-Id": identity})).json()
    assert (again["state"], again["accepted"]) == ("done", 3_000)
    assert len(set(reports_on(doors))) == 3_000


async def test_an_import_waits_while_the_bus_is_full(settings, world, monkeypatch):  # noqa: F811
    monkeypatch.setattr(imports, "PAUSE_S", 0.02)
    monkeypatch.setattr(imports, "TOLD_EVERY_S", 0.0)
    monkeypatch.setattr(imports, "BATCH_RECORDS", 100)
    async with opened(settings.model_copy(update={"bus_bytes_max": 6_000}), world) as doors:  # noqa: F811
        identity = str(uuid4())
        sending = asyncio.create_task(put(doors, csv_of(world.now, 400), **CSV, **{"Import-Id": identity}))
        reader = BusReader(doors.redis, bytes_max=6_000)
        taken: list[tuple[int, int]] = []
        while not sending.done():

            async def full() -> bool:
                return bool(reports_on(doors)) or sending.done()

            await wait_until_async(full, what="the bus has something")
            found = (await progress(doors, identity)).json()
            assert found["state"] in ("running", "done")
            entries = reader.read({ROADS_PARTITION: (1, 0)}, count=100, wait_ms=0) if reports_on(doors) else {}
            for entry in entries.get(ROADS_PARTITION, []):
                taken += reports_on_entry(entry.data)
                reader.trim(ROADS_PARTITION, (entry.generation, entry.counter), entry.in_bytes)
        found = (await sending).json()
        assert (found["state"], found["accepted"], found["not_taken"]) == ("done", 400, 0)
        assert len(set(taken + reports_on(doors))) == 400


def reports_on_entry(data: bytes) -> list[tuple[int, int]]:
    from traffic.readings import decode_entry

    _, rows = decode_entry(data)
    return [(int(row["observed_at"]), int(row["detector"])) for row in rows]


async def test_an_import_gives_up_on_a_bus_that_takes_nothing_and_says_where(settings, world, monkeypatch):  # noqa: F811
    monkeypatch.setattr(imports, "PAUSE_S", 0.01)
    monkeypatch.setattr(imports, "WAIT_S", 0.1)
    monkeypatch.setattr(imports, "BATCH_RECORDS", 50)
    async with opened(settings.model_copy(update={"bus_bytes_max": 6_000}), world) as doors:  # noqa: F811
        answer = await put(doors, csv_of(world.now, 400), **CSV)
        found = answer.json()
        assert (answer.status_code, found["state"]) == (503, "gave_up")
        assert 0 < found["accepted"] < 400
        assert found["not_taken_from"] == found["accepted"] + 2, "the header is line 1"
        assert found["not_taken"] == 50
        assert len(reports_on(doors)) == found["accepted"]
        assert (await progress(doors, found["id"])).json() == found
    async with opened(settings, world, bus_open=False) as doors:  # noqa: F811
        found = (await put(doors, csv_of(world.now, 40), **CSV)).json()
        assert (found["accepted"], found["not_taken"]) == (40, 0), "the bus was opened by the test before"


async def test_a_file_larger_than_the_bound_is_taken_up_to_it(doors, monkeypatch):  # noqa: F811
    monkeypatch.setattr(imports, "IMPORT_BYTES_MAX", 100_000)

    async def endless():
        yield HEADER.encode() + b"\n"
        for number in range(10_000):
            at = doors.world.now - timedelta(seconds=number)
            yield f"D-1,{at.isoformat()},1,1\n".encode()

    answer = await put(doors, endless(), **CSV)
    found = answer.json()
    assert (answer.status_code, found["state"]) == (413, "refused")
    assert 1_000 < found["accepted"] < 10_000
    assert len(reports_on(doors)) == found["accepted"]


# ---------------------------------------------------------------- from the command line, into the tables
@contextmanager
def door_in_a_thread(settings) -> Iterator[str]:  # noqa: F811
    """The door beside a test that is not asynchronous."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    listener = listen(settings)
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(settings, stop, listener)))
    thread.start()
    url = f"http://127.0.0.1:{settings.door_port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=1).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, what="the door answers")
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_a_file_imported_twice_is_stored_once_and_the_command_tells_what_was_refused(settings, world, owner, tmp_path):  # noqa: F811
    file, report = tmp_path / "passages.csv", tmp_path / "report.json"
    rows = [
        f"r{n},{world.gates[n % 4].code},{(world.now - timedelta(seconds=n)).isoformat()},吉A{n:05d}"
        for n in range(500)
    ]
    rows[250] = rows[250].replace(world.gates[250 % 4].code, "unknown")
    file.write_text("\n".join(["id,checkpoint,observed_at,plate", *rows]), encoding="utf-8")
    bench = Bench(settings, owner)
    worker = bench.worker()
    with door_in_a_thread(settings) as url:
        arguments = ["import", "passages", str(file), "--url", url, "--key", world.native_key]
        for _ in range(2):
            result = CliRunner().invoke(app, [*arguments, "--report", str(report)])
            assert result.exit_code == 1, result.output
            assert "500 records: 499 accepted, 1 refused, 0 not taken" in result.output
            assert "line 252: checkpoint unknown_checkpoint" in result.output
            assert json.loads(report.read_text(encoding="utf-8"))["refusals"][0]["line"] == 252
            bench.drain(worker)
        assert bench.one("SELECT count(*) FROM passage") == 499
        assert bench.rows("SELECT DISTINCT door FROM passage") == [(int(Door.FILE),)]
        file.write_text("\n".join(["id,checkpoint,observed_at,plate", *rows[:9]]), encoding="gb18030")
        packed = Path(f"{file}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        result = CliRunner().invoke(
            app, ["import", "passages", str(packed), "--url", url, "--key", world.native_key, "--charset", "gb18030"]
        )
        assert result.exit_code == 0
        assert result.output.endswith("9 records: 9 accepted, 0 refused, 0 not taken\n")
        bench.drain(worker)
        assert bench.one("SELECT count(*) FROM passage") == 499
        order = Order(kind="passages", path=file, url=url, key="wrong", charset="utf-8")
        with pytest.raises(ServiceError, match="belongs to no sender"):
            hand_in(order)
    bench.close()
    with pytest.raises(ServiceError, match="cannot be reached"):
        hand_in(order)
    for name in ("nothing.csv", "passages.xlsx"):
        with pytest.raises(SettingsError, match=name):
            hand_in(Order(kind="passages", path=tmp_path / name, url=url, key="x", charset="utf-8"))
