"""The registry's addresses over a real port: who sees and imports what, masked how, with which date."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from dashboards import shell
from tests.apikit import add_person, running
from tests.conftest import wait_until_async
from tests.registrykit import COMPANY, LICENCE, Writer, code_of, company, csv_file, vehicle
from tests.world import CORPS, EAST, WEST, WEST_BRIGADE, WEST_SQUADRON, World

WHATS = ("vehicles", "companies", "permits", "drivers")


@pytest.fixture
def writer(settings, world: World) -> Iterator[Writer]:
    writer = Writer(settings.database_url, world.now)
    yield writer
    writer.close()


@pytest.fixture
def filled(writer: Writer) -> Writer:
    """A company of the west with a vehicle, a permit and a driver; a vehicle of the east."""
    writer.take("companies", csv_file([company(unit=code_of(WEST_BRIGADE), contact="张三丰")]))
    writer.take(
        "vehicles",
        csv_file(
            [vehicle(1, unit=code_of(WEST_BRIGADE), company=COMPANY, inspection_until="2020-01-31"),
             vehicle(2, unit=code_of(EAST), company="", inspection_until="2099-01-31"),
             vehicle(3, unit=code_of(CORPS), company="", inspection_until="2099-01-31", state="scrapped")]
        ),
    )  # fmt: skip
    writer.take(
        "permits",
        csv_file([{"number": "P-1", "kind": "pass", "plate": "吉A00001", "plate_class": 1,
                   "unit": code_of(WEST_BRIGADE), "company": COMPANY, "valid_from": "2026-01-01",
                   "valid_to": "2099-12-31", "roads": "G1"}]),
    )  # fmt: skip
    writer.take(
        "drivers",
        csv_file([{"licence": LICENCE, "name": "李四光", "class": "A1", "unit": code_of(WEST_BRIGADE),
                   "company": COMPANY}]),
    )  # fmt: skip
    return writer


async def plates(client: httpx.AsyncClient, **asked: object) -> list[str]:
    answer = await client.get("/api/registry/vehicles", params=asked)
    assert answer.status_code == 200, answer.text
    return [row["plate"] for row in answer.json()["vehicles"]]


# ---------------------------------------------------------------- reading
async def test_each_unit_sees_the_vehicles_that_it_watches_over(settings, owner, filled):
    west = ["吉A00001"]
    reach = {
        CORPS: ["吉A00001", "吉A00002", "吉A00003"],
        WEST: west,
        WEST_BRIGADE: west,
        WEST_SQUADRON: [],
        EAST: ["吉A00002"],
    }
    async with running(settings) as api:
        for unit, seen in reach.items():
            add_person(owner, f"of-{unit}", unit)
            async with api.client(f"of-{unit}") as client:
                assert await plates(client) == seen
                for plate in ("吉A00001", "吉A00002", "吉A00003"):
                    answer = await client.get(f"/api/registry/vehicles/{plate}")
                    assert answer.status_code == (200 if plate in seen else 404)
                companies = (await client.get("/api/registry/companies")).json()["companies"]
                assert [row["code"] for row in companies] == ([COMPANY] if "吉A00001" in seen else [])
                file = await client.get("/api/registry/companies/1")
                assert file.status_code == (200 if "吉A00001" in seen else 404)


async def test_a_vehicle_comes_with_company_permits_and_the_date_of_the_copy(settings, owner, filled, world):
    add_person(owner, "reader", WEST)
    async with running(settings) as api, api.client("reader") as client:
        file = (await client.get("/api/registry/vehicles/吉a·00001")).json()

    assert file["vehicle"]["plate"] == "吉A00001" and file["vehicle"]["unit"] == "西大队"
    assert file["company"]["code"] == COMPANY and [row["number"] for row in file["permits"]] == ["P-1"]
    assert file["as_of"] == round(world.now.timestamp() * 1e6) and file["query"] is None and file["platform"] is False


async def test_the_list_is_asked_by_plate_company_state_and_what_is_due(settings, owner, filled):
    add_person(owner, "reader", CORPS)
    async with running(settings) as api, api.client("reader") as client:
        assert await plates(client, q="吉A00002") == ["吉A00002"]
        assert await plates(client, q="测试客运") == ["吉A00001"]
        assert await plates(client, q="100%") == await plates(client, q="_") == []
        assert await plates(client, due="overdue") == ["吉A00001"]
        assert await plates(client, state="scrapped") == ["吉A00003"]
        assert await plates(client, kind="school_bus") == []
        assert await plates(client, company=1) == ["吉A00001"]


async def test_pages_follow_each_other_without_gaps(settings, owner, filled):
    add_person(owner, "reader", CORPS)
    async with running(settings) as api, api.client("reader") as client:
        seen, before = [], ""
        for _ in range(4):
            page = (await client.get("/api/registry/vehicles", params={"limit": 1, "before": before})).json()
            seen += [row["plate"] for row in page["vehicles"]]
            before = page["next"]
            if before is None:
                break
        wrong = await client.get("/api/registry/vehicles", params={"before": "nonsense"})
    assert seen == ["吉A00001", "吉A00002", "吉A00003"]
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "before"


async def test_persons_are_masked_but_for_their_own_unit_and_licences_for_all(settings, owner, filled):
    whole, masked = ("张三丰", "13804310000", "李四光"), ("张**", "138****0000", "李**")
    readers = {("own", WEST_BRIGADE, "dispatcher"): whole, ("other-role", WEST_BRIGADE, "analyst"): masked,
               ("above", WEST, "commander"): masked}  # fmt: skip
    async with running(settings) as api:
        for (login, unit, role), (name, phone, driver) in readers.items():
            add_person(owner, login, unit, role=role)
            async with api.client(login) as client:
                answer = await client.get("/api/registry/companies/1")
            file = answer.json()
            assert (file["company"]["contact"], file["company"]["phone"]) == (name, phone)
            drivers = [(row["name"], row["licence"]) for row in file["drivers"]]
            assert drivers == [(driver, f"220***********{LICENCE[-4:]}")] and LICENCE not in answer.text


async def test_who_may_not_read_the_registry_is_told_so(settings, owner, filled):
    async with running(settings) as api:
        for role in ("crew", "administrator"):
            add_person(owner, role, CORPS, role=role)
            async with api.client(role) as client:
                for path in ("vehicles", "vehicles/吉A00001", "companies", "companies/1"):
                    assert (await client.get(f"/api/registry/{path}")).status_code == 403
                assert (await client.post("/api/registry/vehicles/吉A00001/refresh")).status_code == 403


async def test_reading_leaves_its_trace(settings, owner, filled):
    add_person(owner, "reader", WEST)
    async with running(settings) as api, api.client("reader") as client:
        await client.get("/api/registry/vehicles/吉A00001")
        await client.get("/api/registry/vehicles/吉A00002")
        await client.get("/api/registry/companies/1")
    lines = owner.execute(
        "SELECT action, subject, outcome FROM audit WHERE action LIKE 'read_%' ORDER BY id"
    ).fetchall()
    assert lines == [
        ("read_vehicle", "吉A00001", "ok"), ("read_vehicle", "吉A00002", "not found"), ("read_company", "1", "ok"),
    ]  # fmt: skip


# ---------------------------------------------------------------- files handed in
async def handed_in(client: httpx.AsyncClient, what: str, data: bytes, **asked: object) -> dict:
    answer = await client.post(
        f"/api/registry/import/{what}", content=data, params=asked, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 202, answer.text

    async def over() -> dict | None:
        report = (await client.get(f"/api/registry/import/{answer.json()['id']}")).json()
        return report if report["state"] != "running" else None

    found = await wait_until_async(over, what="the end of the import")
    assert isinstance(found, dict)
    return found


async def test_a_file_handed_in_is_imported_for_the_own_units_alone(settings, owner, filled):
    add_person(owner, "west", WEST)
    data = csv_file(
        [
            vehicle(1, unit=code_of(WEST), kind="minivan", company=""),  # known, and its own
            vehicle(2, unit=code_of(WEST), kind="minivan", company=""),  # the east has it
            vehicle(8, unit=code_of(EAST), kind="minivan", company=""),
            vehicle(9, unit=code_of(WEST_SQUADRON), kind="minivan", company=""),
        ],
        encoding="gb18030",
    )
    async with running(settings) as api, api.client("west") as client:
        report = await handed_in(client, "vehicles", data)
    stored = dict(owner.execute("SELECT plate, kind FROM key_vehicle").fetchall())

    assert (report["rows"], report["added"], report["changed"]) == (4, 1, 1)
    assert sorted((row["line"], row["reason"]) for row in report["refused"]) == [
        (3, "not_your_unit"), (4, "not_your_unit"),
    ]  # fmt: skip
    assert stored == {"吉A00001": "minivan", "吉A00002": "tour_coach", "吉A00003": "tour_coach", "吉A00009": "minivan"}
    deeds = owner.execute("SELECT outcome FROM audit WHERE action = 'import_registry' ORDER BY id").fetchall()
    assert deeds == [("begun",), ("done: 1 added, 1 changed, 2 refused",)]


async def test_who_may_not_import_is_refused_before_the_file_is_read(settings, owner, world):
    roles = ("dispatcher", "analyst", "crew", "auditor")
    for role in roles:
        add_person(owner, role, CORPS, role=role)
    async with running(settings) as api:
        for role in roles:
            async with api.client(role) as client:
                for what in WHATS:
                    answer = await client.post(f"/api/registry/import/{what}", content=b"x" * 100_000)
                    assert answer.status_code == 403


async def test_another_units_import_is_not_told(settings, owner, world):
    add_person(owner, "west", WEST)
    add_person(owner, "east", EAST)
    async with running(settings) as api, api.client("west") as client, api.client("east") as other:
        report = await handed_in(client, "vehicles", csv_file([vehicle(5, unit=code_of(WEST))]))
        assert (await other.get(f"/api/registry/import/{report['id']}")).status_code == 404
        assert (await other.get("/api/registry/import/00000000-0000-0000-0000-000000000000")).status_code == 404


async def test_a_file_that_is_no_table_is_refused_with_a_sentence(settings, owner, world):
    add_person(owner, "west", WEST)
    async with running(settings) as api, api.client("west") as client:
        report = await handed_in(client, "vehicles", b"\x89PNG\r\n\x1a\n")
        wrong = await client.post("/api/registry/import/vehicles?charset=latin-1", content=b"x")
        nothing = await client.post("/api/registry/import/spaceships", content=b"x")
    assert report["state"] == "refused" and report["error"]
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "charset"
    assert nothing.status_code == 422


async def test_a_file_over_the_bound_is_not_taken_though_it_hides_its_length(settings, owner, world, monkeypatch):
    monkeypatch.setattr(shell, "UPLOAD_BYTES_MAX", 200_000)
    monkeypatch.setattr("dashboards.api.registry_imports.UPLOAD_BYTES_MAX", 200_000)
    add_person(owner, "west", WEST)

    async def endless():
        for _ in range(100):
            yield b"x" * 10_000
            await asyncio.sleep(0)

    async with running(settings) as api, api.client("west") as client:
        answer = await client.post("/api/registry/import/vehicles", content=endless())
        small = await client.post("/api/registry/vehicles/x/refresh", content=b"x" * 100_000)
    assert answer.status_code == 413 and small.status_code == 413
    assert owner.execute("SELECT count(*) FROM audit WHERE action = 'import_registry'").fetchone() == (0,)


async def test_without_a_session_nothing_of_the_registry_answers(settings, world):
    async with running(settings) as api, httpx.AsyncClient(base_url=api.base) as client:
        for path in ("vehicles", "vehicles/吉A00001", "companies", "companies/1"):
            assert (await client.get(f"/api/registry/{path}")).status_code == 401
        for what in WHATS:
            assert (await client.post(f"/api/registry/import/{what}", content=b"x")).status_code == 401
