"""Congestion events along the network: where a queue begins, how far it reaches, what it spills into, when it ends.

Links in congestion that follow each other on one road and direction are one event; it keeps its identity while it
grows, moves, is split or swallows another. A queue that stands back over a junction into another road is an event of
that road, and each names the other. An event whose links have been unknown for too long is closed as not known any
more, which is not the same as cleared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from traffic.roads.episodes import event_id
from traffic.roads.jams import DEFAULTS, EVENT, CongestionRule, Memory, Pieces, debounce, from_parameters, pieces_of
from traffic.roads.model import EventKind, Level, Picture, RoadEvent, RoadNetwork, Sensors, Window
from traffic.roads.queue_ends import Ends, QueueBounds, readings_of

__all__ = ["DEFAULTS", "CongestionRule", "Memory", "follow", "from_parameters"]

NAMED_MAX = 50  # links, and places of spill-back, in grounds; all are counted
CONFIDENCE_MOVED = 0.2  # how far it must have moved to be told


def follow(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    sensors: Sensors,
    window: Window,
    picture: Picture,
    memory: Memory,
    rules: CongestionRule,
    *,
    now_us: int,
) -> list[RoadEvent]:
    """Events that are new, changed or ended in this cycle."""
    debounce(picture, memory, rules, now_us)
    pieces = pieces_of(network, memory, rules, now_us)
    bounds = QueueBounds(
        trust_min=rules.trust_min, speed_share=rules.queue_speed_share, bridge_m_max=rules.bridge_m_max
    )
    readings = readings_of(network, sensors, window, memory.graph.neighbours, bounds=bounds)
    head, tail = readings.ends(pieces.head, downstream=True), readings.ends(pieces.tail, downstream=False)
    pieces.length_m = pieces.length_m + head.longer_m + tail.longer_m
    fate = _match(network, pieces, memory, rules)
    ended = _ended(network, memory, fate, now_us)
    before = memory.events
    _carry_over(network, pieces, memory, fate, now_us)
    scene = Scene(
        network=network, sensors=sensors, pieces=pieces, memory=memory, before=before, fate=fate,
        head=head, tail=tail, spills=_spills(memory), now_us=now_us,
    )  # fmt: skip
    told = _settle(scene, rules)
    return ended + [_event(scene, slot) for slot in np.flatnonzero(told).tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Which piece each event of the last cycle has become, and which event each piece goes on as; -1: none.

    `piece`: of each new slot. `cousin`: of each piece the event that it was torn off from.
    """

    choice: np.ndarray
    owner: np.ndarray
    cousin: np.ndarray
    piece: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Spills:
    """Links (`link`) of event `into` that lie behind event `of`, across a junction, and came into congestion later."""

    of: np.ndarray
    into: np.ndarray
    link: np.ndarray
    fingerprint: np.ndarray  # of each slot


def _match(network: RoadNetwork, pieces: Pieces, memory: Memory, rules: CongestionRule) -> Fate:
    """An event goes on as the piece with most of its length; of several that become one, the oldest goes on."""
    many, pieces_many = len(memory.events), len(pieces)
    slot = memory.event[pieces.link]
    held = slot >= 0
    keys, place = np.unique(slot[held] * max(1, pieces_many) + pieces.piece[held], return_inverse=True)
    overlap_m = np.bincount(place, weights=network.length_m[pieces.link[held]], minlength=len(keys))
    of_slot, of_piece = keys // max(1, pieces_many), keys % max(1, pieces_many)
    choice, owner, cousin = (np.full(size, -1, np.int64) for size in (many, pieces_many, pieces_many))
    order = np.lexsort((-of_piece, overlap_m, of_slot))  # the last of each slot wins
    choice[of_slot[order]] = of_piece[order]
    order = np.lexsort((-of_slot, overlap_m, of_piece))
    cousin[of_piece[order]] = of_slot[order]
    goes_on = np.flatnonzero(choice >= 0)
    order = goes_on[np.lexsort((-goes_on, -memory.events["started_us"][goes_on]))]  # the oldest comes last
    owner[choice[order]] = order
    is_event = (owner >= 0) | (pieces.length_m >= rules.length_m_min)
    return Fate(choice=choice, owner=owner, cousin=cousin, piece=np.flatnonzero(is_event))


def _ended(network: RoadNetwork, memory: Memory, fate: Fate, now_us: int) -> list[RoadEvent]:
    """Events that go on as no piece: cleared, not known any more, or swallowed by an older one."""
    alone = np.flatnonzero(fate.choice < 0)
    goes_on = np.flatnonzero(fate.choice >= 0)
    merged = goes_on[fate.owner[fate.choice[goes_on]] != goes_on]
    left = np.flatnonzero((memory.event >= 0) & ~memory.on)
    lapsed = memory.known_us[left] < now_us
    until = np.zeros(len(memory.events), np.int64)
    np.maximum.at(until, memory.event[left], np.where(lapsed, memory.known_us[left], memory.run_us[left]))
    unknown = np.zeros(len(memory.events), bool)
    unknown[memory.event[left[lapsed]]] = True
    said = [
        _end(network, memory.events[slot], int(until[slot]), {"end": "unknown" if unknown[slot] else "cleared"}, now_us)
        for slot in alone
    ]
    for slot in merged:
        heir = memory.events[fate.owner[fate.choice[slot]]]
        said.append(
            _end(network, memory.events[slot], now_us, {"end": "merged", "merged_into": str(_id(heir))}, now_us)
        )
    return said


def _end(network: RoadNetwork, row: np.void, ended_us: int, grounds: dict[str, Any], now_us: int) -> RoadEvent:
    grounds |= {"length_m": round(float(row["length_m"]))}
    ended_us = max(ended_us, int(row["started_us"]))
    return _card(network, row, grounds, change="ended", ended_us=ended_us, now_us=now_us)


def _carry_over(network: RoadNetwork, pieces: Pieces, memory: Memory, fate: Fate, now_us: int) -> None:
    """Rows of the events that there are now; what they last told stays in those that go on."""
    owner = fate.owner[fate.piece]
    rows = np.zeros(len(owner), EVENT)
    old = owner >= 0
    rows[old] = memory.events[owner[old]]
    fresh = fate.piece[~old]
    rows["declared_us"][~old] = now_us
    rows["link"][~old] = network.ids[pieces.head[fresh]]
    rows["started_us"][~old] = pieces.started_us[fresh]
    rows["head"] = pieces.head[fate.piece]
    rows["observed_us"] = np.maximum(rows["observed_us"], pieces.observed_us[fate.piece])
    slot_of_piece = np.full(len(pieces), -1, np.int64)
    slot_of_piece[fate.piece] = np.arange(len(fate.piece))
    memory.event[:] = -1
    memory.event[pieces.link] = slot_of_piece[pieces.piece]
    memory.events = rows


def _spills(memory: Memory) -> Spills:
    """Where the queue of one road stands back over a junction into another."""
    into, of = memory.graph.across
    there = np.flatnonzero(memory.on[into] & memory.on[of])
    into, of = into[there], of[there]
    behind, front = memory.event[into], memory.event[of]
    with_event = (behind >= 0) & (front >= 0)
    into, behind, front = into[with_event], behind[with_event], front[with_event]
    later = memory.since_us[into] > memory.events["started_us"][front]
    into, behind, front = into[later], behind[later], front[later]
    fingerprint = np.zeros(len(memory.events), np.int64)
    mixed = (into + 1) * 0x9E3779B1
    np.bitwise_xor.at(fingerprint, front, mixed)
    np.bitwise_xor.at(fingerprint, behind, ~mixed)
    return Spills(of=front, into=behind, link=into, fingerprint=fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the telling of one cycle rests on; `before`: rows of the events of the last cycle."""

    network: RoadNetwork
    sensors: Sensors
    pieces: Pieces
    memory: Memory
    before: np.ndarray
    fate: Fate
    head: Ends
    tail: Ends
    spills: Spills
    now_us: int


def _settle(scene: Scene, rules: CongestionRule) -> np.ndarray:
    """Which events are told now (new ones, and those that changed enough); their rows take what is told."""
    pieces, rows, piece = scene.pieces, scene.memory.events, scene.fate.piece
    now = _level(pieces, rows, piece, rules, scene.now_us)
    fresh = rows["revision"] == 0
    rows["easing"] = np.where(now > rows["level"], rows["easing"] + 1, 0)
    other_level = fresh | (now < rows["level"]) | (rows["easing"] >= rules.ease_cycles)
    head_m, tail_m = scene.head.stake_m[piece], scene.tail.stake_m[piece]
    told = (
        other_level
        | (abs(head_m - rows["head_m"]) >= rules.moved_m_min)
        | (abs(tail_m - rows["tail_m"]) >= rules.moved_m_min)
        | (abs(pieces.confidence[piece] - rows["confidence"]) >= CONFIDENCE_MOVED)
        | (scene.spills.fingerprint != rows["spill"])
    )
    rows["level"] = np.where(other_level, now, rows["level"])
    rows["easing"][other_level] = 0
    rows["revision"] += told
    for name, value in (
        ("changed_us", np.int64(scene.now_us)), ("head_m", head_m), ("tail_m", tail_m),
        ("confidence", pieces.confidence[piece]), ("spill", scene.spills.fingerprint),
    ):  # fmt: skip
        rows[name] = np.where(told, value, rows[name])
    return told


def _level(pieces: Pieces, rows: np.ndarray, piece: np.ndarray, rules: CongestionRule, now_us: int) -> np.ndarray:
    """1 gravest .. 4: from the worst link's level, and one graver each when long and when lasting."""
    points = pieces.worst[piece].astype(np.int64) - Level.LIGHT
    points += pieces.length_m[piece] >= rules.long_m
    points += now_us - rows["started_us"] >= rules.lasting_s * 1_000_000
    return 5 - np.clip(points, 1, 4)


def _id(row: np.void) -> UUID:
    return event_id(EventKind.CONGESTION, int(row["link"]), int(row["declared_us"]))


def _event(scene: Scene, slot: int) -> RoadEvent:
    row, piece = scene.memory.events[slot], int(scene.fate.piece[slot])
    grounds = _grounds(scene, piece, row)
    for name, end in (("head", scene.head), ("tail", scene.tail)):
        slow, free = int(end.slow[piece]), int(end.free[piece])
        if slow >= 0:
            sensor = scene.sensors.id
            grounds[name] = {"between_sensors": {"slow": int(sensor[slow]), "free": int(sensor[free])}}
        else:
            grounds[name] = {"border_of_link": True}
    cousin = int(scene.fate.cousin[piece])
    fresh = row["revision"] == 1
    if fresh and cousin >= 0:
        grounds["split_from"] = str(_id(scene.before[cousin]))
    grounds |= _spill_grounds(scene, slot)
    row["length_m"] = scene.pieces.length_m[piece]
    return _card(scene.network, row, grounds, change="new" if fresh else "updated", now_us=scene.now_us)


def _grounds(scene: Scene, piece: int, row: np.void) -> dict[str, Any]:
    pieces, memory = scene.pieces, scene.memory
    end = pieces.start[piece + 1] if piece + 1 < len(pieces) else len(pieces.link)
    links = pieces.link[pieces.start[piece] : end]
    unknown = memory.known_us[links] < scene.now_us
    grown_m = float(pieces.length_m[piece] - row["length_m"]) if row["revision"] > 1 else 0.0
    grounds: dict[str, Any] = {
        "worst_level": int(pieces.worst[piece]),
        "length_m": round(float(pieces.length_m[piece])),
        "grown_m": round(grown_m),
        "links": scene.network.ids[links[:NAMED_MAX]].tolist(),
        "links_many": len(links),
        "unknown_links": int(unknown.sum()),
    }
    if unknown.any():
        grounds["unknown_s"] = round((scene.now_us - int(memory.known_us[links[unknown]].min())) / 1e6)
    return grounds


def _spill_grounds(scene: Scene, slot: int) -> dict[str, Any]:
    network, events, spills = scene.network, scene.memory.events, scene.spills
    grounds: dict[str, Any] = {}
    mine = np.flatnonzero(spills.of == slot)
    if len(mine):
        grounds["spill_back"] = [
            {
                "road": int(network.road[link]),
                "direction": int(network.direction[link]),
                "link": int(network.ids[link]),
                "event": str(_id(events[into])),
            }
            for link, into in zip(spills.link[mine[:NAMED_MAX]], spills.into[mine[:NAMED_MAX]], strict=True)
        ]
    causes = sorted({int(front) for front in spills.of[spills.into == slot]})
    if causes:
        grounds["spilled_from"] = [str(_id(events[front])) for front in causes[:NAMED_MAX]]
    return grounds


def _card(
    network: RoadNetwork,
    row: np.void,
    grounds: Mapping[str, Any],
    *,
    change: str,
    now_us: int,
    ended_us: int | None = None,
) -> RoadEvent:
    head = int(row["head"])
    return RoadEvent(
        id=_id(row),
        kind=EventKind.CONGESTION,
        change=change,
        state="open" if ended_us is None else "ended",
        level=int(row["level"]),
        revision=int(row["revision"]) + (ended_us is not None),
        link=int(network.ids[head]),
        road=int(network.road[head]),
        direction=int(network.direction[head]),
        head_stake_m=int(row["head_m"]),
        tail_stake_m=int(row["tail_m"]),
        unit=int(network.unit[head]),
        started_us=int(row["started_us"]),
        changed_us=now_us,
        ended_us=ended_us,
        observed_us=int(row["observed_us"]),
        confidence=round(float(row["confidence"]), 3),
        grounds=grounds,
    )
