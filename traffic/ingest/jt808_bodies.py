"""Bodies of JT/T 808 messages: what terminals say (columns for positions), and what is said to them. Pure.

Clause numbers are those of JT/T 808-2019; where 2013 differs it is told.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from traffic.errors import TrafficError
from traffic.ingest.checks import NO_TIME
from traffic.ingest.jt808 import V2019

# The fixed part of a position (8.12, table 22).
FIX = np.dtype(
    [
        ("alarms", ">u4"),
        ("status", ">u4"),
        ("lat", ">u4"),  # 1e-6 degrees
        ("lon", ">u4"),
        ("altitude_m", ">u2"),
        ("speed", ">u2"),  # 0.1 km/h
        ("bearing_deg", ">u2"),
        ("time", "u1", (6,)),  # BCD, UTC+8
    ]
)
LOCATED, SOUTH, WEST = 1 << 1, 1 << 2, 1 << 3  # bits of `status`
BATCH_POSITIONS_MAX = 500  # of one 0x0704
TEXT_BYTES_MAX = 1000
_UTC8_US = 8 * 3600 * 1_000_000
_ANSWER = struct.Struct(">HHB")
# Widths of maker, model and terminal's number (8.5, table 7); of 2011, which old terminals still speak, the second row.
_WIDTHS_2019, _WIDTHS_2013, _WIDTHS_2011 = (11, 30, 30), (5, 20, 7), (5, 8, 7)
_FIXED_2013 = 4 + sum(_WIDTHS_2013) + 1
_IMEI_BYTES, _SOFTWARE_BYTES = 15, 20


class BodyMalformed(TrafficError):
    """A body is not of its message's form; the sentence says why."""


# ---------------------------------------------------------------- registration and log-in
@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """0x0100. `plate`: as written there; with colour 0 (no plate yet) it is the vehicle's VIN."""

    province: int  # first two digits of the division's code
    city: int  # the other four
    maker: str
    model: str
    number: str  # the terminal's own, by its maker
    plate_color: int
    plate: str

    @staticmethod
    def read(body: bytes, version: int) -> "Registration":
        """Raises BodyMalformed. Without bit 14 a body shorter than that of 2013 is one of 2011."""
        widths = _WIDTHS_2019 if version == V2019 else _WIDTHS_2013 if len(body) >= _FIXED_2013 else _WIDTHS_2011
        if len(body) < 5 + sum(widths):
            raise BodyMalformed(f"a registration has at least {5 + sum(widths)} bytes")
        texts, at = [], 4
        for width in widths:
            texts.append(_loose(body[at : at + width]))
            at += width
        return Registration(
            province=int.from_bytes(body[:2]), city=int.from_bytes(body[2:4]), maker=texts[0], model=texts[1],
            number=texts[2], plate_color=body[at], plate=_strict("plate", body[at + 1 :]),
        )  # fmt: skip

    def body(self, version: int) -> bytes:
        """As a terminal sends it."""
        widths = _WIDTHS_2019 if version == V2019 else _WIDTHS_2013
        texts = (self.maker, self.model, self.number)
        padded = (text.encode("gbk")[:width].ljust(width, b"\0") for text, width in zip(texts, widths, strict=True))
        head = self.province.to_bytes(2) + self.city.to_bytes(2)
        return b"".join((head, *padded, bytes((self.plate_color,)), self.plate.encode("gbk")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """0x0102; IMEI and software only in 2019."""

    code: str
    imei: str = ""
    software: str = ""

    @staticmethod
    def read(body: bytes, version: int) -> "Authentication":
        """Raises BodyMalformed."""
        if version != V2019:
            return Authentication(code=_strict("code", body))
        end = 1 + body[0] if body else 0
        if not body or len(body) < end:
            raise BodyMalformed("the authentication code is cut off")
        imei, software = body[end : end + _IMEI_BYTES], body[end + _IMEI_BYTES : end + _IMEI_BYTES + _SOFTWARE_BYTES]
        return Authentication(code=_strict("code", body[1:end]), imei=_loose(imei), software=_loose(software))

    def body(self, version: int) -> bytes:
        """As a terminal sends it."""
        code = self.code.encode("gbk")
        if version != V2019:
            return code
        imei = self.imei.encode("gbk")[:_IMEI_BYTES].ljust(_IMEI_BYTES, b"\0")
        return bytes((len(code),)) + code + imei + self.software.encode("gbk")[:_SOFTWARE_BYTES].ljust(20, b"\0")


def _strict(name: str, raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0 ").decode("gbk")
    except UnicodeDecodeError as error:
        raise BodyMalformed(f"the {name} is not GBK") from error


def _loose(raw: bytes) -> str:
    """A text that only people read: what can't be read in it is marked, and a NUL ends or fills it."""
    return raw.decode("gbk", "replace").strip("\0 ").replace("\0", " ")


# ---------------------------------------------------------------- positions
def read_fixes(bodies: Sequence[bytes]) -> np.ndarray:
    """Rows of FIX of positions' bodies (each at least FIX.itemsize long: see `positions_of`)."""
    size = FIX.itemsize
    return np.frombuffer(b"".join([body[:size] for body in bodies]), FIX)


def times_us(fixes: np.ndarray) -> np.ndarray:
    """Times of rows of FIX in microseconds UTC; NO_TIME where the digits are no time."""
    digits = fixes["time"].astype(np.int64)
    high, low = digits >> 4, digits & 15
    year, month, day, hour, minute, second = (high * 10 + low).T
    wrong = ((high > 9) | (low > 9)).any(axis=1) | (month < 1) | (month > 12)
    wrong |= (hour > 23) | (minute > 59) | (second > 59)
    months = (30 + year) * 12 + np.where(wrong, 1, month) - 1  # since 1970
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    wrong |= (day < 1) | (day > (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64) - first)
    seconds = (first + day - 1) * 86_400 + hour * 3600 + minute * 60 + second
    return np.where(wrong, NO_TIME, seconds * 1_000_000 - _UTC8_US)


def positions_of(body: bytes) -> list[bytes]:
    """The bodies of the positions in a 0x0704 (normal and blind alike); raises BodyMalformed."""
    if len(body) < 3:
        raise BodyMalformed("a batch of positions begins with count and type")
    count, found, at = int.from_bytes(body[:2]), [], 3
    if count > BATCH_POSITIONS_MAX:
        raise BodyMalformed(f"a batch holds at most {BATCH_POSITIONS_MAX} positions")
    for _ in range(count):
        length = int.from_bytes(body[at : at + 2])
        position = body[at + 2 : at + 2 + length]
        if len(position) < length or length < FIX.itemsize:
            raise BodyMalformed("a position of the batch is cut off")
        found.append(position)
        at += 2 + length
    if at != len(body):
        raise BodyMalformed("the batch is longer than its positions")
    return found


def position_of(body: bytes) -> bytes:
    """The body of a 0x0200 as it is; raises BodyMalformed."""
    if len(body) < FIX.itemsize:
        raise BodyMalformed(f"a position has at least {FIX.itemsize} bytes")
    return body


def position_of_answer(body: bytes) -> tuple[int, bytes]:
    """(serial of the query, body of the position) of a 0x0201; raises BodyMalformed."""
    return int.from_bytes(body[:2]), position_of(body[2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """What of a position's additional items is told to people (table 27); None: not sent."""

    mileage_km: float | None = None
    fuel_l: float | None = None
    recorder_kmh: float | None = None


_ITEMS: Final = {0x01: ("mileage_km", 4), 0x02: ("fuel_l", 2), 0x03: ("recorder_kmh", 2)}


def read_items(position: bytes) -> Items:
    """The additional items behind a position; makers add their own and get them wrong, which harms nothing."""
    found = {}
    for kind, value in _additional(position[FIX.itemsize :]):
        name, width = _ITEMS.get(kind, ("", 0))
        if name and len(value) == width:
            found[name] = int.from_bytes(value) / 10
    return Items(**found)


def _additional(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + data[at + 1]
        if end > len(data):
            return
        yield data[at], data[at + 2 : end]
        at = end


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One position as a terminal tells it; `at_us`: microseconds UTC."""

    at_us: int
    lon: float
    lat: float
    speed_kmh: float = 0.0
    bearing_deg: float = 0.0
    altitude_m: int = 0
    alarms: int = 0
    located: bool = True
    items: Items = Items()

    def body(self) -> bytes:
        """As a terminal sends it."""
        status = 1 | (LOCATED if self.located else 0) | (SOUTH if self.lat < 0 else 0) | (WEST if self.lon < 0 else 0)
        fix = np.zeros(1, FIX)
        fix["alarms"], fix["status"] = self.alarms, status
        fix["lat"], fix["lon"] = round(abs(self.lat) * 1e6), round(abs(self.lon) * 1e6)
        fix["altitude_m"], fix["speed"] = self.altitude_m, round(self.speed_kmh * 10)
        fix["bearing_deg"] = round(self.bearing_deg) % 360
        local = np.datetime64(self.at_us + _UTC8_US, "us").astype("M8[s]").item()
        fix["time"] = list(bytes.fromhex(f"{local:%y%m%d%H%M%S}"))
        told = ((kind, getattr(self.items, name), width) for kind, (name, width) in _ITEMS.items())
        items = (
            bytes((kind, width)) + round(value * 10).to_bytes(width) for kind, value, width in told if value is not None
        )
        return fix.tobytes() + b"".join(items)


def batch_body(positions: Sequence[bytes], *, blind: bool) -> bytes:
    """A 0x0704 of positions' bodies; `blind`: kept where there was no network."""
    head = len(positions).to_bytes(2) + bytes((1 if blind else 0,))
    return head + b"".join(len(position).to_bytes(2) + position for position in positions)


# ---------------------------------------------------------------- answers and words down
def answer_body(serial: int, kind: int, result: int) -> bytes:
    """A general answer, up (0x0001) or down (0x8001), to the message of this serial and kind."""
    return _ANSWER.pack(serial, kind, result)


def read_answer(body: bytes) -> tuple[int, int, int]:
    """(serial, kind, result) of a general answer; raises BodyMalformed."""
    if len(body) != _ANSWER.size:
        raise BodyMalformed(f"an answer has {_ANSWER.size} bytes")
    serial, kind, result = _ANSWER.unpack(body)
    return serial, kind, result


def registered_body(serial: int, result: int, code: str = "") -> bytes:
    """A 0x8100."""
    return serial.to_bytes(2) + bytes((result,)) + code.encode("gbk")


def read_registered(body: bytes) -> tuple[int, int, str]:
    """(serial, result, code) of a 0x8100; raises BodyMalformed."""
    if len(body) < 3:
        raise BodyMalformed("an answer to a registration has at least 3 bytes")
    return int.from_bytes(body[:2]), body[2], _strict("code", body[3:])


def text_body(text: str, version: int, *, urgent: bool, tts: bool) -> bytes:
    """A 0x8300 for the terminal's screen; raises BodyMalformed where GBK or the length do not allow it.

    2013: bit 0 urgent. 2019: bits 0-1 are 1 service, 2 urgent, and a byte tells the type (1: a notice). Both: bit 2
    screen, bit 3 read aloud (8.32).
    """
    try:
        said = text.encode("gbk")
    except UnicodeEncodeError as error:
        raise BodyMalformed(f"the terminal has no character for {text[error.start : error.end][:4]!r}") from error
    if not 0 < len(said) <= TEXT_BYTES_MAX:
        raise BodyMalformed(f"a text has 1 to {TEXT_BYTES_MAX} bytes")
    flags = 0b100 | (0b1000 if tts else 0)
    if version == V2019:
        return bytes((flags | (0b10 if urgent else 0b01), 1)) + said
    return bytes((flags | (1 if urgent else 0),)) + said


def read_text(body: bytes, version: int) -> tuple[int, str]:
    """(flags, text) of a 0x8300, as a terminal reads it; raises BodyMalformed."""
    head = 2 if version == V2019 else 1
    if len(body) <= head:
        raise BodyMalformed("there is no text")
    return body[0], _strict("text", body[head:])
