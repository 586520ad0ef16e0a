"""Reads what a run left in the database and on the bus, and lays it beside what should be there."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import redis

from dashboards.chaos import compare
from dashboards.chaos.bodies import Content, Identity
from dashboards.chaos.compare import Expected, Said
from dashboards.chaos.instance import Instance
from dashboards.chaos.watchers import Watcher
from traffic import store
from traffic.audience import Audience, Viewer, may_see
from traffic.clock import monotonic_s
from traffic.limits import ROADS_PARTITION
from traffic.rulebook import load_book
from traffic.store import us_of, when
from traffic.stream import BusReader

DRAIN_S_MAX = 60.0
LOOK_BACK_S_MAX = 15.0
CATCH_UP_S_MAX = 30.0
POLL_S = 0.1
_MARKER = re.compile(rb"fault-\d{6}")


@dataclass(slots=True, kw_only=True)
class Checks:
    """Each check by name with its differences."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, differences: list[str]) -> None:
        """No difference: the check holds."""
        self.found[name] = self.found.get(name, []) + differences

    @property
    def ok(self) -> bool:
        """Whether all hold."""
        return not any(self.found.values())


# ---------------------------------------------------------------- waiting
async def drained(instance: Instance) -> list[str]:
    """Wait until everything that was on the bus when this began is committed."""
    settings = instance.settings
    with redis.Redis.from_url(str(settings.redis_url)) as client:
        reader = BusReader(client, bytes_max=settings.bus_bytes_max)
        wanted = {partition: reader.meta(partition) for partition in (*range(settings.partitions), ROADS_PARTITION)}
    until = monotonic_s() + DRAIN_S_MAX
    while True:
        with instance.connect() as connection:
            rows = connection.execute("SELECT id, generation, bus_offset, owner FROM partition").fetchall()
        behind = [
            f"partition {number} of {owner}: committed {generation}-{offset}, bus"
            f" {wanted[number].generation}-{wanted[number].counter}"
            for number, generation, offset, owner in rows
            if (generation, offset) < (wanted[number].generation or 0, wanted[number].counter)
        ]
        if not behind or monotonic_s() > until:
            return compare.lists(f"not drained within {DRAIN_S_MAX:.0f} s", behind)
        await asyncio.sleep(POLL_S)


async def looked_back(instance: Instance) -> None:
    """Give the workers time to look back for watch entries that were activated last; the check says what is missing."""
    until = monotonic_s() + LOOK_BACK_S_MAX
    while monotonic_s() < until:
        checks = Checks()
        with instance.connect() as connection:
            check_findings(connection, instance.settings.clock.now_us(), checks)
        if checks.ok:
            return
        await asyncio.sleep(POLL_S)


async def caught_up(watchers: list[Watcher], alerts: Callable[[Watcher], int]) -> None:
    """Give the clients time to see the last alerts; what they miss is found by the check."""
    until = monotonic_s() + CATCH_UP_S_MAX
    while monotonic_s() < until:
        if all(sum(len(told.cards) for told in watcher.told[1:]) >= alerts(watcher) for watcher in watchers):
            return
        await asyncio.sleep(POLL_S)


# ---------------------------------------------------------------- reading
def _identity(row: tuple) -> Identity:
    return us_of(row[0]), row[1]


def stored_passages(connection: psycopg.Connection) -> list[tuple[Identity, Content]]:
    """All passages."""
    return [
        (
            _identity(row),
            Content(
                checkpoint=row[2], plate_key=row[3], plate_class=row[4], direction=row[5], lane=row[6],
                speed_kmh=None if row[7] != row[7] else row[7],
            ),
        )
        for row in connection.execute(
            "SELECT observed_at, source_hash, checkpoint, plate_key, plate_class, direction, lane, speed_kmh"
            " FROM passage"
        )
    ]  # fmt: skip


def active_findings(connection: psycopg.Connection) -> dict[str, Said]:
    """Findings that stand in the end."""
    ids = [row[0] for row in connection.execute("SELECT id FROM finding WHERE state = 'active'")]
    return {str(who): compare.said_by(finding) for who, finding in store.read_findings(connection, ids).items()}


def visible_alerts(connection: psycopg.Connection, login: str) -> list[tuple[int, int, tuple[str, int]]]:
    """The feed's alerts that a person may see."""
    person = connection.execute("SELECT unit_id, clearance FROM person WHERE login = %s", [login]).fetchone()
    assert person
    viewer = Viewer(unit=person[0], clearance=person[1])
    return [
        (partition, seq, (key, revision))
        for partition, seq, key, revision, units, visibility, addressees in connection.execute(
            "SELECT partition, seq, key, (body ->> 'revision')::int, audience, visibility, addressees FROM feed"
            " WHERE topic = 'alerts' ORDER BY partition, seq"
        )
        if may_see(viewer, Audience(units=frozenset(units), visibility=visibility, addressees=frozenset(addressees)))
    ]


# ---------------------------------------------------------------- checks
def check_store(connection: psycopg.Connection, expected: Expected, checks: Checks) -> None:
    """Passages, their sources and amendments, and the roll-ups."""
    checks.add("every record once", compare.compare_passages(expected, stored_passages(connection)))
    first = {
        _identity(row): (row[2], row[3])
        for row in connection.execute("SELECT observed_at, source_hash, door, device FROM passage")
    }
    more = [
        (_identity(row), (row[2], row[3]))
        for row in connection.execute("SELECT observed_at, source_hash, door, device FROM passage_source")
    ]
    checks.add("second doors are sources", compare.compare_sources(expected, first, more))
    amended = [_identity(row) for row in connection.execute("SELECT observed_at, source_hash FROM passage_amendment")]
    checks.add("other content amends", compare.compare_amendments(expected, amended))
    counted = connection.execute(
        "SELECT minute, checkpoint, direction, sum(passages), sum(measured), sum(speed_sum) FROM checkpoint_minute"
        " GROUP BY 1, 2, 3 HAVING sum(passages) <> 0"
    )
    passages = connection.execute(
        "SELECT date_trunc('minute', observed_at), checkpoint, direction, count(*),"
        " count(*) FILTER (WHERE speed_kmh <> 'NaN'),"
        " sum(CASE WHEN speed_kmh <> 'NaN' THEN speed_kmh::float8 ELSE 0 END) FROM passage GROUP BY 1, 2, 3"
    )
    both = [{row[:3]: tuple(map(float, row[3:])) for row in rows} for rows in (passages, counted)]
    checks.add("roll-ups equal passages", compare.compare_rows("roll-up", both[0], both[1]))


def check_findings(connection: psycopg.Connection, now_us: int, checks: Checks) -> None:
    """Against the pure rules over all passages in the order of their times; and revisions without holes."""
    rules = load_book(connection, now_us=now_us).rules
    rows = store.copy_out(connection, "passages_since", after=when(0))
    wanted = compare.judge_in_order(rules, rows)
    checks.add("findings as undisturbed", compare.compare_findings(wanted, active_findings(connection)))
    made = connection.execute(
        "SELECT f.id, f.revision, count(r.revision), min(r.revision), max(r.revision) FROM finding f"
        " LEFT JOIN finding_revision r ON r.finding_id = f.id GROUP BY 1, 2"
    )
    holes = [row for row in made if row[1:] != (row[1], row[1], 1, row[1])]
    checks.add("revisions without holes", compare.lists("finding, revision, and its revisions", holes))


def check_feed(connection: psycopg.Connection, checks: Checks) -> None:
    """Dense numbers, and each revision told once."""
    rows = connection.execute("SELECT partition, seq FROM feed").fetchall()
    ends: dict[int, int] = dict(connection.execute("SELECT id, feed_seq FROM partition").fetchall())
    checks.add("feed dense", compare.compare_feed(rows, ends))
    odd = connection.execute(
        "SELECT coalesce(r.finding_id::text, e.key), coalesce(r.revision, e.revision), count(*)"
        " FROM finding_revision r FULL JOIN"
        " (SELECT key, (body ->> 'revision')::int AS revision FROM feed WHERE kind = 'finding') e"
        " ON e.key = r.finding_id::text AND e.revision = r.revision"
        " GROUP BY 1, 2 HAVING count(*) <> 1 OR count(r.revision) <> 1 OR count(e.revision) <> 1"
    ).fetchall()
    checks.add("each revision told once", compare.lists("finding, revision, times", odd))


def check_quarantine(connection: psycopg.Connection, expected: Expected, checks: Checks) -> None:
    """Each faulty record at least once, nothing else; and the bus lost nothing."""
    rows = connection.execute("SELECT reason, detail, body FROM quarantine").fetchall()
    kept = {match.group().decode() for *_, body in rows if (match := _MARKER.search(bytes(body)))}
    strangers = [(reason, detail) for reason, detail, body in rows if not _MARKER.search(bytes(body))]
    checks.add(
        "quarantine holds each refused record",
        [
            *compare.lists("not in quarantine", expected.markers - kept),
            *compare.lists("in quarantine without having been faulty", strangers),
        ],
    )
    gaps = connection.execute("SELECT partition, generation, from_counter, to_counter, reason FROM bus_gap").fetchall()
    checks.add("the bus lost nothing", compare.lists("gap", gaps))


def check_watchers(connection: psycopg.Connection, watchers: list[Watcher], checks: Checks) -> None:
    """Each client against the feed's alerts that its person may see."""
    for watcher in watchers:
        visible = visible_alerts(connection, watcher.login)
        checks.add("every client saw every alert once", compare.compare_told(watcher.login, watcher.told, visible))
        checks.add("servers kept to the protocol", compare.lists(watcher.login, watcher.wrong))


def alerts_behind_snapshot(instance: Instance, watcher: Watcher) -> int:
    """How many alerts a client must have been told since its first snapshot."""
    if not watcher.told:
        return 1  # it has yet to get its snapshot
    begin = compare.cursor_of(watcher.told[0].cursor)
    with instance.connect() as connection:
        visible = visible_alerts(connection, watcher.login)
    return sum(seq > begin.get(partition, 0) for partition, seq, _ in visible)
