"""Whatever bytes a file holds and however they are cut: each record is read or refused, none is both, none is lost."""

import csv
import io
import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.doorkit import NATIVE, NOW, NOW_US, bench, native_record
from traffic.errors import Reason
from traffic.ingest import files
from traffic.ingest.bodies import BodyRefused
from traffic.ingest.files import CsvReader, LineReader, Piece, reader_for, records_of
from traffic.ingest.subjects import SUBJECTS
from traffic.readings import Door

PASSAGES = SUBJECTS["passages"]
REPORTS = SUBJECTS["detector-reports"]
HEADER = "detector,observed_at,vehicles,lane,heavy,fault"
GOOD = f"D-1,{NOW.isoformat()},12,1,2,false"
CELLS = st.text(max_size=12) | st.sampled_from(["D-1", NOW.isoformat(), "12", "-1", "1e3", "true", "", "\0", '"', "\r"])


def read(reader: CsvReader | LineReader, *parts: bytes) -> list[Piece]:
    """All records of a file, or the status with which it is refused."""
    found = [piece for part in parts for piece in reader.feed(part)]
    return found + reader.end()


def read_csv(text: str | bytes, subject=REPORTS, charset: str = "") -> list[Piece]:
    return read(reader_for(subject, "text/csv", charset), text if isinstance(text, bytes) else text.encode())


def told(pieces: list[Piece]) -> list[tuple]:
    return [(p.line, p.record, p.refusal and (p.refusal.field, p.refusal.reason, p.refusal.detail)) for p in pieces]


def assert_judged(pieces: list[Piece], subject) -> None:
    records = records_of(pieces)
    checked = subject.check(records, device=NATIVE, bench=bench(Door.FILE), received_us=NOW_US)
    refused = [refusal.index for refusal in checked.refusals]
    assert sorted([*checked.index.tolist(), *refused]) == [piece.line for piece in pieces]
    assert all(isinstance(refusal.reason, Reason) and refusal.detail for refusal in checked.refusals)


# ---------------------------------------------------------------- any bytes, cut anywhere
@given(
    st.sampled_from(list(SUBJECTS.values())),
    st.sampled_from(["utf-8", "gb18030"]),
    st.binary(max_size=300) | st.text('",\n\rab1', max_size=60).map(str.encode),
    st.lists(st.integers(0, 300), max_size=4),
    st.booleans(),
)
def test_any_bytes_behind_a_header_are_answered_and_cuts_change_nothing(subject, charset, data, cuts, with_header):
    header = ",".join(subject.record.__struct_fields__).encode() + b"\n" if with_header else b""
    body = header + data
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    parts = [body[a:b] for a, b in zip(places, places[1:], strict=False)]
    outcomes = []
    for pieces in ([body], parts):
        try:
            found = read(reader_for(subject, "text/csv", charset), *pieces)
        except BodyRefused as refused:
            assert refused.status == 400
            outcomes.append(str(refused))
        else:
            assert_judged(found, subject)
            outcomes.append(told(found))
    assert outcomes[0] == outcomes[1]


@given(
    st.sampled_from(list(SUBJECTS.values())),
    st.lists(st.binary(max_size=40) | st.just(json.dumps(REPORTS.example).encode()), max_size=6),
    st.integers(1, 50),
)
def test_any_lines_are_answered_and_cuts_change_nothing(subject, lines, step):
    body = b"\n".join(lines)
    whole = read(LineReader(subject), body)
    parts = read(LineReader(subject), *(body[at : at + step] for at in range(0, len(body), step)))
    assert told(whole) == told(parts)
    assert_judged(whole, subject)


@given(st.lists(st.lists(CELLS, min_size=6, max_size=6), max_size=5))
def test_what_a_csv_writer_writes_is_read_cell_by_cell(rows):
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(HEADER.split(","))
    writer.writerows(rows)
    found = read_csv(out.getvalue())
    assert_judged(found, REPORTS)
    assert len(found) == sum(any(map(str.strip, row)) or len(row) > 1 for row in rows)


@given(st.integers(0, 5), st.sampled_from(['"', '""', '"\n', ",", "\0", '"a"b', "\ufffd"]))
@example(0, '"')
def test_a_broken_line_costs_only_itself(place, broken):
    lines = [GOOD] * 6
    lines[place] = f"x{broken}"
    found = read_csv("\n".join([HEADER, *lines]))
    good = {piece.line for piece in found if piece.refusal is None}
    assert good >= {line for line in range(2, 2 + place)} | {line for line in range(4 + place, 8)} - {2 + place}
    assert any(piece.line == place + 2 and piece.refusal for piece in found)


# ---------------------------------------------------------------- forms
@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{GOOD}\n",
        f"{HEADER}\r\n{GOOD}\r\n\r\n",
        f"\ufeff{HEADER}\n{GOOD}",
        '\ufeff"detector","observed_at","vehicles","lane","heavy","fault"\r\n'
        f'"D-1","{NOW.isoformat()}","12","1","2","false"\r\n',
        f"Fault,VEHICLES, heavy ,lane,observed_at,detector\nfalse,12,2, 1,{NOW.isoformat()}, D-1 \n",
        f'{HEADER},remark\n{GOOD},"two\nlines, and a comma"\n',
    ],
)
def test_forms_of_csv(text):
    (piece,) = read_csv(text)
    assert piece.refusal is None
    assert msgspec.to_builtins(piece.record) == {
        "detector": "D-1", "observed_at": "2026-11-24T08:00:00Z", "vehicles": 12, "lane": 1, "heavy": 2,
        "fault": False, "period_s": None, "occupancy": None, "speed_kmh": None,
    }  # fmt: skip


def test_gb18030_is_read_when_it_is_declared_and_refused_line_by_line_when_it_is_not():
    row = native_record(plate="吉A12345", id="一")
    text = "id,checkpoint,observed_at,plate,images\n" + f"一,{row['checkpoint']},{row['observed_at']},吉A12345,a;b\n"
    (piece,) = read_csv(text.encode("gb18030"), PASSAGES, "GB2312")
    assert (piece.record.plate, piece.record.id, piece.record.images) == ("吉A12345", "一", ["a", "b"])
    (piece,) = read_csv(text.encode("gb18030"), PASSAGES)
    assert piece.refusal.reason == Reason.MALFORMED
    with pytest.raises(BodyRefused) as refused:
        reader_for(PASSAGES, "text/csv", "utf-16")
    assert refused.value.status == 415


def test_lists_facts_and_blank_plates():
    header = "code,observed_at,direction,lanes_closed,from_at,to_at,kind,lon,lat"
    at = NOW.isoformat()
    first, second = read_csv(
        f"{header}\nW,{at},1,1;2,{at},{at},x,125,43\nW,{at},1,,{at},{at},x,,\n", SUBJECTS["road-works"]
    )
    assert (first.record.lanes_closed, first.record.lon) == ([1, 2], 125.0)
    assert (second.record.lanes_closed, second.record.lon) == ([], None)
    (piece,) = read_csv('code,name,facts\nC,x,"{""height_m"": 12}"\n', SUBJECTS["cameras"])
    assert piece.record.facts == {"height_m": 12}
    (piece,) = read_csv(f"checkpoint,observed_at,plate\nx,{at},\n", PASSAGES)
    assert piece.record.plate == ""


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (f"D-1,{NOW.isoformat()},many,1,,", "vehicles", Reason.WRONG_TYPE),
        (f"D-1,{NOW.isoformat()},-1,1,,", "vehicles", Reason.OUT_OF_RANGE),
        (f"D-1,{NOW.isoformat()},,1,,", "vehicles", Reason.MISSING_FIELD),
        ("D-1,2026-11-24 16:00:00,12,1,,", "observed_at", Reason.TIME_WITHOUT_ZONE),
        ("D-1,1764000000,12,1,,", "observed_at", Reason.TIME_UNREADABLE),
        (f"D-1,{NOW.isoformat()},12,1,,maybe", "fault", Reason.WRONG_TYPE),
        (f"D-1,{NOW.isoformat()},12", "", Reason.MALFORMED),
        (f"D-1,{NOW.isoformat()},{'9' * 30},1,,", "vehicles", Reason.WRONG_TYPE),
    ],
)  # fmt: skip
def test_wrong_cells_are_named(row, field, reason):
    (piece,) = read_csv(f"{HEADER}\n{row}\n")
    assert (piece.line, piece.refusal.field, piece.refusal.reason) == (2, field, reason)


@pytest.mark.parametrize(
    "text", ["", "\ufeff", "a,b\n", "detector,detector,observed_at,vehicles\n", '"\n', "x" * 70_000]
)
def test_a_file_without_usable_header_is_refused_whole(text):
    with pytest.raises(BodyRefused) as refused:
        read_csv(text)
    assert refused.value.status == 400


def test_lines_and_records_without_end_are_refused_within_bounds(monkeypatch):
    monkeypatch.setattr(files, "RECORD_CHARS_MAX", 200)
    for step in (7, 100_000):
        body = "\n".join(
            [HEADER, GOOD, "x" * 1000, GOOD, '"' + "y" * 90, "z" * 90, "z" * 90, GOOD, '"open', ""]
        ).encode()
        found = read(CsvReader(REPORTS, "utf-8"), *(body[at : at + step] for at in range(0, len(body), step)))
        assert [piece.line for piece in found if piece.refusal is None] == [2, 4, 8]
        assert [piece.line for piece in found if piece.refusal] == [3, 5, 6, 7, 9]
        body = body.replace(GOOD.encode(), msgspec.json.encode(REPORTS.example)).split(b"\n", 1)[1]
        found = read(LineReader(REPORTS), *(body[at : at + step] for at in range(0, len(body), step)))
        assert [piece.line for piece in found if piece.refusal is None] == [1, 3, 7]
        assert found[1].refusal.reason == Reason.TOO_LONG
