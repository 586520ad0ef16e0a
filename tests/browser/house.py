"""The real processes behind a screen: doors, worker, monitor and API, each killed or started again by a test."""

import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import psycopg

from dashboards import checks
from dashboards.children import Child, Part
from tests.conftest import wait_until
from tests.world import World
from traffic.settings import Settings

NAMES = ("doors", "worker", "monitor", "api")
STARTED = ("doors", "worker", "api")  # the monitor where a test names it: its cycles would overwrite a told story


class House:
    """One instance on this machine. `start` waits until a record can be posted and a screen be opened."""

    def __init__(self, settings: Settings, world: World, logs: Path) -> None:
        self.settings = settings
        self.world = world
        environment = checks.environment(settings.model_copy(update={"log_level": "warning"}), os.environ)
        health = {
            "doors": f"http://{settings.host}:{settings.door_port}/healthz",
            "worker": None,
            "monitor": None,
            "api": f"http://{settings.host}:{settings.port}/readyz",
        }
        self._children = {
            name: Child(
                part=Part(name=name, command=Part.command_of(name), health=health[name]),
                log=logs / f"{name}.log",
                environment=environment,
                say=print,
            )
            for name in NAMES
        }
        self._http = httpx.Client(trust_env=False, timeout=10)

    @property
    def address(self) -> str:
        """What a person types into the browser."""
        return f"http://{self.settings.host}:{self.settings.port}/"

    def start(self, *names: str) -> None:
        """Start these parts (those of STARTED where none is named) and wait until they serve."""
        for name in names or STARTED:
            self._children[name].start()
        for name in names or STARTED:
            wait_until(self._children[name].answers, 60, f"{name} serving")

    def play_monitor(self, owner: psycopg.Connection) -> None:
        """Hold the monitor's place: it seems to live for an hour, and a test says what it would have said."""
        owner.execute(
            "INSERT INTO part (kind, instance, started_at, seen_at, figures)"
            " VALUES ('monitor', 'stage', clock_timestamp(), clock_timestamp() + interval '1 hour', '{}')"
        )
        owner.execute(
            "UPDATE partition SET owner = 'stage', until = clock_timestamp() + interval '1 hour' WHERE kind = 'roads'"
        )

    def stop_playing(self, owner: psycopg.Connection) -> None:
        """The monitor's place stands empty since a minute."""
        owner.execute("UPDATE part SET seen_at = clock_timestamp() - interval '1 minute' WHERE kind = 'monitor'")

    def kill(self, name: str) -> None:
        """End a part as a power cut would."""
        process = self._children[name].process
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End everything at once; that a clean stop is clean is tested elsewhere."""
        for name, child in self._children.items():
            if child.is_running():
                self.kill(name)
        self._http.close()

    def now(self) -> datetime:
        """The time as this instance has it."""
        return self.settings.clock.now()

    def seen(self, gate: int, plate: str, *, ago_s: float = 0, at: datetime | None = None, **fields: object) -> None:
        """A vehicle passes a gate of the test road: posted at the native door until it is taken."""
        record = self.world.native_record(gate, at or self.now() - timedelta(seconds=ago_s), plate, **fields)
        wait_until(lambda: self.post(record).status_code == 200, 30, f"the passage of {plate} being taken")

    def report(self, detector: int, at: datetime, **fields: object) -> None:
        """A detector says what it saw until `at`."""
        answer = self._http.post(
            f"http://{self.settings.host}:{self.settings.door_port}/api/detector-reports",
            json=[self.world.detector_report(detector, at, **fields)],
            headers={"Authorization": f"Bearer {self.world.native_key}"},
        )
        assert answer.status_code == 200, answer.text

    def post(self, record: dict[str, object]) -> httpx.Response:
        """One attempt to hand in a record."""
        return self._http.post(
            f"http://{self.settings.host}:{self.settings.door_port}/api/passages",
            json=[record],
            headers={"Authorization": f"Bearer {self.world.native_key}"},
        )
