"""`traffic replay`: a shadow instance started on a clock in the past, and fed out of the source."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import psycopg
import redis
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dashboards.children import Part
from dashboards.shadow import feeder
from dashboards.shadow.copying import copy_world
from dashboards.shadow.records import SQL
from dashboards.supervisor import ANYWHERE, Supervisor
from traffic import database
from traffic.embedded import make_data_dir
from traffic.errors import ServiceError, SettingsError
from traffic.settings import Settings

SPEED_MIN, SPEED_MAX = 1.0, 60.0
START_S = 15.0  # the shadow's clock reaches the begin so long after it was set: its processes are up by then
WISH_FILE = "replay.json"  # in the shadow's folder
PORTS_AFTER = 10  # the shadow's ports lie so far behind the source's


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to live through again. Times with offset; `source` is the URL of the database that holds it."""

    source: str
    begin: datetime
    end: datetime
    speed: float = 1.0


def read_moment(text: str, option: str) -> datetime:
    """An RFC 3339 time with its offset; raises SettingsError naming the option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text}: write it like 2026-11-24T08:00:00+08:00") from error
    if moment.tzinfo is None:
        raise SettingsError(f"{option} {text} has no offset from UTC: write it like 2026-11-24T08:00:00+08:00")
    return moment


def check(wish: Wish) -> None:
    """Raise SettingsError where a wish makes no sense, or ServiceError where the source holds nothing of it."""
    if not SPEED_MIN <= wish.speed <= SPEED_MAX:
        raise SettingsError(f"--speed {wish.speed:g}: it must be between {SPEED_MIN:g} and {SPEED_MAX:g}")
    if wish.end <= wish.begin:
        raise SettingsError("--to must be later than --from")
    with database.connect(wish.source, None, autocommit=True) as source:
        row = source.execute(SQL["span"]).fetchone()
    first, last = row if row else (None, None)
    if first is None:
        raise ServiceError("the source holds no records: there is nothing to replay")
    if wish.end <= first or wish.begin > last:
        raise SettingsError(f"the source holds records from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC only")


def shadow_settings(base: Settings, data_dir: Path) -> Settings:
    """Settings of the shadow: its own folder, services and ports; its clock is set when it is ready."""
    return base.model_copy(
        update={
            "data_dir": data_dir,
            "database_url": None,
            "redis_url": None,
            "demo": False,
            "purpose": "replay",
            "port": base.port + PORTS_AFTER,
            "socket_port": base.socket_port + PORTS_AFTER,
            "door_port": base.door_port + PORTS_AFTER,
            "terminal_port": base.terminal_port + PORTS_AFTER,
            "platform_port": base.platform_port + PORTS_AFTER,
        }
    )


def with_clock(settings: Settings, wish: Wish, *, real_now_us: int) -> Settings:
    """The shadow's clock comes to the begin in START_S of real time, and runs at the wished speed."""
    origin_us = real_now_us + round(START_S * 1e6)
    offset_s = wish.begin.timestamp() - origin_us / 1e6
    clock = {"clock_rate": wish.speed, "clock_origin_us": origin_us, "clock_offset_s": offset_s}
    return settings.model_copy(update=clock)


def parts(settings: Settings) -> list[Part]:
    """What a shadow runs: no doors and no twin, but the feeder."""
    base = f"http://{ANYWHERE.get(settings.host, settings.host)}"
    workers = [
        Part(name=f"worker {number}", command=Part.command_of("worker")) for number in range(1, settings.workers + 1)
    ]
    return [
        *workers,
        Part(name="monitor", command=Part.command_of("monitor")),
        Part(name="api", command=Part.command_of("api"), health=f"{base}:{settings.port}/healthz"),
        Part(name="feeder", command=Part.command_of("replay-feed")),
    ]


def take_folder(folder: Path, base: Settings, wish: Wish) -> None:
    """Make the folder the shadow's, with what is replayed in it; raises SettingsError where it is something else's."""
    if folder.resolve() == base.data_dir.resolve():
        raise SettingsError("--data-dir is the folder of the instance itself: a shadow needs one of its own")
    note = folder / WISH_FILE
    if folder.exists() and any(folder.iterdir()) and not note.exists():
        raise SettingsError(f"--data-dir {folder} holds something that is no shadow: give an empty folder")
    make_data_dir(folder)
    note.unlink(missing_ok=True)
    handle = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # the URL may hold a password
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(wish))


def read_wish(folder: Path) -> Wish:
    """What `take_folder` wrote; raises ServiceError where there is nothing."""
    try:
        return msgspec.json.decode((folder / WISH_FILE).read_bytes(), type=Wish)
    except (OSError, msgspec.MsgspecError) as error:
        raise ServiceError(f"{folder} is no shadow's folder: start it with traffic replay") from error


def prepare(settings: Settings, wish: Wish, say: Callable[[str], None]) -> Settings:
    """A fresh database and bus with the source's standing tables; what an earlier replay left is thrown away."""
    url = settings.database_url or ""
    try:
        recreate(url)
        database.migrate(url, partitions=settings.partitions)
        with database.connect(url, None) as shadow, database.connect(wish.source, None) as source:
            copied = copy_world(source, shadow, before=wish.begin.isoformat())
        with redis.Redis.from_url(settings.redis_url or "") as bus:
            bus.flushall()
    except (psycopg.Error, redis.RedisError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ServiceError(f"the shadow could not be prepared: {reason}") from error
    say(f"copied from the source: {copied['link']} links, {copied['detector']} detectors, {copied['unit']} units")
    return with_clock(settings, wish, real_now_us=time.time_ns() // 1000)


def recreate(url: str) -> None:
    """An empty database in the place of the one that the URL names."""
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))


def run(base: Settings, wish: Wish, *, data_dir: Path | None = None) -> None:
    """Live through it again until told to stop."""
    check(wish)
    settings = shadow_settings(base, data_dir or base.data_dir / "shadow")
    take_folder(settings.data_dir, base, wish)
    took = timedelta(seconds=round((wish.end - wish.begin).total_seconds() / wish.speed))

    def say(line: str) -> None:
        print(line, flush=True)

    say(f"replay of {wish.begin.isoformat()} to {wish.end.isoformat()} at {wish.speed:g}x: it takes {took}")
    Supervisor(settings, list_parts=parts, prepare_tables=lambda ready: prepare(ready, wish, say)).run()


def feed(settings: Settings) -> None:
    """Entry of the feeder's process."""
    wish = read_wish(settings.data_dir)
    stretch = feeder.Stretch(from_us=round(wish.begin.timestamp() * 1e6), until_us=round(wish.end.timestamp() * 1e6))
    feeder.run(settings, wish.source, stretch)
