"""The Vite project: its build on a plain file server and its development server, in Chromium, without other hosts."""

import base64
import functools
import os
import re
import shutil
import signal
import subprocess
import threading
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from digitnet import DigitClassifier
from tests.conftest import ROOT
from tests.examples.test_examples import GOLDEN, QuietHandler, assert_same_prediction, npm_install, wait_until_shown

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.network]

PROJECT = ROOT / "examples" / "vite"
PATH = "some/where"
MIN_NODE = (20, 19)
JAVASCRIPT = {"text/javascript", "application/javascript"}  # Python's server sends the second before 3.12
CONTENT_TYPES = {".js": JAVASCRIPT, ".mjs": JAVASCRIPT, ".wasm": {"application/wasm"}}
CLASSIFY = """([base64, width, height]) => {
    const rgba = Uint8ClampedArray.from(atob(base64), (character) => character.charCodeAt(0));
    return classifier.classify(new ImageData(rgba, width, height));
}"""

OUTCOME = """Promise.race([
    classifier.classify(new ImageData(9, 9)).then(() => "a prediction", (error) => error.message),
    new Promise((resolve) => setTimeout(resolve, 10_000, "none after 10 seconds")),
])"""


@pytest.fixture(scope="module")
def project():
    """Install the project's packages."""
    if shutil.which("node"):
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < MIN_NODE:
            pytest.skip(f"Vite needs Node 20.19 or later, got {version.strip()}")
    npm_install(PROJECT)
    return PROJECT


@pytest.fixture(scope="module")
def build(project, tmp_path_factory):
    """Build the project below a path of a directory to be served, and return its directory."""
    directory = tmp_path_factory.mktemp("host") / PATH
    command = ["npm", "run", "build", "--", "--outDir", str(directory), "--emptyOutDir"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return directory


@pytest.fixture(scope="module")
def built_site(build):
    """Serve the build on a free port of the loopback interface, with the content types that Python's server knows."""
    handler = functools.partial(QuietHandler, directory=str(build.parents[PATH.count("/")]))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{PATH}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def development_site(project):
    """Run the project's development server."""
    command = ["npm", "run", "dev", "--", "--host", "127.0.0.1", "--port", "0"]
    environment = os.environ | {"NO_COLOR": "1"}
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    url = next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
    yield url
    os.killpg(process.pid, signal.SIGTERM)  # npm's and its child's
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


@pytest.fixture(params=["built_site", "development_site"])
def responses(request, pages):
    """Open the page and return it and the content types of all responses, by their addresses."""
    types = {}
    page = pages.open("about:blank")
    page.context.on("response", lambda response: types.update({response.url: response.headers.get("content-type", "")}))
    page.goto(request.getfixturevalue(request.param))
    page.get_by_text("Ready").wait_for()
    return page, types


def test_a_drawing_is_classified_in_a_worker_without_other_hosts(responses):
    page, types = responses
    box = page.locator("#sketchpad").bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 280, box["y"] + 90, steps=6)
    page.mouse.move(box["x"] + 190, box["y"] + 330, steps=6)
    page.mouse.up()
    wait_until_shown(page, "7")
    page.get_by_role("button", name="Clear").click()
    wait_until_shown(page, "\N{EN DASH}")
    assert any("worker" in worker.url for worker in page.workers)
    assert {urlsplit(url).hostname for url in types} == {"127.0.0.1"}
    requested = [(os.path.splitext(urlsplit(url).path)[1], kind.partition(";")[0]) for url, kind in types.items()]
    assert {".wasm", ".onnx", ".js"} <= {suffix for suffix, _ in requested}
    for suffix, content_type in requested:
        assert content_type in CONTENT_TYPES.get(suffix, {content_type}), suffix


def test_the_build_needs_no_content_type_that_servers_lack(build):
    """Some servers send .mjs files as application/octet-stream, which browsers do not run as modules."""
    assert {path.suffix for path in build.rglob("*") if path.is_file()} == {".html", ".js", ".onnx", ".wasm"}


def test_predictions_are_those_of_the_classifier(pages, built_site, classifier, tmp_path):
    page = pages.open(built_site)
    for name, (image, _) in GOLDEN.items():
        image.save(tmp_path / "golden.png")
        rgba = base64.b64encode(image.convert("RGBA").tobytes()).decode()
        answer = page.evaluate(CLASSIFY, [rgba, *image.size])
        assert_same_prediction(answer["label"], answer["probabilities"], classifier, tmp_path / "golden.png", name)


def test_a_missing_model_is_reported_on_the_page(pages, built_site):
    page = pages.open("about:blank")
    page.context.route("**/*.onnx", lambda route: route.fulfill(status=404))
    page.goto(built_site)
    page.get_by_text("The model cannot be loaded: ").wait_for()
    pages.errors.clear()  # the browser's own line about the missing file


def test_every_call_is_rejected_if_the_worker_cannot_be_loaded(pages, built_site):
    page = pages.open("about:blank")
    page.context.route("**/worker-*.js", lambda route: route.fulfill(status=404))
    page.goto(built_site)
    page.get_by_text("The model cannot be loaded: the worker cannot be loaded").wait_for()
    assert page.evaluate(OUTCOME) == "the worker cannot be loaded"
    pages.errors.clear()  # the browser's own line about the missing file
