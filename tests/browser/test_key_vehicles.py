"""The screens of key-vehicle control: findings, registry, rules, tracks, devices; and who is offered what."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.apikit import add_person
from tests.browser.conftest import Desk
from tests.browser.house import House
from tests.conftest import wait_until
from tests.registrykit import COMPANY, Writer, company, csv_file, vehicle
from tests.workbench import seen
from tests.world import CORPS, WATCHED_PLATE, WEST_SQUADRON, World
from traffic import store
from traffic.readings import PassageBatch
from traffic.zone import SHANGHAI

Screens = Callable[..., Desk]


def go(page: Page, name: str) -> None:
    """Open a page by the navigation, and wait until it is there."""
    page.click(f"[data-nav={name}]")
    expect(page.locator(f"[data-page={name}]")).to_be_visible()


# ---------------------------------------------------------------- findings
def test_a_finding_is_explained_verified_against_its_picture_and_put_aside(desk: Screens, house: House, commander: str):
    screen = desk()
    screen.enter(commander)
    page = screen.page
    sound = page.locator("[data-sound]")
    expect(sound).to_have_attribute("data-sound", "off")
    sound.click()
    expect(sound).to_have_attribute("data-sound", "on")
    house.seen(1, WATCHED_PLATE)
    expect(sound).to_have_attribute("data-sounded", "1")
    go(page, "findings")
    row = page.locator("[data-finding]")
    expect(row).to_have_count(1)
    expect(row.locator("[data-standing=open]")).to_have_text("待核查")
    page.select_option("[data-filter=kind]", "overspeed")
    expect(page.locator("[data-page] [data-empty]")).to_contain_text("没有预警")
    page.locator("[data-page] [data-empty] button").click()
    row.click()
    view = page.locator("[data-finding-view]")
    for text in ("线索，不作处罚证据", "测试条款一", "BK-0001", "测试卡口2", "没有图片", "首次预警"):
        expect(view).to_contain_text(text)
    expect(view.locator("[data-seen]")).to_have_count(1)
    expect(view.locator("[data-spots='1']")).to_be_visible()

    page.click("[data-verify-open]")
    dialog = page.locator("[data-verify]")
    expect(dialog.locator(".plate")).to_have_text("吉A·88888")
    send = dialog.get_by_role("button", name="提交核查")
    expect(send).to_be_disabled()
    dialog.locator("[data-verdict=false]").click()
    expect(send).to_be_disabled()  # a false one says why
    dialog.get_by_label("号牌错读").check()
    send.click()
    expect(dialog).to_have_count(0)
    expect(view.locator("[data-standing=false]")).to_contain_text("号牌错读")
    expect(row.locator("[data-standing=false]")).to_have_text("不实")
    expect(view.locator("[data-revisions='2']")).to_contain_text("核查")
    expect(view.locator("[data-change=verified] ins").first).to_have_text("不实")

    page.click("[data-shelve-open]")
    page.locator("[data-shelve] [name=reason]").fill("已通知所属大队")
    page.locator("[data-shelve] button.main").click()
    expect(view.locator("[data-standing=shelved]")).to_be_visible()
    expect(view).to_contain_text("已通知所属大队")
    page.go_back()
    page.click("[data-nav=live]")
    page.click("[data-tab=alerts]")
    expect(page.locator("[data-shelved='1']")).to_be_visible()
    expect(page.locator("article")).to_have_count(0)
    page.click("[data-shelved]")
    expect(screen.alert(WATCHED_PLATE)).to_be_visible()
    expect(page.locator(".screen")).to_have_attribute("data-link", "live")


def test_pages_keep_the_connection_and_speak_both_languages(desk: Screens, house: House, commander: str):
    screen = desk()
    sockets: list[object] = []
    screen.page.on("websocket", lambda socket: sockets.append(socket))
    screen.enter(commander)
    page = screen.page
    for name in ("findings", "vehicles", "rules", "devices"):
        go(page, name)
    page.go_back()
    expect(page.locator("[data-page=rules]")).to_be_visible()
    expect(page.locator("[data-nav=rules]")).to_have_attribute("aria-current", "page")
    expect(page.locator("[data-page=rules] h2").first).to_have_text("规则")
    page.get_by_role("button", name="English").click()
    expect(page.locator("[data-page=rules] h2").first).to_have_text("Rules")
    expect(page.locator("nav").first).to_contain_text("Key vehicles")
    page.locator("[data-nav=vehicles]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-page] [data-empty]")).to_contain_text("No key vehicles in the registry yet")
    page.reload()
    expect(page.locator("[data-page=vehicles]")).to_be_visible()
    expect(page.locator(".screen")).to_have_attribute("data-link", "live")
    assert len(sockets) == 2  # one before the reload, one after


# ---------------------------------------------------------------- registry
@pytest.mark.parts("api")
def test_a_registry_file_is_imported_with_its_refused_lines_and_a_vehicle_has_its_file(
    desk: Screens, house: House, owner: psycopg.Connection, commander: str
):
    writer = Writer(house.settings.database_url or "", house.now())
    writer.take("companies", csv_file([company()]))
    writer.close()
    ends = (house.now() + timedelta(days=10)).astimezone(SHANGHAI).date().isoformat()
    lines = [
        vehicle(1, company=COMPANY, inspection_until=ends),
        vehicle(2, kind="spaceship"),
        vehicle(3, unit="nowhere"),
    ]
    screen = desk()
    screen.enter(commander)
    page = screen.page
    go(page, "vehicles")
    page.click("[data-subtab=import]")
    page.set_input_files("[name=file]", {"name": "v.csv", "mimeType": "text/csv", "buffer": csv_file(lines)})
    page.locator("form[data-import] button.main").click()
    expect(page.locator("form[data-import=done]")).to_be_visible()
    expect(page.locator("[data-count=added] dd")).to_have_text("1")
    expect(page.locator("[data-count=refused] dd")).to_have_text("2")
    refused = page.locator("[data-refused-line]")
    expect(refused).to_have_count(2)
    expect(refused.first).to_contain_text("kind")
    expect(refused.last).to_contain_text("单位不存在")

    page.click("[data-subtab=list]")
    page.select_option("[data-filter=due]", "overdue")
    expect(page.locator("[data-page] [data-empty]")).to_contain_text("没有符合条件的车辆")
    page.select_option("[data-filter=due]", "soon")
    row = page.locator("[data-vehicle='吉A00001']")
    expect(row.locator("[data-due=soon]")).to_contain_text("剩 10 天")
    row.get_by_role("link").first.click()
    file = page.locator("[data-vehicle-file]")
    expect(file).to_contain_text("长春测试客运有限公司")
    expect(file.locator("[data-as-of]")).to_contain_text("数据截至")
    expect(page.locator("[data-refresh]")).to_have_count(0)  # no platform is set up here
    file.get_by_role("link", name="长春测试客运有限公司").click()
    expect(page.locator("[data-company-file]")).to_contain_text("吉A·00001")


# ---------------------------------------------------------------- rules
@pytest.mark.parts("api")
def test_a_rule_is_drafted_tried_on_stored_days_armed_and_changed_by_two(
    desk: Screens, house: House, owner: psycopg.Connection, world: World, commander: str
):
    rows = [seen(world, gate, -3600 + 600 * gate, "吉A66666", plate_class=1) for gate in range(3)]
    with owner.transaction():
        store.copy_passages(owner, PassageBatch(rows=np.concatenate([*rows, seen(world, 0, -3000, "吉C00001")])))
    screen = desk(r"/api/rules/\d+: .*409")
    screen.enter(commander)
    page = screen.page
    go(page, "rules")
    page.click("[data-new-rule]")
    page.click("[data-kind=ban]")
    editor = page.locator("[data-rule-editor]")
    editor.locator("[name=name]").fill("大型车禁行")
    editor.locator("[name=clause]").fill("测试公告")
    editor.locator("[name=note]").fill("先试一试")
    editor.get_by_role("button", name="大型汽车号牌").click()
    page.click("[data-save]")
    view = page.locator("[data-rule-view]")
    expect(view).to_have_attribute("data-state", "draft")
    expect(view.locator("[data-rule-summary]")).to_contain_text("大型汽车号牌")

    page.click("[data-rule-tab=dry]")
    page.click("[data-start]")
    expect(page.locator("[data-dry-run=done]")).to_be_visible()
    expect(page.locator("[data-fired]")).to_have_attribute("data-fired", "1")
    dry = page.locator("[data-dry-run]")
    expect(dry.locator("[data-days='8']")).to_be_visible()  # today and the seven before it
    expect(dry.locator(".plate").first).to_have_text("吉A·66666")

    page.click("[data-arm]")
    page.locator("dialog [name=note]").fill("经批准启用")
    page.locator("dialog button.main").click()
    expect(view).to_have_attribute("data-state", "armed")
    expect(view).to_contain_text("生效中 · 第 2 版")
    page.click("[data-rule-tab=versions]")
    expect(page.locator("[data-versions='2']")).to_contain_text("先试一试")

    page.click("[data-edit]")
    editor.locator("[name=name]").fill("大型车夜间禁行")
    editor.locator("[name=note]").fill("改为夜间")
    page.click("[data-add-hours]")
    expect(page.locator("[data-changes]")).to_contain_text("22:00–06:00")
    owner.execute(
        "INSERT INTO rule SELECT id, 3, kind, '大型车全天禁行', clause, parameters, valid_from, valid_to, changed_at,"
        " 'somebody', unit_id, 'draft', level, scope, schedule, exemptions, lateness_s, '另一处修改'"
        " FROM rule WHERE name = '大型车禁行' AND version = 2"
    )
    page.click("[data-save]")
    conflict = page.locator("[data-conflict='3']")
    expect(conflict).to_contain_text("somebody")
    expect(page.locator("[data-changes]")).to_contain_text("大型车全天禁行")
    page.click("[data-rebase]")
    page.click("[data-save]")
    expect(view).to_have_attribute("data-version", "4")
    expect(view).to_contain_text("大型车夜间禁行")
    expect(view).to_contain_text("生效中 · 第 2 版")  # a draft changes nothing before it is armed


@pytest.mark.parts("api")
def test_a_fence_is_drawn_on_the_map(desk: Screens, house: House, commander: str):
    screen = desk()
    screen.enter(commander)
    page = screen.page
    go(page, "rules")
    page.click("[data-subtab=fences]")
    expect(page.locator("[data-page] [data-empty]")).to_contain_text("还没有围栏")
    page.click("[data-new-fence]")
    form = page.locator("[data-fence-form]")
    form.locator("[name=name]").fill("一号围栏")
    form.locator("[name=code]").fill("F-1")
    drawing = page.locator(".place-map")
    expect(drawing).to_have_attribute("data-idle", "true")
    box = drawing.bounding_box()
    assert box
    for x, y in ((0.4, 0.4), (0.6, 0.4), (0.5, 0.6)):
        drawing.locator("canvas").click(position={"x": box["width"] * x, "y": box["height"] * y})
    expect(drawing).to_have_attribute("data-spots", "3")
    form.get_by_role("button", name="保存围栏").click()
    expect(page.locator("[data-fence]")).to_contain_text("一号围栏")
    expect(drawing).to_have_attribute("data-fields", "1")


# ---------------------------------------------------------------- look-ups
def test_a_track_is_shown_after_its_purpose_and_the_audit_is_told(
    desk: Screens, house: House, owner: psycopg.Connection, commander: str
):
    for gate in (0, 1, 2):
        house.seen(gate, "吉A12345", ago_s=1800 - 600 * gate)
    screen = desk()
    screen.enter(commander)
    page = screen.page
    go(page, "tracks")
    expect(page.locator("[data-points]")).to_have_count(0)
    dialog = page.locator("[data-lookup]")
    dialog.locator("[name=plate]").fill("吉A12345")
    dialog.locator("button.main").click()
    expect(dialog.get_by_role("alert")).to_contain_text("请说明查询目的")

    def stored() -> bool:
        row = owner.execute("SELECT count(*) FROM passage").fetchone()
        return row is not None and row[0] == 3

    wait_until(stored, 20, "the passages being stored")
    dialog.locator("[name=purpose]").fill("核查套牌投诉")
    dialog.locator("button.main").click()
    expect(page.locator("[data-points='3']")).to_be_visible()
    expect(page.locator("[data-audit]")).to_contain_text("核查套牌投诉")
    expect(page.locator("[data-spots='3'][data-ways='1']")).to_be_visible()
    expect(page.locator("[data-point]").first).to_contain_text("K30+000")
    logged = owner.execute("SELECT count(*) FROM audit WHERE action LIKE 'look_up%'").fetchone()
    assert logged == (1,)


# ---------------------------------------------------------------- devices
def test_senders_show_what_was_refused_and_a_terminal_is_sent_a_text(
    desk: Screens, house: House, owner: psycopg.Connection, world: World, commander: str
):
    owner.execute(
        "INSERT INTO terminal (phone, plate_key, class_group, plate, maker, unit_id)"
        " VALUES ('13900000001', 1234, 1, '吉A54321', 'TEST', %s)",
        [CORPS],
    )
    record = world.native_record(1, house.now(), WATCHED_PLATE, lane=100)
    wait_until(lambda: house.post(record).status_code == 200, 30, "the record being judged")
    screen = desk()
    screen.enter(commander)
    page = screen.page
    go(page, "devices")
    sender = page.locator(f"[data-device='{world.native_id}']")
    expect(sender).to_contain_text("测试系统")

    def counted() -> bool:
        page.select_option("[data-filter=kind]", "gat1400")
        page.select_option("[data-filter=kind]", "native")
        expect(sender).to_be_visible()
        return "数值超出范围" in sender.inner_text()

    wait_until(counted, 30, "the refused record being counted")
    sender.get_by_role("link").click()
    file = page.locator("[data-device-file]")
    expect(file.locator("[data-refusal]")).to_contain_text("lane")
    page.click("[data-correct]")
    expect(page.locator("[data-refused]")).to_contain_text("数值超出范围")

    page.click("[data-subtab=terminals]")
    page.locator("[data-terminal] a").click()
    text = page.locator("[data-text]")
    text.locator("[name=text]").fill("请立即休息")
    text.get_by_role("button", name="发送").click()
    expect(page.locator("[data-sent=queued]")).to_have_text("待发送")
    expect(page.locator("[data-terminal-file]")).to_contain_text("从未上报")


# ---------------------------------------------------------------- rights
def test_who_may_not_is_offered_nothing(desk: Screens, house: House, owner: psycopg.Connection):
    add_person(owner, "west", WEST_SQUADRON, role="crew")
    house.seen(1, WATCHED_PLATE)
    screen = desk()
    screen.enter("west")
    page = screen.page
    expect(page.locator("[data-nav]")).to_have_text(["实时态势", "预警线索", "规则"])
    go(page, "findings")
    page.locator("[data-finding]").click()
    view = page.locator("[data-finding-view]")
    expect(view).to_contain_text("测试条款一")
    for offered in ("核查", "搁置", "查轨迹", "车辆档案"):
        expect(view.get_by_role("button", name=offered, exact=True)).to_have_count(0)
    go(page, "rules")
    expect(page.locator("[data-rule]").first).to_be_visible()
    expect(page.locator("[data-new-rule]")).to_have_count(0)
    for name in ("vehicles", "tracks", "devices"):
        page.evaluate(f"location.hash = '#/{name}'")
        expect(page.locator(f"[data-forbidden={name}]")).to_contain_text("无权")


@pytest.mark.parts("api")
def test_an_address_that_names_nothing_breaks_nothing(desk: Screens, house: House, commander: str):
    screen = desk(r"/api/(rules|findings)/.*: .*(404|422)")
    screen.enter(commander)
    for place in ("#/nowhere", "#/findings/%E0%A4%A", "#/rules/999999", "#/findings/not-an-id"):
        screen.page.evaluate(f"location.hash = '{place}'")
        expect(screen.page.locator("header")).to_be_visible()
        go(screen.page, "rules")
