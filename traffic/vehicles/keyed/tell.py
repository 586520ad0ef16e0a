"""From what a kernel put down to a candidate for a finding: words, evidence, audience, the cause of a correction."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from traffic import findings
from traffic.audience import Audience
from traffic.findings import Candidate, Observation, record_id
from traffic.network import stake_text
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.episodes import Episode, episode_of
from traffic.vehicles.keyed.rules import KINDS, KeyedRules
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.terms import RuleTerms

_KINDS = {
    shapes.DRIVING: findings.DRIVING_TIME,
    shapes.NIGHT: findings.NIGHT_RUNNING,
    shapes.OVERSPEED: findings.OVERSPEED,
    shapes.STOP: findings.LONG_STOP,
    shapes.FENCE: findings.GEOFENCE,
    shapes.ROUTE: findings.ROUTE_DEVIATION,
    shapes.OVERDUE: findings.OVERDUE_ARRIVAL,
    shapes.ALARM_BIT: findings.DEVICE_ALARM,
    shapes.MISMATCH: findings.POSITION_MISMATCH,
}
_SOURCES = {shapes.POSITION: "position", shapes.ALARM: "alarm", shapes.MARK: "silence"}
_GROUP_BITS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One event with the sightings that it rests on."""

    event: np.void
    proofs: np.ndarray

    @property
    def name(self) -> Episode:
        """Of the episode."""
        return episode_of(self.event)

    @property
    def content(self) -> tuple[Any, ...]:
        """All that it says: two words with the same content are one."""
        event = self.event
        numbers = tuple(float(event[name]) for name in "abcdef")
        proofs = self.proofs[: int(event["proofs"])]
        rests_on = tuple((int(s["at"]), int(s["kind"]), int(s["source"])) for s in proofs)
        return self.name, int(event["over"]), numbers, rests_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Tells of one vehicle."""

    book: RuleBook
    rules: KeyedRules
    key: int

    def candidate(self, word: Word, *, late: np.void | None = None, before: Word | None = None) -> Candidate:
        """A word as candidate; `late`: the sighting because of which it is another than `before`."""
        event = word.event
        terms = self.rules.by_number[int(event["rule"])]
        detail, level, confidence = self._described(event, terms, word)
        proofs = word.proofs[: int(event["proofs"])]
        observations = tuple(self._observation(s) for s in proofs)
        checkpoints = sorted({int(s["checkpoint"]) for s in proofs if s["checkpoint"]})
        return Candidate(
            kind=terms.kind,
            plate_key=self.key >> 3,
            class_group=self.key & _GROUP_BITS,
            anchor=word.name[1],
            level=terms.level or level,
            confidence=self.book.trusted(confidence, checkpoints),
            rule=terms.rule,
            observations=observations,
            detail={terms.kind: detail},
            audience=self._audience(proofs),
            cause=None if late is None else self._cause(late, before, detail),
        )

    def retraction(self, word: Word, late: np.void) -> Candidate:
        """What was said is taken back because of a sighting that came late."""
        return replace(self.candidate(word), active=False, cause=self._cause(late, word, None))

    def _described(self, event: np.void, terms: RuleTerms, word: Word) -> tuple[dict[str, Any], int, float]:
        describe: Callable[..., tuple[dict[str, Any], int, float]] = KINDS[terms.kind].describe  # type: ignore[attr-defined]
        if terms.kind == findings.GEOFENCE:
            return describe(event, terms.parameters, self._fence(int(event["anchor"])))
        if terms.kind == findings.OVERDUE_ARRIVAL:
            passage = word.proofs[0]
            gate = int(passage["checkpoint"]) * 4 + int(passage["direction"])
            return describe(event, terms.parameters, self.rules.next_of_gate.get(gate, 0))
        return describe(event, terms.parameters)

    def _fence(self, number: int) -> dict[str, Any]:
        fence = self.rules.ground.fences.get(number)
        if fence is None:
            return {"fence": number, "code": "", "name": "", "fence_kind": ""}
        return {"fence": number, "code": fence.code, "name": fence.name, "fence_kind": fence.kind}

    def _cause(self, late: np.void, before: Word | None, after: dict[str, Any] | None) -> dict[str, Any]:
        """The late sighting, and what was said before and after it."""
        seen = self._observation(late)
        told = None
        if before is not None:
            terms = self.rules.by_number.get(int(before.event["rule"]))
            told = self._described(before.event, terms, before)[0] if terms else None
        return {
            "reason": f"late_{seen.source}",
            "at": seen.at,
            "checkpoint": seen.checkpoint,
            "record": seen.record,
            "before": told,
            "after": after,
        }

    def _observation(self, s: np.void) -> Observation:
        """A sighting as evidence."""
        speed = float(s["speed_kmh"])
        kmh = round(speed, 1) if np.isfinite(speed) else None
        at, kind = int(s["at"]), int(s["kind"])
        if kind == shapes.PASSAGE:
            return Observation(
                at=at,
                checkpoint=int(s["checkpoint"]),
                direction=int(s["direction"]),
                lane=int(s["lane"]),
                speed_kmh=kmh,
                record=record_id(at, int(s["source"])),
            )
        road = self.book.checkpoints.road_codes.get(int(s["road"]))
        placed = bool(s["lon_e6"] or s["lat_e6"])
        return Observation(
            at=at,
            checkpoint=0,
            direction=int(s["direction"]),
            lane=0,
            speed_kmh=kmh,
            record=f"{_SOURCES[kind]}:{at}" + (f":{int(s['value'])}" if kind == shapes.ALARM else ""),
            source=_SOURCES[kind],  # type: ignore[arg-type]
            lon=int(s["lon_e6"]) / 1e6 if placed else None,
            lat=int(s["lat_e6"]) / 1e6 if placed else None,
            stake=f"{road} {stake_text(max(0, int(s['stake_m'])))}" if road else None,
        )

    def _audience(self, proofs: np.ndarray) -> Audience:
        """Every unit that owns one of the places, and all above; of a vehicle off the roads its own unit."""
        units: frozenset[int] = frozenset()
        for s in proofs:
            if s["kind"] == shapes.PASSAGE:
                units |= self.book.audience_of_checkpoint.get(int(s["checkpoint"]), self.book.everywhere)
            elif s["unit"]:
                units |= self.book.audience_of_unit.get(int(s["unit"]), self.book.everywhere)
        if not units:
            row = int(self.rules.registry.find(np.array([self.key], np.int64))[0])
            own = int(self.rules.registry.unit[row]) if row >= 0 else 0
            units = self.book.audience_of_unit.get(own, self.book.everywhere)
        return Audience(units=units)
