"""The routes of the page: images in, JSON out."""

import io
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("starlette", reason="needs Gradio: pip install '.[app]'")
httpx = pytest.importorskip("httpx")

import anyio  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402

from digitnet import DigitClassifier  # noqa: E402
from digitnet.app import routes as routes_module  # noqa: E402
from digitnet.app.api import GradioMiddleware  # noqa: E402
from digitnet.app.corrections import Corrections  # noqa: E402
from digitnet.app.routes import STATIC, page_routes, static_url  # noqa: E402
from digitnet.app.server import middleware  # noqa: E402
from digitnet.app.service import content_of_data_uri, decode_image  # noqa: E402

MAX_BODY_BYTES = 1_000_000
NOT_AN_IMAGE = "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF."


def one(size: tuple[int, int] = (280, 280), kind: str = "PNG") -> bytes:
    image = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(image).line([(140, 60), (138, 220)], fill=0, width=20)
    image.resize(size).save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


class Server:
    """The routes in front of an application that answers everything with its path."""

    def __init__(self, classifier, corrections=None, path="") -> None:
        async def echo(request):
            await request.body()
            return PlainTextResponse(f"application: {request.url.path}")

        checks = middleware([], MAX_BODY_BYTES, routes=page_routes(classifier, corrections))
        checks.append(Middleware(GradioMiddleware, demo=None))
        app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])], middleware=checks)
        self.app = Starlette(routes=[Mount(path, app)]) if path else app

    def request(self, method: str, url: str, **options) -> httpx.Response:
        async def send():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://digits.example") as client:
                return await client.request(method, url, **options)

        return anyio.run(send)

    def post(self, url: str, content: bytes = b"", **options) -> httpx.Response:
        return self.request("POST", url, content=content, **options)


@pytest.fixture
def server(classifier, tmp_path):
    return Server(classifier, Corrections(tmp_path / "corrections", max_count=2))


@pytest.mark.parametrize("path", ["", "/digits"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_posted_image_is_classified(classifier, path, kind):
    response = Server(classifier, path=path).post(f"{path}/digitnet/classify", one(kind=kind))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    prediction, result = classifier(Image.open(io.BytesIO(one(kind=kind)))), response.json()
    assert (result["label"], result["blank"]) == (1, False)
    assert result["probabilities"] == pytest.approx(prediction.probabilities.tolist())
    framed = decode_image(content_of_data_uri(result["framed"]))[:, :, 0]
    assert (framed == np.rint(prediction.framed * 255)).all()
    assert result["milliseconds"] > 0


def test_no_bytes_are_an_empty_canvas(server):
    result = server.post("/digitnet/classify").json()
    assert (result["label"], result["blank"]) == (None, True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"this is not an image",
            "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF.",
        ),
        (one()[:200], "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF."),
        (one((7000, 7000)), "This picture is too large (49 megapixels; the limit is 25)."),
        (one((20000, 1)), "This picture is too long: the limit is 16,384 pixels per side."),
    ],
    ids=["text", "truncated", "megapixels", "long"],
)
def test_an_image_that_cannot_be_used_gets_a_sentence(server, content, expected):
    for url in ("/digitnet/classify", "/digitnet/read", "/digitnet/corrections?digit=3"):
        response = server.post(url, content)
        assert response.status_code == 400
        assert response.json() == {"error": expected}


def test_a_decompression_bomb_gets_a_sentence(server):
    Image.new("1", (20000, 20000)).save(buffer := io.BytesIO(), "PNG")
    response = server.post("/digitnet/classify", buffer.getvalue())
    assert response.json() == {"error": "This picture is too large (400 megapixels; the limit is 25)."}


def test_the_numbers_of_a_posted_image_are_read(server):
    page = Image.new("L", (400, 600), 255)
    for left, top in [(0, 0), (200, 300)]:
        page.paste(Image.open(io.BytesIO(one())), (left, top))
    page.paste(Image.open(io.BytesIO(one())).crop((100, 0, 180, 280)), (220, 0))
    page.save(buffer := io.BytesIO(), "PNG")
    response = server.post("/digitnet/read", buffer.getvalue())
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    result = response.json()
    assert [number["text"] for number in result["numbers"]] == ["11", "1"]
    assert all(0.5 < number["confidence"] <= 1 for number in result["numbers"])
    assert (result["width"], result["height"]) == (400, 600)
    digit = result["numbers"][1]["digits"][0]
    assert (digit["label"], digit["confidence"] > 0.5) == (1, True)
    assert digit["box"] == pytest.approx([200 + 129, 300 + 60, 200 + 150, 300 + 220], abs=4)
    assert result["milliseconds"] > 0


def test_an_empty_wide_canvas_has_no_numbers(server):
    assert server.post("/digitnet/read").json()["numbers"] == []


def test_too_many_candidates_on_a_line_get_a_sentence(server):
    page = Image.new("L", (3000, 60), 255)
    draw = ImageDraw.Draw(page)
    for index in range(140):
        draw.line([(20 + 20 * index, 12), (20 + 20 * index, 48)], fill=0, width=5)
    page.save(buffer := io.BytesIO(), "PNG")
    response = server.post("/digitnet/read", buffer.getvalue())
    expected = "There is too much on one line: at most 100 digits are read. Erase some of it."
    assert (response.status_code, response.json()) == (400, {"error": expected})


def test_a_correction_is_saved_until_the_limit(server, tmp_path):
    response = server.post("/digitnet/corrections?digit=4", one())
    assert response.status_code == 201
    assert response.json()["saved"].startswith("4/")
    assert (tmp_path / "corrections" / response.json()["saved"]).is_file()
    assert server.post("/digitnet/corrections?digit=4", one((200, 200))).status_code == 201
    response = server.post("/digitnet/corrections?digit=4", one((100, 100)))
    assert response.status_code == 507
    assert response.json()["error"].startswith("The corrections are full (the limit is 2 images)")


@pytest.mark.parametrize("query", ["", "?digit=", "?digit=10", "?digit=-1", "?digit=x", "?digit=3.0", "?digit=../../x"])
def test_a_correction_needs_a_digit(server, tmp_path, query):
    response = server.post(f"/digitnet/corrections{query}", one())
    assert response.status_code == 400
    assert "must be from 0 to 9" in response.json()["error"]
    assert not (tmp_path / "corrections").exists()


def test_an_empty_canvas_is_not_saved(server):
    response = server.post("/digitnet/corrections?digit=3")
    assert (response.status_code, response.json()) == (400, {"error": "There is no picture to save."})


def test_without_corrections_there_is_no_route_for_them(classifier):
    assert Server(classifier).post("/digitnet/corrections?digit=3", b"x").status_code == 404


@pytest.mark.parametrize("status", [403, 413])
def test_a_refused_request_gets_json(server, status):
    headers = {"Origin": "http://evil.example"} if status == 403 else {}
    response = server.post("/digitnet/classify", bytes(MAX_BODY_BYTES + (status == 413)), headers=headers)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert "default-src 'self'" in response.headers["content-security-policy"]


def test_too_many_waiting_requests_are_answered_with_503(classifier, monkeypatch):
    release = threading.Event()

    def wait(*args):
        release.wait(10)
        return {}

    monkeypatch.setattr(routes_module, "classify", wait)
    monkeypatch.setattr(routes_module, "MAX_CONCURRENT", 2)
    monkeypatch.setattr(routes_module, "MAX_WAITING", 3)
    app = Server(classifier).app
    statuses = []

    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://digits.example") as client:

            async def ask():
                response = await client.post("/digitnet/classify", content=one())
                statuses.append(response.status_code)
                if response.status_code == 503:
                    assert response.json() == {"error": "The app is busy. Try again in a moment."}
                    assert response.headers["retry-after"] == "1"

            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(ask)
                with anyio.fail_after(10):
                    while len(statuses) < 3:
                        await anyio.sleep(0.01)
                release.set()

    anyio.run(run)
    assert sorted(statuses) == [200] * 5 + [503] * 3


def test_images_may_contain_what_is_refused_in_requests_to_gradio(server):
    content = one() + b"FileData \\u0000"  # what follows the end of a PNG file is ignored
    assert server.post("/digitnet/classify", content).json()["label"] == 1
    assert server.post("/gradio_api/call/predict", content).status_code == 400
    for path in ("/gradio_api/digitnet/classify", "//digitnet/classify", "/digitnet/classify/", "/digitnet"):
        assert server.post(path, content).status_code == 400, path


def test_an_unknown_path_or_method_gets_json(server):
    for method, url, status in (("GET", "/digitnet/classify", 405), ("GET", "/digitnet/static/none.js", 404)):
        response = server.request(method, url)
        assert response.status_code == status
        assert list(response.json()) == ["error"]
    assert server.request("GET", "/other").text == "application: /other"


def test_a_versioned_file_is_cached_forever_and_another_is_revalidated(server):
    name = "page.css"
    url = static_url(name)
    assert not url.startswith("/")  # the page may be below a path
    versioned, plain = server.request("GET", f"/{url}"), server.request("GET", f"/digitnet/static/{name}")
    assert versioned.content == plain.content == (STATIC / name).read_bytes()
    assert versioned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert plain.headers["cache-control"] == "no-cache"
    etag = {"If-None-Match": plain.headers["etag"]}
    assert server.request("GET", f"/digitnet/static/{name}", headers=etag).status_code == 304


def test_the_version_changes_with_any_file(tmp_path, monkeypatch):
    monkeypatch.setattr(routes_module, "STATIC", tmp_path)
    versions = []
    for text in ("a", "b", "b"):
        (tmp_path / "main.js").write_text(text)
        routes_module.static_version.cache_clear()
        versions.append(static_url("main.js"))
    routes_module.static_version.cache_clear()
    assert versions[0] != versions[1] == versions[2]


@pytest.mark.parametrize("path", ["../routes.py", "%2e%2e/routes.py", "..%2froutes.py", "/etc/passwd", "%2fetc/passwd"])
def test_no_other_file_is_served(server, path):
    for prefix in ("/digitnet/static/", f"/{static_url('')}"):
        response = server.request("GET", prefix + path)
        assert response.status_code == 404 or "application" in response.text


def test_a_posted_image_is_explained(server, classifier):
    response = server.post("/digitnet/explain", one())
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    explanation = response.json()
    assert explanation["digit"] == 1
    probabilities = classifier(Image.open(io.BytesIO(one()))).probabilities
    assert explanation["probabilities"] == pytest.approx(probabilities.tolist(), abs=1e-4)


def test_an_empty_sketchpad_has_no_explanation(server):
    assert server.post("/digitnet/explain").json() == {"blank": True}


def test_a_file_that_is_not_an_image_is_not_explained(server):
    response = server.post("/digitnet/explain", b"not an image")
    assert response.status_code == 400
    assert response.json() == {"error": NOT_AN_IMAGE}


def test_a_model_without_activations_is_not_explained_and_the_message_names_no_directory(tmp_path, classifier):
    path = tmp_path / "my.onnx"
    path.write_bytes(classifier.content)
    response = Server(DigitClassifier(path)).post("/digitnet/explain", one())
    assert response.status_code == 404
    assert "my.activations.onnx is missing" in response.json()["error"]
    assert str(tmp_path) not in response.json()["error"]
