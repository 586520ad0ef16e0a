"""A refused record of the roads, corrected by a person: judged by the door that it came by, and on the bus."""

import pytest
import redis

from tests.apikit import add_person, running
from tests.world import CREW_CODE, CREW_ID, WEST, point_at
from traffic.limits import ROADS_PARTITION
from traffic.readings import Door, EntryKind, decode_entry
from traffic.stream import BusReader, stream_key


@pytest.fixture
def open_bus(settings):
    """The bus as workers and monitor open it."""
    with redis.Redis.from_url(settings.redis_url) as client:
        reader = BusReader(client, bytes_max=settings.bus_bytes_max)
        for partition in (*range(settings.partitions), ROADS_PARTITION):
            reader.open(partition, 1)
        yield client


def refuse(owner, world, door: Door) -> int:
    row = owner.execute(
        "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body, "
        "audience) VALUES (%s, %s, %s, %s, 0, '', 'malformed', 'why', '{}', %s) RETURNING id",
        [world.now, door, world.native_id, WEST, [WEST]],
    ).fetchone()
    return int(row[0])


async def test_a_corrected_record_goes_where_its_kind_belongs(settings, world, owner, open_bus):
    add_person(owner, "w", WEST)
    at, (lon, lat) = world.now.isoformat(), point_at(5_000)
    corrected = (
        (Door.NATIVE_DETECTORS, {"detector": "D-1", "observed_at": at, "vehicles": 3}, EntryKind.DETECTORS),
        (Door.NATIVE_WEATHER, {"station": "S", "observed_at": at, "road": "G1", "from_stake": "K5", "surface": "ice"},
         EntryKind.ROADSIDE),
        (Door.FILE, {"crew": CREW_CODE, "observed_at": at, "lon": lon, "lat": lat}, EntryKind.POSITIONS),
    )  # fmt: skip
    async with running(settings) as api, api.client("w") as client:
        for door, record, _ in corrected:
            number = refuse(owner, world, door)
            wrong = await client.post(f"/api/quarantine/{number}/retry", json=record | {"observed_at": "now"})
            assert (wrong.status_code, wrong.json()["error"]["reason"]) == (422, "time_unreadable")
            answer = await client.post(f"/api/quarantine/{number}/retry", json=record)
            assert answer.status_code == 200, answer.text
    found = {}
    for partition in (*range(settings.partitions), ROADS_PARTITION):
        for _, fields in open_bus.xrange(stream_key(partition)):
            kind, content = decode_entry(fields[b"e"])
            found[kind] = content[0]
    assert set(found) == {kind for *_, kind in corrected}
    assert found[EntryKind.DETECTORS]["detector"] == 1
    assert found[EntryKind.POSITIONS]["subject"] == CREW_ID
    assert found[EntryKind.ROADSIDE].surface == "ice"
    assert owner.execute("SELECT DISTINCT state FROM quarantine").fetchall() == [("corrected",)]
