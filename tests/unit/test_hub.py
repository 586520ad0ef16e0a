"""Views: what each screen is told, in times."""

import json
from dataclasses import replace

import pytest
from websockets.frames import Frame
from websockets.streams import StreamReader

from dashboards import protocol
from dashboards.alerts import Counted, day_began_us
from dashboards.asyncapi import describe
from dashboards.facts import SignOfLife
from dashboards.protocol import MessageWrong, prepared, read_message
from dashboards.staleness import Banner
from dashboards.tiles import ViewportWrong, tiles_of
from tests.hubkit import CORPS, EAST, EPOCH, NOW_US, WEST, Glass, S, alert_entry, device_entry, flow_entry, hub, start
from traffic.audience import RESTRICTED, Audience, Viewer
from traffic.feed import Cursor, parse_cursor
from traffic.limits import SOCKET_TICK_MS

CHIEF = Viewer(unit=CORPS)
WESTERN = Audience(units=frozenset({CORPS, WEST}))


def look(house, unit=CORPS, topics=("roads",), viewport=None, clearance=0):
    return house.screen(Viewer(unit=unit, clearance=clearance), topics, tiles_of(viewport))


def shown(house, screen, glass=None):
    return (glass or Glass()).take(house.pump(screen))


# ---------------------------------------------------------------- flow
def test_what_nobody_has_spoken_of_is_unknown_and_never_zero():
    item = shown(hub(), look(hub())).checkpoints[1]
    assert item == {"id": 1, "flow": [], "per_minute": None, "speed_kmh": None, "seen_at": None, "state": "unknown"}


def test_a_passage_is_live_then_quiet_while_its_sender_speaks_then_unknown():
    house = hub()
    screen, glass = look(house), Glass()
    house.fold([flow_entry(1, [(1, NOW_US, 1, 3, 2, 180.0)]), device_entry(2, 7, NOW_US)], NOW_US + S)
    states = []
    for second in (1, 30, 59, 65, 75, 95):
        if second == 75:
            house.fold([device_entry(3, 7, NOW_US + 70 * S)], NOW_US + 75 * S)
        house.tick(NOW_US + second * S)
        item = shown(house, screen, glass).checkpoints[1]
        states.append((second, item["state"], item["per_minute"]))
    assert states == [
        (1, "live", 3), (30, "live", 3), (59, "live", 3), (65, "live", 2), (75, "quiet", 0), (95, "quiet", 0),
    ]  # fmt: skip
    house.tick(NOW_US + 161 * S)
    assert shown(house, screen, glass).checkpoints[1]["state"] == "unknown"
    assert glass.checkpoints[1]["per_minute"] is None


def test_a_sender_speaks_for_the_checkpoints_that_it_covers_only():
    house = hub(signs=[SignOfLife(device=7, state="alive", seen_at=NOW_US - S)])
    states = {key: item["state"] for key, item in shown(house, look(house)).checkpoints.items()}
    assert states == {1: "quiet", 2: "quiet", 3: "unknown"}


def test_a_sender_that_took_leave_speaks_for_nobody_but_another_may():
    house = hub(
        signs=[SignOfLife(device=7, state="alive", seen_at=NOW_US), SignOfLife(device=8, state="alive", seen_at=NOW_US)]
    )
    house.fold([device_entry(1, 7, NOW_US + S, "unregistered")], NOW_US + S)
    house.tick(NOW_US + S)
    states = {key: item["state"] for key, item in shown(house, look(house)).checkpoints.items()}
    assert states == {1: "unknown", 2: "quiet", 3: "quiet"}


def test_a_word_that_comes_late_does_not_undo_a_newer_one():
    house = hub()
    house.fold([device_entry(1, 7, NOW_US + 5 * S), device_entry(2, 7, NOW_US, "unregistered")], NOW_US + 6 * S)
    house.tick(NOW_US + 6 * S)
    assert shown(house, look(house)).checkpoints[1]["state"] == "quiet"


def test_directions_and_speeds_are_told_apart():
    house = hub()
    house.fold(
        [flow_entry(1, [(2, NOW_US, 1, 2, 2, 200.0), (2, NOW_US - 10 * S, 2, 4, 1, 61.26), (2, NOW_US, 0, 1, 0, 0.0)])],
        NOW_US,
    )
    house.tick(NOW_US)
    item = shown(house, look(house)).checkpoints[2]
    assert item["flow"] == [
        {"direction": 1, "per_minute": 2, "speed_kmh": 100.0},
        {"direction": 2, "per_minute": 4, "speed_kmh": 61.3},
        {"direction": 0, "per_minute": 1, "speed_kmh": None},
    ]
    assert (item["per_minute"], item["speed_kmh"]) == (7, 87.1)


@pytest.mark.parametrize(
    "increment",
    [
        (99, NOW_US, 1, 1, 1, 1.0),
        (1, NOW_US - 3600 * S, 1, 1, 1, 1.0),
        (1, NOW_US + 3600 * S, 1, 1, 1, 1.0),
        (1, NOW_US, 7, 1, 0, 0.0),
    ],
)
def test_counts_of_elsewhere_of_long_ago_and_of_nonsense_change_nothing(increment):
    house = hub()
    house.fold([flow_entry(1, [increment])], NOW_US)
    house.tick(NOW_US)
    assert all(item["per_minute"] is None for item in shown(house, look(house)).checkpoints.values())


def test_a_count_of_a_moment_ahead_is_shown_when_its_time_comes():
    house = hub()
    house.fold([flow_entry(1, [(1, NOW_US + 20 * S, 1, 5, 0, 0.0)])], NOW_US)
    house.tick(NOW_US)
    screen, glass = look(house), Glass()
    assert shown(house, screen, glass).checkpoints[1]["per_minute"] == 0
    house.tick(NOW_US + 21 * S)
    assert shown(house, screen, glass).checkpoints[1]["per_minute"] == 5


def test_a_row_that_cannot_be_read_is_counted_and_costs_only_itself():
    house = hub()
    bad = replace(flow_entry(1, []), body=b'{"b":[["x"]]}')
    house.fold([bad, flow_entry(2, [(1, NOW_US, 1, 3, 0, 0.0)])], NOW_US)
    house.tick(NOW_US)
    assert house.unreadable == 1
    assert shown(house, look(house)).checkpoints[1]["per_minute"] == 3


# ---------------------------------------------------------------- views
def test_a_screen_sees_its_own_and_its_corridors_checkpoints():
    house = hub()
    assert sorted(shown(house, look(house, WEST)).checkpoints) == [1, 2]
    assert sorted(shown(house, look(house, EAST)).checkpoints) == [2, 3]
    assert sorted(shown(house, look(house, 999)).checkpoints) == []


def test_deltas_hold_what_changed_and_nothing_is_told_when_nothing_did():
    house = hub()
    screen = look(house)
    house.pump(screen)
    assert house.pump(screen) == []
    house.fold([flow_entry(1, [(2, NOW_US, 1, 1, 0, 0.0)])], NOW_US)
    house.tick(NOW_US)
    [frame] = [json.loads(text) for text in house.pump(screen)]
    assert (frame["type"], [item["id"] for item in frame["checkpoints"]], frame["seq"]) == (
        "delta", [2], f"{house.cursor.epoch}|0:1",
    )  # fmt: skip


def test_a_view_that_a_change_does_not_concern_is_told_nothing():
    house = hub()
    screen = look(house, WEST)
    house.pump(screen)
    house.fold([flow_entry(1, [(3, NOW_US, 1, 1, 0, 0.0)])], NOW_US)
    house.tick(NOW_US)
    assert house.pump(screen) == []


def test_screens_of_one_view_get_the_very_same_bytes():
    house = hub()
    screens = [look(house, WEST), look(house, WEST, viewport=(120, 40, 130, 50)), look(house, WEST)]
    frames = [house.pump(screen) for screen in screens]
    assert len(frames[0]) == 1 and frames[0][0] is frames[1][0] is frames[2][0]


def test_a_screen_that_was_held_gets_the_newest_state_once():
    house = hub()
    screen, glass = look(house), Glass()
    shown(house, screen, glass)
    for seq in range(1, 6):
        house.fold([flow_entry(seq, [(1, NOW_US, 1, 1, 0, 0.0)])], NOW_US)
        house.tick(NOW_US)
        assert house.pump(screen, hold=True) == []
    frames = house.pump(screen)
    assert len(frames) == 1 and glass.take(frames).checkpoints[1]["per_minute"] == 5


def test_a_map_that_moves_gets_a_snapshot_of_its_new_part():
    house = hub()
    screen, glass = look(house, viewport=(125.0, 43.5, 125.3, 43.9)), Glass()
    assert sorted(shown(house, screen, glass).checkpoints) == [1]
    house.look(screen, tiles_of((126.0, 43.5, 126.4, 43.9)))
    assert sorted(shown(house, screen, glass).checkpoints) == [3]
    house.look(screen, tiles_of((0, 0, 1, 1)))
    assert shown(house, screen, glass).checkpoints == {}


def test_figures_count_the_area_under_the_readers_clearance():
    secret = Audience(units=frozenset({CORPS}), visibility=RESTRICTED, addressees=frozenset({WEST}))
    house = hub(findings=[Counted(id="a", level=1, active=True, first_at=NOW_US, audience=WESTERN)])
    house.fold([alert_entry(1, 5, secret, level=3), flow_entry(2, [(1, NOW_US, 1, 4, 0, 0.0)])], NOW_US)
    house.tick(NOW_US)
    plain = shown(house, look(house, WEST, ("figures",))).figures
    assert plain == {
        "passages_per_minute": 4, "checkpoints_live": 1, "checkpoints_total": 2, "alerts_today": 1,
        "alerts_by_level": {"1": 1, "2": 0, "3": 0, "4": 0}, "lag_s": 0, "index": None,
        "events_open": dict.fromkeys(("congestion", "incident", "weather", "works", "sensor"), 0),
        "crews": {"fresh": 0, "total": 2}, "alerts_shelved": 0, "alerts_open": 0,
    }  # fmt: skip
    assert shown(house, look(house, WEST, ("figures",), clearance=1)).figures["alerts_by_level"]["3"] == 1
    assert shown(house, look(house, CORPS, ("figures",), clearance=1)).figures["alerts_by_level"]["3"] == 0


def test_alerts_put_aside_are_counted_still_and_so_are_those_that_wait_for_a_person():
    house = hub(findings=[Counted(id="a", level=1, active=True, first_at=NOW_US, audience=WESTERN, open=True)])
    screen, glass = look(house, topics=("figures",)), Glass()
    told = shown(house, screen, glass).figures
    assert (told["alerts_today"], told["alerts_open"], told["alerts_shelved"]) == (1, 1, 0)
    house.fold([alert_entry(1, 5, WESTERN, needs_verification=True)], NOW_US)
    house.tick(NOW_US + S)
    assert shown(house, screen, glass).figures["alerts_open"] == 2
    house.fold([alert_entry(2, 5, WESTERN, needs_verification=True, shelf={"reason": "x", "until": 1})], NOW_US)
    house.tick(NOW_US + 2 * S)
    told = shown(house, screen, glass).figures
    assert (told["alerts_today"], told["alerts_open"], told["alerts_shelved"]) == (2, 1, 1)
    house.fold([alert_entry(3, 5, WESTERN, state="retracted", shelf={"reason": "x", "until": 1})], NOW_US)
    house.tick(NOW_US + 3 * S)
    told = shown(house, screen, glass).figures
    assert (told["alerts_today"], told["alerts_open"], told["alerts_shelved"]) == (1, 1, 0)


def test_figures_say_nothing_of_what_nobody_knows():
    figures = shown(hub(), look(hub(), topics=("figures",))).figures
    assert figures["passages_per_minute"] is None and figures["lag_s"] is None and figures["checkpoints_live"] == 0


def test_a_retracted_alert_is_no_longer_counted_and_midnight_begins_anew():
    house = hub()
    screen, glass = look(house, topics=("figures",)), Glass()
    house.fold([alert_entry(1, 5, WESTERN)], NOW_US)
    assert shown(house, screen, glass).figures["alerts_today"] == 1
    house.fold([alert_entry(2, 5, WESTERN, state="retracted")], NOW_US)
    house.tick(NOW_US + S)
    assert shown(house, screen, glass).figures["alerts_today"] == 0
    house.fold([alert_entry(3, 6, WESTERN)], NOW_US)
    house.tick(NOW_US + 2 * S)
    assert shown(house, screen, glass).figures["alerts_today"] == 1
    house.tick(day_began_us(NOW_US) + 24 * 3600 * S)
    assert shown(house, screen, glass).figures["alerts_today"] == 0


# ---------------------------------------------------------------- alerts
def test_alerts_wait_until_the_database_has_told_what_it_knows():
    house = hub()
    screen, glass = look(house, topics=("alerts", "roads")), Glass()
    house.fold([alert_entry(1, 1, WESTERN)], NOW_US)
    assert house.pump(screen) == [], "not even roads: their cursor would promise alerts that were not told"
    position = house.log.end
    house.fold([alert_entry(2, 2, WESTERN), alert_entry(3, 3, WESTERN)], NOW_US)
    house.join(screen, position, Cursor(epoch=house.cursor.epoch, places={0: 2, 1: 0}))
    assert shown(house, screen, glass).alerts == [3]
    assert glass.snapshots == ["roads"]


def test_a_database_that_is_ahead_of_the_hub_tells_nothing_twice():
    house = hub()
    screen, glass = look(house, topics=("alerts",)), Glass()
    house.join(screen, house.log.end, Cursor(epoch=house.cursor.epoch, places={0: 2, 1: 5}))
    house.fold([alert_entry(1, 1, WESTERN), alert_entry(2, 2, WESTERN), alert_entry(3, 3, WESTERN)], NOW_US)
    assert shown(house, screen, glass).alerts == [3]
    assert glass.cursor.places == {0: 3, 1: 5}, "the cursor does not fall behind what the database told"
    house.fold([alert_entry(seq, seq + 10, WESTERN, partition=1) for seq in range(1, 7)], NOW_US)
    assert shown(house, screen, glass).alerts == [3, 16]
    assert screen.behind is None


def test_a_screen_that_is_further_behind_than_the_log_waits_for_the_database():
    house = hub()
    screen = look(house, topics=("alerts",))
    house.join(screen, 0, house.cursor)
    house.log.break_off()
    assert house.waits(screen) and house.pump(screen) == []


def test_starting_over_goes_on_with_alerts_and_begins_roads_anew():
    house = hub()
    screen, glass = look(house, topics=("alerts", "roads")), Glass()
    house.join(screen, 0, house.cursor)
    shown(house, screen, glass)
    missed = [alert_entry(1, 1, WESTERN), flow_entry(2, [(1, NOW_US, 1, 9, 0, 0.0)])]
    house.restart(start(places={0: 2, 1: 0}, flow=[(1, NOW_US, 1, 9, 0, 0.0)]), missed, NOW_US)
    shown(house, screen, glass)
    assert glass.alerts == [1] and glass.snapshots == ["roads", "roads"]
    assert glass.checkpoints[1]["per_minute"] == 9
    house.restart(start(places={0: 9, 1: 0}), None, NOW_US)
    assert house.waits(screen)


def test_a_hole_in_the_feed_is_seen():
    house = hub()
    assert house.follows([flow_entry(1, []), flow_entry(2, []), flow_entry(1, [], partition=1)])
    assert not house.follows([flow_entry(2, [])])
    assert not house.follows([flow_entry(1, []), flow_entry(3, [])])


# ---------------------------------------------------------------- words and bytes
@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_prepared_frame_is_one_unmasked_text_frame(size):
    reader = StreamReader()
    reader.feed_data(prepared(b"x" * size))
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        while True:
            next(parsing)
    frame = done.value.value
    assert (frame.opcode, frame.fin, len(frame.data)) == (1, True, size)


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "malformed"), ("7", "malformed"), ('{"type":1}', "malformed"), ('{"type":"nothing"}', "unknown_type"),
     ('{"type":"ack","ids":[1]}', "malformed"), ('{"type":"viewport"}', "malformed"), (b"{}", "binary"),
     ('{"type":"subscribe","topics":["roads"],"viewport":[1e999,0,0,0]}', "malformed"), ("\ud800", "malformed")],
)  # fmt: skip
def test_a_message_that_is_none_is_refused_by_name(text, code):
    with pytest.raises(MessageWrong) as wrong:
        read_message(text)
    assert wrong.value.code == code and wrong.value.fatal == (code != "unknown_type")


@pytest.mark.parametrize("viewport", [(1, 2, 0, 3), (1, 3, 2, 2), (float("nan"), 0, 1, 1), (0, 0, 1)])
def test_a_viewport_that_is_none_is_refused(viewport):
    with pytest.raises(ViewportWrong):
        tiles_of(viewport)


def test_a_viewport_over_the_whole_world_is_the_whole_area():
    assert tiles_of((-500, -500, 500, 500)) is None
    assert tiles_of((500, 0, 600, 1)) == frozenset()
    assert tiles_of((125.0, 43.5, 125.4, 43.9)) == {(250, 87)}


@pytest.mark.parametrize(
    "text",
    ["", "|", "x|0:1", EPOCH, f"{EPOCH}|0:0", f"{EPOCH}|0:1,0:2", f"{EPOCH}|٣:1", f"{EPOCH}|0:-1", f"{EPOCH}|0:1,"],
)
def test_a_text_that_is_no_cursor_is_none(text):
    assert parse_cursor(text) is None


def test_a_cursor_survives_its_text():
    cursor = Cursor(epoch="00000000-0000-4000-8000-000000000001", places={10: 7, 2: 3, 5: 0})
    assert str(cursor) == "00000000-0000-4000-8000-000000000001|2:3,10:7"
    assert parse_cursor(str(cursor)).place(10) == 7


def test_every_message_stands_in_the_description_of_the_protocol():
    page = describe("ws://h:1/view")
    told = {m["payload"]["$ref"].rpartition("/")[2] for m in page["components"]["messages"].values()}
    assert told == {kind.__name__ for kind in (*protocol.CLIENT_TYPES, *protocol.SERVER_TYPES)}
    assert told <= page["components"]["schemas"].keys()
    assert page["servers"]["live"] == {"host": "h:1", "protocol": "ws"}
    assert str(SOCKET_TICK_MS) in page["info"]["description"]


def test_a_banner_names_a_part_with_the_time_at_which_it_stopped():
    banner = Banner()
    assert banner.update({"worker": 4.0}, now_us=100 * S, rate=1.0)
    assert not banner.update({"worker": 6.5}, now_us=103 * S, rate=1.0)
    frame = banner.frame(110 * S)
    assert (frame.age_s, [(part.part, part.since) for part in frame.parts]) == (14, [("worker", 96 * S)])
    assert banner.update({}, now_us=111 * S, rate=1.0)
    assert banner.frame(111 * S) == protocol.StaleFrame(age_s=0, parts=[])
