"""Whatever happens between a feed, two hubs and a screen: every alert once, in order, and what a fresh look shows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from dashboards.alerts import counted
from dashboards.facts import Facts, Gate, LinkPlace, SignOfLife, ToldEvent, ToldPosition
from dashboards.hub import Hub, Screen, Start
from dashboards.protocol import CrewRow, IndexFigures, LinkRow, VehicleRow
from dashboards.tiles import tile_of, tiles_of
from dashboards.topics.events import KEPT_US
from tests.hubkit import (
    ABOVE,
    EPOCH,
    FACTS,
    NOW_US,
    Glass,
    S,
    alert_entry,
    crew_entry,
    device_entry,
    event_entry,
    flow_entry,
    index_entry,
    links_entry,
    vehicle_entry,
)
from traffic.audience import Audience, Viewer, may_see
from traffic.feed import Cursor, FeedEntry, in_feed_order

PARTITIONS = 2
ALL = frozenset(range(PARTITIONS))
UNITS = (1, 11, 12)
SCREENS = 3
TOPICS = ("alerts", "roads", "figures", "links", "events", "units")

units = st.sampled_from(UNITS)
audiences = st.builds(
    lambda above, secret, addressed: Audience(
        units=frozenset(above), visibility=int(secret), addressees=frozenset(addressed) if secret else frozenset()
    ),
    st.lists(units, max_size=3),
    st.booleans(),
    st.lists(units, max_size=2),
)
increments = st.tuples(
    st.sampled_from([1, 2, 3, 99]), st.integers(-8, 0).map(lambda back: NOW_US + back * 10 * S), st.integers(0, 2),
    st.integers(1, 5), st.just(1), st.integers(10, 150).map(float),
)  # fmt: skip
# What the roads say: links with an age of their data, audiences of open matters, places in two tiles.
link_words = st.tuples(st.integers(1, 4), st.integers(0, 5), st.sampled_from([0, 20, 100, 119]))
groups = st.sampled_from([frozenset({1, 11}), frozenset({1, 12}), frozenset({1, 11, 12})])
places = st.sampled_from([(125.2, 43.6), (125.3, 43.7), (126.2, 43.6)])
partitions = st.integers(0, PARTITIONS - 1)
screens = st.integers(0, SCREENS - 1)
hubs = st.integers(0, 1)
everyone = st.just(Audience(units=frozenset(UNITS)))
words = (
    st.tuples(st.just("cycle"), st.lists(link_words, max_size=4)),
    st.tuples(st.just("event"), st.integers(1, 3), groups, st.sampled_from(["open", "ended"])),
    st.tuples(st.just("moved"), st.sampled_from([7, 8, "吉A60001"]), groups, st.integers(0, 30), places),
    st.tuples(st.just("index"), st.sampled_from([("province", 0), ("unit", 11), ("unit", 12)]), st.integers(0, 10)),
    st.tuples(st.just("tick"), st.sampled_from([1, 20, 45, 100, 600, 1800])),
)
# A word and who of the three is brought up to now behind it: so deltas are told that begin at any moment.
road_steps = st.tuples(st.one_of(*words), st.sets(screens))
steps = st.one_of(
    *words,
    st.tuples(st.just("alert"), partitions, st.one_of(everyone, audiences)),
    st.tuples(st.just("alert"), partitions, everyone),
    st.tuples(st.just("flow"), partitions, st.lists(increments, min_size=1, max_size=4)),
    st.tuples(st.just("device"), st.sampled_from([7, 8]), st.sampled_from(["alive", "unregistered"])),
    st.tuples(st.just("read"), hubs, st.integers(1, 2), st.sets(partitions, min_size=1)),
    st.tuples(st.just("read"), hubs, st.integers(1, 4), st.just(ALL)),
    st.tuples(st.just("tick"), st.integers(1, 20)),
    st.tuples(st.just("connect"), screens, hubs),
    st.tuples(st.just("connect slowly"), screens, hubs, st.integers(1, 3)),
    st.tuples(st.just("drop"), screens, st.integers(0, 3)),
    st.tuples(st.just("pump"), screens, st.booleans()),
    st.tuples(st.just("pump"), screens, st.just(False)),
    st.tuples(st.just("look"), screens, st.sampled_from([None, (125.0, 43.5, 125.9, 43.9), (0.0, 0.0, 1.0, 1.0)])),
    st.tuples(st.just("start over"), hubs, st.booleans()),
)


@dataclass
class Client:
    """A person's screen: what reached it, and where it is connected."""

    viewer: Viewer
    glass: Glass = field(default_factory=Glass)
    hub: int | None = None
    screen: Screen | None = None
    on_the_way: list[bytes] = field(default_factory=list)
    told: list[int] = field(default_factory=list)  # numbers of alerts, in the order of arrival


class House:
    """The feed as a database would hold it, two hubs that read it, and the screens."""

    def __init__(self) -> None:
        self.feed: list[FeedEntry] = []
        self.seqs = dict.fromkeys(range(PARTITIONS), 0)
        self.now_us = NOW_US
        self.number = 0
        self.hubs = [Hub(self.start(), self.now_us), Hub(self.start(), self.now_us)]
        viewers = [Viewer(unit=1), Viewer(unit=11, clearance=1), Viewer(unit=12)]
        self.clients = [Client(viewer=viewer) for viewer in viewers]

    def stands(self) -> Cursor:
        return Cursor(epoch=EPOCH, places=dict(self.seqs))

    def start(self) -> Start:
        """What a fresh reading of the database gives."""
        flow: list = []
        signs: list[SignOfLife] = []
        for entry in self.feed:
            body = json.loads(entry.body)
            if entry.kind == "flow":
                flow += [tuple(increment) for increment in body["b"]]
            elif entry.kind == "device":
                signs.append(SignOfLife(**body))
        findings = [counted(entry) for entry in self.feed if entry.topic == "alerts"]
        return Start(
            facts=FACTS, cursor=self.stands(), flow=flow, signs=signs, findings=findings, **self.roads_tables()
        )

    def roads_tables(self) -> dict:
        """What the tables of the roads hold: the last word of each link, event, subject and area."""
        links: dict[int, LinkRow] = {}
        events: dict[str, ToldEvent] = {}
        moved: dict[object, ToldPosition] = {}
        indices: dict = {}
        cycle_us = None
        for entry in self.feed:
            body = json.loads(entry.body)
            if entry.kind == "links":
                cycle_us = body["at"]
                links |= {row[0]: LinkRow(*row) for row in body["l"]}
            elif entry.kind == "event":
                events[body["id"]] = ToldEvent(entry.audience, entry.body)
            elif entry.kind in ("crews", "vehicles"):
                [row] = [(CrewRow if entry.kind == "crews" else VehicleRow)(*row) for row in body["p"]]
                key = row.crew if isinstance(row, CrewRow) else row.plate
                if key not in moved or moved[key].row.observed_us <= row.observed_us:
                    moved[key] = ToldPosition(entry.audience, row)
            elif entry.kind == "index":
                values = {name: body[name] for name in IndexFigures.__struct_fields__}
                indices[body["scope"], body["id"]] = IndexFigures(**values)
        return {
            "links": [*links.values()], "events": [*events.values()], "positions": [*moved.values()],
            "indices": indices, "cycle_us": cycle_us,
        }  # fmt: skip

    def behind(self, cursor: Cursor) -> list[FeedEntry]:
        return in_feed_order([entry for entry in self.feed if entry.seq > cursor.place(entry.partition)])

    def write(self, make, partition: int) -> None:
        self.seqs[partition] += 1
        self.feed.append(make(self.seqs[partition]))

    # ------------------------------------------------------------ steps
    def alert(self, partition: int, audience: Audience) -> None:
        self.number += 1
        self.write(lambda seq: alert_entry(seq, self.number, audience, partition=partition, at=self.now_us), partition)

    def flow(self, partition: int, rows: list) -> None:
        self.write(lambda seq: flow_entry(seq, rows, partition=partition), partition)

    def device(self, device: int, state: str) -> None:
        partition = device % PARTITIONS  # all that a sender says goes one way
        self.write(lambda seq: device_entry(seq, device, self.now_us, state, partition=partition), partition)

    def cycle(self, words: list) -> None:
        at = self.now_us
        rows = [(link, level, at - age * S) for link, level, age in words]
        self.write(lambda seq: links_entry(seq, rows, at=at), 0)

    def event(self, number: int, group: frozenset, state: str) -> None:
        self.number += 1
        revision, at = self.number, self.now_us
        audience = Audience(units=group)
        self.write(lambda seq: event_entry(seq, number, audience, state=state, revision=revision, at=at), 0)

    def moved(self, who, group: frozenset, age: int, place: tuple) -> None:
        audience, at = Audience(units=group), self.now_us - age * S
        make = crew_entry if isinstance(who, int) else vehicle_entry
        self.write(lambda seq: make(seq, audience, (who, at, *place)), 0)

    def index(self, scope: tuple, value: int) -> None:
        at = self.now_us
        self.write(lambda seq: index_entry(seq, *scope, value, at=at), 0)
        self.cycle([])

    def read(self, hub: int, count: int, of: Iterable[int] = ALL) -> None:
        """The hub reads at most so many entries of each of these partitions."""
        house = self.hubs[hub]
        entries: list[FeedEntry] = []
        for partition in of:
            entries += [e for e in self.behind(house.cursor) if e.partition == partition][:count]
        entries = in_feed_order(entries)
        assert house.follows(entries)
        house.fold(entries, self.now_us)

    def tick(self, seconds: int) -> None:
        self.now_us += seconds * S
        for house in self.hubs:
            house.tick(self.now_us)

    def connect(self, client: int, hub: int) -> None:
        self.connect_slowly(client, hub, 0)

    def connect_slowly(self, client: int, hub: int, meanwhile: int) -> None:
        """Come back with the cursor; the hub reads on between the question to the database and its answer."""
        one, house = self.clients[client], self.hubs[hub]
        self.drop(client)
        screen = house.screen(one.viewer, TOPICS, None)
        position = house.log.end
        since = one.glass.cursor or Cursor(epoch=EPOCH)
        told = self.stands()
        page = [e for e in self.behind(since) if e.topic == "alerts" and may_see(one.viewer, e.audience)]
        if meanwhile:
            self.alert(0, Audience(units=frozenset(UNITS)))
            self.read(hub, meanwhile)
            assert house.pump(screen) == []
        if page:
            one.on_the_way.append(house.replayed(page, told))
        house.join(screen, position, told)
        one.hub, one.screen = hub, screen

    def drop(self, client: int, lost: int = 0) -> None:
        """The connection breaks; of what was on the way the last frames do not arrive."""
        one = self.clients[client]
        self.arrive(one, one.on_the_way[: max(0, len(one.on_the_way) - lost)])
        one.on_the_way = []
        one.hub = one.screen = None

    def arrive(self, one: Client, frames: list[bytes]) -> None:
        before = len(one.glass.alerts)
        one.glass.take(frames)
        one.told += one.glass.alerts[before:]

    def pump(self, client: int, hold: bool) -> None:
        one = self.clients[client]
        if one.screen is not None and one.hub is not None:
            one.on_the_way += self.hubs[one.hub].pump(one.screen, hold=hold)

    def look(self, client: int, viewport) -> None:
        one = self.clients[client]
        if one.screen is not None and one.hub is not None:
            self.hubs[one.hub].look(one.screen, tiles_of(viewport))

    def start_over(self, hub: int, gone: bool) -> None:
        house = self.hubs[hub]
        missed = self.behind(house.cursor)
        house.restart(self.start(), None if gone else missed, self.now_us)
        for number, one in enumerate(self.clients):
            if one.hub == hub and one.screen is not None and house.waits(one.screen):
                self.connect(number, hub)


@example_settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=30, max_size=80))
def test_every_alert_comes_once_and_in_order_at_whatever_hub_a_screen_comes_back(script):
    house = House()
    for name, *values in script:
        getattr(house, name.replace(" ", "_"))(*values)
    for client in range(SCREENS):
        house.connect(client, client % 2)
    for hub in (0, 1):
        house.read(hub, 1_000)
    house.tick(1)
    for client, one in enumerate(house.clients):
        house.pump(client, False)
        house.drop(client)
        visible = [e for e in house.feed if e.topic == "alerts" and may_see(one.viewer, e.audience)]
        numbers = [json.loads(entry.body)["number"] for entry in visible]
        assert sorted(one.told) == sorted(numbers), "each once"
        place = {number: index for index, number in enumerate(one.told)}
        for partition in house.seqs:
            of_one = [number for number, e in zip(numbers, visible, strict=True) if e.partition == partition]
            assert [place[number] for number in of_one] == sorted(place[number] for number in of_one), "in order"


@example_settings(max_examples=70, deadline=None)
@given(st.lists(steps, min_size=15, max_size=60), st.integers(1, 100))
def test_after_any_deltas_a_screen_shows_what_a_fresh_look_shows(script, seconds):
    house = House()
    for client in range(SCREENS):
        house.connect(client, client % 2)
    for name, *values in script:
        if name not in ("drop", "connect", "connect slowly"):
            getattr(house, name.replace(" ", "_"))(*values)
    for hub in (0, 1):
        house.read(hub, 1_000)
    house.tick(seconds)
    for client, one in enumerate(house.clients):
        house.look(client, None)
        house.pump(client, False)
        house.arrive(one, one.on_the_way)
        shows_what_a_fresh_look_shows(house, one, None)


def shows_what_a_fresh_look_shows(house: House, one: Client, tiles) -> None:
    fresh = Hub(house.start(), house.now_us)
    screen = fresh.screen(one.viewer, [topic for topic in TOPICS if topic != "alerts"], tiles)
    glass = Glass().take(fresh.pump(screen))
    assert one.glass.checkpoints == glass.checkpoints
    assert one.glass.figures == glass.figures
    assert one.glass.links == glass.links
    assert one.glass.crews == glass.crews
    assert one.glass.vehicles == glass.vehicles
    assert kept(one.glass.events, house.now_us) == kept(glass.events, house.now_us)


@example_settings(max_examples=80, deadline=None)
@given(st.lists(road_steps, min_size=8, max_size=40), st.sampled_from([None, (125.0, 43.5, 125.4, 43.9)]))
def test_deltas_of_the_roads_that_begin_at_any_moment_lead_to_what_a_fresh_look_shows(script, viewport):
    house = House()
    tiles = tiles_of(viewport)
    for client in range(SCREENS):
        house.connect(client, client % 2)
        house.look(client, viewport)
        house.pump(client, False)
    for (name, *values), told in script:
        getattr(house, name)(*values)
        for hub in (0, 1):
            house.read(hub, 1_000)
        for client in told:
            house.pump(client, False)
    house.tick(1)
    for client, one in enumerate(house.clients):
        house.pump(client, False)
        house.arrive(one, one.on_the_way)
        shows_what_a_fresh_look_shows(house, one, tiles)


def kept(events: dict[int, dict], now_us: int) -> dict[int, dict]:
    """What a screen shows of events: it lets go of ended ones by itself."""
    return {
        key: card for key, card in events.items() if card["ended_at"] is None or card["ended_at"] > now_us - KEPT_US
    }


@given(
    st.lists(st.tuples(units, st.lists(units, max_size=2), st.integers(-2, 2), st.integers(-2, 2)), max_size=20),
    st.sampled_from(UNITS),
    st.one_of(st.none(), st.tuples(st.floats(-2, 0), st.floats(-2, 0), st.floats(0, 2), st.floats(0, 2))),
)
def test_a_view_holds_exactly_the_links_that_its_viewer_may_see_in_its_tiles(roads, unit, viewport):
    links = tuple(
        LinkPlace(number, Audience(units=frozenset().union(*(ABOVE[member] for member in (owner, *corridor)))),
                  ((x, y), (x + 1, y)))
        for number, (owner, corridor, x, y) in enumerate(roads)
    )  # fmt: skip
    facts = Facts(gates=(), covered={}, links=links, above=ABOVE)
    house = Hub(Start(facts=facts, cursor=Cursor(epoch=EPOCH, places={0: 0}), flow=[], signs=[], findings=[]), NOW_US)
    tiles = tiles_of(viewport)
    glass = Glass().take(house.pump(house.screen(Viewer(unit=unit), ("links",), tiles)))
    below = set(facts.below(unit))
    assert set(glass.links) == {
        number
        for number, (owner, corridor, x, y) in enumerate(roads)
        if below & {owner, *corridor} and (tiles is None or tiles & {(x, y), (x + 1, y)})
    }


@given(
    st.lists(st.tuples(st.floats(-180, 180), st.floats(-85, 85), audiences), max_size=20),
    st.integers(0, 3),
    st.one_of(st.none(), st.tuples(st.floats(-180, 0), st.floats(-85, 0), st.floats(0, 180), st.floats(0, 85))),
)
def test_a_view_holds_exactly_the_checkpoints_that_its_viewer_may_see_in_its_tiles(places, unit, viewport):
    gates = tuple(
        Gate(id=number, lon=lon, lat=lat, audience=audience) for number, (lon, lat, audience) in enumerate(places)
    )
    cursor = Cursor(epoch=EPOCH, places={0: 0})
    house = Hub(Start(facts=Facts(gates=gates, covered={}), cursor=cursor, flow=[], signs=[], findings=[]), NOW_US)
    viewer, tiles = Viewer(unit=UNITS[unit % 3]), tiles_of(viewport)
    glass = Glass().take(house.pump(house.screen(viewer, ("roads",), tiles)))
    assert set(glass.checkpoints) == {
        gate.id
        for gate in gates
        if may_see(viewer, gate.audience) and (tiles is None or tile_of(gate.lon, gate.lat) in tiles)
    }


def test_ids_of_alerts_in_these_stories_are_their_numbers():
    assert json.loads(alert_entry(1, 9, Audience(units=frozenset())).body)["id"] == str(UUID(int=9))
