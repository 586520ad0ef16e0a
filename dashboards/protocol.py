"""The messages of the live view, both ways, and the bytes of a frame. Pure; AsyncAPI is made from these types."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from traffic.errors import TrafficError

MESSAGE_BYTES_MAX = 64 * 1024
TOPICS = ("roads", "alerts", "figures", "links", "events", "units")
ACK_IDS_MAX = 500

CLOSE_PROTOCOL, CLOSE_TICKET, CLOSE_SESSION, CLOSE_OVERFLOW, CLOSE_GOING = 4400, 4401, 4403, 1013, 1001

Topic = Literal["roads", "alerts", "figures", "links", "events", "units"]
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
    """The map moved: roads, links and units are told of this part from now on."""

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
    """Answer to a good ticket. The epoch names the instance: a cursor of another one is of no use here.

    `purpose`: a replay or a drill is not the live picture, and screens say so; `rate`: how fast its time runs.
    """

    epoch: str
    user: User
    tick_ms: int
    purpose: Literal["live", "replay", "drill"] = "live"
    rate: float = 1.0


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


class IndexFigures(msgspec.Struct, frozen=True):
    """Congestion index 0..10 of an area beside what is usual at this hour. `risk_links`: links at risk level 1..4."""

    index: float | None
    usual: float | None
    speed_kmh: float | None
    congested_km: float
    known_share: float
    vehicle_km_h: float | None
    risk_links: tuple[int, int, int, int]
    at: int


class EventsOpen(msgspec.Struct, frozen=True):
    """Open events by kind."""

    congestion: int = 0
    incident: int = 0
    weather: int = 0
    works: int = 0
    sensor: int = 0


class CrewCount(msgspec.Struct, frozen=True):
    """Crews of the area, and how many of them told their position within the last 5 minutes."""

    fresh: int
    total: int


class Figures(msgspec.Struct, frozen=True):
    """Sums over the viewer's area. `checkpoints_live`: of which there is word; `lag_s`: age of its newest passage.

    `index` is that of the viewer's unit (of the corps: of the province); null when no cycle told it of late. Of today's
    alerts `alerts_shelved` are put aside and `alerts_open` wait for a person to compare picture and plate.
    """

    passages_per_minute: int | None
    checkpoints_live: int
    checkpoints_total: int
    alerts_today: int
    alerts_by_level: dict[str, int]
    lag_s: int | None
    index: IndexFigures | None
    events_open: EventsOpen
    crews: CrewCount
    alerts_shelved: int = 0
    alerts_open: int = 0


class LinkRow(msgspec.Struct, frozen=True, array_like=True):
    """A link's state as a list. Level 0 unknown, 1 free .. 5 blocked; with 0 all values are null and the risk is 0.

    Risk 0 unknown, 1 low .. 4 grave, now and within the next hour. `observed_us`: newest data that it rests on.
    """

    link: int
    level: int
    speed_kmh: float | None
    flow_vph: float | None
    density_vkm: float | None
    travel_s: float | None
    travel_p90_s: float | None
    confidence: float
    observed_us: int | None
    risk_level: int
    risk_next_level: int


class CrewRow(msgspec.Struct, frozen=True, array_like=True):
    """A crew's newest position as a list; road, stake and direction are null off the known roads."""

    crew: int
    observed_us: int
    lon: float
    lat: float
    speed_kmh: float | None
    bearing_deg: float | None
    road: int | None
    stake_m: int | None
    direction: int | None


class VehicleRow(msgspec.Struct, frozen=True, array_like=True):
    """A key vehicle's newest position as a list. Plates are personal data: they reach the place's units alone."""

    plate: str
    class_group: int
    kind: str
    observed_us: int
    lon: float
    lat: float
    speed_kmh: float | None
    bearing_deg: float | None
    road: int | None
    stake_m: int | None


class EventCard(msgspec.Struct, frozen=True):
    """Something that is wrong on a road, as it stands. Level 1 is the gravest; the head is the downstream end."""

    id: str
    kind: Literal["congestion", "incident", "weather", "works", "sensor"]
    state: Literal["open", "ended"]
    level: int
    revision: int
    link: int | None
    road: int
    direction: int
    head_stake_m: int
    tail_stake_m: int
    unit: int
    started_at: int
    changed_at: int
    ended_at: int | None
    observed_at: int
    confidence: float
    change: str
    grounds: dict[str, Any]


class GoneUnits(msgspec.Struct, frozen=True):
    """Who is no longer to be shown here: out of the viewer's reach or viewport, or not heard of for too long."""

    crews: list[int] = []
    vehicles: list[tuple[str, int]] = []  # plate, class group


class RoadsFrame(msgspec.Struct, frozen=True):
    """Snapshot: all checkpoints of the view; delta: those that changed, each whole."""

    type: Literal["snapshot", "delta"]
    topic: Literal["roads"]
    seq: str
    at: int
    checkpoints: list[CheckpointFlow]


class AlertsFrame(msgspec.Struct, frozen=True):
    """Snapshot: the newest 200, newest first; delta: what came, in the feed's order. Cards as in GET /api/findings.

    What a person did to an alert is a revision of its card like any other: `change` verified, shelved or unshelved.
    """

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


class LinksFrame(msgspec.Struct, frozen=True):
    """Snapshot: all links of the view; delta: those that changed, each whole. `cycle_at`: the newest cycle known."""

    type: Literal["snapshot", "delta"]
    topic: Literal["links"]
    seq: str
    at: int
    cycle_at: int | None
    links: list[LinkRow]


class EventsFrame(msgspec.Struct, frozen=True):
    """Snapshot: all open events and those that ended within 30 minutes, gravest first, then newest first.

    Delta: the cards that changed, and in `gone` ids of those that left the viewer's reach. A screen lets go of an
    ended event 30 minutes after its end by itself.
    """

    type: Literal["snapshot", "delta"]
    topic: Literal["events"]
    seq: str
    at: int
    events: list[EventCard]
    gone: list[str] = []


class UnitsFrame(msgspec.Struct, frozen=True):
    """Snapshot: newest positions of crews and key vehicles of the view; delta: those that moved, and who is gone."""

    type: Literal["snapshot", "delta"]
    topic: Literal["units"]
    seq: str
    at: int
    crews: list[CrewRow]
    vehicles: list[VehicleRow]
    gone: GoneUnits = GoneUnits()


class StoppedPart(msgspec.Struct, frozen=True):
    """A part that stopped, and since when (microseconds)."""

    part: Literal["worker", "monitor", "doors", "database", "bus"]
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


SERVER_TYPES = (
    Greeting, RoadsFrame, AlertsFrame, FiguresFrame, LinksFrame, EventsFrame, UnitsFrame, StaleFrame, PingFrame,
    ErrorFrame,
)  # fmt: skip


def encode(message: msgspec.Struct) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def topic_frame(kind: str, topic: str, seq: str, at: int, fields: bytes) -> bytes:
    """A snapshot or delta out of ready JSON: `fields` are those of its topic, as they stand in an object."""
    return b'{"type":"%b","topic":"%b","seq":"%b","at":%d,%b}' % (
        kind.encode(), topic.encode(), seq.encode(), at, fields,
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
