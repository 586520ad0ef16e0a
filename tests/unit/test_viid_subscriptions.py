"""GA/T 1400 subscriptions as bytes: what may stand, what a notification brings, and passages there and back."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doorkit import GAT, GATES, NATIVE, NOW, NOW_US, bench, catalogue, motor_vehicle
from traffic.ingest import gat1400
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.catalogue import direction_of
from traffic.ingest.links import DeviceLink, LinkWrong, is_web_address, read_link
from traffic.ingest.viid_subscriptions import (
    Names,
    Wish,
    WishRefused,
    compass_code,
    is_cancel,
    judge,
    motor_vehicles,
    notification_body,
    read_ids,
    read_notifications,
    read_wishes,
    subscribe_list_body,
    subscribe_object,
    worst_status,
)
from traffic.readings import Door, Extra

PEER = "10.0.0.5"
ID = "220000000000032026112408000000001"
GOOD = {
    "SubscribeID": ID, "Title": "省际卡口", "SubscribeDetail": "13", "ResourceURI": f"{GATES[0].code},{GATES[1].code}",
    "BeginTime": "20261124000000", "EndTime": "20271124000000", "ReceiveAddr": f"http://{PEER}:8080/VIID/x",
    "ReportInterval": 5, "OperateType": 0,
}  # fmt: skip
NAMES = Names(server_id="22000000005030000001", checkpoints={gate.id: (gate.code, gate.bearing_deg) for gate in GATES})


def judged(device=GAT, peer: str = PEER, **fields: object):
    wish = msgspec.convert({**GOOD, **fields}, Wish)
    return judge(wish, device=device, catalogue=catalogue(), peer=peer, now=NOW)


# ---------------------------------------------------------------- who may have what
def test_a_subscription_stands_as_it_was_wished() -> None:
    found = judged()
    assert (found.id, found.checkpoints, found.interval_s) == (ID, (1, 2), 5)
    assert found.begins_at.isoformat() == "2026-11-23T16:00:00+00:00"
    again = read_wishes(subscribe_list_body([subscribe_object(found, status=0, applicant="x")]))[0]
    assert judge(again, device=GAT, catalogue=catalogue(), peer=PEER, now=NOW) == found


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest", "http://127.0.0.1:6379/", "http://10.0.0.6/", "ftp://10.0.0.5/", "10.0.0.5",
        "http://10.0.0.5@evil/", "http://evil#@10.0.0.5/", "http://10.0.0.5:99999/", "http:///x",
        "file:///etc/passwd", "", "http://10.0.0.5.evil.com/", "http://[::1]/", "http://10.0.0.5:0/",
    ],
)  # fmt: skip
def test_nobody_is_told_at_an_address_that_is_not_its_own(address: str) -> None:
    with pytest.raises(WishRefused, match="ReceiveAddr"):
        judged(ReceiveAddr=address)


def test_a_host_that_is_entered_for_a_device_is_its_own() -> None:
    device = replace(GAT, link=DeviceLink(hosts=frozenset({"viid.neighbour"})))
    assert judged(device, ReceiveAddr="https://viid.neighbour/in").address == "https://viid.neighbour/in"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"SubscribeID": "a b"}, "SubscribeID"), ({"SubscribeID": None}, "SubscribeID"),
        ({"SubscribeDetail": "11"}, "SubscribeDetail"), ({"ResourceURI": GATES[2].code}, "ResourceURI"),
        ({"ResourceURI": "99"}, "ResourceURI"), ({"ResourceURI": ""}, "ResourceURI"), ({"EndTime": "soon"}, "EndTime"),
        ({"EndTime": "20200101000000"}, "EndTime"), ({"BeginTime": "20280101000000"}, "EndTime"),
        ({"ReportInterval": "often"}, "ReportInterval"), ({"ReportInterval": 1e400}, "ReportInterval"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)  # fmt: skip
def test_what_is_wrong_with_a_wish_is_said_by_field(fields: dict[str, object], named: str) -> None:
    with pytest.raises(WishRefused, match=named):
        judged(**fields)


def test_beginnings_of_codes_name_what_a_device_may_have() -> None:
    assert judged(ResourceURI="2201").checkpoints == (1, 2), "the west's own"
    assert judged(NATIVE, ResourceURI="22").checkpoints == (1, 2, 3, 4)
    shared = replace(NATIVE, link=DeviceLink(share=frozenset({GATES[3].code})))
    assert judged(shared, ResourceURI="22").checkpoints == (4,)
    with pytest.raises(WishRefused):
        judged(shared, ResourceURI=GATES[0].code)


def test_a_wish_without_times_lasts_a_year_and_never_more_than_five() -> None:
    found = judged(BeginTime="", EndTime="")
    assert found.begins_at == NOW and found.ends_at == NOW + timedelta(days=366)
    assert judged(EndTime="20991231000000").ends_at == NOW + timedelta(days=5 * 366)


def test_cancelling_is_told_apart() -> None:
    assert is_cancel(msgspec.convert({**GOOD, "OperateType": "1"}, Wish))
    assert not is_cancel(msgspec.convert(GOOD, Wish))
    assert read_ids(f"{ID}, x , ,a b") == [ID, "x"]


FIELDS = (
    "SubscribeListObject", "SubscribeObject", "SubscribeID", "SubscribeNotificationListObject",
    "SubscribeNotificationObject", "MotorVehicleObjectList", "ResponseStatusObject", "ResponseStatusListObject",
    "StatusCode",
)  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@given(ANY_JSON)
def test_any_json_is_read_or_refused(content: object) -> None:
    body = json.dumps(content).encode()
    for read in (read_wishes, read_notifications):
        try:
            read(body)
        except BodyRefused:
            continue
    worst_status(body)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(body: bytes) -> None:
    for read in (read_wishes, read_notifications):
        try:
            read(body)
        except BodyRefused:
            continue
    worst_status(body)


# ---------------------------------------------------------------- passages there and back
def test_passages_come_back_as_they_went() -> None:
    records = [
        motor_vehicle(Direction="5", VehicleColor="10", VehicleLength=450, StorageUrl1="http://p/1.jpg"),
        motor_vehicle(MotorVehicleID="x", TollgateID=GATES[1].code, HasPlate="0", PlateNo="未识别", Speed=None),
        motor_vehicle(MotorVehicleID="y", PlateNo="WJ吉12345678", Direction="6", PlateColor="2"),
    ]
    body = json.dumps({"MotorVehicleListObject": {"MotorVehicleObject": records}}).encode()
    read = gat1400.read_motor_vehicles(body)
    first = gat1400.check(read, device=GAT, bench=bench(Door.GAT1400), received_us=NOW_US).batch
    vehicles = motor_vehicles(first, NAMES)
    told = read_notifications(notification_body(ID, "t", 7, vehicles, "20261124160000"))
    assert [(one.subscription, bool(one.records)) for one in told] == [(ID, True)]
    assert vehicles == motor_vehicles(first, NAMES), "sent again they are the same records"
    back = gat1400.read_motor_vehicles(told[0].records)
    second = gat1400.check(back, device=NATIVE, bench=bench(Door.SUBSCRIPTION), received_us=NOW_US)
    assert not second.refusals
    for name in ("observed_at", "plate_key", "checkpoint", "direction", "lane", "plate_class", "plate_color",
                 "vehicle_class", "body_color", "speed_kmh", "length_m"):  # fmt: skip
        np.testing.assert_array_equal(first.rows[name], second.batch.rows[name], err_msg=name)
    assert second.batch.extras[0] == Extra(images=("http://p/1.jpg",))
    assert all(len(str(vehicle["MotorVehicleID"])) == 48 for vehicle in vehicles)


@given(st.integers(1, 2), st.floats(0, 360))
def test_a_compass_code_leads_back_to_the_direction(direction: int, bearing_deg: float) -> None:
    assert direction_of(int(compass_code(direction, bearing_deg)), bearing_deg) == direction


def test_a_checkpoint_that_is_gone_is_left_out() -> None:
    read = gat1400.read_motor_vehicles(json.dumps({"MotorVehicleObject": motor_vehicle()}).encode())
    batch = gat1400.check(read, device=GAT, bench=bench(Door.GAT1400), received_us=NOW_US).batch
    assert motor_vehicles(batch, Names(server_id="1", checkpoints={})) == []


def test_another_platforms_tollgates_are_known_under_our_codes() -> None:
    device = replace(NATIVE, link=DeviceLink(codes={"2101": GATES[0].code}))
    read = gat1400.read_motor_vehicles(json.dumps({"MotorVehicleObject": motor_vehicle(TollgateID="2101")}).encode())
    batch = gat1400.check(read, device=device, bench=bench(Door.SUBSCRIPTION), received_us=NOW_US).batch
    assert batch.rows["checkpoint"].tolist() == [GATES[0].id]


# ---------------------------------------------------------------- answers and links
def test_the_worst_status_of_an_answer_counts() -> None:
    assert worst_status(b"") == ("0", "")
    assert worst_status(b"thanks") == ("0", "")
    assert worst_status(b'{"ResponseStatusObject":{"StatusCode":0}}') == ("0", "")
    statuses = [{"StatusCode": "0"}, {"StatusCode": "2", "StatusString": "busy"}]
    listed = {"ResponseStatusListObject": {"ResponseStatusObject": statuses}}
    assert worst_status(json.dumps(listed).encode()) == ("2", "busy")


@pytest.mark.parametrize(
    "told",
    [
        {"peers": ["everywhere"]}, {"keyless": True}, {"directions": {"1": 5}}, {"address": "gopher://x"}, {"codes": 7},
        {"user": "x"}, {"peers": 5}, {"hosts": 5},
    ],
    ids=lambda told: next(iter(told)) + str(next(iter(told.values())))[:8],
)  # fmt: skip
def test_a_wrong_link_says_so(told: dict[str, object]) -> None:
    with pytest.raises(LinkWrong):
        read_link(told)


def test_a_link_says_where_its_platform_comes_from() -> None:
    link = read_link({"peers": ["10.0.0.0/8", "::1"], "hosts": ["a"], "address": "http://a:1/"})
    assert link.may_come_from("10.2.3.4") and link.may_come_from("::1") and not link.may_come_from("11.0.0.1")
    assert (
        not link.may_come_from("local") and read_link({}).may_come_from("local") and not read_link({}).is_known("::1")
    )
    assert link.may_be_called_at("a", "b") and link.may_be_called_at("b", "b") and not link.may_be_called_at("", "")
    assert link.address == "http://a:1" and not is_web_address("http://a b/") and not is_web_address("http://a:x/")
