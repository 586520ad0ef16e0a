"""Whatever bytes come, a door answers: each record is taken or refused, none is both, none is lost."""

import json
import struct
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.doorkit import GAT, GATES, NATIVE, NOW_US, as_json, bench, motor_vehicle, native_record, read_native
from traffic.errors import Reason
from traffic.ingest import digest, gat1400, native
from traffic.ingest.bodies import BodyRefused, Records, inflate, split_array
from traffic.ingest.checks import NO_TIME, Checked
from traffic.ingest.local_time import parse_local
from traffic.ingest.plate_column import PlateReader
from traffic.plates import ALPHABET, fold, plate_key, plate_text
from traffic.readings import PASSAGE, Door, decode_entry, encode_passages, place_hash, source_hash

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["", "0", "1", "02", "99", "100", "-1", "1.5", "K33", "X99", "nan", "inf", "1e400", GATES[0].code]),
)
NATIVE_FIELDS = st.sampled_from(list(native.NativeRecord.__struct_fields__))
GAT_FIELDS = st.sampled_from([*gat1400.MotorVehicle.__struct_encode_fields__, "SubImageList"])


def judge_native(read: Records) -> Checked:
    return native.check(read, device=NATIVE, bench=bench(), received_us=NOW_US)


def judge_gat(read: Records) -> Checked:
    return gat1400.check(read, device=GAT, bench=bench(Door.GAT1400), received_us=NOW_US)


def assert_answered(checked: Checked, count: int) -> None:
    """Accepted and refused together are the request, without overlap; what is accepted can travel."""
    refused = [refusal.index for refusal in checked.refusals]
    assert sorted([*checked.index.tolist(), *refused]) == list(range(count)) == list(range(checked.count))
    assert checked.index.tolist() == sorted(checked.index.tolist())
    assert all(isinstance(refusal.reason, Reason) and refusal.detail for refusal in checked.refusals)
    rows = checked.batch.rows
    assert len(rows) == len(checked.index)
    assert rows.dtype == PASSAGE
    assert set(rows["checkpoint"].tolist()) <= {gate.id for gate in GATES}
    assert not np.isinf(rows["speed_kmh"]).any()
    assert ((rows["observed_at"] - NOW_US) <= 120_000_000).all()
    assert set(checked.batch.odd_plates) == {key for key in rows["plate_key"].tolist() if key < 0}
    assert np.flatnonzero(rows["flags"]).tolist() == sorted(checked.batch.extras)
    texts = [text for extra in checked.batch.extras.values() for text in (extra.plate_raw or "", *extra.images)]
    assert not any("\0" in text for text in [*texts, *checked.batch.odd_plates.values()])
    kind, again = decode_entry(encode_passages(checked.batch))
    assert again.rows.tobytes() == rows.tobytes()
    assert again.extras == checked.batch.extras


# ---------------------------------------------------------------- any bytes
@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_answered(body):
    for read, judge in (
        (read_native, judge_native),
        (partial(read_native, lines=True), judge_native),
        (gat1400.read_motor_vehicles, judge_gat),
    ):
        try:
            records = read(body)
        except BodyRefused as refused:
            assert refused.status in (400, 413)
        else:
            assert_answered(judge(records), records.count)
    for parser in (gat1400.read_device_id, inflate, split_array):
        try:
            parser(body)
        except BodyRefused as refused:
            assert refused.status in (400, 413)


@given(st.lists(JSON | st.just(native_record()), max_size=6))
def test_any_list_is_answered_record_by_record(records):
    body = json.dumps(records).encode()
    assert_answered(judge_native(read_native(body)), len(records))
    body = json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": records}}).encode()
    assert_answered(judge_gat(gat1400.read_motor_vehicles(body)), len(records))


@given(st.lists(st.dictionaries(NATIVE_FIELDS, SCALARS | st.lists(SCALARS, max_size=3), max_size=4), max_size=6))
def test_any_values_in_native_fields_are_answered(changes):
    records = [native_record(**fields) for fields in changes]
    body = json.dumps(records).encode()
    assert_answered(judge_native(read_native(body)), len(records))
    lines = b"\n".join(json.dumps(record).encode() for record in records)
    by_line = judge_native(read_native(lines, lines=True))
    assert_answered(by_line, len(records))
    assert by_line.batch.rows.tobytes() == judge_native(read_native(body)).batch.rows.tobytes()


@given(st.lists(st.dictionaries(GAT_FIELDS, SCALARS | JSON, max_size=4), max_size=6))
def test_any_values_in_motor_vehicle_fields_are_answered(changes):
    records = [motor_vehicle(**fields) for fields in changes]
    body = json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": records}}).encode()
    read = gat1400.read_motor_vehicles(body)
    assert_answered(judge_gat(read), len(records))
    assert len(gat1400.ids_of(read)) == len(records)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_damaged_body_is_answered(place, damage):
    good = as_json([native_record(), native_record(id="r2")])
    place %= len(good)
    body = good[:place] + damage + good[place + len(damage) :]
    try:
        read = read_native(body)
    except BodyRefused as refused:
        assert refused.status == 400
    else:
        assert_answered(judge_native(read), read.count)


# ---------------------------------------------------------------- order and repetition
@given(st.lists(st.sampled_from(range(8)), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_records_row_depends_on_nothing_around_it(choices, shuffled):
    """Order, repetition and bad neighbours change neither identity nor content."""
    kinds = [
        native_record(id="a"),
        native_record(id="b", plate="吉a·12345", images=["http://192.0.2.1/1"]),
        native_record(id=None, lane=2),
        native_record(id="c", plate="使224578外"),
        native_record(id="d", lane=100),
        native_record(id="e", checkpoint="x"),
        {"plate": 3},
        native_record(id="f", plate=""),
    ]
    records = [kinds[choice] for choice in choices]
    shuffled.shuffle(records)
    alone = {json.dumps(kind): judge_native(read_native(as_json([kind]))) for kind in kinds}
    checked = judge_native(read_native(as_json(records)))
    assert_answered(checked, len(records))
    for row, place in enumerate(checked.index.tolist()):
        one = alone[json.dumps(records[place])].batch
        assert one.rows[0] == checked.batch.rows[row] or np.isnan(one.rows["speed_kmh"][0])
        assert one.rows["source_hash"][0] == checked.batch.rows["source_hash"][row]
        assert one.extras.get(0) == checked.batch.extras.get(row)
    for refusal in checked.refusals:
        one = alone[json.dumps(records[refusal.index])].refusals[0]
        assert (one.field, one.reason) == (refusal.field, refusal.reason)


@given(st.text(max_size=40).filter(bool))
def test_identities_are_those_of_the_contract(identity):
    record = native_record(id=identity, direction=1, lane=2)
    row = judge_native(read_native(as_json([record]))).batch.rows[0]
    assert row["source_hash"] == source_hash(NATIVE.code, identity)
    row = judge_native(read_native(as_json([record | {"id": None}]))).batch.rows[0]
    assert row["source_hash"] == place_hash(GATES[0].id, 1, 2, NOW_US // 1_000_000 - 5, "吉A12345")


# ---------------------------------------------------------------- plates
@given(st.lists(st.text(max_size=20) | st.text(ALPHABET, max_size=9), max_size=12))
def test_a_column_of_plates_equals_plate_by_plate(plates):
    column = PlateReader(remembered_max=5).read(plates)
    for row, plate in enumerate(plates):
        if row in column.faults:
            continue
        folded = fold(plate)
        assert column.keys[row] == plate_key(folded)
        assert column.raw.get(row, plate) == plate
        assert (row in column.raw) == (folded != plate)
        if column.keys[row] < 0:
            assert column.odd[int(column.keys[row])] == folded


@given(st.text(ALPHABET, min_size=1, max_size=8))
def test_every_plain_plate_is_read_back(plate):
    assert plate_text(plate_key(plate)) == plate


@given(st.text(ALPHABET + " ·•.-_ａｚＡ０９abz\u3000", max_size=20))
def test_folding_twice_is_folding_once(plate):
    assert fold(fold(plate)) == fold(plate)


# ---------------------------------------------------------------- times
@given(
    st.lists(
        st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 - local on purpose
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["Asia/Shanghai", "Asia/Urumqi", "Europe/Berlin", "Asia/Kolkata", "UTC"]),
    st.booleans(),
)
def test_local_times_are_those_of_the_zone(times, zone_name, millis):
    zone = ZoneInfo(zone_name)
    times = [time.replace(microsecond=time.microsecond // 1000 * 1000 if millis else 0) for time in times]
    texts = [f"{time:%Y%m%d%H%M%S}" + (f"{time.microsecond // 1000:03d}" if millis else "") for time in times]
    wanted = [
        (time.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for time in times
    ]
    assert parse_local(texts, zone).tolist() == wanted
    assert [parse_local([text + " "], zone)[0] for text in texts] == wanted


@given(st.lists(st.text("0123456789", min_size=14, max_size=17) | st.text(max_size=20), min_size=1, max_size=5))
def test_any_text_is_a_time_or_none(texts):
    found = parse_local(texts, ZoneInfo("Asia/Shanghai"))
    assert len(found) == len(texts)
    one_by_one = [parse_local([text], ZoneInfo("Asia/Shanghai"))[0] for text in texts]
    assert found.tolist() == one_by_one
    assert all(time == NO_TIME or abs(int(time)) < 2**62 for time in found)


@given(
    st.datetimes(min_value=datetime(2026, 10, 27), max_value=datetime(2026, 11, 23)),  # noqa: DTZ001 - local on purpose
    st.integers(-14 * 60, 14 * 60),
)
def test_native_times_are_exact_to_the_microsecond(time, offset_min):
    sign = "-" if offset_min < 0 else "+"
    text = f"{time.isoformat()}{sign}{abs(offset_min) // 60:02d}:{abs(offset_min) % 60:02d}"
    rows = judge_native(read_native(as_json([native_record(observed_at=text)]))).batch.rows
    wanted = (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert rows["observed_at"].tolist() == [wanted]


# ---------------------------------------------------------------- digest
@given(st.text(max_size=300) | st.text('Digest nonce="uri=,\\ 0aqp', max_size=80).map(lambda text: f"Digest {text}"))
def test_any_authorization_header_is_read_or_refused(header):
    try:
        found = digest.parse(header)
    except digest.DigestRefused:
        return
    try:
        digest.verify(found, ha1="0" * 32, method="POST", path="/", key=b"key", at_s=1)
    except digest.DigestRefused:
        return
    raise AssertionError("nobody can guess a signed nonce")


@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.binary(min_size=8, max_size=8), st.integers(0, 31)
)
def test_a_nonce_proves_its_time_and_its_maker(key, at_s, salt, place):
    nonce = digest.make_nonce(key, at_s=at_s, salt=salt)
    assert digest.nonce_age_s(key, nonce, at_s=at_s + 5) == 5
    for other in (nonce[:place] + nonce[place + 1 :], nonce + "AAAA", nonce[::-1], struct.pack(">Q", at_s).hex()):
        if other == nonce:
            continue
        try:
            digest.nonce_age_s(key, other, at_s=at_s)
        except digest.DigestRefused:
            continue
        raise AssertionError("a changed nonce was taken for ours")
