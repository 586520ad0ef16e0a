"""Beats: up and down a stretch of a road, as far as its stakes and the network go."""

import numpy as np
import pytest

from sim.beats import END_M, LOCAL_M, beat_along, beats_past, local_beats
from sim.casting import gates_of, grounds, watched_vehicles
from sim.loops import loops_of
from sim.population import Grounds, Population
from sim.roads import Roads
from traffic.clock import Clock
from traffic.demonstration import LIVELY_DETACHMENT, LIVELY_SQUADRON, watch_rows
from traffic.plates import fold
from traffic.province_tables import model_province
from traffic.units import UnitTree

PROVINCE = model_province()
TREE = UnitTree(PROVINCE.units, PROVINCE.parents, at=Clock().now())
GATES = {gate.id: gate for gate in PROVINCE.checkpoints}


@pytest.fixture(scope="module")
def roads() -> Roads:
    """Every link goes on into those that begin where it ends, but not into its own other direction."""
    begins: dict[tuple, list[str]] = {}
    for link in PROVINCE.links:
        begins.setdefault(link.geometry[0], []).append(str(link.id))
    after = {
        str(link.id): [edge for edge in begins.get(link.geometry[-1], []) if int(edge) // 10 != link.id // 10]
        for link in PROVINCE.links
    }
    return Roads(PROVINCE.links, after)


def driven_m(roads: Roads, run) -> float:
    return roads.length_m(run.route) - run.position_m - (roads.edges[run.route[-1]].length_m - run.arrival_m)


def test_a_local_beat_reaches_as_far_to_either_side_and_meets_its_checkpoint_both_ways(roads):
    beat = local_beats(PROVINCE.links, [GATES[141]], roads)[0]
    assert beat.length_m == 2 * LOCAL_M
    assert beat.gates == (LOCAL_M, 3 * LOCAL_M)
    loops = {(loop.direction, loop.edge): loop for loop in loops_of(PROVINCE.links, [GATES[141]])}
    for way, direction in zip(beat.ways, (1, 2), strict=True):
        assert way.enter_m < loops[direction, way.route[0]].position_m < way.leave_m


def test_a_beat_along_a_road_passes_all_checkpoints_of_a_unit(roads):
    gates = gates_of(PROVINCE, TREE, LIVELY_SQUADRON)
    beat = beat_along(PROVINCE.links, gates, roads)
    assert beat is not None and len(beat.gates) == 2 * len(gates)
    assert list(beat.gates) == sorted(beat.gates) and beat.gates[-1] < 2 * beat.length_m
    up = beat.run_from(0.0, roads)
    assert driven_m(roads, up) == pytest.approx(beat.length_m)
    assert driven_m(roads, beat.back_from(up.way, roads)) == pytest.approx(beat.length_m)


def test_from_any_place_there_is_a_run_that_ends_where_its_way_ends(roads):
    beat = beat_along(PROVINCE.links, gates_of(PROVINCE, TREE, LIVELY_SQUADRON), roads)
    assert beat is not None
    for place_m in np.linspace(-3 * beat.length_m, 3 * beat.length_m, 997):
        run = beat.run_from(float(place_m), roads)
        assert 0.0 <= run.position_m < roads.edges[run.route[0]].length_m
        assert driven_m(roads, run) >= END_M - 1e-6
        left_m = beat.length_m - float(place_m) % beat.length_m
        assert driven_m(roads, run) == pytest.approx(left_m if left_m >= END_M else beat.length_m, abs=1e-3)


def test_a_beat_never_crosses_a_gap_of_its_road(roads):
    gates = [gate for gate in PROVINCE.checkpoints if gate.road_id == 2]  # G12 runs together with the ring
    beat = beats_past(PROVINCE.links, gates, roads)[0]
    assert 0 < len(beat.gates) < 2 * len(gates)
    for way in beat.ways:
        assert all(later in roads.after(edge) for edge, later in zip(way.route, way.route[1:], strict=False))


def test_checkpoints_of_several_roads_get_a_beat_each_and_none_get_none(roads):
    gates = gates_of(PROVINCE, TREE, LIVELY_DETACHMENT)
    assert len(beats_past(PROVINCE.links, gates, roads)) == len(gates) > 5
    assert beats_past(PROVINCE.links, [], roads) == []


def test_who_has_a_beat_turns_round_at_its_end_and_watched_vehicles_stay_for_ever(roads):
    ground = grounds(PROVINCE, TREE, roads)
    people = Population(
        roads, loops_of(PROVINCE.links, PROVINCE.checkpoints), size=100, watched=watched_vehicles(), seed=3,
        grounds=Grounds(local=ground.local, local_share=0.4, keepers=ground.keepers),
    )  # fmt: skip
    begun = people.begin()
    assert sum(trip.beat is not None for trip in begun) == 40
    keepers = {trip.vehicle.plate: trip for trip in people.watched() if trip.beat is not None}
    assert set(keepers) == {fold(row["plate"]) for row in watch_rows() if row["keeps_to"]}
    for trip in keepers.values():
        (back,) = people.ended([trip.id])
        assert (back.beat, back.way, back.vehicle) == (trip.beat, 1 - trip.way, trip.vehicle)
        assert back.command()["arrival_m"] == back.arrival_m
    locals_ = [trip for trip in begun if trip.beat is not None]
    again = people.ended([trip.id for trip in locals_])
    assert [trip.beat for trip in again] == [trip.beat for trip in locals_]
    assert 0 < sum(new.vehicle == old.vehicle for new, old in zip(again, locals_, strict=True)) < 40
