"""Process `pictures`: copies the pictures of findings before their sources forget them.

A process of its own, because it reads what strangers send: nothing that findings rest on shares its memory. Any number
may run. A picture is kept under its hash in the data folder; what cannot be had is tried again at growing intervals.
"""

import hashlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

import psycopg
import structlog

from traffic import database
from traffic.clock import monotonic_s
from traffic.errors import ServiceError, TrafficError
from traffic.health import BEAT_S, Heartbeat, instance_name
from traffic.limits import PICTURE_BYTES_MAX
from traffic.picture_sources import PictureRefused, Sources, Target, media_type_of
from traffic.settings import Settings

SQL = database.queries("traffic", "pictures.sql")
AT_ONCE = 4
CLAIM_MAX = 16
CONNECT_S, WHOLE_S = 5.0, 15.0
TRIES_MAX = 6
AGAIN_S = (10.0, 30.0, 120.0, 600.0, 3600.0)
CLAIM_S = 120.0  # a copier that died gives its pictures back after this
PAUSE_S = 1.0
FREE_BYTES_MIN = 1024**3
PIECE_BYTES = 64 * 1024

log = structlog.get_logger()


class NotHad(TrafficError):
    """The picture could not be had this time. `reason`: a code for screens."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A picture that waits to be copied."""

    finding: object
    record: str
    number: int
    address: str
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an address: a stored picture, or why there is none (`final`: it is not tried again)."""

    sha256: bytes | None = None
    media_type: str = ""
    size: int | None = None
    error: str = ""
    final: bool = False


def picture_path(data_dir: Path, sha256: str) -> Path:
    """Where a picture lies."""
    return data_dir / "pictures" / sha256[:2] / sha256


def sources_of(settings: Settings) -> Sources:
    """The hosts of the setting; in a demonstration the twin's own pictures too."""
    twin = [f"127.0.0.1:{settings.twin_picture_port}"] if settings.demo else []
    return Sources.of([*settings.picture_hosts, *twin])


# ---------------------------------------------------------------- one address
def fetch(sources: Sources, address: str) -> bytes:
    """The bytes at an address of a listed host; raises PictureRefused or NotHad. No redirect is followed."""
    target = sources.target(address)
    deadline_s = monotonic_s() + WHOLE_S
    try:
        with closing(_connect(target, sources.choose(target, _resolve(target)))) as connection:
            guard = threading.Timer(WHOLE_S, connection.sock.shutdown, (socket.SHUT_RDWR,))  # whatever it drips
            guard.start()
            try:
                connection.request("GET", target.path, headers={"Accept": "image/*", "Host": _host_header(target)})
                with connection.getresponse() as response:
                    body = _body(response)
            finally:
                guard.cancel()
        if monotonic_s() >= deadline_s:  # what was cut off can look whole
            raise NotHad("slow", "the end did not come")
        return body
    except (OSError, http.client.HTTPException, NotHad) as error:
        if monotonic_s() >= deadline_s:
            raise NotHad("slow", f"the picture did not come within {WHOLE_S:.0f} s") from error
        if isinstance(error, NotHad):
            raise
        raise NotHad("unreachable", f"{target.host}: {type(error).__name__}") from error


def _resolve(target: Target) -> list[str]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return [str(place[4][0]) for place in found]


def _connect(target: Target, address: str) -> http.client.HTTPConnection:
    """Connected to just the address that was judged: a name that leads elsewhere a moment later changes nothing."""
    raw = socket.create_connection((address, target.port), CONNECT_S)
    if target.scheme == "https":
        try:
            raw = ssl.create_default_context().wrap_socket(raw, server_hostname=target.host)
        except BaseException:
            raw.close()
            raise
    connection = http.client.HTTPConnection(target.host, target.port, timeout=CONNECT_S)
    connection.sock = raw
    return connection


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}"


def _body(response: http.client.HTTPResponse) -> bytes:
    if 300 <= response.status < 400:
        raise PictureRefused("redirect", "the source points elsewhere")
    if response.status != 200:
        raise NotHad("status", f"the source answers {response.status}")
    if (response.length or 0) > PICTURE_BYTES_MAX:
        raise PictureRefused("too_large", f"the picture is larger than {PICTURE_BYTES_MAX} bytes")
    body = bytearray()
    while piece := response.read1(PIECE_BYTES):
        body += piece
        if len(body) > PICTURE_BYTES_MAX:
            raise PictureRefused("too_large", f"the picture is larger than {PICTURE_BYTES_MAX} bytes")
    if response.length:
        raise NotHad("cut_off", f"{response.length} bytes did not come")
    return bytes(body)


def store(data_dir: Path, body: bytes) -> bytes:
    """Keep a picture under its hash, whole or not at all; returns the hash."""
    digest = hashlib.sha256(body)
    path = picture_path(data_dir, digest.hexdigest())
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        fresh.write_bytes(body)
        fresh.replace(path)
    return digest.digest()


def copy(sources: Sources, data_dir: Path, address: str) -> Outcome:
    """Fetch, judge and keep one picture."""
    try:
        body = fetch(sources, address)
        media_type = media_type_of(body)
        return Outcome(sha256=store(data_dir, body), media_type=media_type, size=len(body))
    except PictureRefused as refusal:
        return Outcome(error=refusal.reason, final=True)
    except NotHad as failure:
        return Outcome(error=failure.reason)
    except OSError as error:  # the disk
        return Outcome(error=f"not stored: {os.strerror(error.errno or 0)}")


# ---------------------------------------------------------------- the process
class Copier:
    """Takes what waits, copies some at once, and writes what became of it. `run` until `stop` is set."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings = settings
        self._sources = sources_of(settings)
        self._stop = stop
        self._connection: psycopg.Connection | None = None
        self._heartbeat = Heartbeat("pictures", instance_name())
        self._beat_due_s = 0.0
        self.figures = {"copied": 0, "failed": 0, "again": 0}

    def run(self) -> None:
        """The loop; an outage of the database is waited out."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="picture") as hands:
            while not self._stop.is_set():
                try:
                    busy = self.turn(hands)
                except (psycopg.Error, ServiceError) as error:
                    log.warning("pictures wait", why=str(error).splitlines()[0] if str(error) else repr(error))
                    self.close()
                    busy = False
                if not busy:
                    self._stop.wait(PAUSE_S)
        self.close()

    def turn(self, hands: ThreadPoolExecutor) -> bool:
        """One round; whether there was anything to do."""
        connection = self._connected()
        if monotonic_s() >= self._beat_due_s:
            self._heartbeat.beat_sync(connection, {name: float(value) for name, value in self.figures.items()})
            self._beat_due_s = monotonic_s() + BEAT_S
        wanted = self._claim(connection) if self._has_room() else []
        addresses = sorted({one.address for one in wanted})
        data_dir = self._settings.data_dir
        outcomes = dict(zip(addresses, hands.map(lambda at: copy(self._sources, data_dir, at), addresses), strict=True))
        self._write(connection, [(one, outcomes[one.address]) for one in wanted])
        return bool(wanted)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _has_room(self) -> bool:
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._settings.data_dir).free > FREE_BYTES_MIN

    def _claim(self, connection: psycopg.Connection) -> list[Wanted]:
        now = self._settings.clock.now()
        values = {"now": now, "until": now + timedelta(seconds=CLAIM_S), "limit": CLAIM_MAX}
        rows = connection.execute(SQL["claim"], values).fetchall()
        return [
            Wanted(finding=finding, record=record, number=number, address=address, tries=tries)
            for finding, record, number, address, tries in rows
        ]

    def _write(self, connection: psycopg.Connection, done: Sequence[tuple[Wanted, Outcome]]) -> None:
        now = self._settings.clock.now()
        for one, outcome in done:
            gave_up = outcome.final or one.tries >= TRIES_MAX
            state = "copied" if outcome.sha256 else "failed" if gave_up else "waiting"
            self.figures["again" if state == "waiting" else state] += 1
            wait_s = AGAIN_S[min(one.tries, len(AGAIN_S)) - 1]
            connection.execute(
                SQL["done"],
                {
                    "finding": one.finding, "record": one.record, "number": one.number, "state": state,
                    "sha256": outcome.sha256, "media_type": outcome.media_type, "bytes": outcome.size,
                    "error": outcome.error, "copied_at": now if outcome.sha256 else None,
                    "due_at": now + timedelta(seconds=wait_s),
                },
            )  # fmt: skip

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = database.connect(
                str(self._settings.database_url), database.WRITER, autocommit=True, connect_timeout=5
            )
        return self._connection


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; raises SettingsError where a listed host is none."""
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    Copier(settings, stop).run()
