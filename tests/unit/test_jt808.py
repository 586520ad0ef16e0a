"""JT/T 808 as real terminals speak it: captured frames of each message and version, and what we say to them."""

import json
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.checks import NO_TIME
from traffic.ingest.jt808 import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    PARTS_OPEN_MAX,
    V2013,
    V2019,
    FrameRefused,
    Frames,
    Kind,
    Message,
    Parts,
    decode,
    encode,
    in_parts,
)
from traffic.ingest.jt808_bodies import Authentication, BodyMalformed, Items, Position, Registration
from traffic.zone import SHANGHAI

CAPTURES = {
    name: bytes.fromhex(frame)
    for name, frame in json.loads((Path(__file__).parent.parent / "captures" / "jt808.json").read_text()).items()
}


def message_of(name: str) -> Message:
    frames = Frames().feed(CAPTURES[name])
    assert len(frames) == 1
    return decode(frames[0])


def fix_of(name: str) -> dict[str, object]:
    message = message_of(name)
    return of_body(bodies.position_of(message.body))


def of_body(body: bytes) -> dict[str, object]:
    fixes = bodies.read_fixes([body])
    at = datetime.fromtimestamp(int(bodies.times_us(fixes)[0]) / 1e6, SHANGHAI)
    row = fixes[0]
    return {
        "at": f"{at:%Y-%m-%d %H:%M:%S}", "lat": int(row["lat"]), "lon": int(row["lon"]), "speed": int(row["speed"]),
        "status": int(row["status"]), "alarms": int(row["alarms"]), "altitude_m": int(row["altitude_m"]),
        "bearing_deg": int(row["bearing_deg"]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "phone", "serial", "version"),
    [
        ("register_2011", Kind.REGISTER, "13912344321", 123, V2013),
        ("register_2013", Kind.REGISTER, "14130567872", 36, V2013),
        ("register_2019", Kind.REGISTER, "13912344329", 123, V2019),
        ("authenticate_2013", Kind.AUTHENTICATE, "13511221122", 6, V2013),
        ("authenticate_2019", Kind.AUTHENTICATE, "17299841738", 0, V2019),
        ("heartbeat_2013", Kind.HEARTBEAT, "43048325465", 183, V2013),
        ("heartbeat_2019", Kind.HEARTBEAT, "61316263600001", 3, V2019),
        ("answer_2013", Kind.TERMINAL_ANSWER, "12345678901", 0x7FFF, V2013),
        ("position_2013", Kind.POSITION, "1601285614", 2, V2013),
        ("position_2019_loaded", Kind.POSITION, "40620020586", 67, V2019),
        ("positions_2013", Kind.POSITIONS, "13567777777", 2037, V2013),
    ],
)
def test_headers_of_both_versions(name: str, kind: Kind, phone: str, serial: int, version: int):
    message = message_of(name)
    assert (message.kind, message.phone, message.serial, message.version) == (kind, phone, serial, version)
    assert encode(message) == CAPTURES[name]


@pytest.mark.parametrize(
    ("name", "maker", "model", "number", "color", "plate"),
    [
        ("register_2011", "id123", "abcdefgh", "ID12345", 1, "甘J-123451"),
        ("register_2013", "70111", "BSJ-A6-BD", "0567872", 1, "粤B88888"),
        ("register_2013_yellow", "70107", "HB-R03GBD", "2366104", 2, "苏BA6860"),
        (
            "register_2019", "id987654321", "type00123456781234567887654321", "ID0000123456781234567887654321", 1,
            "甘J-123459",
        ),
        ("register_2019_other", "cd", "www.808.com", "7654321", 1, "测A1234"),
    ],
)  # fmt: skip
def test_a_registration_tells_its_fields_in_the_widths_of_its_version(
    name: str, maker: str, model: str, number: str, color: int, plate: str
):
    message = message_of(name)
    told = Registration.read(message.body, message.version)
    assert (told.maker, told.model, told.number, told.plate_color, told.plate) == (maker, model, number, color, plate)


def test_authentication_is_a_code_alone_or_with_what_2019_adds():
    message = message_of("authenticate_2013")
    assert Authentication.read(message.body, message.version) == Authentication(code="authentication")
    message = message_of("authenticate_2019")
    told = Authentication.read(message.body, message.version)
    assert told == Authentication(code="17299841738", imei="123456789012345", software="3.7.15")
    message = message_of("authenticate_2019_gbk")
    assert Authentication.read(message.body, message.version).code == "这是鉴权码111"


def test_a_position_tells_place_speed_time_and_items():
    assert fix_of("position_2013") == {
        "at": "2017-01-17 10:04:42", "lat": 6_152_695, "lon": 106_720_495, "speed": 0, "status": 0x40001, "alarms": 0,
        "altitude_m": 0, "bearing_deg": 0,
    }  # fmt: skip
    told = fix_of("position_2019_alarms")
    assert (told["at"], told["altitude_m"], told["speed"], told["bearing_deg"]) == (
        "2023-04-28 21:31:41",
        2345,
        666,
        90,
    )
    assert told["alarms"] == 1 << 20 | 1 << 21  # area and route
    items = bodies.read_items(message_of("position_2019_alarms").body)
    assert items == Items(mileage_km=66.7, fuel_l=6.7, recorder_kmh=77.7)


def test_the_fix_and_the_hemispheres_are_bits_of_the_status():
    assert not int(fix_of("position_2019_no_fix")["status"]) & bodies.LOCATED  # type: ignore[call-overload]
    south, west = int(fix_of("position_2013_south")["status"]), int(fix_of("position_2013_west")["status"])  # type: ignore[call-overload]
    assert south & bodies.LOCATED and south & bodies.SOUTH and not south & bodies.WEST
    assert west & bodies.LOCATED and west & bodies.WEST and not west & bodies.SOUTH


def test_a_batch_is_its_positions_in_order():
    found = bodies.positions_of(message_of("positions_2013").body)
    assert len(found) == 8
    assert of_body(found[0])["at"] == "2016-05-27 09:06:24" and of_body(found[7])["at"] == "2016-05-27 09:10:02"
    assert len(bodies.positions_of(message_of("positions_2013_west").body)) == 3


def test_a_terminals_answer_names_what_it_answers():
    assert bodies.read_answer(message_of("answer_2013").body) == (123, 456, 3)


def test_real_frames_that_are_wrong_are_refused_with_a_reason():
    for name, why in (("position_wrong_check", "check byte"), ("passthrough_odd_number", "decimal digits")):
        with pytest.raises(FrameRefused, match=why):
            message_of(name)
    assert message_of("encrypted").encrypted
    assert message_of("part_2_of_26").part == (2, 26)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "too short"),
        (b"\x00" * 12, "too short"),
        (b"\x01" + b"\x00" * 13, "check byte"),
        (b"\x7d\x03" + b"\x00" * 20, "an escape"),
        (b"\x00" * 14 + b"\x7d", "an escape"),
        (b"\x00\x02\x00\x05" + b"\x01\x39\x12\x34\x43\x21\x00\x01" + b"\x65", "0|check|tells"),
    ],
)
def test_what_is_no_frame_is_refused(frame: bytes, why: str):
    with pytest.raises(FrameRefused, match=why):
        decode(frame)


def test_a_wrong_length_in_the_header_is_refused_although_the_check_fits():
    good = encode(Message(Kind.HEARTBEAT, "13912344321", 1, b""))[1:-1]
    longer = bytes((*good[:3], good[3] ^ 5, *good[4:-1], good[-1] ^ 5))
    with pytest.raises(FrameRefused, match="tells 5 bytes"):
        decode(longer)


def test_a_frame_without_an_end_breaks_the_connection_and_what_came_before_counts():
    frames = Frames()
    good = encode(Message(Kind.HEARTBEAT, "1", 1, b""))
    assert len(frames.feed(good + b"\x55" * (FRAME_BYTES_MAX + 1))) == 1
    assert frames.broken and frames.feed(good) == []


def test_frames_may_share_a_flag_or_have_their_own():
    one, two = (encode(Message(Kind.HEARTBEAT, "1", serial, b"")) for serial in (1, 2))
    for stream in (one + two, one + two[1:], b"\x7e\x7e" + one + b"\x7e" + two):
        assert [decode(frame).serial for frame in Frames().feed(stream)] == [1, 2]


# ---------------------------------------------------------------- parts
def test_parts_make_a_whole_in_any_order_and_every_serial_is_answered():
    body = bytes(range(256)) * 10
    parts = in_parts(Message(Kind.POSITIONS, "1", 0xFFFE, body))
    assert [part.serial for part in parts] == [0xFFFE, 0xFFFF, 0] and max(len(p.body) for p in parts) == BODY_BYTES_MAX
    together = Parts()
    assert together.add(parts[2]) is None and together.add(parts[0]) is None
    assert together.add(parts[0]) is None  # repeated
    whole = together.add(parts[1])
    assert whole is not None and whole.message.body == body and whole.serials == (0xFFFE, 0xFFFF, 0)
    assert together.add(parts[1]) is None  # of the next message


def test_unfinished_messages_are_bounded_and_the_oldest_is_forgotten():
    together = Parts()
    messages = [in_parts(Message(Kind.POSITIONS, "1", 100 * n, bytes(1500))) for n in range(PARTS_OPEN_MAX + 1)]
    for first, _ in messages:
        assert together.add(first) is None
    assert together.add(messages[0][1]) is None  # its first part is forgotten
    assert together.add(messages[-1][1]) is not None


def test_too_many_parts_and_a_part_beyond_its_count_are_refused():
    for part in ((1, 65), (3, 2), (0, 2)):
        frame = encode(Message(Kind.POSITIONS, "1", 1, b"x", part=part))[1:-1]
        with pytest.raises(FrameRefused, match="part"):
            decode(frame)


# ---------------------------------------------------------------- bodies
@pytest.mark.parametrize("version", [V2013, V2019])
def test_a_terminals_words_are_read_as_they_were_said(version: int):
    told = Registration(
        province=22, city=100, maker="TMRI", model="T-1", number="T000001", plate_color=2, plate="吉A12345"
    )
    assert Registration.read(told.body(version), version) == told
    said = Authentication(code="4f" * 8)
    assert Authentication.read(said.body(version), version).code == said.code


def test_a_position_as_a_terminal_writes_it_is_read_back():
    at_us = int(datetime(2026, 11, 24, 23, 59, 58, tzinfo=SHANGHAI).timestamp()) * 1_000_000
    items = Items(mileage_km=1234.5, fuel_l=0.0)
    position = Position(
        at_us=at_us, lon=125.3245, lat=43.8868, speed_kmh=86.4, bearing_deg=359.7, alarms=5, items=items
    )
    body = position.body()
    assert of_body(body) == {
        "at": "2026-11-24 23:59:58", "lat": 43_886_800, "lon": 125_324_500, "speed": 864, "status": 3, "alarms": 5,
        "altitude_m": 0, "bearing_deg": 0,
    }  # fmt: skip
    assert bodies.read_items(body) == items
    assert bodies.positions_of(bodies.batch_body([body, body], blind=True)) == [body, body]
    assert bodies.position_of_answer(b"\x00\x07" + body) == (7, body)


@pytest.mark.parametrize(
    "digits",
    ["261324235958", "260024235958", "261100235958", "261131235958", "261124245958", "261124236058", "261124235960",
     "2611242359aa", "270229000000"],
)  # fmt: skip
def test_digits_that_are_no_time_are_known(digits: str):
    fix = np.zeros(1, bodies.FIX)
    fix["time"] = list(bytes.fromhex(digits))
    assert bodies.times_us(fix)[0] == NO_TIME


def test_leap_days_and_midnight_are_times():
    fix = np.zeros(2, bodies.FIX)
    fix["time"] = [list(bytes.fromhex(digits)) for digits in ("280229000000", "991231235959")]
    local = [datetime.fromtimestamp(us / 1e6, SHANGHAI) for us in bodies.times_us(fix).tolist()]
    assert [f"{at:%Y%m%d%H%M%S}" for at in local] == ["20280229000000", "20991231235959"]


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (bodies.position_of, b"\0" * 27),
        (bodies.position_of_answer, b"\0" * 29),
        (bodies.positions_of, b"\0\1"),
        (bodies.positions_of, b"\0\1\0" + b"\0\x1c" + b"\0" * 27),
        (bodies.positions_of, b"\0\1\0" + b"\0\x1b" + b"\0" * 27),
        (bodies.positions_of, b"\0\1\0" + b"\0\x1c" + b"\0" * 29),
        (bodies.positions_of, b"\xff\xff\0"),
        (bodies.read_answer, b"\0" * 4),
        (lambda body: Registration.read(body, V2019), b"\0" * 75),
        (lambda body: Registration.read(body, V2013), b"\0" * 24),
        (lambda body: Registration.read(body, V2013), b"\0" * 37 + b"\xff\xff"),
        (lambda body: Authentication.read(body, V2019), b""),
        (lambda body: Authentication.read(body, V2019), b"\x09abc"),
        (lambda body: Authentication.read(body, V2013), b"\x81"),
    ],
)
def test_a_body_that_is_not_its_messages_is_malformed(read, body: bytes):  # noqa: ANN001
    with pytest.raises(BodyMalformed):
        read(body)


def test_a_text_carries_the_flags_of_its_version():
    for version, urgent, head in (
        (V2013, False, b"\x0c"),
        (V2013, True, b"\x0d"),
        (V2019, True, b"\x0e\x01"),
        (V2019, False, b"\x0d\x01"),
    ):
        body = bodies.text_body("前方施工，减速慢行", version, urgent=urgent, tts=True)
        assert body == head + "前方施工，减速慢行".encode("gbk")
        assert bodies.read_text(body, version) == (head[0], "前方施工，减速慢行")
    assert bodies.text_body("x", V2013, urgent=False, tts=False)[:1] == b"\x04"


@pytest.mark.parametrize("text", ["", "😀", "吉" * 501])
def test_a_text_that_a_terminal_cannot_show_is_refused(text: str):
    with pytest.raises(BodyMalformed):
        bodies.text_body(text, V2019, urgent=False, tts=False)


def test_a_message_that_does_not_fit_is_not_sent():
    message = Message(Kind.TEXT, "1", 1, b"")
    for fields in ({"body": b"x" * 1024}, {"phone": "1" * 13}, {"phone": "1" * 21, "version": V2019}, {"phone": "+86"}):
        with pytest.raises(ValueError, match="at most"):
            encode(msgspec.structs.replace(message, **fields))
