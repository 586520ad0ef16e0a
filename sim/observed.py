"""What imperfect sensors make of a day's acts: passages, positions and alarms, each with the time at which it arrives.

Shares of errors are stated (`Nature`); nothing is hidden in constants. Pure; chance comes in as a seeded generator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sim.journeys import Drive, Map, Passing
from sim.offences import NONE, PARKED, Act
from traffic.plates import ALPHABET, class_group, plate_key
from traffic.readings import PASSAGE, Door
from traffic.road_readings import ALARM, POSITION, Subject

_ALIKE = {
    "0": "OD", "O": "0D", "D": "0O", "8": "B", "B": "8", "1": "I7", "I": "1", "2": "Z", "Z": "2", "5": "S", "S": "5",
    "7": "1", "Q": "0", "6": "G", "G": "6", "粤": "鄂", "鄂": "粤",
}  # fmt: skip
SPEED_ERROR = 0.01
LOCAL_DIGITS = ALPHABET[:36]
SPEED_NOISE_KMH = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """Shares and spreads of what goes wrong."""

    missed_share: float = 0.05  # of passings are not read at all
    misread_share: float = 0.05  # of readings have one character wrong
    alike_share: float = 0.8  # of misreadings take a character for one that looks alike
    clock_skew_s: float = 2.0  # standard deviation of a checkpoint's clock
    late_share: float = 0.05  # of records come 1 to 14 minutes late
    repeated_share: float = 0.02  # of records come twice
    unreadable_share: float = 0.01
    color_wrong_share: float = 0.06
    position_every_s: float = 30.0
    position_noise_m: float = 8.0


@dataclass(slots=True, kw_only=True)
class Observed:
    """Rows of each kind in order of arrival (`received_at`). `misread`: passages whose plate is not the vehicle's."""

    passages: np.ndarray = field(default_factory=lambda: np.empty(0, PASSAGE))
    positions: np.ndarray = field(default_factory=lambda: np.empty(0, POSITION))
    alarms: np.ndarray = field(default_factory=lambda: np.empty(0, ALARM))
    misread: np.ndarray = field(default_factory=lambda: np.empty(0, bool))


def observe(acts: Sequence[Act], ground: Map, random: np.random.Generator, nature: Nature) -> Observed:
    """What cameras and terminals say of the acts."""
    gates = sorted({gate.id for gates in ground.gates.values() for _, gate, _ in gates})
    skew_us = dict(
        zip(gates, (random.normal(0.0, nature.clock_skew_s, len(gates)) * 1e6).astype(int).tolist(), strict=True)
    )
    passages, misread = _passages(acts, ground, random, nature, skew_us)
    positions = [_positions(act, ground, random, nature) for act in acts if act.terminal != NONE]
    alarms = [_alarms(act, ground) for act in acts if act.alarms]
    order = np.argsort(passages["received_at"], kind="stable")
    return Observed(
        passages=passages[order],
        misread=misread[order],
        positions=_arrived(np.concatenate(positions), random, nature) if positions else np.empty(0, POSITION),
        alarms=_arrived(np.concatenate(alarms), random, nature) if alarms else np.empty(0, ALARM),
    )


# ---------------------------------------------------------------- cameras
def _passages(
    acts: Iterable[Act], ground: Map, random: np.random.Generator, nature: Nature, skew_us: dict[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    rows: list[tuple] = []
    wrong: list[bool] = []
    for act in acts:
        for drive in act.drives:
            for passing in ground.passings(drive):
                if random.random() < nature.missed_share:
                    continue
                is_wrong = bool(random.random() < nature.misread_share)
                rows.append(_read(act, passing, random, nature, is_wrong=is_wrong, skew_us=skew_us[passing.checkpoint]))
                wrong.append(is_wrong)
    passages = np.array(rows, PASSAGE) if rows else np.empty(0, PASSAGE)
    passages["received_at"] = _arrivals(passages["observed_at"], random, nature)
    again = np.flatnonzero(random.random(len(passages)) < nature.repeated_share)
    repeated = passages[again]
    repeated["received_at"] += random.integers(1_000_000, 300_000_000, len(again))
    misread = np.array(wrong, bool)
    return np.concatenate([passages, repeated]), np.concatenate([misread, misread[again]])


def _read(
    act: Act, passing: Passing, random: np.random.Generator, nature: Nature, *, is_wrong: bool, skew_us: int
) -> tuple:
    plate = misread(act.plate, random, nature) if is_wrong else act.plate
    key = 0 if random.random() < nature.unreadable_share else plate_key(plate)
    color = int(random.integers(1, 10)) if random.random() < nature.color_wrong_share else act.body_color
    speed = max(3.0, passing.speed_kmh * random.normal(1.0, SPEED_ERROR))
    source = int(random.integers(-(2**62), 2**62))
    return (
        passing.at_us + skew_us, 0, source, key, passing.checkpoint, 1, speed, np.nan, act.plate_class,
        passing.direction, 1, 0, act.vehicle_class, color, Door.GAT1400, 0,
    )  # fmt: skip


def misread(plate: str, random: np.random.Generator, nature: Nature) -> str:
    """The plate with one character wrong: mostly one that looks alike."""
    alike = [place for place, character in enumerate(plate) if character in _ALIKE]
    if alike and random.random() < nature.alike_share:
        place = alike[int(random.integers(0, len(alike)))]
        others = _ALIKE[plate[place]]
        other = others[int(random.integers(0, len(others)))]
    else:
        place = int(random.integers(2, len(plate)))
        others = LOCAL_DIGITS.replace(plate[place], "")
        other = others[int(random.integers(0, len(others)))]
    return plate[:place] + other + plate[place + 1 :]


def _arrivals(observed_us: np.ndarray, random: np.random.Generator, nature: Nature) -> np.ndarray:
    late = random.random(len(observed_us)) < nature.late_share
    delay = np.where(late, random.uniform(60, 840, len(observed_us)), random.uniform(0.2, 3.0, len(observed_us)))
    return observed_us + (delay * 1e6).astype(np.int64)


def _arrived(rows: np.ndarray, random: np.random.Generator, nature: Nature) -> np.ndarray:
    rows["received_at"] = _arrivals(rows["observed_at"], random, nature)
    return rows[np.argsort(rows["received_at"], kind="stable")]


# ---------------------------------------------------------------- terminals
def _positions(act: Act, ground: Map, random: np.random.Generator, nature: Nature) -> np.ndarray:
    """Of a day: while it drives and for half an hour before and after; a terminal at the depot never moves."""
    parts = [_track(act, drive, ground, random, nature) for drive in act.drives]
    rows = np.concatenate(parts)
    rows["subject"], rows["class_group"] = plate_key(act.plate), class_group(act.plate_class)
    rows["subject_kind"], rows["device"], rows["door"] = Subject.VEHICLE, 2, Door.JT809
    return rows[np.argsort(rows["observed_at"], kind="stable")]


def _track(act: Act, drive: Drive, ground: Map, random: np.random.Generator, nature: Nature) -> np.ndarray:
    margin_us, every_us = 1_800_000_000, int(nature.position_every_s * 1e6)
    first = drive.start_us - margin_us + int(random.integers(0, every_us))
    times = np.arange(first, drive.end_us + margin_us, every_us, dtype=np.int64)
    rows = np.zeros(len(times), POSITION)
    rows["observed_at"] = times
    noise = random.normal(0.0, nature.position_noise_m / 111_200.0, (2, len(times)))
    wobble = random.normal(0.0, SPEED_NOISE_KMH, len(times))
    for number, at_us in enumerate(times.tolist()):
        stands = act.terminal == PARKED or drive.is_off_road(at_us)
        where_us = drive.start_us if act.terminal == PARKED else min(max(at_us, drive.start_us), drive.end_us)
        lon, lat, bearing = ground.point(drive, where_us)
        if stands:
            lon, lat = ground.yard(lon, lat)
        rows[number]["lon"], rows[number]["lat"] = lon + noise[0, number] * 1.37, lat + noise[1, number]
        rows[number]["speed_kmh"] = 0.0 if stands else max(0.0, drive.speed_kmh(at_us) + wobble[number])
        rows[number]["bearing_deg"] = bearing
    return rows


def _alarms(act: Act, ground: Map) -> np.ndarray:
    rows = np.zeros(len(act.alarms), ALARM)
    for number, (at_us, bit) in enumerate(act.alarms):
        drive = act.drives[0]
        lon, lat, _ = ground.point(drive, min(max(at_us, drive.start_us), drive.end_us))
        rows[number]["observed_at"], rows[number]["bits"] = at_us, 1 << bit
        rows[number]["lon"], rows[number]["lat"], rows[number]["speed_kmh"] = lon, lat, drive.speed_kmh(at_us)
    rows["plate_key"], rows["class_group"] = plate_key(act.plate), class_group(act.plate_class)
    rows["device"], rows["door"], rows["source"] = 2, Door.JT809, 1
    return rows
