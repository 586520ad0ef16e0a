"""Texts down to terminals: rows that people wrote, said by the process that holds the connection, and their answers.

A row is claimed before it is said, so that only one process says it. What stays unanswered is said again a few times:
a driver may see a text twice, but none is lost in silence.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

import psycopg
import redis
import redis.asyncio
import structlog
from psycopg.types.json import Jsonb

from traffic.clock import monotonic_s
from traffic.ingest.jt808_bodies import BodyMalformed, text_body
from traffic.ingest.terminal_book import TerminalBook
from traffic.ingest.terminal_connection import Connection

WORDS_CHANNEL, HELD_CHANNEL = "terminal:words", "terminal:held"
POLL_S = 1.0
OVERDUE_EVERY_S = 5.0
ANSWER_S = 20.0  # then it is said again
TRIES = 3
AT_ONCE = 500

log = structlog.get_logger(__name__)


class Words:
    """One for each doors process; `run` and `listen` until cancelled."""

    def __init__(
        self, book: TerminalBook, client: redis.asyncio.Redis, held: dict[int, Connection],
        superseded: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        self._book = book
        self._client = client
        self._held = held
        self._superseded = superseded
        self._answers: list[tuple[int, int]] = []
        self._news: list[tuple[int, int]] = []  # terminals that logged in here, and when (microseconds)
        self._wake = asyncio.Event()
        self._overdue_s = 0.0

    def answered(self, number: int, result: int) -> None:
        """A terminal answered the text of this row."""
        self._answers.append((number, result))
        self._wake.set()

    def logged_in(self, terminal_id: int, at_us: int) -> None:
        """Other processes may still believe that they hold this terminal."""
        self._news.append((terminal_id, at_us))
        self._wake.set()

    async def run(self) -> None:
        """Look at each wake-up and each second; bears a database and a Redis that are away."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # wait_for can lose a cancellation
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._tell_others()
                await self.look()
            except (psycopg.Error, OSError, redis.RedisError) as error:
                log.warning("texts to terminals wait", why=str(error))
                await asyncio.sleep(POLL_S)

    async def listen(self) -> None:
        """Hear what people and other processes tell, until cancelled."""
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(WORDS_CHANNEL, HELD_CHANNEL)
                    async for message in channel.listen():
                        self._hear(message)
            except (redis.RedisError, OSError) as error:
                log.warning("Redis tells nothing of texts; they are looked for each second", why=str(error))
                await asyncio.sleep(POLL_S)

    def _hear(self, message: dict) -> None:
        if message["type"] != "message":
            return
        if message["channel"] == WORDS_CHANNEL.encode():
            self._wake.set()
            return
        door, _, facts = message["data"].decode("utf-8", "replace").partition(" ")
        terminal_id, _, at_us = facts.partition(" ")
        if door != self._book.door and terminal_id.isdecimal() and at_us.isdecimal():
            self._superseded(int(terminal_id), int(at_us))

    async def _tell_others(self) -> None:
        while self._news:
            terminal_id, at_us = self._news[0]
            await self._client.publish(HELD_CHANNEL, f"{self._book.door} {terminal_id} {at_us}")
            del self._news[0]

    async def look(self) -> None:
        """Write down answers, say what waits, and end what is overdue."""
        now = self._book.clock.now()
        if self._answers:
            answers, self._answers = self._answers, []
            try:
                await self._book.run(
                    "messages_answered", ids=[number for number, _ in answers],
                    results=[result for _, result in answers], at=[now] * len(answers),
                )  # fmt: skip
            except (psycopg.Error, OSError):
                self._answers = answers + self._answers
                raise
        if monotonic_s() - self._overdue_s > OVERDUE_EVERY_S:
            self._overdue_s = monotonic_s()
            again_before = now - timedelta(seconds=ANSWER_S)
            await self._book.run("messages_overdue", at=now, again_before=again_before, tries=TRIES)
        if self._held:
            await self._say_waiting()

    async def _say_waiting(self) -> None:
        now, door = self._book.clock.now(), self._book.door
        waiting = await self._book.run("messages_waiting", at=now, door=door, limit=AT_ONCE)
        found = {row[0]: (row[1], row[2]) for row in waiting if row[1] in self._held}
        if not found:
            return
        for (number,) in await self._book.run("messages_claim", ids=list(found), at=now):
            terminal_id, body = found[number]
            await self._say(number, terminal_id, body)

    async def _say(self, number: int, terminal_id: int, body: dict) -> None:
        connection = self._held.get(terminal_id)
        if connection is None:
            return  # it left just now: the row is overdue soon
        try:
            said = text_body(
                str(body.get("text", "")), connection.version, urgent=bool(body.get("urgent")),
                tts=bool(body.get("tts")),
            )  # fmt: skip
        except BodyMalformed as error:
            refused = Jsonb({"reason": str(error)})
            await self._book.run("messages_refused", id=number, at=self._book.clock.now(), answer=refused)
            return
        connection.send_text(number, said)
