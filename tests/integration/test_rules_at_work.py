"""Rules of people in a running worker: changed without a restart, and tried on stored days with the same outcome."""

import threading
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from tests.workbench import Bench, seen
from tests.world import CORPS, EAST, WEST, point_at
from traffic import province
from traffic.database import WRITER, connect
from traffic.dry_run_queue import LOCK, SQL, empty_queue
from traffic.plates import CLASS_LARGE, plate_key
from traffic.province_rules import RULES
from traffic.readings import EntryKind
from traffic.road_readings import ALARM, POSITION, Subject
from traffic.rule_kinds import KINDS
from traffic.rule_rows import load_holidays, load_rules
from traffic.rulebook import load_book
from traffic.store import us_of

TANKER, LORRY = "吉A66666", "吉B77777"


@pytest.fixture
def bench(settings, owner, world):
    bench = Bench(settings, owner)
    with owner.transaction():
        for plate, kind in ((TANKER, "hazardous_goods"), (LORRY, "heavy_truck")):
            owner.execute(
                "INSERT INTO key_vehicle (plate_key, class_group, plate, kind, company, unit_id, version, source,"
                " as_of) VALUES (%s, %s, %s, %s, '测试公司', %s, 1, 'import', now())",
                [plate_key(plate), CLASS_LARGE, plate, kind, WEST],
            )
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'registry'")
    yield bench
    bench.close()


def write_rule(owner, version: int, **fields) -> dict:
    row = {
        "id": 1001, "kind": "ban", "name": "测试禁行", "clause": "测试", "parameters": {}, "unit_id": None,
        "level": None, "scope": {}, "schedule": {}, "exemptions": {}, "lateness_s": 900, "state": "armed",
    } | fields  # fmt: skip
    names = [name for name in row]
    values = [Jsonb(value) if isinstance(value, dict) else value for value in row.values()]
    with owner.transaction():
        owner.execute(
            f"INSERT INTO rule (version, valid_from, changed_at, changed_by, {', '.join(names)})"
            f" VALUES (%s, '2020-01-01Z', '2020-01-01Z', 'test', {', '.join(['%s'] * len(names))})",
            [version, *values],
        )
        owner.execute("UPDATE version SET value = value + 1 WHERE name = 'rule'")
    return row | {"version": version}


def said(bench: Bench) -> list[tuple]:
    return bench.rows(
        "SELECT plate_key, anchor, (grounds ->> 'count')::int, rule_version FROM finding WHERE kind = 'ban'"
        " ORDER BY 1, 2"
    )


def test_a_changed_rule_is_followed_by_a_running_worker_without_restart(bench, world, owner):
    worker = bench.worker()
    truck = {"plate_class": 1}
    bench.send(seen(world, 0, -600, TANKER, **truck), seen(world, 0, -600, LORRY, **truck))
    bench.drain(worker)
    assert said(bench) == []
    write_rule(owner, 1, scope={"kinds": ["hazardous_goods"]})
    bench.send(seen(world, 1, -500, TANKER, **truck), seen(world, 1, -500, LORRY, **truck))
    bench.drain(worker)
    assert [(row[0], row[2], row[3]) for row in said(bench)] == [(plate_key(TANKER), 1, 1)]
    write_rule(owner, 2, scope={"kinds": ["heavy_truck"]})
    bench.send(seen(world, 2, -400, TANKER, **truck), seen(world, 2, -400, LORRY, **truck))
    bench.drain(worker)
    assert {(row[0], row[2], row[3]) for row in said(bench)} == {
        (plate_key(TANKER), 1, 1), (plate_key(LORRY), 1, 2),
    }  # fmt: skip
    write_rule(owner, 3, state="off")
    write_rule(owner, 4, state="draft", scope={"kinds": ["hazardous_goods"]})
    bench.send(seen(world, 3, -300, TANKER, **truck), seen(world, 3, -300, LORRY, **truck))
    bench.drain(worker)
    assert sum(row[2] for row in said(bench)) == 2


def test_a_broken_rule_stops_nobody_and_the_others_speak(bench, world, owner):
    write_rule(owner, 1, id=1001, scope={"kinds": ["no such kind"]})
    write_rule(owner, 1, id=1002, parameters={"no_such": 1})
    write_rule(owner, 1, id=1003, scope={"kinds": ["hazardous_goods"]})
    write_rule(owner, 1, id=1004, kind="no such kind")
    worker = bench.worker()
    bench.send(seen(world, 0, -600, TANKER, plate_class=1))
    bench.drain(worker)
    assert [row[1].split(":")[0] for row in said(bench)] == ["1003"]


def ask(owner, rule: dict, world, *, unit: int = CORPS, days: int = 1) -> object:
    id = uuid4()
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        owner.execute(
            "INSERT INTO dry_run (id, rule, from_at, to_at, state, unit_id, asked_by, asked_at)"
            " VALUES (%s, %s, %s - make_interval(days => %s), %s, 'queued', %s, 'test', %s)",
            [id, Jsonb({**rule, "state": None}), world.now, days, world.now, unit, world.now],
        )
    return id


def run_queue(settings) -> int:
    with connect(settings.database_url, WRITER, autocommit=True) as connection:
        return empty_queue(connection, settings, threading.Event())


def outcome(owner, id) -> tuple:
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        return owner.execute("SELECT state, result, error FROM dry_run WHERE id = %s", [id]).fetchone()


def test_a_dry_run_says_what_the_worker_said_of_the_same_records(bench, world, owner, settings):
    rule = write_rule(owner, 1, scope={"kinds": ["hazardous_goods", "heavy_truck"]}, level=2)
    worker = bench.worker()
    for number in range(40):
        plate = (TANKER, LORRY, "吉C00001")[number % 3]
        bench.send(seen(world, number % 4, -3500 + 60 * number, plate, plate_class=1))
    bench.drain(worker)
    raised = said(bench)
    id = ask(owner, rule, world)
    assert run_queue(settings) == 1
    state, result, error = outcome(owner, id)
    assert (state, error) == ("done", "")
    assert result["fired"] == len(raised) and result["retracted"] == 0
    assert {(one["plate"], one["count"]) for one in result["vehicles"]} == {
        (plate, sum(1 for row in raised if row[0] == plate_key(plate))) for plate in (TANKER, LORRY)
    }
    assert (
        sum(day["count"] for day in result["by_day"]) == len(raised) == sum(one["count"] for one in result["by_unit"])
    )
    cards = sorted((plate_key(card["plate"]), card["count"], card["level"]) for card in result["samples"])
    assert cards == sorted((row[0], row[2], 2) for row in raised)
    assert said(bench) == raised, "a dry run raises nothing"


def test_a_dry_run_shows_only_what_its_asker_may_see(bench, world, owner, settings):
    rule = write_rule(owner, 1, state="off")
    worker = bench.worker()
    bench.send(seen(world, 0, -600, TANKER, plate_class=1), seen(world, 3, -600, LORRY, plate_class=1))
    bench.drain(worker)
    ids = [ask(owner, rule, world, unit=unit) for unit in (CORPS, WEST, EAST)]
    assert run_queue(settings) == 3
    plates = [{one["plate"] for one in outcome(owner, id)[1]["vehicles"]} for id in ids]
    assert plates == [{TANKER, LORRY}, {TANKER}, {LORRY}]


def test_a_run_that_was_interrupted_is_marked_and_a_broken_rule_fails_with_its_reason(bench, world, owner, settings):
    lost = ask(owner, write_rule(owner, 1), world)
    with owner.transaction():
        owner.execute("SET LOCAL ROLE traffic_writer")
        owner.execute("UPDATE dry_run SET state = 'running' WHERE id = %s", [lost])
    broken = ask(owner, write_rule(owner, 2, schedule={"hours": "always"}), world)
    assert run_queue(settings) == 1
    assert outcome(owner, lost)[0] == "failed" and "ended before" in outcome(owner, lost)[2]
    assert outcome(owner, broken)[0] == "failed" and "schedule.hours" in outcome(owner, broken)[2]


def test_one_at_a_time_and_who_comes_second_leaves_the_queue_to_the_first(world, owner, settings):
    ask(owner, write_rule(owner, 1), world)
    with connect(settings.database_url, WRITER, autocommit=True) as first:
        first.execute(SQL["lock"], {"key": LOCK})
        assert run_queue(settings) == 0
    assert run_queue(settings) == 1


def position(world, plate: str, at_s: float, stake_m: int = 5_000) -> np.ndarray:
    row = np.zeros(1, POSITION)
    at_us = us_of(world.now) + int(at_s * 1e6)
    row["observed_at"], row["received_at"] = at_us, at_us + 500_000
    row["subject"], row["class_group"], row["subject_kind"] = plate_key(plate), CLASS_LARGE, Subject.VEHICLE
    row["lon"], row["lat"] = point_at(stake_m)
    row["speed_kmh"], row["bearing_deg"], row["device"], row["door"] = 70.0, 40.0, world.native_id, 9
    return row


def test_a_terminal_shows_its_vehicle_under_a_ban_too_and_a_dry_run_agrees(bench, world, owner, settings):
    rule = write_rule(
        owner,
        1,
        scope={"kinds": ["hazardous_goods"], "roads": [{"road": "G1", "to_stake_m": 9_000}]},
        parameters={"position_every_min": 1},
    )
    worker = bench.worker()
    rows = np.concatenate([position(world, plate, -600 + 10 * n) for n in range(12) for plate in (TANKER, LORRY)])
    bench.send_kind(EntryKind.POSITIONS, rows)
    bench.send_kind(EntryKind.POSITIONS, position(world, TANKER, -300, stake_m=45_000))
    bench.drain(worker)
    ((key, _, count, _),) = said(bench)
    assert (key, count) == (plate_key(TANKER), 12)
    (grounds,) = bench.rows("SELECT grounds -> 'observations' -> 0 FROM finding WHERE kind = 'ban'")
    assert grounds[0]["source"] == "position" and grounds[0]["stake"].startswith("G1 K")
    id = ask(owner, rule, world)
    run_queue(settings)
    assert outcome(owner, id)[1]["fired"] == 1 and outcome(owner, id)[1]["by_unit"] == [{"unit": WEST, "count": 1}]


def alarm(world, plate: str, at_s: float) -> np.ndarray:
    row = np.zeros(1, ALARM)
    at_us = us_of(world.now) + int(at_s * 1e6)
    row["observed_at"], row["received_at"] = at_us, at_us + 500_000
    row["plate_key"], row["class_group"], row["bits"] = plate_key(plate), CLASS_LARGE, 0b101
    row["lon"], row["lat"] = point_at(5_000)
    row["speed_kmh"], row["device"], row["door"], row["source"] = 60.0, world.native_id, 9, 1
    return row


OVER_TIME = (
    {"id": 1001, "kind": "geofence", "parameters": {"dwell_s": 30}},
    {"id": 1002, "kind": "overspeed", "parameters": {"for_s": 30}},
    {"id": 1003, "kind": "device_alarm"},
    {"id": 1004, "kind": "route_deviation", "scope": {"kinds": ["hazardous_goods"]}},
    {"id": 1005, "kind": "position_mismatch"},
    {"id": 1006, "kind": "cloned_plate"},
    {"id": 1007, "kind": "registry_state", "parameters": {"condition": "ex_commercial"}},
)


def test_rules_over_time_are_tried_with_the_same_outcome_as_at_work(bench, world, owner, settings):
    owner.execute(
        "INSERT INTO fence (code, name, kind, shape, unit_id, changed_at, changed_by)"
        " VALUES ('F-1', '禁区', 'forbidden', %s, %s, now(), 'test')",
        [Jsonb({"type": "Circle", "centre": list(point_at(6_000)), "radius_m": 1_500}), CORPS],
    )
    owner.execute("UPDATE key_vehicle SET ex_commercial = true WHERE plate = %s", [LORRY])
    rules = [write_rule(owner, 1, **fields) for fields in OVER_TIME]
    worker = bench.worker()
    for n in range(30):  # the tanker speeds through the fence; the lorry's plate is read where its terminal is not
        near, far = (
            position(world, TANKER, -590 + 10 * n, 2_000 + 420 * n),
            position(world, LORRY, -590 + 10 * n, 45_000),
        )
        near["speed_kmh"] = 150.0
        bench.send_kind(EntryKind.POSITIONS, np.concatenate([near, far]))
    bench.send_kind(EntryKind.ALARMS, np.concatenate([alarm(world, TANKER, at_s) for at_s in (-400, -100)]))
    bench.send(*(seen(world, gate, -450 + 10 * gate, LORRY, plate_class=1) for gate in range(3)))
    bench.send(seen(world, 0, -200, TANKER, plate_class=1, speed_kmh=140.0))
    bench.drain(worker)
    raised = bench.rows("SELECT rule_id, plate_key, anchor FROM finding WHERE state = 'active' ORDER BY 1, 2, 3")
    assert {row[0] for row in raised} >= {1001, 1002, 1003, 1004, 1007}
    ids = {rule["id"]: ask(owner, rule, world) for rule in rules}
    assert run_queue(settings) == len(rules)
    for number, id in ids.items():
        state, result, error = outcome(owner, id)
        assert state == "done", error
        found = {(plate_key(one["plate"]), one["count"]) for one in result["vehicles"]}
        plates = {row[1] for row in raised if row[0] == number}
        assert found == {
            (plate, sum(1 for row in raised if row[0] == number and row[1] == plate)) for plate in plates
        }, (number, raised)


def test_a_version_that_begins_later_is_followed_when_its_time_has_come(world, owner, settings):
    write_rule(owner, 1, level=3)
    write_rule(owner, 2, level=1)
    owner.execute("UPDATE rule SET valid_from = %s WHERE id = 1001 AND version = 2", [world.now + timedelta(hours=1)])
    now_us, then_us = us_of(world.now), us_of(world.now + timedelta(hours=1))
    with connect(settings.database_url, WRITER, autocommit=True) as writer:
        book = load_book(writer, now_us=now_us)
        assert [terms.level for terms in book.rules.terms] == [3]
        assert book.stands(book.versions, now_us=then_us - 1) and not book.stands(book.versions, now_us=then_us)
        later = load_book(writer, book, now_us=then_us)
    assert [(terms.level, terms.version) for terms in later.rules.terms] == [(1, 2)]


def test_every_rule_that_comes_with_the_system_can_be_followed_on_the_model_province(owner, settings):
    province.load(owner, settings.clock.now())
    with connect(settings.database_url, WRITER, autocommit=True) as writer:
        rules = load_rules(writer, settings.clock.now())
        holidays = load_holidays(writer)
        book = load_book(writer, now_us=settings.clock.now_us())
    assert rules.broken == ()
    armed = {row.id for row in RULES if row.state == "armed" and KINDS[row.kind].scoped}
    assert {terms.id for terms in rules.terms} == armed == {terms.id for terms in book.rules.terms}
    assert {KINDS[row.kind].name for row in RULES} == set(KINDS), "every kind has a rule to begin with"
    assert len(holidays.off) > 50 and len(holidays.worked) > 10
