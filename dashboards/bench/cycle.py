"""Seconds of one whole 30 s cycle on one core for growing networks, beside copying its columns once.

Seconds are those of the processor, so that other work on the machine counts as little as it can; `wall_seconds` beside.
"""

import math
import time
from collections.abc import Callable
from dataclasses import fields
from statistics import median
from typing import Any

import msgspec
import numpy as np

from dashboards.bench.cycle_load import CYCLE_US, START_US, Talk, World, world
from dashboards.bench.measured import Measured, Measurement, Progress, Reference
from traffic.clock import monotonic_s
from traffic.limits import SENSOR_INTERVALS
from traffic.roads import cycle
from traffic.roads.cycle import RoadRules, State, dump
from traffic.roads.model import Inputs, Turn

SIZES = (1_000, 10_000, 100_000)
GOAL_S = 1.0


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`warm` cycles fill the window before `repeats` are measured; the sizes take turns."""

    warm: int = SENSOR_INTERVALS
    repeats: int = 7
    links: int = SIZES[-1]
    seed: int = 1


class Instance:
    """One size of network on its way from cycle to cycle."""

    def __init__(self, links: int, seed: int) -> None:
        self.world: World = world(links)
        self._talk = Talk(self.world, seed)
        self.state: State = cycle.new_state(self.world.network, self.world.sensors)
        self._rules = RoadRules.from_parameters({})
        self._number = 0
        self.took_s: list[float] = []
        self.wall_s: list[float] = []
        self.copied_s: list[float] = []
        self.events = 0

    def step(self) -> tuple[Inputs, Turn, tuple[float, float]]:
        """One cycle with what the sensors say in it, and its seconds of the processor and of the wall."""
        self._number += 1
        inputs = self._talk.cycle(self._number)
        made, now_us = self.world, START_US + self._number * CYCLE_US
        begin_s = time.process_time(), monotonic_s()
        turned = cycle.turn(made.network, made.sensors, made.sections, self.state, inputs, self._rules, now_us=now_us)
        return inputs, turned, (time.process_time() - begin_s[0], monotonic_s() - begin_s[1])

    def measure(self) -> None:
        """A cycle and, right behind it, the copy of what it was told, remembers of sensors, and says."""
        inputs, turned, (took_s, wall_s) = self.step()
        self.took_s.append(took_s)
        self.wall_s.append(wall_s)
        self.copied_s.append(_copy_s(_columns(inputs, self.state, turned)))
        self.events = len(turned.events)


def measure(options: Options, progress: Progress) -> Measured:
    """All sizes in turn, so that a busy moment of the machine meets each of them."""
    sizes = sorted({size for size in SIZES if size < options.links} | {options.links})
    instances = [Instance(size, options.seed) for size in sizes]
    for instance, size in zip(instances, sizes, strict=True):
        for _ in range(options.warm):
            instance.step()
        progress(f"{size:,} links: the window is full")
    for number in range(options.repeats):
        for instance in instances:
            instance.measure()
        progress(f"repeat {number + 1}: " + ", ".join(f"{instance.took_s[-1]:.3f} s" for instance in instances))
    largest = instances[-1]
    return Measured(
        name="cycle",
        value=round(median(largest.took_s), 4),
        unit="s",
        reference=Reference(name="copying its columns once", value=round(median(largest.copied_s), 4)),
        details={
            "goal_s": GOAL_S,
            "sizes": [_of_size(instance) for instance in instances],
            "exponent": _exponent(sizes, [median(instance.took_s) for instance in instances]),
            "dump_s": round(_seconds(lambda: dump(largest.state)), 4),
            "dump_bytes": len(dump(largest.state)),
            "options": msgspec.to_builtins(options),
        },
    )


def _of_size(instance: Instance) -> dict[str, Any]:
    took = instance.took_s
    return {
        "links": len(instance.world.network),
        "sensors": len(instance.world.sensors),
        "seconds": round(median(took), 5),
        "least": round(min(took), 5),
        "most": round(max(took), 5),
        "wall_seconds": round(median(instance.wall_s), 5),
        "copy_seconds": round(median(instance.copied_s), 5),
        "events_of_last": instance.events,
    }


def _exponent(sizes: list[int], seconds: list[float]) -> dict[str, float]:
    """Of growth from one size to the next: 1 is linear."""
    pairs = zip(zip(sizes, seconds, strict=True), zip(sizes[1:], seconds[1:], strict=True), strict=False)
    return {
        f"{small:,} to {large:,}": round(math.log(slow / quick) / math.log(large / small), 3)
        for (small, quick), (large, slow) in pairs
    }


def _columns(inputs: Inputs, state: State, turned: Turn) -> list[np.ndarray]:
    """Arrays that a cycle cannot do without: what came in, the window, the lanes' last five minutes, the picture."""
    newest = sorted(state.reports)[-10:]
    lanes = [getattr(state.reports[number], name) for number in newest for name in ("vph", "occupancy", "speed_kmh")]
    picture = [getattr(turned.picture, entry.name) for entry in fields(turned.picture)]
    return [
        inputs.reports, inputs.flows, inputs.travel, *state.columns.values(), *lanes,
        *(column for column in picture if isinstance(column, np.ndarray)),
    ]  # fmt: skip


def _copy_s(columns: list[np.ndarray]) -> float:
    room = [np.empty_like(column) for column in columns]
    for to in room:
        to.view(np.uint8).reshape(-1)[:] = 0  # the pages are there before the clock runs

    def copy() -> None:
        for to, column in zip(room, columns, strict=True):
            np.copyto(to, column)

    return _seconds(copy)


def _seconds(work: Callable[[], object]) -> float:
    begin_s = time.process_time()
    work()
    return time.process_time() - begin_s


BENCH = Measurement(describe="one 30 s cycle for 1,000 to 100,000 links on one core", options=Options, measure=measure)
