"""Deltas to thousands of sockets on one process: our connection layer beside `websockets.broadcast`; the live view."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import msgspec

from dashboards.bench import fanout_clients, fanout_server
from dashboards.bench.fanout_words import Answer, Begin, Command, Flood, Live, Method, Seen, Watch, raise_files_max
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import free_port
from traffic.errors import ServiceError

METHODS: tuple[Method, ...] = (
    "ours", "broadcast", "ours, a tick in one write", "broadcast, a tick in one message",
)  # fmt: skip


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`few` and `many`: sockets on the one process. `batch`: deltas of a 50 ms tick, so 16 are 320 in a second."""

    few: int = 1_000
    many: int = 5_000
    repeats: int = 5
    seconds: float = 2.0  # of each measurement
    live_s: float = 8.0
    batch: int = 16
    every_ms: int = 50  # changes of the live run


class Line:
    """A process that answers a line with a line."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str) -> None:
        self._popen = popen
        self._name = name

    def hear(self) -> bytes:
        """The next line; raises ServiceError when the process has ended."""
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            raise ServiceError(f"the {self._name} of the bench ended")
        return line

    def say(self, command: msgspec.Struct) -> None:
        """Give a command."""
        assert self._popen.stdin
        self._popen.stdin.write(msgspec.json.encode(command) + b"\n")
        self._popen.stdin.flush()


class Pair:
    """A server with its clients connected."""

    def __init__(self, server: Line, clients: Line) -> None:
        self.server, self.clients = server, clients

    def ask(self, command: Command) -> Answer:
        """Let the server do something."""
        self.server.say(command)
        return msgspec.json.decode(self.server.hear(), type=Answer)

    def live(self, options: Options, *, slow: bool) -> tuple[Answer, Seen]:
        """A live run, watched; the slow ones read again after three quarters of it."""
        catch_up_s = 3 * options.live_s / 4
        self.clients.say(Watch(seconds=options.live_s + 4, slow=slow, catch_up_after_s=options.live_s + 1))
        self.clients.hear()
        answer = self.ask(Live(seconds=options.live_s, every_s=options.every_ms / 1000, after_s=catch_up_s))
        return answer, msgspec.json.decode(self.clients.hear(), type=Seen)


@contextmanager
def pair(count: int) -> Iterator[Pair]:
    """A server process and a process with so many clients; both end with the block."""
    port = str(free_port())
    with (
        _process(fanout_server, "server", port) as server,
        _process(fanout_clients, "clients", port, str(count)) as clients,
    ):
        yield Pair(server, clients)


@contextmanager
def _process(module, name: str, *arguments: str) -> Iterator[Line]:  # type: ignore[no-untyped-def]
    command = [sys.executable, "-P", module.__file__, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        try:
            line = Line(popen, name)
            line.hear()
            yield line
        finally:
            popen.kill()


def measure(options: Options, progress: Progress) -> Measured:
    """Both counts of sockets; the methods in turn, medians of the repeats."""
    raise_files_max()
    of_count: dict[int, dict] = {}
    for count in (options.few, options.many):
        with pair(count) as both:
            of_count[count] = _one(both, options, progress)
    few = of_count[options.few]
    return Measured(
        name="fanout",
        value=few["ratio_with_the_tick"],
        unit=f"times websockets.broadcast, {options.few} sockets, {options.batch} deltas a tick",
        reference=Reference(name="websockets.broadcast of the same deltas, one by one", value=1.0),
        details={
            **{f"{count}_sockets": details for count, details in of_count.items()},
            "options": msgspec.to_builtins(options),
        },
    )


def _one(both: Pair, options: Options, progress: Progress) -> dict:
    begun = both.ask(Begin())
    taken: dict[Method, list[Answer]] = {method: [] for method in METHODS}
    for _ in range(options.repeats):
        for method in METHODS:
            taken[method].append(both.ask(Flood(method=method, seconds=options.seconds, batch=options.batch)))
    per_s = {method: median(answer.per_s for answer in answers) for method, answers in taken.items()}
    progress(f"{begun.clients} sockets: " + ", ".join(f"{name} {value:,.0f}/s" for name, value in per_s.items()))
    lives = {name: both.live(options, slow=slow) for name, slow in (("live", False), ("live_with_slow_clients", True))}
    for name, (_, seen) in lives.items():
        progress(f"{begun.clients} sockets, {name}: p99 {seen.p99_ms} ms")
    return {
        "clients": begun.clients,
        "bytes_of_memory_per_client": begun.bytes_each,
        "bytes_of_a_delta": taken["ours"][0].bytes_each,
        "deltas_per_s": {method: round(value) for method, value in per_s.items()},
        "cpu_us_of_a_delta": {
            method: round(median(answer.cpu_us for answer in answers), 2) for method, answers in taken.items()
        },
        "ratio_at_equal_batching": round(per_s["ours"] / per_s["broadcast"], 2),
        "ratio_of_a_tick_in_one": round(
            per_s["ours, a tick in one write"] / per_s["broadcast, a tick in one message"], 2
        ),
        "ratio_with_the_tick": round(per_s["ours, a tick in one write"] / per_s["broadcast"], 2),
        **{name: _told(answer, seen) for name, (answer, seen) in lives.items()},
    }


def _told(answer: Answer, seen: Seen) -> dict[str, object]:
    first, last = answer.alerts
    return {
        "changes_per_s": round(answer.per_s / max(1, answer.clients), 1),
        "alert_p50_ms": seen.p50_ms,
        "alert_p99_ms": seen.p99_ms,
        "alerts": last - first + 1,
        "alerts_missing_or_twice_at": seen.fast_holes + seen.slow_holes,
        "server_share_of_a_core": round(answer.busy, 2),
        "links_frames_of_a_client": seen.fast_frames,
        "slow_clients": seen.slow,
        "slow_links_frames": seen.slow_frames,
        "slow_without_the_newest_state": seen.slow_behind,
        "closed": seen.closed,
    }


BENCH = Measurement(describe="deltas/s to thousands of sockets", options=Options, measure=measure)
