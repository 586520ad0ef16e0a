"""Log-in, session and language, in a real browser."""

import psycopg
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.parts("api")
REFUSED = r"/api/login: .*(401|429)"


def test_a_wrong_password_is_named_and_the_right_one_opens_the_screen(desk, commander):
    screen = desk(REFUSED)
    screen.open()
    screen.log_in("", "")
    expect(screen.page.get_by_role("alert")).to_have_text("请填写账号和密码。")
    screen.log_in(commander, "not-the-password")
    expect(screen.page.get_by_role("alert")).to_have_text("账号或密码不正确。")
    expect(screen.page.locator("[name=password]")).to_be_focused()
    screen.log_in(commander)
    expect(screen.page.locator("header")).to_contain_text("测试总队")
    expect(screen.page.locator("header")).to_contain_text(f"Name of {commander}")
    expect(screen.page.locator("html")).to_have_attribute("data-map", "idle")


def test_too_many_wrong_attempts_say_that_the_account_is_locked(desk, commander):
    screen = desk(REFUSED)
    screen.open()
    trouble = screen.page.get_by_role("alert")
    for _ in range(6):
        with screen.page.expect_response("**/api/login"):
            screen.log_in(commander, "not-the-password")
    expect(trouble).to_contain_text("账号已暂时锁定")
    expect(trouble).to_contain_text("秒后再试")


def test_a_session_outlives_a_reload_and_ends_with_the_log_out(desk, commander):
    screen = desk()
    screen.enter(commander)
    screen.page.reload()
    expect(screen.page.locator(".screen")).to_have_attribute("data-link", "live")
    screen.page.get_by_role("button", name="退出").click()
    expect(screen.page.locator("form")).to_be_visible()
    screen.page.reload()
    expect(screen.page.locator("form")).to_be_visible()


def test_a_session_that_is_ended_elsewhere_leads_to_the_log_in_page(desk, commander, owner: psycopg.Connection):
    screen = desk(r"/api/(me|socket-ticket): .*401")
    screen.enter(commander)
    owner.execute("UPDATE session SET revoked_at = clock_timestamp()")
    expect(screen.page.locator("form")).to_contain_text("会话已结束，请重新登录。")


def test_the_language_is_switched_at_once_and_remembered(desk, commander):
    screen = desk()
    screen.enter(commander)
    screen.page.get_by_role("button", name="English").click()
    expect(screen.page.locator("header")).to_contain_text("Test Corps")
    expect(screen.page.locator("[data-empty]")).to_contain_text("No alerts")
    expect(screen.page.locator("html")).to_have_attribute("lang", "en")
    screen.page.reload()
    expect(screen.page.locator("header")).to_contain_text("Jilin Traffic Safety Command System")
    screen.page.get_by_role("button", name="中文").click()
    expect(screen.page.locator("header")).to_contain_text("吉林省交通安全指挥系统")
