"""Explanations in a page without a server: static/explainer.js in Chromium, compared with those of Python."""

import base64
import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier
from digitnet.app.explanation import Explainer
from tests.conftest import ROOT
from tests.examples.test_examples import EXAMPLES, npm_install
from tests.images import draw_digit

pytestmark = pytest.mark.browser

EXPLAIN = """async ([base64, width, height]) => {
    if (!window.explain) {
        const { createExplainer } = await import("/digitnet/app/static/explainer.js");
        const packageUrl = new URL("/examples/browser/node_modules/onnxruntime-web/dist/", location);
        const ort = await import(new URL("ort.wasm.min.mjs", packageUrl));
        ort.env.wasm.numThreads = 1;
        ort.env.wasm.wasmPaths = packageUrl.href;
        window.explain = createExplainer(ort, {
            framing: "/checkpoints/release/framing.onnx",
            activations: "/checkpoints/release/digitnet.activations.onnx",
            trainingImages: "/digitnet/app/static/training_images.png",
        });
    }
    const rgba = Uint8ClampedArray.from(atob(base64), (character) => character.charCodeAt(0));
    return window.explain(new ImageData(rgba, width, height));
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self):
        if self.path != "/empty.html":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Empty</title><link rel=icon href=data:,>")


@pytest.fixture(scope="module")
def url():
    npm_install(EXAMPLES / "browser")
    handler = functools.partial(QuietHandler, directory=str(ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/empty.html"
        server.shutdown()
        thread.join()


@pytest.fixture
def explain_in_browser(pages, url):
    page = pages.open(url)

    def explain(image: Image.Image) -> dict:
        return page.evaluate(EXPLAIN, [base64.b64encode(image.tobytes()).decode(), *image.size])

    explain.page = page
    return explain


def images() -> list[Image.Image]:
    """Return clear digits and strokes that are no clear digit, RGBA as a browser's pixels."""
    strokes = np.full((60, 90, 3), 255, np.uint8)
    strokes[20:24, 10:50], strokes[20:50, 30:34] = 40, 90
    return [image.convert("RGBA") for image in (draw_digit(7), draw_digit(1), Image.fromarray(strokes))]


def test_the_explanation_is_that_of_python(explain_in_browser):
    explain = Explainer(DigitClassifier())
    for image in images():
        expected, result = explain(np.asarray(image)), explain_in_browser(image)
        assert set(result) == set(expected)
        assert (result["blank"], result["digit"]) == (False, expected["digit"])
        assert result["size"] == expected["size"]
        for name, tolerance in {
            "box": 1e-3, "square": 1e-3, "framed": 1, "dense": 1e-3, "logits": 1e-3, "probabilities": 1e-4,
            "occlusion": 2e-4,
        }.items():  # fmt: skip
            np.testing.assert_allclose(result[name], expected[name], rtol=0, atol=tolerance, err_msg=name)
        for ours, theirs in zip(expected["maps"], result["maps"], strict=True):
            assert theirs["shape"] == list(ours["shape"])
            np.testing.assert_allclose(theirs["values"], ours["values"], rtol=0, atol=1)
        assert result["neighbors"] == expected["neighbors"]


def test_a_blank_image_has_no_explanation(explain_in_browser):
    assert explain_in_browser(Image.new("RGBA", (40, 30))) == {"blank": True}


def test_files_that_could_not_be_loaded_are_loaded_by_the_next_explanation(pages, explain_in_browser):
    page = explain_in_browser.page
    page.route("**/framing.onnx", lambda route: route.abort())
    with pytest.raises(Exception, match=r"framing\.onnx|fetch"):
        explain_in_browser(images()[0])
    page.unroute("**/framing.onnx")
    assert explain_in_browser(images()[0])["digit"] == 7
    pages.errors.clear()  # Chromium logs the request that failed
