"""How episodes are named: by kind and anchor. Two beginnings within one minute or second are one episode."""

from collections.abc import Callable

import numpy as np

from traffic.findings import record_id
from traffic.vehicles.keyed import shapes
from traffic.vehicles.schedule import day_text

Episode = tuple[int, str]  # kind of rule (shapes), anchor
_MINUTE_US, _SECOND_US = 60_000_000, 1_000_000

_ANCHORS: dict[int, Callable[[np.void], str]] = {
    shapes.DRIVING: lambda event: f"{event['rule']}:{int(event['anchor']) // _MINUTE_US}",
    shapes.NIGHT: lambda event: f"{event['rule']}:{day_text(int(event['anchor']))}",
    shapes.OVERSPEED: lambda event: f"{event['rule']}:{int(event['anchor']) // _SECOND_US}",
    shapes.STOP: lambda event: f"{event['rule']}:{int(event['anchor']) // _MINUTE_US}",
    shapes.FENCE: lambda event: f"{event['anchor']}:{int(event['anchor_more']) // _MINUTE_US}",
    shapes.ROUTE: lambda event: f"{event['rule']}:{int(event['anchor']) // _SECOND_US}",
    shapes.OVERDUE: lambda event: record_id(int(event["anchor"]), int(event["anchor_more"])),
    shapes.ALARM_BIT: lambda event: f"{event['anchor']}:{int(event['anchor_more']) // _SECOND_US}",
    shapes.MISMATCH: lambda event: record_id(int(event["anchor"]), int(event["anchor_more"])),
}


def episode_of(event: np.void) -> Episode:
    """The episode that an EVENT speaks of."""
    kind = int(event["kind"])
    return kind, _ANCHORS[kind](event)
