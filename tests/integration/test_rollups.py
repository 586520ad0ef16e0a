"""Roll-ups: whatever comes in which order, a bucket is the sum of its parts, and each viewer sees what is its own."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from tests.workbench import Bench, seen
from tests.world import CORPS, EAST, EAST_SQUADRON, UNITS, WEST, WEST_SQUADRON, World
from traffic import database, rollups
from traffic.buckets import WIDTH_US, Width, begin_us, like_quarters
from traffic.limits import CYCLE_S
from traffic.network import EXPRESSWAY, Link, Road
from traffic.road_readings import vehicle_groups
from traffic.roads.model import Index, Picture, RiskPicture, RoadNetwork, build_network
from traffic.store import us_of, when
from traffic.trends import usual

CYCLE_US = CYCLE_S * 1_000_000
ROAD = Road(id=1, code="G1", name="京哈", name_en="Jingha", kind=EXPRESSWAY, approximate=True)
CLASSES = (0, 1133, 1110, 801 + 10, 1301)  # not told, small car, large coach, heavy lorry, motorcycle


@pytest.fixture
def bench(settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    bench = Bench(settings, owner)
    yield bench
    bench.close()


@pytest.fixture
def writer(database_url: str) -> Iterator[psycopg.Connection]:
    with database.connect(database_url, database.WRITER, autocommit=True) as connection:
        yield connection


def network() -> RoadNetwork:
    links = [
        Link(id=n, road_id=1, direction=1, from_stake_m=n, to_stake_m=n + 1, length_m=1, lanes=2, limit_kmh=100,
             unit_id=1, geometry=((125.0, 43.0), (125.1, 43.0)))
        for n in (1, 2, 3, 4)
    ]  # fmt: skip
    return build_network([ROAD], links)


def picture(at_us: int, *, level: tuple = (1, 3, 0, 5), speed: tuple = (90.0, 40.0, np.nan, np.nan)) -> Picture:
    told = np.array(speed)
    return Picture(
        at_us=at_us,
        observed_us=np.where(np.array(level) > 0, at_us, 0),
        level=np.array(level, np.int8),
        speed_kmh=told,
        flow_vph=told * 10,
        density_vkm=told,
        travel_s=3600 / told,
        travel_p90_s=told,
        heavy_share=np.full(4, 0.25),
        confidence=np.array([0.9, 0.8, 0.0, 0.4]),
        sources=np.ones(4, np.int8),
    )


def risk(now: tuple = (0.1, 0.5, np.nan, np.nan)) -> RiskPicture:
    none = np.zeros((4, 0))
    levels = np.ones(4, np.int8)
    return RiskPicture(
        factors=(), now=np.array(now), next_hour=np.array(now), now_level=levels, next_level=levels, now_parts=none,
        next_parts=none,
    )  # fmt: skip


def index(scope: str = "province", scope_id: int = 0, value: float | None = 3.0) -> Index:
    return Index(
        scope=scope, scope_id=scope_id, index=value, usual_index=None, speed_kmh=80.0, congested_km=1.5,
        known_share=0.9, vehicle_km_h=1000.0, risk_links=(4, 3, 2, 1),
    )  # fmt: skip


def settle_all(writer: psycopg.Connection, now_us: int) -> None:
    """Until nothing is due: a coarser bucket is due a little after the finer one."""
    for minutes in range(10):
        rollups.settle(writer, now_us=now_us + minutes * 60_000_000)
    assert writer.execute("SELECT count(*) FROM rollup_dirty").fetchone() == (0,)


def table(connection: psycopg.Connection, name: str) -> list[tuple]:
    """A roll-up as sorted rows, floats rounded: sums of another order differ in their last bits."""
    rows = connection.execute(f"SELECT * FROM {name}").fetchall()  # type: ignore[call-overload]
    return sorted(tuple(round(v, 4) if isinstance(v, float) and v == v else str(v) for v in row) for row in rows)


def everything(connection: psycopg.Connection) -> dict[str, list[tuple]]:
    names = [
        f"{what}_{width}" for what in ("checkpoint", "unit", "link", "index") for width in ("quarter", "hour", "day")
    ]
    return {name: table(connection, name) for name in names}


def from_raw(bench: Bench, width: Width) -> list[tuple]:
    """The checkpoints' roll-up as the passages themselves give it."""
    origin = "2000-01-01 00:00+08" if width is Width.DAY else "2000-01-01 00:00+00"
    step = {Width.QUARTER: "15 minutes", Width.HOUR: "1 hour", Width.DAY: "1 day"}[width]
    rows = bench.rows(
        "SELECT time_bucket(%s, observed_at, origin => %s), checkpoint, direction, vehicle_class, plate_class,"
        " speed_kmh FROM passage",
        step, origin,
    )  # fmt: skip
    groups = rollups_groups([row[3] for row in rows], [row[4] for row in rows])
    sums: dict[tuple, list[float]] = {}
    for (bucket, checkpoint, direction, _, _, speed), group in zip(rows, groups, strict=True):
        entry = sums.setdefault((bucket, checkpoint, direction, group), [0, 0, 0.0])
        entry[0] += 1
        if speed == speed:
            entry[1] += 1
            entry[2] += speed
    return sorted((*map(str, key), str(n), str(m), round(total, 4), "0") for key, (n, m, total) in sums.items())


def rollups_groups(vehicle_classes: list[int], plate_classes: list[int]) -> list[int]:
    return vehicle_groups(np.array(vehicle_classes, np.int16), np.array(plate_classes, np.int16)).tolist()


def traffic_of(world: World) -> list[np.ndarray]:
    """Passages over some hours, of every class, also without speed; some a day old."""
    chance = np.random.default_rng(11)
    rows = []
    for number in range(160):
        age_s = float(chance.uniform(0, 4 * 3600)) + (86_400 if number % 10 == 0 else 0)
        rows.append(
            seen(
                world, number % 4, -age_s, f"吉C{number:05d}", vehicle_class=CLASSES[number % 5],
                plate_class=(1, 2, 52)[number % 3], direction=1 + number % 2,
                speed_kmh=np.nan if number % 7 == 0 else 60.0 + number % 30,
            )
        )  # fmt: skip
    return rows


# ---------------------------------------------------------------- checkpoints and units
def test_any_order_of_arrival_ends_in_the_roll_ups_of_the_raw_passages(
    bench: Bench, world: World, writer: psycopg.Connection
):
    worker = bench.worker()
    rows = traffic_of(world)
    chance = np.random.default_rng(5)
    later = us_of(world.now) + 2 * 86_400_000_000
    for number, part in enumerate(np.array_split(chance.permutation(len(rows)), 8)):
        bench.send(*(rows[n] for n in part))
        bench.drain(worker)
        if number % 3 == 0:  # settled in between: late data changes what was computed
            rollups.settle(writer, now_us=us_of(world.now) + 3_600_000_000 * number, limit=3)
    settle_all(writer, later)
    for width in (Width.QUARTER, Width.HOUR, Width.DAY):
        assert table(writer, f"checkpoint_{width.name.lower()}") == from_raw(bench, width)
    assert_units_are_sums_of_their_checkpoints(bench)

    amended = rows[3].copy()
    amended["vehicle_class"], amended["speed_kmh"], amended["received_at"] = 1110, 12.0, us_of(world.now)
    bench.send(amended)
    bench.drain(worker)
    settle_all(writer, later)
    for width in (Width.QUARTER, Width.HOUR, Width.DAY):
        assert table(writer, f"checkpoint_{width.name.lower()}") == from_raw(bench, width)


def assert_units_are_sums_of_their_checkpoints(bench: Bench) -> None:
    by_unit = dict(bench.rows("SELECT unit, sum(passages)::int FROM unit_day GROUP BY 1"))
    of_gates = dict(bench.rows("SELECT checkpoint, sum(passages)::int FROM checkpoint_day GROUP BY 1"))
    west, east = of_gates[1] + of_gates[2], of_gates[3] + of_gates[4]
    assert by_unit[WEST_SQUADRON] == by_unit[WEST] == west and by_unit[EAST_SQUADRON] == by_unit[EAST] == east
    assert by_unit[CORPS] == west + east == 160


def test_a_bucket_in_which_nothing_is_left_goes(bench: Bench, world: World, writer: psycopg.Connection):
    worker = bench.worker()
    bench.send(seen(world, 0, -7200, "吉A00001", source_hash=5, vehicle_class=1133))
    bench.drain(worker)
    later = us_of(world.now) + 86_400_000_000
    settle_all(writer, later)
    assert bench.rows("SELECT DISTINCT class FROM checkpoint_hour") == [(1,)]
    bench.send(seen(world, 0, -7200, "吉A00001", source_hash=5, vehicle_class=1110, received_at=us_of(world.now)))
    bench.drain(worker)
    settle_all(writer, later)
    for width in ("quarter", "hour", "day"):
        assert bench.rows(f"SELECT class, passages FROM checkpoint_{width}") == [(2, 1)]


def test_what_two_workers_wrote_is_one_bucket(bench: Bench, world: World, writer: psycopg.Connection):
    first = bench.worker()
    bench.send(*(seen(world, 0, -7000, f"吉A{n:05d}") for n in range(8)))
    bench.drain(first)
    bench.dies(first)
    bench.send(*(seen(world, 0, -6999, f"吉B{n:05d}") for n in range(8)))
    bench.drain(bench.worker())
    settle_all(writer, us_of(world.now) + 86_400_000_000)
    assert bench.one("SELECT sum(passages) FROM checkpoint_hour") == 16


def test_a_running_bucket_is_computed_now_and_then_and_two_jobs_do_not_meet(
    bench: Bench, world: World, writer: psycopg.Connection, database_url: str
):
    worker = bench.worker()
    bench.send(seen(world, 0, -1, "吉A00001"))
    bench.drain(worker)
    at = us_of(world.now)
    with database.connect(database_url, database.WRITER) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [rollups.LOCK])
        assert rollups.settle(writer, now_us=at + 86_400_000_000) == 0
    rollups.settle(writer, now_us=at + 300_000_000)  # a running quarter is computed every five minutes
    assert bench.one("SELECT sum(passages) FROM checkpoint_quarter") == 1


def test_a_mark_of_a_writer_that_commits_during_the_computation_is_not_lost(
    bench: Bench, world: World, writer: psycopg.Connection, database_url: str
):
    quarter = begin_us(us_of(world.now) - 3_600_000_000, Width.QUARTER)
    later = us_of(world.now) + 86_400_000_000
    row = "INSERT INTO checkpoint_minute VALUES (%s, 1, 1, %s, 1, 1, 80, 1)"
    writer.execute(row, [when(quarter), 0])
    rollups.mark(writer, rollups.Subject.CHECKPOINTS, Width.QUARTER, [quarter], now_us=later - 60_000_000)
    with database.connect(database_url, database.WRITER) as slow:
        slow.execute(row, [when(quarter), 1])
        rollups.mark(slow, rollups.Subject.CHECKPOINTS, Width.QUARTER, [quarter], now_us=later - 60_000_000)
        rollups.settle(writer, now_us=later)
        assert bench.one("SELECT passages FROM checkpoint_quarter") == 1
        slow.commit()
    settle_all(writer, later)
    assert bench.one("SELECT passages FROM checkpoint_quarter") == 2
    assert bench.one("SELECT passages FROM checkpoint_day") == 2


# ---------------------------------------------------------------- links and indices
def test_cycles_become_minutes_quarters_hours_and_days(bench: Bench, world: World, writer: psycopg.Connection):
    begin = begin_us(us_of(world.now), Width.HOUR)
    for cycle in range(60):
        at = begin + cycle * CYCLE_US
        with writer.transaction():
            rollups.add_links(
                writer, network(), picture(at, speed=(90.0 + cycle, 40.0, np.nan, np.nan)), risk(), at_us=at
            )
            rollups.add_indices(writer, [index(), index("road", 1, None if cycle % 2 else 5.0)], at_us=at)
    settle_all(writer, begin + 2 * 86_400_000_000)
    assert bench.one("SELECT count(*) FROM link_minute") == 30 * 3  # the third link was never known
    assert bench.rows(
        "SELECT link, cycles, level_1, level_3, level_5, speeds, nullif(speed_min, 'NaN'), flows,"
        " round(confidence_sum), risks FROM link_hour ORDER BY link"
    ) == [
        (1, 60, 60, 0, 0, 60, 90.0, 60, 54, 60),
        (2, 60, 0, 60, 0, 60, 40.0, 60, 48, 60),
        (4, 60, 0, 0, 60, 0, None, 0, 24, 0),
    ]
    assert bench.rows(
        "SELECT speed_sum / speeds FROM link_quarter WHERE link = 1 AND bucket >= %s ORDER BY bucket", when(begin)
    ) == [(104.5,), (134.5,)]
    assert bench.rows("SELECT scope, cycles, indexes, index_sum, risk_1_sum FROM index_day ORDER BY scope") == [
        (0, 60, 60, 180.0, 240), (2, 60, 30, 150.0, 240)
    ]  # fmt: skip


def test_cycles_in_any_order_and_settled_in_between_are_the_same(
    bench: Bench, world: World, writer: psycopg.Connection
):
    begin = begin_us(us_of(world.now), Width.DAY)
    cycles = [begin + n * 7 * CYCLE_US for n in range(60)]
    chance = np.random.default_rng(2)
    seen_before = None
    for order in (list(range(60)), chance.permutation(60).tolist()):
        for name in [*everything(writer), "link_minute", "index_minute"]:
            bench.execute(f"TRUNCATE {name}")
        for number, cycle in enumerate(order):
            with writer.transaction():
                speeds = (90.0 + cycle, 40.0 - cycle / 2, np.nan, np.nan)
                rollups.add_links(writer, network(), picture(cycles[cycle], speed=speeds), None, at_us=cycles[cycle])
                rollups.add_indices(writer, [index(value=float(cycle))], at_us=cycles[cycle])
            if number % 13 == 0:
                rollups.settle(writer, now_us=cycles[cycle] + 3_600_000_000)
        settle_all(writer, begin + 3 * 86_400_000_000)
        now = everything(writer)
        assert seen_before in (None, now)
        seen_before = now
    assert len(now["link_day"]) == 3 and len(now["index_hour"]) > 1


def test_a_cycle_without_any_known_link_leaves_nothing(writer: psycopg.Connection, world: World):
    at = us_of(world.now)
    rollups.add_links(writer, network(), picture(at, level=(0, 0, 0, 0)), risk(), at_us=at)
    rollups.add_indices(writer, [], at_us=at)
    assert writer.execute(
        "SELECT (SELECT count(*) FROM link_minute), (SELECT count(*) FROM rollup_dirty)"
    ).fetchone() == (
        0,
        0,
    )


# ---------------------------------------------------------------- history
def history(begin_us_: int, quarters: int) -> dict[str, np.ndarray]:
    links = np.zeros(quarters * 4, rollups.LINK_ROLLUP)
    links["bucket"] = begin_us_ + np.repeat(np.arange(quarters), 4) * WIDTH_US[Width.QUARTER]
    links["link"] = np.tile([1, 2, 3, 4], quarters)
    links["cycles"] = links["level_1"] = links["speeds"] = links["flows"] = 30
    links["speed_sum"] = 30 * (80.0 + links["link"] + np.repeat(np.arange(quarters) // 96, 4))
    links["speed_min"], links["flow_sum"] = 70, 30 * 900.0
    gates = np.zeros(quarters, rollups.CHECKPOINT_ROLLUP)
    gates["bucket"] = begin_us_ + np.arange(quarters) * WIDTH_US[Width.QUARTER]
    gates["checkpoint"], gates["direction"], gates["class"] = 1, 1, 1
    gates["passages"] = gates["measured"] = 10
    gates["speed_sum"] = 800
    indices = np.zeros(quarters, rollups.INDEX_ROLLUP)
    indices["bucket"], indices["cycles"], indices["indexes"], indices["index_sum"] = gates["bucket"], 30, 30, 60
    of_west = indices.copy()
    of_west["scope"], of_west["scope_id"] = rollups.SCOPES["unit"], WEST
    return {"links": links, "checkpoints": gates, "indices": np.concatenate([indices, of_west])}


def test_history_fills_every_width_and_what_comes_late_does_not_break_it(
    bench: Bench, world: World, writer: psycopg.Connection
):
    today = begin_us(us_of(world.now), Width.DAY)
    past = history(today - 2 * 86_400_000_000, 192)
    shuffled = {name: rows[np.random.default_rng(1).permutation(len(rows))] for name, rows in past.items()}
    rollups.write_history(writer, **shuffled)
    before = everything(writer)
    assert {name: len(rows) for name, rows in before.items() if name.startswith("link")} == {
        "link_quarter": 768, "link_hour": 192, "link_day": 8
    }  # fmt: skip
    assert bench.rows("SELECT DISTINCT passages, source FROM checkpoint_day") == [(960, 1)]
    assert set(bench.rows("SELECT unit, passages FROM unit_day")) == {
        (u, 960) for u in (CORPS, WEST, 111, WEST_SQUADRON)
    }
    assert bench.rows("SELECT DISTINCT index_sum / indexes FROM index_day") == [(2.0,)]

    rollups.write_history(writer, **past)
    assert everything(writer) == before  # a second time changes nothing
    worker = bench.worker()
    bench.send(seen(world, 0, -86_400 - 7200, "吉A00001"))
    bench.drain(worker)
    settle_all(writer, us_of(world.now) + 86_400_000_000)
    assert everything(writer) == before


def test_history_in_the_middle_of_a_quarter_is_refused(writer: psycopg.Connection, world: World):
    with pytest.raises(ValueError, match="middle of a quarter"):
        rollups.write_history(writer, checkpoints=history(1_000_000, 1)["checkpoints"])
    assert writer.execute("SELECT count(*) FROM checkpoint_quarter").fetchone() == (0,)


def test_what_is_usual_is_the_median_of_the_same_quarter_on_such_days(writer: psycopg.Connection, world: World):
    today = begin_us(us_of(world.now), Width.DAY)
    past = history(today - 28 * 86_400_000_000, 28 * 96)
    past["links"] = past["links"][past["links"]["link"] != 3]
    rollups.write_history(writer, links=past["links"])
    at = today + 8 * 3_600_000_000 + 123
    kmh, vph = usual(writer, network(), at_us=at)
    days = [(begin - (today - 28 * 86_400_000_000)) // 86_400_000_000 for begin in like_quarters(at, days=28)]
    assert kmh[0] == pytest.approx(81.0 + float(np.median(days))) and np.isnan(kmh[2])
    assert vph[[0, 1, 3]].tolist() == [900.0] * 3
    nothing, _ = usual(writer, network(), at_us=at - 3600 * 86_400_000_000)
    assert np.isnan(nothing).all()


# ---------------------------------------------------------------- reading within one's reach
CALLS = {
    "link": "link_series(%(id)s, %(since)s, %(until)s, %(width)s, %(at)s)",
    "checkpoint": "checkpoint_series(%(id)s, %(direction)s::smallint, %(group)s::smallint, %(since)s, %(until)s,"
    " %(width)s, %(at)s)",
    "unit": "unit_series(%(id)s, %(group)s::smallint, %(since)s, %(until)s, %(width)s, %(at)s)",
    "province": "index_series('province', %(id)s, %(since)s, %(until)s, %(width)s, %(at)s)",
    "unit index": "index_series('unit', %(id)s, %(since)s, %(until)s, %(width)s, %(at)s)",
}


def series_of(database_url: str, unit: int | None, kind: str, number: int, **span: object) -> list:
    """A series as a viewer of a unit reads it."""
    wanted = {"id": number, "direction": None, "group": None, **span}
    with database.connect(database_url, database.API, row_factory=psycopg.rows.namedtuple_row) as connection:
        if unit is not None:
            connection.execute("SELECT set_config('traffic.unit', %s, true)", [str(unit)])
        return connection.execute(f"SELECT * FROM {CALLS[kind]}", wanted).fetchall()  # type: ignore[call-overload]


@pytest.fixture
def filled(bench: Bench, world: World, writer: psycopg.Connection) -> dict:
    """Two days of history, and the span and width to read it."""
    today = begin_us(us_of(world.now), Width.DAY)
    rollups.write_history(writer, **history(today - 2 * 86_400_000_000, 192))
    return {"since": when(today - 2 * 86_400_000_000), "until": when(today), "width": "hour", "at": world.now}


def test_links_and_checkpoints_are_for_their_owners_those_above_and_neighbours(
    filled: dict, database_url: str, world: World
):
    above = {unit: {unit} for unit in UNITS}
    for unit in UNITS:
        parent = UNITS[unit][0]
        while parent is not None:
            above[unit].add(parent)
            parent = UNITS[parent][0]
    # links 1 and 2 of the test road are the west's; the east sees the second one as a neighbour along the corridor
    reach = {
        ("link", 1): above[WEST_SQUADRON],
        ("link", 2): above[WEST_SQUADRON] | above[EAST_SQUADRON],
        ("checkpoint", 1): above[WEST_SQUADRON],
        ("unit index", WEST): above[WEST],
        ("unit", WEST): above[WEST],
        ("province", 0): set(UNITS),
    }
    for (kind, number), may in reach.items():
        for unit in UNITS:
            points = series_of(database_url, unit, kind, number, **filled)
            assert bool(points) == (unit in may), (kind, number, unit)
        assert series_of(database_url, None, kind, number, **filled) == []


def test_a_series_tells_means_of_each_bucket_in_order(filled: dict, database_url: str):
    points = series_of(database_url, CORPS, "link", 1, **filled)
    assert len(points) == 48 and [p.bucket for p in points] == sorted(p.bucket for p in points)
    assert (points[0].speed_kmh, points[0].flow_vph, points[0].cycles, points[0].source) == (81.0, 900.0, 120, 1)
    assert points[0].risk is None and points[0].travel_s is None and points[-1].speed_kmh == 82.0
    flows = series_of(database_url, CORPS, "unit", CORPS, group=1, **filled)
    assert {(p.passages, p.speed_kmh) for p in flows} == {(40, 80.0)}
    assert series_of(database_url, CORPS, "unit", CORPS, group=3, **filled) == []
    assert series_of(database_url, CORPS, "checkpoint", 1, direction=2, **filled) == []


def test_minutes_of_a_unit_are_added_up_from_its_checkpoints(bench: Bench, world: World, database_url: str):
    worker = bench.worker()
    bench.send(*(seen(world, gate, -600, f"吉A{n:05d}", speed_kmh=80.0) for gate in range(4) for n in range(5)))
    bench.drain(worker)
    span = {"since": world.now - timedelta(hours=1), "until": world.now, "width": "minute", "at": world.now}
    for unit, passages in ((CORPS, 20), (WEST, 10), (EAST_SQUADRON, 10)):
        (point,) = series_of(database_url, unit, "unit", unit, **span)
        assert (point.passages, point.speed_kmh) == (passages, 80.0)
    (point,) = series_of(database_url, WEST, "checkpoint", 2, **span)
    assert point.passages == 5
    assert series_of(database_url, EAST, "unit", WEST, **span) == []


def test_screens_have_no_way_to_the_tables_but_the_functions(
    owner: psycopg.Connection, database_url: str, world: World
):
    tables = [row[0] for row in owner.execute("SELECT hypertable_name FROM timescaledb_information.hypertables")]
    for role in (database.API, database.HUB):
        with database.connect(database_url, role, autocommit=True) as connection:
            for name in [*tables, "rollup_dirty"]:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT * FROM {name} LIMIT 1")  # type: ignore[call-overload]
            for width in ("minute; DROP TABLE link", "week"):
                with pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege)):
                    connection.execute("SELECT set_config('traffic.unit', '1', false)")
                    connection.execute(
                        "SELECT * FROM link_series(1, '-infinity', 'infinity', %s, %s)", [width, world.now]
                    )


def test_late_data_of_a_dropped_minute_does_not_shrink_its_quarter(
    bench: Bench, world: World, writer: psycopg.Connection
):
    old = begin_us(us_of(world.now) - 20 * 86_400_000_000, Width.QUARTER)
    writer.execute("INSERT INTO checkpoint_quarter VALUES (%s, 1, 1, 1, 100, 100, 8000, 0)", [when(old)])
    writer.execute("UPDATE retention SET keep_days = 10 WHERE what = 'checkpoint_minute'")
    worker = bench.worker()
    bench.send(seen(world, 0, (when(old) - world.now) / timedelta(seconds=1) + 60, "吉A00001"))
    bench.drain(worker)
    settle_all(writer, us_of(world.now) + 3_600_000_000)
    assert bench.one("SELECT sum(passages) FROM checkpoint_quarter") == 100
