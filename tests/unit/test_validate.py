"""What a door makes of good and bad records: each bad one costs only itself, and is told its field and reason."""

import gzip
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.doorkit import (
    GAT,
    GATES,
    NATIVE,
    NOW,
    NOW_US,
    as_json,
    bench,
    catalogue,
    motor_vehicle,
    native_record,
    parts_of,
    read_native,
)
from traffic.errors import Reason
from traffic.ingest import gat1400, native
from traffic.ingest.bodies import BodyRefused, inflate, split_array
from traffic.ingest.catalogue import direction_of
from traffic.ingest.checks import Checked
from traffic.ingest.subjects import revalidate
from traffic.limits import REQUEST_RECORDS_MAX
from traffic.plates import plate_key
from traffic.readings import Door, Reject, place_hash, source_hash

CAPTURES = Path(__file__).parent.parent / "captures"


def check_native(body: bytes, device=NATIVE) -> Checked:
    return native.check(read_native(body), device=device, bench=bench(), received_us=NOW_US)


def check_gat(body: bytes, device=GAT) -> Checked:
    read = gat1400.read_motor_vehicles(body)
    return gat1400.check(read, device=device, bench=bench(Door.GAT1400), received_us=NOW_US)


def reasons(checked: Checked) -> dict[int, tuple[str, Reason]]:
    return {refusal.index: (refusal.field, refusal.reason) for refusal in checked.refusals}


# ---------------------------------------------------------------- native
def test_a_good_native_record_becomes_one_row():
    checked = check_native(
        as_json([native_record(plate_class=2, direction=2, lane=3, speed_kmh=96.5, vehicle_class="K33", length_m=4.5)])
    )
    row = checked.batch.rows[0]
    assert (row["observed_at"], row["received_at"]) == (NOW_US - 5_000_000, NOW_US)
    assert row["plate_key"] == plate_key("吉A12345")
    assert (row["checkpoint"], row["device"], row["door"]) == (GATES[0].id, NATIVE.id, Door.NATIVE)
    assert (row["plate_class"], row["direction"], row["lane"], row["vehicle_class"]) == (2, 2, 3, 1133)
    assert row["speed_kmh"] == np.float32(96.5)
    assert row["length_m"] == np.float32(4.5)
    assert row["source_hash"] == source_hash(NATIVE.code, "r1")
    assert not checked.batch.extras
    assert parts_of(checked) == ([0], [])


def test_what_is_not_said_is_unknown_and_not_zero():
    row = check_native(as_json([native_record(speed_kmh=None)])).batch.rows[0]
    assert np.isnan(row["speed_kmh"])
    assert np.isnan(row["length_m"])
    assert (row["plate_class"], row["direction"], row["lane"]) == (0, 0, 0)


def test_a_record_without_id_is_known_by_its_place_second_and_raw_plate():
    checked = check_native(as_json([native_record(id=None, direction=1, lane=2, plate="吉a·12345")]))
    second = (NOW_US - 5_000_000) // 1_000_000
    assert checked.batch.rows["source_hash"][0] == place_hash(GATES[0].id, 1, 2, second, "吉a·12345")


def test_the_raw_plate_is_kept_only_where_folding_changed_it_and_pictures_where_there_are_any():
    checked = check_native(
        as_json([native_record(), native_record(plate="吉a·12345"), native_record(images=["http://192.0.2.1/1.jpg"])])
    )
    assert checked.batch.rows["flags"].tolist() == [0, 1, 1]
    assert checked.batch.extras[1].plate_raw == "吉a·12345"
    assert checked.batch.extras[2].images == ("http://192.0.2.1/1.jpg",)


def test_an_unreadable_plate_is_kept():
    checked = check_native(as_json([native_record(plate=""), native_record(plate="未识别")]))
    assert checked.batch.rows["plate_key"].tolist() == [0, 0]
    assert checked.batch.extras[1].plate_raw == "未识别"


def test_an_odd_plate_carries_its_text():
    batch = check_native(as_json([native_record(plate="使224578外")])).batch
    assert batch.odd_plates == {int(batch.rows["plate_key"][0]): "使224578外"}


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"checkpoint": "22010000001210000099"}, "checkpoint", Reason.UNKNOWN_CHECKPOINT),
        ({"checkpoint": ""}, "checkpoint", Reason.MISSING_FIELD),
        ({"checkpoint": 5}, "checkpoint", Reason.WRONG_TYPE),
        ({"observed_at": "2026-11-24T08:00:00"}, "observed_at", Reason.TIME_WITHOUT_ZONE),
        ({"observed_at": "yesterday"}, "observed_at", Reason.TIME_UNREADABLE),
        ({"observed_at": 1_795_507_200}, "observed_at", Reason.WRONG_TYPE),
        ({"observed_at": (NOW + timedelta(seconds=121)).isoformat()}, "observed_at", Reason.TIME_IN_FUTURE),
        ({"observed_at": (NOW - timedelta(days=30, seconds=1)).isoformat()}, "observed_at", Reason.TIME_TOO_OLD),
        ({"observed_at": "0001-01-01T00:00:00+23:59"}, "observed_at", Reason.TIME_TOO_OLD),
        ({"observed_at": "9999-12-31T23:59:59-23:59"}, "observed_at", Reason.TIME_IN_FUTURE),
        ({"plate": None}, "plate", Reason.WRONG_TYPE),
        ({"plate": "吉A12345\0"}, "plate", Reason.MALFORMED),
        ({"plate": "1" * 300}, "plate", Reason.TOO_LONG),
        ({"plate": "1" * 17}, "plate", Reason.TOO_LONG),
        ({"plate_class": 100}, "plate_class", Reason.OUT_OF_RANGE),
        ({"plate_class": "02"}, "plate_class", Reason.WRONG_TYPE),
        ({"plate_class": True}, "plate_class", Reason.WRONG_TYPE),
        ({"direction": 3}, "direction", Reason.OUT_OF_RANGE),
        ({"lane": -1}, "lane", Reason.OUT_OF_RANGE),
        ({"lane": 10**30}, "lane", Reason.OUT_OF_RANGE),
        ({"lane": 1.5}, "lane", Reason.WRONG_TYPE),
        ({"speed_kmh": -1}, "speed_kmh", Reason.OUT_OF_RANGE),
        ({"speed_kmh": 1e300}, "speed_kmh", Reason.OUT_OF_RANGE),
        ({"speed_kmh": "fast"}, "speed_kmh", Reason.WRONG_TYPE),
        ({"length_m": 61}, "length_m", Reason.OUT_OF_RANGE),
        ({"vehicle_class": "car"}, "vehicle_class", Reason.OUT_OF_RANGE),
        ({"images": ["x" * 300]}, "images", Reason.TOO_LONG),
        ({"images": ["a\0b"]}, "images", Reason.MALFORMED),
        ({"images": [str(n) for n in range(11)]}, "images", Reason.TOO_LONG),
        ({"images": "http://192.0.2.1/1.jpg"}, "images", Reason.WRONG_TYPE),
    ],
)
def test_a_bad_field_is_named_with_its_reason_and_costs_only_its_record(fields, field, reason):
    checked = check_native(as_json([native_record(), native_record(**fields), native_record(id="r2")]))
    assert reasons(checked) == {1: (field, reason)}
    assert checked.index.tolist() == [0, 2]
    assert checked.refusals[0].detail
    assert json.loads(checked.refusals[0].body)["id"] == "r1"


def test_the_edges_of_the_time_window_are_inside():
    times = [NOW + timedelta(seconds=120), NOW - timedelta(days=30)]
    assert not check_native(as_json([native_record(observed_at=time.isoformat()) for time in times])).refusals


@pytest.mark.parametrize("field", ["checkpoint", "observed_at", "plate"])
def test_a_missing_field_is_named(field):
    record = native_record()
    del record[field]
    assert reasons(check_native(as_json([record]))) == {0: (field, Reason.MISSING_FIELD)}


def test_a_device_reports_only_for_its_units_subtree():
    checked = check_native(as_json([native_record(checkpoint=gate.code) for gate in GATES]), device=GAT)
    assert reasons(checked) == {
        2: ("checkpoint", Reason.NOT_THIS_DEVICE),
        3: ("checkpoint", Reason.NOT_THIS_DEVICE),
    }


def test_of_a_field_written_twice_the_last_one_counts():
    body = as_json([native_record()]).replace(b'"plate"', b'"plate": "\xe5\x90\x89B00001", "plate"', 1)
    assert check_native(body).batch.rows["plate_key"][0] == plate_key("吉A12345")


@pytest.mark.parametrize(
    "element",
    [b'{"plate": NaN}', b"{,}", b'{"plate": "\\ud800"}', b"[" * 5000 + b"]" * 5000, b"nonsense", b'{"plate": "\xff"}'],
)
def test_an_element_that_is_no_json_costs_only_itself(element):
    good = as_json(native_record())
    checked = check_native(b"[" + good + b"," + element + b"," + good + b"]")
    assert parts_of(checked) == ([0, 2], [1])


@pytest.mark.parametrize("tail", [b"", b",", b"]]", b"}"])
def test_brackets_that_do_not_match_refuse_the_body(tail):
    with pytest.raises(BodyRefused) as caught:
        read_native(b"[" + as_json(native_record()) + tail)
    assert caught.value.status == 400


def test_a_lone_object_is_one_record():
    assert parts_of(check_native(as_json(native_record()))) == ([0], [])
    assert parts_of(check_native(as_json(native_record())[:-1])) == ([], [0])


@pytest.mark.parametrize("body", [b"", b"   ", b"null", b"17", b'"text"', b"<xml/>", b"\xff\xfe[\0]\0"])
def test_a_body_that_is_no_list_is_refused_whole(body):
    with pytest.raises(BodyRefused) as caught:
        read_native(body)
    assert caught.value.status == 400


def test_an_empty_list_and_a_byte_order_mark_are_fine():
    assert check_native(b"[]").count == 0
    assert check_native(b"\xef\xbb\xbf" + as_json([native_record()])).count == 1


def test_records_beyond_the_bound_are_answered_too_many():
    checked = check_native(as_json([native_record()] * (REQUEST_RECORDS_MAX + 2)))
    assert len(checked.batch) == REQUEST_RECORDS_MAX
    assert [refusal.reason for refusal in checked.refusals] == [Reason.TOO_MANY] * 2
    assert not any(refusal.keep for refusal in checked.refusals)


def test_far_too_many_records_are_refused_whole():
    for body in (as_json([native_record()] * (2 * REQUEST_RECORDS_MAX + 1)), b"[" + b"0," * 2_000_000 + b"0]"):
        with pytest.raises(BodyRefused) as caught:
            read_native(body)
        assert caught.value.status == 413


def test_ndjson_takes_line_by_line():
    read = read_native((CAPTURES / "native.ndjson").read_bytes(), lines=True)
    checked = native.check(read, device=NATIVE, bench=bench(), received_us=NOW_US)
    assert checked.count == 5
    assert checked.index.tolist() == [0, 1, 4]
    assert reasons(checked) == {2: ("", Reason.MALFORMED), 3: ("observed_at", Reason.TIME_WITHOUT_ZONE)}
    assert checked.batch.rows["observed_at"][0] == NOW_US - 59_750_000
    assert checked.batch.extras[2].plate_raw == "吉ａ·１２３４５"


def test_a_corrected_record_is_judged_as_if_it_came_now():
    taken = revalidate(as_json(native_record()), NATIVE, catalogue(), NOW_US)
    assert isinstance(taken, Checked)
    assert len(taken.batch) == 1
    refused = revalidate(as_json(native_record(lane=100)), NATIVE, catalogue(), NOW_US)
    assert isinstance(refused, Reject)
    assert (refused.field, refused.reason, refused.unit_id) == ("lane", Reason.OUT_OF_RANGE, NATIVE.unit_id)
    assert isinstance(revalidate(b"", NATIVE, catalogue(), NOW_US), Reject)


# ---------------------------------------------------------------- GA/T 1400
def test_a_capture_of_a_platform_is_read():
    checked = check_gat((CAPTURES / "platform_list.json").read_bytes())
    assert parts_of(checked) == ([0, 1, 2], [])
    first, second, third = checked.batch.rows
    assert first["observed_at"] == NOW_US - 60_000_000
    assert (first["plate_class"], first["plate_color"], first["direction"], first["lane"]) == (2, 1, 1, 1)
    assert (first["vehicle_class"], first["length_m"]) == (1133, np.float32(4.62))
    assert checked.batch.extras[0].images == (
        "/upload/2026/11/24/15/0001-near.jpg",
        "/upload/2026/11/24/15/0001-plate.jpg",
        "/upload/2026/11/24/15/0001-far.jpg",
        "http://192.0.2.10:9080/p/a2421c4f.jpg",
    )
    assert second["observed_at"] == NOW_US - 58_750_000
    assert (second["plate_key"], second["direction"], second["lane"], second["speed_kmh"]) == (0, 2, 2, 0)
    assert third["plate_key"] == plate_key("吉AD12345")
    assert (third["plate_color"], third["direction"]) == (5, 0)
    assert np.isnan(third["speed_kmh"])
    assert first["source_hash"] == source_hash(GAT.code, "220100000011900000010220261124155900000010200001")


def test_a_capture_of_a_camera_with_empty_texts_is_read():
    checked = check_gat((CAPTURES / "camera_single.json").read_bytes())
    assert parts_of(checked) == ([0], [])
    row = checked.batch.rows[0]
    assert row["plate_key"] == plate_key("吉AP0M30")
    assert (row["lane"], row["direction"], row["vehicle_class"], row["plate_color"]) == (0, 0, 0, 2)
    assert checked.batch.extras[0].plate_raw == "吉A·P0M30"


def test_each_fault_of_a_platforms_list_is_named():
    checked = check_gat((CAPTURES / "platform_faults.json").read_bytes())
    assert checked.index.tolist() == [0, 10]
    assert reasons(checked) == {
        1: ("TollgateID", Reason.UNKNOWN_CHECKPOINT),
        2: ("TollgateID", Reason.NOT_THIS_DEVICE),
        3: ("PassTime", Reason.TIME_UNREADABLE),
        4: ("PassTime", Reason.TIME_IN_FUTURE),
        5: ("PassTime", Reason.TIME_TOO_OLD),
        6: ("PlateClass", Reason.WRONG_TYPE),
        7: ("PlateNo", Reason.WRONG_TYPE),
        8: ("Speed", Reason.OUT_OF_RANGE),
        9: ("TollgateID", Reason.MISSING_FIELD),
    }
    ids = gat1400.ids_of(gat1400.read_motor_vehicles((CAPTURES / "platform_faults.json").read_bytes()))
    assert ids == [f"m{place}" for place in range(11)]


@pytest.mark.parametrize(
    "envelope",
    [
        lambda one: {"MotorVehicleListObject": {"MotorVehicleObject": [one]}},
        lambda one: {"MotorVehicleListObject": {"MotorVehicleObject": one}},
        lambda one: {"MotorVehicleObjectList": {"MotorVehicleObject": [one]}},
        lambda one: {"MotorVehicleList": {"MotorVehicleObject": [one]}},
        lambda one: {"MotorVehicleObject": one},
        lambda one: {"MotorVehicleObject": [one]},
        lambda one: {"MotorVehicleListObject": [one]},
    ],
)
def test_every_envelope_seen_in_the_wild_is_opened(envelope):
    assert parts_of(check_gat(as_json(envelope(motor_vehicle())))) == ([0], [])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b'{"MotorVehicleListObject": {}}', b'{"FaceListObject": {}}']
)
def test_a_body_without_motor_vehicles_is_refused_whole(body):
    with pytest.raises(BodyRefused):
        gat1400.read_motor_vehicles(body)


def test_an_element_that_is_no_json_does_not_spoil_the_list():
    good = as_json(motor_vehicle())
    body = b'{"MotorVehicleListObject": {"MotorVehicleObject": [' + good + b', {"Speed": NaN}, ' + good + b"]}}"
    assert parts_of(check_gat(body)) == ([0, 2], [1])


@pytest.mark.parametrize(
    ("text", "before_now_s"),
    [
        ("20261124155955", 5),
        ("20261124155955250", 4.75),
        ("20261124155955.250", 4.75),
        ("2026-11-24 15:59:55", 5),
        ("2026-11-24T15:59:55.5", 4.5),
        ("2026-11-24T07:59:55Z", 5),
        ("2026-11-24T07:59:55+00:00", 5),
    ],
)
def test_pass_times_are_read_in_the_devices_zone(text, before_now_s):
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(PassTime=text)}))
    assert checked.batch.rows["observed_at"].tolist() == [NOW_US - int(before_now_s * 1_000_000)]


@pytest.mark.parametrize(
    "text", ["", None, "2026112415595", "20261324155955", "20261131155955", "20261124245955", "now"]
)
def test_a_pass_time_that_is_none_is_refused(text):
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(PassTime=text)}))
    assert reasons(checked) == {0: ("PassTime", Reason.TIME_UNREADABLE)}


@pytest.mark.parametrize(
    "fields", [{"HasPlate": "0"}, {"HasPlate": 0}, {"HasPlate": False}, {"PlateNo": "车牌"}, {"PlateNo": None}]
)
def test_no_plate_is_kept_as_unreadable(fields):
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(**fields)}))
    assert checked.batch.rows["plate_key"].tolist() == [0]


@pytest.mark.parametrize(
    ("code", "direction"),
    [("1", 1), ("2", 2), ("3", 2), ("4", 1), ("5", 1), (6, 2), ("9", 0), ("0", 0), ("", 0), (None, 0)],
)
def test_compass_directions_are_mapped_along_the_road(code, direction):
    """The test road runs at 60 degrees: north and east are with the stakes."""
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(Direction=code)}))
    assert checked.batch.rows["direction"].tolist() == [direction]


def test_a_heading_square_to_the_road_tells_no_direction():
    assert [direction_of(code, 0) for code in (1, 2, 3, 4, 5, 8)] == [0, 0, 2, 1, 1, 1]


def test_an_unknown_direction_code_is_out_of_range():
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(Direction="10")}))
    assert reasons(checked) == {0: ("Direction", Reason.OUT_OF_RANGE)}


def test_a_record_without_id_is_taken_by_its_place():
    checked = check_gat(as_json({"MotorVehicleObject": motor_vehicle(MotorVehicleID=None)}))
    second = (NOW_US - 5_000_000) // 1_000_000
    assert checked.batch.rows["source_hash"][0] == place_hash(GATES[0].id, 1, 1, second, "吉A12345")


# ---------------------------------------------------------------- bodies
def test_gzip_is_unpacked_within_its_bound():
    assert inflate(gzip.compress(b"a" * 1000) + gzip.compress(b"b")) == b"a" * 1000 + b"b"
    with pytest.raises(BodyRefused) as caught:
        inflate(gzip.compress(b"0" * 50_000_000))
    assert caught.value.status == 413


# named, because gzip writes the time into its header and two test processes must agree on every test's name
@pytest.mark.parametrize(
    "body",
    [b"plain", b"", gzip.compress(b"x" * 100)[:-5], gzip.compress(b"x") + b"rest"],
    ids=["plain", "empty", "cut off", "with a tail"],
)
def test_broken_gzip_is_refused(body):
    with pytest.raises(BodyRefused) as caught:
        inflate(body)
    assert caught.value.status == 400


def test_an_array_is_split_at_its_own_commas_only():
    assert split_array(b'[1, {"a": [2, "x,]"]}, NaN, "\\","]') == [b"1", b'{"a": [2, "x,]"]}', b"NaN", b'"\\","']
    assert split_array(b"[]") == []
