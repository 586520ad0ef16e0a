"""The kernels: plain loops over vehicles that numba compiles, once, ahead of time (`traffic setup`).

A module of kernels is imported by the functions that call them and not before, because most processes need none. What
was compiled is kept beside this file, under a name made of all kernels' sources: a changed kernel never meets an old
one, also where one calls the other.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
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
    "traffic.vehicles.watch_kernels",
)
_PREFIX, _READY = "kernels-", "ready"

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
    return numba.njit([result(*arguments)], cache=True, nogil=True, error_model="numpy")


part = numba.njit(cache=True, nogil=True, error_model="numpy")  # a function that kernels call


def is_ready() -> bool:
    """Whether everything was compiled, by these sources."""
    return (Path(_config.CACHE_DIR) / _READY).exists()


def ensure() -> None:
    """Load every kernel, compiled first where it is not yet, and forget those of other sources."""
    for module in KERNELS:
        import_module(module)
    if is_ready():
        return
    kept = Path(_config.CACHE_DIR)
    for old in kept.parent.glob(f"{_PREFIX}*"):
        if old != kept:
            shutil.rmtree(old, ignore_errors=True)
    (kept / _READY).touch()


def _cache_folder() -> Path:
    """Beside the sources where that may be written, else among the user's temporary files."""
    total = hashlib.sha256()
    for module in KERNELS:
        source = HERE.parent.parent / Path(*module.split(".")).with_suffix(".py")
        total.update(source.read_bytes() if source.exists() else b"")
    name = _PREFIX + total.hexdigest()[:16]
    beside = HERE / "__pycache__"
    place = beside if beside.exists() else HERE
    if os.access(place, os.W_OK) or (beside / name).is_dir():
        return beside / name
    return Path(tempfile.gettempdir()) / f"traffic-command-{os.getuid()}" / name


_config: Any = numba.config
_config.CACHE_DIR = str(_cache_folder())
