"""Where cameras stand in the simulation: an induction loop on each lane of each direction of a checkpoint. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from traffic.network import Checkpoint, Link

LOOP_MARGIN_M = 1.0  # a loop stands on its lane, never on the very end


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One lane of a checkpoint in one direction; lane 1 is the one beside the median (SUMO's leftmost)."""

    id: str
    checkpoint: int
    direction: int
    lane: int
    edge: str
    sumo_lane: int
    position_m: float


def loops_of(links: Sequence[Link], checkpoints: Iterable[Checkpoint]) -> list[Loop]:
    """Induction loops of all checkpoints: on each lane of each direction that has a link at the stake."""
    found = []
    for gate in checkpoints:
        for link in (link for link in links if link.road_id == gate.road_id):
            low, high = sorted((link.from_stake_m, link.to_stake_m))
            if not low <= gate.stake_m < high:
                continue
            position = abs(gate.stake_m - link.from_stake_m) * link.length_m / (high - low)
            for lane in range(1, link.lanes + 1):
                found.append(
                    Loop(
                        id=f"{gate.id}-{link.direction}-{lane}",
                        checkpoint=gate.id,
                        direction=link.direction,
                        lane=lane,
                        edge=str(link.id),
                        sumo_lane=link.lanes - lane,
                        position_m=min(max(position, LOOP_MARGIN_M), link.length_m - LOOP_MARGIN_M),
                    )
                )
    return found
