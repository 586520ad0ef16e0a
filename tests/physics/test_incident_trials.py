"""Trials for the detection of incidents: where stations stand, what is planned, and a short drive with loops."""

from pathlib import Path

import numpy as np
import pytest
import sumolib

from dashboards.evaluate.trials import TrialLost, is_kept, simulate
from sim.incident_scenes import GROUNDS, HORIZON_S, WARM_UP_S, Layout, layout, network_path, script


@pytest.fixture(scope="module")
def motorway() -> Layout:
    """Roads and stations of the motorway."""
    return layout(sumolib.net.readNet(str(network_path(GROUNDS["motorway"]))))


def test_stations_follow_each_other_on_every_road(motorway: Layout) -> None:
    places: dict[int, list[float]] = {}
    for station in motorway.stations:
        link = motorway.links[station.link]
        assert 0 <= station.share <= 1 and link.lanes
        places.setdefault(link.road, []).append(link.begin_m + station.share * (link.end_m - link.begin_m))
    assert len(places) >= 4
    gaps = np.concatenate([np.diff(along) for along in places.values()])
    assert gaps.min() > 100 and np.median(gaps) == pytest.approx(300, abs=30)


def test_incidents_are_planned_between_stations_and_the_same_for_the_same_seed(motorway: Layout) -> None:
    use = {link.edge: 100.0 for link in motorway.links}

    def planned(seed: int) -> list:
        ground, rng = GROUNDS["motorway"], np.random.default_rng(seed)
        return script(ground, motorway, use, rng, incidents=9, convoys=2)

    assert planned(1) == planned(1) != planned(2)
    for one in planned(1):
        assert WARM_UP_S <= one.at_s < HORIZON_S
        if one.kind == "incident":
            road = motorway.links[one.link].road
            stations = [s.link for s in motorway.stations if motorway.links[s.link].road == road]
            assert min(stations) <= one.link < max(stations) and 1 <= one.lanes_many <= 4


def test_a_short_trial_counts_vehicles_at_plausible_speeds(tmp_path: Path) -> None:
    wanted = {"ground": "motorway", "seed": 5, "incidents": 0, "convoys": 0, "horizon_s": 300}
    (trial,) = simulate([wanted], tmp_path, 1, lambda line: None)
    assert trial.speed_kmh.shape == (len(trial.sensors), 10) and not trial.incidents
    assert trial.flow_vph[:, 5:].mean() > 300 and 40 < np.nanmean(trial.speed_kmh) < 110
    assert 0 <= trial.occupancy.min() and trial.occupancy.max() <= 100
    assert is_kept(tmp_path / "motorway-5", wanted) and not is_kept(tmp_path / "motorway-5", wanted | {"incidents": 9})


def test_a_trial_that_cannot_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrialLost, match="nowhere"):
        simulate([{"ground": "nowhere", "seed": 1, "incidents": 0, "convoys": 0}], tmp_path, 1, lambda line: None)
