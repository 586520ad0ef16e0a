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
    READ_DEVICES = "read_devices"  # senders with their health
    VERIFY_ALERT = "verify_alert"  # compare picture and plate
    SHELVE_ALERT = "shelve_alert"
    READ_RULES = "read_rules"
    EDIT_RULES = "edit_rules"  # of the own unit and below; with their dry run
    READ_REGISTRY = "read_registry"
    IMPORT_REGISTRY = "import_registry"
    LOOK_UP = "look_up"  # a plate's track, a checkpoint's passages, with a purpose
    LOOK_UP_BEYOND = "look_up_beyond"  # the same beyond the own subtree
    SPEAK_TO_TERMINAL = "speak_to_terminal"  # texts to vehicles, words to platforms
    SUBSCRIBE = "subscribe"  # what is exchanged with other platforms


_EVERYONE = frozenset(Role)
_ALLOWED: dict[Action, frozenset[Role]] = {
    Action.WATCH_LIVE: _EVERYONE,
    Action.READ_FINDINGS: _EVERYONE,
    Action.TEND_QUARANTINE: frozenset((Role.ADMINISTRATOR, Role.COMMANDER, Role.DISPATCHER)),
    Action.READ_DEVICES: frozenset((Role.ADMINISTRATOR, Role.COMMANDER, Role.DISPATCHER, Role.ANALYST)),
    Action.VERIFY_ALERT: frozenset((Role.COMMANDER, Role.DISPATCHER, Role.ANALYST)),
    Action.SHELVE_ALERT: frozenset((Role.COMMANDER, Role.DISPATCHER)),
    Action.READ_RULES: _EVERYONE,
    Action.EDIT_RULES: frozenset((Role.COMMANDER, Role.ANALYST)),
    Action.READ_REGISTRY: frozenset((Role.COMMANDER, Role.DISPATCHER, Role.ANALYST, Role.AUDITOR)),
    Action.IMPORT_REGISTRY: frozenset((Role.ADMINISTRATOR, Role.COMMANDER)),
    Action.LOOK_UP: frozenset((Role.COMMANDER, Role.DISPATCHER, Role.ANALYST)),
    Action.LOOK_UP_BEYOND: frozenset((Role.COMMANDER, Role.ANALYST)),
    Action.SPEAK_TO_TERMINAL: frozenset((Role.COMMANDER, Role.DISPATCHER)),
    Action.SUBSCRIBE: frozenset((Role.ADMINISTRATOR, Role.COMMANDER)),
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
