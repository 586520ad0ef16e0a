"""A door's knowledge without services: the world of tests/world.py as a catalogue, and records to feed it with."""

import json
from datetime import UTC, datetime, timedelta

from tests.world import (
    CORPS,
    CREW_CODE,
    CREW_ID,
    DETECTORS,
    EAST_SQUADRON,
    LINKS,
    ROAD_CODE,
    ROAD_ID,
    TOLL_CODE,
    UNITS,
    WEST,
    WEST_SQUADRON,
    point_at,
)
from traffic.ingest.bodies import Records
from traffic.ingest.catalogue import Catalogue, Device, Gate, Object, Roadside, Thing, Things, build
from traffic.ingest.checks import Checked
from traffic.ingest.places import Roads
from traffic.ingest.plate_column import PlateReader
from traffic.ingest.subjects import SUBJECTS
from traffic.ingest.validate import Bench
from traffic.network import Chainage, Link
from traffic.readings import Door
from traffic.secrets import key_hash

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)  # 16:00 in Beijing
NOW_US = int(NOW.timestamp()) * 1_000_000
GATES = tuple(
    Gate(id=number, code=f"2201000000121{number:07d}", bearing_deg=60, unit_id=unit)
    for number, unit in enumerate((WEST_SQUADRON, WEST_SQUADRON, EAST_SQUADRON, EAST_SQUADRON), start=1)
)
GAT = Device(
    id=1, code="22010000001190000001", unit_id=WEST, kind="gat1400", secret=b"",
    time_zone="Asia/Shanghai", enabled=True,
)  # fmt: skip
NATIVE = Device(
    id=2, code="test-native", unit_id=CORPS, kind="native", secret=key_hash("key"),
    time_zone="Asia/Shanghai", enabled=True,
)  # fmt: skip


WEST_NATIVE = Device(
    id=3, code="west-native", unit_id=WEST, kind="native", secret=key_hash("west"), time_zone="UTC", enabled=True
)


def _links() -> list[Link]:
    return [
        Link(
            id=number + 4 * (direction - 1), road_id=ROAD_ID, direction=direction, from_stake_m=begin, to_stake_m=end,
            length_m=high - low, lanes=2, limit_kmh=100, unit_id=unit, geometry=(point_at(begin), point_at(end)),
        )
        for number, (low, high, unit, _) in enumerate(LINKS, start=1)
        for direction, (begin, end) in ((1, (low, high)), (2, (high, low)))
    ]  # fmt: skip


ROADSIDE = Roadside(
    detectors=Things.of(Thing(id=one.id, code=one.code, unit_id=one.unit, lanes=2) for one in DETECTORS),
    crews=Things.of([Thing(id=CREW_ID, code=CREW_CODE, unit_id=WEST_SQUADRON)]),
    objects={
        TOLL_CODE: Object(code=TOLL_CODE, kind="toll_station", unit_id=WEST_SQUADRON),
        "C-1": Object(code="C-1", kind="camera", unit_id=EAST_SQUADRON),
    },
    roads=Roads(
        {ROAD_CODE: ROAD_ID, "G102": 2},
        _links(),
        [Chainage(road_id=ROAD_ID, piece=0, from_stake_m=0, to_stake_m=50_000, from_m=0)],
    ),
)


def catalogue() -> Catalogue:
    """The senders, gates, roadside and units of the test world."""
    parents = [(unit, parent) for unit, (parent, *_) in UNITS.items() if parent is not None]
    return build(versions={}, devices=[GAT, NATIVE, WEST_NATIVE], gates=list(GATES), parents=parents, roadside=ROADSIDE)


def bench(door: Door = Door.NATIVE) -> Bench:
    """What a door judges with."""
    return Bench(catalogue=catalogue(), plates=PlateReader(), door=door)


def read_native(body: bytes, *, lines: bool = False) -> Records:
    """The records of a native request with passages."""
    return SUBJECTS["passages"].read(body, lines=lines)


def native_record(**fields: object) -> dict[str, object]:
    """A good native record, changed by `fields`."""
    return {
        "id": "r1",
        "checkpoint": GATES[0].code,
        "observed_at": (NOW - timedelta(seconds=5)).isoformat(),
        "plate": "吉A12345",
        **fields,
    }


def motor_vehicle(**fields: object) -> dict[str, object]:
    """A good MotorVehicleObject (passed at 15:59:55 Beijing time), changed by `fields`."""
    return {
        "MotorVehicleID": "220100000011900000010220261124155955000010200001",
        "InfoKind": 1,
        "SourceID": "22010000001190000001022026112415595500001",
        "DeviceID": GAT.code,
        "TollgateID": GATES[0].code,
        "PassTime": "20261124155955",
        "LaneNo": 1,
        "HasPlate": "1",
        "PlateClass": "02",
        "PlateColor": "5",
        "PlateNo": "吉A12345",
        "Speed": 96.5,
        "Direction": "1",
        "VehicleClass": "K33",
        **fields,
    }


def as_json(records: object) -> bytes:
    """The bytes that a sender would post."""
    return json.dumps(records, ensure_ascii=False).encode()


def parts_of(checked: Checked) -> tuple[list[int], list[int]]:
    """(places of the accepted, places of the refused)."""
    return checked.index.tolist(), [refusal.index for refusal in checked.refusals]
