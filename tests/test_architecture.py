"""The house rules that a tool can hold: directions of imports, lint, and lock files without addresses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from traffic.settings import HOUSE

BIN = Path(sys.executable).parent


def outcome(*command: str) -> str:
    """What the tool said when it failed, else nothing."""
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=HOUSE, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_imports_run_one_way_and_decisions_do_no_io() -> None:
    assert not outcome("lint-imports", "--no-cache")


def test_the_code_is_linted() -> None:
    assert not outcome("ruff", "check", "--no-cache", ".")


def test_the_code_is_formatted() -> None:
    assert not outcome("ruff", "format", "--no-cache", "--check", ".")


def test_the_types_agree() -> None:
    assert not outcome("mypy")


def test_no_module_outgrows_its_subject() -> None:
    packages = [path for name in ("traffic", "sim", "dispatch", "dashboards") for path in (HOUSE / name).rglob("*.py")]
    sources = [path for path in packages if "node_modules" not in path.parts]
    long = {str(path.relative_to(HOUSE)): lines for path in sources if (lines := path.read_text().count("\n")) > 500}
    assert not long


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-node.lock"])
def test_python_lock_files_hold_versions_and_hashes_only(name: str) -> None:
    lines = (HOUSE / name).read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[\w.!+]+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert len(lines) > 1


def test_the_web_clients_lock_file_holds_no_address() -> None:
    text = (HOUSE / "dashboards/web/package-lock.json").read_text()
    assert '"integrity"' in text
    assert '"resolved"' not in text and "registry" not in text


def test_no_host_of_a_package_registry_stands_in_the_code() -> None:
    hosts = re.compile(
        "|".join(re.escape(name) for name in ("deb." + "debian", "pypi." + "org", "registry." + "npmjs"))
    )
    suffixes = {".py", ".toml", ".yaml", ".sql", ".md", ".ts", ".svelte", ".lock", ".json", ".npmrc", ""}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True, check=True).stdout
    named = [
        name
        for name in listed.split("\0")
        if name and Path(name).suffix in suffixes and (HOUSE / name).is_file()
        and hosts.search((HOUSE / name).read_text(encoding="utf-8", errors="ignore"))
    ]  # fmt: skip
    assert not named
