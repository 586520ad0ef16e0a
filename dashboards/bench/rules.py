"""`traffic bench rules`: records/s of the rules alone on one core, beside a plain loop and beside bytewax.

No services and no I/O: seeded passages of the model province's roads (`rules_load`), batch by batch as a worker gets
them. The three keyed rules (section speed, cloned plates, driving time) run in turn with their peers and must come to
the same findings; beside it every rule of the model, with the ticks' timers.
"""

import subprocess
import sys
import time
from statistics import median

import msgspec
import numpy as np

from dashboards.bench import rules_load
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.rules_peers import Outcome, Said, digest_of
from traffic.errors import ServiceError
from traffic.findings import DRIVING_TIME, Candidate
from traffic.road_readings import ALARM, POSITION
from traffic.vehicles import RuleBook, judge, keyed
from traffic.vehicles.state import VehicleState

PEERS = ("plain", "bytewax")
GOAL_RATIO, GOAL_PER_S = 25.0, 1_000_000
TICK_RECORDS = 50_000  # between two ticks: 5 s at 10,000 passages/s
_NO_POSITIONS, _NO_ALARMS = np.empty(0, POSITION), np.empty(0, ALARM)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`batch`: passages judged at once, as a worker's transaction takes them."""

    passages: int = 400_000
    batch: int = 20_000
    repeats: int = 3
    seed: int = 1


def measure(options: Options, progress: Progress) -> Measured:
    """Ours, the plain loop and bytewax in turn; then every rule."""
    from traffic.vehicles import compiled  # which brings the compiler: no other bench needs it

    compiled.ensure()
    world = rules_load.make(options.passages, options.seed)
    progress(f"{len(world.rows):,} passages")
    run(world.three, world.rows[: 2 * options.batch], options.batch, ticks=False)  # kernels are loaded
    rates: dict[str, list[float]] = {who: [] for who in ("three", "every", *PEERS)}
    said: Said = {}
    words = 0
    outcomes: dict[str, Outcome] = {}
    for number in range(options.repeats):
        three, candidates = run(world.three, world.rows, options.batch, ticks=False)
        said = standing(candidates)
        rates["three"].append(three)
        every, told = run(world.every, world.rows, options.batch, ticks=True)
        rates["every"].append(every)
        words = len(told)
        for who in PEERS:
            outcomes[who] = ask(who, options)
            rates[who].append(outcomes[who].records / outcomes[who].cpu_s)
        progress(f"repeat {number + 1}: " + ", ".join(f"{who} {of[-1]:,.0f}/s" for who, of in rates.items()))
    ours = Outcome(cpu_s=0.0, records=len(world.rows), findings=len(said), digest=digest_of(said))
    return _measured(options, rates, {"ours": ours, **outcomes}, words)


def _measured(options: Options, rates: dict[str, list[float]], outcomes: dict[str, Outcome], words: int) -> Measured:
    per_s = {who: median(of) for who, of in rates.items()}
    differ = [who for who, one in outcomes.items() if one.digest != outcomes["ours"].digest]
    if differ:
        raise ServiceError(f"{', '.join(differ)} came to other findings than ours: {_counts(outcomes)}")
    return Measured(
        name="rules",
        value=round(per_s["three"]),
        unit="records/s",
        reference=Reference(name="bytewax, the same three rules", value=round(per_s["bytewax"])),
        details={
            "goal_ratio": GOAL_RATIO,
            "plain_loop_per_s": round(per_s["plain"]),
            "ratio_to_plain_loop": round(per_s["three"] / per_s["plain"], 2),
            "every_rule_per_s": round(per_s["every"]),
            "goal_every_rule_per_s": GOAL_PER_S,
            "every_rule_candidates_per_1000": round(1_000 * words / outcomes["ours"].records, 2),
            "findings": outcomes["ours"].findings,
            "identical": True,
            "spread": {who: [round(min(of)), round(max(of))] for who, of in rates.items()},
            "options": msgspec.to_builtins(options),
        },
    )


def _counts(outcomes: dict[str, Outcome]) -> str:
    return ", ".join(f"{who} {one.findings}" for who, one in outcomes.items())


def run(book: RuleBook, rows: np.ndarray, batch: int, *, ticks: bool) -> tuple[float, list[Candidate]]:
    """Records/s of CPU time, and what was said, of a fresh worker's memory."""
    passages, vehicles = VehicleState(), keyed.KeyedState()
    said: list[Candidate] = []
    ticked = 0
    begin_s = time.process_time()
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        now_us = int(part["observed_at"][-1])
        said += judge(passages, book, part, now_us=now_us).candidates
        said += keyed.judge(vehicles, book, passages=part, positions=_NO_POSITIONS, alarms=_NO_ALARMS, now_us=now_us)
        while ticks and ticked + TICK_RECORDS <= start + len(part):
            ticked += TICK_RECORDS
            said += keyed.tick(vehicles, book, now_us=now_us, quiet=())
    return len(rows) / (time.process_time() - begin_s), said


def standing(candidates: list[Candidate]) -> Said:
    """What stands in the end, in the peers' words."""
    said: Said = {}
    for word in candidates:
        anchor = word.anchor.partition(":")[2] if word.kind == DRIVING_TIME else word.anchor
        name = f"{word.kind}:{word.plate_key << 3 | word.class_group}:{anchor}"
        if not word.active:
            said.pop(name, None)
        else:
            said[name] = _rests_on(word)
    return said


def _rests_on(word: Candidate) -> str:
    if word.kind == DRIVING_TIME:
        return ",".join(sorted(word.detail[DRIVING_TIME]["exceeded"]))
    return str(word.observations[0].at)


def ask(who: str, options: Options) -> Outcome:
    """Let a peer judge the same passages in a process of its own."""
    command = [sys.executable, "-m", "dashboards.bench.rules_peers", who, str(options.passages), str(options.seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ServiceError(f"the peer {who} failed: {last[0]}")
    return msgspec.json.decode(done.stdout, type=Outcome)


BENCH = Measurement(
    describe="records/s of the rules alone, beside a plain loop and bytewax", options=Options, measure=measure
)
