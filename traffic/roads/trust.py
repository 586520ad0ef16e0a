"""Sensor health: which detectors' lanes and which checkpoints can be believed, and why not.

Trouble adds up quickly and fades slowly: what symptoms say (symptoms.py) is summed over the cycles, a sensor whose
trouble reaches 1 is failed, and it is believed again only after it was well for some minutes. A silent one is believed
again after two whole words. Failed and silent sensors have trust 0.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from traffic.limits import CYCLE_S
from traffic.roads.episodes import pack, unpack
from traffic.roads.model import HealthChange, SensorKind
from traffic.roads.symptoms import (
    DEFAULTS,
    RECENT,
    SUSPECT_MOST,
    HealthRule,
    Reason,
    Said,
    Symptom,
    context_of,
    expected_of_lanes,
    from_parameters,
    learned_share,
    of_counts,
    of_lanes,
    recent_of,
    stood_of,
)
from traffic.roads.window import INTERVAL_US, Columns, Lanes

__all__ = ["DEFAULTS", "HealthRule", "Memory", "from_parameters", "judge", "new_memory"]


BORNE_MAX = 100.0  # vehicles
SHARED_MIN = 5  # who report: of fewer nothing can be said of what they share


class Health(IntEnum):
    """State of a sensor."""

    OK = 0
    SUSPECT = 1
    FAILED = 2
    SILENT = 3


REASONS = ("", *(reason.name.lower() for reason in Reason if reason))
STATES = tuple(state.name.lower() for state in Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Columns over slots of lanes, then directions of checkpoints."""

    trouble: np.ndarray  # float64, 0..1
    state: np.ndarray  # int8, Health
    reason: np.ndarray  # int8, Reason
    since_us: np.ndarray  # int64
    seen: np.ndarray  # bool: it has reported at least once
    heard_us: np.ndarray  # int64: end of the newest interval reported; the first turn where nothing was
    hit_us: np.ndarray  # int64: when a vehicle was seen last, as `heard_us`
    expected: np.ndarray  # float64: vehicles that should have come since
    borne: np.ndarray  # float64: most vehicles that were missed before one came after all: such a lane is often empty
    stood: np.ndarray  # bool: a queue stands over it
    lag_s: np.ndarray  # float64: received - observed, of late; NaN: not known
    received_us: np.ndarray  # int64: when the newest report came
    share: np.ndarray  # float64: of its detector's flow that a lane carries; NaN: not learned yet

    def dump(self) -> Any:
        """Values for msgpack."""
        return pack({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, data: Any) -> "Memory":
        """What `dump` gave."""
        return cls(**unpack(data))


def new_memory(lanes: Lanes) -> Memory:
    """Nothing known yet."""
    many = len(lanes) + len(lanes.checkpoints)
    return Memory(
        trouble=np.zeros(many),
        state=np.zeros(many, np.int8),
        reason=np.zeros(many, np.int8),
        since_us=np.zeros(many, np.int64),
        seen=np.zeros(many, bool),
        heard_us=np.zeros(many, np.int64),
        hit_us=np.zeros(many, np.int64),
        expected=np.zeros(many),
        borne=np.zeros(many),
        stood=np.zeros(many, bool),
        lag_s=np.full(many, np.nan),
        received_us=np.zeros(many, np.int64),
        share=np.full(many, np.nan),
    )


def trust_of(memory: Memory) -> np.ndarray:
    """0 useless .. 1, of each slot and checkpoint's direction."""
    wrong = (memory.state == Health.FAILED) | (memory.state == Health.SILENT)
    doubt = np.where(memory.state == Health.SUSPECT, np.clip(1.0 - memory.trouble, 0.3, 0.7), 1.0 - memory.trouble / 2)
    return np.where(wrong | ~memory.seen, 0.0, doubt)


def usable(memory: Memory, lanes: Lanes) -> np.ndarray:
    """Lanes whose words are taken (slots): all but failed ones. A silent one says nothing anyway."""
    return memory.state[: len(lanes)] != Health.FAILED


def trust_of_sensors(memory: Memory, lanes: Lanes, sensors: int) -> np.ndarray:
    """Trust of each sensor: of the mean of its lanes, or of lane 0 where that is better."""
    trust = np.zeros(sensors)
    of_slot = trust_of(memory)
    if len(lanes):
        first = lanes.first
        by_lane = (np.add.reduceat(of_slot[: len(lanes)], first) - of_slot[first]) / lanes.of_lanes
        trust[lanes.detectors] = np.maximum(by_lane, of_slot[first])
    trust[lanes.checkpoints] = of_slot[len(lanes) :]
    return trust


# ---------------------------------------------------------------- the judgement
def judge(memory: Memory, said: Said, rule: HealthRule, *, now_us: int) -> tuple[Memory, list[HealthChange]]:
    """What is to be remembered now, and whose health became another. Changes nothing that it is given."""
    recent, context = recent_of(said), context_of(said, rule)
    heard = _hear(memory, said, now_us=now_us)
    gates = said.lanes.checkpoints
    passed = _newest_of(said.columns, gates)
    hit_us = np.concatenate([_last(recent.vph > 0, said.newest), _last(passed > 0, said.newest)])
    hit_us = np.maximum(np.maximum(heard.hit_us, hit_us), np.where(heard.hit_us == 0, now_us, 0))
    subject = _subjects(heard, said.lanes)
    away_s = (now_us - heard.heard_us) / 1e6
    patience_s = _patience_s(said, rule)
    patience_s = np.where(heard.seen, patience_s, np.maximum(patience_s, rule.unheard_s))
    silent = subject & (away_s >= patience_s)
    share = heard.share.copy()
    share[: len(said.lanes)] = learned_share(said, recent, share[: len(said.lanes)], rule)
    by_lane = expected_of_lanes(said, recent, context, share[: len(said.lanes)], rule)
    expected_vph = np.concatenate([by_lane, context.expected_vph[gates]])
    grown = heard.expected + np.nan_to_num(expected_vph) * CYCLE_S / 3600.0
    hit = hit_us > heard.hit_us
    borne = np.where(hit, np.minimum(np.maximum(heard.borne, heard.expected), BORNE_MAX), heard.borne)
    expected = np.where(hit, 0.0, np.where(silent | ~heard.seen, heard.expected, grown))
    known = np.isnan(recent.vph[-3:]).all(0), np.isnan(passed[-4:]).all(0)
    idle_s = (now_us - hit_us) / 1e6
    stood = heard.stood.copy()
    stands = stood[: len(said.lanes)], idle_s[: len(said.lanes)]
    stood[: len(said.lanes)] = stood_of(said, recent, context, stands, rule)
    heard = replace(heard, hit_us=hit_us, expected=expected, borne=borne, share=share, stood=stood)
    symptoms = _of_silence(heard, silent, expected_vph, rule, now_us=now_us)
    with np.errstate(invalid="ignore", divide="ignore"):
        counts = of_counts(said, recent, context, rule)
        everywhere = [(r, np.concatenate([m[said.lanes.sensor], m[gates]]), gain, most) for r, m, gain, most in counts]
    lanes = of_lanes(said, recent, context, stood[: len(said.lanes)], rule)
    padded = [(r, np.concatenate([m, np.zeros(len(gates), bool)]), gain, most) for r, m, gain, most in lanes]
    judged = _settle(heard, [*symptoms, *everywhere, *padded], (subject, silent, ~np.concatenate(known)), rule, now_us)
    flow = np.concatenate([recent.vph[-1], context.flow_vph[gates]])
    return judged, _changes(memory, judged, said, (flow, expected_vph, away_s))


def _hear(memory: Memory, said: Said, *, now_us: int) -> Memory:
    """Who reported, until when, and how late."""
    reports, lanes = said.inputs.reports, said.lanes
    many, slots = len(memory.seen), len(lanes)
    slot = lanes.slots_of(reports["detector"].astype(np.int64), reports["lane"].astype(np.int64))
    good = (slot >= 0) & (reports["vehicles"] >= 0) & (reports["received_at"] <= now_us + INTERVAL_US)
    slot, received, observed = slot[good], reports["received_at"][good], reports["observed_at"][good]
    heard_us = np.where(memory.heard_us == 0, now_us, memory.heard_us)
    seen, received_us = memory.seen.copy(), memory.received_us.copy()
    np.maximum.at(heard_us, slot, np.minimum(observed, now_us))
    np.maximum.at(received_us, slot, received)
    seen[slot] = True
    # What was held up somewhere comes together with what is fresh: the report least off tells the clock.
    off_s = (received - observed) / 1e6
    least = np.full(many, np.inf)
    np.minimum.at(least, slot, np.abs(off_s))
    lag = np.full(many, np.nan)
    telling = np.abs(off_s) == least[slot]
    lag[slot[telling]] = off_s[telling]
    lag -= _shared_lag_s(lag)
    if len(lanes.checkpoints):
        passed = _last(~np.isnan(_newest_of(said.columns, lanes.checkpoints)), said.newest)
        heard_us[slots:] = np.maximum(heard_us[slots:], passed)
        seen[slots:] |= passed > 0
    lag_s = np.where(np.isnan(lag), memory.lag_s, lag)
    return replace(memory, seen=seen, heard_us=heard_us, received_us=received_us, lag_s=lag_s)


def _shared_lag_s(lag_s: np.ndarray) -> float:
    """What half of those who report are late by: something held them up on the way, which is no clock's fault."""
    told = lag_s[~np.isnan(lag_s)]
    return max(0.0, float(np.median(told))) if len(told) >= SHARED_MIN else 0.0


def _newest_of(columns: Columns, rows: np.ndarray) -> np.ndarray:
    return columns["flow_vph"][-RECENT:, rows]


def _last(found: np.ndarray, newest: int) -> np.ndarray:
    """End of the last of the recent intervals in which something was found; 0: in none."""
    back = np.argmax(found[::-1], axis=0)
    return np.where(found.any(0), (newest - back) * INTERVAL_US, 0)


def _subjects(memory: Memory, lanes: Lanes) -> np.ndarray:
    """Who is judged: what has reported once; of a detector of which nothing did, lane 0; every checkpoint."""
    subject = memory.seen.copy()
    if len(lanes):
        some = np.zeros(len(lanes.start), bool)
        some[lanes.detectors] = np.logical_or.reduceat(memory.seen[: len(lanes)], lanes.first)
        subject[: len(lanes)] |= (lanes.lane == 0) & ~some[lanes.sensor]
    subject[len(lanes) :] = True
    return subject


def _patience_s(said: Said, rule: HealthRule) -> np.ndarray:
    """How long each may be silent: two of its intervals and a half where these are long."""
    slots = len(said.lanes)
    period = np.zeros(slots)
    for interval in said.reports.values():
        long = interval.rows[interval.rows["period_s"] > CYCLE_S]
        np.maximum.at(period, long["slot"], long["period_s"].astype(np.float64))
    of_gate = np.full(len(said.lanes.checkpoints), rule.silent_s + 60.0)  # theirs are minutes, told when complete
    return np.concatenate([np.maximum(rule.silent_s, 2.5 * period), of_gate])


def _of_silence(
    heard: Memory, silent: np.ndarray, expected_vph: np.ndarray, rule: HealthRule, *, now_us: int
) -> list[Symptom]:
    idle_s = (now_us - heard.hit_us) / 1e6
    fresh = (now_us - heard.received_us) / 1e6 < rule.silent_s
    skewed = fresh & ((heard.lag_s < -rule.skew_ahead_s) | (heard.lag_s > rule.skew_behind_s))
    idle = ~silent & heard.seen & (idle_s >= rule.no_hits_s_min)
    more = 2.0 * heard.borne
    blind = idle & np.isnan(expected_vph) & (idle_s >= rule.no_hits_s)
    return [
        (Reason.CLOCK_SKEW, skewed, rule.skew_gain, 1.0),
        (Reason.SILENT, silent, 1.0, 1.0),
        (Reason.NO_HITS, idle & (heard.expected >= np.maximum(rule.expected_failed, more)), 1.0, 1.0),
        (
            Reason.NO_HITS,
            (idle & (heard.expected >= np.maximum(rule.expected_suspect, more))) | blind,
            1.0,
            SUSPECT_MOST,
        ),
    ]


def _settle(
    heard: Memory,
    symptoms: list[Symptom],
    masks: tuple[np.ndarray, np.ndarray, np.ndarray],
    rule: HealthRule,
    now_us: int,
) -> Memory:
    """Trouble grows by the symptoms or fades; states follow. `masks`: judged at all, silent, reporting."""
    subject, silent, reporting = masks
    reason, trouble = np.zeros(len(subject), np.int8), heard.trouble
    grown = trouble.copy()
    for kind, where, gain, most in symptoms:
        grown = np.where(where, np.maximum(grown, np.minimum(trouble + gain, max(most, 0.0))), grown)
        reason = np.where(where & ((reason == 0) | (reason > kind)), np.int8(kind), reason)
    ill = reason > 0
    fade_s = np.where(heard.reason == Reason.SILENT, rule.recover_silent_s, rule.recover_s)
    faded = np.where(reporting, np.maximum(trouble - CYCLE_S / fade_s, 0.0), trouble)
    trouble = np.where(subject, np.where(ill, grown, faded), 0.0)
    trouble = np.where(trouble < 1e-9, 0.0, trouble)
    was_bad = (heard.state == Health.FAILED) | (heard.state == Health.SILENT)
    state = np.select(
        [
            ~subject,
            silent & (reason == Reason.SILENT),
            trouble >= 1.0 - 1e-9,
            was_bad & (trouble > 0.5),
            (trouble >= rule.suspect_trouble) | ((heard.state != Health.OK) & (trouble > 0)),
        ],
        [Health.OK, Health.SILENT, Health.FAILED, heard.state, Health.SUSPECT],
        Health.OK,
    ).astype(np.int8)
    # A failed sensor that falls silent is silent; one that speaks again and is wrong is told by what is wrong.
    earlier = np.where((heard.reason == 0) | (heard.reason == Reason.SILENT), np.int8(127), heard.reason)
    told = np.where(
        silent & (reason == Reason.SILENT), reason, np.where(ill, np.minimum(earlier, reason), heard.reason)
    )
    told = np.where(state == Health.OK, 0, told).astype(np.int8)
    state = np.where((state == Health.SILENT) & (told != Reason.SILENT), Health.FAILED, state).astype(np.int8)
    changed = (state != heard.state) | (told != heard.reason)
    return replace(heard, trouble=trouble, state=state, reason=told, since_us=np.where(changed, now_us, heard.since_us))


def _changes(
    before: Memory, after: Memory, said: Said, values: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[HealthChange]:
    lanes, trust = said.lanes, trust_of(after)
    flow_vph, expected_vph, away_s = values
    changes = []
    for at in np.flatnonzero((before.state != after.state) | (before.reason != after.reason)).tolist():
        gate = at >= len(lanes)
        row = int(lanes.checkpoints[at - len(lanes)] if gate else lanes.sensor[at])
        detail = {
            "flow_vph": flow_vph[at],
            "expected_vph": expected_vph[at],
            "expected_vehicles": after.expected[at],
            "away_s": away_s[at],
            "lag_s": after.lag_s[at],
        }
        changes.append(
            HealthChange(
                kind=SensorKind.CHECKPOINT if gate else SensorKind.DETECTOR,
                id=int(said.sensors.id[row]),
                lane=int(said.sensors.direction[row] if gate else lanes.lane[at]),
                state=STATES[after.state[at]],
                reason=REASONS[after.reason[at]],
                trust=round(float(trust[at]), 3),
                since_us=int(after.since_us[at]),
                detail={name: round(float(value), 1) for name, value in detail.items() if np.isfinite(value)},
            )
        )
    return changes
