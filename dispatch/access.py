"""Who may do what: one pure question. Which rows a person sees is another matter (traffic/audience.py)."""

from dataclasses import dataclass
from enum import StrEnum

from traffic.audience import Viewer
from traffic.errors import TrafficError


class Role(StrEnum):
    """What a person is in the unit."""

    COMMANDER = "commander"
    DISPATCHER = "dispatcher"
    ANALYST = "analyst"
    CREW = "crew"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


class Action(StrEnum):
    """What can be asked of the system."""

    WATCH_LIVE = "watch_live"  # map, flow, alerts, figures
    READ_FINDINGS = "read_findings"
    TEND_QUARANTINE = "tend_quarantine"  # read, correct and dismiss refused records


_EVERYONE = frozenset(Role)
_ALLOWED: dict[Action, frozenset[Role]] = {
    Action.WATCH_LIVE: _EVERYONE,
    Action.READ_FINDINGS: _EVERYONE,
    Action.TEND_QUARANTINE: frozenset((Role.ADMINISTRATOR, Role.COMMANDER, Role.DISPATCHER)),
}


class Forbidden(TrafficError):
    """The person's role does not carry this action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person who is logged in."""

    person_id: int
    login: str
    name: str
    unit: int
    role: Role
    clearance: int

    @property
    def viewer(self) -> Viewer:
        """The person's reach."""
        return Viewer(unit=self.unit, clearance=self.clearance)


def may(actor: Actor, action: Action) -> bool:
    """Whether the person's role carries the action."""
    return actor.role in _ALLOWED[action]


def require(actor: Actor, action: Action) -> None:
    """Raise Forbidden unless the person may."""
    if not may(actor, action):
        raise Forbidden(f"your role ({actor.role}) does not allow this")
