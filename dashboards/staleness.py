"""Which parts have stopped, and since when: what the banner says. Pure: readings and times in, parts out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards.protocol import StaleFrame, StoppedPart
from traffic.health import is_silent
from traffic.limits import CYCLE_S

LEASE_GRACE = timedelta(seconds=2)  # a lease that ran out is taken over at once; only then it is a stop
PROGRESS = timedelta(seconds=15)  # ticks alone move a healthy partition each few seconds
CYCLE_LATE_US = (2 * CYCLE_S + 15) * 1_000_000  # domain time: a cycle that failed may be made up for by the next one
LONG_AGO = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A partition as it stands in the database (real time)."""

    until: datetime
    committed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the house. `ages_s` of what does not answer: seconds since it last did; None: it answers.

    `leases` None: the database does not answer, so nothing is known of workers, monitor and doors. `cycle_age_s`: real
    seconds since the newest 30 s cycle, if it is overdue; None: it is in time, or there was none yet.
    """

    real_now: datetime
    database_age_s: float | None
    bus_age_s: float | None
    leases: Sequence[Lease] | None = None  # of vehicles
    roads: Sequence[Lease] = ()  # of the roads
    cycle_age_s: float | None = None
    doors_seen_at: datetime | None = None
    monitor_seen_at: datetime | None = None


def stopped_for_s(look: Look) -> dict[str, float | None]:
    """Parts that stand still, with the seconds since (None: they were never seen to work)."""
    found: dict[str, float | None] = {}
    if look.database_age_s is not None:
        found["database"] = look.database_age_s
    if look.bus_age_s is not None:
        found["bus"] = look.bus_age_s
    if look.leases is None:
        return found
    found |= _owners("worker", look, look.leases)
    found |= _silent("monitor", look, look.monitor_seen_at) or _owners("monitor", look, look.roads)
    if "monitor" not in found and look.cycle_age_s is not None and look.bus_age_s is None:
        found["monitor"] = look.cycle_age_s
    return found | _silent("doors", look, look.doors_seen_at)


def _owners(part: str, look: Look, leases: Sequence[Lease]) -> dict[str, float | None]:
    """Whether those who own partitions have let one lie."""
    held = [lease for lease in leases if lease.until >= look.real_now - LEASE_GRACE]
    lapsed = [lease for lease in leases if lease not in held]
    if lapsed:
        return {part: _longest(look, [max(lease.until, lease.committed_at or lease.until) for lease in lapsed])}
    if look.bus_age_s is not None:  # without the bus nobody can go on: that is named already
        return {}
    still = [lease.committed_at for lease in held if lease.committed_at and _is_old(look, lease.committed_at)]
    return {part: _longest(look, still)} if still else {}


def _silent(part: str, look: Look, seen_at: datetime | None) -> dict[str, float | None]:
    """Whether a part has stopped to say that it lives."""
    if seen_at is None:
        return {part: None}
    return {part: (look.real_now - seen_at).total_seconds()} if is_silent(seen_at, look.real_now) else {}


def overdue_s(cycle_us: int | None, now_us: int, rate: float) -> float | None:
    """Real seconds since the newest cycle, when the next one should have come long ago; else None."""
    if cycle_us is None:
        return None
    age_us = now_us - cycle_us
    age_s = age_us / 1e6 / rate if rate > 0 else 0.0
    return age_s if age_us > CYCLE_LATE_US and age_s > PROGRESS.total_seconds() else None


def _is_old(look: Look, committed_at: datetime) -> bool:
    return committed_at < look.real_now - PROGRESS


def _longest(look: Look, moments: Sequence[datetime]) -> float | None:
    """Seconds since the one that stands longest worked; None when it never did."""
    age = look.real_now - min(moments)
    return None if age > LONG_AGO else max(age.total_seconds(), 0.0)


class Banner:
    """Remembers since when each part stands still, so that a banner's times do not wander."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def update(self, stopped: dict[str, float | None], *, now_us: int, rate: float) -> bool:
        """Take a look; True when other parts stand still than before. Times become domain times of this clock."""
        fresh = {
            part: self._since.get(part, now_us - int((age_s or 0.0) * rate * 1e6)) for part, age_s in stopped.items()
        }
        changed = fresh.keys() != self._since.keys()
        self._since = fresh
        return changed

    @property
    def stopped(self) -> bool:
        """Whether there is anything to say."""
        return bool(self._since)

    def frame(self, now_us: int) -> StaleFrame:
        """What screens are told."""
        parts = [StoppedPart(part=part, since=since) for part, since in sorted(self._since.items())]  # type: ignore[arg-type]
        age_us = max((now_us - part.since for part in parts), default=0)
        return StaleFrame(age_s=max(0, age_us) // 1_000_000, parts=parts)
