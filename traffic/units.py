"""The tree of units (总队, 支队, 大队, 中队), valid in time: who stands above whom, and who is told of a fact."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from traffic.errors import TrafficError

FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)
CORPS, DETACHMENT, BRIGADE, SQUADRON = 1, 2, 3, 4  # levels


class TreeBroken(TrafficError):
    """Rows that are no tree: an unknown unit, two parents at one time, or a circle."""


class UnknownUnit(TrafficError):
    """No such unit at that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit with its 12-digit code; `adcode` is the division that it polices, where there is one."""

    id: int
    code: str
    name: str
    name_en: str
    level: int
    branch: str
    adcode: int | None
    valid_from: datetime
    valid_to: datetime = FOR_EVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """`parent_id` stands above `unit_id` in [valid_from, valid_to)."""

    unit_id: int
    parent_id: int
    valid_from: datetime
    valid_to: datetime = FOR_EVER


class UnitTree:
    """The tree as it stood at one time."""

    def __init__(self, units: Iterable[Unit], parents: Iterable[Parent], *, at: datetime) -> None:
        self.units = {unit.id: unit for unit in units if unit.valid_from <= at < unit.valid_to}
        self._parent: dict[int, int] = {}
        self._children: dict[int, list[int]] = defaultdict(list)
        for row in parents:
            if not row.valid_from <= at < row.valid_to or row.unit_id not in self.units:
                continue
            if row.parent_id not in self.units:
                raise TreeBroken(f"unit {row.unit_id} stands under {row.parent_id}, which does not exist at {at}")
            if row.unit_id in self._parent:
                raise TreeBroken(f"unit {row.unit_id} has two parents at {at}")
            self._parent[row.unit_id] = row.parent_id
            self._children[row.parent_id].append(row.unit_id)
        for unit_id in self.units:
            self.ancestors(unit_id)

    def ancestors(self, unit_id: int) -> tuple[int, ...]:
        """All units above, the nearest first; () for a top unit."""
        self._require(unit_id)
        above: list[int] = []
        while (parent := self._parent.get(above[-1] if above else unit_id)) is not None:
            if parent == unit_id or parent in above:
                raise TreeBroken(f"unit {unit_id} stands above itself")
            above.append(parent)
        return tuple(above)

    def subtree(self, unit_id: int) -> frozenset[int]:
        """The unit and all below it."""
        self._require(unit_id)
        found, open_ids = {unit_id}, [unit_id]
        while open_ids:
            children = self._children.get(open_ids.pop(), [])
            found.update(children)
            open_ids.extend(children)
        return frozenset(found)

    def parent(self, unit_id: int) -> int | None:
        """The unit right above, None for a top unit."""
        self._require(unit_id)
        return self._parent.get(unit_id)

    def at_level(self, unit_id: int, level: int) -> int | None:
        """The unit itself or the one above it that is of a level; None where the line skips that level."""
        for candidate in (unit_id, *self.ancestors(unit_id)):
            if self.units[candidate].level == level:
                return candidate
        return None

    def audience_of(self, unit_ids: Iterable[int]) -> frozenset[int]:
        """Owners of a fact and everyone above them (traffic/audience.py)."""
        return frozenset(member for unit_id in unit_ids for member in (unit_id, *self.ancestors(unit_id)))

    def _require(self, unit_id: int) -> None:
        if unit_id not in self.units:
            raise UnknownUnit(f"there is no unit {unit_id} at that time")
