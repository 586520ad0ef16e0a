"""A hub without services: facts of a small road, feed entries, and what a screen makes of its frames."""

import json
from collections.abc import Sequence
from uuid import UUID

from dashboards.facts import Facts, Gate, SignOfLife
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
FACTS = Facts(gates=GATES, covered={7: frozenset({1, 2}), 8: frozenset({2, 3})})


def start(
    *,
    places: dict[int, int] | None = None,
    flow: Sequence = (),
    signs: Sequence[SignOfLife] = (),
    findings: Sequence = (),
) -> Start:
    """What a hub begins with."""
    cursor = Cursor(epoch=EPOCH, places=places or {0: 0, 1: 0})
    return Start(facts=FACTS, cursor=cursor, flow=flow, signs=signs, findings=findings)


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
    """A finding of a number; `fields`: level, state, at."""
    at = int(str(fields.get("at", NOW_US)))
    card = {
        "id": str(UUID(int=number)), "level": fields.get("level", 2), "state": fields.get("state", "active"),
        "first_at": at, "number": number,
    }  # fmt: skip
    return FeedEntry(
        partition=partition, seq=seq, at=at, topic="alerts", kind="finding", key=card["id"], audience=audience,
        body=json.dumps(card).encode(),
    )  # fmt: skip


class Glass:
    """What a client would know from the frames that reached it."""

    def __init__(self) -> None:
        self.checkpoints: dict[int, dict] = {}
        self.figures: dict = {}
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
            else:
                self.alerts += [card["number"] for card in frame["alerts"]]
        return self
