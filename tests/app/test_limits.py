"""What hostile, wrong and many requests do to the server: its memory, its log, and the answers of others."""

import base64
import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")
httpx = pytest.importorskip("httpx")

from tests.app.test_server import App  # noqa: E402

pytestmark = pytest.mark.slow

CALL = "gradio_api/call/predict"
JSON = {"Content-Type": "application/json"}
MAX_GROWTH = 150  # MB


def png(image: Image.Image) -> bytes:
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def one() -> bytes:
    image = Image.new("L", (280, 280), 255)
    image.paste(0, (130, 50, 150, 230))
    return png(image)


def uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def memory(app: App) -> float:
    """Return the resident set of the server in MB."""
    return int(Path(f"/proc/{app.process.pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1000


def cpu_seconds(app: App) -> float:
    fields = Path(f"/proc/{app.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def predict(app: App, client, content: bytes) -> dict:
    event = client.post(app.url + CALL, json={"data": [uri(content)]}).json()["event_id"]
    printed = client.get(f"{app.url}{CALL}/{event}").text
    return json.loads(printed.partition("data: ")[2])[0]


@pytest.fixture
def app(tmp_path):
    app = App(tmp_path)
    yield app
    assert app.stop() == 130
    assert "Traceback" not in app.output


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_hostile_requests_leave_no_memory_behind(app):
    large = png(Image.new("RGBA", (5000, 5000), (255, 255, 255, 0)))
    string = "A" * 3_900_000
    keys = "{" + ",".join(f'"{number}":0' for number in range(380_000)) + "}"
    component = '"component_id":1,"fn_name":"classify","session_hash":"%d"'
    hostile = [
        (CALL, b'{"data":["' + b"A" * 27_000_000 + b'"]}'),
        (CALL, json.dumps({"data": [string]}).encode()),
        (CALL, json.dumps({"data": ["data:image/png;base64," + string]}).encode()),
        (CALL, json.dumps({"data": [uri(large)]}).encode()),
        (CALL, ('{"data":[' + keys + "]}").encode()),
        (CALL, json.dumps({"data": ["x"], "session_hash": string}).encode()),
        ("gradio_api/queue/join", json.dumps({"data": [string], "fn_index": 0, "session_hash": "%d"}).encode()),
        ("gradio_api/component_server", ("{" + component + ',"data":"' + string + '"}').encode()),
        ("digitnet/classify", large),
        ("digitnet/classify", string.encode()),
        ("digitnet/corrections?digit=3", string.encode()),
    ]
    with httpx.Client(headers=JSON, timeout=60) as client:
        for _ in range(20):
            assert predict(app, client, one())["label"] == 1
            assert client.post(app.url + "digitnet/classify", content=one()).json()["label"] == 1
        before = memory(app)
        for number in range(154):
            route, body = hostile[number % len(hostile)]
            assert client.post(app.url + route, content=body.replace(b"%d", b"%d" % number)).status_code != 500
        assert client.post(app.url + "digitnet/classify", content=one()).json()["label"] == 1
        assert predict(app, client, one())["label"] == 1
    assert memory(app) - before < MAX_GROWTH


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_an_idle_server_takes_little_cpu_time(app):
    time.sleep(3)  # the last imports
    before = cpu_seconds(app)
    time.sleep(10)
    assert cpu_seconds(app) - before <= 0.2


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        (CALL, b'{"data": []}', "got a list of 0"),
        (CALL, b'{"data": ["x", "y"]}', "got a list of 2"),
        (CALL, b'{"data": "x"}', "got no list"),
        (CALL, b"{}", "got no list"),
        (CALL, b"[]", "Expected JSON"),
        (CALL, b"", "Expected JSON"),
        (CALL, b"{", "Expected JSON"),
        (CALL, b"\xff\xfe", "Expected JSON"),
        (CALL, b'{"data": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "Expected JSON"),
        (CALL, b'{"data": ["x"], "session_hash": 5}', "session_hash"),
        (CALL, b'{"data": ["x"], "session_hash": "' + b"y" * 101 + b'"}', "at most 100 characters"),
        (CALL, b'{"data": ["x"], "fn_index": [1]}', "fn_index"),
        (CALL, b'{"data": ["x"], "batched": true}', "batched"),
        ("gradio_api/queue/join", b'{"data": ["x"], "session_hash": "s", "fn_index": 99}', "fn_index"),
        ("gradio_api/run/predict", b'{"data": ["x"], "fn_index": 99}', "fn_index"),
        ("gradio_api/call/v2/predict", b'{"data": ["x"]}', 'Expected {"image"'),
        ("gradio_api/call/v2/predict", b"{}", 'Expected {"image"'),
    ],
)  # fmt: skip
def test_a_wrong_call_gets_one_line_and_no_traceback(shared_app, route, body, expected):
    response = httpx.post(shared_app.url + route, content=body, headers=JSON)
    assert response.status_code == 400
    assert expected in response.json()["error"]
    assert len(response.text) < 200


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "gradio_api/call/none"),
        ("POST", "gradio_api/call/v2/none"),
        ("POST", "gradio_api/run/none"),
        ("POST", "gradio_api/stream/x"),
        ("POST", "gradio_api/process_recording"),
        ("GET", CALL + "/none"),
        ("GET", "gradio_api/queue/data?session_hash=none"),
        ("GET", "gradio_api/deep_link?session_hash=x"),
        ("GET", "?page=none"),
        ("GET", "?deep_link=none"),
    ],
)  # fmt: skip
def test_an_unknown_route_or_event_gets_one_line_and_no_traceback(shared_app, method, route):
    response = httpx.request(method, shared_app.url + route, json={"data": ["x"]} if method == "POST" else None)
    assert response.status_code == 404
    assert response.json()["error"].startswith("There is no such")


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory):
    app = App(tmp_path_factory.mktemp("app"))
    yield app
    assert app.stop() == 130
    assert app.output.splitlines()[2:] == ["Interrupted (SIGINT)."]  # neither a traceback nor a warning


def test_fifty_simultaneous_clients_all_get_predictions(shared_app):
    def client(number: int) -> list[int]:
        with httpx.Client(timeout=60) as session:
            if number % 2:
                return [predict(shared_app, session, one())["label"] for _ in range(4)]
            answers = [session.post(shared_app.url + "digitnet/classify", content=one()) for _ in range(4)]
            return [answer.json()["label"] for answer in answers]

    with ThreadPoolExecutor(50) as threads:
        assert [*threads.map(client, range(50))] == [[1] * 4] * 50
