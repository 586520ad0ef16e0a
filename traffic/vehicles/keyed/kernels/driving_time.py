"""Kernel of `driving_time`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.driving_time import BY_DAY, BY_NIGHT, IN_7D, IN_24H
from traffic.vehicles.keyed.kernels.events import prove, say
from traffic.vehicles.keyed.kernels.motion import apart_m, night_share, way_s

_DAY_S, _WEEK_S = 86_400.0, 604_800.0
_FAR_APART_S = 600.0  # sightings farther apart say less about what happened between them
_NOISE_M = 40.0  # a standing terminal wanders so far
_KMH_MAX = 200.0  # faster from one sighting to the next: one of them is not of this vehicle
_DAY_LIMIT, _NIGHT_LIMIT, _REST, _LIMIT_24H, _LIMIT_7D, _MOVING, _STEP = range(7)


@part
def step(memory, evidence, periods, s, p, usual, out):  # noqa: PLR0913, C901 - a kernel reads from top to bottom
    """One passage or position more of a vehicle, by time; `p`: the rule's numbers."""
    if memory["drive_rule"] != s["driving_rule"]:  # another rule speaks now: its own count begins
        _forget(memory)
        memory["drive_rule"] = s["driving_rule"]
    if memory["last_is"] == 0:
        _begin(memory, evidence, s, p)
        return
    before = evidence[shapes.LAST_PASSAGE if memory["last_is"] == 1 else shapes.LAST_POSITION]
    gap_s = (s["at"] - before["at"]) * 1e-6
    away_m = apart_m(before, s)
    if gap_s <= 0.0 or away_m > 1_000.0 + gap_s * _KMH_MAX / 3.6:
        return
    if not _moved(before, s, gap_s, away_m, p[_MOVING]):
        memory["idle_s"] += gap_s
        if memory["idle_s"] >= p[_REST]:
            _close(memory, evidence, periods, 0.0, out)
        return
    way, least = way_s(before, s, away_m, usual)
    if memory["idle_s"] + gap_s - way >= p[_REST]:  # there may have been a rest
        if memory["drive_from"] == 0:
            _begin(memory, evidence, before, p)
        memory["drive_to"] = max(memory["drive_to"], before["at"])
        _close(memory, evidence, periods, min(least, gap_s), out)
        _begin(memory, evidence, s, p)
        return
    if memory["drive_from"] == 0:
        _begin(memory, evidence, before, p)
    memory["idle_s"] = 0.0
    memory["driven_s"] += gap_s
    memory["total_s"] += gap_s
    memory["night_s"] += gap_s * night_share(before["at"], s["at"])
    if gap_s > _FAR_APART_S:
        memory["blind_s"] += gap_s
    memory["drive_to"] = s["at"]
    if memory["exceeded"]:
        evidence[shapes.DRIVE_BEFORE] = s
    _look(memory, evidence, periods, s, p, out)


@part
def _moved(before, s, gap_s, away_m, moving_ms):
    """Whether the vehicle moved between two sightings: by its way, or because both say so."""
    if away_m - _NOISE_M >= moving_ms * gap_s:
        return True
    if gap_s > _FAR_APART_S:
        return False
    first = before["kind"] == shapes.PASSAGE or before["speed_kmh"] / 3.6 >= moving_ms
    then = s["kind"] == shapes.PASSAGE or s["speed_kmh"] / 3.6 >= moving_ms
    return first and then and away_m > 0.0


@part
def _begin(memory, evidence, s, p):
    """A period begins with a sighting that shows movement."""
    if s["kind"] == shapes.POSITION and not s["speed_kmh"] / 3.6 >= p[_MOVING]:
        return
    _forget(memory)
    memory["drive_from"] = memory["drive_to"] = s["at"]
    evidence[shapes.DRIVE_FIRST] = s


@part
def _forget(memory):
    memory["drive_from"] = memory["drive_to"] = 0
    memory["driven_s"] = memory["night_s"] = memory["blind_s"] = memory["idle_s"] = 0.0
    memory["exceeded"] = 0
    memory["told_steps"] = 0
    memory["look_day_s"] = memory["look_week_s"] = memory["total_s"]  # at once: the window moved while it rested


@part
def _close(memory, evidence, periods, more_s, out):
    """A rest: the period is over. `more_s`: driven between its last sighting and the next for certain."""
    if memory["drive_from"] == 0:
        memory["idle_s"] = 0.0
        return
    driven_s = memory["driven_s"] + more_s
    if driven_s >= 60.0:
        at = memory["periods"] % shapes.PERIODS
        periods[at]["from_s"] = memory["drive_from"] // 1_000_000
        periods[at]["to_s"] = memory["drive_to"] // 1_000_000 + np.int64(more_s)
        periods[at]["driven_s"] = driven_s
        memory["periods"] += 1
        memory["total_s"] += more_s
    if memory["exceeded"]:
        _tell(memory, evidence, evidence[shapes.DRIVE_BEFORE], 1, out)
    _forget(memory)


@part
def _look(memory, evidence, periods, s, p, out):
    """Whether a limit is passed that was not, or the next step behind one."""
    exceeded = memory["exceeded"]
    if memory["driven_s"] > p[_DAY_LIMIT]:
        exceeded |= BY_DAY
    if memory["night_s"] > p[_NIGHT_LIMIT]:
        exceeded |= BY_NIGHT
    if memory["total_s"] >= memory["look_day_s"]:
        memory["day_s"] = _sum(memory, periods, s["at"], _DAY_S)
        memory["look_day_s"] = memory["total_s"] + max(1.0, p[_LIMIT_24H] - memory["day_s"])
        if memory["day_s"] > p[_LIMIT_24H]:
            exceeded |= IN_24H
    if memory["total_s"] >= memory["look_week_s"]:
        memory["week_s"] = _sum(memory, periods, s["at"], _WEEK_S)
        memory["look_week_s"] = memory["total_s"] + max(1.0, p[_LIMIT_7D] - memory["week_s"])
        if memory["week_s"] > p[_LIMIT_7D]:
            exceeded |= IN_7D
    steps = np.int64(memory["driven_s"] / p[_STEP])
    if exceeded and (exceeded != memory["exceeded"] or steps > memory["told_steps"]):
        evidence[shapes.DRIVE_BEFORE] = s
        memory["exceeded"] = exceeded
        memory["told_steps"] = steps
        memory["day_s"] = _sum(memory, periods, s["at"], _DAY_S)
        memory["week_s"] = _sum(memory, periods, s["at"], _WEEK_S)
        _tell(memory, evidence, s, 0, out)


@part
def _sum(memory, periods, now_us, window_s):
    """Seconds driven in the window that ends now; of a period that reaches into it, its share by time."""
    now_s = now_us * 1e-6
    start_s = now_s - window_s
    own_s = (memory["drive_to"] - memory["drive_from"]) * 1e-6
    inside_s = min(own_s, memory["drive_to"] * 1e-6 - start_s)
    total = memory["driven_s"] * (inside_s / own_s if own_s > 0.0 else 1.0)
    last = memory["periods"]
    for number in range(max(0, last - shapes.PERIODS_COUNTED), last):
        period = periods[number % shapes.PERIODS]
        begin, end = np.float64(period["from_s"]), np.float64(period["to_s"])
        if end > start_s:
            whole = max(end - begin, 1.0)
            total += period["driven_s"] * min(1.0, (end - max(begin, start_s)) / whole)
    return total


@part
def _tell(memory, evidence, s, over, out):
    event = say(out, shapes.DRIVING, memory["drive_rule"], memory["drive_from"], 0, over)
    event["a"] = memory["driven_s"]
    event["b"] = memory["night_s"]
    event["c"] = memory["day_s"]
    event["d"] = memory["week_s"]
    event["e"] = memory["blind_s"]
    event["f"] = memory["exceeded"]
    prove(out, evidence[shapes.DRIVE_FIRST])
    prove(out, s)
