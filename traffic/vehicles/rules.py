"""The rule book: every rule in force with its data, and how a rule's word becomes a candidate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traffic.audience import OPEN, Audience
from traffic.errors import SettingsError
from traffic.findings import SECTION_SPEED, WATCH_HIT, Candidate, Observation, Rule, record_id
from traffic.network import Section
from traffic.positions import PlaceIndex
from traffic.vehicles import section_speed
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.registry import EMPTY, Registry
from traffic.vehicles.section_speed import Judgement, SectionRule, Sections
from traffic.vehicles.state import observations_of
from traffic.vehicles.trust import Trust
from traffic.vehicles.usual_times import UsualTimes
from traffic.vehicles.watchlist import Hit, WatchEntry, WatchList, from_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """What a batch is judged with; never changed, but replaced when a version changes. A rule that is None is off."""

    watchlist: WatchList
    watch_rule: Rule | None
    sections: Sections
    section_rule: Rule | None
    audience_of_checkpoint: Mapping[int, frozenset[int]]
    everywhere: frozenset[int]  # who sees what any checkpoint sees: for a checkpoint that the network does not know
    audience_of_unit: Mapping[int, frozenset[int]] = field(default_factory=dict)  # a unit and all above it
    terms: tuple[Any, ...] = ()  # terms.RuleTerms: every other rule that is armed, with its scope, times and exemptions
    registry: Registry = EMPTY
    usual: UsualTimes = field(default_factory=UsualTimes)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    places: PlaceIndex | None = None  # road and stake of points
    permits: Any = None
    rests: tuple[tuple[float, float], ...] = ()  # lon, lat of service areas and toll plazas: who stands there may
    fences: Any = None
    trust: Trust = field(default_factory=Trust)  # of sensors
    clock_suspects: frozenset[int] = frozenset()  # checkpoints whose clock is distrusted

    def trusted(self, confidence: float, checkpoints: Iterable[int]) -> float:
        """A rule's confidence, lowered by what is known of the sensors that it rests on."""
        return self.trust.trusted(confidence, checkpoints)

    def match_watchlist(self, rows: np.ndarray) -> list[Candidate]:
        """Watch-list hits among PASSAGE rows, one candidate for each vehicle and entry. Holds no state."""
        if self.watch_rule is None:
            return []
        return [self._hit(hit, rows, self.watch_rule) for hit in self.watchlist.match(rows)]

    def _hit(self, hit: Hit, rows: np.ndarray, rule: Rule) -> Candidate:
        entry = hit.entry
        observations = tuple(evidence(seen) for seen in observations_of(rows[list(hit.rows)]))
        return Candidate(
            kind=WATCH_HIT,
            plate_key=hit.plate_key,
            class_group=hit.class_group,
            anchor=entry.number,
            level=entry.level,
            confidence=max(self.trusted(hit.confidence, (seen.checkpoint,)) for seen in observations),
            rule=rule,
            observations=observations,
            detail={"entry": entry.detail(), "match": hit.match()},
            audience=self._audience(observations, entry.visibility, entry.addressees),
            grows=True,
            via=hit.via,
        )

    def section_candidate(self, judgement: Judgement) -> Candidate:
        """A judgement on a section as a candidate; the caller has seen to it that the rule is on."""
        assert self.section_rule is not None
        section, leaving, entering = judgement.section, judgement.exit, judgement.entry
        seen = [part for part in (entering, leaving) if part is not None]
        observations = tuple(evidence(part) for part in seen)
        travel_us = int(leaving["observed_at"] - entering["observed_at"]) if entering is not None else 0
        speed = section_speed.speed_kmh(section, travel_us) if travel_us else 0.0
        return Candidate(
            kind=SECTION_SPEED,
            plate_key=judgement.key >> 3,
            class_group=judgement.key & 7,
            anchor=f"{section.id}:{observations[-1].record}",
            level=section_speed.level(section, speed),
            confidence=self.trusted(
                section_speed.confidence(section, self.sections.rule, travel_us) if travel_us else 0.0,
                [seen.checkpoint for seen in observations],
            ),
            rule=self.section_rule,
            observations=observations,
            detail={
                "section": {
                    "id": section.id,
                    "from": section.from_checkpoint,
                    "to": section.to_checkpoint,
                    "length_m": section.length_m,
                    "limit_kmh": section.limit_kmh,
                    "travel_s": round(travel_us / 1e6, 3),
                    "speed_kmh": round(speed, 1),
                }
            },
            audience=self._audience(observations),
            active=entering is not None,
            cause=_cause(judgement),
        )

    def _audience(
        self, observations: Iterable[Observation], visibility: int = OPEN, addressees: frozenset[int] = frozenset()
    ) -> Audience:
        """A finding belongs to every unit that owns one of its observations, and to all above."""
        units = (self.audience_of_checkpoint.get(o.checkpoint, self.everywhere) for o in observations)
        return Audience(units=frozenset().union(*units), visibility=visibility, addressees=addressees)


def evidence(seen: np.void) -> Observation:
    """An OBSERVATION scalar as evidence in a finding."""
    speed = float(seen["speed_kmh"])
    return Observation(
        at=int(seen["observed_at"]),
        checkpoint=int(seen["checkpoint"]),
        direction=int(seen["direction"]),
        lane=int(seen["lane"]),
        speed_kmh=round(speed, 1) if np.isfinite(speed) else None,
        record=record_id(int(seen["observed_at"]), int(seen["source_hash"])),
    )


def _cause(judgement: Judgement) -> dict[str, Any] | None:
    """Why late data changed what was said: the observation that came late, and at which end of the section."""
    if judgement.cause is None:
        return None
    seen = evidence(judgement.cause)
    reason = "late_entry" if seen.checkpoint == judgement.section.from_checkpoint else "late_exit"
    return {"reason": reason, "at": seen.at, "checkpoint": seen.checkpoint, "record": seen.record}


def build_rulebook(
    *,
    entries: Iterable[WatchEntry],
    sections: Iterable[Sequence[int]],
    rules: Iterable[Mapping[str, Any]],
    audience_of_checkpoint: Mapping[int, frozenset[int]],
    **given: Any,
) -> RuleBook:
    """From rows of the tables: sections as (id, from, to, length_m, limit_kmh), rules with the columns of `rule`.

    `given`: what the book has of its own (terms, registry, usual, ...). Raises SettingsError for parameters that make
    no sense.
    """
    by_kind = {rule["kind"]: rule for rule in rules}
    section_row, watch_row = by_kind.get(SECTION_SPEED), by_kind.get(WATCH_HIT)
    audiences = list(audience_of_checkpoint.values())
    return RuleBook(
        watchlist=WatchList(tuple(entries), from_parameters(watch_row["parameters"] if watch_row else {})),
        watch_rule=_rule(watch_row),
        sections=Sections(
            (
                Section(id=number, from_checkpoint=start, to_checkpoint=end, length_m=length_m, limit_kmh=limit_kmh)
                for number, start, end, length_m, limit_kmh in sections
            ),
            _section_rule(section_row["parameters"]) if section_row else None,
        ),
        section_rule=_rule(section_row),
        audience_of_checkpoint=audience_of_checkpoint,
        everywhere=frozenset.intersection(*audiences) if audiences else frozenset(),
        **given,
    )


def _rule(row: Mapping[str, Any] | None) -> Rule | None:
    if row is None:
        return None
    return Rule(id=row["id"], version=row["version"], name=row["name"], clause=row["clause"])


def _section_rule(parameters: Mapping[str, Any]) -> SectionRule:
    default = SectionRule()
    try:
        rule = SectionRule(
            tolerance_share=float(parameters.get("tolerance_percent", default.tolerance_share * 100)) / 100,
            travel_s_min=float(parameters.get("travel_s_min", default.travel_s_min)),
            speed_kmh_max=float(parameters.get("speed_kmh_max", default.speed_kmh_max)),
        )
    except (TypeError, ValueError) as error:
        raise SettingsError(f"rule section_speed: a parameter is no number: {error}") from error
    if not (0 <= rule.tolerance_share < 10 and rule.travel_s_min > 0 and 0 < rule.speed_kmh_max < 1_000):
        raise SettingsError(f"rule section_speed: parameters out of range: {dict(parameters)}")
    return rule
