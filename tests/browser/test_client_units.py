"""The client's own tests and types, run by its own tools."""

from pathlib import Path

import pytest

from dashboards import setup
from traffic import progress as steps
from traffic.progress import Progress


@pytest.mark.parametrize("script", ["test", "check"])
def test_the_clients_own_tools_find_no_fault(web_client: Path, tmp_path: Path, script: str):
    node = setup.machine_node(Progress()) or setup.python_node(Progress())
    done = steps.run(
        [str(node / "npm"), "run", "--silent", script],
        Progress(),
        cwd=web_client.parent,
        env={"PATH": f"{node}:/usr/bin:/bin", "CI": "true", "NO_COLOR": "1", "HOME": str(tmp_path)},
    )
    assert done.code == 0, done.out + done.err
