"""What is broken during a chaos run, when and for how long, from a seed alone. Pure."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from traffic.limits import LEASE_S

FIRST_S = 2.0  # before it everything runs in
EVERY_S = 2.0  # on average


class Blow(StrEnum):
    """One way to be hit. Whatever was ended is started again by the harness, as a supervisor would."""

    WORKER_KILLED = "worker killed"
    WORKER_PAUSED = "worker paused until its lease has moved"
    WORKER_STOPPED = "worker stopped cleanly"
    MONITOR_KILLED = "monitor killed"
    MONITOR_PAUSED = "monitor paused until its lease has moved"
    MONITOR_STOPPED = "monitor stopped cleanly"
    DOORS_KILLED = "doors killed"
    DOORS_STOPPED = "doors stopped cleanly"
    API_KILLED = "api killed"
    REDIS_KILLED = "redis killed"
    POSTGRES_KILLED = "postmaster killed"
    BACKEND_KILLED = "one process of postgres killed"


PAUSES = frozenset({Blow.WORKER_PAUSED, Blow.MONITOR_PAUSED})
STOPS = frozenset({Blow.WORKER_STOPPED, Blow.MONITOR_STOPPED, Blow.DOORS_STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """`which` chooses among several processes of the kind; `for_s` is how long it stays down or paused."""

    at_s: float
    blow: Blow
    which: int
    for_s: float


def make_disturbances(seed: int, *, length_s: float) -> list[Disturbance]:
    """Each kind of blow in turn and any order, again and again, until shortly before the end."""
    chance = np.random.default_rng([seed, 1])
    found: list[Disturbance] = []
    at_s = FIRST_S
    waiting: list[Blow] = []
    while at_s < length_s:
        if not waiting:
            waiting = [list(Blow)[number] for number in chance.permutation(len(Blow))]
        blow = waiting.pop()
        for_s = float(chance.uniform(0.2, 1.5))
        if blow in PAUSES:
            for_s = LEASE_S + float(chance.uniform(1.0, 3.0))
        found.append(Disturbance(at_s=round(at_s, 3), blow=blow, which=int(chance.integers(1000)), for_s=for_s))
        at_s += float(chance.uniform(0.4, 1.6)) * EVERY_S
    return found
