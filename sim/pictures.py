"""The twin's picture store: a tiny HTTP server on the loopback address, in place of a detachment's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from sim.camera_pictures import draw, shot_of
from traffic.settings import Settings

HOST = "127.0.0.1"
REQUEST_BYTES_MAX = 8 * 1024
REQUEST_S_MAX = 5.0
AT_ONCE = 8

log = structlog.get_logger(__name__)


def base_address(settings: Settings) -> str:
    """Where the pictures of the demonstration are asked for."""
    return f"http://{HOST}:{settings.twin_picture_port}"


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    """Serve while the twin runs; where the port is taken it runs without pictures."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with turns, asyncio.timeout(REQUEST_S_MAX):
                writer.write(await _answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asks so will ask again
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, HOST, settings.twin_picture_port, limit=REQUEST_BYTES_MAX)
    except OSError as error:
        log.warning("no pictures are served", port=settings.twin_picture_port, why=str(error))
        yield
        return
    try:
        yield
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.partition(b" ")
    shot = shot_of(rest.partition(b" ")[0].decode("latin-1")) if method == b"GET" else None
    if shot is None:
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = await asyncio.to_thread(draw, shot)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
