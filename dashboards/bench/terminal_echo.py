"""The least that a server of terminals can be, to hold the door against: it answers each frame with as many bytes.

Run by its file with a port as its argument.
"""

import asyncio
import sys

import uvloop

from traffic.ingest.jt808 import Kind, Message, encode
from traffic.ingest.jt808_bodies import answer_body

BACKLOG = 1024
ANSWER = encode(Message(Kind.GENERAL_ANSWER, "13900000000", 1, answer_body(1, Kind.POSITION, 0)))


class Echo(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_flags", "_transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._flags = transport, 0

    def data_received(self, data: bytes) -> None:
        self._flags += data.count(b"\x7e")
        frames, self._flags = divmod(self._flags, 2)
        self._transport.write(ANSWER * frames)  # type: ignore[attr-defined]


async def _run(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1])))
