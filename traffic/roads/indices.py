"""Congestion index of roads, units and the province, 0 (nobody waits) to 10, and what lies behind it.

The index rests on delay: the time that all vehicles together need, over the time that they would need at free flow
(travel time index), is mapped piece by piece as Beijing's traffic performance index does, in the five classes of
GB/T 33171: 1.0-1.2 -> 0-2 free, -1.5 -> 2-4 mostly free, -1.8 -> 4-6 light, -2.1 -> 6-8 moderate, beyond -> 8-10 heavy
(10 at 2.4). Links weigh by vehicle-kilometres; where no flow is known, by lanes times a small flow.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from traffic.roads.links import LinkRule, free_flow_kmh
from traffic.roads.model import Index, Inputs, Level, Picture, RiskPicture, RoadNetwork

TIMES_FREE = (1.0, 1.2, 1.5, 1.8, 2.1, 2.4)
INDEX = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
LANE_VPH = 150.0  # of a lane whose flow is not known
KNOWN_SHARE_MIN = 0.2  # of the length; less: no index is told
_NUMBERS = ("km", "known_km", "congested_km", "time", "free_time", "usual_time", "usual_free_time", "vehicle_km",
            "vehicle_h", "counted_km", "risk_1", "risk_2", "risk_3", "risk_4")  # fmt: skip


def index_of(times_free: np.ndarray) -> np.ndarray:
    """0..10 of the travel time index; NaN stays."""
    return np.interp(times_free, TIMES_FREE, INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scopes:
    """Sums over links, (scopes, numbers)."""

    name: str
    ids: list[int]
    sums: np.ndarray


def indices(  # noqa: PLR0913 - one argument for each thing that it rests on
    network: RoadNetwork,
    above: Mapping[int, tuple[int, ...]],
    picture: Picture,
    risk: RiskPicture,
    inputs: Inputs,
    rule: LinkRule,
) -> list[Index]:
    """How the province, every unit with all below it (`above`: unit -> itself and all above) and every road stand."""
    numbers = _numbers(network, picture, risk, inputs, free_flow_kmh(network, inputs, rule))
    province = _Scopes(name="province", ids=[0], sums=numbers.sum(0)[None])
    roads, of_road = np.unique(network.road, return_inverse=True)
    by_road = _Scopes(name="road", ids=roads.tolist(), sums=_sums(numbers, of_road, len(roads)))
    return [index for scopes in (province, _units(network, above, numbers), by_road) for index in _tell(scopes)]


def _numbers(
    network: RoadNetwork, picture: Picture, risk: RiskPicture, inputs: Inputs, free_kmh: np.ndarray
) -> np.ndarray:
    """What adds up, of each link, in the order of `_NUMBERS`."""
    km = network.length_m / 1000.0
    known = picture.level != Level.UNKNOWN
    assumed = LANE_VPH * np.maximum(network.lanes, 1)
    flow = np.where(np.isnan(picture.flow_vph), assumed, np.maximum(picture.flow_vph, 0.1 * assumed))
    driven = km * flow
    counted = known & ~np.isnan(picture.flow_vph) & ~np.isnan(picture.speed_kmh)
    vehicle_km = np.where(counted, km * np.nan_to_num(picture.flow_vph), 0.0)
    usual = _usual_kmh(network, inputs)
    has_usual = ~np.isnan(usual)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Nobody waits less than not at all: who drives faster than free flow does not make up for others.
        time = np.where(known, driven / np.minimum(picture.speed_kmh, free_kmh), 0.0)
        usual_time = np.where(has_usual, driven / np.minimum(usual, free_kmh), 0.0)
        vehicle_h = np.where(counted, vehicle_km / picture.speed_kmh, 0.0)
    return np.stack(
        [
            km,
            np.where(known, km, 0.0),
            np.where(known & (picture.level >= Level.MODERATE), km, 0.0),
            np.nan_to_num(time),
            np.where(known, driven / free_kmh, 0.0),
            usual_time,
            np.where(has_usual, driven / free_kmh, 0.0),
            vehicle_km,
            vehicle_h,
            np.where(counted, km, 0.0),
            *((risk.now_level == level) * 1.0 for level in (1, 2, 3, 4)),
        ],
        axis=1,
    )


def _usual_kmh(network: RoadNetwork, inputs: Inputs) -> np.ndarray:
    usual = inputs.usual_kmh
    if usual is None or len(usual) != len(network):
        return np.full(len(network), np.nan)
    return np.where(usual > 0, usual, np.nan)


def _sums(numbers: np.ndarray, of: np.ndarray, many: int) -> np.ndarray:
    return np.stack([np.bincount(of, column, many) for column in numbers.T], axis=1)


def _units(network: RoadNetwork, above: Mapping[int, tuple[int, ...]], numbers: np.ndarray) -> _Scopes:
    """Sums of each unit's own links, then added to all above it."""
    owners, of_owner = np.unique(network.unit, return_inverse=True)
    own = _sums(numbers, of_owner, len(owners))
    chains = [tuple(dict.fromkeys((owner, *above.get(owner, ())))) for owner in owners.tolist()]
    ids = sorted({unit for chain in chains for unit in chain} | set(above))
    place = {unit: at for at, unit in enumerate(ids)}
    sums = np.zeros((len(ids), numbers.shape[1]))
    pairs = [(place[unit], at) for at, chain in enumerate(chains) for unit in chain]
    if pairs:
        to, of = np.array(pairs).T
        np.add.at(sums, to, own[of])
    return _Scopes(name="unit", ids=ids, sums=sums)


def _tell(scopes: _Scopes) -> list[Index]:
    column = dict(zip(_NUMBERS, scopes.sums.T, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(column["km"] > 0, column["known_km"] / column["km"], 0.0)
        enough = share >= KNOWN_SHARE_MIN
        index = np.where(enough, index_of(column["time"] / column["free_time"]), np.nan)
        usual = index_of(column["usual_time"] / column["usual_free_time"])
        speed = column["vehicle_km"] / column["vehicle_h"]
        driven = np.where(column["counted_km"] > 0, column["vehicle_km"], np.nan)
    return [
        Index(
            scope=scopes.name,
            scope_id=int(scope),
            index=_number(index[at], 2),
            usual_index=_number(usual[at], 2),
            speed_kmh=_number(speed[at], 1),
            congested_km=round(float(column["congested_km"][at]), 3),
            known_share=round(float(share[at]), 4),
            vehicle_km_h=_number(driven[at], 0),
            risk_links=(
                int(column["risk_1"][at]),
                int(column["risk_2"][at]),
                int(column["risk_3"][at]),
                int(column["risk_4"][at]),
            ),
        )
        for at, scope in enumerate(scopes.ids)
    ]


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
