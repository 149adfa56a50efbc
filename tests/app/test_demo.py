"""What the sketchpad's handlers make of what a client sends: pictures, and all that is none."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.conftest import ROOT

gr = pytest.importorskip("gradio", reason="needs Gradio: pip install '.[app]'")

from starlette.applications import Starlette  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402

from digitnet import DigitClassifier  # noqa: E402
from digitnet.app.demo import (  # noqa: E402
    decode,
    describe,
    keep_correction,
    predict_for_api,
    read_for_page,
)
from digitnet.app.server import middleware  # noqa: E402


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
    "a text file named .png": (uri(b"this is no picture"), "not a picture in one of the formats"),
    "an empty file": ("data:image/png;base64,", "empty, no picture"),
    "a truncated PNG": (uri(saved(one())[:200]), "damaged"),
    "12000 x 12000 pixels in 17 KB": (uri(bomb(12000)), "at most 25,000,000 are read"),
    "SVG": (uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "not a picture in one of the formats"),
    "100 MB": ("data:image/png;base64," + "A" * 133_000_000, "133,000,022 characters; at most"),
    "80 MB that are no data URI": ("A" * 80_000_000, "80,000,000 characters; at most"),
    "no base64": ("data:image/png;base64,%%%", "base64 is damaged"),
    "/etc/passwd": ("/etc/passwd", "'/etc/passwd'; wanted a data uri"),
    "../": ("../../etc/passwd", "wanted a data uri"),
    "a file of the app's": (__file__, "wanted a data uri"),
    "file://": ("file:///etc/passwd", "wanted a data uri"),
    "http URL": ("http://127.0.0.1:1/a.png", "wanted a data uri"),
    "a file payload without meta": ({"path": "/etc/passwd"}, "came as dict; wanted a data uri"),
    "a file payload": ({"path": __file__, "meta": {"_type": "gradio.FileData"}}, "came as dict"),
    "a number": (7, "came as int"),
    "a list": ([1, 2], "came as list"),
    "true": (True, "came as bool"),
}
each_bad_picture = pytest.mark.parametrize("name", BAD)


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


@each_bad_picture
def test_the_page_says_what_is_wrong_with_what_is_no_picture(classifier, name):
    sent, says = BAD[name]
    answer = read_for_page(classifier, sent)
    assert answer.keys() == {"error"}
    assert says in answer["error"].lower()
    assert len(answer["error"]) < 300
    assert read_for_page(classifier, uri(saved(one())))["label"] == 1  # and goes on


@each_bad_picture
def test_the_api_says_it_too(classifier, name):
    sent, says = BAD[name]
    with pytest.raises(gr.Error) as error:
        predict_for_api(classifier, sent)
    assert says in error.value.message.lower()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "I;16"])
def test_pictures_of_every_ordinary_kind_are_read(classifier, mode):
    image = Image.fromarray(np.asarray(one()).astype(np.uint16) * 257) if mode == "I;16" else one(mode)
    assert read_for_page(classifier, uri(saved(image)))["label"] == 1


def test_other_formats_are_read_and_an_animated_gif_by_its_first_picture(classifier):
    assert read_for_page(classifier, uri(saved(one("CMYK"), "JPEG"), "image/jpeg"))["label"] == 1
    blank = Image.new("L", (280, 280), 255)
    gif = saved(one(), "GIF", save_all=True, append_images=[blank])
    assert read_for_page(classifier, uri(gif, "image/gif"))["label"] == 1


def test_a_large_picture_is_shrunk_before_it_is_read(classifier):
    large = one("RGB").resize((4800, 4800))
    assert decode(uri(saved(large))).shape == (1600, 1600, 3)
    assert decode(uri(saved(large.convert("L")))).shape == (1600, 1600, 1)
    assert read_for_page(classifier, uri(saved(large)))["label"] == 1


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_pad_is_blank_and_no_error(classifier, nothing):
    answer = read_for_page(classifier, nothing)
    assert answer["blank"]
    assert answer["label"] is None
    assert answer["probabilities"] == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("picture", [Image.new("L", (1, 1)), Image.new("L", (9, 9), 255), Image.new("L", (90, 70), 0)])
def test_one_pixel_all_white_and_all_black_are_blank(classifier, picture):
    assert read_for_page(classifier, uri(saved(picture)))["blank"]


def test_what_the_network_sees_is_an_exact_28_by_28_picture(classifier):
    answer = read_for_page(classifier, uri(saved(one())))
    framed = classifier(one()).framed
    assert (decode(answer["seen"])[:, :, 0] == np.rint(framed * 255)).all()


def test_the_api_gives_what_the_classifier_gives(classifier):
    answer, prediction = predict_for_api(classifier, uri(saved(one()))), classifier(one())
    assert answer["label"] == prediction.label
    assert answer["probabilities"] == pytest.approx(prediction.probabilities.tolist())


def test_the_api_wants_a_picture(classifier):
    with pytest.raises(gr.Error, match="No picture came"):
        predict_for_api(classifier, "")


def test_a_correction_is_kept_as_the_picture_it_was(tmp_path, classifier):
    kept = keep_correction(tmp_path / "corrections", [uri(saved(one())), 7])["kept"]
    assert (tmp_path / "corrections" / "7").iterdir()
    assert (np.asarray(Image.open(kept)) == np.asarray(one())).all()
    assert kept.startswith(str(tmp_path / "corrections" / "7"))


def test_of_two_corrections_of_one_picture_the_last_counts(tmp_path):
    other = keep_correction(tmp_path, [uri(saved(one().transpose(Image.Transpose.ROTATE_90))), 4])["kept"]
    for digit in (4, 7, 7):
        kept = keep_correction(tmp_path, [uri(saved(one())), digit])["kept"]
    assert sorted(map(str, tmp_path.rglob("*.png"))) == sorted([other, kept])


@pytest.mark.parametrize(
    "sent",
    [None, 3, [], ["x"], [None, 3], ["", 3], [uri(b"x"), 3]]
    + [[uri(saved(one())), digit] for digit in (10, -1, "3", 3.0, True, None, "../../x")],
)
def test_what_is_no_correction_is_not_kept(tmp_path, sent):
    assert "error" in keep_correction(tmp_path / "corrections", sent)
    assert not (tmp_path / "corrections").exists()


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "corrections").write_text("a file")
    assert "Not kept" in keep_correction(tmp_path / "corrections", [uri(saved(one())), 3])["error"]


def test_the_page_says_which_model_it_runs(classifier):
    assert describe(classifier).startswith("digitnet.onnx (")
    assert "of MNIST's test set" in describe(classifier)
    for metadata in ({}, {"test_accuracy": "unknown"}):
        assert "MNIST" not in describe(SimpleNamespace(path=classifier.path, metadata=metadata))


def answer_markup(corrections: str) -> str:
    """Of the page's part that offers corrections; in a process of its own, since Gradio leaves an event loop open."""
    program = (
        "import sys; from pathlib import Path; from digitnet import DigitClassifier\n"
        "from digitnet.app.demo import build_demo\n"
        "demo = build_demo(DigitClassifier(), Path(sys.argv[1]) if sys.argv[1] else None)\n"
        "print(*(block.html_template for block in demo.blocks.values() if hasattr(block, 'html_template')))"
    )
    command = [sys.executable, "-c", program, corrections]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_without_corrections_the_page_does_not_offer_them():
    assert 'aria-label="Was it wrong?" hidden' in answer_markup("")
    assert 'aria-label="Was it wrong?" >' in answer_markup("corrections")


def test_the_folders_name_is_text_and_no_template():
    assert "in a&#36;&#123;1}. " in answer_markup("a${1}")


def test_the_app_imports_no_torch():
    program = "import sys, app; assert not {'torch', 'torchvision', 'lightning', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


# --- serve.py ---------------------------------------------------------------------------------------------------------


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client():
    httpx = pytest.importorskip("httpx")

    def make(hosts=()):
        app = Starlette(
            routes=[Route("/", echo, methods=["GET", "POST"])], middleware=middleware(hosts, most_body=1000)
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


def test_a_larger_body_is_refused_whether_it_says_so_or_not(client):
    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    for content in (b"x" * 1001, chunks()):
        answer = ask(client(), content=content)
        assert answer.status_code == 413
        assert "1,000 bytes" in answer.text


def test_every_answer_carries_a_content_policy(client):
    assert "default-src 'self'" in ask(client()).headers["content-security-policy"]


def test_other_hosts_get_no_answer_where_hosts_are_named(client):
    assert ask(client(["digits.example"])).status_code == 200
    assert ask(client(["other.example"])).status_code == 400
