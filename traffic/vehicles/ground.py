"""What rules are laid on: network, units and calendar, which resolve their scopes, and the vehicles asked about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from traffic.plates import vehicle_keys
from traffic.positions import PLACE
from traffic.vehicles.areas import Fence
from traffic.vehicles.registry import Registry
from traffic.vehicles.schedule import NO_HOLIDAYS, Holidays

PlaceColumns = np.ndarray  # of positions.PLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The network, the units and the calendar that a rule's scope is resolved with; never changed."""

    checkpoints: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # ids, sorted
    checkpoint_places: np.ndarray = field(default_factory=lambda: np.empty(0, PLACE))  # direction 0: both
    checkpoint_lon: np.ndarray = field(default_factory=lambda: np.empty(0))
    checkpoint_lat: np.ndarray = field(default_factory=lambda: np.empty(0))
    roads: Mapping[str, int] = field(default_factory=dict)  # number of each code
    road_kinds: Mapping[int, str] = field(default_factory=dict)
    below: Mapping[int, frozenset[int]] = field(default_factory=dict)  # a unit and all below it
    holidays: Holidays = NO_HOLIDAYS
    fences: Mapping[int, Fence] = field(default_factory=dict)

    def places(self, checkpoints: np.ndarray, directions: np.ndarray) -> PlaceColumns:
        """The PLACE of passages; road 0 for a checkpoint that the network does not know."""
        found = np.zeros(len(checkpoints), PLACE)
        if len(self.checkpoints):
            at = np.minimum(np.searchsorted(self.checkpoints, checkpoints), len(self.checkpoints) - 1)
            known = self.checkpoints[at] == checkpoints
            found[known] = self.checkpoint_places[at[known]]
        found["direction"] = directions
        return found

    def points(self, checkpoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude of passages; NaN for a checkpoint that the network does not know."""
        lon, lat = np.full(len(checkpoints), np.nan), np.full(len(checkpoints), np.nan)
        if len(self.checkpoints):
            at = np.minimum(np.searchsorted(self.checkpoints, checkpoints), len(self.checkpoints) - 1)
            known = self.checkpoints[at] == checkpoints
            lon[known], lat[known] = self.checkpoint_lon[at[known]], self.checkpoint_lat[at[known]]
        return lon, lat


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicles:
    """Whom a mask is asked about, as columns of one length. `row`: in the registry, -1 for none."""

    keys: np.ndarray  # plate key << 3 | class group
    vehicle_class: np.ndarray  # GA 24.4 as letter * 100 + number; 0: not told
    row: np.ndarray
    registry: Registry

    @staticmethod
    def of_passages(rows: np.ndarray, registry: Registry) -> "Vehicles":
        """Of PASSAGE rows; a class that the camera did not tell is the registered one."""
        return _vehicles(vehicle_keys(rows["plate_key"], rows["plate_class"]), rows["vehicle_class"], registry)

    @staticmethod
    def of_keys(keys: np.ndarray, registry: Registry) -> "Vehicles":
        """Of vehicles of which nothing else is seen (positions): their class is the registered one."""
        return _vehicles(np.asarray(keys, np.int64), np.zeros(len(keys), np.int16), registry)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: np.ndarray) -> "Vehicles":
        """The chosen ones (mask or row numbers)."""
        return Vehicles(
            keys=self.keys[index],
            vehicle_class=self.vehicle_class[index],
            row=self.row[index],
            registry=self.registry,
        )


def _vehicles(keys: np.ndarray, told: np.ndarray, registry: Registry) -> Vehicles:
    row = registry.find(keys) if len(registry) else np.full(len(keys), -1, np.int64)
    row[(keys >> 3) == 0] = -1
    classes = told.astype(np.int16)
    registered = (classes == 0) & (row >= 0)
    classes[registered] = registry.vehicle_class[row[registered]]
    return Vehicles(keys=keys, vehicle_class=classes, row=row, registry=registry)
