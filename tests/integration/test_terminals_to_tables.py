"""From terminals into the tables: the twin's own terminals, the real doors, a worker; Redis restarted on the way."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from sim import terminal_lines
from sim.fleet import Told
from sim.terminal_lines import TerminalLines
from tests.conftest import wait_until_async
from tests.integration.test_imports import door_in_a_thread
from tests.terminalkit import PLACE, enter, phone_of, plate_of, whole_second
from tests.workbench import Bench
from tests.world import WEST_SQUADRON, World
from traffic.demonstration import DemoTerminal
from traffic.ingest.jt808_bodies import Position
from traffic.plates import plate_key
from traffic.settings import Settings


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    bench = Bench(settings, owner)
    yield bench
    bench.close()


@pytest.fixture
def lines(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> TerminalLines:
    """Two terminals of the demonstration, one of each version, with short waits."""
    rows = [
        DemoTerminal(
            phone=phone_of(number), number=f"T{number:05d}", plate=plate_of(number), class_group=1, plate_color=2,
            plate_key=plate_key(plate_of(number)), unit_id=WEST_SQUADRON, of_2019=number == 2,
        )
        for number in (1, 2)
    ]  # fmt: skip
    monkeypatch.setattr(terminal_lines, "demo_terminals", lambda: rows)
    monkeypatch.setattr(terminal_lines, "ROUND_S", 0.05)
    monkeypatch.setattr(terminal_lines, "AGAIN_S_MAX", 1.0)
    return TerminalLines(settings)


def told(world: World, seconds: float, *, kept: bool = False, alarms: int = 0) -> Told:
    at_us = int(whole_second(world.now, seconds).timestamp()) * 1_000_000
    return Told(position=Position(at_us=at_us, lon=PLACE[0], lat=PLACE[1], speed_kmh=66.6, alarms=alarms), kept=kept)


async def test_positions_batches_and_alarms_of_the_twins_terminals_are_in_the_tables_once(
    settings: Settings, owner: psycopg.Connection, world: World, bench: Bench, lines: TerminalLines
):
    enter(owner, range(1, 3), WEST_SQUADRON)
    worker = bench.worker()
    stop = asyncio.Event()
    with door_in_a_thread(settings):
        running = asyncio.create_task(lines.run(stop))
        await wait_until_async(lambda: lines.figures()["terminals_ready"] == 2, what="both have logged in")
        lines.put({plate_of(1): told(world, -30, kept=True), plate_of(2): told(world, -30)})
        lines.put({plate_of(1): told(world, -20), plate_of(2): told(world, -30)})  # told twice
        lines.put({plate_of(1): told(world, -10, alarms=0b101), plate_of(2): told(world, -10)})
        await wait_until_async(lambda: not lines.waiting, what="all is acknowledged")

        async def alive() -> bool:
            await asyncio.to_thread(bench.drain, worker)
            seen = "SELECT FROM device JOIN device_status ON device_id = id WHERE kind = 'jt808' AND state = 'alive'"
            return owner.execute(seen).fetchone() is not None

        await wait_until_async(alive, what="the sender's sign of life is in the table")
        stop.set()
        await running
    await asyncio.to_thread(bench.drain, worker)
    rows = owner.execute("SELECT subject, class_group, lon, lat, door FROM position").fetchall()
    assert sorted(rows) == sorted(
        (plate_key(plate_of(number)), 1, *PLACE, 9) for number, count in ((1, 3), (2, 2)) for _ in range(count)
    )
    alarms = owner.execute("SELECT plate_key, bits, lon, lat, source, number FROM device_alarm").fetchall()
    assert alarms == [(plate_key(plate_of(1)), 0b101, *PLACE, 1, 0)]


async def test_what_terminals_told_while_the_bus_was_closed_arrives_afterwards(
    settings: Settings, owner: psycopg.Connection, world: World, bench: Bench, lines: TerminalLines
):
    """As after a restart of Redis: nothing is acknowledged until the bus is open again, and nothing is lost."""
    enter(owner, range(1, 3), WEST_SQUADRON)
    stop = asyncio.Event()
    with door_in_a_thread(settings):
        running = asyncio.create_task(lines.run(stop))
        await wait_until_async(lambda: lines.figures()["terminals_ready"] == 2, what="both have logged in")
        lines.put({plate_of(1): told(world, -30), plate_of(2): told(world, -30)})
        worker = await asyncio.to_thread(bench.worker)

        async def all_taken() -> bool:
            lines.put({})
            for plate in (plate_of(1), plate_of(2)):
                lines.put({plate: told(world, -5)})
            return lines.figures()["terminal_positions_taken"] >= 4  # type: ignore[operator]

        await wait_until_async(all_taken, what="what was refused is told again")
        stop.set()
        await running
    await asyncio.to_thread(bench.drain, worker)
    assert owner.execute("SELECT count(DISTINCT (subject, observed_at)) FROM position").fetchone() == (4,)
