"""TimescaleDB's Community edition for tests: the real extension in a PostgreSQL of WebAssembly, run by Node.

`python -m tests.community` brings its npm packages; the fixture does so too. It serves one connection, has no
background workers, and takes one statement at a time.
"""

import fcntl
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import psycopg

from dashboards.setup import install_packages
from tests.conftest import wait_until
from traffic.errors import ServiceError
from traffic.progress import Progress

HERE = Path(__file__).parent
START_S = 60.0


def ensure(progress: Progress) -> Path:
    """The folder of a node with the packages beside it; raises ServiceError with one sentence."""
    with (HERE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return install_packages(HERE, "the packages of TimescaleDB's Community edition for tests", progress)


@contextmanager
def running(folder: Path) -> Iterator[psycopg.Connection]:
    """A new, empty database in memory; the connection is its superuser's, autocommit."""
    node = ensure(Progress(say=lambda _line: None))
    socket = folder / ".s.PGSQL.5432"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen([str(node / "node"), str(HERE / "server.mjs"), str(socket)], stdout=log, stderr=log)
        try:
            wait_until(lambda: _is_ready(server, folder / "server.log"), START_S, "TimescaleDB in WebAssembly")
            with psycopg.connect(
                f"host={folder} user=postgres password=postgres dbname=postgres sslmode=disable",
                autocommit=True,
                prepare_threshold=None,
            ) as connection:
                connection.execute("SET client_min_messages = warning")
                connection.execute("SET timezone = 'UTC'")
                yield connection
        finally:
            server.kill()
            server.wait()


def _is_ready(server: subprocess.Popen, log: Path) -> bool:
    words = log.read_text(errors="replace")
    if server.poll() is not None:
        raise ServiceError(f"TimescaleDB in WebAssembly ended at once: {words[-500:]}")
    return "ready" in words


def migrate(connection: psycopg.Connection) -> None:
    """The whole schema, statement by statement."""
    for script in sorted((files("traffic") / "schema").iterdir(), key=lambda entry: entry.name):
        if script.name.endswith(".sql"):
            for statement in statements(script.read_text(encoding="utf-8")):
                connection.execute(statement)  # type: ignore[call-overload]


def statements(script: str) -> list[str]:
    """The statements of a script; semicolons within $$ bodies part nothing, and comments outside of them go."""
    found, current = [], ""
    for number, part in enumerate(script.split("$$")):
        if number % 2:
            current += f"$${part}$$"
            continue
        *whole, rest = re.sub(r"--[^\n]*", "", part).split(";")
        for piece in whole:
            found.append((current + piece).strip())
            current = ""
        current += rest
    return [statement for statement in [*found, current.strip()] if statement]
