"""Where sensors stand in the simulation: an induction loop on each lane of each checkpoint and detector. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from traffic.network import Checkpoint, Detector, Link

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorLoop:
    """One lane of a detector."""

    id: str
    detector: int
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
            for lane in range(1, link.lanes + 1):
                found.append(
                    Loop(
                        id=f"{gate.id}-{link.direction}-{lane}",
                        checkpoint=gate.id,
                        direction=link.direction,
                        lane=lane,
                        edge=str(link.id),
                        sumo_lane=link.lanes - lane,
                        position_m=_position_m(link, gate.stake_m),
                    )
                )
    return found


def detector_loops_of(links: Sequence[Link], detectors: Iterable[Detector]) -> list[DetectorLoop]:
    """Induction loops of all detectors that stand on one of these links, on each of its lanes that they watch."""
    of_id = {link.id: link for link in links}
    return [
        DetectorLoop(
            id=f"d{detector.id}-{lane}",
            detector=detector.id,
            lane=lane,
            edge=str(link.id),
            sumo_lane=link.lanes - lane,
            position_m=_position_m(link, detector.stake_m),
        )
        for detector in detectors
        if (link := of_id.get(detector.link_id)) is not None
        for lane in range(1, min(link.lanes, detector.lanes) + 1)
    ]


def _position_m(link: Link, stake_m: int) -> float:
    position_m = abs(stake_m - link.from_stake_m) * link.length_m / abs(link.to_stake_m - link.from_stake_m)
    return min(max(position_m, LOOP_MARGIN_M), link.length_m - LOOP_MARGIN_M)
