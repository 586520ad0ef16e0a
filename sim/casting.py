"""Who plays in the demonstration, and where: watched vehicles, key vehicles, crews, and the grounds they keep to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim.beats import Beat, beats_past, local_beats
from sim.crews import Beat as Patrol
from sim.crews import Patrols, beats_of
from sim.places import Places
from sim.population import Grounds
from sim.roads import Roads
from sim.vehicles import KIND_OF_ID, KIND_OF_KEY, KINDS, Maker, Vehicle
from traffic.demonstration import LIVELY_DETACHMENT, LIVELY_SQUADRON, watch_rows
from traffic.geo import bounds, distance_m
from traffic.network import STAKES_INCREASE, Checkpoint, Link
from traffic.plates import fold
from traffic.province_tables import Province
from traffic.units import UnitTree

LOCAL_SHARE = 0.15  # of the ordinary vehicles stay about the checkpoints of a demonstration's detachment
POST_KINDS = frozenset({"interception_point", "inspection_station", "service_area", "toll_station"})
NEAREST_LINKS = 2  # a squadron without a road of the model patrols on so many that are next to it


def watched_vehicles() -> list[Vehicle]:
    """The vehicles of the demonstration's watch list, as they look."""
    found = []
    for row in watch_rows():
        kind = next(kind for kind in KINDS if _fits(kind.plate_class, kind.vehicle_classes, row))
        found.append(
            Vehicle(
                plate=fold(row["plate"]),
                plate_class=int(row["plate_class"]),
                plate_color=kind.plate_color,
                vehicle_class=row["vehicle_class"],
                body_color=int(row["body_color"]),
                kind=kind.id,
                speed_factor=1.0,
            )
        )
    return found


def _fits(plate_class: int, vehicle_classes: Sequence[str], row: dict[str, str]) -> bool:
    return plate_class == int(row["plate_class"]) and vehicle_classes[0][0] == row["vehicle_class"][0]


def fleet_vehicles(province: Province, seed: int) -> list[tuple[Vehicle, int]]:
    """The key vehicles of the registry that drive, as they are registered, each with its unit."""
    maker = Maker(np.random.default_rng([seed, 23]), [])
    found = []
    for row in province.key_vehicles:
        if row.drives:
            driven = maker.of(KIND_OF_ID[KIND_OF_KEY[row.kind]], plate=row.plate)
            looks = replace(driven, vehicle_class=row.vehicle_class, body_color=row.body_color)
            found.append((looks, row.unit_id))
    return found


def gates_of(province: Province, tree: UnitTree, unit: int) -> list[Checkpoint]:
    """The checkpoints of a unit and all below it."""
    below = tree.subtree(unit)
    return [gate for gate in province.checkpoints if gate.unit_id in below]


def grounds(province: Province, tree: UnitTree, roads: Roads) -> Grounds:
    """Who stays where in the demonstration, so that each of its logins has something to see."""

    def kept_to(unit: str) -> tuple[str, list[Beat]]:
        return unit, beats_past(province.links, gates_of(province, tree, int(unit)), roads)

    units = {row["keeps_to"]: kept_to(row["keeps_to"]) for row in watch_rows() if row["keeps_to"]}
    return Grounds(
        local=local_beats(province.links, gates_of(province, tree, LIVELY_DETACHMENT), roads),
        local_share=LOCAL_SHARE,
        keepers={fold(row["plate"]): units[row["keeps_to"]] for row in watch_rows() if row["keeps_to"]},
    )


def patrols(province: Province, tree: UnitTree, places: Places, seed: int) -> Patrols:
    """Every crew on a stretch of its squadron; where the model has no road of the squadron, on the nearest one."""
    of_unit: dict[int, list[Patrol]] = {}
    crews = []
    for crew in sorted(province.crews, key=lambda crew: crew.id):
        if crew.unit_id not in of_unit:
            of_unit[crew.unit_id] = _stretches(province, tree, places, crew.unit_id)
        own = of_unit[crew.unit_id]
        if own:
            crews.append((crew.id, crew.code, own[crew.id % len(own)]))
    lively = frozenset(tree.subtree(LIVELY_SQUADRON))
    return Patrols(
        crews, places, np.random.default_rng([seed, 29]),
        always_on=frozenset(crew.id for crew in province.crews if crew.unit_id in lively),
    )  # fmt: skip


def _stretches(province: Province, tree: UnitTree, places: Places, unit: int) -> list[Patrol]:
    links = [link for link in province.links if link.unit_id == unit] or _nearest(province, tree, unit)
    found = []
    for run in beats_of(links):
        length_m = float(sum(link.length_m for link in run))
        beat = Patrol(up=run, length_m=length_m)
        posts = [
            place
            for thing in province.objects
            if thing.kind in POST_KINDS
            and thing.road_id == run[0].road_id
            and (spot := places.spot(thing.road_id, thing.stake_m, STAKES_INCREASE)) is not None
            and (place := beat.place_of(spot, {})) is not None
        ]
        found.append(Patrol(up=run, length_m=length_m, posts_m=tuple(posts)))
    return found


def _nearest(province: Province, tree: UnitTree, unit: int) -> list[Link]:
    """Links next to the middle of the division that the unit, or one above it, polices."""
    line = [unit, *tree.ancestors(unit)]
    adcode = next((tree.units[one].adcode for one in line if tree.units[one].adcode), None)
    division = next((division for division in province.divisions if division.adcode == adcode), None)
    if division is None:
        return []
    west, south, east, north = bounds(division.boundary)
    middle = ((west + east) / 2, (south + north) / 2)
    ups = [link for link in province.links if link.direction == STAKES_INCREASE]
    ups.sort(key=lambda link: distance_m(link.geometry[len(link.geometry) // 2], middle))
    return ups[:NEAREST_LINKS]
