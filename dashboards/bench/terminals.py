"""Ten thousand idle terminals on one doors process, and positions of others beside them; beside a bare echo server."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import redis

from dashboards.bench import terminal_echo, terminal_load
from dashboards.bench.doors import door_answers, open_bus
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import Process, Scratch, cpu_s, free_port, scratch
from dashboards.bench.terminal_load import Order, Spec, Told
from traffic.clock import monotonic_s
from traffic.errors import ServiceError
from traffic.ingest.terminal_connection import hash_of
from traffic.plates import plate_key
from traffic.readings import EntryKind, decode_entry
from traffic.stream import stream_key

CODE = "0123456789abcdef"
FIRST_PHONE = 13_900_000_000
CORPS = 1
IDLE_LOOK_S = 10.0


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`idle` terminals, `talkers` beside them; `per_s` positions for `seconds`, then each talker with `window` open."""

    idle: int = 10_000
    talkers: int = 1_000
    per_s: float = 5_000.0
    seconds: float = 20.0
    window: int = 4
    repeats: int = 3


def measure(options: Options, progress: Progress) -> Measured:
    """One door, one crowd; the echo server has the same crowd afterwards."""
    with scratch() as instance:
        ours = _of_the_door(instance, options, progress)
        bare_s = _of_the_echo(instance, options, progress)
    per_message_s = median(ours["cpu_s"]) / median(ours["answered"])
    sustained = median(ours["sustained_per_s"])
    return Measured(
        name="terminals",
        value=round(sustained),
        unit="positions/s acknowledged",
        reference=Reference(
            name="messages/s of a bare echo server on the CPU that the door spends",
            value=round(sustained * per_message_s / bare_s),
        ),
        details={
            "idle_terminals": options.idle,
            "cpu_us_per_position": round(per_message_s * 1e6, 1),
            "echo_cpu_us_per_message": round(bare_s * 1e6, 1),
            **ours["details"],
        },
    )


def _of_the_door(instance: Scratch, options: Options, progress: Progress) -> dict[str, Any]:
    instance.renew()
    _enter(instance, options.idle + options.talkers)
    door = instance.start("doors")
    try:
        open_bus(instance)
        instance.wait_for(lambda: door_answers(instance) and _terminals_known(instance), "the door")
        return _crowded(instance, options, door, progress)
    finally:
        instance.stop_processes()


def _crowded(instance: Scratch, options: Options, door: Process, progress: Progress) -> dict[str, Any]:
    before_kb = _resident_kb(door.pid)
    with _crowd(instance, options, port=instance.settings.terminal_port, login_frames=2) as ask:
        connected = ask(Order(do="connect"))
        held_kb = (_resident_kb(door.pid) - before_kb) / (options.idle + options.talkers)
        progress(f"{connected.answered} terminals logged in within {connected.elapsed_s:.0f} s")
        idle_share = _idle_share(door, IDLE_LOOK_S)
        spent_s = instance.spent_s()
        paced = ask(Order(do="paced", per_s=options.per_s, seconds=options.seconds))
        shares = {name: (at_s - spent_s[name]) / paced.elapsed_s for name, at_s in instance.spent_s().items()}
        progress(f"{paced.answered / paced.elapsed_s:,.0f} positions/s, p99 {paced.p99_ms:.0f} ms")
        found: dict[str, Any] = {"cpu_s": [], "answered": [], "sustained_per_s": []}
        for number in range(options.repeats):
            begin_s = cpu_s(door.pid)
            full = ask(Order(do="window", window=options.window, seconds=options.seconds / 2))
            found["cpu_s"].append(cpu_s(door.pid) - begin_s)
            found["answered"].append(full.answered)
            found["sustained_per_s"].append(full.answered / full.elapsed_s)
            progress(f"repeat {number + 1}: {found['sustained_per_s'][-1]:,.0f} positions/s at most")
    acknowledged = paced.answered + sum(found["answered"])
    _require_kept(instance, acknowledged)
    found["details"] = {
        "log_ins_per_s": round(connected.answered / connected.elapsed_s),
        "kb_per_terminal": round(held_kb, 2),
        "idle_cpu_share": round(idle_share, 3),
        "paced": {
            "wanted_per_s": options.per_s,
            "per_s": round(paced.answered / paced.elapsed_s),
            "p50_ms": round(paced.p50_ms, 1),
            "p99_ms": round(paced.p99_ms, 1),
            "unanswered": paced.sent - paced.answered,
            "cpu_share": {name: round(share, 2) for name, share in shares.items()},
        },
        "connections_lost": full.lost,
        "acknowledged": acknowledged,
    }
    return found


def _of_the_echo(instance: Scratch, options: Options, progress: Progress) -> float:
    """CPU seconds of one message."""
    port = free_port()
    command = (sys.executable, "-P", str(terminal_echo.__file__), str(port))
    with subprocess.Popen(command) as popen:
        try:
            instance.wait_for(lambda: _listens(port), "the echo server")
            with _crowd(instance, options, port=port, login_frames=1) as ask:
                ask(Order(do="connect"))
                spent = []
                for _ in range(options.repeats):
                    begin_s = cpu_s(popen.pid)
                    told = ask(Order(do="window", window=options.window, seconds=options.seconds / 4))
                    spent.append((cpu_s(popen.pid) - begin_s) / told.answered)
                progress(f"echo: {median(spent) * 1e6:.1f} us of CPU a message")
                return median(spent)
        finally:
            popen.kill()


@contextmanager
def _crowd(instance: Scratch, options: Options, *, port: int, login_frames: int) -> Iterator[Callable[[Order], Told]]:
    """The terminals' process, which does what it is asked."""
    spec = Spec(
        host=instance.settings.host, port=port, code=CODE, first_phone=FIRST_PHONE,
        terminals=options.idle + options.talkers, talkers=options.talkers, login_frames=login_frames,
    )  # fmt: skip
    command = (sys.executable, "-P", str(terminal_load.__file__), json.dumps(msgspec.to_builtins(spec)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        assert popen.stdin and popen.stdout
        to, back = popen.stdin, popen.stdout

        def ask(order: Order) -> Told:
            to.write(msgspec.json.encode(order) + b"\n")
            to.flush()
            line = back.readline()
            if not line:
                raise ServiceError("the terminals of the bench gave up")
            return msgspec.json.decode(line, type=Told)

        try:
            yield ask
        finally:
            popen.kill()


def _enter(instance: Scratch, count: int) -> None:
    with instance.connect() as connection, connection.cursor() as cursor:
        plates = [f"吉B{number:05d}" for number in range(count)]
        with cursor.copy("COPY terminal (phone, plate_key, class_group, plate, unit_id, code_hash) FROM STDIN") as copy:
            for number, plate in enumerate(plates):
                copy.write_row((str(FIRST_PHONE + number), plate_key(plate), 1, plate, CORPS, hash_of(CODE)))


def _terminals_known(instance: Scratch) -> bool:
    """The door has read the terminals when their sender exists; it takes them over in the same moment."""
    with instance.connect() as connection:
        return connection.execute("SELECT FROM device WHERE kind = 'jt808'").fetchone() is not None


def _require_kept(instance: Scratch, acknowledged: int) -> None:
    """Raises ServiceError unless all that was acknowledged is on the bus."""
    kept = 0
    with redis.Redis.from_url(str(instance.settings.redis_url)) as bus:
        for partition in range(instance.settings.partitions):
            entries: Any = bus.xrange(stream_key(partition))
            for _, fields in entries:
                kind, rows = decode_entry(fields[b"e"])
                kept += len(rows) if kind is EntryKind.POSITIONS else 0  # type: ignore[arg-type]
    if kept < acknowledged:
        raise ServiceError(f"{acknowledged} positions were acknowledged, the bus holds {kept}")


def _idle_share(door: Process, seconds: float) -> float:
    """Share of a core that the door needs while its terminals only beat."""
    begin_s, spent_s = monotonic_s(), cpu_s(door.pid)
    time.sleep(seconds)
    return (cpu_s(door.pid) - spent_s) / (monotonic_s() - begin_s)


def _resident_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


BENCH = Measurement(
    describe="positions/s of terminals at a door with 10,000 idle ones", options=Options, measure=measure
)
