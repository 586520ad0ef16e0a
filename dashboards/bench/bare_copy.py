"""The reference of `bench ingest`: the same rows by nothing but binary COPY, over one or two connections."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import psycopg

from dashboards.bench.scratch import Scratch
from traffic.clock import monotonic_s
from traffic.readings import PASSAGE
from traffic.store import pack_passages

COPY = f"COPY passage ({', '.join(PASSAGE.names or ())}) FROM STDIN (FORMAT BINARY)"
REAPED_S = 0.3  # until the CPU time of the ended backends is added to their parent's


def packed(rows: np.ndarray, batch_rows: int) -> list[bytes]:
    """Bodies of COPY, made before the clock runs."""
    return [pack_passages(rows[start : start + batch_rows]) for start in range(0, len(rows), batch_rows)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """Seconds to commit everything, and PostgreSQL's CPU seconds for it."""

    elapsed_s: float
    cpu_s: float


def measure(instance: Scratch, bodies: list[bytes], connections: int) -> Bare:
    """Commit all bodies, one transaction each, into the empty table of a fresh database."""
    instance.renew()
    before_s = instance.spent_s()["PostgreSQL"]
    start = threading.Barrier(connections + 1)
    failures: list[BaseException] = []

    def copy(own: list[bytes]) -> None:
        try:
            with instance.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = on")
                start.wait()
                for body in own:
                    with cursor.copy(COPY) as writer:  # type: ignore[call-overload]
                        writer.write(body)
        except (psycopg.Error, threading.BrokenBarrierError) as error:
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=copy, args=(bodies[number::connections],)) for number in range(connections)]
    for thread in threads:
        thread.start()
    start.wait()
    began_s = monotonic_s()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    elapsed_s = monotonic_s() - began_s
    time.sleep(REAPED_S)
    return Bare(elapsed_s=elapsed_s, cpu_s=instance.spent_s()["PostgreSQL"] - before_s)
