"""Precision and recall of every rule against the truth of simulated days, beside the plain methods."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from uuid import UUID

import msgspec
import numpy as np

from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.evaluate.offence_days import WARNING, Lived, hour_text, live
from dashboards.evaluate.plain_rules import clones_by_one_speed, tired_by_gaps
from dashboards.evaluate.section_speed import Score
from sim.observed import Nature
from sim.offences import Truth
from traffic import findings
from traffic.findings import Candidate, Finding
from traffic.plates import plate_key
from traffic.province_tables import model_province
from traffic.vehicles import bans, judge, keyed
from traffic.vehicles.keyed import KeyedState
from traffic.vehicles.state import VehicleState

HOUR_US = 3_600_000_000
MARGIN_US = 1_200_000_000  # a finding belongs to a truth that it overlaps with, so much to either side
SCORED = (
    "cloned_plate", "section_speed", "driving_time", "night_running", "ban", "overspeed", "overdue_arrival",
    "long_stop", "registry_state", "device_alarm", "position_mismatch",
)  # fmt: skip
Said = dict[str, list[tuple[int, int, int]]]  # kind -> (plate, from, to)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`offenders` of each kind and day, among `ordinary` cars and as many key vehicles that keep to the rules.

    Records are handed over every `step_s` seconds, and then time is told; in the stream ticks come each 5 s.
    """

    days: int = 1
    ordinary: int = 6_000
    offenders: int = 40
    step_s: int = 15
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """All findings in the end, and what of them was corrected on the way."""

    findings: tuple[Finding, ...]
    corrected: int
    late: int


def measure(options: Options, progress: Progress) -> Measured:
    """Let the days happen, judge what was seen of them in the order of arrival, and compare with the truth."""
    nature = Nature()
    lived = live(model_province(), _counts(options), days=options.days, seed=options.seed, nature=nature)
    seen = lived.observed
    progress(f"{len(lived.acts):,} vehicles, {len(seen.passages):,} passages, {len(seen.positions):,} positions")
    judged = judge_all(lived, options.step_s * 1_000_000, progress)
    ours = said_by(judged.findings)
    scores = {kind: score(lived, kind, ours.get(kind, [])) for kind in SCORED}
    plain = {
        "cloned_plate": score(lived, "cloned_plate", clones_by_one_speed(lived)),
        "driving_time": score(lived, "driving_time", tired_by_gaps(lived)),
    }
    both = ("cloned_plate", "driving_time")
    return Measured(
        name="rules",
        value=round(sum(scores[kind].f1 for kind in SCORED) / len(SCORED), 4),
        unit="mean F1 of all rules",
        reference=Reference(
            name="mean F1 of one global speed (clones) and fixed gaps (driving time)",
            value=round(sum(plain[kind].f1 for kind in both) / 2, 4),
        ),
        details={
            "data": WARNING,
            "rules": {kind: scores[kind].as_details() for kind in SCORED},
            "plain": {kind: found.as_details() for kind, found in plain.items()},
            "mean_f1_of_those_two": round(sum(scores[kind].f1 for kind in both) / 2, 4),
            "hours": 24 * options.days, "vehicles": len(lived.acts), "passages": len(seen.passages),
            "positions": len(seen.positions), "truths": len(lived.truths), "corrected": judged.corrected,
            "retracted": sum(finding.state == "retracted" for finding in judged.findings), "too_late": judged.late,
            "shares": asdict(nature), "options": msgspec.to_builtins(options),
        },
    )  # fmt: skip


def _counts(options: Options) -> dict[str, int]:
    many = options.offenders
    law_abiding = {"hurried": many * 3, "rested_coach": many * 2, "short_coach": many * 2, "airport_coach": many}
    offending = (
        "cloned", "speeding_section", "tired_coach", "late_coach", "night_coach", "night_tanker", "lost_tanker",
        "fast_lorry", "stopped_coach", "alarmed_lorry", "unplugged_lorry", "overdue", "scrapped", "falsely_registered",
    )  # fmt: skip
    return {
        "ordinary": options.ordinary, **law_abiding, "working_lorry": many * 3, "tanker": many * 2,
        **dict.fromkeys(offending, many),
    }  # fmt: skip


def judge_all(lived: Lived, step_us: int, progress: Progress = lambda line: None) -> Judged:
    """The worker's own judges over all records in the order of arrival, with time told in between."""
    passages, everything = VehicleState(), KeyedState()
    found: dict[UUID, Finding] = {}
    corrected = 0
    columns = {
        "passages": lived.observed.passages,
        "positions": lived.observed.positions,
        "alarms": lived.observed.alarms,
    }
    begin = min(int(rows["received_at"][0]) for rows in columns.values() if len(rows))
    end = max(int(rows["received_at"][-1]) for rows in columns.values() if len(rows)) + 4 * HOUR_US
    place = dict.fromkeys(columns, 0)
    for now_us in range(begin + step_us, end, step_us):
        told = {}
        for name, rows in columns.items():
            upto = int(np.searchsorted(rows["received_at"], now_us))
            told[name], place[name] = rows[place[name] : upto], upto
        said: list[Candidate] = judge(passages, lived.book, told["passages"], now_us=now_us).candidates
        said += bans.judge_positions(lived.book, told["positions"])
        said += keyed.judge(everything, lived.book, **told, now_us=now_us)
        said += keyed.tick(everything, lived.book, now_us=now_us, quiet=frozenset())
        for candidate in said:
            number = findings.finding_id(candidate.kind, candidate.plate_key, candidate.class_group, candidate.anchor)
            folded = findings.fold(found.get(number), candidate, now_us=now_us)
            if folded is not None:
                corrected += folded.change == "corrected"
                found[number] = folded
        if (now_us - begin) % HOUR_US < step_us:
            progress(f"{hour_text(now_us)}: {len(found):,} findings")
    return Judged(findings=tuple(found.values()), corrected=corrected, late=everything.late)


def said_by(found: tuple[Finding, ...]) -> Said:
    """Findings that stand, by kind."""
    said: Said = defaultdict(list)
    for finding in found:
        if finding.state == "active":
            said[finding.kind].append((finding.plate_key, finding.first_at, finding.observed_at))
    return said


def score(lived: Lived, kind: str, said: list[tuple[int, int, int]]) -> Score:
    """Each vehicle and truth counts once, however many findings there are of it; so does each vehicle said wrongly."""
    truths: dict[int, list[Truth]] = defaultdict(list)
    for truth in lived.truths:
        if truth.kind == kind:
            truths[plate_key(truth.plate)].append(truth)
    hit: set[Truth] = set()
    false: set[int] = set()
    for plate, first_us, last_us in said:
        near = [
            truth
            for truth in truths.get(plate, ())
            if first_us <= truth.to_us + MARGIN_US and last_us >= truth.from_us - MARGIN_US
        ]
        hit.update(truth for truth in near if truth.certain)
        if not near:
            false.add(plate)
    count = sum(truth.certain for told in truths.values() for truth in told)
    return Score(hits=len(hit), false=len(false), missed=count - len(hit))


EVALUATION = Measurement(describe="precision and recall of every rule of vehicles", options=Options, measure=measure)
