"""What a hub must know beside the feed: where checkpoints and links lie, who may see their traffic, which senders
cover them, which crews there are; and what it begins with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dashboards.alerts import Counted
from dashboards.protocol import CrewRow, IndexFigures, LinkRow, VehicleRow
from dashboards.tiles import Tile
from traffic.audience import Audience
from traffic.feed import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A checkpoint as the hub needs it. `audience`: who may see its traffic (owner, corridor, and all above them)."""

    id: int
    lon: float
    lat: float
    audience: Audience


class LinkPlace(NamedTuple):
    """A link as the hub needs it (a tuple: there are many). `audience` as a checkpoint's; `tiles`: all it touches."""

    id: int
    audience: Audience
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`covered`: sender with a keepalive -> the checkpoints that it speaks for (those of its unit's subtree).

    A sender without a keepalive (native) is not among them: its silence about a checkpoint tells nothing.
    `crews`: crew -> who may see where it is; `above`: unit -> itself and all above it.
    """

    gates: tuple[Gate, ...]
    covered: dict[int, frozenset[int]]
    network_version: int = 0
    links: tuple[LinkPlace, ...] = ()
    crews: Mapping[int, Audience] = field(default_factory=dict)
    above: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def below(self, unit: int) -> list[int]:
        """A unit and all below it: what belongs to one of these is the unit's business."""
        return sorted(member for member, line in self.above.items() if unit in line)

    def is_top(self, unit: int) -> bool:
        """Whether nobody stands above this unit."""
        return self.above.get(unit) == {unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOfLife:
    """The last word of a sender. `seen_at`: microseconds."""

    device: int
    state: str
    seen_at: int


class ToldEvent(NamedTuple):
    """An event's card as JSON, with who may see it."""

    audience: Audience
    card: bytes


class ToldPosition(NamedTuple):
    """A newest position, with who may see it."""

    audience: Audience
    row: CrewRow | VehicleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a hub begins with, read at one moment together with its cursor."""

    facts: Facts
    cursor: Cursor
    flow: Sequence[tuple[int, int, int, int, int, float]]  # increments, see flow.py
    signs: Sequence[SignOfLife]
    findings: Sequence[Counted]  # of today
    cycle_us: int | None = None  # the newest cycle of the roads; null: there was none
    links: Sequence[LinkRow] = ()
    events: Sequence[ToldEvent] = ()  # open, or ended within the last half hour
    positions: Sequence[ToldPosition] = ()
    indices: Mapping[tuple[str, int], IndexFigures] = field(default_factory=dict)  # by (scope, its id)
