"""The kernels: plain loops over vehicles that numba compiles, once, ahead of time (`traffic setup`).

A module of kernels is imported by the functions that call them and not before, because most processes need none. What
was compiled is kept beside this file, under a name made of their sources: a changed kernel never meets an old one, also
where one calls the other, and a changed constant is seen.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types

HERE = Path(__file__).resolve().parent
KERNELS = (
    "traffic.vehicles.index_kernels",
    "traffic.vehicles.ring_kernels",
    "traffic.vehicles.section_kernels",
    "traffic.vehicles.clone_kernels",
    "traffic.vehicles.path_kernels",
    "traffic.vehicles.known_kernels",
    "traffic.vehicles.watch_kernels",
    "traffic.vehicles.keyed.kernels.fold",
    "traffic.vehicles.keyed.kernels.places",
    "traffic.vehicles.keyed.kernels.stretches",
)
_config: Any = numba.config
_PREFIX, _READY = "kernels-", "ready"
_IMPORT = re.compile(r"^from (traffic[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)

# Types of arguments.
nothing, number, real = types.void, types.int64, types.float64
numbers = types.Array(types.int64, 1, "C")
flags = types.Array(types.boolean, 1, "C")


def rows_of(dtype: np.dtype, dimensions: int = 1) -> Any:
    """The type of a packed array of records that a kernel writes."""
    return types.Array(numba.from_dtype(dtype), dimensions, "C", aligned=False)


def read(dtype: Any, dimensions: int = 1, layout: Any = "C") -> Any:
    """The type of an array that a kernel only reads."""
    kind = np.dtype(dtype)
    element: Any = numba.from_dtype(kind)
    return types.Array(element, dimensions, layout, readonly=True, aligned=kind.names is None)


def together(of: type, *parts: Any) -> Any:
    """The type of a NamedTuple: arrays that kernels hand on together."""
    return types.NamedTuple(parts, of)


def kernel(result: Any, *arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile (or load) a function for just these types. It may run beside other threads, and never checks bounds."""
    return lambda function: _compiled(function, [result(*arguments)])


def part(function: Callable[..., Any]) -> Any:
    """A function that kernels call."""
    return _compiled(function, None)


def _compiled(function: Callable[..., Any], types_of_it: Any) -> Any:
    _config.CACHE_DIR = str(_folder(function.__module__))
    return numba.njit(types_of_it, cache=True, nogil=True, error_model="numpy")(function)


def is_ready() -> bool:
    """Whether everything was compiled, by these sources."""
    return all((_folder(module) / _READY).exists() for module in KERNELS)


def ensure() -> None:
    """Load every kernel, compiled first where it is not yet, and forget those of other sources."""
    for module in KERNELS:
        import_module(module)
    if is_ready():
        return
    for module in KERNELS:
        (_folder(module) / _READY).touch()
    kept = {_folder(module) for module in sys.modules if module.startswith("traffic.vehicles.")}
    for old in _place().glob(f"{_PREFIX}*"):
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)


@cache
def _folder(module: str) -> Path:
    """Where what a module's kernels were compiled to is kept."""
    total = hashlib.sha256()
    for source in _sources(module):
        total.update(source.read_bytes())
    name = f"{_PREFIX}{module.rpartition('.')[2]}-{total.hexdigest()[:16]}"
    return _place() / name


@cache
def _place() -> Path:
    """Beside the sources where that may be written (or a set-up has left all there), else among temporary files."""
    beside = HERE / "__pycache__"
    if os.access(beside if beside.exists() else HERE, os.W_OK) or any(beside.glob(f"{_PREFIX}*/{_READY}")):
        return beside
    return Path(tempfile.gettempdir()) / f"traffic-command-{os.getuid()}"


def _sources(module: str) -> list[Path]:
    """A module of kernels with those of kernels that they call, and the modules that they take constants from."""
    found: dict[Path, None] = {Path(__file__).resolve(): None}
    waiting = [module]
    while waiting:
        path = HERE.parent.parent / Path(*waiting.pop().split(".")).with_suffix(".py")
        if path in found or not path.exists():
            continue
        found[path] = None
        text = path.read_text(encoding="utf-8")
        if __name__ not in text:
            continue  # no kernels: what it says counts, but not what it rests on
        for source, names in _IMPORT.findall(text):
            waiting += [source, *(f"{source}.{name}" for name in re.findall(r"\w+", names))]
    return sorted(found)
