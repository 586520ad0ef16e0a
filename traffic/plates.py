"""Number plates (号牌): folding at the door, and the reversible integer under which everything is kept.

A folded plate of at most 8 characters out of ALPHABET packs into a positive bigint (base 128) and back; any other
text becomes a negative hash, whose text stands in table odd_plate; 0 means that no plate was read.
"""

import unicodedata
from hashlib import blake2b

import numpy as np

PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
ENDINGS = "学挂警港澳使领民航应急临试超"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" + PROVINCES + ENDINGS
UNREADABLE = frozenset({"", "车牌", "未识别", "无牌", "无车牌", "00000000", "-", "未知", "UNKNOWN"})
PLATE_CHARS_MAX = 16

_CODE = {character: number for number, character in enumerate(ALPHABET, start=1)}
_DROPPED = str.maketrans("", "", " \t\r\n·•・.-_—")

# A number can exist on two classes at once only for these; every other class shows itself in the text.
CLASS_UNCERTAIN, CLASS_LARGE, CLASS_SMALL, CLASS_MOTORCYCLE, CLASS_OTHER = 0, 1, 2, 3, 4
GROUP_OF_CLASS = np.full(100, CLASS_OTHER, np.int64)
GROUP_OF_CLASS[0], GROUP_OF_CLASS[1], GROUP_OF_CLASS[2] = CLASS_UNCERTAIN, CLASS_LARGE, CLASS_SMALL
GROUP_OF_CLASS[[7, 8]] = CLASS_MOTORCYCLE


def fold(raw: str) -> str:
    """Full width to half width, upper case, without blanks and dots; an unreadable plate becomes ''."""
    text = unicodedata.normalize("NFKC", raw).upper().translate(_DROPPED)
    text = unicodedata.normalize("NFKC", text)  # what was dropped may have kept two characters apart
    return "" if text in UNREADABLE else text


def plate_key(folded: str) -> int:
    """The bigint of a folded plate: > 0 reversible, < 0 a hash of an odd text, 0 for ''."""
    if not folded:
        return 0
    if len(folded) <= 8:
        key = 0
        for character in folded:
            code = _CODE.get(character)
            if code is None:
                break
            key = key << 7 | code
        else:
            return key
    return -(int.from_bytes(blake2b(folded.encode(), digest_size=7).digest(), "little") + 1)


def plate_text(key: int) -> str | None:
    """The folded plate of a reversible key; '' for 0; None for an odd one (look in odd_plate)."""
    if key < 0:
        return None
    characters = []
    while key:
        characters.append(ALPHABET[(key & 127) - 1])
        key >>= 7
    return "".join(reversed(characters))


def class_group(plate_class: int) -> int:
    """Class group of a GA 24.7 plate class (0: uncertain)."""
    return int(GROUP_OF_CLASS[plate_class]) if 0 <= plate_class < 100 else CLASS_OTHER


def classes_of_group(group: int) -> list[int]:
    """The GA 24.7 classes of a group."""
    return np.flatnonzero(GROUP_OF_CLASS == group).tolist()


def vehicle_keys(plate_keys: np.ndarray, plate_classes: np.ndarray) -> np.ndarray:
    """Identity of vehicles as int64: plate and class group (shape of both inputs)."""
    groups = GROUP_OF_CLASS[np.clip(plate_classes, 0, 99)]
    return (plate_keys.astype(np.int64) << 3) | groups
