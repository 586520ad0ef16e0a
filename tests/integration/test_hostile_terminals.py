"""The terminals' door under attack: what a peer does costs its own connection, and a good terminal notices nothing."""

import asyncio
import contextlib

import psycopg

from tests.conftest import wait_until_async
from tests.terminalkit import CODE, Client, Door, enter, opened, position, registration
from tests.world import WEST_SQUADRON, World
from traffic.ingest.jt808 import FRAME_BYTES_MAX, Kind, Message, Result, encode
from traffic.readings import EntryKind
from traffic.settings import Settings

GOOD = 1


async def still_well(door: Door, client: Client, world: World) -> None:
    """The good terminal is answered, and its position is on the bus."""
    before = len(door.rows(EntryKind.POSITIONS))
    assert await client.ask(Kind.POSITION, position(world.now)) == Result.OK
    assert len(door.rows(EntryKind.POSITIONS)) == before + 1


async def test_rubbish_and_endless_frames_end_their_own_connection(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    heartbeat = encode(Message(Kind.HEARTBEAT, "1", 1, b""))
    wrong_check = heartbeat[:-2] + bytes((heartbeat[-2] ^ 1,)) + heartbeat[-1:]
    attacks = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000, b"\x7e" + b"\x00" * (FRAME_BYTES_MAX + 1), b"\x7d" * 100_000,
        b"\x7e\x7d\x03\x7e" * 100, wrong_check * 100, b"\x7e\xff\x7e" * 1_000, bytes(range(256)) * 500,
    ]  # fmt: skip
    async with opened(settings) as door:
        await door.ready()
        good = await door.logged_in(GOOD)
        for attack in attacks:
            peer = await door.client(GOOD)
            peer.raw(attack)
            assert await peer.closed(), attack[:10]
            assert peer.heard == []
        await still_well(door, good, world)


async def test_empty_frames_alone_are_no_log_in(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings, login_s=1.0) as door:
        await door.ready()
        good = await door.logged_in(GOOD)
        peer = await door.client(GOOD)
        peer.raw(b"\x7e" * 100_000)
        assert await peer.closed()
        await still_well(door, good, world)


async def test_who_drips_or_says_nothing_does_not_stay(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings, login_s=1.0) as door:
        await door.ready()
        good = await door.logged_in(GOOD)
        silent, drip = await door.client(GOOD), await door.client(GOOD)

        async def dripping() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in b"\x7e" + b"\x01" * 10_000:
                    drip.raw(bytes((byte,)))
                    await drip.writer.drain()
                    await asyncio.sleep(0.01)

        task = asyncio.create_task(dripping())
        assert await silent.closed() and await drip.closed()
        task.cancel()
        await still_well(door, good, world)


async def test_a_terminal_that_falls_silent_after_its_log_in_is_let_go(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings, idle_s=1.0) as door:
        await door.ready(2)
        silent, dripping = await door.logged_in(1), await door.logged_in(2)
        assert await silent.closed()
        dripping.raw(b"\x7e\x00\x02")  # half a frame is no sign of life
        assert await dripping.closed()
        assert door.door.held == {}


async def test_a_flood_waits_in_its_own_buffers(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings, frames_per_s=50.0, frames_at_once=100, records_waiting=50) as door:
        await door.ready(2)
        good, flood = await door.logged_in(1), await door.logged_in(2)
        frame = encode(Message(Kind.POSITION, flood.phone, 1, position(world.now), flood.version))
        flooding = asyncio.create_task(_pour(flood, frame * 200))
        await wait_until_async(lambda: len(door.rows(EntryKind.POSITIONS)) > 50, what="some of the flood is in")
        for _ in range(3):
            assert await good.ask(Kind.HEARTBEAT) == Result.OK
            assert await good.ask(Kind.POSITION, position(world.now)) == Result.OK
        assert door.door.desk.waiting <= 3_000  # of some hundred thousand that were sent
        flooding.cancel()
        await flood.close()


async def _pour(client: Client, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(1_000):
            client.raw(data)
            await client.writer.drain()


async def test_who_does_not_read_its_answers_is_not_read_either(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings, frames_per_s=1e9, frames_at_once=10**9, idle_s=2.0) as door:
        await door.ready(2)
        good, deaf = await door.logged_in(1), await door.logged_in(2)
        frame = encode(Message(Kind.HEARTBEAT, deaf.phone, 1, b"", deaf.version))
        pouring = asyncio.create_task(_pour(deaf, frame * 1_000))

        async def is_gone() -> bool:
            assert await good.ask(Kind.HEARTBEAT) == Result.OK
            return len(door.door.held) == 1

        await wait_until_async(is_gone, what="the deaf one is let go", timeout=60)
        pouring.cancel()
        await still_well(door, good, world)


async def test_hundreds_of_half_open_connections_of_one_address_leave_room_for_others(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings, strangers_per_peer=100, connections=150, login_s=600.0) as door:
        await door.ready(2)
        good = await door.logged_in(1)
        crowd = [await door.client(9, source="127.0.0.2") for _ in range(400)]
        await wait_until_async(lambda: sum(peer.reader.at_eof() for peer in crowd) >= 300, what="most are turned away")
        other = await door.logged_in(2)
        await still_well(door, good, world)
        await still_well(door, other, world)
        for peer in crowd:
            await peer.close()


async def test_where_all_is_full_the_longest_waiting_stranger_gives_way(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings, connections=20, login_s=600.0) as door:
        await door.ready()
        strangers = [await door.client(9, source=f"127.0.0.{n + 2}") for n in range(20)]
        good = await door.logged_in(GOOD)
        assert await strangers[0].closed()
        await still_well(door, good, world)


async def test_guessing_codes_ends_the_connection(settings: Settings, owner: psycopg.Connection, world: World):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings, faults=5) as door:
        await door.ready()
        thief = await door.client(GOOD)
        with contextlib.suppress(EOFError, ConnectionError):
            for number in range(100):
                assert await thief.log_in(f"{number:016x}") == Result.FAILED
        assert thief.serial <= 7


async def test_strangers_numbers_do_not_fill_the_quarantine(
    settings: Settings, owner: psycopg.Connection, world: World
):
    enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        good = await door.logged_in(GOOD)
        for _ in range(30):
            thief = await door.client(777)
            await thief.register(registration(777))
            await thief.close()
        await still_well(door, good, world)
        assert len(door.rows(EntryKind.REJECTS)) == 1
