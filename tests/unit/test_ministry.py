"""The ministry's SOAP as bytes: calls of many clients, hostile XML, the judgement of one record, the WSDL."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doorkit import GATES, NOW_US, bench
from tests.world import WEST
from traffic.errors import Reason
from traffic.ingest import ministry
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.catalogue import Device
from traffic.ingest.links import DeviceLink
from traffic.ingest.ministry import ARGUMENTS, NAMESPACE, SOAP_11, SOAP_12, Answer
from traffic.plates import plate_key
from traffic.readings import Door

SENDER = Device(
    id=9, code="west-soap", unit_id=WEST, kind="ministry", secret=b"", time_zone="Asia/Shanghai", enabled=True,
    link=DeviceLink(codes={"220101000001": GATES[0].code}, directions={"7": 2}),
)  # fmt: skip
GOOD = {
    "kkbh": GATES[0].code, "fxlx": "1", "cdh": "02", "hphm": "吉A·12345", "hpzl": "02", "gcsj": "2026-11-24 15:59:55",
    "clsd": "96", "clxs": "100", "cwkc": "450", "hpys": "2", "cllx": "K33", "csys": "J",
    "tplj": "http://10.0.0.1/p/", "tp1": "1.jpg", "tp2": "2.jpg", "tp3": "http://10.0.0.2/3.jpg",
}  # fmt: skip


def envelope(operation: str, arguments: dict[str, str] | list[tuple[str, str]], *, soap: str = SOAP_11) -> bytes:
    pairs = arguments.items() if isinstance(arguments, dict) else arguments
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in pairs)
    return (
        f'<?xml version="1.0"?><s:Envelope xmlns:s="{soap}"><s:Header/><s:Body><n:{operation} xmlns:n="{NAMESPACE}">'
        f"{inner}</n:{operation}></s:Body></s:Envelope>"
    ).encode()


def judged(**fields: str):
    call = ministry.read_call(envelope("writeVehicleInfo", {**GOOD, **fields}))
    return ministry.check(call.arguments, device=SENDER, bench=bench(Door.MINISTRY), received_us=NOW_US)


def test_a_record_becomes_a_passage() -> None:
    checked = judged()
    assert not checked.refusals
    row, extra = checked.batch.rows[0], checked.batch.extras[0]
    assert (row["checkpoint"], row["plate_key"], row["door"]) == (GATES[0].id, plate_key("吉A12345"), Door.MINISTRY)
    assert row["observed_at"] == NOW_US - 5_000_000
    assert (row["direction"], row["lane"], row["plate_class"], row["plate_color"]) == (1, 2, 2, 1)
    assert (row["vehicle_class"], row["body_color"], row["speed_kmh"]) == (1133, 1, 96)
    assert row["length_m"] == np.float32(4.5)
    assert extra.plate_raw == "吉A·12345"
    assert extra.images == ("http://10.0.0.1/p/1.jpg", "http://10.0.0.1/p/2.jpg", "http://10.0.0.2/3.jpg")


def test_a_site_may_have_codes_of_its_own_for_checkpoints_and_directions() -> None:
    row = judged(kkbh="220101000001", fxlx="7").batch.rows[0]
    assert (row["checkpoint"], row["direction"]) == (GATES[0].id, 2)


def test_what_is_not_measured_is_not_zero() -> None:
    row = judged(clsd="-1", cwkc="0", hpys="", csys="", cllx="", fxlx="99").batch.rows[0]
    assert np.isnan(row["speed_kmh"]) and np.isnan(row["length_m"])
    assert (row["plate_color"], row["body_color"], row["vehicle_class"], row["direction"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "reason", "answer"),
    [
        ({"kkbh": "nowhere"}, Reason.UNKNOWN_CHECKPOINT, Answer.UNKNOWN_CHECKPOINT),
        ({"kkbh": ""}, Reason.MISSING_FIELD, Answer.WRONG),
        ({"kkbh": GATES[2].code}, Reason.NOT_THIS_DEVICE, Answer.NOT_YOURS),
        ({"gcsj": "yesterday"}, Reason.TIME_UNREADABLE, Answer.WRONG_TIME),
        ({"gcsj": "2027-11-24 15:59:55"}, Reason.TIME_IN_FUTURE, Answer.WRONG_TIME),
        ({"hphm": "吉" * 20}, Reason.TOO_LONG, Answer.WRONG_PLATE),
        ({"hpzl": "x"}, Reason.WRONG_TYPE, Answer.WRONG),
        ({"hpzl": "123456789"}, Reason.OUT_OF_RANGE, Answer.WRONG),
        ({"clsd": "fast"}, Reason.WRONG_TYPE, Answer.WRONG),
        ({"clsd": "999"}, Reason.OUT_OF_RANGE, Answer.WRONG),
    ],
)
def test_a_wrong_record_is_refused_with_its_reason_and_its_number(
    fields: dict[str, str], reason: Reason, answer: Answer
) -> None:
    (refusal,) = judged(**fields).refusals
    assert refusal.reason == reason and ministry.answer_of(refusal) == answer
    assert refusal.field in ARGUMENTS["writeVehicleInfo"] and "gcsj" in json.loads(refusal.body)


def test_clients_write_names_in_their_own_ways() -> None:
    for operation in ("writeVehicleInfo", "WriteVehicleInfo", "writeVehicleInfoRequest"):
        for soap in (SOAP_11, SOAP_12):
            call = ministry.read_call(envelope(operation, GOOD, soap=soap))
            assert (call.operation, call.soap, call.arguments["hphm"]) == ("writeVehicleInfo", soap, "吉A·12345")
            assert call.arguments["tztp"] == ""
    values = [GOOD.get(name, "") for name in ARGUMENTS["writeVehicleInfo"]]
    for prefix in ("arg", "in"):
        renamed = list(reversed([(f"{prefix}{place}", text) for place, text in enumerate(values)]))
        assert ministry.read_call(envelope("writeVehicleInfo", renamed)).arguments["cllx"] == "K33"
    by_place = [("x", text) for text in values]
    assert ministry.read_call(envelope("writeVehicleInfo", by_place)).arguments["tp3"].endswith("/3.jpg")
    assert ministry.read_call(envelope("initTrans", {"kkbh": "1", "info": "x"})).operation == "initTrans"


@pytest.mark.parametrize("charset", ["gbk", "GB2312", "gb18030"])
def test_a_body_in_gbk_is_read(charset: str) -> None:
    text = envelope("writeVehicleInfo", GOOD).decode()
    declared = text.replace('<?xml version="1.0"?>', f'<?xml version="1.0" encoding="{charset}"?>').encode("gb18030")
    assert ministry.read_call(declared).arguments["hphm"] == "吉A·12345"
    assert ministry.read_call(text.encode("gb18030"), charset=charset).arguments["hphm"] == "吉A·12345"


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 10) for c in range(ord("b"), ord("k")))
    + b"]><b>&j;</b>"
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope("initTrans", {"kkbh": "&amp;"})[21:],
        b"<a>" * 1000,
        envelope("writeVehicleInfo", [("x", "")] * 500),
        envelope("writeVehicleInfo", {"kkbh": "<a>" * 30 + "</a>" * 30}),
        envelope("dropTables", {}),
        b'{"json": 1}',
        b"",
        b"\x00\xff" * 50,
        envelope("initTrans", {}).replace(b"</n:initTrans>", b"</n:initTrans><n:initTrans xmlns:n='x'/>"),
        f'<e:Envelope xmlns:e="{SOAP_11}"><e:Body/></e:Envelope>'.encode(),
    ],
    ids=["bomb", "doctype", "entity", "deep", "many", "nested", "unknown", "json", "empty", "noise", "two", "none"],
)
def test_hostile_and_broken_xml_is_refused(body: bytes) -> None:
    with pytest.raises(BodyRefused) as refused:
        ministry.read_call(body)
    assert refused.value.status == 400


def test_a_text_beyond_its_bound_is_cut() -> None:
    call = ministry.read_call(envelope("writeVehicleInfo", {**GOOD, "tztp": "A" * 100_000}))
    assert len(call.arguments["tztp"]) == ministry.ARGUMENT_CHARS_MAX


@given(st.binary(max_size=300), st.sampled_from(["", "gbk", "utf-8"]))
def test_any_bytes_are_a_call_or_are_refused(data: bytes, charset: str) -> None:
    for body in (data, envelope("writeVehicleInfo", {"hphm": "@"}).replace(b"@", data)):
        try:
            ministry.read_call(body, charset=charset)
        except BodyRefused:
            continue


@given(st.dictionaries(st.sampled_from(ARGUMENTS["writeVehicleInfo"]), st.text(max_size=40)))
def test_any_arguments_are_a_passage_or_are_refused(fields: dict[str, str]) -> None:
    arguments = {**dict.fromkeys(ARGUMENTS["writeVehicleInfo"], ""), **GOOD, **fields}
    checked = ministry.check(arguments, device=SENDER, bench=bench(Door.MINISTRY), received_us=NOW_US)
    assert len(checked.batch) + len(checked.refusals) == 1


@pytest.mark.parametrize("soap", [SOAP_11, SOAP_12])
def test_an_answer_is_one_number_in_the_callers_own_words(soap: str) -> None:
    call = ministry.read_call(envelope("WriteVehicleInfo", GOOD, soap=soap))
    root = ElementTree.fromstring(ministry.answer_body(call, Answer.BUSY, 'full <&> "\x01"'))
    assert root.tag == f"{{{soap}}}Envelope"
    (answer,) = root.findall(f"{{{soap}}}Body/{{{NAMESPACE}}}WriteVehicleInfoResponse/return")
    assert answer.text == "-9"
    assert root.findtext(f"{{{soap}}}Header/{{{NAMESPACE}}}info") == 'full <&> " "'
    fault = ElementTree.fromstring(ministry.fault_body(soap, "no <call>", theirs=True))
    assert fault.find(f"{{{soap}}}Body/{{{soap}}}Fault") is not None


def test_the_wsdl_leads_from_the_service_to_every_argument() -> None:
    """As a client's stack follows it: port, binding, port type, message, element; each name that is used exists."""
    wsdl, xsd = "{http://schemas.xmlsoap.org/wsdl/}", "{http://www.w3.org/2001/XMLSchema}"
    root = ElementTree.fromstring(ministry.wsdl("http://10.0.0.1:8602/trans?key=a&b=<c>"))

    def named(kind: str) -> dict[str, ElementTree.Element]:
        return {element.attrib["name"]: element for element in root.iter(kind)}

    def local(name: str) -> str:
        prefix, _, rest = name.partition(":")
        assert prefix == "tns"
        return rest

    bindings, types, messages = named(f"{wsdl}binding"), named(f"{wsdl}portType"), named(f"{wsdl}message")
    elements = {element.attrib["name"]: element for element in root.find(f"{wsdl}types/{xsd}schema") or ()}
    ports = list(root.iter(f"{wsdl}port"))
    assert len(ports) == 2
    for port in ports:
        assert port[0].attrib["location"] == "http://10.0.0.1:8602/trans?key=a&b=<c>"
        binding = bindings[local(port.attrib["binding"])]
        operations = types[local(binding.attrib["type"])].findall(f"{wsdl}operation")
        assert [one.attrib["name"] for one in operations] == list(ARGUMENTS)
        assert [one.attrib["name"] for one in binding.findall(f"{wsdl}operation")] == list(ARGUMENTS)
        for operation in operations:
            asked, answered = (
                elements[local(messages[local(part.attrib["message"])][0].attrib["element"])] for part in operation
            )
            assert [e.attrib["name"] for e in asked.iter(f"{xsd}element")][1:] == list(
                ARGUMENTS[operation.attrib["name"]]
            )
            assert [e.attrib["name"] for e in answered.iter(f"{xsd}element")][1:] == ["return"]
