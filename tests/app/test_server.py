"""The sketchpad with a real server, and real programs and pages that call it."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.app.drawing import ONE, draw, recorded_bodies, shows
from tests.app.processes import App, free_port, wait_for_port
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

from digitnet.app.cli import main  # noqa: E402

JSON = {"Content-Type": "application/json"}


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
        await fetch(url, { method: "POST", headers, body: new Uint8Array(body) });
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
    page = browser.new_page()
    page.goto(app.url)
    page.get_by_role("button", name="Clear").wait_for()
    bodies = recorded_bodies(page)
    draw(page, ONE)
    shows(page, "1")
    page.get_by_role("button", name="It is a 7").click()
    page.get_by_text("Saved as a 7.").wait_for()
    body = list(bodies()[-1][1])
    url = f"{app.url}digitnet/corrections?digit=7"
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


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
@pytest.mark.parametrize("forwarded", [True, False], ids=["forwarded host", "host of the upstream server"])
def test_the_app_works_behind_nginx(pages, tmp_path, forwarded):
    settings = ["proxy_set_header Host $http_host"] if forwarded else []
    app = App(tmp_path)
    proxy = Proxy(tmp_path, app, *settings)
    if not forwarded:  # then the app has to be told the address that the browser shows
        app.stop()
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


def test_the_host_name_can_be_restricted(tmp_path):
    import httpx

    app = App(tmp_path, "--allow-host=digits.example")
    for host, status in (("digits.example", 200), ("other.example", 400)):
        assert httpx.get(app.url, headers={"Host": host}).status_code == status
    assert app.stop() == 130


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
    monkeypatch.setattr("tests.app.processes.PATH", f"{tmp_path / 'hook'}{os.pathsep}{ROOT}")
    probe = "import socket\ntry: socket.getaddrinfo('digits.invalid', 80)\nexcept OSError: pass"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "hook")}
    subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, env=environment, check=True)
    assert "digits.invalid" in (tmp_path / "connections.txt").read_text()  # the recorder works
    (tmp_path / "connections.txt").unlink()
    app = App(tmp_path, new=True)
    program = readme_block("import base64").replace("http://127.0.0.1:7860/", app.url)
    subprocess.run([sys.executable, "-c", program], cwd=image_file.parent, capture_output=True, check=True)
    app.stop()
    assert not (tmp_path / "connections.txt").exists()


def test_many_concurrent_clients_get_predictions_and_no_files_remain():
    command = [sys.executable, str(ROOT / "benchmarks" / "app_load.py")]
    command += ["--requests=200", "--clients=20", "--requests-per-client=5", "--strokes=0"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| 20 clients as the page, 5 predictions each: failed | 0 (" in run.stdout
    assert "| 20 clients as the API, 5 predictions each: failed | 0 (" in run.stdout
    assert run.stdout.count("| 4 clients as the page, 12 predictions each: failed | 0 (") == 4
    assert "| files left behind | 0 |" in run.stdout


# --- The command ---


def test_a_busy_port_gets_one_clear_line(app):
    command = [sys.executable, str(ROOT / "app.py"), "--no-open", f"--port={app.port}"]
    run = subprocess.run(command, capture_output=True, text=True)
    status, printed = run.returncode, run.stderr
    assert status == 2
    assert printed.count("\n") == 1
    assert f"port {app.port}" in printed


def failing(capsys, *options: str) -> tuple[int, str]:
    """Run the command in this process and return its exit status and what it prints as errors."""
    with pytest.raises(SystemExit) as caught:
        main(["--no-open", *options])
    return caught.value.code, capsys.readouterr().err


def test_an_invalid_address_gets_one_clear_line(capsys):
    for option, expected in (
        ("--host=digits.invalid", "digits.invalid"), ("--host=::1", "IPv4"), ("--port=70000", "from 1 to 65535"),
    ):  # fmt: skip
        status, printed = failing(capsys, option)
        assert status == 2
        assert printed.count("\n") == 1
        assert expected in printed


@pytest.mark.parametrize("model", ["none.onnx", str(ROOT / "README.md"), str(ROOT)])
def test_a_missing_or_damaged_model_gets_one_clear_line(capsys, model):
    status, printed = failing(capsys, f"--model={model}")
    assert status == 2
    assert printed.count("\n") == 1
    assert model in printed


def test_ctrl_c_stops_the_app(tmp_path):
    app = App(tmp_path, new=True)
    assert app.stop() == 130
    assert "Traceback" not in app.output
    assert [*tmp_path.iterdir()] == []
