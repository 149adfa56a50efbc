"""The sketchpad with a real server, a real browser, and real programs that call it."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

PATH = str(ROOT)  # from which the app is imported
REJECTED = "\N{EN DASH}"
ONE = [[(0.5, 0.2), (0.48, 0.8)]]
SEVEN = [[(0.28, 0.25), (0.7, 0.24), (0.55, 0.5), (0.42, 0.8)]]
JSON = {"Content-Type": "application/json"}
ZERO = [[(0.5 + 0.2 * np.sin(t), 0.5 - 0.28 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 40)]]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(port)


class App:
    """`python app.py` in a process and a directory of its own."""

    def __init__(self, directory: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory, self.url = directory, f"http://127.0.0.1:{self.port}/"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--no-open", f"--port={self.port}", *options],
            cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": PATH},
        )  # fmt: skip
        self.output = ""
        assert self.process.stdout is not None
        while "Open http" not in self.output:
            line = self.process.stdout.readline()
            assert line, f"the app ended: {self.output}"
            self.output += line

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    app.process.kill()
    app.process.wait()
    app.process.stdout.close()


@pytest.fixture
def page(pages, app):
    return opened(pages, app)


def opened(pages, app, **options):
    page = pages.open(app.url, **options)
    page.get_by_role("button", name="Clear").wait_for()
    return page


def draw(page, strokes, pen_up=True) -> None:
    box = page.locator("canvas:visible").bounding_box()
    for stroke in strokes:
        (x, y), *rest = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(x, y, steps=4)
        if pen_up:
            page.mouse.up()


def shows(page, digit: str) -> None:
    page.wait_for_function("digit => document.querySelector('[data-testid=digit]').textContent === digit", arg=digit)


def status(page) -> str:
    return page.locator(".status").inner_text()


def framed(page) -> np.ndarray:
    source = page.get_by_test_id("framed").get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def settled(page) -> np.ndarray:
    """Return the framed image after it has not changed for a second."""
    page.evaluate("() => { window.last = null; }")
    page.wait_for_function(
        """() => {
            const { src } = document.querySelector("[data-testid=framed]");
            if (window.last?.src !== src) window.last = { src, since: performance.now() };
            return performance.now() - window.last.since > 1000;
        }"""
    )
    return framed(page)


def test_an_empty_sketchpad_is_described(page):
    shows(page, REJECTED)
    assert status(page) == "Nothing drawn yet"
    assert page.locator(".bars li").count() == 10
    assert not framed(page).any()
    assert "accuracy on MNIST's test set" in page.locator(".model").inner_text()


@pytest.mark.parametrize(("strokes", "digit"), [(ONE, "1"), (ZERO, "0"), (SEVEN, "7")])
def test_a_drawn_digit_is_classified_with_its_confidence(page, strokes, digit):
    draw(page, strokes)
    shows(page, digit)
    assert re.fullmatch(r"\d+\.\d % confidence", status(page))
    assert page.locator(".bars li.first b").inner_text() == digit
    assert framed(page).shape == (28, 28)
    assert framed(page).max() == 255
    assert re.search(r"[\d.]+ ms", page.locator(".model").inner_text())


def test_the_prediction_updates_before_pen_up(page):
    draw(page, ONE, pen_up=False)
    shows(page, "1")
    page.mouse.up()


def test_a_dot_is_drawn_and_classified(page):
    box = page.locator("canvas:visible").bounding_box()
    page.mouse.click(box["x"] + 100, box["y"] + 100)
    page.wait_for_function("() => document.querySelector('.status').textContent !== 'Nothing drawn yet'")
    assert ink_on_canvas(page) > 100
    assert framed(page).any()


def test_undo_removes_a_stroke_by_button_and_by_key(page):
    draw(page, ONE)
    shows(page, "1")
    one = settled(page)
    draw(page, [[(0.2, 0.5), (0.8, 0.5)]])
    assert (settled(page) != one).any()
    page.get_by_role("button", name="Undo").click()
    assert (settled(page) == one).all()
    shows(page, "1")
    page.keyboard.press("Control+z")
    shows(page, REJECTED)
    assert status(page) == "Nothing drawn yet"
    assert page.get_by_role("button", name="Undo").is_disabled()
    assert page.evaluate("document.activeElement.className") == "width"  # the keyboard focus is not lost


def test_a_non_digit_is_rejected_with_the_bars_still_shown(page):
    draw(page, [[(0.5, 0.15), (0.5, 0.85)], [(0.2, 0.3), (0.8, 0.7)], [(0.8, 0.3), (0.2, 0.7)]])  # an asterisk
    settled(page)
    assert status(page) == "This does not look like a digit"
    shows(page, REJECTED)
    fractions = [float(text.removesuffix(" %")) for text in page.locator(".bars span").all_inner_texts()]
    assert len(fractions) == 10
    assert sum(fractions) == pytest.approx(100, abs=0.5)


def test_after_clear_another_digit_can_be_drawn(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("button", name="Clear").click()
    shows(page, REJECTED)
    draw(page, ZERO)
    shows(page, "0")


def test_clear_during_a_stroke_ends_it(page):
    draw(page, [[(0.5, 0.2), (0.5, 0.5)]], pen_up=False)
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    page.mouse.move(300, 300, steps=5)
    page.mouse.up()
    shows(page, REJECTED)
    draw(page, ZERO)
    shows(page, "0")


def test_a_late_prediction_is_not_shown_on_the_other_tab(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    page.get_by_role("button", name="Example 6").wait_for()
    page.evaluate(
        """() => {
            const send = window.fetch;
            window.delayed = 0;
            window.fetch = async (...args) => {
                if (!String(args[0]?.url ?? args[0]).includes("component_server")) return send(...args);
                window.delayed += 1;
                await new Promise((resume) => setTimeout(resume, 1000));
                return send(...args);
            };
        }"""
    )
    page.get_by_role("button", name="Example 6").click()
    page.get_by_role("tab", name="Draw").click()
    shows(page, "1")
    page.wait_for_timeout(1800)
    shows(page, "1")
    assert page.evaluate("window.delayed") == 1
    page.get_by_role("tab", name="Image").click()
    shows(page, "6")


def test_the_page_reports_that_the_app_was_stopped(browser, tmp_path):
    app = App(tmp_path)
    page = browser.new_page()  # its failing requests are errors on the console, as expected here
    page.goto(app.url)
    page.get_by_role("button", name="Clear").wait_for()
    draw(page, ONE)
    shows(page, "1")
    app.stop()
    app.process.stdout.close()
    draw(page, [[(0.2, 0.5), (0.8, 0.5)]])
    page.get_by_text("No response: was the app stopped?").wait_for()
    shows(page, REJECTED)
    assert page.get_by_role("button", name="It is a 4").is_disabled()
    page.close()


def test_a_stroke_may_leave_the_canvas_and_return(page):
    draw(page, [[(0.5, 0.15), (0.5, 1.1), (0.6, 1.15), (0.5, 0.9)]])
    shows(page, "1")


def test_the_pen_can_be_made_wider(page):
    draw(page, ONE)
    shows(page, "1")
    thin = page.evaluate("() => document.querySelector('canvas').toDataURL().length") and ink_on_canvas(page)
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Pen width").fill("14")
    draw(page, ONE)
    assert ink_on_canvas(page) > 1.5 * thin


def ink_on_canvas(page) -> int:
    page.wait_for_timeout(200)
    return page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((level, i) => i % 4 === 0 && level < 128).length;
        }"""
    )


def test_a_finger_draws_on_a_phone_and_does_not_scroll_the_page(pages, app):
    page = opened(pages, app, viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    box = page.locator("canvas:visible").bounding_box()
    touch = page.context.new_cdp_session(page)

    def at(x, y):
        return [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}]

    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at(0.5, 0.85)})
    for step in range(12):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": at(0.5, 0.85 - 0.06 * step)})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    shows(page, "1")
    assert page.evaluate("() => scrollY") == 0


def test_the_page_follows_the_dark_mode_and_the_canvas_stays_white(pages, app):
    page = opened(pages, app, color_scheme="dark")
    luminance = "e => getComputedStyle(e).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    assert max(page.locator("body").evaluate(luminance)) < 60
    assert page.locator("canvas:visible").evaluate(luminance) == [255, 255, 255]


def test_an_image_is_classified_and_another_file_is_reported(page, tmp_path, app):
    page.get_by_role("tab", name="Image").click()
    image = Image.new("RGB", (300, 200), (250, 250, 240))
    image.paste((20, 20, 60), (140, 40, 160, 170))
    image.save(tmp_path / "one.jpg")
    page.locator("input[type=file]").set_input_files(tmp_path / "one.jpg")
    shows(page, "1")
    (tmp_path / "text.png").write_text("this is not an image")
    page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    page.get_by_text("Not an image in one of the formats").wait_for()
    shows(page, REJECTED)
    page.locator("input[type=file]").set_input_files(tmp_path / "one.jpg")
    shows(page, "1")


def test_an_image_can_be_pasted(page):
    page.get_by_role("tab", name="Image").click()
    page.get_by_role("button", name="Choose an image").wait_for()
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(200, 200), pen = canvas.getContext("2d");
            pen.fillStyle = "white"; pen.fillRect(0, 0, 200, 200);
            pen.fillStyle = "black"; pen.fillRect(92, 30, 16, 140);
            const data = new DataTransfer();
            data.items.add(new File([await canvas.convertToBlob()], "one.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }"""
    )
    shows(page, "1")


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
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a photo").click()
    page.wait_for_function("() => document.querySelector('.preview').naturalWidth > 100")
    page.wait_for_function("() => !document.querySelector('.status').textContent.endsWith('yet')")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a photo").wait_for()
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_function("() => window.tracks.every((track) => track.readyState === 'ended')")
    assert page.evaluate("() => window.tracks.length") == 2


def test_the_examples_are_classified_and_each_tab_keeps_its_prediction(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    for digit in "0369":
        page.get_by_role("button", name=f"Example {digit}").click()
        shows(page, digit)
        assert page.locator(".preview").is_visible()
    page.get_by_role("tab", name="Draw").click()
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    shows(page, "9")


def test_an_empty_tab_does_not_show_the_prediction_of_the_other(page):
    page.get_by_role("tab", name="Image").click()
    page.get_by_text("No image yet").wait_for()
    page.get_by_role("button", name="Example 3").click()
    shows(page, "3")
    page.get_by_role("tab", name="Draw").click()
    page.get_by_text("Nothing drawn yet").wait_for()
    shows(page, REJECTED)
    assert page.get_by_role("button", name="It is a 3").is_disabled()
    assert not framed(page).any()


def test_a_large_file_and_a_refused_camera_are_reported_without_the_previous_prediction(page):
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("tab", name="Image").click()
    page.get_by_role("button", name="Example 7").click()
    shows(page, "7")
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(20_000_001)}
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_text("Expected at most 20,000,000 bytes, large.png has 20,000,001").wait_for()
    shows(page, REJECTED)
    assert page.get_by_role("button", name="It is a 7").is_disabled()
    assert not framed(page).any()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new Error('Permission denied'); }; }"
    )
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_text("The camera cannot be used: Permission denied").wait_for()
    shows(page, REJECTED)


def test_a_correction_is_saved_on_request_and_can_be_evaluated(page, app):
    draw(page, SEVEN)
    shows(page, "7")
    corrections = app.directory / "corrections"
    assert not corrections.exists()
    page.get_by_role("button", name="It is a 4").click()
    page.get_by_text("Saved as").wait_for()
    (saved,) = corrections.rglob("*.png")
    assert re.fullmatch(r"corrections/4/\d{8}T\d{6}-[0-9a-f]{12}\.png", str(saved.relative_to(app.directory)))
    command = [sys.executable, "-m", "digitnet", "evaluate", "corrections", "--mistakes", "mistakes.png"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=app.directory, env=environment, capture_output=True, text=True, check=True)
    assert "1 of 1 wrong" in run.stdout


def test_everything_except_drawing_works_by_keyboard_and_has_a_name(page):
    draw(page, ONE)
    shows(page, "1")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.ariaLabel || document.activeElement.textContent.trim()")
        )
    for name in ("Undo", "Clear", "Pen width", "It is a 0", "It is a 9", "Draw"):
        assert name in reached
    assert all(reached[: reached.index("It is a 9")])


# --- Programs that call the API ---


@pytest.fixture(scope="module")
def image_file(tmp_path_factory) -> Path:
    image = Image.new("L", (120, 200), 255)
    image.paste(0, (52, 30, 66, 170))
    image.save(path := tmp_path_factory.mktemp("image") / "digit.png")
    return path


def readme_block(start: str) -> str:
    """Return the code block of the README or of the page about the sketchpad that starts with `start`."""
    pages = "\n".join((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/sketchpad.md"))
    (block,) = [text for text in re.findall(r"```\w+\n(.*?)```", pages, re.DOTALL) if text.startswith(start)]
    return block


def test_the_python_client_of_the_readme_gets_a_prediction(app, image_file):
    program = readme_block("import base64").replace("http://127.0.0.1:7860/", app.url)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=image_file.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("1 ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_the_curl_command_of_the_docs_gets_a_prediction(app, image_file):
    program = readme_block("event=$(").replace("http://127.0.0.1:7860/", app.url)
    run = subprocess.run(["bash", "-c", program], cwd=image_file.parent, capture_output=True, text=True, check=True)
    (response,) = json.loads(run.stdout.partition("data: ")[2])
    assert response["label"] == 1
    assert len(response["probabilities"]) == 10


def test_invalid_calls_get_a_message_and_the_app_continues(app, image_file):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(app.url, verbose=False)
    try:
        for sent in (
            "/etc/passwd",
            "file:///etc/passwd",
            "data:image/png;base64,%%",
            7,
            None,
            {"path": "/etc/passwd"},
            [],
        ):
            with pytest.raises(AppError, match=r"data URI|base64|No image"):
                client.predict(sent, api_name="/predict")
        good = "data:image/png;base64," + base64.b64encode(image_file.read_bytes()).decode()
        assert client.predict(good, api_name="/predict")["label"] == 1
    finally:
        client.close()


def test_a_request_of_eighty_megabytes_is_refused(app):
    import httpx

    response = httpx.post(f"{app.url}gradio_api/call/predict", content=b"x" * 80_000_000)
    assert response.status_code == 413
    assert httpx.get(app.url).status_code == 200


def test_a_posted_file_payload_is_neither_fetched_nor_opened(app):
    import httpx

    call = f"{app.url}gradio_api/call/predict"
    for location in ("http://digits.invalid/a.png", "/etc/passwd", f"{ROOT}/README.md", "../x"):
        payload = {"path": location, "url": location, "meta": {"_type": "gradio.FileData"}}
        response = httpx.post(call, json={"data": [payload]})
        assert response.status_code == 400
        assert "send a data URI" in response.text
        escaped = json.dumps({"data": [payload]}).replace("File", "\\u0046ile")
        assert httpx.post(call, content=escaped, headers=JSON).status_code == 400
        for encoding in ("utf-16", "utf-16-le", "utf-32-be"):  # json.loads detects them
            assert (
                httpx.post(call, content=json.dumps({"data": [payload]}).encode(encoding), headers=JSON).status_code
                == 400
            )
        sent = {"data": [payload], "fn_index": 0, "session_hash": "x"}
        for route in ("gradio_api/api/predict", "api/predict/", "run/predict/", "run/0", "gradio_api/run/x",
                      "gradio_api/queue/join/", "gradio_api/component_server", "gradio_api/stream/x"):  # fmt: skip
            response = httpx.post(app.url + route, json=sent, follow_redirects=True)
            assert response.status_code in (400, 404, 405), route


def test_json_with_escaped_slashes_as_php_writes_it_is_accepted(app, image_file):
    import httpx

    uri = "data:image\\/png;base64," + base64.b64encode(image_file.read_bytes()).decode()
    response = httpx.post(f"{app.url}gradio_api/call/predict", content=f'{{"data": ["{uri}"]}}', headers=JSON)
    assert response.status_code == 200
    printed = httpx.get(f"{app.url}gradio_api/call/predict/{response.json()['event_id']}").text
    assert json.loads(printed.partition("data: ")[2])[0]["label"] == 1


def test_a_large_body_of_undeclared_size_is_refused(app):
    import httpx

    chunks = (b"x" * 2**20 for _ in range(40))
    assert httpx.post(f"{app.url}gradio_api/call/predict", content=chunks).status_code == 413


def test_requests_of_other_sites_and_uploads_are_refused(app, image_file):
    import httpx

    call, sent = f"{app.url}gradio_api/call/predict", {"data": ["x"]}
    assert httpx.post(call, json=sent, headers={"Origin": app.url.rstrip("/")}).status_code == 200
    assert httpx.post(call, json=sent, headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx.post(call, json=sent, headers={"Host": "evil.example"}).status_code == 400
    with open(image_file, "rb") as file:
        assert httpx.post(f"{app.url}gradio_api/upload", files={"files": file}).status_code == 403


SEND = """async ([url, headers, body]) => {
    try {
        await fetch(url, { method: "POST", headers, body });
    } catch { /* the response is not for this page, but the request was sent */ }
}"""


class Proxy:
    """nginx in front of the app, on a port of its own."""

    def __init__(self, directory: Path, app: App, *settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        lines = "".join(f"{setting};\n" for setting in settings)
        config = directory / "nginx.conf"
        config.write_text(
            f"daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;\nevents {{}}\n"
            f"http {{ access_log off; client_body_temp_path {directory}/body;\n"
            f"proxy_temp_path {directory}/proxy;\n"
            f"fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n"
            f"scgi_temp_path {directory}/scgi;\n"
            f"client_max_body_size 30m; server {{ listen 127.0.0.1:{self.port}; location / {{\n"
            f"proxy_pass {app.url}; proxy_buffering off;\n{lines}}} }} }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(directory)], stderr=subprocess.DEVNULL)
        wait_for_port(self.port)


@pytest.fixture
def other_site(tmp_path):
    """The address of another site, which is served on another port of this machine."""
    directory, port = tmp_path / "site", free_port()
    directory.mkdir()
    (directory / "index.html").write_text("<!doctype html><title>another site</title>")
    process = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_port(port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.mark.browser
@pytest.mark.parametrize("forwarded", [False, True])
def test_a_page_of_another_origin_saves_no_correction(browser, tmp_path, other_site, forwarded):
    """The page repeats the request with which the sketchpad saved a correction."""
    app = App(tmp_path)
    page, requests = browser.new_page(), []
    page.on("request", lambda request: requests.append(request) if "component_server" in request.url else None)
    page.goto(app.url)
    page.get_by_role("button", name="Clear").wait_for()
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("button", name="It is a 7").click()
    page.get_by_text("Saved as").wait_for()
    url, body = requests[-1].url, requests[-1].post_data
    (saved,) = (tmp_path / "corrections").rglob("*.png")
    saved.unlink()
    headers = {"Content-Type": "text/plain"}  # with this type, the browser asks for no permission first
    if forwarded:
        headers["X-Forwarded-Host"] = other_site.removeprefix("http://")
    page.goto(other_site)
    page.evaluate(SEND, [url, headers, body])
    page.wait_for_timeout(500)
    assert not list((tmp_path / "corrections").rglob("*.png"))
    page.close()
    assert app.stop() == 130
    app.process.stdout.close()


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
@pytest.mark.parametrize("forwarded", [True, False], ids=["forwarded host", "host of the upstream server"])
def test_the_app_works_behind_nginx(pages, tmp_path, forwarded):
    settings = ["proxy_set_header Host $http_host"] if forwarded else []
    app = App(tmp_path)
    proxy = Proxy(tmp_path, app, *settings)
    if not forwarded:  # then the app has to be told the address that the browser shows
        app.stop()
        app.process.stdout.close()
        app = App(tmp_path, f"--allow-host=127.0.0.1:{proxy.port}", port=app.port)
    try:
        page = pages.open(proxy.url)
        page.get_by_role("button", name="Clear").wait_for()
        draw(page, ONE)
        shows(page, "1")
        page.close()  # before its server stops
    finally:
        proxy.process.terminate()
        proxy.process.wait()
        assert app.stop() == 130
        app.process.stdout.close()


def test_the_host_name_can_be_restricted(tmp_path):
    import httpx

    app = App(tmp_path, "--allow-host=digits.example")
    for host, status in (("digits.example", 200), ("other.example", 400)):
        assert httpx.get(app.url, headers={"Host": host}).status_code == status
    assert app.stop() == 130
    app.process.stdout.close()


def test_a_hundred_half_open_connections_do_not_stop_it(app):
    import httpx

    sockets = [socket.create_connection(("127.0.0.1", app.port)) for _ in range(100)]
    for connection in sockets:
        connection.sendall(b"POST /gradio_api/call/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
    try:
        assert httpx.get(app.url, timeout=10).status_code == 200
    finally:
        for connection in sockets:
            connection.close()


def test_no_file_of_the_computer_is_served(app):
    import httpx

    for path in (f"{ROOT}/pyproject.toml", "/etc/passwd", f"{app.directory}/corrections"):
        assert httpx.get(f"{app.url}gradio_api/file={path}").status_code in (403, 404)


# --- Network access and load ---

RECORDER = """
import sys

def record(event, args):
    host = args[0] if event == "socket.getaddrinfo" else args[1][0] if event == "socket.connect" else None
    if isinstance(host, (str, bytes)) and str(host) not in ("127.0.0.1", "::1", "localhost", "0.0.0.0", ""):
        with open("connections.txt", "a") as file:
            file.write(f"{event} {host}\\n")

sys.addaudithook(record)
"""


def test_the_server_connects_to_no_other_host(tmp_path, image_file, monkeypatch):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(RECORDER)
    monkeypatch.setattr("tests.app.test_server.PATH", f"{tmp_path / 'hook'}{os.pathsep}{ROOT}")
    probe = "import socket\ntry: socket.getaddrinfo('digits.invalid', 80)\nexcept OSError: pass"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "hook")}
    subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, env=environment, check=True)
    assert "digits.invalid" in (tmp_path / "connections.txt").read_text()  # the recorder works
    (tmp_path / "connections.txt").unlink()
    app = App(tmp_path)
    program = readme_block("import base64").replace("http://127.0.0.1:7860/", app.url)
    subprocess.run([sys.executable, "-c", program], cwd=image_file.parent, capture_output=True, check=True)
    app.stop()
    app.process.stdout.close()
    assert not (tmp_path / "connections.txt").exists()


def test_many_concurrent_clients_get_predictions_and_no_files_remain():
    command = [sys.executable, str(ROOT / "benchmarks" / "app_load.py")]
    command += ["--requests=200", "--clients=20", "--each=5", "--strokes=0"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| 20 clients, 5 predictions each: failed | 0 (" in run.stdout
    assert run.stdout.count("| 4 clients, 12 predictions each: failed | 0 (") == 4
    assert "| files left behind | 0 |" in run.stdout


# --- The command ---


def failing(*options: str) -> tuple[int, str]:
    run = subprocess.run([sys.executable, str(ROOT / "app.py"), "--no-open", *options], capture_output=True, text=True)
    return run.returncode, run.stderr


def test_a_busy_port_gets_one_clear_line(app):
    status, printed = failing(f"--port={app.port}")
    assert status == 2
    assert printed.count("\n") == 1
    assert f"port {app.port}" in printed


def test_an_invalid_address_gets_one_clear_line():
    for option, expected in (
        ("--host=digits.invalid", "digits.invalid"), ("--host=::1", "IPv4"), ("--port=70000", "from 1 to 65535"),
    ):  # fmt: skip
        status, printed = failing(option)
        assert status == 2
        assert printed.count("\n") == 1
        assert expected in printed


@pytest.mark.parametrize("model", ["none.onnx", str(ROOT / "README.md"), str(ROOT)])
def test_a_missing_or_damaged_model_gets_one_clear_line(model):
    status, printed = failing(f"--model={model}")
    assert status == 2
    assert printed.count("\n") == 1
    assert model in printed


def test_ctrl_c_stops_the_app(tmp_path):
    app = App(tmp_path)
    start = time.monotonic()
    assert app.stop() == 130
    assert time.monotonic() - start < 10
    assert "Traceback" not in app.process.stdout.read()
    app.process.stdout.close()
    assert [*tmp_path.iterdir()] == []
