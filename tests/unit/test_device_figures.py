"""What each sender sent: counts and the lateness of a batch, by hand and against the plain way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from traffic.device_figures import SAMPLE, sent_by_device
from traffic.readings import PASSAGE
from traffic.road_readings import POSITION


def rows(dtype: np.dtype, *records: tuple[int, float]) -> np.ndarray:
    """Records as (device, seconds from seeing to receiving)."""
    made = np.zeros(len(records), dtype)
    for number, (device, late_s) in enumerate(records):
        made["device"][number] = device
        made["observed_at"][number] = 1_000_000_000
        made["received_at"][number] = 1_000_000_000 + round(late_s * 1e6)
    return made


def test_kinds_are_counted_together_and_a_median_bears_one_late_record():
    sent = sent_by_device((rows(PASSAGE, (7, 1.0), (3, 2.0), (7, 900.0)), rows(POSITION, (7, 2.0)), rows(POSITION)))
    assert sent.devices.tolist() == [3, 7] and sent.records.tolist() == [1, 3]
    assert sent.late_s.tolist() == [2.0, 2.0]


def test_nothing_is_nothing():
    assert len(sent_by_device(()).devices) == len(sent_by_device((rows(PASSAGE),)).devices) == 0


def test_of_a_large_batch_each_device_is_counted_whole_though_lateness_is_sampled():
    device = np.arange(10 * SAMPLE) % 7
    device[5] = 99
    sent = sent_by_device((rows(PASSAGE, *((int(number), float(number)) for number in device)),))
    assert sent.records.sum() == 10 * SAMPLE and dict(zip(sent.devices, sent.records, strict=True))[99] == 1
    assert sent.late_s.tolist() == sent.devices.tolist()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-120, 10_000)), min_size=1, max_size=60))
def test_figures_are_those_of_the_plain_way(records: list[tuple[int, int]]):
    sent = sent_by_device((rows(PASSAGE, *records),))
    for device, count, late_s in zip(sent.devices, sent.records, sent.late_s, strict=True):
        own = [late for number, late in records if number == device]
        assert count == len(own) and abs(late_s - float(np.median(own))) < 1e-6
