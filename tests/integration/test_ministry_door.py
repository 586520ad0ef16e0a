"""The ministry's SOAP door with real services: who may send, what is on the bus, what a sender is told."""

from collections.abc import AsyncIterator
from xml.etree import ElementTree

import httpx
import psycopg
import pytest

from tests.conftest import wait_until_async
from tests.platformkit import MINISTRY_KEY, Doors, add_device, add_ministry, moment, open_bus, opened
from tests.world import WEST, World
from traffic.ingest.ministry import NAMESPACE, SOAP_11, Answer
from traffic.plates import plate_key
from traffic.readings import Door
from traffic.secrets import key_hash
from traffic.settings import Settings

KEYED = f"/trans?key={MINISTRY_KEY}"


@pytest.fixture
async def doors(settings: Settings, world: World, owner: psycopg.Connection) -> AsyncIterator[Doors]:
    add_ministry(owner, world.now, WEST)
    async with opened(settings, world) as found:
        yield found


async def call(
    doors: Doors, fields: dict[str, str], *, path: str = KEYED, operation: str = "writeVehicleInfo", **headers: str
) -> tuple[int, str, httpx.Response]:
    """(number, what it means in words, the response)."""
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    body = (
        f'<s:Envelope xmlns:s="{SOAP_11}"><s:Body><n:{operation} xmlns:n="{NAMESPACE}">{inner}</n:{operation}>'
        "</s:Body></s:Envelope>"
    )
    answer = await doors.client.post(
        path, content=body.encode(), headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""', **headers}
    )
    assert answer.status_code == 200, answer.text
    root = ElementTree.fromstring(answer.content)
    number = root.findtext(f"{{{SOAP_11}}}Body/{{{NAMESPACE}}}{operation}Response/return")
    return int(number or 0), root.findtext(f".//{{{NAMESPACE}}}info") or "", answer


def record(doors: Doors, gate: int = 0, before_s: float = 30, **fields: str) -> dict[str, str]:
    return {
        "kkbh": doors.world.gates[gate].code, "fxlx": "1", "cdh": "1", "hphm": "吉A12345", "hpzl": "02",
        "gcsj": f"{moment(doors.world, before_s):%Y-%m-%d %H:%M:%S}", "clsd": "96", "tplj": "http://p/", "tp1": "1.jpg",
        **fields,
    }  # fmt: skip


async def test_a_record_is_answered_with_1_when_it_is_on_the_bus(doors: Doors) -> None:
    assert (await call(doors, record(doors)))[0] == Answer.OK
    batch = doors.passages()
    assert batch.rows["plate_key"].tolist() == [plate_key("吉A12345")]
    assert batch.rows["observed_at"][0] == int(moment(doors.world, 30).timestamp()) * 1_000_000
    assert batch.rows["door"][0] == Door.MINISTRY and batch.extras[0].images == ("http://p/1.jpg",)
    bearer = {"Authorization": f"Bearer {MINISTRY_KEY}"}
    assert (await call(doors, record(doors), path="/trans", **bearer))[0] == Answer.OK
    again = doors.passages().rows
    assert again["source_hash"][0] == again["source_hash"][1], "sent again it is the same record"
    init = {"kkbh": doors.world.gates[0].code, "fxlx": "1", "cdh": "1", "info": "x"}
    assert (await call(doors, init, operation="initTrans"))[0] == Answer.OK
    assert (await call(doors, {**init, "kkbh": "x"}, operation="initTrans"))[0] == Answer.UNKNOWN_CHECKPOINT
    assert (await call(doors, record(doors, gate=2)))[0] == Answer.NOT_YOURS
    number, said, _ = await call(doors, record(doors, before_s=-3600))
    assert number == Answer.WRONG_TIME and "time_in_future" in said
    await wait_until_async(lambda: len(doors.rejects()) == 2, what="what is refused is kept")
    assert {reject.door for reject in doors.rejects()} == {Door.MINISTRY}


async def test_strangers_are_told_so_and_send_nothing(doors: Doors, owner: psycopg.Connection) -> None:
    for path in ("/trans", "/trans?key=guess", "/trans?key="):
        assert (await call(doors, record(doors), path=path))[0] == Answer.UNKNOWN_SENDER
    owner.execute("UPDATE device SET enabled = false WHERE kind = 'ministry'")
    add_device(
        owner, doors.world.now, "far", "ministry", key_hash("far-key"), unit=WEST, link={"peers": ["10.0.0.0/8"]}
    )

    async def shut_out() -> bool:
        return (await call(doors, record(doors)))[0] == Answer.UNKNOWN_SENDER

    await wait_until_async(shut_out, what="the sender is shut out")
    assert (await call(doors, record(doors), path="/trans?key=far-key"))[0] == Answer.UNKNOWN_SENDER
    local = {"peers": ["127.0.0.1"], "keyless": True}
    add_device(owner, doors.world.now, "near", "ministry", key_hash("near-key"), unit=WEST, link=local)

    async def known_by_address() -> bool:
        return (await call(doors, record(doors), path="/trans"))[0] == Answer.OK

    await wait_until_async(known_by_address, what="a sender without a key is known by its address")
    assert len(doors.passages())


async def test_hostile_bodies_are_faults_and_others_are_served(doors: Doors) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>'
    for body, status in ((bomb, 400), (b"<a>" * 9, 400), (b"", 400), (b"x" * 2_000_000, 413)):
        answer = await doors.client.post(KEYED, content=body)
        assert answer.status_code == status
        assert ElementTree.fromstring(answer.content).find(f".//{{{SOAP_11}}}Fault") is not None
    assert (await doors.client.get("/trans")).status_code == 405
    wsdl = await doors.client.get(f"{KEYED}&wsdl")
    root = ElementTree.fromstring(wsdl.content)
    addresses = [element.attrib["location"] for element in root.iter() if element.tag.endswith("address")]
    assert addresses == [str(wsdl.url.copy_with(query=f"key={MINISTRY_KEY}".encode()))] * 2
    assert (await call(doors, record(doors)))[0] == Answer.OK


async def test_a_closed_bus_means_send_again(settings: Settings, world: World, owner: psycopg.Connection) -> None:
    add_ministry(owner, world.now, WEST)
    async with opened(settings, world, bus_open=False) as doors:
        number, said, answer = await call(doors, record(doors))
        assert number == Answer.BUSY and said and answer.headers["Retry-After"]
        open_bus(settings, doors.redis)
        assert (await call(doors, record(doors)))[0] == Answer.OK
