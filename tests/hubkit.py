"""A hub without services: facts of a small road, feed entries, and what a screen makes of its frames."""

import json
from collections.abc import Sequence
from uuid import UUID

from dashboards.facts import Facts, Gate, LinkPlace, SignOfLife
from dashboards.hub import Hub, Start
from traffic.audience import Audience
from traffic.feed import Cursor, FeedEntry, parse_cursor

EPOCH = "00000000-0000-4000-8000-000000000001"
NOW_US = 1_795_500_000_000_000  # 2026-11-24 04:00 in Beijing, at a whole bucket
S = 1_000_000
CORPS, WEST, EAST = 1, 11, 12
GATES = (
    Gate(id=1, lon=125.1, lat=43.6, audience=Audience(units=frozenset({CORPS, WEST}))),
    Gate(id=2, lon=125.7, lat=43.6, audience=Audience(units=frozenset({CORPS, WEST, EAST}))),
    Gate(id=3, lon=126.3, lat=43.6, audience=Audience(units=frozenset({CORPS, EAST}))),
)
ABOVE = {WEST: frozenset({CORPS, WEST}), EAST: frozenset({CORPS, EAST}), CORPS: frozenset({CORPS})}
LINKS = (  # the second lies between the two, on both their maps
    LinkPlace(1, GATES[0].audience, ((250, 87),)),
    LinkPlace(2, GATES[1].audience, ((250, 87), (251, 87))),
    LinkPlace(3, GATES[2].audience, ((252, 87),)),
)
FACTS = Facts(
    gates=GATES,
    covered={7: frozenset({1, 2}), 8: frozenset({2, 3})},
    links=LINKS,
    crews={7: GATES[0].audience, 8: GATES[0].audience, 9: GATES[2].audience},
    above=ABOVE,
)


def start(
    *,
    places: dict[int, int] | None = None,
    flow: Sequence = (),
    signs: Sequence[SignOfLife] = (),
    findings: Sequence = (),
    **roads: object,
) -> Start:
    """What a hub begins with."""
    cursor = Cursor(epoch=EPOCH, places=places or {0: 0, 1: 0})
    return Start(facts=FACTS, cursor=cursor, flow=flow, signs=signs, findings=findings, **roads)  # type: ignore[arg-type]


def hub(**fields: object) -> Hub:
    """A hub at NOW_US."""
    return Hub(start(**fields), NOW_US)  # type: ignore[arg-type]


def flow_entry(seq: int, increments: Sequence, *, partition: int = 0) -> FeedEntry:
    """A row of increments."""
    return FeedEntry(
        partition=partition, seq=seq, at=NOW_US, topic="roads", kind="flow", key="1",
        audience=Audience(units=frozenset()),
        body=json.dumps({"b": [list(increment) for increment in increments]}).encode(),
    )  # fmt: skip


def device_entry(seq: int, device: int, at: int, state: str = "alive", *, partition: int = 0) -> FeedEntry:
    """A sender's sign of life."""
    body = json.dumps({"device": device, "state": state, "seen_at": at}).encode()
    return FeedEntry(
        partition=partition, seq=seq, at=at, topic="roads", kind="device", key=str(device),
        audience=Audience(units=frozenset()), body=body,
    )  # fmt: skip


def alert_entry(
    seq: int, number: int, audience: Audience, *, partition: int = 0, **fields: object
) -> FeedEntry:  # fmt: skip
    """A finding of a number; `fields`: level, state, at, shelf, needs_verification."""
    at = int(str(fields.get("at", NOW_US)))
    card = {
        "id": str(UUID(int=number)), "level": fields.get("level", 2), "state": fields.get("state", "active"),
        "first_at": at, "number": number, "shelf": fields.get("shelf"),
        "needs_verification": fields.get("needs_verification", False),
    }  # fmt: skip
    return FeedEntry(
        partition=partition, seq=seq, at=at, topic="alerts", kind="finding", key=card["id"], audience=audience,
        body=json.dumps(card).encode(),
    )  # fmt: skip


def entry_of(
    seq: int, topic: str, kind: str, body: dict, audience: Audience | None = None, at: int = NOW_US
) -> FeedEntry:
    """A row of the feed, of the partition of the roads or of a worker."""
    return FeedEntry(
        partition=0, seq=seq, at=at, topic=topic, kind=kind, key="x", audience=audience or Audience(units=frozenset()),
        body=json.dumps(body, ensure_ascii=False).encode(),
    )  # fmt: skip


def link_row(link: int, level: int, observed: int) -> list:
    """A link as a cycle tells it."""
    return [link, level, 70.5, 900, 12.5, 60, 75, 0.85, observed, 2, 3]


def links_entry(seq: int, rows: Sequence[tuple[int, int, int]], *, at: int = NOW_US) -> FeedEntry:
    """What a cycle tells of links: (id, level, newest data)."""
    return entry_of(seq, "roads", "links", {"at": at, "l": [link_row(*row) for row in rows]}, at=at)


def event_entry(seq: int, number: int, audience: Audience, **fields: object) -> FeedEntry:
    """An event of a number; `fields`: kind, state, level, revision, at."""
    at = int(str(fields.get("at", NOW_US)))
    state, revision = fields.get("state", "open"), fields.get("revision", 1)
    card = {
        "id": str(UUID(int=number)), "kind": fields.get("kind", "congestion"), "state": state,
        "level": fields.get("level", 2), "revision": revision, "link": 1, "road": 1, "direction": 1,
        "head_stake_m": 2000, "tail_stake_m": 1000, "unit": WEST, "started_at": at, "changed_at": at,
        "ended_at": at if state == "ended" else None, "observed_at": at, "confidence": 0.9,
        "change": "ended" if state == "ended" else "new" if revision == 1 else "updated", "grounds": {},
        "number": number,
    }  # fmt: skip
    return entry_of(seq, "roads", "event", card, audience, at)


def crew_entry(seq: int, audience: Audience, *places: tuple[int, int, float, float]) -> FeedEntry:
    """Positions of crews: (id, observed, lon, lat)."""
    rows = [[crew, at, lon, lat, 40.5, None, 1, 1500, 1] for crew, at, lon, lat in places]
    return entry_of(seq, "units", "crews", {"p": rows}, audience)


def vehicle_entry(seq: int, audience: Audience, *places: tuple[str, int, float, float]) -> FeedEntry:
    """Positions of key vehicles: (plate, observed, lon, lat)."""
    rows = [[plate, 1, "hazardous_goods", at, lon, lat, 60, 90, None, None] for plate, at, lon, lat in places]
    return entry_of(seq, "units", "vehicles", {"p": rows}, audience)


def index_entry(seq: int, scope: str, number: int, index: float | None, *, at: int = NOW_US) -> FeedEntry:
    """The congestion index of an area."""
    body = {
        "scope": scope, "id": number, "at": at, "index": index, "usual": 2.5, "speed_kmh": 75.5, "congested_km": 1.5,
        "known_share": 0.875, "vehicle_km_h": 1000, "risk_links": [3, 2, 1, 0],
    }  # fmt: skip
    return entry_of(seq, "figures", "index", body, at=at)


class Glass:
    """What a client would know from the frames that reached it."""

    def __init__(self) -> None:
        self.checkpoints: dict[int, dict] = {}
        self.figures: dict = {}
        self.links: dict[int, list] = {}
        self.events: dict[int, dict] = {}  # by number
        self.crews: dict[int, list] = {}
        self.vehicles: dict[tuple, list] = {}
        self.alerts: list[int] = []
        self.snapshots: list[str] = []
        self.cursor: Cursor | None = None

    def take(self, frames: Sequence[bytes]) -> "Glass":
        for text in frames:
            frame = json.loads(text)
            self.cursor = parse_cursor(frame["seq"])
            assert self.cursor is not None
            topic = frame["topic"]
            if frame["type"] == "snapshot":
                self.snapshots.append(topic)
            if topic == "roads":
                if frame["type"] == "snapshot":
                    self.checkpoints = {}
                self.checkpoints |= {item["id"]: item for item in frame["checkpoints"]}
            elif topic == "figures":
                self.figures = frame["figures"]
            elif topic == "links":
                before = {} if frame["type"] == "snapshot" else self.links
                self.links = before | {row[0]: row for row in frame["links"]}
            elif topic == "events":
                self._take_events(frame)
            elif topic == "units":
                self._take_units(frame)
            else:
                self.alerts += [card["number"] for card in frame["alerts"]]
        return self

    def _take_events(self, frame: dict) -> None:
        before = {} if frame["type"] == "snapshot" else self.events
        self.events = before | {card["number"]: card for card in frame["events"]}
        for key in frame["gone"]:
            self.events.pop(UUID(key).int, None)

    def _take_units(self, frame: dict) -> None:
        whole = frame["type"] == "snapshot"
        self.crews = ({} if whole else self.crews) | {row[0]: row for row in frame["crews"]}
        self.vehicles = ({} if whole else self.vehicles) | {tuple(row[:2]): row for row in frame["vehicles"]}
        for crew in frame["gone"]["crews"]:
            self.crews.pop(crew, None)
        for key in frame["gone"]["vehicles"]:
            self.vehicles.pop(tuple(key), None)
