"""Kernel of `night_running`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say
from traffic.vehicles.keyed.kernels.motion import local_day, local_minute

_FROM, _TO, _MOVING, _RUNNING, _STEP = range(5)


@part
def step(memory, evidence, s, p, out):
    """One passage or position more of a vehicle, by time."""
    if s["kind"] == shapes.POSITION and not s["speed_kmh"] >= p[_MOVING]:
        return
    minute = local_minute(s["at"])
    night = local_day(s["at"])
    if p[_FROM] < p[_TO]:
        if minute < p[_FROM] or minute >= p[_TO]:
            return
    elif minute < p[_FROM] and minute >= p[_TO]:
        return
    elif minute < p[_TO]:
        night -= 1  # it began the day before
    if memory["night_day"] != night or memory["night_rule"] != s["night_rule"]:
        memory["night_day"] = night
        memory["night_rule"] = s["night_rule"]
        memory["night_seen"] = 0
        memory["night_next"] = 0
        evidence[shapes.NIGHT_FIRST] = s
    memory["night_seen"] += 1
    first = evidence[shapes.NIGHT_FIRST]
    if memory["night_next"] == 0 and s["kind"] == shapes.POSITION and s["at"] - first["at"] < p[_RUNNING]:
        return
    if s["at"] >= memory["night_next"]:
        memory["night_next"] = s["at"] + np.int64(p[_STEP])
        event = say(out, shapes.NIGHT, s["night_rule"], night, 0, 0)
        event["a"] = (s["at"] - first["at"]) * 1e-6
        event["b"] = memory["night_seen"]
        prove(out, first)
        if s["at"] != first["at"] or s["source"] != first["source"]:
            prove(out, s)
