"""An instance of its own for a chaos run: embedded services, and doors, workers and APIs as real processes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from dashboards import checks
from dashboards.children import Child, Part, ending, stop_all
from dashboards.supervisor import prepare
from traffic import database
from traffic.clock import Clock, monotonic_s
from traffic.embedded import Embedded
from traffic.errors import ServiceError
from traffic.service import Service
from traffic.settings import Settings

READY_S_MAX = 60.0
BUS_BYTES_MAX = 6 * 1024  # so little that an outage of the database reaches the senders
POLL_S = 0.05
WATCH_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many processes of each kind, and how fast their clock goes."""

    doors: int = 2
    workers: int = 3
    monitors: int = 2
    apis: int = 2
    clock_rate: float = 1.0


@dataclass(kw_only=True)
class Process:
    """A child of the instance. While `held` it is down or paused on purpose, and nobody starts it."""

    kind: str
    child: Child
    address: str = ""  # http://host:port, where it serves
    held: bool = field(default=False, init=False)


class Instance:
    """Use as a context manager: inside, the services run and the province is loaded; afterwards all of it is gone."""

    def __init__(self, base: Settings, shape: Shape, say: Callable[[str], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="traffic-chaos-", dir="/tmp"))  # noqa: S108 - private, short
        self.folder.chmod(0o755)
        self.say = say
        self._shape = shape
        self.settings = base.model_copy(
            update={
                "data_dir": self.folder / "data",
                "database_url": None,
                "redis_url": None,
                "secret_key": "chaos-" + os.urandom(16).hex(),
                "demo": True,
                "partitions": 8,
                "bus_bytes_max": BUS_BYTES_MAX,
                "host": "127.0.0.1",
                "clock_rate": shape.clock_rate,
                "clock_offset_s": 0.0,
                "clock_origin_us": Clock().now_us(),
                "log_level": "info",
            }
        )
        self.embedded = Embedded(self.settings)
        self.processes: list[Process] = []
        self.unexpected: list[str] = []  # processes that ended without having been hit

    def __enter__(self) -> "Instance":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def _start(self) -> None:
        self.embedded.start()
        self.settings = self.settings.model_copy(
            update={"database_url": self.embedded.database_url, "redis_url": self.embedded.redis_url}
        )
        prepare(self.settings)

    def start_processes(self) -> None:
        """Start what the shape wants, and wait until it serves."""
        shape = self._shape
        counts = {"worker": shape.workers, "monitor": shape.monitors, "doors": shape.doors, "api": shape.apis}
        for kind, count in counts.items():
            for number in range(1, count + 1):
                self.processes.append(self._process(kind, number))
        for process in self.processes:
            process.child.start()
        self.wait_ready()

    def _process(self, kind: str, number: int) -> Process:
        ports = dict(zip(checks.PORTS, free_ports(len(checks.PORTS)), strict=True))
        serving = {"doors": ports["door_port"], "api": ports["port"]}.get(kind)
        address = f"http://127.0.0.1:{serving}" if serving else ""
        logs = self.settings.data_dir / "logs"
        logs.mkdir(exist_ok=True)
        child = Child(
            part=Part(
                name=f"{kind} {number}",
                command=Part.command_of(kind),
                health=f"{address}/readyz" if address else None,
            ),
            log=logs / f"{kind}-{number}.log",
            environment=checks.environment(self.settings.model_copy(update=ports), os.environ),
            say=self.unexpected_say,
        )
        return Process(kind=kind, child=child, address=address)

    def unexpected_say(self, line: str) -> None:
        """A child ended by itself."""
        self.unexpected.append(line)
        self.say(line)

    def of_kind(self, kind: str) -> list[Process]:
        """Its processes of one kind."""
        return [process for process in self.processes if process.kind == kind]

    @property
    def doors(self) -> list[str]:
        """Addresses of the doors."""
        return [process.address for process in self.of_kind("doors")]

    @property
    def apis(self) -> list[str]:
        """Addresses of the APIs."""
        return [process.address for process in self.of_kind("api")]

    def service(self, name: str) -> Service:
        """`redis` or `postgres`."""
        found = self.embedded.redis if name == "redis" else self.embedded.postgres
        assert found is not None
        return found

    def demo(self) -> dict[str, list[dict[str, str]]]:
        """The demonstration's secrets."""
        return json.loads((self.settings.data_dir / "demo.json").read_bytes())  # type: ignore[no-any-return]

    def connect(self) -> psycopg.Connection:
        """A connection of the harness as the cluster's superuser, who sees everything."""
        return database.connect(str(self.settings.database_url), None, autocommit=True, connect_timeout=5)

    # ------------------------------------------------------------ life

    def wait_ready(self) -> None:
        """Until every part serves; raises ServiceError naming the one that does not."""
        until = monotonic_s() + READY_S_MAX
        waiting = list(self.processes)
        while waiting := [process for process in waiting if not process.child.answers()]:
            for process in waiting:
                process.child.watch()
            if monotonic_s() > until:
                raise ServiceError(f"{waiting[0].child.part.name} does not serve (log: {waiting[0].child.log})")
            signal.sigtimedwait([], POLL_S)

    async def keep(self) -> None:
        """Start again what ended without having been hit, until cancelled."""
        while True:
            for process in self.processes:
                if not process.held:
                    process.child.watch()
            await asyncio.sleep(WATCH_S)

    async def settle(self) -> None:
        """Until every process runs and serves again after the last blow; raises ServiceError."""
        for process in self.processes:
            until = monotonic_s() + READY_S_MAX
            while not await asyncio.to_thread(process.child.answers):
                if monotonic_s() > until:
                    raise ServiceError(f"{process.child.part.name} does not come back (log: {process.child.log})")
                await asyncio.sleep(POLL_S)

    def keep_logs(self) -> Path:
        """A folder with the logs of all parts that outlives the instance."""
        kept = Path(tempfile.mkdtemp(prefix="traffic-chaos-logs-", dir="/tmp"))  # noqa: S108 - private, short
        shutil.copytree(self.settings.data_dir / "logs", kept, dirs_exist_ok=True)
        return kept

    def stop(self) -> None:
        """Doors, workers, monitors, APIs, services; then the folder."""
        groups = [[p.child for p in self.of_kind(kind)] for kind in ("doors", "worker", "monitor", "api")]
        stop_all(groups)
        self.embedded.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback address on which nobody listens now."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def how_ended(child: Child) -> str:
    """In words, for the report."""
    return ending(child.process.poll() if child.process else None)
