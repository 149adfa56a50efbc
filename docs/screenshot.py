"""Take docs/sketchpad.png of the running sketchpad: python docs/screenshot.py [URL].

Start `python app.py --no-open` first. It draws a 3 on a page in light mode, with Chromium from Debian.
"""

import sys
from math import cos, pi, sin
from pathlib import Path

from playwright.sync_api import sync_playwright

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860/"
UPPER = [(0.46 + 0.17 * cos(t), 0.31 - 0.15 * sin(t)) for t in [pi * (0.85 - 0.065 * step) for step in range(21)]]
LOWER = [(0.46 + 0.2 * cos(t), 0.63 - 0.17 * sin(t)) for t in [pi * (0.5 - 0.065 * step) for step in range(21)]]

with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--headless", "--no-sandbox"])
    page = browser.new_page(viewport={"width": 1180, "height": 760})
    page.goto(URL)
    page.get_by_role("button", name="Clear").wait_for()
    box = page.locator("canvas.area").bounding_box()
    assert box
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in UPPER + LOWER]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points:
        page.mouse.move(*point)
        page.wait_for_timeout(20)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.screenshot(path=Path(__file__).parent / "sketchpad.png")
    browser.close()
