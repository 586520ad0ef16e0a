"""The stream worker on a real database and bus: the ordinary day, and the same record again."""

import numpy as np
import pytest

from tests.workbench import Bench, batch, identities_of, seen
from tests.workerkit import (
    assert_exactly_once,
    assert_feed_is_dense,
    assert_roll_ups_agree,
    partition_of,
    traffic_of,
    watch,
)
from tests.world import CORPS, WEST, World
from traffic.plates import plate_key
from traffic.readings import (
    DeviceEvent,
    Door,
    EntryKind,
)
from traffic.store import us_of


# ---------------------------------------------------------------- the ordinary day
def test_traffic_is_stored_judged_and_told_once_although_every_batch_comes_twice(bench: Bench, world: World):
    worker = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows[:70])
    bench.send(*rows[40:])
    bench.drain(worker)
    bench.send(*rows)
    bench.drain(worker)

    assert_exactly_once(bench, rows)
    assert bench.one("SELECT count(*) FROM passage_amendment") == 0
    assert bench.one("SELECT count(*) FROM passage_source") == 0
    assert worker.figures["records"] == len(rows)


def test_any_order_of_arrival_ends_in_the_same_findings(bench: Bench, world: World):
    worker = bench.worker()
    rows = traffic_of(world)
    for number in np.random.default_rng(7).permutation(len(rows)):
        bench.send(rows[number])
        if number % 10 == 0:
            bench.drain(worker)
    bench.drain(worker)

    assert_exactly_once(bench, rows)
    (hit,) = bench.rows("SELECT grounds -> 'count', grounds -> 'observations' FROM finding WHERE kind = 'watch_hit'")
    assert hit[0] == 2 and [o["checkpoint"] for o in hit[1]] == [world.gates[2].id, world.gates[3].id]
    ((speed, travel),) = bench.rows(
        "SELECT grounds -> 'detail' -> 'section' -> 'speed_kmh', grounds -> 'detail' -> 'section' -> 'travel_s'"
        " FROM finding WHERE kind = 'section_speed' AND plate_key = %s AND state = 'active'",
        plate_key("吉S00001"),
    )
    assert (speed, travel) == (150.0, 240.0)


def test_what_was_read_late_corrects_the_finding_and_the_feed_says_so(bench: Bench, world: World):
    worker = bench.worker()
    early, late, leaving = (seen(world, gate, at_s, "吉S00001") for gate, at_s in ((0, -400), (0, -350), (1, -160)))
    for row in (early, leaving, late):
        bench.send(row)
        bench.drain(worker)
    told = bench.rows("SELECT body ->> 'change', body -> 'section' -> 'travel_s' FROM feed WHERE topic = 'alerts'")
    assert told == [("new", 240.0), ("corrected", 190.0)]
    assert_feed_is_dense(bench)


def test_a_vehicle_without_a_readable_plate_is_counted_and_judged_by_no_rule(bench: Bench, world: World):
    worker = bench.worker()
    nameless = [seen(world, gate, -400 + 200 * gate, "", source_hash=gate + 1) for gate in (0, 1)]
    bench.send(*nameless)
    bench.drain(worker)
    assert bench.identities() == identities_of(*nameless)
    assert bench.one("SELECT count(*) FROM finding") == 0
    assert len(worker.memory.passages) == 0


def test_a_plate_that_no_key_holds_is_kept_in_words_and_can_be_watched(bench: Bench, world: World):
    text = "外交使馆车ABCD1234"
    watch(bench, world, text)
    worker = bench.worker()
    row = seen(world, 0, -5, text)
    bench.send_batch(batch(row, odd={int(row["plate_key"][0]): text}))
    bench.drain(worker)
    assert bench.rows("SELECT plate_key, plate FROM odd_plate") == [(plate_key(text), text)]
    assert bench.rows("SELECT body ->> 'plate' FROM feed WHERE topic = 'alerts'") == [(text,)]


def test_pictures_are_kept_beside_the_passage(bench: Bench, world: World):
    worker = bench.worker()
    row = seen(world, 0, -5)
    bench.send_batch(batch(row, images=("http://pictures/1.jpg", "http://pictures/2.jpg")))
    bench.drain(worker)
    ((images, source),) = bench.rows("SELECT images, source_hash FROM passage_extra")
    assert (images, source) == (["http://pictures/1.jpg", "http://pictures/2.jpg"], int(row["source_hash"][0]))


def test_the_flow_of_a_checkpoint_goes_to_its_units_and_along_the_corridor(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(*(seen(world, 1, -20 - n / 1000, f"吉D{n:05d}") for n in range(7)))
    bench.drain(worker)
    flows = bench.rows("SELECT body -> 'b', audience FROM feed WHERE kind = 'flow'")
    assert sum(part[3] for buckets, _ in flows for part in buckets) == 7
    for _, audience in flows:
        assert set(audience) == {CORPS, 11, 111, 1111, 12, 121, 1211}


def test_the_word_of_a_device_is_kept_and_an_older_one_changes_nothing(bench: Bench, world: World):
    worker = bench.worker()
    now_us = us_of(world.now)
    for at, state in ((now_us, "registered"), (now_us + 5, "alive"), (now_us + 1, "registered")):
        event = DeviceEvent(at=at, device_id=world.gat_id, state=state, peer="10.0.0.1")
        bench.send_small(EntryKind.DEVICE, [event], world.gat_id)
    bench.drain(worker)
    assert bench.rows("SELECT device_id, state FROM device_status") == [(world.gat_id, "alive")]
    assert bench.rows("SELECT body ->> 'state', audience FROM feed WHERE kind = 'device'") == [
        ("registered", [CORPS, WEST]),
        ("alive", [CORPS, WEST]),
    ]


def travel_times(bench: Bench) -> list[tuple]:
    """By section and half minute, over all slots, with the samples in order."""
    return bench.rows(
        "SELECT section, bucket, sum(vehicles)::int, (SELECT array_agg(round(one::numeric, 3) ORDER BY one)"
        " FROM travel_time s, unnest(s.seconds) AS one WHERE s.section = t.section AND s.bucket = t.bucket)"
        " FROM travel_time t GROUP BY 1, 2 HAVING sum(vehicles) <> 0 ORDER BY 1, 2"
    )


def test_travel_times_of_all_who_pass_a_section_are_kept_by_half_minute_in_any_order(bench: Bench, world: World):
    worker = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows)
    bench.drain(worker)
    whole = travel_times(bench)
    assert sum(row[2] for row in whole) == 31  # thirty in 150 s, which is too fast, and one of them at 150 km/h
    assert {float(one) for row in whole for one in row[3]} == {150.0, 240.0}
    bench.send(*rows)
    bench.drain(worker)
    assert travel_times(bench) == whole

    bench.execute("TRUNCATE travel_time, passage")
    bench.dies(worker)
    worker = bench.worker()
    worker.forget()
    for number in np.random.default_rng(9).permutation(len(rows)):
        bench.send(rows[number])
        if number % 7 == 0:
            bench.drain(worker)
    bench.drain(worker)
    assert travel_times(bench) == whole


def test_a_late_reading_takes_a_travel_time_back_and_gives_another(bench: Bench, world: World):
    worker = bench.worker()
    for gate, at_s in ((0, -700), (1, -100), (0, -400)):
        bench.send(seen(world, gate, at_s, "吉S00001"))
        bench.drain(worker)
    ((_, _, vehicles, seconds),) = travel_times(bench)
    assert (vehicles, [float(one) for one in seconds]) == (1, [300.0])
    bench.send(seen(world, 1, -200, "吉S00001"))  # it left before: the reading at -100 is no exit any more
    bench.drain(worker)
    ((_, bucket, vehicles, seconds),) = travel_times(bench)
    assert (vehicles, [float(one) for one in seconds]) == (1, [200.0])
    assert us_of(bucket) == (us_of(world.now) - 200_000_000) // 30_000_000 * 30_000_000


def test_passages_are_rolled_up_by_class_and_an_amended_class_moves(bench: Bench, world: World):
    worker = bench.worker()
    classes = {0: 1, 1133: 1, 1110: 2, 810: 3, 1721: 3, 1301: 4}  # by GA 24.4; not told: by the plate, which is small
    rows = [seen(world, 0, -5 - n, f"吉R{n:05d}", vehicle_class=code) for n, code in enumerate(classes)]
    bench.send(*rows, seen(world, 0, -4, "吉R99999", plate_class=0))
    bench.drain(worker)

    def by_class() -> dict[int, int]:
        return dict(
            bench.rows("SELECT class, sum(passages)::int FROM checkpoint_minute GROUP BY 1 HAVING sum(passages) <> 0")
        )

    assert by_class() == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}
    coach = rows[0].copy()
    coach["vehicle_class"], coach["received_at"] = 1110, us_of(world.now)
    bench.send(coach)
    bench.drain(worker)
    assert by_class() == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1}
    assert_roll_ups_agree(bench)


# ---------------------------------------------------------------- the same record again
SECOND_DOOR = {"door": int(Door.GAT1400), "device": 1, "received_at": 1_790_000_000_000_000}


@pytest.mark.parametrize("between", ["one batch", "two batches", "a takeover"])
def test_a_second_door_adds_a_source_and_no_passage(bench: Bench, world: World, between: str):
    worker = bench.worker()
    row = seen(world, 0, -5)
    other = row.copy()
    for name, value in SECOND_DOOR.items():
        other[name] = value
    if between == "one batch":
        bench.send(row, other, other)
    else:
        bench.send(row)
        bench.drain(worker)
        if between == "a takeover":
            bench.dies(worker)
            worker = bench.worker()
        bench.send(other)
        bench.send(row)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT door, device FROM passage") == [(int(Door.NATIVE), world.native_id)]
    assert bench.rows("SELECT door, device FROM passage_source") == [(int(Door.GAT1400), 1)]
    assert bench.one("SELECT count(*) FROM passage_amendment") == 0


def test_who_amended_a_passage_that_another_device_sent_is_kept(bench: Bench, world: World):
    worker = bench.worker()
    row = seen(world, 0, -5, speed_kmh=96.5)
    other = seen(world, 0, -5, speed_kmh=40.0)
    for name, value in {**SECOND_DOOR, "received_at": int(row["received_at"][0]) + 1}.items():
        other[name] = value
    bench.send(row)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT door, device FROM passage") == [(int(Door.NATIVE), world.native_id)]
    assert bench.rows("SELECT door, device, before->'speed_kmh', after->'speed_kmh' FROM passage_amendment") == [
        (SECOND_DOOR["door"], SECOND_DOOR["device"], 96.5, 40.0)
    ]


@pytest.mark.parametrize("between", ["one batch", "two batches", "a takeover"])
def test_other_content_amends_the_passage_and_keeps_what_it_said(bench: Bench, world: World, between: str):
    worker = bench.worker()
    row = seen(world, 0, -5, speed_kmh=96.5, lane=1)
    other = seen(world, 0, -5, speed_kmh=np.nan, lane=2, received_at=int(row["received_at"][0]) + 1)
    if between == "one batch":
        bench.send(row, other)
    else:
        bench.send(row)
        bench.drain(worker)
        if between == "a takeover":
            bench.dies(worker)
            worker = bench.worker()
        bench.send(other)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT lane, speed_kmh = 'NaN' FROM passage") == [(2, True)]
    assert bench.rows("SELECT revision, before, after FROM passage_amendment") == [
        (1, {"lane": 1, "speed_kmh": 96.5}, {"lane": 2, "speed_kmh": None})
    ]
    assert_roll_ups_agree(bench)


@pytest.mark.parametrize("order", ["as sent", "the correction first"])
def test_a_corrected_plate_is_an_amendment_although_another_partition_carries_it(
    bench: Bench, world: World, order: str
):
    wrong = seen(world, 0, -5, "吉E00001", source_hash=77)
    plates = (f"吉E{n:05d}" for n in range(2, 100))
    right = next(
        row
        for row in (seen(world, 0, -5, p, source_hash=77) for p in plates)
        if partition_of(row) != partition_of(wrong)
    )
    right["received_at"] = wrong["received_at"] + 1_000_000
    watch(bench, world, "吉E00001", "BK-WRONG")
    worker = bench.worker()
    for row in (wrong, right) if order == "as sent" else (right, wrong):
        bench.send(row)
        bench.drain(worker)
        bench.dies(worker)  # the second partition belongs to a worker that has not seen the first
        worker = bench.worker()

    assert bench.rows("SELECT plate_key FROM passage") == [(int(right["plate_key"][0]),)]
    assert bench.rows("SELECT before, after FROM passage_amendment") == [
        ({"plate_key": int(wrong["plate_key"][0])}, {"plate_key": int(right["plate_key"][0])})
    ]
    assert bench.rows("SELECT anchor FROM finding") == [("BK-WRONG",)]
    assert_roll_ups_agree(bench)


def test_a_plate_corrected_to_a_watched_one_raises_the_alert(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(seen(world, 0, -5, "吉A88880", source_hash=77))
    bench.drain(worker)
    assert bench.one("SELECT count(*) FROM finding") == 0
    bench.send(seen(world, 0, -5, world.watched_plate, source_hash=77, received_at=us_of(world.now)))
    bench.drain(worker)
    assert bench.rows("SELECT kind, plate_key FROM finding") == [("watch_hit", plate_key(world.watched_plate))]
    assert bench.one("SELECT count(*) FROM passage") == 1


def test_a_record_older_than_the_window_is_looked_up_before_it_is_stored(bench: Bench, world: World):
    worker = bench.worker()
    old = [seen(world, 0, -3600 * hours, f"吉F{hours:05d}") for hours in range(1, 20)]
    for _ in range(3):
        bench.send(*old)
        bench.drain(worker)
        worker.due.pop("tick", None)  # time passes: the window moves on
    assert bench.identities() == identities_of(*old)
    assert worker.figures["duplicates"] == 2 * len(old)
