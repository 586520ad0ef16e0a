"""`traffic up` over real services: started in order, watched, stopped whole, and every refusal one sentence.

The parts are stand-ins (tests/fake_part.py); the real ones are started by tests/integration/test_up.py.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dashboards.checks import PORTS
from tests.conftest import free_port, wait_until
from traffic.settings import HOUSE

ADDRESS = "http://127.0.0.1:"


@dataclass(kw_only=True)
class Instance:
    """An instance that a test starts, signals and looks at."""

    folder: Path
    settings: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def journal(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.journal")

    def said(self) -> str:
        """Everything on standard output and error so far."""
        return self.folder.with_name(f"{self.folder.name}.out").read_text(encoding="utf-8")

    def events(self) -> list[str]:
        """Lines of the stand-ins' journal: "start worker-1 4711"."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def pid_of(self, name: str) -> int:
        """Process number of the newest stand-in of that name."""
        return [int(line.split()[2]) for line in self.events() if line.startswith(f"start {name} ")][-1]

    def start(self, **settings: str) -> "Instance":
        """Start the process without waiting for anything."""
        self.journal.unlink(missing_ok=True)
        environment = {**os.environ, "TRAFFIC_DATA_DIR": str(self.folder), **self.settings, **settings}
        with self.folder.with_name(f"{self.folder.name}.out").open("wb") as out:
            command = [sys.executable, "-m", "tests.supervised", str(self.journal)]
            self.process = subprocess.Popen(command, cwd=HOUSE, env=environment, stdout=out, stderr=out)
        return self

    def wait_up(self) -> "Instance":
        """Wait for the line with the address."""
        wait_until(lambda: ADDRESS in self.said() or self._ended(), 60, "the address")
        assert ADDRESS in self.said(), self.said()
        return self

    def wait_parts(self) -> "Instance":
        """Wait for the address, and until each of the six stand-ins has its signal handler."""
        self.wait_up()
        wait_until(lambda: sum(line.startswith("start ") for line in self.events()) >= 6, 60, "every part")
        return self

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor alone, as a service manager does."""
        assert self.process
        self.process.send_signal(number)

    def wait_end(self) -> int:
        """Exit code, and nothing of the instance is left."""
        assert self.process
        code = self.process.wait(60)
        wait_until(lambda: not self.left(), 10, "the end of everything of the instance")
        return code

    def left(self) -> list[int]:
        """Processes that belong to the instance: by their environment, or working in its folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                ours = f"TRAFFIC_DATA_DIR={self.folder}\0".encode() in (entry / "environ").read_bytes()
                ours = ours or os.readlink(entry / "cwd").startswith(f"{self.folder}/")
                if entry.name.isdigit() and ours and (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Path:
    """One data folder for these tests, so that the database is created once."""
    return open_folder / "supervised"


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    """An instance that is ended, whatever the test does."""
    ports = {f"TRAFFIC_{name.upper()}": str(free_port()) for name in PORTS}
    made = Instance(folder=folder, settings={**ports, "TRAFFIC_PARTITIONS": "4"})
    yield made
    if made.process and made.process.poll() is None:
        made.signal(signal.SIGTERM)
        try:
            made.process.wait(60)
        except subprocess.TimeoutExpired:
            made.process.kill()
            made.process.wait()


def test_everything_starts_in_order_and_stops_in_order(instance: Instance) -> None:
    instance.start().wait_parts()
    assert instance.said().count(ADDRESS) == 1
    assert f"{ADDRESS}{instance.settings['TRAFFIC_PORT']}\n" in instance.said()
    logins = [line for line in instance.said().splitlines() if line.startswith("  ")]
    assert any(line.split()[0] == "corps" for line in logins)
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0
    order = [line.rsplit(" ", 1)[0] for line in instance.events()]
    assert sorted(order[:5]) == ["start api", "start doors", "start monitor", "start worker-1", "start worker-2"]
    assert order[5:8] == ["start twin", "stop doors", "stop twin"]
    assert sorted(order[8:10]) == ["stop worker-1", "stop worker-2"]
    assert order[10:] == ["stop monitor", "stop api"]


def test_ctrl_c_many_times_stops_as_cleanly_as_once(instance: Instance) -> None:
    instance.start().wait_parts()
    for _ in range(3):
        instance.signal(signal.SIGINT)
    wait_until(lambda: "stopping" in instance.said(), what="the stop")
    instance.signal(signal.SIGINT)
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0
    assert "Traceback" not in instance.said()
    assert [line.split()[1] for line in instance.events() if line.startswith("stop")][-1] == "api"


@pytest.mark.parametrize("moment", ["lock", "services", "postgres", "child"])
def test_a_signal_during_the_start_leaves_nothing(instance: Instance, moment: str) -> None:
    folder = instance.folder
    reached = {
        "lock": lambda: (folder / "instance.lock").exists(),
        "services": lambda: (folder / "services.lock").exists(),
        "postgres": lambda: (folder / "postgres/postmaster.pid").exists(),
        "child": lambda: instance.events(),
    }[moment]
    instance.start()
    wait_until(reached, 60, moment)
    instance.signal(signal.SIGTERM)
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() in (0, -signal.SIGTERM)  # before the handlers stand, nothing has been started
    assert "Traceback" not in instance.said()
    assert not (folder / "children.json").exists()


def test_a_part_that_crashes_is_started_again(instance: Instance) -> None:
    instance.start().wait_parts()
    before = instance.pid_of("worker-2")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: instance.pid_of("worker-2") != before, what="the new worker")
    assert "worker 2 was ended by SIGKILL; again in 0.5 s" in instance.said()
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0


def test_a_service_that_crashes_is_started_again(instance: Instance) -> None:
    instance.start().wait_parts()
    pid = int((instance.folder / "postgres/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    file = instance.folder / "postgres/postmaster.pid"
    wait_until(lambda: file.exists() and int(file.read_text().split()[0]) != pid, 30, "the new PostgreSQL")
    assert "PostgreSQL has ended; starting it again" in instance.said()
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0


def test_a_second_instance_is_refused_by_the_lock(instance: Instance) -> None:
    instance.start().wait_parts()
    assert instance.process
    second = Instance(folder=instance.folder, settings=instance.settings)
    done = subprocess.run(
        [sys.executable, "-m", "dashboards.cli", "up"], capture_output=True, text=True, check=False, cwd=HOUSE,
        env={**os.environ, "TRAFFIC_DATA_DIR": str(second.folder), **second.settings},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"already runs (process {instance.process.pid})" in done.stderr
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0


def test_after_a_kill_of_the_supervisor_the_next_start_finds_a_clean_house(instance: Instance) -> None:
    instance.start().wait_parts()
    worker, doors = instance.pid_of("worker-1"), instance.pid_of("doors")
    os.kill(worker, signal.SIGSTOP)  # it cannot hear that its supervisor died
    instance.signal(signal.SIGKILL)
    assert instance.process
    instance.process.wait()
    instance.start().wait_parts()
    assert not {worker, doors} & set(instance.left())
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0


def test_a_taken_port_is_named_with_its_setting(instance: Instance) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        instance.start(TRAFFIC_DOOR_PORT=str(port))
        assert instance.wait_end() == 1
    assert instance.said().splitlines() == [
        f"traffic: port {port} of 127.0.0.1 is taken: stop the program that listens there, or set TRAFFIC_DOOR_PORT"
    ]


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("TRAFFIC_PORT", "many", "wrong setting: TRAFFIC_PORT"),
        ("TRAFFIC_DATA_DIR", "/proc/nowhere", "TRAFFIC_DATA_DIR /proc/nowhere cannot be used"),
        ("TRAFFIC_PREFIX_DIR", "/proc/nowhere", "TRAFFIC_PREFIX_DIR /proc/nowhere cannot be written"),
        ("TRAFFIC_HOST", "no-such-host.invalid", "TRAFFIC_HOST no-such-host.invalid"),
        ("TRAFFIC_DATABASE_URL", "postgresql://127.0.0.1:1/x", "TRAFFIC_DATABASE_URL: PostgreSQL cannot be used"),
        ("TRAFFIC_REDIS_URL", "redis://127.0.0.1:1", "TRAFFIC_REDIS_URL: Redis cannot be used"),
        ("TRAFFIC_PARTITIONS", "8", "TRAFFIC_PARTITIONS is 8, but this database was made with 4"),
    ],
)
def test_a_wrong_setting_is_one_sentence(instance: Instance, setting: str, value: str, sentence: str) -> None:
    instance.start().wait_parts() if setting == "TRAFFIC_PARTITIONS" and not instance.folder.exists() else None
    instance.start(**{setting: value})
    assert instance.wait_end() == 1
    complaints = [line for line in instance.said().splitlines() if line.startswith("traffic: ")]
    assert len(complaints) == 1 and sentence in complaints[0]
    assert "Traceback" not in instance.said()


def test_a_part_that_does_not_stop_is_killed(instance: Instance, tmp_path: Path) -> None:
    instance.start(TESTS_DEAF_PART="twin").wait_parts()
    instance.signal(signal.SIGTERM)
    assert instance.wait_end() == 0
    assert "twin does not stop" in instance.said()


def test_a_part_that_cannot_start_is_named_with_its_last_words(instance: Instance) -> None:
    instance.start(TESTS_BROKEN_PART="doors")
    assert instance.wait_end() == 1
    assert "doors does not start: this part is broken (log: " in instance.said()
    assert "Traceback" not in instance.said()
