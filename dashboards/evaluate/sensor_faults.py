"""Ways in which sensors fail, put into what sound ones said."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from traffic.road_readings import SELF_FAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A detector that is faulty from a time on."""

    detector: int
    kind: str
    since_us: int


def _silent(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    return rows[:0]


def _no_hits(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["vehicles"], rows["occupancy"], rows["speed_kmh"] = 0, 0.0, np.nan
    return rows


def _chatter(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    burst = chance.random(len(rows)) < 0.6
    rows["vehicles"] = np.where(burst, rows["vehicles"] + chance.integers(20, 80, len(rows)), rows["vehicles"])
    return rows


def _locked_on(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["vehicles"], rows["occupancy"], rows["speed_kmh"] = 0, 100.0, np.nan
    return rows


def _no_change(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    for lane in np.unique(rows["lane"]):
        mine = rows["lane"] == lane
        counted = np.flatnonzero(mine & (rows["vehicles"] > 0))
        if len(counted):
            for name in ("vehicles", "occupancy", "speed_kmh"):
                rows[name][mine] = rows[name][counted[0]]
    return rows


def _occupancy_spike(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    spike = chance.random(len(rows)) < 0.4
    rows["occupancy"] = np.where(spike, chance.uniform(60, 100, len(rows)), rows["occupancy"])
    return rows


def _speed_spike(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    spike = (chance.random(len(rows)) < 0.4) & (rows["vehicles"] > 0)
    rows["speed_kmh"] = np.where(spike, chance.uniform(1, 250, len(rows)), rows["speed_kmh"])
    return rows


def _clock_skew(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["observed_at"] -= int(chance.integers(200, 1_200)) * 1_000_000
    return rows


def _undercount(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["vehicles"] = chance.binomial(rows["vehicles"], 0.3)
    rows["occupancy"] *= np.float32(0.3)
    rows["speed_kmh"] = np.where(rows["vehicles"] == 0, np.nan, rows["speed_kmh"])
    return rows


def _speed_biased(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["speed_kmh"] *= np.float32(0.6)
    return rows


def _self_reported(rows: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    rows["flags"] |= SELF_FAULT
    rows["vehicles"] = chance.integers(0, 30, len(rows))
    return rows


FAULTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "silent": _silent,
    "no_hits": _no_hits,
    "chatter": _chatter,
    "locked_on": _locked_on,
    "no_change": _no_change,
    "occupancy_spike": _occupancy_spike,
    "speed_spike": _speed_spike,
    "clock_skew": _clock_skew,
    "undercount": _undercount,
    "speed_biased": _speed_biased,
    "self_reported": _self_reported,
}


def spoil(reports: np.ndarray, faults: list[Fault], chance: np.random.Generator) -> np.ndarray:
    """The reports as faulty detectors would have sent them, in the order of arrival."""
    rows = reports.copy()
    parts = []
    for fault in faults:
        hit = (rows["detector"] == fault.detector) & (rows["observed_at"] > fault.since_us)
        parts.append(FAULTS[fault.kind](rows[hit], chance))
        rows = rows[~hit]
    rows = np.concatenate([rows, *parts])
    return rows[np.argsort(rows["received_at"], kind="stable")]
