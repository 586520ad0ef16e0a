"""A worker that takes the time of its stages: `python -m dashboards.bench.stages FOLDER` instead of `traffic worker`.

At its end it writes a file there, JSON: stage -> [calls, seconds, CPU seconds of its own]; what lies between the two is
waiting, mostly for PostgreSQL. A stage inside of another one is taken out of it.
"""

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from traffic import commit, finding_writer, pipeline, store, tracking
from traffic.clock import monotonic_s
from traffic.settings import load_settings
from traffic.stream import BusReader

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("read", BusReader, "read"),
    ("collect", pipeline, "collect"),
    ("known records", pipeline.Worker, "_sort_out"),
    ("rules", pipeline.Worker, "_judge"),
    ("begin, commit, rest", commit, "commit"),
    ("offset", commit, "advance"),
    ("pack", store, "pack_passages"),
    ("copy", store, "copy_passages"),
    ("roll-up", commit, "_roll_up"),
    ("travel times", store, "write_travel_times"),
    ("positions", tracking, "store_positions"),
    ("batch log", commit, "_log_batches"),
    ("findings", finding_writer, "write"),
    ("rules of key vehicles", pipeline.Worker, "_judge_keyed"),
    ("by device", commit, "store_sent"),
    ("flow", commit, "flow_rows"),
    ("feed", commit, "write_feed"),
    ("upkeep", pipeline.Worker, "_keep_up"),
    ("snapshot", pipeline.Worker, "_snapshot"),
)


class Stages:
    """Seconds of each stage, without those of the stages inside of it."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._inside: list[list[float]] = []

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time taken."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            began, cpu = monotonic_s(), time.process_time()
            self._inside.append([0.0, 0.0])
            try:
                return function(*args, **kwargs)
            finally:
                whole = [monotonic_s() - began, time.process_time() - cpu]
                within = self._inside.pop()
                if self._inside:
                    self._inside[-1] = [a + b for a, b in zip(self._inside[-1], whole, strict=True)]
                spent = self.spent.setdefault(name, [0, 0.0, 0.0])
                spent[:] = spent[0] + 1, spent[1] + whole[0] - within[0], spent[2] + whole[1] - within[1]

        return run


def main() -> None:
    """Entry of the process."""
    stages = Stages()
    for name, owner, attribute in STAGES:
        setattr(owner, attribute, stages.timed(name, getattr(owner, attribute)))
    try:
        pipeline.run(load_settings())
    finally:
        (Path(sys.argv[1]) / f"{os.getpid()}.json").write_bytes(msgspec.json.encode(stages.spent))


if __name__ == "__main__":
    main()
