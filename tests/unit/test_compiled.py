"""The kernels: compiled once, found again by their sources, and no burden to who needs none."""

import subprocess
import sys
from pathlib import Path

import pytest

from traffic.vehicles import compiled

LIGHT = ("traffic.ingest.server", "dashboards.app", "dashboards.cli", "traffic.monitor", "sim.twin")


def test_processes_without_rules_do_not_bring_the_compiler() -> None:
    program = (
        f"import importlib, sys\nfor name in {LIGHT}: importlib.import_module(name)\nprint('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_a_kernel_rests_on_is_part_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {path.name for path in compiled._sources("traffic.vehicles.clone_kernels")}
    assert {"clone_kernels.py", "index_kernels.py", "ring_kernels.py", "cloned_plate.py", "limits.py"} <= sources
    before = compiled._folder("traffic.vehicles.clone_kernels")
    changed = tmp_path / "changed.py"
    changed.write_text("RING = 8\n")
    monkeypatch.setattr(compiled, "_sources", lambda module: [changed])
    compiled._folder.cache_clear()
    try:
        assert compiled._folder("traffic.vehicles.clone_kernels") != before
    finally:
        compiled._folder.cache_clear()


def test_where_the_sources_cannot_be_written_beside_it_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "HERE", tmp_path)
    monkeypatch.setattr(compiled.os, "access", lambda path, mode: False)
    compiled._place.cache_clear()
    try:
        assert tmp_path not in compiled._place().parents
    finally:
        compiled._place.cache_clear()


def test_once_compiled_nothing_is_left_to_do() -> None:
    compiled.ensure()
    assert compiled.is_ready()
