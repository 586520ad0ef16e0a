"""Section speed (区间测速): a vehicle read at both ends of a section, and the time that it took.

The exit is the first reading at the end after a reading at the start, the entry the last reading at the start before
it. What is said is a function of the set of a vehicle's observations: late data moves an entry, takes an exit away or
brings one, and the difference to what would have been said without it is what the judgement yields.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from traffic.limits import SECTION_TRAVEL_MAX_S
from traffic.network import Section
from traffic.vehicles import travel_time
from traffic.vehicles.state import Histories

CLOCK_ERROR_S = 2.0  # two devices, each in step with its time server to a second
CONFIDENCE_BEYOND_CLOCKS, CONFIDENCE_WITHIN_CLOCKS = 0.9, 0.6
_SHARES_OF_LEVEL = ((0.5, 2), (0.2, 3))  # 50 % and 20 % over the limit are where the law becomes graver
_LEVEL_ELSE = 4
_BLOCK = 8_192  # pairs of vehicle and section looked at together, so that memory has a bound


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


class Sections:
    """The sections as columns, and which of them each checkpoint begins or ends."""

    def __init__(self, sections: Iterable[Section] = (), rule: SectionRule | None = None) -> None:
        self.sections = tuple(sections)
        self.rule = rule or SectionRule()
        self._from = np.array([s.from_checkpoint for s in self.sections], np.int64)
        self._to = np.array([s.to_checkpoint for s in self.sections], np.int64)
        self._ids = np.array([s.id for s in self.sections], np.int64)
        self._travel_min_us, self._travel_max_us = self._bounds()
        checkpoints = np.concatenate([self._from, self._to])
        order = np.argsort(checkpoints, kind="stable")
        self._checkpoints, self._first, self._many = np.unique(
            checkpoints[order], return_index=True, return_counts=True
        )
        self._of_checkpoint = np.concatenate([np.arange(len(self.sections))] * 2)[order]

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Travel times (us, both inclusive) between which a section's limit was broken by driving."""
        slowest, fastest = [], []
        for section in self.sections:
            allowed_kmh = section.limit_kmh * (1 + self.rule.tolerance_share)
            slowest.append(int(np.ceil(section.length_m * 3.6e6 / allowed_kmh)) - 1)  # speed > allowed
            fastest.append(int(np.ceil(section.length_m * 3.6e6 / self.rule.speed_kmh_max)))
        shortest = int(self.rule.travel_s_min * 1e6)
        return (
            np.maximum(np.array(fastest, np.int64), shortest),
            np.minimum(np.array(slowest, np.int64), SECTION_TRAVEL_MAX_S * 1_000_000),
        )

    def __len__(self) -> int:
        return len(self.sections)

    def concerns(self, checkpoints: np.ndarray) -> np.ndarray:
        """Which of these checkpoints begin or end a section."""
        if not self.sections:
            return np.zeros(len(checkpoints), bool)
        at = np.minimum(np.searchsorted(self._checkpoints, checkpoints), len(self._checkpoints) - 1)
        return self._checkpoints[at] == checkpoints

    def judge(self, histories: Histories) -> Seen:
        """What the fresh observations change; judgements by vehicle, section and time of the exit."""
        vehicle, section = self._touched(histories)
        judgements: list[Judgement] = []
        travels: list[np.ndarray] = []
        for start in range(0, len(vehicle), _BLOCK):
            seen = self._judge_pairs(histories, vehicle[start : start + _BLOCK], section[start : start + _BLOCK])
            judgements += seen.judgements
            travels.append(seen.travels)
        return Seen(judgements=judgements, travels=travel_time.together(travels))

    def _touched(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of vehicle (row) and section (number) that a fresh observation begins or ends, each once."""
        row, column = np.nonzero(histories.fresh)
        checkpoints = histories.observations["checkpoint"][row, column]
        concerned = self.concerns(checkpoints)
        row, checkpoints = row[concerned], checkpoints[concerned]
        at = np.searchsorted(self._checkpoints, checkpoints)
        many = self._many[at]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        section = self._of_checkpoint[np.repeat(self._first[at], many) + within]
        pairs = np.sort(np.repeat(row, many) * len(self.sections) + section)
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
        return pairs // max(1, len(self.sections)), pairs % max(1, len(self.sections))

    def _judge_pairs(self, histories: Histories, vehicle: np.ndarray, section: np.ndarray) -> Seen:
        seen, valid = histories.observations, histories.valid[vehicle]
        checkpoint = seen["checkpoint"][vehicle]
        is_entry = valid & (checkpoint == self._from[section, None])
        is_exit = valid & (checkpoint == self._to[section, None])
        complete = np.flatnonzero(is_entry.any(axis=1) & is_exit.any(axis=1))  # few: the others can say nothing
        vehicle, section = vehicle[complete], section[complete]
        is_entry, is_exit = is_entry[complete], is_exit[complete]
        fresh, observed_at = histories.fresh[vehicle], seen["observed_at"][vehicle]
        pairs_now = self._entry_of_exit(is_entry, is_exit)
        pairs_before = self._entry_of_exit(is_entry & ~fresh, is_exit & ~fresh)
        bounds_us = (self._travel_min_us[section], SECTION_TRAVEL_MAX_S * 1_000_000)
        travels = travel_time.changes(pairs_before, pairs_now, observed_at, self._ids[section], bounds_us)
        now = self._broken(pairs_now, observed_at, section)
        before = self._broken(pairs_before, observed_at, section)
        said = []
        for pair, column in zip(*np.nonzero(now != before), strict=True):
            at, entry = vehicle[pair], now[pair, column]
            came = bool(fresh[pair, column])
            cause = None if came else self._cause(is_entry[pair] | is_exit[pair], column)
            said.append(
                Judgement(
                    key=int(histories.keys[at]),
                    section=self.sections[section[pair]],
                    exit=seen[at, column],
                    entry=seen[at, entry] if entry >= 0 else None,
                    cause=seen[at, cause] if cause is not None else None,
                )
            )
        return Seen(judgements=said, travels=travels)

    @staticmethod
    def _cause(relevant: np.ndarray, column: int) -> int | None:
        """The reading at an end of the section just before the exit: the one that came between."""
        earlier = np.flatnonzero(relevant[:column])
        return int(earlier[-1]) if len(earlier) else None

    @staticmethod
    def _entry_of_exit(is_entry: np.ndarray, is_exit: np.ndarray) -> np.ndarray:
        """For each observation that is the exit of a pair, the column of its entry; -1 elsewhere."""
        columns = np.arange(is_entry.shape[1])
        last = np.maximum.accumulate(np.where(is_entry | is_exit, columns, -1), axis=1)
        last = np.concatenate([np.full((len(last), 1), -1), last[:, :-1]], axis=1)  # before, not at
        paired = is_exit & (last >= 0) & np.take_along_axis(is_entry, np.maximum(last, 0), axis=1)
        return np.where(paired, last, -1)

    def _broken(self, pairs: np.ndarray, observed_at: np.ndarray, section: np.ndarray) -> np.ndarray:
        """Only those pairs whose travel time is a finding."""
        travel_us = observed_at - np.take_along_axis(observed_at, np.maximum(pairs, 0), axis=1)
        broken = (travel_us >= self._travel_min_us[section, None]) & (travel_us <= self._travel_max_us[section, None])
        return np.where(broken, pairs, -1)


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
