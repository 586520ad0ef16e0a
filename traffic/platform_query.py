"""The national integrated platform asked about one vehicle: what it says, when that was true, or why it said nothing.

`GET {TRAFFIC_REGISTRY_URL}/vehicles?plate=&plate_class=` with the key as a Bearer token answers
`{"as_of": <time>, "vehicle": {<columns of a registry file>}}`, 404 where it knows no such vehicle. Nothing that it
sends is trusted: size, time and every cell are checked, and redirects are not followed.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import httpx
import msgspec
import structlog

from traffic import plates
from traffic.circuit_breaker import CircuitBreaker
from traffic.clock import Clock, monotonic_s
from traffic.registry_records import SHEETS, Refused

ANSWER_BYTES_MAX = 64 * 1024
AT_ONCE_MAX = 4
WAITING_MAX = 64  # beyond it a question is answered "unreachable" at once
TIMEOUT_S = 5.0  # for the whole answer, however it trickles
AHEAD_MAX = timedelta(hours=1)  # of the platform's clock
# What the platform is asked for. Unit, company, kind and routes are ours to say.
ASKED = (
    "plate", "plate_class", "plate_color", "vin", "brand", "body_color", "vehicle_class", "seats", "state",
    "inspection_until", "scrap_by", "insurance_until", "violations_open", "ex_commercial",
)  # fmt: skip

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a question (column `outcome`)."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    UNREACHABLE = "unreachable"  # not there, too slow, busy or broken; or not asked because it was so again and again
    REFUSED = "refused"  # it does not answer us: key, rights
    MALFORMED = "malformed"  # it answered, but not in a way that can be used


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """Whom to ask about. `plate_class`: GA 24.7."""

    plate: str
    plate_class: int

    @property
    def key(self) -> tuple[int, int]:
        """Plate key and class group."""
        return plates.plate_key(self.plate), plates.class_group(self.plate_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`values`: columns of a file of vehicles, as far as the platform told them; `as_of`: when they were true there."""

    outcome: Outcome
    took_ms: int = 0
    as_of: datetime | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""  # why it is not found, for a person


class Unusable(Exception):
    """The answer cannot be used; kept inside this module."""


class Platform:
    """One for each process: at most AT_ONCE_MAX questions at a time, none while the platform is known to be away."""

    def __init__(
        self,
        url: str,
        key: str | None,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._clock = clock
        self._timeout_s = timeout_s
        self._breaker = breaker or CircuitBreaker()
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0
        self._trust: ssl.SSLContext | bool = ssl.create_default_context() if url.startswith("https:") else False

    async def ask(self, vehicle: Vehicle) -> Answer:
        """What the platform says of a vehicle; every failure is an outcome."""
        if self._waiting >= WAITING_MAX:
            return Answer(outcome=Outcome.UNREACHABLE, reason="too many questions wait already")
        self._waiting += 1
        try:
            async with self._turns:
                if not self._breaker.may_ask(monotonic_s()):
                    return Answer(outcome=Outcome.UNREACHABLE, reason="it did not answer lately and is left in peace")
                return await self._ask(vehicle)
        finally:
            self._waiting -= 1

    async def _ask(self, vehicle: Vehicle) -> Answer:
        began_s = monotonic_s()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._fetch(vehicle)
            answer = self._judge(vehicle, status, body)
        except TimeoutError:
            answer = Answer(outcome=Outcome.UNREACHABLE, reason=f"no answer within {self._timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            answer = Answer(outcome=Outcome.UNREACHABLE, reason=reason[:200])
        except Unusable as error:
            answer = Answer(outcome=Outcome.MALFORMED, reason=str(error)[:200])
        if answer.outcome in (Outcome.FOUND, Outcome.NOT_FOUND):
            self._breaker.worked()
        else:
            self._breaker.failed(monotonic_s())
            log.warning("the platform gave no answer", outcome=str(answer.outcome), why=answer.reason)
        took_ms = round((monotonic_s() - began_s) * 1000)
        return Answer(
            outcome=answer.outcome, took_ms=took_ms, as_of=answer.as_of, values=answer.values, reason=answer.reason
        )

    async def _fetch(self, vehicle: Vehicle) -> tuple[int, bytes]:
        """Status and body; raises Unusable for a body that is too large."""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        asked = {"plate": vehicle.plate, "plate_class": f"{vehicle.plate_class:02d}"}
        address = f"{self._url}/vehicles"
        async with (
            httpx.AsyncClient(timeout=self._timeout_s, verify=self._trust, trust_env=False) as client,
            client.stream("GET", address, params=asked, headers=headers, follow_redirects=False) as response,
        ):
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise Unusable(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            return response.status_code, body

    def _judge(self, vehicle: Vehicle, status: int, body: bytes) -> Answer:
        """The answer as an outcome; raises Unusable."""
        if status == 404:
            return Answer(outcome=Outcome.NOT_FOUND, reason="the platform knows no such vehicle")
        if status in (408, 425, 429) or status >= 500:
            return Answer(outcome=Outcome.UNREACHABLE, reason=f"HTTP {status}")
        if 400 <= status < 500:
            return Answer(outcome=Outcome.REFUSED, reason=f"HTTP {status}")
        if status != 200:
            raise Unusable(f"HTTP {status}")
        as_of, values = read_answer(body, vehicle, self._clock.now())
        return Answer(outcome=Outcome.FOUND, as_of=as_of, values=values)


class _Body(msgspec.Struct, kw_only=True):
    as_of: datetime
    vehicle: dict[str, str | int | float | bool | None]


def read_answer(body: bytes, vehicle: Vehicle, now: datetime) -> tuple[datetime, dict[str, Any]]:
    """When it was true, and the columns that were told; raises Unusable where any of it cannot stand."""
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unusable(f"the answer is not as agreed: {error}") from error
    if said.as_of.tzinfo is None or said.as_of > now + AHEAD_MAX:
        raise Unusable("its data have no time, or one that is yet to come")
    cells = {name: _cell(said.vehicle[name]) for name in ASKED if name in said.vehicle}
    if not {"plate", "plate_class"} <= cells.keys():
        raise Unusable("the answer does not say of which vehicle it is")
    values = SHEETS["vehicles"].read(0, cells)
    if isinstance(values, Refused):
        raise Unusable(f"{values.field}: {values.reason}")
    if (plates.plate_key(values["plate"]), plates.class_group(values["plate_class"])) != vehicle.key:
        raise Unusable("the answer is of another vehicle")
    return said.as_of, values


def _cell(value: object) -> str:
    """A value of JSON as a cell of a file."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()
