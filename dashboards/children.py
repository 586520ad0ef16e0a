"""Child processes of one instance: each in a session of its own, started again when it crashes, stopped whole."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from traffic.clock import monotonic_s
from traffic.log import bound_file

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 30.0
HEALTHY_S = 60.0  # lived so long: the next crash begins with the shortest pause again
STOP_S_MAX = 20.0
LEFTOVER_S_MAX = 10.0
POLL_S = 0.05
PROBE_S_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What runs: its name in messages, its command line, and the address that answers 200 once it serves."""

    name: str
    command: tuple[str, ...]
    health: str | None = None

    @classmethod
    def command_of(cls, name: str) -> tuple[str, ...]:
        """The command line of `traffic <name>` in this very Python."""
        return (sys.executable, "-P", "-m", "dashboards.cli", name)


@dataclass(kw_only=True)
class Child:
    """One part and its process. Not started again by itself: `watch()` is asked regularly."""

    part: Part
    log: Path
    environment: Mapping[str, str]
    say: Callable[[str], None]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    began_s: float = field(default=0.0, init=False)
    again_s: float | None = field(default=None, init=False)
    crashes: int = field(default=0, init=False)

    def start(self) -> None:
        """Start the process; it is told to stop when the process (thread) that started it ends."""
        guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*guard, *self.part.command], env=dict(self.environment), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.began_s, self.again_s = monotonic_s(), None

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def answers(self) -> bool:
        """Whether it serves: 200 from its health address; without one, whether it lives."""
        if not self.is_running():
            return False
        if self.part.health is None:
            return True
        return answers_ok(self.part.health)

    def watch(self) -> None:
        """Notice a crash and, after a pause that doubles with each, start again."""
        bound_file(self.log)
        if self.is_running():
            return
        if self.again_s is None and self.process is not None:
            self.crashes = 1 if monotonic_s() - self.began_s > HEALTHY_S else self.crashes + 1
            pause_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** (self.crashes - 1))
            self.again_s = monotonic_s() + pause_s
            self._end_session()
            self.say(f"{self.part.name} {ending(self.process.returncode)}; again in {pause_s:g} s (log: {self.log})")
        elif self.again_s is not None and monotonic_s() >= self.again_s:
            self.start()

    def ask_stop(self) -> None:
        """SIGTERM; `wait_stopped` waits and insists."""
        if self.process is not None and self.is_running():
            self.process.send_signal(signal.SIGCONT)  # a paused one could not hear
            self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Wait for the end, then kill whatever is left of its session."""
        if self.process is None:
            return
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.say(f"{self.part.name} does not stop within {STOP_S_MAX:g} s and is killed")
        self._end_session()
        self.process.wait()
        self.process = None

    def _end_session(self) -> None:
        if self.process is not None:
            _signal_session(self.process.pid, signal.SIGKILL)


def _signal_session(leader: int, signum: signal.Signals) -> None:
    try:
        os.killpg(leader, signum)
    except ProcessLookupError:
        return


def answers_ok(address: str) -> bool:
    """Whether a plain HTTP address answers 200 soon."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PROBE_S_MAX)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def stop_all(groups: Sequence[Sequence[Child]]) -> None:
    """Stop group after group; the members of a group at the same time."""
    for group in groups:
        for child in group:
            child.ask_stop()
        for child in group:
            child.wait_stopped()


def remember(path: Path, children: Sequence[Child]) -> None:
    """Write down the processes, so that the next start finds those that outlive a kill of the supervisor."""
    alive = [[child.process.pid, born(child.process.pid)] for child in children if child.process is not None]
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(alive), encoding="utf-8")
    fresh.replace(path)


def born(pid: int) -> str:
    """When a process began, in the kernel's ticks: tells it from a later one with the same number; "" if it is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if words[0] in "ZX" else words[19]


def end_leftovers(path: Path) -> int:
    """End what an earlier supervisor wrote down and did not stop; returns how many there were."""
    try:
        noted = [(int(pid), str(began)) for pid, began in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return 0
    left = [(pid, began) for pid, began in noted if began and born(pid) == began]
    for signum, seconds in ((signal.SIGTERM, LEFTOVER_S_MAX), (signal.SIGKILL, LEFTOVER_S_MAX)):
        for pid, began in left:
            if born(pid) == began:
                _signal_session(pid, signal.SIGCONT)  # a paused one could not hear
                _signal_session(pid, signum)
        until = monotonic_s() + seconds
        while any(born(pid) == began for pid, began in left) and monotonic_s() < until:
            time.sleep(POLL_S)
    path.unlink(missing_ok=True)
    return len(left)
