"""Words to JT/T 809 platforms as they wait in the database, and the answers written beside them."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from traffic.clock import Clock
from traffic.database import WRITER, as_role, queries
from traffic.errors import TrafficError
from traffic.ingest import jt809_bodies as bodies
from traffic.ingest.jt809 import Kind
from traffic.ingest.jt809_bodies import Envelope, Part, Supervision, Word
from traffic.ingest.platform_link import Answer, PlatformLink

SQL = queries("traffic.ingest", "platforms.sql")
POLL_S = 1.0
CLAIMED_MAX = 100  # words taken in hand at one time
ANSWERS_MAX = 1_000  # kept while the database is away; beyond it the oldest are given up
_CONNECT_S = 5
_NUMBERS = 2**32

log = structlog.get_logger(__name__)


class WordWrong(TrafficError):
    """A word cannot be said: what it should say is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A word that waits for a platform."""

    id: int
    platform: str
    kind: str
    body: dict[str, Any]
    asked_at: datetime
    until: datetime

    @property
    def number(self) -> int:
        """As much of its id as travels."""
        return self.id % _NUMBERS


class PlatformWords:
    """One for each doors process. `find_link`: the platform's link here, if it has one."""

    def __init__(self, url: str, clock: Clock, links: "Callable[[], dict[str, PlatformLink]]") -> None:
        self._url = url
        self._clock = clock
        self._links = links
        self._connection: psycopg.AsyncConnection[TupleRow] | None = None
        self._answers: deque[Answer] = deque(maxlen=ANSWERS_MAX)

    def answered(self, answer: Answer) -> None:
        """A platform answered; it is written at the next turn."""
        self._answers.append(answer)

    async def keep(self) -> None:
        """Say what waits and write what came, until cancelled."""
        try:
            while True:
                try:
                    await self._turn()
                except (psycopg.Error, OSError) as error:
                    log.warning("words to platforms wait: the database cannot be used", why=_sentence(error))
                    await self._close()
                await asyncio.sleep(POLL_S)
        finally:
            await self._close()

    async def _turn(self) -> None:
        while self._answers:
            answer = self._answers[0]
            await self._run(
                "answered", platform=answer.platform, kind=answer.kind, number=answer.number, answer=Jsonb(answer.body)
            )
            self._answers.popleft()
        await self._run("expire")
        links = self._links()
        if not links:
            return
        for row in await self._run("claim", codes=list(links), limit=CLAIMED_MAX, rows=True):
            word = Waiting(id=row[0], platform=row[1], kind=row[2], body=row[3], asked_at=row[4], until=row[5])
            await self._say(word, links.get(word.platform))

    async def _say(self, word: Waiting, link: PlatformLink | None) -> None:
        try:
            if link is None:
                raise OSError("the link is gone")
            kind, body = form(word, year=link.year, centre=link.device.link.centre)
            link.say(kind, body, word.number)
        except OSError:
            await self._run("give_back", id=word.id)
        except (WordWrong, OverflowError, ValueError, TypeError) as error:
            await self._run("failed", id=word.id, answer=Jsonb({"error": str(error)}))

    async def _run(self, name: str, *, rows: bool = False, **values: object) -> Sequence[TupleRow]:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = await psycopg.AsyncConnection.connect(
                as_role(self._url, WRITER), autocommit=True, connect_timeout=_CONNECT_S
            )
        cursor = await connection.execute(SQL[name], {"now": self._clock.now(), **values})
        return await cursor.fetchall() if rows else []

    async def _close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def form(word: Waiting, *, year: int, centre: int) -> tuple[Kind, bytes]:
    """The message that says it; raises WordWrong where something is missing."""
    if word.kind == "presence":
        ask = Word(
            object_kind=bodies.THIS_PLATFORM, object_id=str(centre), number=word.number, text=_text(word, "text")
        )
        answer_s = round((word.until - word.asked_at).total_seconds())
        data = bodies.presence_data(ask, year=year, answer_s=answer_s)
        return Kind.PLATFORM_DOWN, bodies.envelope(Envelope(part=Part.PRESENCE, data=data), vehicle=False)
    kind, at_s = int(word.body.get("alarm_type", 0x000E)), _seconds(word)
    if word.kind == "supervise":
        wish = Supervision(
            kind=kind, at_s=at_s, number=word.number, until_s=round(word.until.timestamp()),
            level=int(word.body.get("level", 1)), supervisor=_text(word, "supervisor"),
            phone=str(word.body.get("phone", "")), mail=str(word.body.get("mail", "")),
        )  # fmt: skip
        part, data = Part.SUPERVISION, bodies.supervision_data(wish)
    elif word.kind == "warn":
        part, data = Part.WARNING, bodies.warning_data(kind, at_s, _text(word, "text"))
    else:
        raise WordWrong(f"there is no word of the kind {word.kind}")
    color = int(word.body.get("plate_color", 0))
    about = Envelope(part=part, data=data, plate=_text(word, "plate"), color=color)
    return Kind.ALARM_DOWN, bodies.envelope(about, vehicle=True)


def _text(word: Waiting, name: str) -> str:
    text = re.sub(r"[\x00-\x1f]", " ", str(word.body.get(name) or "")).strip()
    if not text:
        raise WordWrong(f"the word does not say its {name}")
    return text


def _seconds(word: Waiting) -> int:
    at_us = word.body.get("at")
    moment = word.asked_at if at_us is None else datetime.fromtimestamp(int(at_us) / 1e6, UTC)
    return round(moment.timestamp())


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
