"""Risk of every link, now and within the next hour, with the contribution of each factor.

A score 0..1 is the sum of the factors (factors.py) times their weights, held at 1. The weights are expert judgement
about which factor matters how much; they are not fitted to crashes, so a score orders links and says why, and is no
probability of a crash. Weights and thresholds of the four colours are data: rule road_risk.

The next hour: what traffic does now goes on as it has changed in the last quarter of an hour, less and less; flow goes
towards what is usual in the coming hour; works that begin within it count, and so does the night that falls. Weather
is taken to stay: a forecast is no part of this yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traffic.limits import CYCLE_S
from traffic.risk import factors
from traffic.risk.factors import Where
from traffic.roads.episodes import pack, unpack
from traffic.roads.model import Inputs, Level, Picture, RiskLevel, RiskPicture, RoadNetwork, Sensors, Window
from traffic.roads.parameters import bounded, defaults_of, fill, steps
from traffic.roads.stretches import Stretches
from traffic.roads.weather_grades import HazardRule

FACTORS = (
    "speed_drop", "speed_spread", "upstream_difference", "flow", "heavy_share", "weather", "works", "darkness",
)  # fmt: skip
TRAFFIC = FACTORS[:5]  # followed from cycle to cycle, for the trend
HOUR_US = 3_600_000_000


def _weights() -> Mapping[str, float]:
    return {
        "speed_drop": 0.20, "speed_spread": 0.20, "upstream_difference": 0.25, "flow": 0.10, "heavy_share": 0.08,
        "weather": 0.40, "works": 0.20, "darkness": 0.08,
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRule:
    """Parameters of rule `road_risk`."""

    weights: Mapping[str, float] = field(default_factory=_weights, metadata={"bounds": (0.0, 1.0)})
    colours: tuple[float, ...] = steps(0.25, 0.45, 0.65, low=0.01, high=1.0)  # yellow, orange, red begin here
    known_share_min: float = bounded(0.6, 0.0, 1.0)  # of the weights of traffic's factors; below it risk is unknown
    trend_s: int = bounded(900, 60, 7_200)  # over which a trend is seen
    trend_share: float = bounded(0.5, 0.0, 2.0)  # of it goes on into the next hour
    usual_share: float = bounded(0.7, 0.0, 1.0)  # how far flow goes to what is usual in the coming hour
    latitude_deg: float = bounded(43.9, -66.0, 66.0)  # where night falls: the middle of the province
    longitude_deg: float = bounded(125.7, -180.0, 180.0)


DEFAULTS: dict[str, Any] = defaults_of(RiskRule)


def from_parameters(parameters: Mapping[str, Any]) -> RiskRule:
    """The rule from a row of table `rule`; raises SettingsError naming the parameter."""
    return fill("road_risk", RiskRule, parameters)


@dataclass(slots=True, kw_only=True)
class Memory:
    """`slow` (links, TRAFFIC): each factor as it was some minutes ago (exponentially); NaN: not known yet."""

    slow: np.ndarray
    stretches: Stretches

    @classmethod
    def new(cls, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """Nothing known yet."""
        return cls(slow=np.full((len(network), len(TRAFFIC)), np.nan), stretches=Stretches.of(network))

    def __deepcopy__(self, memo: Any) -> "Memory":
        """A copy to go on from; what belongs to the network is shared."""
        return Memory(slow=self.slow.copy(), stretches=self.stretches)

    def dump(self) -> Any:
        """Values for msgpack."""
        return pack({"slow": self.slow.ravel()})

    @classmethod
    def load(cls, data: Any, network: RoadNetwork, sensors: Sensors) -> "Memory":
        """What `dump` gave, for the same network; raises ValueError where it is of another."""
        slow = unpack(data)["slow"]
        if len(slow) != len(network) * len(TRAFFIC):
            raise ValueError("risk was remembered for another network")
        return cls(slow=slow.reshape(len(network), len(TRAFFIC)), stretches=Stretches.of(network))


def assess(  # noqa: PLR0913 - one argument for each thing that risk rests on
    network: RoadNetwork,
    picture: Picture,
    window: Window,
    sensors: Sensors,
    inputs: Inputs,
    memory: Memory,
    rules: RiskRule,
    *,
    now_us: int,
    grades: HazardRule | None = None,
) -> RiskPicture:
    """Score each link; `grades` is what weather means (rule weather_limits). Parts add up to the score."""
    now = np.full((len(network), len(FACTORS)), np.nan)
    told = factors.traffic_factors(network, sensors, window, picture, inputs)
    for column, name in enumerate(TRAFFIC):
        now[:, column] = told[name]
    where = Where(stretches=memory.stretches, grades=grades or HazardRule(), many=len(network))
    now[:, 5] = where.weather(inputs.weather, now_us)
    now[:, 6] = where.works(inputs.works, network.lanes, now_us)
    now[:, 7] = factors.darkness(now_us, rules.latitude_deg, rules.longitude_deg)
    coming = now.copy()
    coming[:, : len(TRAFFIC)] = _coming(network, now[:, : len(TRAFFIC)], inputs, memory, rules)
    coming[:, 6] = _works_of_hour(where, network, inputs, now_us)
    coming[:, 7] = max(
        factors.darkness(now_us + quarter * HOUR_US // 4, rules.latitude_deg, rules.longitude_deg)
        for quarter in range(5)
    )
    weights = np.array([rules.weights[name] for name in FACTORS])
    unknown = (picture.level == Level.UNKNOWN) | _too_little(now, weights, rules)
    now_parts, next_parts = _parts(now, weights, unknown), _parts(coming, weights, unknown)
    now_score, next_score = now_parts.sum(axis=1), next_parts.sum(axis=1)
    return RiskPicture(
        factors=FACTORS,
        now=now_score,
        next_hour=next_score,
        now_level=_colours(now_score, rules),
        next_level=_colours(next_score, rules),
        now_parts=now_parts,
        next_parts=next_parts,
    )


def _too_little(now: np.ndarray, weights: np.ndarray, rules: RiskRule) -> np.ndarray:
    of_traffic = weights[: len(TRAFFIC)]
    known = ~np.isnan(now[:, : len(TRAFFIC)]) @ of_traffic
    return known < rules.known_share_min * of_traffic.sum()


def _coming(network: RoadNetwork, now: np.ndarray, inputs: Inputs, memory: Memory, rules: RiskRule) -> np.ndarray:
    """Traffic's factors within the hour; `memory` learns what they are now."""
    slow = np.where(np.isnan(memory.slow), now, memory.slow)
    coming = np.clip(now + rules.trend_share * (now - slow), 0.0, 1.0)
    part = CYCLE_S / rules.trend_s
    memory.slow = slow + part * (now - slow)  # NaN where it is not known now: a trend begins anew after a gap
    usual_vph = inputs.usual_next_vph if inputs.usual_next_vph is not None else inputs.usual_vph
    if usual_vph is not None:
        column = TRAFFIC.index("flow")
        usual = factors.flow(network, usual_vph)
        moved = coming[:, column] + rules.usual_share * (usual - coming[:, column])
        coming[:, column] = np.where(np.isnan(usual), coming[:, column], moved)
    return coming


def _works_of_hour(where: Where, network: RoadNetwork, inputs: Inputs, now_us: int) -> np.ndarray:
    """Works in force at some time of the coming hour."""
    found = where.works(inputs.works, network.lanes, now_us)
    for work in inputs.works:
        if now_us < work.from_at <= now_us + HOUR_US:
            found = np.maximum(found, where.works([work], network.lanes, work.from_at))
    return found


def _parts(values: np.ndarray, weights: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Contributions; a factor that is not known contributes nothing, a sum beyond 1 is shared out in proportion."""
    parts = np.where(np.isnan(values), 0.0, values) * weights
    total = parts.sum(axis=1)
    parts /= np.maximum(total, 1.0)[:, None]
    parts[unknown] = np.nan
    return parts


def _colours(score: np.ndarray, rules: RiskRule) -> np.ndarray:
    level = np.searchsorted(np.array(rules.colours), np.where(np.isnan(score), 0.0, score), "right") + RiskLevel.LOW
    return np.where(np.isnan(score), RiskLevel.UNKNOWN, level).astype(np.int8)
