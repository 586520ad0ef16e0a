"""A rule tried on stored records before it is armed: the worker's own judges with this rule alone, emitting nothing.

Pure: the caller hands over stored records in the order of event time, and asks at the end what would have been said to
one unit. What is over and can change no more is counted and forgotten, so that memory has a bound.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np

from traffic import findings
from traffic.audience import Viewer, may_see
from traffic.findings import Candidate, Finding
from traffic.limits import SECTION_TRAVEL_MAX_S
from traffic.plates import plate_text
from traffic.vehicles import judge, keyed
from traffic.vehicles.bans import judge_positions
from traffic.vehicles.keyed import KeyedState
from traffic.vehicles.keyed.rules import KINDS as KEYED
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.schedule import day_text, local_days
from traffic.vehicles.section_speed import Sections
from traffic.vehicles.state import VehicleState
from traffic.vehicles.terms import RuleTerms
from traffic.vehicles.watchlist import WatchList

STEP_US = 60_000_000  # ticks come so often; in the stream every 5 s
OPEN_FINDINGS_MAX = 50_000  # beyond it the oldest are counted as they stand, and forgotten
OPEN_US = 8 * 86_400_000_000  # a finding not touched for so long is over: driving is counted over seven days
PASSAGES_KEPT_US = (SECTION_TRAVEL_MAX_S + 86_400) * 1_000_000
VEHICLES_MAX = 200_000  # told apart in the counts
VEHICLES_TOLD, SAMPLES_TOLD, CHECKPOINTS_TOLD = 50, 10, 200
_HOUR_US = 3_600_000_000


def with_only(book: RuleBook, terms: RuleTerms) -> RuleBook:
    """The book with this rule armed and no other."""
    return replace(book, watchlist=WatchList(), watch_rule=None, sections=Sections(), section_rule=None, terms=(terms,))


@dataclass(slots=True, kw_only=True)
class _Vehicle:
    """What is counted of one vehicle."""

    count: int
    first_us: int
    last_us: int


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What has been counted for good."""

    fired: int = 0
    retracted: int = 0
    by_day: Counter[str] = field(default_factory=Counter)
    by_level: Counter[int] = field(default_factory=Counter)
    by_checkpoint: Counter[int] = field(default_factory=Counter)
    by_unit: Counter[int] = field(default_factory=Counter)
    by_class: Counter[int] = field(default_factory=Counter)
    vehicles: dict[int, _Vehicle] = field(default_factory=dict)
    others: int = 0  # findings of vehicles beyond VEHICLES_MAX
    samples: dict[UUID, Finding] = field(default_factory=dict)


class Trial:
    """One rule and what it says; `unit`: whose eyes it is for."""

    def __init__(self, book: RuleBook, owner_of_checkpoint: Mapping[int, int], unit: int) -> None:
        self._book, self._owners, self._viewer = book, owner_of_checkpoint, Viewer(unit=unit)
        self._passages, self._keyed = VehicleState(), KeyedState()
        self._findings: dict[UUID, Finding] = {}
        self._tally = _Tally()
        self._is_keyed = any(terms.kind in KEYED for terms in book.terms)
        self._settled_us = 0
        self.records = 0

    def step(self, passages: np.ndarray, positions: np.ndarray, alarms: np.ndarray, *, until_us: int) -> None:
        """Take the stored records up to a moment, then let time pass to it."""
        self.records += len(passages) + len(positions) + len(alarms)
        book = self._book
        if len(passages):
            self._say(judge(self._passages, book, passages, now_us=until_us).candidates, until_us)
        if len(positions):
            self._say(judge_positions(book, positions), until_us)
        if self._is_keyed:
            told = {"passages": passages, "positions": positions, "alarms": alarms}
            self._say(keyed.judge(self._keyed, book, **told, now_us=until_us), until_us)
            self._say(keyed.tick(self._keyed, book, now_us=until_us, quiet=frozenset()), until_us)
        if until_us - self._settled_us >= _HOUR_US or len(self._findings) > OPEN_FINDINGS_MAX:
            self._passages.evict(until_us - PASSAGES_KEPT_US)
            self._keyed.evict(until_us - OPEN_US)
            self._settle(until_us - OPEN_US)
            self._settled_us = until_us

    @property
    def open_findings(self) -> int:
        """How many findings it remembers because they may change yet."""
        return len(self._findings)

    def result(self) -> dict[str, Any]:
        """How often it would have fired, where, for whom, by day, and samples as cards; JSON values only."""
        self._settle(None)
        tally = self._tally
        vehicles = sorted(tally.vehicles.items(), key=lambda one: (-one[1].count, one[0]))
        return {
            "fired": tally.fired,
            "retracted": tally.retracted,
            "by_day": [{"day": day, "count": count} for day, count in sorted(tally.by_day.items())],
            "by_level": [{"level": level, "count": count} for level, count in sorted(tally.by_level.items())],
            "by_checkpoint": _counts("checkpoint", tally.by_checkpoint),
            "by_unit": _counts("unit", tally.by_unit),
            "by_class": _counts("class_group", tally.by_class),
            "vehicles": [
                {
                    "plate": plate_text(key >> 3) or "",
                    "class_group": key & 7,
                    "count": one.count,
                    "first": one.first_us,
                    "last": one.last_us,
                }
                for key, one in vehicles[:VEHICLES_TOLD]
            ],
            "vehicles_count": len(tally.vehicles),
            "samples": [
                findings.card(finding, plate_text(finding.plate_key) or "")
                for finding in sorted(tally.samples.values(), key=lambda finding: (finding.first_at, finding.id))
            ],
            "records": self.records,
        }

    def _say(self, candidates: list[Candidate], now_us: int) -> None:
        """As the worker folds what rules say into its findings."""
        for one in candidates:
            number = findings.finding_id(one.kind, one.plate_key, one.class_group, one.anchor)
            changed = findings.fold(self._findings.get(number), one, now_us=now_us)
            if changed is not None:
                self._findings[number] = changed

    def _settle(self, before_us: int | None) -> None:
        """Count what was not touched since then (None: everything), and the oldest beyond the bound."""
        order = sorted(self._findings.values(), key=lambda finding: (finding.observed_at, finding.id))
        beyond = max(0, len(order) - OPEN_FINDINGS_MAX)
        for place, finding in enumerate(order):
            if before_us is None or place < beyond or finding.observed_at < before_us:
                self._count(self._findings.pop(finding.id))

    def _count(self, finding: Finding) -> None:
        if not may_see(self._viewer, finding.audience):
            return
        tally = self._tally
        if finding.state != "active":
            tally.retracted += 1
            return
        tally.fired += 1
        tally.by_day[day_text(int(local_days(np.array([finding.observed_at]))[0]))] += 1
        tally.by_level[finding.level] += 1
        tally.by_class[finding.class_group] += 1
        self._count_place(finding)
        self._count_vehicle(finding)
        tally.samples[finding.id] = finding
        if len(tally.samples) > SAMPLES_TOLD:  # identities are hashes: the smallest ones are a fair sample
            del tally.samples[max(tally.samples)]

    def _count_place(self, finding: Finding) -> None:
        """Where it was seen last: at a checkpoint, else in whose registry the vehicle is."""
        tally = self._tally
        checkpoint = next((seen.checkpoint for seen in reversed(finding.observations) if seen.checkpoint), 0)
        if checkpoint:
            tally.by_checkpoint[checkpoint] += 1
            owner = self._owners.get(checkpoint)
        else:
            row = int(self._book.registry.find(np.array([finding.plate_key << 3 | finding.class_group]))[0])
            owner = int(self._book.registry.unit[row]) if row >= 0 else None
        if owner is not None:
            tally.by_unit[owner] += 1

    def _count_vehicle(self, finding: Finding) -> None:
        tally, key = self._tally, finding.plate_key << 3 | finding.class_group
        known = tally.vehicles.get(key)
        if known is not None:
            known.count += 1
            known.first_us = min(known.first_us, finding.first_at)
            known.last_us = max(known.last_us, finding.observed_at)
        elif len(tally.vehicles) < VEHICLES_MAX:
            tally.vehicles[key] = _Vehicle(count=1, first_us=finding.first_at, last_us=finding.observed_at)
        else:
            tally.others += 1


def _counts(name: str, counted: Counter[int]) -> list[dict[str, int]]:
    """The largest first."""
    return [{name: number, "count": count} for number, count in counted.most_common(CHECKPOINTS_TOLD)]
