"""Rules that fail, lists that change, and what was refused."""

import numpy as np
import psycopg
import pytest

from tests.conftest import wait_until
from tests.workbench import Bench, batch, identities_of, seen
from tests.workerkit import (
    assert_exactly_once,
    assert_feed_is_dense,
    one_partition,
    running,
    send_each,
    traffic_of,
    watch,
)
from tests.world import CORPS, WEST, World
from traffic import pipeline, store
from traffic.readings import (
    EntryKind,
    PassageBatch,
    Reject,
    decode_entry,
)
from traffic.vehicles import Verdict


# ---------------------------------------------------------------- rules that fail, lists that change
def test_a_record_that_breaks_a_rule_is_stored_and_quarantined_and_the_others_are_judged(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    judge = pipeline.judge
    poison = 66.25

    def fragile(state: object, rules: object, rows: np.ndarray, *, now_us: int) -> Verdict:
        if (rows["speed_kmh"] == poison).any():
            raise ZeroDivisionError("a rule that cannot bear this speed")
        return judge(state, rules, rows, now_us=now_us)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "judge", fragile)
    rows = traffic_of(world)
    rows[13]["speed_kmh"] = rows[77]["speed_kmh"] = poison
    with running(bench.worker()):
        bench.send(*rows)
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows), what="all records")
    assert_exactly_once(bench, rows)
    kept = bench.rows("SELECT reason, detail, body FROM quarantine")
    assert len(kept) == 2
    assert {reason for reason, *_ in kept} == {"rule_failed"}
    assert all("ZeroDivisionError: a rule that cannot bear this speed" in detail for _, detail, _ in kept)
    assert all(str(poison).encode() in bytes(body) for *_, body in kept)


def test_an_entry_that_the_database_refuses_for_good_is_set_aside_and_the_partition_goes_on(bench: Bench, world: World):
    rows = one_partition(world, 12)
    with running(bench.worker()) as worker:
        send_each(bench, rows[:4])
        bench.send_batch(batch(rows[4], images=("no\0where",)))  # no door lets it through; a rolled-back door might
        send_each(bench, rows[5:])
        bench.send(*traffic_of(world))
        wait_until(lambda: bench.one("SELECT count(*) FROM quarantine"), what="the entry in quarantine")
        everything = len(rows) - 1 + len(traffic_of(world))
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == everything, what="all other records")
    assert bench.identities() == identities_of(*rows[:4], *rows[5:], *traffic_of(world))
    ((reason, detail, body),) = bench.rows("SELECT reason, detail, body FROM quarantine")
    assert reason == "not_storable" and "NUL" in detail
    assert decode_entry(bytes(body))[1].rows["source_hash"] == rows[4]["source_hash"]
    assert worker.figures["rejects"] == 1
    assert_feed_is_dense(bench)


def test_a_fault_outside_the_rules_stops_nothing_but_its_own_entry(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    copy = store.copy_passages

    def fragile(connection: psycopg.Connection, records: PassageBatch) -> None:
        if (records.rows["lane"] == 66).any():
            raise TypeError("a fault of the programme")
        copy(connection, records)

    monkeypatch.setattr(store, "copy_passages", fragile)
    rows = one_partition(world, 6)
    rows[2]["lane"] = 66
    with running(bench.worker()):
        send_each(bench, rows)
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows) - 1, what="the other records")
    assert bench.rows("SELECT reason, detail FROM quarantine") == [
        ("not_storable", "TypeError: a fault of the programme")
    ]


def test_a_refusal_that_quotes_a_nul_does_not_stop_the_partition(bench: Bench, world: World):
    worker = bench.worker()
    hostile = Reject(
        received_at=1_790_000_000_000_000, door=2, device_id=1, unit_id=WEST, position=0, field="check\0point",
        reason="unknown_checkpoint", detail="no checkpoint has the code a\0b", body=b"a\0b",
    )  # fmt: skip
    bench.send_small(EntryKind.REJECTS, [hostile])
    bench.drain(worker)
    assert bench.rows("SELECT reason, detail, body FROM quarantine") == [
        ("unknown_checkpoint", "no checkpoint has the code a\N{SYMBOL FOR NULL}b", b"a\0b")
    ]


def test_a_watch_entry_looks_back_half_an_hour_when_it_is_activated(bench: Bench, world: World):
    worker = bench.worker()
    before, within, again = (seen(world, 0, -60 * minutes, "吉K00001") for minutes in (40, 20, 10))
    bench.send(before, within, again)
    bench.drain(worker)
    watch(bench, world, "吉K00001")
    bench.step_until(worker, lambda: bench.one("SELECT count(*) FROM finding"))
    bench.send(seen(world, 1, -1, "吉K00001"))
    bench.drain(worker)
    ((observations, count),) = bench.rows("SELECT grounds -> 'observations', grounds -> 'count' FROM finding")
    assert count == 3
    assert [o["at"] for o in observations[:2]] == [int(row["observed_at"][0]) for row in (within, again)]
    assert_feed_is_dense(bench)


def test_a_watch_entry_activated_while_no_worker_lived_is_looked_up_by_the_next(bench: Bench, world: World):
    first = bench.worker()
    bench.send(seen(world, 0, -60, "吉K00001"))
    bench.drain(first)
    bench.dies(first)
    watch(bench, world, "吉K00001")
    second = bench.worker()
    assert bench.one("SELECT count(*) FROM finding") == 1
    bench.dies(second)
    bench.worker()
    assert bench.rows("SELECT revision FROM finding") == [(1,)]


def test_each_committed_stretch_tells_the_versions_that_it_was_judged_with(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(*one_partition(world, 2))
    bench.drain(worker)
    watch(bench, world, "吉K00001")
    bench.step_until(
        worker,
        lambda: (
            bench.rows("SELECT value FROM version WHERE name = 'watchlist'")[0][0]
            == (worker.book.versions["watchlist"] if worker.book else -1)
        ),
    )
    bench.send(*one_partition(world, 3)[2:])
    bench.drain(worker)
    versions = [row[0] for row in bench.rows("SELECT watchlist_version FROM batch ORDER BY to_offset")]
    assert len(versions) == 2 and versions[1] == versions[0] + 1


# ---------------------------------------------------------------- quarantine
def refused(number: int, unit: int | None = WEST) -> Reject:
    return Reject(
        received_at=1_790_000_000_000_000, door=2, device_id=1, unit_id=unit, position=number, field="plate",
        reason="too_long", detail="a plate has at most 16 characters", body=b"%d" % number,
    )  # fmt: skip


def test_refused_records_are_kept_for_the_eyes_of_the_senders_units(bench: Bench, world: World):
    worker = bench.worker()
    bench.send_small(EntryKind.REJECTS, [refused(1), refused(2, unit=None), refused(3, unit=4711)])
    bench.drain(worker)
    assert bench.rows("SELECT position, body, audience, state FROM quarantine ORDER BY position") == [
        (1, b"1", [CORPS, WEST], "open"),
        (2, b"2", [CORPS], "open"),
        (3, b"3", [CORPS], "open"),
    ]


def test_quarantine_is_bounded_and_what_is_dropped_is_counted(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "QUARANTINE_ROWS_MAX", 10)
    worker = bench.worker()
    bench.send_small(EntryKind.REJECTS, [refused(n) for n in range(30)])
    bench.drain(worker)
    bench.execute("UPDATE quarantine SET state = 'dismissed' WHERE position >= 25")
    worker._prune(worker._connected())
    assert [row[0] for row in bench.rows("SELECT position FROM quarantine ORDER BY id")] == list(range(15, 25))
    assert bench.one("SELECT value FROM counter WHERE name = 'quarantine_dropped_open'") == 15
