"""Precision and recall of the section-speed rule on labelled drives, beside judging by spot speed at the camera."""

from dataclasses import asdict, dataclass
from uuid import UUID

import msgspec
import numpy as np

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.evaluate.drives import START_US, Drive, Nature, World, make
from traffic import findings
from traffic.findings import SECTION_SPEED, Finding
from traffic.province import RULES
from traffic.province_tables import model_province
from traffic.vehicles import RuleBook, build_rulebook, judge_batch
from traffic.vehicles.state import VehicleState

BATCH_ROWS = 2_000
SAME_EXIT_S = 10.0  # a finding's exit and the true one, at most so far apart (clocks are skewed)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`vehicles` drive one to four sections each."""

    vehicles: int = 20_000
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Drives over a section that were too fast and said to be; said only; too fast only."""

    hits: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of what was said that is true."""
        return self.hits / max(1, self.hits + self.false)

    @property
    def recall(self) -> float:
        """Share of what is true that was said."""
        return self.hits / max(1, self.hits + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.missed)

    def as_details(self) -> dict[str, float]:
        """For the JSON."""
        return {
            "precision": round(self.precision, 4), "recall": round(self.recall, 4), "f1": round(self.f1, 4),
            "hits": self.hits, "false": self.false, "missed": self.missed,
        }  # fmt: skip


def measure(options: Options, progress: Progress) -> Measured:
    """Make the drives, let the rule see the readings as they arrive, and compare with the truth."""
    world = make(model_province().sections, vehicles=options.vehicles, seed=options.seed)
    progress(f"{len(world.drives):,} drives over sections, {len(world.rows):,} readings")
    parameters = next(row.parameters for row in RULES if row.kind == SECTION_SPEED)
    allowed = 1 + parameters["tolerance_percent"] / 100
    found = find(world, _rulebook())
    ours, spot = score_findings(world, found, allowed), score_spot(world, allowed)
    return Measured(
        name="section_speed",
        value=round(ours.f1, 4),
        unit="F1",
        reference=Reference(name="spot speed over the limit and tolerance at any checkpoint", value=round(spot.f1, 4)),
        details={
            "data": "simulated drives with stated shares of errors; no claim about real roads",
            "section_speed": ours.as_details(),
            "spot_speed": spot.as_details(),
            "too_fast_and_read_at_both_ends": sum(
                drive.speed_kmh > drive.section.limit_kmh * allowed and None not in drive.rows for drive in world.drives
            ),
            "retracted": sum(finding.state == "retracted" for finding in found),
            "drives": len(world.drives),
            "readings": len(world.rows),
            "shares": asdict(Nature()),
            "options": msgspec.to_builtins(options),
        },
    )


def _rulebook() -> RuleBook:
    sections = model_province().sections
    return build_rulebook(
        entries=(),
        sections=[(s.id, s.from_checkpoint, s.to_checkpoint, s.length_m, s.limit_kmh) for s in sections],
        rules=[
            {
                "id": row.id,
                "version": 1,
                "kind": row.kind,
                "name": row.name,
                "clause": row.clause,
                "parameters": row.parameters,
            }
            for row in RULES
        ],
        audience_of_checkpoint={},
    )


def find(world: World, rules: RuleBook) -> list[Finding]:
    """All findings in the end, from the readings in batches in the order of their arrival."""
    order = np.argsort(world.arrives_s, kind="stable")
    state, known = VehicleState(), dict[UUID, Finding]()
    for start in range(0, len(order), BATCH_ROWS):
        batch = order[start : start + BATCH_ROWS]
        now_us = START_US + int(world.arrives_s[batch[-1]] * 1e6)
        for candidate in judge_batch(state, rules, world.rows[batch]):
            identity = findings.finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor)
            folded = findings.fold(known.get(identity), candidate, now_us=now_us)
            if folded is not None:
                known[identity] = folded
    return list(known.values())


def score_findings(world: World, found: list[Finding], allowed: float) -> Score:
    """Compare the findings that stand with the drives that were too fast."""
    said: dict[tuple[int, int], list[float]] = {}
    for finding in found:
        if finding.state == "active":
            leaves_s = (finding.observed_at - START_US) / 1e6
            said.setdefault((finding.plate_key, finding.detail["section"]["id"]), []).append(leaves_s)
    count = sum(map(len, said.values()))
    hits = sum(_is_said(drive, said) for drive in _too_fast(world, allowed))
    return Score(hits=hits, false=count - hits, missed=len(_too_fast(world, allowed)) - hits)


def _too_fast(world: World, allowed: float) -> list[Drive]:
    return [drive for drive in world.drives if drive.speed_kmh > drive.section.limit_kmh * allowed]


def _is_said(drive: Drive, said: dict[tuple[int, int], list[float]]) -> bool:
    exits = said.get((drive.plate, drive.section.id), ())
    return any(abs(leaves_s - drive.leaves_s) <= SAME_EXIT_S for leaves_s in exits)


def score_spot(world: World, allowed: float) -> Score:
    """The plain method on the same drives: said when either end's reading shows too high a spot speed.

    A misread plate accuses somebody else: each such reading is said falsely.
    """
    hits = false = missed = 0
    misread: set[int] = set()
    for drive in world.drives:
        rows = [row for row in drive.rows if row is not None]
        fast = [row for row in rows if world.rows["speed_kmh"][row] > drive.section.limit_kmh * allowed]
        accused = any(not world.misread[row] for row in fast)
        if drive.speed_kmh > drive.section.limit_kmh * allowed:
            hits, missed = hits + accused, missed + (not accused)
        else:
            false += accused
        misread.update(row for row in fast if world.misread[row])
    return Score(hits=hits, false=false + len(misread), missed=missed)


EVALUATION = Measurement(describe="precision and recall of section speed", options=Options, measure=measure)
