"""Stretches of roads as people write them into rules and permits: road, from stake to stake, direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.network import STAKES_DECREASE, STAKES_INCREASE
from traffic.vehicles.said import checked_keys, checked_list, checked_whole, refused

STRETCHES_MAX = 500
STAKE_M_MAX = 9_999_999
_BOTH = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """Columns of one length; stakes are both inclusive, direction 0 means both."""

    road: np.ndarray
    from_stake_m: np.ndarray
    to_stake_m: np.ndarray
    direction: np.ndarray

    def hold(self, places: np.ndarray) -> np.ndarray:
        """Which of these PLACEs (positions.PLACE) lie on one of the stretches.

        A direction that is not known lies on the stretches of both; a place off the known roads on none.
        """
        on = np.zeros(len(places), bool)
        for road, start, end, direction in zip(
            self.road.tolist(),
            self.from_stake_m.tolist(),
            self.to_stake_m.tolist(),
            self.direction.tolist(),
            strict=True,
        ):
            here = (places["road"] == road) & (places["stake_m"] >= start) & (places["stake_m"] <= end)
            if direction != _BOTH:
                here &= (places["direction"] == direction) | (places["direction"] == _BOTH)
            on |= here
        return on


def parse_stretches(where: str, said: Any, roads: Mapping[str, int]) -> Stretches:
    """From [{"road":"G1","from_stake_m":0,"to_stake_m":90000,"direction":1}]; stakes and direction may be left out.

    `roads`: number of each road's code. Raises FieldRefused naming the stretch and field.
    """
    rows = []
    for number, one in enumerate(checked_list(where, said, STRETCHES_MAX)):
        here = f"{where}[{number}]"
        checked_keys(here, one, ("road", "from_stake_m", "to_stake_m", "direction"))
        road = roads.get(one["road"]) if isinstance(one.get("road"), str) else None
        if road is None:
            raise refused(f"{here}.road", "must be the code of a known road", one.get("road", ""))
        start = _given(here, one, "from_stake_m", 0, STAKE_M_MAX)
        end = _given(here, one, "to_stake_m", STAKE_M_MAX, STAKE_M_MAX)
        if end < start:
            raise refused(f"{here}.to_stake_m", f"must not lie before from_stake_m ({start})", end)
        direction = _given(here, one, "direction", _BOTH, max(STAKES_INCREASE, STAKES_DECREASE))
        rows.append((road, start, end, direction))
    columns = np.array(rows, np.int64).reshape(-1, 4)
    return Stretches(road=columns[:, 0], from_stake_m=columns[:, 1], to_stake_m=columns[:, 2], direction=columns[:, 3])


def _given(where: str, said: Mapping[str, Any], name: str, left_out: int, high: int) -> int:
    value = said.get(name)
    return left_out if value is None else checked_whole(f"{where}.{name}", value, 0, high)
