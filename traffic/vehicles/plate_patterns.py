"""Plates by pattern, over columns of plate keys: 吉A* (all that begin so), *挂, 吉A?8888, or a whole plate.

`?` stands for one character, `*` (once) for any number. Odd plates, which have no reversible key, match no pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.plates import ALPHABET, PLATE_CHARS_MAX, fold
from traffic.vehicles.said import checked_list, refused

PATTERNS_MAX = 2_000
_PLACES = 8
_ANY = -1
_CODE = {character: number for number, character in enumerate(ALPHABET, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatePatterns:
    """Whole plates as sorted keys; patterns as the codes that must stand in front and at the end."""

    keys: np.ndarray
    patterns: tuple[tuple[tuple[int, ...], tuple[int, ...] | None], ...]  # (front, end); end None: no star

    def __bool__(self) -> bool:
        return bool(len(self.keys) or self.patterns)

    def match(self, plate_keys: np.ndarray) -> np.ndarray:
        """Which of these plate keys one of the patterns fits."""
        fits = np.isin(plate_keys, self.keys)
        if not self.patterns:
            return fits
        codes, length = _spelt(np.asarray(plate_keys, np.int64))
        for front, end in self.patterns:
            fits |= _fits(codes, length, front, end)
        return fits


def parse_patterns(where: str, said: Any) -> PlatePatterns:
    """From a list of texts; raises FieldRefused for what can be no plate."""
    keys, patterns = [], []
    for text in checked_list(where, said, PATTERNS_MAX):
        if not isinstance(text, str) or not 1 <= len(text) <= PLATE_CHARS_MAX:
            raise refused(where, "must hold plates or patterns like 吉A*", text)
        folded = fold(text)
        front, star, end = folded.partition("*")
        if not folded or "*" in end or len(front) + len(end) > _PLACES or not (front + end).strip("?"):
            raise refused(where, "must hold plates or patterns like 吉A* (one star, at least one character)", text)
        unknown = [character for character in front + end if character not in _CODE and character != "?"]
        if unknown:
            raise refused(where, "holds a character that stands on no plate", unknown[0])
        if star or "?" in folded:
            patterns.append((_codes(front), _codes(end) if star else None))
        else:
            keys.append(_key(folded))
    return PlatePatterns(keys=np.array(sorted(keys), np.int64), patterns=tuple(patterns))


def _codes(text: str) -> tuple[int, ...]:
    return tuple(_CODE.get(character, _ANY) for character in text)


def _key(text: str) -> int:
    key = 0
    for character in text:
        key = key << 7 | _CODE[character]
    return key


def _spelt(plate_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of each plate from its first character (0 behind its end), and its length; 0 for odd plates."""
    keys = np.where(plate_keys > 0, plate_keys, 0)
    parts = np.stack([(keys >> (7 * place)) & 127 for place in range(_PLACES)], axis=1)  # from the last character
    length = (parts != 0).sum(axis=1)
    place = length[:, None] - 1 - np.arange(_PLACES)
    codes = np.where(place >= 0, np.take_along_axis(parts, np.maximum(place, 0), axis=1), 0)
    return codes, length


def _fits(codes: np.ndarray, length: np.ndarray, front: Sequence[int], end: Sequence[int] | None) -> np.ndarray:
    behind = end or ()
    fits = length >= len(front) + len(behind) if end is not None else length == len(front)
    fits &= length > 0
    for place, code in enumerate(front):
        if code != _ANY:
            fits &= codes[:, place] == code
    for place, code in enumerate(behind):
        if code != _ANY:
            at = np.clip(length - len(behind) + place, 0, _PLACES - 1)
            fits &= np.take_along_axis(codes, at[:, None], axis=1)[:, 0] == code
    return fits
