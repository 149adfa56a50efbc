"""What the page does while the server is slow, busy, hung, or gone."""

import json
import signal
from contextlib import suppress

import pytest

from tests.app.drawing import ONE, REJECTED, SEVEN, ZERO, count_ink, draw, opened, says, shows
from tests.app.processes import App

pytestmark = [pytest.mark.slow, pytest.mark.browser]

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

Error = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright").Error

GONE = "Can't reach the app. Is it still running?"
CLASSIFY = "**/digitnet/classify"
CORRECT = "**/digitnet/corrections*"


@pytest.fixture
def page(page, shared_pages):
    yield page
    # The browser's own lines about responses that a test refuses or delays.
    shared_pages.errors[:] = [e for e in shared_pages.errors if not e.startswith("Failed to load resource")]


@pytest.fixture
def own_app(start_app):
    return start_app()


class Delay:
    """Delays the requests of a page to a route, until `release` is called."""

    def __init__(self, page, pattern: str) -> None:
        self.routes = []
        self.page, self.pattern = page, pattern
        page.route(pattern, lambda route: self.routes.append(route))

    def wait(self, count: int = 1) -> None:
        while len(self.routes) < count:
            self.page.wait_for_timeout(20)

    def release(self) -> None:
        for route in self.routes:
            route.continue_()
        self.page.unroute(self.pattern)


def test_the_page_says_that_the_app_is_gone_keeps_the_drawing_and_retries(browser, own_app):
    page = browser.new_page()  # its failing requests are errors on the console, as expected here
    page.goto(own_app.url)
    page.get_by_role("button", name="Clear").wait_for()
    draw(page, SEVEN)
    shows(page, "7")
    own_app.stop()
    draw(page, [[(0.3, 0.55), (0.65, 0.55)]])
    says(page, GONE)
    shows(page, REJECTED)
    assert count_ink(page) > 100
    assert page.get_by_role("button", name="It is a 7").is_disabled()
    again = App(own_app.directory, port=own_app.port)
    shows(page, "7")  # nobody has touched the page
    page.close()
    again.end()


def test_a_correction_that_does_not_arrive_is_reported(browser, own_app):
    page = browser.new_page()
    page.goto(own_app.url)
    page.get_by_role("button", name="Clear").wait_for()
    draw(page, SEVEN)
    shows(page, "7")
    page.wait_for_function(
        "() => !document.querySelector('.digits button').disabled"
    )  # the whole drawing is classified
    own_app.stop()
    page.get_by_role("button", name="It is a 4").click()
    page.get_by_text(f"Not saved. {GONE}").wait_for()
    page.close()


def test_a_server_that_hangs_is_reported_and_the_answer_comes_when_it_continues(pages, own_app):
    page = opened(pages, own_app)
    draw(page, ONE)
    shows(page, "1")
    own_app.process.send_signal(signal.SIGSTOP)
    page.get_by_role("button", name="Clear").click()
    draw(page, ZERO)
    says(page, "Reading…")
    shows(page, REJECTED)
    says(page, "The app doesn't answer. Trying again…")
    own_app.process.send_signal(signal.SIGCONT)
    shows(page, "0")


def test_another_image_clears_the_answer_at_once(page):
    page.get_by_role("tab", name="Image").click()
    page.get_by_role("button", name="Example 6").click()
    shows(page, "6")
    delay = Delay(page, CLASSIFY)
    page.get_by_role("button", name="Example 2").click()
    delay.wait()
    assert page.get_by_test_id("digit").inner_text() == REJECTED
    says(page, "Reading…")
    assert page.get_by_role("button", name="It is a 6").is_disabled()
    delay.release()
    shows(page, "2")


def test_a_late_answer_is_not_shown_on_the_other_tab(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    delay = Delay(page, CLASSIFY)
    page.get_by_role("button", name="Example 6").click()
    delay.wait()
    page.get_by_role("tab", name="Draw").click()
    shows(page, "1")
    delay.release()
    page.wait_for_timeout(1000)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    shows(page, "6")


def test_a_slow_answer_does_not_replace_a_newer_one(page):
    page.get_by_role("tab", name="Image").click()
    held = []
    page.route(CLASSIFY, lambda route: route.continue_() if held else held.append(route))
    page.get_by_role("button", name="Example 6").click()
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Example 2").click()
    shows(page, "2")
    with suppress(Error):  # the page has given up this request
        held[0].fulfill(json={"label": 6, "probabilities": [0.1] * 10, "blank": False, "framed": "data:,"})
    page.wait_for_timeout(500)
    shows(page, "2")


@pytest.mark.parametrize(
    ("status", "sent", "expected"),
    [
        (403, {"error": "Only pages of this app may send requests."}, "Only pages of this app may send requests."),
        (403, {}, "The app refused this page's request. Reload the page."),
        (413, {"error": "This picture is too large."}, "This picture is too large."),
        (503, {}, "The app is busy. Trying again…"),
        (502, "<html>Bad Gateway</html>", GONE),
    ],
    ids=["refused", "refused by a proxy", "too large", "busy", "gone behind a proxy"],
)
def test_each_cause_has_a_text_of_its_own(page, status, sent, expected):
    body = sent if isinstance(sent, str) else json.dumps(sent)
    page.route(CLASSIFY, lambda route: route.fulfill(status=status, body=body))
    draw(page, ONE)
    says(page, expected)
    page.wait_for_timeout(500)  # the last request of the stroke is refused, too
    page.unroute(CLASSIFY)
    if status < 500:  # nothing is repeated, because the answer would be the same
        page.wait_for_timeout(2500)
        says(page, expected)
        draw(page, [[(0.5, 0.3), (0.5, 0.7)]])
    shows(page, "1")


def test_a_visitor_without_a_connection_is_told_so(page):
    page.evaluate("() => Object.defineProperty(Navigator.prototype, 'onLine', { get: () => false })")
    page.route(CLASSIFY, lambda route: route.abort())
    draw(page, ONE)
    says(page, GONE)  # on this machine, no connection is needed
    page.unroute(CLASSIFY)
    shows(page, "1")


def test_a_full_directory_of_corrections_is_reported_without_moving_the_page(pages, start_app, tmp_path):
    app = start_app("--max-corrections=1")
    page = opened(pages, app, viewport={"width": 390, "height": 664})
    draw(page, SEVEN)
    shows(page, "7")
    page.get_by_text("How does it decide?").wait_for()
    height = page.evaluate("() => document.documentElement.scrollHeight")
    page.get_by_role("button", name="It is a 4").click()
    page.get_by_text("Saved as a 4.").wait_for()
    draw(page, [[(0.3, 0.55), (0.65, 0.55)]])
    shows(page, "7")
    page.wait_for_function("() => !document.querySelector('.digits button').disabled")
    page.get_by_role("button", name="It is a 3").click()
    page.get_by_text("Not saved.").wait_for()
    assert len([*tmp_path.rglob("*.png")]) == 1
    assert page.evaluate("() => [document.documentElement.scrollHeight, document.documentElement.scrollWidth]") == [
        height,
        390,
    ]
    page.close()
    pages.errors.clear()  # the browser's own line about the response


@pytest.mark.parametrize("module", ["main.js", "sketchpad.js", "server.js"])
def test_a_page_that_cannot_start_says_what_to_do(pages, app, module):
    page = pages.open("about:blank")
    page.route(f"**/digitnet/static/*/{module}", lambda route: route.abort())
    page.goto(app.url)
    page.get_by_text("This page could not be loaded completely. Reload it.").wait_for()
    assert not page.get_by_role("button", name="Clear").is_visible()
    page.unroute(f"**/digitnet/static/*/{module}")
    page.reload()
    page.get_by_role("button", name="Clear").wait_for()
    assert not page.locator(".start").is_visible()
    pages.errors.clear()  # about the module
