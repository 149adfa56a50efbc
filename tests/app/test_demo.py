"""The handlers of the sketchpad, with images and with everything else that a client may send."""

import base64
import io
import re
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.conftest import ROOT
from tests.images import draw_digit

gr = pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

from starlette.applications import Starlette  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402

from digitnet import ConfigError, DigitClassifier  # noqa: E402
from digitnet.app.demo import build_demo, describe, predict_for_api  # noqa: E402
from digitnet.app.server import middleware  # noqa: E402
from digitnet.app.service import classify, content_of_data_uri, decode_image  # noqa: E402
from digitnet.inference.classifier import released_model_path  # noqa: E402


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one(mode: str = "L") -> Image.Image:
    image = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(image).line([(140, 60), (138, 220)], fill=0, width=20)
    return image.convert(mode)


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels in a few KB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BAD = {
    "a text file named .png": (uri(b"this is not an image"), "not an image in one of the formats"),
    "an empty file": ("data:image/png;base64,", "the file is empty"),
    "a truncated PNG": (uri(saved(one())[:200]), "damaged"),
    "12000 x 12000 pixels in 17 KB": (uri(bomb(12000)), "at most 25,000,000 pixels"),
    "SVG": (uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "not an image in one of the formats"),
    "100 MB": ("data:image/png;base64," + "A" * 133_000_000, "characters, got 133,000,022"),
    "80 MB without a prefix": ("A" * 80_000_000, "characters, got 80,000,000"),
    "not base64": ("data:image/png;base64,%%%", "base64 is damaged"),
    "/etc/passwd": ("/etc/passwd", "expected a data uri (data:image/png;base64,...), got '/etc/passwd'"),
    "../": ("../../etc/passwd", "expected a data uri"),
    "a file of the app's": (__file__, "expected a data uri"),
    "file://": ("file:///etc/passwd", "expected a data uri"),
    "http URL": ("http://127.0.0.1:1/a.png", "expected a data uri"),
    "a file payload without meta": ({"path": "/etc/passwd"}, "got a dict"),
    "a file payload": ({"path": __file__, "meta": {"_type": "gradio.FileData"}}, "got a dict"),
    "a number": (7, "got a int"),
    "a list": ([1, 2], "got a list"),
    "true": (True, "got a bool"),
}
each_bad_image = pytest.mark.parametrize("name", BAD)


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


@each_bad_image
def test_the_api_reports_why_an_input_is_not_an_image(classifier, name):
    sent, expected = BAD[name]
    with pytest.raises(gr.Error) as error:
        predict_for_api(classifier, sent)
    assert expected in error.value.message.lower()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "I;16"])
def test_images_of_every_common_type_are_classified(classifier, mode):
    image = Image.fromarray(np.asarray(one()).astype(np.uint16) * 257) if mode == "I;16" else one(mode)
    assert classify(classifier, saved(image))["label"] == 1


def test_other_formats_are_classified_and_an_animated_gif_by_its_first_image(classifier):
    assert classify(classifier, saved(one("CMYK"), "JPEG"))["label"] == 1
    blank = Image.new("L", (280, 280), 255)
    gif = saved(one(), "GIF", save_all=True, append_images=[blank])
    assert classify(classifier, gif)["label"] == 1


def test_a_large_image_is_reduced(classifier):
    large = one("RGB").resize((4800, 4800))
    assert decode_image(saved(large)).shape == (1600, 1600, 3)
    assert decode_image(saved(large.convert("L"))).shape == (1600, 1600, 1)
    assert classify(classifier, saved(large))["label"] == 1


@pytest.mark.parametrize("size", [(8000, 24), (24, 8000)])
def test_a_digit_on_a_long_strip_is_recognized(classifier, size):
    strip = Image.new("L", size, 255)
    strip.paste(draw_digit(7).convert("L").resize((24, 24)), (size[0] // 2 - 12, size[1] // 2 - 12))
    assert decode_image(saved(strip)).shape == (size[1], size[0], 1)
    assert classify(classifier, saved(strip))["label"] == 7


def test_an_empty_sketchpad_is_blank_and_not_an_error(classifier):
    response = classify(classifier, b"")
    assert response["blank"]
    assert response["label"] is None
    assert response["probabilities"] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("image", [Image.new("L", (1, 1)), Image.new("L", (9, 9), 255), Image.new("L", (90, 70), 0)])
def test_one_pixel_all_white_and_all_black_are_blank(classifier, image):
    assert classify(classifier, saved(image))["blank"]


def test_the_framed_image_is_sent_exactly(classifier):
    response = classify(classifier, saved(one()))
    framed = classifier(one()).framed
    assert (decode_image(content_of_data_uri(response["framed"]))[:, :, 0] == np.rint(framed * 255)).all()


def test_the_api_predicts_as_the_classifier(classifier):
    response, prediction = predict_for_api(classifier, uri(saved(one()))), classifier(one())
    assert response["label"] == prediction.label
    assert response["probabilities"] == pytest.approx(prediction.probabilities.tolist())


def test_the_api_requires_an_image(classifier):
    with pytest.raises(gr.Error, match="got no image"):
        predict_for_api(classifier, "")


def test_a_model_that_does_not_take_any_image_is_refused():
    for name in ("digitnet-28.onnx", "digitnet-280.onnx"):
        with pytest.raises(ConfigError, match=f"needs a model that takes images of any size; .*{name} does not"):
            build_demo(DigitClassifier(released_model_path().with_name(name)))


def test_the_page_describes_the_model(classifier):
    assert describe(classifier).startswith("digitnet.onnx (")
    assert re.search(r", 99\.\d\d\N{NO-BREAK SPACE}% accuracy on MNIST's test set$", describe(classifier))
    for metadata in ({}, {"test_accuracy": "unknown"}):
        assert "MNIST" not in describe(SimpleNamespace(path=classifier.path, metadata=metadata))


def script_of_page(corrections: str) -> str:
    """Return the script that starts the page, from a process of its own, because Gradio leaves an event loop open."""
    program = (
        "import sys; from pathlib import Path; from digitnet import DigitClassifier\n"
        "from digitnet.app.corrections import Corrections; from digitnet.app.demo import build_demo\n"
        "demo = build_demo(DigitClassifier(), Corrections(Path(sys.argv[1])) if sys.argv[1] else None)\n"
        "print(*(block.js_on_load for block in demo.blocks.values() if hasattr(block, 'js_on_load')))"
    )
    command = [sys.executable, "-c", program, corrections]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_page_knows_whether_and_where_corrections_are_saved():
    assert "canSave: false" in script_of_page("")
    script = script_of_page('a"`${1}</script>')
    assert "canSave: true" in script
    assert r'"directory": "a\"`${1}</script>/"' in script  # as in a string of JavaScript


@pytest.mark.slow
def test_the_app_imports_no_torch():
    program = "import sys, app; assert not {'torch', 'torchvision', 'lightning', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


# --- Request checks ---


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client():
    httpx = pytest.importorskip("httpx")

    def make(hosts=(), **options):
        app = Starlette(
            routes=[Route("/", echo, methods=["GET", "POST"])],
            middleware=middleware(hosts, max_body_bytes=1000, **options),
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://digits.example")

    return make


def ask(client, **options):
    import anyio

    async def send():
        async with client:
            return await client.post("/", **options)

    return anyio.run(send)


def test_a_body_within_the_limit_passes(client):
    assert ask(client(), content=b"x" * 1000).text == "1000"


def test_a_larger_body_is_refused_whether_its_size_is_declared_or_not(client):
    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    for content in (b"x" * 1001, chunks()):
        response = ask(client(), content=content)
        assert response.status_code == 413
        assert "1,000 bytes" in response.text


def test_every_response_has_a_content_security_policy(client):
    headers = ask(client()).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["content-security-policy"].endswith("frame-ancestors 'self'")
    assert headers["referrer-policy"] == "same-origin"
    assert headers["permissions-policy"].startswith("camera=(self)")


def test_pages_of_a_named_site_may_show_the_app_in_a_frame(client):
    headers = ask(client(frame_ancestors=["https://example.org"])).headers
    assert headers["content-security-policy"].endswith("frame-ancestors 'self' https://example.org")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Origin": "http://digits.example"}, 200),
        ({"Origin": "http://digits.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://proxy.example:8443"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://digits.example:9999"}, 403),  # another port of the same host
        ({"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}, 403),  # a script can set it
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://digits.example", "Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_only_pages_of_the_app_may_send_requests(client, headers, status):
    assert ask(client(["digits.example", "proxy.example"]), headers=headers).status_code == status


def test_loopback_names_do_not_allow_pages_of_other_ports(client):
    app = client(["127.0.0.1", "localhost", "digits.example"])
    assert ask(app, headers={"Origin": "http://localhost"}).status_code == 403


def test_other_hosts_are_refused_if_hosts_are_named(client):
    assert ask(client(["digits.example"])).status_code == 200
    assert ask(client(["other.example"])).status_code == 400
