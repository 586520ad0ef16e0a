"""Registry files on their way into the tables, by the path of the command: judged line by line, written once."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pytest

from tests.registrykit import COMPANY, LICENCE, Writer, code_of, company, csv_file, vehicle
from tests.world import CORPS, WEST, World
from traffic.plates import plate_key, vehicle_keys
from traffic.registry_import import CHUNK_ROWS, SNIFFED_BYTES, File, Report, import_file
from traffic.registry_load import load_registry
from traffic.registry_store import Origin
from traffic.vehicles.registry import KINDS, NEVER_US, STATES


@pytest.fixture
def writer(database_url: str, world: World) -> Iterator[Writer]:
    writer = Writer(database_url, world.now)
    yield writer
    writer.close()


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.older, report.refused_count


def keys_of(*texts: str, plate_class: int = 1) -> np.ndarray:
    found = np.array([plate_key(text) for text in texts], np.int64)
    return vehicle_keys(found, np.full(len(texts), plate_class))


def test_a_file_of_vehicles_becomes_rows_and_the_same_file_again_changes_nothing(writer: Writer):
    data = csv_file([vehicle(number) for number in range(5)])
    before = writer.version()

    first = writer.take("vehicles", data)
    between = writer.version()
    again = writer.take("vehicles", data)

    assert first.state == again.state == "done"
    assert counts(first) == (5, 0, 0, 0, 0) and counts(again) == (0, 0, 5, 0, 0)
    assert between == before + 1 and writer.version() == between


def test_a_change_is_written_alone_and_a_later_file_confirms_the_rest(writer: Writer):
    writer.take("vehicles", csv_file([vehicle(number) for number in range(3)]))
    report = writer.take(
        "vehicles", csv_file([vehicle(0), vehicle(1, kind="school_bus"), vehicle(2)]), later=timedelta(days=1)
    )
    rows = writer.connection.execute("SELECT plate, kind, as_of, version FROM key_vehicle ORDER BY plate").fetchall()

    assert counts(report) == (0, 1, 2, 0, 0)
    assert [row[1] for row in rows] == ["tour_coach", "school_bus", "tour_coach"]
    assert {row[2] for row in rows} == {writer.now + timedelta(days=1)}
    assert rows[0][3] == rows[2][3] == rows[1][3] - 1


def test_an_older_export_never_takes_the_place_of_what_is_known_since(writer: Writer):
    writer.take("vehicles", csv_file([vehicle(0, state="scrapped")]))
    report = writer.take("vehicles", csv_file([vehicle(0, state="normal")]), later=timedelta(days=-2))

    assert counts(report) == (0, 0, 0, 1, 0)
    assert writer.connection.execute("SELECT state FROM key_vehicle").fetchall() == [("scrapped",)]


def test_columns_that_a_file_does_not_have_stay_and_an_empty_cell_clears(writer: Writer):
    writer.take("vehicles", csv_file([vehicle(0, seats=45, brand="宇通")]))
    writer.take("vehicles", csv_file([{**vehicle(0), "seats": ""}]), later=timedelta(hours=1))

    assert writer.connection.execute("SELECT brand, seats FROM key_vehicle").fetchall() == [("宇通", None)]


def test_a_vehicle_that_left_is_kept_but_found_no_more_and_may_come_back(writer: Writer):
    writer.take("vehicles", csv_file([vehicle(0), vehicle(1)]))
    here = load_registry(writer.connection)
    writer.take("vehicles", csv_file([vehicle(0, enabled=0)]), later=timedelta(hours=1))
    gone = load_registry(writer.connection, here)
    writer.take("vehicles", csv_file([vehicle(0, enabled=1)]), later=timedelta(hours=2))
    back = load_registry(writer.connection, gone)

    wanted = keys_of("吉A00000", "吉A00001")
    assert here.find(wanted).tolist() == [0, 1]
    assert gone.find(wanted).tolist() == [-1, 1]
    assert back.find(wanted).tolist() == [0, 1]
    assert writer.connection.execute("SELECT count(*) FROM key_vehicle").fetchone() == (2,)


def test_workers_read_what_a_file_says_as_columns(writer: Writer):
    writer.take("companies", csv_file([company()]))
    writer.take(
        "vehicles",
        csv_file(
            [vehicle(7, kind="ex_commercial_coach", state="false_registered", scrap_by="2026-12-31", company=COMPANY,
                     ex_commercial=1, route_kind="relay", route_km="812.5", body_color=5, vehicle_class="K11")]
        ),
    )  # fmt: skip
    registry = load_registry(writer.connection)
    (row,) = registry.find(keys_of("吉A00007"))
    end_of_march = 1_806_508_800_000_000  # 2027-04-01 00:00 in China

    assert KINDS[registry.kind[row]] == "ex_commercial_coach" and STATES[registry.state[row]] == "false_registered"
    assert registry.inspection_until_us[row] == end_of_march and registry.scrap_by_us[row] < NEVER_US
    assert registry.ex_commercial[row] and registry.route_km[row] == 812.5 and registry.unit[row] == CORPS
    assert registry.company[row] > 0 and registry.body_color[row] == 5 and registry.vehicle_class[row] == 1111


WRONG = (
    ("plate", "", "missing_field"),
    ("plate", "no plate at all", "malformed"),
    ("plate_class", "x", "wrong_type"),
    ("plate_class", "100", "out_of_range"),
    ("kind", "spaceship", "unknown_value"),
    ("unit", "999999999999", "unknown_unit"),
    ("company", COMPANY, "unknown_company"),
    ("company", COMPANY[:-1] + "0", "wrong_check_digit"),
    ("vin", "LZYTAGBW0F1012345", "wrong_check_digit"),
    ("vin", "IOQ", "malformed"),
    ("brand", "x" * 61, "too_long"),
    ("brand", "a\x07b", "malformed"),
    ("inspection_until", "31.02.2027", "wrong_type"),
    ("inspection_until", "2027-02-30", "wrong_type"),
    ("inspection_until", "2300-01-01", "out_of_range"),
    ("ex_commercial", "maybe", "unknown_value"),
    ("route_km", "-5", "wrong_type"),
    ("route_km", "99999", "out_of_range"),
    ("state", "sold", "unknown_value"),
    ("vehicle_class", "33K", "malformed"),
)


def test_a_wrong_cell_refuses_its_line_with_field_and_reason_and_no_other_line(writer: Writer):
    good = vehicle(0, company="", vin="", brand="", ex_commercial="", route_km="", state="", vehicle_class="")
    wrong = [{**good, "plate": f"吉B{number:05d}", name: value} for number, (name, value, _) in enumerate(WRONG)]
    report = writer.take("vehicles", csv_file([good, *wrong]))

    told = {row.line: (row.field, row.reason) for row in report.refused}
    assert told == {line: (name, reason) for line, (name, _, reason) in enumerate(WRONG, start=3)}
    assert all(row.detail for row in report.refused) and counts(report) == (1, 0, 0, 0, len(WRONG))


def test_a_later_line_of_the_same_vehicle_is_refused_even_chunks_away(writer: Writer):
    rows = [vehicle(number) for number in range(CHUNK_ROWS + 10)] + [vehicle(3, kind="school_bus")]
    report = writer.take("vehicles", csv_file(rows))
    (refused,) = report.refused

    assert (refused.line, refused.reason) == (CHUNK_ROWS + 12, "duplicate")
    assert writer.connection.execute("SELECT kind FROM key_vehicle WHERE plate = '吉A00003'").fetchone() == (
        "tour_coach",
    )


def test_gb18030_is_read_whether_it_is_named_or_not_and_however_it_comes(writer: Writer):
    data = csv_file([company(name="长春㐂字客运有限公司")], encoding="gb18030")
    reports = [
        writer.take("companies", data, charset=charset, part_bytes=part_bytes)
        for charset in ("", "gb18030", "GBK")
        for part_bytes in (1, 7, 65536)
    ]
    assert [counts(report) for report in reports] == [(1, 0, 0, 0, 0)] + [(0, 0, 1, 0, 0)] * 8
    assert writer.connection.execute("SELECT name FROM company").fetchone() == ("长春㐂字客运有限公司",)


def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(writer: Writer):
    assert counts(writer.take("companies", csv_file([company()], encoding="utf-8-sig"))) == (1, 0, 0, 0, 0)


def test_a_file_that_is_none_is_refused_whole(writer: Writer):
    for data in (
        b"", b"plate,plate_class\r\n", b"plate,plate,plate_class,kind,unit\r\n", b"\x00\xff\xfe\r\n", b'"plate\r\n',
    ):  # fmt: skip
        report = writer.take("vehicles", data)
        assert report.state == "refused" and report.error and report.added == 0


def test_unknown_columns_are_told_and_left_aside(writer: Writer):
    report = writer.take("vehicles", csv_file([vehicle(0, shoe_size=44)]))
    assert report.ignored_columns == ["shoe_size"] and report.added == 1


def test_permits_come_with_hours_days_and_stretches_and_only_of_known_roads(writer: Writer):
    row = {
        "number": "吉危通2026-0001", "kind": "hazardous_route", "plate": "吉A00001", "plate_class": 1,
        "unit": code_of(WEST), "valid_from": "2026-01-01", "valid_to": "2026-12-31",
        "hours": "6:00-08:30;22:00-24:00", "weekdays": "12345", "roads": "G1:0-30000:1;G1:40000-50000",
    }  # fmt: skip
    before = writer.version("permit")
    report = writer.take(
        "permits",
        csv_file([row, {**row, "number": "2", "roads": "G999"}, {**row, "number": "3", "valid_to": "2025-01-01"}]),
    )
    stored = writer.connection.execute("SELECT hours, weekdays, roads, valid_to, unit_id FROM permit").fetchall()

    assert [(refused.field, refused.reason) for refused in report.refused] == [
        ("valid_to", "out_of_range"), ("roads", "unknown_road"),
    ]  # fmt: skip
    ((hours, weekdays, roads, valid_to, unit),) = stored
    assert hours == [["06:00", "08:30"], ["22:00", "24:00"]] and weekdays == [1, 2, 3, 4, 5] and unit == WEST
    assert roads == [
        {"road": "G1", "from_stake_m": 0, "to_stake_m": 30000, "direction": 1},
        {"road": "G1", "from_stake_m": 40000, "to_stake_m": 50000, "direction": 0},
    ]
    assert valid_to.astimezone().timestamp() == 1_798_732_800  # midnight behind the last day, in China
    assert writer.version("permit") == before + 1


def test_drivers_are_kept_by_their_licence(writer: Writer):
    writer.take("companies", csv_file([company()]))
    row = {"licence": LICENCE, "name": "张三", "class": "A1", "unit": code_of(CORPS), "company": COMPANY,
           "licence_until": "2030/05/06"}  # fmt: skip
    report = writer.take(
        "drivers", csv_file([row, {**row, "licence": LICENCE[:-1] + ("0" if LICENCE[-1] != "0" else "1")}])
    )

    assert [refused.reason for refused in report.refused] == ["wrong_check_digit"]
    assert writer.connection.execute("SELECT name, licence_until FROM driver").fetchall() == [
        ("张三", date(2030, 5, 6))
    ]


def test_a_hundred_thousand_lines_are_streamed_no_further_ahead_than_a_chunk(writer: Writer):
    pulled = 0

    def parts() -> Iterator[bytes]:
        nonlocal pulled
        yield b"plate,plate_class,kind,unit\r\n"
        for start in range(0, 100_000, 500):
            pulled += 500
            lines = (f"吉A{number:05d},1,heavy_truck,{code_of(CORPS)}" for number in range(start, start + 500))
            yield "\r\n".join([*lines, ""]).encode()

    ahead = []
    report = import_file(
        writer.connection, File(parts=parts()), Report(what="vehicles"), Origin(source="import", as_of=writer.now),
        writer.ground, lambda report: ahead.append(pulled - report.rows),
    )  # fmt: skip

    assert counts(report) == (100_000, 0, 0, 0, 0)
    assert len(ahead) > 100_000 / CHUNK_ROWS and max(ahead) <= 2 * CHUNK_ROWS + SNIFFED_BYTES // 25
