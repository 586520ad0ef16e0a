"""How many vehicles the twin moves at real time on one core, against a door that takes everything and does nothing."""

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.twin_drive import Driven, Wanted
from sim import demand
from traffic.clock import Clock
from traffic.errors import ServiceError

RUN_S_MAX = 900.0
STREAMS = 5_000  # vehicles of the streams in the busiest hour, whatever the others are
BUSY_HOUR = 8
VARIANTS: dict[str, tuple[tuple[str, ...], float]] = {  # SUMO alone with other options, and seconds of a step
    "steps of 2 s": ((), 2.0),
    "ballistic": (("--step-method.ballistic", "true"), 1.0),
    "mesoscopic": (("--mesosim", "true", "--meso-junction-control", "true"), 1.0),
}


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`vehicles`: the counts that are tried, by comma; `seconds` of the world for each."""

    vehicles: str = "10000,20000,40000"
    seconds: int = 60
    variants: bool = True


class _NullDoor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Everything is taken."""
        length = int(self.headers.get("Content-Length", 0))
        while length > 0:
            length -= len(self.rfile.read(min(length, 1 << 16))) or length
        self._ok(b'{"accepted":0,"rejected":[]}')

    def do_GET(self) -> None:
        """No time is told."""
        self._ok(b"{}")

    def _ok(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@contextmanager
def _null_door() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _NullDoor)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def measure(options: Options, progress: Progress) -> Measured:
    """Each count with the whole twin and with SUMO alone, one after the other on the same core."""
    counts = sorted(int(text) for text in options.vehicles.split(","))
    folder = Path(tempfile.mkdtemp(prefix="traffic-bench-"))
    offset_s = _until_busy_s(Clock())
    ours: list[Driven] = []
    alone: list[Driven] = []
    variants: dict[str, Driven] = {}
    try:
        with _null_door() as door:
            for count in counts:
                wanted = Wanted(
                    folder=str(folder),
                    vehicles=max(100, count - STREAMS),
                    seconds=options.seconds,
                    clock_offset_s=offset_s,
                )
                ours.append(_run(msgspec.structs.replace(wanted, door=door)))
                alone.append(_run(wanted))
                progress(f"{ours[-1].vehicles:,}: {ours[-1].cpu_share:.3f} of a core, alone {alone[-1].cpu_share:.3f}")
            for name, (extra, step_s) in VARIANTS.items() if options.variants else ():
                variants[name] = _run(
                    msgspec.structs.replace(
                        wanted, vehicles=max(100, counts[0] - STREAMS), options=extra, step_s=step_s
                    )
                )
                progress(f"{name}: {variants[name].cpu_share:.3f} of a core")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result(options, ours, alone, variants)


def result(options: Options, ours: list[Driven], alone: list[Driven], variants: dict[str, Driven]) -> Measured:
    """By the largest count that was tried: so many vehicles would fill the core, if each cost what one did then."""
    return Measured(
        name="twin",
        value=sustained(ours[-1]),
        unit="vehicles at real time on one core",
        reference=Reference(name="SUMO alone with the same vehicles", value=sustained(alone[-1])),
        details={
            "tried": [_row(run) for run in ours],
            "alone": [_row(run) for run in alone],
            "variants_alone": {name: _row(run) for name, run in variants.items()},
            "largest_tried_at_real_time": max((run.vehicles for run in ours if run.cpu_share <= 1.0), default=0),
            "options": msgspec.to_builtins(options),
        },
    )


def sustained(run: Driven) -> int:
    """Vehicle-seconds of the world in a CPU second."""
    return round(run.vehicles / run.cpu_share)


def _row(run: Driven) -> dict[str, float]:
    return {
        "vehicles": run.vehicles,
        "core_share": round(run.cpu_share, 3),
        "engine_share": round(run.engine_cpu_s / run.world_s, 3),
        "times_real": round(run.world_s / run.real_s, 1),
        "passages_s": round(run.passages / run.world_s, 1),
        "native_records_s": round(run.records / run.world_s, 1),
    }


def _until_busy_s(clock: Clock) -> float:
    """From now to the busiest hour of the next working day."""
    now_us = clock.now_us()
    day = demand.local_day(now_us) + timedelta(days=1)
    while demand.kind_of(day) != demand.WEEKDAY:
        day += timedelta(days=1)
    return (demand.day_begin_us(day) + BUSY_HOUR * demand.HOUR_US - now_us) / 1e6


def _run(wanted: Wanted) -> Driven:
    command = [sys.executable, "-m", "dashboards.bench.twin_drive", msgspec.json.encode(wanted).decode()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=RUN_S_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{wanted.vehicles} vehicles were not driven within {RUN_S_MAX:.0f} s") from error
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ServiceError(f"a run of the twin failed: {complaint[-1]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Driven)


BENCH = Measurement(describe="vehicles that the twin moves at real time on one core", options=Options, measure=measure)
