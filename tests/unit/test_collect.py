"""What a worker makes of the entries that it read: order, holes, bounds, damaged entries, generations."""

import numpy as np
import pytest

from traffic.collect import BusMeta, Entry, collect, settle_generation
from traffic.readings import PASSAGE, EntryKind, PassageBatch, Tick, encode_passages, encode_rows, encode_small
from traffic.road_readings import DETECTOR_REPORT, POSITION, CameraRow

NOW_US = 1_790_000_000_000_000


def passages(count: int, start: int = 0) -> bytes:
    rows = np.zeros(count, PASSAGE)
    rows["source_hash"] = np.arange(start, start + count)
    return encode_passages(PassageBatch(rows=rows))


def entry(counter: int, data: bytes, generation: int = 1) -> Entry:
    return Entry(generation=generation, counter=counter, data=data, in_bytes=counter * 100)


def test_entries_are_taken_in_order_and_the_partition_moves_to_the_last_of_them() -> None:
    work = collect({0: (1, 4)}, {0: [entry(5, passages(2)), entry(6, passages(3, 2))]}, now_us=NOW_US)
    assert work.moves == {0: ((1, 4), (1, 6))}
    assert work.batch.rows["source_hash"].tolist() == [0, 1, 2, 3, 4]
    assert work.of_rows.tolist() == [0] * 5
    assert not work.gaps


def test_a_hole_in_the_counters_stops_the_partition_before_it_and_names_what_is_missing() -> None:
    found = {0: [entry(5, passages(1)), entry(8, passages(1, 1))], 1: [entry(1, passages(1, 2))]}
    work = collect({0: (1, 4), 1: (1, 0)}, found, now_us=NOW_US)
    assert work.moves == {0: ((1, 4), (1, 5)), 1: ((1, 0), (1, 1))}
    (gap,) = work.gaps
    assert (gap.partition, gap.generation, gap.first, gap.upto) == (0, 1, 6, 7)
    assert work.batch.rows["source_hash"].tolist() == [0, 2]


def test_a_new_generation_is_not_read_before_the_old_one_was_closed() -> None:
    work = collect({0: (1, 4)}, {0: [entry(1, passages(1), generation=2)]}, now_us=NOW_US)
    assert not work.moves and not work.gaps and not len(work.batch)


def test_a_batch_ends_at_its_bound_and_the_rest_waits_for_the_next() -> None:
    found = {0: [entry(n, passages(10, n * 10)) for n in range(1, 9)]}
    work = collect({0: (1, 0)}, found, now_us=NOW_US, records_max=25)
    assert work.moves[0][1] == (1, 3)
    assert len(work.batch) == 30


@pytest.mark.parametrize("data", [b"", b"\x09\x01\0\0", b"\x01\x63\0\0", passages(3)[:-5], b"\x01\x02\0\0\xc1"])
def test_an_entry_that_cannot_be_unpacked_is_kept_whole_as_refused_and_passed(data: bytes) -> None:
    work = collect({0: (1, 0)}, {0: [entry(1, data), entry(2, passages(1))]}, now_us=NOW_US)
    assert work.moves[0][1] == (1, 2)
    (reject,) = work.rejects
    assert reject.body == data and reject.reason == "malformed" and reject.position == 1
    assert len(work.batch) == 1


def test_ticks_keep_the_newest_of_each_partition() -> None:
    ticks = [entry(n, encode_small(EntryKind.TICK, [Tick(at=at)])) for n, at in ((1, 7), (2, 9), (3, 8))]
    assert collect({3: (1, 0)}, {3: ticks}, now_us=NOW_US).ticks == {3: 9}


def meta(generation: int | None, counter: int, **more: int | None) -> BusMeta:
    values: dict = {
        "confirmed": True,
        "previous_generation": 0,
        "previous_end": 0,
        "lost_counter": None,
        "waiting_bytes": 0,
        **more,
    }
    return BusMeta(generation=generation, counter=counter, **values)


@pytest.mark.parametrize(
    ("here", "bus", "gap", "generation"),
    [
        ((1, 5), meta(1, 5), None, None),  # both agree
        ((1, 5), meta(1, 9), None, None),  # there is more to read
        ((0, 0), meta(None, 0), None, 1),  # never opened
        ((0, 0), meta(1, 0), None, 1),  # opened by one who died before saying so
        ((1, 5), meta(2, 0, previous_generation=1, previous_end=5), None, 2),  # closed where we stand
        ((1, 5), meta(2, 3, previous_generation=1, previous_end=8), (6, 8), 2),  # its tail is gone
        ((1, 5), meta(4, 3, previous_generation=3, previous_end=8), (6, None), 4),
        ((1, 5), meta(None, 0), (6, None), 2),  # Redis lost everything
        ((1, 5), meta(1, 2), (6, None), 2),  # Redis stands further back than what is committed
        ((1, 5), meta(None, 5, lost_counter=9), (6, 9), 2),  # a door knows of more than Redis does
    ],
)
def test_where_bus_and_database_disagree_the_loss_is_named_and_a_new_generation_opened(
    here: tuple[int, int], bus: BusMeta, gap: tuple[int, int | None] | None, generation: int | None
) -> None:
    found, opened = settle_generation(0, here, bus)
    assert opened == generation
    assert (None if found is None else (found.first, found.upto)) == gap


def test_every_kind_of_record_is_sorted_into_its_place_in_the_order_of_its_entries() -> None:
    positions, reports = np.zeros(5, POSITION), np.zeros(3, DETECTOR_REPORT)
    positions["subject"], reports["detector"] = np.arange(5), np.arange(3)
    camera = CameraRow(
        code="C-1", name="测试", received_at=1, device=1, unit_id=1, road_id=1, stake_m=1, direction=1, lon=125, lat=43
    )
    found = {
        0: [
            entry(1, encode_rows(EntryKind.POSITIONS, positions[:2])),
            entry(2, passages(1)),
            entry(3, encode_rows(EntryKind.POSITIONS, positions[2:])),
        ],
        64: [
            entry(1, encode_rows(EntryKind.DETECTORS, reports)),
            entry(2, encode_small(EntryKind.ROADSIDE, [camera])),
            entry(3, encode_rows(EntryKind.DETECTORS, reports[:0])),
        ],
    }
    work = collect({0: (1, 0), 64: (1, 0)}, found, now_us=NOW_US)
    assert work.positions["subject"].tolist() == [0, 1, 2, 3, 4]
    assert work.detectors["detector"].tolist() == [0, 1, 2]
    assert work.roadside == [camera] and len(work.batch) == 1 and not work.rejects
    assert work.moves == {0: ((1, 0), (1, 3)), 64: ((1, 0), (1, 3))}


def test_positions_count_for_the_bound_of_a_batch_like_passages() -> None:
    found = {0: [entry(n, encode_rows(EntryKind.POSITIONS, np.zeros(10, POSITION))) for n in range(1, 9)]}
    work = collect({0: (1, 0)}, found, now_us=NOW_US, records_max=25)
    assert work.moves[0][1] == (1, 3) and len(work.positions) == 30


def test_positions_that_are_cut_off_are_kept_whole_as_a_refusal() -> None:
    cut = encode_rows(EntryKind.POSITIONS, np.zeros(2, POSITION))[:-1]
    work = collect({0: (1, 0)}, {0: [entry(1, cut)]}, now_us=NOW_US)
    assert [reject.body for reject in work.rejects] == [cut] and not len(work.positions)
    assert work.moves == {0: ((1, 0), (1, 1))}
