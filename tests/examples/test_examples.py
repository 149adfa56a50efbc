"""The examples predict as DigitClassifier does: in Python, in Node and in a real browser."""

import base64
import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digitnet import DigitClassifier
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
MODEL = ROOT / "checkpoints" / "release" / "digitnet.onnx"
REJECTED = "\N{EN DASH}"  # what the page shows for a rejected image
TOLERANCE = 1e-4  # of a probability, between runtimes
NO_NETWORK = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ERR_SOCKET_TIMEOUT",
)


def draw_digit(
    strokes: list[list[tuple[int, int]]], size: tuple[int, int], width: int, mode: str, ink, background
) -> Image.Image:
    image = Image.new(mode, size, background)
    for stroke in strokes:
        ImageDraw.Draw(image).line(stroke, fill=ink, width=width, joint="curve")
    return image


ONE = [[(150, 60), (140, 150), (135, 230)]]
SEVEN = [[(60, 70), (200, 65), (150, 140), (115, 230)]]
ZERO = [[(int(140 + 60 * np.cos(t)), int(140 + 85 * np.sin(t))) for t in np.linspace(0, 2 * np.pi, 60)]]

# Each image and the digit that it shows, or -1.
GOLDEN = {
    "1-rgb": (draw_digit(ONE, (280, 280), 20, "RGB", (20, 30, 90), (255, 255, 255)), 1),
    "0-gray": (draw_digit(ZERO, (300, 340), 22, "L", 0, 255), 0),
    "7-rgba-on-transparent": (draw_digit(SEVEN, (280, 280), 20, "RGBA", (0, 0, 0, 255), (0, 0, 0, 0)), 7),
    "7-white-chalk-small": (draw_digit(SEVEN, (280, 280), 24, "L", 250, 10).resize((61, 61)), 7),
    "0-mnist-like": (draw_digit(ZERO, (280, 280), 24, "L", 255, 0).resize((28, 28), Image.Resampling.BOX), 0),
    "1-half-transparent-ink": (draw_digit(ONE, (280, 280), 20, "RGBA", (10, 60, 10, 160), (255, 255, 255, 255)), 1),
    "blank": (Image.new("L", (100, 80), 255), -1),
    "blank-transparent": (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), -1),
}
each_golden_image = pytest.mark.parametrize("name", GOLDEN)


@pytest.fixture(scope="session", autouse=True)
def require_released_model() -> None:
    if not MODEL.exists():
        pytest.skip(f"needs {MODEL.relative_to(ROOT)}: python export.py")


@pytest.fixture(scope="session")
def golden_files(tmp_path_factory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("golden")
    for name, (image, _) in GOLDEN.items():
        image.save(directory / f"{name}.png")
    return {name: directory / f"{name}.png" for name in GOLDEN}


@pytest.fixture(scope="session")
def classifier() -> DigitClassifier:
    return DigitClassifier()


def assert_same_prediction(label: int, probabilities, classifier: DigitClassifier, path: Path, name: str) -> None:
    expected = classifier(path)
    assert label == (-1 if expected.label is None else expected.label) == GOLDEN[name][1]
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=0, atol=TOLERANCE)


def npm_install(directory: Path) -> None:
    """Install the packages that package.json pins, unless they are installed."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: apt-get install nodejs npm")
    manifest = json.loads((directory / "package.json").read_text())
    pinned = manifest["dependencies"] | manifest.get("devDependencies", {})
    if all(installed_version(directory, package) == version for package, version in pinned.items()):
        return
    command = ["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000"]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if result.returncode and any(code in result.stderr for code in NO_NETWORK):
        pytest.skip(f"npm cannot reach its registry; install with: npm install --prefix {directory.relative_to(ROOT)}")
    assert result.returncode == 0, result.stderr


def installed_version(directory: Path, package: str) -> str | None:
    manifest = directory / "node_modules" / package / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.exists() else None


# --- Python ---


def python_example():
    spec = importlib.util.spec_from_file_location("classify_digit", EXAMPLES / "python" / "classify_digit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_golden_image
def test_the_python_example_predicts_as_the_classifier(name, golden_files, classifier):
    label, probabilities = python_example().classify_digit(golden_files[name])
    assert_same_prediction(label, probabilities, classifier, golden_files[name], name)


def test_the_python_example_prints_the_digit_or_that_the_image_is_rejected(golden_files, tmp_path):
    def printed(*arguments) -> str:
        command = [sys.executable, EXAMPLES / "python" / "classify_digit.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert printed(golden_files["7-rgba-on-transparent"]).startswith("7 (")
    assert printed(golden_files["blank"], MODEL) == "rejected\n"


def test_the_python_example_needs_neither_digitnet_nor_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES / 'python')!r}); import classify_digit;"
        "print({'digitnet', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


# --- Node ---


@pytest.fixture(scope="session")
def node_example() -> Path:
    npm_install(EXAMPLES / "node")
    return EXAMPLES / "node" / "classify_digit.mjs"


@each_golden_image
def test_the_node_example_predicts_as_the_classifier(name, node_example, golden_files, classifier, tmp_path):
    command = ["node", node_example, golden_files[name], *([MODEL] if name == "blank" else [])]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)  # one JSON line and nothing else
    assert_same_prediction(printed["label"], printed["probabilities"], classifier, golden_files[name], name)


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md", "docs/how-to/page.md"])
def test_the_javascript_of_the_docs_gives_the_label(page, node_example, golden_files, tmp_path):
    """It runs in Node with a canvas that has the pixels of an image."""
    (block,) = re.findall(r"```js\n(const session.*?)```", (ROOT / page).read_text(), re.DOTALL)
    program = f"""
        import {{ createRequire }} from "node:module";
        import {{ readFileSync }} from "node:fs";
        const require = createRequire({str(node_example)!r});
        const ort = require("onnxruntime-web");
        const pixels = require("pngjs").PNG.sync.read(readFileSync({str(golden_files["7-rgba-on-transparent"])!r}));
        const context = {{ getImageData: () => pixels }};
        const canvas = {{ width: pixels.width, height: pixels.height, getContext: () => context }};
        {block}
        console.log(label.data[0]);
    """
    (tmp_path / "program.mjs").write_text(program)
    shutil.copy(MODEL, tmp_path)
    result = subprocess.run(["node", "program.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()[-1:]) == (0, ["7"]), result.stderr


def test_the_program_of_the_guide_to_node_classifies_an_image(node_example, golden_files, tmp_path):
    (block,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "how-to" / "node.md").read_text(), re.DOTALL)
    (tmp_path / "program.mjs").write_text(block)
    (tmp_path / "node_modules").symlink_to(node_example.parent / "node_modules")
    (tmp_path / "digitnet.onnx").symlink_to(MODEL)
    shutil.copy(golden_files["7-white-chalk-small"], tmp_path / "digit.png")
    result = subprocess.run(["node", "program.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    label, probability = result.stdout.split()
    assert label == "7"
    assert float(probability) > 0.5


# --- Browser ---


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def site():
    """Serve the repository as `python -m http.server` does, on a free port of the loopback interface."""
    handler = functools.partial(QuietHandler, directory=str(ROOT))
    npm_install(EXAMPLES / "browser")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/examples/browser/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(pages, site):
    page = pages.open(site)
    page.get_by_text("Ready").wait_for()
    return page


@each_golden_image
def test_the_browser_example_predicts_as_the_classifier(name, page, golden_files, classifier):
    image = GOLDEN[name][0].convert("RGBA")  # a browser's pixels always have four channels
    printed = page.evaluate(
        """([base64, width, height]) => {
            const rgba = Uint8ClampedArray.from(atob(base64), (character) => character.charCodeAt(0));
            return classifyPixels(rgba, width, height).then(({ label, probabilities }) => ({ label, probabilities }));
        }""",
        [base64.b64encode(image.tobytes()).decode(), *image.size],
    )
    assert_same_prediction(printed["label"], printed["probabilities"], classifier, golden_files[name], name)


def shown(page) -> str:
    return page.get_by_test_id("digit").inner_text()


def wait_until_shown(page, digit: str) -> None:
    page.wait_for_function("digit => document.querySelector('[data-testid=digit]').textContent === digit", arg=digit)


def framed_ink(page) -> int:
    """Return how many pixels of the framed image are brighter than black."""
    return page.get_by_test_id("framed").evaluate(
        "canvas => canvas.getContext('2d').getImageData(0, 0, 28, 28).data.filter((v, i) => i % 4 == 0 && v > 0).length"
    )


def test_the_prediction_updates_while_drawing_and_clear_removes_it(page):
    assert shown(page) == REJECTED
    box = page.locator("#sketchpad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(x, y + 60)
    page.mouse.down()
    for step in range(1, 13):
        page.mouse.move(x - step, y + 60 + 22 * step)
    wait_until_shown(page, "1")  # the button is still held down
    assert framed_ink(page) > 20
    page.mouse.up()
    wait_until_shown(page, "1")
    page.get_by_role("button", name="Clear").click()
    wait_until_shown(page, REJECTED)
    assert framed_ink(page) == 0


def test_the_bars_stay_in_order_and_agree_with_the_digit(page):
    box = page.locator("#sketchpad").bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 280, box["y"] + 90, steps=6)
    page.mouse.move(box["x"] + 190, box["y"] + 330, steps=6)
    page.mouse.up()
    wait_until_shown(page, "7")
    rows = page.locator("#bars li").all_inner_texts()
    assert [row.split()[0] for row in rows] == list("0123456789")
    fractions = [float(row.split()[1]) for row in rows]
    assert max(fractions) == fractions[7]
    assert sum(fractions) == pytest.approx(100, abs=1)


def test_a_finger_draws_on_a_phone_and_does_not_scroll_the_page(pages, site):
    page = pages.open(site, viewport={"width": 390, "height": 500}, has_touch=True, is_mobile=True)
    page.get_by_text("Ready").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#sketchpad").bounding_box()
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 50
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):  # upwards, which would scroll the page
        point = {"x": x, "y": y - 25 * step}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    wait_until_shown(page, "1")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.evaluate("scrollY") == 0


def test_the_browser_example_loads_another_model_and_reports_a_missing_one(pages, site):
    page = pages.open(f"{site}?model=../../checkpoints/release/digitnet.onnx")
    page.get_by_text("Ready").wait_for()
    page = pages.open(f"{site}?model=missing.onnx")
    page.get_by_text("The model cannot be loaded").wait_for()
    assert all("404" in error for error in pages.errors)  # the browser's own line about the missing file
    pages.errors.clear()


@pytest.mark.parametrize("directory", ["node", "browser", "vite"])
def test_the_examples_pin_exact_versions_and_name_no_registry(directory):
    manifest = json.loads((EXAMPLES / directory / "package.json").read_text())
    pinned = manifest["dependencies"] | manifest.get("devDependencies", {})
    installed_by_demo = json.loads((ROOT / "demo" / "package.json").read_text())
    assert all(version.replace(".", "").isdigit() for version in pinned.values())
    assert (
        pinned["onnxruntime-web"]
        == json.loads((ROOT / "demo" / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    )
    assert pinned["onnxruntime-web"] == installed_by_demo["dependencies"]["onnxruntime-web"]
    assert "package-lock=false" in (EXAMPLES / directory / ".npmrc").read_text()
    assert not (EXAMPLES / directory / "package-lock.json").exists()


# --- The page of the tutorial ---


@pytest.fixture
def tutorial_page(tmp_path, site):
    """Serve the page of docs/tutorial.md beside the model and the packages of the browser example."""
    (page,) = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "digitnet.onnx").symlink_to(MODEL)
    (tmp_path / "node_modules").symlink_to(EXAMPLES / "browser" / "node_modules")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_page_of_the_tutorial_recognizes_a_digit(pages, tutorial_page):
    page = pages.open(tutorial_page)
    page.locator("output").get_by_text("Draw a digit").wait_for()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 70)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 70, steps=6)
    page.mouse.move(box["x"] + 130, box["y"] + 230, steps=6)
    page.mouse.up()
    page.wait_for_function("document.querySelector('output').textContent.startsWith('7 (')")
    page.get_by_role("button", name="Clear").click()
    page.locator("output").get_by_text("Draw a digit").wait_for()
