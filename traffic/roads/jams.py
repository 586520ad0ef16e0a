"""Which links are in congestion, and the connected pieces that they make on one road and direction.

A link is in congestion from its level for some cycles on end, and out of it likewise (hysteresis in time, so that a
platoon or one bad interval neither begins nor ends anything). A link of unknown state keeps what it was and makes its
piece less certain with time; after `unknown_s_max` it counts no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from traffic.roads.episodes import faded, pack, unpack
from traffic.roads.model import Level, Picture, RoadNetwork, Sensors
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.roads.queue_ends import Neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionRule:
    """Parameters of rule `congestion`. Cycles are of 30 s; numbers are practice, not norm."""

    enter_level: int = bounded(3, 2, 5)  # a link of this level or worse is in congestion
    enter_cycles: int = bounded(4, 1, 60)
    exit_cycles: int = bounded(6, 1, 120)
    ease_cycles: int = bounded(4, 1, 60)  # before an event is called less grave
    length_m_min: float = bounded(100.0, 0.0, 10_000.0)  # a shorter queue begins no event
    moved_m_min: float = bounded(200.0, 10.0, 10_000.0)  # head or tail, before it is told again
    queue_speed_share: float = bounded(0.5, 0.1, 0.9)  # of the limit: slower sensors stand in the queue
    bridge_m_max: float = bounded(3_000.0, 0.0, 20_000.0)  # between two sensors farther apart nothing is interpolated
    trust_min: float = bounded(0.5, 0.0, 1.0)  # of a sensor that tells head or tail
    confidence_half_s: float = bounded(300.0, 30.0, 7_200.0)  # of a link that has become unknown
    unknown_s_max: int = bounded(1_800, 120, 86_400)  # after it a link counts no more
    long_m: float = bounded(3_000.0, 100.0, 100_000.0)  # a longer queue is one level graver
    lasting_s: int = bounded(3_600, 60, 86_400)  # so is one that lasts longer


DEFAULTS: dict[str, Any] = defaults_of(CongestionRule)
UNKNOWN_GAP_S = 120  # good or bad cycles on both sides of a longer gap are not added up


def from_parameters(parameters: Mapping[str, Any]) -> CongestionRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("congestion", CongestionRule, parameters)


# Event columns; the order of an event's row is its slot, which `Memory.event` of each link points to.
EVENT = np.dtype(
    [
        ("declared_us", "<i8"),  # with `link` the anchor
        ("link", "<i8"),  # id of the link at its head when it was declared
        ("started_us", "<i8"),
        ("changed_us", "<i8"),
        ("observed_us", "<i8"),
        ("revision", "<i4"),
        ("level", "<i2"),
        ("easing", "<i2"),  # cycles since which it would be less grave
        ("head", "<i8"),  # row of its head link
        ("head_m", "<f8"),  # stakes and length as last told
        ("tail_m", "<f8"),
        ("length_m", "<f8"),
        ("confidence", "<f8"),
        ("spill", "<i8"),  # fingerprint of the links it spills into
    ]
)


_COLUMNS = ("on", "run", "run_us", "since_us", "known_us", "observed_us", "level", "confidence", "event")


@dataclass(slots=True, kw_only=True)
class Memory:
    """What is remembered of each link (rows of the network) and of each open event."""

    on: np.ndarray  # bool: in congestion, debounced
    run: np.ndarray  # int32: cycles on end that speak against `on`
    run_us: np.ndarray  # int64: when they began
    since_us: np.ndarray  # int64: begin of its congestion
    known_us: np.ndarray  # int64: cycle at which its state was last known
    observed_us: np.ndarray  # int64: newest data then
    level: np.ndarray  # int8: level then
    confidence: np.ndarray  # float64: then
    event: np.ndarray  # int64: slot; -1: none
    events: np.ndarray  # EVENT
    graph: "Graph"

    @classmethod
    def new(cls, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """Nothing known yet."""
        many = len(network)
        return cls(
            on=np.zeros(many, bool),
            run=np.zeros(many, np.int32),
            run_us=np.zeros(many, np.int64),
            since_us=np.zeros(many, np.int64),
            known_us=np.zeros(many, np.int64),
            observed_us=np.zeros(many, np.int64),
            level=np.zeros(many, np.int8),
            confidence=np.zeros(many),
            event=np.full(many, -1, np.int64),
            events=np.empty(0, EVENT),
            graph=Graph.of(network),
        )

    def __deepcopy__(self, memo: Any) -> "Memory":
        """A copy to go on from; what belongs to the network is shared."""
        columns = {name: getattr(self, name).copy() for name in _COLUMNS}
        return Memory(**columns, events=self.events.copy(), graph=self.graph)

    def dump(self) -> Any:
        """Values for msgpack."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return {"links": pack(columns), "events": self.events.tobytes()}

    @classmethod
    def load(cls, data: Any, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """What `dump` gave, for the same network; raises ValueError where it is of another."""
        columns = unpack(data["links"])
        if any(len(columns[name]) != len(network) for name in _COLUMNS):
            raise ValueError("congestion was remembered for another network")
        return cls(**columns, events=np.frombuffer(data["events"], EVENT).copy(), graph=Graph.of(network))


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Pairs of rows that follow each other: on one road and direction, and from another road into this one."""

    along: tuple[np.ndarray, np.ndarray]
    across: tuple[np.ndarray, np.ndarray]
    neighbours: Neighbours

    @classmethod
    def of(cls, network: RoadNetwork) -> "Graph":
        """Worked out once for a network."""
        before = np.repeat(np.arange(len(network)), np.diff(network.next_start))
        after = network.next_rows
        same = (network.road[before] == network.road[after]) & (network.direction[before] == network.direction[after])
        along, across = (before[same], after[same]), (before[~same], after[~same])
        return cls(
            along=along,
            across=across,
            neighbours=Neighbours(
                before=_alone(along[1], along[0], len(network)), after=_alone(along[0], along[1], len(network))
            ),
        )


def _alone(key: np.ndarray, value: np.ndarray, many: int) -> np.ndarray:
    """The value of each key that has exactly one; else -1."""
    found = np.full(many, -1, np.int64)
    found[key] = value
    found[np.bincount(key, minlength=many) != 1] = -1
    return found


@dataclass(slots=True, kw_only=True)
class Pieces:
    """Connected pieces of congestion in this cycle: links in order of piece, and what each piece adds up to."""

    link: np.ndarray  # rows, sorted by piece
    piece: np.ndarray
    start: np.ndarray  # of each piece in `link`
    head: np.ndarray  # row
    tail: np.ndarray  # row
    length_m: np.ndarray
    worst: np.ndarray
    confidence: np.ndarray
    started_us: np.ndarray
    observed_us: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def debounce(picture: Picture, memory: Memory, rules: CongestionRule, now_us: int) -> None:
    """Which links are in congestion now."""
    known = picture.level != Level.UNKNOWN
    against = known & ((picture.level >= rules.enter_level) != memory.on)
    gap_s = (now_us - memory.known_us) / 1e6
    memory.run[known & ~against | (gap_s > UNKNOWN_GAP_S)] = 0
    memory.run_us[against & (memory.run == 0)] = now_us
    memory.run[against] += 1
    turned_on = against & ~memory.on & (memory.run >= rules.enter_cycles)
    turned_off = against & memory.on & (memory.run >= rules.exit_cycles)
    lapsed = memory.on & ~known & (gap_s > rules.unknown_s_max)
    memory.since_us[turned_on] = memory.run_us[turned_on]
    memory.on[turned_on] = True
    memory.on[turned_off | lapsed] = False
    memory.run[turned_on | turned_off | lapsed] = 0
    memory.known_us[known] = now_us
    for kept, told in (
        (memory.level, picture.level),
        (memory.confidence, picture.confidence),
        (memory.observed_us, picture.observed_us),
    ):
        kept[known] = told[known]


def pieces_of(network: RoadNetwork, memory: Memory, rules: CongestionRule, now_us: int) -> Pieces:
    """Connected pieces along one road and direction, and what each adds up to."""
    on = np.flatnonzero(memory.on)
    place = np.full(len(network), -1, np.int64)
    place[on] = np.arange(len(on))
    before, after = memory.graph.along
    joined = memory.on[before] & memory.on[after]
    pairs = place[before[joined]], place[after[joined]]
    graph = coo_array((np.ones(len(pairs[0]), np.int8), pairs), shape=(len(on), len(on)))
    many, piece = connected_components(graph, directed=False) if len(on) else (0, np.empty(0, np.int32))
    order = np.argsort(piece, kind="stable")
    link, piece = on[order], piece[order].astype(np.int64)
    start = np.searchsorted(piece, np.arange(many))
    age_s = (now_us - memory.known_us[link]) / 1e6
    length_m = network.length_m[link]
    certain = faded(memory.confidence[link], age_s, rules.confidence_half_s)
    total_m = _add(length_m, start)
    open_end = np.zeros((2, len(on)), bool)
    open_end[0, pairs[0]] = True  # something of the piece follows
    open_end[1, pairs[1]] = True
    return Pieces(
        link=link,
        piece=piece,
        start=start,
        head=_outer(network, link, piece, open_end[0][order], last=True),
        tail=_outer(network, link, piece, open_end[1][order], last=False),
        length_m=total_m,
        worst=np.maximum.reduceat(memory.level[link], start) if many else np.empty(0, np.int8),
        confidence=_add(certain * length_m, start) / total_m,
        started_us=np.minimum.reduceat(memory.since_us[link], start) if many else np.empty(0, np.int64),
        observed_us=np.maximum.reduceat(memory.observed_us[link], start) if many else np.empty(0, np.int64),
    )


def _add(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, start) if len(start) else np.empty(0)


def _outer(network: RoadNetwork, link: np.ndarray, piece: np.ndarray, goes_on: np.ndarray, *, last: bool) -> np.ndarray:
    """The outermost link of each piece: one behind which nothing of it follows; of several the farthest by stake.

    A ring that is full has no such link: there too the farthest by stake.
    """
    sign = np.where(network.direction[link] == 1, 1, -1)
    progress = (network.to_stake_m[link] if last else network.from_stake_m[link]) * sign
    order = np.lexsort((link, progress if last else -progress, ~goes_on, piece))
    ends = np.searchsorted(piece[order], np.arange(piece[-1] + 1 if len(piece) else 0), "right") - 1
    return link[order[ends]]
