"""Kernel of `overdue_arrival`: one sighting more of a vehicle. What the rule says and why stands there."""

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say

_STANDING_KMH = 3.0


@part
def step(memory, evidence, s, out):
    """One passage or position more of a vehicle, by time; the passage before stands in its evidence yet."""
    if memory["due_told"]:
        _tell(memory, evidence, s, 1, out)
        memory["due_told"] = 0
        memory["due_s"] = memory["due_at"] = 0
    if s["kind"] == shapes.PASSAGE:
        memory["due_rule"] = s["overdue_rule"]
        memory["due_s"] = s["value"] if s["overdue_rule"] != 0 else 0
    rests = s["kind"] == shapes.POSITION and (s["road"] == 0 or s["speed_kmh"] < _STANDING_KMH)
    memory["due_at"] = s["at"] + memory["due_s"] * 1_000_000 if memory["due_s"] > 0 and not rests else 0


@part
def mark(memory, evidence, s, out):
    """A tick found the time run out, or the next checkpoint silent."""
    if memory["due_at"] == 0 or memory["due_told"]:
        return
    if s["flags"] & shapes.QUIET:
        memory["due_s"] = memory["due_at"] = 0
    elif s["at"] >= memory["due_at"]:
        memory["due_told"] = 1
        _tell(memory, evidence, s, 0, out)


@part
def _tell(memory, evidence, s, over, out):
    last = evidence[shapes.LAST_PASSAGE]
    event = say(out, shapes.OVERDUE, memory["due_rule"], last["at"], last["source"], over)
    event["a"] = (s["at"] - last["at"]) * 1e-6
    event["b"] = memory["due_s"]
    event["c"] = (s["at"] - memory["due_at"]) * 1e-6
    prove(out, last)
    if memory["last_is"] == 2:
        prove(out, evidence[shapes.LAST_POSITION])
    prove(out, s)
