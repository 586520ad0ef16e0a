"""What the terminals of key vehicles send: positions with the receiver's error, none in tunnels, some switched off.

Some speak to the police's door themselves (JT/T 808): where there is no network they keep what they measured, and they
raise alarms: too fast, and now and then a driver presses the button.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.crews import noisy
from sim.instants import rfc3339
from sim.places import Places
from traffic.ingest.jt808_bodies import Items, Position
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
NO_NETWORK_M = 700.0  # before and behind a tunnel; the receiver still knows where it is
ALARM_SOS, ALARM_SPEED = 1 << 0, 1 << 1
ALARM_SPEED_KMH = 105.0
SOS_MEAN_S, SOS_S = 2_400.0, 60.0  # between two presses of the button in the whole fleet, and how long one holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One key vehicle: how it is told, and how often. `offset_s` keeps them apart."""

    plate: str
    plate_class: int
    every_s: int
    offset_s: int
    deaf: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A position of a terminal that speaks for itself. `kept`: it has no network and tells it later."""

    position: Position
    kept: bool


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
        random: np.random.Generator, *, straight: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self._places = places
        self._straight = straight
        self._driven_km: dict[str, float] = {}
        self._sos: tuple[str, float, float] = ("", 0.0, 0.0)  # who presses the button next, from when until when
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
            if plate in self._straight:
                continue
            self._said_s[plate] = now_s
            if self._is_mute(plate, edge, position_m, now_s):
                continue
            lon, lat, speed_kmh, bearing_deg = self._measured(edge, position_m, speed_ms)
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

    def told(self, places: Mapping[str, tuple[str, float, float]], now_s: float, now_us: int) -> dict[str, Told]:
        """Of those among the plates that speak for themselves."""
        found = {}
        for plate, (edge, position_m, speed_ms) in places.items():
            if plate not in self._straight:
                continue
            since_s = now_s - self._said_s.get(plate, now_s)
            self._said_s[plate] = now_s
            self._driven_km[plate] = self._driven_km.get(plate, 0.0) + speed_ms * since_s / 1000.0
            if self._is_mute(plate, edge, position_m, now_s):
                continue
            lon, lat, speed_kmh, bearing_deg = self._measured(edge, position_m, speed_ms)
            position = Position(
                at_us=now_us, lon=lon, lat=lat, speed_kmh=speed_kmh, bearing_deg=bearing_deg % 360.0,
                alarms=self._alarms(plate, speed_kmh, now_s),
                items=Items(mileage_km=round(self._driven_km[plate], 1), recorder_kmh=round(speed_ms * 3.6, 1)),
            )  # fmt: skip
            found[plate] = Told(position=position, kept=not self._has_network(edge, position_m))
        return found

    def _measured(self, edge: str, position_m: float, speed_ms: float) -> tuple[float, float, float, float]:
        """(lon, lat, km/h, degrees) as the receiver has them."""
        point, bearing_deg = self._places.point(edge, position_m)
        lon, lat = noisy(point, NOISE_M, self._random)
        speed_kmh = max(0.0, speed_ms * 3.6 + float(self._random.normal(0.0, SPEED_ERROR_KMH)))
        return lon, lat, speed_kmh, bearing_deg

    def _has_network(self, edge: str, position_m: float) -> bool:
        begin_m, end_m = self._tunnels.get(edge, (0.0, 0.0))
        return end_m <= begin_m or not begin_m - NO_NETWORK_M < position_m < end_m + NO_NETWORK_M

    def _alarms(self, plate: str, speed_kmh: float, now_s: float) -> int:
        if now_s >= self._sos[2]:
            begin_s = now_s + float(self._random.exponential(SOS_MEAN_S))
            who = sorted(self._straight)[int(self._random.integers(len(self._straight)))]
            self._sos = (who, begin_s, begin_s + SOS_S)
        who, begin_s, end_s = self._sos
        pressed = ALARM_SOS if plate == who and begin_s <= now_s < end_s else 0
        return pressed | (ALARM_SPEED if speed_kmh > ALARM_SPEED_KMH else 0)

    def _is_mute(self, plate: str, edge: str, position_m: float, now_s: float) -> bool:
        begin_m, end_m = self._tunnels.get(edge, (0.0, 0.0))
        if begin_m < position_m < end_m:
            return True
        off = self._off.get(plate)
        if off is None or off[1] <= now_s:
            begin_s = now_s + float(self._random.exponential(OFF_MEAN_S))
            off = self._off[plate] = (begin_s, begin_s + float(self._random.uniform(*OFF_S)))
        return off[0] <= now_s < off[1]
