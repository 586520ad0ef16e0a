"""What scopes of rules are resolved with, kept by the API until a version changes."""

from datetime import datetime, timedelta

import psycopg

from traffic.rule_rows import load_ground_async
from traffic.store import SQL
from traffic.vehicles.ground import Ground

AGE_MAX = timedelta(minutes=5)  # the tree of units is valid in time
_WATCHED = ("network", "calendar", "rule")


class Grounds:
    """One for each API process."""

    def __init__(self) -> None:
        self._ground: Ground | None = None
        self._versions: dict[str, int] = {}
        self._read_at: datetime | None = None

    async def get(self, connection: psycopg.AsyncConnection, now: datetime) -> Ground:
        """The ground as the tables have it."""
        rows = await (await connection.execute(SQL["versions"])).fetchall()
        versions = {name: value for name, value in rows if name in _WATCHED}
        old = self._read_at is None or not timedelta(0) <= now - self._read_at < AGE_MAX
        if self._ground is None or old or versions != self._versions:
            self._ground = await load_ground_async(connection, now)
            self._versions, self._read_at = versions, now
        return self._ground


def may_see(unit: int, of_rule: int | None, ground: Ground) -> bool:
    """Rules of the province, of the own unit, of those below it and of those above, which hold for it too."""
    if of_rule is None:
        return True
    return of_rule in ground.below.get(unit, ()) or unit in ground.below.get(of_rule, ())


def may_edit(unit: int, of_rule: int | None, ground: Ground) -> bool:
    """What belongs to the own unit or to one below it; what is the province's belongs to the top unit."""
    if of_rule is None:
        return not any(unit in members for above, members in ground.below.items() if above != unit)
    return of_rule in ground.below.get(unit, ())
