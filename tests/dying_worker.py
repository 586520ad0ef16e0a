"""A stream worker that SIGKILL ends right after a step of its first batch: `python -m tests.dying_worker STEP`."""

import os
import signal
import sys
from collections.abc import Callable

from traffic import commit, finding_writer, pipeline, store
from traffic.settings import load_settings

# step -> (where it stands, its name); the first call with records in it is the last thing that this process does
STEPS: dict[str, tuple[object, str]] = {
    "read": (pipeline, "collect"),
    "judged": (pipeline, "judge"),
    "offset moved": (commit, "advance"),
    "records copied": (store, "copy_passages"),
    "rolled up": (commit, "_roll_up"),
    "findings written": (finding_writer, "write"),
    "feed written": (commit, "write_feed"),
    "committed": (commit, "commit"),
}


def _has_records(arguments: tuple, answer: object) -> bool:
    candidates = [*arguments, answer]
    if any(isinstance(value, commit.Work) and len(value.batch) for value in candidates):
        return True
    if any(isinstance(value, commit.Judged) and len(value.new) for value in candidates):
        return True
    if any(isinstance(value, finding_writer.Said) and value.candidates for value in candidates):
        return True
    return any(isinstance(value, store.PassageBatch) or type(value).__name__ == "ndarray" for value in arguments)


def _deadly(step: Callable, name: str) -> Callable:
    def call(*arguments: object, **named: object) -> object:
        answer = step(*arguments, **named)
        feed_of_batch = name == "write_feed" and len(arguments[2])  # type: ignore[arg-type]
        if feed_of_batch or (name != "write_feed" and _has_records(arguments, answer)):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return call


if __name__ == "__main__":
    where, attribute = STEPS[sys.argv[1]]
    setattr(where, attribute, _deadly(getattr(where, attribute), attribute))
    pipeline.run(load_settings())
