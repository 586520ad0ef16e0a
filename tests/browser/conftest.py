"""A real browser before real processes. What a page complains of fails its test."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, expect, sync_playwright

from dashboards import setup
from tests.apikit import PASSWORD, add_person
from tests.browser.house import House
from tests.world import CORPS, World
from traffic.progress import Progress
from traffic.settings import Settings

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # the map draws with WebGL, and test machines have no graphics card
)
PATIENCE_MS = 40_000


def pytest_configure(config: pytest.Config) -> None:
    """Marks of these tests."""
    config.addinivalue_line("markers", "parts(*names): the processes that a test needs (default: all)")


SIZE: ViewportSize = {"width": 1366, "height": 768}
NOT_LOGGED_IN = r"/api/me: .*401"
GONE = r"ERR_CONNECTION|ERR_EMPTY_RESPONSE|WebSocket connection|socket-ticket: .*(503|401)"


@pytest.fixture(scope="session")
def web_client() -> Path:
    """The built client of the sources as they are now."""
    dist = setup.build_web(Progress(say=print))
    assert dist is not None
    return dist


@pytest.fixture(scope="module")
def browser(browser_executable: Path) -> Iterator[Browser]:
    """One browser for a module; each test has a profile of its own in it.

    It ends with the module: while it is open its event loop runs in this thread, and no test that has a loop of its
    own could run.
    """
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser_executable, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def house(
    request: pytest.FixtureRequest, settings: Settings, world: World, owner: psycopg.Connection, tmp_path: Path
) -> Iterator[House]:
    """Doors, worker and API, serving; only the parts that the mark `parts` names, where there is one."""
    request.getfixturevalue("web_client")
    built = House(settings, world, tmp_path)
    mark = request.node.get_closest_marker("parts")
    if mark is None or "monitor" not in mark.args:
        built.play_monitor(owner)
    try:
        built.start(*(mark.args if mark else ()))
        yield built
    finally:
        built.close()


class Desk:
    """One person's screen."""

    def __init__(self, page: Page, house: House, allowed: list[str]) -> None:
        self.page = page
        self.house = house
        self.allowed = allowed  # patterns of complaints that a test causes on purpose
        self.complaints: list[str] = []
        self.visits = 0
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.on("framenavigated", self._visited)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.location.get('url', '')}: {message.text}")

    def _visited(self, _frame: object) -> None:
        self.visits += 1

    def unexpected(self) -> list[str]:
        """Complaints that nobody allowed."""
        return [text for text in self.complaints if not any(re.search(pattern, text) for pattern in self.allowed)]

    def open(self) -> None:
        """Type the address."""
        self.page.goto(self.house.address)

    def log_in(self, login: str, password: str = PASSWORD) -> None:
        """Fill in the form and send it."""
        self.page.fill("[name=login]", login)
        self.page.fill("[name=password]", password)
        self.page.click("form button[type=submit]")

    def enter(self, login: str) -> None:
        """Open the address, log in, and wait for map and lists."""
        self.open()
        self.log_in(login)
        expect(self.page.locator(".screen")).to_have_attribute("data-link", "live")
        expect(self.page.locator("html")).to_have_attribute("data-map", "idle")
        expect(self.page.locator("[data-wrong-empty], [data-wrong]").first).to_be_visible()

    def show_alerts(self, login: str) -> None:
        """Enter and open the list of alerts."""
        self.enter(login)
        self.page.click("[data-tab=alerts]")
        expect(self.page.locator("[data-empty], [data-alert]").first).to_be_visible()

    def alert(self, plate: str) -> Locator:
        """The cards of a plate."""
        return self.page.locator(f'article:has([data-plate="{plate}"])')

    def find_checkpoint(self, text: str) -> None:
        """Look a checkpoint up by what people call it; its panel opens."""
        self.find(text, "checkpoint")

    def find(self, text: str, kind: str) -> None:
        """Search, and take the first result of a kind."""
        self.page.fill("input[type=search]", text)
        self.page.locator(f"[role=option][data-found={kind}]").first.click()


@pytest.fixture
def desk(browser: Browser, house: House) -> Iterator[Callable[..., Desk]]:
    """Makes screens: `desk()`; a complaint of any of them fails the test."""
    made: list[Desk] = []

    def make(*allowed: str) -> Desk:
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
        made.append(Desk(context.new_page(), house, [NOT_LOGGED_IN, *allowed]))
        return made[-1]

    yield make
    complaints = [complaint for one in made for complaint in one.unexpected()]
    for one in made:
        one.page.context.close()
    assert not complaints


@pytest.fixture
def commander(owner: psycopg.Connection, world: World) -> str:
    """Login of a person of the corps."""
    add_person(owner, "commander", CORPS)
    return "commander"
