"""JT/T 809, frames and links: what travels between the platforms of two authorities, 2011 and 2019. Pure.

A frame is 0x5B .. 0x5D; inside, the four marks are written as two bytes each. Between the marks stand the header, the
body and a CRC-16/CCITT over both, as they go over the wire (an encrypted body is summed encrypted). Integers are
big-endian, texts GBK in fields filled up with zeros, times seconds since 1970 UTC.

2019 differs from 2011 where this system is concerned in five places: the header ends with a time, a login names the
access code, a position is an embedded JT/T 808 record, a reported alarm names its vehicle itself and has no number,
and messages about alarms begin without the vehicle.
"""

import re
import struct
from binascii import crc_hqx
from dataclasses import dataclass, field
from enum import IntEnum

from traffic.errors import TrafficError

BEGIN, END = 0x5B, 0x5D
FRAME_BYTES_MAX = 64 * 1024  # between the marks, as on the wire: 255 positions of 36 bytes, every byte doubled, fit in
TEXT_BYTES_MAX = 4 * 1024  # of a text whose length the message tells
_HEAD = struct.Struct(">IIHI3sBI")
_TIME = struct.Struct(">q")
_CRC = struct.Struct(">H")
_ESCAPES = {0x5B: b"\x5a\x01", 0x5A: b"\x5a\x02", 0x5D: b"\x5e\x01", 0x5E: b"\x5e\x02"}
_PLAIN = {escaped: bytes((byte,)) for byte, escaped in _ESCAPES.items()}
_TO_ESCAPE = re.compile(rb"[\x5a\x5b\x5d\x5e]")
_TO_PLAIN = re.compile(rb"[\x5a\x5e](?:.|$)", re.DOTALL)


class Kind(IntEnum):
    """Message ids. Those of the main link begin with 1, those of the link back with 9."""

    LOGIN = 0x1001
    LOGIN_ANSWER = 0x1002
    LOGOUT = 0x1003
    LOGOUT_ANSWER = 0x1004
    ALIVE = 0x1005
    ALIVE_ANSWER = 0x1006
    DISCONNECT = 0x1007
    CLOSING = 0x1008
    VEHICLE = 0x1200  # how vehicles move
    PLATFORM = 0x1300
    ALARM = 0x1400
    BACK_LOGIN = 0x9001
    BACK_LOGIN_ANSWER = 0x9002
    BACK_LOGOUT = 0x9003
    BACK_LOGOUT_ANSWER = 0x9004
    BACK_ALIVE = 0x9005
    BACK_ALIVE_ANSWER = 0x9006
    BACK_DISCONNECT = 0x9007
    BACK_CLOSING = 0x9008
    PLATFORM_DOWN = 0x9300
    ALARM_DOWN = 0x9400


class LoginResult(IntEnum):
    """What a login is answered."""

    OK = 0
    WRONG_ADDRESS = 1
    WRONG_CODE = 2
    UNKNOWN_USER = 3
    WRONG_PASSWORD = 4
    BUSY = 5
    OTHER = 6


class FrameError(TrafficError):
    """The bytes are no message of this protocol; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cipher:
    """The key stream that two platforms agree on (M1, IA1, IC1): each byte of a body is xor-ed with it."""

    m1: int
    ia1: int
    ic1: int

    def apply(self, body: bytes, key: int) -> bytes:
        """Encrypt or decrypt: it is the same."""
        m1, key = self.m1 or 1, key or 1
        stream = bytearray(len(body))
        for place in range(len(body)):
            key = (self.ia1 * (key % m1) + self.ic1) & 0xFFFFFFFF
            stream[place] = key >> 20 & 0xFF
        return (int.from_bytes(body, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(body), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; `time_s`: of the 2019 header, else None."""

    kind: int
    serial: int
    centre: int  # access code of the lower platform
    body: bytes = b""
    version: bytes = b"\x01\x00\x00"
    encrypted: bool = False
    key: int = 0
    time_s: int | None = None


def pack(message: Message, cipher: Cipher | None = None) -> bytes:
    """The frame of a message; raises FrameError when it should be encrypted and there is no cipher."""
    body = message.body
    if message.encrypted:
        if cipher is None:
            raise FrameError("a message cannot be encrypted without M1, IA1 and IC1")
        body = cipher.apply(body, message.key)
    tail = b"" if message.time_s is None else _TIME.pack(message.time_s)
    length = 2 + _HEAD.size + len(tail) + len(body) + _CRC.size
    head = _HEAD.pack(
        length, message.serial & 0xFFFFFFFF, message.kind, message.centre, message.version,
        message.encrypted, message.key,
    )  # fmt: skip
    content = head + tail + body
    return b"\x5b" + escape(content + _CRC.pack(crc_hqx(content, 0xFFFF))) + b"\x5d"


def unpack(inner: bytes, *, cipher: Cipher | None = None, year: int = 2011) -> Message:
    """The message between two marks (as `Splitter` gives it); raises FrameError. `year`: 2011 or 2019."""
    content = unescape(inner)
    fixed = _HEAD.size + (_TIME.size if year >= 2019 else 0)
    if len(content) < fixed + _CRC.size:
        raise FrameError(f"a message of {len(content)} bytes is shorter than a header")
    (said,) = _CRC.unpack_from(content, len(content) - _CRC.size)
    if crc_hqx(content[: -_CRC.size], 0xFFFF) != said:
        raise FrameError("the check sum is wrong")
    length, serial, kind, centre, version, encrypted, key = _HEAD.unpack_from(content)
    if length not in (len(content) + 2, len(content)):  # some platforms leave the two marks out
        raise FrameError(f"the header tells {length} bytes, the frame has {len(content) + 2}")
    time_s = _TIME.unpack_from(content, _HEAD.size)[0] if year >= 2019 else None
    body = content[fixed : -_CRC.size]
    if encrypted:
        if cipher is None:
            raise FrameError("the message is encrypted, and no M1, IA1 and IC1 are agreed with this platform")
        body = cipher.apply(body, key)
    return Message(
        kind=kind, serial=serial, centre=centre, body=body, version=version, encrypted=bool(encrypted), key=key,
        time_s=time_s,
    )  # fmt: skip


def centre_of(content: bytes) -> int:
    """The access code in a header, of a message whose marks are undone."""
    return int(_HEAD.unpack_from(content)[3])


def escape(content: bytes) -> bytes:
    """Without marks inside."""
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0][0]], content)


def unescape(inner: bytes) -> bytes:
    """As it was before `escape`; raises FrameError at a sign that `escape` never writes."""

    def plain(found: re.Match[bytes]) -> bytes:
        byte = _PLAIN.get(found[0])
        if byte is None:
            raise FrameError(f"the escape {found[0].hex()} does not exist")
        return byte

    return _TO_PLAIN.sub(plain, inner)


@dataclass(slots=True)
class Splitter:
    """Bytes as they arrive -> what stands between the marks. Bytes before a mark are dropped and counted."""

    _rest: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now; raises FrameError when one grows beyond its bound."""
        rest = self._rest
        rest += data
        found: list[bytes] = []
        place = 0
        while True:
            begin = rest.find(BEGIN, place)
            if begin < 0:
                self.dropped += len(rest) - place
                place = len(rest)
                break
            end = rest.find(END, begin)
            again = rest.rfind(BEGIN, begin + 1, end if end >= 0 else len(rest))
            if again >= 0:  # a frame that never ended: the next one counts
                self.dropped += again - place
                place = begin = again
            else:
                self.dropped += begin - place
                place = begin
            if end < 0:
                break
            found.append(bytes(rest[begin + 1 : end]))
            place = end + 1
        del rest[:place]
        if len(rest) > FRAME_BYTES_MAX:
            raise FrameError(f"a frame is longer than {FRAME_BYTES_MAX} bytes")
        return found


# ---------------------------------------------------------------- fields
class Reader:
    """Reads a body from front to back; raises FrameError where it ends too soon."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def number(self, width: int) -> int:
        """An unsigned integer of so many bytes."""
        return int.from_bytes(self.raw(width), "big")

    def text(self, width: int) -> str:
        """A GBK text in a field of this width; what no GBK is becomes a replacement character."""
        return self.raw(width).split(b"\0", 1)[0].decode("gbk", "replace").strip()

    def long_text(self) -> str:
        """A text with its length before it."""
        length = self.number(4)
        if length > TEXT_BYTES_MAX:
            raise FrameError(f"a text of {length} bytes; at most {TEXT_BYTES_MAX} are taken")
        return self.text(length)

    def raw(self, width: int) -> bytes:
        """So many bytes as they are."""
        part = self._body[self._place : self._place + width]
        if len(part) < width:
            raise FrameError(f"the body ends after {len(self._body)} bytes, {width - len(part)} too soon")
        self._place += width
        return part

    def rest(self) -> bytes:
        """What was not read yet."""
        return self._body[self._place :]


def fixed_text(text: str, width: int) -> bytes:
    """A GBK text in a field of this width, cut between characters where it is too long."""
    data = text.encode("gbk", "replace")
    while len(data) > width:
        text = text[:-1]
        data = text.encode("gbk", "replace")
    return data.ljust(width, b"\0")


def counted_text(text: str) -> bytes:
    """A GBK text with its length before it."""
    data = text.encode("gbk", "replace")
    return len(data).to_bytes(4, "big") + data


# ---------------------------------------------------------------- links
@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A lower platform logs in, and says where it wants to be called back. `centre`: 2019 alone tells it here."""

    user: int
    password: str
    back_host: str
    back_port: int
    centre: int | None = None


def read_login(body: bytes, *, year: int = 2011) -> Login:
    """Body of 0x1001."""
    reader = Reader(body)
    user, password = reader.number(4), reader.text(8)
    centre = reader.number(4) if year >= 2019 else None
    return Login(user=user, password=password, centre=centre, back_host=reader.text(32), back_port=reader.number(2))


def login_body(login: Login) -> bytes:
    """The reverse of `read_login`; a login with a `centre` is one of 2019."""
    centre = b"" if login.centre is None else login.centre.to_bytes(4, "big")
    head = login.user.to_bytes(4, "big") + fixed_text(login.password, 8)
    return head + centre + fixed_text(login.back_host, 32) + login.back_port.to_bytes(2, "big")


def login_answer(result: LoginResult, verify: int) -> bytes:
    """Body of 0x1002; with `verify` the lower platform knows the link back for ours."""
    return bytes((result,)) + verify.to_bytes(4, "big")


def read_login_answer(body: bytes) -> tuple[int, int]:
    """(result, verify) of a 0x1002."""
    reader = Reader(body)
    return reader.number(1), reader.number(4)
