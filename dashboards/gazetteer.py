"""Places as they are spoken and written: "G1 K1023+500", "京哈 1023.5", full width or not. Pure.

A text is a road and a stake, each optional: a stake alone may lie on several roads, a road alone is a road.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from traffic.network import BEFORE_BREAK, BEHIND_BREAK

LATIN_MIN = 3  # letters of an English name that are enough to mean it
TEXT_CHARS = 200  # of a text are looked at
_STAKE = re.compile(
    rf"(?P<k>K?)(?P<km>\d{{1,4}})(?:\+(?P<m>\d{{1,3}})|\.(?P<part>\d{{1,3}}))?(?P<unit>KM|公里|M)?"
    rf"(?P<side>[({{]?[{BEFORE_BREAK}{BEHIND_BREAK}][)}}]?)?"
)
_BETWEEN = " ,，、:：-·的"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadName:
    """A road by all that it is called."""

    id: int
    code: str
    name: str
    name_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A road with a stake (metres), or without one."""

    road: RoadName
    stake_m: int | None
    side: str = ""


def folded(text: str) -> str:
    """Half width, upper case, single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).upper().split())


def road_of(text: str, roads: Iterable[RoadName]) -> list[RoadName]:
    """Roads that this is the code or (part of) the name of; a code is meant alone."""
    wanted = folded(text).strip(_BETWEEN)
    if not wanted:
        return []
    exact = [road for road in roads if wanted == folded(road.code)]
    if exact:
        return exact
    tight = wanted.replace(" ", "")
    return [
        road
        for road in roads
        if folded(road.code).startswith(tight)
        or tight in folded(road.name).replace(" ", "")
        or (len(wanted) >= LATIN_MIN and wanted in folded(road.name_en))
        or tight == folded(road.code + road.name).replace(" ", "")
        or tight.startswith(folded(road.code)) and tight[len(folded(road.code)) :] in folded(road.name)
    ]  # fmt: skip


def stake_of(text: str) -> tuple[int, str, bool] | None:
    """A whole text as a stake: metres, side of a break, and whether it can be nothing else (K or +); None: no stake."""
    match = _STAKE.fullmatch(text.replace(" ", ""))
    if match is None or not text.isascii() and not match["side"] and "公里" not in text:
        return None
    part = match["m"] or (match["part"] or "").ljust(3, "0")
    side = (match["side"] or "").strip("(){}")
    return int(match["km"]) * 1000 + int(part or 0), side, bool(match["k"] or match["m"] or match["unit"])


def spoken(text: str, roads: Sequence[RoadName]) -> list[Spoken]:
    """What the text may mean, in the order of roads; nothing when it speaks of no road and no stake."""
    whole = folded(text)[:TEXT_CHARS]
    found: dict[tuple[int, int | None, str], Spoken] = {}

    def add(road: RoadName, stake_m: int | None, side: str) -> None:
        found.setdefault((road.id, stake_m, side), Spoken(road=road, stake_m=stake_m, side=side))

    for road in road_of(whole, roads):
        add(road, None, "")
    alone = stake_of(whole)
    if alone is not None and alone[2]:
        for road in roads:
            add(road, alone[0], alone[1])
    for head, tail, sure in _cuts(whole):
        stake = stake_of(tail)
        if stake is not None and (sure or stake[2] or "." in tail):
            for road in road_of(head, roads):
                add(road, stake[0], stake[1])
    return list(found.values())


def _cuts(text: str) -> list[tuple[str, str, bool]]:
    """Ways to cut a text into road and stake; `sure` where something stands between them."""
    cuts = []
    for place in range(max(1, len(text) - 14), len(text)):
        head, tail = text[:place], text[place:]
        if tail[0].isdigit() or tail[0] == "K":
            between = head[-1] in _BETWEEN
            together = head[-1].isdigit() and "+" in tail and " " not in head  # G11023+500: any cut may be meant
            if between or tail[0] == "K" or not head[-1].isdigit() or together:
                cuts.append((head, tail, between))
    return cuts
