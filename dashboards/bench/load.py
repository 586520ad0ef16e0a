"""What a bench puts on the instance: prepared bodies, the processes that take them, and the client that sends them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from dashboards.bench import sender as sender_module
from dashboards.bench import stream_of_passages
from dashboards.bench.furnish import morning_us
from dashboards.bench.scratch import DEVICE_CODE, DEVICE_KEY, Process, Scratch
from dashboards.bench.sender import Report, Spec
from dashboards.bench.stream_of_passages import Mix
from traffic.network import Checkpoint
from traffic.province_tables import model_province


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much, in requests of `records`, over `span_s` of event time; the run begins `before_s` after its first."""

    passages: int
    records: int
    span_s: float
    before_s: float
    seed: int = 1
    spared: int = 0  # checkpoints, the last of the province, at which nothing passes
    plates: int = stream_of_passages.PLATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent (`sizes`: length of each body in the file), the same as rows, and the clock at its beginning."""

    file: Path
    sizes: list[int]
    rows: np.ndarray
    begins_us: int


def prepare(instance: Scratch, wanted: Wanted) -> Load:
    """Encode the bodies to a file, and make the rows."""
    province = model_province()
    starts_us = morning_us(instance)
    stream = stream_of_passages.make(
        Mix(
            checkpoints=used_checkpoints(wanted.spared),
            sections=province.sections,
            passages=wanted.passages,
            start_us=starts_us - int(wanted.before_s * 1e6),
            span_s=wanted.span_s,
            seed=wanted.seed,
            plates=wanted.plates,
        )
    )
    file = instance.folder / f"bodies-{wanted.passages}-{wanted.records}-{wanted.plates}"
    sizes = []
    with file.open("wb") as out:
        for body in stream_of_passages.bodies(stream, wanted.records):
            sizes.append(len(body))
            out.write(body)
    rows = stream_of_passages.rows(stream, device=instance.device, device_code=DEVICE_CODE, received_us=starts_us)
    return Load(file=file, sizes=sizes, rows=rows, begins_us=starts_us)


def used_checkpoints(spared: int) -> tuple[Checkpoint, ...]:
    """The province's checkpoints without the last `spared`."""
    checkpoints = model_province().checkpoints
    return checkpoints[: len(checkpoints) - spared]


@contextmanager
def running(
    instance: Scratch,
    *,
    begins_us: int,
    workers: int,
    programs: Mapping[str, tuple[str, ...]] | None = None,
    more: tuple[str, ...] = (),
    watched: Sequence[str] | None = None,
) -> Iterator[list[Process]]:
    """Doors and workers (and `more` parts) on a fresh database, at a clock that shows `begins_us` now.

    `programs`: what runs in the place of a command (see Scratch.start).
    """
    instance.renew()
    instance.set_clock(begins_us)
    instance.watch(stream_of_passages.watched_plates() if watched is None else watched)
    instead = programs or {}
    try:
        started = [instance.start("doors", program=instead.get("doors", ()))]
        for number in range(workers):
            started.append(instance.start("worker", f"worker {number + 1}", program=instead.get("worker", ())))
        started += [instance.start(command) for command in more]
        instance.wait_open()
        yield started
    finally:
        instance.stop_processes()


class Client:
    """The sender's process, loaded and waiting for `go`."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stdin and popen.stdout
        self._popen = popen
        self._in, self._out = popen.stdin, popen.stdout

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._popen.pid

    def go(self) -> None:
        """Let it begin."""
        self._say("go")

    def allow(self, upto: int) -> None:
        """Let it go on to this body."""
        self._say(f"upto {upto}")

    def report(self) -> Report:
        """Wait until it has sent everything."""
        return msgspec.json.decode(self._out.readline(), type=Report)

    def _say(self, line: str) -> None:
        self._in.write(f"{line}\n".encode())
        self._in.flush()


@contextmanager
def client(
    instance: Scratch, load: Load, *, connections: int, path: str = "/api/passages", upto: int = 0, per_s: float = 0.0
) -> Iterator[Client]:
    """Start the sender; it ends with the block. `path`, `upto`, `per_s`: see sender.Spec (in bodies)."""
    settings = instance.settings
    spec = Spec(
        file=str(load.file), sizes=load.sizes, host=settings.host, port=settings.door_port, key=DEVICE_KEY,
        connections=connections, path=path, upto=upto, per_s=per_s,
    )  # fmt: skip
    order = instance.folder / "spec.json"
    order.write_bytes(msgspec.json.encode(spec))
    # By its file: the process then loads nothing of the other benches.
    command = [sys.executable, "-P", str(sender_module.__file__), str(order)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        try:
            assert popen.stdout
            popen.stdout.readline()
            yield Client(popen)
        finally:
            popen.kill()
