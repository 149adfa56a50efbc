"""The demo without a server: site/ on a plain file server, below a path, in Chromium, with and without connection."""

import base64
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.synthetic_numbers import DigitSource, write_number
from demo import build as demo
from digitnet import DigitClassifier
from digitnet.app.explanation import Explainer
from tests.app.drawing import ASTERISK, REJECTED, SEVEN, WIDE, ZERO, draw, framed, placed, reads, says, shows
from tests.conftest import ROOT
from tests.examples.test_examples import GOLDEN, assert_same_prediction, npm_install
from tests.images import draw_digit

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.network]

DEMO, EXAMPLE = ROOT / "demo", ROOT / "examples" / "browser"
PATH = "some/where"
MAX_SITE_BYTES = 15_000_000
NO_IMAGE = "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP or WebP."
ASK_BACKEND = """async ([question, base64]) => {
    const { createBrowserBackend } = await import(new URL("browser_backend.js", document.baseURI));
    window.backend ??= createBrowserBackend();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return window.backend[question](new Blob([bytes]));
}"""

UPDATE = """async () => {
    const updated = new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
    await (await navigator.serviceWorker.getRegistration()).update();
    await updated;
}"""


class FileServer:
    """`python -m http.server` of a directory, on a free port of the loopback interface."""

    def __init__(self, directory) -> None:
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", directory]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.search(r"http://[\d.:]+/", self.process.stdout.readline())[0]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site and return its directory, in a directory to be served."""
    npm_install(DEMO)
    site = tmp_path_factory.mktemp("host") / PATH
    demo.build(site)
    return site


@pytest.fixture
def server(site):
    server = FileServer(site.parents[PATH.count("/")])
    yield server
    server.end()


@pytest.fixture
def page(pages, server):
    return opened(pages, server)


@pytest.fixture(scope="module")
def classifier() -> DigitClassifier:
    return DigitClassifier(ROOT / "checkpoints" / "release" / "digitnet.onnx")


def opened(pages, server):
    """Return a page of the site after its first visit is complete."""
    page = pages.open(f"{server.url}{PATH}/")
    page.wait_for_function("() => navigator.serviceWorker.controller")
    return page


def to_png(image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def ask(page, question: str, content: bytes) -> dict:
    """Return the back end's answer for the content of an image file."""
    return page.evaluate(ASK_BACKEND, [question, base64.b64encode(content).decode()])


def test_drawn_digits_are_classified(page):
    draw(page, SEVEN)
    shows(page, "7")
    assert framed(page).max() == 255
    page.get_by_role("button", name="Clear").click()
    shows(page, REJECTED)
    draw(page, ZERO)
    shows(page, "0")


def test_the_page_works_after_the_server_is_gone(page, server):
    server.end()
    page.reload()
    draw(page, SEVEN)
    shows(page, "7")
    page.get_by_text("How does it decide?").click()
    page.get_by_text("What it has seen before").wait_for()
    page.goto(page.url + "index.html")
    draw(page, [])
    shows(page, "7")  # the drawing of this browser tab


def test_predictions_are_those_of_the_classifier(page, classifier, tmp_path):
    path = tmp_path / "golden.png"
    for name, (image, _) in GOLDEN.items():
        path.write_bytes(to_png(image))
        answer = ask(page, "classify", path.read_bytes())
        label = -1 if answer["label"] is None else answer["label"]
        assert_same_prediction(label, answer["probabilities"], classifier, path, name)
        assert answer["blank"] == name.startswith("blank")


def test_numbers_on_the_wide_canvas_are_read(page):
    page.get_by_role("tab", name="Number").click()
    draw(page, placed(SEVEN, 0.1, 0, 0.5) + placed(ZERO, 0.6, 0, 0.5) + placed(SEVEN, 0.1, 0.5, 0.5), canvas=WIDE)
    draw(page, placed(ASTERISK, 1.2, 0, 0.4), canvas=WIDE)
    reads(page, "70?", "7")


KINDS = ("spaced", "close", "sizes", "sloping line", "touching")  # a canvas has no ruled lines and form boxes
MAX_DIFFERENT = 0.02  # fraction of the numbers whose text may differ
NUMBERS_PER_KIND = 13


def test_numbers_are_those_of_the_classifier(page, classifier):
    """They differ only where the rounding of a pixel decides."""
    source = DigitSource(np.zeros((0, 28, 28), np.uint8), np.zeros(0, int), mnist=0)
    rng, different = np.random.default_rng(0), []
    for kind in KINDS:
        for _ in range(NUMBERS_PER_KIND):
            image = write_number(source, rng.integers(0, 10, rng.integers(1, 7)).tolist(), kind, rng).image
            expected, answer = classifier.read_numbers(image), ask(page, "read", to_png(Image.fromarray(image)))
            texts = [number.text for number in expected], [number["text"] for number in answer["numbers"]]
            if texts[0] != texts[1]:
                different.append((kind, *texts))
                continue
            assert (answer["height"], answer["width"]) == image.shape
            for number, other in zip(expected, answer["numbers"], strict=True):
                assert other["confidence"] == pytest.approx(number.confidence, abs=0.1)
                assert [digit["box"] for digit in other["digits"]] == [list(digit.box) for digit in number.digits]
    assert len(different) <= MAX_DIFFERENT * NUMBERS_PER_KIND * len(KINDS), different


def test_blank_images_and_too_many_candidates_are_reported_as_in_the_sketchpad(page):
    assert ask(page, "read", to_png(Image.new("RGBA", (300, 200))))["numbers"] == []
    lines = np.full((60, 3000), 255, np.uint8)
    for index in range(140):
        lines[12:48, 20 + 20 * index : 25 + 20 * index] = 0
    with pytest.raises(Exception, match="There is too much on one line: at most 100 digits are read"):
        ask(page, "read", to_png(Image.fromarray(lines)))


def test_explanations_are_those_of_the_server(page, classifier):
    explain = Explainer(classifier)
    for digit in (1, 7):
        image = draw_digit(digit).convert("RGBA")
        expected, answer = explain(np.asarray(image)), ask(page, "explain", to_png(image))
        assert set(answer) == set(expected)
        assert answer["neighbors"] == expected["neighbors"]
        for name in ("digit", "size", "box", "square", "dense", "logits", "probabilities", "occlusion"):
            np.testing.assert_allclose(answer[name], expected[name], rtol=0, atol=1e-3, err_msg=name)
    assert ask(page, "explain", to_png(GOLDEN["blank"][0])) == {"blank": True}


def test_the_panel_explains_a_drawing(page):
    draw(page, SEVEN)
    page.get_by_text("How does it decide?").click()
    page.get_by_text(re.compile("lowers the probability of 7, in the worst place from")).wait_for()


def test_a_file_that_is_no_image_is_reported(page):
    page.get_by_role("tab", name="Image").click()
    page.locator("input[type=file]").set_input_files({"name": "7.png", "mimeType": "image/png", "buffer": b"no image"})
    says(page, NO_IMAGE)


def test_the_page_offers_no_correction(page):
    draw(page, SEVEN)
    shows(page, "7")
    assert not page.get_by_text("Wrong? Pick the correct digit.").is_visible()


def test_the_model_is_loaded_again_after_a_failure(pages, page):
    context = pages.browser.new_context(service_workers="block")
    pages.contexts.append(context)
    again = context.new_page()
    again.route("**/*.onnx", lambda route: route.abort())
    again.goto(page.url)
    draw(again, SEVEN)
    says(again, "The model can't be loaded. Trying again…")
    again.unroute("**/*.onnx")
    shows(again, "7")


def test_the_page_says_that_the_model_is_loading_and_a_drawing_is_classified_when_it_is_there(pages, page):
    context = pages.browser.new_context(service_workers="block")
    pages.contexts.append(context)
    again, waiting = context.new_page(), []
    again.route("**/digitnet.onnx", lambda route: waiting.append(route))
    again.goto(page.url)
    says(again, "Loading the model…")
    draw(again, SEVEN)
    again.wait_for_timeout(1000)
    says(again, "Loading the model…")
    for route in waiting:
        route.continue_()
    shows(again, "7")


@pytest.mark.parametrize("module", ["browser_backend.js", "tabs.js"])
def test_a_page_that_cannot_start_says_what_to_do(pages, page, module):
    context = pages.browser.new_context(service_workers="block")
    pages.contexts.append(context)
    broken = context.new_page()
    broken.route(f"**/{module}", lambda route: route.abort())
    broken.goto(page.url)
    broken.get_by_text("This page could not be loaded completely. Reload it.").wait_for()


def test_a_new_version_replaces_the_old_one(page, site):
    old = {name: (site / name).read_text() for name in ("index.html", "service_worker.js")}
    try:
        (site / "index.html").write_text(old["index.html"].replace("<h1>Draw a digit</h1>", "<h1>Draw one digit</h1>"))
        (site / "service_worker.js").write_text(old["service_worker.js"].replace('VERSION = "', 'VERSION = "new'))
        page.evaluate(UPDATE)
        page.reload()
        page.get_by_role("heading", name="Draw one digit").wait_for()
        assert page.evaluate("caches.keys().then((names) => names.length)") == 1
    finally:
        for name, text in old.items():
            (site / name).write_text(text)


def test_the_site_is_small_and_the_same_at_every_build(site, tmp_path):
    demo.build(tmp_path / "site")
    files = {path.name: path.read_bytes() for path in site.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "site").iterdir()}
    assert sum(map(len, files.values())) <= MAX_SITE_BYTES


def test_the_version_changes_with_any_file(site, tmp_path):
    versions = []
    for addition in ("", "\n"):
        (tmp_path / "index.html").write_text("<!doctype html>" + addition)
        versions.append(demo.render_service_worker(tmp_path).splitlines()[0])
    assert versions[0] != versions[1]


def test_a_missing_file_stops_the_build(tmp_path, monkeypatch):
    monkeypatch.setitem(demo.COPIED, demo.STATIC, ["main.js", "missing.js"])
    with pytest.raises(FileNotFoundError, match=r"missing\.js"):
        demo.build(tmp_path / "site")


def test_the_demo_pins_the_runtime_of_the_examples_and_names_no_registry():
    pinned = [json.loads((directory / "package.json").read_text())["dependencies"] for directory in (DEMO, EXAMPLE)]
    assert pinned[0] == pinned[1]
    assert (DEMO / ".npmrc").read_text() == (EXAMPLE / ".npmrc").read_text()
    assert not (DEMO / "package-lock.json").exists()
