"""`bench twin`: what makes the figure, and a door that takes everything. No bench runs here."""

import httpx
import pytest

from dashboards.bench import BENCHES
from dashboards.bench.twin import Options, _null_door, _until_busy_s, result, sustained
from dashboards.bench.twin_drive import Driven
from sim import demand
from tests.unit.test_bench import assert_shape
from traffic.clock import Clock


def driven(vehicles: int, cpu_s: float, twin_cpu_s: float = 0.0) -> Driven:
    return Driven(vehicles=vehicles, world_s=60.0, real_s=10.0, engine_cpu_s=cpu_s, twin_cpu_s=twin_cpu_s)


def test_the_figure_is_vehicles_for_a_whole_core_at_the_largest_count_tried() -> None:
    assert sustained(driven(20_000, 10.0, 2.0)) == 100_000
    ours, alone = [driven(10_000, 4.0), driven(20_000, 10.0, 2.0)], [driven(10_000, 4.0), driven(20_000, 10.0)]
    found = result(Options(), ours, alone, {"mesoscopic": driven(10_000, 1.0)}).as_json()
    assert_shape(found)
    assert (found["value"], found["reference"]["value"]) == (100_000, 120_000)
    assert found["details"]["largest_tried_at_real_time"] == 20_000
    assert result(Options(), [driven(9_000, 90.0)], alone, {}).details["largest_tried_at_real_time"] == 0
    assert "twin" in BENCHES


def test_the_null_door_takes_everything_and_the_clock_stands_at_a_busy_hour() -> None:
    with _null_door() as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.post("/api/positions", content=b"{}\n" * 5_000).json() == {"accepted": 0, "rejected": []}
        assert client.get("/VIID/System/Time").status_code == 200
    clock = Clock()
    at_us = clock.now_us() + round(_until_busy_s(clock) * 1e6)
    day = demand.local_day(at_us)
    assert demand.kind_of(day) == demand.WEEKDAY
    assert (at_us - demand.day_begin_us(day)) / demand.HOUR_US == pytest.approx(8.0, abs=0.01)
