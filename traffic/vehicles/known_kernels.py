"""Kernels of the window of known records: the slots of one minute, and copies of a record within a batch."""

import numpy as np

from traffic.vehicles.compiled import kernel, nothing, number, numbers, part, types
from traffic.vehicles.known import CONTENT, IDENTITY, LOW, NEW, OTHER, PLACE, SAME

WORDS = types.Array(types.uint64, 1, "C")
SLOTS = types.Array(types.uint64, 2, "C")
_HALF = np.uint64(32)


@part
def slot_of(slots, identity, place):
    """The slot that holds a record, else the empty one (without doors) where the search ends."""
    mask = np.uint64(len(slots) - 1)
    at = identity & mask
    while (slots[at, PLACE] & LOW) != 0 and (slots[at, IDENTITY] != identity or slots[at, PLACE] >> _HALF != place):
        at = (at + np.uint64(1)) & mask
    return at


@kernel(nothing, SLOTS, numbers, WORDS, WORDS, numbers, numbers, numbers)
def probe(slots, index, identity, place, content, status, doors):  # noqa: PLR0913 - a record's columns
    """Status and doors of the records `index` that this minute holds; the others stay as they are."""
    for i in index:
        at = slot_of(slots, identity[i], place[i])
        held = slots[at, PLACE] & LOW
        if held != 0:
            status[i] = SAME if slots[at, CONTENT] == np.uint64(content[i]) else OTHER
            doors[i] = held


@kernel(number, SLOTS, numbers, WORDS, WORDS, numbers, WORDS)
def add(slots, index, identity, place, content, doors):
    """Remember the records `index`, for which there is room; of one that is known its doors are added. Returns news."""
    news = 0
    for i in index:
        at = slot_of(slots, identity[i], place[i])
        if slots[at, PLACE] & LOW == 0:
            slots[at, IDENTITY] = identity[i]
            slots[at, CONTENT] = np.uint64(content[i])
            slots[at, PLACE] = place[i] << _HALF
            news += 1
        slots[at, PLACE] |= doors[i]
    return news


@kernel(nothing, SLOTS, SLOTS)
def move(old, new):
    """Put all that a minute holds into wider slots."""
    for i in range(len(old)):
        if old[i, PLACE] & LOW != 0:
            at = slot_of(new, old[i, IDENTITY], old[i, PLACE] >> _HALF)
            for column in range(3):
                new[at, column] = old[i, column]


@kernel(nothing, WORDS, numbers, numbers, WORDS, numbers, numbers)
def know_repeats(identity, times, content, doors, status, masks):
    """A record that stands in the batch before is known by that one; its mask shows the doors of all before it."""
    size = 16
    while size < 2 * len(times):
        size *= 2
    first_at = np.full(size, -1, np.int64)
    so_far = np.zeros(len(times), np.int64)
    for i in range(len(times)):
        at = np.int64(identity[i] >> np.uint64(20)) & (size - 1)
        while first_at[at] >= 0 and (identity[first_at[at]] != identity[i] or times[first_at[at]] != times[i]):
            at = (at + 1) & (size - 1)
        first = first_at[at]
        if first < 0:
            first_at[at] = i
            so_far[i] = masks[i] | np.int64(doors[i])
            continue
        if status[first] == NEW:
            status[i] = SAME if content[i] == content[first] else OTHER
        masks[i] = so_far[first]
        so_far[first] |= np.int64(doors[i])
