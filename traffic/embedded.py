"""TimescaleDB and Redis of one's own: private programs, data in the instance's folder, reachable by Unix socket only.

PostgreSQL refuses to run as root, so as root both services run as `nobody`. Each service is a process session of its
own, dies with the process that started it, and is found and ended at the next start if it outlived a kill.
"""

import os
import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import redis

from traffic import prefix
from traffic.database import socket_url
from traffic.errors import ServiceError
from traffic.progress import Progress, run
from traffic.service import Account, InstanceLock, Service
from traffic.settings import Settings

OWNER = DATABASE = "traffic"
PG_PORT = 5432  # names the socket file; nothing listens on a network
SOCKET_PATH_MAX = 100  # bytes; the kernel's bound is 107


class Embedded:
    """The services that the settings do not give by URL; `start()` waits until they answer, `stop()` until they end."""

    def __init__(self, settings: Settings, progress: Progress | None = None) -> None:
        self._settings = settings
        self._progress = progress or Progress()
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
        if self._lock.is_held and link.is_symlink():
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
            spawner=self._spawner, progress=self._progress, stop_signals=(signal.SIGINT, signal.SIGQUIT),
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
            spawner=self._spawner, progress=self._progress, stop_signals=(signal.SIGTERM,), stale=(address,),
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
        self._progress.say("creating the database cluster")
        fresh = self._folder("postgres.new")  # renamed when complete: a killed initdb leaves no half cluster
        shutil.rmtree(fresh, ignore_errors=True)
        self._account.own(fresh)
        command = [
            str(root / "usr/lib/postgresql/17/bin/initdb"), "-D", str(fresh), "--username", OWNER,
            "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums",
        ]  # fmt: skip
        environment = {"PATH": "/usr/bin:/bin", "TZ": "UTC"}
        done = run(command, self._progress, cwd=fresh, env=environment, account=self._account.popen())
        if done.code:
            lines = [line for line in done.err.strip().splitlines() if "rror" in line or "FATAL" in line]
            raise ServiceError(f"initdb failed: {(lines or ['it said nothing'])[0]}")
        shutil.rmtree(data, ignore_errors=True)
        fresh.rename(data)


def own_database_url(settings: Settings) -> str:
    """The database of an instance that runs with its embedded services; raises ServiceError where none runs."""
    run = (settings.data_dir.resolve() / "run").resolve()
    if not run.is_dir():
        raise ServiceError(f"no instance runs in {settings.data_dir}: start it, or say which database (--source URL)")
    return socket_url(run, PG_PORT, DATABASE, OWNER)


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
        "timescaledb.max_background_workers": "0",  # the Apache edition has no jobs of use
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
        "log_error_verbosity": "terse",  # details and contexts quote rows, and rows hold plates
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
