"""Terminals at their door: register, log in, tell where they are; each answer only after the bus has the record."""

import asyncio
import contextlib
import os
import sys
from datetime import timedelta

import psycopg
import pytest
import redis

from dashboards.checks import environment
from tests.conftest import wait_until_async
from tests.terminalkit import (
    CODE,
    PLACE,
    Client,
    enter,
    opened,
    phone_of,
    plate_of,
    position,
    registration,
    whole_second,
)
from tests.world import WEST_SQUADRON, World
from traffic.errors import Reason
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest.jt808 import V2013, V2019, Kind, Message, Registered, Result, encode, in_parts
from traffic.plates import plate_key
from traffic.readings import Door, EntryKind, decode_entry
from traffic.settings import Settings
from traffic.stream import BusReader, stream_key


@pytest.mark.parametrize("version", [V2013, V2019])
async def test_a_terminal_registers_logs_in_and_tells_where_it_is(
    settings: Settings, owner: psycopg.Connection, world: World, version: int
):
    enter(owner, range(1, 2), WEST_SQUADRON)
    at = whole_second(world.now, -5)
    async with opened(settings) as door:
        await door.ready()
        client = await door.client(version=version)
        result, code = await client.register(registration(1))
        assert result == Registered.OK and len(code) == 16
        assert await client.log_in(code) == Result.OK
        assert (await client.hear(Kind.POSITION_QUERY)).version == version
        assert await client.ask(Kind.POSITION, position(at)) == Result.OK
        (row,) = door.rows(EntryKind.POSITIONS)
        assert (row["subject"], row["class_group"], row["door"]) == (plate_key(plate_of(1)), 1, Door.JT808)
        assert (row["lon"], row["lat"], row["observed_at"]) == (*PLACE, int(at.timestamp()) * 1_000_000)
        assert await client.ask(Kind.HEARTBEAT) == Result.OK

        async def noted() -> object:
            return owner.execute("SELECT protocol FROM terminal_status WHERE door <> ''").fetchone()

        assert await wait_until_async(noted, what="the database is told") == (version,)
    kept, number, maker = owner.execute("SELECT code_hash, number, maker FROM terminal").fetchone() or ()
    assert code.encode() not in kept and number == registration(1).number and maker == "TMRI"
    device = owner.execute("SELECT code, unit_id, kind FROM device WHERE id = %s", [int(row["device"])]).fetchone()
    assert device == (f"jt808-{WEST_SQUADRON}", WEST_SQUADRON, "jt808")
    assert owner.execute("SELECT door FROM terminal_status").fetchone() == ("",)


async def test_a_class_that_the_terminal_was_not_entered_with_is_the_registrys(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE, group=0)
    owner.execute(
        "INSERT INTO key_vehicle (plate_key, class_group, plate, kind, company, unit_id)"
        " VALUES (%s, 1, %s, 'tour_coach', 'C', %s)",
        [plate_key(plate_of(1)), plate_of(1), WEST_SQUADRON],
    )
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        await client.ask(Kind.POSITION, position(world.now))
        assert [row["class_group"] for row in door.rows(EntryKind.POSITIONS)] == [1]


async def test_who_may_not_register_is_told_why(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 5), WEST_SQUADRON)
    owner.execute("UPDATE terminal SET number = 'T000003' WHERE phone = %s", [phone_of(3)])
    owner.execute("UPDATE terminal SET enabled = false WHERE phone = %s", [phone_of(4)])
    async with opened(settings) as door:
        await door.ready(4)
        wrong = {
            9: (registration(9), Registered.NO_SUCH_TERMINAL),
            1: (registration(1, plate="吉B99999"), Registered.NO_SUCH_VEHICLE),
            2: (registration(2, plate=plate_of(1)), Registered.VEHICLE_TAKEN),
            3: (registration(3, number="T999999"), Registered.NO_SUCH_TERMINAL),
            4: (registration(4), Registered.NO_SUCH_TERMINAL),
        }
        for number, (told, result) in wrong.items():
            client = await door.client(number)
            assert await client.register(told) == (result, "")
            assert await client.log_in("") == Result.FAILED
        await wait_until_async(lambda: len(door.rows(EntryKind.REJECTS)) == 5, what="all are in quarantine")
        assert {reject.reason for reject in door.rows(EntryKind.REJECTS)} == {Reason.UNKNOWN_TERMINAL}
        stranger = await door.client(9)
        await stranger.register(registration(9))  # told once: a stranger does not fill the quarantine
        assert await (await door.client(3)).register(registration(3)) != (Registered.OK, "")
        assert len(door.rows(EntryKind.REJECTS)) == 5
    assert owner.execute("SELECT count(*) FROM terminal WHERE code_hash IS NOT NULL").fetchone() == (1,)


async def test_a_terminal_that_is_heard_is_not_registered_from_elsewhere(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON)
    async with opened(settings) as door:
        await door.ready()
        client = await door.client()
        _, code = await client.register(registration(1))
        await client.log_in(code)
        thief = await door.client()
        assert await thief.register(registration(1)) == (Registered.TERMINAL_TAKEN, "")
        async with opened(settings, bus_open=False) as other:
            await other.ready()

            async def noted() -> object:
                return owner.execute("SELECT FROM terminal_status WHERE door <> ''").fetchone() is not None

            await wait_until_async(noted, what="the database knows who holds it")
            assert await (await other.client()).register(registration(1)) == (Registered.TERMINAL_TAKEN, "")
        assert await client.ask(Kind.HEARTBEAT) == Result.OK


async def test_before_its_log_in_a_terminal_is_answered_but_nothing_is_taken(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.client()
        for kind in (Kind.POSITION, Kind.POSITIONS, Kind.HEARTBEAT, Kind.UNREGISTER, Kind.TERMINAL_ANSWER):
            assert await client.ask(kind, position(world.now)) == Result.FAILED
        assert await client.log_in("no such code") == Result.FAILED
        assert await client.log_in() == Result.OK
        assert door.rows(EntryKind.POSITIONS) == []


async def test_a_code_of_another_process_is_good_here(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 2), WEST_SQUADRON)
    async with opened(settings) as door, opened(settings, bus_open=False) as other:
        await door.ready()
        await other.ready()
        client = await door.client()
        _, code = await client.register(registration(1))
        await client.close()
        there = await other.client()
        assert await there.log_in(code) == Result.OK


async def test_the_newest_connection_of_a_terminal_counts_in_all_processes(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door, opened(settings, bus_open=False) as other:
        await door.ready()
        await other.ready()
        first = await door.logged_in()
        second = await door.logged_in()
        assert await first.closed()
        third = await other.logged_in()
        assert await second.closed()
        assert await third.ask(Kind.POSITION, position(world.now)) == Result.OK

        async def held() -> object:
            return owner.execute("SELECT door FROM terminal_status").fetchone() == (other.door.book.door,)

        await wait_until_async(held, what="the database says who holds it")


async def test_a_batch_in_parts_is_answered_when_all_of_it_is_on_the_bus(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    told = [position(whole_second(world.now, -n), alarms=1 if n == 3 else 0) for n in range(60, 0, -1)]
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        message = Message(Kind.POSITIONS, client.phone, 500, bodies.batch_body(told, blind=True), client.version)
        parts = in_parts(message)
        assert len(parts) == 2
        for part in parts:
            client.raw(encode(part))
        assert [await client.result(part.serial) for part in parts] == [Result.OK] * 2
        assert len(door.rows(EntryKind.POSITIONS)) == 60
        (alarm,) = door.rows(EntryKind.ALARMS)
        assert (alarm["bits"], alarm["plate_key"], alarm["class_group"]) == (1, plate_key(plate_of(1)), 1)


async def test_what_a_position_lacks_is_in_quarantine_and_the_terminal_need_not_send_it_again(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    good = position(world.now)
    wrong = [
        position(world.now + timedelta(minutes=5)), position(world.now - timedelta(days=40)),
        position(world.now, lon=2.35, lat=48.85), *[position(world.now, located=False)] * 2,
    ]  # fmt: skip
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        assert await client.ask(Kind.POSITIONS, bodies.batch_body([good, *wrong], blind=False)) == Result.OK
        assert len(door.rows(EntryKind.POSITIONS)) == 1
        reasons = [reject.reason for reject in door.rows(EntryKind.REJECTS)]
        assert sorted(reasons) == sorted(
            [Reason.TIME_IN_FUTURE, Reason.TIME_TOO_OLD, Reason.OUT_OF_RANGE, Reason.NO_FIX]
        )  # without a fix once in a while, or each tunnel would fill the quarantine
        assert {reject.unit_id for reject in door.rows(EntryKind.REJECTS)} == {WEST_SQUADRON}


async def test_what_is_unknown_or_wrong_is_answered_so(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready(2)
        client = await door.logged_in()
        assert await client.ask(0x0107) == Result.UNSUPPORTED
        assert await client.ask(0x8001) == Result.UNSUPPORTED
        assert await client.ask(Kind.PASSTHROUGH, b"\x41whatever") == Result.OK
        assert await client.ask(Kind.POSITION, b"short") == Result.WRONG
        assert await client.ask(Kind.POSITIONS, b"\0\2\0\0\1") == Result.WRONG
        assert await client.ask(Kind.POSITIONS, b"\0\0\0") == Result.OK
        client.phone = phone_of(2)
        assert await client.ask(Kind.POSITION, position(world.now)) == Result.FAILED
        assert door.rows(EntryKind.POSITIONS) == []


async def test_duplicate_and_out_of_order_positions_are_all_taken(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        for seconds in (-3, -9, -3, -1):
            assert await client.ask(Kind.POSITION, position(whole_second(world.now, seconds))) == Result.OK
        assert len(door.rows(EntryKind.POSITIONS)) == 4  # the table keeps each once


async def test_unregistering_ends_the_code(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        assert await client.ask(Kind.UNREGISTER) == Result.OK
        assert await client.closed()
        assert await (await door.client()).log_in() == Result.FAILED


async def test_a_terminal_that_was_shut_out_has_to_leave(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready(2)
        client, other = await door.logged_in(1), await door.logged_in(2)
        owner.execute("UPDATE terminal SET enabled = false WHERE phone = %s", [phone_of(1)])
        assert await client.closed()
        assert await other.ask(Kind.HEARTBEAT) == Result.OK


async def test_a_full_bus_refuses_and_takes_it_when_there_is_room(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings.model_copy(update={"bus_bytes_max": 1024})) as door:
        await door.ready()
        client = await door.logged_in()
        taken = []
        while (result := await client.ask(Kind.POSITION, position(whole_second(world.now, -len(taken))))) == Result.OK:
            taken.append(result)
            assert len(taken) < 100
        assert result == Result.FAILED and len(door.rows(EntryKind.POSITIONS)) == len(taken)
        for partition in range(settings.partitions):
            door.redis.hset(f"bus:{{{partition}}}:meta", "out_bytes", 10_000)
        assert await client.ask(Kind.POSITION, position(world.now)) == Result.OK
        assert len(door.rows(EntryKind.POSITIONS)) == len(taken) + 1


async def test_at_the_end_what_was_received_is_on_the_bus_and_answered(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client: Client = await door.logged_in()
        serials = [client.say(Kind.POSITION, position(whole_second(world.now, -n))) for n in range(200)]
        await client.writer.drain()
        await client.result(serials[0])
    await client.closed()
    answered = [bodies.read_answer(message.body) for message in client.heard if message.kind == Kind.GENERAL_ANSWER]
    taken = sum(1 for serial, _, result in answered if result == Result.OK and serial in serials)
    assert taken + 1 == len(door.rows(EntryKind.POSITIONS))


async def test_the_doors_process_serves_terminals_and_ends_with_all_answered(
    settings: Settings, owner: psycopg.Connection, world: World
):
    """The real process, on its own event loop, told to stop while a terminal speaks."""
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    with redis.Redis.from_url(str(settings.redis_url)) as bus:
        for partition in range(settings.partitions):
            BusReader(bus, bytes_max=settings.bus_bytes_max).open(partition, 1)
        code = "from traffic.ingest.server import run; from traffic.settings import load_settings; run(load_settings())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=environment(settings, os.environ)
        )
        client = await _first_client(settings.terminal_port)
        await wait_until_async(lambda: _logs_in(client), what="the terminal logs in")
        serials = [client.say(Kind.POSITION, position(whole_second(world.now, -n))) for n in range(50)]
        await client.result(serials[0])
        process.terminate()
        await client.closed()
        assert await process.wait() == 0
        answers = [bodies.read_answer(heard.body) for heard in client.heard if heard.kind == Kind.GENERAL_ANSWER]
        taken = 1 + sum(serial in serials and result == Result.OK for serial, _, result in answers)
        kept = 0
        for partition in range(settings.partitions):
            for _, fields in bus.xrange(stream_key(partition)):  # type: ignore[union-attr]
                kind, content = decode_entry(fields[b"e"])
                kept += len(content) if kind is EntryKind.POSITIONS else 0  # type: ignore[arg-type]
        assert taken == kept > 0


async def _first_client(port: int) -> Client:
    found: list[Client] = []

    async def connected() -> bool:
        with contextlib.suppress(OSError):
            found.append(await Client.connect(port))
        return bool(found)

    await wait_until_async(connected, timeout=60, what="the process listens")
    return found[0]


async def _logs_in(client: Client) -> bool:
    return await client.log_in() == Result.OK
