"""The SUMO network made of rows: lengths, loops and times are those of the stakes."""

from dataclasses import replace

import pytest

from sim.casting import watched_vehicles
from sim.engine_process import EngineLost, EngineProcess
from sim.loops import loops_of
from sim.netbuild import NetworkNotBuilt, build
from sim.population import Population
from sim.roads import Roads
from sim.vehicles import KINDS
from traffic.province_tables import model_province

PROVINCE = model_province()
TYPES = [{"id": "car", "length_m": 4.6, "speed_kmh_max": 200.0, "accel_ms2": 2.6}]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(PROVINCE.links, PROVINCE.checkpoints, cache=tmp_path_factory.mktemp("sumo"))


def start_of(built) -> dict:
    return {
        "network": str(built.network),
        "loops_file": str(built.loops_file),
        "seed": 1,
        "step_s": 1.0,
        "types": TYPES,
    }


def test_each_checkpoint_has_a_loop_on_every_lane_of_both_directions(built):
    loops = built.loops.values()
    for gate in PROVINCE.checkpoints:
        found = {(loop.direction, loop.lane) for loop in loops if loop.checkpoint == gate.id}
        assert found == {(direction, lane) for direction in (1, 2) for lane in range(1, gate.lanes + 1)}
    links = {str(link.id): link for link in PROVINCE.links}
    gates = {gate.id: gate for gate in PROVINCE.checkpoints}
    for loop in loops:
        link, gate = links[loop.edge], gates[loop.checkpoint]
        assert loop.position_m == pytest.approx(abs(gate.stake_m - link.from_stake_m), abs=1.0)
        assert (link.road_id, link.direction) == (gate.road_id, loop.direction)


def test_the_same_rows_are_built_once_and_other_rows_anew(built):
    cache = built.network.parent.parent
    written = built.network.stat().st_mtime_ns
    assert build(PROVINCE.links, PROVINCE.checkpoints, cache=cache).network.stat().st_mtime_ns == written
    slower = [replace(PROVINCE.links[0], limit_kmh=60), *PROVINCE.links[1:]]
    assert build(slower, PROVINCE.checkpoints, cache=cache).network != built.network
    assert not list(cache.glob("build-*"))


def test_rows_that_make_no_network_are_told_in_a_sentence(tmp_path):
    link = PROVINCE.links[0]
    for rows in ([], [link, link]):
        with pytest.raises(NetworkNotBuilt, match="id of its own"):
            build(rows, [], cache=tmp_path)
    with pytest.raises(NetworkNotBuilt, match="netconvert"):
        build([replace(link, lanes=-1)], [], cache=tmp_path)
    assert loops_of(PROVINCE.links, []) == []
    assert not list(tmp_path.iterdir())


def test_nearly_every_edge_can_be_reached_from_nearly_every_other(built):
    roads = Roads(PROVINCE.links, built.after)
    reached = [roads.route("1041", edge) is not None for edge in roads.edges]
    assert sum(reached) >= 0.95 * len(reached)


async def test_a_vehicle_takes_the_time_that_stakes_and_speed_say(built):
    sections = {(s.from_checkpoint, s.to_checkpoint): s for s in PROVINCE.sections}
    section = sections[6, 7]
    first, last = built.loops["6-1-1"], built.loops["7-1-1"]
    assert first.edge == last.edge and last.position_m - first.position_m == section.length_m
    engine = await EngineProcess.start(start_of(built))
    try:
        trip = {"id": "a", "type": "car", "route": [first.edge], "position_m": 0.0, "speed_factor": 1.0}
        stretch = await engine.run([trip], 900)
    finally:
        await engine.close()
    times = {loop.split("-")[0]: at_s for loop, name, at_s, _, _ in stretch.crossings if name == "a"}
    speeds_ms = [speed for _, _, _, speed, _ in stretch.crossings]
    assert section.length_m / (times["7"] - times["6"]) == pytest.approx(sum(speeds_ms) / len(speeds_ms), rel=0.03)
    assert 0.9 * section.limit_kmh < section.length_m / (times["7"] - times["6"]) * 3.6 <= section.limit_kmh


async def test_the_same_seed_gives_the_same_crossings_and_a_route_with_a_gap_is_refused(built):
    def population() -> Population:
        return Population(
            Roads(PROVINCE.links, built.after), list(built.loops.values()), size=60, watched=watched_vehicles(), seed=7
        )

    async def drive() -> tuple:
        engine = await EngineProcess.start(start_of(built) | {"types": [{**TYPES[0], "id": k.id} for k in KINDS]})
        try:
            people = population()
            trips = [trip.command() for trip in people.begin() + people.watched()]
            gap = {"id": "gap", "type": "car", "route": ["1041", "39011"], "position_m": 0.0, "speed_factor": 1.0}
            return await engine.run([*trips, gap], 200)
        finally:
            await engine.close()

    one, two = await drive(), await drive()
    assert one.refused == ("gap",)
    assert one.running == 60 + len(watched_vehicles()) - len(one.ended)
    assert len(one.crossings) > 5 and one.crossings == two.crossings


async def test_a_simulation_that_cannot_start_or_dies_is_told(built, tmp_path):
    with pytest.raises(EngineLost, match="ended"):
        await EngineProcess.start(start_of(built) | {"network": str(tmp_path / "none.xml")})
    engine = await EngineProcess.start(start_of(built))
    engine._process.kill()
    with pytest.raises(EngineLost):
        await engine.run([], 1)
