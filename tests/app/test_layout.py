"""What is visible on which screen, in which colors, and for whom."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.app.drawing import ASTERISK, ONE, SEVEN, WIDE, draw, opened, placed, reads, says, shows
from tests.conftest import accessibility_problems

pytestmark = [pytest.mark.slow, pytest.mark.browser]

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

SCREENS = [
    (390, 664), (375, 553), (360, 640), (844, 390), (740, 360), (768, 1024), (700, 450),
    (640, 360),  # 1280 x 720 at 200 % zoom
]  # fmt: skip
COLOR = "e => getComputedStyle(e).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
ESSENTIAL = ["#tab-image", "canvas.area", ".digit", ".status", "#panel-draw button.undo", "#panel-draw button.clear"]
ESSENTIAL_FOR_NUMBERS = ["#tab-image", WIDE, ".numbers", "#panel-number button.undo", "#panel-number button.clear"]


def contrast(color, other) -> float:
    """Return the contrast of two sRGB colors as WCAG defines it, 1 to 21."""

    def luminance(color) -> float:
        fractions = np.asarray(color) / 255
        linear = np.where(fractions <= 0.04045, fractions / 12.92, ((fractions + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    dark, bright = sorted([luminance(color), luminance(other)])
    return bright / dark


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: "{}x{}".format(*screen))
def test_canvas_answer_and_tools_are_visible_at_once(pages, app, screen):
    width, height = screen
    page = opened(pages, app, viewport={"width": width, "height": height})
    draw(page, SEVEN)
    shows(page, "7")
    assert_visible(page, ESSENTIAL, width, height)
    assert page.locator("canvas.area").bounding_box()["width"] >= 0.59 * min(width, height)


def assert_visible(page, selectors, width, height) -> None:
    for selector in selectors:
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0, selector
        assert box["y"] >= 0, selector
        assert box["x"] + box["width"] <= width, selector
        assert box["y"] + box["height"] <= height, selector
    assert page.evaluate("() => [scrollX, scrollY, document.documentElement.scrollWidth]") == [0, 0, width]


def test_wide_canvas_numbers_and_tools_are_visible_at_once(pages, app, axe_script):
    page = opened(pages, app, color_scheme="dark")
    page.get_by_role("tab", name="Number").click()
    draw(page, placed(SEVEN, 0.1, 0, 0.5) + placed(ONE, 0.5, 0, 0.5) + placed(SEVEN, 0.1, 0.5, 0.5), canvas=WIDE)
    reads(page, "71", "7")
    assert accessibility_problems(page, axe_script) == []
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        assert_visible(page, ESSENTIAL_FOR_NUMBERS, width, height)
        box = page.locator(WIDE).bounding_box()
        assert box["width"] == pytest.approx(2 * box["height"], abs=2)
        assert box["width"] >= 0.58 * min(width, 2 * height)
    assert page.locator(WIDE).evaluate(COLOR) == [255, 255, 255]


def test_the_first_visit_loads_at_most_fifty_files_and_400_kilobytes(pages, app):
    page = pages.open("about:blank")
    loaded = []
    page.on("requestfinished", lambda request: loaded.append(request))
    page.goto(app.url)
    page.get_by_role("button", name="Clear").wait_for()
    page.wait_for_load_state("networkidle")
    assert len(loaded) <= 50
    assert sum(request.sizes()["responseBodySize"] for request in loaded) <= 400_000


def test_nothing_moves_while_one_draws_and_corrects(pages, app):
    page = opened(pages, app, viewport={"width": 390, "height": 664})
    page.wait_for_timeout(500)
    page.evaluate(
        """() => {
            window.shifts = [];
            new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map(({ value, sources }) =>
                `${value} ${sources.map(({ node }) => node?.className)}`))).observe({ type: "layout-shift" });
        }"""
    )
    draw(page, SEVEN)
    shows(page, "7")
    draw(page, ASTERISK)
    says(page, "That doesn't look like a digit")
    page.get_by_role("button", name="It is a 7").click()
    page.get_by_text("Saved as a 7.").wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("() => window.shifts") == []


def test_an_example_does_not_move_when_it_is_chosen(pages, app):
    page = opened(pages, app, viewport={"width": 390, "height": 664})
    page.get_by_role("tab", name="Image").click()
    example = page.get_by_role("button", name="Example 4")
    before = example.bounding_box()
    example.click()
    shows(page, "4")
    assert example.bounding_box() == before


def test_the_page_follows_the_dark_mode_and_the_canvas_stays_white(pages, app):
    page = opened(pages, app, color_scheme="dark")
    assert max(page.locator("body").evaluate(COLOR)) < 60
    assert page.locator("canvas.area").evaluate(COLOR) == [255, 255, 255]


@pytest.mark.parametrize(("scheme", "theme"), [("light", "dark"), ("dark", "light")])
def test_the_address_chooses_the_colors(pages, app, scheme, theme):
    page = pages.open(f"{app.url}?__theme={theme}", color_scheme=scheme)
    page.get_by_role("button", name="Clear").wait_for()
    page.wait_for_timeout(500)  # Gradio chooses its colors, too
    assert (max(page.locator("body").evaluate(COLOR)) < 60) == (theme == "dark")
    text_color = COLOR.replace("backgroundColor", "color")
    assert (min(page.locator("h1").evaluate(text_color)) > 200) == (theme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_progress_contrasts_with_its_track_and_the_track_with_the_page(pages, app, scheme):
    page = opened(pages, app, color_scheme=scheme)
    bar = page.locator("progress")
    bar.evaluate(
        """bar => {
            for (let e = bar; e; e = e.parentElement) { e.hidden = false; e.classList?.remove("starting"); }
            bar.value = 0.5;
        }"""
    )
    image = np.asarray(Image.open(io.BytesIO(bar.screenshot())).convert("RGB"))
    height, width, _ = image.shape
    value, track = image[height // 2, width // 4], image[height // 2, 3 * width // 4]
    edges = image[:4, width // 2]  # the first rows may be of the page, because the bar begins within a pixel
    background = page.locator("body").evaluate(COLOR)
    assert contrast(value, track) >= 3
    assert max(contrast(edge, background) for edge in edges) >= 3


def test_bars_and_the_selected_tab_remain_visible_in_forced_colors(pages, app):
    page = opened(pages, app, forced_colors="active")
    draw(page, SEVEN)
    shows(page, "7")
    color = "e => getComputedStyle(e, '::before').backgroundColor"
    bar, track = page.locator(".bars .first i"), page.locator(".bars li").first.locator("i")
    background = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    assert bar.evaluate(color) != background
    assert track.evaluate("e => getComputedStyle(e).borderTopStyle") == "solid"
    tabs = [page.get_by_role("tab", name=name) for name in ("Draw", "Image")]
    selected, other = (tab.evaluate("e => getComputedStyle(e).backgroundColor") for tab in tabs)
    assert selected != other


@pytest.mark.parametrize("language", ["ar", "de"])
def test_the_page_is_in_english_whatever_the_browser_prefers(pages, app, language):
    page = opened(pages, app, locale=language)
    page.wait_for_timeout(500)
    assert page.evaluate("() => document.documentElement.lang") == "en"
    assert page.evaluate("() => getComputedStyle(document.querySelector('.digitnet')).direction") == "ltr"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_problem_in_any_state(pages, app, axe_script, scheme, width):
    page = opened(pages, app, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert accessibility_problems(page, axe_script) == []
    draw(page, SEVEN)
    shows(page, "7")
    page.get_by_role("button", name="It is a 7").click()
    page.get_by_text("Saved as a 7.").wait_for()
    assert accessibility_problems(page, axe_script) == []
    draw(page, ASTERISK)
    says(page, "That doesn't look like a digit")
    assert accessibility_problems(page, axe_script) == []
    page.get_by_text("How does it decide?").click()
    page.get_by_text("What it has seen before").wait_for()
    # While it waits for a newer explanation, the panel is dimmed.
    page.wait_for_function("() => getComputedStyle(document.querySelector('.e-steps')).opacity === '1'")
    assert accessibility_problems(page, axe_script) == []
    page.get_by_role("button", name="Clear").click()
    says(page, "Draw a digit to begin")
    assert accessibility_problems(page, axe_script) == []
    page.get_by_role("tab", name="Image").click()
    says(page, "No image yet")
    assert accessibility_problems(page, axe_script) == []
    page.get_by_role("button", name="Example 4").click()
    shows(page, "4")
    assert accessibility_problems(page, axe_script) == []
    page.evaluate("() => { document.querySelector('.drop-target').hidden = false; }")
    assert accessibility_problems(page, axe_script) == []
