"""One misread character: how likely a plate that was read is in truth another, watched one.

A camera is right for nine plates of ten by day and eight by night (GA/T 497); where it is wrong, it takes one character
for another, mostly for one that looks alike. Whether the watched vehicle is behind a reading is then a matter of who
else could be: the vehicle that rightly carries the plate as it was read, if that number is in use, and those whose
plates are one character away from the reading. All are taken to be seen equally often.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from traffic.plates import ALPHABET, ENDINGS, PROVINCES, plate_text

ALIKE = ("0ODQ", "8B", "1I7T", "2Z", "5S", "粤鄂")
_LETTERS, _DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
_NEW_ENERGY_MARKS = frozenset("ABCDEFGHJK")
_NOT_ON_PLATES = frozenset("IO")
_LETTERS_MAX = 3  # of the five characters behind the issuing place
_SUFFIXES = frozenset("学挂警港澳使领")
_CLASSES = (PROVINCES, _LETTERS + _DIGITS, ENDINGS)  # a character is taken for one of its own class
_CLASS_OF = {character: members for members in _CLASSES for character in members}
_ALIKE_OF = {one: "".join(other for other in group if other != one) for group in ALIKE for one in group}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadErrors:
    """How cameras read. `alike_share`: of wrong characters, those taken for one that looks alike.

    `in_use_share`: of the numbers that the norm allows, those on a vehicle (what remains are hardly ever seen).
    """

    right_by_day: float = 0.9
    right_by_night: float = 0.8
    alike_share: float = 0.8
    in_use_share: float = 0.3
    irregular_share: float = 0.001  # in use among plates of a form that the norm does not know

    def right(self, night: bool) -> float:
        """The share of plates that are read rightly."""
        return self.right_by_night if night else self.right_by_day


def places_apart(one: str, other: str) -> list[int]:
    """Where two texts of one length differ; of two lengths everywhere."""
    if len(one) != len(other):
        return list(range(max(len(one), len(other))))
    return [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def taken_for(plate: str, read: str, errors: ReadErrors, *, night: bool) -> float:
    """How likely a camera takes this plate for another text: over all texts this sums up to 1."""
    apart = places_apart(plate, read)
    right = errors.right(night)
    if not apart:
        return right
    if len(apart) > 1:
        return 0.0
    return (1.0 - right) / len(plate) * _share(plate[apart[0]], read[apart[0]], errors)


def _share(true: str, seen: str, errors: ReadErrors) -> float:
    """Of the times that this character is taken for another, how often for that one."""
    members = _CLASS_OF.get(true, "")
    if seen not in members or seen == true:
        return 0.0
    alike = _ALIKE_OF.get(true, "")
    if seen in alike:
        return errors.alike_share / len(alike)
    return (1.0 - errors.alike_share if alike else 1.0) / (len(members) - 1 - len(alike))


@lru_cache(maxsize=8)
def shares(errors: ReadErrors) -> np.ndarray:
    """`_share` by codes of characters (places in ALPHABET, from 1): 128 x 128."""
    table = np.zeros((128, 128))
    for place, true in enumerate(ALPHABET, start=1):
        table[place, 1 : len(ALPHABET) + 1] = [_share(true, seen, errors) for seen in ALPHABET]
    return table


def likely_enough(watched: np.ndarray, read: np.ndarray, errors: ReadErrors, least: float) -> np.ndarray:
    """Which pairs of plate keys, one character apart, can reach this probability; the others need no closer look.

    Against a misreading stands at least the vehicle that carries the plate as it was read, if there can be one.
    """
    apart = watched ^ read
    place = sum((apart >> (7 * n) > 0).astype(np.int64) for n in range(1, 9))  # of the character, from the last
    length = sum((watched >> (7 * n) > 0).astype(np.int64) for n in range(9))
    shift = 7 * place
    share = shares(errors)[(watched >> shift) & 127, (read >> shift) & 127]
    mine = (1.0 - min(errors.right_by_day, errors.right_by_night)) / length * share
    rival = errors.in_use_share * min(errors.right_by_day, errors.right_by_night)
    enough = mine >= least * (mine + rival)
    doubtful = np.flatnonzero(~enough & (share > 0.0))
    enough[doubtful] = [not is_regular(plate_text(key) or "") for key in read[doubtful].tolist()]
    return enough


@lru_cache(maxsize=16_384)
def probability(watched: str, read: str, errors: ReadErrors, night: bool) -> float:
    """How likely the watched vehicle is the one that was read so (Bayes); 1 for its own plate, 0 beyond one character.

    Against it stand the vehicle whose plate this is, and all others whose plates are one character away.
    """
    if watched == read:
        return 1.0
    mine = taken_for(watched, read, errors, night=night)
    if mine == 0.0:
        return 0.0
    itself = in_use(read, errors) * errors.right(night)
    others = sum(
        in_use(plate, errors) * taken_for(plate, read, errors, night=night)
        for plate in neighbours(read)
        if plate != watched
    )
    return mine / (mine + itself + others)


def neighbours(plate: str) -> list[str]:
    """All texts that differ from this one in one character of the same class."""
    return [
        plate[:place] + other + plate[place + 1 :]
        for place, one in enumerate(plate)
        for other in _CLASS_OF.get(one, "")
        if other != one
    ]


def in_use(plate: str, errors: ReadErrors) -> float:
    """How likely a vehicle carries this plate."""
    return errors.in_use_share if is_regular(plate) else errors.irregular_share


def is_regular(plate: str) -> bool:
    """Whether the norm knows plates of this form (GA 36): province, letter of the place, five characters or six."""
    if len(plate) not in (7, 8) or plate[0] not in PROVINCES or plate[1] not in _LETTERS:
        return False
    if _NOT_ON_PLATES & set(plate[1:]):
        return False
    rest = plate[2:]
    if len(plate) == 8:
        return _is_new_energy(rest)
    body = rest[:-1] if rest[-1] in _SUFFIXES else rest
    return (
        all(one in _LETTERS or one in _DIGITS for one in body) and sum(one in _LETTERS for one in body) <= _LETTERS_MAX
    )


def _is_new_energy(rest: str) -> bool:
    small = rest[0] in _NEW_ENERGY_MARKS and (rest[1] in _DIGITS or rest[1] in _LETTERS) and _all_digits(rest[2:])
    return small or (rest[5] in _NEW_ENERGY_MARKS and _all_digits(rest[:5]))


def _all_digits(text: str) -> bool:
    return all(one in _DIGITS for one in text)
