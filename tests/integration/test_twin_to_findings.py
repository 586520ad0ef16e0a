"""The main job on simulated input: the twin, the doors and a worker as processes of their own, ten times as fast."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.conftest import wait_until
from traffic import province
from traffic.settings import Settings

COMMAND = Path(sys.executable).with_name("traffic")
RATE = 10.0


@contextmanager
def part(name: str, settings: Settings) -> Iterator[subprocess.Popen]:
    """One process of the system, stopped by SIGTERM."""
    taken = settings.model_dump(mode="json", exclude_none=True)
    env = os.environ | {
        f"TRAFFIC_{key.upper()}": value if isinstance(value, str) else json.dumps(value) for key, value in taken.items()
    }
    with (settings.data_dir / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([COMMAND, name], env=env, stderr=log, stdout=log)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (settings.data_dir / f"{name}.log").read_text(encoding="utf-8")[-2_000:]
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)
def test_simulated_vehicles_become_stored_passages_watch_hits_and_a_section_finding(settings, database_url):
    settings = settings.model_copy(
        update={"clock_rate": RATE, "clock_origin_us": settings.clock.now_us(), "workers": 1}
    )  # fmt: skip
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    province.load_instance(settings)
    with (
        psycopg.connect(database_url, autocommit=True) as owner,
        part("doors", settings),
        part("worker", settings),
        part("twin", settings) as twin,
    ):

        def kinds() -> set[str]:
            assert twin.poll() is None, (settings.data_dir / "twin.log").read_text(encoding="utf-8")[-2_000:]
            return {row[0] for row in owner.execute("SELECT DISTINCT kind FROM finding")}

        wait_until(lambda: kinds() >= {"watch_hit", "section_speed"}, timeout=120, what="both kinds of findings")
        twin.send_signal(signal.SIGTERM)
        assert twin.wait(30) == 0
        truth = (settings.data_dir / "twin" / "truth.ndjson").read_text(encoding="utf-8").splitlines()
        stored = "SELECT count(*) FROM passage"
        wait_until(lambda: owner.execute(stored).fetchone()[0] >= len(truth), what=f"{len(truth)} passages")
        assert owner.execute(stored).fetchone()[0] == len(truth)
        assert owner.execute("SELECT count(*) FROM quarantine").fetchone()[0] == 0
        states = owner.execute("SELECT count(*) FROM device_status WHERE state = 'unregistered'").fetchone()[0]
        assert states == 10
