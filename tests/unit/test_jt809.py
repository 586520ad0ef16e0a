"""JT/T 809 as bytes: captured frames read and written back bit by bit, and what is refused."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.clock import SHANGHAI
from traffic.ingest import jt809
from traffic.ingest import jt809_bodies as bodies
from traffic.ingest.jt809 import FRAME_BYTES_MAX, Cipher, FrameError, Kind, Login, Message, Splitter
from traffic.ingest.jt809_bodies import Alarm, Envelope, Part, Position, Registration, Word

CAPTURES = {
    row["name"]: row for row in json.loads((Path(__file__).parent.parent / "captures" / "jt809.json").read_text())
}
POSITION = Position(
    time=datetime(2026, 11, 24, 16, 0, 30, tzinfo=SHANGHAI), lon=125.3245, lat=43.8868, speed_kmh=86, bearing_deg=45,
    status=3, alarm=0b110, recorder_kmh=85, odometer_km=28031, altitude_m=210,
)  # fmt: skip


def captured(name: str) -> tuple[Message, bytes, Cipher | None]:
    row = CAPTURES[name]
    raw = bytes.fromhex(row["frame"])
    cipher = Cipher(m1=row["cipher"][0], ia1=row["cipher"][1], ic1=row["cipher"][2]) if "cipher" in row else None
    (inner,) = Splitter().feed(raw)
    return jt809.unpack(inner, cipher=cipher, year=row["year"]), raw, cipher


def inner_of(frame: bytes) -> bytes:
    (inner,) = Splitter().feed(frame)
    return inner


@pytest.mark.parametrize("name", list(CAPTURES))
def test_a_captured_frame_is_written_back_as_it_came(name: str) -> None:
    message, raw, cipher = captured(name)
    assert jt809.pack(message, cipher) == raw


@pytest.mark.parametrize("name", ["login_2011", "login_2011_encrypted"])
def test_a_captured_login_says_who_logs_in_and_where_it_wants_to_be_called(name: str) -> None:
    message, _, _ = captured(name)
    login = jt809.read_login(message.body)
    assert (login.user, login.password, login.back_host, login.back_port) == (20180920, "20180920", "127.0.0.1", 809)
    assert jt809.login_body(login) == message.body
    assert message.kind == Kind.LOGIN and message.centre == 20180920


def test_a_captured_position_of_2019_that_embeds_one_of_2011_is_read() -> None:
    about = bodies.read_envelope(captured("position_2019")[0].body, vehicle=True)
    assert (about.plate, about.color, about.part) == ("测试报警", 1, Part.POSITION)
    position = bodies.read_position(about.data, year=2019)
    assert position.time == datetime(2025, 9, 29, 17, 54, 43, tzinfo=SHANGHAI)
    assert (position.lon, position.lat, position.bearing_deg, position.odometer_km) == (
        112.414833,
        34.674454,
        123,
        28031,
    )
    assert position.located and position.alarm == 1


def test_a_captured_supervision_is_read_and_written_back() -> None:
    about = bodies.read_envelope(captured("supervision_2011")[0].body, vehicle=True)
    wish = bodies.read_supervision(about.data)
    assert (about.plate, about.color, wish.number, wish.supervisor) == ("粤A12345", 2, 0x123FFAA1, "smallchi")
    assert bodies.supervision_data(wish) == about.data


def test_a_captured_alarm_of_2019_names_its_vehicle_itself() -> None:
    about = bodies.read_envelope(captured("alarm_2019")[0].body, vehicle=False)
    alarm = bodies.read_alarm(about, year=2019)
    assert (alarm.plate, alarm.color, alarm.kind, alarm.text) == ("测A93228", 2, 0xA001, "超时停车")
    assert alarm.bits == 1 << 19


def test_a_captured_registration_of_2019_is_read() -> None:
    about = bodies.read_envelope(captured("registration_2019")[0].body, vehicle=True)
    assert bodies.read_registration(about.data, year=2019).phone == "222222222222"


@pytest.mark.parametrize("year", [2011, 2019])
def test_a_position_is_read_as_it_was_written(year: int) -> None:
    found = bodies.read_position(bodies.position_data(POSITION, year=year), year=year)
    assert (found.time, found.lon, found.lat) == (POSITION.time, POSITION.lon, POSITION.lat)
    assert (found.speed_kmh, found.bearing_deg, found.status, found.alarm) == (86, 45, 3, 0b110)


@pytest.mark.parametrize("year", [2011, 2019])
def test_past_positions_are_so_many_positions(year: int) -> None:
    one = bodies.position_data(POSITION, year=year)
    assert bodies.read_positions(bytes((3,)) + one * 3, year=year) == [one] * 3
    with pytest.raises(FrameError):
        bodies.read_positions(bytes((3,)) + one * 2, year=year)


def test_a_position_on_the_31st_of_february_has_no_time_and_stays_readable() -> None:
    data = bytearray(bodies.position_data(POSITION))
    data[1:3] = bytes((31, 2))
    assert bodies.read_position(bytes(data)).time is None


def test_words_and_alarms_are_read_as_they_were_written() -> None:
    word = Word(object_kind=1, object_id="220000", number=7, text="请回答：1+1=?")
    assert bodies.read_word(bodies.word_data(word)) == word
    assert bodies.read_presence_answer(bodies.word_data(word)) == (7, word.text)
    alarm = Alarm(source=1, kind=2, at_s=1_795_000_000, number=3344, text="疲劳驾驶", plate="吉A12345", color=2)
    about = Envelope(part=Part.ALARM, data=bodies.alarm_data(alarm), plate="吉A12345", color=2)
    read = bodies.read_envelope(bodies.envelope(about, vehicle=True), vehicle=True)
    assert bodies.read_alarm(read) == alarm and alarm.bits == 1 << 2
    assert bodies.read_supervision_answer(bodies.supervision_answer_data(9, 1)) == (9, 1)
    assert bodies.read_warning(bodies.warning_data(2, 5, "前方团雾")) == (2, 5, "前方团雾")
    made = Registration(platform="22000000001", maker="TMRI", model="T-1", terminal="0000001", phone="13900000001")
    assert bodies.read_registration(bodies.registration_data(made)) == made


def test_a_login_of_2019_tells_its_code() -> None:
    login = Login(user=1, password="12345678", back_host="10.0.0.1", back_port=900, centre=22)
    assert jt809.read_login(jt809.login_body(login), year=2019) == login


def test_frames_are_found_in_any_pieces_and_between_rubbish() -> None:
    frames = [jt809.pack(Message(kind=Kind.ALIVE, serial=n, centre=0x5B5D5A5E)) for n in range(5)]
    stream = b"rubbish" + frames[0] + b"\0\0" + frames[1] + b"[half" + frames[2] + frames[3] + frames[4]
    for size in (1, 2, 7, 1000):
        splitter = Splitter()
        found = [f for at in range(0, len(stream), size) for f in splitter.feed(stream[at : at + size])]
        assert [jt809.unpack(inner).serial for inner in found] == [0, 1, 2, 3, 4]
        assert splitter.dropped == len(b"rubbish\0\0[half")


def test_a_frame_without_an_end_is_refused_at_its_bound() -> None:
    splitter = Splitter()
    assert splitter.feed(b"[") == []
    with pytest.raises(FrameError, match="longer than"):
        for _ in range(FRAME_BYTES_MAX // 1024 + 2):
            splitter.feed(b"x" * 1024)


def test_one_changed_byte_shows_in_the_check_sum() -> None:
    frame = bytearray(jt809.pack(Message(kind=Kind.VEHICLE, serial=1, centre=2, body=b"hello")))
    frame[-5] ^= 1
    with pytest.raises(FrameError, match="check sum"):
        jt809.unpack(inner_of(bytes(frame)))


def test_an_encrypted_message_needs_its_cipher() -> None:
    cipher = Cipher(m1=30000000, ia1=20000000, ic1=20000000)
    message = Message(kind=Kind.VEHICLE, serial=1, centre=2, body=b"hello", encrypted=True, key=77)
    frame = jt809.pack(message, cipher)
    assert b"hello" not in frame
    assert jt809.unpack(inner_of(frame), cipher=cipher) == message
    with pytest.raises(FrameError, match="encrypted"):
        jt809.unpack(inner_of(frame))
    with pytest.raises(FrameError):
        jt809.pack(message)


def test_escapes_that_do_not_exist_are_refused() -> None:
    for wrong in (b"\x5a\x03", b"\x5e\x00", b"\x5a"):
        with pytest.raises(FrameError, match="escape"):
            jt809.unescape(wrong)


def test_a_text_longer_than_its_field_is_cut_between_characters() -> None:
    assert jt809.fixed_text("吉林省公安厅", 5).decode("gbk").rstrip("\0") == "吉林"
    with pytest.raises(FrameError, match="at most"):
        jt809.Reader((2**31).to_bytes(4, "big")).long_text()


@given(st.binary(max_size=300), st.sampled_from([2011, 2019]))
def test_any_bytes_are_a_message_or_are_refused(data: bytes, year: int) -> None:
    for inner in Splitter().feed(b"[" + data + b"]"):
        try:
            jt809.unpack(inner, year=year, cipher=Cipher(m1=1, ia1=2, ic1=3))
        except FrameError:
            continue


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([2011, 2019]))
def test_any_body_survives_the_wire(body: bytes, key: int, encrypted: bool, year: int) -> None:
    cipher = Cipher(m1=30000000, ia1=20000000, ic1=20000000)
    time_s = 1_795_000_000 if year >= 2019 else None
    message = Message(kind=Kind.VEHICLE, serial=key, centre=5, body=body, encrypted=encrypted, key=key, time_s=time_s)
    frame = jt809.pack(message, cipher)
    assert not set(frame[1:-1]) & {0x5B, 0x5D}
    assert jt809.unpack(inner_of(frame), cipher=cipher, year=year) == message


@given(st.binary(max_size=200), st.sampled_from([2011, 2019]))
def test_any_body_is_read_or_refused(data: bytes, year: int) -> None:
    about = Envelope(part=1, data=data, plate="吉A12345", color=1)
    readers = [
        lambda: bodies.read_envelope(data, vehicle=True),
        lambda: bodies.read_position(data, year=year),
        lambda: bodies.read_positions(data, year=year),
        lambda: bodies.read_registration(data, year=year),
        lambda: bodies.read_alarm(about, year=year),
        lambda: bodies.read_supervision(data),
        lambda: bodies.read_warning(data),
        lambda: bodies.read_word(data),
        lambda: bodies.read_presence_answer(data, year=year),
        lambda: jt809.read_login(data, year=year),
    ]
    for read in readers:
        try:
            read()
        except FrameError:
            continue
