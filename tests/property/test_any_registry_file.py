"""Registry files of any content: every line becomes values or one refusal of the closed list, never an exception."""

import csv
import io
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.ingest.bodies import BodyRefused
from traffic.ingest.files import CsvReader
from traffic.plates import fold, plate_key
from traffic.registry_import import encoding_of
from traffic.registry_records import (
    SHEETS,
    Fault,
    Refused,
    credit_code,
    identity_number,
    masked_licence,
    masked_name,
    masked_phone,
    vin,
)

CREDIT = st.text("0123456789ABCDEFGHJKLMNPQRTUWXY", min_size=17, max_size=17)
VIN = st.text("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", min_size=17, max_size=17)
DIGITS = st.text("0123456789", min_size=17, max_size=17)
GOOD = {
    "plate": "吉A12345", "plate_class": "1", "kind": "pass", "unit": "1", "code": credit_code("91220000MADEM0001"),
    "name": "某某", "number": "N1", "licence": identity_number("22000019800101001"), "class": "A1",
    "valid_from": "2026-01-01", "valid_to": "2026-12-31",
}  # fmt: skip
KIND_OF = {"vehicles": "minivan", "companies": "freight", "permits": "pass", "drivers": ""}


def good_cells(what: str) -> dict[str, str]:
    cells = {name: GOOD[name] for name, column in SHEETS[what].columns.items() if column.required}
    return cells | ({"kind": KIND_OF[what]} if KIND_OF[what] else {})


def read_all(what: str, data: bytes, cut: int) -> list[dict | Refused]:
    """Every line of a file, read in parts of `cut` bytes."""
    reader = CsvReader(SHEETS[what], encoding_of(data))
    pieces = [piece for start in range(0, len(data), cut) for piece in reader.feed(data[start : start + cut])]
    pieces += reader.end()
    lines: list[dict | Refused] = []
    for piece in pieces:
        if piece.refusal is None:
            lines.append(SHEETS[what].read(piece.line, {name: getattr(piece.record, name) for name in reader.named}))
        else:
            fault = Fault(str(piece.refusal.reason))  # what the reader refuses is told in the same words
            lines.append(Refused(line=piece.line, field=piece.refusal.field, reason=fault, detail=piece.refusal.detail))
    return lines


@given(st.sampled_from(sorted(SHEETS)), st.binary(max_size=600), st.integers(1, 64))
def test_any_bytes_are_refused_whole_or_line_by_line(what: str, data: bytes, cut: int):
    try:
        lines = read_all(what, data, cut)
    except BodyRefused as refused:
        assert refused.status in (400, 415) and str(refused)
    else:
        assert all(isinstance(line, dict) or line.reason in Fault for line in lines)


@given(st.data(), st.sampled_from(sorted(SHEETS)))
def test_any_text_in_any_cell_is_a_value_or_names_its_column(data: st.DataObject, what: str):
    name = data.draw(st.sampled_from(sorted(SHEETS[what].columns)))
    text = data.draw(st.text(max_size=300)).strip()
    read = SHEETS[what].read(7, {**good_cells(what), name: text})
    if isinstance(read, Refused):
        assert read.line == 7 and read.reason in Fault and read.detail
        assert read.field == name or (what == "permits" and read.field == "valid_to")
        assert not text or text not in read.detail or len(text) < 4  # what was written is not told back
    else:
        assert read.keys() == {**good_cells(what), name: text}.keys()


@given(
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]), st.integers(1, 50),
    st.lists(st.tuples(st.text("长春吉林客运·,\"\n 㐂A1", min_size=1, max_size=20), CREDIT), min_size=1, max_size=6),
)  # fmt: skip
def test_a_file_reads_the_same_in_each_encoding_and_however_it_is_cut(encoding: str, cut: int, rows: list):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["name", "code", "kind", "unit"])
    writer.writerows([name, credit_code(code), "freight", "1"] for name, code in rows)
    lines = read_all("companies", text.getvalue().encode(encoding), cut)
    assert len(lines) == len(rows)
    for line, (name, code) in zip(lines, rows, strict=True):
        if not name.strip():
            assert isinstance(line, Refused) and line.reason is Fault.MISSING_FIELD
        elif "\n" in name.strip():
            assert isinstance(line, Refused) and (line.field, line.reason) == ("name", Fault.MALFORMED)
        else:
            assert line == {"name": name.strip(), "code": credit_code(code), "kind": "freight", "unit": "1"}


@given(CREDIT, DIGITS, VIN, st.integers(0, 16), st.data())
def test_a_slip_of_one_character_is_found_by_the_check_digit(credit, digits, frame, place, data):
    numbers = (("companies", "code", credit_code(credit), "0123456789"),
               ("drivers", "licence", identity_number(digits), "0123456789"),
               ("vehicles", "vin", vin(frame), "0123456789"))  # fmt: skip
    for what, name, number, signs in numbers:
        assert not isinstance(SHEETS[what].read(2, {**good_cells(what), name: number}), Refused)
        if name == "vin" and place == 8:
            continue  # the check digit itself
        other = data.draw(st.sampled_from([sign for sign in signs if sign != number[place]]))
        slipped = number[:place] + other + number[place + 1 :]
        read = SHEETS[what].read(2, {**good_cells(what), name: slipped})
        weighs_alike = name == "vin"  # letters and digits of a VIN share values
        assert weighs_alike or (isinstance(read, Refused) and read.reason is Fault.WRONG_CHECK_DIGIT)


@given(st.dates(date(1950, 1, 1), date(2199, 12, 30)), st.sampled_from(["-", "/", ".", ""]))
def test_a_day_is_read_however_it_is_written(day: date, sign: str):
    text = day.strftime(f"%Y{sign}%m{sign}%d").zfill(10 if sign else 8)
    read = SHEETS["vehicles"].read(2, {**good_cells("vehicles"), "scrap_by": text})
    assert isinstance(read, dict) and read["scrap_by"] == day


@pytest.mark.parametrize(
    ("begin", "end", "stands"),
    [
        ("2026-01-01", "2026-01-01", True),  # one whole day
        ("2026-01-02", "2026-01-01", False),
        ("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:01+00:00", True),
        ("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00Z", False),
        ("2026-01-01T08:00:00", "2026-12-31", False),  # no zone
    ],
)
def test_a_permit_ends_behind_its_beginning(begin: str, end: str, stands: bool):
    read = SHEETS["permits"].read(2, {**good_cells("permits"), "valid_from": begin, "valid_to": end})
    assert isinstance(read, dict) == stands
    if isinstance(read, dict):
        assert isinstance(read["valid_from"], datetime) and read["valid_from"] < read["valid_to"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hours", "6:00-8:30；22:00-05:00", [["06:00", "08:30"], ["22:00", "05:00"]]),
        ("hours", "25:00-26:00", None),
        ("hours", "24:00-06:00", None),
        ("weekdays", "1,2;7", [1, 2, 7]),
        ("weekdays", "0", None),
        ("roads", "G1;G12:9-3:2", [{"road": "G1", "from_stake_m": 0, "to_stake_m": 9_999_999, "direction": 0},
                                   {"road": "G12", "from_stake_m": 3, "to_stake_m": 9, "direction": 2}]),
        ("roads", "G1:0-5:3", None),
        ("roads", "; ;", None),
        ("roads", ";".join(["G1"] * 201), None),
    ],
)  # fmt: skip
def test_hours_days_and_roads_of_a_permit(name: str, text: str, value: object):
    read = SHEETS["permits"].read(2, {**good_cells("permits"), name: text})
    assert (read[name] if isinstance(read, dict) else None) == value


@given(st.text("0123456789X", max_size=20), st.text("张三李四", max_size=6), st.text("0123456789-", max_size=20))
def test_masked_texts_keep_their_length_and_hide_their_middle(licence: str, name: str, phone: str):
    for text, masked in ((licence, masked_licence(licence)), (name, masked_name(name)), (phone, masked_phone(phone))):
        shown = [place for place, sign in enumerate(masked) if sign != "*"]
        assert len(masked) == len(text) and all(masked[place] == text[place] for place in shown)
        assert len(shown) <= 7 and (len(text) < 8 or masked.count("*") >= len(text) - 7)


def test_plates_are_folded_before_they_are_keys():
    read = SHEETS["vehicles"].read(2, {**good_cells("vehicles"), "plate": "吉a·１２３45"})
    assert isinstance(read, dict) and plate_key(read["plate"]) == plate_key(fold("吉A12345"))
