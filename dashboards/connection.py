"""One client's socket: ready frames out, and how many messages may come in."""

import asyncio
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from dashboards.protocol import ErrorFrame, encode, prepared
from traffic.clock import monotonic_s

MESSAGES_PER_S = 20.0
MESSAGES_BURST = 60.0
CLOSE_S = 3.0


class Connection:
    """A client's socket. websockets keeps handshake and protocol; prepared frames go straight to its transport."""

    def __init__(self, raw: ServerConnection) -> None:
        self.raw = raw
        self._protocol = raw.protocol
        self._unsent_bytes = raw.transport.get_write_buffer_size
        self.send_prepared: Callable[[bytes], None] = raw.transport.write
        """One write of whole, ready frames. The caller minds `is_open` and `unsent_bytes`."""
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames may still be sent."""
        return self._protocol.state is State.OPEN and self._closing is None

    @property
    def unsent_bytes(self) -> int:
        """What waits in this process because the client does not take it."""
        return self._unsent_bytes()

    def close(self, code: int, reason: str) -> None:
        """Begin to close; what was written before still goes out, as far as the client takes it soon."""
        if self.is_open:
            self._closing = asyncio.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.raw.close(code, reason)
        except TimeoutError:  # the client does not take what is written: nothing more will be
            self.raw.transport.abort()

    async def closed(self) -> None:
        """Wait for a close that was begun here."""
        if self._closing is not None:
            await self._closing

    def fail(self, code: int, name: str, message: str) -> None:
        """Say why, and close."""
        if self.is_open:
            self.send_prepared(prepared(encode(ErrorFrame(code=name, message=message))))
            self.close(code, name)


class Bucket:
    """How many messages a client may send: MESSAGES_PER_S, with bursts."""

    def __init__(self) -> None:
        self._left = MESSAGES_BURST
        self._at_s = monotonic_s()

    def take(self) -> bool:
        """Count a message; False when it is one too many."""
        now_s = monotonic_s()
        self._left = min(MESSAGES_BURST, self._left + (now_s - self._at_s) * MESSAGES_PER_S)
        self._at_s = now_s
        self._left -= 1.0
        return self._left >= 0
