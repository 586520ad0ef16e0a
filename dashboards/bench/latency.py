"""From POST at the door to the frame at a screen: alerts and flow, at a tenth and at half of the sustained rate."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import psycopg

from dashboards.bench import ingest
from dashboards.bench.furnish import furnish
from dashboards.bench.load import Wanted, client, prepare, running, used_checkpoints
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import DEVICE_KEY, Scratch, scratch
from dashboards.bench.screen import Screen, add_person, api_is_ready, screen
from dashboards.bench.sender import read_answer
from dashboards.bench.stream_of_passages import rfc3339, watched_plates
from traffic.clock import monotonic_s
from traffic.errors import ServiceError
from traffic.province_tables import model_province

SHARES = (0.1, 0.5)  # of the sustained rate
RECORDS = 200  # of a request of the load
BEFORE_S = 2.0
SPARED = 40  # checkpoints at which only probes pass: the first at each shows when flow reaches the screen
WARM_S = 5.0
ARRIVE_S_MAX = 30.0
FLOOR_EVERY_S = 0.1


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`sustained_per_s` 0: measured first, shortly. Probes are single watched vehicles among the load."""

    sustained_per_s: int = 0
    seconds: float = 20.0  # of each share
    probes_per_s: float = 20.0
    workers: int = 2
    seed: int = 1


@dataclass(slots=True, kw_only=True)
class Times:
    """Seconds of each probe; and of the steps that none can do without, taken at the same time."""

    alert: list[float] = field(default_factory=list)
    flow: list[float] = field(default_factory=list)
    ack: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)

    @property
    def floor_ms(self) -> float:
        """p99 of acknowledgement, one synchronous commit and one echo of the socket, added."""
        return round(sum(percentile_ms(part, 99) for part in (self.ack, self.commit, self.echo)), 1)


def measure(options: Options, progress: Progress) -> Measured:
    """One instance; for each share a fresh database, the load at its pace, and probes among it."""
    with scratch() as instance:
        furnish(instance, progress)
        sustained = options.sustained_per_s or round(ingest.sustained(instance, options.workers, progress))
        taken: dict[float, Times] = {}
        for share in SHARES:
            taken[share] = _at_pace(instance, options, share * sustained)
            progress(f"{share:.0%} of {sustained:,}/s: alert p99 {percentile_ms(taken[share].alert, 99):,.0f} ms")
    return _result(options, sustained, taken)


def _result(options: Options, sustained: int, taken: dict[float, Times]) -> Measured:
    half = taken[0.5]
    return Measured(
        name="latency",
        value=percentile_ms(half.alert, 99),
        unit="ms",
        reference=Reference(name="p99 of acknowledgement + one commit + one echo, same load", value=half.floor_ms),
        details={
            "sustained_per_s": sustained,
            **{f"at_{share:.0%}": _summary(times) for share, times in taken.items()},
            "options": msgspec.to_builtins(options),
        },
    )


def _summary(times: Times) -> dict[str, object]:
    parts = {"alert": times.alert, "flow": times.flow, "ack": times.ack, "commit": times.commit, "echo": times.echo}
    return {
        "probes": len(times.alert),
        "flow_probes": len(times.flow),
        **{f"{name}_ms": {"p50": percentile_ms(s, 50), "p99": percentile_ms(s, 99)} for name, s in parts.items()},
    }


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """A percentile of times in milliseconds; 0 where there are none."""
    return round(float(np.percentile(seconds, percent)) * 1e3, 1) if seconds else 0.0


def _at_pace(instance: Scratch, options: Options, per_s: float) -> Times:
    span_s = options.seconds + 2 * WARM_S
    wanted = Wanted(
        passages=max(RECORDS, int(span_s * per_s)), records=RECORDS, span_s=span_s, before_s=BEFORE_S,
        seed=options.seed, spared=SPARED,
    )  # fmt: skip
    load = prepare(instance, wanted)
    probes = [f"吉K{number:05d}" for number in range(int(options.seconds * options.probes_per_s))]
    with (
        running(
            instance, begins_us=load.begins_us, workers=options.workers, more=("api",),
            watched=watched_plates() + probes,
        ),
        client(instance, load, connections=4, per_s=per_s / RECORDS) as sender,
    ):  # fmt: skip
        add_person(instance)
        instance.wait_for(lambda: api_is_ready(instance), "the API")
        sender.go()
        return asyncio.run(_probe(instance, options, probes))


async def _probe(instance: Scratch, options: Options, plates: list[str]) -> Times:
    times = Times()
    async with screen(instance) as shown:
        await asyncio.sleep(WARM_S)
        floor = asyncio.create_task(_floor(instance, shown, times))
        sent = await _send(instance, options, plates, times)
        await _all_arrived(instance, shown, sent)
        floor.cancel()
        await asyncio.gather(floor, return_exceptions=True)
        times.alert = [shown.alerts[probe.plate] - probe.sent_s for probe in sent]
        first = {probe.checkpoint: probe.sent_s for probe in reversed(sent)}
        times.flow = [
            shown.flow[checkpoint] - sent_s for checkpoint, sent_s in first.items() if checkpoint in shown.flow
        ]
    return times


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A watched vehicle at a spared checkpoint, and when it was sent."""

    plate: str
    checkpoint: int
    sent_s: float


async def _send(instance: Scratch, options: Options, plates: list[str], times: Times) -> list[Probe]:
    """Send each probe at its time over one connection; takes the times of the acknowledgements."""
    settings = instance.settings
    spared = model_province().checkpoints[len(used_checkpoints(SPARED)) :]
    reader, writer = await asyncio.open_connection(settings.host, settings.door_port)
    head = (
        f"POST /api/passages HTTP/1.1\r\nHost: {settings.host}:{settings.door_port}\r\n"
        f"Authorization: Bearer {DEVICE_KEY}\r\nContent-Type: application/json\r\nContent-Length: "
    )
    began_s, sent = monotonic_s(), []
    for number, plate in enumerate(plates):
        await asyncio.sleep(began_s + number / options.probes_per_s - monotonic_s())
        checkpoint, at_us = spared[number * SPARED // len(plates)], settings.clock.now_us()
        record = {"id": f"probe {number}", "checkpoint": checkpoint.code, "observed_at": rfc3339(at_us), "plate": plate}
        body = json.dumps([record], ensure_ascii=False).encode()
        probe = Probe(plate=plate, checkpoint=checkpoint.id, sent_s=monotonic_s())
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        status, _ = await read_answer(reader)
        if status != 200:
            raise ServiceError(f"the door answered {status} to a probe")
        times.ack.append(monotonic_s() - probe.sent_s)
        sent.append(probe)
    writer.close()
    return sent


async def _all_arrived(instance: Scratch, shown: Screen, sent: list[Probe]) -> None:
    until = monotonic_s() + ARRIVE_S_MAX
    while missing := [probe.plate for probe in sent if probe.plate not in shown.alerts]:
        instance.require_alive()
        if monotonic_s() > until:
            raise ServiceError(f"{len(missing)} of {len(sent)} alerts did not come within {ARRIVE_S_MAX:.0f} s")
        await asyncio.sleep(0.1)


async def _floor(instance: Scratch, shown: Screen, times: Times) -> None:
    """Take the times of a commit and of an echo, again and again, until cancelled."""
    url = str(instance.settings.database_url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE bench_commit (at timestamptz)")
        while True:
            began_s = monotonic_s()
            await connection.execute("INSERT INTO bench_commit VALUES (clock_timestamp())")
            times.commit.append(monotonic_s() - began_s)
            times.echo.append(await shown.echo_s())
            await asyncio.sleep(FLOOR_EVERY_S)


BENCH = Measurement(describe="ms from the door to the screen", options=Options, measure=measure)
