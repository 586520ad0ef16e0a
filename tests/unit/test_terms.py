"""What a rule's words mean: scope, exemptions, permits, checkpoints and places."""

import numpy as np
import pytest

from tests.rulekit import DAY_US, HOUR_US, NOON_US, ground, passage, registry, rule
from tests.world import EAST, WEST
from traffic.errors import SettingsError
from traffic.plates import CLASS_LARGE, CLASS_SMALL, CLASS_UNCERTAIN, plate_key
from traffic.vehicles.areas import parse_fence
from traffic.vehicles.ground import Vehicles
from traffic.vehicles.permits import NO_PERMITS, Permits, parse_permit
from traffic.vehicles.registry import KINDS, ROUTE_KINDS

GATES = np.array([1, 2, 3, 4, 99])


def fence(id: int = 1, centre: tuple[float, float] = (125.0, 43.5), radius_m: float = 500.0):
    shape = {"type": "Circle", "centre": list(centre), "radius_m": radius_m}
    return parse_fence({"id": id, "code": f"F{id}", "name": "围栏", "kind": "forbidden", "unit_id": 1, "shape": shape})


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ({}, [1, 2, 3, 4, 99]),
        ({"units": [WEST]}, [1, 2]),
        ({"units": [WEST, EAST]}, [1, 2, 3, 4]),
        ({"checkpoints": [2, 4]}, [2, 4]),
        ({"roads": [{"road": "G1", "from_stake_m": 10_000, "to_stake_m": 30_000}]}, [2, 3]),
        ({"roads": [{"road": "G1", "from_stake_m": None}]}, [1, 2, 3, 4]),
        ({"road_kinds": ["expressway"]}, [1, 2, 3, 4]),
        ({"road_kinds": ["urban"]}, []),
        ({"fences": [1]}, [1]),
        ({"units": [WEST], "checkpoints": [2, 4]}, [2]),
    ],
)
def test_every_field_of_a_scope_that_is_given_must_hold(scope, held):
    terms = rule(on=ground(fences={1: fence()}), scope=scope)
    assert GATES[terms.checkpoint_mask(GATES)].tolist() == held


def test_a_rule_of_a_unit_speaks_of_its_area_alone():
    assert GATES[rule(unit_id=EAST).checkpoint_mask(GATES)].tolist() == [3, 4]
    with pytest.raises(SettingsError, match="scope.units must lie inside"):
        rule(unit_id=EAST, scope={"units": [WEST]})


def test_a_stretch_in_one_direction_holds_the_checkpoint_in_that_direction_alone():
    terms = rule(scope={"roads": [{"road": "G1", "to_stake_m": 9_000, "direction": 2}]})
    assert terms.checkpoint_mask(np.array([1, 1, 1]), np.array([1, 2, 0])).tolist() == [False, True, True]


def test_positions_lie_in_a_fence_where_they_are_and_at_no_checkpoint():
    terms = rule(on=ground(fences={1: fence()}), scope={"fences": [1]})
    places = np.zeros(2, terms.ground.checkpoint_places.dtype)
    lon, lat = np.array([125.0, 126.0]), np.array([43.5, 43.5])
    assert terms.on_place(places, lon, lat).tolist() == [True, False]
    assert not rule(scope={"checkpoints": [1]}).on_place(places, lon, lat).any()


def vehicles(*plates: str, **fields) -> Vehicles:
    known = registry(
        {"plate": "吉A00001", "kind": KINDS.index("hazardous_goods"), "vehicle_class": 811},
        {
            "plate": "吉A00002",
            "kind": KINDS.index("tour_coach"),
            "route_kind": ROUTE_KINDS.index("airport"),
            "route_km": 80,
        },
        {
            "plate": "吉A00003",
            "kind": KINDS.index("tour_coach"),
            "route_kind": ROUTE_KINDS.index("airport"),
            "route_km": 180,
        },
        {"plate": "吉A00004", "kind": KINDS.index("tour_coach"), "route_kind": ROUTE_KINDS.index("airport")},
    )
    rows = np.concatenate([passage(plate, **fields) for plate in plates])
    return Vehicles.of_passages(rows, known)


PLATES = ("吉A00001", "吉A00002", "吉A00003", "吉A00004", "吉B99999", "辽A12345", "")


@pytest.mark.parametrize(
    ("scope", "meant"),
    [
        ({}, PLATES),
        ({"kinds": ["hazardous_goods"]}, PLATES[:1]),
        ({"kinds": ["tour_coach"], "plates_like": ["*2"]}, PLATES[1:2]),
        ({"class_groups": [2]}, ()),
        ({"class_groups": [1]}, PLATES),
        ({"vehicle_classes": ["H1"]}, PLATES[:1]),
        ({"vehicle_classes": ["H2", "K"]}, ()),
        ({"plates_like": ["吉A*"]}, PLATES[:4]),
        ({"plates_like": ["辽A12345", "吉?9999?"]}, PLATES[4:6]),
    ],
)
def test_a_scope_means_whom_it_names(scope, meant):
    mask = rule(scope=scope).concerns(vehicles(*PLATES))
    assert tuple(plate for plate, is_meant in zip(PLATES, mask, strict=True) if is_meant) == meant


def test_what_the_camera_saw_counts_before_the_registered_class():
    terms = rule(scope={"vehicle_classes": ["K"]})
    assert terms.concerns(vehicles("吉A00001", vehicle_class=1111)).all()


@pytest.mark.parametrize(
    ("exemptions", "exempt"),
    [
        ({}, ()),
        ({"plates": ["吉A00001", "辽*"]}, ("吉A00001", "辽A12345")),
        ({"kinds": ["tour_coach"]}, PLATES[1:4]),
        ({"route_kinds": ["airport", "high_speed_rail"]}, PLATES[1:4]),
        ({"route_kinds": ["airport"], "route_km_max": 100}, PLATES[1:2]),
        ({"route_kinds": ["relay"]}, ()),
        ({"permits": ["pass"]}, ()),
    ],
)
def test_an_exemption_takes_out_whom_it_names_and_unknown_lengths_prove_nothing(exemptions, exempt):
    terms, seen = rule(exemptions=exemptions), vehicles(*PLATES)
    times = np.full(len(PLATES), NOON_US)
    mask = terms.exempt(seen, times, np.zeros(len(PLATES), terms.ground.checkpoint_places.dtype), NO_PERMITS)
    assert tuple(plate for plate, is_exempt in zip(PLATES, mask, strict=True) if is_exempt) == exempt


# ---------------------------------------------------------------- permits
def permit(plate: str = "吉A00001", **fields):
    row = {
        "id": 1, "kind": "pass", "plate_key": plate_key(plate), "class_group": CLASS_LARGE, "valid_from_us": 0,
        "valid_to_us": 2 * NOON_US, "hours": [], "weekdays": [], "roads": [],
    }  # fmt: skip
    return parse_permit(row | fields, {"G1": 1})


def covered(
    *permits, times=(NOON_US,), plate: str = "吉A00001", group: int = CLASS_LARGE, stake_m: int = 5_000, road=1
):
    places = np.zeros(len(times), ground().checkpoint_places.dtype)
    places["road"], places["stake_m"], places["direction"] = road, stake_m, 1
    keys = np.full(len(times), plate_key(plate) << 3 | group)
    return Permits.of(permits).covers(["pass", "school_bus"], keys, np.array(times), places).tolist()


def test_a_permit_covers_its_vehicle_kind_and_span():
    assert covered(permit()) == [True]
    assert covered(permit("吉A00002"), permit("吉A00003")) == [False]
    assert covered(permit(kind="relay")) == [False]
    assert covered(permit(valid_to_us=NOON_US)) == [False] and covered(permit(valid_from_us=NOON_US)) == [True]
    assert covered(permit(), group=CLASS_UNCERTAIN) == [True] and covered(permit(), group=CLASS_SMALL) == [False]
    assert covered() == [False]


def test_a_permit_covers_its_hours_also_past_midnight_on_its_weekdays():
    midnight = NOON_US - NOON_US % DAY_US - 8 * HOUR_US + DAY_US  # Wednesday 2026-11-25 00:00 local
    times = tuple(midnight + hours * HOUR_US for hours in (-3, -1, 1, 3, 22, 25))
    tuesdays = permit(hours=[["22:00", "02:00"]], weekdays=[2])
    assert covered(tuesdays, times=times) == [False, True, True, False, False, False]
    twice = (tuesdays, permit(id=2, hours=[["21:00", "21:30"]]))
    assert covered(*twice, times=times) == [True, True, True, False, False, False]


def test_a_permit_covers_its_stretches_in_their_direction():
    up_to_9 = [{"road": "G1", "from_stake_m": 0, "to_stake_m": 9_000, "direction": 1}]
    assert covered(permit(roads=up_to_9)) == [True]
    assert covered(permit(roads=up_to_9), stake_m=9_001) == [False]
    assert covered(permit(roads=[up_to_9[0] | {"direction": 2}])) == [False]
    assert covered(permit(roads=up_to_9), road=0) == [False]
