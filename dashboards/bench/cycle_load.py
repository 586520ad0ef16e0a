"""A made network with its sensors, and what these say in each cycle, for benches of any size."""

from dataclasses import dataclass

import numpy as np

from traffic.limits import CYCLE_S
from traffic.network import EXPRESSWAY, TRUNK
from traffic.road_readings import DETECTOR_REPORT, VehicleGroup
from traffic.roads.model import (
    CHECKPOINT_FLOW,
    KINDS,
    TRAVEL,
    Inputs,
    RoadNetwork,
    Sections,
    SensorKind,
    Sensors,
)

START_US = 1_767_225_600_000_000  # 2026-01-01, a full minute
CYCLE_US = CYCLE_S * 1_000_000
ROAD_LINKS = 50  # of one direction of a road
LINK_M = 1_000
SECTION_LINKS = 10
LANES = 2
UNIT_LINKS = 100
LATE_SHARE, TWICE_SHARE = 0.02, 0.01  # of reports


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Links in chains of `ROAD_LINKS`; every second one has a detector, every tenth a checkpoint's direction."""

    network: RoadNetwork
    sensors: Sensors
    sections: Sections
    above: dict[int, tuple[int, ...]]


def world(links: int) -> World:
    """A network of so many links."""
    row = np.arange(links)
    chain, place = row // ROAD_LINKS, row % ROAD_LINKS
    direction = (1 + chain % 2).astype(np.int8)
    begin = np.where(direction == 1, place, ROAD_LINKS - place) * LINK_M
    follows = place < ROAD_LINKS - 1
    follows[-1] = False
    next_start = np.concatenate([[0], np.cumsum(follows)])
    preceded = place > 0
    prev_start = np.concatenate([[0], np.cumsum(preceded)])
    road = chain // 2 + 1
    network = RoadNetwork(
        ids=row + 1,
        road=road,
        kind=np.where(road % 3 == 0, KINDS[TRUNK], KINDS[EXPRESSWAY]).astype(np.int8),
        direction=direction,
        from_stake_m=begin,
        to_stake_m=begin + np.where(direction == 1, LINK_M, -LINK_M),
        length_m=np.full(links, float(LINK_M)),
        lanes=np.full(links, LANES),
        limit_kmh=np.where(road % 3 == 0, 80.0, 120.0),
        unit=row // UNIT_LINKS + 100,
        next_start=next_start,
        next_rows=row[follows] + 1,
        prev_start=prev_start,
        prev_rows=row[preceded] - 1,
    )
    return World(
        network=network, sensors=_sensors(links), sections=_sections(links), above=_tree(int(network.unit.max()))
    )


def _sensors(links: int) -> Sensors:
    detector = np.arange(0, links, 2)
    gate = np.arange(5, links, 10)
    link = np.concatenate([detector, gate])
    kind = np.repeat([SensorKind.DETECTOR, SensorKind.CHECKPOINT], [len(detector), len(gate)]).astype(np.int8)
    order = np.argsort(link, kind="stable")
    return Sensors(
        kind=kind[order],
        id=(link + 1)[order],
        direction=(1 + (link // ROAD_LINKS) % 2).astype(np.int8)[order],
        link=link[order],
        share=np.full(len(link), 0.5),
        lanes=np.full(len(link), LANES),
    )


def _sections(links: int) -> Sections:
    many = links // SECTION_LINKS
    return Sections(
        id=np.arange(1, many + 1),
        length_m=np.full(many, float(SECTION_LINKS * LINK_M)),
        start=np.arange(many + 1) * SECTION_LINKS,
        link=np.arange(many * SECTION_LINKS),
        weight_m=np.full(many * SECTION_LINKS, float(LINK_M)),
    )


def _tree(last: int) -> dict[int, tuple[int, ...]]:
    """Squadrons 100.., ten to a brigade, all under the corps 1."""
    tree: dict[int, tuple[int, ...]] = {1: (1,)}
    for squadron in range(100, last + 1):
        brigade = 1_000_000 + squadron // 10
        tree |= {brigade: (brigade, 1), squadron: (squadron, brigade, 1)}
    return tree


class Talk:
    """What the sensors of a world say, cycle by cycle: some reports late, some twice, queues that come and go."""

    def __init__(self, made: World, seed: int) -> None:
        self._world, self._chance = made, np.random.default_rng(seed)
        links = len(made.network)
        self._usual_kmh = made.network.limit_kmh * 0.9
        self._usual_vph = self._chance.uniform(300, 2_400, links // ROAD_LINKS + 1)[np.arange(links) // ROAD_LINKS]
        self._held = np.empty(0, DETECTOR_REPORT)

    def cycle(self, number: int) -> Inputs:
        """Everything that came in until the end of cycle `number`."""
        now_us = START_US + number * CYCLE_US
        network, sensors = self._world.network, self._world.sensors
        wave = np.sin(np.arange(len(network)) / 37.0 + number / 230.0)  # jams move some 20 km/h
        speed = network.limit_kmh * np.where(wave > 0.985, 0.2, 0.92)
        detectors = np.flatnonzero(sensors.kind == SensorKind.DETECTOR)
        reports = self._reports(detectors, speed[sensors.link[detectors]], now_us)
        later = self._chance.random(len(reports)) < LATE_SHARE
        twice = reports[self._chance.random(len(reports)) < TWICE_SHARE]
        told = np.concatenate([self._held, reports[~later], twice])
        self._held = reports[later]
        self._held["received_at"] += CYCLE_US
        return Inputs(
            reports=told,
            flows=self._flows(now_us),
            travel=self._travel(speed, now_us),
            usual_kmh=self._usual_kmh,
            usual_vph=self._usual_vph,
            above=self._world.above,
        )

    def _reports(self, detectors: np.ndarray, speed: np.ndarray, now_us: int) -> np.ndarray:
        sensors, chance = self._world.sensors, self._chance
        rows = np.zeros(len(detectors) * LANES, DETECTOR_REPORT)
        each = np.repeat(np.arange(len(detectors)), LANES)
        rows["observed_at"], rows["received_at"] = now_us, now_us + 1_000_000
        rows["detector"] = sensors.id[detectors][each]
        rows["lane"] = np.tile(np.arange(1, LANES + 1), len(detectors))
        rows["period_s"] = CYCLE_S
        vph = self._usual_vph[sensors.link[detectors]][each] / LANES
        rows["vehicles"] = chance.poisson(vph / 120.0)
        rows["heavy"] = chance.binomial(rows["vehicles"], 0.2)
        rows["speed_kmh"] = np.maximum(chance.normal(speed[each], 6.0), 3.0)
        rows["occupancy"] = np.clip(rows["vehicles"] * 120.0 * 0.65 / rows["speed_kmh"], 0.0, 100.0)
        return rows

    def _flows(self, now_us: int) -> np.ndarray:
        """Five minutes of every checkpoint and class."""
        sensors, chance = self._world.sensors, self._chance
        gates = np.flatnonzero(sensors.kind == SensorKind.CHECKPOINT)
        minutes = (now_us // 60_000_000 - np.arange(5, 0, -1)) * 60_000_000
        rows = np.zeros((len(gates), len(minutes), 2), CHECKPOINT_FLOW)
        rows["checkpoint"], rows["direction"] = (
            sensors.id[gates][:, None, None],
            sensors.direction[gates][:, None, None],
        )
        rows["minute"] = minutes[:, None]
        rows["group"] = [VehicleGroup.SMALL, VehicleGroup.HEAVY]
        vph = self._usual_vph[sensors.link[gates]][:, None, None]
        rows["passages"] = chance.poisson(vph / 60.0 * [0.8, 0.2], rows.shape)
        rows["measured"] = rows["readable"] = rows["passages"]
        rows["speed_sum"] = rows["passages"] * 95.0
        return rows[rows["passages"] > 0]

    def _travel(self, speed: np.ndarray, now_us: int) -> np.ndarray:
        """Of the last quarter of an hour, about ten vehicles a section."""
        sections, chance = self._world.sections, self._chance
        rows = np.zeros(len(sections) * 10, TRAVEL)
        rows["section"] = np.repeat(sections.id, 10)
        rows["bucket"] = now_us - chance.integers(1, 30, len(rows)) * CYCLE_US
        pace = (
            np.add.reduceat(3.6 * LINK_M / speed[sections.link], sections.start[:-1]) if len(sections) else np.empty(0)
        )
        rows["seconds"] = np.repeat(pace, 10) * chance.uniform(0.95, 1.4, len(rows))
        return rows
