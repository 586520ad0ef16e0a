"""The main job on simulated input: twin, doors, worker and monitor as processes of their own, ten times as fast."""

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
from traffic.clock import Clock
from traffic.demonstration import PEOPLE
from traffic.province_tables import model_province
from traffic.settings import Settings
from traffic.units import UnitTree

COMMAND = Path(sys.executable).with_name("traffic")
RATE = 10.0
LOGINS = {login: unit for login, _, unit, _, _ in PEOPLE}
WITH_SECTIONS = {"corps", "expressway", "squadron"}
WRONG_ON_ROADS = {"weather", "works", "sensor"}  # jams need minutes of real driving: see tests/physics
SEEN_WITHIN_S = 600  # of the demonstration's time, its cameras' memory included; how soon depends on the machine
TREE = UnitTree(model_province().units, model_province().parents, at=Clock().now())


def has_enough(owner: psycopg.Connection, login: str, unit: int) -> bool:
    """Whether a login has passages, a hit, on an expressway a measured section, and what is wrong on its roads."""
    gates = [
        gate.id for gate in model_province().checkpoints if unit in TREE.audience_of([gate.unit_id, *gate.corridor])
    ]
    passages = owner.execute("SELECT count(*) FROM passage WHERE checkpoint = ANY (%s)", [gates]).fetchone()
    kinds = owner.execute(
        "SELECT DISTINCT kind FROM finding WHERE %s = ANY (audience) AND visibility = 0", [unit]
    ).fetchall()
    wanted = {"watch_hit", "section_speed"} if login in WITH_SECTIONS else {"watch_hit"}
    events = owner.execute("SELECT DISTINCT kind FROM road_event WHERE %s = ANY (audience)", [unit]).fetchall()
    has_events = {row[0] for row in events} >= WRONG_ON_ROADS
    return bool(passages and passages[0] >= 10 and {row[0] for row in kinds} >= wanted and has_events)


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
def test_simulated_traffic_becomes_findings_and_events_for_each_login(settings, database_url):
    settings = settings.model_copy(
        update={"clock_rate": RATE, "clock_origin_us": settings.clock.now_us(), "workers": 1}
    )  # fmt: skip
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    province.load_instance(settings)
    with (
        psycopg.connect(database_url, autocommit=True) as owner,
        part("doors", settings),
        part("worker", settings),
        part("monitor", settings),
        part("twin", settings) as twin,
    ):

        def lacking() -> set[str]:
            assert twin.poll() is None, (settings.data_dir / "twin.log").read_text(encoding="utf-8")[-2_000:]
            return {login for login, unit in LOGINS.items() if not has_enough(owner, login, unit)}

        wait_until(lambda: not lacking(), timeout=120, what="something to see for each login")
        span_s = "SELECT extract(epoch FROM max(observed_at) - min(observed_at)) FROM passage"
        assert owner.execute(span_s).fetchone()[0] < SEEN_WITHIN_S
        twin.send_signal(signal.SIGTERM)
        assert twin.wait(30) == 0
        truth = (settings.data_dir / "twin" / "truth.ndjson").read_text(encoding="utf-8").splitlines()
        stored = "SELECT count(*) FROM passage"
        wait_until(lambda: owner.execute(stored).fetchone()[0] >= len(truth), what=f"{len(truth)} passages")
        assert owner.execute(stored).fetchone()[0] == len(truth)
        assert owner.execute("SELECT count(*) FROM quarantine").fetchone()[0] == 0
        crews, vehicles = (
            owner.execute("SELECT count(*) FROM position_latest WHERE subject_kind = %s", [kind]).fetchone()[0]
            for kind in (2, 1)
        )
        driving = sum(vehicle.drives for vehicle in model_province().key_vehicles)
        assert crews > 0.8 * len(model_province().crews) and vehicles > 0.8 * driving
        states = owner.execute("SELECT count(*) FROM device_status WHERE state = 'unregistered'").fetchone()[0]
        senders = owner.execute("SELECT count(*) FROM device WHERE kind = 'gat1400'").fetchone()[0]
        assert states == senders >= 10
