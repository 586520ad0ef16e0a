"""Positions of crews and vehicles: the road, stake and direction of a point, and whose newest word counts. Pure."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from traffic.nearest import Found, NearestPlaces, Pieces
from traffic.network import Link

PLACE = np.dtype(
    [
        ("road", "<i4"),  # 0: off the known roads
        ("stake_m", "<i4"),
        ("link", "<i4"),
        ("unit", "<i4"),  # owner of the link
        ("direction", "<i2"),  # 0: cannot be told
        ("away_m", "<f4"),
    ]
)
_MOVING_KMH_MIN = 3.0  # below it the bearing of a device is noise


class PlaceIndex:
    """The links of a network, to find the places of positions."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._nearest = NearestPlaces(links)
        links = self._nearest.links
        self._of_link = np.array(
            [(link.road_id, link.id, link.unit_id, link.direction) for link in links], np.int64
        ).reshape(-1, 4)
        # By row of the links, as `pieces` names them.
        self.limits_kmh = np.array([link.limit_kmh for link in links], np.int64)

    @property
    def pieces(self) -> Pieces:
        """What the search of `find` goes by, for another one."""
        return self._nearest.pieces

    def find(
        self,
        lon: np.ndarray,
        lat: np.ndarray,
        speed_kmh: np.ndarray,
        bearing_deg: np.ndarray,
        *,
        search: Callable[[np.ndarray, np.ndarray, np.ndarray], Found] | None = None,
    ) -> np.ndarray:
        """The PLACE of each point: the nearest link within PLACE_AWAY_M_MAX, one in the direction of travel preferred.

        Speed and bearing may be NaN; without a bearing, or standing, the direction cannot be told. `search`: a quicker
        one with the same answers, where there are many points.
        """
        moves = np.isfinite(bearing_deg) & ~(speed_kmh < _MOVING_KMH_MIN)
        nearest = (search or self._nearest.find)(lon, lat, np.where(moves, bearing_deg, np.nan))
        on = nearest.row >= 0
        found = np.zeros(len(lon), PLACE)
        found["stake_m"][on], found["away_m"][on] = nearest.stake_m[on], nearest.away_m[on]
        for column, name in enumerate(("road", "link", "unit", "direction")):
            found[name][on] = self._of_link[nearest.row[on], column]
        found["direction"][~moves] = 0
        return found


def newest(rows: np.ndarray) -> np.ndarray:
    """Row numbers of the newest POSITION of each subject; of two of one time the same one in any order of arrival."""
    if not len(rows):
        return np.empty(0, np.int64)
    told = [np.where(np.isnan(rows[name]), -1.0, rows[name]) for name in ("bearing_deg", "speed_kmh")]
    order = np.lexsort(
        (*told, rows["lat"], rows["lon"], rows["received_at"], rows["observed_at"],
         rows["class_group"], rows["subject"], rows["subject_kind"])
    )  # fmt: skip
    sorted_rows = rows[order]
    last = np.ones(len(order), bool)
    last[:-1] = np.any(
        [sorted_rows[name][1:] != sorted_rows[name][:-1] for name in ("subject_kind", "subject", "class_group")], axis=0
    )
    return order[last]


def number(value: float, digits: int) -> float | None:
    """A figure for screens; NaN (not told) is null."""
    return None if value != value else round(value, digits)


def spots(rows: np.ndarray, places: np.ndarray) -> Sequence[list[float | int | None]]:
    """For each position what screens are told of it: observed_us, lon, lat, speed, bearing, road, stake, direction."""
    return [
        [
            int(row["observed_at"]),
            round(float(row["lon"]), 6),
            round(float(row["lat"]), 6),
            number(float(row["speed_kmh"]), 1),
            number(float(row["bearing_deg"]), 0),
            int(place["road"]) or None,
            int(place["stake_m"]) if place["road"] else None,
            int(place["direction"]) or None,
        ]
        for row, place in zip(rows, places, strict=True)
    ]
