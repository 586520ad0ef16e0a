"""Days that the demonstration never lived through, as roll-ups of quarters of an hour: plausible, seeded, marked.

Flow is what the same demand puts on each link; speed what drivers make of the limit, less in weather, at works and
after accidents; detectors fail for hours. So "usual" is there at the first start and fits what the twin then does. The
evaluations do not use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim import demand
from sim.accidents import NEXT_S
from sim.usual import speeds_kmh
from sim.vehicles import KINDS, kind_shares
from sim.weather import Almanac, Front, slowed
from sim.works import Calendar
from traffic.network import Checkpoint
from traffic.province_tables import Province
from traffic.road_readings import vehicle_groups
from traffic.roads import indices
from traffic.roads.links import LinkRule, free_flow_kmh, levels_of
from traffic.roads.model import Inputs, Picture, RiskPicture, RoadNetwork, Sensors, build_network, place_sensors
from traffic.rollups import CHECKPOINT_ROLLUP, INDEX_ROLLUP, LINK_ROLLUP, index_rows

SEED = 47
QUARTER_US, CYCLES = 15 * 60_000_000, 30
VISIBLE_SHARE = 0.4  # of accidents that a sensor of their link feels
LANE_VPH = 1_800.0  # at which a lane is full
FULL_SLOWS = 0.3  # of its speed a full road loses before it breaks down
WORKS_SLOW = 0.93
DEAD_PER_DAY = 0.04  # of sensors, for DEAD_H hours each
DEAD_H = (1.0, 8.0)
MEASURED_SHARE = 0.98  # of passages have a speed
RISK_STEPS = (0.25, 0.5, 0.75)
GROUPS = (1, 2, 3)  # small, coach, heavy: road_readings.VehicleGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollups:
    """Rows for `traffic.rollups.write_history`."""

    links: np.ndarray
    checkpoints: np.ndarray
    indices: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """One day in (quarters, links): what was there."""

    begins_us: np.ndarray  # (quarters)
    flow_vph: np.ndarray
    speed_kmh: np.ndarray
    weather: np.ndarray  # 0..1
    works: np.ndarray  # bool
    trouble: np.ndarray  # bool: an accident is felt
    known: np.ndarray  # bool
    heavy_share: np.ndarray  # (quarters)


class History:
    """Makes days. `flows_vph`: of each edge in the busiest hour."""

    def __init__(
        self, province: Province, flows_vph: dict[str, float], above: dict[int, tuple[int, ...]],
        lively: Sequence[Sequence[int]],
    ) -> None:  # fmt: skip
        self.network: RoadNetwork = build_network(province.roads, province.links)
        self._above = above
        self._flow = np.array([flows_vph.get(str(link), 0.0) for link in self.network.ids.tolist()])
        self._sensors: Sensors = place_sensors(self.network, province.detectors, province.checkpoints)
        self._gates: Sequence[Checkpoint] = province.checkpoints
        self._almanac = Almanac()
        own = [[link for link in province.links if link.unit_id in units] for units in lively]
        self._calendar = Calendar(province.links, province.roads, own)
        middles = {link.id: link.geometry[len(link.geometry) // 2] for link in province.links}
        self._lon, self._lat = np.array([middles[link] for link in self.network.ids.tolist()]).T
        self._row = {int(link): row for row, link in enumerate(self.network.ids.tolist())}
        self._rule = LinkRule()
        self._free_kmh = free_flow_kmh(self.network, Inputs(), self._rule)

    def day(self, begin_us: int, end_us: int) -> Rollups:
        """The whole quarters of [begin, end), at most a day of them."""
        begins = np.arange(-(-begin_us // QUARTER_US), end_us // QUARTER_US, dtype=np.int64) * QUARTER_US
        random = np.random.default_rng([SEED, begin_us // QUARTER_US])
        day = self._lived(begins, random)
        risk = self._risk(day, random)
        levels = np.stack([self._levels(speeds) for speeds in day.speed_kmh]) if len(begins) else day.works.astype(int)
        return Rollups(
            links=self._link_rows(day, levels, risk, random),
            checkpoints=self._checkpoint_rows(day, random),
            indices=self._index_rows(day, levels, risk),
        )

    # ---------------------------------------------------------------- what happened
    def _lived(self, begins: np.ndarray, random: np.random.Generator) -> _Day:
        middles = begins + QUARTER_US // 2
        shape = (len(begins), len(self.network))
        share, heavy = demand.shares(middles), demand.heavy_shares(middles)
        expected = self._flow[None] * share[:, None]
        flow = random.poisson(expected / 4.0) * 4.0
        lanes = np.maximum(self.network.lanes, 1)
        weather, factor = self._weather(middles)
        works = self._works(middles)
        trouble = self._trouble(shape, share, random)
        usual = (
            np.stack([speeds_kmh(self.network.limit_kmh, float(one)) for one in heavy]) if shape[0] else np.zeros(shape)
        )
        speed = usual * (1.0 - FULL_SLOWS * np.minimum(1.0, expected / (lanes * LANE_VPH)) ** 2)
        speed = (
            speed * factor * np.where(works, WORKS_SLOW, 1.0) * np.where(trouble, random.uniform(0.12, 0.6, shape), 1.0)
        )
        return _Day(
            begins_us=begins,
            flow_vph=np.where(trouble, flow * 0.6, flow),
            speed_kmh=np.maximum(4.0, speed * random.normal(1.0, 0.015, shape)),
            weather=weather,
            works=works,
            trouble=trouble,
            known=self._known(shape, random),
            heavy_share=heavy,
        )

    def _weather(self, at_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How strong the worst front over each link is, and what it leaves of the speed."""
        strength = np.zeros((len(at_us), len(self.network)))
        factor = np.ones_like(strength)
        fronts = self._almanac.between(int(at_us[0]), int(at_us[-1])) if len(at_us) else []
        for number, now_us in enumerate(at_us.tolist()):
            for front in (front for front in fronts if front.from_us < now_us < front.to_us):
                under = self._under(front, now_us)
                strength[number, under] = np.maximum(strength[number, under], front.strength(now_us))
                factor[number, under] = np.minimum(factor[number, under], slowed(front.kind, front.strength(now_us)))
        return strength, factor

    def _under(self, front: Front, now_us: int) -> np.ndarray:
        lon, lat = front.centre(now_us)
        east_km = (self._lon - lon) * 111.2 * np.cos(np.radians(lat))
        return np.hypot(east_km, (self._lat - lat) * 111.2) <= front.radius_km

    def _works(self, at_us: np.ndarray) -> np.ndarray:
        found = np.zeros((len(at_us), len(self.network)), bool)
        for work in self._calendar.between(int(at_us[0]), int(at_us[-1])) if len(at_us) else ():
            row = self._row.get(int(work.edge))
            if row is not None:
                found[(at_us >= work.from_us) & (at_us < work.to_us), row] = True
        return found

    def _trouble(self, shape: tuple[int, int], share: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Accidents as often as the twin has them, where much is driven; each is felt for one to three quarters."""
        found = np.zeros(shape, bool)
        weights = self._flow * self.network.length_m
        if not shape[0] or not weights.sum():
            return found
        for quarter, one in enumerate(share.tolist()):
            many = random.poisson(VISIBLE_SHARE * QUARTER_US / 1e6 / NEXT_S * max(0.3, one))
            for row in random.choice(shape[1], size=many, p=weights / weights.sum()):
                found[quarter : quarter + int(random.integers(1, 4)), row] = True
        return found

    def _known(self, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
        """A link is known while one of its sensors works."""
        alive = np.zeros(shape, bool)
        for link in self._sensors.link.tolist():
            works = np.ones(shape[0], bool)
            if random.random() < DEAD_PER_DAY * shape[0] / 96.0:
                begin = int(random.integers(0, shape[0]))
                works[begin : begin + int(random.uniform(*DEAD_H) * 4)] = False
            alive[:, link] |= works
        return alive

    def _levels(self, speed_kmh: np.ndarray) -> np.ndarray:
        return levels_of(self.network, speed_kmh, self._free_kmh, np.zeros(len(self.network), np.int8), self._rule)

    def _risk(self, day: _Day, random: np.random.Generator) -> np.ndarray:
        """A plausible score of each link, 0..1."""
        slower = np.clip(1.0 - day.speed_kmh / self._free_kmh, 0.0, 1.0)
        full = np.minimum(1.0, day.flow_vph / (np.maximum(self.network.lanes, 1) * LANE_VPH))
        score = 0.08 + 0.35 * slower + 0.3 * day.weather + 0.1 * day.works + 0.1 * full + 0.2 * day.trouble
        return np.clip(score + 0.1 * day.heavy_share[:, None] + random.normal(0.0, 0.01, score.shape), 0.01, 0.99)

    # ---------------------------------------------------------------- rows
    def _link_rows(self, day: _Day, levels: np.ndarray, risk: np.ndarray, random: np.random.Generator) -> np.ndarray:
        quarter, link = np.nonzero(day.known)
        rows = np.zeros(len(quarter), LINK_ROLLUP)
        speed, flow, score = day.speed_kmh[quarter, link], day.flow_vph[quarter, link], risk[quarter, link]
        travel = self.network.length_m[link] / (speed / 3.6)
        rows["bucket"], rows["link"], rows["cycles"] = day.begins_us[quarter], self.network.ids[link], CYCLES
        level = levels[quarter, link]
        for number in range(1, 6):
            rows[f"level_{number}"] = np.where(level == number, CYCLES, 0)
        for count in ("speeds", "flows", "travels", "heavies", "risks"):
            rows[count] = CYCLES
        rows["speed_sum"], rows["speed_min"] = speed * CYCLES, speed * random.uniform(0.88, 0.97, len(rows))
        rows["flow_sum"] = flow * CYCLES
        rows["travel_sum"], rows["travel_max"] = travel * CYCLES, travel * random.uniform(1.03, 1.15, len(rows))
        rows["heavy_sum"] = day.heavy_share[quarter] * CYCLES
        rows["risk_sum"], rows["risk_max"] = score * CYCLES, np.minimum(1.0, score * 1.1)
        rows["confidence_sum"] = random.uniform(0.8, 0.95, len(rows)) * CYCLES
        return rows

    def _checkpoint_rows(self, day: _Day, random: np.random.Generator) -> np.ndarray:
        """Passages by direction and class; no row where nobody passed."""
        gates = np.flatnonzero(self._sensors.kind == 2)
        link = self._sensors.link[gates]
        share = (
            np.stack([_group_shares(float(one)) for one in day.heavy_share]) if len(day.begins_us) else np.zeros((0, 3))
        )
        expected = day.flow_vph[:, link, None] / 4.0 * share[:, None, :]
        passages = np.where(day.known[:, link, None], random.poisson(expected), 0)
        quarter, gate, group = np.nonzero(passages)
        rows = np.zeros(len(quarter), CHECKPOINT_ROLLUP)
        rows["bucket"], rows["class"] = day.begins_us[quarter], np.array(GROUPS)[group]
        rows["checkpoint"], rows["direction"] = self._sensors.id[gates[gate]], self._sensors.direction[gates[gate]]
        rows["passages"] = passages[quarter, gate, group]
        rows["measured"] = random.binomial(rows["passages"], MEASURED_SHARE)
        slow = np.array([1.03, 0.95, 0.84])[group]  # of the mean of all, by class
        rows["speed_sum"] = rows["measured"] * day.speed_kmh[quarter, link[gate]] * slow
        return rows

    def _index_rows(self, day: _Day, levels: np.ndarray, risk: np.ndarray) -> np.ndarray:
        """What the cycle would have said in each quarter, as often as it would have said it."""
        found = [np.zeros(0, INDEX_ROLLUP)]
        usual = np.nanmedian(day.speed_kmh, axis=0) if len(day.begins_us) else None
        for quarter, begin_us in enumerate(day.begins_us.tolist()):
            picture, scores = self._picture(day, levels, risk, quarter)
            told = indices.indices(self.network, self._above, picture, scores, Inputs(usual_kmh=usual), self._rule)
            rows = index_rows(told, at_us=begin_us)
            for name in rows.dtype.names or ():
                if name in _COUNTS or name.endswith("_sum"):
                    rows[name] = rows[name] * CYCLES
            found.append(rows)
        return np.concatenate(found)

    def _picture(self, day: _Day, levels: np.ndarray, risk: np.ndarray, quarter: int) -> tuple[Picture, RiskPicture]:
        known = day.known[quarter]
        nothing = np.full(len(known), np.nan)
        speed = np.where(known, day.speed_kmh[quarter], np.nan)
        picture = Picture(
            at_us=int(day.begins_us[quarter]), observed_us=np.where(known, day.begins_us[quarter], 0),
            level=np.where(known, levels[quarter], 0).astype(np.int8), speed_kmh=speed,
            flow_vph=np.where(known, day.flow_vph[quarter], np.nan), density_vkm=nothing, travel_s=nothing,
            travel_p90_s=nothing, heavy_share=nothing, confidence=known * 0.9, sources=np.zeros(len(known), np.int8),
        )  # fmt: skip
        score = np.where(known, risk[quarter], np.nan)
        level = np.where(known, 1 + np.searchsorted(RISK_STEPS, risk[quarter]), 0).astype(np.int8)
        parts = np.zeros((len(known), 0))
        scores = RiskPicture(
            factors=(), now=score, next_hour=score, now_level=level, next_level=level, now_parts=parts, next_parts=parts
        )
        return picture, scores


_COUNTS = frozenset({"cycles", "indexes", "usuals", "speeds", "loads"})


def _group_shares(heavy_share: float) -> np.ndarray:
    """Shares of GROUPS among passing vehicles."""
    shares = kind_shares(heavy_share)
    found = np.zeros(len(GROUPS))
    for kind, share in zip(KINDS, shares, strict=True):
        code = (ord(kind.vehicle_classes[0][0]) - 64) * 100 + int(kind.vehicle_classes[0][1:])
        group = int(vehicle_groups(np.array([code]), np.array([kind.plate_class]))[0])
        found[GROUPS.index(group) if group in GROUPS else 0] += share
    return found / found.sum()
