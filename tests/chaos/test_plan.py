"""What a chaos run sends and breaks follows from its seed, and holds all that is hard."""

import gzip
import json

import pytest

from dashboards.chaos.blows import PAUSES, Blow, make_disturbances
from dashboards.chaos.bodies import NOWHERE, Content, body_of, content, identity, packed
from dashboards.chaos.plan import TRIP_GATES_MAX, Fault, Gate, Passage, Plan, Scene, Stretch, make_plan
from dashboards.chaos.road_plan import Point, expected_reports, make_reports
from tests.doorkit import read_native
from traffic.ingest import gat1400
from traffic.limits import LEASE_S, RING_OBSERVATIONS
from traffic.readings import Door, place_hash, source_hash

START_US = 1_795_507_200_000_000


def gate(number: int, road: int = 0, gat: int | None = None) -> Gate:
    return Gate(
        id=100 * road + number, code=f"{road:019d}{number}", stake_m=12_000 * number, bearing_deg=40.0 + 100 * road,
        lanes=2, gat=gat,
    )  # fmt: skip


ROADS = tuple(tuple(gate(number, road, gat=road if number % 2 else None) for number in range(9)) for road in range(3))
SCENE = Scene(
    roads=ROADS,
    stretches=(Stretch(gates=ROADS[0][2:4], limit_kmh=120), Stretch(gates=ROADS[1][5:2:-1], limit_kmh=80)),
    natives=1,
    gats=3,
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(11, SCENE, length_s=60)


def test_the_same_seed_makes_the_same_plan_and_another_one_another(plan: Plan):
    assert make_plan(11, SCENE, length_s=60) == plan
    assert make_plan(12, SCENE, length_s=60) != plan
    assert make_disturbances(11, length_s=60) == make_disturbances(11, length_s=60)
    assert make_disturbances(11, length_s=60) != make_disturbances(12, length_s=60)


def test_forty_seconds_deal_every_kind_of_blow_and_a_pause_outlasts_the_lease():
    dealt = make_disturbances(5, length_s=40)
    assert {disturbance.blow for disturbance in dealt} == set(Blow)
    assert all(d.for_s > LEASE_S for d in dealt if d.blow in PAUSES)
    assert [d.at_s for d in dealt] == sorted(d.at_s for d in dealt) and dealt[-1].at_s < 40


def test_a_plan_holds_everything_that_is_hard(plan: Plan):
    requests = plan.requests
    assert {request.door for request in requests} == {Door.NATIVE, Door.GAT1400}
    assert {request.form for request in requests if request.door is Door.NATIVE} == {"json", "lines", "gzip"}
    assert any(request.cut and not request.ghost for request in requests)
    assert any(request.ghost for request in requests)
    faults = [record for request in requests for record in request.records if isinstance(record, Fault)]
    assert {fault.what for fault in faults} == {"gate", "time", "future", "old", "speed", "broken"}
    assert len({fault.marker for fault in faults}) == len(faults)
    assert any(watch.restricted for watch in plan.watches)
    assert any(watch.active_s for watch in plan.watches)
    assert any(request.after is not None for request in requests)
    everything = [passage for request in requests for passage in request.passages]
    assert len(set(everything)) < len(everything)  # some are sent again
    assert any(passage.plate == "" for passage in everything)


def test_a_vehicle_is_read_less_often_than_its_ring_holds(plan: Plan):
    times: dict[str, set] = {}
    for request in plan.requests:
        for passage in request.passages:
            if passage.plate.startswith("吉"):
                times.setdefault(passage.plate, set()).add((passage.at_us, passage.gate.id))
    assert max(map(len, times.values())) <= TRIP_GATES_MAX + 2 < RING_OBSERVATIONS


def test_what_is_sent_again_with_other_content_is_not_otherwise_repeated(plan: Plan):
    for request in plan.requests:
        if request.after is None:
            continue
        (changed,) = request.passages
        before = [
            other.number
            for other in plan.requests
            if other is not request and changed.source_id in {passage.source_id for passage in other.passages}
        ]
        assert before == [request.after]


def test_bodies_are_read_by_the_doors_as_they_were_planned(plan: Plan):
    for request in plan.requests:
        body = body_of(request, START_US, "device")
        data, headers = packed(request, body)
        assert (gzip.decompress(data) if headers.get("Content-Encoding") == "gzip" else data) == body
        if request.door is Door.GAT1400:
            read = gat1400.read_motor_vehicles(body)
            assert read.count == len(request.records) and not read.refusals
            continue
        read = read_native(body, lines=request.form == "lines")
        assert read.count == len(request.records)
        for place, record in zip(read.index, read.records, strict=True):
            planned = request.records[place]
            if isinstance(planned, Passage):
                assert (record.checkpoint, record.plate) == (planned.gate.code, planned.plate)


def test_a_passage_without_an_id_has_one_identity_at_both_doors():
    passage = Passage(
        gate=gate(3), direction=2, lane=1, at_us=-5_000_000, plate="吉A12345", plate_class=2, speed_kmh=70.0,
        source_id=None,
    )  # fmt: skip
    expected = place_hash(3, 2, 1, (START_US - 5_000_000) // 1_000_000, "吉A12345")
    assert (
        identity(START_US, passage, "one") == identity(START_US, passage, "other") == (START_US - 5_000_000, expected)
    )


def test_a_passage_with_an_id_has_the_identity_of_its_device_and_the_content_that_was_told():
    passage = Passage(
        gate=gate(3), direction=1, lane=2, at_us=1, plate="吉·ａ12345", plate_class=1, speed_kmh=None, source_id="c1"
    )
    assert identity(START_US, passage, "dev") == (START_US + 1, source_hash("dev", "c1"))
    told = content(passage)
    assert isinstance(told, Content) and told.plate_key == content(passage).plate_key > 0 and told.speed_kmh is None


def test_a_fault_is_a_fault_of_the_record_that_carries_its_marker(plan: Plan):
    texts = {
        record.marker: body_of(request, START_US, "device").decode()
        for request in plan.requests
        for record in request.records
        if isinstance(record, Fault)
    }
    assert all(marker in text for marker, text in texts.items())
    assert any(NOWHERE in text for text in texts.values())


# ---------------------------------------------------------------- the roads
POINTS = [Point(id=number, code=f"D-{number}", lanes=2) for number in range(1, 13)]


def test_reports_follow_from_the_seed_and_hold_repeated_late_and_amended_ones():
    requests = make_reports(7, POINTS, length_s=60, rate=5.0)
    assert requests == make_reports(7, POINTS, length_s=60, rate=5.0) != make_reports(8, POINTS, length_s=60, rate=5.0)
    assert [request.number for request in requests] == list(range(len(requests)))
    amending = [request for request in requests if request.after is not None]
    bodies = [request.reports for request in requests]
    assert amending and any(bodies.count(body) == 2 for body in bodies)
    assert any(request.due_s > (request.reports[0].number + 1) * 6.0 for request in requests)
    assert all(requests[request.after].due_s < request.due_s for request in amending if request.after is not None)


def test_each_interval_is_expected_once_and_amended_ones_as_told_last():
    requests = make_reports(7, POINTS, length_s=60, rate=5.0)
    expected = expected_reports(requests, START_US)
    assert len(expected) == 10 * len(POINTS) * 2
    amended = {(told.point.id, told.lane, told.number) for told, revision in expected.values() if revision}
    assert amended and all(told.vehicles > 30 for told, revision in expected.values() if revision)
    first = next(request for request in requests if request.after is None)
    assert json.loads(first.body(START_US))[0] == first.reports[0].record(START_US)
