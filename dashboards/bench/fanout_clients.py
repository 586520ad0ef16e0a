"""The clients of bench fanout, as their own process: thousands of sockets in one epoll loop.

They are only emptied, as fast as this process can; while a live run is watched, some are read frame by frame.
"""

import re
import select
import socket
import sys
from dataclasses import dataclass, field

import msgspec
import numpy as np

from dashboards.bench.fanout_words import Seen, Watch, raise_files_max
from traffic.clock import Clock, monotonic_s

READ_EACH = 20  # one of so many is read frame by frame
SLOW_EACH = 10  # one of so many stops to read for a while, and is read frame by frame as well
BUFFER_BYTES, SLOW_BUFFER_BYTES = 128 * 1024, 4 * 1024  # a slow one's is full soon
QUIET_S_MAX = 60.0
UNITS = 10
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_ALERT = re.compile(rb'"n":(\d+),"t":(\d+)')
_LINK = re.compile(rb"\[1,\d,[^\]]*?,(\d{16}),\d,\d\]")


@dataclass(slots=True, eq=False)
class Viewer:
    """One socket, and what it was told."""

    sock: socket.socket
    may_be_read: bool
    may_be_slow: bool
    is_read: bool = False
    is_slow: bool = False
    kept: bytearray = field(default_factory=bytearray)
    alerts: list[int] = field(default_factory=list)
    links: int = 0
    newest_us: int = 0


class Clients:
    """All sockets of this process."""

    def __init__(self, port: int, count: int) -> None:
        self._clock = Clock()
        self._poll = select.epoll()
        self._buffer = bytearray(1024 * 1024)
        self.viewers = [self._connect(port, number) for number in range(count)]
        self._of_file = {viewer.sock.fileno(): viewer for viewer in self.viewers}
        self.delays: list[int] = []
        self.closed = 0
        for viewer in self.viewers:
            self._poll.register(viewer.sock.fileno(), select.EPOLLIN)

    def _connect(self, port: int, number: int) -> Viewer:
        sock = socket.socket()
        slow = number % SLOW_EACH == 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES if slow else BUFFER_BYTES)
        sock.connect(("127.0.0.1", port))
        sock.sendall(
            f"GET /view HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        viewer = Viewer(sock, number % READ_EACH == 0 or slow, slow)
        while b"\r\n\r\n" not in viewer.kept:
            viewer.kept += sock.recv(4096)
        viewer.kept = bytearray(viewer.kept.partition(b"\r\n\r\n")[2])
        for message in (
            {"type": "hello", "ticket": str(1 + number % UNITS)},
            {"type": "subscribe", "topics": ["links", "alerts"], "viewport": None},
        ):
            sock.sendall(_masked(msgspec.json.encode(message)))
        sock.setblocking(False)
        return viewer

    # ------------------------------------------------------------ reading
    def empty(self, until_s: float) -> None:
        """Take what comes until a moment."""
        while (left_s := until_s - monotonic_s()) > 0:
            self._round(min(left_s, 0.05))

    def until_quiet(self, quiet_s: float) -> None:
        """Take what comes until for so long nothing did."""
        heard_s, until_s = monotonic_s(), monotonic_s() + QUIET_S_MAX
        while monotonic_s() - heard_s < quiet_s and monotonic_s() < until_s:
            if self._round(0.05):
                heard_s = monotonic_s()

    def _round(self, wait_s: float) -> int:
        ready = self._poll.poll(wait_s)
        for file, _ in ready:
            self._take(self._of_file[file])
        return len(ready)

    def _take(self, viewer: Viewer) -> None:
        try:
            count = viewer.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._poll.unregister(viewer.sock.fileno())
            self.closed += 1
        elif viewer.is_read:
            viewer.kept += memoryview(self._buffer)[:count]
            self._read(viewer, self._clock.now_us())

    def _read(self, viewer: Viewer, now_us: int) -> None:
        """Take whole frames out of what came."""
        data = viewer.kept
        place = 0
        while len(data) - place >= 2:
            size, head = data[place + 1] & 0x7F, 2
            if size >= 126:
                head += 2 if size == 126 else 8
                size = int.from_bytes(data[place + 2 : place + head], "big")
            if len(data) - place < head + size:
                break
            self._told(viewer, bytes(data[place + head : place + head + size]), now_us)
            place += head + size
        del data[:place]

    def _told(self, viewer: Viewer, text: bytes, now_us: int) -> None:
        if b'"topic":"alerts"' in text[:64]:
            for number, at_us in _ALERT.findall(text):
                viewer.alerts.append(int(number))
                if not viewer.is_slow:
                    self.delays.append(now_us - int(at_us))
        elif b'"topic":"links"' in text[:64]:
            viewer.links += 1
            newest = _LINK.search(text)
            if newest:
                viewer.newest_us = int(newest[1])

    # ------------------------------------------------------------ a live run
    def ready(self) -> None:
        """Stand at the begin of a frame with every socket: nothing is on its way while the server is asked nothing."""
        self.until_quiet(0.3)
        self.delays = []
        for viewer in self.viewers:
            viewer.kept.clear()
            viewer.alerts, viewer.links, viewer.newest_us = [], 0, 0
            viewer.is_read = viewer.may_be_read

    def watch(self, command: Watch) -> Seen:
        """Read along; the slow ones stop to read for a while, and catch up."""
        began_s = monotonic_s()
        slow = [viewer for viewer in self.viewers if viewer.may_be_slow] if command.slow else []
        for viewer in slow:
            self._poll.unregister(viewer.sock.fileno())
            viewer.is_slow = True
        self.empty(began_s + command.slow_s)
        for viewer in slow:
            self._poll.register(viewer.sock.fileno(), select.EPOLLIN)
        self.until_quiet(1.5)
        return self._seen(slow)

    def _seen(self, slow: list[Viewer]) -> Seen:
        fast = [viewer for viewer in self.viewers if viewer.may_be_read and not viewer.is_slow]
        newest_us = max((viewer.newest_us for viewer in fast), default=0)
        delays_ms = np.array(self.delays or [0]) / 1000
        seen = Seen(
            p50_ms=round(float(np.percentile(delays_ms, 50)), 1),
            p99_ms=round(float(np.percentile(delays_ms, 99)), 1),
            delays=len(self.delays),
            slow=len(slow),
            slow_holes=sum(not _is_whole(viewer, fast[0]) for viewer in slow),
            slow_behind=sum(viewer.newest_us != newest_us for viewer in slow),
            slow_frames=_mean([viewer.links for viewer in slow]),
            fast_frames=_mean([viewer.links for viewer in fast]),
            fast_holes=sum(not _is_whole(viewer, fast[0]) for viewer in fast),
            closed=self.closed,
        )
        for viewer in self.viewers:
            viewer.is_slow = viewer.is_read = False
        return seen


def _is_whole(viewer: Viewer, other: Viewer) -> bool:
    """Each alert once and in order: dense numbers, as far as another one's."""
    told = viewer.alerts
    return told == list(range(told[0], told[0] + len(told))) and told == other.alerts if told else not other.alerts


def _mean(values: list[int]) -> float:
    return round(sum(values) / len(values), 1) if values else 0.0


def _masked(payload: bytes) -> bytes:
    """A text frame of a client with the mask 0, which leaves the payload as it is."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def main() -> None:
    """Connect; then empty sockets, and watch when told to, until standard input ends."""
    raise_files_max()
    clients = Clients(int(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    lines = select.poll()
    lines.register(sys.stdin.fileno(), select.POLLIN)
    while True:
        clients.empty(monotonic_s() + 0.1)
        if lines.poll(0):
            line = sys.stdin.buffer.readline()
            if not line:
                return
            clients.ready()
            print("begun", flush=True)
            seen = clients.watch(msgspec.json.decode(line, type=Watch))
            print(msgspec.json.encode(seen).decode(), flush=True)


if __name__ == "__main__":
    main()
