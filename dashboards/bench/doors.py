"""Detector reports (and positions, passages) per second of one door's core, beside decoding the same JSON alone."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import httpx
import msgspec
import numpy as np
import redis

from dashboards.bench.load import Load, client
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import Process, Scratch, cpu_s, scratch
from traffic.ingest.subjects import SUBJECTS
from traffic.limits import ROADS_PARTITION
from traffic.province_tables import model_province
from traffic.readings import PASSAGE
from traffic.stream import BusReader

KINDS = ("detector-reports", "positions", "passages")
NO_ROWS = np.empty(0, PASSAGE)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`requests` of `records` each, over `connections`; the median of `repeats` counts."""

    requests: int = 100
    records: int = 10_000
    connections: int = 4
    repeats: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repeat with one kind of record: a second of the door's CPU, and of the clock."""

    per_cpu_s: float
    per_s: float


def measure(options: Options, progress: Progress) -> Measured:
    """Send the same bodies in turn; nobody reads the bus, which is emptied between repeats."""
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    alone: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with scratch() as instance:
        loads = {kind: _prepare(instance, kind, options) for kind in KINDS}
        for number in range(options.repeats):
            for kind in KINDS:
                alone[kind].append(_decode(kind, loads[kind], options))
                runs[kind].append(_run_once(instance, kind, loads[kind], options))
                progress(f"repeat {number + 1}: {kind} {runs[kind][-1].per_cpu_s:,.0f} a second of the door's CPU")
    return Measured(
        name="doors",
        value=median(run.per_cpu_s for run in runs[KINDS[0]]),
        unit="detector reports/s of one core",
        reference=Reference(name="decoding the same JSON alone", value=median(alone[KINDS[0]])),
        details={
            kind: {
                "per_cpu_s": round(median(run.per_cpu_s for run in runs[kind])),
                "per_s": round(median(run.per_s for run in runs[kind])),
                "decoding_per_s": round(median(alone[kind])),
            }
            for kind in KINDS
        },
    )


def _prepare(instance: Scratch, kind: str, options: Options) -> Load:
    begins_us = instance.settings.clock.now_us()
    encoder = msgspec.json.Encoder()
    sizes = []
    file = instance.folder / kind
    with file.open("wb") as out:
        for request in range(options.requests):
            body = encoder.encode(list(_records(kind, request, options.records, begins_us)))
            sizes.append(len(body))
            out.write(body)
    return Load(file=file, sizes=sizes, rows=NO_ROWS, begins_us=begins_us)


def _records(kind: str, request: int, count: int, now_us: int) -> Iterator[dict[str, object]]:
    province = model_province()
    for row in range(count):
        number = request * count + row
        at = datetime.fromtimestamp(now_us // 1_000_000 - number % 86_400, UTC).isoformat()
        if kind == "detector-reports":
            detector = province.detectors[number % len(province.detectors)]
            yield {
                "detector": detector.code, "observed_at": at, "lane": number % (detector.lanes + 1), "period_s": 30,
                "vehicles": number % 30, "heavy": 0, "occupancy": 8.25, "speed_kmh": 60 + number % 50,
            }  # fmt: skip
        elif kind == "positions":
            yield {
                "plate": f"吉A{number % 100_000:05d}", "plate_class": 1, "observed_at": at, "lon": 125.3, "lat": 43.9,
                "speed_kmh": 80.5, "bearing_deg": number % 360,
            }  # fmt: skip
        else:
            checkpoint = province.checkpoints[number % len(province.checkpoints)]
            yield {
                "id": str(number), "checkpoint": checkpoint.code, "observed_at": at,
                "plate": f"吉A{number % 100_000:05d}", "plate_class": 2, "direction": 1, "lane": 1, "speed_kmh": 96.5,
            }  # fmt: skip


def _decode(kind: str, load: Load, options: Options) -> float:
    """Records a second of one core that does nothing but decode the bodies into their typed records."""
    decoder = msgspec.json.Decoder(list[SUBJECTS[kind].record])  # type: ignore[misc]
    whole = memoryview(load.file.read_bytes())
    begin_s, end = time.process_time(), 0
    for size in load.sizes:
        decoder.decode(whole[end : end + size])
        end += size
    return options.requests * options.records / (time.process_time() - begin_s)


def _run_once(instance: Scratch, kind: str, load: Load, options: Options) -> Run:
    instance.renew()
    instance.set_clock(load.begins_us)
    door = instance.start("doors")
    try:
        open_bus(instance)
        instance.wait_for(lambda: door_answers(instance), "the door")
        return _sent(instance, kind, load, options, door)
    finally:
        instance.stop_processes()


def _sent(instance: Scratch, kind: str, load: Load, options: Options, door: Process) -> Run:
    with client(instance, load, connections=options.connections, path=f"/api/{kind}") as sender:
        begin_s = cpu_s(door.pid)
        sender.go()
        report = sender.report()
        spent_s = cpu_s(door.pid) - begin_s
    count = options.requests * options.records
    elapsed_s = report.last_ack_s - min(sent for sent, _ in report.acks)
    return Run(per_cpu_s=count / spent_s, per_s=count / elapsed_s)


def open_bus(instance: Scratch) -> None:
    """Let the doors append, though no worker is there."""
    settings = instance.settings
    with redis.Redis.from_url(str(settings.redis_url)) as bus:
        reader = BusReader(bus, bytes_max=settings.bus_bytes_max)
        for partition in (*range(settings.partitions), ROADS_PARTITION):
            reader.open(partition, 1)


def door_answers(instance: Scratch) -> bool:
    """Whether the door is ready."""
    url = f"http://{instance.settings.host}:{instance.settings.door_port}/readyz"
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


BENCH = Measurement(describe="detector reports/s of one door's core", options=Options, measure=measure)
