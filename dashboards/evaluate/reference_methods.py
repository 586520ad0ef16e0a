"""Two published methods on the same trials: California algorithm #8, and the standard normal deviate.

California #8 (Payne and Tignor, Freeway incident-detection algorithms based on decision trees, Transportation Research
Record 682, 1978): occupancies of a pair of stations, a decision tree with nine states; a rise of occupancy downstream
(compression wave) silences a pair for five minutes. Standard normal deviate (Dudek, Messer and Nuckles, Transportation
Research Record 495, 1974): a station's value so many standard deviations off the mean of the minutes before, twice on
end. Both on running one-minute values each 30 s; their thresholds are chosen on the tuning seeds.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from dashboards.evaluate.alarm_scores import Alarm
from dashboards.evaluate.trials import JUDGED_FROM_S, Trial

FREE, WAVE, TENTATIVE, CONFIRMED, CONTINUING = 0, 1, 11, 12, 13  # states 1..10: half minutes since a wave
WAVE_STEPS = 10
PER_MINUTE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class California8:
    """Thresholds: OCCDF per cent; DOCCTD of a wave (negative: a rise); OCCRDF; DOCCTD of an incident; DOCC per cent."""

    difference: float
    wave: float
    relative: float
    fall: float
    downstream: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalDeviate:
    """`deviations` over the mean of `minutes` before, of occupancy or of speed (downwards)."""

    deviations: float
    minutes: int
    of_speed: bool


def california_settings() -> list[California8]:
    """What is tried on the tuning seeds."""
    return [
        California8(difference=a, wave=-0.6, relative=b, fall=c, downstream=d)
        for a, b, c, d in product(
            (4.0, 8.0, 12.0, 18.0, 25.0, 35.0), (0.3, 0.5, 0.7, 0.85), (-0.3, 0.0, 0.15, 0.3), (20.0, 30.0)
        )
    ]


def deviate_settings() -> list[NormalDeviate]:
    """What is tried on the tuning seeds."""
    return [
        NormalDeviate(deviations=k, minutes=minutes, of_speed=of_speed)
        for k, minutes, of_speed in product((2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0, 11.0, 15.0), (5, 10), (False, True))
    ]


def pairs(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring stations of one road."""
    up = np.flatnonzero(trial.road[:-1] == trial.road[1:])
    return up, up + 1


def _by_minute(values: np.ndarray) -> np.ndarray:
    """Running means over a minute; NaN where neither half has a value."""
    before = np.concatenate([values[:, :1], values[:, :-1]], axis=1)
    halves = np.stack([before, values])
    known = (~np.isnan(halves)).sum(axis=0)
    return np.where(known > 0, np.nan_to_num(halves).sum(axis=0), np.nan) / np.maximum(known, 1)


def california8(trial: Trial, rule: California8) -> list[Alarm]:
    """Alarms of one trial: each pair that turns to incident confirmed."""
    up, down = pairs(trial)
    occupancy = _by_minute(trial.occupancy)
    state = np.zeros(len(up), np.int64)
    alarms: list[Alarm] = []
    for column in range(2 * PER_MINUTE, occupancy.shape[1]):
        here, there = occupancy[up, column], occupancy[down, column]
        earlier = occupancy[down, column - 2 * PER_MINUTE]
        difference = here - there
        relative = difference / np.maximum(here, 1e-9)
        change = np.where(earlier > 0, (earlier - there) / np.maximum(earlier, 1e-9), 0.0)
        state, raised = _step(rule, state, difference, relative, change, there)
        at_s = (column + 1) * 30
        if at_s > JUDGED_FROM_S:
            alarms += [_between(trial, at_s, int(up[n]), int(down[n])) for n in np.flatnonzero(raised)]
    return alarms


def _step(  # noqa: PLR0913 - the names of the decision tree
    rule: California8,
    state: np.ndarray,
    difference: np.ndarray,
    relative: np.ndarray,
    change: np.ndarray,
    downstream: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The decision tree for all pairs at once; which of them are confirmed in this step."""
    begun = state >= TENTATIVE
    goes_on = begun & (relative >= rule.relative)
    confirmed = goes_on & (state == TENTATIVE)
    wave = (downstream >= rule.downstream) & (change < rule.wave)
    waiting = ~begun & (state >= WAVE)
    fresh = ~begun & (state == FREE) & (downstream < rule.downstream)
    suspects = fresh & (difference >= rule.difference) & (relative >= rule.relative) & (change >= rule.fall)
    after = np.full(len(state), FREE)
    after[waiting] = np.where(state[waiting] < WAVE_STEPS, state[waiting] + 1, FREE)
    after[suspects] = TENTATIVE
    after[wave & ~goes_on & (state < CONFIRMED)] = WAVE
    after[goes_on] = np.where(state[goes_on] == TENTATIVE, CONFIRMED, CONTINUING)
    return after, confirmed


def normal_deviate(trial: Trial, rule: NormalDeviate) -> list[Alarm]:
    """Alarms of one trial: each station that is off twice on end, after it was not."""
    values = -_by_minute(trial.speed_kmh) if rule.of_speed else _by_minute(trial.occupancy)
    many = rule.minutes * PER_MINUTE
    before = np.zeros((2, len(values)), bool)
    alarms: list[Alarm] = []
    for column in range(many + PER_MINUTE, values.shape[1]):
        past = values[:, column - many - PER_MINUTE + 1 : column - PER_MINUTE + 1]
        known = ~np.isnan(past)
        count = np.maximum(known.sum(axis=1), 1)
        mean = np.where(known, past, 0.0).sum(axis=1) / count
        spread = np.sqrt(np.where(known, (past - mean[:, None]) ** 2, 0.0).sum(axis=1) / count)
        with np.errstate(invalid="ignore"):
            off = (values[:, column] - mean) / np.maximum(spread, 0.5) >= rule.deviations
        raised = off & before[0] & ~before[1]
        before = np.stack([off, off & before[0]])
        at_s = (column + 1) * 30
        if at_s > JUDGED_FROM_S:
            alarms += [_between(trial, at_s, int(n), int(n)) for n in np.flatnonzero(raised)]
    return alarms


def _between(trial: Trial, at_s: float, up: int, down: int) -> Alarm:
    return Alarm(
        at_s=at_s, road=int(trial.road[up]), tail_m=float(trial.at_m[up]), head_m=float(trial.at_m[down]),
        x=float(trial.x[up] + trial.x[down]) / 2, y=float(trial.y[up] + trial.y[down]) / 2,
    )  # fmt: skip
