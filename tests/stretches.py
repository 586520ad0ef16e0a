"""Small road networks and what is seen on them, for tests of the 30 s picture."""

from collections.abc import Sequence

import numpy as np

from traffic.network import EXPRESSWAY, Link, Road
from traffic.roads.model import (
    Inputs,
    Level,
    Picture,
    RoadNetwork,
    SensorKind,
    Sensors,
    Window,
    build_network,
)

CYCLE_US = 30_000_000
START_US = 1_767_240_000_000_000  # 2026-01-01T04:00:00Z, noon in Shanghai
INTERVALS = 30


def road(number: int) -> Road:
    """An expressway."""
    return Road(
        id=number, code=f"G{number}", name=f"G{number}", name_en=f"G{number}", kind=EXPRESSWAY, approximate=False
    )


def link(number: int, *, road_id: int = 1, begin_m: int, end_m: int, nodes: tuple[int, int], unit: int = 9) -> Link:
    """A link with three lanes and 120 km/h; its direction follows from its stakes."""
    return Link(
        id=number,
        road_id=road_id,
        direction=1 if end_m > begin_m else 2,
        from_stake_m=begin_m,
        to_stake_m=end_m,
        length_m=abs(end_m - begin_m),
        lanes=3,
        limit_kmh=120,
        unit_id=unit,
        geometry=((125.0, 43.0), (125.1, 43.0)),
        from_node=nodes[0],
        to_node=nodes[1],
    )


def straight(many: int, *, length_m: int = 1_000) -> RoadNetwork:
    """Links 1..many of road 1 in direction 1, one after another."""
    return build_network(
        [road(1)],
        [link(n + 1, begin_m=n * length_m, end_m=(n + 1) * length_m, nodes=(n + 1, n + 2)) for n in range(many)],
    )


def sensors_at(network: RoadNetwork, places: Sequence[tuple[int, float]]) -> Sensors:
    """Detectors 101, 102, ... at (row of link, share)."""
    ordered = sorted(places)
    return Sensors(
        kind=np.full(len(ordered), SensorKind.DETECTOR, np.int8),
        id=np.arange(101, 101 + len(ordered)),
        direction=network.direction[[row for row, _ in ordered]],
        link=np.array([row for row, _ in ordered], np.int64),
        share=np.array([share for _, share in ordered], np.float64),
        lanes=np.full(len(ordered), 3, np.int64),
    )


def window_of(speed_kmh: np.ndarray, flow_vph: np.ndarray, *, at_us: int, trust: np.ndarray | None = None) -> Window:
    """What sensors said; both (sensors, intervals). Occupancy follows from flow and speed (effective length 7 m)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        occupancy = np.clip(100 * flow_vph / 3 / (speed_kmh * 1000) * 7, 0, 100)
    many = speed_kmh.shape[1]
    return Window(
        ends_us=at_us - np.arange(many - 1, -1, -1) * CYCLE_US,
        speed_kmh=speed_kmh,
        flow_vph=flow_vph,
        occupancy=occupancy,
        heavy_share=np.full(speed_kmh.shape, 0.2),
        trust=np.ones(len(speed_kmh)) if trust is None else trust,
    )


def steady_window(sensors: Sensors, *, at_us: int, speed_kmh: float = 100.0, flow_vph: float = 2_400.0) -> Window:
    """The same at every sensor and interval."""
    shape = (len(sensors), INTERVALS)
    return window_of(np.full(shape, speed_kmh), np.full(shape, flow_vph), at_us=at_us)


def picture_of(network: RoadNetwork, levels: Sequence[int], *, at_us: int) -> Picture:
    """Links with given levels; what is unknown has NaN in all numbers."""
    level = np.array(levels, np.int8)
    known = level > 0
    speeds = np.array([np.nan, 105.0, 85.0, 60.0, 35.0, 10.0])[level]
    flow = np.where(known, 2_400.0, np.nan)
    return Picture(
        at_us=at_us,
        observed_us=np.where(known, at_us, 0),
        level=level,
        speed_kmh=speeds,
        flow_vph=flow,
        density_vkm=flow / speeds,
        travel_s=network.length_m * 3.6 / speeds,
        travel_p90_s=network.length_m * 3.6 / speeds * 1.2,
        heavy_share=np.where(known, 0.2, np.nan),
        confidence=np.where(known, 0.9, 0.0),
        sources=np.where(known, 1, 0).astype(np.int8),
    )


def free(many: int) -> list[int]:
    """Levels of `many` free links."""
    return [Level.FREE] * many


NOTHING = Inputs()
