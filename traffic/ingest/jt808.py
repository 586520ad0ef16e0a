"""JT/T 808 frames: bytes in, messages out, and messages back into bytes. Pure.

A frame is 0x7E, header, body, XOR check, 0x7E; inside it 0x7E and 0x7D are escaped (JT/T 808-2019, 4.4). The header is
that of 2013 (telephone number of 6 bytes) or, by bit 14 of its attributes, of 2019 (protocol version, number of 10).
"""

import struct
from enum import IntEnum
from functools import reduce
from operator import xor
from typing import Final

import msgspec

from traffic.errors import TrafficError

FLAG: Final = b"\x7e"
BODY_BYTES_MAX = 1023  # ten bits of the attributes
FRAME_BYTES_MAX = 2 * (21 + BODY_BYTES_MAX + 1)  # a header of 2019 in parts, body and check, every byte escaped
PARTS_MAX = 64  # of one message
PARTS_OPEN_MAX = 4  # unfinished messages of one connection; then the oldest is forgotten, and comes again
V2013, V2019 = 2013, 2019
_LENGTH, _ENCRYPTED, _IN_PARTS, _OF_2019 = 0x03FF, 0x1C00, 0x2000, 0x4000
_HEAD = struct.Struct(">HH")


class Kind(IntEnum):
    """Messages that are understood here; the upper half goes down to the terminal."""

    TERMINAL_ANSWER = 0x0001
    HEARTBEAT = 0x0002
    UNREGISTER = 0x0003
    REGISTER = 0x0100
    AUTHENTICATE = 0x0102
    POSITION = 0x0200
    POSITION_ANSWER = 0x0201
    POSITIONS = 0x0704
    PASSTHROUGH = 0x0900
    GENERAL_ANSWER = 0x8001
    REGISTER_ANSWER = 0x8100
    POSITION_QUERY = 0x8201
    TEXT = 0x8300


class Result(IntEnum):
    """Of a general answer, up or down."""

    OK = 0
    FAILED = 1
    WRONG = 2
    UNSUPPORTED = 3


class Registered(IntEnum):
    """Result of a registration (0x8100)."""

    OK = 0
    VEHICLE_TAKEN = 1
    NO_SUCH_VEHICLE = 2
    TERMINAL_TAKEN = 3
    NO_SUCH_TERMINAL = 4


class FrameRefused(TrafficError):
    """The bytes between two flags are no message; the sentence says why."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message. `phone`: digits without leading zeros; `part`: (number, of how many), (1, 1) when it is whole."""

    kind: int
    phone: str
    serial: int
    body: bytes
    version: int = V2013
    part: tuple[int, int] = (1, 1)
    encrypted: bool = False


class Frames:
    """What comes in on one connection, in pieces of any size -> frames, still escaped, without their flags."""

    __slots__ = ("_rest", "broken")

    def __init__(self) -> None:
        self._rest = b""
        self.broken = False  # a frame has no end: nothing that follows can be trusted

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now. Between frames one flag or two are both taken."""
        if self.broken:
            return []
        pieces = (self._rest + data).split(FLAG)
        for number, piece in enumerate(pieces):
            if len(piece) > FRAME_BYTES_MAX:
                self.broken, self._rest = True, b""
                return [piece for piece in pieces[:number] if piece]
        self._rest = pieces.pop()
        return [piece for piece in pieces if piece]


def decode(frame: bytes) -> Message:
    """The message of one frame as `Frames.feed` gives it; raises FrameRefused."""
    data = _unescaped(frame)
    if len(data) < 13 or reduce(xor, data):
        raise FrameRefused("the frame is too short" if len(data) < 13 else "the check byte does not fit")
    kind, attributes = _HEAD.unpack_from(data)
    if attributes & _OF_2019:
        version, phone, at = V2019, data[5:15], 15
    else:
        version, phone, at = V2013, data[4:10], 10
    serial, at, part = int.from_bytes(data[at : at + 2]), at + 2, (1, 1)
    if attributes & _IN_PARTS:
        part, at = (int.from_bytes(data[at + 2 : at + 4]), int.from_bytes(data[at : at + 2])), at + 4
        if not 1 <= part[0] <= part[1] <= PARTS_MAX:
            raise FrameRefused(f"part {part[0]} of {part[1]} (at most {PARTS_MAX})")
    if len(data) - at - 1 != attributes & _LENGTH:
        raise FrameRefused(f"the header tells {attributes & _LENGTH} bytes of body, there are {len(data) - at - 1}")
    digits = phone.hex()
    if not digits.isdecimal():
        raise FrameRefused("the telephone number is not of decimal digits")
    encrypted = bool(attributes & _ENCRYPTED)
    return Message(kind, digits.lstrip("0") or "0", serial, data[at:-1], version, part, encrypted)


def _unescaped(frame: bytes) -> bytes:
    if 0x7D not in frame:
        return frame
    if frame.count(b"\x7d") != frame.count(b"\x7d\x01") + frame.count(b"\x7d\x02"):
        raise FrameRefused("an escape stands for nothing")
    return frame.replace(b"\x7d\x02", FLAG).replace(b"\x7d\x01", b"\x7d")


def encode(message: Message) -> bytes:
    """The frame of one message with its flags; raises ValueError where number or body do not fit."""
    if len(message.body) > BODY_BYTES_MAX:
        raise ValueError(f"a body has at most {BODY_BYTES_MAX} bytes: send it in parts")
    of_2019 = message.version == V2019
    digits = 20 if of_2019 else 12
    if len(message.phone) > digits or not message.phone.isdecimal():
        raise ValueError(f"a telephone number has at most {digits} digits")
    number, count = message.part
    attributes = len(message.body) | (_OF_2019 if of_2019 else 0) | (_IN_PARTS if count > 1 else 0)
    data = b"".join(
        (
            _HEAD.pack(message.kind, attributes), b"\x01" if of_2019 else b"",
            bytes.fromhex(message.phone.zfill(digits)), message.serial.to_bytes(2),
            _HEAD.pack(count, number) if count > 1 else b"", message.body,
        )
    )  # fmt: skip
    data += bytes((reduce(xor, data),))
    return FLAG + data.replace(b"\x7d", b"\x7d\x01").replace(FLAG, b"\x7d\x02") + FLAG


def in_parts(message: Message) -> list[Message]:
    """The message as it can be sent: by itself, or in parts with serials one after the other."""
    pieces = [message.body[at : at + BODY_BYTES_MAX] for at in range(0, len(message.body), BODY_BYTES_MAX)]
    if len(pieces) <= 1:
        return [message]
    return [
        msgspec.structs.replace(
            message, body=piece, part=(number, len(pieces)), serial=(message.serial + number - 1) & 0xFFFF
        )
        for number, piece in enumerate(pieces, start=1)
    ]


class Whole(msgspec.Struct, frozen=True):
    """A message put together; `serials`: of each of its parts, all of which wait for their answer."""

    message: Message
    serials: tuple[int, ...]


class Parts:
    """Messages of one connection that come in parts, within bounds."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[tuple[int, int, int], dict[int, Message]] = {}

    def add(self, message: Message) -> Whole | None:
        """The whole message, if this was its last missing part (in any order; a repeated one counts once)."""
        number, count = message.part
        if count == 1:
            return Whole(message, (message.serial,))
        key = (message.kind, count, (message.serial - number) & 0xFFFF)
        parts = self._open.setdefault(key, {})
        parts[number] = message
        if len(parts) < count:
            if len(self._open) > PARTS_OPEN_MAX:
                del self._open[next(iter(self._open))]
            return None
        del self._open[key]
        ordered = [parts[number] for number in range(1, count + 1)]
        body = b"".join(part.body for part in ordered)
        whole = msgspec.structs.replace(ordered[0], body=body, part=(1, 1))
        return Whole(whole, tuple(part.serial for part in ordered))
