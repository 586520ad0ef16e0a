"""The model province in a real database: once, again, and after somebody changed something."""

import json
import stat

import psycopg
import pytest

from traffic import database, province
from traffic.demonstration import PEOPLE, demo_file, demo_terminals, known_secrets, load_demo, platforms, watch_rows
from traffic.demonstration_others import others
from traffic.errors import SettingsError
from traffic.province_tables import model_province
from traffic.rulebook import load_book
from traffic.secrets import REALM, decrypt, ha1, key_hash


@pytest.fixture
def owner(database_url):
    with database.connect(database_url, None, autocommit=True) as connection:
        yield connection


def versions(connection: psycopg.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, value FROM version").fetchall())


def count(connection: psycopg.Connection, table: str) -> int:
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_the_province_is_loaded_once_and_a_second_time_changes_nothing(owner, settings):
    now = settings.clock.now()
    before = versions(owner)
    report = province.load(owner, now)
    assert report.written["checkpoint"] == 197
    assert report.written["division"] == 70
    assert versions(owner)["network"] == before["network"] + 1
    assert versions(owner)["rule"] == before["rule"] + 1
    again = province.load(owner, now)
    assert not any(again.written.values()) and str(again) == "nothing to change"
    assert versions(owner) == versions(owner) | {"network": before["network"] + 1, "rule": before["rule"] + 1}


def test_what_somebody_changed_in_the_network_is_brought_back_but_rules_are_left_to_people(owner, settings):
    now = settings.clock.now()
    province.load(owner, now)
    owner.execute("UPDATE checkpoint SET limit_kmh = 5 WHERE id = 7")
    owner.execute("UPDATE rule SET valid_to = now() WHERE id = 2")
    owner.execute(
        "INSERT INTO rule SELECT id, 2, kind, name, clause, '{\"tolerance_percent\": 20}', valid_from, 'infinity',"
        " changed_at, 'somebody' FROM rule WHERE id = 2 AND version = 1"
    )
    report = province.load(owner, now)
    assert {table: number for table, number in report.written.items() if number} == {"checkpoint": 1}
    assert owner.execute("SELECT limit_kmh FROM checkpoint WHERE id = 7").fetchone()[0] > 5
    assert count(owner, "rule") == len(province.RULES) + 1


def test_workers_can_build_their_rules_from_it(owner, settings, database_url):
    now = settings.clock.now()
    province.load(owner, now)
    load_demo(settings, owner, now)
    with database.connect(database_url, database.WRITER, autocommit=True) as writer:
        book = load_book(writer, now_us=settings.clock.now_us())
    assert book.top_unit == 1
    assert len(book.entries) == len(watch_rows())
    assert book.owner_of_checkpoint[1] == 990301 and {1, 9900, 9903, 990301} == book.above_unit[990301]
    assert len(book.rules.sections.sections) == len(model_province().sections)


def test_the_demonstration_keeps_its_secrets_and_can_check_them(owner, settings):
    now = settings.clock.now()
    province.load(owner, now)
    first = load_demo(settings, owner, now)
    rows = {"person": len(PEOPLE), "device": len(platforms()) + 1 + len(others()), "watchlist_entry": len(watch_rows())}
    assert first == {**rows, "terminal": len(demo_terminals())}
    path = demo_file(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text(encoding="utf-8")
    assert set(load_demo(settings, owner, now).values()) == {0}
    assert path.read_text(encoding="utf-8") == text
    stored = dict(owner.execute("SELECT code, secret FROM device").fetchall())
    for row in json.loads(text)["devices"]:
        expected = ha1(row["code"], REALM, row["password"]).encode()
        assert decrypt(settings.secret_key, stored[row["code"]]) == expected
    native = json.loads(text)["native"][0]
    assert stored[native["name"]] == key_hash(native["key"])
    assert {code for code, _, _ in platforms()} < set(stored)


def test_new_secrets_take_the_place_of_lost_ones(owner, settings):
    now = settings.clock.now()
    province.load(owner, now)
    load_demo(settings, owner, now)
    demo_file(settings).unlink()
    made = load_demo(settings, owner, now)
    assert (made["person"], made["device"]) == (len(PEOPLE), len(platforms()) + 1 + len(others()))
    assert (made["watchlist_entry"], made["terminal"]) == (0, 0)
    other_key = settings.model_copy(update={"secret_key": "another key of the application"})
    assert load_demo(other_key, owner, now)["device"] == len(platforms()) + 2  # those that the new key cannot read


def test_one_watch_entry_is_restricted_and_only_its_addressees_with_clearance_see_it(owner, settings, database_url):
    now = settings.clock.now()
    province.load(owner, now)
    load_demo(settings, owner, now)

    def seen(unit: int, clearance: int) -> int:
        with database.connect(database_url, database.API) as reader:
            reader.execute(
                "SELECT set_config('traffic.unit', %s, true), set_config('traffic.clearance', %s, true)",
                [str(unit), str(clearance)],
            )
            return count(reader, "watchlist_entry")

    assert (seen(1, 1), seen(1, 0), seen(18402, 1)) == (20, 19, 19)


def test_loading_an_instance_does_everything_and_a_damaged_secrets_file_is_told_in_a_sentence(settings):
    report = province.load_instance(settings)
    assert report.written["person"] == len(PEOPLE) and report.written["unit"] == len(model_province().units)
    demo_file(settings).write_text("[1, 2", encoding="utf-8")
    with pytest.raises(SettingsError, match="damaged"):
        known_secrets(settings)
    with pytest.raises(SettingsError, match="SECRET_KEY"):
        province.load_instance(settings.model_copy(update={"secret_key": None}))


def test_without_demonstration_there_are_no_people_and_no_senders(settings, owner):
    province.load_instance(settings.model_copy(update={"demo": False}))
    assert (count(owner, "person"), count(owner, "device"), count(owner, "watchlist_entry")) == (0, 0, 0)
    assert not demo_file(settings).exists()
