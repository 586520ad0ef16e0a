"""Permits in force as columns: whether one covers a vehicle, a moment and a place.

通行证 pass, 运输路线许可 hazardous_route, 校车许可 school_bus, 接驳许可 relay.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traffic.plates import CLASS_UNCERTAIN
from traffic.vehicles.schedule import LOCAL_US, MINUTES_OF_DAY, minutes_of, parse_hours, parse_weekdays
from traffic.vehicles.stretches import Stretches, parse_stretches

PERMIT_KINDS = ("pass", "hazardous_route", "school_bus", "relay")
_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000
_GROUP_BITS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One permit, checked. `stretches` None: everywhere. Times: microseconds, to exclusive."""

    id: int
    kind: str
    plate_key: int
    class_group: int
    valid_from_us: int
    valid_to_us: int
    hours: tuple[tuple[int, int], ...] = ()
    weekdays: frozenset[int] = frozenset(range(1, 8))
    stretches: Stretches | None = None


def parse_permit(row: Mapping[str, Any], roads: Mapping[str, int]) -> Permit:
    """From a row of table `permit` (times as microseconds); raises FieldRefused naming permit and field."""
    where = f"permit {row['id']}"
    said = row["roads"] or []
    return Permit(
        id=row["id"],
        kind=row["kind"],
        plate_key=row["plate_key"],
        class_group=row["class_group"],
        valid_from_us=row["valid_from_us"],
        valid_to_us=row["valid_to_us"],
        hours=parse_hours(f"{where}.hours", row["hours"] or []),
        weekdays=parse_weekdays(f"{where}.weekdays", row["weekdays"] or []),
        stretches=parse_stretches(f"{where}.roads", said, roads) if said else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """All permits, sorted by plate. Make it with `Permits.of`."""

    permits: tuple[Permit, ...] = ()
    plate_key: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    class_group: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    kind: np.ndarray = field(default_factory=lambda: np.empty(0, np.int8))
    valid_from_us: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    valid_to_us: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    weekdays: np.ndarray = field(default_factory=lambda: np.empty((0, 8), bool))  # column 1 Monday .. 7 Sunday
    hours: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # row of `minutes`
    minutes: np.ndarray = field(default_factory=lambda: np.empty((0, 2, MINUTES_OF_DAY), bool))  # same day, next day
    stretched: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # holds on its stretches alone

    @staticmethod
    def of(permits: Iterable[Permit]) -> "Permits":
        """The columns of these permits."""
        rows = tuple(sorted(permits, key=lambda permit: (permit.plate_key, permit.id)))
        if not rows:
            return Permits()
        hours = sorted({permit.hours for permit in rows})
        place = {said: number for number, said in enumerate(hours)}
        weekdays = np.zeros((len(rows), 8), bool)
        for number, permit in enumerate(rows):
            weekdays[number, list(permit.weekdays)] = True
        return Permits(
            permits=rows,
            plate_key=np.array([permit.plate_key for permit in rows], np.int64),
            class_group=np.array([permit.class_group for permit in rows], np.int64),
            kind=np.array([PERMIT_KINDS.index(permit.kind) for permit in rows], np.int8),
            valid_from_us=np.array([permit.valid_from_us for permit in rows], np.int64),
            valid_to_us=np.array([permit.valid_to_us for permit in rows], np.int64),
            weekdays=weekdays,
            hours=np.array([place[permit.hours] for permit in rows], np.int64),
            minutes=np.array([minutes_of(said) for said in hours], bool),
            stretched=np.array([permit.stretches is not None for permit in rows], bool),
        )

    def __len__(self) -> int:
        return len(self.permits)

    def pairs(self, keys: np.ndarray, kinds: Collection[str] = PERMIT_KINDS) -> tuple[np.ndarray, np.ndarray]:
        """Every (row of `keys`, number of a permit) of one vehicle; a class that is uncertain fits any."""
        plates, groups = keys >> 3, keys & _GROUP_BITS
        first = np.searchsorted(self.plate_key, plates, "left")
        many = np.searchsorted(self.plate_key, plates, "right") - first
        row = np.repeat(np.arange(len(keys)), many)
        within = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        number = first[row] + within
        fits = np.isin(self.kind[number], [PERMIT_KINDS.index(kind) for kind in kinds])
        own, other = self.class_group[number], groups[row]
        fits &= (own == other) | (own == CLASS_UNCERTAIN) | (other == CLASS_UNCERTAIN)
        return row[fits], number[fits]

    def covers(self, kinds: Collection[str], keys: np.ndarray, times_us: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Which vehicles (plate key << 3 | class group) had such a permit in force at the moment and PLACE beside."""
        covered = np.zeros(len(keys), bool)
        if not len(self) or not len(keys) or not kinds:
            return covered
        row, number = self.pairs(np.asarray(keys, np.int64), kinds)
        good = self.in_force(number, np.asarray(times_us, np.int64)[row])
        row, number = row[good], number[good]
        anywhere = ~self.stretched[number]
        covered[row[anywhere]] = True
        for at, one in zip(row[~anywhere].tolist(), number[~anywhere].tolist(), strict=True):  # few vehicles hold one
            stretches = self.permits[one].stretches
            assert stretches is not None
            covered[at] |= bool(stretches.hold(places[at : at + 1])[0])
        return covered

    def in_force(self, number: np.ndarray, times_us: np.ndarray) -> np.ndarray:
        """Which of these permits were in force, each at its moment."""
        local = times_us + LOCAL_US
        minute, weekday = local % _DAY_US // _MINUTE_US, (local // _DAY_US + 3) % 7 + 1
        same_day = self.minutes[self.hours[number], 0, minute] & self.weekdays[number, weekday]
        next_day = self.minutes[self.hours[number], 1, minute] & self.weekdays[number, (weekday + 5) % 7 + 1]
        return (same_day | next_day) & (times_us >= self.valid_from_us[number]) & (times_us < self.valid_to_us[number])


NO_PERMITS = Permits()
