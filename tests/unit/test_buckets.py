"""Buckets of time, told in the time of Shanghai."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.buckets import WIDTH_US, Width, begin_us, begins_us, due_us, like_quarters
from traffic.zone import SHANGHAI

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(TIMES, st.sampled_from(Width))
def test_a_bucket_holds_its_time_and_begins_on_the_clock_of_shanghai(moment: datetime, width: Width):
    begin = begin_us(us(moment), width)
    assert begin <= us(moment) < begin + WIDTH_US[width]
    local = datetime.fromtimestamp(begin / 1e6, SHANGHAI)
    minutes = local.hour * 60 + local.minute + local.second / 60
    assert minutes % (WIDTH_US[width] / 60e6) == 0
    assert begins_us(np.array([us(moment)] * 2), width).tolist() == [begin]


@given(TIMES, TIMES, st.sampled_from([Width.QUARTER, Width.HOUR, Width.DAY]))
def test_a_bucket_that_changes_is_due_soon_and_a_running_one_at_its_end_at_the_latest(
    moment: datetime, now: datetime, width: Width
):
    begin, now_us = begin_us(us(moment), width), us(now)
    due = due_us(begin, width, now_us=now_us)
    assert due > now_us or begin + WIDTH_US[width] <= now_us
    if begin + WIDTH_US[width] <= now_us:
        assert now_us < due <= now_us + 60_000_000
    else:
        assert due <= begin + WIDTH_US[width]


@pytest.mark.parametrize(
    ("day", "like"),
    [(25, [24, 23, 20, 19, 18]), (22, [21, 15])],  # a Wednesday, a Sunday of November 2026
)
def test_working_days_are_like_working_days_and_weekends_like_weekends(day: int, like: list[int]):
    at = datetime(2026, 11, day, 8, 47, tzinfo=SHANGHAI)
    quarters = [datetime.fromtimestamp(begin / 1e6, SHANGHAI) for begin in like_quarters(us(at), days=7)]
    assert [quarter.day for quarter in quarters] == like
    assert {(quarter.hour, quarter.minute) for quarter in quarters} == {(8, 45)}
