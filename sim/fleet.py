"""What the terminals of key vehicles send: positions with the receiver's error, none in tunnels, some switched off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.crews import noisy
from sim.instants import rfc3339
from sim.places import Places
from traffic.network import Link, Road

EVERY_S = (10, 30)
NOISE_M = 7.0
DEAF_SHARE = 0.03  # terminals that are off for good
OFF_MEAN_S = 7_200.0  # between two gaps of one terminal
OFF_S = (120.0, 1_500.0)
SPEED_ERROR_KMH = 0.8
# Expressways through the mountains, and how much of them lies in tunnels (a tunnel somewhere on each link).
TUNNEL_ROADS = {"G11": 1_600.0, "G1112": 1_200.0, "G12": 900.0, "G1221": 900.0}
TUNNEL_LINK_M = 8_000.0  # shorter links have none


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One key vehicle: how it is told, and how often. `offset_s` keeps them apart."""

    plate: str
    plate_class: int
    every_s: int
    offset_s: int
    deaf: bool


def tunnels_of(links: Sequence[Link], roads: Sequence[Road]) -> dict[str, tuple[float, float]]:
    """Edge -> (begin, end) of its tunnel in metres; the same stretch in both directions."""
    codes = {road.id: road.code for road in roads}
    found = {}
    for link in links:
        length_m = TUNNEL_ROADS.get(codes[link.road_id], 0.0)
        if length_m and link.length_m >= TUNNEL_LINK_M:
            middle = link.length_m / 2
            found[str(link.id)] = (middle - length_m / 2, middle + length_m / 2)
    return found


class Fleet:
    """The terminals; by a seeded generator."""

    def __init__(
        self, vehicles: Sequence[tuple[str, int]], places: Places, tunnels: Mapping[str, tuple[float, float]],
        random: np.random.Generator,
    ) -> None:  # fmt: skip
        self._places = places
        self._tunnels = tunnels
        self._random = random
        self._said_s: dict[str, float] = {}
        self._off: dict[str, tuple[float, float]] = {}
        self.terminals = {
            plate: Terminal(
                plate=plate, plate_class=plate_class, every_s=int(random.integers(*EVERY_S, endpoint=True)),
                offset_s=int(random.integers(0, EVERY_S[1])), deaf=bool(random.random() < DEAF_SHARE),
            )
            for plate, plate_class in vehicles
        }  # fmt: skip

    def due(self, now_s: float) -> list[str]:
        """Plates whose terminals want to speak now; which of them do, `records` says."""
        return [
            terminal.plate
            for terminal in self.terminals.values()
            if not terminal.deaf and now_s - self._said_s.get(terminal.plate, -terminal.offset_s) >= terminal.every_s
        ]

    def records(
        self, places: Mapping[str, tuple[str, float, float]], now_s: float, now_us: int
    ) -> list[dict[str, object]]:
        """Of plates with their (edge, position_m, speed_ms), as the native door takes them."""
        found: list[dict[str, object]] = []
        for plate, (edge, position_m, speed_ms) in places.items():
            self._said_s[plate] = now_s
            if self._is_mute(plate, edge, position_m, now_s):
                continue
            point, bearing_deg = self._places.point(edge, position_m)
            lon, lat = noisy(point, NOISE_M, self._random)
            speed_kmh = max(0.0, speed_ms * 3.6 + float(self._random.normal(0.0, SPEED_ERROR_KMH)))
            found.append(
                {
                    "plate": plate,
                    "plate_class": self.terminals[plate].plate_class,
                    "observed_at": rfc3339(now_us),
                    "lon": lon,
                    "lat": lat,
                    "speed_kmh": round(speed_kmh, 1),
                    "bearing_deg": round(bearing_deg % 360.0, 1) % 360.0,
                }
            )
        return found

    def _is_mute(self, plate: str, edge: str, position_m: float, now_s: float) -> bool:
        begin_m, end_m = self._tunnels.get(edge, (0.0, 0.0))
        if begin_m < position_m < end_m:
            return True
        off = self._off.get(plate)
        if off is None or off[1] <= now_s:
            begin_s = now_s + float(self._random.exponential(OFF_MEAN_S))
            off = self._off[plate] = (begin_s, begin_s + float(self._random.uniform(*OFF_S)))
        return off[0] <= now_s < off[1]
