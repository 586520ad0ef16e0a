"""The messages of the live view, both ways, and the bytes of a frame. Pure; AsyncAPI is made from these types."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from traffic.errors import TrafficError

MESSAGE_BYTES_MAX = 64 * 1024
TOPICS = ("roads", "alerts", "figures")
ACK_IDS_MAX = 500

CLOSE_PROTOCOL, CLOSE_TICKET, CLOSE_SESSION, CLOSE_OVERFLOW, CLOSE_GOING = 4400, 4401, 4403, 1013, 1001

Topic = Literal["roads", "alerts", "figures"]
Viewport = tuple[float, float, float, float]
TopicList = Annotated[list[Topic], Meta(min_length=1, max_length=8)]
Id = Annotated[str, Meta(max_length=64)]


class MessageWrong(TrafficError):
    """A client's message is not of this protocol. `code` goes on the wire; `fatal`: the socket is closed after it."""

    def __init__(self, code: str, message: str, *, fatal: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.fatal = fatal


# ---------------------------------------------------------------- from the client
class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """First message, within 5 s of connecting: the single-use ticket from POST /api/socket-ticket."""

    ticket: Annotated[str, Meta(max_length=128)]


class Subscribe(msgspec.Struct, frozen=True, tag_field="type", tag="subscribe"):
    """Ask for topics from now on; a snapshot of each follows. `viewport` null: the viewer's whole area."""

    topics: TopicList
    viewport: Viewport | None = None


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Come back with the last frame's cursor: alerts behind it follow as deltas, or a snapshot if it is too old."""

    topics: TopicList
    since: str
    viewport: Viewport | None = None


class Look(msgspec.Struct, frozen=True, tag_field="type", tag="viewport"):
    """The map moved: roads are told of this part from now on."""

    viewport: Viewport | None


class Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack"):
    """Orders that the client has shown."""

    ids: Annotated[list[Id], Meta(max_length=ACK_IDS_MAX)]


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """Answer to a ping."""


ClientMessage = Hello | Subscribe | Resume | Look | Ack | Pong
CLIENT_TYPES = (Hello, Subscribe, Resume, Look, Ack, Pong)


class _Typed(msgspec.Struct, frozen=True):
    type: str


_TYPED = msgspec.json.Decoder(_Typed)
_MESSAGE = msgspec.json.Decoder(ClientMessage)
_KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in CLIENT_TYPES)


def read_message(data: str | bytes) -> ClientMessage:
    """Bytes of a message to the message; raises MessageWrong (an unknown type alone does not end the socket)."""
    if isinstance(data, bytes):
        raise MessageWrong("binary", "messages are text frames with one JSON object")
    try:
        kind = _TYPED.decode(data).type
        if kind not in _KNOWN:
            raise MessageWrong("unknown_type", f"there is no message of type {kind[:40]!r}", fatal=False)
        return _MESSAGE.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MessageWrong("malformed", f"the message cannot be read: {str(error)[:200]}") from error


# ---------------------------------------------------------------- from the server
class UnitName(msgspec.Struct, frozen=True):
    """A unit as screens show it; level 1 corps, 2 detachment, 3 brigade, 4 squadron."""

    id: int
    name: str
    name_en: str
    level: int


class User(msgspec.Struct, frozen=True):
    """Who is logged in; clearance 1 may see restricted matters that are addressed to the unit."""

    login: str
    name: str
    unit: UnitName
    role: str
    clearance: int


class Greeting(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """Answer to a good ticket. The epoch names the instance: a cursor of another one is of no use here."""

    epoch: str
    user: User
    tick_ms: int


class DirectionFlow(msgspec.Struct, frozen=True):
    """Flow of the last minute in one direction (1 stakes increase, 2 decrease, 0 unknown)."""

    direction: int
    per_minute: int
    speed_kmh: float | None


class CheckpointFlow(msgspec.Struct, frozen=True):
    """A checkpoint's flow. Unknown: no word for 90 s, and nothing is said of its flow; quiet: word, but no passage."""

    id: int
    flow: list[DirectionFlow]
    per_minute: int | None
    speed_kmh: float | None
    seen_at: int | None
    state: Literal["live", "quiet", "unknown"]


class Figures(msgspec.Struct, frozen=True):
    """Sums over the viewer's area. `checkpoints_live`: of which there is word; `lag_s`: age of its newest passage."""

    passages_per_minute: int | None
    checkpoints_live: int
    checkpoints_total: int
    alerts_today: int
    alerts_by_level: dict[str, int]
    lag_s: int | None


class RoadsFrame(msgspec.Struct, frozen=True):
    """Snapshot: all checkpoints of the view; delta: those that changed, each whole."""

    type: Literal["snapshot", "delta"]
    topic: Literal["roads"]
    seq: str
    at: int
    checkpoints: list[CheckpointFlow]


class AlertsFrame(msgspec.Struct, frozen=True):
    """Snapshot: the newest 200, newest first; delta: what came, in the feed's order. Cards as in GET /api/findings."""

    type: Literal["snapshot", "delta"]
    topic: Literal["alerts"]
    seq: str
    at: int
    alerts: list[dict[str, Any]]


class FiguresFrame(msgspec.Struct, frozen=True):
    """The view's figures, whole."""

    type: Literal["snapshot", "delta"]
    topic: Literal["figures"]
    seq: str
    at: int
    figures: Figures


class StoppedPart(msgspec.Struct, frozen=True):
    """A part that stopped, and since when (microseconds)."""

    part: Literal["worker", "doors", "database", "bus"]
    since: int


class StaleFrame(msgspec.Struct, frozen=True, tag_field="type", tag="stale"):
    """What is shown may be old, because parts stopped; empty when all is well again."""

    age_s: int
    parts: list[StoppedPart]


class PingFrame(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """The server lives; answer with pong. `seq`: all alerts up to here were sent."""

    at: int
    seq: str


class ErrorFrame(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """Why the socket is closed, or which message was not understood."""

    code: str
    message: str


SERVER_TYPES = (Greeting, RoadsFrame, AlertsFrame, FiguresFrame, StaleFrame, PingFrame, ErrorFrame)


def encode(message: msgspec.Struct) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def topic_frame(kind: str, topic: str, seq: str, at: int, body: bytes) -> bytes:
    """A snapshot or delta out of ready JSON: `body` is the list (roads, alerts) or object (figures)."""
    name = {"roads": "checkpoints", "alerts": "alerts", "figures": "figures"}[topic]
    return b'{"type":"%b","topic":"%b","seq":"%b","at":%d,"%b":%b}' % (
        kind.encode(), topic.encode(), seq.encode(), at, name.encode(), body,
    )  # fmt: skip


def json_list(items: list[bytes]) -> bytes:
    """A JSON list out of ready items."""
    return b"[" + b",".join(items) + b"]"


def prepared(text: bytes) -> bytes:
    """The bytes of one unmasked text frame (RFC 6455, 5.2): the same for every client, so made once."""
    size = len(text)
    if size < 126:
        head = bytes((0x81, size))
    elif size < 65_536:
        head = b"\x81\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + size.to_bytes(8, "big")
    return head + text
