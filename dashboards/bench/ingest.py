"""Sustained passages/s from the door to the commit, with all rules on, beside bare COPY of the same rows."""

import pstats
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import msgspec
import psycopg

from dashboards.bench import bare_copy
from dashboards.bench.bare_copy import Bare
from dashboards.bench.furnish import furnish
from dashboards.bench.load import Client, Load, Wanted, client, prepare, running
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import Scratch, cpu_s, scratch
from dashboards.bench.sender import Report
from traffic.clock import monotonic_s
from traffic.errors import ServiceError

POLL_S = 0.1
COMMIT_S_MAX = 600.0
BEFORE_S = 720.0  # the stream begins so long before the run and ends before it: nothing is late, nothing ahead
SPAN_S = 600.0
SHORT_PASSAGES = 500_000
STEADY = (0.1, 0.9)  # of all passages: between them the rate is taken


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`passages` of a repeat go in requests of `records`; `lead` is how many may be acknowledged but not stored.

    The passages are of `plates` vehicles; `stored` passages of them lie in the table before.
    """

    passages: int = 1_500_000
    records: int = 1_000
    repeats: int = 3
    workers: int = 2
    plates: int = 100_000
    stored: int = 0
    connections: int = 16
    chunks: int = 6  # that the event time passes through, where nothing is stored before
    lead: int = 200_000
    seed: int = 1
    profile: bool = False  # two more repeats that show where the time goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repeat. `overall_per_s` counts from the first acknowledgement to the last commit."""

    per_s: float
    overall_per_s: float
    transactions: int
    cpu_s: dict[str, float]  # between the first acknowledgement and the last commit
    elapsed_s: float
    lag_max: int  # acknowledged but not stored
    refused: int
    findings: dict[str, int]  # active at the end, by kind


def measure(options: Options, progress: Progress) -> Measured:
    """Repeat ours and the two references in turn, each on a fresh database; medians count."""
    with scratch(chunk_s=None if options.stored else SPAN_S / options.chunks) as instance:
        furnish(instance, progress, stored=options.stored, plates=options.plates)
        progress(f"encoding {options.passages:,} passages")
        load = loaded(instance, options)
        runs: list[Run] = []
        bare: dict[int, list[Bare]] = {1: [], 2: []}
        batches: list[bytes] = []
        for number in range(options.repeats):
            runs.append(run_once(instance, options, load))
            progress(f"repeat {number + 1}: {runs[-1].per_s:,.0f}/s")
            batches = batches or bare_copy.packed(load.rows, round(len(load.rows) / runs[0].transactions))
            for connections, taken in bare.items():
                taken.append(bare_copy.measure(instance, batches, connections))
                progress(f"bare COPY over {connections}: {options.passages / taken[-1].elapsed_s:,.0f}/s")
        profiles = _profiled(instance, options, load, progress) if options.profile else {}
    return _result(options, runs, bare, len(load.rows) // len(batches), profiles)


def _result(
    options: Options, runs: list[Run], bare: dict[int, list[Bare]], batch_rows: int, profiles: dict
) -> Measured:
    rates = {connections: [options.passages / one.elapsed_s for one in taken] for connections, taken in bare.items()}
    best = max(rates, key=lambda connections: median(rates[connections]))
    return Measured(
        name="ingest",
        value=round(median(run.per_s for run in runs)),
        unit="passages/s",
        reference=Reference(name=f"bare COPY over {best} connection(s)", value=round(median(rates[best]))),
        details={
            "repeats": [round(run.per_s) for run in runs],
            "overall": [round(run.overall_per_s) for run in runs],
            **{f"bare_copy_{connections}": [round(rate) for rate in taken] for connections, taken in rates.items()},
            "rows_per_transaction": batch_rows,
            "lag_max_passages": max(run.lag_max for run in runs),
            "refused_requests": sum(run.refused for run in runs),
            "findings": runs[-1].findings,
            "cpu_us_per_passage": per_passage([run.cpu_s for run in runs], options.passages),
            "bare_copy_cpu_us_per_passage": round(mean(one.cpu_s for one in bare[best]) * 1e6 / options.passages, 2),
            "cores_used": round(mean(sum(run.cpu_s.values()) / run.elapsed_s for run in runs), 2),
            "options": msgspec.to_builtins(options),
            **profiles,
        },
    )


def per_passage(spent: list[dict[str, float]], passages: int) -> dict[str, float]:
    """CPU us of one passage, by kind of process."""
    names = sorted({name for one in spent for name in one})
    return {name: round(mean(one.get(name, 0.0) for one in spent) * 1e6 / passages, 2) for name in names}


def sustained(instance: Scratch, workers: int, progress: Progress) -> float:
    """The rate as one short repeat shows it."""
    options = Options(passages=SHORT_PASSAGES, workers=workers)
    run = run_once(instance, options, loaded(instance, options))
    progress(f"sustained: {run.per_s:,.0f}/s")
    return run.per_s


def loaded(instance: Scratch, options: Options) -> Load:
    """The bodies that a run sends."""
    wanted = Wanted(
        passages=options.passages, records=options.records, span_s=SPAN_S, before_s=BEFORE_S, seed=options.seed,
        plates=options.plates,
    )  # fmt: skip
    return prepare(instance, wanted)


def run_once(
    instance: Scratch, options: Options, load: Load, *, programs: Mapping[str, tuple[str, ...]] | None = None
) -> Run:
    """One repeat on a fresh database with fresh processes."""
    upto = max(1, options.lead // options.records)
    with (
        running(instance, begins_us=load.begins_us, workers=options.workers, programs=programs),
        client(instance, load, connections=options.connections, upto=upto) as sender,
        instance.connect() as connection,
    ):
        return _watch(instance, options, sender, connection, len(load.rows))


def _watch(instance: Scratch, options: Options, sender: Client, connection: psycopg.Connection, total: int) -> Run:
    """Start the sender, see the passages come into the table, and let the sender go on as they do."""
    before, stored, seen = instance.spent_s(), 0, []
    sender.go()
    until = monotonic_s() + COMMIT_S_MAX
    while stored < total:
        if monotonic_s() > until:
            raise ServiceError(f"{total - stored} passages were not stored within {COMMIT_S_MAX:.0f} s")
        sender.allow((stored + options.lead) // options.records)
        time.sleep(POLL_S)
        stored = _stored(connection)
        seen.append((monotonic_s(), stored))
        instance.require_alive()
    after = instance.spent_s()
    sent_cpu_s = cpu_s(sender.pid)
    report = sender.report()
    figures = _worker_figures(instance, connection, total)
    return Run(
        per_s=_steady(seen, total),
        overall_per_s=total / (seen[-1][0] - report.first_ack_s),
        transactions=int(figures["batches"]),
        cpu_s={name: after[name] - before.get(name, 0.0) for name in after} | {"sender": sent_cpu_s},
        elapsed_s=seen[-1][0] - report.first_ack_s,
        lag_max=_lag_max(report, options.records, seen),
        refused=report.refused,
        findings=_findings(connection),
    )


def _lag_max(report: Report, records: int, seen: list[tuple[float, int]]) -> int:
    """The most passages that were acknowledged and not yet stored, at the moments of looking."""
    answered = sorted(answered for _, answered in report.acks)
    return max(bisect_right(answered, at) * records - stored for at, stored in seen)


def _stored(connection: psycopg.Connection) -> int:
    """Passages committed, from the roll-up of the same transactions (counting the passages would disturb the run)."""
    row = connection.execute("SELECT coalesce(sum(passages), 0) FROM checkpoint_minute").fetchone()
    return int(row[0]) if row else 0


def _findings(connection: psycopg.Connection) -> dict[str, int]:
    active = "SELECT kind, count(*) FROM finding WHERE state = 'active' GROUP BY kind"
    return dict(connection.execute(active).fetchall())


def _steady(seen: list[tuple[float, int]], total: int) -> float:
    """Passages/s between the two shares of all that STEADY names."""
    within = [(at, count) for at, count in seen if STEADY[0] * total <= count <= STEADY[1] * total]
    if len(within) < 2 or within[-1][1] == within[0][1]:
        return seen[-1][1] / max(POLL_S, seen[-1][0] - seen[0][0])  # too short a run to have one
    return (within[-1][1] - within[0][1]) / (within[-1][0] - within[0][0])


def _worker_figures(instance: Scratch, connection: psycopg.Connection, total: int) -> Counter[str]:
    """The workers' own figures, added up, once their heartbeats have told of the last batch."""
    figures: Counter[str] = Counter()

    def complete() -> bool:
        figures.clear()
        for (one,) in connection.execute("SELECT figures FROM part WHERE kind = 'worker'").fetchall():
            figures.update(one)
        return figures["records"] >= total

    instance.wait_for(complete, "the workers' figures")
    return figures


def _profiled(instance: Scratch, options: Options, load: Load, progress: Progress) -> dict[str, object]:
    """Where the time goes: the stages of a worker, then functions of door and worker (slower, under the profiler)."""
    stages = instance.folder / "stages"
    stages.mkdir()
    progress("the workers' stages")
    run = run_once(instance, options, load, programs={"worker": ("-m", "dashboards.bench.stages", str(stages))})
    files = {command: instance.folder / f"{command}.profile" for command in ("doors", "worker")}
    progress("one worker, all under the profiler")
    run_once(
        instance, msgspec.structs.replace(options, workers=1), load,
        programs={
            command: ("-m", "cProfile", "-o", str(file), "-m", "dashboards.cli", command)
            for command, file in files.items()
        },
    )  # fmt: skip
    return {
        "stages": {"passages_per_s": round(run.per_s), "us_per_passage": _stages(stages, options.passages)},
        **{f"profile_{command}": _hottest(file) for command, file in files.items()},
    }


def _stages(folder: Path, passages: int) -> dict[str, dict[str, float]]:
    """Of all workers together: calls, and us of each passage, all and CPU alone."""
    total: dict[str, tuple[float, ...]] = {}
    for file in folder.iterdir():
        for name, spent in msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[float, ...]]).items():
            total[name] = tuple(map(sum, zip(spent, total.get(name, (0, 0.0, 0.0)), strict=True)))
    return {
        name: {"calls": calls, "all": round(seconds * 1e6 / passages, 2), "cpu": round(cpu_s * 1e6 / passages, 2)}
        for name, (calls, seconds, cpu_s) in sorted(total.items(), key=lambda entry: -entry[1][1])
    }


def _hottest(file: Path, lines: int = 25) -> list[str]:
    stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    whole = sum(own_s for _, _, own_s, _, _ in stats.values())
    hottest = sorted(stats.items(), key=lambda entry: -entry[1][2])[:lines]
    return [
        f"{own_s / whole:6.1%} {own_s:8.2f} s  {calls:>9} calls  {Path(name).name}:{line} {function}"
        for (name, line, function), (calls, _, own_s, _, _) in hottest
    ]


BENCH = Measurement(describe="passages/s from the door to the commit", options=Options, measure=measure)
