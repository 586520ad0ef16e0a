"""The watch-list as the kernels look through it: watched plates, plates without one character, patterns.

Patterns (吉A12?4*) stand in a tree: a plate walks down the branches that its characters fit, at most 2^8 of them
however long the list is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from traffic.plates import ALPHABET

PLACES = 8  # characters that a reversible key holds
IS_WATCHED, IS_NEAR, FITS = 1, 2, 4  # flags of a plate
_ANY = 0  # code of `?` in the tree; those of characters begin at 1
_CODE = {character: number for number, character in enumerate(ALPHABET, start=1)}
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_NONE = -1
_ENDS_MAX = 1 << PLACES


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """Sorted keys behind a filter of two bits a key."""

    keys: np.ndarray
    words: np.ndarray
    shift: np.uint64

    @classmethod
    def of(cls, keys: np.ndarray) -> "KeySet":
        """Of any keys, each as often as it comes."""
        keys = np.unique(np.asarray(keys, np.int64))
        width = max(6, len(keys).bit_length())  # of words: 32 to 64 bits a key
        shift = np.uint64(64 - width)
        mixed = keys.astype(np.uint64) * _MULTIPLIER
        bits = (np.uint64(1) << (mixed & np.uint64(63))) | (np.uint64(1) << ((mixed >> np.uint64(6)) & np.uint64(63)))
        words = np.zeros(1 << width, np.uint64)
        np.bitwise_or.at(words, mixed >> shift, bits)
        return cls(keys=keys, words=words, shift=shift)


def without_a_place(plate_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(keys, row of each): every plate without one of its characters, which is what two plates one apart share."""
    keys, rows = [], []
    for place in range(PLACES):
        here = np.flatnonzero(plate_keys >> (7 * place) > 0)
        keys.append(plate_keys[here] & ~np.int64(127 << (7 * place)))
        rows.append(here)
    return np.concatenate(keys), np.concatenate(rows)


def flags_of(plate_keys: np.ndarray, exact: KeySet, near: KeySet, patterns: "PatternTree") -> np.ndarray:
    """How each plate could concern the list: a sum of IS_WATCHED, IS_NEAR and FITS."""
    from traffic.vehicles import watch_kernels

    return watch_kernels.flags_of(
        plate_keys, exact.words, exact.shift, exact.keys, near.words, near.shift, near.keys, patterns.anything,
        patterns.edges, patterns.shift, patterns.is_end, patterns.fronts,
    )  # fmt: skip


class PatternTree:
    """Patterns with `?` (one character) and `*` (any run), as a tree over codes of characters."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        children: dict[tuple[int, int], int] = {}
        self.ends: dict[int, list[int]] = {}  # node -> numbers of the patterns that end there
        fronts = np.zeros(1 << 14, bool)
        for number, pattern in enumerate(patterns):
            for codes in spelt(pattern):
                node = 0
                for code in codes:
                    node = children.setdefault((node, code), len(children) + 1)
                if number not in self.ends.setdefault(node, []):
                    self.ends[node].append(number)
                _mark_front(fronts, codes)
        self.fronts = fronts
        self.is_end = np.zeros(len(children) + 1, bool)
        self.is_end[list(self.ends)] = True
        self.anything = np.zeros(len(children) + 1, np.int32)
        for (node, code), child in children.items():
            if code == _ANY:
                self.anything[node] = child
        self.edges, self.shift = _edge_table({edge: child for edge, child in children.items() if edge[1] != _ANY})

    def match(self, plate_key: int) -> list[int]:
        """Numbers of the patterns that a plate fits; odd plates fit none."""
        if plate_key <= 0:
            return []
        from traffic.vehicles import watch_kernels

        stack, found = np.empty(2 * PLACES, np.int64), np.empty(_ENDS_MAX, np.int64)
        count = watch_kernels.pattern_ends(plate_key, self.anything, self.edges, self.shift, self.is_end, stack, found)
        return sorted({number for node in found[:count].tolist() for number in self.ends[node]})


def is_pattern(text: str) -> bool:
    """Whether a watched plate is a pattern."""
    return "?" in text or "*" in text


def spelt(pattern: str) -> Iterator[tuple[int, ...]]:
    """Every row of codes of at most PLACES characters that the pattern stands for; none where it can be no plate."""
    parts = pattern.split("*")
    if any(one != "?" and one not in _CODE for part in parts for one in part):
        return
    free = PLACES - sum(map(len, parts))
    codes = [tuple(_ANY if one == "?" else _CODE[one] for one in part) for part in parts]
    for filling in _fillings(len(parts) - 1, free):
        row = codes[0]
        for length, part in zip(filling, codes[1:], strict=True):
            row = row + (_ANY,) * length + part
        if row:
            yield row


def _fillings(stars: int, free: int) -> Iterator[tuple[int, ...]]:
    """How long the run of each star can be."""
    if free < 0:
        return
    if not stars:
        yield ()
        return
    for length in range(free + 1):
        for rest in _fillings(stars - 1, free - length):
            yield (length, *rest)


def _mark_front(fronts: np.ndarray, codes: Sequence[int]) -> None:
    """Note the first two characters: most plates are told by them that no pattern is theirs."""
    every = range(1, 128)
    first = every if codes[0] == _ANY else (codes[0],)
    if len(codes) == 1:
        fronts[list(first)] = True
        return
    second = every if codes[1] == _ANY else (codes[1],)
    for one in first:
        fronts[[one << 7 | other for other in second]] = True


def _edge_table(children: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.uint64]:
    """(node, code) -> child by open addressing; empty slots say -1."""
    width = max(6, (4 * len(children)).bit_length())
    shift = np.uint64(64 - width)
    table = np.full((1 << width, 2), _NONE, np.int32)
    for (node, code), child in children.items():
        edge = node << 7 | code
        slot = int((np.array(edge, np.uint64) * _MULTIPLIER) >> shift)
        while table[slot, 0] != _NONE:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = edge, child
    return table, shift
