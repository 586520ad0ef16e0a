"""The one clock. Domain time comes from here and nowhere else; leases alone use the database's real time.

An instance shares one offset and rate (settings), so that a drill or a replay runs at any speed:
domain = origin + (real - origin) * rate + offset.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from traffic.zone import SHANGHAI as SHANGHAI


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Domain clock. `rate` 1.0 and `offset_s` 0.0 are real time; `origin_us` is where the rate begins to count."""

    rate: float = 1.0
    offset_s: float = 0.0
    origin_us: int = 0

    def now_us(self) -> int:
        """Domain time in microseconds since 1970-01-01 UTC."""
        real = time.time_ns() // 1000
        return int(self.origin_us + (real - self.origin_us) * self.rate + self.offset_s * 1e6)

    def now(self) -> datetime:
        """Domain time as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.now_us() / 1e6, UTC)


def monotonic_s() -> float:
    """Real seconds for intervals and time-outs (never for domain times)."""
    return time.monotonic()
