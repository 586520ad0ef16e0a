"""What stands and drives on the model's roads beside checkpoints: invented by rule, at plausible stakes.

Called by `build_tables`; everything follows from its stretches and checkpoints, so that a run gives the same again.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from traffic import geo
from traffic.network import EXPRESSWAY, stake_text

DETECTORS = 420
STATIONS_EACH = 2  # a station counts both directions, each with a detector of its own
INTERCEPTION_POINTS, INSPECTION_STATIONS = 42, 28
SERVICE_EVERY_M = 50_000
CAMERA_EVERY_M = 12_000
SIGN_AHEAD_M = 2_000  # before an interchange
CREWS_OF_SQUADRON = 2
FLEETS = (  # kind, plate class (GA 24.7), how many, companies of a town
    ("tour_coach", 1, 24, "旅游客运有限公司"),
    ("scheduled_coach", 1, 36, "公路客运集团有限公司"),
    ("hazardous_goods", 1, 30, "危险货物运输有限公司"),
    ("heavy_truck", 1, 48, "物流有限公司"),
    ("minivan", 2, 12, "汽车租赁有限公司"),
    ("school_bus", 1, 10, "校车服务有限公司"),
)
TOWNS = (
    ("长春", "吉A", 100), ("吉林", "吉B", 200), ("四平", "吉C", 300), ("辽源", "吉D", 400), ("通化", "吉E", 500),
    ("白山", "吉F", 600), ("松原", "吉J", 700), ("白城", "吉G", 800), ("延边", "吉H", 2400),
)  # fmt: skip
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What objects are placed on. `owner_of`: road and point -> unit."""

    stretches: Sequence[Any]
    gates: Sequence[dict[str, Any]]
    borders: set[str]
    units: Sequence[dict[str, Any]]
    owner_of: Callable[[dict[str, str], geo.Point], int]
    county_of: Callable[[geo.Point], int]
    english: dict[str, str]

    def point(self, stretch: Any, stake_m: int) -> geo.Point:
        """Where a stake of a stretch lies."""
        begin, end = stretch.stakes_m
        return geo.along(stretch.line, (stake_m - begin) / (end - begin))[0]


def noise(*salt: object) -> float:
    """0..1, the same for the same salt."""
    return int.from_bytes(blake2b("/".join(map(str, salt)).encode(), digest_size=4).digest(), "little") / 2**32


def _lonlat(point: geo.Point) -> dict[str, str]:
    return {"lon": f"{point[0]:.5f}", "lat": f"{point[1]:.5f}"}


# ---------------------------------------------------------------- detectors
def detector_rows(ground: Ground) -> list[dict[str, object]]:
    """Stations by weighted length, one at least on every expressway stretch; a detector for each direction."""
    rows: list[dict[str, object]] = []
    for stretch, count in zip(ground.stretches, _stations(ground), strict=True):
        road = stretch.road
        for number in range(count):
            stake_m = _station_stake(stretch, number, count)
            point = ground.point(stretch, stake_m)
            county, text = ground.county_of(point), stake_text(stake_m)
            for direction in (1, 2):
                numbered = len(rows) + 1
                way, way_en = ("上行", "up") if direction == 1 else ("下行", "down")
                rows.append(
                    {
                        "id": numbered,
                        "code": f"{county}0000{'20' if road['kind'] == EXPRESSWAY else '21'}{numbered:08d}",
                        "name": f"{road['name']}{text}{way}检测器",
                        "name_en": f"{road['code']} {text} {way_en} detector",
                        "kind": ("loop", "radar", "video")[numbered // 2 % 3],
                        "road_id": road["id"],
                        "stake_m": stake_m,
                        "direction": direction,
                        "link_id": int(road["id"]) * 1000 + stretch.number * 10 + direction,
                        "lanes": road["lanes"],
                        **_lonlat(point),
                        "unit_id": ground.owner_of(road, point),
                    }
                )
    return rows


def _stations(ground: Ground) -> list[int]:
    total = DETECTORS // STATIONS_EACH
    counts = [1 if stretch.road["kind"] == EXPRESSWAY else 0 for stretch in ground.stretches]
    weights = [
        (stretch.stakes_m[1] - stretch.stakes_m[0])
        * float(stretch.road["checkpoint_weight"]) ** 0.5
        for stretch in ground.stretches
    ]  # fmt: skip
    for _ in range(total - sum(counts)):
        at = max(range(len(counts)), key=lambda place: weights[place] / (counts[place] + 0.5))
        counts[at] += 1
    return counts


def _station_stake(stretch: Any, number: int, count: int) -> int:
    begin, end = stretch.stakes_m
    share = (number + 0.5) / count + (noise("station", stretch.road["id"], stretch.number, number) - 0.5) * 0.3 / count
    return begin + int((end - begin) * share / 100) * 100


# ---------------------------------------------------------------- roadside objects
def object_rows(ground: Ground) -> list[dict[str, object]]:
    """Toll stations, service areas, message signs, cameras, interception points, inspection stations."""
    made = [*_toll_stations(ground), *_service_areas(ground), *_signs(ground), *_cameras(ground), *_posts(ground)]
    rows: list[dict[str, object]] = []
    counts: dict[str, int] = defaultdict(int)
    for kind, stretch, stake_m, direction, name, name_en, facts in made:
        counts[kind] += 1
        point = ground.point(stretch, stake_m)
        rows.append(
            {
                "id": len(rows) + 1,
                "kind": kind,
                "code": f"JL-{kind.upper().replace('_', '-')}-{counts[kind]:03d}",
                "name": name,
                "name_en": name_en,
                "road_id": stretch.road["id"],
                "stake_m": stake_m,
                "direction": direction,
                **_lonlat(point),
                "unit_id": ground.owner_of(stretch.road, point),
                "facts": facts,
            }
        )
    return rows


Made = tuple[str, Any, int, int, str, str, str]


def _inside(stretch: Any, stake_m: int) -> int:
    return min(max(stake_m, stretch.stakes_m[0]), stretch.stakes_m[1])


def _toll_stations(ground: Ground) -> list[Made]:
    """One at each interchange of the expressways; names of two roads at one place differ by the road."""
    found, seen = [], set()
    for stretch in ground.stretches:
        for place, stake_m in zip(stretch.places, stretch.stakes_m, strict=True):
            road = stretch.road
            if road["kind"] != EXPRESSWAY or (road["id"], place) in seen:
                continue
            seen.add((road["id"], place))
            border = place in ground.borders
            name = f"{place}{'省界主线' if border else ''}收费站"
            lanes = 6 + int(noise("toll", road["id"], place) * 8)
            english = f"{ground.english[place]} {'border ' if border else ''}toll station"
            facts = f'{{"entry_lanes": {lanes // 2}, "exit_lanes": {lanes - lanes // 2}}}'
            found.append(
                ("toll_station", stretch, stake_m, 0, f"{name}（{road['code']}）", f"{english} ({road['code']})", facts)
            )
    return found


def _service_areas(ground: Ground) -> list[Made]:
    """A pair each 50 km of expressway, named after the nearer place."""
    found: list[Made] = []
    since_m: dict[str, float] = defaultdict(lambda: SERVICE_EVERY_M / 2)
    for stretch in ground.stretches:
        if stretch.road["kind"] != EXPRESSWAY:
            continue
        begin, end = stretch.stakes_m
        code = stretch.road["code"]
        since_m[code] += end - begin
        if since_m[code] < SERVICE_EVERY_M:
            continue
        since_m[code] = 0.0
        stake_m = begin + int((end - begin) * 0.62 / 100) * 100
        for direction, side, side_en in ((1, "上行", "up"), (2, "下行", "down")):
            bays = 80 + int(noise("bays", code, stake_m, direction) * 120)
            facts = f'{{"truck_bays": {bays // 3}, "car_bays": {bays}, "charging_posts": {4 + bays // 20}}}'
            name = f"{stretch.places[1]}服务区（{side}）"
            found.append(
                (
                    "service_area",
                    stretch,
                    stake_m,
                    direction,
                    name,
                    f"{ground.english[stretch.places[1]]} service area ({side_en})",
                    facts,
                )
            )
    return found


def _signs(ground: Ground) -> list[Made]:
    """A message sign before the interchange that a stretch of expressway leads to, in each direction."""
    found: list[Made] = []
    for stretch in ground.stretches:
        begin, end = stretch.stakes_m
        if stretch.road["kind"] != EXPRESSWAY or end - begin < 3 * SIGN_AHEAD_M:
            continue
        for direction, stake_m in ((1, end - SIGN_AHEAD_M), (2, begin + SIGN_AHEAD_M)):
            text, code = stake_text(stake_m), stretch.road["code"]
            side, side_en = ("上行", "up") if direction == 1 else ("下行", "down")
            found.append(
                (
                    "message_sign",
                    stretch,
                    stake_m,
                    direction,
                    f"{stretch.road['name']}{text}{side}情报板",
                    f"{code} {text} {side_en} message sign",
                    '{"lines": 2, "characters": 12}',
                )
            )
    return found


def _cameras(ground: Ground) -> list[Made]:
    """Along expressways, and at one place of each other stretch."""
    found: list[Made] = []
    for stretch in ground.stretches:
        begin, end = stretch.stakes_m
        every_m = CAMERA_EVERY_M if stretch.road["kind"] == EXPRESSWAY else 3 * CAMERA_EVERY_M
        count = max(1, round((end - begin) / every_m))
        for number in range(count):
            stake_m = _inside(stretch, begin + int((end - begin) * (number + 0.5) / count / 100) * 100)
            text = stake_text(stake_m)
            found.append(
                (
                    "camera",
                    stretch,
                    stake_m,
                    0,
                    f"{stretch.road['name']}{text}监控",
                    f"{stretch.road['code']} {text} camera",
                    '{"ptz": true}',
                )
            )
    return found


def _posts(ground: Ground) -> list[Made]:
    """Where vehicles are stopped: near borders first, then spread over the checkpoints by road."""
    at_border = [gate for gate in ground.gates if _at_border(ground, gate)]
    others = [gate for gate in ground.gates if not _at_border(ground, gate)]
    others.sort(key=lambda gate: noise("post", gate["road"]["id"], gate["stake_m"]))
    found: list[Made] = []
    for gate in (at_border + others)[:INTERCEPTION_POINTS]:
        text = stake_text(gate["stake_m"])
        name = f"{gate['road']['name']}{text}拦截点"
        found.append(
            (
                "interception_point",
                gate["stretch"],
                gate["stake_m"],
                0,
                name,
                f"{gate['road']['code']} {text} interception point",
                '{"strength_min": 4, "spike_strips": 2}',
            )
        )
    for gate in (at_border + others[::-1])[:INSPECTION_STATIONS]:
        stretch = gate["stretch"]
        stake_m = _inside(stretch, gate["stake_m"] + 1_200)
        text = stake_text(stake_m)
        kind = "省际检查站" if _at_border(ground, gate) else "交警执法站"
        found.append(
            (
                "inspection_station",
                stretch,
                stake_m,
                0,
                f"{gate['road']['name']}{text}{kind}",
                f"{gate['road']['code']} {text} inspection station",
                '{"officers": 6, "lanes": 2}',
            )
        )
    return found


def _at_border(ground: Ground, gate: dict[str, Any]) -> bool:
    stretch = gate["stretch"]
    ends = zip(stretch.places, stretch.stakes_m, strict=True)
    return any(place in ground.borders and abs(gate["stake_m"] - stake_m) < 8_000 for place, stake_m in ends)


# ---------------------------------------------------------------- who drives
def crew_rows(ground: Ground) -> list[dict[str, object]]:
    """Two crews for each squadron that has a stretch of road; one for the others."""
    with_roads = {ground.owner_of(stretch.road, geo.along(stretch.line, 0.5)[0]) for stretch in ground.stretches}
    with_roads |= {gate["owner"] for gate in ground.gates}
    rows: list[dict[str, object]] = []
    for unit in ground.units:
        if int(unit["level"]) != 4:
            continue
        for number in range(CREWS_OF_SQUADRON if unit["id"] in with_roads else 1):
            row = len(rows) + 1
            rows.append(
                {
                    "id": row,
                    "code": f"{unit['id']}-{number + 1}",
                    "name": f"{unit['name'].removeprefix('高速公路')}{'一二三'[number]}组",
                    "name_en": f"{unit['name_en']} crew {number + 1}",
                    "unit_id": unit["id"],
                    "plate": f"吉{'ABCDEFGHJ'[row % 9]}{1000 + row:04d}警",
                }
            )
    return rows


def key_vehicle_rows() -> list[dict[str, object]]:
    """Fleets of coaches, lorries and buses, each vehicle of a company of a town."""
    rows: list[dict[str, object]] = []
    for kind, plate_class, count, company in FLEETS:
        for number in range(count):
            town, prefix, unit = TOWNS[number % len(TOWNS)]
            serial = int(noise("plate", kind, number) * 9_999)
            letter = _LETTERS[int(noise("letter", kind, number) * len(_LETTERS))]
            rows.append(
                {
                    "plate": f"{prefix}{letter}{serial:04d}",
                    "plate_class": plate_class,
                    "kind": kind,
                    "company": f"{town}{company}",
                    "unit_id": unit,
                }
            )
    return rows
