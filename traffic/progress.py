"""What a long start tells people, and how it is called off: every wait of the start asks `check()`."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from traffic.errors import ServiceError, TrafficError

POLL_S = 0.1
TERM_S = 5.0


class CalledOff(TrafficError):
    """Somebody asked to stop before the start was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`say` takes a short line for the terminal; `called_off` tells whether to give up."""

    say: Callable[[str], None] = lambda line: None
    called_off: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Raises CalledOff when somebody asked to stop."""
        if self.called_off():
            raise CalledOff("stopped before the start was done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def run(
    command: Sequence[str],
    progress: Progress,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: Mapping[str, object] | None = None,
) -> Done:
    """Run a command to its end in a session of its own; ended early, with its children, when called off.

    Raises ServiceError when the program does not exist, CalledOff when called off.
    """
    environment = {**(os.environ if env is None else env), "LC_ALL": "C"}
    try:
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **(account or {}),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ServiceError(f"the program {command[0]} is missing on this machine") from error
    try:
        while True:
            try:
                out, err = process.communicate(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                progress.check()
            else:
                return Done(code=process.returncode, out=out, err=err)
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signum)
            process.communicate(timeout=TERM_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
