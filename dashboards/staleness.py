"""Which parts have stopped, and since when: what the banner says. Pure: readings and times in, parts out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards.protocol import StaleFrame, StoppedPart
from traffic.health import is_silent

LEASE_GRACE = timedelta(seconds=2)  # a lease that ran out is taken over at once; only then it is a stop
PROGRESS = timedelta(seconds=15)  # ticks alone move a healthy partition each few seconds
LONG_AGO = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A partition as it stands in the database (real time)."""

    until: datetime
    committed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the house. `ages_s` of what does not answer: seconds since it last did; None: it answers.

    `leases` None: the database does not answer, so nothing is known of workers and doors.
    """

    real_now: datetime
    database_age_s: float | None
    bus_age_s: float | None
    leases: Sequence[Lease] | None = None
    doors_seen_at: datetime | None = None


def stopped_for_s(look: Look) -> dict[str, float | None]:
    """Parts that stand still, with the seconds since (None: they were never seen to work)."""
    found: dict[str, float | None] = {}
    if look.database_age_s is not None:
        found["database"] = look.database_age_s
    if look.bus_age_s is not None:
        found["bus"] = look.bus_age_s
    if look.leases is None:
        return found
    held = [lease for lease in look.leases if lease.until >= look.real_now - LEASE_GRACE]
    lapsed = [lease for lease in look.leases if lease not in held]
    if lapsed:
        found["worker"] = _longest(look, [max(lease.until, lease.committed_at or lease.until) for lease in lapsed])
    elif look.bus_age_s is None:  # without the bus no worker can go on: that is named already
        still = [lease.committed_at for lease in held if lease.committed_at and _is_old(look, lease.committed_at)]
        if still:
            found["worker"] = _longest(look, still)
    if look.doors_seen_at is None:
        found["doors"] = None
    elif is_silent(look.doors_seen_at, look.real_now):
        found["doors"] = (look.real_now - look.doors_seen_at).total_seconds()
    return found


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
