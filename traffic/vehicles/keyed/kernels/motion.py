"""How far sightings lie apart, how long the way between them takes, and how much of a time is night. Kernels."""

import math

import numpy as np

from traffic.vehicles.compiled import part

# Where no usual time is known: roads are longer than the air line, and so fast are quick and usual drivers on them.
_DETOUR = 1.2
_USUAL_KMH, _QUICK_KMH = 75.0, 110.0
_QUICK_TURNS = 3.09  # of the spread below the median: one driver of a thousand is as fast (usual_times)
_METRES_E6 = 0.111194926644  # of 1e-6 degrees of latitude
_RADIANS_E6 = math.pi / 180e6
_HOUR_US, _DAY_US = 3_600_000_000, 86_400_000_000
_NIGHT_FROM_US, _NIGHT_US = 22 * _HOUR_US, 8 * _HOUR_US  # 22:00-06:00
_LOCAL_US = 8 * _HOUR_US  # Asia/Shanghai


@part
def apart_m(a, b):
    """Metres between two sightings (equirectangular: exact enough within a province)."""
    return points_apart_m(a["lon_e6"], a["lat_e6"], b["lon_e6"], b["lat_e6"])


@part
def points_apart_m(lon_a, lat_a, lon_b, lat_b):
    """Metres between two points in 1e-6 degrees."""
    north = (np.float64(lat_b) - lat_a) * _METRES_E6
    east = (np.float64(lon_b) - lon_a) * _METRES_E6 * math.cos((np.float64(lat_a) + lat_b) * 0.5 * _RADIANS_E6)
    return math.sqrt(north * north + east * east)


@part
def way_s(a, b, away_m, ways):
    """(usual, least) seconds of the way from one sighting to the next."""
    if a["checkpoint"] != 0 and b["checkpoint"] != 0 and len(ways.checkpoints):
        i = np.searchsorted(ways.checkpoints, np.int64(a["checkpoint"]))
        j = np.searchsorted(ways.checkpoints, np.int64(b["checkpoint"]))
        n = len(ways.checkpoints)
        if i < n and j < n and ways.checkpoints[i] == a["checkpoint"] and ways.checkpoints[j] == b["checkpoint"]:
            hour = (a["at"] // _HOUR_US + 8) % 24
            median = np.float64(ways.median_s[hour, i, j])
            if median == median and i != j:
                return median, median * math.exp(-_QUICK_TURNS * np.float64(ways.spread[hour, i, j]))
    return away_m * _DETOUR / (_USUAL_KMH / 3.6), away_m / (_QUICK_KMH / 3.6)


@part
def night_share(from_us, to_us):
    """Which part of a time lies between 22:00 and 06:00."""
    if to_us <= from_us:
        return 0.0
    night = np.int64(0)
    begin = (from_us + _LOCAL_US - _NIGHT_FROM_US) // _DAY_US * _DAY_US + _NIGHT_FROM_US - _LOCAL_US
    while begin < to_us:
        overlap = min(to_us, begin + _NIGHT_US) - max(from_us, begin)
        if overlap > 0:
            night += overlap
        begin += _DAY_US
    return night / (to_us - from_us)


@part
def local_minute(at_us):
    """Minute of the day of people."""
    return (at_us + _LOCAL_US) % _DAY_US // 60_000_000


@part
def local_day(at_us):
    """Day of people, since 1970."""
    return (at_us + _LOCAL_US) // _DAY_US
