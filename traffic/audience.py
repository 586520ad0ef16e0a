"""Who may see a fact: stored with the fact by its writer, and compared in one place.

The row-level policies in schema/ state the same rule in SQL (`visible`); a property test compares both.
"""

from dataclasses import dataclass

OPEN, RESTRICTED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """`units`: owners of the fact and every unit above them; `addressees`: units that a restricted matter names."""

    units: frozenset[int]
    visibility: int = OPEN
    addressees: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One person's reach. `clearance` 1 may see restricted matters that are addressed to the person's unit."""

    unit: int
    clearance: int = OPEN


def may_see(viewer: Viewer, audience: Audience) -> bool:
    """A unit sees its own subtree, and of restricted matters only those addressed to it, with clearance."""
    if audience.visibility == OPEN:
        return viewer.unit in audience.units
    return viewer.clearance >= audience.visibility and viewer.unit in audience.addressees
