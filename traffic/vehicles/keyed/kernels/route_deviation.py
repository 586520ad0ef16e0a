"""Kernel of `route_deviation`: one sighting more of a vehicle. What the rule says and why stands there."""

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say

_APART_US = 7_200_000_000  # nothing seen for two hours: another deviation


@part
def step(memory, evidence, s, p, out):
    """One passage or position more of a vehicle, by time."""
    off = s["flags"] & (shapes.ROUTE_LEFT | shapes.ROUTE_HOURS | shapes.ROUTE_NONE)
    kept = s["flags"] & shapes.ROUTE_KEPT
    if not off and not kept:
        return
    if memory["off_from"] > 0:
        apart = s["at"] - memory["off_to"] > _APART_US or memory["off_rule"] != s["route_rule"]
        if kept or apart:
            if memory["off_told"]:
                _tell(memory, evidence, s, 1, out)
            memory["off_from"] = 0
            memory["off_told"] = 0
    if not off:
        return
    if memory["off_from"] == 0:
        memory["off_from"] = s["at"]
        memory["off_rule"] = s["route_rule"]
        memory["off_why"] = off
        evidence[shapes.ROUTE_FIRST] = s
    memory["off_to"] = s["at"]
    if not memory["off_told"] and (s["kind"] == shapes.PASSAGE or s["at"] - memory["off_from"] >= p[0]):
        memory["off_told"] = 1
        _tell(memory, evidence, s, 0, out)


@part
def _tell(memory, evidence, s, over, out):
    first = evidence[shapes.ROUTE_FIRST]
    event = say(out, shapes.ROUTE, memory["off_rule"], memory["off_from"], 0, over)
    event["a"] = (memory["off_to"] - memory["off_from"]) * 1e-6
    event["b"] = memory["off_why"]
    prove(out, first)
    if s["at"] != first["at"] or s["source"] != first["source"]:
        prove(out, s)
