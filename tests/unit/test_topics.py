"""What screens are told of links, events and units, in times."""

import json
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import msgspec
import numpy as np
import pytest

from dashboards.facts import ToldEvent, ToldPosition
from dashboards.hub import Hub
from dashboards.protocol import (
    CrewRow,
    EventsFrame,
    FiguresFrame,
    IndexFigures,
    LinkRow,
    LinksFrame,
    RoadsFrame,
    UnitsFrame,
)
from dashboards.tiles import tiles_of
from dashboards.topics import events as events_topic
from dashboards.topics import units as units_topic
from dashboards.topics.links import unknown
from tests.hubkit import (
    CORPS,
    EAST,
    NOW_US,
    WEST,
    Glass,
    S,
    crew_entry,
    entry_of,
    event_entry,
    index_entry,
    links_entry,
    start,
    vehicle_entry,
)
from traffic import positions, road_said
from traffic.audience import Audience, Viewer
from traffic.positions import PLACE
from traffic.road_readings import POSITION
from traffic.roads.model import EventKind, Index, RoadEvent

WESTERN = Audience(units=frozenset({CORPS, WEST}))
EASTERN = Audience(units=frozenset({CORPS, EAST}))
ALL = Audience(units=frozenset({CORPS, WEST, EAST}))
WEST_BOX, EAST_BOX = (125.0, 43.5, 125.4, 43.9), (126.0, 43.5, 126.4, 43.9)


def hub(**fields: object) -> Hub:
    return Hub(start(**fields), NOW_US)  # type: ignore[arg-type]


def look(house, unit=CORPS, topics=("links",), viewport=None):
    return house.screen(Viewer(unit=unit), topics, tiles_of(viewport))


def shown(house, screen, glass=None):
    return (glass or Glass()).take(house.pump(screen))


def levels(glass: Glass) -> dict[int, int]:
    return {link: row[1] for link, row in glass.links.items()}


# ---------------------------------------------------------------- links
def test_a_link_of_which_nothing_was_told_is_unknown_and_never_free():
    glass = shown(hub(), look(hub()))
    assert levels(glass) == {1: 0, 2: 0, 3: 0}
    assert glass.links[1] == [1, 0, None, None, None, None, None, 0.0, None, 0, 0]


def test_a_unit_sees_its_own_links_and_its_neighbours_along_the_corridor():
    house = hub()
    assert sorted(shown(house, look(house, WEST)).links) == [1, 2]
    assert sorted(shown(house, look(house, EAST)).links) == [2, 3]
    assert shown(house, look(house, 999)).links == {}


def test_a_link_is_unknown_when_its_data_is_old_whatever_the_last_cycle_said():
    house = hub()
    screen, glass = look(house), Glass()
    house.fold([links_entry(1, [(1, 5, NOW_US), (2, 2, NOW_US - 60 * S)])], NOW_US)
    assert levels(shown(house, screen, glass)) == {1: 5, 2: 2, 3: 0}
    for second, wanted in ((30, {1: 5, 2: 2, 3: 0}), (59, {1: 5, 2: 2, 3: 0}), (60, {1: 5, 2: 0, 3: 0})):
        house.fold([links_entry(1 + second, [], at=NOW_US + second * S)], NOW_US + second * S)  # cycles go on
        house.tick(NOW_US + second * S)
        assert levels(shown(house, screen, glass)) == wanted, second
    assert glass.links[2] == json.loads(json.dumps([2, 0, *[None] * 5, 0.0, None, 0, 0]))


def test_all_links_are_unknown_when_the_monitor_stands_still_and_known_again_when_it_goes_on():
    house = hub()
    screen, glass = look(house), Glass()
    house.fold([links_entry(1, [(1, 3, NOW_US), (3, 1, NOW_US)])], NOW_US)
    house.tick(NOW_US + 89 * S)
    assert levels(shown(house, screen, glass)) == {1: 3, 2: 0, 3: 1}
    house.tick(NOW_US + 90 * S)
    assert levels(shown(house, screen, glass)) == {1: 0, 2: 0, 3: 0}
    at = NOW_US + 100 * S
    house.fold([links_entry(2, [(1, 3, at)], at=at)], at)
    assert levels(shown(house, screen, glass)) == {1: 3, 2: 0, 3: 1}, "of the third the last cycle still holds"


def test_a_start_from_old_tables_shows_nothing_as_known():
    row = LinkRow(1, 1, 80.0, 900.0, 11.0, 45.0, 50.0, 0.9, NOW_US - 3600 * S, 1, 1)
    glass = shown(house := hub(links=[row], cycle_us=NOW_US - 3600 * S), look(house))
    assert glass.links[1] == json.loads(json.dumps(list(_values(unknown(1)))))


def _values(row: LinkRow) -> list:
    return [getattr(row, name) for name in row.__struct_fields__]


def test_deltas_of_links_hold_what_changed_in_the_view():
    house = hub()
    western, eastern = look(house, WEST), look(house, EAST)
    house.pump(western), house.pump(eastern)
    house.fold([links_entry(1, [(1, 4, NOW_US), (77, 1, NOW_US)])], NOW_US)
    [frame] = [json.loads(text) for text in house.pump(western)]
    assert (frame["type"], [row[:2] for row in frame["links"]], frame["cycle_at"]) == ("delta", [[1, 4]], NOW_US)
    assert house.pump(eastern) == [] and house.pump(western) == []


def test_a_map_that_moves_is_told_of_the_links_that_touch_its_tiles():
    house = hub()
    screen, glass = look(house, viewport=WEST_BOX), Glass()
    assert sorted(shown(house, screen, glass).links) == [1, 2]
    house.look(screen, tiles_of(EAST_BOX))
    assert sorted(shown(house, screen, glass).links) == [3]
    house.look(screen, tiles_of((0, 0, 1, 1)))
    assert shown(house, screen, glass).links == {}


def test_screens_of_one_view_get_the_very_same_bytes_of_links_and_units():
    house = hub()
    topics = ("links", "units", "events", "figures")
    frames = [house.pump(look(house, WEST, topics, WEST_BOX)) for _ in range(3)]
    assert [a is b is c for a, b, c in zip(*frames, strict=True)] == [True] * 4


def test_a_row_of_links_that_cannot_be_read_is_counted_and_costs_only_itself():
    house = hub()
    bad = [replace(links_entry(1, []), body=body) for body in (b"{}", b'{"at":1,"l":[[1,"x"]]}', b"[]", b"null")]
    good = links_entry(5, [(1, 2, NOW_US)])
    house.fold([replace(entry, seq=seq) for seq, entry in enumerate([*bad, good], start=1)], NOW_US)
    assert house.unreadable == 4 and levels(shown(house, look(house)))[1] == 2


# ---------------------------------------------------------------- events
def test_events_come_gravest_and_newest_first_and_only_to_their_units():
    house = hub()
    house.fold(
        [
            event_entry(1, 1, WESTERN, level=3, at=NOW_US - 5 * S),
            event_entry(2, 2, WESTERN, level=1, at=NOW_US - 9 * S),
            event_entry(3, 3, WESTERN, level=3, at=NOW_US), event_entry(4, 4, EASTERN, level=2),
        ],
        NOW_US,
    )  # fmt: skip
    [frame] = [json.loads(text) for text in house.pump(look(house, WEST, ("events",)))]
    assert [card["number"] for card in frame["events"]] == [2, 3, 1]
    assert sorted(shown(house, look(house, CORPS, ("events",))).events) == [1, 2, 3, 4]


def test_an_event_that_changed_many_times_is_told_as_it_stands():
    house = hub()
    screen, glass = look(house, WEST, ("events",)), Glass()
    shown(house, screen, glass)
    for revision in range(1, 6):
        house.fold([event_entry(revision, 1, WESTERN, revision=revision)], NOW_US)
        assert house.pump(screen, hold=True) == []
    frames = house.pump(screen)
    assert len(frames) == 1 and glass.take(frames).events[1]["revision"] == 5


def test_an_ended_event_is_shown_for_half_an_hour():
    house = hub()
    house.fold([event_entry(1, 1, WESTERN, state="ended")], NOW_US)
    house.tick(NOW_US + events_topic.KEPT_US - S)
    assert sorted(shown(house, look(house, WEST, ("events",))).events) == [1]
    house.tick(NOW_US + events_topic.KEPT_US)
    assert shown(house, look(house, WEST, ("events",))).events == {}


def test_an_event_that_leaves_a_viewers_reach_goes_from_its_screen():
    house = hub(events=[ToldEvent(ALL, event_entry(1, 1, ALL).body)])
    western, corps = look(house, WEST, ("events",)), look(house, CORPS, ("events",))
    mine, theirs = shown(house, western), shown(house, corps)
    assert sorted(mine.events) == [1]
    house.fold([event_entry(1, 1, EASTERN, revision=2)], NOW_US)
    assert shown(house, western, mine).events == {}
    assert shown(house, corps, theirs).events[1]["revision"] == 2


def test_cards_that_cannot_be_read_are_counted():
    house = hub()
    house.fold([replace(event_entry(1, 1, ALL), body=b'{"id":7}'), event_entry(2, 2, ALL)], NOW_US)
    assert house.unreadable == 1 and sorted(shown(house, look(house, topics=("events",))).events) == [2]


# ---------------------------------------------------------------- units
def test_the_newest_position_of_each_counts_in_whatever_order_they_come():
    house = hub()
    screen, glass = look(house, WEST, ("units",)), Glass()
    late = crew_entry(2, WESTERN, (7, NOW_US - 5 * S, 125.9, 44))
    house.fold([crew_entry(1, WESTERN, (7, NOW_US, 125.2, 43.6)), late], NOW_US)
    assert shown(house, screen, glass).crews[7][2:4] == [125.2, 43.6]
    house.fold([crew_entry(3, WESTERN, (7, NOW_US + S, 125.3, 43.6))], NOW_US + S)
    assert shown(house, screen, glass).crews[7][2:4] == [125.3, 43.6]


def test_a_plate_is_told_to_its_audience_alone_and_goes_when_that_becomes_another():
    house = hub()
    screens = {unit: look(house, unit, ("units",)) for unit in (CORPS, WEST, EAST)}
    glasses = {unit: shown(house, screen) for unit, screen in screens.items()}
    house.fold([vehicle_entry(1, WESTERN, ("吉A60001", NOW_US, 125.2, 43.6))], NOW_US)
    for unit, screen in screens.items():
        texts = house.pump(screen)
        assert ("吉A60001".encode() in b"".join(texts)) == (unit != EAST)
        glasses[unit].take(texts)
    house.fold([vehicle_entry(2, EASTERN, ("吉A60001", NOW_US + S, 125.3, 43.6))], NOW_US + S)
    places = {unit: [*shown(house, screens[unit], glasses[unit]).vehicles.values()] for unit in screens}
    assert places[WEST] == [] and places[CORPS] == places[EAST] != []


def test_who_drives_out_of_the_map_goes_from_it():
    house = hub()
    screen, glass = look(house, CORPS, ("units",), WEST_BOX), Glass()
    house.fold([crew_entry(1, WESTERN, (7, NOW_US, 125.2, 43.6), (8, NOW_US, 125.3, 43.7))], NOW_US)
    assert sorted(shown(house, screen, glass).crews) == [7, 8]
    house.fold([crew_entry(2, WESTERN, (7, NOW_US + S, 126.1, 43.6))], NOW_US + S)
    assert sorted(shown(house, screen, glass).crews) == [8]
    house.look(screen, None)
    assert sorted(shown(house, screen, glass).crews) == [7, 8]


def test_who_was_not_heard_of_for_long_goes_and_comes_again():
    house = hub(positions=[ToldPosition(WESTERN, CrewRow(7, NOW_US, 125.2, 43.6, None, None, None, None, None))])
    screen, glass = look(house, WEST, ("units",)), Glass()
    assert sorted(shown(house, screen, glass).crews) == [7]
    at = NOW_US + units_topic.KEPT_US
    house.tick(at)
    assert shown(house, screen, glass).crews == {}
    house.fold([crew_entry(1, WESTERN, (7, NOW_US, 125.2, 43.6))], at)
    assert shown(house, screen, glass).crews == {}, "so old a word brings nobody back"
    house.fold([crew_entry(2, WESTERN, (7, at, 125.2, 43.6))], at)
    assert sorted(shown(house, screen, glass).crews) == [7]


def test_a_screen_that_slept_while_many_left_begins_anew(monkeypatch):
    monkeypatch.setattr(units_topic, "TOLD_MAX", 3)
    house = hub()
    screen, glass = look(house, WEST, ("units",)), Glass()
    crews = [(number, NOW_US, 125.2, 43.6) for number in range(8)]
    house.fold([crew_entry(1, WESTERN, *crews)], NOW_US)
    assert len(shown(house, screen, glass).crews) == 8
    house.fold([crew_entry(2, EASTERN, *[(n, NOW_US + S, 125.2, 43.6) for n in range(7)])], NOW_US + S)
    house.fold([crew_entry(3, EASTERN, *[(n, NOW_US + 2 * S, 126.2, 43.6) for n in range(7)])], NOW_US + 2 * S)
    assert sorted(shown(house, screen, glass).crews) == [7] and glass.snapshots == ["units", "units"]


def test_positions_that_cannot_be_read_are_counted():
    house = hub()
    bodies = (b'{"p":[[1]]}', b'{"p":[["x",1,2,3,null,null,null,null,null]]}', b"{", b'{"p":null}')
    entries = [replace(crew_entry(seq, ALL), body=body) for seq, body in enumerate(bodies, start=1)]
    house.fold([*entries, crew_entry(5, ALL, (7, NOW_US, 125.2, 43.6))], NOW_US)
    assert house.unreadable == 4 and sorted(shown(house, look(house, topics=("units",))).crews) == [7]


# ---------------------------------------------------------------- figures
def test_an_index_is_of_ones_own_unit_and_of_the_province_for_the_corps():
    house = hub(indices={("province", 0): IndexFigures(1.5, 2.0, 80.0, 0.0, 0.9, None, (1, 0, 0, 0), NOW_US)},
                cycle_us=NOW_US)  # fmt: skip
    house.fold([index_entry(1, "unit", WEST, 4.5), index_entry(2, "unit", CORPS, 9.9)], NOW_US)
    house.tick(NOW_US + S)

    def index(unit):
        told = shown(house, look(house, unit, ("figures",))).figures["index"]
        return told and told["index"]

    assert (index(CORPS), index(WEST), index(EAST)) == (1.5, 4.5, None)
    house.tick(NOW_US + 90 * S)
    assert (index(CORPS), index(WEST)) == (None, None), "of an hour without cycles nothing is known"


def test_open_events_and_fresh_crews_are_counted_in_ones_own_reach():
    house = hub()
    house.fold(
        [
            event_entry(1, 1, WESTERN, kind="incident"), event_entry(2, 2, ALL, kind="works"),
            event_entry(3, 3, WESTERN, kind="incident", state="ended"),
            crew_entry(4, WESTERN, (7, NOW_US - 299 * S, 125.2, 43.6)),
        ],
        NOW_US,
    )  # fmt: skip
    west, east = (shown(house, look(house, unit, ("figures",))).figures for unit in (WEST, EAST))
    assert west["events_open"] == {"congestion": 0, "incident": 1, "weather": 0, "works": 1, "sensor": 0}
    assert east["events_open"]["incident"] == 0 and east["events_open"]["works"] == 1
    assert west["crews"] == {"fresh": 1, "total": 2} and east["crews"] == {"fresh": 0, "total": 1}
    house.tick(NOW_US + S)
    assert shown(house, look(house, WEST, ("figures",))).figures["crews"]["fresh"] == 0


# ---------------------------------------------------------------- what writers write is what is read
def test_what_the_monitor_says_of_links_events_and_areas_is_understood():
    rows = np.zeros(3, road_said.LINK_SAID)
    rows["level"], rows["observed"] = [4, 0, 1], [NOW_US, 0, NOW_US]
    rows["confidence"] = [0.5, 0.0, 1.0]
    for name in ("speed", "flow", "density", "travel", "p90"):
        rows[name] = [22.25, np.nan, 80.0]
    network = SimpleNamespace(ids=np.array([1, 2, 3]))
    items = road_said.link_items(network, rows, np.arange(3))  # type: ignore[arg-type]
    event = RoadEvent(
        id=UUID(int=9), kind=EventKind.INCIDENT, change="new", state="open", level=1, revision=1, link=1, road=1,
        direction=1, head_stake_m=2000, tail_stake_m=1000, unit=WEST, started_us=NOW_US, changed_us=NOW_US,
        ended_us=None, observed_us=NOW_US, confidence=0.875, grounds={"why": "speed"},
    )  # fmt: skip
    index = Index(scope="province", scope_id=0, index=1.5, usual_index=None, speed_kmh=80.0, congested_km=0.0,
                  known_share=0.5, vehicle_km_h=float("nan"), risk_links=(1, 0, 0, 0))  # fmt: skip
    house = hub()
    house.fold(
        [
            entry_of(1, "roads", "links", {"at": NOW_US, "l": items}),
            entry_of(2, "roads", "event", road_said.event_card(event) | {"number": 9}, ALL),
            entry_of(3, "figures", "index", road_said.index_values(index) | {"at": NOW_US}),
            entry_of(4, "roads", "sensor", {"kind": "detector"}, ALL),
        ],
        NOW_US,
    )
    house.tick(NOW_US + S)
    glass = shown(house, look(house, CORPS, ("links", "events", "figures")))
    assert house.unreadable == 0 and levels(glass) == {1: 4, 2: 0, 3: 1}
    assert glass.events[9]["grounds"] == {"why": "speed"} and glass.figures["index"]["index"] == 1.5


def test_what_workers_say_of_positions_is_understood():
    rows, places = np.zeros(1, POSITION), np.zeros(1, PLACE)
    rows["observed_at"], rows["lon"], rows["lat"], rows["speed_kmh"], rows["bearing_deg"] = (
        NOW_US,
        125.2,
        43.6,
        50,
        np.nan,
    )
    [spot] = positions.spots(rows, places)
    house = hub()
    house.fold(
        [
            entry_of(1, "units", "crews", {"p": [[7, *spot]]}, ALL),
            entry_of(2, "units", "vehicles", {"p": [["吉A60001", 1, "school_bus", *spot[:-1]]]}, ALL),
        ],
        NOW_US,
    )
    glass = shown(house, look(house, CORPS, ("units",)))
    assert house.unreadable == 0
    assert glass.crews[7] == [7, NOW_US, 125.2, 43.6, 50.0, None, None, None, None]
    assert glass.vehicles["吉A60001", 1][2:6] == ["school_bus", NOW_US, 125.2, 43.6]


# ---------------------------------------------------------------- frames as they are described
@pytest.mark.parametrize(
    ("topic", "frame"),
    [
        ("roads", RoadsFrame),
        ("links", LinksFrame),
        ("events", EventsFrame),
        ("units", UnitsFrame),
        ("figures", FiguresFrame),
    ],
)
def test_frames_are_what_the_protocol_describes(topic, frame):
    house = hub()
    screen = look(house, CORPS, (topic,))
    frames = house.pump(screen)
    house.fold(
        [
            links_entry(1, [(1, 4, NOW_US)]), event_entry(2, 1, ALL), crew_entry(3, ALL, (7, NOW_US, 125.2, 43.6)),
            vehicle_entry(4, ALL, ("吉A60001", NOW_US, 125.2, 43.6)), index_entry(5, "province", 0, 3.0),
        ],
        NOW_US,
    )  # fmt: skip
    house.tick(NOW_US + S)
    frames += house.pump(screen)
    assert [msgspec.json.decode(text, type=frame).type for text in frames] == ["snapshot", "delta"][: len(frames)]
