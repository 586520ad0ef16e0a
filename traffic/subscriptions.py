"""What others subscribed to (GA/T 1400), put out in the transaction of the batch that brought it.

A passage that is stored is either in the outbox of each subscription that wants it, or the batch did not happen; the
forwarder empties the outboxes. Without subscriptions this costs nothing.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import psycopg

from traffic.database import queries
from traffic.limits import SUBSCRIPTION_KEPT_S, SUBSCRIPTION_RECORDS_MAX
from traffic.readings import PassageBatch, encode_passages
from traffic.store import us_of, when

SQL = queries("traffic", "subscriptions.sql")
ENTRY_RECORDS_MAX = 500  # of one notification
TRIM_EVERY = 64  # entries: a look at all that waits is not for each batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one subscription wants: sorted checkpoint ids, and when it stands; nothing that its own `device` sent."""

    id: str
    device: int
    checkpoints: np.ndarray
    begins_us: int
    ends_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriptions:
    """All that stand; `any_checkpoint`: the checkpoints of all of them, sorted."""

    wanted: tuple[Wanted, ...] = ()
    any_checkpoint: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def __bool__(self) -> bool:
        return bool(self.wanted)


NONE = Subscriptions()


def load_subscriptions(connection: psycopg.Connection) -> Subscriptions:
    """Those that stand, in the caller's transaction; read again when version 'subscription' has grown."""
    wanted = tuple(
        Wanted(
            id=row[0],
            device=row[1],
            checkpoints=np.array(sorted(row[2]), np.int32),
            begins_us=us_of(row[3]),
            ends_us=us_of(row[4]),
        )
        for row in connection.execute(SQL["active"])
    )
    if not wanted:
        return NONE
    together = np.unique(np.concatenate([one.checkpoints for one in wanted]))
    return Subscriptions(wanted=wanted, any_checkpoint=together)


def outbox(connection: psycopg.Connection, subscriptions: Subscriptions, batch: PassageBatch, *, now_us: int) -> int:
    """Put a batch's new passages out for whoever wants them, in the caller's transaction; how many were put out."""
    if not subscriptions or not len(batch):
        return 0
    of_interest = np.isin(batch.rows["checkpoint"], subscriptions.any_checkpoint)
    if not of_interest.any():
        return 0
    batch = batch.take(of_interest)
    return sum(
        _put_out(connection, one.id, batch.take(_wants(one, batch.rows)), now_us)
        for one in subscriptions.wanted
        if one.begins_us <= now_us < one.ends_us
    )


def _wants(one: Wanted, rows: np.ndarray) -> np.ndarray:
    return np.isin(rows["checkpoint"], one.checkpoints) & (rows["device"] != one.device)


def _put_out(connection: psycopg.Connection, subscription: str, batch: PassageBatch, now_us: int) -> int:
    for start in range(0, len(batch), ENTRY_RECORDS_MAX):
        part = batch.part(start, start + ENTRY_RECORDS_MAX)
        values = {"subscription": subscription, "body": encode_passages(part), "records": len(part)}
        row = connection.execute(SQL["put_out"], {**values, "at": when(now_us)}).fetchone()
        if row is not None and row[0] % TRIM_EVERY == 0:
            trim(connection, subscription, now_us=now_us)
    return len(batch)


def trim(connection: psycopg.Connection, subscription: str, *, now_us: int) -> None:
    """Give up the oldest of what waits, beyond SUBSCRIPTION_RECORDS_MAX records or SUBSCRIPTION_KEPT_S; counted."""
    connection.execute(SQL["trim"], bounds(subscription, now_us=now_us))


def bounds(subscription: str, *, now_us: int) -> dict[str, object]:
    """What statement `trim` wants."""
    since = when(now_us) - timedelta(seconds=SUBSCRIPTION_KEPT_S)
    return {"subscription": subscription, "records_max": SUBSCRIPTION_RECORDS_MAX, "since": since}
