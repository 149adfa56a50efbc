"""The panel "How does it decide?" in Chromium, on a page of its own with a back end that computes real explanations."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier
from digitnet.app.explanation import Explainer
from digitnet.inference.images import load_image
from tests.conftest import ROOT, accessibility_problems
from tests.images import draw_digit

pytestmark = pytest.mark.browser

STATIC = ROOT / "digitnet" / "app" / "static"
TYPES = {".js": "text/javascript", ".css": "text/css"}
HEADINGS = [
    "1. Find the digit", "2. Scale it", "3. Center it", "4. Look for strokes", "5. Combine them", "6. Summarize",
    "7. Decide", "What it looks at", "What it has seen before",
]  # fmt: skip
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Panel</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="stylesheet" href="explanation.css"><style>body { font: 16px/1.4 system-ui; margin: 12px; }</style>
<main><h1>Test</h1><div id="panel"></div></main>
<script type="module">
  import { BackendError } from "./backend.js";
  import { createExplanation } from "./explanation.js";
  const backend = {
    async explain(blob) {
      const response = await fetch("explain", { method: "POST", body: blob });
      const answer = await response.json();
      if (!response.ok) throw new BackendError(response.status === 503 ? "busy" : "invalid", answer.error);
      return answer;
    },
  };
  window.panel = createExplanation(document.getElementById("panel"), backend);
  window.panel.update(null, "The hint");
  window.show = async (url) => window.panel.update(await (await fetch(url)).blob());
</script></html>"""


def encode(image: Image.Image) -> bytes:
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


class Server:
    """Serves the page, the static files and explanations.

    Attributes:
        explained: The digits or "blank" of the requests so far.
        gate: Requests wait until it is set.
        failure: If not None, the error that each request receives.
        status: The HTTP status of the error.
    """

    def __init__(self, explain) -> None:
        self.explained, self.gate, self.failure, self.status = [], threading.Event(), None, 503
        self.gate.set()
        images = {f"/{digit}.png": encode(draw_digit(digit)) for digit in (1, 7)}
        images["/blank.png"] = encode(Image.new("L", (50, 50), 255))
        images["/wide.png"] = encode(
            Image.fromarray(np.pad(load_image(draw_digit(7)), ((0, 0), (300, 0), (0, 0)), "edge"))
        )
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                file = STATIC / self.path.lstrip("/")
                if self.path == "/":
                    self.answer(PAGE.encode(), "text/html")
                elif self.path in images:
                    self.answer(images[self.path], "image/png")
                else:
                    self.answer(file.read_bytes(), TYPES[file.suffix])

            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                explanation = explain(load_image(content))
                server.explained.append(explanation.get("digit", "blank"))
                server.gate.wait(30)
                if server.failure:
                    failure = json.dumps({"error": server.failure}).encode()
                    return self.answer(failure, "application/json", server.status)
                self.answer(json.dumps(explanation).encode(), "application/json")

            def answer(self, content, kind, status=200):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture(scope="module")
def explain():
    return Explainer(DigitClassifier())


@pytest.fixture
def server(explain):
    server = Server(explain)
    yield server
    server.gate.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def page(pages, server):
    return open_panel(pages, server)


def open_panel(pages, server, digit="7", **options):
    """Open the page, show a drawing, and open the panel."""
    page = pages.open(server.url, **options)
    page.evaluate(f"show('{digit}.png')")
    page.locator("summary").click()
    page.locator(".e-steps").wait_for()
    return page


def pixels(page, selector: str) -> np.ndarray:
    """Return the pixels of a canvas, uint8 (H, W, 4)."""
    program = """(canvas) => [canvas.height, canvas.width,
        ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
    height, width, *values = page.locator(selector).first.evaluate(program)
    return np.array(values, np.uint8).reshape(height, width, 4)


def first_digit(page) -> str:
    return page.locator("tr.e-first th").inner_text()


def test_a_closed_panel_sends_no_request(pages, server):
    page = pages.open(server.url)
    page.evaluate("show('7.png')")
    page.evaluate("show('1.png')")
    page.wait_for_load_state("networkidle")
    assert server.explained == []
    page.locator("summary").click()
    page.locator(".e-steps").wait_for()
    assert server.explained == [1], "the last drawing only"
    page.locator("summary").click()
    page.evaluate("show('7.png')")
    page.wait_for_load_state("networkidle")
    assert server.explained == [1]


def test_all_steps_are_shown(page):
    assert page.locator(".e-steps h3:visible").all_inner_texts() == HEADINGS
    assert page.locator(".e-steps > li > p:visible").count() == len(HEADINGS)
    assert first_digit(page) == "7"
    assert page.locator(".e-neighbors li").all_inner_texts() == ["7"] * 6
    assert "of 128 activations are above zero" in page.locator(".e-dense").get_attribute("aria-label")


def test_the_numbers_are_those_of_the_explanation(page, explain):
    explanation = explain(load_image(draw_digit(7)))
    rows = [row.split() for row in page.locator("tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == list("0123456789")
    logits = [float(row[1].replace("\N{MINUS SIGN}", "-")) for row in rows]
    assert logits == pytest.approx(explanation["logits"], abs=0.06)
    assert rows[7][2:] == [">99.9", "%"], "0.99995 is not 100 %"
    assert rows[3][2:] == ["0.0", "%"]


def test_the_framed_digit_and_the_neighbors_are_painted_pixel_by_pixel(page, explain):
    explanation = explain(load_image(draw_digit(7)))
    for selector, values in (
        (".e-framed", explanation["framed"]),
        (".e-neighbors canvas", explanation["neighbors"][0]["values"]),
    ):
        painted = pixels(page, selector)
        assert (painted[..., 3] == 255).all()
        np.testing.assert_array_equal(painted[..., 0], np.reshape(values, (28, 28)))


def test_the_scaled_digit_fills_its_20_pixels(page):
    scaled = pixels(page, ".e-scaled")[..., 0]
    assert scaled.shape == (20, 20)
    assert scaled.any(1).all(), "a seven is higher than wide"
    framed = pixels(page, ".e-framed")[..., 0]
    assert scaled.sum(dtype=int) == framed.sum(dtype=int)


def test_each_map_is_at_its_place_in_the_sheet(page, explain):
    sheets = page.locator(".e-enlarge canvas")
    for index, (columns, layer) in enumerate(zip((8, 16), explain(load_image(draw_digit(7)))["maps"], strict=True)):
        count, height, width = layer["shape"]
        sheet = np.array(
            sheets.nth(index).evaluate(
                "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
            )
        ).reshape(count // columns * (height + 1) + 1, columns * (width + 1) + 1, 4)
        maps = np.reshape(layer["values"], layer["shape"])
        for number in range(count):
            top, left = number // columns * (height + 1) + 1, number % columns * (width + 1) + 1
            np.testing.assert_array_equal(sheet[top : top + height, left : left + width, 0], maps[number])


def test_the_box_and_the_occlusion_map_are_where_the_digit_is(pages, server):
    page = open_panel(pages, server, "wide")
    for selector in (".e-found", ".e-occlusion"):
        painted = pixels(page, selector).astype(int)
        assert painted.shape[1] > painted.shape[0]
        colored = np.abs(painted[..., 0] - painted[..., 2]) > 40
        assert colored.any()
        assert np.flatnonzero(colored.any(0)).min() > painted.shape[1] * 0.6, "the digit is at the right"


def test_the_maps_are_enlarged_and_closed_with_the_keyboard(page):
    button = page.get_by_role("button", name="Enlarge the 64 feature maps of the second layer")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="The 64 feature maps of the second layer")
    assert dialog.locator("canvas").count() == 64
    assert dialog.locator("canvas").first.bounding_box()["width"] >= 70
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert button.evaluate("(button) => button === document.activeElement")


def test_the_enlarged_maps_are_closed_by_their_button_and_by_a_click_beside_them(page):
    button = page.get_by_role("button", name="Enlarge the 32 feature maps of the first layer")
    dialog = page.get_by_role("dialog")
    button.click()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")
    button.click()
    box = dialog.bounding_box()
    page.mouse.click(box["x"] + 8, box["y"] + 8)
    assert dialog.is_visible(), "a click inside it"
    page.mouse.click(2, 2)
    dialog.wait_for(state="hidden")


def test_enlarged_maps_are_updated(page):
    page.get_by_role("button", name="Enlarge the 32").click()
    before = pixels(page, "dialog[open] canvas")
    page.evaluate("show('1.png')")
    page.locator("tr.e-first th", has_text="1").wait_for(state="attached")
    assert (pixels(page, "dialog[open] canvas") != before).any()


def test_one_request_at_a_time_and_the_last_drawing_wins(page, server):
    server.gate.clear()
    page.evaluate("show('1.png')")
    page.wait_for_function("document.querySelector('.e-steps').ariaBusy === 'true'")
    for url in ("7.png", "wide.png", "7.png", "1.png"):
        page.evaluate(f"show('{url}')")
    page.evaluate("show('7.png')")
    server.gate.set()
    page.wait_for_load_state("networkidle")
    page.wait_for_function("document.querySelector('.e-steps').ariaBusy === 'false'")
    assert server.explained == [7, 1, 7]
    assert first_digit(page) == "7"


def test_the_same_image_is_explained_once(page, server):
    page.evaluate("fetch('1.png').then((response) => response.blob()).then((blob) => panel.update(window.blob = blob))")
    page.locator("tr.e-first th", has_text="1").wait_for()
    page.evaluate("panel.update(blob)")
    page.evaluate("show('7.png')")
    page.locator("tr.e-first th", has_text="7").wait_for()
    assert server.explained == [7, 1, 7]


def test_a_late_explanation_does_not_appear_after_the_drawing_is_cleared(page, server):
    server.gate.clear()
    page.evaluate("show('1.png')")
    page.wait_for_function("document.querySelector('.e-steps').ariaBusy === 'true'")
    page.evaluate("panel.update(null, 'The hint')")
    page.get_by_text("The hint").wait_for()
    server.gate.set()
    page.wait_for_function("document.querySelector('.e-steps').ariaBusy === 'false'")
    assert page.locator(".e-steps").is_hidden()
    page.evaluate("show('7.png')")
    page.locator(".e-steps").wait_for()
    assert page.get_by_text("The hint").is_hidden()


@pytest.mark.parametrize(
    ("action", "message"),
    [("panel.update(null, 'Choose')", "Choose"), ("show('blank.png')", "There is too little ink to recognize")],
)
def test_without_ink_the_panel_says_why_there_is_no_explanation(page, action, message):
    page.evaluate(action)
    page.get_by_text(message).wait_for()
    assert page.locator(".e-steps").is_hidden()


def test_before_the_first_drawing_the_panel_shows_the_hint(pages, server):
    page = pages.open(server.url)
    page.locator("summary").click()
    page.get_by_text("The hint").wait_for()
    page.evaluate("panel.update(null, 'Another hint')")
    page.get_by_text("Another hint").wait_for()
    assert server.explained == []


def test_an_explanation_is_retried_by_itself_if_the_app_is_busy(pages, page, server):
    server.failure = "The app is busy. Try again in a moment."
    page.evaluate("show('1.png')")
    page.get_by_text(server.failure).wait_for()
    server.failure = None
    page.locator(".e-steps").wait_for()
    assert first_digit(page) == "1"
    pages.errors.clear()  # Chromium logs the status 503


def test_an_error_is_shown_in_place_of_an_older_explanation_and_can_be_retried(pages, page, server):
    server.failure, server.status = "There are no activations.", 404
    page.evaluate("show('1.png')")
    page.get_by_text(server.failure).wait_for()
    assert page.locator(".e-steps").is_hidden()
    page.wait_for_timeout(2500)
    assert server.explained == [7, 1], "the answer would be the same"
    server.failure = None
    page.get_by_role("button", name="Try again").click()
    page.locator(".e-steps").wait_for()
    assert first_digit(page) == "1"
    assert page.get_by_role("button", name="Try again").is_hidden()
    assert len(pages.errors) == 1, "Chromium logs the status 404"
    pages.errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_problem_and_nothing_is_cut(pages, server, axe_script, scheme, width):
    page = open_panel(pages, server, color_scheme=scheme, viewport={"width": width, "height": 700})
    assert accessibility_problems(page, axe_script) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Enlarge the 64").click()
    assert accessibility_problems(page, axe_script) == []
    assert page.get_by_role("dialog").evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    page.keyboard.press("Escape")
    page.evaluate("panel.update(null)")
    assert accessibility_problems(page, axe_script) == []
    page.locator("summary").click()
    assert accessibility_problems(page, axe_script) == []


def test_a_violation_is_found_by_axe(page, axe_script):
    page.locator(".e-enlarge").first.evaluate("(button) => { button.ariaLabel = ''; button.textContent = ''; }")
    assert any("button-name" in problem for problem in accessibility_problems(page, axe_script))


def test_the_bars_are_visible_in_forced_colors(pages, server):
    page = open_panel(pages, server, forced_colors="active")
    for selector in (".e-dense", "tr.e-first .e-bar span"):
        image = Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")
        assert len(image.getcolors(maxcolors=100_000)) >= 2
        bar = page.locator(f"{selector} i").first.evaluate("(bar) => getComputedStyle(bar).backgroundColor")
        surface = page.locator(".explanation").evaluate("(panel) => getComputedStyle(panel).backgroundColor")
        assert bar != surface
