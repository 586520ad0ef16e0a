"""From the door to the eye: flow, alerts, and what the screen says when something has stopped."""

from datetime import timedelta

import psycopg
from playwright.sync_api import expect

from tests.apikit import add_person
from tests.browser.conftest import GONE
from tests.browser.house import House
from tests.conftest import wait_until
from tests.world import WATCHED_PLATE, WEST_SQUADRON


def test_a_passage_posted_at_the_door_appears_as_flow(desk, house: House, commander):
    screen = desk()
    screen.enter(commander)
    screen.find_checkpoint("测试卡口3")
    panel = screen.page.locator("[data-checkpoint]")
    expect(panel).to_have_attribute("data-state", "unknown")
    expect(panel.locator(".total")).to_contain_text("未知")
    house.seen(2, "吉A00001", speed_kmh=80)
    expect(panel).to_have_attribute("data-state", "live")
    expect(panel.locator(".total")).not_to_contain_text("未知")
    expect(panel.locator(".total .number").last).to_have_text("80")
    expect(screen.page.locator("[data-figure=checkpoints]")).to_contain_text("1 / 4")


def test_a_watched_plate_raises_an_alert_with_its_grounds_and_without_a_reload(desk, house: House, commander):
    screen = desk()
    screen.show_alerts(commander)
    visits = screen.visits
    house.seen(1, WATCHED_PLATE)
    card = screen.alert(WATCHED_PLATE)
    expect(card).to_be_visible()
    expect(card).to_contain_text("布控比中")
    expect(card).to_contain_text("最高")
    expect(card).to_contain_text("G1 京哈高速 K10+000 桩号递增")
    expect(screen.page.locator("[data-list=pinned] article")).to_have_count(1)
    expect(screen.page.locator("[role=log]")).to_contain_text("吉A·88888")
    card.get_by_role("button", name="依据").click()
    grounds = card.locator(".grounds")
    for text in ("测试条款一", "BK-0001", "测试布控", "第 1 版", "K10+000"):
        expect(grounds).to_contain_text(text)
    expect(screen.page.locator("[data-figure=alerts] b").first).to_have_text("1")
    assert screen.visits == visits


def test_a_vehicle_that_is_seen_again_stays_one_card_and_once_noted_is_not_kept_on_top(desk, house: House, commander):
    screen = desk()
    screen.show_alerts(commander)
    house.seen(1, WATCHED_PLATE, ago_s=300)
    card = screen.alert(WATCHED_PLATE)
    expect(card).to_contain_text("观测 1 次")
    house.seen(3, WATCHED_PLATE)
    expect(card).to_contain_text("观测 2 次")
    expect(card).to_have_count(1)
    card.get_by_role("button", name="知悉").click()
    expect(screen.page.locator("[data-list=pinned]")).to_have_count(0)
    screen.page.reload()
    expect(screen.page.locator("[data-list=rest] article")).to_have_count(1)
    expect(screen.page.locator("[data-list=pinned]")).to_have_count(0)


def test_a_section_speed_alert_is_a_clue_and_is_struck_through_when_late_data_refutes_it(desk, house: House, commander):
    screen = desk()
    screen.show_alerts(commander)
    begin = house.now() - timedelta(seconds=240)  # what follows counts from here, however slow this machine is
    house.seen(0, "吉B55555", at=begin)
    house.seen(1, "吉B55555", at=begin + timedelta(seconds=240))
    card = screen.alert("吉B55555")
    expect(card).to_contain_text("区间超速")
    expect(card).to_have_attribute("data-state", "active")
    card.get_by_role("button", name="依据").click()
    expect(card.locator(".grounds")).to_contain_text("线索，不作处罚证据")
    expect(card.locator(".grounds")).to_contain_text("10,000 m")
    # it left the section earlier, faster than any vehicle drives: a misread
    house.seen(1, "吉B55555", at=begin + timedelta(seconds=140))
    expect(card).to_have_attribute("data-state", "retracted")
    expect(card).to_contain_text("预警已撤销")
    expect(card).to_contain_text("迟到的出口过车记录")
    expect(card.locator(".place")).to_have_css("text-decoration-line", "line-through")


def test_a_squadron_does_not_see_the_alert_of_another(desk, house: House, commander, owner: psycopg.Connection):
    add_person(owner, "west", WEST_SQUADRON, role="crew")
    corps, west = desk(), desk()
    corps.show_alerts(commander)
    west.show_alerts("west")
    expect(west.page.locator("header")).to_contain_text("西中队")
    expect(west.page.locator("header .level")).to_have_text("中队")
    house.seen(3, WATCHED_PLATE)
    expect(corps.alert(WATCHED_PLATE)).to_be_visible()
    house.seen(0, "吉B66666", ago_s=240)
    house.seen(1, "吉B66666")
    expect(west.alert("吉B66666")).to_be_visible()
    expect(west.page.locator("article")).to_have_count(1)
    expect(west.page.locator("[data-figure=alerts] b").first).to_have_text("1")


def test_filters_let_only_their_levels_and_kinds_through(desk, house: House, commander):
    screen = desk()
    screen.show_alerts(commander)
    house.seen(2, WATCHED_PLATE)
    house.seen(0, "吉B77777", ago_s=240)
    house.seen(1, "吉B77777")
    expect(screen.page.locator("article")).to_have_count(2)
    screen.page.select_option("[data-filter=kind]", "section_speed")
    expect(screen.page.locator("article")).to_have_count(1)
    screen.page.get_by_role("button", name="1 级").click()
    expect(screen.page.locator("[data-empty]")).to_contain_text("当前筛选条件下没有预警")
    screen.page.locator("[data-empty]").get_by_role("button", name="清除筛选").click()
    expect(screen.page.locator("article")).to_have_count(2)


def test_a_killed_worker_is_named_and_the_picture_turns_unknown_until_another_works(desk, house: House, commander):
    screen = desk()
    page = screen.page
    page.clock.install()
    with page.expect_websocket() as opened:
        screen.show_alerts(commander)
    screen.find_checkpoint("测试卡口3")
    house.seen(2, "吉A00002")
    panel = page.locator("[data-checkpoint]")
    expect(panel).to_have_attribute("data-state", "live")
    house.kill("worker")
    banner = page.locator("[data-banner=stopped]")
    expect(banner).to_contain_text("处理进程")
    expect(banner).to_contain_text("停止工作")
    expect(page.locator("header [data-state=stale]")).to_contain_text("数据停滞")

    def later() -> bool:
        page.clock.fast_forward(8_000)
        opened.value.wait_for_event("framereceived")  # the connection itself lives: else its silence would be noticed
        return page.locator(".screen").get_attribute("data-dark") == "true"

    wait_until(later, 60, "the picture turning unknown")
    expect(panel).to_have_attribute("data-state", "unknown")
    expect(banner).to_contain_text("不代表路上无车")
    expect(page.locator("[data-figure=passages]")).to_contain_text("未知")
    house.start("worker")
    expect(banner).to_have_count(0)
    expect(page.locator(".screen")).to_have_attribute("data-dark", "false")
    house.seen(1, WATCHED_PLATE)
    expect(screen.alert(WATCHED_PLATE)).to_be_visible()


def test_after_a_restart_of_the_api_each_alert_stands_there_once(desk, house: House, commander):
    screen = desk(GONE)
    screen.show_alerts(commander)
    house.seen(1, WATCHED_PLATE)
    expect(screen.alert(WATCHED_PLATE)).to_be_visible()
    visits = screen.visits
    house.kill("api")
    expect(screen.page.locator("[data-banner=lost]")).to_contain_text("正在重连")
    expect(screen.page.locator("header [data-state=lost]")).to_contain_text("重连中")
    house.seen(0, "吉B88888", ago_s=240)
    house.seen(1, "吉B88888")
    house.start("api")
    expect(screen.page.locator(".screen")).to_have_attribute("data-link", "live")
    expect(screen.alert("吉B88888")).to_have_count(1)
    expect(screen.alert(WATCHED_PLATE)).to_have_count(1)
    expect(screen.page.locator("article")).to_have_count(2)
    expect(screen.page.locator("[data-banner=lost]")).to_have_count(0)
    assert screen.visits == visits


def test_a_connection_that_stays_away_turns_everything_unknown(desk, house: House, commander):
    screen = desk(GONE)
    page = screen.page
    page.clock.install()
    screen.show_alerts(commander)
    house.kill("api")
    expect(page.locator("[data-banner=lost]")).to_contain_text("秒后全部标为未知")
    page.clock.fast_forward(91_000)
    expect(page.locator(".screen")).to_have_attribute("data-dark", "true")
    expect(page.locator("[data-figure=alerts]")).to_contain_text("未知")
    expect(page.locator("[data-empty]")).to_contain_text("无法得知是否有新预警")


def test_refused_records_are_listed_with_their_reason_and_can_be_corrected(desk, house: House, commander):
    record = house.world.native_record(1, house.now(), WATCHED_PLATE, lane=100)
    wait_until(lambda: house.post(record).status_code == 200, 30, "the record being judged")
    screen = desk(r"/retry: .*422")
    screen.show_alerts(commander)
    page = screen.page
    page.click("[data-nav=devices]")
    page.click("[data-subtab=refused]")
    refresh = page.get_by_role("button", name="刷新")

    def listed() -> bool:
        refresh.click()
        return page.locator("[data-refused]").count() > 0

    wait_until(listed, 30, "the refused record being listed")
    row = page.locator("[data-refused]").first
    expect(row).to_contain_text("数值超出范围")
    expect(row).to_contain_text("lane")
    row.get_by_role("button", name="改正").click()
    page.get_by_role("button", name="重新提交").click()
    expect(page.get_by_role("alert").filter(has_text="仍被拒收")).to_contain_text("数值超出范围")
    editor = page.locator("textarea")
    editor.fill(editor.input_value().replace('"lane": 100', '"lane": 2'))
    page.get_by_role("button", name="重新提交").click()
    expect(page.get_by_role("status").filter(has_text="已重新提交")).to_be_visible()
    expect(page.locator("[data-refused]")).to_have_count(0)
    page.click("[data-nav=live]")
    expect(screen.alert(WATCHED_PLATE)).to_be_visible()
