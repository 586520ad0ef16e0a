"""The demonstration's registry: companies, key vehicles, permits and drivers, invented by rule.

    python -m traffic.data.jilin.build_registry

Everything follows from names and noise of fixed salts, so that a run gives the same again. Days stand as months from
the month in which they are loaded (-2: ended two months ago), so that a demonstration never grows old. Numbers of
persons and companies are of no district and no line that exists.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from traffic.data.jilin.build_objects import FLEETS, TOWNS, key_vehicle_rows, noise
from traffic.registry_records import credit_code, identity_number, vin

FOLDER = Path(__file__).resolve().parent
Row = dict[str, object]
# kind, plate class (GA 24.7), colour (JT/T 697.7), how many, the company's ending; none of them drives
MORE = (
    ("tour_coach", 1, 2, 60, "旅游客运有限公司"),
    ("scheduled_coach", 1, 2, 90, "公路客运集团有限公司"),
    ("hazardous_goods", 1, 2, 70, "危险货物运输有限公司"),
    ("heavy_truck", 1, 2, 130, "物流有限公司"),
    ("minivan", 2, 1, 70, "汽车租赁有限公司"),
    ("school_bus", 1, 2, 30, "校车服务有限公司"),
    ("ex_commercial_coach", 1, 2, 34, ""),  # 营转非: of private owners
)
EX_COMMERCIAL_DRIVING = 6
COMPANY_KINDS = {
    "旅游客运有限公司": "passenger", "公路客运集团有限公司": "passenger", "危险货物运输有限公司": "hazardous_goods",
    "物流有限公司": "freight", "汽车租赁有限公司": "other", "校车服务有限公司": "school",
}  # fmt: skip
# What a kind is registered as: classes of GA 24.4 as sim/vehicles.py draws them, makes, seats.
LOOKS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]] = {
    "tour_coach": (("K11", "K12"), ("宇通", "金龙", "海格"), (45, 51, 55)),
    "scheduled_coach": (("K11", "K12"), ("宇通", "金龙", "中通"), (37, 45, 49)),
    "hazardous_goods": (("H11", "Q11"), ("解放", "东风", "重汽"), (3,)),
    "heavy_truck": (("H11", "Q11", "H17"), ("解放", "东风", "陕汽", "重汽"), (2, 3)),
    "minivan": (("K33", "K32"), ("五菱", "金杯", "长安"), (7, 9)),
    "school_bus": (("K21",), ("宇通", "少林"), (32, 41, 52)),
    "ex_commercial_coach": (("K11", "K12"), ("金龙", "亚星"), (33, 39, 45)),
}
BODY_COLORS = (2, 2, 2, 5, 4, 3, 1)  # ColorType of GA/T 1400.3; white most of all
SCHOOL_BUS_YELLOW = 6
EXPRESSWAYS = "G1;G12;G11;G25;G45;G0102;G1112;G1212;G1211;G1131;G1015;G4512;G1221;S01"
ROADS = EXPRESSWAYS + ";G102;G302;G201;G202;G203;G303;G231;G334;G331;G229;G235;G504;G244"
GOODS = ("汽油", "柴油", "液化石油气", "甲醇", "盐酸", "液氧")
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
SURNAMES, GIVEN = "王李张刘陈杨赵黄周吴徐孙马朱胡", "伟强磊军洋勇杰涛明超亮刚平辉鹏"


def pick(choices: tuple | str, *salt: object) -> object:
    """One of the choices, the same for the same salt."""
    return choices[int(noise(*salt) * len(choices))]


def company_rows() -> list[Row]:
    """A company of each trade in each town."""
    rows: list[Row] = []
    for ending, kind in COMPANY_KINDS.items():
        for town, _, unit in TOWNS:
            number = len(rows) + 1
            rows.append(
                {
                    "code": credit_code(f"91220000MADEM{number:04d}"),
                    "name": f"{town}{ending}",
                    "kind": kind,
                    "unit_id": unit,
                    "licence": f"吉交运管许可{number:04d}号",
                    "licence_months": int(noise("licence", number) * 40) - 3,
                    "contact": f"{pick(SURNAMES, 'contact', number)}经理",
                    "phone": f"0431-0{number:07d}",
                }
            )
    return rows


def vehicle_rows() -> list[Row]:
    """The vehicles that drive in the demonstration, as ever, and behind them the rest of the registry."""
    rows = [{**row, "plate_color": 1 if row["plate_class"] == 2 else 2, "drives": 1} for row in key_vehicle_rows()]
    taken = {row["plate"] for row in rows}
    for kind, plate_class, color, count, ending in MORE:
        for number in range(count):
            town, prefix, unit = TOWNS[number % len(TOWNS)]
            plate = next(plate for plate in _plates(prefix, kind, number) if plate not in taken)
            taken.add(plate)
            drives = kind == "ex_commercial_coach" and number < EX_COMMERCIAL_DRIVING
            rows.append(
                {
                    "plate": plate,
                    "plate_class": plate_class,
                    "kind": kind,
                    "company": f"{town}{ending}" if ending else "",
                    "unit_id": unit,
                    "plate_color": color,
                    "drives": int(drives),
                }
            )
    return [{**row, **_papers(row, number)} for number, row in enumerate(rows)]


def _plates(prefix: str, kind: str, number: int) -> Iterator[str]:
    attempt = 0
    while True:
        salt = ("more", kind, number, attempt)
        yield f"{prefix}{pick(LETTERS, 'letter', *salt)}{int(noise('serial', *salt) * 9_999):04d}"
        attempt += 1


def _papers(row: Row, number: int) -> Row:
    """How a vehicle looks and until when its papers hold; some are overdue, scrapped or registered by fraud."""
    kind, plate = str(row["kind"]), row["plate"]
    classes, makes, seats = LOOKS[kind]
    state, inspection, scrap, platform = _trouble(plate, number)
    old = kind == "ex_commercial_coach"
    return {
        "vin": vin(f"LDEM{pick(LETTERS, 'vin', plate)}{int(noise('vin', plate) * 9_999):04d}0{number:07d}"[:17]),
        "brand": pick(makes, "make", plate),
        "body_color": SCHOOL_BUS_YELLOW if kind == "school_bus" else pick(BODY_COLORS, "color", plate),
        "vehicle_class": pick(classes, "class", plate),
        "seats": pick(seats, "seats", plate),
        "state": state,
        "inspection_months": inspection,
        "scrap_months": scrap,
        "insurance_months": int(noise("insurance", plate) * 12),
        "violations_open": max(0, int(noise("violations", plate) * 14) - 8),
        "ex_commercial": int(old),
        **_route(row),
        "platform": platform,
    }


def _route(row: Row) -> Row:
    """Of a scheduled coach: long lines change drivers under way (接驳)."""
    if row["kind"] != "scheduled_coach":
        return {"route_kind": "", "route_km": ""}
    far = noise("km", row["plate"])
    if noise("relay", row["plate"]) < 0.2:
        return {"route_kind": "relay", "route_km": 620 + int(far * 600)}
    kind = pick(("", "", "", "airport", "other"), "route", row["plate"])
    return {"route_kind": kind, "route_km": 60 + int(far * 380)}


def _trouble(plate: object, number: int) -> tuple[str, int, object, str]:
    """State, months until the inspection ends, months until it must be scrapped, and what the platform knows else."""
    fate, months = noise("fate", plate), 1 + int(noise("inspection", plate) * 11)
    scrap: object = 18 + int(noise("scrap", plate) * 100)
    if number == 40 or 0.90 <= fate < 0.915:  # 40: a coach that drives
        return "normal", -1 - int(noise("over", plate) * 6), scrap, ""
    if 0.915 <= fate < 0.93:  # here overdue, there inspected last week
        return "normal", -1, scrap, "inspected"
    if 0.93 <= fate < 0.945:  # ends soon here, and is scrapped there
        return "normal", 0, scrap, "scrapped"
    if 0.945 <= fate < 0.955:
        return "normal", 0, scrap, "seized"
    if number in (100, 121) or 0.955 <= fate < 0.97:
        return "scrapped", -9, -6, ""
    if 0.97 <= fate < 0.98:
        return "normal", months, -1, ""  # still on the road behind its last day
    if number == 152 or 0.98 <= fate < 0.99:
        return "false_registered", months, scrap, ""
    if fate >= 0.995:
        return "deregistered", -20, -2, ""
    return "normal", months, scrap, ""


def permit_rows(vehicles: list[Row]) -> list[Row]:
    """Routes of hazardous goods, hours of school buses, relay permits of long lines, passes of lorries."""
    rows: list[Row] = []
    passes = 0
    for row in vehicles:
        kind, plate = str(row["kind"]), str(row["plate"])
        years: Row = {"from_months": -6, "to_months": 6 + int(noise("permit", plate) * 6)}
        if kind == "hazardous_goods":
            narrow = not row["drives"] and noise("narrow", plate) < 0.5
            roads = f"{pick(('G1', 'G12', 'G25', 'G45', 'G11'), 'own', plate)};G102;G302" if narrow else ROADS
            goods = pick(GOODS, "goods", plate)
            rows.append(_permit("hazardous_route", "危", row, len(rows), {**years, "roads": roads, "goods": goods}))
        elif kind == "school_bus":
            hours = {"hours": "06:00-08:30;15:30-18:30", "weekdays": "12345"}
            rows.append(_permit("school_bus", "校", row, len(rows), {**years, **hours}))
        elif row["route_kind"] == "relay":
            rows.append(_permit("relay", "驳", row, len(rows), {**years, "roads": "G1;G12;G25;G45;G0102;G102"}))
        elif kind == "heavy_truck" and passes < 30 and noise("pass", plate) < 0.3:
            passes += 1
            rows.append(_permit("pass", "通", row, len(rows), {**years, "hours": "20:00-06:00", "roads": "G0102;G102"}))
    return rows


def _permit(kind: str, sign: str, row: Row, number: int, more: Row) -> Row:
    blank: Row = {"hours": "", "weekdays": "", "roads": "", "goods": ""}
    return {
        "number": f"吉{sign}示{number + 1:05d}", "kind": kind, "plate": row["plate"], "plate_class": row["plate_class"],
        "company": row["company"], "unit_id": row["unit_id"], **blank, **more,
    }  # fmt: skip


def driver_rows(companies: list[Row]) -> list[Row]:
    """Some drivers of each company that keeps any."""
    rows: list[Row] = []
    for company in companies:
        for number in range(6 if company["kind"] == "passenger" else 4):
            salt = (company["code"], number)
            year, month, day = (
                low + int(noise(part, *salt) * count)
                for part, low, count in (("year", 1966, 32), ("month", 1, 12), ("day", 1, 28))
            )
            rows.append(
                {
                    "licence": identity_number(f"220000{year}{month:02d}{day:02d}{len(rows) % 1000:03d}"),
                    "name": f"{pick(SURNAMES, 'surname', *salt)}{pick(GIVEN, 'given', *salt)}",
                    "class": "A2" if company["kind"] in ("freight", "hazardous_goods") else "A1",
                    "company": company["name"],
                    "unit_id": company["unit_id"],
                    "licence_months": int(noise("until", *salt) * 70) - 1,
                    "qualification": f"DEMO{len(rows) + 1:08d}",
                    "qualification_months": int(noise("qualified", *salt) * 60) - 1,
                }
            )  # fmt: skip
    return rows


def tables() -> dict[str, list[Row]]:
    """Every table of the registry by its file name."""
    companies, vehicles = company_rows(), vehicle_rows()
    return {
        "companies.csv": companies,
        "key_vehicles.csv": vehicles,
        "permits.csv": permit_rows(vehicles),
        "drivers.csv": driver_rows(companies),
    }


def main() -> None:
    """Write all tables and say how large they are."""
    assert sum(fleet[2] for fleet in FLEETS) == 160, "those that drive have lasting numbers"
    for name, rows in tables().items():
        with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
