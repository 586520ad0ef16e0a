"""Which records were taken already: exact, whatever the hashes, and bounded by its window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.sightings import MINUTE, SECOND, T0, A, B, passages
from traffic.readings import PASSAGE
from traffic.vehicles.known import NEW, OTHER, SAME, KnownRecords, content_hash


def columns(*records: tuple[int, int, int, int]) -> tuple[np.ndarray, ...]:
    """(observed_at, source_hash, content, door) as columns."""
    return tuple(np.array([record[n] for record in records], np.int64) for n in range(4))


def test_a_record_is_new_then_the_same_then_one_with_other_content() -> None:
    known = KnownRecords()
    assert known.probe(*columns((T0, 1, 5, 1)))[0].tolist() == [NEW]
    known.add(*columns((T0, 1, 5, 1)))
    status, doors = known.probe(*columns((T0, 1, 5, 1), (T0, 1, 6, 1), (T0, 2, 5, 1), (T0 + 1, 1, 5, 1)))
    assert status.tolist() == [SAME, OTHER, NEW, NEW]
    assert doors.tolist() == [2, 2, 0, 0]


def test_the_second_of_two_in_a_batch_is_known_by_the_first_with_its_door() -> None:
    status, doors = KnownRecords().probe(*columns((T0, 1, 5, 1), (T0, 1, 5, 1), (T0, 1, 6, 2), (T0, 1, 5, 2)))
    assert status.tolist() == [NEW, SAME, OTHER, SAME]
    assert doors.tolist() == [0, 2, 2, 6]


def test_the_first_content_stays_and_doors_gather() -> None:
    known = KnownRecords()
    known.add(*columns((T0, 1, 5, 1), (T0, 1, 6, 2)))
    known.add(*columns((T0, 1, 7, 4)))
    status, doors = known.probe(*columns((T0, 1, 5, 1)))
    assert (status.tolist(), doors.tolist()) == ([SAME], [2 + 4 + 16])
    assert len(known) == 1


def test_forgetting_moves_the_window_for_good() -> None:
    known = KnownRecords()
    known.add(*columns((T0, 1, 5, 1), (T0 + MINUTE, 2, 5, 1)))
    known.forget(T0 + 1)
    known.forget(T0)
    known.add(*columns((T0, 3, 5, 1)))
    status, _ = known.probe(*columns((T0, 1, 5, 1), (T0 + MINUTE, 2, 5, 1), (T0, 3, 5, 1), (T0, 3, 5, 1)))
    assert status.tolist() == [NEW, SAME, NEW, SAME]  # in the batch itself the second is still known by the first
    known.forget(T0 + 10 * MINUTE)
    assert len(known) == 0


def test_a_month_of_old_records_costs_little_and_is_forgotten() -> None:
    known = KnownRecords()
    at = T0 - np.arange(5_000) * 8 * MINUTE
    ones = np.ones(5_000, np.int64)
    known.add(at, ones, ones, ones)
    assert (known.probe(at, ones, ones, ones)[0] == SAME).all()
    known.forget(T0 - 15 * MINUTE)
    assert len(known) == 2


def test_tables_grow_and_lose_nothing() -> None:
    known, numbers = KnownRecords(), np.random.default_rng(3)
    parts = [
        (T0 + numbers.integers(0, 3 * MINUTE, 4_000), numbers.integers(-(2**63), 2**63 - 1, 4_000)) for _ in range(8)
    ]
    for at, source in parts:
        assert (known.probe(at, source, source)[0] == NEW).all()
        known.add(at, source, source)
    for at, source in parts:
        assert (known.probe(at, source, source)[0] == SAME).all()
        assert (known.probe(at, source, source + 1)[0] == OTHER).all()
        assert (known.probe(at + 1, source, source)[0] == NEW).all()


def test_an_empty_batch_is_a_batch() -> None:
    known = KnownRecords()
    status, doors = known.probe(*columns())
    known.add(*columns())
    assert len(status) == len(doors) == len(known) == 0


record = st.tuples(
    st.integers(0, 5).map(lambda n: T0 + n * 45 * SECOND), st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]),
    st.integers(0, 1), st.integers(0, 3),
)  # fmt: skip
step = st.one_of(st.lists(record, max_size=12), st.integers(0, 6).map(lambda n: T0 + n * 40 * SECOND))


@given(st.lists(step, max_size=12))
def test_it_behaves_like_a_dict_of_records(steps: list) -> None:
    known, model, window = KnownRecords(), {}, T0 - MINUTE
    for given_step in steps:
        if isinstance(given_step, int):
            known.forget(given_step)
            window = max(window, given_step)
            model = {identity: held for identity, held in model.items() if identity[0] >= window}
            continue
        expected, batch = [], {}
        for at, source, content, door in given_step:
            first, mask = model.get((at, source)) or batch.get((at, source)) or (None, 0)
            here = batch.get((at, source), (None, 0))[1]
            expected.append((NEW if first is None else SAME if first == content else OTHER, mask | here))
            batch[at, source] = (content if first is None else first, mask | here | 1 << door)
        probed = known.probe(*columns(*given_step))
        assert list(zip(*(part.tolist() for part in probed), strict=True)) == expected
        known.add(*columns(*given_step))
        model.update((identity, held) for identity, held in batch.items() if identity[0] >= window)


def test_content_is_what_a_passage_says_and_not_how_it_came() -> None:
    rows = passages((0, A), (0, A))
    for name, value in (("received_at", 9), ("device", 9), ("door", 2), ("flags", 1)):
        rows[name][1] = value
    assert content_hash(rows)[0] == content_hash(rows)[1]
    rows["length_m"][1] = -np.float32("nan")
    rows["speed_kmh"] = [0.0, -0.0]
    assert content_hash(rows)[0] == content_hash(rows)[1]


def test_every_other_column_tells() -> None:
    base = passages((0, A))
    names = [n for n in PASSAGE.names if n not in ("received_at", "device", "door", "flags")]
    hashes = {int(content_hash(base)[0])}
    for name in names:
        changed = base.copy()
        changed[name] = 3
        hashes.add(int(content_hash(changed)[0]))
    swapped = passages((0, B))
    swapped["lane"], swapped["direction"] = base["direction"], base["lane"]
    hashes.add(int(content_hash(swapped)[0]))
    assert len(hashes) == len(names) + 2


def test_a_single_record_as_it_lies_in_a_bus_entry_is_taken() -> None:
    rows = np.frombuffer(bytes(8) + passages((0, A)).tobytes(), PASSAGE, 1, 8)  # read-only, and not copied by numpy
    known, content = KnownRecords(), content_hash(rows)
    known.add(rows["observed_at"], rows["source_hash"], content, rows["door"])
    assert known.probe(rows["observed_at"], rows["source_hash"], content, rows["door"])[0].tolist() == [SAME]
