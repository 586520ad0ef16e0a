"""Kernel of `long_stop`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say
from traffic.vehicles.keyed.kernels.motion import apart_m

_FOR, _STANDING, _RADIUS, _SILENT_US, _SEEN_US = range(5)
_BY_POSITION, _BY_SILENCE = 1, 2  # who told it; a position that confirms what silence told tells it again


@part
def step(memory, evidence, s, p, out):
    """One passage or position more of a vehicle, by time."""
    stands = s["kind"] == shapes.POSITION and (s["flags"] & shapes.STANDING_MATTERS) != 0 and s["stop_rule"] != 0
    if stands and s["speed_kmh"] > p[_STANDING]:
        stands = False
    if memory["stop_from"] > 0:
        first = evidence[shapes.STOP_FIRST]
        if not stands or s["stop_rule"] != memory["stop_rule"] or apart_m(first, s) > p[_RADIUS]:
            if memory["stop_told"]:
                _tell(memory, evidence, s, 1, 0, out)
            memory["stop_from"] = memory["stop_due"] = 0
            memory["stop_told"] = 0
    if not stands:
        return
    if memory["stop_from"] == 0:
        memory["stop_from"] = s["at"]
        memory["stop_rule"] = s["stop_rule"]
        evidence[shapes.STOP_FIRST] = s
    memory["stop_to"] = s["at"]
    if memory["stop_told"] != _BY_POSITION:
        # From the first position on it may be told by a tick, but not before the terminal was silent for a while.
        memory["stop_due"] = max(memory["stop_from"] + np.int64(p[_FOR]), s["at"] + np.int64(p[_SILENT_US]))
        if memory["stop_told"] or s["at"] - memory["stop_from"] < p[_SEEN_US]:
            memory["stop_due"] = 0
        if s["at"] - memory["stop_from"] >= p[_FOR]:
            memory["stop_told"] = _BY_POSITION
            memory["stop_due"] = 0
            _tell(memory, evidence, s, 0, 0, out)


@part
def mark(memory, evidence, s, out):
    """A tick found the timer run out."""
    if memory["stop_due"] > 0 and s["at"] >= memory["stop_due"]:
        memory["stop_due"] = 0
        memory["stop_told"] = _BY_SILENCE
        _tell(memory, evidence, s, 0, 1, out)


@part
def _tell(memory, evidence, s, over, silent, out):  # noqa: PLR0913 - a kernel's columns
    event = say(out, shapes.STOP, memory["stop_rule"], memory["stop_from"], 0, over)
    event["a"] = (s["at"] - memory["stop_from"]) * 1e-6
    event["b"] = (memory["stop_to"] - memory["stop_from"]) * 1e-6
    event["c"] = silent
    prove(out, evidence[shapes.STOP_FIRST])
    prove(out, s)
