"""Drawing in a browser, and what the page shows."""

import base64
import io

import numpy as np
from PIL import Image

REJECTED = "\N{EN DASH}"
ONE = [[(0.5, 0.2), (0.48, 0.8)]]
SEVEN = [[(0.28, 0.25), (0.7, 0.24), (0.55, 0.5), (0.42, 0.8)]]
ZERO = [[(0.5 + 0.2 * np.sin(t), 0.5 - 0.28 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 40)]]
WIDE = ".wide canvas"  # twice as wide as high
ASTERISK = [[(0.5, 0.15), (0.5, 0.85)], [(0.2, 0.3), (0.8, 0.7)], [(0.8, 0.3), (0.2, 0.7)]]


def placed(strokes, left: float, top: float, size: float) -> list:
    """Return strokes in a square of the canvas."""
    return [[(left + size * x, top + size * y) for x, y in stroke] for stroke in strokes]


def opened(pages, app, **options):
    """Return a page of the app that is ready to be drawn on."""
    page = pages.open(app.url, **options)
    page.get_by_role("button", name="Clear").wait_for()
    return page


def draw(page, strokes, pen_up=True, steps=4, canvas="canvas.area") -> None:
    """Draw strokes, whose points are fractions of the height of the canvas, with the mouse."""
    page.locator(canvas).wait_for()  # it is invisible and ignores the mouse until its modules are loaded
    page.locator(canvas).scroll_into_view_if_needed()
    box = page.locator(canvas).bounding_box()
    for stroke in strokes:
        (x, y), *rest = [(box["x"] + x * box["height"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(x, y, steps=steps)
        if pen_up:
            page.mouse.up()


def shows(page, digit: str) -> None:
    """Wait until the page, which may still be loading, shows a digit, or that the image is rejected."""
    page.wait_for_function("digit => document.querySelector('[data-testid=digit]')?.textContent === digit", arg=digit)


def reads(page, *texts: str) -> None:
    """Wait until the page shows these numbers, with a box around each digit."""
    page.wait_for_function(
        """texts => {
            const shown = [...document.querySelectorAll("[data-testid=numbers] b")].map((b) => b.textContent);
            const labels = [...document.querySelectorAll(".boxes span")].map((box) => box.dataset.label);
            return shown.join() === texts.join() && labels.join("") === texts.join("");
        }""",
        arg=list(texts),
    )


def says(page, text: str) -> None:
    """Wait until the line beside the digit is `text`."""
    page.wait_for_function("text => document.querySelector('.status')?.textContent === text", arg=text)


def status(page) -> str:
    """Return the line beside the digit."""
    return page.locator(".status").inner_text()


def framed(page) -> np.ndarray:
    """Return the network's input that the page shows, uint8 (28, 28)."""
    source = page.get_by_test_id("framed").get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L"))


def settled(page) -> np.ndarray:
    """Return the network's input after it has not changed for a second."""
    page.evaluate("() => { window.last = null; }")
    page.wait_for_function(
        """() => {
            const src = document.querySelector("[data-testid=framed]")?.src;
            if (!src || window.last?.src !== src) window.last = { src, since: performance.now() };
            return performance.now() - window.last.since > 1000;
        }"""
    )
    return framed(page)


def count_ink(page) -> int:
    """Return the number of black pixels on the canvas."""
    page.wait_for_timeout(200)
    return page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas.area");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((level, i) => i % 4 === 0 && level < 128).length;
        }"""
    )


def recorded_bodies(page):
    """Record the bodies of the page's requests from now on; return a function that gives them as bytes, by path."""
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.bodies = [];
            window.fetch = async (url, options) => {
                if (options?.body instanceof Blob) {
                    const bytes = new Uint8Array(await options.body.arrayBuffer());
                    window.bodies.push([new URL(url).pathname, Array.from(bytes)]);
                }
                return send(url, options);
            };
        }"""
    )
    return lambda: [(path, bytes(content)) for path, content in page.evaluate("() => window.bodies")]
