"""Which parts stand still, told as moments in time."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboards.staleness import Lease, Look, overdue_s, stopped_for_s

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def lease(until_s: float, committed_s: float | None = 1.0) -> Lease:
    """A lease that ends so many seconds from now, with a commit so many seconds ago."""
    committed = None if committed_s is None else NOW - timedelta(seconds=committed_s)
    return Lease(until=NOW + timedelta(seconds=until_s), committed_at=committed)


def stopped(**fields: object) -> dict[str, float | None]:
    look = {
        "real_now": NOW, "database_age_s": None, "bus_age_s": None, "leases": [lease(3), lease(3)],
        "roads": [lease(3)], "doors_seen_at": NOW, "monitor_seen_at": NOW,
    }  # fmt: skip
    return stopped_for_s(Look(**{**look, **fields}))  # type: ignore[arg-type]


def test_nothing_stands_still_when_all_go_on():
    assert stopped() == {}


@pytest.mark.parametrize(
    ("leases", "since_s"),
    [
        ([lease(3), lease(-6, 10)], 6.0),  # one worker died
        ([lease(-20, 22), lease(-6, 10)], 20.0),  # the one that stands longest counts
        ([lease(3, 60), lease(3)], 60.0),  # leased, but nothing is committed
        ([Lease(until=LONG_AGO, committed_at=None)], None),  # never ran
    ],
)
def test_workers_that_do_not_go_on_are_named(leases, since_s):
    assert stopped(leases=leases) == {"worker": since_s}


def test_a_lease_that_just_ran_out_is_given_time_to_be_taken_over():
    assert stopped(leases=[lease(-1)]) == {}


def test_without_the_bus_workers_are_not_blamed_for_standing_still():
    assert stopped(bus_age_s=30.0, leases=[lease(3, 60)]) == {"bus": 30.0}


def test_without_the_database_nothing_is_said_of_those_who_write_to_it():
    assert stopped(database_age_s=5.0, leases=None, doors_seen_at=None) == {"database": 5.0}


def test_doors_are_named_when_silent_and_when_never_heard():
    assert stopped(doors_seen_at=NOW - timedelta(seconds=30)) == {"doors": 30.0}
    assert stopped(doors_seen_at=None) == {"doors": None}
    assert stopped(doors_seen_at=NOW - timedelta(seconds=5)) == {}


@pytest.mark.parametrize(
    ("fields", "since_s"),
    [
        ({"monitor_seen_at": None}, None),  # never ran
        ({"monitor_seen_at": NOW - timedelta(seconds=30)}, 30.0),
        ({"roads": [lease(-6, 10)]}, 6.0),  # died, and no other one took over
        ({"roads": [lease(3, 60)]}, 60.0),  # leased, but nothing is committed
        ({"cycle_age_s": 80.0}, 80.0),  # alive, but without a cycle
    ],
)
def test_a_monitor_that_does_not_go_on_is_named(fields, since_s):
    assert stopped(**fields) == {"monitor": since_s}


def test_without_the_bus_the_monitor_is_not_blamed_for_its_cycle():
    assert stopped(bus_age_s=30.0, cycle_age_s=80.0, roads=[lease(3, 60)]) == {"bus": 30.0}


@pytest.mark.parametrize(
    ("age_s", "rate", "late_s"),
    [(30, 1.0, None), (74, 1.0, None), (90, 1.0, 90.0), (90, 60.0, None), (1200, 60.0, 20.0), (-5, 1.0, None)],
)
def test_a_cycle_is_overdue_by_the_domains_clock_and_by_the_real_one(age_s, rate, late_s):
    assert overdue_s(1_000_000_000 - age_s * 1_000_000, 1_000_000_000, rate) == late_s
    assert overdue_s(None, 1_000_000_000, rate) is None
