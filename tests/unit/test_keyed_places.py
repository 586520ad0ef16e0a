"""The compiled search for places says what the plain one says."""

import numpy as np

from tests.keyedkit import PLACES, at
from traffic.vehicles.keyed.rows import find_places


def test_the_compiled_search_finds_the_same_places() -> None:
    random = np.random.default_rng(5)
    lon = 122.0 + random.uniform(-0.01, 7.5, 500)
    lat = np.where(random.random(500) < 0.5, 43.5, 43.6) + random.normal(0, 0.0012, 500)
    lon[:3], lat[:3] = 0.0, 0.0
    speed, bearing = random.uniform(0, 100, 500), random.choice([np.nan, 90.0, 270.0, 10.0], 500)
    found, limits = find_places(PLACES, lon, lat, speed, bearing)
    plain = PLACES.find(lon, lat, speed, bearing)
    for name in ("road", "stake_m", "link", "unit", "direction"):
        assert (found[name] == plain[name]).all()
    assert np.allclose(found["away_m"], plain["away_m"])
    assert set(limits[plain["road"] != 0].tolist()) == {100} and not limits[plain["road"] == 0].any()


def test_without_a_network_no_place_is_known() -> None:
    lon, lat = (np.array([value]) for value in at(1000))
    found, limits = find_places(None, lon, lat, np.array([50.0]), np.array([90.0]))
    assert found["road"].tolist() == [0] and limits.tolist() == [0]
