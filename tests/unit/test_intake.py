"""A body's bounds: size, time, and how many are held at once."""

import asyncio

import pytest
from fastapi import Request

from traffic.ingest.bodies import BodyRefused
from traffic.ingest.intake import Budget, read_body
from traffic.limits import REQUEST_BYTES_MAX


def request(*parts: bytes, endless: bool = False, **headers: str) -> Request:
    """A request whose body comes in these parts; `endless`: and then nothing more."""
    waiting = list(parts)

    async def receive() -> dict:
        if not waiting and endless:
            await asyncio.Event().wait()
        part = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or endless}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def refused(read: Request, budget: Budget | None = None) -> int:
    with pytest.raises(BodyRefused) as caught, (budget or Budget()).hold() as held:
        await read_body(read, held, body_s=0.05)
    return caught.value.status


async def test_a_body_comes_together_from_its_parts():
    with Budget().hold() as held:
        assert await read_body(request(b"[", b"1", b"]"), held) == b"[1]"
        assert await read_body(request(b"[]", content_length="junk"), held) == b"[]"


async def test_a_body_that_drips_is_given_up():
    assert await refused(request(b"[", endless=True)) == 408


async def test_a_body_that_says_or_proves_to_be_too_large_is_refused():
    assert await refused(request(b"[", content_length="9" * 30)) == 413
    chunk = b" " * (REQUEST_BYTES_MAX // 2)
    assert await refused(request(chunk, chunk, b" ", content_length="10")) == 413
    assert await refused(request(*[chunk] * 20, endless=True)) == 413


async def test_what_is_held_at_once_is_bounded_and_given_back():
    budget = Budget(bodies_max=1, bytes_max=10)
    with budget.hold():
        with pytest.raises(BodyRefused) as caught:
            budget.hold()
        assert caught.value.status == 503
    assert await refused(request(b"12345", b"678901"), budget) == 503
    assert (budget.bodies, budget.bytes) == (0, 0)
