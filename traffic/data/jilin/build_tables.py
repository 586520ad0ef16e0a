"""Make the model province's tables from those written by hand: names, places, roads and boundaries.

    python -m traffic.data.jilin.build_tables

Writes links.csv, chainage.csv, units.csv, unit_parents.csv, checkpoints.csv, sections.csv and what `build_objects`
makes of them: detectors.csv, objects.csv, crews.csv; and what `build_registry` makes. The ids in them are facts that
other tables point to: a change of the hand-written tables may move them, so the result is committed and read as it is.
"""

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from traffic import geo
from traffic.data.jilin import build_objects, build_registry
from traffic.network import EXPRESSWAY, stake_text

FOLDER = Path(__file__).resolve().parent
CHECKPOINTS = 197
CURVE_STEP_M = 2_000.0
TRUNK_BOW = 0.05  # trunk roads swing sideways by this share of the chord, so that they do not lie on an expressway
SHORT_PAIRS = (("G1", 4), ("G1", 9), ("G12", 4), ("G12", 14), ("G0102", 1), ("G25", 0), ("G1112", 6), ("G1212", 5))
SHORT_M = (4_500, 5_200, 6_000, 4_800, 5_600, 7_200, 4_200, 6_600)
EPOCH, MERGED = "2015-01-01T00:00:00+08:00", "2020-06-19T00:00:00+08:00"  # 公主岭 went from 四平 to 长春
GONGZHULING, SIPING, CHANGCHUN = 184, 300, 100
CORPS, EXPRESSWAY_DETACHMENT = 1, 9900
SECTION_M_MAX = 60_000
BORDER_M = 3_000  # how far from the province's border its checkpoints stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A road between two neighbouring places, in direction 1."""

    road: dict[str, str]
    number: int  # within its road
    part: int  # grows where the road runs together with another one
    piece: int  # grows where the stakes jump (断链)
    places: tuple[str, str]
    stakes_m: tuple[int, int]
    line: tuple[geo.Point, ...]


def read(name: str) -> list[dict[str, str]]:
    """Rows of a table."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(name: str, rows: list[dict[str, object]]) -> None:
    """Write a table; the first row names the columns."""
    with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


class Map:
    """Which county a point lies in."""

    def __init__(self) -> None:
        shapes = json.loads((FOLDER / "boundaries.json").read_text(encoding="utf-8"))["divisions"]
        self._counties = {
            int(row["adcode"]): (geo.bounds(shapes[row["adcode"]]), shapes[row["adcode"]])
            for row in read("names.csv")
            if row["level"] == "3"
        }

    def county(self, point: geo.Point) -> int:
        """Adcode; a point that the simplified border leaves outside belongs to the county with the nearest border."""
        for adcode, ((west, south, east, north), shape) in self._counties.items():
            if west <= point[0] <= east and south <= point[1] <= north and geo.contains(shape, point):
                return adcode
        return min(self._counties, key=lambda adcode: self._away_m(adcode, point))

    def _away_m(self, adcode: int, point: geo.Point) -> float:
        shape = self._counties[adcode][1]
        polygons = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        return min(geo.distance_m(point, (x, y)) for polygon in polygons for ring in polygon for x, y in ring)


def stretches(roads: Iterable[dict[str, str]], places: dict[str, geo.Point]) -> list[Stretch]:
    """Curves through the places of each road, with stakes in whole hundreds of metres."""
    found: list[Stretch] = []
    jumps = {(row["road_id"], row["after_place"]): int(row["jump_m"]) for row in read("breaks.csv")}
    for road in roads:
        stake_m, number, before, piece = int(road["start_stake_m"]), 0, "", 0
        for part, text in enumerate(road["places"].split("|")):
            names = text.split()
            if before:
                stake_m += _hundreds(geo.distance_m(places[before], places[names[0]]) * float(road["winding"]))
            for pair, line in zip(zip(names, names[1:], strict=False), _curves(road, names, places), strict=True):
                if jump_m := jumps.get((road["id"], pair[0])):
                    stake_m, piece = stake_m + jump_m, piece + 1
                end_m = stake_m + _hundreds(geo.line_length_m(line) * float(road["winding"]))
                found.append(
                    Stretch(
                        road=road,
                        number=number,
                        part=part,
                        piece=piece,
                        places=pair,
                        stakes_m=(stake_m, end_m),
                        line=tuple(line),
                    )  # fmt: skip
                )
                stake_m, number = end_m, number + 1
            before = names[-1]
    return found


def _curves(road: dict[str, str], names: list[str], places: dict[str, geo.Point]) -> list[list[geo.Point]]:
    points = [places[name] for name in names]
    if road["kind"] == EXPRESSWAY:
        return geo.smooth(points, CURVE_STEP_M)
    bent = [points[0]]
    for number, (a, b) in enumerate(zip(points, points[1:], strict=False)):
        side = TRUNK_BOW if number % 2 else -TRUNK_BOW
        scale = math.cos(math.radians(a[1]))
        middle = ((a[0] + b[0]) / 2 - (b[1] - a[1]) / scale * side, (a[1] + b[1]) / 2 + (b[0] - a[0]) * scale * side)
        bent += [middle, b]
    halves = geo.smooth(bent, CURVE_STEP_M)
    return [[*halves[i], *halves[i + 1][1:]] for i in range(0, len(halves), 2)]


def _hundreds(length_m: float) -> int:
    return max(100, round(length_m / 100) * 100)


def expressway_brigade(county: int) -> int:
    """Unit id of the expressway brigade of the prefecture that a county belongs to."""
    prefectures = [int(row["adcode"]) for row in read("names.csv") if row["level"] == "2"]
    return EXPRESSWAY_DETACHMENT + 1 + prefectures.index(county // 100 * 100)


def county_brigade(county: int) -> int:
    """Unit id of a county's brigade."""
    return county % 10_000


def chainage_rows(found: list[Stretch]) -> list[dict[str, object]]:
    """Runs of stakes without a jump, with the true distance from the begin of the road."""
    rows: dict[tuple[str, int], dict[str, object]] = {}
    lost_m: Counter[str] = Counter()  # stakes that a road's breaks made too large
    for before, stretch in zip([None, *found], found, strict=False):
        road = stretch.road["id"]
        if before is not None and before.road is stretch.road and before.piece != stretch.piece:
            lost_m[road] += stretch.stakes_m[0] - before.stakes_m[1]
        from_m = stretch.stakes_m[0] - int(stretch.road["start_stake_m"]) - lost_m[road]
        first = {"road_id": road, "piece": stretch.piece, "from_stake_m": stretch.stakes_m[0]}
        row = rows.setdefault((road, stretch.piece), first | {"to_stake_m": 0, "from_m": from_m})
        row["to_stake_m"] = stretch.stakes_m[1]
    return list(rows.values())


def squadron_of(road: dict[str, str], county: int, units: set[int]) -> int:
    """Whose stretch a road in a county is: a squadron's, or its brigade's where it has none on that road."""
    if road["kind"] != EXPRESSWAY:
        return county_brigade(county) * 100 + 2
    brigade = expressway_brigade(county)
    squadron = brigade * 100 + int(road["id"])
    return squadron if squadron in units else brigade


def link_rows(found: list[Stretch], land: Map, units: set[int]) -> list[dict[str, object]]:
    """One row for each stretch; the loader makes both directions of it."""
    rows: list[dict[str, object]] = []
    for stretch in found:
        middle, _ = geo.along(stretch.line, 0.5)
        rows.append(
            {
                "road_id": stretch.road["id"],
                "number": stretch.number,
                "piece": stretch.piece,
                "from_place": stretch.places[0],
                "to_place": stretch.places[1],
                "from_stake_m": stretch.stakes_m[0],
                "to_stake_m": stretch.stakes_m[1],
                "unit_id": squadron_of(stretch.road, land.county(middle), units),
                "geometry": " ".join(f"{lon:.5f},{lat:.5f}" for lon, lat in stretch.line),
            }
        )
    return rows


def chosen_stakes(found: list[Stretch], borders: set[str]) -> list[tuple[Stretch, int]]:
    """Where the checkpoints stand: near borders, in short measured pairs, the rest evenly by weighted length."""
    by_road: dict[str, list[Stretch]] = defaultdict(list)
    for stretch in found:
        by_road[stretch.road["code"]].append(stretch)
    chosen: dict[str, set[tuple[int, int]]] = {code: set() for code in by_road}
    shares = _shares(by_road, CHECKPOINTS - len(SHORT_PAIRS))
    for code, count in shares.items():
        line = by_road[code]
        total = sum(stretch.stakes_m[1] - stretch.stakes_m[0] for stretch in line)
        for number in range(count):
            along_m = (number + 0.5) / count * total
            if number == 0 and line[0].places[0] in borders:
                along_m = BORDER_M
            elif number == count - 1 and line[-1].places[1] in borders:
                along_m = total - BORDER_M
            chosen[code].add(_clear(line, along_m, f"{code}/{number}"))
    for (code, number), length_m in zip(SHORT_PAIRS, SHORT_M, strict=True):
        _add_pair(by_road[code][number], chosen[code], length_m)
    return [(by_road[code][number], stake) for code in by_road for number, stake in sorted(chosen[code])]


def _shares(by_road: dict[str, list[Stretch]], total: int) -> dict[str, int]:
    """Largest remainders of the weighted lengths."""
    weights = {
        code: sum(stretch.stakes_m[1] - stretch.stakes_m[0] for stretch in line)
        * float(line[0].road["checkpoint_weight"])
        for code, line in by_road.items()
    }
    exact = {code: weight / sum(weights.values()) * total for code, weight in weights.items()}
    counts = {code: int(value) for code, value in exact.items()}
    for code in sorted(exact, key=lambda code: counts[code] - exact[code])[: total - sum(counts.values())]:
        counts[code] += 1
    return counts


def _clear(line: list[Stretch], along_m: float, salt: str) -> tuple[int, int]:
    """(stretch number, stake): about `along_m` from the road's start, a bit away from places, in whole hundreds."""
    for stretch in line:
        length = stretch.stakes_m[1] - stretch.stakes_m[0]
        if along_m <= length or stretch is line[-1]:
            shift = blake2b(salt.encode(), digest_size=1).digest()[0] / 255 * 2_400 - 1_200
            margin = min(2_000.0, length / 3)
            offset = min(max(along_m + shift, margin), length - margin)
            return stretch.number, stretch.stakes_m[0] + int(offset / 100) * 100
        along_m -= length
    raise AssertionError("a road without stretches")


def _add_pair(stretch: Stretch, chosen: set[tuple[int, int]], length_m: int) -> None:
    """A second checkpoint `length_m` from one on the stretch, with nothing between them."""
    stakes = sorted(stake for number, stake in chosen if number == stretch.number)
    if not stakes:
        raise SystemExit(f"{stretch.road['code']} stretch {stretch.number} ({stretch.places}) has no checkpoint")
    for stake in stakes:
        for other in (stake + length_m, stake - length_m):
            low, high = sorted((stake, other))
            inside = stretch.stakes_m[0] + 500 <= low and high <= stretch.stakes_m[1] - 500
            if inside and not any(low < third < high for third in stakes):
                chosen.add((stretch.number, other))
                return
    raise SystemExit(f"{stretch.road['code']} stretch {stretch.number} ({stretch.places}) is too short for a pair")


def unit_rows(gates: list[dict], names: list[dict[str, str]]) -> tuple[list[dict], list[dict]]:
    """Units and their parents; `gates` say which expressway brigades have squadrons on which road."""
    units: list[dict] = []
    parents: list[dict] = []

    def add(unit: tuple[int, str, str, str, int], parent: int | None, *, branch: str, adcode: object = "") -> None:
        number, code, name, name_en, level = unit
        row = {"id": number, "code": code, "name": name, "name_en": name_en, "level": level, "branch": branch}
        units.append({**row, "adcode": adcode, "valid_from": EPOCH, "valid_to": ""})
        if parent is not None:
            for start, end, above in _terms(number, parent):
                parents.append({"unit_id": number, "parent_id": above, "valid_from": start, "valid_to": end})

    corps = (CORPS, "220000000400", "吉林省公安厅交通管理总队", "Jilin Traffic Police Corps", 1)
    add(corps, None, branch="territorial", adcode=220000)
    cities = {row["adcode"]: row["name"] for row in names}
    for row in names:
        for unit, parent in _territorial(row, cities.get(row["parent"], "")):
            add(unit, parent, branch="territorial", adcode=row["adcode"] if unit[4] < 4 else "")
    for unit, parent in _expressway(gates, names):
        add(unit, parent, branch="expressway")
    return units, parents


def _terms(number: int, parent: int) -> list[tuple[str, str, int]]:
    """The brigade of 公主岭 followed its city from 四平 to 长春 in June 2020."""
    if number == GONGZHULING:
        return [(EPOCH, MERGED, SIPING), (MERGED, "", CHANGCHUN)]
    return [(EPOCH, "", parent)]


def _territorial(row: dict[str, str], city: str) -> Iterable[tuple[tuple[int, str, str, str, int], int]]:
    adcode, number = int(row["adcode"]), county_brigade(int(row["adcode"]))
    name, name_en = row["name"], row["name_en"]
    if row["level"] == "2":
        yield (number, f"{adcode}000400", f"{name}公安局交通警察支队", f"{name_en} Detachment", 2), CORPS
    if row["level"] == "3":
        parent = county_brigade(adcode // 100 * 100)
        full = f"{city}公安局交通警察支队{name}大队" if name.endswith("区") else f"{name}公安局交通警察大队"
        yield (number, f"{adcode}000400", full, f"{name_en} Brigade", 3), parent
        for place, (short, english) in enumerate((("城区", "Urban"), ("公路", "Highway")), start=1):
            squadron = (number * 100 + place, f"{adcode}{place:02d}0400", f"{name}大队{short}中队")
            yield (*squadron, f"{name_en} {english} Squadron", 4), number


def _expressway(gates: list[dict], names: list[dict[str, str]]) -> Iterable[tuple[tuple[int, str, str, str, int], int]]:
    detachment = (EXPRESSWAY_DETACHMENT, "220000100400", "吉林省公安厅高速公路交通警察支队", "Expressway Detachment", 2)
    yield detachment, CORPS
    for row in (row for row in names if row["level"] == "2"):
        number = expressway_brigade(int(row["adcode"]))
        place = number - EXPRESSWAY_DETACHMENT
        name = row["name"].removesuffix("朝鲜族自治州").removesuffix("市")
        english = f"{row['name_en']} Expressway"
        yield (number, f"2200001{place:02d}400", f"高速公路支队{name}大队", f"{english} Brigade", 3), detachment[0]
        roads = {gate["road"]["code"]: gate["road"] for gate in gates if gate["brigade"] == number}
        for road in sorted(roads.values(), key=lambda road: int(road["id"])):
            squadron = int(road["id"])
            code = f"2200001{place:02d}4{squadron:02d}"
            names_ = (f"高速公路{name}大队{road['name']}中队", f"{row['name_en']} {road['code']} Squadron")
            yield (number * 100 + squadron, code, *names_, 4), number


def gates_of(found: list[tuple[Stretch, int]], land: Map) -> list[dict]:
    """Each checkpoint with its place and owner, by road and stake."""
    gates = []
    for stretch, stake_m in found:
        share = (stake_m - stretch.stakes_m[0]) / (stretch.stakes_m[1] - stretch.stakes_m[0])
        point, bearing = geo.along(stretch.line, share)
        county, road = land.county(point), stretch.road
        if road["kind"] == EXPRESSWAY:
            brigade = expressway_brigade(county)
            owner = brigade * 100 + int(road["id"])
        else:
            brigade = county_brigade(county)
            owner = brigade * 100 + 2
        gates.append(
            {"road": road, "stretch": stretch, "stake_m": stake_m, "point": point, "bearing": bearing}
            | {"county": county, "brigade": brigade, "owner": owner}
        )
    return gates


def checkpoint_rows(gates: list[dict], borders: set[str]) -> list[dict[str, object]]:
    """Rows with the corridor: owners of the next checkpoint each way on the same road."""
    rows: list[dict[str, object]] = []
    for number, gate in enumerate(gates):
        road, stretch = gate["road"], gate["stretch"]
        beside = [gates[i] for i in (number - 1, number + 1) if 0 <= i < len(gates) and gates[i]["road"] is road]
        corridor = sorted({other["owner"] for other in beside} - {gate["owner"]})
        near = [end for end, m in zip(stretch.places, stretch.stakes_m, strict=True) if abs(gate["stake_m"] - m) < 8000]
        text = stake_text(gate["stake_m"])
        rows.append(
            {
                "id": number + 1,
                "code": f"{gate['county']}0000121{number + 1:07d}",
                "name": f"{road['name']}{text}卡口",
                "name_en": f"{road['code']} {text} Checkpoint",
                "road_id": road["id"],
                "stake_m": gate["stake_m"],
                "bearing_deg": f"{gate['bearing']:.1f}",
                "lanes": road["lanes"],
                "limit_kmh": road["limit_kmh"],
                "lon": f"{gate['point'][0]:.5f}",
                "lat": f"{gate['point'][1]:.5f}",
                "unit_id": gate["owner"],
                "corridor": " ".join(map(str, corridor)),
                "inter_provincial": int(any(end in borders for end in near)),
            }
        )
    return rows


def section_rows(gates: list[dict], junctions: set[str]) -> list[dict[str, object]]:
    """Neighbours on one expressway with no junction between them, where nobody can go another way; both directions."""
    rows: list[dict[str, object]] = []
    for number, (a, b) in enumerate(zip(gates, gates[1:], strict=False), start=1):
        one, two = a["stretch"], b["stretch"]
        if one.road is not two.road or one.road["kind"] != EXPRESSWAY or one.part != two.part:
            continue
        length_m = b["stake_m"] - a["stake_m"]
        line = [name for name in a["road"]["places"].replace("|", " | ").split()]
        passed = line[line.index(one.places[1]) : line.index(two.places[0]) + 1] if one is not two else []
        if length_m > SECTION_M_MAX or any(name in junctions for name in passed):
            continue
        for start, end in ((number, number + 1), (number + 1, number)):
            row = {"from_checkpoint": start, "to_checkpoint": end, "length_m": length_m}
            rows.append({"id": len(rows) + 1, **row, "limit_kmh": one.road["limit_kmh"]})
    return rows


def tables() -> dict[str, list[dict[str, object]]]:
    """Every made table by its file name."""
    names, roads, land = read("names.csv"), read("roads.csv"), Map()
    places = {row["name"]: (float(row["lon"]), float(row["lat"])) for row in read("places.csv")}
    uses = Counter(place for road in roads for place in set(road["places"].replace("|", " ").split()))
    if unused := set(places) - set(uses):
        raise SystemExit(f"places.csv holds places on no road: {sorted(unused)}")
    borders = {row["name"] for row in read("places.csv") if row["border"] == "1"}
    found = stretches(roads, places)
    gates = gates_of(chosen_stakes(found, borders), land)
    units, parents = unit_rows(gates, names)
    numbers = {int(row["id"]) for row in units}
    objects = build_objects.Ground(
        stretches=found,
        gates=gates,
        borders=borders,
        units=units,
        owner_of=lambda road, point: squadron_of(road, land.county(point), numbers),
        county_of=land.county,
        english={row["name"]: row["name_en"] for row in read("places.csv")},
    )
    return {
        "links.csv": link_rows(found, land, numbers),
        "chainage.csv": chainage_rows(found),
        "units.csv": units,
        "unit_parents.csv": parents,
        "checkpoints.csv": checkpoint_rows(gates, borders),
        "sections.csv": section_rows(gates, {name for name, count in uses.items() if count > 1}),
        "detectors.csv": build_objects.detector_rows(objects),
        "objects.csv": build_objects.object_rows(objects),
        "crews.csv": build_objects.crew_rows(objects),
        **build_registry.tables(),
    }


def main() -> None:
    """Write all tables and say how large they are."""
    for name, rows in tables().items():
        write(name, rows)
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
