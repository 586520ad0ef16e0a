"""The plain methods beside which the rules are judged: one speed for all clones, fixed gaps for driving time."""

from collections.abc import Iterator

import numpy as np

from dashboards.evaluate.offence_days import Lived
from traffic.findings import DRIVING_TIME
from traffic.vehicles.terms import RuleTerms

ONE_SPEED_KMH = 150.0  # as the crow flies: faster than this nobody is
REST_US = 20 * 60_000_000  # a gap between two readings that is longer was a rest
MOVING_KMH = 5.0
CONTINUOUS_US = 4 * 3_600_000_000
Span = tuple[int, int, int]  # plate, from, to


def _tracks(lived: Lived) -> Iterator[tuple[int, np.ndarray]]:
    """Readings of each plate in time order, repeats left out."""
    rows = lived.observed.passages
    _, once = np.unique(rows["source_hash"], return_index=True)
    rows = rows[once]
    rows = rows[rows["plate_key"] != 0]
    rows = rows[np.lexsort((rows["observed_at"], rows["plate_key"]))]
    ends = np.flatnonzero(np.diff(rows["plate_key"])) + 1
    for part in np.split(rows, ends):
        if len(part):
            yield int(part["plate_key"][0]), part


def clones_by_one_speed(lived: Lived) -> list[Span]:
    """Two readings of a plate that only a car faster than ONE_SPEED_KMH in a straight line could make."""
    gates = {int(row["id"]): (float(row["lon"]), float(row["lat"])) for row in lived.book.checkpoints.rows}
    found = []
    for plate, rows in _tracks(lived):
        for before, after in zip(rows, rows[1:], strict=False):
            a, b = gates[int(before["checkpoint"])], gates[int(after["checkpoint"])]
            km = np.hypot((a[0] - b[0]) * 81.0, (a[1] - b[1]) * 111.2)
            gap_us = max(1, int(after["observed_at"] - before["observed_at"]))
            if before["checkpoint"] != after["checkpoint"] and km / gap_us * 3.6e9 > ONE_SPEED_KMH:
                found.append((plate, int(before["observed_at"]), int(after["observed_at"])))
    return found


def tired_by_gaps(lived: Lived) -> list[Span]:
    """Readings and moving positions of a vehicle over more than four hours without a gap of twenty minutes."""
    found = []
    meant = _in_scope(lived)
    moving = lived.observed.positions[lived.observed.positions["speed_kmh"] > MOVING_KMH]
    seen = {plate: rows["observed_at"] for plate, rows in _tracks(lived) if plate in meant}
    for plate in sorted(meant):
        own = moving["observed_at"][moving["subject"] == plate]
        times = np.sort(np.concatenate([seen.get(plate, np.empty(0, np.int64)), own]))
        if not len(times):
            continue
        breaks = np.flatnonzero(np.diff(times) >= REST_US) + 1
        for run in np.split(times, breaks):
            if run[-1] - run[0] > CONTINUOUS_US:
                found.append((plate, int(run[0]), int(run[-1])))
    return found


def _in_scope(lived: Lived) -> set[int]:
    terms: list[RuleTerms] = [one for one in lived.book.terms if one.kind == DRIVING_TIME]
    kinds = {int(kind) for one in terms for kind in (one.scope.kinds if one.scope.kinds is not None else ())}
    registry = lived.book.registry
    return {int(key) >> 3 for key, kind in zip(registry.keys, registry.kind, strict=True) if int(kind) in kinds}
