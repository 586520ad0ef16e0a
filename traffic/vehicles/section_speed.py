"""Section speed (区间测速): a vehicle read at both ends of a section, and the time that it took.

The exit is the first reading at the end after a reading at the start, the entry the last reading at the start before
it. What is said is a function of the set of a vehicle's observations: late data moves an entry, takes an exit away or
brings one, and the difference to what would have been said without it is what the judgement yields.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from traffic.limits import SECTION_TRAVEL_MAX_S
from traffic.network import Section
from traffic.vehicles import travel_time
from traffic.vehicles.state import OBSERVATION, Fresh

SECTION = np.dtype(
    [
        ("travel_min_us", "<i8"),
        ("travel_max_us", "<i8"),
        ("broken_max_us", "<i8"),
        ("id", "<i4"),
        ("start", "<i4"),
        ("end", "<i4"),
        ("number", "<i4"),  # of the row
    ]
)
SAID = np.dtype([("key", "<i8"), ("section", "<i4"), ("has_entry", "?"), ("has_cause", "?"), ("spare", "<i2")])
EXIT, ENTRY, CAUSE = 0, 1, 2  # the observations that a judgement shows
JUDGEMENTS, FACTS = 0, 1  # of `Told.counts`
CLOCK_ERROR_S = 2.0  # two devices, each in step with its time server to a second
CONFIDENCE_BEYOND_CLOCKS, CONFIDENCE_WITHIN_CLOCKS = 0.9, 0.6
_SHARES_OF_LEVEL = ((0.5, 2), (0.2, 3))  # 50 % and 20 % over the limit are where the law becomes graver
_LEVEL_ELSE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRule:
    """When a travel time is a finding.

    `tolerance_share` of the limit is allowed on top. Below `travel_s_min` clocks decide, not the driver. Faster than
    `speed_kmh_max` is no driving but a misread or a cloned plate, which is for another rule.
    """

    tolerance_share: float = 0.1
    travel_s_min: float = 10.0
    speed_kmh_max: float = 250.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A pair that is said otherwise than before. Observations are OBSERVATION scalars.

    `entry` None: the exit no longer stands for a finding. `cause`: the late observation that moved it, None when the
    exit itself is what came.
    """

    key: int
    section: Section
    exit: np.void
    entry: np.void | None
    cause: np.void | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What fresh observations change: findings, and facts of travel time (travel_time.TRAVEL_FACT)."""

    judgements: list[Judgement]
    travels: np.ndarray


class Columns(NamedTuple):
    """The sections as kernels get them. `ends`: checkpoints, ascending; the sections that begin or end at the i-th one
    are `section_of[first_of[i]:first_of[i + 1]]`, numbers of rows in `table`."""

    table: np.ndarray
    ends: np.ndarray
    first_of: np.ndarray
    section_of: np.ndarray


class Told(NamedTuple):
    """Room for what a kernel says; `counts` may be more than there is room for: then it is asked again."""

    said: np.ndarray
    shown: np.ndarray  # for each word: EXIT, ENTRY, CAUSE
    facts: np.ndarray
    counts: np.ndarray


class Sections:
    """The sections as columns, and which of them each checkpoint begins or ends."""

    def __init__(self, sections: Iterable[Section] = (), rule: SectionRule | None = None) -> None:
        self.sections = tuple(sections)
        self.rule = rule or SectionRule()
        table = np.array([self._row(number, section) for number, section in enumerate(self.sections)], SECTION)
        checkpoints = np.concatenate([table["start"], table["end"]]).astype(np.int64)
        order = np.argsort(checkpoints, kind="stable")
        ends, first = np.unique(checkpoints[order], return_index=True)
        section_of = np.concatenate([np.arange(len(table))] * 2)[order]
        self._columns = Columns(table, ends, np.append(first, len(order)).astype(np.int64), section_of)

    def _row(self, number: int, section: Section) -> tuple[int, ...]:
        """Travel times (us, inclusive) that count as such, and those among which the limit was broken by driving."""
        allowed_kmh = section.limit_kmh * (1 + self.rule.tolerance_share)
        slowest = int(np.ceil(section.length_m * 3.6e6 / allowed_kmh)) - 1  # speed > allowed
        fastest = int(np.ceil(section.length_m * 3.6e6 / self.rule.speed_kmh_max))
        shortest = max(fastest, int(self.rule.travel_s_min * 1e6))
        longest = SECTION_TRAVEL_MAX_S * 1_000_000
        ends = (section.from_checkpoint, section.to_checkpoint)
        return shortest, longest, min(slowest, longest), section.id, *ends, number

    def __len__(self) -> int:
        return len(self.sections)

    def judge(self, fresh: Fresh) -> Seen:
        """What the fresh observations change; the later of judgements on one exit counts."""
        from traffic.vehicles import section_kernels

        room = [64, len(fresh.seen) + 64]
        while True:
            told = Told(
                np.zeros(room[JUDGEMENTS], SAID),
                np.zeros((room[JUDGEMENTS], 3), OBSERVATION),
                np.zeros(room[FACTS], travel_time.TRAVEL_FACT),
                np.zeros(2, np.int64),
            )
            section_kernels.judge(fresh, self._columns, told)
            counts = told.counts.tolist()
            if counts[JUDGEMENTS] <= len(told.said) and counts[FACTS] <= len(told.facts):
                break
            room = counts
        judgements = [self._judgement(told.said[i], told.shown[i]) for i in range(counts[JUDGEMENTS])]
        return Seen(judgements=judgements, travels=told.facts[: counts[FACTS]])

    def _judgement(self, word: np.void, shown: np.ndarray) -> Judgement:
        return Judgement(
            key=int(word["key"]),
            section=self.sections[word["section"]],
            exit=shown[EXIT],
            entry=shown[ENTRY] if word["has_entry"] else None,
            cause=shown[CAUSE] if word["has_cause"] else None,
        )


def speed_kmh(section: Section, travel_us: int) -> float:
    """Mean speed over the section."""
    return section.length_m * 3.6e6 / travel_us


def level(section: Section, speed: float) -> int:
    """How grave: by the share over the limit."""
    graver = (number for share, number in _SHARES_OF_LEVEL if speed >= section.limit_kmh * (1 + share))
    return next(graver, _LEVEL_ELSE)


def confidence(section: Section, rule: SectionRule, travel_us: int) -> float:
    """Lower where an error of the two clocks alone could have made the finding."""
    slower = speed_kmh(section, travel_us + int(CLOCK_ERROR_S * 1e6))
    beyond = slower > section.limit_kmh * (1 + rule.tolerance_share)
    return CONFIDENCE_BEYOND_CLOCKS if beyond else CONFIDENCE_WITHIN_CLOCKS
