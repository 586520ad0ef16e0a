"""Positions of terminals as rows: whose they are, which are refused and why, and alarms that count without a fix."""

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from tests.terminalkit import NOW, NOW_US, PLACE, plate_of, position, terminal
from traffic.errors import Reason
from traffic.ingest.positions import PositionRecord
from traffic.ingest.terminal_positions import Judged, judge
from traffic.plates import plate_key
from traffic.readings import Door
from traffic.road_readings import Subject

NOWHERE = (np.nan, np.nan)
SEEN = (125.0, 43.5)


def judged(*told: bytes, last: tuple[float, float] = NOWHERE) -> Judged:
    owners = [terminal(number + 1) for number in range(len(told))]
    return judge(told, owners, np.array([last] * len(told)).reshape(-1, 2), received_us=NOW_US)


def test_a_position_is_of_the_terminals_vehicle_in_its_registered_class():
    row = judged(position(NOW - timedelta(seconds=2))).positions[0]
    assert (row["subject"], row["class_group"], row["subject_kind"]) == (plate_key(plate_of(1)), 1, Subject.VEHICLE)
    assert (row["lon"], row["lat"]) == PLACE
    assert row["observed_at"] == NOW_US - 2_000_000 and row["received_at"] == NOW_US
    assert (row["speed_kmh"], row["bearing_deg"], row["device"], row["door"]) == (60.0, 90.0, 7, Door.JT808)


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (position(NOW, located=False), "status", Reason.NO_FIX),
        (position(NOW + timedelta(minutes=3)), "observed_at", Reason.TIME_IN_FUTURE),
        (position(NOW - timedelta(days=31)), "observed_at", Reason.TIME_TOO_OLD),
        (position(NOW)[:22] + b"\x26\x13\x24\x08\x00\x00", "observed_at", Reason.TIME_UNREADABLE),
        (position(NOW, lon=0.0, lat=0.0), "lon", Reason.OUT_OF_RANGE),
        (position(NOW, lat=-43.0), "lon", Reason.OUT_OF_RANGE),
        (position(NOW, lon=-125.0), "lon", Reason.OUT_OF_RANGE),
        (position(NOW)[:8] + b"\xff" * 8 + position(NOW)[16:], "lon", Reason.OUT_OF_RANGE),
        (position(NOW, speed_kmh=400.1), "speed_kmh", Reason.OUT_OF_RANGE),
    ],
    ids=["no fix", "future", "old", "month 13", "zero", "south", "west", "no degrees", "too fast"],
)
def test_a_position_that_cannot_be_is_refused_with_its_reason(body: bytes, field: str, reason: Reason):
    found = judged(position(NOW), body, position(NOW))
    assert found.position_of.tolist() == [0, 2]
    (refusal,) = found.refusals
    assert (refusal.index, refusal.field, refusal.reason) == (1, field, reason)


def test_a_refused_position_is_kept_as_a_native_one_that_can_be_mended():
    at = NOW + timedelta(minutes=3)
    (refusal,) = judged(position(at)).refusals
    record = msgspec.json.decode(refusal.body, type=PositionRecord)
    assert (record.plate, record.plate_class, record.observed_at) == (plate_of(1), 1, at)
    assert (record.lon, record.lat) == PLACE


def test_alarm_bits_are_a_row_beside_the_position():
    found = judged(position(NOW, alarms=0b101), position(NOW))
    assert found.alarm_of.tolist() == [0] and len(found.positions) == 2
    alarm = found.alarms[0]
    assert (alarm["bits"], alarm["plate_key"], alarm["class_group"]) == (0b101, plate_key(plate_of(1)), 1)
    assert (alarm["lon"], alarm["lat"], alarm["speed_kmh"], alarm["source"], alarm["number"]) == (*PLACE, 60.0, 1, 0)
    assert alarm["door"] == Door.JT808 and alarm["device"] == 7


def test_an_alarm_counts_without_a_fix_at_the_place_that_is_told_or_was_last():
    told = judged(position(NOW, alarms=1, located=False), last=SEEN)
    assert len(told.positions) == 0 and (told.alarms["lon"][0], told.alarms["lat"][0]) == PLACE
    lost = position(NOW, alarms=1, located=False, lon=0.0, lat=0.0)
    assert (judged(lost, last=SEEN).alarms["lon"][0], judged(lost, last=SEEN).alarms["lat"][0]) == SEEN
    assert len(judged(lost).alarms) == 0 and len(judged(lost).refusals) == 1  # kept with its bits in quarantine


def test_an_alarm_without_a_time_is_refused_with_its_position():
    body = position(NOW, alarms=1)[:22] + b"\xff" * 6
    found = judged(body)
    assert len(found.alarms) == 0
    assert msgspec.json.decode(found.refusals[0].body)["alarms"] == 1


def test_the_highest_alarm_bit_stays_positive():
    assert judged(position(NOW, alarms=1 << 31)).alarms["bits"][0] == 1 << 31


def test_nothing_told_is_nothing_judged():
    found = judged()
    assert len(found.positions) == len(found.alarms) == len(found.refusals) == 0
