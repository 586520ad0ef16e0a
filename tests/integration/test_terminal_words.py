"""Texts down to terminals: said once by whoever holds the connection, answered, said again, and ended."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import wait_until_async
from tests.terminalkit import CODE, Door, enter, opened
from tests.world import CORPS, WEST, WEST_SQUADRON, World
from traffic.ingest import jt808_bodies as bodies
from traffic.ingest import terminal_words
from traffic.ingest.jt808 import V2013, V2019, Kind, Message, Result
from traffic.settings import Settings


def ask(owner: psycopg.Connection, world: World, terminal: int, text: str = "减速慢行", *, minutes: float = 10) -> int:
    row = owner.execute(
        "INSERT INTO terminal_message (terminal_id, kind, body, state, asked_by, unit_id, asked_at, until, audience)"
        " VALUES (%s, 'text', %s, 'queued', 'corps', %s, %s, %s, %s) RETURNING id",
        [
            terminal, Jsonb({"text": text, "urgent": True, "tts": True}), CORPS, world.now,
            world.now + timedelta(minutes=minutes), [CORPS, WEST],
        ],
    ).fetchone()  # fmt: skip
    assert row
    return int(row[0])


async def until_state(owner: psycopg.Connection, number: int, state: str) -> dict:
    async def reached() -> object:
        row = owner.execute("SELECT answer FROM terminal_message WHERE id = %s AND state = %s", [number, state])
        return row.fetchone()

    return (await wait_until_async(reached, what=f"the message is {state}"))[0]  # type: ignore[index]


async def known_as_held(owner: psycopg.Connection, door: Door) -> None:
    async def noted() -> object:
        return (
            owner.execute("SELECT FROM terminal_status WHERE door = %s", [door.door.book.door]).fetchone() is not None
        )

    await wait_until_async(noted, what="the database says who holds the terminal")


@pytest.mark.parametrize("version", [V2013, V2019])
async def test_a_text_is_shown_and_its_answer_is_written_down(
    settings: Settings, owner: psycopg.Connection, world: World, version: int
):
    (terminal,) = enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in(version=version)
        number = ask(owner, world, terminal)
        door.redis.publish(terminal_words.WORDS_CHANNEL, b"")
        text = await client.hear(Kind.TEXT)
        assert bodies.read_text(text.body, version) == (0b1110 if version == V2019 else 0b1101, "减速慢行")
        await until_state(owner, number, "sent")
        client.say(Kind.TERMINAL_ANSWER, bodies.answer_body(text.serial, Kind.TEXT, Result.OK))
        assert (await until_state(owner, number, "answered"))["result"] == Result.OK


async def test_a_terminal_may_refuse_a_text(settings: Settings, owner: psycopg.Connection, world: World):
    (terminal,) = enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        number = ask(owner, world, terminal)
        text = await client.hear(Kind.TEXT)
        client.say(Kind.TERMINAL_ANSWER, bodies.answer_body(999, Kind.TEXT, Result.OK))  # of nothing that was said
        client.say(Kind.TERMINAL_ANSWER, bodies.answer_body(text.serial, Kind.TEXT, Result.UNSUPPORTED))
        assert (await until_state(owner, number, "failed"))["result"] == Result.UNSUPPORTED


async def test_a_text_waits_for_its_terminal_and_expires(settings: Settings, owner: psycopg.Connection, world: World):
    ids = enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    soon, late = ask(owner, world, ids[0], minutes=0.001), ask(owner, world, ids[1])
    async with opened(settings) as door:
        await door.ready(2)
        await until_state(owner, soon, "expired")
        client = await door.logged_in(2)
        assert (await client.hear(Kind.TEXT)).body
        await until_state(owner, late, "sent")


async def test_only_the_process_that_holds_the_connection_says_it(
    settings: Settings, owner: psycopg.Connection, world: World
):
    ids = enter(owner, range(1, 3), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door, opened(settings, bus_open=False) as other:
        await door.ready(2)
        await other.ready(2)
        one, two = await door.logged_in(1), await other.logged_in(2)
        numbers = [ask(owner, world, terminal, f"给{terminal}") for terminal in ids]
        texts = await asyncio.gather(one.hear(Kind.TEXT), two.hear(Kind.TEXT))
        assert [bodies.read_text(text.body, V2019)[1] for text in texts] == [f"给{terminal}" for terminal in ids]
        for number in numbers:
            assert (await until_state(owner, number, "sent"))["tries"] == 1


async def test_an_unanswered_text_is_said_again_and_given_up(
    settings: Settings, owner: psycopg.Connection, world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(terminal_words, "ANSWER_S", 0.0)
    monkeypatch.setattr(terminal_words, "OVERDUE_EVERY_S", 0.0)
    monkeypatch.setattr(terminal_words, "POLL_S", 0.05)
    (terminal,) = enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        number = ask(owner, world, terminal)
        said: list[Message] = [await client.hear(Kind.TEXT) for _ in range(terminal_words.TRIES)]
        assert len({message.serial for message in said}) == terminal_words.TRIES
        assert (await until_state(owner, number, "failed"))["tries"] == terminal_words.TRIES


async def test_texts_come_through_a_restart_of_redis_and_a_lost_database_connection(
    settings: Settings, owner: psycopg.Connection, world: World
):
    """Neither the wake-up nor the connection is needed for long: the rows are looked for each second."""
    (terminal,) = enter(owner, range(1, 2), WEST_SQUADRON, code=CODE)
    async with opened(settings) as door:
        await door.ready()
        client = await door.logged_in()
        await known_as_held(owner, door)
        door.redis.client_kill_filter(_type="pubsub")
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        number = ask(owner, world, terminal)
        text = await client.hear(Kind.TEXT)
        client.say(Kind.TERMINAL_ANSWER, bodies.answer_body(text.serial, Kind.TEXT, Result.OK))
        await until_state(owner, number, "answered")
