"""The client of the benches, a process of its own: prepared bodies over several connections to a native door.

Its argument is a file with a Spec as JSON. It says `ready` on its output, waits for `go` on its
input, and at the end writes one JSON object (Report). While it sends, a line `upto N` lets it go on to body N.
"""

import asyncio
import itertools
import sys
from pathlib import Path

import msgspec
import uvloop

from traffic.clock import monotonic_s


class Spec(msgspec.Struct, kw_only=True):
    """`sizes`: length of each body in the file, in order. `per_s` 0: as fast as the answers come."""

    file: str
    sizes: list[int]
    host: str
    port: int
    key: str
    connections: int
    path: str = "/api/passages"
    per_s: float = 0.0
    upto: int = 0  # bodies that may be sent before the first `upto` line; 0: all


class Report(msgspec.Struct, kw_only=True):
    """Moments are of the machine's monotonic clock. `acks`: (sent, answered) of each body, in the order sent."""

    first_ack_s: float
    last_ack_s: float
    acks: list[tuple[float, float]]
    refused: int  # answers other than 200; such a body is sent again


class Sender:
    """Hands out bodies in order to the connections, and waits where it may not go on."""

    def __init__(self, spec: Spec, bodies: list[memoryview]) -> None:
        self.spec = spec
        self.bodies = bodies
        self.upto = spec.upto or len(bodies)
        self.next = 0
        self.began_s = 0.0
        self.acks: list[tuple[float, float]] = []
        self.refused = 0
        self.moved = asyncio.Event()

    async def take(self) -> memoryview | None:
        """The next body, when it may be sent."""
        while True:
            if self.next >= len(self.bodies):
                return None
            if self.next < self.upto:
                break
            self.moved.clear()
            await self.moved.wait()
        number, self.next = self.next, self.next + 1
        if self.spec.per_s:
            await asyncio.sleep(self.began_s + number / self.spec.per_s - monotonic_s())
        return self.bodies[number]

    def allow(self, upto: int) -> None:
        """Let it go on to this body."""
        self.upto = max(self.upto, upto)
        self.moved.set()

    async def connection(self) -> None:
        """One connection: send, wait for the answer, send again."""
        spec = self.spec
        reader, writer = await asyncio.open_connection(spec.host, spec.port, limit=1 << 20)
        head = (
            f"POST {spec.path} HTTP/1.1\r\nHost: {spec.host}:{spec.port}\r\nAuthorization: Bearer {spec.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        while (body := await self.take()) is not None:
            while True:
                sent_s = monotonic_s()
                writer.write(head + str(len(body)).encode() + b"\r\n\r\n")
                writer.write(body)
                status, retry_s = await read_answer(reader)
                if status == 200:
                    self.acks.append((sent_s, monotonic_s()))
                    break
                self.refused += 1
                await asyncio.sleep(retry_s)
        writer.close()

    async def run(self) -> Report:
        """Send everything."""
        self.began_s = monotonic_s()
        await asyncio.gather(*(self.connection() for _ in range(self.spec.connections)))
        answered = [answered for _, answered in self.acks]
        return Report(first_ack_s=min(answered), last_ack_s=max(answered), acks=self.acks, refused=self.refused)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, float]:
    """(status, seconds to wait before sending again) of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status_line.split()[1]), float(headers.get("retry-after", "1"))


async def _main(spec: Spec) -> None:
    whole = memoryview(Path(spec.file).read_bytes())  # noqa: ASYNC240 - nothing else runs yet
    ends = list(itertools.accumulate(spec.sizes))
    sender = Sender(spec, [whole[end - size : end] for end, size in zip(ends, spec.sizes, strict=True)])
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await lines.readline()
    listening = asyncio.create_task(_listen(lines, sender))
    report = await sender.run()
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    await listening  # until the input ends: who measures may still look at this process


async def _listen(lines: asyncio.StreamReader, sender: Sender) -> None:
    while line := await lines.readline():
        sender.allow(int(line.split()[1]))


def main() -> None:
    """Entry of the process."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    uvloop.run(_main(spec))


if __name__ == "__main__":
    main()
