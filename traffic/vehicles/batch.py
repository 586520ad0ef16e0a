"""A batch of new passages: what the rules say of it, what it tells of travel times, the state that it leaves behind."""

from dataclasses import dataclass, field

import numpy as np

from traffic.findings import Candidate
from traffic.vehicles import bans, cloned_plate, registry_state, spot_speed, travel_time
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.state import Fresh, VehicleState
from traffic.vehicles.terms import Vehicles


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a batch comes to: candidates for findings, and facts of travel time (travel_time.TRAVEL_FACT)."""

    candidates: list[Candidate] = field(default_factory=list)
    travels: np.ndarray = field(default_factory=travel_time.nothing)


def judge(state: VehicleState, rules: RuleBook, rows: np.ndarray, *, now_us: int = 0) -> Verdict:
    """What these new PASSAGE rows come to; then they are taken into the state.

    The state changes last: when a rule raises, it stands as before, and the caller may try a part of the rows.
    """
    candidates = rules.match_watchlist(rows) + _judge_rows(rules, rows)
    fresh = state.lay_out(rows)
    sections = _judge_sections(rules, fresh)
    candidates += sections.candidates + cloned_plate.judge(rules, fresh)
    state.merge(fresh)
    return Verdict(candidates=candidates, travels=sections.travels)


def judge_batch(state: VehicleState, rules: RuleBook, rows: np.ndarray) -> list[Candidate]:
    """As `judge`, for who asks only for what the rules say."""
    return judge(state, rules, rows).candidates


def absorb(state: VehicleState, rows: np.ndarray) -> None:
    """Take rows into the state that were judged before (replay), saying nothing."""
    state.merge(state.lay_out(rows))


def _judge_rows(rules: RuleBook, rows: np.ndarray) -> list[Candidate]:
    """The rules that look at each passage by itself."""
    if not rules.terms or not len(rows):
        return []
    vehicles = Vehicles.of_passages(rows, rules.registry)
    return [word for rule in (bans, registry_state, spot_speed) for word in rule.judge(rules, rows, vehicles)]


def _judge_sections(rules: RuleBook, fresh: Fresh) -> Verdict:
    if not len(rules.sections):
        return Verdict()
    found = rules.sections.judge(fresh)
    is_on = rules.section_rule is not None
    candidates = [rules.section_candidate(judgement) for judgement in found.judgements] if is_on else []
    return Verdict(candidates=candidates, travels=found.travels)
