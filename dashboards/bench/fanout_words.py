"""What the processes of bench fanout say to each other: one JSON object a line."""

import resource
from typing import Literal

import msgspec

Method = Literal["ours", "ours, a tick in one write", "broadcast", "broadcast, a tick in one message"]


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """All clients are there."""


class Flood(msgspec.Struct, frozen=True, tag="flood"):
    """Send as fast as it is taken; `batch`: deltas of a tick."""

    method: Method
    seconds: float
    batch: int


class Live(msgspec.Struct, frozen=True, tag="live"):
    """Run the live view on a feed with a change each `every_s`, and then until everyone was told everything."""

    seconds: float
    every_s: float


Command = Begin | Flood | Live


class Answer(msgspec.Struct, frozen=True):
    """What the server measured. `per_s`: deltas given out, over all clients; `cpu_us` of the server for one of them.

    Of a live run `cpu_us` is of a change for all clients, `busy` the share of one core.
    """

    clients: int
    per_s: float = 0.0
    cpu_us: float = 0.0
    bytes_each: int = 0
    alerts: tuple[int, int] = (0, 0)  # first and last
    busy: float = 0.0
    last_observed_us: int = 0


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Note delays until all is quiet; `slow`: a tenth of the clients does not read for the first seconds."""

    slow: bool
    slow_s: float


class Seen(msgspec.Struct, frozen=True):
    """What the clients saw. `holes`: clients to which an alert of those that they were told was missing between."""

    p50_ms: float
    p99_ms: float
    delays: int
    slow: int
    slow_holes: int  # slow clients that were not told each alert once and in order
    slow_behind: int  # slow clients that do not show the newest state
    slow_frames: float  # frames of links that a slow client was told, on average
    fast_frames: float
    fast_holes: int
    closed: int


def raise_files_max() -> None:
    """As many open files as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
