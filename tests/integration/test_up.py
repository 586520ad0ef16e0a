"""`traffic up` with its real parts: it serves, its logins work, and it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from dashboards.checks import PORTS
from tests.conftest import free_port, wait_until
from tests.integration.test_supervisor import Instance
from traffic.settings import HOUSE


def started(folder: Path, **settings: str) -> Instance:
    """An instance of the real command, its output in a file."""
    ports = {f"TRAFFIC_{name.upper()}": str(free_port()) for name in PORTS}
    instance = Instance(folder=folder, settings={**ports, **settings})
    environment = {**os.environ, "TRAFFIC_DATA_DIR": str(folder), **instance.settings}
    with folder.with_name(f"{folder.name}.out").open("wb") as out:
        command = [sys.executable, "-m", "dashboards.cli", "up"]
        instance.process = subprocess.Popen(command, cwd=HOUSE, env=environment, stdout=out, stderr=out)
    return instance


def test_the_whole_system_serves_its_demonstration_and_stops_whole(open_folder: Path) -> None:
    instance = started(open_folder / "up")
    try:
        instance.wait_up()
        address = f"http://127.0.0.1:{instance.settings['TRAFFIC_PORT']}"
        assert httpx.get(f"{address}/healthz").status_code == 200
        page = httpx.get(f"{address}/")
        assert page.status_code == 200 and "<html" in page.text
        person = json.loads((instance.folder / "demo.json").read_bytes())["people"][0]
        assert f"  {person['login']}" in instance.said() and person["password"] in instance.said()
        with httpx.Client(base_url=address, headers={"Origin": address}) as client:
            answer = client.post("/api/login", json={"login": person["login"], "password": person["password"]})
            assert answer.status_code == 200, answer.text

            def passages() -> bool:
                lines = client.get("/metrics").text.splitlines()
                return any(line.startswith("traffic_worker_records{") and float(line.split()[-1]) > 0 for line in lines)

            wait_until(passages, 90, "passages of the twin in the workers' figures")
    finally:
        instance.signal(signal.SIGTERM)
        code = instance.wait_end()
    assert code == 0
    assert "Traceback" not in instance.said()
    assert not [line for line in instance.said().splitlines() if "again in" in line], instance.said()
