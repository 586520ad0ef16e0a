"""Monitors that SIGKILL ends, each right after the n-th time of a step: `python -m tests.dying_monitor STEP N ...`.

One after another; between two the lease of the first runs out. Ends with code 0 when each one was killed.
"""

import os
import signal
import sys
from collections.abc import Callable
from itertools import count

from traffic import database, monitor, monitor_commit, monitor_store
from traffic.roads import cycle
from traffic.settings import load_settings

STEPS: dict[str, tuple[object, str]] = {  # step -> (where it stands, its name)
    "read": (monitor, "collect"),
    "offset moved": (monitor_commit, "advance"),
    "reports written": (monitor_store, "write_reports"),
    "batch committed": (monitor_commit, "commit_batch"),
    "turned": (cycle, "turn"),
    "links written": (monitor_commit, "_write_links"),
    "events written": (monitor_commit, "_write_events"),
    "snapshot written": (monitor_commit, "write_snapshot"),
    "feed written": (monitor_commit, "write_feed"),
    "cycle committed": (monitor_commit, "commit_cycle"),
}


def deadly(step: Callable, last: int) -> Callable:
    """The step, after whose n-th time nothing comes any more."""
    times = count(1)

    def call(*arguments: object, **named: object) -> object:
        answer = step(*arguments, **named)
        if next(times) >= last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return call


def die(step: str, last: int) -> None:
    """Work as a monitor until the step's last time."""
    where, attribute = STEPS[step]
    setattr(where, attribute, deadly(getattr(where, attribute), last))
    monitor.run(load_settings())
    os._exit(1)


if __name__ == "__main__":
    for step, last in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        child = os.fork()
        if not child:
            die(step, int(last))
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{step}: ended with status {status}")
        with database.connect(str(load_settings().database_url), database.WRITER, autocommit=True) as connection:
            connection.execute("UPDATE partition SET until = '1970-01-01+00' WHERE kind = 'roads'")
