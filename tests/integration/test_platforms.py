"""The door of JT/T 809 with real services: the life of a link, words down and answers up, and peers that misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sim.platform809 import Account, Platform809, Told
from tests.conftest import wait_until_async
from tests.platformkit import (
    CENTRE,
    CIPHER,
    PASSWORD,
    PLATFORM,
    USER,
    Doors,
    add_platform,
    lower,
    moment,
    open_bus,
    opened,
    position,
)
from tests.world import CORPS, World
from traffic.ingest import jt809
from traffic.ingest import jt809_bodies as bodies
from traffic.ingest.jt809 import FRAME_BYTES_MAX, Kind, LoginResult
from traffic.ingest.jt809_bodies import Alarm, Part, Registration
from traffic.ingest.platforms import CONNECTIONS_OF_PEER_MAX, FAILURES_MAX
from traffic.plates import plate_key
from traffic.readings import Door, EntryKind
from traffic.road_readings import Subject
from traffic.settings import Settings


@pytest.fixture
async def doors(settings: Settings, world: World, owner: psycopg.Connection) -> AsyncIterator[Doors]:
    add_platform(owner, settings, world.now)
    async with opened(settings, world) as found:
        yield found


async def taken(doors: Doors, count: int, kind: EntryKind = EntryKind.POSITIONS) -> None:
    await wait_until_async(lambda: len(doors.rows(kind)) >= count, what=f"{count} rows on the bus")


# ---------------------------------------------------------------- the life of a link
async def test_a_platform_logs_in_tells_positions_lives_on_and_leaves(doors: Doors) -> None:
    async with lower(doors) as link:
        assert (await link.log_in())[0] == LoginResult.OK
        made = Registration(platform="1", maker="m", model="t", terminal="7", phone="13900000001")
        await link.tell(Kind.VEHICLE, Part.REGISTER, bodies.registration_data(made))
        at = moment(doors.world, 30)
        await link.position(at, "吉A·12345")
        past = bodies.position_data(position(at - timedelta(minutes=5)))
        await link.tell(Kind.VEHICLE, Part.HISTORY, bytes((2,)) + past + past)
        await link.say(Kind.ALIVE)
        assert (await link.hear()).kind == Kind.ALIVE_ANSWER
        await taken(doors, 3)
        await link.say(Kind.LOGOUT, b"\0" * 12)
        assert (await link.hear()).kind == Kind.LOGOUT_ANSWER
        assert await link.closed()
    row = doors.rows(EntryKind.POSITIONS)[-1]
    assert (row["subject"], row["subject_kind"]) == (plate_key("吉A12345"), Subject.VEHICLE)
    assert row["observed_at"] == int(at.timestamp()) * 1_000_000 and row["door"] == Door.JT809
    assert (row["lon"], row["lat"], row["speed_kmh"], row["bearing_deg"]) == (125.3245, 43.8868, 86, 45)
    assert row["class_group"] == 1, "a yellow plate that is in no registry is a large one"
    await wait_until_async(lambda: "unregistered" in doors.states(), what="its leaving is told")
    assert doors.states()[0] == "registered" and not doors.rejects()


async def test_an_encrypted_link_of_2019_is_read_and_the_secrecy_plug_in_undone(doors: Doors) -> None:
    async with lower(doors, year=2019, encrypted=True) as link:
        assert (await link.log_in())[0] == LoginResult.OK
        await link.position(moment(doors.world, 40))
        await link.position(moment(doors.world, 30), shifted=True)
        await taken(doors, 2)
    plain, shifted = doors.rows(EntryKind.POSITIONS)
    assert plain["subject"] == shifted["subject"] == plate_key("吉A12345")
    assert (plain["lon"], plain["lat"]) == (125.3245, 43.8868)
    assert 0.004 < abs(shifted["lon"] - 125.3245) + abs(shifted["lat"] - 43.8868) < 0.02, "WGS-84 inside"


async def test_a_vehicle_is_the_one_that_is_registered_under_its_plate_and_colour(
    settings: Settings, world: World, owner: psycopg.Connection
) -> None:
    add_platform(owner, settings, world.now)
    for group, color in ((1, 2), (2, 1)):
        owner.execute(
            "INSERT INTO key_vehicle (plate_key, class_group, plate, kind, company, unit_id, plate_class, plate_color,"
            " version) VALUES (%s, %s, '吉A12345', 'heavy_truck', '', 11, %s, %s, 1)",
            [plate_key("吉A12345"), group, group, color],
        )
    owner.execute("UPDATE version SET value = value + 1 WHERE name = 'registry'")
    async with opened(settings, world) as doors, lower(doors) as link:
        await link.log_in()
        await link.position(moment(world, 30), color=1)
        await link.position(moment(world, 20), color=2)
        await taken(doors, 2)
        assert doors.rows(EntryKind.POSITIONS)["class_group"].tolist() == [2, 1]


async def test_alarms_come_with_positions_and_as_reports_of_the_platform(doors: Doors) -> None:
    at = moment(doors.world, 40)
    async with lower(doors) as link:
        await link.log_in()
        await link.position(at, alarm=0b100)
        told = Alarm(source=1, kind=1, at_s=int(at.timestamp()) + 10, number=3344, text="超速")
        await link.tell(Kind.ALARM, Part.ALARM, bodies.alarm_data(told))
        await taken(doors, 2, EntryKind.ALARMS)
    own, reported = doors.rows(EntryKind.ALARMS)
    assert (own["bits"], own["source"], own["number"]) == (0b100, 1, 0)
    assert (reported["bits"], reported["source"], reported["number"]) == (0b10, 2, 3344)
    assert (reported["lon"], reported["lat"]) == (125.3245, 43.8868), "where the vehicle was last"


async def test_what_is_wrong_with_a_position_goes_to_quarantine_with_its_reason(doors: Doors) -> None:
    async with lower(doors) as link:
        await link.log_in()
        await link.position(moment(doors.world, -3600))
        await link.position(moment(doors.world, 30), status=1)
        await link.position(moment(doors.world, 30), lon=0.0, lat=0.0)
        await link.position(moment(doors.world, 30), speed_kmh=900)
        await link.position(moment(doors.world, 30), "未识别")
        await link.position(moment(doors.world, 30))
        await taken(doors, 1)
        await wait_until_async(lambda: len(doors.rejects()) == 5, what="five refused")
    assert sorted(reject.reason for reject in doors.rejects()) == [
        "missing_field", "no_fix", "out_of_range", "out_of_range", "time_in_future",
    ]  # fmt: skip
    body = json.loads(doors.rejects()[0].body)
    assert body["plate"] and "observed_at" in body, "a person can read and mend it"


# ---------------------------------------------------------------- logins
WRONG_LOGINS = (
    ({"password": "wrong"}, CENTRE, LoginResult.WRONG_PASSWORD),
    ({"user": 9}, CENTRE, LoginResult.UNKNOWN_USER),
    ({}, 5, LoginResult.WRONG_CODE),
)


async def test_a_wrong_login_is_answered_with_its_result_and_closed(doors: Doors) -> None:
    for fields, centre, result in WRONG_LOGINS:
        async with lower(doors, centre=centre) as link:
            assert await link.log_in(**fields) == (result, 0)
            assert await link.closed()
    for _ in range(FAILURES_MAX - len(WRONG_LOGINS)):
        async with lower(doors) as link:
            await link.log_in(password="guess")
    async with lower(doors) as link:
        assert (await link.log_in())[0] == LoginResult.BUSY, "who guesses is told to come later"
    assert "registered" not in doors.states()


async def test_a_platform_may_come_only_from_its_own_addresses(
    settings: Settings, world: World, owner: psycopg.Connection
) -> None:
    add_platform(owner, settings, world.now, peers=["10.1.0.0/16"])
    async with opened(settings, world) as doors, lower(doors) as link:
        assert (await link.log_in())[0] == LoginResult.WRONG_ADDRESS


async def test_the_newest_link_of_a_platform_counts(doors: Doors) -> None:
    async with lower(doors) as old, lower(doors) as new:
        await old.log_in()
        await new.log_in()
        assert await old.closed()
        await new.say(Kind.ALIVE)
        assert (await new.hear()).kind == Kind.ALIVE_ANSWER


# ---------------------------------------------------------------- words down
def ask(owner: psycopg.Connection, world: World, kind: str, until_s: float = 600, **body: object) -> int:
    row = owner.execute(
        "INSERT INTO terminal_message (platform, kind, body, state, asked_by, unit_id, asked_at, until, audience)"
        " VALUES (%s, %s, %s, 'queued', 'corps', %s, %s, %s, %s) RETURNING id",
        [PLATFORM, kind, Jsonb(body), CORPS, world.now, world.now + timedelta(seconds=until_s), [CORPS]],
    ).fetchone()
    assert row is not None
    return int(row[0])


def state_of(owner: psycopg.Connection, number: int) -> tuple[str, dict]:
    row = owner.execute("SELECT state, answer FROM terminal_message WHERE id = %s", [number]).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_the_twins_platform_answers_presence_and_supervision_over_the_link_back(
    doors: Doors, owner: psycopg.Connection
) -> None:
    account = Account(user=USER, centre=CENTRE, password=PASSWORD, cipher=CIPHER, encrypted=True)
    platform = Platform809(account, "127.0.0.1", doors.settings.platform_port, clock=doors.settings.clock)
    stop = asyncio.Event()
    running = asyncio.create_task(platform.run(stop))
    platform.put([Told(plate="吉A12345", color=2, position=position(moment(doors.world, 30)))])
    await taken(doors, 1)
    presence = ask(owner, doors.world, "presence", text="请回答：谁在值班？")
    wish = {"plate": "吉A12345", "plate_color": 2, "alarm_type": 2, "supervisor": "总队指挥长"}
    supervise = ask(owner, doors.world, "supervise", **wish)
    warn = ask(owner, doors.world, "warn", plate="吉A12345", plate_color=2, text="前方团雾，减速慢行")
    nothing = ask(owner, doors.world, "warn", plate="吉A12345")
    await wait_until_async(lambda: state_of(owner, presence)[0] == "answered", what="the presence is answered")
    await wait_until_async(lambda: state_of(owner, supervise)[0] == "answered", what="the supervision is answered")
    await wait_until_async(lambda: len(platform.counts.asked) == 3, what="three words came down")
    assert state_of(owner, presence)[1]["text"].startswith("在岗")
    assert state_of(owner, supervise)[1] == {"result": 1}
    assert state_of(owner, warn)[0] == "sent"
    assert state_of(owner, nothing) == ("failed", {"error": "the word does not say its text"})
    stop.set()
    await running


async def test_words_go_over_the_main_link_where_there_is_none_back_and_expire(
    doors: Doors, owner: psycopg.Connection
) -> None:
    late = ask(owner, doors.world, "presence", until_s=-1, text="在吗？")
    await wait_until_async(lambda: state_of(owner, late)[0] == "expired", what="what nobody took in time expires")
    async with lower(doors) as link:
        await link.log_in(back_host="10.9.8.7", back_port=80)
        asked = ask(owner, doors.world, "presence", text="在吗？")
        message = await link.hear()
        word = bodies.read_word(bodies.read_envelope(message.body, vehicle=False).data)
        assert (message.kind, word.text, word.number) == (Kind.PLATFORM_DOWN, "在吗？", asked)
        assert state_of(owner, asked)[0] == "sent"


async def test_a_platform_cannot_send_us_to_a_strangers_address(
    settings: Settings, world: World, owner: psycopg.Connection
) -> None:
    """It may have us call where it comes from, or a host that is entered for it."""
    called = asyncio.Event()

    async def strange(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    server = await asyncio.start_server(strange, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    number = add_platform(owner, settings, world.now)
    async with opened(settings, world) as doors:
        async with lower(doors) as link:
            await link.log_in(back_host="127.0.0.2", back_port=port)
            await link.position(moment(world, 30))
            await taken(doors, 1)
        assert not called.is_set()
    link_told = {"user": USER, "centre": CENTRE, "hosts": ["127.0.0.2"]}
    owner.execute("UPDATE device SET link = %s WHERE id = %s", [Jsonb(link_told), number])
    async with opened(settings, world) as doors, lower(doors) as link:
        await link.log_in(back_host="127.0.0.2", back_port=port)
        await wait_until_async(called.is_set, what="the host that is entered is called")
    server.close()


# ---------------------------------------------------------------- trouble
async def test_hostile_peers_cost_only_their_own_connection_and_a_wrong_frame_itself_alone(doors: Doors) -> None:
    async with lower(doors) as good:
        await good.log_in()
        frame = jt809.pack(jt809.Message(kind=Kind.ALIVE, serial=1, centre=CENTRE))
        for noise in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"[]",
            b"[" + b"x" * (FRAME_BYTES_MAX + 70_000),
            b"\0" * 300_000,
            frame,
        ):
            async with lower(doors) as bad:
                bad.writer.write(noise)
                if noise[:1] == b"[":
                    assert await bad.closed()
        wrong = bytearray(good.frame(Kind.ALIVE))
        wrong[3] ^= 0x40
        good.writer.write(bytes(wrong))
        await good.position(moment(doors.world, 30))
        await taken(doors, 1)
        await wait_until_async(lambda: len(doors.rejects()) == 1, what="the frame with a wrong sum is in quarantine")
        (reject,) = doors.rejects()
        assert reject.reason == "malformed" and reject.body == bytes(wrong[1:-1])


async def test_one_address_has_a_bound_of_connections(doors: Doors) -> None:
    links = [await asyncio.open_connection("127.0.0.1", doors.settings.platform_port) for _ in range(20)]
    async with asyncio.timeout(8):  # before the time for a login is over
        ended = [reader for reader, _ in links[CONNECTIONS_OF_PEER_MAX:]]
        for reader in ended:
            try:
                assert await reader.read(1) == b""
            except OSError:
                continue
    for _, writer in links:
        writer.close()


async def test_a_closed_bus_holds_the_platform_up_and_loses_nothing(
    settings: Settings, world: World, owner: psycopg.Connection
) -> None:
    add_platform(owner, settings, world.now)
    async with opened(settings, world, bus_open=False) as doors, lower(doors) as link:
        assert (await link.log_in())[0] == LoginResult.OK
        for second in range(20):
            await link.position(moment(world, 60 - second))
        await link.say(Kind.ALIVE)
        assert not len(doors.rows(EntryKind.POSITIONS))
        open_bus(settings, doors.redis)
        await taken(doors, 20)
        assert (await link.hear()).kind == Kind.ALIVE_ANSWER
    times = doors.rows(EntryKind.POSITIONS)["observed_at"]
    assert len(set(times.tolist())) == 20
