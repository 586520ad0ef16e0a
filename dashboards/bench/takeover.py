"""Seconds without progress of a partition after the SIGKILL of the worker that held it."""

import time
from dataclasses import dataclass
from statistics import median

import msgspec
import psycopg

from dashboards.bench.load import Wanted, client, prepare, running
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import PARTITIONS, Process, Scratch, scratch
from traffic.clock import monotonic_s
from traffic.limits import LEASE_S

RECORDS = 100  # of a request: every partition has its share in each
BEFORE_S = 5.0
POLL_S = 0.02
ROUND_S = 25.0  # what a round takes at most, for the length of the load


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`passages_per_s` flow all the time; a round kills a worker of two and waits for the other to go on."""

    rounds: int = 5
    passages_per_s: int = 2_000
    warm_s: float = 10.0  # of flow before the first round: there is a state to restore
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a partition stands."""

    owner: str
    offset: tuple[int, int]


def measure(options: Options, progress: Progress) -> Measured:
    """Kill, watch, start another, and again."""
    with scratch() as instance:
        span_s = options.warm_s + options.rounds * ROUND_S
        passages = int(span_s * options.passages_per_s)
        load = prepare(
            instance, Wanted(passages=passages, records=RECORDS, span_s=span_s, before_s=BEFORE_S, seed=options.seed)
        )
        with (
            running(instance, begins_us=load.begins_us, workers=2) as started,
            client(instance, load, connections=4, per_s=options.passages_per_s / RECORDS) as sender,
            instance.connect() as connection,
        ):
            sender.go()
            workers = started[1:]
            rounds: list[dict[int, float]] = []
            time.sleep(options.warm_s)
            for number in range(options.rounds):
                rounds.append(_one_round(instance, connection, workers))
                progress(f"round {number + 1}: {max(rounds[-1].values()):.2f} s")
    return _result(options, rounds)


def _result(options: Options, rounds: list[dict[int, float]]) -> Measured:
    longest = [max(one.values()) for one in rounds]
    every = sorted(seconds for one in rounds for seconds in one.values())
    return Measured(
        name="takeover",
        value=round(median(longest), 2),
        unit="s",
        reference=Reference(name="the lease, within which no other worker may begin", value=LEASE_S),
        details={
            "longest_of_each_round_s": [round(seconds, 2) for seconds in longest],
            "partition_s": {"min": round(every[0], 2), "median": round(median(every), 2), "max": round(every[-1], 2)},
            "partitions_of_each_round": [len(one) for one in rounds],
            "options": msgspec.to_builtins(options),
        },
    )


def _one_round(instance: Scratch, connection: psycopg.Connection, workers: list[Process]) -> dict[int, float]:
    """Kill the older worker; returns for each partition that it held how long it stood still."""
    instance.wait_for(lambda: _balanced(connection, workers), "an even share of the partitions")
    victim = workers.pop(0)
    instance.kill(victim)
    before, killed_s = _places(connection), monotonic_s()
    waiting = {partition for partition, place in before.items() if _owns(victim, place)}
    stood: dict[int, float] = {}

    def all_moved() -> bool:
        for partition, place in _places(connection).items():
            goes_on = place.offset > before[partition].offset and not _owns(victim, place)
            if goes_on and partition in waiting - stood.keys():
                stood[partition] = monotonic_s() - killed_s
        time.sleep(POLL_S)
        return stood.keys() == waiting

    instance.wait_for(all_moved, "the other worker")
    workers.append(instance.start("worker", f"worker after {victim.pid}"))
    return stood


def _places(connection: psycopg.Connection) -> dict[int, Place]:
    rows = connection.execute("SELECT id, coalesce(owner, ''), generation, bus_offset FROM partition").fetchall()
    return {row[0]: Place(owner=row[1], offset=(row[2], row[3])) for row in rows}


def _owns(worker: Process, place: Place) -> bool:
    return f"-{worker.pid}-" in place.owner  # a worker's name: host, process number, random


def _balanced(connection: psycopg.Connection, workers: list[Process]) -> bool:
    places = _places(connection).values()
    return all(sum(_owns(worker, place) for place in places) == PARTITIONS // len(workers) for worker in workers)


BENCH = Measurement(describe="seconds until another worker goes on", options=Options, measure=measure)
