"""A batch of new passages: what the rules say of it, and the state that it leaves behind."""

import numpy as np

from traffic.findings import Candidate
from traffic.limits import RING_OBSERVATIONS
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.state import VehicleState, by_vehicle


def judge_batch(state: VehicleState, rules: RuleBook, rows: np.ndarray) -> list[Candidate]:
    """What the rules say of these new PASSAGE rows; then the rows are taken into the state.

    The state changes last: when a rule raises, it stands as before, and the caller may try a part of the rows.
    """
    candidates = rules.match_watchlist(rows)
    keys, seen = by_vehicle(rows)
    candidates += _judge_sections(state, rules, keys, seen)
    state.merge(keys, seen)
    return candidates


def absorb(state: VehicleState, rows: np.ndarray) -> None:
    """Take rows into the state that were judged before (replay), saying nothing."""
    state.merge(*by_vehicle(rows))


def _judge_sections(state: VehicleState, rules: RuleBook, keys: np.ndarray, seen: np.ndarray) -> list[Candidate]:
    if rules.section_rule is None or not len(rules.sections) or not len(keys):
        return []
    concerned = rules.sections.concerns(seen["checkpoint"])
    if not concerned.any():
        return []
    starts = np.ones(len(keys), bool)
    starts[1:] = keys[1:] != keys[:-1]
    vehicle = np.cumsum(starts) - 1
    touched = (np.bincount(vehicle, concerned) > 0)[vehicle]
    turn = (np.arange(len(keys)) - np.flatnonzero(starts)[vehicle]) // RING_OBSERVATIONS
    if not turn[touched].any():
        histories = state.with_fresh(keys[touched], seen[touched])
        return [rules.section_candidate(judgement) for judgement in rules.sections.judge(histories)]
    return _judge_in_turns(state, rules, (keys[touched], seen[touched], turn[touched]))


def _judge_in_turns(
    state: VehicleState, rules: RuleBook, columns: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[Candidate]:
    """More observations of one vehicle than a ring holds: a ring's length at a time, on a copy of the state."""
    keys, seen, turn = columns
    copy = state.copy_of(np.unique(keys))
    candidates: list[Candidate] = []
    for number in range(int(turn.max()) + 1):
        now = turn == number
        histories = copy.with_fresh(keys[now], seen[now])
        candidates += [rules.section_candidate(judgement) for judgement in rules.sections.judge(histories)]
        copy.merge(keys[now], seen[now])
    return candidates
