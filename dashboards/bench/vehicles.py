"""The vehicles of the benches, by number: their plates, scattered over all that a province can give out. Pure."""

import numpy as np

from traffic.plates import ALPHABET

REGISTERED = 100_000  # key vehicles in the registry: of the first million numbers each tenth
_TENTH = 10
_SCATTER = 736_481_779  # has no divisor in common with the number of plates: no two numbers have one plate
_SERIAL = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # I and O are not given out
_BASE = len(_SERIAL)
_PLACES = 5
_PLATES = 24 * _BASE**_PLACES
_CODES = np.array([ALPHABET.index(character) + 1 for character in _SERIAL], np.int64)
_CHARACTERS = np.array(["", *ALPHABET])


def plate_keys(numbers: np.ndarray) -> np.ndarray:
    """The key of each number's plate: 吉, a letter and five characters."""
    rest = numbers.astype(np.int64) * _SCATTER % _PLATES
    keys = np.full(len(numbers), ALPHABET.index("吉") + 1, np.int64)
    keys = keys << 7 | _CODES[10 + rest // _BASE**_PLACES]
    for place in range(_PLACES - 1, -1, -1):
        keys = keys << 7 | _CODES[rest // _BASE**place % _BASE]
    return keys


def plate_texts(keys: np.ndarray) -> list[str]:
    """The plates of keys as people write them; "" for 0."""
    shifts = 7 * np.arange(_PLACES + 1, -1, -1)
    characters = _CHARACTERS[keys[:, np.newaxis] >> shifts & 127]
    whole: list[str] = np.ascontiguousarray(characters).view(f"U{_PLACES + 2}").ravel().tolist()
    return whole


def is_registered(numbers: np.ndarray) -> np.ndarray:
    """Which of these vehicles stand in the registry."""
    return (numbers % _TENTH == _TENTH - 1) & (numbers < _TENTH * REGISTERED)


def registered_numbers() -> np.ndarray:
    """The numbers of all vehicles of the registry."""
    return np.arange(REGISTERED) * _TENTH + _TENTH - 1


def drawn(rng: np.random.Generator, plates: int, count: int) -> np.ndarray:
    """So many of the first `plates` vehicles; a tenth of them are key vehicles, however many others there are."""
    numbers = rng.integers(0, plates, count)
    if plates > _TENTH * REGISTERED:
        key = rng.random(count) < 1 / _TENTH
        numbers[key] = registered_numbers()[rng.integers(0, REGISTERED, int(key.sum()))]
    return numbers
