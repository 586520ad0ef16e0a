"""The other platforms of a demonstration before real doors: each brings its share by its own protocol."""

import asyncio
from datetime import timedelta

import httpx
import psycopg

from sim.others import Others
from tests.conftest import wait_until_async
from tests.platformkit import Doors, opened
from traffic import province
from traffic.clock import SHANGHAI
from traffic.demonstration import demo_terminals
from traffic.demonstration_others import BORDER_GATE, SOAP_UNIT, THEIR_SUBSCRIPTION
from traffic.plates import plate_key
from traffic.province_tables import model_province
from traffic.readings import Door, EntryKind
from traffic.settings import Settings

PROVINCE = model_province()


def passage(gate: str, at, plate: str) -> dict[str, object]:
    """A MotorVehicleObject as the twin's cameras make it."""
    return {
        "MotorVehicleID": f"x{plate}{gate}", "TollgateID": gate, "PassTime": f"{at:%Y%m%d%H%M%S}", "LaneNo": 1,
        "HasPlate": "1", "PlateClass": "02", "PlateColor": "5", "PlateNo": plate, "Speed": 88.0, "Direction": "5",
        "VehicleClass": "K33", "VehicleColor": "1", "VehicleLength": 450, "StorageUrl1": "http://127.0.0.1:1/a.jpg",
        "InfoKind": 1, "SourceID": "s", "DeviceID": "d",
    }  # fmt: skip


async def test_each_brings_its_share_and_the_rest_goes_its_own_way(
    settings: Settings, owner: psycopg.Connection
) -> None:
    await asyncio.to_thread(province.load_instance, settings)
    units = {unit: parent for unit, parent in owner.execute("SELECT unit_id, parent_id FROM unit_parent")}
    ours = next(gate for gate in PROVINCE.checkpoints if units[units[gate.unit_id]] == SOAP_UNIT)
    at = (settings.clock.now() - timedelta(seconds=20)).astimezone(SHANGHAI)
    straight = {terminal.plate for terminal in demo_terminals()}
    vehicle = next(row for row in PROVINCE.key_vehicles if row.plate not in straight)
    told = {
        "plate": vehicle.plate, "plate_class": vehicle.plate_class, "observed_at": at.isoformat(), "lon": 125.3,
        "lat": 43.9, "speed_kmh": 71.3, "bearing_deg": 359.8,
    }  # fmt: skip
    crew = {"crew": "x", "observed_at": at.isoformat(), "lon": 125.3, "lat": 43.9}
    async with (
        opened(settings, None) as doors,  # type: ignore[arg-type]
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.door_port}", trust_env=False) as client,
    ):
        others = Others(client, settings, PROVINCE)
        stop = asyncio.Event()
        running = asyncio.create_task(others.run(stop))
        border = passage(BORDER_GATE, at, "辽A12345")
        assert others.passages(9900, [border, passage("y", at, "吉A1")]) == [passage("y", at, "吉A1")]
        assert others.passages(SOAP_UNIT, [passage(ours.code, at, "吉D12345")]) == []
        assert others.positions([told, crew]) == [crew]
        await wait_until_async(lambda: len(doors.passages()) == 2, what="two passages came")
        await wait_until_async(lambda: len(doors.rows(EntryKind.POSITIONS)) == 1, what="a position came")
        subscribed = "SELECT status, cardinality(checkpoints) FROM subscription WHERE id = %s"
        await wait_until_async(
            lambda: owner.execute(subscribed, [THEIR_SUBSCRIPTION]).fetchall(), what="the neighbour subscribed"
        )
        status, shared = owner.execute(subscribed, [THEIR_SUBSCRIPTION]).fetchone()  # type: ignore[misc]
        assert (status, shared) == (0, sum(gate.inter_provincial for gate in PROVINCE.checkpoints))
        _assert_doors(doors, vehicle.plate_key, ours.id)
        stop.set()
        await running


def _assert_doors(doors: Doors, position_of: int, soap_gate: int) -> None:
    found = {(int(row["door"]), int(row["plate_key"]), int(row["checkpoint"])) for row in doors.passages().rows}
    border = next(gate.id for gate in PROVINCE.checkpoints if gate.code == BORDER_GATE)
    assert found == {
        (Door.SUBSCRIPTION, plate_key("辽A12345"), border), (Door.MINISTRY, plate_key("吉D12345"), soap_gate),
    }  # fmt: skip
    (row,) = doors.rows(EntryKind.POSITIONS)
    assert (row["door"], row["subject"], row["speed_kmh"]) == (Door.JT809, position_of, 71)
    assert not doors.rejects()
