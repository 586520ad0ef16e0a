"""A batch of new passages: what the rules say of it, what it tells of travel times, the state that it leaves behind."""

from dataclasses import dataclass, field

import numpy as np

from traffic.findings import Candidate
from traffic.limits import RING_OBSERVATIONS
from traffic.vehicles import travel_time
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.state import VehicleState, by_vehicle


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a batch comes to: candidates for findings, and facts of travel time (travel_time.TRAVEL_FACT)."""

    candidates: list[Candidate] = field(default_factory=list)
    travels: np.ndarray = field(default_factory=travel_time.nothing)


def judge(state: VehicleState, rules: RuleBook, rows: np.ndarray) -> Verdict:
    """What these new PASSAGE rows come to; then they are taken into the state.

    The state changes last: when a rule raises, it stands as before, and the caller may try a part of the rows.
    """
    candidates = rules.match_watchlist(rows)
    keys, seen = by_vehicle(rows)
    sections = _judge_sections(state, rules, keys, seen)
    state.merge(keys, seen)
    return Verdict(candidates=candidates + sections.candidates, travels=sections.travels)


def judge_batch(state: VehicleState, rules: RuleBook, rows: np.ndarray) -> list[Candidate]:
    """As `judge`, for who asks only for what the rules say."""
    return judge(state, rules, rows).candidates


def absorb(state: VehicleState, rows: np.ndarray) -> None:
    """Take rows into the state that were judged before (replay), saying nothing."""
    state.merge(*by_vehicle(rows))


def _judge_sections(state: VehicleState, rules: RuleBook, keys: np.ndarray, seen: np.ndarray) -> Verdict:
    if not len(rules.sections) or not len(keys):
        return Verdict()
    concerned = rules.sections.concerns(seen["checkpoint"])
    if not concerned.any():
        return Verdict()
    starts = np.ones(len(keys), bool)
    starts[1:] = keys[1:] != keys[:-1]
    vehicle = np.cumsum(starts) - 1
    touched = (np.bincount(vehicle, concerned) > 0)[vehicle]
    turn = (np.arange(len(keys)) - np.flatnonzero(starts)[vehicle]) // RING_OBSERVATIONS
    if not turn[touched].any():
        return _verdict(rules, state, keys[touched], seen[touched])
    return _judge_in_turns(state, rules, (keys[touched], seen[touched], turn[touched]))


def _judge_in_turns(
    state: VehicleState, rules: RuleBook, columns: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Verdict:
    """More observations of one vehicle than a ring holds: a ring's length at a time, on a copy of the state."""
    keys, seen, turn = columns
    copy = state.copy_of(np.unique(keys))
    verdicts: list[Verdict] = []
    for number in range(int(turn.max()) + 1):
        now = turn == number
        verdicts.append(_verdict(rules, copy, keys[now], seen[now]))
        copy.merge(keys[now], seen[now])
    return Verdict(
        candidates=[candidate for verdict in verdicts for candidate in verdict.candidates],
        travels=travel_time.together(verdict.travels for verdict in verdicts),
    )


def _verdict(rules: RuleBook, state: VehicleState, keys: np.ndarray, seen: np.ndarray) -> Verdict:
    found = rules.sections.judge(state.with_fresh(keys, seen))
    is_on = rules.section_rule is not None
    candidates = [rules.section_candidate(judgement) for judgement in found.judgements] if is_on else []
    return Verdict(candidates=candidates, travels=found.travels)
