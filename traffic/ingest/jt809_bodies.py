"""JT/T 809, bodies: vehicles and their positions, alarms, supervision, presence. Pure; frames are jt809's."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from traffic.clock import SHANGHAI
from traffic.ingest.jt809 import FrameError, Reader, counted_text, fixed_text

POSITIONS_MAX = 255  # of one message with past positions: their number is a byte
NO_NUMBER = -1


class Part(IntEnum):
    """Sub types: what a message of 0x1200, 0x1300, 0x1400, 0x9300 or 0x9400 is about."""

    REGISTER = 0x1201
    POSITION = 0x1202
    HISTORY = 0x1203
    PRESENCE_ANSWER = 0x1301
    TEXT_ANSWER = 0x1302
    SUPERVISION_ANSWER = 0x1401
    ALARM = 0x1402
    SUPERVISION_ANSWER_2019 = 0x1411
    PRESENCE = 0x9301
    TEXT = 0x9302
    SUPERVISION = 0x9401
    WARNING = 0x9402


# Types of alarms -> the bit of JT/T 808 that means the same (0 SOS, 1 overspeed, 2 fatigue, 18 driving overtime,
# 19 long stop, 20 area, 21 route, 23 deviation, 26 theft, 28 moved without leave, 29 collision).
OTHER_ALARM = 32  # a type that JT/T 808 has no bit for
BIT_OF_ALARM = {
    0x0001: 1, 0x0002: 2, 0x0003: 0, 0x0004: 20, 0x0005: 20, 0x0008: 20, 0x0009: 26, 0x000A: 0, 0x000B: 23,
    0x000C: 28, 0x000D: 18, 0x0011: 29, 0xA001: 19,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a message is about: sub type, its data, and the vehicle (plate "" where the message names none)."""

    part: int
    data: bytes
    plate: str = ""
    color: int = 0  # JT/T 697.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One position. `shifted`: went through the secrecy plug-in, so that it is GCJ-02; speeds km/h."""

    time: datetime | None  # None: no time at all
    lon: float
    lat: float
    speed_kmh: int
    bearing_deg: int
    status: int  # bits of JT/T 808: 1 located
    alarm: int  # bits of JT/T 808
    shifted: bool = False
    recorder_kmh: int = 0
    odometer_km: int = 0
    altitude_m: int = 0

    @property
    def located(self) -> bool:
        """Whether the receiver had a fix."""
        return bool(self.status & 0b10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that a platform reports (0x1402). `number` NO_NUMBER: 2019 tells none."""

    source: int  # 1 terminal, 2 company's platform, 3 authority's platform, 9 other
    kind: int
    at_s: int
    number: int
    text: str
    plate: str = ""
    color: int = 0

    @property
    def bits(self) -> int:
        """The alarm as a bit of JT/T 808."""
        return 1 << BIT_OF_ALARM.get(self.kind, OTHER_ALARM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A vehicle registers (0x1201): who made its terminal, and the card in it."""

    platform: str
    maker: str
    model: str
    terminal: str
    phone: str


# ---------------------------------------------------------------- envelopes
def read_envelope(body: bytes, *, vehicle: bool) -> Envelope:
    """The sub type and data of a message; `vehicle`: it begins with the plate and its colour."""
    reader = Reader(body)
    plate, color = (reader.text(21), reader.number(1)) if vehicle else ("", 0)
    part = reader.number(2)
    return Envelope(part=part, data=reader.raw(reader.number(4)), plate=plate, color=color)


def envelope(about: Envelope, *, vehicle: bool) -> bytes:
    """The reverse of `read_envelope`."""
    head = fixed_text(about.plate, 21) + bytes((about.color,)) if vehicle else b""
    return head + about.part.to_bytes(2, "big") + len(about.data).to_bytes(4, "big") + about.data


# ---------------------------------------------------------------- positions
_POSITION = struct.Struct(">BBBHBBBIIHHIHHII")
_TERMINAL = struct.Struct(">IIIIHHH6s")  # the fixed part of JT/T 808, 0x0200
_PLATFORMS_2019 = 3 * (11 + 4)
POSITION_BYTES = _POSITION.size


def read_position(data: bytes, *, year: int = 2011) -> Position:
    """Data of 0x1202; raises FrameError when it is no position."""
    if year >= 2019:
        return _read_position_2019(Reader(data))
    if len(data) < _POSITION.size:
        raise FrameError(f"a position has {_POSITION.size} bytes, not {len(data)}")
    (shifted, day, month, year_, hour, minute, second, lon, lat, speed, recorder, odometer, bearing, altitude, status,
     alarm) = _POSITION.unpack_from(data)  # fmt: skip
    return Position(
        shifted=shifted != 0, time=_time(year_, month, day, hour, minute, second), lon=lon / 1e6, lat=lat / 1e6,
        speed_kmh=speed, recorder_kmh=recorder, odometer_km=odometer, bearing_deg=bearing, altitude_m=altitude,
        status=status, alarm=alarm,
    )  # fmt: skip


def _read_position_2019(reader: Reader) -> Position:
    shifted = reader.number(1)
    inner = reader.raw(reader.number(4))
    if _is_of_2011(inner):
        return read_position(bytes((shifted,)) + inner)
    if len(inner) < _TERMINAL.size:
        raise FrameError(f"an embedded position has at least {_TERMINAL.size} bytes, not {len(inner)}")
    alarm, status, lat, lon, altitude, speed, bearing, bcd = _TERMINAL.unpack_from(inner)
    digits = bcd.hex()
    time = None
    if digits.isdigit():
        year, month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 12, 2))
        time = _time(2000 + year, month, day, hour, minute, second)
    return Position(
        shifted=shifted != 0, time=time, lon=lon / 1e6, lat=lat / 1e6, speed_kmh=round(speed / 10),
        bearing_deg=bearing, altitude_m=altitude, status=status, alarm=alarm,
    )  # fmt: skip


def _is_of_2011(inner: bytes) -> bool:
    """Whether it is a position of 2011 without its first byte, as some platforms send it under 2019."""
    if len(inner) != _POSITION.size - 1:
        return False
    day, month, year = inner[0], inner[1], int.from_bytes(inner[2:4], "big")
    return 1 <= day <= 31 and 1 <= month <= 12 and 2000 <= year < 2100


def _time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=SHANGHAI)
    except ValueError:
        return None


def read_positions(data: bytes, *, year: int = 2011) -> list[bytes]:
    """Data of 0x1203 as the data of so many 0x1202; raises FrameError."""
    reader = Reader(data)
    count = reader.number(1)
    if year < 2019:
        return [reader.raw(_POSITION.size) for _ in range(count)]
    found = []
    for _ in range(count):
        head = reader.raw(5)
        found.append(head + reader.raw(int.from_bytes(head[1:], "big") + _PLATFORMS_2019))
    return found


def position_data(position: Position, *, year: int = 2011) -> bytes:
    """The reverse of `read_position` (its time must be told)."""
    at = (position.time or datetime(1970, 1, 1, tzinfo=UTC)).astimezone(SHANGHAI)
    lon, lat = round(position.lon * 1e6), round(position.lat * 1e6)
    if year >= 2019:
        inner = _TERMINAL.pack(
            position.alarm, position.status, lat, lon, position.altitude_m, position.speed_kmh * 10,
            position.bearing_deg, bytes.fromhex(f"{at:%y%m%d%H%M%S}"),
        )  # fmt: skip
        return bytes((position.shifted,)) + len(inner).to_bytes(4, "big") + inner + bytes(_PLATFORMS_2019)
    return _POSITION.pack(
        position.shifted, at.day, at.month, at.year, at.hour, at.minute, at.second, lon, lat, position.speed_kmh,
        position.recorder_kmh, position.odometer_km, position.bearing_deg, position.altitude_m, position.status,
        position.alarm,
    )  # fmt: skip


def read_registration(data: bytes, *, year: int = 2011) -> Registration:
    """Data of 0x1201."""
    reader = Reader(data)
    platform, maker = reader.text(11), reader.text(11)
    if year >= 2019:
        model, _, terminal, phone = reader.text(30), reader.text(15), reader.text(30), reader.text(13)
    else:  # the terminal's model has 8 characters in the norm's first print, 20 in practice
        model = reader.text(8 if len(data) < 61 else 20)
        terminal, phone = reader.text(7), reader.text(12)
    return Registration(platform=platform, maker=maker, model=model, terminal=terminal, phone=phone.lstrip("0"))


def registration_data(made: Registration) -> bytes:
    """The reverse of `read_registration`, of 2011."""
    head = fixed_text(made.platform, 11) + fixed_text(made.maker, 11) + fixed_text(made.model, 20)
    return head + fixed_text(made.terminal, 7) + fixed_text(made.phone, 12)


# ---------------------------------------------------------------- alarms
def read_alarm(about: Envelope, *, year: int = 2011) -> Alarm:
    """Data of 0x1402; the vehicle is the envelope's, or, in 2019, told inside."""
    reader = Reader(about.data)
    if year >= 2019:
        reader.raw(11)
        kind, at_s = reader.number(2), reader.number(8)
        reader.raw(16)
        plate, color = reader.text(21), reader.number(1)
        reader.raw(15)
        text = reader.long_text()
        return Alarm(source=3, kind=kind, at_s=at_s, number=NO_NUMBER, text=text, plate=plate, color=color)
    source, kind, at_s, number = reader.number(1), reader.number(2), reader.number(8), reader.number(4)
    return Alarm(
        source=source, kind=kind, at_s=at_s, number=number, text=reader.long_text(), plate=about.plate,
        color=about.color,
    )  # fmt: skip


def alarm_data(alarm: Alarm) -> bytes:
    """The reverse of `read_alarm`, of 2011."""
    head = bytes((alarm.source,)) + alarm.kind.to_bytes(2, "big") + alarm.at_s.to_bytes(8, "big")
    return head + alarm.number.to_bytes(4, "big") + counted_text(alarm.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """We want an alarm seen to (0x9401). `level` 0 urgent, 1 usual."""

    kind: int
    at_s: int
    number: int
    until_s: int
    level: int
    supervisor: str
    phone: str = ""
    mail: str = ""
    source: int = 3


def supervision_data(wish: Supervision) -> bytes:
    """Data of 0x9401."""
    head = bytes((wish.source,)) + wish.kind.to_bytes(2, "big") + wish.at_s.to_bytes(8, "big")
    when = wish.number.to_bytes(4, "big") + wish.until_s.to_bytes(8, "big") + bytes((wish.level,))
    return head + when + fixed_text(wish.supervisor, 16) + fixed_text(wish.phone, 20) + fixed_text(wish.mail, 32)


def read_supervision(data: bytes) -> Supervision:
    """The reverse of `supervision_data`."""
    reader = Reader(data)
    return Supervision(
        source=reader.number(1), kind=reader.number(2), at_s=reader.number(8), number=reader.number(4),
        until_s=reader.number(8), level=reader.number(1), supervisor=reader.text(16), phone=reader.text(20),
        mail=reader.text(32),
    )  # fmt: skip


def warning_data(kind: int, at_s: int, text: str, *, source: int = 3) -> bytes:
    """Data of 0x9402, which nobody answers."""
    return bytes((source,)) + kind.to_bytes(2, "big") + at_s.to_bytes(8, "big") + counted_text(text)


def read_warning(data: bytes) -> tuple[int, int, str]:
    """(kind, at in seconds, text) of a 0x9402."""
    reader = Reader(data)
    reader.number(1)
    return reader.number(2), reader.number(8), reader.long_text()


def read_supervision_answer(data: bytes) -> tuple[int, int]:
    """(number, result) of a 0x1401; result 0 at work, 1 done, 2 not taken up, 3 later."""
    reader = Reader(data)
    return reader.number(4), reader.number(1)


def supervision_answer_data(number: int, result: int) -> bytes:
    """Data of 0x1401."""
    return number.to_bytes(4, "big") + bytes((result,))


# ---------------------------------------------------------------- presence
THIS_PLATFORM = 1  # the object that is asked: the platform at the other end


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A question or answer between platforms (0x9301, 0x9302, 0x1301)."""

    object_kind: int
    object_id: str
    number: int
    text: str


def word_data(word: Word) -> bytes:
    """Data of 0x9301, 0x9302 and 0x1301 of 2011."""
    head = bytes((word.object_kind,)) + fixed_text(word.object_id, 12)
    return head + word.number.to_bytes(4, "big") + counted_text(word.text)


def read_word(data: bytes) -> Word:
    """The reverse of `word_data`."""
    reader = Reader(data)
    return Word(
        object_kind=reader.number(1), object_id=reader.text(12), number=reader.number(4), text=reader.long_text()
    )


def presence_data(word: Word, *, year: int = 2011, answer_s: int = 0) -> bytes:
    """Data of 0x9301; 2019 has a wider object and a time limit."""
    if year < 2019:
        return word_data(word)
    head = bytes((word.object_kind,)) + fixed_text(word.object_id, 20) + bytes((min(answer_s, 255),))
    return head + word.number.to_bytes(4, "big") + counted_text(word.text)


def read_presence_answer(data: bytes, *, year: int = 2011) -> tuple[int, str]:
    """(number asked, or in 2019 serial of the asking message; text) of a 0x1301."""
    if year < 2019:
        word = read_word(data)
        return word.number, word.text
    reader = Reader(data)
    reader.raw(1 + 16 + 20 + 20 + 2)
    return reader.number(4), reader.long_text()
