"""Kernel of `device_alarm`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say

_BITS, _GAP, _STEP = range(3)


@part
def step(memory, evidence, s, p, out):
    """One alarm more of a vehicle, by time."""
    bits = np.int64(s["value"]) & np.int64(p[_BITS])
    told = 0
    for bit in range(32):
        if bits >> bit & 1 and told < shapes.ALARMS:
            told += 1
            _step_bit(memory, evidence, s, bit, p, out)


@part
def _step_bit(memory, evidence, s, bit, p, out):  # noqa: PLR0913 - a kernel's columns
    place, oldest = -1, 0
    for number in range(shapes.ALARMS):
        if memory["alarm_bit"][number] == bit + 1:
            place = number
        if memory["alarm_to"][number] < memory["alarm_to"][oldest]:
            oldest = number
    if place < 0 or s["at"] - memory["alarm_to"][place] > p[_GAP]:
        place = place if place >= 0 else oldest
        memory["alarm_bit"][place] = bit + 1
        memory["alarm_from"][place] = s["at"]
        memory["alarm_next"][place] = s["at"]
        evidence[shapes.ALARM_FIRST + place] = s
    memory["alarm_to"][place] = s["at"]
    if s["at"] < memory["alarm_next"][place]:
        return
    memory["alarm_next"][place] = s["at"] + np.int64(p[_STEP])
    event = say(out, shapes.ALARM_BIT, s["alarm_rule"], bit, memory["alarm_from"][place], 0)
    event["a"] = (s["at"] - memory["alarm_from"][place]) * 1e-6
    prove(out, evidence[shapes.ALARM_FIRST + place])
    if s["at"] != memory["alarm_from"][place]:
        prove(out, s)
