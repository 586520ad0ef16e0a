"""Cloned plates (套牌): one plate read at two checkpoints nearer in time than one vehicle can manage.

Two readings of a plate, one behind the other in event time, are in conflict when the gap between them, lengthened by
what two sound clocks may differ, is shorter than all but `quantile` of drivers need at that hour (`usual_times`). No
speed limit for all roads: where traffic crawls, 100 km/h are impossible, and on an empty motorway 160 are not.

What a conflict means is weighed (Bayes). Weights are what would make the second reading appear at just this moment,
held against a second vehicle that is read somewhere within W = 2 x usual time + 60 s:

    clone         clone_share: of plates that are in use, those that a second vehicle bears
    misread       in_use_share x errors of cameras that lead to this plate (`misread.taken_for` over all characters,
                  more where they look alike, more by night), for each of the two readings that may be the wrong one
    clock         clock_fault_share x density of an error of clock_fault_s that makes up for the gap; a checkpoint
                  whose clock is distrusted has clock_suspect_share
    fast_driving  density of the gap for one vehicle: lognormal, and fast_share of drivers at fast_times the speed

    probability = clone / (clone + misread + clock + fast_driving)

Neighbours in time speak too, up to three on each side. One that fits to one of the two readings and contradicts the
other shows that this reading is no accident: a misread would have to happen again (misread_again each time), and a
clock would have to be wrong at another checkpoint as well (the share squared). Where a single reading stands between
two that belong together, whoever drove fast did so twice (densities multiplied). So one impossible reading alone is
mostly a misread, and a pair of journeys side by side is a clone.

Looks: readings whose colour or class differ are of one vehicle only by an error of the camera (looks_wrong); a clone
looks like the original more often (1 - looks_differ_clone) than whoever is misread for it (1 - looks_differ_misread).

Sources: shares of right readings GA/T 497-2009 (90 % by day, 80 % by night are the least that is asked; in service
twice as good is assumed); travel times as in `usual_times`; clone_share, in_use_share and fast drivers are assumptions,
stated as parameters. What is said is a function of the set of a vehicle's observations: a late one that lies between,
or a third that refutes, corrects or retracts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from traffic.audience import Audience
from traffic.findings import CLONED_PLATE, Candidate
from traffic.plates import ALPHABET
from traffic.roads.parameters import bounded, defaults_of, fill
from traffic.vehicles.key_index import KeyIndex
from traffic.vehicles.misread import ReadErrors, taken_for
from traffic.vehicles.permits import NO_PERMITS
from traffic.vehicles.sightings import passage_seen
from traffic.vehicles.state import OBSERVATION, Fresh
from traffic.vehicles.terms import RuleTerms, Vehicles
from traffic.vehicles.usual_times import UsualTimes

if TYPE_CHECKING:
    from traffic.vehicles.rules import RuleBook

LEVEL, LEVEL_LIKELY = 3, 2
LIKELY = 0.9

PAIR = np.dtype(
    [
        ("key", "<i8"),
        ("active", "?"),
        ("has_cause", "?"),
        ("is_late", "?"),  # the cause lies between or before, and not behind
        ("spare", "u1"),
        ("hour", "<i4"),
        ("gap_s", "<f8"),
        ("distance_m", "<f8"),
        ("median_s", "<f8"),
        ("fastest_s", "<f8"),
        ("weights", "<f8", 4),
    ]
)
CLONE, MISREAD, CLOCK, FAST = range(4)  # of `weights`
LATER, EARLIER, CAUSE = 0, 1, 2  # the observations that a judgement shows
(
    TURNS, CLOCK_S, CLONE_SHARE, MISREAD_DAY, MISREAD_NIGHT, MISREAD_AGAIN, CLOCK_SHARE, SUSPECT_SHARE, CLOCK_FAULT_S,
    FAST_SHARE, FAST_LOG, FAST_SPREAD, LOOKS_WRONG, LOOKS_CLONE, LOOKS_MISREAD, PROBABILITY_MIN,
) = range(16)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneParameters:
    """See the module's text; shares and probabilities lie between 0 and 1."""

    probability_min: float = bounded(0.5, 0.01, 0.999)  # from here on it is told
    quantile: float = bounded(0.001, 1e-6, 0.2)
    clock_s: float = bounded(2.0, 0.0, 60.0)
    clone_share: float = bounded(0.0005, 1e-6, 0.1)
    in_use_share: float = bounded(0.03, 1e-4, 1.0)
    right_by_day: float = bounded(0.95, 0.5, 0.9999)
    right_by_night: float = bounded(0.9, 0.5, 0.9999)
    misread_again: float = bounded(0.1, 0.001, 1.0)
    clock_fault_share: float = bounded(0.0005, 1e-6, 0.5)
    clock_suspect_share: float = bounded(0.5, 1e-6, 0.99)
    clock_fault_s: float = bounded(120.0, 5.0, 7200.0)
    fast_share: float = bounded(0.003, 1e-6, 0.5)
    fast_times: float = bounded(1.6, 1.1, 3.0)
    fast_spread: float = bounded(0.15, 0.02, 0.5)
    looks_wrong: float = bounded(0.1, 0.001, 1.0)
    looks_differ_clone: float = bounded(0.5, 0.001, 1.0)
    looks_differ_misread: float = bounded(0.8, 0.001, 1.0)


DEFAULTS = defaults_of(CloneParameters)


def from_parameters(parameters: Mapping[str, Any]) -> CloneParameters:
    """Raises SettingsError naming the parameter."""
    return fill(CLONED_PLATE, CloneParameters, parameters)


def judge(book: "RuleBook", fresh: Fresh) -> list[Candidate]:
    """What the rules of this kind say of what a batch brings; the later reading says whether scope and time fit."""
    said: list[Candidate] = []
    for terms in (one for one in book.terms if one.kind == CLONED_PLATE):
        found = clones_of(book.usual, terms.parameters, book.clock_suspects).judge(fresh)
        said += [_candidate(book, terms, found[at]) for at in _in_scope(book, terms, found)]
    return said


def _in_scope(book: "RuleBook", terms: RuleTerms, found: "list[Judgement]") -> list[int]:
    if not found:
        return []
    later = np.array([judgement.later for judgement in found], OBSERVATION)
    vehicles = Vehicles.of_keys(np.array([judgement.key for judgement in found], np.int64), book.registry)
    fits = terms.concerns(vehicles) & terms.in_force(later["observed_at"])
    fits &= terms.checkpoint_mask(later["checkpoint"], later["direction"])
    places = terms.ground.places(later["checkpoint"], later["direction"])
    fits &= ~terms.exempt(vehicles, later["observed_at"], places, book.permits or NO_PERMITS)
    return np.flatnonzero(fits).tolist()


def _candidate(book: "RuleBook", terms: RuleTerms, judgement: "Judgement") -> Candidate:
    readings = [judgement.later] if judgement.earlier is None else [judgement.earlier, judgement.later]
    seen = [passage_seen(book, reading) for reading in readings]
    stands = judgement.earlier is not None
    probability = judgement.probability if stands else 0.0
    cause = None
    if judgement.cause is not None:
        late, _ = passage_seen(book, judgement.cause)
        reason = "late_reading" if judgement.pair["is_late"] else "further_reading"
        cause = {"reason": reason, "at": late.at, "checkpoint": late.checkpoint, "record": late.record}
    return Candidate(
        kind=CLONED_PLATE,
        plate_key=judgement.key >> 3,
        class_group=judgement.key & 7,
        anchor=seen[-1][0].record,
        level=terms.level or (LEVEL_LIKELY if probability >= LIKELY else LEVEL),
        confidence=book.trusted(round(probability, 4), [observation.checkpoint for observation, _ in seen]),
        rule=terms.rule,
        observations=tuple(observation for observation, _ in seen),
        detail={CLONED_PLATE: judgement.detail()} if stands else {},
        audience=Audience(units=frozenset().union(*(units for _, units in seen))),
        active=stands,
        cause=cause,
    )


class Columns(NamedTuple):
    """What the kernel looks at. `slots`: index from checkpoints to places in the matrices (usual_times.UsualTimes).

    `most_s` [from, to]: no gap as long is ever a conflict. `suspects`: whose clock is distrusted. `inflow` [code of a
    character]: errors that lead to it, 1 for those of a whole plate. `numbers`: see TURNS and behind.
    """

    slots: np.ndarray
    most_s: np.ndarray
    distance_m: np.ndarray
    median_s: np.ndarray
    spread: np.ndarray
    suspects: np.ndarray
    inflow: np.ndarray
    numbers: np.ndarray


class Told(NamedTuple):
    """Room for what the kernel says; `counts` may be more than there is room for: then it is asked again."""

    pairs: np.ndarray
    shown: np.ndarray  # for each pair: LATER, EARLIER, CAUSE
    counts: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A conflict that is said otherwise than before: `pair` is a PAIR, observations are OBSERVATION scalars.

    `earlier` None: it is no longer said of the later reading. `cause`: what changed it, None where the later reading
    itself is what came.
    """

    pair: np.void
    later: np.void
    earlier: np.void | None
    cause: np.void | None

    @property
    def key(self) -> int:
        """Plate key << 3 | class group."""
        return int(self.pair["key"])

    @property
    def probability(self) -> float:
        """That a second vehicle bears the plate."""
        return float(self.pair["weights"][CLONE] / self.pair["weights"].sum())

    def detail(self) -> dict[str, Any]:
        """Every number that it rests on."""
        pair = self.pair
        shares = pair["weights"] / pair["weights"].sum()
        gap_s, distance_m = float(pair["gap_s"]), float(pair["distance_m"])
        return {
            "gap_s": round(gap_s, 3),
            "distance_m": round(distance_m),
            "fastest_s": round(float(pair["fastest_s"]), 1),
            "median_s": round(float(pair["median_s"]), 1),
            "implied_kmh": round(distance_m / gap_s * 3.6) if gap_s > 0.0 else None,
            "hour": int(pair["hour"]),
            "probability": round(self.probability, 3),
            "explanations": {
                name: round(float(shares[number]), 4)
                for number, name in enumerate(("clone", "misread", "clock", "fast_driving"))
            },
        }


class Clones:
    """The rule over one state of knowledge: usual times, parameters, checkpoints whose clock is distrusted."""

    def __init__(self, usual: UsualTimes, rule: CloneParameters | None = None, suspects: frozenset[int] = frozenset()):
        self.rule = rule or CloneParameters()
        index = KeyIndex()
        if len(usual):
            index.put(usual.checkpoints, np.arange(len(usual)))
        numbers = _numbers(self.rule)
        with np.errstate(invalid="ignore"):
            fastest_s = usual.median_s * np.exp(-numbers[TURNS] * usual.spread)
        self._columns = Columns(
            index.slots,
            (np.nan_to_num(fastest_s, nan=0.0).max(axis=0) * 1.001).astype(np.float32),
            np.ascontiguousarray(usual.distance_m, np.float32),
            np.ascontiguousarray(usual.median_s, np.float32),
            np.ascontiguousarray(usual.spread, np.float32),
            np.isin(usual.checkpoints, list(suspects)),
            _inflow(),
            numbers,
        )

    def judge(self, fresh: Fresh) -> list[Judgement]:
        """What the fresh observations change."""
        from traffic.vehicles import clone_kernels

        if not len(self._columns.most_s):
            return []
        room = 64
        while True:
            told = Told(np.zeros(room, PAIR), np.zeros((room, 3), OBSERVATION), np.zeros(1, np.int64))
            clone_kernels.judge(fresh, self._columns, told)
            if told.counts[0] <= room:
                return [_judgement(told.pairs[i], told.shown[i]) for i in range(int(told.counts[0]))]
            room = int(told.counts[0])


@lru_cache(maxsize=8)
def clones_of(usual: UsualTimes, rule: CloneParameters, suspects: frozenset[int]) -> Clones:
    """Made once for what it rests on: a rule book is replaced each half minute."""
    return Clones(usual, rule, suspects)


def _judgement(pair: np.void, shown: np.ndarray) -> Judgement:
    return Judgement(
        pair=pair,
        later=shown[LATER],
        earlier=shown[EARLIER] if pair["active"] else None,
        cause=shown[CAUSE] if pair["has_cause"] else None,
    )


def _numbers(rule: CloneParameters) -> np.ndarray:
    return np.array(
        [
            -NormalDist().inv_cdf(rule.quantile),
            rule.clock_s,
            rule.clone_share,
            rule.in_use_share * (1.0 - rule.right_by_day),
            rule.in_use_share * (1.0 - rule.right_by_night),
            rule.misread_again,
            rule.clock_fault_share,
            rule.clock_suspect_share,
            rule.clock_fault_s,
            rule.fast_share,
            -np.log(rule.fast_times),
            rule.fast_spread,
            rule.looks_wrong,
            rule.looks_differ_clone,
            rule.looks_differ_misread,
            rule.probability_min,
        ]
    )


@cache
def _inflow() -> np.ndarray:
    """For each code of a character how many errors lead to it, those that each character makes counted as one."""
    errors = ReadErrors()
    wrong = 1.0 - errors.right(False)
    found = np.zeros(128)
    for code, character in enumerate(ALPHABET, start=1):
        others = (taken_for(other, character, errors, night=False) for other in ALPHABET if other != character)
        found[code] = sum(others) / wrong
    return found
