"""The roads on the screens of four levels: what each level sees, and that unknown never looks like knowledge."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.apikit import add_person, second_us
from tests.browser.conftest import Desk
from tests.browser.house import House
from tests.conftest import wait_until
from tests.roadfeed import RoadFeed
from tests.world import CORPS, CREW_ID, TOLL_CODE, WEST, WEST_BRIGADE, WEST_SQUADRON, World
from traffic.settings import Settings

EVERY_LINK = range(1, 9)
# Elements whose text runs out of its box without a way to reach it.
CUT_OFF = """() => [...document.querySelectorAll('body *')].filter((one) => {
  if (one.closest('svg, .sr-only, .canvas, [hidden]')) return false;
  const style = getComputedStyle(one);
  const hidden = style.overflowX === 'hidden' && style.textOverflow !== 'ellipsis';
  return one.clientWidth > 0 && hidden && one.scrollWidth > one.clientWidth + 2;
}).map((one) => `${one.className}: ${(one.textContent ?? '').slice(0, 60)}`)"""


@pytest.fixture
def feed(settings: Settings, world: World) -> Iterator[RoadFeed]:
    """What the monitor says, by hand."""
    told = RoadFeed(settings.database_url or "", second_us(settings))
    yield told
    told.close()


@pytest.fixture
def west(owner: psycopg.Connection, world: World) -> str:
    """Login of a person of the west squadron."""
    add_person(owner, "west", WEST_SQUADRON, role="crew")
    return "west"


def fits(page: Page) -> None:
    """Nothing stands outside of the window, and no box cuts its text off."""
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [1366, 768]
    assert page.evaluate(CUT_OFF) == []


def test_each_level_sees_the_screen_of_its_work_and_nothing_is_cut_off(
    desk, house: House, owner: psycopg.Connection, feed: RoadFeed
):
    people = {"corps": CORPS, "detachment": WEST, "brigade": WEST_BRIGADE, "squadron": WEST_SQUADRON}
    for login, unit in people.items():
        add_person(owner, login, unit)
    for link in EVERY_LINK:
        feed.link(link, 1 if link > 1 else 4)
    feed.event(1)
    feed.index("province", 0, 3.4, [CORPS])
    feed.index("unit", WEST, 5.2, [CORPS, WEST])
    feed.crew(CREW_ID, WEST_SQUADRON, 125.1, 43.54)
    for level, login in reversed(list(enumerate(people, start=1))):
        screen: Desk = desk()
        screen.enter(login)
        page = screen.page
        expect(page.locator(".screen")).to_have_attribute("data-level", str(level))
        expect(page.locator("[data-wrong=congestion]")).to_contain_text("G1 K14+000–K15+000 上行")
        expect(page.locator("[data-figure=crews]")).to_contain_text("1 / 1")
        OWN[login](page)
        fits(page)
        if login != "corps":
            page.close()  # a map that nobody looks at costs the others their time
    rows = page.locator("[data-units] tbody tr")
    rows.first.click()
    expect(page.locator("[data-crumb]")).to_have_count(2)
    expect(rows).to_contain_text("西大队")
    page.get_by_role("button", name="English").click()
    expect(page.locator("[data-tab=wrong]")).to_have_text("Wrong now")
    expect(rows).to_contain_text("West")
    fits(page)


def corps_has_its_detachments_the_worst_first(page: Page) -> None:
    """Of the east nothing is known: it stands behind, grey."""
    rows = page.locator("[data-units] tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("西支队")
    expect(rows.first).to_contain_text("5.2")
    expect(rows.last).to_have_attribute("data-tone", "0")
    expect(rows.last.locator(".unknown").first).to_be_visible()
    expect(page.locator("[data-figure=index]")).to_contain_text("3.4")


def squadron_has_its_stretch(page: Page) -> None:
    """Both directions, with what stands and drives there."""
    strip = page.locator("[data-strip]")
    expect(strip.locator("[data-strip-link]")).to_have_count(4)
    expect(strip.locator("[data-strip-crew]")).to_have_count(1)
    expect(strip.locator("[data-tag=toll_station]")).to_have_count(1)
    expect(strip.locator("[data-tag=checkpoint]")).to_have_count(2)


OWN: dict[str, Callable[[Page], None]] = {
    "corps": corps_has_its_detachments_the_worst_first,
    "detachment": lambda page: expect(page.locator("[data-units] tbody tr")).to_contain_text("西大队"),
    "brigade": lambda page: expect(page.locator("[data-own-link='1']")).to_have_attribute("data-level", "4"),
    "squadron": squadron_has_its_stretch,
}


def test_a_link_shows_what_it_rests_on_and_turns_grey_and_hatched_when_unknown(
    desk, house: House, feed: RoadFeed, west: str
):
    risk = {"now": {"weather": 0.31, "speed_drop": 0.12}, "next": {"weather": 0.44, "speed_drop": 0.1}}
    for link in EVERY_LINK:
        feed.link(link, 1, speed_kmh=92.0)
    feed.link(1, 3, speed_kmh=47.0, risk_level=3, grounds={"risk": risk, "sensors": [], "sources": []})
    screen: Desk = desk()
    screen.enter(west)
    page = screen.page
    drawn = page.locator("[data-strip-link='1']")
    expect(drawn).to_have_attribute("data-level", "3")
    drawn.click(position={"x": 6, "y": 6})
    panel = page.locator("[data-panel=link]")
    expect(panel.locator("h2")).to_have_text("G1 K0+000–K10+000 上行")
    expect(panel.locator("[data-chip=state]")).to_have_text("3中度拥堵")
    expect(panel.locator(".numbers")).to_contain_text("47")
    expect(panel.locator("[data-chip=risk]").first).to_have_text("3较大")
    factors = panel.locator("[data-factors] li")
    expect(factors).to_have_count(2)
    expect(factors.first).to_contain_text("天气")
    expect(panel).to_contain_text("检测器1")
    expect(panel).to_contain_text("数据")
    feed.link(1, 0, speed_kmh=None, flow_vph=None, observed_us=feed.now_us - 600_000_000, risk_level=0)
    expect(panel.locator("[data-chip=state]")).to_have_text("未知")
    expect(panel.locator("[data-chip=state].unknown")).to_be_visible()
    expect(panel.locator(".numbers b").first).to_have_text("未知")
    expect(drawn.locator("rect").first).to_have_attribute("fill", "url(#strip-hatch)")
    expect(page.locator("[data-strip-link='2']")).to_have_attribute("data-level", "1")


def test_an_event_comes_by_itself_says_its_grounds_and_ends(desk, house: House, feed: RoadFeed, west: str):
    feed.link(2, 4)
    screen: Desk = desk()
    screen.enter(west)
    page, visits = screen.page, screen.visits
    expect(page.locator("[data-wrong-empty]")).to_contain_text("目前没有问题")
    event = UUID(feed.event(2, kind="incident", level=1, mark="占有率骤升"))
    line = page.locator(f"[data-key='{event}']")
    expect(line).to_contain_text("疑似交通事件")
    expect(line).to_contain_text("新")
    expect(page.locator("[role=log]")).to_contain_text("疑似交通事件")
    expect(page.locator("[data-figure=events]")).to_contain_text("事1")
    page.click("[data-filter=congestion]")
    expect(line).to_have_count(0)
    page.click("[data-filter=incident]")
    line.get_by_role("button").click()
    panel = page.locator("[data-panel=event]")
    expect(panel.locator("[data-event-grounds]")).to_contain_text("占有率骤升")
    expect(panel).to_contain_text("持续")
    expect(panel).to_contain_text("变化过程（1 版）")
    feed.event(2, id=event, kind="incident", level=1, state="ended", revision=2)
    expect(line).to_have_count(0)
    expect(page.locator(f"[data-ended='{event}']")).to_be_visible()
    expect(panel.locator(f"[data-event-panel='{event}']")).to_have_attribute("data-state", "ended")
    expect(panel).to_contain_text("变化过程（2 版）")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    assert screen.visits == visits


def test_the_search_flies_to_a_stake_a_click_says_the_place_and_layers_switch(
    desk, house: House, feed: RoadFeed, west: str
):
    screen: Desk = desk()
    screen.enter(west)
    page, root = screen.page, screen.page.locator("html")
    before = root.get_attribute("data-centre")
    screen.find("G1 K5+500", "place")
    panel = page.locator("[data-panel=point]")
    expect(panel.locator("h2")).to_contain_text("G1 K5+500")
    wait_until(lambda: root.get_attribute("data-centre") != before, 20, "the map flying there")
    assert float(root.get_attribute("data-zoom") or 0) > 10
    page.keyboard.press("Escape")
    screen.find(TOLL_CODE, "object")
    expect(page.locator("[data-panel=object]")).to_contain_text("收费站")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="回到辖区全貌").click()
    canvas = page.locator(".map canvas")
    box = canvas.bounding_box()
    assert box
    canvas.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.25})
    expect(panel.locator("h2")).to_contain_text("G1 K")
    expect(panel).to_contain_text("距道路")
    page.locator(".switches .title").click()
    events = page.locator("[data-layer=events]")
    expect(events).to_have_attribute("data-why", "nodata")  # no cycle yet: that is not "none"
    events.get_by_role("checkbox").uncheck()
    expect(events).to_have_attribute("data-why", "off")
    page.click("[data-colouring=risk]")
    expect(page.locator(".legend")).to_contain_text("重大")
    page.reload()
    expect(page.locator("[data-colouring=risk]")).to_have_attribute("aria-pressed", "true")


def test_empty_layers_say_why_and_a_stopped_monitor_is_named(
    desk, house: House, owner: psycopg.Connection, feed: RoadFeed, west: str
):
    screen: Desk = desk()
    screen.enter(west)
    page = screen.page
    expect(page.locator("[data-wrong-empty]")).to_contain_text("没有事件不等于路上无事")
    expect(page.locator("[data-figure=events]")).to_contain_text("尚无结果")
    expect(page.locator("[data-figure=index] .unknown")).to_be_visible()
    page.locator(".switches .title").click()
    for layer in ("links", "weather", "crews"):
        expect(page.locator(f"[data-layer={layer}] .why")).to_have_text("还没有数据")
    expect(page.locator("[data-layer=vehicles] .why")).to_have_text("目前没有")
    page.click("[data-tab=sensors]")
    expect(page.locator("[data-sensors-empty]")).to_contain_text("监测进程尚未给出结果")
    house.stop_playing(owner)
    expect(page.locator("[data-banner=stopped]")).to_contain_text("路况监测进程")
    expect(page.locator("[data-banner=stopped]")).to_contain_text("过车与预警不受影响")
    expect(page.locator("[data-layer=links] .why")).to_have_text("监测进程已停止")
    page.click("[data-tab=wrong]")
    expect(page.locator("[data-wrong=part]")).to_contain_text("路况监测进程停止工作")
    expect(page.locator(".screen")).to_have_attribute("data-dark", "false")


@pytest.mark.parts("doors", "worker", "monitor", "api")
def test_what_a_detector_reports_at_the_door_comes_to_the_screen_with_the_next_cycle(desk, house: House, west: str):
    screen: Desk = desk()
    screen.enter(west)
    drawn = screen.page.locator("[data-strip-link='1']")
    expect(drawn).to_have_attribute("data-level", "0")

    def known() -> bool:
        at = house.now() - timedelta(seconds=3)
        for lane in (1, 2):
            house.report(0, at - timedelta(seconds=at.second % 30, microseconds=at.microsecond), lane=lane)
        return drawn.get_attribute("data-level") == "1"

    wait_until(known, 100, "the link's state of a cycle")
    expect(screen.page.locator("[data-strip-detector='1']")).to_contain_text("92")
