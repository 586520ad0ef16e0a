"""The monitor: the one process that holds all links, and says each half minute how the roads stand and what is wrong.

The way of its partition is that of a worker's: batch in, one transaction, and after any error the state is restored
from what is committed. What moves the cycle on is a tick on the bus, so that which reports a cycle has seen is decided
by their order there: a cycle that is done again after a crash says the same.
"""

import psycopg
import structlog

from traffic import monitor_commit as one
from traffic import monitor_store
from traffic.clock import monotonic_s
from traffic.collect import Entry, Place, Work, collect, set_aside
from traffic.commit import advance
from traffic.errors import LeaseLost, Reason
from traffic.lease import ROADS, Held
from traffic.limits import BATCH_RECORDS_MAX, CYCLE_S, FEED_KEEP_S, LEASE_S, ROADS_PARTITION, SNAPSHOT_EVERY_S, TICK_S
from traffic.monitor_commit import Cycle
from traffic.monitor_restore import Memory, Turning, anew, dump, read_told, restore
from traffic.partition_keeper import PartitionKeeper
from traffic.readings import EntryKind, EntryUnreadable, Reject, Tick, decode_entry, encode_small
from traffic.roadbook import SQL, RoadBook, load_roadbook, read_versions
from traffic.roads import cycle as cycle_of_roads
from traffic.roads.model import SensorKind
from traffic.settings import Settings
from traffic.store import SQL as SHARED
from traffic.store import when

log = structlog.get_logger()

CYCLE_US = CYCLE_S * 1_000_000
BEHIND_US = 2 * CYCLE_US  # a cycle that is so late gives way to a newer one whose tick is there already
EVENTS_KEEP_DAYS = 400  # after their end
IDLE_WAIT_MS = 100  # how long a read waits for something to come
FAILURES_BEFORE_BARE = 2  # then a cycle is tried without the reports that came since the last one
FAILURES_BEFORE_ANEW = 4  # then with a state that remembers nothing
FAILURES_BEFORE_SKIPPED = 6  # then it is left out


class Monitor(PartitionKeeper):
    """Owner of the roads' partition; others of its kind wait until its lease runs out."""

    def __init__(self, settings: Settings, cycle: Turning = cycle_of_roads) -> None:
        super().__init__(settings, "monitor", ROADS)
        self.cycle = cycle
        self.book: RoadBook | None = None
        self.memory: Memory | None = None
        self.ticked_us = 0  # the newest half minute that this monitor has put on the bus
        self.last: dict[str, float] = {}  # figures of the last cycle
        self.read_count = 64

    @property
    def own(self) -> Held:
        """The partition, while it is held."""
        return self.held[ROADS_PARTITION]

    # ------------------------------------------------------------ the loop

    def step(self) -> None:
        """One turn: upkeep that is due, then one batch, then the cycle whose tick comes next."""
        self.in_hand = []
        connection = self._connected()
        self._keep_up(connection)
        if not self.held:
            self._pause(0.2)
            return
        place = (self.own.generation, self.own.offset)
        found = self.reader.read({ROADS_PARTITION: place}, count=self.read_count, wait_ms=self._wait_ms())
        if self._is_due("settle", 1.0) and not found:
            self._settle(connection, [ROADS_PARTITION])
        if not found:
            return
        self.in_hand = [(ROADS_PARTITION, *place)]
        entries = self._choose({ROADS_PARTITION: place}, found)[ROADS_PARTITION]
        before, tick = self._until_tick(entries)
        if before or not _is_next(place, tick):  # a hole may lie before the tick
            self._take_in(connection, place, before or entries[:1])
        if tick is not None and _is_next((self.own.generation, self.own.offset), tick):
            self.in_hand = [(ROADS_PARTITION, self.own.generation, self.own.offset)]
            self._turn(connection, tick)

    def _wait_ms(self) -> int:
        """Until something comes, or until it is time for the next cycle."""
        left_us = CYCLE_US - self.clock.now_us() % CYCLE_US
        return max(1, min(IDLE_WAIT_MS, int(left_us / 1000 / self.clock.rate) + 1))

    def _until_tick(self, entries: list[Entry]) -> tuple[list[Entry], Entry | None]:
        """What comes before the next cycle, and the tick that calls for it.

        A cycle that is late gives way when the tick of a newer one was read as well: its reports are not lost, but its
        picture would be of a past that nobody looks at any more.
        """
        assert self.memory is not None
        due = [
            (number, at_us)
            for number, entry in enumerate(entries)
            if (at_us := cycle_called_for(entry)) is not None and at_us > self.memory.at_us
        ]
        if not due:
            return entries, None
        now_us = self.clock.now_us()
        late = [(number, at_us) for number, at_us in due if at_us <= now_us - BEHIND_US]
        number, at_us = due[0]
        if late and len(due) > 1:
            number, newest_us = max(due, key=lambda tick: (tick[1], -tick[0]))
            self.figures["cycles_given_way"] += (newest_us - at_us) // CYCLE_US
        return entries[:number], entries[number]

    def _take_in(self, connection: psycopg.Connection, place: Place, entries: list[Entry]) -> None:
        """Commit what comes before the next cycle (or the first part of it, when it is more than one batch holds)."""
        found = {ROADS_PARTITION: entries}
        now_us = self.clock.now_us()
        work = collect({ROADS_PARTITION: place}, found, now_us=now_us)
        if work.moves:
            if self._is_hopeless((ROADS_PARTITION, *place)):
                log.error("entry set aside", counter=entries[0].counter, why=self.failure)
                work = set_aside(place, ROADS_PARTITION, entries[0], self.failure, now_us=now_us)
            self._process(connection, with_strangers(work), now_us)
        self._close_gaps(connection, work.gaps)
        if not work.moves and not work.gaps:
            self._settle(connection, [ROADS_PARTITION])
        records = max(1, len(work.detectors)) / max(1, len(work.read.get(ROADS_PARTITION, ())))
        self.read_count = int(min(2_000, max(16, BATCH_RECORDS_MAX / records)))

    def forget(self) -> None:
        """Drop the roads' state."""
        self.memory = None

    # ------------------------------------------------------------ upkeep

    def _keep_up(self, connection: psycopg.Connection) -> None:
        if self.book is None or self._is_due("versions", 1.0):
            self._refresh_book(connection)
        if self._is_due("lease", LEASE_S / 5):
            self._hold(connection)
        if self.held:
            self._tick()
            if self._is_due(f"snapshot {ROADS_PARTITION}", SNAPSHOT_EVERY_S):
                self._snapshot(connection)
            if self._is_due("prune", 30.0):
                self._prune(connection)
        if self._is_due("heartbeat", 2.0):
            self.heartbeat.beat_sync(connection, self._figures())

    def _hold(self, connection: psycopg.Connection) -> None:
        """Keep the lease, or take it when nobody has it."""
        if lost := self.leases.renew(connection, self.held):
            raise LeaseLost(f"the partitions {lost} were taken by another monitor")
        if self.held:
            return
        for own in self.leases.acquire(connection, 1):
            assert self.book is not None
            now_us = self.clock.now_us()
            self.memory = restore(connection, self.reader, self.cycle, self.book, own, now_us=now_us)
            self.held[own.id] = own
            self.ticked_us = self.memory.at_us
            self.due[f"snapshot {own.id}"] = monotonic_s() + SNAPSHOT_EVERY_S
            self.due.pop("settle", None)  # is the bus where the database says? Before that nothing is opened
            self.figures["takeovers"] += 1
            self.figures[f"restored_from_{self.memory.source}"] += 1
            log.info("roads taken", epoch=own.epoch, offset=own.offset, state_from=self.memory.source)

    def _tick(self) -> None:
        """Call for the cycle of each half minute that has begun, and say now and then that time goes on."""
        now_us = self.clock.now_us()
        begun_us = now_us // CYCLE_US * CYCLE_US
        is_new = begun_us > self.ticked_us
        if is_new or self._is_due("tick", TICK_S):
            if self.reader.append(ROADS_PARTITION, encode_small(EntryKind.TICK, [Tick(at=now_us)])) and is_new:
                self.ticked_us = begun_us

    def _refresh_book(self, connection: psycopg.Connection) -> None:
        versions = read_versions(connection)
        before = self.book
        if before is not None and versions == before.versions:
            return
        now_us = self.clock.now_us()
        self.book = load_roadbook(connection, now_us=now_us)
        if self.memory is None or before is None or not self.held:
            return
        self._prune_health(connection)
        if not self.book.is_same_ground(before):
            # What was committed stands; the state of other links and sensors begins with the last quarter of an hour.
            log.info("the network changed", links=len(self.book.network), sensors=len(self.book.sensors))
            told = read_told(connection, self.book)
            self.memory = anew(connection, self.cycle, self.book, self.memory.at_us, told, now_us=now_us)
        elif not self.book.is_same_audience(before):
            self.memory.told.links = None  # all is said once more, to those who may see it now

    def _prune_health(self, connection: psycopg.Connection) -> None:
        """Sensors that left the network are neither well nor ill."""
        assert self.book is not None
        known = {kind: [n for of_kind, n in self.book.audience_of_sensor if of_kind == kind] for kind in SensorKind}
        here = (self.own.generation, self.own.offset)
        with connection.transaction():
            advance(connection, self.held, {ROADS_PARTITION: (here, here)}, None)  # this is still mine
            connection.execute(
                SQL["health_prune"],
                {"detectors": known[SensorKind.DETECTOR], "checkpoints": known[SensorKind.CHECKPOINT]},
            )

    def _snapshot(self, connection: psycopg.Connection) -> None:
        """Write the state together with the offset where it stands, then trim the bus. Each cycle does so as well."""
        if not self.held or self.memory is None:
            return
        own, here = self.own, (self.own.generation, self.own.offset)
        if own.snapshot != here:
            body = dump(self.cycle, self.memory)
            with connection.transaction():
                one.write_snapshot(connection, own, here, body, at_us=self.memory.at_us)
            own.snapshot = here
        self._trim(own)

    def _prune(self, connection: psycopg.Connection) -> None:
        before = when(self.clock.now_us() - FEED_KEEP_S * 1_000_000)
        connection.execute(SHARED["feed_prune"], {"ids": [ROADS_PARTITION], "before": before})
        connection.execute(SHARED["batch_prune"], {"ids": [ROADS_PARTITION]})
        long_ago = when(self.clock.now_us() - EVENTS_KEEP_DAYS * 86_400_000_000)
        connection.execute(SQL["events_prune"], {"before": long_ago})

    def _figures(self) -> dict[str, float]:
        waiting = 0 if self.memory is None else sum(map(len, self.memory.waiting))
        at_us = 0 if self.memory is None else self.memory.at_us
        book = self.book
        return {
            **self.figures,
            **self.last,
            "leads": float(bool(self.held)),
            # Cycles never go back: while a clock that was set back is behind the last one, the picture stands still.
            "clock_behind_s": max(0.0, (at_us - self.clock.now_us()) / 1e6 - CYCLE_S),
            "cycle_at": at_us / 1e6,
            "waiting_reports": waiting,
            "links": 0 if book is None else len(book.network),
            "sensors": 0 if book is None else len(book.sensors),
            "rules_refused": 0 if book is None else len(book.refused),
        }

    # ------------------------------------------------------------ one batch

    def _process(self, connection: psycopg.Connection, work: Work, now_us: int) -> None:
        assert self.book is not None and self.memory is not None
        written, moved = one.commit_batch(connection, self.book, self.own, work, now_us=now_us)
        self._stand(work.moves[ROADS_PARTITION], work.read.get(ROADS_PARTITION, []), moved)
        if len(work.detectors):
            self.memory.waiting.append(work.detectors)
        self.figures.update(
            reports=written.reports,
            amended=written.amended,
            repeated=written.repeated,
            items=written.items,
            items_repeated=written.items_repeated,
            rejects=len(work.rejects) + len(written.refused),
            batches=1,
        )

    def _stand(self, move: tuple[Place, Place], read: list[tuple[int, int, int]], moved: dict[int, int]) -> None:
        """Something is committed: move on, and wake the readers."""
        here, there = move
        own = self.own
        own.generation, own.offset = there
        own.read += read
        self.failures.pop((own.id, *here), None)
        self._feed_moved(moved)

    # ------------------------------------------------------------ one cycle

    def _turn(self, connection: psycopg.Connection, tick: Entry) -> None:
        """Say how the roads stand at the half minute that this tick calls for."""
        assert self.book is not None and self.memory is not None
        at_us = cycle_called_for(tick)
        assert at_us is not None
        began_s = monotonic_s()
        here, there = (self.own.generation, self.own.offset), (tick.generation, tick.counter)
        failures = self.failures[(ROADS_PARTITION, *here)]
        if failures >= FAILURES_BEFORE_SKIPPED:
            self._skip(connection, (here, there), tick)
            self.memory.at_us = at_us  # further ticks of the same half minute call for nothing
            return
        if failures >= FAILURES_BEFORE_ANEW and not self.memory.orphaned:
            self.memory = anew(connection, self.cycle, self.book, self.memory.at_us, self.memory.told, now_us=at_us)
        memory = self.memory
        reports = memory.reports()[: None if failures < FAILURES_BEFORE_BARE else 0]
        book = self.book
        inputs = monitor_store.read_inputs(connection, book, reports, at_us=at_us)
        turn = self.cycle.turn(
            book.network, book.sensors, book.sections, memory.state, inputs, book.rules, now_us=at_us
        )
        turned_s = monotonic_s()
        ended = one.ended_events(connection, at_us=at_us) if memory.orphaned else []
        memory.waiting, memory.at_us, memory.orphaned = [], at_us, False
        cycle = Cycle(
            at_us=at_us,
            turn=turn,
            ended=[event for event in ended if event.id not in {told.id for told in turn.events}],
            over=(here, there),
            snapshot=dump(self.cycle, memory),
            rejects=self._complaint(failures),
        )
        memory.told, moved = one.commit_cycle(connection, book, self.own, memory.told, cycle)
        self.own.snapshot = there
        self._stand((here, there), [(*there, tick.in_bytes)], moved)
        self._trim(self.own)
        self.figures.update(cycles=1, events=len(turn.events))
        self.last = {"turn_s": turned_s - began_s, "cycle_s": monotonic_s() - began_s}

    def _complaint(self, failures: int) -> list[Reject]:
        """What quarantine is told of a cycle that went only without its reports, or without its memory."""
        if failures < FAILURES_BEFORE_BARE:
            return []
        self.figures["cycles_bare"] += 1
        what = "without its reports" if failures < FAILURES_BEFORE_ANEW else "without what it remembered"
        return [_rule_failed(f"the cycle was done {what}: {self.failure}", now_us=self.clock.now_us())]

    def _skip(self, connection: psycopg.Connection, over: tuple[Place, Place], tick: Entry) -> None:
        """A cycle that cannot be done at all: the next one is another chance."""
        assert self.book is not None
        log.error("cycle left out", why=self.failure)
        now_us = self.clock.now_us()
        reject = _rule_failed(f"the cycle was left out: {self.failure}", now_us=now_us)
        work = Work(
            moves={ROADS_PARTITION: over}, rejects=[reject], read={ROADS_PARTITION: [(*over[1], tick.in_bytes)]}
        )
        self._process(connection, work, now_us)
        self.figures["cycles_left_out"] += 1


def _is_next(place: Place, entry: Entry | None) -> bool:
    """Whether the entry is the one behind this place."""
    return entry is not None and (entry.generation, entry.counter - 1) == place


def cycle_called_for(entry: Entry) -> int | None:
    """The full half minute that an entry calls for, when it is a tick."""
    if len(entry.data) < 2 or entry.data[1] != EntryKind.TICK:
        return None
    try:
        _, items = decode_entry(entry.data)
    except EntryUnreadable:
        return None
    times = [item.at for item in items if isinstance(item, Tick)] if isinstance(items, list) else []
    return max(times) // CYCLE_US * CYCLE_US if times else None


def with_strangers(work: Work) -> Work:
    """The batch, with passages and positions that have lost their way refused: they belong to the workers."""
    for rows in (work.batch.rows, work.positions):
        if len(rows):
            work.rejects.append(
                Reject(
                    received_at=int(rows["received_at"].max()),
                    door=int(rows["door"][0]),
                    device_id=int(rows["device"][0]),
                    unit_id=None,
                    position=0,
                    field="",
                    reason=Reason.NOT_STORABLE,
                    detail=f"{len(rows)} records on the partition of the roads",
                    body=rows.tobytes()[:8192],
                )
            )
    return work


def _rule_failed(detail: str, *, now_us: int) -> Reject:
    return Reject(
        received_at=now_us, door=0, device_id=None, unit_id=None, position=0, field="", reason=Reason.RULE_FAILED,
        detail=detail[-2000:], body=b"",
    )  # fmt: skip


def run(settings: Settings) -> None:
    """Process `monitor`: until SIGTERM or SIGINT."""
    monitor = Monitor(settings)
    monitor.heed_signals()
    monitor.run()
