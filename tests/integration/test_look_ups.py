"""Look-ups of a plate's track and of a checkpoint's passages: purpose, reach, audit."""

from datetime import timedelta
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.apikit import above, add_person, running
from tests.workbench import batch, seen
from tests.world import CORPS, EAST, WEST
from traffic import store
from traffic.plates import plate_key
from traffic.store import when

PLATE, WHY = "吉A12345", "核查报警线索 JQ-17"


@pytest.fixture
def stored(owner, world):
    """Gate 0 and 1 (west) and gate 3 (east) saw the plate; another one passed, and one that no camera could read."""
    rows = [
        seen(world, 0, -3600.0, PLATE, source_hash=1),
        seen(world, 1, -3000.0, PLATE, source_hash=2),
        seen(world, 1, -3000.0, PLATE, source_hash=3, plate_class=0),
        seen(world, 3, -1200.0, PLATE, source_hash=4, plate_class=1),
        seen(world, 1, -2990.0, "吉B99999", source_hash=5),
        seen(world, 1, -2980.0, "", source_hash=6),
    ]
    records = batch(*rows, images=("http://pictures.example/1.jpg",))
    with owner.transaction():
        store.copy_passages(owner, records)
    return np.concatenate(rows)


def audit(owner: psycopg.Connection) -> list[tuple]:
    return owner.execute(
        "SELECT action, purpose, subject, outcome, unit_id FROM audit WHERE action LIKE 'look_up%' ORDER BY id"
    ).fetchall()


def a_finding(owner: psycopg.Connection, *, plate: str = PLATE, unit: int = WEST, checkpoint: int = 1) -> str:
    number = str(uuid4())
    now = when(1)
    owner.execute(
        "INSERT INTO finding (id, kind, partition, plate_key, class_group, anchor, revision, change, state, level,"
        " rule_id, rule_version, confidence, first_at, observed_at, raised_at, grounds, audience, visibility,"
        " addressees)"
        " VALUES (%s, 'watch_hit', 0, %s, 2, 'a', 1, 'new', 'active', 1, 1, 1, 0.9, %s, %s, %s, %s, %s, 0, '{}')",
        [number, plate_key(plate), now, now, now, Jsonb({"observations": [{"checkpoint": checkpoint}]}), above(unit)],
    )
    return number


async def test_a_track_is_shown_after_its_purpose_newest_first_and_is_audited(settings, world, owner, stored):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        refused = await client.get("/api/tracks", params={"plate": PLATE})
        assert refused.status_code == 422 and refused.json()["error"]["field"] == "purpose"
        short = await client.get("/api/tracks", params={"plate": PLATE, "purpose": " a  b "})
        assert short.status_code == 422 and audit(owner) == []
        answer = (await client.get("/api/tracks", params={"plate": "吉a·12345", "purpose": WHY})).json()
    assert [point["record"].split(":")[1] for point in answer["points"]] == ["4", "3", "2", "1"]
    assert answer["points"][-1]["images"] == ["http://pictures.example/1.jpg"] and answer["next"] is None
    assert audit(owner) == [("look_up", WHY, f"plate {plate_key(PLATE)}", "4 records", CORPS)]


async def test_a_class_narrows_the_track_and_a_reading_without_class_belongs_to_each(settings, world, owner, stored):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        params = {"plate": PLATE, "purpose": WHY, "class_group": 2}
        points = (await client.get("/api/tracks", params=params)).json()["points"]
    assert [point["plate_class"] for point in points] == [0, 2, 2]


async def test_pages_of_a_track_neither_skip_nor_repeat_records_of_one_moment(settings, world, owner, stored):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        found, before = [], None
        for _ in range(9):
            params = {"plate": PLATE, "purpose": WHY, "limit": 1} | ({"before": before} if before else {})
            page = (await client.get("/api/tracks", params=params)).json()
            found += [point["record"].split(":")[1] for point in page["points"]]
            before = page["next"]
            if before is None:
                break
    assert found == ["4", "3", "2", "1"]


async def test_a_unit_sees_its_own_part_of_a_track_and_more_only_with_the_right_to_it(settings, world, owner, stored):
    add_person(owner, "west", WEST, role="dispatcher")
    add_person(owner, "wchief", WEST, role="commander")
    params = {"plate": PLATE, "purpose": WHY}
    async with running(settings) as api:
        async with api.client("west") as client:
            own = (await client.get("/api/tracks", params=params)).json()["points"]
            beyond = await client.get("/api/tracks", params={**params, "beyond": True})
        async with api.client("wchief") as client:
            all_of_it = (await client.get("/api/tracks", params={**params, "beyond": True})).json()["points"]
    assert {point["checkpoint"] for point in own} == {world.gates[0].id, world.gates[1].id}
    assert beyond.status_code == 403 and len(all_of_it) == 4
    assert [row[0] for row in audit(owner)] == ["look_up", "look_up_beyond"]


async def test_what_a_checkpoint_saw_is_paged_scoped_and_shows_unreadable_plates_as_such(
    settings, world, owner, stored
):
    add_person(owner, "chief", WEST)
    add_person(owner, "east", EAST)
    gate = world.gates[1].id
    async with running(settings) as api:
        async with api.client("chief") as client:
            first = (await client.get(f"/api/checkpoints/{gate}/passages", params={"purpose": WHY, "limit": 3})).json()
            rest = await client.get(
                f"/api/checkpoints/{gate}/passages", params={"purpose": WHY, "before": first["next"]}
            )
        async with api.client("east") as client:
            none = await client.get(f"/api/checkpoints/{gate}/passages", params={"purpose": WHY})
    assert [row["plate"] for row in first["passages"]] == ["", "吉B99999", PLATE]
    assert [row["plate"] for row in rest.json()["passages"]] == [PLATE]
    assert none.json()["passages"] == []
    assert [row[2:4] for row in audit(owner)][-1] == (f"checkpoint {gate} out of reach", "0 records")


async def test_a_finding_is_purpose_enough_for_what_it_is_about_and_for_nothing_else(settings, world, owner, stored):
    add_person(owner, "chief", WEST)
    gate = world.gates[1].id
    mine, other = a_finding(owner, checkpoint=gate), a_finding(owner, plate="吉B99999")
    foreign = a_finding(owner, unit=EAST)
    async with running(settings) as api, api.client("chief") as client:
        points = (await client.get("/api/tracks", params={"plate": PLATE, "finding": mine})).json()["points"]
        seen_there = (await client.get(f"/api/checkpoints/{gate}/passages", params={"finding": mine})).json()[
            "passages"
        ]
        answers = [
            (await client.get("/api/tracks", params={"plate": PLATE, "finding": other})).status_code,
            (await client.get("/api/tracks", params={"plate": PLATE, "finding": foreign})).status_code,
            (await client.get(f"/api/checkpoints/{world.gates[0].id}/passages", params={"finding": mine})).status_code,
        ]
    assert len(points) == 3 and len(seen_there) == 4
    assert answers == [422, 404, 422]
    assert [row[1] for row in audit(owner)] == [f"finding {mine}"] * 2


@pytest.mark.parametrize("role", ["crew", "administrator", "auditor"])
async def test_who_has_no_right_to_look_up_is_refused(settings, world, owner, stored, role):
    add_person(owner, "someone", CORPS, role=role)
    async with running(settings) as api, api.client("someone") as client:
        answer = await client.get("/api/tracks", params={"plate": PLATE, "purpose": WHY})
    assert answer.status_code == 403 and audit(owner) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"plate": "车牌"}, "plate"),
        ({"plate": "x" * 40}, "plate"),
        ({"from": "2026-11-24T08:00:00"}, "from"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}, "from"),
        ({"from": "2026-06-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"to": "yesterday"}, "to"),
        ({"before": "1:99999999999999999999999"}, "before"),
        ({"before": "900000000000000000:1"}, "before"),
        ({"before": "'; DROP TABLE passage; --"}, "before"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"class_group": "7"}, "class_group"),
        ({"finding": "no uuid"}, "finding"),
        ({"purpose": "x" * 201}, "purpose"),
    ],
)
async def test_a_wrong_parameter_is_named(settings, world, owner, stored, params, field):
    add_person(owner, "chief", CORPS)
    async with running(settings) as api, api.client("chief") as client:
        answer = await client.get("/api/tracks", params={"plate": PLATE, "purpose": WHY, **params})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["field"] == field


def test_the_database_itself_refuses_a_look_up_without_person_unit_or_purpose(owner, database_url, world, stored):
    statement = "SELECT * FROM plate_track(%s, %s, %s, NULL, %s, %s, %s, 10, true, %s)"
    since, until = world.now - timedelta(days=1), world.now
    for person, why, unit in ((None, WHY, "1"), (1, "   ", "1"), (1, WHY, "")):
        with psycopg.connect(database_url, options="-c role=traffic_api") as connection:
            connection.execute("SELECT set_config('traffic.unit', %s, true)", [unit])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement, [person, why, plate_key(PLATE), since, until, 2**62, until]).fetchall()
    with psycopg.connect(database_url, options="-c role=traffic_api") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM passage")
