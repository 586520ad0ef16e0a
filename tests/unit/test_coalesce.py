"""Many requests share few appends, and each learns what was taken of its own."""

import asyncio

import numpy as np

from traffic.errors import BusClosed, BusFull, ServiceError
from traffic.ingest.coalesce import WAITING_ROWS_MAX, Coalescer
from traffic.readings import PASSAGE, Batch, DeviceEvent, EntryKind, PassageBatch, Reject
from traffic.road_readings import DETECTOR_REPORT, POSITION


def batch(*marks: int) -> PassageBatch:
    rows = np.zeros(len(marks), PASSAGE)
    rows["source_hash"] = marks
    return PassageBatch(rows=rows)


def reject(position: int, size: int = 10) -> Reject:
    return Reject(
        received_at=1, door=2, device_id=7, unit_id=1, position=position, field="", reason="malformed", detail="",
        body=b"x" * size,
    )  # fmt: skip


class FakeBus:
    """Takes what a test allows, when the test allows it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends: list[list[int]] = []
        self.small: list[tuple[EntryKind, int]] = []
        self.refused: set[int] = set()
        self.error: Exception | None = None
        self.small_error: Exception | None = None
        self.others: list[tuple[EntryKind, int]] = []
        self.closed: set[EntryKind] = set()

    async def append(self, kind: EntryKind, batch: Batch) -> np.ndarray:
        await self.gate.wait()
        if not isinstance(batch, PassageBatch):
            self.others.append((kind, len(batch)))
            if kind in self.closed:
                raise BusClosed("closed")
            return np.ones(len(batch), bool)
        if self.error:
            raise self.error
        marks = batch.rows["source_hash"].tolist()
        self.appends.append(marks)
        taken = np.array([mark not in self.refused for mark in marks])
        if not taken.any():
            raise BusFull("full")
        return taken

    async def append_small(self, kind: EntryKind, items: list, routing: int) -> None:
        if self.small_error:
            raise self.small_error
        self.small.append((kind, len(items)))


async def test_while_one_flush_is_under_way_the_next_collects():
    bus = FakeBus()
    bus.gate.clear()
    coalescer = Coalescer(bus)
    puts = [asyncio.create_task(coalescer.put(batch(0)))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    puts += [asyncio.create_task(coalescer.put(batch(number, number + 100))) for number in range(1, 50)]
    await asyncio.sleep(0)
    bus.gate.set()
    taken = await asyncio.gather(*puts)
    assert len(bus.appends) == 2
    assert bus.appends[0] == [0]
    assert all(one.rows.all() and one.error is None for one in taken)
    assert [len(one.rows) for one in taken] == [1, *[2] * 49]


async def test_each_request_learns_which_of_its_own_rows_were_taken():
    bus = FakeBus()
    bus.refused = {2, 5}
    coalescer = Coalescer(bus)
    first, second, third = await asyncio.gather(
        coalescer.put(batch(1, 2, 3)), coalescer.put(batch(4)), coalescer.put(batch(5))
    )
    assert first.rows.tolist() == [True, False, True]
    assert isinstance(first.error, BusFull)
    assert (second.rows.tolist(), second.error) == ([True], None)
    assert third.rows.tolist() == [False]
    assert isinstance(third.error, BusFull)


async def test_a_closed_or_broken_bus_takes_nothing_and_says_why():
    for error in (BusClosed("closed"), ServiceError("down"), BusFull("full")):
        bus = FakeBus()
        bus.error = error
        taken = await Coalescer(bus).put(batch(1, 2), rejects=[reject(0)])
        assert taken.rows.tolist() == [False, False]
        assert taken.error is error
        assert taken.rejects


async def test_refused_records_that_are_not_durable_are_told_apart():
    bus = FakeBus()
    bus.small_error = BusClosed("closed")
    taken = await Coalescer(bus).put(batch(1), rejects=[reject(0)])
    assert taken.rows.all()
    assert not taken.rejects
    assert taken.error is bus.small_error


async def test_refused_records_travel_in_entries_of_bounded_size():
    bus = FakeBus()
    await Coalescer(bus).put(rejects=[reject(place, 8192) for place in range(100)])
    assert sum(count for _, count in bus.small) == 100
    assert len(bus.small) >= 4


async def test_signs_of_life_go_along_and_an_empty_request_waits_for_nothing():
    bus = FakeBus()
    event = DeviceEvent(at=1, device_id=7, state="alive", peer="192.0.2.1")
    assert (await Coalescer(bus).put(events=[event])).error is None
    assert bus.small == [(EntryKind.DEVICE, 1)]
    assert (await Coalescer(bus).put()).error is None


async def test_what_waits_is_bounded():
    bus = FakeBus()
    bus.gate.clear()
    coalescer = Coalescer(bus)
    first = asyncio.create_task(coalescer.put(batch(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = asyncio.create_task(coalescer.put(PassageBatch(rows=np.zeros(WAITING_ROWS_MAX, PASSAGE))))
    await asyncio.sleep(0)
    refused = await coalescer.put(batch(2), rejects=[reject(0)])
    assert isinstance(refused.error, BusFull)
    assert (refused.rows.tolist(), refused.rejects) == ([False], False)
    bus.gate.set()
    assert (await first).error is None
    assert (await waiting).rows.all()
    assert (await coalescer.put(batch(2))).error is None


async def test_a_fault_of_the_writer_leaves_nobody_waiting():
    bus = FakeBus()
    bus.error = ZeroDivisionError("a fault of the program")
    coalescer = Coalescer(bus)
    taken = await coalescer.put(batch(1))
    assert taken.rows.tolist() == [False]
    assert isinstance(taken.error, ServiceError)
    bus.error = None
    assert (await coalescer.put(batch(1))).error is None


async def test_records_of_each_kind_go_together_and_one_kind_that_fails_spares_the_others():
    bus = FakeBus()
    bus.closed = {EntryKind.DETECTORS}
    bus.gate.clear()
    coalescer = Coalescer(bus)
    first = asyncio.create_task(coalescer.put(batch(0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reports = np.zeros(3, DETECTOR_REPORT)
    puts = [
        asyncio.create_task(coalescer.put(records, kind=kind, rejects=[reject(1)]))
        for kind, records in (
            (EntryKind.DETECTORS, reports),
            (EntryKind.POSITIONS, np.zeros(2, POSITION)),
            (EntryKind.DETECTORS, reports[:1]),
            (EntryKind.ROADSIDE, [1, 2]),
            (EntryKind.ROADSIDE, [3]),
            (EntryKind.PASSAGES, batch(1)),
        )
    ]
    await asyncio.sleep(0)
    bus.gate.set()
    await first
    taken = await asyncio.gather(*puts)
    assert [t.rows.tolist() for t in taken] == [[False] * 3, [True] * 2, [False], [True] * 2, [True], [True]]
    assert [t.error is None for t in taken] == [False, True, False, True, True, True]
    assert all(t.rejects for t in taken)
    assert sorted(bus.others) == [(EntryKind.DETECTORS, 4), (EntryKind.POSITIONS, 2), (EntryKind.ROADSIDE, 3)]
