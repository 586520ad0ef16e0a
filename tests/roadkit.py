"""A short road told in times: six links of a kilometre, a detector of two lanes on each, gates at both ends."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from traffic.network import EXPRESSWAY, Checkpoint, Detector, Link, Road
from traffic.road_readings import DETECTOR_REPORT
from traffic.roads import cycle
from traffic.roads.model import (
    CHECKPOINT_FLOW,
    TRAVEL,
    HealthChange,
    Inputs,
    RoadNetwork,
    Sections,
    Sensors,
    Turn,
    build_network,
    place_sensors,
)

START_US = 1_767_225_600_000_000
CYCLE_US = 30_000_000
LINKS, LANES, LIMIT_KMH, LINK_M = 6, 2, 100, 1_000
RULES = cycle.RoadRules.from_parameters({})


def network(links: int = LINKS) -> RoadNetwork:
    """Links 1..n of road 1, one behind the other."""
    rows = [
        Link(
            id=number, road_id=1, direction=1, from_stake_m=(number - 1) * LINK_M, to_stake_m=number * LINK_M,
            length_m=LINK_M, lanes=LANES, limit_kmh=LIMIT_KMH, unit_id=10 + number % 2,
            geometry=((125.0, 43.0), (125.01, 43.0)), from_node=number, to_node=number + 1,
        )
        for number in range(1, links + 1)
    ]  # fmt: skip
    road = Road(id=1, code="G1", name="京哈高速", name_en="G1", kind=EXPRESSWAY, approximate=False)
    return build_network([road], rows)


def sensors(net: RoadNetwork, detectors: Iterable[int] | None = None, gates: Iterable[int] = ()) -> Sensors:
    """Detector n in the middle of link n; gate n too, 100 m behind it."""
    which = range(1, len(net) + 1) if detectors is None else detectors
    return place_sensors(
        net,
        [
            Detector(
                id=number, code=f"D{number}", name="", name_en="", kind="radar", road_id=1,
                stake_m=number * LINK_M - LINK_M // 2, direction=1, link_id=number, lanes=LANES, lon=125.0, lat=43.0,
                unit_id=10,
            )
            for number in which
        ],
        [
            Checkpoint(
                id=number, code=f"C{number}", name="", name_en="", road_id=1, stake_m=number * LINK_M - 400,
                bearing_deg=0.0, lanes=LANES, limit_kmh=LIMIT_KMH, lon=125.0, lat=43.0, unit_id=10, corridor=(),
                inter_provincial=False,
            )
            for number in gates
        ],
    )  # fmt: skip


def no_sections() -> Sections:
    """None."""
    empty = np.empty(0, np.int64)
    return Sections(id=empty, length_m=np.empty(0), start=np.zeros(1, np.int64), link=empty, weight_m=np.empty(0))


def one_section(net: RoadNetwork) -> Sections:
    """Section 1 over the whole road."""
    return Sections(
        id=np.array([1]), length_m=np.array([float(len(net) * LINK_M)]), start=np.array([0, len(net)]),
        link=np.arange(len(net)), weight_m=np.full(len(net), float(LINK_M)),
    )  # fmt: skip


def report(detector: int, end_us: int, **values: object) -> np.ndarray:
    """One row, of lane 1, received two seconds later; 6 vehicles at 90 km/h."""
    row = np.zeros(1, DETECTOR_REPORT)
    row["observed_at"], row["received_at"] = end_us, end_us + 2_000_000
    row["detector"], row["lane"], row["period_s"], row["vehicles"], row["heavy"] = detector, 1, 30, 6, 1
    row["occupancy"], row["speed_kmh"] = 5.2, 90.0
    for name, value in values.items():
        row[name] = value
    if "received_at" not in values:
        row["received_at"] = row["observed_at"] + 2_000_000
    return row


def flow(gate: int, minute_us: int, passages: int, speed_kmh: float = 90.0, readable: int | None = None) -> np.ndarray:
    """A minute of a gate's direction 1; all plates are read unless it is said how many."""
    read = passages if readable is None else readable
    return np.array([(gate, 1, minute_us, 1, passages, passages, passages * speed_kmh, read)], CHECKPOINT_FLOW)


def travel(*seconds: float, bucket_us: int, section: int = 1) -> np.ndarray:
    """Vehicles that came to the end of the section."""
    return np.array([(section, bucket_us, one) for one in seconds], TRAVEL)


Said = Callable[[int, int, int], np.ndarray | None]  # (cycle number, detector, lane) -> a report, or silence


@dataclass(slots=True)
class Story:
    """A road on its way from cycle to cycle; number k is at START + k * 30 s."""

    net: RoadNetwork = field(default_factory=network)
    points: Sensors | None = None
    sections: Sections = field(default_factory=no_sections)
    number: int = 0
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    changes: list[tuple[int, HealthChange]] = field(default_factory=list)
    turned: Turn | None = None
    state: cycle.State = field(init=False)

    def __post_init__(self) -> None:
        self.points = sensors(self.net) if self.points is None else self.points
        self.state = cycle.new_state(self.net, self.points)

    @property
    def now_us(self) -> int:
        return START_US + self.number * CYCLE_US

    def usual(self, detector: int, lane: int, **values: object) -> np.ndarray:
        """What a sound lane says now: about six vehicles, seldom the same twice."""
        vehicles = int(self.chance.poisson(6.0))
        speed = float(self.chance.normal(92.0, 4.0))
        told = {
            "lane": lane, "vehicles": vehicles, "heavy": min(1, vehicles),
            "speed_kmh": speed if vehicles else np.nan, "occupancy": vehicles * 120 * 0.65 / speed,
        } | values  # fmt: skip
        return report(detector, self.now_us, **told)

    def turn(self, rows: Iterable[np.ndarray], **inputs: object) -> Turn:
        """The next cycle with these reports."""
        return self.again(np.concatenate([np.empty(0, DETECTOR_REPORT), *rows]), **inputs)

    def again(self, rows: np.ndarray, **inputs: object) -> Turn:
        """A turn at this very moment."""
        assert self.points is not None
        told = Inputs(reports=rows, **inputs)  # type: ignore[arg-type]
        self.turned = cycle.turn(self.net, self.points, self.sections, self.state, told, RULES, now_us=self.now_us)
        self.changes += [(self.number, change) for change in self.turned.health]
        return self.turned

    def go(self, cycles: int, said: Said | None = None, **inputs: object) -> Turn:
        """So many cycles; `said` may put another word in place of the usual one (None: the usual one)."""
        for _ in range(cycles):
            self.number += 1
            rows = []
            assert self.points is not None
            for detector in self.points.id[self.points.kind == 1].tolist():
                for lane in range(1, LANES + 1):
                    other = said(self.number, detector, lane) if said else None
                    rows.append(self.usual(detector, lane) if other is None else other)
            turned = self.turn(rows, **inputs)
        return turned

    def link(self, number: int) -> dict[str, float]:
        """What the last picture says of link `number`."""
        assert self.turned is not None
        picture = self.turned.picture
        return {
            name: float(getattr(picture, name)[number - 1])
            for name in (
                "level", "speed_kmh", "flow_vph", "density_vkm", "travel_s", "travel_p90_s", "heavy_share",
                "confidence", "sources", "observed_us",
            )
        }  # fmt: skip

    def told(self, detector: int, lane: int = 1) -> list[tuple[int, str, str]]:
        """(cycle, state, reason) of every change of a lane."""
        return [
            (number, change.state, change.reason)
            for number, change in self.changes
            if (change.kind, change.id, change.lane) == (1, detector, lane)
        ]


NOTHING = np.empty(0, DETECTOR_REPORT)
