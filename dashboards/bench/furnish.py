"""What a bench's instance holds before its first record: a registry of key vehicles, usual times, stored passages."""

from datetime import UTC, datetime, timedelta

import psycopg

from dashboards.bench.measured import Progress
from dashboards.bench.scratch import Scratch
from dashboards.bench.stored import fill
from dashboards.bench.vehicles import plate_keys, plate_texts, registered_numbers
from traffic import usual_times
from traffic.plates import CLASS_LARGE
from traffic.store import us_of

LOCAL_HOUR = 10  # of the day on which a bench runs: by day, whatever the clock shows
OVERDUE_EVERY = 200  # of so many vehicles one is overdue for inspection
KINDS = ("heavy_truck",) * 74 + ("scheduled_coach",) * 15 + ("tour_coach",) * 10 + ("hazardous_goods",)
_INSERT = (
    "INSERT INTO key_vehicle (plate_key, class_group, plate, kind, company, unit_id, plate_class, inspection_until,"
    " source, as_of, version)"
    f" SELECT key, {CLASS_LARGE}, plate, kind, 'bench', 1, 1, until, 'import', %(at)s, value"
    " FROM unnest(%(keys)s::bigint[], %(plates)s::text[], %(kinds)s::text[], %(untils)s::date[])"
    " AS t(key, plate, kind, until), version WHERE name = 'registry'"
)


def morning_us(instance: Scratch) -> int:
    """When the runs begin: today, in the morning of the people here."""
    today = instance.settings.clock.now() + timedelta(hours=8)
    return us_of(datetime(today.year, today.month, today.day, LOCAL_HOUR - 8, tzinfo=UTC))


def furnish(instance: Scratch, progress: Progress, *, stored: int = 0, plates: int = 0, days: int = 10) -> None:
    """Every run's database begins with this: all rules armed, REGISTERED vehicles, usual times learned.

    `stored` passages of `plates` vehicles lie in the `days` before.
    """
    instance.renew()
    progress("a registry of key vehicles, and usual times")
    now_us = morning_us(instance)
    with instance.connect() as connection:
        _register(connection, datetime.fromtimestamp(now_us / 1e6, UTC))
        with connection.transaction():
            usual_times.learn(connection, now_us=now_us)
    if stored:
        before_us = now_us - 3_600_000_000
        fill(instance, stored, plates=plates, days=days, until_us=before_us, progress=progress)
    instance.keep()


def _register(connection: psycopg.Connection, at: datetime) -> None:
    keys = plate_keys(registered_numbers())
    overdue, sound = (at - timedelta(days=30)).date(), (at + timedelta(days=200)).date()
    values = {
        "at": at,
        "keys": keys.tolist(),
        "plates": plate_texts(keys),
        "kinds": [KINDS[number % len(KINDS)] for number in range(len(keys))],
        "untils": [sound if number % OVERDUE_EVERY else overdue for number in range(len(keys))],
    }
    with connection.transaction():
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'registry'")
        connection.execute(_INSERT, values)
