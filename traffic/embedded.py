"""TimescaleDB and Redis of one's own: private programs, data in the instance's folder, reachable by Unix socket only.

PostgreSQL refuses to run as root, so as root both services run as `nobody`. Each service is a process session of its
own, dies with the process that started it, and is found and ended at the next start if it outlived a kill.
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg
import redis

from traffic import prefix
from traffic.clock import monotonic_s
from traffic.database import socket_url
from traffic.errors import ServiceError
from traffic.settings import Settings

OWNER = DATABASE = "traffic"
PG_PORT = 5432  # names the socket file; nothing listens on a network
READY_S_MAX = 300.0  # recovery after a crash may take minutes
STOP_S_MAX = 60.0
ATTEMPTS_MAX = 5  # of a start that fails while processes of a killed one are still leaving
SOCKET_PATH_MAX = 100  # bytes; the kernel's bound is 107
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
            if monotonic_s() > until:
                self.stop()
                raise ServiceError(f"{self.name} did not answer within {READY_S_MAX:.0f} s (log: {self.log})")
            time.sleep(BACKOFF_S)
        return False

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

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


class Embedded:
    """The services that the settings do not give by URL. `start()` blocks until they answer; `stop()` until they end."""

    def __init__(self, settings: Settings, progress: prefix.Progress = lambda line: None) -> None:
        self._settings = settings
        self._progress = progress
        self._account = Account.choose()
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="services")
        self._lock = InstanceLock(settings.data_dir / "services.lock", what="an instance")
        self.database_url = settings.database_url or ""
        self.redis_url = settings.redis_url or ""
        self.postgres: Service | None = None
        self.redis: Service | None = None

    @property
    def services(self) -> list[Service]:
        """What is embedded, in the order of starting."""
        return [service for service in (self.postgres, self.redis) if service]

    def start(self) -> "Embedded":
        """Unpack if needed, start, create the database. Raises ServiceError with one sentence; leaves nothing then."""
        settings = self._settings
        if settings.database_url and settings.redis_url:
            return self
        make_data_dir(settings.data_dir)
        self._lock.take()
        try:
            root = prefix.ensure(settings, prefix.SERVICES, self._progress)
            self._account.require_reach(settings.data_dir, "TRAFFIC_DATA_DIR")
            self._account.require_reach(root, "TRAFFIC_PREFIX_DIR")
            run = self._socket_folder()
            if not settings.database_url:
                self.postgres = self._postgres(root, run)
                self._create_cluster(root)
                self.postgres.start()
                self.database_url = socket_url(run, PG_PORT, DATABASE, OWNER)
                _create_database(socket_url(run, PG_PORT, "postgres", OWNER))
            if not settings.redis_url:
                self.redis = self._redis(root, run)
                self.redis.start()
                self.redis_url = f"unix://{run}/redis.sock"
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop what was started, Redis first; safe to call twice."""
        for service in reversed(self.services):
            service.stop()
        link = self._settings.data_dir / "run"
        if self._lock._handle is not None and link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
            link.unlink(missing_ok=True)
        self._spawner.shutdown()
        self._lock.release()

    def __enter__(self) -> "Embedded":
        return self.start()

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def _folder(self, name: str) -> Path:
        return self._settings.data_dir.resolve() / name

    def _socket_folder(self) -> Path:
        """A private folder whose path is short enough for a Unix socket; `run` in the data folder names it."""
        folder = self._folder("run")
        if folder.is_symlink():  # left by one that was killed
            shutil.rmtree(folder.resolve(), ignore_errors=True)
            folder.unlink()
        if len(f"{folder}/.s.PGSQL.{PG_PORT}.lock".encode()) <= SOCKET_PATH_MAX:
            self._account.own(folder)
            return folder
        short = Path(tempfile.mkdtemp(prefix="traffic-", dir="/tmp"))  # noqa: S108 - made by mkdtemp, private
        self._account.own(short)
        folder.symlink_to(short)
        return short

    def _postgres(self, root: Path, run: Path) -> Service:
        data = self._folder("postgres")
        binaries = root / "usr/lib/postgresql/17/bin"
        options = [part for pair in postgres_options(run).items() for part in ("-c", f"{pair[0]}={pair[1]}")]

        def ready() -> bool:
            try:
                psycopg.connect(socket_url(run, PG_PORT, "postgres", OWNER), connect_timeout=5).close()
            except psycopg.OperationalError:
                return False
            return True

        return Service(
            name="PostgreSQL", command=[str(binaries / "postgres"), "-D", str(data), *options], folder=data,
            programs=binaries, account=self._account, log=self._log("postgres"), ask_ready=ready,
            spawner=self._spawner, stop_signals=(signal.SIGINT, signal.SIGQUIT),
            stale=(data / "postmaster.pid", run / f".s.PGSQL.{PG_PORT}", run / f".s.PGSQL.{PG_PORT}.lock"),
        )  # fmt: skip

    def _redis(self, root: Path, run: Path) -> Service:
        data = self._folder("redis")
        self._account.own(data)
        address = run / "redis.sock"

        def ready() -> bool:
            try:
                with redis.Redis.from_url(f"unix://{address}", socket_timeout=5) as client:
                    return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its file
                return False

        options = redis_options(address, data)
        return Service(
            name="Redis", command=[str(root / "usr/bin/redis-server"), *options], folder=data,
            programs=root / "usr/bin", account=self._account, log=self._log("redis"), ask_ready=ready,
            spawner=self._spawner, stop_signals=(signal.SIGTERM,), stale=(address,),
        )  # fmt: skip

    def _log(self, name: str) -> Path:
        folder = self._folder("logs")
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _create_cluster(self, root: Path) -> None:
        data = self._folder("postgres")
        if (data / "PG_VERSION").exists():
            return
        if data.exists() and any(data.iterdir()):
            raise ServiceError(f"{data} holds files but no database: move it away")
        self._progress("creating the database cluster")
        fresh = self._folder("postgres.new")  # renamed when complete: a killed initdb leaves no half cluster
        shutil.rmtree(fresh, ignore_errors=True)
        self._account.own(fresh)
        command = [
            str(root / "usr/lib/postgresql/17/bin/initdb"), "-D", str(fresh), "--username", OWNER,
            "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums",
        ]  # fmt: skip
        done = subprocess.run(  # type: ignore[call-overload]
            command, cwd=fresh, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, start_new_session=True, **self._account.popen(),
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if "rror" in line or "FATAL" in line]
            raise ServiceError(f"initdb failed: {(lines or ['it said nothing'])[0]}")
        shutil.rmtree(data, ignore_errors=True)
        fresh.rename(data)


def make_data_dir(folder: Path) -> None:
    """Create the instance's folder, enterable by the services' account; raises ServiceError when it cannot be used."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 65536)
    except OSError as error:
        raise ServiceError(f"TRAFFIC_DATA_DIR {folder} cannot be used: {error.strerror}") from error


def _create_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def postgres_options(run: Path) -> dict[str, str]:
    """Settings of the embedded PostgreSQL: durable, reached by socket only, sized by the machine's memory."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {
        "listen_addresses": "",
        "unix_socket_directories": str(run),
        "unix_socket_permissions": "0700",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "max_connections": "100",
        "max_worker_processes": "16",
        "timescaledb.max_background_workers": "8",
        "max_locks_per_transaction": "256",  # a query over many chunks locks each
        "shared_buffers": f"{min(2048, max(128, memory_mb // 8))}MB",
        "effective_cache_size": f"{max(256, memory_mb // 2)}MB",
        "maintenance_work_mem": "128MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_compression": "lz4",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "10min",
        "random_page_cost": "1.1",
        "jit": "off",  # compiling costs more than these short queries
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "log_line_prefix": "%m [%p] %a ",
        "logging_collector": "off",
    }


def redis_options(address: Path, data: Path) -> list[str]:
    """Arguments of the embedded Redis: on disk before it answers, nothing evicted, no network."""
    return [
        "--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700", "--dir", str(data), "--daemonize", "no",
        "--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no",
        "--maxmemory-policy", "noeviction", "--save", "",
    ]  # fmt: skip


def check_redis(url: str) -> None:
    """Refuse a Redis that could lose what it acknowledged; raises ServiceError with one sentence."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5, decode_responses=True) as client:
            client.ping()
            held = {**client.config_get("append*"), **client.config_get("maxmemory-policy")}  # type: ignore[dict-item]
    except redis.ResponseError as error:
        raise ServiceError(f"TRAFFIC_REDIS_URL: its settings cannot be verified, CONFIG GET says: {error}") from error
    except (redis.RedisError, ValueError, OSError) as error:
        raise ServiceError(f"TRAFFIC_REDIS_URL: Redis cannot be used: {error}") from error
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    wrong = [
        f"{name} is {held.get(name)!r}, not {value!r}" for name, value in wanted.items() if held.get(name) != value
    ]
    if wrong:
        raise ServiceError(f"TRAFFIC_REDIS_URL: this Redis may lose acknowledged records: {', '.join(wrong)}")


def check_database(url: str) -> None:
    """Refuse a database without PostgreSQL 17 and TimescaleDB 2.19; raises ServiceError with one sentence."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
            row = connection.execute(
                "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
            ).fetchone()
    except psycopg.Error as error:
        words = str(error).strip().splitlines()
        raise ServiceError(
            f"TRAFFIC_DATABASE_URL: PostgreSQL cannot be used: {words[0] if words else error}"
        ) from error
    if version < 170000:
        raise ServiceError(f"TRAFFIC_DATABASE_URL: this is PostgreSQL {version // 10000}, version 17 is needed")
    if not row:
        raise ServiceError("TRAFFIC_DATABASE_URL: this PostgreSQL has no TimescaleDB (extension timescaledb)")
    if tuple(int(part) for part in row[0].split("-")[0].split(".")[:2]) < (2, 19):
        raise ServiceError(f"TRAFFIC_DATABASE_URL: TimescaleDB is {row[0]}, version 2.19 or later is needed")
