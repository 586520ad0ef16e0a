"""The demonstration's registry in the tables: whole, repeatable, never old, corrected by what the platform knows."""

import asyncio
from datetime import date, timedelta

import pytest

from sim.casting import fleet_vehicles
from tests.conftest import wait_until_async
from tests.integration.test_platform_query import stand_in
from tests.registrykit import Writer, csv_file
from traffic import province, registry_sync
from traffic.data.jilin import build_registry
from traffic.province_registry import list_cells
from traffic.province_tables import model_province, rows_of
from traffic.registry_load import load_registry
from traffic.registry_records import KINDS, SHEETS, Refused
from traffic.vehicles.registry import STATES


def test_the_tables_are_those_that_the_build_script_makes():
    for name, rows in build_registry.tables().items():
        assert list(rows_of(name)) == [{column: str(value) for column, value in row.items()} for row in rows]


def test_it_is_of_every_kind_and_the_twin_drives_a_bounded_part_of_it_as_registered():
    model = model_province()
    driving = [vehicle for vehicle in model.key_vehicles if vehicle.drives]
    assert {vehicle.kind for vehicle in model.key_vehicles} == set(KINDS) - {"other"}
    assert len({vehicle.plate for vehicle in model.key_vehicles}) == 644 and len(driving) == 166
    cast = {vehicle.plate: vehicle for vehicle, _ in fleet_vehicles(model, seed=1)}
    assert cast.keys() == {vehicle.plate for vehicle in driving}
    for row in driving:
        looks = cast[row.plate]
        assert looks.plate_class == row.plate_class
        assert (looks.vehicle_class, looks.body_color) == (row.vehicle_class, row.body_color)


@pytest.mark.parametrize("months_later", [0, 3, 37])
def test_its_days_move_along_with_the_time_of_loading(settings, months_later: int):
    now = settings.clock.now() + timedelta(days=30.5 * months_later)
    ends = []
    for number, cells in enumerate(list_cells("vehicles", now)):
        read = SHEETS["vehicles"].read(number, cells)
        assert not isinstance(read, Refused)
        if read["state"] == "normal":
            ends.append(read["inspection_until"])
    overdue = sum(end < now.date() for end in ends)
    assert 5 < overdue < 0.1 * len(ends) and max(ends) < now.date() + timedelta(days=400)


def test_loading_again_changes_nothing_and_leaves_alone_what_people_changed(owner, settings):
    now = settings.clock.now()
    first = province.load(owner, now).written
    assert [first[what] for what in ("companies", "vehicles", "permits", "drivers")] == [54, 644, 200, 252]
    writer = Writer(settings.database_url, now)
    plate = model_province().key_vehicles[0].plate
    own = {"plate": plate, "plate_class": 1, "kind": "other", "unit": "220100000400"}
    assert writer.take("vehicles", csv_file([own]), later=timedelta(hours=1)).changed == 1
    version = writer.version()

    again = province.load(owner, now + timedelta(hours=2)).written
    assert not any(again[what] for what in ("companies", "vehicles", "permits", "drivers"))
    assert writer.version() == version
    registry = load_registry(writer.connection)
    assert len(registry) == 644
    assert owner.execute("SELECT kind FROM key_vehicle WHERE plate = %s", [plate]).fetchone() == ("other",)
    assert {STATES[state] for state in registry.state} >= {"normal", "scrapped", "false_registered"}
    writer.close()


async def test_the_copy_learns_what_the_stand_in_knows_better(owner, settings):
    now = settings.clock.now()
    province.load(owner, now)
    gone = ("scrapped", "seized")
    better = {row["plate"]: row["platform"] for row in rows_of("key_vehicles.csv") if row["platform"] in gone}

    def learned() -> dict[str, str]:
        query = "SELECT plate, state FROM key_vehicle WHERE plate = ANY (%s)"
        return dict(owner.execute(query, [list(better)]).fetchall())

    assert better and set(learned().values()) == {"normal"}
    stop = asyncio.Event()
    async with stand_in(settings.clock) as url:
        bound = settings.model_copy(update={"registry_url": url, "registry_key": "secret-key"})
        task = asyncio.create_task(registry_sync.Sync(bound, pace_s=0.0, idle_s=0.1).run(stop))
        await wait_until_async(lambda: learned() == better, timeout=60, what="all that the platform knows better")
        stop.set()
        await task
    ends = owner.execute(
        "SELECT min(inspection_until) FROM key_vehicle WHERE plate = ANY (%s)",
        [[row["plate"] for row in rows_of("key_vehicles.csv") if row["platform"] == "inspected"]],
    ).fetchone()[0]
    assert isinstance(ends, date)
    states = owner.execute("SELECT DISTINCT outcome FROM registry_query").fetchall()
    assert set(states) <= {("found",), ("not_found",)}
