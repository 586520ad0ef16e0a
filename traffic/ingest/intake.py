"""The bytes of a request's body, within bounds: size, time, and how many bodies are held at once."""

import asyncio
from types import TracebackType

from fastapi import Request

from traffic.ingest.bodies import BodyRefused, inflate
from traffic.limits import REQUEST_BYTES_MAX

BODY_S = 30.0  # from the end of the headers to the last byte of the body
BODIES_MAX = 256
HELD_BYTES_MAX = 192 * 1024 * 1024
DRAINED_SHARE = 4  # a body that is too large is read on to so many times its bound, so that its sender hears the answer


class Budget:
    """Bodies held by this process at one time: at most BODIES_MAX, and HELD_BYTES_MAX bytes in all."""

    def __init__(self, *, bodies_max: int = BODIES_MAX, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._bodies_max = bodies_max
        self._bytes_max = bytes_max
        self.bodies = 0
        self.bytes = 0

    def hold(self) -> "Held":
        """A place for one body; raises BodyRefused 503 when there is none."""
        if self.bodies >= self._bodies_max:
            raise BodyRefused(503, "too many requests at once; send again later")
        return Held(self)

    def add(self, count: int) -> None:
        """Count bytes as held; raises BodyRefused 503 when that is too many."""
        if self.bytes + count > self._bytes_max:
            raise BodyRefused(503, "too many bytes wait here; send again later")
        self.bytes += count


class Held:
    """One body's place in the budget, given back at the end of the `with`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def __enter__(self) -> "Held":
        self._budget.bodies += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._budget.bodies -= 1
        self._budget.bytes -= self._bytes

    def add(self, count: int) -> None:
        """Count bytes as this body's; raises BodyRefused 503."""
        self._budget.add(count)
        self._bytes += count


async def read_body(
    request: Request, held: Held, *, body_s: float = BODY_S, bytes_max: int = REQUEST_BYTES_MAX
) -> bytes:
    """The whole body, unpacked; raises BodyRefused with the status to answer."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise BodyRefused(415, f"content encoding {encoding[:40]} is not taken; send plain or gzip")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > DRAINED_SHARE * bytes_max:
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(body_s):
            body = await _collect(request, held, bytes_max)
    except TimeoutError as error:
        raise BodyRefused(408, f"the body did not arrive within {body_s:g} s") from error
    if encoding in ("gzip", "x-gzip") and body:
        body = inflate(body, bytes_max=bytes_max)
        held.add(len(body))
    return body


async def _collect(request: Request, held: Held, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > DRAINED_SHARE * bytes_max:
            raise _too_large(bytes_max)
        if total <= bytes_max:
            held.add(len(part))
            parts.append(part)
    if total > bytes_max:
        raise _too_large(bytes_max)
    return b"".join(parts)


def _too_large(bytes_max: int) -> BodyRefused:
    return BodyRefused(413, f"the body is larger than {bytes_max} bytes")
