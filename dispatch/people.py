"""Persons: passwords, sessions, socket tickets, and who did what. All functions work as the API's role."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dispatch.access import Actor, Role
from traffic.clock import monotonic_s
from traffic.database import queries
from traffic.errors import TrafficError
from traffic.limits import SESSION_S, TICKET_S

SQL = queries("dispatch")
FAILURES_MAX = 5
LOCKED_S = 60
LOGIN_CHARS_MAX = 64
PASSWORD_CHARS_MAX = 256
VERIFYING_MAX = 2  # each takes 64 MiB for a moment
WAITING_MAX = 32  # beyond it a login is told to come again
SESSIONS_MAX = 20  # of one person
UNKNOWN_MAX = 10_000  # unknown logins whose failures are remembered, so that they answer like known ones
TOKEN_BYTES = 32

Open = Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection]]


class WrongLogin(TrafficError):
    """Login and password do not fit, or the person is disabled."""


class Locked(TrafficError):
    """Too many failures; `retry_after_s` is when the next attempt counts."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed attempts: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class LoginsBusy(TrafficError):
    """More attempts at once than this process judges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A fresh session; only the person's browser keeps the token, the database its hash."""

    token: str
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One line of the audit."""

    action: str
    subject: str
    outcome: str
    person_id: int | None = None
    unit_id: int | None = None
    purpose: str | None = None


def token_hash(token: str) -> bytes:
    """What the database keeps of a token or ticket."""
    return hashlib.sha256(token.encode()).digest()


class _Strangers:
    """Failures of logins that do not exist: they lock like known ones, so that nobody learns which exist."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def begin(self, login: str) -> int:
        """Count an attempt; returns the seconds for which it is locked (0: it is judged)."""
        key, now_s = token_hash(login), monotonic_s()
        failures, locked_until_s = self._seen.pop(key, (0, 0.0))
        if locked_until_s > now_s:
            self._seen[key] = failures, locked_until_s
            return int(locked_until_s - now_s) + 1
        failures += 1
        self._seen[key] = (0, now_s + LOCKED_S) if failures >= FAILURES_MAX else (failures, 0.0)
        if len(self._seen) > UNKNOWN_MAX:
            self._seen.popitem(last=False)
        return 0


class Passwords:
    """Judges passwords beside the event loop, a few at once, in the same time for logins that do not exist."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._slots = asyncio.Semaphore(VERIFYING_MAX)
        self._waiting = 0
        self.strangers = _Strangers()
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    def first_refusal(self, login: str) -> bool:
        """Whether a locked login was not refused lately: anybody may knock, and each knock must not cost a row."""
        key, now_s = token_hash(login), monotonic_s()
        if now_s - self._refused.pop(key, -LOCKED_S) < LOCKED_S:
            self._refused[key] = now_s
            return False
        self._refused[key] = now_s
        if len(self._refused) > UNKNOWN_MAX:
            self._refused.popitem(last=False)
        return True

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; raises LoginsBusy when too many wait."""
        if self._waiting >= WAITING_MAX:
            raise LoginsBusy("too many people log in at once: try again in a moment")
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1

    async def fits(self, stored: str | None, password: str) -> bool:
        """Whether the password is the stored one's; None stands for a login that does not exist."""
        return await asyncio.to_thread(self._verify, stored, password)

    def _verify(self, stored: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(stored or self._nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


async def log_in(
    open_: Open, passwords: Passwords, login: str, password: str, *, peer: str, now: datetime
) -> tuple[Session, Actor]:
    """Open a session; raises WrongLogin, Locked or LoginsBusy. All is audited (of a locked login the first)."""
    async with passwords.turn():
        found, locked_s = await _begin(open_, passwords, login)
        if locked_s:
            if passwords.first_refusal(login):
                async with open_() as connection:
                    await record(connection, Deed(action="login", subject=login, outcome="locked"), now)
            raise Locked(locked_s)
        person_id, stored, disabled, unit = found or (None, None, False, None)
        good = await passwords.fits(stored, password) and not disabled
    if not good or person_id is None:
        async with open_() as connection:
            outcome = "disabled" if disabled else "wrong password" if person_id else "unknown login"
            deed = Deed(action="login", subject=login, outcome=outcome, person_id=person_id, unit_id=unit)
            await record(connection, deed, now)
        raise WrongLogin("login and password do not fit")
    return await _admit(open_, person_id, peer, now)


async def _begin(open_: Open, passwords: Passwords, login: str) -> tuple[tuple | None, int]:
    async with open_() as connection:
        values = {"login": login, "failures_max": FAILURES_MAX, "locked_s": LOCKED_S}
        found = await (await connection.execute(SQL["attempt_begin"], values)).fetchone()
        if found is not None:
            return found, 0
        left = await (await connection.execute(SQL["lock_left"], {"login": login})).fetchone()
    if left is not None:
        return None, max(left[0], 1)
    return None, passwords.strangers.begin(login)


async def _admit(open_: Open, person_id: int, peer: str, now: datetime) -> tuple[Session, Actor]:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session = Session(token=token, hash=token_hash(token))
    async with open_() as connection:
        person = {"person_id": person_id}
        await connection.execute(SQL["attempt_good"], person)
        await connection.execute(
            SQL["session_open"], {"token_hash": session.hash, **person, "session_s": SESSION_S, "peer": peer[:64]}
        )
        await connection.execute(SQL["session_bound"], {**person, "sessions_max": SESSIONS_MAX})
        actor = (await live_sessions(connection, [session.hash])).get(session.hash)
        if actor is None:  # disabled between the two looks
            raise WrongLogin("login and password do not fit")
        await record(connection, deed_of(actor, "login", actor.login, "ok"), now)
    return session, actor


async def live_sessions(connection: psycopg.AsyncConnection, hashes: Sequence[bytes]) -> dict[bytes, Actor]:
    """Who stands behind each session that is still good (not revoked, not expired, person not disabled)."""
    found = await connection.execute(SQL["session_actors"], {"hashes": list(hashes)})
    return {
        bytes(row[0]): Actor(
            person_id=row[1], login=row[2], name=row[3], unit=row[4], role=Role(row[5]), clearance=row[6]
        )
        async for row in found
    }


async def find_actor(connection: psycopg.AsyncConnection, token: str) -> Actor | None:
    """The person of a session token."""
    digest = token_hash(token)
    return (await live_sessions(connection, [digest])).get(digest)


async def log_out(connection: psycopg.AsyncConnection, actor: Actor, token: str, *, now: datetime) -> None:
    """End the session; its sockets follow."""
    await connection.execute(SQL["session_close"], {"token_hash": token_hash(token)})
    await record(connection, deed_of(actor, "logout", actor.login, "ok"), now)


async def open_ticket(connection: psycopg.AsyncConnection, session_token: str) -> str:
    """A ticket for one socket, bound to the session, good for TICKET_S seconds and one use."""
    ticket = secrets.token_urlsafe(TOKEN_BYTES)
    values = {"ticket_hash": token_hash(ticket), "session": token_hash(session_token), "ticket_s": TICKET_S}
    await connection.execute(SQL["ticket_open"], values)
    return ticket


async def use_ticket(connection: psycopg.AsyncConnection, ticket: str) -> tuple[bytes, Actor] | None:
    """The session hash and person of a ticket, which is used up by this; None when it is not good."""
    found = await (await connection.execute(SQL["ticket_use"], {"ticket_hash": token_hash(ticket)})).fetchone()
    if found is None or not found[1]:
        return None
    session = bytes(found[0])
    actor = (await live_sessions(connection, [session])).get(session)
    return (session, actor) if actor else None


def deed_of(actor: Actor, action: str, subject: str, outcome: str) -> Deed:
    """A deed of a person who is logged in."""
    return Deed(action=action, subject=subject, outcome=outcome, person_id=actor.person_id, unit_id=actor.unit)


async def record(connection: psycopg.AsyncConnection, deed: Deed, now: datetime) -> None:
    """Write one line of the audit."""
    await connection.execute(
        SQL["audit"],
        {
            "at": now,
            "person_id": deed.person_id,
            "unit_id": deed.unit_id,
            "action": deed.action,
            "purpose": deed.purpose,
            "subject": deed.subject[:200].replace("\0", "\N{SYMBOL FOR NULL}"),  # what a person typed may hold one
            "outcome": deed.outcome[:200],
        },
    )


async def find_unit(connection: psycopg.AsyncConnection, unit: int) -> tuple[int, str, str, int]:
    """(id, name, English name, level) of a unit."""
    found = await (await connection.execute(SQL["unit_name"], {"id": unit})).fetchone()
    return found or (unit, "", "", 4)
