"""Kernel of `position_mismatch`: one sighting more of a vehicle. What the rule says and why stands there."""

import numpy as np

from traffic.vehicles.compiled import part
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels.events import prove, say
from traffic.vehicles.keyed.kernels.motion import apart_m, points_apart_m
from traffic.vehicles.keyed.position_mismatch import AWAY, AWAY_SILENT, AWAY_STILL

_STILL_M = 300.0  # between two positions: the terminal lies still
_BEND = 0.35  # a road bends between two positions by at most so much of their distance
_APART_US = 7_200_000_000  # two hours without a mismatch: another episode
_DAY_US = 86_400_000_000  # a terminal that was silent longer has no claim to be heard
_FAR, _GAP, _SILENT_US, _PASSAGES = range(4)


@part
def step(memory, evidence, s, p, out):
    """One passage or position more of a vehicle, by time; `evidence` holds the position before."""
    before = evidence[shapes.LAST_POSITION]
    if s["kind"] == shapes.PASSAGE:
        if before["at"] == 0:
            return
        since = s["at"] - before["at"]
        if since <= p[_GAP]:
            if not memory["waiting"]:
                memory["waiting"] = 1
                evidence[shapes.WAITING] = s
        elif p[_SILENT_US] <= since <= _DAY_US:
            _silent(memory, evidence, s, p, out)
        return
    if memory["waiting"]:
        memory["waiting"] = 0
        if s["at"] - before["at"] <= 2 * p[_GAP] and s["at"] - evidence[shapes.WAITING]["at"] <= p[_GAP]:
            _compare(memory, evidence, before, s, p, out)
    memory["silent_passages"] = 0


@part
def _compare(memory, evidence, before, s, p, out):  # noqa: PLR0913 - a kernel's columns
    """The passage that waits against the terminal's place at that moment."""
    passage = evidence[shapes.WAITING]
    share = (passage["at"] - before["at"]) / max(1, s["at"] - before["at"])
    lon = before["lon_e6"] + share * (np.float64(s["lon_e6"]) - before["lon_e6"])
    lat = before["lat_e6"] + share * (np.float64(s["lat_e6"]) - before["lat_e6"])
    away_m = points_apart_m(lon, lat, np.float64(passage["lon_e6"]), np.float64(passage["lat_e6"]))
    moved_m = apart_m(before, s)
    if away_m <= p[_FAR] + _BEND * moved_m:
        memory["mismatches"] = 0
        return
    if memory["mismatches"] == 0 or passage["at"] - memory["mismatch_at"] > _APART_US:
        memory["mismatches"] = 0
        memory["mismatch_rule"] = passage["mismatch_rule"]
        evidence[shapes.MISMATCH_FIRST] = passage
    memory["mismatches"] += 1
    memory["mismatch_at"] = passage["at"]
    first = evidence[shapes.MISMATCH_FIRST]
    event = say(out, shapes.MISMATCH, memory["mismatch_rule"], first["at"], first["source"], 0)
    event["a"] = AWAY_STILL if moved_m <= _STILL_M else AWAY
    event["b"] = away_m
    event["c"] = memory["mismatches"]
    event["d"] = moved_m
    prove(out, before)
    prove(out, passage)
    prove(out, s)


@part
def _silent(memory, evidence, s, p, out):
    """A camera saw a vehicle whose terminal has been silent for long."""
    if memory["silent_passages"] == 0:
        evidence[shapes.SILENT_FIRST] = s
    memory["silent_passages"] += 1
    if memory["silent_passages"] == np.int64(p[_PASSAGES]):
        first = evidence[shapes.SILENT_FIRST]
        before = evidence[shapes.LAST_POSITION]
        event = say(out, shapes.MISMATCH, s["mismatch_rule"], first["at"], first["source"], 0)
        event["a"] = AWAY_SILENT
        event["c"] = memory["silent_passages"]
        event["e"] = (s["at"] - before["at"]) * 1e-6
        prove(out, before)
        prove(out, first)
        if first["at"] != s["at"] or first["source"] != s["source"]:
            prove(out, s)
