"""The page in a real browser: `make test-page`. It needs Chromium and what `tools/page.lock` names.

With `UNDERSTUDY_PICTURES=1` it draws the pictures in `docs/` anew.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from understudy.gateway import Feed
from understudy.simulation import Script, Status, World

from .house import House
from .story import at_work, past, remembered, script

DOCS = Path(__file__).parents[2] / "docs"
CHROMIUM = os.environ.get("UNDERSTUDY_CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
TOKEN = "the-token-of-this-test-0123456789abcdef"
MODEL = "openai at https://api.openai.com/v1 / gpt-5.4-mini"
ENDPOINT = "openai at https://api.openai.com/v1"


@dataclass
class Gateway:
    """A gateway, as a test sees it from its own thread."""

    portal: BlockingPortal
    house: House
    world: World
    url: str

    def set(self, transport: str, script: Script) -> None:
        """Let a provider do something else from now on."""
        self.portal.call(lambda: setattr(self.world._playbacks[transport], "script", script))

    def status(self, key: str) -> str:
        """Return the state of a circuit, as the feed has it."""
        rows = self.portal.call(self.house.feed.snapshot)["circuits"]
        return str(next(row["state"] for row in rows if row["key"] == key))


@dataclass
class Seen:
    """What a browser did: its messages, and every address that it asked for."""

    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Take note of what a page does."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for all tests."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


@contextmanager
def opened(*, remembers: bool = False) -> Iterator[Gateway]:
    """Run a gateway whose providers are all well; if it `remembers`, a quarter of an hour lies behind it."""
    events = remembered() if remembers else ()

    @asynccontextmanager
    async def running() -> Any:
        feed, world = Feed("0.1.0"), World({name: script(0.25) for name in past()})
        async with at_work(world, feed, events) as supervisor:
            house = House(supervisor, feed, TOKEN)
            async with house.open() as url:
                yield house, world, url

    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        house, world, url = stack.enter_context(portal.wrap_async_context_manager(running()))
        yield Gateway(portal, house, world, url)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway that has just begun."""
    with opened() as gateway:
        yield gateway


@contextmanager
def looking(browser: Browser, gateway: Gateway, *, signs_in: bool = True, **context: Any) -> Iterator[Page]:
    """Open the page in a browser of its own, with the token given; check at the end that all was in order."""
    seen = Seen()
    with ExitStack() as stack:
        window = browser.new_context(**context)
        stack.callback(window.close)
        page = window.new_page()
        seen.watch(page)
        page.goto(gateway.url)
        if signs_in:
            page.get_by_label("Gateway token").fill(TOKEN)
            page.get_by_role("button", name="Show").click()
            expect(page.locator("#link")).to_have_text("Live")
        yield page
    assert all(url.startswith((gateway.url + "/", "data:")) for url in seen.asked), seen.asked
    assert not any(TOKEN in target for target in [*gateway.house.asked, *seen.asked])
    refusals = [text for text in seen.said if "Failed to load resource" in text and not signs_in]
    assert seen.said == refusals


def circuit(page: Page, key: str) -> Any:
    """Return a circuit's row."""
    return page.locator("#circuits > li").filter(has=page.get_by_role("button", name=f"Reset: {key}", exact=True))


def test_the_page_holds_no_data_and_asks_for_the_token(browser: Browser, gateway: Gateway) -> None:
    """A wrong token is said to be wrong, the right one shows the board, and neither is ever in an address."""
    with looking(browser, gateway, signs_in=False) as page:
        expect(page.locator("#board")).to_be_hidden()
        expect(page.get_by_label("Gateway token")).to_be_focused()
        page.keyboard.type("a-wrong-one")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").first).to_have_text("That token was not accepted.")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#link")).to_have_text("Live")
        expect(page.get_by_role("heading", name="Agents")).to_be_visible()
        page.reload()
        expect(page.locator("#link")).to_have_text("Live")
        page.get_by_role("button", name="Forget token").click()
        expect(page.get_by_label("Gateway token")).to_be_visible()
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_an_outage_is_on_the_page_within_two_seconds(browser: Browser, gateway: Gateway) -> None:
    """Who serves, the circuit, the hand-over and the trail of a request, from the first refusal on; and the return."""
    with looking(browser, gateway) as page:
        agent = page.locator("#agents > li").filter(has_text="deriver")
        expect(agent.locator(".serves")).to_contain_text("openai/gpt-5.4-mini")
        gateway.set("openai", Script.always(Status(503)))
        begun = time.monotonic()
        expect(agent.locator(".serves")).to_contain_text("anthropic/claude-haiku-4-5", timeout=2000)
        handed_over = time.monotonic() - begun
        expect(circuit(page, MODEL).locator(".badge")).to_have_text("open", timeout=2000)
        expect(circuit(page, MODEL).locator(".span.open").first).to_be_attached()
        row = page.locator("#handovers > li").filter(has_text="deriver")
        expect(row).to_contain_text("openai/gpt-5.4-mini → anthropic/claude-haiku-4-5")
        expect(page.locator("#news")).to_contain_text("was handed over from")
        failed = page.locator("#failures > li").filter(has_text="deriver").first
        failed.locator("summary").click()
        expect(failed.locator("tbody tr").first).to_contain_text("503")
        assert handed_over < 2
        print(f"\nan outage is on the page after {handed_over:.2f} s")
        gateway.set("openai", script(0.05))
        expect(agent.locator(".serves")).to_contain_text("openai/gpt-5.4-mini", timeout=40_000)
        expect(page.locator("#handovers > li.returned").first).to_be_visible()


def test_circuits_are_set_by_hand_once_that_is_confirmed(browser: Browser, gateway: Gateway) -> None:
    """Cancelled, nothing is done; confirmed, it is, and it shows; all by keyboard."""
    with looking(browser, gateway) as page:
        row, dialog = circuit(page, MODEL), page.get_by_role("dialog")
        row.get_by_role("button", name="Force open").focus()
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text(MODEL)
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert gateway.status(MODEL) == "closed"
        expect(row.get_by_role("button", name="Force open")).to_be_focused()
        page.keyboard.press("Enter")
        dialog.get_by_label("For").focus()
        dialog.get_by_label("For").select_option("900")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(dialog.get_by_role("button", name="Force open")).to_be_focused()
        page.keyboard.press("Enter")
        expect(row.locator(".badge")).to_have_text("forced open")
        expect(row.locator(".why")).to_contain_text("15 min more")
        expect(page.get_by_role("status").last).to_contain_text("is forced open")
        assert gateway.status(MODEL) == "forced_open"
        row.get_by_role("button", name="Force closed").click()
        dialog.get_by_role("button", name="Force closed").click()
        expect(row.locator(".badge")).to_have_text("forced closed")
        circuit(page, ENDPOINT).get_by_role("button", name="Reset").click()
        dialog.get_by_role("button", name="Reset").click()
        expect(row.locator(".badge")).to_have_text("closed")
        assert gateway.status(MODEL) == "closed"


def test_a_lost_connection_is_said_and_made_again(browser: Browser, gateway: Gateway) -> None:
    """The page says that what it shows is old, and when it tries again; then it goes on by itself."""
    with looking(browser, gateway, signs_in=False) as page:
        page.get_by_label("Gateway token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#link")).to_have_text("Live")
        gateway.portal.call(gateway.house.stop)
        expect(page.locator("#link")).to_contain_text("Connection lost, again in")
        expect(page.locator("#board")).to_have_class("stale")
        gateway.portal.call(gateway.house.start)
        page.get_by_role("button", name="Connect now").click()
        expect(page.locator("#link")).to_have_text("Live")
        expect(page.locator("#board")).not_to_have_class("stale")


def test_everything_is_reached_by_keyboard_and_named(browser: Browser, gateway: Gateway) -> None:
    """Tab goes to every control, each has a name, and the page has landmarks and one heading of the first level."""
    with looking(browser, gateway) as page:
        controls = page.locator("button:visible, summary:visible, [tabindex='0']:visible, a:visible").count()
        page.locator("body").focus()
        names: set[str] = set()
        for _ in range(controls + 10):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "(e => e === document.body ? '' : e.getAttribute('aria-label') || e.textContent || '?')"
                "(document.activeElement)"
            )
            names.add(name)
        assert {"Skip to the content", "Forget token", f"Force open: {MODEL}", f"Reset: {ENDPOINT}"} <= names
        assert "?" not in names
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
        regions = page.get_by_role("region").count()
        assert regions == page.locator("section").count() == 8


@pytest.mark.parametrize("width", [320, 380, 768, 1280])
def test_no_width_needs_sideways_scrolling(browser: Browser, gateway: Gateway, width: int) -> None:
    """The page is as wide as the window."""
    with looking(browser, gateway, viewport={"width": width, "height": 800}) as page:
        gateway.set("openai", Script.always(Status(503)))
        expect(page.locator("#handovers > li").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_a_provider_says_is_never_markup(browser: Browser, gateway: Gateway) -> None:
    """Text that looks like markup is shown as it is."""
    body = b'{"error": {"message": "<img src=x onerror=alert(1)><b>bold</b>", "type": "server_error"}}'
    with looking(browser, gateway) as page:
        gateway.set("openai", Script.always(Status(500, body=body)))
        expect(page.locator("#handovers > li").first).to_contain_text("<img src=x")
        assert page.locator("main img, main section b:text-is('bold')").count() == 0


PICTURES: dict[str, dict[str, Any]] = {
    "page-light": {"viewport": {"width": 1280, "height": 1400}, "color_scheme": "light"},
    "page-dark": {"viewport": {"width": 1280, "height": 1400}, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 380, "height": 1500}, "color_scheme": "light"},
}


def test_pictures_are_taken(browser: Browser, tmp_path: Path) -> None:
    """Light, dark and on a phone, in an outage; small enough to be kept in the repository."""
    folder = DOCS if os.environ.get("UNDERSTUDY_PICTURES") else tmp_path
    with opened(remembers=True) as gateway:
        gateway.set("anthropic", script(0.3))
        gateway.set("openai", Script.always(Status(503)))
        for name, context in PICTURES.items():
            with looking(browser, gateway, reduced_motion="reduce", **context) as page:
                expect(page.locator("#handovers > li").first).to_be_visible()
                page.wait_for_timeout(2500)
                path = folder / f"{name}.png"
                with Image.open(io.BytesIO(page.screenshot())) as picture:
                    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
                assert path.stat().st_size < 150_000
