"""How far sensors are believed: the health of a checkpoint, times what verification says of its readings.

A rule's confidence is lowered by the least trusted sensor that it rests on; a finding states the trust of each.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from traffic.findings import Candidate

# Before anybody looked, a reading is taken to be right nine times of ten (GA/T 497), as if twenty had been looked at.
PRIOR_RIGHT, PRIOR_WRONG = 18.0, 2.0
VERDICT_DAYS = 30  # verdicts older than this say nothing of the camera as it is now
# A terminal is taken to be in its own vehicle, as if ten days had shown it; each place where a camera saw the vehicle
# elsewhere speaks against it.
TERMINAL_RIGHT, TERMINAL_WRONG = 9.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a checkpoint: health 0..1 (None: nothing is), readings that people found right or wrong."""

    health: float | None = None
    valid: int = 0
    misread: int = 0

    @property
    def trust(self) -> float:
        """0..1; 1 for one of which nothing bad is known."""
        return (1.0 if self.health is None else self.health) * reading_trust(self.valid, self.misread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Trust of checkpoints by id; one that is not named is believed."""

    of_checkpoint: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of_records(cls, records: Mapping[int, Record]) -> "Trust":
        """From what is known of each."""
        return cls(of_checkpoint={gate: round(record.trust, 3) for gate, record in records.items()})

    def lowest(self, checkpoints: Iterable[int]) -> float:
        """The trust of the least trusted; 1 where there is none."""
        return min((self.of_checkpoint.get(gate, 1.0) for gate in checkpoints if gate), default=1.0)

    def trusted(self, confidence: float, checkpoints: Iterable[int]) -> float:
        """A rule's confidence, lowered by the least trusted checkpoint that it rests on."""
        lowest = self.lowest(checkpoints)
        return confidence if lowest == 1.0 else round(confidence * lowest, 4)


def reading_trust(valid: int, misread: int) -> float:
    """Mean of the Beta posterior that a reading is right, beside the mean before anybody looked; at most 1."""
    right, wrong = PRIOR_RIGHT + max(0, valid), PRIOR_WRONG + max(0, misread)
    return min(1.0, right / (right + wrong) / (PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)))


def terminal_trust(mismatches: int) -> float:
    """Trust of a vehicle's terminal after so many places where a camera saw the vehicle elsewhere."""
    alone = TERMINAL_RIGHT / (TERMINAL_RIGHT + TERMINAL_WRONG)
    return TERMINAL_RIGHT / (TERMINAL_RIGHT + TERMINAL_WRONG + max(0, mismatches)) / alone


def apply(candidate: Candidate, trust: Trust | None) -> Candidate:
    """The candidate with the trust of its checkpoints stated in its detail (its confidence is the rule's own work)."""
    gates = sorted({seen.checkpoint for seen in candidate.observations if seen.source == "passage" and seen.checkpoint})
    if trust is None or not candidate.active or not any(gate in trust.of_checkpoint for gate in gates):
        return candidate
    stated: dict[str, Any] = {
        "lowest": trust.lowest(gates),
        "checkpoints": {str(gate): trust.of_checkpoint.get(gate, 1.0) for gate in gates},
    }
    return replace(candidate, detail={**candidate.detail, "trust": stated})
