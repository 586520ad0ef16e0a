"""Whatever a sender of the roads' records writes, each record is taken or refused with a reason, and what is taken fits
the bus and the tables."""

import json
from datetime import datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.doorkit import NATIVE, NOW, NOW_US, WEST_NATIVE, as_json, bench, native_record
from tests.world import CREW_CODE, CREW_ID, DETECTORS, EAST, ROAD_ID, point_at
from traffic.errors import Reason
from traffic.geo import in_china, wgs84_to_gcj02
from traffic.ingest.bodies import BodyRefused, Records
from traffic.ingest.checks import Checked
from traffic.ingest.subjects import SUBJECTS, Subject, revalidate, subject_of
from traffic.network import stake_text
from traffic.readings import Door, EntryKind, Reject, decode_entry, encode_rows, encode_small
from traffic.road_readings import DETECTOR_REPORT, POSITION, CameraRow, RoadWork

AT = (NOW - timedelta(seconds=5)).isoformat()
LON, LAT = point_at(5_000)
GOOD: dict[str, dict[str, object]] = {
    "passages": native_record(),
    "detector-reports": {"detector": "D-1", "observed_at": AT, "vehicles": 12, "lane": 1, "heavy": 1},
    "positions": {"plate": "吉A12345", "observed_at": AT, "lon": LON, "lat": LAT},
    "weather": {"station": "S", "observed_at": AT, "road": "G1", "from_stake": "K5+000", "surface": "ice"},
    "road-works": {
        "code": "W", "observed_at": AT, "road": "G1", "from_stake": "K5", "to_stake": "K6", "direction": 1,
        "lanes_closed": [1], "from_at": AT, "to_at": (NOW + timedelta(hours=1)).isoformat(), "kind": "x",
    },
    "cameras": {"code": "V", "name": "v", "road": "G1", "stake": "K5", "facts": {"a": 1}},
}  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["", "0", "\0", "K5+000", "K1+5", "G1", "G102", "D-3", "C-1", CREW_CODE, "gcj02", "snow", AT, " "]),
    st.sampled_from([0, 1, 2, 3, 12, LON, LAT, 1e400, -0.0, 2**31, 2**63]),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=4), SCALARS, max_size=3)
SUBJECT = st.sampled_from(list(SUBJECTS.values()))


@st.composite
def changed(draw: st.DrawFn) -> tuple[Subject, list[dict[str, object]]]:
    """Records of one kind, each with some fields changed to anything, or left out."""
    subject = draw(SUBJECT)
    fields = st.sampled_from(subject.record.__struct_fields__)
    changes = draw(st.lists(st.dictionaries(fields, VALUES, max_size=3), max_size=5))
    without = draw(st.lists(fields, max_size=2))
    return subject, [{k: v for k, v in (GOOD[subject.name] | one).items() if k not in without} for one in changes]


def judge(subject: Subject, read: Records, device=NATIVE) -> Checked:
    return subject.check(read, device=device, bench=bench(subject.door), received_us=NOW_US)


def assert_answered(checked: Checked, count: int) -> None:
    """Accepted and refused together are the request; what is accepted survives the bus and lies within its bounds."""
    refused = [refusal.index for refusal in checked.refusals]
    assert sorted([*checked.index.tolist(), *refused]) == list(range(count)) == list(range(checked.count))
    assert all(isinstance(refusal.reason, Reason) and refusal.detail for refusal in checked.refusals)
    assert len(checked.batch) == len(checked.index)
    if checked.kind is EntryKind.DETECTORS:
        assert_reports(checked.batch)
    elif checked.kind is EntryKind.POSITIONS:
        assert_positions(checked.batch)
    elif checked.kind is EntryKind.ROADSIDE:
        assert_roadside(checked.batch)


def assert_reports(rows: np.ndarray) -> None:
    assert decode_entry(encode_rows(EntryKind.DETECTORS, rows))[1].tobytes() == rows.tobytes()
    assert rows.dtype == DETECTOR_REPORT
    assert set(rows["detector"].tolist()) <= {one.id for one in DETECTORS}
    assert ((rows["lane"] >= 0) & (rows["lane"] <= 2)).all()
    assert ((rows["period_s"] >= 10) & (rows["period_s"] <= 900)).all()
    assert ((rows["heavy"] >= -1) & (rows["heavy"] <= rows["vehicles"])).all()
    for name, top in (("occupancy", 100), ("speed_kmh", 250)):
        assert (np.isnan(rows[name]) | ((rows[name] >= 0) & (rows[name] <= top))).all()


def assert_positions(rows: np.ndarray) -> None:
    assert decode_entry(encode_rows(EntryKind.POSITIONS, rows))[1].tobytes() == rows.tobytes()
    assert rows.dtype == POSITION
    assert (rows["subject"] != 0).all()
    assert set(rows["subject"][rows["subject_kind"] == 2].tolist()) <= {CREW_ID}
    assert (np.abs(rows["lon"]) <= 180).all() and (np.abs(rows["lat"]) <= 90).all()
    assert (np.isnan(rows["bearing_deg"]) | ((rows["bearing_deg"] >= 0) & (rows["bearing_deg"] < 360))).all()


def assert_roadside(items: list) -> None:
    assert decode_entry(encode_small(EntryKind.ROADSIDE, items))[1] == items
    for item in items:
        texts = [value for name in item.__struct_fields__ if isinstance(value := getattr(item, name), str)]
        assert not any("\0" in text for text in texts)
        assert item.road_id == ROAD_ID
        if isinstance(item, CameraRow):
            assert 0 <= item.stake_m <= 50_000 and in_china(item.lon, item.lat)
            continue
        assert 0 <= item.from_stake_m <= item.to_stake_m <= 50_000
        if isinstance(item, RoadWork):
            assert item.from_at < item.to_at and item.direction in (1, 2)
            assert all(1 <= lane <= 12 for lane in item.lanes_closed)
        else:
            assert item.observed_at < item.valid_to


# ---------------------------------------------------------------- any bytes, any values
@given(SUBJECT, st.binary(max_size=300), st.booleans())
def test_any_bytes_are_answered(subject, body, lines):
    try:
        read = subject.read(body, lines=lines)
    except BodyRefused as refused:
        assert refused.status in (400, 413)
    else:
        assert_answered(judge(subject, read), read.count)


@given(changed())
def test_any_values_are_answered_and_lines_are_as_an_array(chosen):
    subject, records = chosen
    body = json.dumps(records).encode()
    checked = judge(subject, subject.read(body, lines=False))
    assert_answered(checked, len(records))
    lines = b"\n".join(json.dumps(record).encode() for record in records)
    by_line = judge(subject, subject.read(lines, lines=True))
    assert by_line.index.tolist() == checked.index.tolist()
    assert [(r.index, r.field, r.reason) for r in by_line.refusals] == [
        (r.index, r.field, r.reason) for r in checked.refusals
    ]


@given(changed())
def test_a_record_is_judged_alone_as_among_others_and_again_as_the_first_time(chosen):
    subject, records = chosen
    together = judge(subject, subject.read(json.dumps(records).encode(), lines=False))
    fate = {refusal.index: (refusal.field, refusal.reason) for refusal in together.refusals}
    for place, record in enumerate(records):
        alone = judge(subject, subject.read(json.dumps([record]).encode(), lines=False))
        assert [(r.field, r.reason) for r in alone.refusals] == ([fate[place]] if place in fate else [])
        again = revalidate(json.dumps(record).encode(), NATIVE, bench().catalogue, NOW_US, door=subject.door)
        assert isinstance(again, Reject) == (place in fate)


@given(changed())
def test_a_senders_rights_end_at_its_units(chosen):
    """What the west's sender may report lies in the west; nothing else changes by who sends."""
    subject, records = chosen
    body = json.dumps(records).encode()
    corps = judge(subject, subject.read(body, lines=False))
    west = judge(subject, subject.read(body, lines=False), WEST_NATIVE)
    assert set(west.index.tolist()) <= set(corps.index.tolist())
    foreign = [r for r in west.refusals if r.index in set(corps.index.tolist())]
    assert all(refusal.reason == Reason.NOT_THIS_DEVICE for refusal in foreign)
    if west.kind is EntryKind.DETECTORS:
        assert set(west.batch["detector"].tolist()) <= {1, 2}
    if west.kind is EntryKind.ROADSIDE:
        east = bench().catalogue.below[EAST]
        assert all(not (isinstance(item, RoadWork | CameraRow) and item.unit_id in east) for item in west.batch)


# ---------------------------------------------------------------- places and times
@given(st.integers(0, 50_000), st.floats(-150, 150), st.sampled_from(["wgs84", "gcj02"]), st.sampled_from([0, 1, 2]))
def test_a_point_near_the_road_is_its_stake(stake_m, aside_m, datum, direction):
    lon, lat = point_at(stake_m)
    lat += aside_m / 111_195 * 0.8  # aside, and a little along
    shown = wgs84_to_gcj02(lon, lat) if datum == "gcj02" else (lon, lat)
    record = GOOD["cameras"] | {"road": None, "stake": None, "lon": shown[0], "lat": shown[1], "datum": datum}
    (camera,) = judge(
        SUBJECTS["cameras"], SUBJECTS["cameras"].read(as_json(record | {"direction": direction}), lines=False)
    ).batch
    assert abs(camera.stake_m - stake_m) <= 100
    assert abs(camera.lon - lon) < 1e-7 and abs(camera.lat - lat) < 1e-7
    assert camera.direction == direction
    record = GOOD["cameras"] | {"stake": stake_text(stake_m), "direction": direction}
    (camera,) = judge(SUBJECTS["cameras"], SUBJECTS["cameras"].read(as_json(record), lines=False)).batch
    assert camera.stake_m == stake_m
    assert abs(camera.lon - point_at(stake_m)[0]) < 1e-4


@given(
    SUBJECT.filter(lambda subject: subject.name != "cameras"),
    st.datetimes(min_value=datetime(2026, 9, 1), max_value=datetime(2026, 12, 31)),  # noqa: DTZ001 - local on purpose
    st.integers(-14 * 60, 14 * 60),
)
def test_times_are_taken_within_the_window_to_the_microsecond(subject, time, offset_min):
    sign = "-" if offset_min < 0 else "+"
    text = f"{time.isoformat()}{sign}{abs(offset_min) // 60:02d}:{abs(offset_min) % 60:02d}"
    checked = judge(subject, subject.read(as_json([GOOD[subject.name] | {"observed_at": text}]), lines=False))
    apart = datetime.fromisoformat(text) - NOW
    if apart > timedelta(seconds=120) or apart < -timedelta(days=30):
        wanted = Reason.TIME_IN_FUTURE if apart > timedelta(0) else Reason.TIME_TOO_OLD
        assert [refusal.reason for refusal in checked.refusals] == [wanted]
        return
    if checked.kind is EntryKind.ROADSIDE:
        observed = [item.observed_at for item in checked.batch]
    else:
        rows = getattr(checked.batch, "rows", checked.batch)
        observed = rows["observed_at"].tolist()
    assert observed == [NOW_US + apart // timedelta(microseconds=1)]


# ---------------------------------------------------------------- a refused record sent again
def test_the_kind_of_a_refused_record_is_said_by_its_door_or_found_by_its_fields():
    for name, record in GOOD.items():
        assert subject_of(SUBJECTS[name].door, b"").name == name
        assert subject_of(Door.FILE, as_json(record)).name == name
        assert isinstance(revalidate(as_json(record), NATIVE, bench().catalogue, NOW_US, door=Door.FILE), Checked)
    assert subject_of(Door.GAT1400, as_json(GOOD["weather"])).name == "passages"
    for body in (b"", b"{", b"[1]", b"\xff", b"[" * 10_000):
        found = revalidate(body, NATIVE, bench().catalogue, NOW_US, door=Door.FILE)
        assert isinstance(found, Reject) and found.reason in (Reason.MALFORMED, Reason.WRONG_TYPE)
