"""The page of the sketchpad in a real browser, with a real server."""

import io
import itertools
import math
import os
import re
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw, ImageOps

from tests.app.drawing import (
    ASTERISK,
    ONE,
    REJECTED,
    SEVEN,
    WIDE,
    ZERO,
    count_ink,
    draw,
    framed,
    opened,
    placed,
    reads,
    recorded_bodies,
    says,
    settled,
    shows,
    status,
)
from tests.conftest import ROOT
from tests.images import draw_digit

pytestmark = [pytest.mark.slow, pytest.mark.browser]

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

TYPES = {"svg": "image/svg+xml", **{name: f"image/{name}" for name in ("png", "jpg", "jpeg", "tiff")}}
UNDO_KEYS = [("Control+z", "Control+Shift+Z"), ("Control+z", "Control+y")]


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


# --- Drawing ---


def test_numbers_are_read_on_the_wide_canvas_with_a_box_around_each_digit(page):
    page.get_by_role("tab", name="Number").click()
    says(page, "Draw a number to begin")
    draw(page, placed(SEVEN, 0.1, 0, 0.5), pen_up=False, canvas=WIDE)
    reads(page, "7")
    page.mouse.up()
    draw(page, placed(ASTERISK, 0.6, 0, 0.4), canvas=WIDE)
    draw(page, placed(ZERO, 1.1, 0, 0.5) + placed(ONE, 0.1, 0.5, 0.5), canvas=WIDE)
    reads(page, "7?0", "1")
    assert page.locator(".numbers li").first.inner_text() == "7?0 ? doesn't look like a digit"
    assert re.fullmatch(r"1 (\d+\.\d|>99\.9)\s% sure", page.locator(".numbers li").last.inner_text())
    canvas, zero = page.locator(WIDE).bounding_box(), page.locator(".boxes span").nth(2).bounding_box()
    left, top = ((zero[axis] - canvas[axis]) / canvas["height"] for axis in "xy")
    width, height = (zero[name] / canvas["height"] for name in ("width", "height"))
    # The 0 is 0.2 wide and 0.28 high, and the pen 0.04.
    assert [left, top, width, height] == pytest.approx([1.1 + 0.15 - 0.02, 0.11 - 0.02, 0.24, 0.32], abs=0.02)
    page.wait_for_function("document.querySelector('.announcement').textContent.startsWith('7?0, ? doesn')")

    page.keyboard.press("Control+z")
    reads(page, "7?0")
    button(page, "Clear").click()
    says(page, "Draw a number to begin")
    assert page.locator(".boxes span").count() == 0
    page.get_by_role("tab", name="Draw").click()
    says(page, "Draw a digit to begin")  # each tab has a drawing of its own
    page.get_by_role("button", name="Bring back: 7?0").click()
    reads(page, "7?0")
    button(page, "Clear").click()
    page.locator(WIDE).focus()
    for key in [*["ArrowUp"] * 5, " ", *["ArrowDown"] * 9, " "]:
        page.keyboard.press(key)
    reads(page, "1")


def test_an_empty_sketchpad_is_described(page):
    shows(page, REJECTED)
    assert status(page) == "Draw a digit to begin"
    assert page.locator(".bars li").count() == 10
    assert not framed(page).any()
    assert "accuracy on MNIST's test set" in page.locator(".model").inner_text()


@pytest.mark.parametrize(("strokes", "digit"), [(ONE, "1"), (ZERO, "0"), (SEVEN, "7")])
def test_a_drawn_digit_is_classified_with_its_confidence(page, strokes, digit):
    draw(page, strokes)
    shows(page, digit)
    assert re.fullmatch(r"(\d+\.\d|>99\.9)\s% sure", status(page))
    assert page.locator(".bars li.first b").inner_text() == digit
    assert framed(page).shape == (28, 28)
    assert framed(page).max() == 255
    assert re.search(r"[\d.]+ ms", page.locator(".model").inner_text())


def test_the_prediction_updates_before_pen_up(page):
    draw(page, ONE, pen_up=False)
    shows(page, "1")
    page.mouse.up()


def test_a_dot_is_drawn_and_classified(page):
    box = page.locator("canvas.area").bounding_box()
    page.mouse.click(box["x"] + 100, box["y"] + 100)
    page.wait_for_function("() => document.querySelector('.status').textContent !== 'Draw a digit to begin'")
    assert count_ink(page) > 100
    assert framed(page).any()


@pytest.mark.parametrize("size", [0.06, 0.12, 0.3])
@pytest.mark.parametrize(("strokes", "digit"), [(ZERO, "0"), (SEVEN, "7"), (ONE, "1")])
def test_a_small_digit_is_recognized_like_a_large_one(page, strokes, digit, size):
    """`size` is the height as a fraction of the side of the canvas; the pen is as wide as for a large digit."""
    heights = [y for stroke in strokes for _, y in stroke]
    factor = size / (max(heights) - min(heights))
    draw(page, [[(0.7 + factor * (x - 0.5), 0.3 + factor * (y - 0.5)) for x, y in stroke] for stroke in strokes])
    shows(page, digit)


def test_undo_and_redo_change_the_drawing_by_one_stroke(page):
    draw(page, ONE)
    shows(page, "1")
    one = settled(page)
    draw(page, [[(0.2, 0.5), (0.8, 0.5)]])
    both = settled(page)
    assert (both != one).any()
    button(page, "Undo").click()
    assert (settled(page) == one).all()
    button(page, "Redo").click()
    assert (settled(page) == both).all()


@pytest.mark.parametrize(("undo", "redo"), UNDO_KEYS)
def test_undo_and_redo_have_keys_and_keep_the_keyboard_focus(page, undo, redo):
    draw(page, ONE)
    shows(page, "1")
    page.keyboard.press(undo)
    shows(page, REJECTED)
    says(page, "Draw a digit to begin")
    assert button(page, "Undo").is_disabled()
    page.keyboard.press(redo)
    shows(page, "1")
    assert button(page, "Redo").is_disabled()
    button(page, "Undo").focus()
    page.keyboard.press("Enter")
    shows(page, REJECTED)
    assert page.evaluate("document.activeElement !== document.body")


def test_clear_can_be_undone(page):
    draw(page, SEVEN)
    shows(page, "7")
    button(page, "Clear").click()
    shows(page, REJECTED)
    button(page, "Undo").click()
    shows(page, "7")


def test_reload_and_back_keep_the_drawing(page, app):
    draw(page, SEVEN)
    shows(page, "7")
    page.reload()
    shows(page, "7")
    page.goto(f"{app.url}gradio_api/info")
    page.go_back()
    shows(page, "7")
    button(page, "Clear").click()
    page.reload()
    says(page, "Draw a digit to begin")


SCRIBBLE = [[(0.5 + 0.4 * math.sin(3 * t), 0.5 + 0.4 * math.cos(5 * t)) for t in (i / 20 for i in range(126))]]


def test_what_is_painted_is_not_painted_again(page):
    draw(page, SCRIBBLE)
    settled(page)
    page.evaluate(
        """() => {
            const paint = CanvasRenderingContext2D.prototype.quadraticCurveTo;
            window.curves = 0;
            CanvasRenderingContext2D.prototype.quadraticCurveTo = function (...position) {
                window.curves += 1;
                return paint.apply(this, position);
            };
        }"""
    )
    draw(page, ONE, steps=10)
    settled(page)
    # The new stroke on the canvas and on the image that is classified, at each of its points. The old one has 500.
    assert 0 < page.evaluate("() => window.curves") <= 2 * 11 * 11


def test_a_drawing_has_the_same_pixels_however_it_was_painted(page):
    draw(page, SCRIBBLE)
    network_input = settled(page)
    pixels = page.locator("canvas.area").evaluate("canvas => canvas.toDataURL()")
    with page.expect_response("**/digitnet/classify"):
        page.reload()  # paints all at once
    assert (settled(page) == network_input).all()
    page.locator("h1").click()
    assert page.locator("canvas.area").evaluate("canvas => canvas.toDataURL()") == pixels


def test_a_slow_stroke_has_edges_as_soft_as_a_quick_one(page):
    """Between black and white, an edge has a gray pixel on each side; if it was painted many times, it has none."""
    gray = []
    for steps in (2, 100):
        draw(page, [[(0.3, 0.2), (0.6, 0.8)]], steps=steps)
        settled(page)
        gray.append(
            page.locator("canvas.area").evaluate(
                """canvas => {
                    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                    return data.filter((level, i) => i % 4 === 0 && level > 32 && level < 223).length;
                }"""
            )
        )
        button(page, "Clear").click()
    quick, slow = gray
    assert slow > 0.8 * quick


def test_after_clear_another_digit_can_be_drawn(page):
    draw(page, ONE)
    shows(page, "1")
    button(page, "Clear").click()
    shows(page, REJECTED)
    draw(page, ZERO)
    shows(page, "0")


def test_clear_during_a_stroke_ends_it(page):
    draw(page, [[(0.5, 0.2), (0.5, 0.5)]], pen_up=False)
    button(page, "Clear").focus()
    page.keyboard.press("Enter")
    page.mouse.move(300, 300, steps=5)
    page.mouse.up()
    shows(page, REJECTED)
    draw(page, ZERO)
    shows(page, "0")


def test_a_stroke_may_leave_the_canvas_and_return(page):
    draw(page, [[(0.5, 0.15), (0.5, 1.1), (0.6, 1.15), (0.5, 0.9)]])
    shows(page, "1")


def test_the_pen_can_be_made_wider(page):
    draw(page, ONE)
    shows(page, "1")
    thin = count_ink(page)
    button(page, "Clear").click()
    page.get_by_role("slider", name="Pen width").fill("14")
    draw(page, ONE)
    assert count_ink(page) > 1.5 * thin


def test_a_non_digit_is_rejected_with_the_bars_still_shown(page):
    draw(page, ASTERISK)
    settled(page)
    assert status(page) == "That doesn't look like a digit"
    shows(page, REJECTED)
    fractions = [float(text.strip(">\N{NO-BREAK SPACE}%")) for text in page.locator(".bars span").all_inner_texts()]
    assert len(fractions) == 10
    assert sum(fractions) == pytest.approx(100, abs=0.5)


def test_a_rejection_is_quiet_while_the_pen_is_down(page):
    draw(page, ASTERISK[:2])
    draw(page, ASTERISK[2:], pen_up=False)
    page.wait_for_timeout(500)
    says(page, "Not a digit yet")
    assert "quiet" in page.locator(".status").get_attribute("class")
    page.mouse.up()
    says(page, "That doesn't look like a digit")


def test_the_prediction_is_announced_once_per_digit(page):
    page.evaluate(
        """() => {
            window.spoken = [];
            const region = document.querySelector(".announcement");
            new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, { childList: true });
        }"""
    )
    page.wait_for_timeout(1000)
    page.evaluate("() => { window.spoken.length = 0; }")
    draw(page, SEVEN, steps=30)
    shows(page, "7")
    page.wait_for_timeout(1500)
    (spoken,) = page.evaluate("() => window.spoken")
    assert re.fullmatch(r"7, (\d+\.\d|>99\.9)\s% sure", spoken)
    assert page.locator(".digit").get_attribute("aria-live") == "off"


# --- Fingers, palms and pens ---


class Touch:
    """Fingers on the canvas, by the DevTools protocol."""

    def __init__(self, page) -> None:
        self.box = page.locator("canvas.area").bounding_box()
        self.session = page.context.new_cdp_session(page)
        self.points: dict[int, tuple[float, float]] = {}

    def send(self, kind: str) -> None:
        points = [
            {"id": finger, "x": self.box["x"] + x * self.box["width"], "y": self.box["y"] + y * self.box["height"]}
            for finger, (x, y) in self.points.items()
        ]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def down(self, finger: int, position) -> None:
        self.points[finger] = position
        self.send("touchStart")

    def move(self, finger: int, *positions) -> None:
        for position in positions:
            self.points[finger] = position
            self.send("touchMove")

    def up(self, finger: int) -> None:
        del self.points[finger]
        self.send("touchEnd")


def path(strokes, steps: int = 12):
    """Return positions along a single stroke."""
    (points,) = strokes
    return [
        (x + (to_x - x) * step / steps, y + (to_y - y) * step / steps)
        for (x, y), (to_x, to_y) in itertools.pairwise(points)
        for step in range(steps + 1)
    ]


@pytest.fixture
def phone(pages, app):
    return opened(pages, app, viewport={"width": 390, "height": 664}, has_touch=True, is_mobile=True)


def test_a_finger_draws_on_a_phone_and_does_not_scroll_the_page(phone):
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390
    touch = Touch(phone)
    touch.down(0, (0.5, 0.85))
    touch.move(0, *[(0.5, 0.85 - 0.06 * step) for step in range(12)])
    touch.up(0)
    shows(phone, "1")
    assert phone.evaluate("() => scrollY") == 0


def test_a_resting_palm_leaves_no_ink_beside_a_finger(phone):
    touch = Touch(phone)
    touch.down(0, (0.85, 0.9))  # the palm comes first
    start, *rest = path(SEVEN)
    touch.down(1, start)
    touch.move(1, *rest)
    touch.move(0, (0.855, 0.9))
    touch.up(1)
    touch.up(0)
    shows(phone, "7")
    seven = settled(phone)
    button(phone, "Clear").click()
    shows(phone, REJECTED)
    touch.down(0, start)
    touch.move(0, *rest)
    touch.up(0)
    shows(phone, "7")
    assert (settled(phone) == seven).all()


def draw_with_pen(page, positions) -> None:
    box = page.locator("canvas.area").bounding_box()
    session = page.context.new_cdp_session(page)
    for index, (x, y) in enumerate(positions):
        kind = "mousePressed" if index == 0 else "mouseMoved"
        event = {
            "type": kind, "x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"],
            "button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen",
        }  # fmt: skip
        session.send("Input.dispatchMouseEvent", event)
    session.send("Input.dispatchMouseEvent", {**event, "type": "mouseReleased", "buttons": 0})


def test_a_pen_removes_the_stroke_of_the_palm_and_touch_is_ignored_from_then_on(phone):
    touch = Touch(phone)
    touch.down(0, (0.8, 0.9))
    touch.move(0, *[(0.8 - 0.03 * step, 0.9) for step in range(12)])  # a palm that slides
    draw_with_pen(phone, path(SEVEN))
    touch.up(0)
    shows(phone, "7")
    seven = settled(phone)
    note = phone.locator("#panel-draw").get_by_text("Touch is ignored because a pen was used. Reload to draw with")
    assert not note.is_visible()
    touch.down(0, (0.1, 0.1))
    note.wait_for()
    inner, outer = note.bounding_box(), phone.locator("canvas.area").bounding_box()
    assert outer["x"] < inner["x"] < inner["x"] + inner["width"] < outer["x"] + outer["width"]
    touch.move(0, *[(0.1, 0.1 + 0.06 * step) for step in range(12)])
    touch.up(0)
    assert (settled(phone) == seven).all()
    draw_with_pen(phone, [(0.2, 0.5), (0.4, 0.5)])
    assert not note.is_visible()
    touch.down(0, (0.1, 0.1))
    touch.up(0)
    phone.wait_for_timeout(200)
    assert not note.is_visible()  # once is enough


# --- Images ---


def one_as_file(kind: str, size: tuple[int, int] = (300, 200)) -> bytes:
    """Return an image file of a 1 in the middle."""
    image = Image.new("RGB", size, (250, 250, 240))
    width, height = size
    ImageDraw.Draw(image).rectangle([width * 0.47, height * 0.2, width * 0.53, height * 0.8], fill=(20, 20, 60))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def blank_as_file() -> bytes:
    Image.new("L", (100, 100), 255).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def choose(page, name: str, content: bytes) -> None:
    """Choose a file in the dialog."""
    file = {"name": name, "mimeType": TYPES[name.rpartition(".")[2]], "buffer": content}
    page.locator("input[type=file]").set_input_files(file)


def test_an_image_is_classified_and_another_file_is_reported(page, shared_pages):
    page.get_by_role("tab", name="Image").click()
    choose(page, "one.jpg", one_as_file("JPEG"))
    shows(page, "1")
    choose(page, "text.png", b"this is not an image")
    says(page, "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF.")
    shows(page, REJECTED)
    choose(page, "one.tiff", one_as_file("TIFF"))  # a format that the server opens and the browser does not
    shows(page, "1")
    shared_pages.errors.clear()  # the browser's own line about the response 400


def test_a_photo_of_48_megapixels_is_reduced_in_the_browser(page):
    bodies = recorded_bodies(page)
    photo = one_as_file("JPEG", (8000, 6000))
    page.get_by_role("tab", name="Image").click()
    choose(page, "photo.jpeg", photo)
    shows(page, "1")
    ((_, content),) = bodies()
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (1848, 1386)  # as many pixels as 1600 x 1600


def strip_as_file(size: tuple[int, int]) -> bytes:
    """Return a long image file with a 7, whose height is 80 % of the short side."""
    side, strip = min(size), Image.new("L", size, 255)
    digit = draw_digit(7).convert("L")
    digit = digit.crop(ImageOps.invert(digit).getbbox()).resize((int(side * 0.5), int(side * 0.8)))
    strip.paste(digit, ((size[0] - digit.width) // 2, (size[1] - digit.height) // 2))
    strip.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(8000, 24), (24, 8000), (20000, 60)])
def test_a_digit_on_a_long_strip_is_recognized(page, size):
    page.get_by_role("tab", name="Image").click()
    choose(page, "strip.png", strip_as_file(size))
    shows(page, "7")


SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">
<path d="M6 4 H18 L10 21" fill="none" stroke="black" stroke-width="2.5"/>{}</svg>"""


def test_an_svg_file_is_painted_in_the_browser_and_not_sent(page):
    bodies = recorded_bodies(page)
    page.get_by_role("tab", name="Image").click()
    choose(page, "seven.svg", SVG.format("<script>window.ran = true</script>").encode())
    shows(page, "7")
    assert page.locator(".preview").is_visible()
    ((_, content),) = bodies()
    assert Image.open(io.BytesIO(content)).format == "JPEG"
    assert page.evaluate("() => window.ran") is None
    choose(page, "broken.svg", b"<svg")
    says(page, "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF.")
    assert not page.locator(".preview").is_visible()
    assert len(bodies()) == 1


PASTE = """async ([kind, selector]) => {
    const canvas = new OffscreenCanvas(200, 200), pen = canvas.getContext("2d");
    pen.fillStyle = "white"; pen.fillRect(0, 0, 200, 200);
    pen.fillStyle = "black"; pen.fillRect(92, 30, 16, 140);
    const data = new DataTransfer();
    data.items.add(new File([await canvas.convertToBlob()], "one.png", { type: "image/png" }));
    const target = document.querySelector(selector);
    if (kind === "paste") {
        target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    } else {
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    }
}"""


def test_an_image_can_be_pasted_anywhere(page):
    page.evaluate(PASTE, ["paste", ".model"])
    shows(page, "1")
    assert page.get_by_role("tab", name="Image").get_attribute("aria-selected") == "true"
    assert page.locator(".preview").is_visible()


def test_an_image_can_be_dropped_anywhere_on_a_visible_target(page):
    draw(page, SEVEN)
    target = page.locator(".drop-target")
    assert not target.is_visible()
    page.evaluate(PASTE, ["dragover", "h1"])
    assert target.is_visible()
    page.evaluate(PASTE, ["drop", "h1"])
    assert not target.is_visible()
    shows(page, "1")
    page.get_by_role("tab", name="Draw").click()
    shows(page, "7")  # nothing was lost


def test_a_photo_is_classified_and_the_camera_is_switched_off(page):
    page.evaluate(
        """() => {
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            window.tracks = [];
            navigator.mediaDevices.getUserMedia = async (what) => {
                const stream = await ask(what);
                window.tracks.push(...stream.getTracks());
                return stream;
            };
        }"""
    )
    page.get_by_role("tab", name="Image").click()
    button(page, "Use the camera").click()
    button(page, "Take a photo").click()
    page.wait_for_function("() => document.querySelector('.preview').naturalWidth > 100")
    page.wait_for_function("() => !document.querySelector('.status').textContent.endsWith('yet')")
    button(page, "Use the camera").click()
    button(page, "Take a photo").wait_for()
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_function("() => window.tracks.every((track) => track.readyState === 'ended')")
    assert page.evaluate("() => window.tracks.length") == 2


def test_a_refused_camera_is_reported_without_the_previous_prediction(page):
    page.get_by_role("tab", name="Image").click()
    button(page, "Example 7").click()
    shows(page, "7")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new Error('Permission denied'); }; }"
    )
    button(page, "Use the camera").click()
    says(page, "The camera can't be used: Permission denied.")
    shows(page, REJECTED)
    assert button(page, "It is a 7").is_disabled()
    assert not framed(page).any()


def test_the_examples_are_classified_and_each_tab_keeps_its_prediction(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    for digit in "0369":
        button(page, f"Example {digit}").click()
        shows(page, digit)
        assert page.locator(".preview").is_visible()
    page.get_by_role("tab", name="Draw").click()
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    shows(page, "9")


def test_an_empty_tab_does_not_show_the_prediction_of_the_other(page):
    page.get_by_role("tab", name="Image").click()
    says(page, "No image yet")
    button(page, "Example 3").click()
    shows(page, "3")
    page.get_by_role("tab", name="Draw").click()
    says(page, "Draw a digit to begin")
    shows(page, REJECTED)
    assert button(page, "It is a 3").is_disabled()
    assert not framed(page).any()


def test_the_last_ten_images_can_be_brought_back(page):
    strip = page.locator(".strip button")
    draw(page, SEVEN)
    shows(page, "7")
    button(page, "Clear").click()
    for _ in range(10):
        draw(page, ONE)
        shows(page, "1")
        button(page, "Clear").click()
        shows(page, REJECTED)
    assert strip.count() == 10
    assert {text.strip() for text in strip.all_inner_texts()} == {"1"}  # the 7 was the eleventh
    page.get_by_role("tab", name="Image").click()
    button(page, "Example 5").click()
    shows(page, "5")
    button(page, "Example 2").click()
    shows(page, "2")
    button(page, "Bring back: 5").click()
    shows(page, "5")
    strip.last.click()
    shows(page, "1")
    assert page.get_by_role("tab", name="Draw").get_attribute("aria-selected") == "true"


def test_bringing_back_a_drawing_keeps_the_present_one(page):
    strip = page.locator(".strip button")
    draw(page, SEVEN)
    shows(page, "7")
    button(page, "Clear").click()
    draw(page, ONE)
    shows(page, "1")
    for earlier, present in [("7", "1"), ("1", "7"), ("7", "1")]:
        button(page, f"Bring back: {earlier}").click()
        shows(page, earlier)
        assert [text.strip() for text in strip.all_inner_texts()] == [present]
    button(page, "Clear").click()
    shows(page, REJECTED)
    assert [text.strip() for text in strip.all_inner_texts()] == ["7", "1"]


def test_an_image_that_only_the_server_opens_can_be_brought_back(page):
    page.get_by_role("tab", name="Image").click()
    choose(page, "one.tiff", one_as_file("TIFF"))
    shows(page, "1")
    button(page, "Example 7").click()
    shows(page, "7")
    button(page, "Bring back: 1").click()
    shows(page, "1")


def test_the_panel_says_why_there_is_no_explanation_on_each_tab(page, shared_pages):
    draw(page, SEVEN)
    page.get_by_text("How does it decide?").click()
    page.get_by_text("What it has seen before").wait_for()
    page.get_by_role("tab", name="Image").click()
    page.get_by_text("Choose an image to see how the network decides.").wait_for()
    choose(page, "text.png", b"this is not an image")
    page.get_by_text("Without a prediction, there is nothing to explain.").wait_for()
    choose(page, "blank.png", blank_as_file())
    page.get_by_text("There is too little ink to recognize, and nothing to explain.").wait_for()
    page.get_by_role("tab", name="Draw").click()
    page.get_by_text("What it has seen before").wait_for()
    button(page, "Clear").click()
    page.get_by_text("Draw a digit to see how the network decides.").wait_for()
    shared_pages.errors.clear()  # the browser's own line about the response 400


# --- Corrections ---


def test_a_correction_is_saved_on_request_and_can_be_evaluated(page, app):
    draw(page, SEVEN)
    shows(page, "7")
    corrections = app.directory / "corrections"
    assert not corrections.exists()
    button(page, "It is a 4").click()
    page.get_by_text("Saved as a 4.").wait_for()
    (saved,) = corrections.rglob("*.png")
    assert re.fullmatch(r"corrections/4/\d{8}T\d{6}-[0-9a-f]{12}\.png", str(saved.relative_to(app.directory)))
    command = [sys.executable, "-m", "digitnet", "evaluate", "corrections", "--mistakes", "mistakes.png"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=app.directory, env=environment, capture_output=True, text=True, check=True)
    assert "1 of 1 wrong" in run.stdout


def test_the_article_before_a_saved_digit_is_right(page):
    draw(page, SEVEN)
    shows(page, "7")
    button(page, "It is an 8").click()
    page.get_by_text("Saved as an 8.").wait_for()
    draw(page, ONE)
    page.wait_for_function("() => document.querySelector('.saved')?.textContent === ''")  # it is about another image


# --- Keyboard ---


def test_everything_works_by_keyboard_and_has_a_name(page):
    draw(page, ONE)
    shows(page, "1")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.ariaLabel || document.activeElement.textContent.trim()")
        )
    for name in ("Drawing area", "Undo", "Clear", "Pen width", "It is a 0", "It is a 9", "Draw"):
        assert name in reached
    assert all(reached[: reached.index("It is a 9")])


def test_arrow_keys_choose_a_tab(page):
    draw_tab, number_tab = page.get_by_role("tab", name="Draw"), page.get_by_role("tab", name="Number")
    draw_tab.focus()
    page.keyboard.press("ArrowRight")
    says(page, "Draw a number to begin")
    assert number_tab.evaluate("tab => tab === document.activeElement")
    assert draw_tab.get_attribute("tabindex") == "-1"
    page.keyboard.press("End")
    says(page, "No image yet")
    page.keyboard.press("ArrowRight")
    says(page, "Draw a digit to begin")


def test_a_digit_can_be_drawn_with_the_keyboard(page):
    page.locator("canvas.area").focus()
    for key in ["ArrowUp"] * 5 + ["Space"] + ["ArrowDown"] * 10 + ["Space"]:
        page.keyboard.press(key)
    assert page.locator(".announcement").inner_text() == "Row 14, column 9, pen up"
    shows(page, "1")
    ink = settled(page)
    page.keyboard.press("ArrowLeft")  # with the pen up
    assert (settled(page) == ink).all()
