"""Kernels of the vehicles' memory: a batch laid out by vehicle, and rings that take observations in.

A vehicle's observations are ordered by (event time, record); an observation is known by both together.
"""

import numpy as np

from traffic.limits import RING_OBSERVATIONS
from traffic.plates import GROUP_OF_CLASS
from traffic.readings import PASSAGE
from traffic.vehicles.compiled import flags, kernel, number, numbers, part, read, rows_of, together
from traffic.vehicles.index_kernels import slot_of
from traffic.vehicles.key_index import EMPTY, MISSING, SLOT
from traffic.vehicles.state import FREE, IN_USE, OBSERVATION, SIZE, SLOTS_TAKEN, SPARE, VEHICLE, Fresh, Memory

RING = RING_OBSERVATIONS
_SORTED_BY_HAND_MAX = 32  # of one vehicle in a batch; more are sorted by a library
MEMORY = together(Memory, rows_of(SLOT), rows_of(VEHICLE), rows_of(OBSERVATION, 2), numbers, numbers)
FRESH = together(Fresh, rows_of(VEHICLE), rows_of(OBSERVATION, 2), numbers, numbers, rows_of(OBSERVATION))


@part
def is_before(a, b):
    """Whether one observation stands before another."""
    return a.observed_at < b.observed_at or (a.observed_at == b.observed_at and a.source_hash < b.source_hash)


@part
def is_same(a, b):
    """Whether two observations are one record."""
    return a.observed_at == b.observed_at and a.source_hash == b.source_hash


@part
def logical_of(key):
    """readings.logical_partitions of one key."""
    x = np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((x ^ (x >> np.uint64(31))) & np.uint64(63))


@part
def row_of(memory, key):
    """The row of a vehicle, made when it has none. There is room for it."""
    slots, vehicles, room = memory.slots, memory.vehicles, memory.room
    at = slot_of(slots, key)
    if slots[at].row >= 0:
        return slots[at].row
    if room[SPARE] > 0:
        room[SPARE] -= 1
        row = memory.spare[room[SPARE]]
    else:
        row = room[SIZE]
        room[SIZE] += 1
    if slots[at].row == EMPTY:
        slots[at].key = key
        room[SLOTS_TAKEN] += 1
    slots[at].row = row
    vehicles[row].key = key
    vehicles[row].newest = 0
    vehicles[row].start = 0
    vehicles[row].count = 0
    vehicles[row].logical = logical_of(key)
    room[IN_USE] += 1
    return row


@part
def observe(row, seen):
    """A PASSAGE as an OBSERVATION."""
    seen.observed_at = row.observed_at
    seen.source_hash = row.source_hash
    seen.checkpoint = row.checkpoint
    seen.speed_kmh = row.speed_kmh
    seen.direction = row.direction
    seen.lane = row.lane
    seen.vehicle_class = row.vehicle_class
    seen.body_color = row.body_color


@part
def sort(seen, first, last):
    """Order observations first..last by time and record; of equal ones the order stays."""
    if last - first > _SORTED_BY_HAND_MAX:
        unsorted, times = seen[first:last].copy(), np.empty(last - first, np.int64)
        for i in range(last - first):
            times[i] = unsorted[i].observed_at
        order = np.argsort(times, kind="mergesort")
        for i in range(last - first):
            seen[first + i] = unsorted[order[i]]
    held = np.empty(1, OBSERVATION)
    for i in range(first + 1, last):
        if is_before(seen[i], seen[i - 1]):
            held[0] = seen[i]
            at = i
            while at > first and is_before(held[0], seen[at - 1]):
                seen[at] = seen[at - 1]
                at -= 1
            seen[at] = held[0]


@part
def close_up(seen, first, count):
    """Sort each vehicle's observations, and take out those that stand there already."""
    kept = 0
    for v in range(count):
        begin, end = first[v], first[v + 1]
        first[v] = kept
        if end - begin > 1:
            sort(seen, begin, end)
        for i in range(begin, end):
            if kept > first[v] and is_same(seen[kept - 1], seen[i]):
                continue
            if kept != i:
                seen[kept] = seen[i]
            kept += 1
    first[count] = kept


@kernel(number, MEMORY, read(PASSAGE), FRESH)
def lay_out(memory, rows, batch):
    """Readable PASSAGE rows by vehicle, each record of a vehicle once, in order; of two copies the first stays.

    Fills `who`, `first` and `seen` of the batch; returns how many vehicles there are. Vehicles without a row get one,
    which holds nothing yet.
    """
    who, first, seen, count = batch.who, batch.first, batch.seen, 0
    place = np.full(len(rows), -1, np.int64)  # number of each row's vehicle in the batch
    next_of = np.zeros(len(rows) + 1, np.int64)  # of each vehicle: how many, then where the next one goes
    for i in range(len(rows)):
        if rows[i].plate_key == 0:
            continue
        plate_class = min(max(rows[i].plate_class, 0), 99)
        row = row_of(memory, (rows[i].plate_key << 3) | GROUP_OF_CLASS[plate_class])
        at = memory.vehicles[row].mark
        if at < 0 or at >= count or who[at] != row:
            at = count
            memory.vehicles[row].mark = at
            who[at] = row
            count += 1
        place[i] = at
        next_of[at] += 1
    first[0] = 0
    for v in range(count):
        first[v + 1] = first[v] + next_of[v]
        next_of[v] = first[v]
    for i in range(len(rows)):
        if place[i] >= 0:
            observe(rows[i], seen[next_of[place[i]]])
            next_of[place[i]] += 1
    close_up(seen, first, count)
    return count


@part
def unroll(vehicle, ring, held):
    """Copy a ring in order, the oldest first; returns how many there are."""
    for i in range(vehicle.count):
        held[i] = ring[(vehicle.start + i) % RING]
    return vehicle.count


@part
def unite(held, count, came, both, fresh):
    """What is held and what came (at most a ring's length each) in one order, what came marked as `fresh`.

    Left out is what is held already, and what is older than all of a full ring: between it and the ring observations
    have been forgotten, so that nothing can be concluded from it. Returns how many there are.
    """
    n, i = 0, 0
    for at in range(len(came)):
        if count == RING and is_before(came[at], held[0]):
            continue
        while i < count and is_before(held[i], came[at]):
            both[n] = held[i]
            fresh[n] = False
            n, i = n + 1, i + 1
        if i < count and is_same(held[i], came[at]):
            continue
        both[n] = came[at]
        fresh[n] = True
        n += 1
    while i < count:
        both[n] = held[i]
        fresh[n] = False
        n, i = n + 1, i + 1
    return n


@part
def keep_newest(both, n, held):
    """The newest of a union become what is held; returns how many."""
    kept = min(n, RING)
    for i in range(kept):
        held[i] = both[n - kept + i]
    return kept


@part
def is_in_order(vehicle, came):
    """Whether all that came of a vehicle is newer than all that is held of it."""
    return vehicle.count == 0 or came[0].observed_at > vehicle.newest


@part
def append(vehicle, ring, came):
    """Take in what is newer than all that is held."""
    for i in range(max(0, len(came) - RING), len(came)):
        ring[(vehicle.start + vehicle.count) % RING] = came[i]
        if vehicle.count == RING:
            vehicle.start = (vehicle.start + 1) % RING
        else:
            vehicle.count += 1
    vehicle.newest = came[len(came) - 1].observed_at


@kernel(number, FRESH, flags)
def merge(batch, dirty):
    """Take in a batch; of each vehicle the newest stay. Returns of how many vehicles nothing was held before."""
    held = np.empty(RING, OBSERVATION)
    both, fresh = np.empty(2 * RING, OBSERVATION), np.empty(2 * RING, np.bool_)
    strangers = 0
    for v in range(len(batch.who)):
        vehicle, ring = batch.vehicles[batch.who[v]], batch.rings[batch.who[v]]
        came = batch.seen[batch.first[v] : batch.first[v + 1]]
        dirty[vehicle.logical] = True
        strangers += vehicle.count == 0
        if is_in_order(vehicle, came):
            append(vehicle, ring, came)
            continue
        count = unroll(vehicle, ring, held)
        for begin in range(0, len(came), RING):
            n = unite(held, count, came[begin : begin + RING], both, fresh)
            count = keep_newest(both, n, held)
        for i in range(count):
            ring[i] = held[i]
        vehicle.start = 0
        vehicle.count = count
        vehicle.newest = held[count - 1].observed_at
    return strangers


@kernel(number, MEMORY, number, flags)
def release(memory, before_us, lost):
    """Vehicles that were not seen since, or whose logical partition is lost, leave; returns how many had been seen."""
    gone = 0
    for row in range(memory.room[SIZE]):
        vehicle = memory.vehicles[row]
        if vehicle.logical == FREE:
            continue
        if vehicle.count > 0 and vehicle.newest >= before_us and not lost[vehicle.logical]:
            continue
        gone += vehicle.count > 0
        memory.slots[slot_of(memory.slots, vehicle.key)].row = MISSING
        vehicle.logical = FREE
        vehicle.count = 0
        memory.spare[memory.room[SPARE]] = row
        memory.room[SPARE] += 1
        memory.room[IN_USE] -= 1
    return gone


@kernel(number, MEMORY, read(np.int64), read(np.int64), read(OBSERVATION))
def fill(memory, keys, counts, seen):
    """The vehicles of a page that was read, none of which is held; returns how many there are."""
    at = 0
    for v in range(len(keys)):
        row = row_of(memory, keys[v])
        vehicle = memory.vehicles[row]
        vehicle.start = 0
        vehicle.count = counts[v]
        for i in range(counts[v]):
            memory.rings[row, i] = seen[at]
            at += 1
        vehicle.newest = seen[at - 1].observed_at
    return len(keys)
