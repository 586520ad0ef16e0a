"""Records as sightings: where each was, what its place is like, and which rules speak of it."""

import numpy as np

from traffic import findings
from traffic.limits import LATENESS_S
from traffic.nearest import Found
from traffic.plates import vehicle_keys
from traffic.positions import PLACE, PlaceIndex
from traffic.road_readings import Subject
from traffic.vehicles.ground import Vehicles
from traffic.vehicles.keyed import shapes
from traffic.vehicles.keyed.rules import KeyedRules, Seen, is_about
from traffic.vehicles.keyed.surroundings import border_m
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.usual_times import hours_of

_HIGHWAYS = ("expressway", "trunk")
_BORDER_M_MAX = 30_000
_STILL_KMH = 20.0  # faster nobody stands
_COLUMNS = (
    (findings.DRIVING_TIME, "driving_rule"),
    (findings.NIGHT_RUNNING, "night_rule"),
    (findings.OVERSPEED, "overspeed_rule"),
    (findings.LONG_STOP, "stop_rule"),
    (findings.ROUTE_DEVIATION, "route_rule"),
    (findings.OVERDUE_ARRIVAL, "overdue_rule"),
    (findings.POSITION_MISMATCH, "mismatch_rule"),
)
_KINDS_OF_POSITIONS = frozenset(kind for kind, _ in _COLUMNS)
_KINDS_OF_PASSAGES = _KINDS_OF_POSITIONS - {findings.OVERSPEED, findings.LONG_STOP}


def sightings_of(
    book: RuleBook, rules: KeyedRules, passages: np.ndarray, positions: np.ndarray, alarms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vehicle keys, SIGHTINGs, received_at) of the records of registered vehicles that came within the lateness."""
    positions = positions[positions["subject_kind"] == Subject.VEHICLE] if len(positions) else positions
    parts = [
        (vehicle_keys(passages["plate_key"], passages["plate_class"]), passages, of_passages),
        ((positions["subject"] << 3) | positions["class_group"], positions, of_positions),
        ((alarms["plate_key"] << 3) | alarms["class_group"], alarms, of_alarms),
    ]
    keys, found, received = [], [], []
    for of_part, rows, make in parts:
        if not len(rows):
            continue
        vehicles = Vehicles.of_keys(of_part, rules.registry)
        wanted = (vehicles.row >= 0) & (rows["received_at"] - rows["observed_at"] <= LATENESS_S * 1_000_000)
        if not wanted.all():
            rows, vehicles = rows[wanted], vehicles.take(wanted)
        if len(rows):
            keys.append(vehicles.keys)  # as the record names it: that is what its partition goes by
            found.append(make(book, rules, rows, vehicles))
            received.append(rows["received_at"])
    if not keys:
        return np.empty(0, np.int64), np.empty(0, shapes.SIGHTING), np.empty(0, np.int64)
    return np.concatenate(keys), np.concatenate(found), np.concatenate(received)


def of_passages(book: RuleBook, rules: KeyedRules, rows: np.ndarray, vehicles: Vehicles) -> np.ndarray:
    """PASSAGE rows as sightings."""
    lon, lat = rules.ground.points(rows["checkpoint"])
    places = rules.ground.places(rows["checkpoint"], rows["direction"])
    made = _sightings(shapes.PASSAGE, rows, places, (lon, lat))
    made["source"] = rows["source_hash"]
    made["checkpoint"], made["lane"] = rows["checkpoint"], rows["lane"]
    made["direction"] = rows["direction"]
    seen = _seen(rows, vehicles, places, (lon, lat), rows["checkpoint"])
    _put_rules(rules, made, seen, _KINDS_OF_PASSAGES)
    expected = np.flatnonzero(made["overdue_rule"])
    if len(expected):
        made["value"][expected] = _allowed_s(book, rules, made[expected])
    return made


def of_positions(book: RuleBook, rules: KeyedRules, rows: np.ndarray, vehicles: Vehicles) -> np.ndarray:
    """POSITION rows of vehicles as sightings."""
    lon, lat = _points(rows)
    places, limits = find_places(book.places, lon, lat, rows["speed_kmh"], rows["bearing_deg"])
    made = _sightings(shapes.POSITION, rows, places, (lon, lat))
    made["source"] = _content(made)
    made["direction"] = places["direction"]
    made["limit_kmh"] = limits
    seen = _seen(rows, vehicles, places, (lon, lat), np.zeros(len(rows), np.int32))
    _put_rules(rules, made, seen, _KINDS_OF_POSITIONS)
    made["flags"][_standing_matters(rules, made, lon, lat)] |= shapes.STANDING_MATTERS
    return made


def of_alarms(book: RuleBook, rules: KeyedRules, rows: np.ndarray, vehicles: Vehicles) -> np.ndarray:
    """ALARM rows as sightings."""
    lon, lat = _points(rows)
    places, _ = find_places(book.places, lon, lat, rows["speed_kmh"], np.full(len(rows), np.nan))
    made = _sightings(shapes.ALARM, rows, places, (lon, lat))
    made["value"] = (rows["bits"] & 0xFFFFFFFF).astype(np.uint32)
    made["source"] = rows["bits"] & 0xFFFFFFFF
    made["direction"] = places["direction"]
    seen = _seen(rows, vehicles, places, (lon, lat), np.zeros(len(rows), np.int32))
    made["alarm_rule"] = rules.speaking(findings.DEVICE_ALARM, seen, np.arange(len(rows)))
    return made


def find_places(
    index: PlaceIndex | None, lon: np.ndarray, lat: np.ndarray, speed_kmh: np.ndarray, bearing_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PlaceIndex.find, with a kernel in the place of its search, and the limit there (0: not known)."""
    limits = np.zeros(len(lon), np.int64)
    if index is None:
        return np.zeros(len(lon), PLACE), limits
    from traffic.vehicles.keyed.kernels import places

    def search(lon: np.ndarray, lat: np.ndarray, bearing: np.ndarray) -> Found:
        row, stake_m, away_m, limits[:] = places.nearest(
            index.pieces, index.limits_kmh, lon, lat, np.asarray(bearing, np.float64)
        )
        return Found(row=row, stake_m=stake_m, away_m=away_m)

    return index.find(lon, lat, speed_kmh, bearing_deg, search=search), limits


def _points(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude; 0, 0 (nowhere) where they are no place on earth."""
    good = (np.abs(rows["lon"]) <= 180.0) & (np.abs(rows["lat"]) <= 90.0)
    return np.where(good, rows["lon"], 0.0), np.where(good, rows["lat"], 0.0)


def _sightings(kind: int, rows: np.ndarray, places: np.ndarray, points: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    made = np.zeros(len(rows), shapes.SIGHTING)
    made["kind"] = kind
    made["at"], made["speed_kmh"] = rows["observed_at"], rows["speed_kmh"]
    for name, values in zip(("lon_e6", "lat_e6"), points, strict=True):
        made[name] = np.rint(np.nan_to_num(values) * 1e6).astype(np.int32)  # NaN: a checkpoint that nobody knows
    for name in ("road", "stake_m", "unit"):
        made[name] = places[name]
    return made


def _content(made: np.ndarray) -> np.ndarray:
    """A number of what a position says: of two of one time the same one is first in any order of arrival."""
    speed = np.nan_to_num(np.clip(made["speed_kmh"], -1.0, 1e4), nan=-1.0).astype(np.int64) & 0x3FFF
    return (made["lon_e6"].astype(np.int64) << 32) ^ (made["lat_e6"].astype(np.int64) << 4) ^ speed


def _seen(
    rows: np.ndarray,
    vehicles: Vehicles,
    places: np.ndarray,
    points: tuple[np.ndarray, np.ndarray],
    checkpoints: np.ndarray,
) -> Seen:
    return Seen(
        vehicles=vehicles,
        times_us=rows["observed_at"],
        received_us=rows["received_at"],
        checkpoints=checkpoints,
        places=places,
        lon=points[0],
        lat=points[1],
    )


def _put_rules(rules: KeyedRules, made: np.ndarray, seen: Seen, kinds: frozenset[str]) -> None:
    everyone = np.arange(len(made))
    for kind, column in _COLUMNS:
        if kind in kinds and rules.of_kind[kind]:
            made[column] = rules.speaking(kind, seen, everyone)
    if rules.fences.fences:
        _put_fences(rules, made, seen)
    routed = np.flatnonzero(made["route_rule"])
    if len(routed):
        made["flags"][routed] |= _routes(rules, made[routed], seen.take(routed))


def _standing_matters(rules: KeyedRules, made: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Numbers of the positions that are on an expressway or trunk road and in no place for standing."""
    highways = [road for road, kind in rules.ground.road_kinds.items() if kind in _HIGHWAYS]
    at = np.flatnonzero((made["stop_rule"] != 0) & ~(made["speed_kmh"] > _STILL_KMH))
    at = at[np.isin(made["road"][at], highways)]
    return at[~rules.parking.inside(lon[at], lat[at])]


def _put_fences(rules: KeyedRules, made: np.ndarray, seen: Seen) -> None:
    """Of the fences near each sighting under a rule the two whose inside is nearest."""
    meant = np.logical_or.reduce([rules.concerned[terms.id] for terms in rules.of_kind[findings.GEOFENCE]])
    placed = np.flatnonzero(np.isfinite(seen.lon) & meant[seen.vehicles.row])
    for number, points in rules.fences.near(seen.lon[placed], seen.lat[placed]).items():
        fence = rules.fences.fences[number]
        at = placed[points]
        away = border_m(fence, seen.lon[at], seen.lat[at])
        taken = np.zeros(len(at), bool)
        for terms in rules.of_kind[findings.GEOFENCE]:
            if not is_about(terms, fence):
                continue
            near = np.flatnonzero(~taken & (away <= terms.parameters.margin_m))
            near = near[np.isin(at[near], rules.meant(terms, seen, at[near], anywhere=False))]
            taken[near] = True
            _put_fence(made, at[near], away[near], (fence.id, terms.id))


def _put_fence(made: np.ndarray, at: np.ndarray, away: np.ndarray, names: tuple[int, int]) -> None:
    metres = np.clip(np.where(away > 0, np.ceil(away), np.floor(away)), -_BORDER_M_MAX, _BORDER_M_MAX).astype(np.int16)
    first = (made["fence_a"][at] == 0) | (metres < made["fence_a_m"][at])
    moved = at[first & (made["fence_a"][at] != 0)]
    for name in ("fence_{}", "fence_{}_rule", "fence_{}_m"):
        made[name.format("b")][moved] = made[name.format("a")][moved]
    second = ~first & ((made["fence_b"][at] == 0) | (metres < made["fence_b_m"][at]))
    for slot, chosen in (("a", first), ("b", second)):
        where = at[chosen]
        made[f"fence_{slot}"][where], made[f"fence_{slot}_rule"][where] = names
        made[f"fence_{slot}_m"][where] = metres[chosen]


def _routes(rules: KeyedRules, made: np.ndarray, seen: Seen) -> np.ndarray:
    """Flags of what a vehicle's route permits say of each sighting on a known road."""
    flags = np.zeros(len(made), np.uint8)
    for number in np.unique(made["route_rule"]).tolist():
        parameters = rules.by_number[number].parameters
        at = np.flatnonzero((made["route_rule"] == number) & (made["road"] != 0))
        some = seen.take(at)
        held = rules.routes.held(some.vehicles.keys, some.times_us, some.places, parameters.margin_m)
        without = shapes.ROUTE_NONE if parameters.permit_needed else 0
        flags[at] = np.where(
            held[:, 2],
            shapes.ROUTE_KEPT,
            np.where(held[:, 1], shapes.ROUTE_HOURS, np.where(held[:, 0], shapes.ROUTE_LEFT, without)),
        )
    return flags


def _allowed_s(book: RuleBook, rules: KeyedRules, made: np.ndarray) -> np.ndarray:
    """Seconds within which each vehicle is due at the next checkpoint; 0: at none, or its usual time is not known."""
    gates = made["checkpoint"].astype(np.int64) * 4 + made["direction"]
    then = np.array([rules.next_of_gate.get(gate, 0) for gate in gates.tolist()], np.int64)
    allowed = np.zeros(len(made), np.uint32)
    for number in np.unique(made["overdue_rule"]).tolist():
        parameters = rules.by_number[number].parameters
        at = np.flatnonzero((made["overdue_rule"] == number) & (then != 0))
        start, hours = made["checkpoint"][at], hours_of(made["at"][at])
        usual = book.usual.quantile_s(start, then[at], hours, parameters.quantile)
        known = np.isfinite(usual) & (usual > 0) & (book.usual.between_m(start, then[at]) <= parameters.distance_m_max)
        allowed[at[known]] = (usual[known] + parameters.margin_s).astype(np.uint32)
    return allowed
