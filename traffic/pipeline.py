"""The stream worker: the only loop that turns what the bus holds into what the province knows.

batch in -> known records dropped -> rules -> one transaction -> state stands -> readers woken. After any error of a
commit the state is rebuilt from snapshot and replay: it never goes on with state that has run ahead.
"""

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import psycopg
import structlog

from traffic import commit as one
from traffic import store
from traffic.clock import monotonic_s
from traffic.collect import Entry, Place, Work, collect, set_aside
from traffic.commit import Judged
from traffic.errors import LeaseLost, Reason
from traffic.lease import VEHICLES, Held
from traffic.limits import (
    BATCH_RECORDS_MAX,
    FEED_KEEP_S,
    LATENESS_S,
    LEASE_S,
    QUARANTINE_ROWS_MAX,
    SNAPSHOT_EVERY_S,
    TICK_S,
    WATCH_LOOKBACK_PLATES_MAX,
    WATCH_LOOKBACK_S,
)
from traffic.partition_keeper import PartitionKeeper
from traffic.readings import EntryKind, PassageBatch, Reject, Tick, encode_small, logical_partitions, routing_keys
from traffic.restore import STATE_AGE_US, Memory, logicals_of, restore
from traffic.rulebook import Book, load_book
from traffic.settings import Settings
from traffic.store import SQL, when
from traffic.upkeep import Upkeep
from traffic.vehicles import Verdict, bans, judge, keyed, travel_time, trust
from traffic.vehicles.known import KnownRecords, content_hash

log = structlog.get_logger()

IDLE_WAIT_MS = 100  # how long a read waits for something to come
SENSORS_EVERY_S = 30.0  # the monitor's own pace
FAILURES_BEFORE_BISECT = 2  # then each record that a rule fails on goes without the rules


class Worker(PartitionKeeper):
    """One process that owns a share of the partitions and keeps their vehicles' state in memory."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "worker", VEHICLES)
        self.memory = Memory()
        self.known = KnownRecords()
        self.book: Book | None = None
        self.doubtful: set[tuple[int, int, int]] = set()  # places whose batch met a record that the table holds
        self.recent: deque[tuple[float, int]] = deque(maxlen=200)  # (monotonic, records) of the last batches
        self.read_count = 64

    # ------------------------------------------------------------ the loop

    def step(self) -> None:
        """One turn: upkeep that is due, then one batch."""
        self.in_hand = []
        connection = self._connected()
        self._keep_up(connection)
        if not self.held:
            self._pause(0.2)
            return
        places = {p: (own.generation, own.offset) for p, own in self.held.items()}
        found = self.reader.read(places, count=self.read_count, wait_ms=IDLE_WAIT_MS)
        now_us = self.clock.now_us()
        if self._is_due("settle", 1.0):
            self._settle(connection, [partition for partition in places if partition not in found])
        if not found:
            return
        found = self._choose(places, found)
        self.in_hand = [(partition, *places[partition]) for partition in found]
        work = collect(places, found, now_us=now_us)
        if work.moves:
            self._process(connection, self._without_hopeless(places, found, work, now_us), now_us)
        self._close_gaps(connection, work.gaps)
        gaping = {gap.partition for gap in work.gaps}
        self._settle(connection, [p for p in found if p not in work.moves and p not in gaping])
        entries = sum(len(entries) for entries in work.read.values())
        records = max(1, len(work.batch) + len(work.positions)) / max(1, entries)
        self.read_count = int(np.clip(BATCH_RECORDS_MAX / records / max(1, len(found)), 16, 2_000))

    def _without_hopeless(
        self, places: dict[int, Place], found: dict[int, list[Entry]], work: Work, now_us: int
    ) -> Work:
        """The batch as it is, unless it is an entry that failed alone as well: that one is set aside."""
        ((partition, entries), *others) = found.items()
        if others or not self._is_hopeless((partition, *places[partition])):
            return work
        log.error("entry set aside", partition=partition, counter=entries[0].counter, why=self.failure)
        return set_aside(places[partition], partition, entries[0], self.failure, now_us=now_us)

    def forget(self) -> None:
        """Drop the vehicles' state."""
        self.memory = Memory()
        self.known = KnownRecords()

    # ------------------------------------------------------------ upkeep

    def _keep_up(self, connection: psycopg.Connection) -> None:
        if self.book is None or self._is_due("versions", 1.0):
            self._refresh_book(connection)
        if self._is_due("sensors", SENSORS_EVERY_S):
            assert self.book is not None
            self.book = self.book.with_sensors(connection, now_us=self.clock.now_us())
        if self._is_due("lease", LEASE_S / 5):
            self._balance(connection)
        if self._is_due("tick", TICK_S):
            self._tick()
        if due := [p for p in self.held if self._is_due(f"snapshot {p}", SNAPSHOT_EVERY_S)]:
            self._snapshot(connection, due)
        if self._is_due("prune", 30.0):
            self._prune(connection)
        if self._is_due("heartbeat", 2.0):
            self.heartbeat.beat_sync(connection, self._figures())

    def _refresh_book(self, connection: psycopg.Connection) -> None:
        versions: dict[str, int] = dict(connection.execute(SQL["versions"]).fetchall())
        if self.book is not None and self.book.stands(versions, now_us=self.clock.now_us()):
            return
        before = self.book.versions["watchlist"] if self.book else None
        self.book = load_book(connection, self.book, now_us=self.clock.now_us())
        if before is not None:
            self._look_back(connection, list(self.held), newer_than=before)

    def _balance(self, connection: psycopg.Connection) -> None:
        lost = self.leases.renew(connection, self.held)
        if lost:
            raise LeaseLost(f"the partitions {lost} were taken by another worker")
        assert self.book is not None
        share = self.leases.fair_share(connection)
        if len(self.held) > share:
            self._give_back(connection, sorted(self.held)[share:])
        elif len(self.held) < share:
            for own in self.leases.acquire(connection, share - len(self.held)):
                source = restore(
                    connection, self.reader, (self.memory, self.book.rules), own, self.settings.partitions,
                    now_us=self.clock.now_us(),
                )  # fmt: skip
                self.held[own.id] = own
                # One after another, so that no batch waits for all.
                self.due[f"snapshot {own.id}"] = monotonic_s() + SNAPSHOT_EVERY_S * own.id / self.settings.partitions
                self.due.pop("settle", None)  # is the bus where the database says? Before that nothing is opened
                log.info("partition taken", partition=own.id, epoch=own.epoch, offset=own.offset, state_from=source)
                self.figures["takeovers"] += 1
                self.figures[f"restored_from_{source}"] += 1
                self._look_back(connection, [own.id], newer_than=None)

    def _give_back(self, connection: psycopg.Connection, ids: list[int]) -> None:
        self._snapshot(connection, ids)
        self.leases.release(connection, ids)
        for partition in ids:
            del self.held[partition]
            self.memory.drop(logicals_of(partition, self.settings.partitions))
        log.info("partitions given back", partitions=ids)

    def _tick(self) -> None:
        now_us = self.clock.now_us()
        for partition in self.held:
            self.reader.append(partition, encode_small(EntryKind.TICK, [Tick(at=now_us)]))

    def _snapshot(self, connection: psycopg.Connection, ids: list[int] | None = None) -> None:
        """Write the dirty pages of each partition together with the offset at which they stand, then trim the bus."""
        for partition in ids or list(self.held):
            own = self.held[partition]
            logicals = set(logicals_of(partition, self.settings.partitions))
            if own.snapshot != (own.generation, own.offset):
                with connection.transaction():
                    self._write_pages(connection, own, logicals)
                own.snapshot = (own.generation, own.offset)
                self.memory.clear_dirty(logicals)
            self._trim(own)

    def _write_pages(self, connection: psycopg.Connection, own: Held, logicals: set[int]) -> None:
        place = {"id": own.id, "epoch": own.epoch, "generation": own.generation, "bus_offset": own.offset}
        if connection.execute(SQL["snapshot_stands"], place).rowcount != 1:
            raise LeaseLost(f"partition {own.id} belongs to another worker by now")
        taken_at = self.clock.now()
        for kind, number, state in self.memory.kinds():
            for logical in sorted(state.dirty() & logicals):
                page = {"kind": kind, "logical": logical, "format": number, "taken_at": taken_at}
                connection.execute(SQL["snapshot_write"], {**page, "body": state.dump(logical)})

    def _prune(self, connection: psycopg.Connection) -> None:
        now_us = self.clock.now_us()
        ids = list(self.held)
        connection.execute(SQL["feed_prune"], {"ids": ids, "before": when(now_us - FEED_KEEP_S * 1_000_000)})
        connection.execute(SQL["batch_prune"], {"ids": ids})
        if 0 in self.held:
            connection.execute(SQL["quarantine_bound"], {"rows_max": QUARANTINE_ROWS_MAX})

    def _look_back(self, connection: psycopg.Connection, ids: list[int], newer_than: int | None) -> None:
        """Match the past half hour against watch entries that are new here; finding them again changes nothing."""
        assert self.book is not None
        now_us = self.clock.now_us()
        since = now_us - WATCH_LOOKBACK_S * 1_000_000
        entries = [e for e in self.book.entries if e.plate_key and (newer_than is None or e.version > newer_than)]
        if newer_than is None:  # after a takeover: those that the one before may not have come to
            entries = [e for e in entries if e.valid_from_us + WATCH_LOOKBACK_S * 1_000_000 > since]
        if not entries or not ids:
            return
        like = self.book.rules.watchlist.keys_like(entries, self.memory.passages.plates())[:WATCH_LOOKBACK_PLATES_MAX]
        keys = sorted({*(entry.plate_key for entry in entries), *like.tolist()})
        rows = store.copy_out(connection, "passages_of_plates", keys=keys, after=when(since))
        of_rows = logical_partitions(routing_keys(rows)) % self.settings.partitions
        mine = np.isin(of_rows, ids)
        if not mine.any():
            return
        judged = Judged(new=PassageBatch(rows=rows[:0]), of_rows=of_rows[:0])
        self._add_candidates(judged, self.book.rules.match_watchlist(rows[mine]))
        self._commit_findings(connection, judged, now_us)

    def _commit_findings(self, connection: psycopg.Connection, judged: Judged, now_us: int) -> None:
        assert self.book is not None
        here = {p: ((own.generation, own.offset),) * 2 for p, own in self.held.items()}
        moved = one.commit(connection, self.book, self.held, Work(moves=here), judged, now_us=now_us)  # type: ignore[arg-type]
        self._feed_moved(moved)

    # ------------------------------------------------------------ one batch

    def _process(self, connection: psycopg.Connection, work: Work, now_us: int) -> None:
        assert self.book is not None
        places = [(p, *here) for p, (here, _) in work.moves.items()]
        doubtful = any(place in self.doubtful for place in places)
        judged = self._sort_out(connection, work, doubtful)
        bisect = any(self.failures[place] >= FAILURES_BEFORE_BISECT for place in places)
        self._judge(work, judged, now_us, bisect=bisect)
        self._judge_keyed(work, judged, now_us, bisect=bisect)
        try:
            moved = one.commit(connection, self.book, self.held, work, judged, now_us=now_us)
        except psycopg.errors.UniqueViolation:
            self.doubtful.update(places)
            raise
        self._stand(work, judged, moved)

    def _sort_out(self, connection: psycopg.Connection, work: Work, doubtful: bool) -> Judged:
        """Part the new records from those known already: the same again, a second source, or an amendment."""
        rows, content = work.batch.rows, content_hash(work.batch.rows)
        # A source that numbers badly may give one number at two checkpoints at once: these are two passages.
        record = rows["source_hash"] ^ rows["checkpoint"].astype(np.int64)
        status, doors = self.known.probe(rows["observed_at"], record, content, rows["door"])
        covered_from = np.array([self.held[p].covered_from_us for p in sorted(self.held)], np.int64)
        of_held = np.searchsorted(sorted(self.held), work.of_rows)
        ask = (status == 0) & (doubtful | (rows["observed_at"] < covered_from[of_held] if len(rows) else False))
        asked = np.flatnonzero(ask)
        stored = {int(asked[n]): found for n, found in store.find_stored(connection, rows[asked]).items()}
        is_new = status == 0
        is_new[list(stored)] = False
        judged = Judged(new=work.batch.take(is_new), of_rows=work.of_rows[is_new])
        changed = status == 2
        second = (status != 0) & ((doors >> rows["door"].astype(np.int64)) & 1 == 0)
        for row, found in stored.items():
            changed[row] = bool(store.differences(found, rows[row])[1])
            second[row] = (found["door"], found["device"]) != (int(rows[row]["door"]), int(rows[row]["device"]))
        judged.changed, judged.second_sources = rows[changed], rows[second]
        judged.duplicates = len(rows) - len(judged.new)
        self.known.add(rows["observed_at"], record, content, rows["door"])
        return judged

    def _judge(self, work: Work, judged: Judged, now_us: int, *, bisect: bool) -> None:
        assert self.book is not None
        rules = self.book.rules
        # An amended record may show another vehicle; of the same vehicle its observation is known and changes nothing.
        rows = np.concatenate([judged.new.rows, judged.changed])

        def say(part: np.ndarray) -> None:
            self._add_verdict(judged, judge(self.memory.passages, rules, part, now_us=now_us))

        if not bisect:
            say(rows)
        else:
            work.rejects += [self._skipped(row, trace) for row, trace in bisected(rows, say)]

    def _judge_keyed(self, work: Work, judged: Judged, now_us: int, *, bisect: bool) -> None:
        """What passages, positions and alarms of registered vehicles come to over time; then the ticks' timers."""
        assert self.book is not None
        rules, memory = self.book.rules, self.memory.keyed
        rows = np.concatenate([judged.new.rows, judged.changed])
        told = {"passages": rows, "positions": work.positions, "alarms": work.alarms}
        none = {name: of[:0] for name, of in told.items()}

        def say(part: np.ndarray, name: str) -> None:
            self._add_candidates(judged, keyed.judge(memory, rules, **{**none, name: part}, now_us=now_us))
            if name == "positions":
                self._add_candidates(judged, bans.judge_positions(rules, part))

        if not bisect:
            self._add_candidates(judged, keyed.judge(memory, rules, **told, now_us=now_us))
            self._add_candidates(judged, bans.judge_positions(rules, work.positions))
        else:
            for name, records in told.items():
                work.rejects += [self._skipped(*part) for part in bisected(records, partial(say, name=name))]
        for partition, tick_us in work.ticks.items():
            logicals = logicals_of(partition, self.settings.partitions)
            due = keyed.tick(memory, rules, now_us=tick_us, quiet=self.book.quiet, logicals=logicals)
            self._add_candidates(judged, due)

    def _skipped(self, row: np.void, trace: str) -> Reject:
        assert self.book is not None
        device = int(row["device"])
        return Reject(
            received_at=int(row["received_at"]), door=int(row["door"]), device_id=device,
            unit_id=self.book.unit_of_device.get(device), position=0, field="", reason=Reason.RULE_FAILED, detail=trace,
            body=repr(row).encode(),
        )  # fmt: skip

    def _add_verdict(self, judged: Judged, verdict: Verdict) -> None:
        self._add_candidates(judged, verdict.candidates)
        judged.travels = travel_time.together((judged.travels, verdict.travels))

    def _add_candidates(self, judged: Judged, candidates: list) -> None:
        if not candidates:
            return
        keys = np.array([(c.plate_key << 3) | c.class_group if c.via is None else c.via for c in candidates], np.int64)
        sensors = self.book.rules.trust if self.book else None
        judged.candidates += [trust.apply(candidate, sensors) for candidate in candidates]
        judged.partition_of_candidate += (logical_partitions(keys) % self.settings.partitions).tolist()

    def _stand(self, work: Work, judged: Judged, moved: dict[int, int]) -> None:
        """The batch is committed: move on, and wake the readers."""
        for partition, (here, there) in work.moves.items():
            own = self.held[partition]
            own.generation, own.offset = there
            own.read += work.read.get(partition, [])
            self.failures.pop((partition, *here), None)
            self.doubtful.discard((partition, *here))
        self._feed_moved(moved)
        if work.ticks:
            now_us = max(work.ticks.values())
            self.memory.evict(now_us - STATE_AGE_US)
            forget_us = now_us - LATENESS_S * 1_000_000
            self.known.forget(forget_us)
            for own in self.held.values():
                own.covered_from_us = max(own.covered_from_us, forget_us)
        self.figures.update(
            records=len(judged.new),
            positions=len(work.positions),
            duplicates=judged.duplicates,
            amendments=len(judged.changed),
            findings=len(judged.candidates),
            rejects=len(work.rejects),
            batches=1,
        )
        self.recent.append((monotonic_s(), len(judged.new)))

    # ------------------------------------------------------------ the end

    def _figures(self) -> dict[str, float]:
        since = monotonic_s() - 10.0
        rate = sum(records for at, records in self.recent if at > since) / 10.0
        return {
            **self.figures,
            "partitions": len(self.held),
            "records_per_s": rate,
            "vehicles": len(self.memory.passages),
        }


def bisected(rows: np.ndarray, judge_part: Callable[[np.ndarray], None]) -> Iterator[tuple[np.void, str]]:
    """Judge rows part by part: of each record that a rule fails on (row, trace); all others are judged.

    A rule that raises leaves the state as it was, so that the halves can be tried.
    """
    if not len(rows):
        return
    try:
        judge_part(rows)
    except Exception:  # noqa: BLE001 - whatever a rule does wrong, the record and the trace are kept
        if len(rows) == 1:
            yield rows[0], traceback.format_exc(limit=-5)[-2000:]
            return
        yield from bisected(rows[: len(rows) // 2], judge_part)
        yield from bisected(rows[len(rows) // 2 :], judge_part)


def run(settings: Settings) -> None:
    """Process `worker`: until SIGTERM or SIGINT."""
    from traffic.vehicles import compiled  # which brings the compiler: the door's and the API's processes need none

    compiled.ensure()  # before it holds anything: a worker that compiles renews no lease
    worker = Worker(settings)
    worker.heed_signals()
    beside = threading.Thread(target=_upkeep, args=(settings, worker.stop), name="upkeep")
    beside.start()
    worker.run()
    beside.join()


def _upkeep(settings: Settings, stop: threading.Event) -> None:
    """The upkeep beside the loop; should it end by a fault, the process ends and is started anew."""
    try:
        Upkeep(settings, stop).run()
    finally:
        stop.set()
