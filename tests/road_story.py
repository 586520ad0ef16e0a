"""A stretch of traffic on the tiny province's road, as entries of the bus: for a quiet run and for disturbed ones."""

from collections.abc import Iterator

import numpy as np

from tests.roadbench import CYCLE_US, RoadBench, report
from traffic.limits import ROADS_PARTITION
from traffic.readings import EntryKind, Tick, encode_rows, encode_small
from traffic.road_readings import RoadWork, WeatherReport
from traffic.stream import meta_key, stream_key

TABLES = {  # what must be the same in the end, in an order that says nothing of how it came about
    "detector_report": "SELECT * FROM detector_report ORDER BY detector, lane, observed_at",
    "weather_report": "SELECT station, observed_at, valid_to, road_id, visibility_m FROM weather_report ORDER BY 1, 2",
    "road_work": "SELECT code, state, revision FROM road_work ORDER BY 1",
    "link_state": "SELECT * FROM link_state ORDER BY link_id",
    "road_event": "SELECT * FROM road_event ORDER BY id",
    "road_event_revision": "SELECT * FROM road_event_revision ORDER BY event_id, revision",
    "sensor_health": "SELECT * FROM sensor_health ORDER BY 1, 2, 3",
    "road_index": "SELECT * FROM road_index ORDER BY scope, scope_id",
    "link_minute": "SELECT * FROM link_minute ORDER BY link, bucket",
    "index_minute": "SELECT * FROM index_minute ORDER BY scope, scope_id, bucket",
    "feed": "SELECT seq, topic, kind, key, audience, body FROM feed WHERE partition = 64 ORDER BY seq",
}


def entries(bench: RoadBench, cycles: int) -> Iterator[bytes]:
    """Each half minute: its reports, some again, late or amended, now and then weather and works; then the tick."""
    begin_us = bench.clock.us
    chance = np.random.default_rng(11)
    before: list[np.ndarray] = []
    for number in range(1, cycles + 1):
        end_us = begin_us + number * CYCLE_US
        slow = 5 <= number <= cycles - 8
        rows = [
            report(
                bench.world, detector, end_us, lane=lane, vehicles=int(chance.integers(3, 20)),
                speed_kmh=float(chance.uniform(8, 14) if slow and detector == 2 else chance.uniform(80, 100)),
                occupancy=float(chance.uniform(45, 60) if slow and detector == 2 else chance.uniform(5, 9)),
            )
            for detector in (1, 2, 3, 4) for lane in (1, 2)
        ]  # fmt: skip
        late = rows.pop(int(chance.integers(len(rows))))
        amended = rows[0].copy()
        amended["vehicles"], amended["received_at"] = amended["vehicles"] + 1, amended["received_at"] + 1_000_000
        yield encode_rows(EntryKind.DETECTORS, np.concatenate(rows[:3]))
        yield encode_rows(EntryKind.DETECTORS, np.concatenate([*rows[3:], rows[4], amended, *before]))
        before = [late]
        if number % 5 == 0:
            yield encode_small(EntryKind.ROADSIDE, [fog(bench, end_us, number), works(bench, end_us, number)])
        yield encode_small(EntryKind.TICK, [Tick(at=end_us + 1_500_000)])


def fog(bench: RoadBench, at_us: int, number: int) -> WeatherReport:
    """Fog on the first half of the road."""
    return WeatherReport(
        station="W-1", observed_at=at_us, received_at=at_us + 1_000_000, valid_to=at_us + 600_000_000,
        device=bench.world.native_id, unit_id=1, road_id=1, from_stake_m=0, to_stake_m=20_000, direction=0,
        visibility_m=40 + 10 * number,
    )  # fmt: skip


def works(bench: RoadBench, at_us: int, number: int) -> RoadWork:
    """Works that begin, go on, and are told again and again."""
    return RoadWork(
        code="SG-1", observed_at=at_us, received_at=at_us + 1_000_000, device=bench.world.native_id, unit_id=1111,
        road_id=1, from_stake_m=12_000, to_stake_m=13_000, direction=1, lanes_closed=(2,), from_at=at_us - number,
        to_at=at_us + 3_600_000_000, kind="paving", state="active",
    )  # fmt: skip


def outcome(bench: RoadBench) -> dict[str, list[tuple]]:
    """What all tables say."""
    return {name: bench.rows(query) for name, query in TABLES.items()}


def begin_anew(bench: RoadBench) -> None:
    """Everything that a monitor left behind is gone, from the tables and from the bus."""
    tables = (*TABLES, "monitor_snapshot", "batch", "bus_gap", "quarantine", "rollup_dirty")
    bench.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
    bench.execute(
        "UPDATE partition SET owner = NULL, until = '1970-01-01+00', generation = 0, bus_offset = 0, feed_seq = 0,"
        " snapshot_generation = 0, snapshot_offset = 0 WHERE id = %s",
        ROADS_PARTITION,
    )
    bench.redis.delete(stream_key(ROADS_PARTITION), meta_key(ROADS_PARTITION))


def assert_same(found: dict[str, list[tuple]], wanted: dict[str, list[tuple]]) -> None:
    """Table by table, so that a failure names the first row that differs."""
    for name in TABLES:
        for number, (row, other) in enumerate(zip(found[name], wanted[name], strict=False)):
            assert repr(row) == repr(other), f"{name}, row {number}"
        assert len(found[name]) == len(wanted[name]), name
