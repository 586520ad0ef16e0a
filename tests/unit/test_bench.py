"""Benches and evaluations: the shape of what they print, and the pieces that decide on a figure. No bench runs here."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from dashboards import bench, evaluate
from dashboards.bench import growth, ingest, latency, stream_of_passages, takeover, vehicles
from dashboards.bench.bare_copy import Bare
from dashboards.bench.ingest import Run
from dashboards.bench.latency import Times
from dashboards.bench.measured import Measured, Reference
from dashboards.bench.sender import Report, Sender, Spec, read_answer
from dashboards.bench.stream_of_passages import Mix
from dashboards.evaluate import section_speed
from dashboards.evaluate.drives import Nature, make
from tests.conftest import wait_until_async
from tests.doorkit import GATES, NATIVE, NOW_US, read_native
from tests.doorkit import bench as door_bench
from traffic.errors import SettingsError
from traffic.ingest import native
from traffic.network import Section
from traffic.plates import plate_key
from traffic.province_tables import model_province

SECTION = Section(id=1, from_checkpoint=GATES[0].id, to_checkpoint=GATES[1].id, length_m=2_000, limit_kmh=100)
MIX = Mix(
    checkpoints=[
        replace(place, id=gate.id, code=gate.code, limit_kmh=100)
        for gate, place in zip(GATES, model_province().checkpoints, strict=False)
    ],
    sections=[SECTION], passages=3_000,
    start_us=NOW_US - 600_000_000, span_s=600.0, seed=7,
)  # fmt: skip
RUN = Run(
    per_s=100.0, overall_per_s=90.0, transactions=2, cpu_s={"doors": 1.0}, elapsed_s=2.0, lag_max=10, refused=0,
    findings={"section_speed": 1},
)  # fmt: skip


def bare(elapsed_s: float) -> Bare:
    return Bare(elapsed_s=elapsed_s, cpu_s=1.0)


def assert_shape(result: dict) -> None:
    """The contract of the command: one JSON object with these keys."""
    again = json.loads(json.dumps(result, ensure_ascii=False, allow_nan=False))
    assert set(again) == {"name", "value", "unit", "reference", "ratio", "details"}
    assert set(again["reference"]) == {"name", "value"}
    assert isinstance(again["details"], dict)
    assert again["ratio"] == pytest.approx(again["value"] / again["reference"]["value"], abs=1e-3)


def test_every_result_has_one_shape():
    options = ingest.Options(repeats=1, passages=200)
    assert_shape(ingest._result(options, [RUN], {1: [bare(3.0)], 2: [bare(2.0)]}, 100, {}).as_json())
    assert_shape(takeover._result(takeover.Options(), [{0: 5.5, 3: 6.0}, {1: 5.0}]).as_json())
    half = Times(alert=[0.2, 0.4], flow=[0.3], ack=[0.01], commit=[0.002], echo=[0.001])
    assert_shape(latency._result(latency.Options(), 1_000, {0.1: half, 0.5: half}).as_json())


def test_ingest_is_held_against_the_better_of_the_two_references():
    options = ingest.Options(repeats=3, passages=1_000)
    taken = {1: [bare(2.0), bare(100.0), bare(2.0)], 2: [bare(2.5)] * 3}
    result = ingest._result(options, [RUN] * 3, taken, 100, {}).as_json()
    assert result["reference"] == {"name": "bare COPY over 1 connection(s)", "value": 500}
    assert result["value"] == 100 and result["ratio"] == 0.2


def test_growth_is_told_by_the_cheapest_runs_and_axis_by_axis():
    def run(cost_s: float) -> Run:
        return replace(RUN, cpu_s={"doors": cost_s, "sender": 9.0})

    taken = {
        (10, 5, 1): [run(2.0), run(1.0)], (10, 5, 2): [run(1.1)],
        (99, 5, 1): [run(1.2)], (99, 5, 2): [run(1.2)],
    }  # fmt: skip
    result = growth._result(growth.Options(passages=1_000_000), taken).as_json()
    assert_shape(result)
    assert result["value"] == 20.0
    assert result["details"]["within_percent"] == {"stored": 20.0, "plates": 0.0, "workers": 10.0}
    assert [cell["cpu_us"] for cell in result["details"]["cells"]] == [1.0, 1.1, 1.2, 1.2]


def test_vehicles_have_plates_of_their_own_and_a_tenth_is_registered():
    numbers = np.arange(200_000)
    keys = vehicles.plate_keys(numbers)
    assert len(np.unique(keys)) == len(numbers)
    assert [plate_key(text) for text in vehicles.plate_texts(keys[:500])] == keys[:500].tolist()
    assert vehicles.plate_texts(np.zeros(1, np.int64)) == [""]
    rng = np.random.default_rng(1)
    for plates in (100_000, 10_000_000):
        drawn = vehicles.drawn(rng, plates, 20_000)
        assert drawn.max() < plates
        assert 0.08 < vehicles.is_registered(drawn).mean() < 0.13
    assert vehicles.is_registered(vehicles.registered_numbers()).all()


def test_nobody_is_seen_at_two_places_in_less_time_than_the_way_takes():
    stream = stream_of_passages.make(replace(MIX, plates=500))
    _, travel_s = stream_of_passages._ways(MIX.checkpoints)
    for vehicle in range(500):
        seen = stream.vehicle == vehicle
        gate, at_s = stream.gate[seen], stream.observed_us[seen] / 1e6
        moves = np.flatnonzero(gate[1:] != gate[:-1])
        assert len(moves) <= 1
        assert all(at_s[one + 1] - at_s[one] >= travel_s[gate[one]] - 1e-3 for one in moves)


def test_a_result_without_a_reference_has_no_ratio():
    nothing = Measured(name="n", value=1.0, unit="u", reference=Reference(name="none", value=0.0)).as_json()
    assert nothing["ratio"] is None


def test_the_registries_name_what_is_measured():
    assert set(bench.BENCHES) >= {"ingest", "latency", "takeover"}
    assert set(evaluate.EVALUATIONS) >= {"section_speed"}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nothing", {}, "there is no 'nothing'; there are: cycle, doors, "),
        ("ingest", {"pasages": "3"}, "no option 'pasages'"),
        ("ingest", {"passages": "many"}, "a wrong option of ingest"),
    ],
)
def test_a_wrong_name_or_option_is_one_clear_sentence(name: str, options: dict[str, str], sentence: str):
    with pytest.raises(SettingsError, match=sentence):
        bench.run(name, options)


def test_bodies_and_rows_are_the_same_passages():
    stream = stream_of_passages.make(MIX)
    rows = stream_of_passages.rows(stream, device=NATIVE.id, device_code=NATIVE.code, received_us=NOW_US)
    taken = [
        native.check(read_native(body), device=NATIVE, bench=door_bench(), received_us=NOW_US)
        for body in stream_of_passages.bodies(stream, 700)
    ]
    assert [checked.count for checked in taken] == [700, 700, 700, 700, 200]
    assert not any(checked.refusals for checked in taken)
    assert np.concatenate([checked.batch.rows for checked in taken]).tobytes() == rows.tobytes()


def test_the_stream_keeps_its_rate_and_holds_what_both_rules_look_for():
    stream = stream_of_passages.make(MIX)
    assert set(np.diff(stream.observed_us).tolist()) == {200_000}
    assert len(np.unique(stream.vehicle)) > 2_000, "many vehicles"
    entries, exits = stream.gate == 0, stream.gate == 1
    driven = np.intersect1d(stream.vehicle[entries & (stream.vehicle >= MIX.plates)], stream.vehicle[exits])
    assert len(driven), "somebody drove the section too fast"
    again = stream_of_passages.make(MIX)
    assert (again.vehicle == stream.vehicle).all() and (again.speed_kmh == stream.speed_kmh).all()


def test_the_steady_rate_leaves_out_begin_and_end():
    seen = [(float(second), min(1_000, 100 * second)) for second in range(15)]
    assert ingest._steady(seen, 1_000) == pytest.approx(100.0)


def test_the_lag_is_the_most_that_was_acknowledged_and_not_stored():
    report = Report(first_ack_s=1.0, last_ack_s=3.0, acks=[(0.0, 3.0), (0.0, 1.0), (0.0, 2.0)], refused=0)
    assert ingest._lag_max(report, 10, [(0.5, 0), (1.5, 10), (2.5, 10), (4.0, 30)]) == 10


async def test_an_answer_is_read_with_its_wait():
    reader = asyncio.StreamReader()
    reader.feed_data(b"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\ncontent-length: 3\r\n\r\n{} ")
    reader.feed_data(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert await read_answer(reader) == (429, 2.0)
    assert await read_answer(reader) == (200, 1.0)


async def test_a_refused_body_is_sent_again_and_the_others_wait_for_their_turn():
    got: list[bytes] = []

    async def door(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            got.append(await reader.readexactly(length))
            status = b"503 Closed\r\nRetry-After: 0" if len(got) == 1 else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
            if len(got) == 3:
                writer.close()
                return

    server = await asyncio.start_server(door, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    spec = Spec(file="", sizes=[], host="127.0.0.1", port=port, key="k", connections=1, upto=1)
    sender = Sender(spec, [memoryview(b"[1]"), memoryview(b"[2]")])
    sending = asyncio.create_task(sender.run())
    await wait_until_async(lambda: sender.acks)
    assert got == [b"[1]", b"[1]"], "the second body waits until it may be sent"
    sender.allow(2)
    report = await sending
    server.close()
    assert got[2:] == [b"[2]"]
    assert report.refused == 1 and len(report.acks) == 2


def test_the_evaluation_prints_its_scores():
    result = evaluate.run("section_speed", {"vehicles": "400"})
    assert_shape(result)
    for method in ("section_speed", "spot_speed"):
        assert set(result["details"][method]) == {"precision", "recall", "f1", "hits", "false", "missed"}
    assert result["details"]["shares"]["speeding_share"] == Nature().speeding_share


def test_with_perfect_cameras_the_rule_finds_exactly_what_happened():
    perfect = Nature(
        missed_share=0.0, misread_share=0.0, clock_skew_s=0.0, bad_clock_share=0.0, too_late_share=0.0,
        late_share=0.3, repeated_share=0.1,
    )  # fmt: skip
    world = make(model_province().sections, vehicles=1_500, seed=3, nature=perfect)
    score = section_speed.score_findings(world, section_speed.find(world, section_speed._rulebook()), 1.1)
    assert score.hits > 40
    assert (score.false, score.missed) == (0, 0), "late and repeated readings change nothing in the end"


def test_a_misread_plate_accuses_nobody_by_section_but_somebody_by_spot_speed():
    blind = Nature(missed_share=0.0, misread_share=1.0, late_share=0.0, too_late_share=0.0, repeated_share=0.0)
    world = make(model_province().sections, vehicles=1_000, seed=3, nature=blind)
    found = section_speed.score_findings(world, section_speed.find(world, section_speed._rulebook()), 1.1)
    spot = section_speed.score_spot(world, 1.1)
    assert (found.hits, spot.hits) == (0, 0)
    assert found.false <= 1 < spot.false
