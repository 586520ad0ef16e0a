"""All rules over the sightings of vehicles, as kernels: taken one by one by time, settled, judged anew after late ones.

What the rules say of a vehicle is a function of its sightings: `settled` holds what those behind the watermark came to,
the pending ones are folded upon it. `head` is the result, kept so that a sighting newer than all others costs one step.
When one comes that is not, everything pending is folded anew, without it and with it; the difference is what is told.
"""

import numpy as np
from numba import types

from traffic.vehicles.compiled import kernel, nothing, number, numbers, part, rows_of, together
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.kernels import (
    device_alarm,
    driving_time,
    geofence,
    long_stop,
    night_running,
    overdue_arrival,
    overspeed,
    position_mismatch,
    route_deviation,
)

BYTES = types.Array(types.uint8, 1, "C")
STORE = together(
    shapes.Store,
    rows_of(shapes.MEMORY), rows_of(shapes.SIGHTING, 2), rows_of(shapes.MEMORY), rows_of(shapes.SIGHTING, 2),
    rows_of(shapes.PERIOD, 2), rows_of(shapes.SIGHTING), numbers, numbers, numbers, numbers, numbers,
)  # fmt: skip
FRESH = together(shapes.Fresh, rows_of(shapes.SIGHTING), numbers, numbers, BYTES, rows_of(shapes.SIGHTING))
RULES = together(shapes.Rules, types.Array(types.int16, 1, "C"), types.Array(types.float64, 2, "C"))
_MATRICES = types.Array(types.float32, 3, "C")
WAYS = together(shapes.Ways, numbers, _MATRICES, _MATRICES)
OUT = together(shapes.Out, rows_of(shapes.EVENT), rows_of(shapes.SIGHTING, 2), numbers)


@part
def take(memory, evidence, periods, s, rules, ways, out):  # noqa: PLR0913, C901 - one line for each rule
    """One sighting more of a vehicle, behind all that were taken."""
    if s["kind"] == shapes.MARK:
        long_stop.mark(memory, evidence, s, out)
        geofence.mark(memory, evidence, s, out)
        overdue_arrival.mark(memory, evidence, s, out)
        return
    if s["kind"] == shapes.ALARM:
        row = rules.row_of[s["alarm_rule"]]
        if row >= 0:
            device_alarm.step(memory, evidence, s, rules.numbers[row], out)
        return
    if s["lon_e6"] == 0 and s["lat_e6"] == 0:
        return
    row = rules.row_of[s["driving_rule"]]
    if row >= 0:
        driving_time.step(memory, evidence, periods, s, rules.numbers[row], ways, out)
    row = rules.row_of[s["night_rule"]]
    if row >= 0:
        night_running.step(memory, evidence, s, rules.numbers[row], out)
    row = rules.row_of[s["overspeed_rule"]]
    if row >= 0 and s["kind"] == shapes.POSITION:
        overspeed.step(memory, evidence, s, rules.numbers[row], out)
    row = rules.row_of[s["stop_rule"] if s["stop_rule"] != 0 else memory["stop_rule"]]
    if row >= 0 and (s["stop_rule"] != 0 or memory["stop_from"] > 0):
        long_stop.step(memory, evidence, s, rules.numbers[row], out)
    if s["fence_a"] != 0 or memory["fence_a"] != 0 or memory["fence_b"] != 0:
        geofence.step(memory, evidence, s, rules, out)
    row = rules.row_of[s["route_rule"]]
    if row >= 0:
        route_deviation.step(memory, evidence, s, rules.numbers[row], out)
    if s["overdue_rule"] != 0 or memory["due_at"] > 0:
        overdue_arrival.step(memory, evidence, s, out)
    row = rules.row_of[s["mismatch_rule"]]
    if row >= 0:
        position_mismatch.step(memory, evidence, s, rules.numbers[row], out)
    memory["last_is"] = 1 if s["kind"] == shapes.PASSAGE else 2
    evidence[shapes.LAST_PASSAGE if s["kind"] == shapes.PASSAGE else shapes.LAST_POSITION] = s


@part
def fold(memory, evidence, periods, sightings, rules, ways, out):  # noqa: PLR0913 - a kernel's columns
    """All these sightings, which stand in order."""
    for n in range(len(sightings)):
        take(memory, evidence, periods, sightings[n], rules, ways, out)


@part
def is_before(a, b):
    """The order of sightings: by time, then kind, then record; so that equal times come the same way every time."""
    if a["at"] != b["at"]:
        return a["at"] < b["at"]
    if a["kind"] != b["kind"]:
        return a["kind"] < b["kind"]
    return a["source"] < b["source"]


@part
def _same_slot(a, b):
    """Whether two sightings are one: the same record, or positions or alarms of which only the first counts."""
    if a["kind"] != b["kind"]:
        return False
    if a["kind"] == shapes.POSITION:
        return a["at"] // shapes.POSITION_SLOT_US == b["at"] // shapes.POSITION_SLOT_US
    if a["kind"] == shapes.ALARM:
        return a["value"] == b["value"] and a["at"] // shapes.ALARM_SLOT_US == b["at"] // shapes.ALARM_SLOT_US
    return a["at"] == b["at"] and a["source"] == b["source"]


@part
def find_same(pending, s):
    """Number of the pending sighting that is one with `s`; -1: there is none."""
    for n in range(len(pending) - 1, -1, -1):
        if pending[n]["at"] < s["at"] - shapes.ALARM_SLOT_US:
            break
        if _same_slot(pending[n], s):
            return n
    return -1


@part
def insert(store, row, s, fate, displaced, at):  # noqa: PLR0913 - a kernel's columns
    """Put a sighting among the pending ones of a vehicle, or leave it out where it is known or not the first."""
    start, count = store.start[row], store.held[row]
    if s["at"] < store.settled_to[row]:
        return
    same = find_same(store.pending[start : start + count], s)
    fate[at] = 1
    if same >= 0:
        if not is_before(s, store.pending[start + same]):
            fate[at] = 0
            return
        fate[at] = 2
        displaced[at] = store.pending[start + same]
        for n in range(start + same, start + count - 1):
            store.pending[n] = store.pending[n + 1]
        count -= 1
    place = start + count
    while place > start and is_before(s, store.pending[place - 1]):
        store.pending[place] = store.pending[place - 1]
        place -= 1
    store.pending[place] = s
    store.held[row] = count + 1


@part
def _appended(store, row, fresh, begin, end):
    """Whether all fresh sightings of a vehicle come behind all that it has, in order."""
    last = store.start[row] + store.held[row] - 1
    if store.held[row] > 0 and not is_before(store.pending[last], fresh.sightings[begin]):
        return False
    for n in range(begin, end):
        if fresh.sightings[n]["at"] < store.settled_to[row]:
            return False
        if n > begin and not is_before(fresh.sightings[n - 1], fresh.sightings[n]):
            return False
    return True


@part
def refold(store, row, rules, ways, out):
    """The head of a vehicle anew, out of what is settled and what is pending."""
    store.head[row] = store.settled[row]
    for n in range(shapes.EVIDENCE):
        store.head_evidence[row, n] = store.settled_evidence[row, n]
    start = store.start[row]
    fold(
        store.head[row], store.head_evidence[row], store.periods[row],
        store.pending[start : start + store.held[row]], rules, ways, out,
    )  # fmt: skip


@part
def watch(store, row):
    """Note when the first timer of a vehicle runs out, and where it is expected."""
    memory = store.head[row]
    first = np.int64(0)
    for due in (memory["stop_due"], memory["fence_a_due"], memory["fence_b_due"]):
        if due > 0 and (first == 0 or due < first):
            first = due
    store.gate[row] = 0
    if memory["due_at"] > 0 and not memory["due_told"]:
        if first == 0 or memory["due_at"] < first:
            first = memory["due_at"]
        passage = store.head_evidence[row, shapes.LAST_PASSAGE]
        store.gate[row] = passage["checkpoint"] * 4 + passage["direction"]
    store.due[row] = first


@kernel(number, STORE, numbers, number, RULES, WAYS, OUT)
def refold_all(store, rows, begin, rules, ways, out):  # noqa: PLR0913 - a kernel's columns
    """The heads of these vehicles from number `begin` on; returns the first one left for want of room."""
    for n in range(begin, len(rows)):
        steps = store.held[rows[n]]
        if out.written[0] + steps * shapes.EVENTS_OF_SIGHTING_MAX > len(out.events) and n > begin:
            return n
        refold(store, rows[n], rules, ways, out)
        watch(store, rows[n])
    return len(rows)


@kernel(number, STORE, FRESH, number, RULES, WAYS, OUT)
def judge(store, fresh, begin, rules, ways, out):  # noqa: PLR0913 - a kernel's columns
    """Take in the fresh sightings of the vehicles from number `begin` on; returns the first one left for want of room.

    Direct events are told as they are; of a vehicle that got late sightings everything is said before and after.
    """
    for n in range(begin, len(fresh.rows)):
        row, first, end = fresh.rows[n], fresh.first[n], fresh.first[n + 1]
        steps = 2 * (store.held[row] + end - first)
        if out.written[0] + steps * shapes.EVENTS_OF_SIGHTING_MAX > len(out.events) and n > begin:
            return n
        out.written[1] = n
        if _appended(store, row, fresh, first, end):
            out.written[2] = shapes.DIRECT
            for at in range(first, end):
                had = store.held[row]
                insert(store, row, fresh.sightings[at], fresh.fate, fresh.displaced, at)
                if store.held[row] > had:
                    take(
                        store.head[row], store.head_evidence[row], store.periods[row], fresh.sightings[at], rules, ways,
                        out,
                    )  # fmt: skip
        else:
            out.written[2] = shapes.BEFORE
            refold(store, row, rules, ways, out)
            for at in range(first, end):
                insert(store, row, fresh.sightings[at], fresh.fate, fresh.displaced, at)
            out.written[2] = shapes.AFTER
            refold(store, row, rules, ways, out)
        watch(store, row)
    return len(fresh.rows)


@kernel(nothing, STORE, FRESH, number, RULES, WAYS, OUT)
def undo(store, fresh, upto, rules, ways, out):  # noqa: PLR0913 - a kernel's columns
    """Give the vehicles before number `upto` what was theirs before `judge`: their pending sightings, and the head."""
    for n in range(upto):
        row = fresh.rows[n]
        for at in range(fresh.first[n + 1] - 1, fresh.first[n] - 1, -1):
            if fresh.fate[at] == 0:
                continue
            start, count = store.start[row], store.held[row]
            place = find_same(store.pending[start : start + count], fresh.sightings[at])
            if place < 0:
                continue
            for later in range(start + place, start + count - 1):
                store.pending[later] = store.pending[later + 1]
            store.held[row] = count - 1
            if fresh.fate[at] == 2:
                insert(store, row, fresh.displaced[at], fresh.fate, fresh.displaced, at)
        out.written[0] = 0
        refold(store, row, rules, ways, out)
        watch(store, row)


@kernel(number, STORE, numbers, number, numbers, number, RULES, WAYS, OUT)
def settle(store, rows, begin, before, least, rules, ways, out):  # noqa: PLR0913 - a kernel's columns
    """Settle what is pending from before the moment `before[n]` of each of the vehicles, where it is at least so many.

    Returns the first one left for want of room.
    """
    for n in range(begin, len(rows)):
        row = rows[n]
        start, count = store.start[row], store.held[row]
        if out.written[0] + count * shapes.EVENTS_OF_SIGHTING_MAX > len(out.events) and n > begin:
            return n
        ready = 0
        while ready < count and store.pending[start + ready]["at"] < before[n]:
            ready += 1
        if ready < least or ready == 0:
            continue
        out.written[1], out.written[2] = row, shapes.SETTLED
        fold(
            store.settled[row], store.settled_evidence[row], store.periods[row],
            store.pending[start : start + ready], rules, ways, out,
        )  # fmt: skip
        for later in range(start, start + count - ready):
            store.pending[later] = store.pending[later + ready]
        store.held[row] = count - ready
        if before[n] > store.settled_to[row]:
            store.settled_to[row] = before[n]
    return len(rows)
