"""A service process of one's own: started as the right user, watched, stopped, and cleared away when it was killed."""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from traffic.clock import monotonic_s
from traffic.errors import ServiceError
from traffic.progress import CalledOff, Progress

READY_S_MAX = 300.0  # recovery after a crash may take minutes
STOP_S_MAX = 60.0
ATTEMPTS_MAX = 5  # of a start that fails while processes of a killed one are still leaving
BACKOFF_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the services run as: None is the caller; as root it is `nobody`."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> "Account":
        """The account for this process's services."""
        if os.geteuid() != 0:
            return cls()
        entry = pwd.getpwnam("nobody")
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)

    def own(self, folder: Path) -> None:
        """Make a private folder of this account (created if missing)."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)

    def popen(self) -> dict[str, object]:
        """What Popen needs to start a program as this account."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def require_reach(self, folder: Path, setting: str) -> None:
        """Raise ServiceError when the account cannot enter the folder."""
        if self.uid is None:
            return
        entered = subprocess.run(["test", "-x", str(folder)], check=False, **self.popen())  # type: ignore[call-overload]
        if entered.returncode:
            raise ServiceError(
                f"{setting} {folder} cannot be entered by the user nobody, as whom the services run under root:"
                " choose a folder that others may enter"
            )


@dataclass(kw_only=True)
class Service:
    """One service process and its folder. `pid` and `processes()` are for those who kill it on purpose."""

    name: str
    command: list[str]
    folder: Path  # working folder of every process of it
    programs: Path  # where its program lies: only such processes are ever signalled
    account: Account
    log: Path
    ask_ready: Callable[[], bool]
    spawner: ThreadPoolExecutor
    progress: Progress
    stop_signals: tuple[signal.Signals, ...]
    stale: tuple[Path, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Process number of the main process."""
        if self.process is None:
            raise ServiceError(f"{self.name} is not started")
        return self.process.pid

    def is_running(self) -> bool:
        """Whether the main process lives."""
        return self.process is not None and self.process.poll() is None

    def processes(self) -> list[int]:
        """Every process that works in the folder with the program: the main one, and children that outlived it."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    ours = os.readlink(entry / "cwd") == str(self.folder)
                    if ours and os.readlink(entry / "exe").startswith(str(self.programs)):
                        found.append(int(entry.name))
                except OSError:
                    continue  # it ended, or it is someone else's
        return found

    def start(self) -> None:
        """Start and wait until it answers; what a killed one left behind is cleared first. Raises ServiceError."""
        if self.is_running():
            return
        for attempt in range(ATTEMPTS_MAX):
            self._clear()
            self._spawn()
            if self._wait_ready():
                return
            time.sleep(BACKOFF_S * 2**attempt)
        raise ServiceError(f"{self.name} does not start: {self._last_words()} (log: {self.log})")

    def _spawn(self) -> None:
        # A child of the spawner's thread: the kernel tells a child when the thread that started it ends.
        def start() -> subprocess.Popen[bytes]:
            guard = ["setpriv", "--pdeathsig", "INT", "--"] if shutil.which("setpriv") else []
            environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.folder)}
            with self.log.open("ab") as log:
                return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
                    [*guard, *self.command],
                    cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, **self.account.popen(),
                )  # fmt: skip

        self.process = self.spawner.submit(start).result()

    def _wait_ready(self) -> bool:
        until = monotonic_s() + READY_S_MAX
        while self.is_running():
            if self.ask_ready():
                return True
            self._check_called_off()
            if monotonic_s() > until:
                self.stop()
                raise ServiceError(f"{self.name} did not answer within {READY_S_MAX:.0f} s (log: {self.log})")
            time.sleep(BACKOFF_S)
        return False

    def _check_called_off(self) -> None:
        try:
            self.progress.check()
        except CalledOff:
            self.stop()
            raise

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "it wrote no log"
        telling = [line for line in lines[-20:] if "FATAL" in line or "PANIC" in line or "rror" in line]
        return (telling or lines or ["it said nothing"])[-1].strip()

    def _clear(self) -> None:
        """End processes of an earlier start and remove its socket and process-number files."""
        for signum in (*self.stop_signals, signal.SIGKILL):
            if not (left := self.processes()):
                break
            self._signal(left, signal.SIGCONT)  # a paused one could not hear
            self._signal(left, signum)
            self._wait_gone(left, 10.0)
        for path in self.stale:
            path.unlink(missing_ok=True)

    def _wait_gone(self, pids: list[int], seconds: float) -> bool:
        until = monotonic_s() + seconds
        while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
            if self.process is not None:
                self.process.poll()  # reaps our own, which stays visible as long as nobody asks
            if monotonic_s() > until:
                return False
            time.sleep(BACKOFF_S)
        return True

    @staticmethod
    def _signal(pids: list[int], signum: signal.Signals) -> None:
        for pid in pids:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        """Ask it to stop, then insist; returns when nothing of it is left."""
        if self.process is not None:
            for signum in (*self.stop_signals, signal.SIGKILL):
                if self.process.poll() is not None:
                    break
                self.process.send_signal(signal.SIGCONT)  # a paused one could not hear
                self.process.send_signal(signum)
                try:
                    self.process.wait(STOP_S_MAX)
                except subprocess.TimeoutExpired:
                    continue
            self.process = None
        self._clear()

    def kill(self) -> None:
        """SIGKILL to the main process, as a crash would end it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Start again after a kill, or stop and start."""
        if self.is_running():
            self.stop()
        self.start()


class InstanceLock:
    """One holder for each data folder; the kernel lets go of it when the holder's process ends."""

    def __init__(self, path: Path, *, what: str) -> None:
        self._path = path
        self._what = what
        self._handle: IO[str] | None = None

    def take(self) -> None:
        """Raises ServiceError, naming the holder's process, when another one has it."""
        handle = self._path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read(20).strip() or "unknown"
            handle.close()
            raise ServiceError(
                f"{self._what} of TRAFFIC_DATA_DIR {self._path.parent} already runs (process {holder}):"
                " stop it first, or set another TRAFFIC_DATA_DIR"
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._handle = handle

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._handle is not None

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
