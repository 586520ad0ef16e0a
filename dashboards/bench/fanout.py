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

METHODS: tuple[Method, Method, Method, Method] = (
    "ours", "broadcast", "ours, a tick in one write", "broadcast, a tick in one message",
)  # fmt: skip


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`few` and `many`: sockets on the one process. `batch`: deltas of a 50 ms tick, so 16 are 320 in a second."""

    few: int = 1_000
    many: int = 5_000
    repeats: int = 15
    seconds: float = 0.5  # of each measurement: short ones in turn, so that what else the machine does meets all alike
    live_s: float = 12.0
    live_repeats: int = 3
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
        """A live run, watched; the slow ones begin to read when nothing new comes any more."""
        self.clients.say(Watch(slow=slow, slow_s=options.live_s + 1))
        self.clients.hear()
        answer = self.ask(Live(seconds=options.live_s, every_s=options.every_ms / 1000))
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
        value=few["ratio_with_the_tick_by_cpu"],
        unit=f"times the deltas of a second of the server's core, {options.few} sockets, {options.batch} deltas a tick",
        reference=Reference(name="websockets.broadcast of the same deltas, one by one", value=1.0),
        details={
            **{f"{count}_sockets": details for count, details in of_count.items()},
            "options": msgspec.to_builtins(options),
        },
    )


def _one(both: Pair, options: Options, progress: Progress) -> dict:
    begun = both.ask(Begin())
    rounds: list[dict[Method, Answer]] = []
    for _ in range(options.repeats):
        rounds.append(
            {name: both.ask(Flood(method=name, seconds=options.seconds, batch=options.batch)) for name in METHODS}
        )
    flooded = _flooded(rounds)
    progress(f"{begun.clients} sockets: {flooded['deltas_per_s']}")
    lives: dict[str, list[tuple[Answer, Seen]]] = {"live": [], "live_with_slow_clients": []}
    for _ in range(options.live_repeats):
        for name, runs in lives.items():
            runs.append(both.live(options, slow=name != "live"))
            progress(f"{begun.clients} sockets, {name}: p99 {runs[-1][1].p99_ms} ms")
    return {
        "clients": begun.clients,
        "bytes_of_memory_per_client": begun.bytes_each,
        **flooded,
        **{name: _told(runs) for name, runs in lives.items()},
    }


def _flooded(rounds: list[dict[Method, Answer]]) -> dict[str, object]:
    """Medians; ratios are those of the same round. `by_cpu`: the same by what the server spends, whoever else runs."""

    def ratio(one: Method, other: Method, *, by_cpu: bool = False) -> float:
        if by_cpu:
            return round(median(answers[other].cpu_us / answers[one].cpu_us for answers in rounds), 2)
        return round(median(answers[one].per_s / answers[other].per_s for answers in rounds), 2)

    ours, broadcast, tick, long = METHODS
    return {
        "bytes_of_a_delta": rounds[0][ours].bytes_each,
        "deltas_per_s": {name: round(median(answers[name].per_s for answers in rounds)) for name in METHODS},
        "cpu_us_of_a_delta": {name: round(median(a[name].cpu_us for a in rounds), 2) for name in METHODS},
        "ratio_at_equal_batching": ratio(ours, broadcast),
        "ratio_at_equal_batching_by_cpu": ratio(ours, broadcast, by_cpu=True),
        "ratio_of_a_tick_in_one": ratio(tick, long),
        "ratio_of_a_tick_in_one_by_cpu": ratio(tick, long, by_cpu=True),
        "ratio_with_the_tick": ratio(tick, broadcast),
        "ratio_with_the_tick_by_cpu": ratio(tick, broadcast, by_cpu=True),
    }


def _told(runs: list[tuple[Answer, Seen]]) -> dict[str, object]:
    """Medians of times and frames; of what must not be, the sum."""
    answers, seen = [answer for answer, _ in runs], [told for _, told in runs]
    return {
        "changes_per_s": round(median(answer.per_s / max(1, answer.clients) for answer in answers), 1),
        "alert_p50_ms": median(told.p50_ms for told in seen),
        "alert_p99_ms": median(told.p99_ms for told in seen),
        "alerts": sum(answer.alerts[1] - answer.alerts[0] + 1 for answer in answers),
        "clients_with_an_alert_missing_or_twice": sum(told.fast_holes + told.slow_holes for told in seen),
        "server_share_of_a_core": round(median(answer.busy for answer in answers), 2),
        "links_frames_of_a_client": median(told.fast_frames for told in seen),
        "slow_clients": max(told.slow for told in seen),
        "slow_links_frames": median(told.slow_frames for told in seen),
        "slow_without_the_newest_state": sum(told.slow_behind for told in seen),
        "closed": max(told.closed for told in seen),
    }


BENCH = Measurement(describe="deltas/s to thousands of sockets", options=Options, measure=measure)
