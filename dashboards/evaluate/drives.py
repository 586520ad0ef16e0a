"""Labelled drives over the model province's sections: what happened, and what imperfect cameras make of it. Seeded.

Simulated, and labelled so: it says how a rule bears misreads, missed reads, clock skew, braking at the camera, rests
on the way and late data in stated shares; it says nothing about the shares on real roads.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from traffic.network import Section
from traffic.plates import ALPHABET, plate_key
from traffic.readings import PASSAGE, Door

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HORIZON_S = 7_200
SECTIONS_MAX = 4  # driven one after another


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """Shares and spreads of what happens. Speeds relate to the section's limit."""

    speeding_share: float = 0.05  # of drivers; their mean lies 12-60 % over the limit
    braking_share: float = 0.5  # of speeding drivers slow down before a camera
    bursting_share: float = 0.08  # of the others pass a camera faster than they drive
    resting_share: float = 0.04  # of drives over a section are interrupted for 3-20 min
    missed_share: float = 0.04  # of passages are not read
    misread_share: float = 0.02  # of readings have one character wrong
    spot_noise_kmh: float = 2.0
    clock_skew_s: float = 0.5  # standard deviation of a checkpoint's clock
    bad_clock_share: float = 0.02  # of checkpoints are wrong by 2-5 s
    late_share: float = 0.05  # of readings come 1-14 min late
    too_late_share: float = 0.003  # of readings come an hour late
    repeated_share: float = 0.02  # of readings come twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One vehicle over one section: the truth. `rows`: its readings at the two ends, None where it was not read."""

    plate: int
    section: Section
    enters_s: float
    leaves_s: float
    rows: tuple[int | None, int | None]

    @property
    def speed_kmh(self) -> float:
        """True mean speed."""
        return self.section.length_m * 3.6 / (self.leaves_s - self.enters_s)


@dataclass(slots=True, kw_only=True)
class World:
    """`rows`: PASSAGE in no order; `arrives_s`: when each came in; `misread`: whether its plate is another's."""

    drives: list[Drive] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, PASSAGE))
    arrives_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    misread: np.ndarray = field(default_factory=lambda: np.empty(0, bool))


class _Cameras:
    """What is read of a passage, and when it arrives."""

    def __init__(self, rng: np.random.Generator, nature: Nature, checkpoints: Sequence[int]) -> None:
        self._rng = rng
        self._nature = nature
        bad = rng.random(len(checkpoints)) < nature.bad_clock_share
        skews = np.where(
            bad,
            rng.uniform(2, 5, len(checkpoints)) * rng.choice([-1, 1], len(checkpoints)),
            rng.normal(0, nature.clock_skew_s, len(checkpoints)),
        )
        self._skew_s = dict(zip(checkpoints, skews.tolist(), strict=True))
        self.columns: dict[str, list] = defaultdict(list)

    def see(self, plate: str, checkpoint: int, at_s: float, spot_kmh: float) -> int | None:
        """The number of the reading; None when the vehicle was missed."""
        rng, nature = self._rng, self._nature
        if rng.random() < nature.missed_share:
            return None
        misread = rng.random() < nature.misread_share
        late = rng.random()
        delay_s = 0.5
        if late < nature.too_late_share:
            delay_s = 3_600.0
        elif late < nature.too_late_share + nature.late_share:
            delay_s = rng.uniform(60, 840)
        self.columns["plate"].append(plate_key(_misread(rng, plate) if misread else plate))
        self.columns["checkpoint"].append(checkpoint)
        self.columns["observed_s"].append(at_s + self._skew_s[checkpoint])
        self.columns["speed"].append(max(5.0, spot_kmh + rng.normal(0, nature.spot_noise_kmh)))
        self.columns["arrives_s"].append(at_s + delay_s)
        self.columns["misread"].append(misread)
        return len(self.columns["plate"]) - 1


def _misread(rng: np.random.Generator, plate: str) -> str:
    place = int(rng.integers(2, len(plate)))
    other = ALPHABET[int(rng.integers(36))]
    return plate[:place] + (other if other != plate[place] else "Z") + plate[place + 1 :]


def make(sections: Sequence[Section], *, vehicles: int, seed: int, nature: Nature | None = None) -> World:
    """Drive `vehicles` vehicles over chains of sections within HORIZON_S."""
    rng = np.random.default_rng(seed)
    nature = nature or Nature()
    after: dict[int, list[Section]] = defaultdict(list)
    for section in sections:
        after[section.from_checkpoint].append(section)
    cameras = _Cameras(rng, nature, sorted({c for s in sections for c in (s.from_checkpoint, s.to_checkpoint)}))
    drives: list[Drive] = []
    for number in range(vehicles):
        plate = f"吉{'ABCDEFGHJK'[number % 10]}{number // 10:05d}"
        drives += _drive(rng, nature, cameras, plate, _route(rng, sections, after))
    return _world(rng, nature, drives, cameras.columns)


def _route(rng: np.random.Generator, sections: Sequence[Section], after: dict[int, list[Section]]) -> list[Section]:
    route = [sections[int(rng.integers(len(sections)))]]
    while len(route) < SECTIONS_MAX and rng.random() < 0.6:
        onward = [s for s in after[route[-1].to_checkpoint] if s.to_checkpoint != route[-1].from_checkpoint]
        if not onward:
            break
        route.append(onward[int(rng.integers(len(onward)))])
    return route


def _drive(
    rng: np.random.Generator, nature: Nature, cameras: _Cameras, plate: str, route: list[Section]
) -> list[Drive]:
    """One vehicle along its route; speeds differ from section to section around the driver's own manner."""
    speeding = rng.random() < nature.speeding_share
    manner = rng.uniform(1.12, 1.6) if speeding else min(1.04, rng.normal(0.85, 0.09))
    at_s = rng.uniform(0, HORIZON_S)
    spot = _spot_share(rng, nature, manner, speeding)
    row = cameras.see(plate, route[0].from_checkpoint, at_s, spot * route[0].limit_kmh)
    drives = []
    for section in route:
        speed_kmh = section.limit_kmh * max(0.3, manner + rng.normal(0, 0.03))
        travel_s = section.length_m * 3.6 / speed_kmh
        if rng.random() < nature.resting_share:
            travel_s += rng.uniform(180, 1200)
        leaves_s = at_s + travel_s
        spot = _spot_share(rng, nature, manner, speeding)
        left = cameras.see(plate, section.to_checkpoint, leaves_s, spot * section.limit_kmh)
        drives.append(
            Drive(plate=plate_key(plate), section=section, enters_s=at_s, leaves_s=leaves_s, rows=(row, left))
        )
        at_s, row = leaves_s, left
    return drives


def _spot_share(rng: np.random.Generator, nature: Nature, manner: float, speeding: bool) -> float:
    """Speed at the camera, as a share of the limit."""
    if speeding and rng.random() < nature.braking_share:
        return rng.uniform(0.8, 1.0)
    if not speeding and rng.random() < nature.bursting_share:
        return rng.uniform(1.1, 1.35)
    return manner + rng.normal(0, 0.05)


def _world(rng: np.random.Generator, nature: Nature, drives: list[Drive], columns: dict[str, list]) -> World:
    rows = np.zeros(len(columns["plate"]), PASSAGE)
    rows["observed_at"] = START_US + np.rint(np.array(columns["observed_s"]) * 1e6).astype(np.int64)
    rows["received_at"] = START_US + np.rint(np.array(columns["arrives_s"]) * 1e6).astype(np.int64)
    rows["source_hash"] = rng.integers(-(2**62), 2**62, len(rows))
    rows["plate_key"], rows["checkpoint"] = columns["plate"], columns["checkpoint"]
    rows["plate_class"], rows["direction"], rows["lane"], rows["door"] = 2, 1, 1, Door.NATIVE
    rows["speed_kmh"], rows["length_m"] = columns["speed"], np.nan
    again = np.flatnonzero(rng.random(len(rows)) < nature.repeated_share)
    arrives = np.array(columns["arrives_s"])
    misread = np.array(columns["misread"], bool)
    return World(
        drives=drives,
        rows=np.concatenate([rows, rows[again]]),
        arrives_s=np.concatenate([arrives, arrives[again] + rng.uniform(1, 600, len(again))]),
        misread=np.concatenate([misread, misread[again]]),
    )
