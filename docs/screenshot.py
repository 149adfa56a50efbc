"""Take the screenshots in docs/ of the running sketchpad and demo: python docs/screenshot.py [URL [URL]].

Start `python app.py --no-open` and a server of site/ (docs/demo.md) first. It draws with Debian's Chromium: on the
sketchpad a 3, and then two lines of digits, and on the demo two lines on a phone in dark mode.
"""

import sys
from math import cos, pi, sin
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

Points = list[tuple[float, float]]  # fractions of the height of the canvas

DOCS = Path(__file__).parent
URL, DEMO_URL = [*sys.argv[1:], *["http://127.0.0.1:7860/", "http://127.0.0.1:8000/"][len(sys.argv) - 1 :]]
PHONE = {"viewport": {"width": 375, "height": 553}, "device_scale_factor": 2, "color_scheme": "dark"}


def arc(x: float, y: float, width: float, height: float, start: float, stop: float) -> Points:
    """Return an arc around a center, counterclockwise from `start` to `stop`, in half turns."""
    angles = [pi * (start + (stop - start) * step / 20) for step in range(21)]
    return [(x + width * cos(angle), y - height * sin(angle)) for angle in angles]


THREE = [arc(0.46, 0.31, 0.17, 0.15, 0.85, -0.45) + arc(0.46, 0.63, 0.2, 0.17, 0.5, -0.8)]
DIGITS = {  # strokes in a square
    "0": [arc(0.3, 0.5, 0.25, 0.5, 0.5, 2.5)],
    "2": [[*arc(0.27, 0.25, 0.22, 0.25, 0.95, -0.2), (0.05, 1.0), (0.52, 0.98)]],
    "4": [[(0.32, 0.0), (0.05, 0.6), (0.55, 0.6)], [(0.42, 0.3), (0.4, 1.0)]],
    "6": [[(0.42, 0.02), (0.15, 0.4), *arc(0.27, 0.72, 0.2, 0.26, 0.9, 2.9)]],
    "7": [[(0.05, 0.02), (0.5, 0.0), (0.2, 1.0)]],
    "A": [[(0.0, 1.0), (0.28, 0.0), (0.55, 1.0)], [(0.1, 0.65), (0.45, 0.65)]],
}


def write(text: str, left: float, top: float, size: float) -> list[Points]:
    """Return the strokes of a line of digits with this height."""
    return [
        [(left + size * (x + 0.85 * index), top + size * y) for x, y in stroke]
        for index, character in enumerate(text)
        for stroke in DIGITS[character]
    ]


LINES = write("20426", 0.15, 0.13, 0.3) + write("7A0", 0.15, 0.57, 0.32)


def draw(page: Page, canvas: str, strokes: list[Points]) -> None:
    """Draw with the mouse and wait for the answer."""
    box = page.locator(canvas).bounding_box()
    assert box
    for stroke in strokes:
        points = [(box["x"] + x * box["height"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points:
            page.mouse.move(*point)
            page.wait_for_timeout(20)
        page.mouse.up()
    page.wait_for_timeout(1000)


with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"])
    page = browser.new_page(viewport={"width": 1180, "height": 760})
    page.goto(URL)
    page.get_by_role("button", name="Clear").wait_for()
    draw(page, "canvas.area", THREE)
    page.screenshot(path=DOCS / "sketchpad.png")
    page.get_by_role("tab", name="Number").click()
    draw(page, ".wide canvas", LINES)
    page.screenshot(path=DOCS / "sketchpad_numbers.png")
    page = browser.new_page(**PHONE)
    page.goto(DEMO_URL)
    page.get_by_role("tab", name="Number").click()
    draw(page, ".wide canvas", LINES)
    page.screenshot(path=DOCS / "demo_numbers.png")
    browser.close()
