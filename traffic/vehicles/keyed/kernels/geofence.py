"""Kernel of `geofence`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say

_DWELL, _MARGIN, _SILENT_US = range(3)
_BY_SIGHTING, _BY_SILENCE = 1, 2
_FAR_M = 1e9


@part
def step(memory, evidence, s, rules, out):
    """One passage or position more of a vehicle, by time; `rules`: the numbers of each rule, and where they stand."""
    if memory["fence_a"] != 0:
        row = rules.row_of[memory["fence_a_rule"]]
        if row < 0 or _border_m(s, memory["fence_a"], memory["fence_a_rule"]) > rules.numbers[row, _MARGIN]:
            if memory["fence_a_told"]:
                _tell_a(memory, evidence, s, 1, 0, out)
            memory["fence_a"] = memory["fence_a_told"] = 0
            memory["fence_a_due"] = 0
    if memory["fence_b"] != 0:
        row = rules.row_of[memory["fence_b_rule"]]
        if row < 0 or _border_m(s, memory["fence_b"], memory["fence_b_rule"]) > rules.numbers[row, _MARGIN]:
            if memory["fence_b_told"]:
                _tell_b(memory, evidence, s, 1, 0, out)
            memory["fence_b"] = memory["fence_b_told"] = 0
            memory["fence_b_due"] = 0
    if s["fence_a"] != 0 and s["fence_a_m"] <= 0:
        _enter(memory, evidence, s, s["fence_a"], s["fence_a_rule"])
    if s["fence_b"] != 0 and s["fence_b_m"] <= 0:
        _enter(memory, evidence, s, s["fence_b"], s["fence_b_rule"])
    _stay(memory, evidence, s, rules, out)


@part
def _stay(memory, evidence, s, rules, out):
    """Whether it has been inside for long enough."""
    if memory["fence_a"] != 0 and memory["fence_a_told"] != _BY_SIGHTING:
        p = rules.numbers[rules.row_of[memory["fence_a_rule"]]]
        memory["fence_a_due"] = 0 if memory["fence_a_told"] else s["at"] + np.int64(max(p[_DWELL], p[_SILENT_US]))
        if s["at"] - memory["fence_a_from"] >= p[_DWELL]:
            memory["fence_a_told"] = _BY_SIGHTING
            memory["fence_a_due"] = 0
            _tell_a(memory, evidence, s, 0, 0, out)
    if memory["fence_b"] != 0 and memory["fence_b_told"] != _BY_SIGHTING:
        p = rules.numbers[rules.row_of[memory["fence_b_rule"]]]
        memory["fence_b_due"] = 0 if memory["fence_b_told"] else s["at"] + np.int64(max(p[_DWELL], p[_SILENT_US]))
        if s["at"] - memory["fence_b_from"] >= p[_DWELL]:
            memory["fence_b_told"] = _BY_SIGHTING
            memory["fence_b_due"] = 0
            _tell_b(memory, evidence, s, 0, 0, out)


@part
def _border_m(s, fence, rule):
    """Metres from a sighting to the border of a fence under a rule, negative inside; far where it is not near."""
    if fence != 0 and s["fence_a"] == fence and s["fence_a_rule"] == rule:
        return np.float64(s["fence_a_m"])
    if fence != 0 and s["fence_b"] == fence and s["fence_b_rule"] == rule:
        return np.float64(s["fence_b_m"])
    return _FAR_M


@part
def _enter(memory, evidence, s, fence, rule):
    """Inside a fence: nothing where it was already, else the first of the two free places."""
    if memory["fence_a"] == fence or memory["fence_b"] == fence:
        return
    if memory["fence_a"] == 0:
        memory["fence_a"] = fence
        memory["fence_a_rule"] = rule
        memory["fence_a_from"] = s["at"]
        evidence[shapes.FENCE_A_FIRST] = s
    elif memory["fence_b"] == 0:
        memory["fence_b"] = fence
        memory["fence_b_rule"] = rule
        memory["fence_b_from"] = s["at"]
        evidence[shapes.FENCE_B_FIRST] = s


@part
def mark(memory, evidence, s, out):
    """A tick found a timer run out."""
    if memory["fence_a_due"] > 0 and s["at"] >= memory["fence_a_due"]:
        memory["fence_a_due"] = 0
        memory["fence_a_told"] = _BY_SILENCE
        _tell_a(memory, evidence, s, 0, 1, out)
    if memory["fence_b_due"] > 0 and s["at"] >= memory["fence_b_due"]:
        memory["fence_b_due"] = 0
        memory["fence_b_told"] = _BY_SILENCE
        _tell_b(memory, evidence, s, 0, 1, out)


@part
def _tell_a(memory, evidence, s, over, silent, out):  # noqa: PLR0913 - a kernel's columns
    event = say(out, shapes.FENCE, memory["fence_a_rule"], memory["fence_a"], memory["fence_a_from"], over)
    event["a"] = (s["at"] - memory["fence_a_from"]) * 1e-6
    event["b"] = silent
    prove(out, evidence[shapes.FENCE_A_FIRST])
    prove(out, s)


@part
def _tell_b(memory, evidence, s, over, silent, out):  # noqa: PLR0913 - a kernel's columns
    event = say(out, shapes.FENCE, memory["fence_b_rule"], memory["fence_b"], memory["fence_b_from"], over)
    event["a"] = (s["at"] - memory["fence_b_from"]) * 1e-6
    event["b"] = silent
    prove(out, evidence[shapes.FENCE_B_FIRST])
    prove(out, s)
