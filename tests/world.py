"""A tiny province for tests: one corps, two detachments, one road with four checkpoints and detectors, two senders."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.types.json import Jsonb

from traffic.clock import SHANGHAI
from traffic.geo import Point
from traffic.network import node_of
from traffic.plates import plate_key
from traffic.secrets import REALM, encrypt, ha1, key_hash
from traffic.settings import Settings

CORPS, WEST, EAST, WEST_BRIGADE, EAST_BRIGADE, WEST_SQUADRON, EAST_SQUADRON = 1, 11, 12, 111, 121, 1111, 1211
UNITS = {  # id: (parent, level, name, English name)
    CORPS: (None, 1, "测试总队", "Test Corps"),
    WEST: (CORPS, 2, "西支队", "West Detachment"),
    EAST: (CORPS, 2, "东支队", "East Detachment"),
    WEST_BRIGADE: (WEST, 3, "西大队", "West Brigade"),
    EAST_BRIGADE: (EAST, 3, "东大队", "East Brigade"),
    WEST_SQUADRON: (WEST_BRIGADE, 4, "西中队", "West Squadron"),
    EAST_SQUADRON: (EAST_BRIGADE, 4, "东中队", "East Squadron"),
}
WATCHED_PLATE = "吉A88888"
ROAD_ID, ROAD_CODE = 1, "G1"
CREW_ID, CREW_CODE = 1, "W-1"  # of the west squadron
TOLL_CODE = "T-1"  # at 8000 m, the west squadron's
# Two lanes each way. A link's id is its number here, plus 4 against the stakes; a neighbour sees the two in the middle.
LINKS = (  # from, to in metres, unit, corridor
    (0, 10_000, WEST_SQUADRON, []),
    (10_000, 20_000, WEST_SQUADRON, [EAST_SQUADRON]),
    (20_000, 30_000, EAST_SQUADRON, [WEST_SQUADRON]),
    (30_000, 50_000, EAST_SQUADRON, []),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One checkpoint of the test road."""

    id: int
    code: str
    stake_m: int
    unit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One detector of the test road, over both lanes of its direction."""

    id: int
    code: str
    stake_m: int
    direction: int
    link_id: int
    unit: int


DETECTORS = (
    Detector(id=1, code="D-1", stake_m=5_000, direction=1, link_id=1, unit=WEST_SQUADRON),
    Detector(id=2, code="D-2", stake_m=15_000, direction=1, link_id=2, unit=WEST_SQUADRON),
    Detector(id=3, code="D-3", stake_m=25_000, direction=1, link_id=3, unit=EAST_SQUADRON),
    Detector(id=4, code="D-4", stake_m=40_000, direction=2, link_id=8, unit=EAST_SQUADRON),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What `build` put into the database. Gates 0 and 1 are the west's, 2 and 3 the east's; 0 -> 1 is the section.

    Detectors 0 and 1 are the west's, 2 and 3 the east's; the crew and the toll station are the west squadron's.

    The GA/T 1400 device belongs to the west detachment, the native one to the corps.
    """

    now: datetime
    gates: tuple[Gate, ...]
    section_length_m: int
    section_limit_kmh: int
    gat_id: int
    gat_code: str
    gat_password: str
    native_id: int
    native_name: str
    native_key: str
    watched_plate: str

    def native_record(self, gate: int, at: datetime, plate: str, **fields: object) -> dict[str, object]:
        """A record as a native sender would write it."""
        return {
            "checkpoint": self.gates[gate].code,
            "observed_at": at.isoformat(),
            "plate": plate,
            "plate_class": 2,
            "direction": 1,
            "lane": 1,
            "speed_kmh": 96.5,
            **fields,
        }

    def detector_report(self, detector: int, at: datetime, **fields: object) -> dict[str, object]:
        """A report of detector 0..3 as a native sender would write it; `at` is the end of its interval."""
        return {
            "detector": DETECTORS[detector].code,
            "observed_at": at.isoformat(),
            "lane": 1,
            "period_s": 30,
            "vehicles": 12,
            "heavy": 2,
            "occupancy": 8.5,
            "speed_kmh": 92.0,
            **fields,
        }

    def motor_vehicle(self, gate: int, at: datetime, plate: str, **fields: object) -> dict[str, object]:
        """A MotorVehicleObject as a GA/T 1400 device would write it (whole seconds, Beijing time)."""
        source = f"{self.gat_code}02{at.astimezone(SHANGHAI):%Y%m%d%H%M%S}{abs(plate_key(plate)) % 100_000:05d}"
        return {
            "MotorVehicleID": f"{source}0200001",
            "InfoKind": 1,
            "SourceID": source,
            "DeviceID": self.gat_code,
            "TollgateID": self.gates[gate].code,
            "PassTime": f"{at.astimezone(SHANGHAI):%Y%m%d%H%M%S}",
            "LaneNo": 1,
            "HasPlate": "1",
            "PlateClass": "02",
            "PlateColor": "5",
            "PlateNo": plate,
            "Speed": 96.5,
            "Direction": "1",
            **fields,
        }


def build(connection: psycopg.Connection, settings: Settings, now: datetime) -> World:
    """Fill an empty, migrated database (connection of the owner); everything is valid since 60 days before `now`."""
    assert settings.secret_key, "the tests' settings carry a secret key"
    since = now - timedelta(days=60)
    with connection.transaction():
        connection.execute("SET LOCAL ROLE traffic_writer")
        _units(connection, since)
        gates = _road(connection)
        _links(connection)
        _roadside(connection, now)
        devices = _devices(connection, settings.secret_key, now)
        _rules(connection, since)
        _watch(connection, now)
        connection.execute("UPDATE version SET value = value + 1")
        connection.execute("RESET ROLE")
    return World(
        now=now, gates=gates, section_length_m=10_000, section_limit_kmh=100, watched_plate=WATCHED_PLATE, **devices
    )  # type: ignore[arg-type]


def _units(connection: psycopg.Connection, since: datetime) -> None:
    for number, (parent, level, name, name_en) in UNITS.items():
        connection.execute(
            "INSERT INTO unit (id, code, name, name_en, level, branch, valid_from) "
            "VALUES (%s, %s, %s, %s, %s, 'territorial', %s)",
            [number, f"2200{number:08d}", name, name_en, level, since],
        )
        if parent is not None:
            connection.execute(
                "INSERT INTO unit_parent (unit_id, parent_id, valid_from) VALUES (%s, %s, %s)", [number, parent, since]
            )


def _road(connection: psycopg.Connection) -> tuple[Gate, ...]:
    connection.execute("INSERT INTO road VALUES (1, 'G1', '京哈高速', 'Jingha Expressway', 'expressway', true)")
    gates = []
    places = [(0, WEST_SQUADRON), (10_000, WEST_SQUADRON), (30_000, EAST_SQUADRON), (50_000, EAST_SQUADRON)]
    for number, (stake_m, unit) in enumerate(places, start=1):
        gate = Gate(id=number, code=f"2201000000121{number:07d}", stake_m=stake_m, unit=unit)
        corridor = [EAST_SQUADRON] if number == 2 else [WEST_SQUADRON] if number == 3 else []
        connection.execute(
            "INSERT INTO checkpoint (id, code, name, name_en, road_id, stake_m, bearing_deg, lanes, limit_kmh, lon, "
            "lat, unit_id, corridor) VALUES (%s, %s, %s, %s, 1, %s, 60, 2, 100, %s, %s, %s, %s)",
            [
                gate.id, gate.code, f"测试卡口{number}", f"Test gate {number}", stake_m,
                *point_at(stake_m), unit, corridor,
            ],
        )  # fmt: skip
        gates.append(gate)
    connection.execute("INSERT INTO section VALUES (1, 1, 2, 10000, 100)")
    return tuple(gates)


def point_at(stake_m: int) -> Point:
    """The road runs straight to the north-east (its stakes are a little short)."""
    return 125.0 + stake_m / 80_000, 43.5 + stake_m / 250_000


def _links(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO chainage VALUES (%s, 0, 0, 50000, 0)", [ROAD_ID])
    for number, (low_m, high_m, unit, corridor) in enumerate(LINKS, start=1):
        for direction, (from_m, to_m) in ((1, (low_m, high_m)), (2, (high_m, low_m))):
            begin, end = point_at(from_m), point_at(to_m)
            connection.execute(
                "INSERT INTO link (id, road_id, direction, from_stake_m, to_stake_m, length_m, lanes, limit_kmh, "
                "unit_id, geometry, from_node, to_node, corridor) VALUES (%s, %s, %s, %s, %s, %s, 2, 100, %s, %s, %s, "
                "%s, %s)",
                [
                    number + 4 * (direction - 1), ROAD_ID, direction, from_m, to_m, high_m - low_m, unit,
                    Jsonb([begin, end]), node_of(begin), node_of(end), corridor,
                ],
            )  # fmt: skip


def _roadside(connection: psycopg.Connection, now: datetime) -> None:
    for detector in DETECTORS:
        connection.execute(
            "INSERT INTO detector (id, code, name, name_en, kind, road_id, stake_m, direction, link_id, lanes, lon, "
            "lat, unit_id) VALUES (%s, %s, %s, %s, 'loop', %s, %s, %s, %s, 2, %s, %s, %s)",
            [
                detector.id, detector.code, f"检测器{detector.id}", f"Detector {detector.id}", ROAD_ID,
                detector.stake_m, detector.direction, detector.link_id, *point_at(detector.stake_m), detector.unit,
            ],
        )  # fmt: skip
    connection.execute(
        "INSERT INTO crew VALUES (%s, %s, '西中队一组', 'West Squadron crew 1', %s, '吉A1001警')",
        [CREW_ID, CREW_CODE, WEST_SQUADRON],
    )
    connection.execute(
        "INSERT INTO roadside_object (kind, code, name, name_en, road_id, stake_m, direction, lon, lat, unit_id, "
        "changed_at, changed_by) VALUES ('toll_station', %s, '西收费站', 'West toll station', %s, 8000, 0, %s, %s, %s, "
        "%s, 'test')",
        [TOLL_CODE, ROAD_ID, *point_at(8_000), WEST_SQUADRON, now],
    )


def _devices(connection: psycopg.Connection, secret_key: str, now: datetime) -> dict[str, object]:
    code, password, name, key = "22010000001190000001", "gate-pass-1", "test-native", "native-key-1"
    secret = encrypt(secret_key, ha1(code, REALM, password).encode())
    ids = []
    for row in (
        (code, "西支队平台", WEST, "gat1400", secret),
        (name, "测试系统", CORPS, "native", key_hash(key)),
    ):
        inserted = connection.execute(
            "INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by) "
            "VALUES (%s, %s, %s, %s, %s, %s, 'test') RETURNING id",
            [*row, now],
        ).fetchone()
        assert inserted
        ids.append(inserted[0])
    return {
        "gat_id": ids[0], "gat_code": code, "gat_password": password,
        "native_id": ids[1], "native_name": name, "native_key": key,
    }  # fmt: skip


def _rules(connection: psycopg.Connection, since: datetime) -> None:
    for number, kind, name, clause, parameters in (
        (1, "watch_hit", "布控比中", "测试条款一", {"lateness_s": 900}),
        (2, "section_speed", "区间测速", "测试条款二", {"lateness_s": 900, "tolerance_percent": 10}),
    ):
        connection.execute(
            "INSERT INTO rule (id, version, kind, name, clause, parameters, valid_from, changed_at, changed_by) "
            "VALUES (%s, 1, %s, %s, %s, %s, %s, %s, 'test')",
            [number, kind, name, clause, Jsonb(parameters), since, since],
        )


def _watch(connection: psycopg.Connection, now: datetime) -> None:
    connection.execute(
        "INSERT INTO watchlist_entry (number, plate, plate_key, category, level, facts, intercept, unit_id, audience, "
        "state, valid_from, valid_to, version, applied_by, approved_by) "
        "VALUES ('BK-0001', %s, %s, 1, 1, '测试布控', true, %s, %s, 'active', %s, %s, 1, 'applicant', 'approver')",
        [
            WATCHED_PLATE, plate_key(WATCHED_PLATE), CORPS, list(UNITS),
            now - timedelta(days=1), now + timedelta(days=30),
        ],
    )  # fmt: skip
