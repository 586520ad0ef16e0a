"""What the API's handlers work with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis.asyncio

from dashboards.metrics import Metrics
from dashboards.reach import Reach
from dispatch.people import Passwords
from traffic.settings import Settings
from traffic.stream import BusWriter

if TYPE_CHECKING:
    from dashboards.feed_reader import FeedReader
    from dashboards.monitor import Monitor
    from dashboards.sockets import LiveView


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """One for each API process."""

    settings: Settings
    reach: Reach
    redis: redis.asyncio.Redis
    bus: BusWriter
    passwords: Passwords
    reader: "FeedReader"
    live: "LiveView"
    monitor: "Monitor"
    metrics: Metrics
