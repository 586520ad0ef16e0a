"""A replay lives through stored hours again in a shadow: same records, same findings, and the source as it was."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from dashboards.shadow import feeder, replay
from dashboards.shadow.replay import Wish
from tests.workbench import Bench, seen
from tests.world import WATCHED_PLATE, World
from traffic import database
from traffic.errors import ServiceError, SettingsError
from traffic.readings import EntryKind, decode_entry
from traffic.settings import Settings
from traffic.stream import BusWriter, connect_redis

LOOK = "SELECT observed_at, received_at, source_hash, plate_key, checkpoint, speed_kmh, lane FROM passage ORDER BY 1, 3"
FINDINGS = "SELECT id, kind, level, observed_at, state, confidence FROM finding ORDER BY id"


@pytest.fixture
def source(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    """An instance that has seen a watched vehicle, a speeder, one that came late, and some detector reports."""
    bench = Bench(settings, owner)
    worker = bench.worker()
    rows = [seen(world, gate, at_s, plate=plate) for gate, at_s, plate in _drives()]
    late = seen(world, 1, -400.0, plate="吉B00007")
    late["received_at"] += 300_000_000
    for row in [*rows, late]:
        bench.send(row)
        bench.drain(worker)
    bench.execute(
        "INSERT INTO detector_report SELECT t, t + interval '1 second', 1, %s, 1, 30, 7, 1, 4.5, 91.0, 3, 0"
        " FROM generate_series(%s::timestamptz - interval '9 minutes', %s::timestamptz, interval '30 seconds') t",
        world.native_id, world.now, world.now,
    )  # fmt: skip
    yield bench
    bench.close()


def _drives() -> list[tuple[int, float, str]]:
    drives = [(0, -500.0, WATCHED_PLATE), (0, -300.0, "吉C54321"), (1, -120.0, "吉C54321")]
    return drives + [(n % 4, -560.0 + 11 * n, f"吉D{n:05d}") for n in range(40)]


def _wish(source_url: str, world: World) -> Wish:
    return Wish(
        source=source_url, begin=world.now - timedelta(minutes=15), end=world.now + timedelta(minutes=15), speed=60.0
    )


@pytest.fixture
def shadow(settings: Settings, source: Bench, world: World) -> Iterator[Bench]:
    """The shadow as it stands before its first record, with a clock that is past the end of what is replayed."""
    url = str(settings.database_url).replace("/test_", "/shadow_", 1)
    wish = _wish(str(settings.database_url), world)
    ready = replay.prepare(settings.model_copy(update={"database_url": url}), wish, lambda _line: None)
    ready = ready.model_copy(update={"clock_rate": 1.0, "clock_offset_s": 3600.0})
    with psycopg.connect(database.as_role(url, None), autocommit=True) as connection:
        bench = Bench(ready, connection)
        yield bench
        bench.close()
    with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")


def _feed(shadow: Bench, wish: Wish) -> feeder.Feeder:
    """The whole stretch, in a thread of its own, while the shadow's worker works."""
    done: list[feeder.Feeder] = []

    async def feed() -> None:
        client = connect_redis(str(shadow.settings.redis_url))
        writer = BusWriter(client, partitions=shadow.settings.partitions, bytes_max=shadow.settings.bus_bytes_max)
        one = feeder.Feeder(shadow.settings, writer)
        stretch = feeder.Stretch(
            from_us=round(wish.begin.timestamp() * 1e6), until_us=round(wish.end.timestamp() * 1e6)
        )
        with database.connect(wish.source, None, autocommit=True) as source:
            await one.feed(source, stretch, asyncio.Event())
        await client.aclose()
        done.append(one)

    worker = shadow.worker()
    shadow.reader.open(64, 1)  # the monitor's
    thread = threading.Thread(target=lambda: asyncio.run(feed()))
    thread.start()
    shadow.step_until(worker, lambda: not thread.is_alive())
    shadow.drain(worker)
    return done[0]


def test_the_shadow_sees_the_same_records_and_comes_to_the_same_findings(source, shadow, settings, world):
    wish = _wish(str(settings.database_url), world)
    before = source.rows(LOOK), source.rows(FINDINGS)
    fed = _feed(shadow, wish)
    assert shadow.rows(LOOK) == before[0] and len(before[0]) == 44
    assert shadow.rows(FINDINGS) == before[1] and {row[1] for row in before[1]} == {"watch_hit", "section_speed"}
    assert (source.rows(LOOK), source.rows(FINDINGS)) == before
    assert fed.counts["passage"] == 44 and fed.counts["detector_report"] == 19


def test_detector_reports_go_to_the_roads_partition_whole(source, shadow, settings, world):
    _feed(shadow, _wish(str(settings.database_url), world))
    entries = shadow.reader.read({64: (1, 0)}, count=100, wait_ms=100)[64]
    reports = [
        content for kind, content in (decode_entry(entry.data) for entry in entries) if kind is EntryKind.DETECTORS
    ]
    assert sum(len(rows) for rows in reports) == 19
    assert all((rows["vehicles"] == 7).all() and (rows["speed_kmh"] == 91.0).all() for rows in reports)


def test_the_shadow_takes_the_standing_tables_but_no_sessions_and_no_records(source, shadow):
    for table in ("unit", "unit_parent", "road", "link", "detector", "checkpoint", "rule", "watchlist_entry", "person"):
        count = f"SELECT count(*) FROM {table}"
        assert shadow.owner.execute(count).fetchone() == source.owner.execute(count).fetchone(), table
    for table in ("session", "passage", "finding", "detector_report", "feed"):
        assert shadow.owner.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    epochs = [bench.owner.execute("SELECT epoch FROM instance").fetchone() for bench in (source, shadow)]
    assert epochs[0] != epochs[1]


def test_a_shadow_knows_the_history_before_its_begin_and_nothing_of_what_is_to_come(source, settings, owner, world):
    url = str(settings.database_url).replace("/test_", "/shadow_", 1)
    wish = _wish(str(settings.database_url), world)
    for table, width in (("unit_quarter", 15), ("unit_hour", 60)):
        for minutes in (3 * width, width // 2):  # one that had ended by the begin, one that goes on beyond it
            values = (wish.begin - timedelta(minutes=minutes), 1)
            columns = owner.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull"
                " AND NOT atthasdef AND attname <> 'bucket' ORDER BY attnum",
                [table],
            ).fetchall()
            names = ", ".join(name for (name,) in columns)
            owner.execute(
                f"INSERT INTO {table} (bucket, {names}) VALUES (%s{', %s' * len(columns)})",
                [values[0], *[1] * len(columns)],
            )
    replay.prepare(settings.model_copy(update={"database_url": url}), wish, lambda _line: None)
    with psycopg.connect(url) as shadow:
        for table in ("unit_quarter", "unit_hour"):
            assert shadow.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table
    owner.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")


def test_a_second_replay_begins_with_nothing_of_the_first(source, shadow, settings, world):
    wish = _wish(str(settings.database_url), world)
    _feed(shadow, wish)
    for worker in shadow.workers:
        worker.abandon()
    replay.prepare(shadow.settings, wish, lambda _line: None)
    with psycopg.connect(str(shadow.settings.database_url)) as fresh:
        assert fresh.execute("SELECT count(*) FROM passage").fetchone() == (0,)
    assert not shadow.redis.keys("*")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"speed": 0.5}, "--speed 0.5: it must be between 1 and 60"),
        ({"speed": 61.0}, "--speed 61"),
        ({"speed": float("nan")}, "--speed nan"),
        ({"end": None}, "--to must be later than --from"),
        ({"begin": timedelta(days=2)}, "the source holds records from"),
        ({"begin": timedelta(days=-9)}, "the source holds records from"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_one_sentence(source, settings, world, change, sentence):
    wish = _wish(str(settings.database_url), world)
    values = {"source": wish.source, "begin": wish.begin, "end": wish.end, "speed": wish.speed}
    if isinstance(change.get("begin"), timedelta):
        values |= {"begin": wish.begin + change["begin"], "end": wish.begin + change["begin"] + timedelta(minutes=5)}
    else:
        values |= {key: wish.begin if value is None else value for key, value in change.items()}
    with pytest.raises(SettingsError, match=sentence):
        replay.check(Wish(**values))


def test_an_empty_source_says_so(settings, world):
    with pytest.raises(ServiceError, match="holds no records"):
        replay.check(_wish(str(settings.database_url), world))


def test_times_need_an_offset():
    with pytest.raises(SettingsError, match="no offset"):
        replay.read_moment("2026-11-24T08:00:00", "--from")
    with pytest.raises(SettingsError, match="--to yesterday"):
        replay.read_moment("yesterday", "--to")


def test_a_folder_that_is_no_shadow_is_not_touched(settings, world, tmp_path):
    wish = _wish(str(settings.database_url), world)
    with pytest.raises(SettingsError, match="folder of the instance itself"):
        replay.take_folder(settings.data_dir, settings, wish)
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("mine")
    with pytest.raises(SettingsError, match="no shadow"):
        replay.take_folder(other, settings, wish)
    assert [path.name for path in other.iterdir()] == ["diary.txt"]
    mine = tmp_path / "mine"
    replay.take_folder(mine, settings, wish)
    replay.take_folder(mine, settings, wish)
    assert replay.read_wish(mine) == wish
    assert (mine / replay.WISH_FILE).stat().st_mode & 0o077 == 0


def test_the_shadows_clock_comes_to_the_begin_and_runs_at_the_wished_speed(settings, world):
    wish = _wish(str(settings.database_url), world)
    real_now_us = 1_800_000_000_000_000
    ready = replay.with_clock(settings, wish, real_now_us=real_now_us)
    begin_us = real_now_us + round(replay.START_S * 1e6)

    def domain_us(real_us: int) -> float:
        return ready.clock_origin_us + (real_us - ready.clock_origin_us) * ready.clock_rate + ready.clock_offset_s * 1e6

    assert domain_us(begin_us) == pytest.approx(wish.begin.timestamp() * 1e6, abs=10)
    assert domain_us(begin_us + 1_000_000) - domain_us(begin_us) == pytest.approx(60e6, abs=10)
