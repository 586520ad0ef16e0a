"""Kernels of the watch-list: which plates of a stream could concern it. Nearly none does, so this is what it costs."""

import numpy as np

from traffic.vehicles.compiled import kernel, number, part, read, types

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_PLACES = 8  # characters of a reversible key, 7 bits each

_WORDS, _KEYS, _BRANCHES, _YES = read(np.uint64), read(np.int64), read(np.int32), read(np.bool_)
_EDGES, _STACK = read(np.int32, 2), types.Array(types.int64, 1, "C")


@part
def holds(key, words, shift, keys):
    """Whether sorted `keys` hold this one; two bits in one word of the filter say no at once to nearly all others."""
    mixed = np.uint64(key) * _MULTIPLIER
    word = words[mixed >> shift]
    one = (word >> (mixed & np.uint64(63))) & np.uint64(1)
    two = (word >> ((mixed >> np.uint64(6)) & np.uint64(63))) & np.uint64(1)
    if not one & two:
        return False
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < len(keys) and keys[low] == key


@part
def is_near(key, words, shift, keys):
    """Whether the plate without one of its characters is among `keys`."""
    place = 0
    while place < _PLACES and key >> (7 * place):
        if holds(key & ~(np.int64(127) << np.int64(7 * place)), words, shift, keys):
            return True
        place += 1
    return False


@kernel(number, number, _BRANCHES, _EDGES, types.uint64, _YES, _STACK, _STACK)
def pattern_ends(key, anything, edges, shift, is_end, stack, found):  # noqa: PLR0913 - as below
    """Nodes at which patterns end that this plate fits, into `found` until it is full; returns how many.

    A node's branch for any character is in `anything` (0: none), those for a certain one in `edges`, found by hash.
    """
    length = 0
    while length < _PLACES and key >> (7 * length):
        length += 1
    count, waiting = 0, 1
    stack[0] = 0  # node * 16 + depth
    while waiting > 0 and count < len(found):
        waiting -= 1
        node, depth = stack[waiting] >> 4, stack[waiting] & 15
        if depth == length:
            if is_end[node]:
                found[count] = node
                count += 1
            continue
        if anything[node] > 0:
            stack[waiting] = (np.int64(anything[node]) << 4) | (depth + 1)
            waiting += 1
        edge = (node << 7) | ((key >> (7 * (length - 1 - depth))) & 127)
        slot = np.int64((np.uint64(edge) * _MULTIPLIER) >> shift)
        while edges[slot, 0] != edge and edges[slot, 0] >= 0:
            slot = (slot + 1) & (len(edges) - 1)
        if edges[slot, 0] == edge:
            stack[waiting] = (np.int64(edges[slot, 1]) << 4) | (depth + 1)
            waiting += 1
    return count


@kernel(
    types.Array(types.uint8, 1, "C"), read(np.int64, layout="A"), _WORDS, types.uint64, _KEYS, _WORDS, types.uint64,
    _KEYS, _BRANCHES, _EDGES, types.uint64, _YES, _YES,
)  # fmt: skip
def flags_of(  # noqa: PLR0913 - a kernel takes its columns one by one
    plate_keys, words, shift, keys, near_words, near_shift, near_keys, anything, edges, edge_shift, is_end, fronts
):
    """How each plate could concern the list: 1 it is watched, 2 it is one character away, 4 it fits a pattern.

    `fronts` knows of two first characters whether any pattern begins so.
    """
    flags = np.zeros(len(plate_keys), np.uint8)
    stack, found = np.empty(2 * _PLACES, np.int64), np.empty(1, np.int64)
    for row in range(len(plate_keys)):
        key = plate_keys[row]
        if key == 0:
            continue
        flag = 0
        if len(keys) > 0 and holds(key, words, shift, keys):
            flag |= 1
        if key > 0 and len(near_keys) > 0 and is_near(key, near_words, near_shift, near_keys):
            flag |= 2
        if key > 0 and len(is_end) > 1:
            front = key
            while front >> 14:
                front >>= 7
            if fronts[front] and pattern_ends(key, anything, edges, edge_shift, is_end, stack, found) > 0:
                flag |= 4
        flags[row] = flag
    return flags
