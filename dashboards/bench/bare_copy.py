"""The reference of `bench ingest`: the same rows by nothing but binary COPY, over one or two connections."""

import threading

import numpy as np
import psycopg

from dashboards.bench.scratch import Scratch
from traffic.clock import monotonic_s
from traffic.readings import PASSAGE
from traffic.store import pack_passages

COPY = f"COPY passage ({', '.join(PASSAGE.names or ())}) FROM STDIN (FORMAT BINARY)"


def packed(rows: np.ndarray, batch_rows: int) -> list[bytes]:
    """Bodies of COPY, made before the clock runs."""
    return [pack_passages(rows[start : start + batch_rows]) for start in range(0, len(rows), batch_rows)]


def measure(instance: Scratch, bodies: list[bytes], connections: int) -> float:
    """Seconds to commit all bodies, one transaction each, into the empty table of a fresh database."""
    instance.renew()
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
    return monotonic_s() - began_s
