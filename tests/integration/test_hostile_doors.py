"""The doors under attack, beyond test_doors.py: smuggling, bombs, other people's names, odd values."""

import asyncio
import gzip
import zlib
from datetime import timedelta

import httpx
import msgspec

from tests.integration.test_doors import KEEPALIVE, REGISTER, VEHICLES, doors, settings, world  # noqa: F401
from traffic.ingest.bodies import BODY_KEPT_BYTES
from traffic.limits import REQUEST_BYTES_MAX
from traffic.readings import EntryKind
from traffic.secrets import key_hash

INNER = b"POST /api/passages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer native-key-1\r\nContent-Length: 2\r\n\r\n[]"
HEAD = b"POST /VIID/System/Register HTTP/1.1\r\nHost: x\r\n"


async def test_a_request_within_a_requests_bytes_is_not_heard(doors):  # noqa: F811
    tricks = [
        HEAD + b"Content-Length: 2\r\nContent-Length: 90\r\n\r\n{}" + INNER,
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
        HEAD + b"Content-Length: +2\r\n\r\n{}" + INNER,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + INNER,
    ]
    for told in await asyncio.gather(*(doors.raw(data) for data in tricks)):
        assert b'"accepted"' not in told and b" 500 " not in told
    assert doors.entries() == []


async def test_a_key_that_is_nearly_right_opens_nothing(doors):  # noqa: F811
    for text in ("NATIVE-KEY-1", "native-key-1x", "native-key-", "native-key-1 x", "test-native", "*", "%"):
        answer = await doors.client.post("/api/passages", content=b"[]", headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == 401


async def test_a_key_of_a_native_sender_is_no_password_and_its_hash_no_key(doors):  # noqa: F811
    for text in (key_hash(doors.world.native_key).hex(), doors.world.gat_password, doors.world.gat_code):
        answer = await doors.client.post("/api/passages", content=b"[]", headers={"Authorization": f"Bearer {text}"})
        assert answer.status_code == 401
    answer = await doors.client.post(REGISTER, auth=httpx.DigestAuth(doors.world.native_name, doors.world.native_key))
    assert answer.status_code == 401


async def test_no_header_makes_a_sender_of_another_address_or_name(doors):  # noqa: F811
    """A registration of 127.0.0.1 is no good from elsewhere, whatever the request says of itself."""
    assert (await doors.register()).status_code == 200
    record = doors.world.motor_vehicle(0, doors.settings.clock.now(), "吉A12345")
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=doors.client.base_url, transport=transport, timeout=20) as elsewhere:
        for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"):
            elsewhere.headers = httpx.Headers({header: "for=127.0.0.1" if header == "Forwarded" else "127.0.0.1"})
            assert (await doors.send([record], elsewhere)).status_code == 401
            alive = await elsewhere.post(
                KEEPALIVE, json={"KeepaliveObject": {"DeviceID": doors.world.gat_code}},
                headers={"User-Identify": doors.world.gat_code},
            )  # fmt: skip
            assert alive.status_code == 401
    for code in (doors.world.native_name, "", "*", doors.world.gat_code + "0", doors.world.gat_code[:-1]):
        answer = await doors.client.post(VEHICLES, content=b"{}", headers={"User-Identify": code})
        assert answer.status_code == 401
    assert doors.plates() == []


async def test_bombs_are_refused_within_the_bound(doors):  # noqa: F811
    bomb = gzip.compress(b" " * (REQUEST_BYTES_MAX + 1))
    raw = zlib.compress(b"[]")
    members = b"".join(gzip.compress(b" " * (REQUEST_BYTES_MAX // 4)) for _ in range(5))
    nested = gzip.compress(gzip.compress(b"[]"))
    for body, encoding, status in (
        (bomb, "gzip", 413), (members, "gzip", 413), (nested, "gzip", 400), (raw, "gzip", 400), (raw, "deflate", 415),
        (b"", "gzip", 400), (gzip.compress(b"[]"), "gzip, gzip", 415), (b"[]", "br", 415),
        (gzip.compress(b"[" * 5_000_000), "gzip", 400), (gzip.compress(b"[" + b"1," * 4_000_000 + b"1]"), "gzip", 413),
    ):  # fmt: skip
        answer = await doors.post(body, **{"Content-Encoding": encoding})
        assert answer.status_code == status, (encoding, len(body), answer.text[:200])
    assert (await doors.post([])).status_code == 200


async def test_thousands_of_refused_records_are_kept_cut_and_bounded(doors):  # noqa: F811
    """Every refused record of a request is answered; what is kept of each has a bound."""
    long = {"checkpoint": "x", "observed_at": "x" * (BODY_KEPT_BYTES * 2), "plate": ""}
    answer = await doors.post([{"checkpoint": 1}] * 9_000 + [long] * 20)
    assert answer.status_code == 200 and len(answer.json()["rejected"]) == 9_020
    kept = doors.of_kind(EntryKind.REJECTS)
    assert len(kept) == 9_020
    assert max(len(reject.body) for reject in kept) <= BODY_KEPT_BYTES
    assert max(len(reject.detail) for reject in kept) <= 400


ODD_PLATES = ["\u202e吉A12345", "吉A\u200d12345", "😀", "吉A12345\u2069", "\u0000", "\ud7ff", "ａ" * 30, "吉A1234５",
              "<b>", "'; --", "\u200b", "吉\u0301A1", "x" * 255, "\n", "未识别", "=cmd|' /C calc'!A0"]  # fmt: skip
ODD_TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-01-01T00:00:00Z", "2026-11-24T23:59:60Z",
             "1969-12-31T23:59:59Z", "2026-11-24T08:00:00", "2026-02-30T00:00:00Z", "20261124T080000Z", "",
             "1e400", "2026-11-24T08:00:00+24:00",
              "+2026-11-24T08:00:00Z"]  # fmt: skip


async def test_odd_values_are_taken_or_refused_one_by_one(doors):  # noqa: F811
    now = doors.settings.clock.now() - timedelta(seconds=5)
    good = doors.world.native_record(0, now, "吉A12345")
    records = [{**good, "plate": plate, "id": f"p{n}"} for n, plate in enumerate(ODD_PLATES)]
    records += [{**good, "observed_at": time} for time in ODD_TIMES]
    code = good["checkpoint"]
    codes = (f" {code}", f"{code} ", f"{code}\u0000", str(code)[::-1], "", "0")
    records += [{**good, "checkpoint": text} for text in codes]
    numbers = [b"1e400", b"-1e400", b"1e-400", b"NaN", b"-0", b"1" * 400, b'"96.5"', b"true", b"[]", b"401", b"-1"]
    text = msgspec.json.encode(records)[1:-1]
    plain = msgspec.json.encode(good)
    odd = [plain.replace(b'"speed_kmh":96.5', b'"speed_kmh":' + number) for number in numbers]
    answer = await doors.post(b"[" + b",".join([text, *odd]) + b"]")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["accepted"] + len(body["rejected"]) == len(records) + len(numbers)
    refused = {found["index"] for found in body["rejected"]}
    times = range(len(ODD_PLATES), len(ODD_PLATES) + len(ODD_TIMES))
    assert set(times) <= refused  # none of these is a time of these days with an offset
    assert set(range(times.stop, times.stop + 6)) <= refused
    assert len(doors.plates()) == body["accepted"]


async def test_a_device_reports_for_its_own_units_gates_only(doors):  # noqa: F811
    assert (await doors.register()).status_code == 200
    now = doors.settings.clock.now()
    foreign = [doors.world.motor_vehicle(gate, now, "吉A12345") for gate in (2, 3)]
    foreign[0]["DeviceID"] = "22010000001190000002"  # a record may name whom it likes
    statuses = (await doors.send(foreign)).json()["ResponseStatusListObject"]["ResponseStatusObject"]
    assert all("not_this_device" in status["StatusString"] for status in statuses)
    assert doors.plates() == []


async def test_two_devices_with_the_same_number_for_a_record_send_two_records(doors):  # noqa: F811
    """A source's number counts for that source alone, so that none can write over another's records."""
    assert (await doors.register()).status_code == 200
    now = doors.settings.clock.now().replace(microsecond=0)
    vehicle = doors.world.motor_vehicle(0, now, "吉A12345")
    assert (await doors.send([vehicle])).status_code == 200
    for number in (vehicle["MotorVehicleID"], f"{doors.world.gat_code}\u0000{vehicle['MotorVehicleID']}"):
        await doors.post([doors.world.native_record(0, now, "吉A99999", id=number)])
    hashes = [
        int(hash_)
        for kind, content in doors.entries()
        if kind is EntryKind.PASSAGES
        for hash_ in content.rows["source_hash"]
    ]
    assert len(hashes) == len(set(hashes)) == 3


async def test_no_plate_and_no_key_is_in_the_doors_logs_or_figures(doors, capfd, caplog):  # noqa: F811
    caplog.set_level("DEBUG")
    now = doors.settings.clock.now()
    await doors.post([doors.world.native_record(0, now, "吉A77777"), {"plate": "吉A77777"}, {"checkpoint": "吉A77777"}])
    await doors.post(b'[{"plate":"\xe5\x90\x89A77777"')
    await doors.register()
    await doors.send([doors.world.motor_vehicle(0, now, "吉A77777", PassTime="吉A77777")])
    await doors.client.post("/api/passages", content=b"[]", headers={"Authorization": "Bearer secret-77777"})
    await doors.raw("GET /吉A77777 HTTP/1.1\r\nHost: 吉A77777\r\n\r\n".encode())
    page = (await doors.client.get("/metrics")).text
    out, err = capfd.readouterr()
    for text in (out, err, caplog.text, page):
        assert "77777" not in text and doors.world.native_key not in text and doors.world.gat_password not in text
