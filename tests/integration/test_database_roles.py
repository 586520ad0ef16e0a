"""The database's own walls: what each role can reach when it asks PostgreSQL itself, past all code of ours."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from dashboards.reach import Reach
from dispatch.people import SQL
from tests.apikit import Feed, add_person
from tests.world import CORPS, EAST, EAST_SQUADRON, UNITS, WEST, WEST_BRIGADE, WEST_SQUADRON, World
from traffic.audience import Audience, Viewer, may_see
from traffic.database import API, HUB, WRITER, as_role, connect

GUARDED = ("finding", "finding_revision", "feed", "watchlist_entry", "quarantine")
HYPERTABLES = (
    "passage", "passage_extra", "passage_source", "passage_amendment", "checkpoint_minute", "detector_report",
    "position", "travel_time",
)  # fmt: skip
SCOPE = "SELECT set_config('traffic.unit', %s, true), set_config('traffic.clearance', %s, true)"


@pytest.fixture
def feed(settings, world):
    feed = Feed(settings.database_url, settings.clock.now_us())
    yield feed
    feed.close()


@pytest.fixture
def filled(settings, world: World, owner, feed) -> World:
    """One open finding of the west, one of the east, a restricted one for the west brigade, and refused records."""
    feed.finding(WEST_SQUADRON, plate="吉A11111")
    feed.finding(EAST_SQUADRON, plate="吉A22222")
    feed.finding(WEST_SQUADRON, plate="吉A33333", addressees=[WEST_BRIGADE])
    for unit in (WEST, EAST):
        owner.execute(
            "INSERT INTO quarantine (received_at, door, device_id, unit_id, position, field, reason, detail, body,"
            " audience) VALUES (%s, 2, %s, %s, 0, 'plate', 'malformed', '', 'x', %s)",
            [world.now, world.gat_id, unit, [CORPS, unit]],
        )
    owner.execute(
        "UPDATE watchlist_entry SET visibility = 1, addressees = %s WHERE number = 'BK-0001'", [[WEST_BRIGADE]]
    )
    return world


@pytest.fixture
def api(settings, filled):
    with psycopg.connect(as_role(settings.database_url, API), autocommit=True) as connection:
        yield connection


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return int(row[0])


def counts_of(connection: psycopg.Connection, unit: str, clearance: str) -> list[int]:
    with connection.transaction():
        connection.execute(SCOPE, [unit, clearance])
        return [count(connection, table) for table in GUARDED]


# ---------------------------------------------------------------- rows
def test_without_a_viewer_the_api_sees_no_row(api):
    assert [count(api, table) for table in GUARDED] == [0] * len(GUARDED)


@pytest.mark.parametrize(
    ("unit", "clearance", "seen"),
    [
        (CORPS, 0, [2, 2, 2, 0, 2]),
        (CORPS, 1, [2, 2, 2, 0, 2]),  # clearance without an address
        (WEST, 1, [1, 1, 1, 0, 1]),
        (WEST_BRIGADE, 0, [1, 1, 1, 0, 0]),  # address without clearance
        (WEST_BRIGADE, 1, [2, 2, 2, 1, 0]),
        (WEST_SQUADRON, 1, [1, 1, 1, 0, 0]),  # below the addressee
        (EAST, 1, [1, 1, 1, 0, 1]),
        (EAST_SQUADRON, 1, [1, 1, 1, 0, 0]),
        (0, 1, [0, 0, 0, 0, 0]),
        (-1, 9, [0, 0, 0, 0, 0]),
        (999_999, 9, [0, 0, 0, 0, 0]),
    ],
)
def test_a_viewer_sees_the_rows_of_its_unit_and_restricted_ones_only_when_addressed_and_cleared(
    api, unit, clearance, seen
):
    assert counts_of(api, str(unit), str(clearance)) == seen


def test_the_viewer_is_forgotten_with_its_transaction_also_after_an_error(api):
    assert counts_of(api, str(CORPS), "1")[0] == 2
    assert count(api, "finding") == 0
    with pytest.raises(psycopg.errors.DivisionByZero), api.transaction():
        api.execute(SCOPE, [str(WEST_BRIGADE), "1"])
        api.execute("SELECT 1 / 0")
    assert [count(api, table) for table in GUARDED] == [0] * len(GUARDED)


@pytest.mark.parametrize("unit", ["", "x", "1 OR true", "99999999999999999999", "{1}", "NaN"])
def test_a_viewer_that_is_no_unit_sees_nothing(api, unit):
    try:
        seen = counts_of(api, unit, "1")
    except psycopg.DataError:
        return
    assert seen == [0] * len(GUARDED)


async def test_pooled_connections_leak_no_viewer_to_the_next_user(settings, filled):
    reach = Reach(settings.database_url)
    await reach.start()
    try:
        for outcome in ("good", "failed", "cancelled") * 4:
            try:
                async with reach.as_viewer(Viewer(unit=WEST_BRIGADE, clearance=1)) as connection:
                    found = await (await connection.execute("SELECT count(*) FROM finding")).fetchone()
                    assert found == (2,)
                    if outcome == "failed":
                        await connection.execute("SELECT no_such_column FROM finding")
                    if outcome == "cancelled":
                        async with asyncio.timeout(0.02):
                            await connection.execute("SELECT pg_sleep(5)")
            except (psycopg.Error, TimeoutError):
                assert outcome != "good"
            async with reach.open() as connection:
                assert await (await connection.execute("SELECT count(*) FROM finding")).fetchone() == (0,)
                assert await (await connection.execute("SELECT current_user::text")).fetchone() == (API,)
            async with reach.as_viewer(Viewer(unit=EAST_SQUADRON)) as connection:
                assert await (await connection.execute("SELECT count(*) FROM finding")).fetchone() == (1,)
    finally:
        await reach.close()


def test_row_level_security_is_forced_on_everything_that_carries_an_audience(owner):
    rows = owner.execute(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c JOIN pg_attribute a"
        " ON a.attrelid = c.oid WHERE a.attname = 'audience' AND c.relkind IN ('r', 'p')"
        " AND c.relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert {name for name, _ in rows} >= {"finding", "feed", "watchlist_entry", "quarantine"}
    assert [name for name, forced in rows if not forced] == []


# ---------------------------------------------------------------- grants
@pytest.mark.parametrize("role", [API, HUB])
def test_readers_have_no_grant_on_passages(settings, filled, owner, role):
    owner.execute(
        "INSERT INTO passage VALUES (%s, %s, 1, 1, 1, 1, 'NaN', 'NaN', 2, 1, 1, 0, 0, 0, 2, 0)", [filled.now] * 2
    )
    chunks = [row[0] for row in owner.execute("SELECT show_chunks('passage')::text").fetchall()]
    assert chunks
    with psycopg.connect(as_role(settings.database_url, role), autocommit=True) as connection:
        for table in (*HYPERTABLES, "odd_plate", *chunks):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table} LIMIT 1")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"COPY {table} TO STDOUT")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT secret FROM device",
        "SELECT * FROM device",
        "SELECT device FROM device",  # the whole row
        "SELECT password_hash FROM person",
        "SELECT * FROM person",
        "SELECT person FROM person",
        "UPDATE person SET failures = 0 RETURNING password_hash",
        "UPDATE person SET clearance = 9",
        "UPDATE person SET role = 'administrator'",
        "UPDATE person SET password_hash = 'x'",
        "INSERT INTO person (login, name, unit_id, role, password_hash) VALUES ('x', 'x', 1, 'crew', 'x')",
        "SELECT * FROM audit",
        "DELETE FROM audit",
        "UPDATE audit SET outcome = 'x'",
        "UPDATE finding SET audience = '{1}'",
        "INSERT INTO feed VALUES (0, 99, '2026-01-01Z', 'alerts', 'finding', 'x', '{1}', 0, '{}', '{}')",
        "UPDATE quarantine SET body = 'x'",
        "UPDATE quarantine SET audience = '{1}'",
        "DELETE FROM quarantine",
        "UPDATE unit_parent SET parent_id = 1",
        "UPDATE watchlist_entry SET state = 'withdrawn'",
        "UPDATE partition SET bus_offset = 0",
        "SELECT * FROM checkpoint_flow('2026-01-01Z')",
        "SELECT * FROM snapshot",
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION visible(int[], smallint, int[]) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "ALTER TABLE finding DISABLE ROW LEVEL SECURITY",
        "DROP POLICY reader ON finding",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY finding TO PROGRAM 'cat'",
        "SELECT * FROM pg_authid",
        "ALTER ROLE traffic_api SUPERUSER",
        "TRUNCATE session",
    ],
)
def test_the_apis_role_is_refused(api, owner, statement):
    add_person(owner, "somebody")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute(statement)


def test_a_setting_does_not_turn_row_level_security_off(api):
    api.execute("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        api.execute("SELECT * FROM finding")


def test_a_function_in_a_condition_is_not_shown_rows_of_others(api):
    """A condition with side effects runs after the policy, so that it cannot tell what it was not shown."""
    heard: list[str] = []
    api.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
    with api.transaction():
        api.execute(SCOPE, [str(EAST_SQUADRON), "1"])
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as told, api.transaction():
            api.execute("SELECT * FROM finding WHERE grounds::text::int = 1")
        assert "A11111" not in str(told.value) and "A33333" not in str(told.value)


def test_resetting_the_role_leads_back_to_it(settings, filled):
    for role in (API, HUB, WRITER):
        with psycopg.connect(as_role(settings.database_url, role), autocommit=True) as connection:
            for statement in ("RESET ROLE", "RESET ALL", "DISCARD ALL"):
                connection.execute(statement)
                assert connection.execute("SELECT current_user::text").fetchone() == (role,)


def test_one_attempt_shows_one_persons_hash_and_counts_as_a_failure(api, owner):
    """The log-in's look at a hash is one login at a time, and locks when it is done often."""
    add_person(owner, "somebody")
    add_person(owner, "else")
    rows = [api.execute("SELECT * FROM login_attempt('somebody', 5, 60)").fetchone() for _ in range(6)]
    assert [row is not None for row in rows] == [True] * 5 + [False]
    assert api.execute("SELECT * FROM login_attempt('%', 5, 60)").fetchone() is None
    assert owner.execute("SELECT failures FROM person WHERE login = 'else'").fetchone() == (0,)


def test_the_hub_sees_the_feed_and_no_persons(settings, filled, owner):
    add_person(owner, "somebody")
    with psycopg.connect(as_role(settings.database_url, HUB), autocommit=True) as hub:
        assert count(hub, "feed") == 3
        for table in ("person", "session", "socket_ticket", "audit", "quarantine", "device"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                hub.execute(f"SELECT * FROM {table}")


def test_the_doors_and_workers_role_knows_no_persons(settings, filled, owner):
    add_person(owner, "somebody")
    with psycopg.connect(as_role(settings.database_url, WRITER), autocommit=True) as writer:
        for table in ("person", "session", "socket_ticket", "audit"):
            for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    writer.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute("SELECT * FROM login_attempt('somebody', 5, 60)")


def test_a_row_that_is_refused_leaves_no_plate_in_the_databases_log(settings, services, open_folder, filled):
    with psycopg.connect(as_role(settings.database_url, WRITER), autocommit=True) as writer:
        with pytest.raises(psycopg.errors.CheckViolation):
            writer.execute("UPDATE watchlist_entry SET level = 9, plate = %s", ["吉A77777"])
        with pytest.raises(psycopg.errors.NotNullViolation) as told, writer.cursor() as cursor:
            with cursor.copy("COPY odd_plate (plate_key, plate) FROM STDIN") as copy:
                copy.write_row((None, "吉A77777"))
    assert "A77777" in (told.value.diag.message_detail or "")  # the client is told, and keeps it to itself
    logs = list((open_folder / "services").rglob("*.log"))
    texts = [path.read_text(errors="replace") for path in logs]
    assert any("violates check constraint" in text for text in texts)
    assert not any("A77777" in text for text in texts)


# ---------------------------------------------------------------- one rule, two places
units = st.sampled_from([*UNITS, 0, 999])
audiences = st.tuples(st.lists(units, max_size=4), st.sampled_from([0, 1]), st.lists(units, max_size=3))
viewers = st.tuples(units, st.integers(-1, 2))


@example_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(viewers, audiences), min_size=1, max_size=40))
def test_the_policies_and_the_hub_answer_alike_for_any_viewer_and_audience(settings, cases):
    with connect(str(settings.database_url), None) as connection:
        for (unit, clearance), (audience, visibility, addressees) in cases:
            connection.execute(SCOPE, [str(unit), str(clearance)])
            told = connection.execute(
                "SELECT visible(%s::int[], %s::smallint, %s::int[])", [audience, visibility, addressees]
            ).fetchone()
            fact = Audience(units=frozenset(audience), visibility=visibility, addressees=frozenset(addressees))
            assert told == (may_see(Viewer(unit=unit, clearance=clearance), fact),)


def test_a_session_of_the_past_gives_nobody(settings, filled, owner):
    """Expiry and revocation are judged in the statement itself, by the database's real time."""
    number = add_person(owner, "somebody")
    for digest, expires, revoked in ((b"a", timedelta(hours=-1), None), (b"b", timedelta(hours=1), filled.now)):
        owner.execute(
            "INSERT INTO session VALUES (%s, %s, clock_timestamp(), clock_timestamp() + %s, 'x', %s)",
            [digest, number, expires, revoked],
        )
    assert owner.execute(SQL["session_actors"], {"hashes": [b"a", b"b"]}).fetchall() == []
