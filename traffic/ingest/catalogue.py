"""What a door must know to judge a record: who may send, and of what. Frozen; read anew on change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from traffic.ingest.links import NO_LINK, DeviceLink
from traffic.ingest.places import Roads
from traffic.ingest.registered import NOBODY, Registered

OPPOSITE, SAME, UNKNOWN = 2, 1, 0
# GA/T 1400.3, direction of travel: compass heading in degrees of codes 1..8 (9: other).
HEADING_OF_CODE = {1: 90, 2: 270, 3: 180, 4: 0, 5: 45, 6: 225, 7: 135, 8: 315}
DIRECTION_CODES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A sender. `secret`: gat1400 HA1 and jt809 password, encrypted; native and ministry sha256 of the key.

    Secrets are empty where the reader may not know them.
    """

    id: int
    code: str
    unit_id: int
    kind: str
    secret: bytes
    time_zone: str
    enabled: bool
    link: DeviceLink = NO_LINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A checkpoint as a door needs it. `bearing_deg`: heading of direction 1 (stakes increase)."""

    id: int
    code: str
    bearing_deg: float
    unit_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A detector or a crew as a door needs it; `lanes`: of a detector."""

    id: int
    code: str
    unit_id: int
    lanes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """Things in rows, found by their code. Make it with `of`."""

    row_of: dict[str, int]
    ids: np.ndarray  # int64
    units: np.ndarray  # int64
    lanes: np.ndarray  # int64
    _rows_of_unit: dict[int, dict[str, int]] = field(default_factory=dict)

    @staticmethod
    def of(things: Iterable[Thing]) -> "Things":
        """Index them."""
        ordered = list(things)
        return Things(
            row_of={thing.code: row for row, thing in enumerate(ordered)},
            ids=np.array([thing.id for thing in ordered], np.int64),
            units=np.array([thing.unit_id for thing in ordered], np.int64),
            lanes=np.array([thing.lanes for thing in ordered], np.int64),
        )


NOTHING = Things.of(())
NO_ROADS = Roads()


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A roadside object as a door needs it."""

    code: str
    kind: str
    unit_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roadside:
    """The roads, and what stands and drives on them for the police."""

    detectors: Things = NOTHING
    crews: Things = NOTHING
    objects: Mapping[str, Object] = field(default_factory=dict)  # by code
    roads: Roads = NO_ROADS


NO_ROADSIDE = Roadside()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Devices by code, checkpoints by code, the roads, and what lies below each unit. Make it with `build`."""

    versions: dict[str, int]
    devices: dict[str, Device]
    device_of_key: dict[bytes, Device]  # native senders by the hash of their key
    gates: tuple[Gate, ...]
    row_of_gate: dict[str, int]
    gate_ids: np.ndarray  # (gates,) int32
    directions: np.ndarray  # (gates, DIRECTION_CODES) int16: direction of each GA/T 1400 code
    below: dict[int, frozenset[int]]  # unit -> itself and all under it
    roadside: Roadside
    registered: Registered = NOBODY
    awaited: Mapping[str, int] = field(default_factory=dict)  # our subscriptions elsewhere: id -> the device there
    _rows_of_unit: dict[int, dict[str, int]] = field(default_factory=dict)

    def registered_class(self, plate_key: int, plate_color: int = 0) -> int:
        """GA 24.7 class under which a plate is registered, 0 for one that is not: for senders that tell none."""
        return self.registered.class_of(plate_key, plate_color)

    def find_platform(self, centre: int) -> Device | None:
        """The JT/T 809 platform of this access code."""
        return next(
            (device for device in self.devices.values() if device.kind == "jt809" and device.link.centre == centre),
            None,
        )

    def find_device(self, device_id: int) -> Device | None:
        """The device of this number."""
        return next((device for device in self.devices.values() if device.id == device_id), None)

    def rows_for(self, device: Device) -> dict[str, int]:
        """Checkpoint code -> row, for the checkpoints that this device may report."""
        rows = self._rows_of_unit.get(device.unit_id)
        if rows is None:
            units = self.units_of(device)
            rows = {gate.code: row for row, gate in enumerate(self.gates) if gate.unit_id in units}
            self._rows_of_unit[device.unit_id] = rows
        return rows

    def things_for(self, device: Device, things: Things) -> dict[str, int]:
        """Code -> row, for the detectors or crews that this device may report."""
        rows = things._rows_of_unit.get(device.unit_id)
        if rows is None:
            units = self.units_of(device)
            owners = things.units.tolist()
            rows = {code: row for code, row in things.row_of.items() if owners[row] in units}
            things._rows_of_unit[device.unit_id] = rows
        return rows

    def units_of(self, device: Device) -> frozenset[int]:
        """The units for which this device may report: its own and all under it."""
        return self.below.get(device.unit_id, frozenset((device.unit_id,)))


def direction_of(code: int, bearing_deg: float) -> int:
    """Direction along the road of a compass code: within 90 degrees of direction 1 is 1, beyond is 2.

    A heading square to the road, and code 9 (other), tell nothing: 0.
    """
    heading = HEADING_OF_CODE.get(code)
    if heading is None:
        return UNKNOWN
    apart = abs((heading - bearing_deg + 180) % 360 - 180)
    return SAME if apart < 90 else OPPOSITE if apart > 90 else UNKNOWN


def build(
    *,
    versions: dict[str, int],
    devices: list[Device],
    gates: list[Gate],
    parents: list[tuple[int, int]],
    roadside: Roadside = NO_ROADSIDE,
    registered: Registered = NOBODY,
) -> Catalogue:
    """Index what was read from the tables. `parents`: (unit, its parent) as valid now."""
    table = np.zeros((len(gates), DIRECTION_CODES), np.int16)
    for row, gate in enumerate(gates):
        table[row] = [direction_of(code, gate.bearing_deg) for code in range(DIRECTION_CODES)]
    return Catalogue(
        versions=versions,
        devices={device.code: device for device in devices},
        device_of_key={device.secret: device for device in devices if device.kind == "native"},
        gates=tuple(gates),
        row_of_gate={gate.code: row for row, gate in enumerate(gates)},
        gate_ids=np.array([gate.id for gate in gates], np.int32),
        directions=table,
        below=_below(parents),
        roadside=roadside,
        registered=registered,
    )


def _below(parents: list[tuple[int, int]]) -> dict[int, frozenset[int]]:
    above = dict(parents)
    found: dict[int, set[int]] = {}
    for unit in above.keys() | set(above.values()):
        at: int | None = unit
        passed: set[int] = set()
        while at is not None and at not in passed:  # a circle in the data must not hang a door
            passed.add(at)
            found.setdefault(at, set()).add(unit)
            at = above.get(at)
    return {unit: frozenset(units) for unit, units in found.items()}
