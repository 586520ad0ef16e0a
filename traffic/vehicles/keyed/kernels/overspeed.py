"""Kernel of `overspeed`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say

_LIKELY_KMH_MAX = 180.0  # a terminal that tells more is at fault
_SHARE, _FOR, _BACK, _GAP, _LIMIT, _POSITIONS = range(6)


@part
def step(memory, evidence, s, p, out):
    """One position more of a vehicle, by time."""
    limit = np.float64(s["limit_kmh"])
    if p[_LIMIT] > 0 and (limit == 0 or p[_LIMIT] < limit):
        limit = p[_LIMIT]
    speed = np.float64(s["speed_kmh"])
    if not (speed >= 0 and speed <= _LIKELY_KMH_MAX) or limit <= 0:
        return
    if memory["over_from"] > 0:
        gone = s["at"] - memory["over_to"] > p[_GAP] or memory["over_rule"] != s["overspeed_rule"]
        if gone or speed <= limit * p[_SHARE] - p[_BACK]:
            if memory["over_told"]:
                _tell(memory, evidence, p, 1, out)
            memory["over_from"] = 0
            memory["over_told"] = 0
    if memory["over_from"] == 0:
        if speed > limit * p[_SHARE]:
            memory["over_from"] = memory["over_to"] = s["at"]
            memory["over_rule"] = s["overspeed_rule"]
            memory["over_seen"] = 1
            memory["over_peak"] = speed / limit
            evidence[shapes.OVER_FIRST] = s
            evidence[shapes.OVER_PEAK] = s
    else:
        memory["over_to"] = s["at"]
        memory["over_seen"] = min(255, memory["over_seen"] + 1)
        if speed / limit > memory["over_peak"]:
            memory["over_peak"] = speed / limit
            evidence[shapes.OVER_PEAK] = s
    enough = memory["over_seen"] >= p[_POSITIONS] and s["at"] - memory["over_from"] >= p[_FOR]
    if memory["over_from"] > 0 and not memory["over_told"] and enough:
        memory["over_told"] = 1
        _tell(memory, evidence, p, 0, out)
        prove(out, s)


@part
def _tell(memory, evidence, p, over, out):
    peak = evidence[shapes.OVER_PEAK]
    event = say(out, shapes.OVERSPEED, memory["over_rule"], memory["over_from"], 0, over)
    event["a"] = peak["speed_kmh"]
    event["b"] = peak["speed_kmh"] / memory["over_peak"]
    event["c"] = (memory["over_to"] - memory["over_from"]) * 1e-6
    event["d"] = memory["over_peak"] - 1.0
    prove(out, evidence[shapes.OVER_FIRST])
    if peak["at"] != memory["over_from"]:
        prove(out, peak)
