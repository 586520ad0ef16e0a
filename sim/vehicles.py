"""Vehicles of the demonstration as they look to a camera: plates, classes, colours, in plausible shares. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# ColorType of GA/T 1400.3
BLACK, WHITE, GRAY, RED, BLUE, YELLOW, BROWN, GREEN = 1, 2, 3, 4, 5, 6, 8, 9
_BODY_COLORS, _BODY_SHARES = (WHITE, BLACK, GRAY, BLUE, RED, BROWN), (0.42, 0.25, 0.17, 0.07, 0.06, 0.03)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I, no O
_DIGITS = "0123456789"
_CITIES, _CITY_SHARES = "ABCDEFGHJ", (0.42, 0.16, 0.1, 0.05, 0.08, 0.05, 0.05, 0.04, 0.05)
_OUTSIDE, _OUTSIDE_SHARE = ("辽A", "黑A", "蒙E", "辽G", "黑E", "京A", "冀B", "鲁B"), 0.09


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of vehicle: its SUMO type and what is written on it. `plate_class` by GA 24.7."""

    id: str
    share: float
    plate_class: int
    plate_color: int
    vehicle_classes: tuple[str, ...]
    length_m: float
    speed_kmh_max: float
    accel_ms2: float
    factor: tuple[float, float]  # mean and spread of what a driver makes of the limit


KINDS = (
    Kind(id="car", share=0.60, plate_class=2, plate_color=BLUE, vehicle_classes=("K33", "K33", "K33", "K32"),
         length_m=4.6, speed_kmh_max=200, accel_ms2=2.6, factor=(0.96, 0.07)),
    Kind(id="electric_car", share=0.14, plate_class=52, plate_color=GREEN, vehicle_classes=("K33",),
         length_m=4.7, speed_kmh_max=200, accel_ms2=3.2, factor=(0.96, 0.07)),
    Kind(id="light_truck", share=0.09, plate_class=2, plate_color=BLUE, vehicle_classes=("H31", "H37"),
         length_m=6.0, speed_kmh_max=110, accel_ms2=1.6, factor=(0.9, 0.05)),
    Kind(id="heavy_truck", share=0.13, plate_class=1, plate_color=YELLOW, vehicle_classes=("H11", "Q11", "H17"),
         length_m=13.5, speed_kmh_max=92, accel_ms2=1.0, factor=(0.85, 0.04)),
    Kind(id="coach", share=0.04, plate_class=1, plate_color=YELLOW, vehicle_classes=("K11", "K12"),
         length_m=11.5, speed_kmh_max=100, accel_ms2=1.2, factor=(0.92, 0.03)),
    # The following are only driven by those who are registered as such.
    Kind(id="tanker", share=0.0, plate_class=1, plate_color=YELLOW, vehicle_classes=("H11", "Q11"),
         length_m=12.0, speed_kmh_max=80, accel_ms2=0.9, factor=(0.82, 0.02)),
    Kind(id="school_bus", share=0.0, plate_class=1, plate_color=YELLOW, vehicle_classes=("K21",),
         length_m=8.0, speed_kmh_max=80, accel_ms2=1.2, factor=(0.8, 0.03)),
)  # fmt: skip
KIND_OF_ID = {kind.id: kind for kind in KINDS}
HEAVY_KINDS = frozenset({"heavy_truck", "coach", "tanker"})
# What a class of key vehicle (重点车辆) drives.
KIND_OF_KEY = {
    "tour_coach": "coach", "scheduled_coach": "coach", "hazardous_goods": "tanker", "heavy_truck": "heavy_truck",
    "minivan": "car", "school_bus": "school_bus", "ex_commercial_coach": "coach", "other": "car",
}  # fmt: skip


def kind_shares(heavy_share: float) -> np.ndarray:
    """Shares of KINDS, in their order, when such a share of all vehicles is heavy."""
    heavy = np.array([kind.share if kind.id in HEAVY_KINDS else 0.0 for kind in KINDS])
    light = np.array([0.0 if kind.id in HEAVY_KINDS else kind.share for kind in KINDS])
    return heavy / heavy.sum() * heavy_share + light / light.sum() * (1.0 - heavy_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """One vehicle as it is; what a camera reads of it is in sightings.py."""

    plate: str
    plate_class: int
    plate_color: int
    vehicle_class: str
    body_color: int
    kind: str
    speed_factor: float


class Maker:
    """Makes vehicles that differ in their plates, by a seeded generator. `taken`: plates that nobody gets."""

    def __init__(self, random: np.random.Generator, taken: Sequence[str]) -> None:
        self._random = random
        self._taken = set(taken)
        self._shares = np.array([kind.share for kind in KINDS]) / sum(kind.share for kind in KINDS)

    def expect(self, heavy_share: float) -> None:
        """From now on such a share of all vehicles is heavy."""
        self._shares = kind_shares(heavy_share)

    def any(self) -> Vehicle:
        """A vehicle of any kind that is common."""
        return self.of(KINDS[int(self._random.choice(len(KINDS), p=self._shares))])

    def of(self, kind: Kind, *, speed_factor: float | None = None, plate: str = "") -> Vehicle:
        """A vehicle of one kind; without `speed_factor` an ordinary driver, without `plate` a new one."""
        mean, spread = kind.factor
        factor = speed_factor or float(np.clip(self._random.normal(mean, spread), 0.7, 1.09))
        return Vehicle(
            plate=plate or self._plate(kind),
            plate_class=kind.plate_class,
            plate_color=kind.plate_color,
            vehicle_class=str(self._random.choice(kind.vehicle_classes)),
            body_color=int(self._random.choice(_BODY_COLORS, p=_BODY_SHARES)),
            kind=kind.id,
            speed_factor=factor,
        )

    def release(self, plate: str) -> None:
        """A vehicle that has left for good: its number may come again, so that the memory has a bound."""
        self._taken.discard(plate)

    def _plate(self, kind: Kind) -> str:
        while True:
            plate = self._region() + self._number(kind)
            if plate not in self._taken:
                self._taken.add(plate)
                return plate

    def _region(self) -> str:
        if self._random.random() < _OUTSIDE_SHARE:
            return str(self._random.choice(_OUTSIDE))
        return "吉" + str(self._random.choice(list(_CITIES), p=_CITY_SHARES))

    def _number(self, kind: Kind) -> str:
        digits = [_DIGITS[int(place)] for place in self._random.integers(0, 10, 5)]
        if kind.plate_class == 52:
            return ("D" if self._random.random() < 0.8 else "F") + "".join(digits)
        for place in self._random.choice(4, size=int(self._random.integers(0, 3)), replace=False):
            digits[int(place)] = _LETTERS[int(self._random.integers(0, len(_LETTERS)))]
        return "".join(digits)
