"""An instance of one's own for a bench: services in a scratch folder, the province, real processes, their CPU time."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import psycopg
import redis

from dashboards.checks import PORTS
from traffic import database, province
from traffic.clock import Clock, monotonic_s
from traffic.embedded import Embedded
from traffic.errors import ServiceError
from traffic.plates import plate_key
from traffic.secrets import key_hash
from traffic.settings import Settings, load_settings

COMMAND = ("-m", "dashboards.cli")
TEMPLATE, RUN = "bench_template", "bench_run"
PARTITIONS = 8
DEVICE_CODE, DEVICE_KEY = "bench-sender", "bench-sender-key"
CPU_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
READY_S_MAX = 60.0
STOP_S_MAX = 30.0
SECRET_KEY = "bench-secret-key-bench-secret-key"


@dataclass(kw_only=True)
class Process:
    """A part of the instance that was started by the public command."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.popen.pid

    def stop(self) -> None:
        """SIGTERM, then insist."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


@dataclass(kw_only=True)
class Scratch:
    """The instance. `settings` are those of its processes; `device` is the native sender's id."""

    folder: Path
    embedded: Embedded
    settings: Settings
    device: int = 0
    processes: list[Process] = field(default_factory=list)

    def start(self, command: str, name: str = "", *, program: tuple[str, ...] = ()) -> Process:
        """Start `traffic <command>`, or in its place the interpreter with the arguments `program`."""
        name = name or command
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as out:
            popen = subprocess.Popen(
                [sys.executable, *(program or (*COMMAND, command))],
                env=environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        process = Process(name=name, popen=popen, log=log)
        self.processes.append(process)
        return process

    def stop_processes(self) -> None:
        """Stop what was started, the newest first."""
        while self.processes:
            self.processes.pop().stop()

    def connect(self) -> psycopg.Connection:
        """A connection of the owner to the database of this run."""
        return psycopg.connect(str(self.settings.database_url), autocommit=True)

    def renew(self) -> None:
        """An empty database with the province, and an empty bus."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {RUN} WITH (FORCE)")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE])
            admin.execute(f"CREATE DATABASE {RUN} TEMPLATE {TEMPLATE} STRATEGY file_copy")
            admin.execute("CHECKPOINT")
        with redis.Redis.from_url(self.embedded.redis_url) as client:
            client.flushall()
            client.bgrewriteaof()

    def keep(self) -> None:
        """What the database of this run holds now is what each run begins with from here on."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {RUN} WITH ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [RUN])
            admin.execute(f"DROP DATABASE {TEMPLATE} WITH (FORCE)")
            admin.execute(f"ALTER DATABASE {RUN} RENAME TO {TEMPLATE}")

    def make_template(self, *, chunk_s: float | None) -> None:
        """The database that `renew` copies: schema, province, rules, a watch-list and one native sender."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {TEMPLATE}")
        url = self._url(TEMPLATE)
        database.migrate(url, partitions=PARTITIONS)
        with psycopg.connect(url) as connection:
            now = self.settings.clock.now()
            province.load(connection, now)
            if chunk_s:
                connection.execute(
                    "SELECT set_chunk_time_interval('passage', make_interval(secs => %s::float8))", [chunk_s]
                )
            row = connection.execute(
                "INSERT INTO device (code, name, unit_id, kind, secret, changed_at, changed_by)"
                " VALUES (%s, 'bench', 1, 'native', %s, %s, 'bench') RETURNING id",
                [DEVICE_CODE, key_hash(DEVICE_KEY), now],
            ).fetchone()
            assert row
            self.device = row[0]
        with psycopg.connect(self._url("postgres"), autocommit=True) as admin:
            # TimescaleDB's scheduler would be connected while it is copied.
            admin.execute(f"ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false")

    def watch(self, plates: Sequence[str]) -> None:
        """Put plates on the watch-list of this run, for the eyes of the corps."""
        now = self.settings.clock.now()
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO watchlist_entry (number, plate, plate_key, category, level, facts, intercept, unit_id,"
                " audience, state, valid_from, valid_to, version, applied_by, approved_by) VALUES (%s, %s, %s, 1, 2,"
                " 'bench', true, 1, '{1}', 'active', %s - interval '1 day', %s + interval '1 day', 1, 'a', 'b')",
                [(f"BENCH-{n}", plate, plate_key(plate), now, now) for n, plate in enumerate(plates)],
            )

    def wait_open(self) -> None:
        """Wait until the door is ready and every partition is held by a worker and open."""

        def ready() -> bool:
            url = f"http://{self.settings.host}:{self.settings.door_port}/readyz"
            try:
                door = httpx.get(url, timeout=5).status_code == 200
            except httpx.HTTPError:
                return False
            with self.connect() as connection:
                row = connection.execute("SELECT count(*) FROM partition WHERE generation > 0 AND owner IS NOT NULL")
                return door and row.fetchone() == (PARTITIONS,)

        self.wait_for(ready, "the door and the workers")

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = READY_S_MAX) -> None:
        """Poll until it is true; raises ServiceError when a process ends or the time is up."""
        until = monotonic_s() + timeout_s
        while not condition():
            self.require_alive()
            if monotonic_s() > until:
                raise ServiceError(f"{what} did not come within {timeout_s:.0f} s")
            time.sleep(0.02)

    def require_alive(self) -> None:
        """Raises ServiceError when a process has ended by itself."""
        for process in self.processes:
            if process.popen.poll() is not None:
                raise ServiceError(f"{process.name} ended: {_last_line(process.log)}")

    def kill(self, process: Process) -> None:
        """SIGKILL, as a crash would end it."""
        process.popen.kill()
        process.popen.wait()
        self.processes.remove(process)

    def set_clock(self, now_us: int) -> None:
        """Processes that start from here on have a clock that shows `now_us` now."""
        real_us = Clock().now_us()
        self.settings = self.settings.model_copy(update={"clock_offset_s": (now_us - real_us) / 1e6})

    def spent_s(self) -> dict[str, float]:
        """CPU seconds so far of each kind of process (PostgreSQL and Redis with all of theirs)."""
        spent = {service.name: sum(map(cpu_s, service.processes())) for service in self.embedded.services}
        for process in self.processes:
            spent[process.name] = cpu_s(process.pid)
        return spent

    def _url(self, name: str) -> str:
        return self.embedded.database_url.replace("/traffic?", f"/{name}?", 1)


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAFFIC_")}
    told = {
        f"TRAFFIC_{name.upper()}": str(value)
        for name, value in settings.model_dump(mode="json").items()
        if value is not None and not isinstance(value, list)
    }
    return kept | told


@contextmanager
def scratch(*, chunk_s: float | None = None, **settings: object) -> Iterator[Scratch]:
    """A fresh instance with its services up and its template made; everything is gone at the end, SIGTERM included."""
    before = signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="traffic-bench-", dir="/tmp"))  # noqa: S108 - made by mkdtemp, private
    folder.chmod(0o755)  # the services' account must get in
    try:
        with Embedded(load_settings(data_dir=folder / "services")) as embedded:
            bound = load_settings(
                data_dir=folder / "data", redis_url=embedded.redis_url,
                database_url=embedded.database_url.replace("/traffic?", f"/{RUN}?", 1), partitions=PARTITIONS,
                secret_key=SECRET_KEY, demo=False, log_level="warning",
                **{name: free_port() for name in PORTS}, **settings,
            )  # fmt: skip
            instance = Scratch(folder=folder, embedded=embedded, settings=bound)
            try:
                instance.make_template(chunk_s=chunk_s)
                yield instance
            finally:
                instance.stop_processes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far and of its children that have ended; 0 when it has ended itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * CPU_TICK_S


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
