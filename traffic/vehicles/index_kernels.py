"""Kernels of the index from keys to rows: open addressing with linear probing, in one array of (key, row)."""

import numpy as np

from traffic.vehicles.compiled import kernel, number, numbers, part, read, rows_of
from traffic.vehicles.key_index import EMPTY, MISSING, SLOT

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@part
def slot_of(slots, key):
    """The slot that holds this key, else the empty one where the search ends. One slot at least is always empty."""
    mask = len(slots) - 1
    mixed = np.uint64(key) * _MULTIPLIER
    at = np.int64(mixed ^ (mixed >> np.uint64(32))) & mask
    while slots[at].row != EMPTY and slots[at].key != key:
        at = (at + 1) & mask
    return at


@kernel(numbers, read(SLOT), read(np.int64, layout="A"))
def find(slots, keys):
    """Row of each key, MISSING where there is none."""
    rows = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        row = slots[slot_of(slots, keys[i])].row
        rows[i] = row if row >= 0 else MISSING
    return rows


@kernel(number, rows_of(SLOT), read(np.int64, layout="A"), read(np.int64, layout="A"))
def put(slots, keys, rows):
    """Add keys, or give them other rows; returns how many slots were taken newly."""
    taken = 0
    for i in range(len(keys)):
        at = slot_of(slots, keys[i])
        if slots[at].row == EMPTY:
            slots[at].key = keys[i]
            taken += 1
        slots[at].row = rows[i]
    return taken


@kernel(number, rows_of(SLOT), read(np.int64, layout="A"))
def remove(slots, keys):
    """Take out keys: a slot stays marked, so that searches go on behind it. Returns how many were there."""
    gone = 0
    for i in range(len(keys)):
        at = slot_of(slots, keys[i])
        if slots[at].row >= 0:
            slots[at].row = MISSING
            gone += 1
    return gone
