"""The demonstration's simulated past: written once, marked, full at the same time of last week, like what follows."""

from datetime import timedelta

import numpy as np
import psycopg
import pytest

from sim import demand
from sim.backfill import backfill, backfill_beside, make_history
from sim.history import QUARTER_US
from traffic import province
from traffic.province_tables import model_province

PROVINCE = model_province()


def test_a_first_start_has_a_past_and_a_second_one_leaves_it_alone(settings, owner: psycopg.Connection) -> None:
    settings = settings.model_copy(update={"demo": True})
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    province.load_instance(settings)
    said: list[str] = []
    assert backfill(settings.model_copy(update={"demo": False}), said.append) == 0
    written = backfill(settings, said.append, days=1)
    assert 96 <= written <= 2 * 96 and len(said) == 2
    assert backfill(settings, said.append, days=1) == 0 and len(said) == 2
    backfill_beside(settings.model_copy(update={"demo": False}), said.append).join(10)
    assert len(said) == 2
    for table in ("link_quarter", "checkpoint_quarter", "unit_quarter", "index_quarter", "link_hour", "index_day"):
        count, sources = owner.execute(f"SELECT count(*), array_agg(DISTINCT source) FROM {table}").fetchone()  # type: ignore[misc]
        assert count > 0 and sources == [1], table
    last, quarters = owner.execute("SELECT max(bucket), count(DISTINCT bucket) FROM link_quarter").fetchone()  # type: ignore[misc]
    assert quarters == written
    assert timedelta(0) <= settings.clock.now() - last < timedelta(minutes=31)
    known = "SELECT count(DISTINCT link) FROM link_quarter WHERE bucket = %s"
    assert owner.execute(known, [last - timedelta(days=1)]).fetchone()[0] > 0.9 * len(PROVINCE.links)  # type: ignore[index]


@pytest.fixture(scope="module")
def weekday():
    """A whole working day of March, without the database."""
    from traffic.settings import load_settings

    history = make_history(PROVINCE, load_settings())
    begin_us = demand.day_begin_us(demand.local_day(1_773_100_000_000_000))
    return history, begin_us, history.day(begin_us, begin_us + demand.DAY_US)


def test_a_day_follows_the_curve_and_only_whole_quarters_are_told(weekday) -> None:
    history, begin_us, made = weekday
    busy = made.links[made.links["link"] == 1061]
    flow = busy["flow_sum"] / busy["flows"]
    hour = (busy["bucket"] - begin_us) // demand.HOUR_US
    assert np.median(flow[(hour >= 8) & (hour < 10)]) > 1.8 * np.median(flow[(hour >= 2) & (hour < 4)])
    assert ((made.links["bucket"] - begin_us) % QUARTER_US == 0).all()
    levels = np.stack([made.links[f"level_{level}"] for level in range(1, 6)])
    assert (levels.sum(0) == made.links["cycles"]).all()
    assert (levels[2:].sum(1) > 0).all()  # some were moderate, heavy, blocked
    assert np.isfinite(made.links["speed_sum"]).all() and (made.links["speed_sum"] > 0).all()
    assert (made.checkpoints["measured"] <= made.checkpoints["passages"]).all()
    part = history.day(begin_us + 61_000_000, begin_us + QUARTER_US * 3 - 1)
    assert set(part.links["bucket"].tolist()) == {begin_us + QUARTER_US}
    assert not len(history.day(begin_us, begin_us + QUARTER_US - 1).links)


def test_the_same_day_is_made_alike_and_sensors_have_dead_times(weekday) -> None:
    history, begin_us, made = weekday
    again = history.day(begin_us, begin_us + demand.DAY_US)
    assert made.links.tobytes() == again.links.tobytes()
    assert made.indices.tobytes() == again.indices.tobytes()
    counts = np.unique(made.links["link"], return_counts=True)[1]
    assert 0 < (counts < 96).sum() < 0.2 * len(counts)
