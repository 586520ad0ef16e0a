"""What a record costs as the instance grows: more workers, more vehicles, more stored passages."""

from collections.abc import Mapping
from itertools import product

import msgspec

from dashboards.bench import ingest
from dashboards.bench.furnish import furnish
from dashboards.bench.ingest import Run
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from dashboards.bench.scratch import scratch

GOAL_PERCENT = 20.0
Cell = tuple[int, int, int]  # stored, plates, workers


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Lists with commas. Stored passages are of the most `plates`; each cell is the cheapest of `repeats` runs."""

    passages: int = 500_000
    repeats: int = 2
    workers: str = "1,2,4"
    plates: str = "100000,10000000"
    stored: str = "1000000,10000000"
    seed: int = 1


def measure(options: Options, progress: Progress) -> Measured:
    """Each cell on a fresh copy of a database that holds the stored passages."""
    plates, workers = _numbers(options.plates), _numbers(options.workers)
    taken: dict[Cell, list[Run]] = {}
    for stored in _numbers(options.stored):
        with scratch() as instance:
            furnish(instance, progress, stored=stored, plates=max(plates))
            for vehicles in plates:
                one = ingest.Options(passages=options.passages, plates=vehicles, seed=options.seed)
                load = ingest.loaded(instance, one)
                for _, count in product(range(options.repeats), workers):
                    run = ingest.run_once(instance, msgspec.structs.replace(one, workers=count), load)
                    taken.setdefault((stored, vehicles, count), []).append(run)
                    progress(f"{stored:,} stored, {vehicles:,} plates, {count} workers: {run.per_s:,.0f}/s")
    return _result(options, taken)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _result(options: Options, taken: Mapping[Cell, list[Run]]) -> Measured:
    """Costs are those of all parts of the instance together, without the client that sends.

    The cheapest run of a cell counts: what else a machine does makes every run dearer and none cheaper.
    """
    cheapest = {cell: min(runs, key=_spent_s) for cell, runs in taken.items()}
    costs = {cell: _spent_s(run) * 1e6 / options.passages for cell, run in cheapest.items()}
    return Measured(
        name="growth",
        value=round(100 * (max(costs.values()) / min(costs.values()) - 1), 1),
        unit="% between the cheapest and the dearest record",
        reference=Reference(name="goal", value=GOAL_PERCENT),
        details={
            "cells": [
                {
                    "stored": stored, "plates": plates, "workers": workers,
                    "passages_per_s": round(max(run.per_s for run in taken[stored, plates, workers])),
                    "cpu_us": round(costs[stored, plates, workers], 2),
                    "of": ingest.per_passage([run.cpu_s], options.passages),
                }
                for (stored, plates, workers), run in cheapest.items()
            ],
            "within_percent": {
                name: _spread(costs, at) for at, name in enumerate(("stored", "plates", "workers"))
            },
            "options": msgspec.to_builtins(options),
        },
    )  # fmt: skip


def _spent_s(run: Run) -> float:
    return sum(seconds for name, seconds in run.cpu_s.items() if name != "sender")


def _spread(costs: Mapping[Cell, float], at: int) -> float:
    """How far the cost moves along one axis, with the others as they are: the most of all lines, in per cent."""
    lines: dict[tuple[int, ...], list[float]] = {}
    for cell, cost in costs.items():
        lines.setdefault((*cell[:at], *cell[at + 1 :]), []).append(cost)
    return round(max(100 * (max(line) / min(line) - 1) for line in lines.values()), 1)


BENCH = Measurement(
    describe="% by which a record's cost moves with workers, vehicles and stored passages",
    options=Options,
    measure=measure,
)
