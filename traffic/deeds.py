"""What people did to alerts, on its way from the bus into the tables: each deed once, in the batch's transaction."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import psycopg
import structlog

from traffic.limits import SHELVES_ENDED_MAX
from traffic.readings import AlertDeed
from traffic.store import SQL
from traffic.verdicts import Count

log = structlog.get_logger()

Placed = tuple[int, UUID, AlertDeed]  # the partition by which it came, the finding


def not_done(connection: psycopg.Connection, deeds: Sequence[tuple[int, AlertDeed]]) -> list[Placed]:
    """The deeds that no revision tells of yet, each once, in their order."""
    placed: dict[str, Placed] = {}
    for partition, deed in deeds:
        try:
            placed.setdefault(deed.id, (partition, UUID(deed.finding), deed))
        except ValueError:
            log.warning("a deed names no finding", deed=deed.id)
    if not placed:
        return []
    findings = [finding for _, finding, _ in placed.values()]
    done = connection.execute(SQL["deeds_done"], {"ids": findings, "deeds": list(placed)}).fetchall()
    for (number,) in done:
        placed.pop(number, None)
    return list(placed.values())


def shelves_ended(connection: psycopg.Connection, now_us: int) -> list[UUID]:
    """Findings whose time on the shelf is over; the rest of very many follow with the next tick."""
    found = connection.execute(SQL["shelves_ended"], {"now_us": now_us, "limit": SHELVES_ENDED_MAX}).fetchall()
    return [row[0] for row in found]


def count(connection: psycopg.Connection, counts: Iterable[Count]) -> None:
    """Add to what verification says of the checkpoints' readings."""
    rows = list(counts)
    if rows:
        gates, days, valid, misread = zip(*rows, strict=True)
        values = {"checkpoints": list(gates), "days": list(days), "valid": list(valid), "misread": list(misread)}
        connection.execute(SQL["checkpoint_verdicts_add"], values)
