"""What a hub must know beside the feed: where checkpoints lie, who may see their traffic, which senders cover them."""

from dataclasses import dataclass

from traffic.audience import Audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A checkpoint as the hub needs it. `audience`: who may see its traffic (owner, corridor, and all above them)."""

    id: int
    lon: float
    lat: float
    audience: Audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`covered`: sender with a keepalive -> the checkpoints that it speaks for (those of its unit's subtree).

    A sender without a keepalive (native) is not among them: its silence about a checkpoint tells nothing.
    """

    gates: tuple[Gate, ...]
    covered: dict[int, frozenset[int]]
    network_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOfLife:
    """The last word of a sender. `seen_at`: microseconds."""

    device: int
    state: str
    seen_at: int
