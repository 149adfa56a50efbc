import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier, ImageError
from digitnet.inference.images import MAX_FILE_BYTES, MAX_PIXELS, load_image
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


def bomb_png(width: int, height: int) -> bytes:
    """A small PNG whose pixels take width x height bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def variants() -> dict[str, bytes]:
    image, gray = draw_digit(), draw_digit().convert("L")
    transparent = Image.new("RGBA", image.size, (0, 0, 0, 0))
    transparent.putalpha(gray.point(lambda level: 255 - level))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed with a rotation of 90 degrees
    sixteen = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    return {
        "gray": encode_image(gray, "PNG"),
        "16 bit": encode_image(sixteen, "PNG"),
        "16 bit TIFF": encode_image(sixteen, "TIFF"),
        "1 bit": encode_image(gray.convert("1"), "PNG"),
        "palette": encode_image(image.quantize(16), "PNG"),
        "palette with transparency": encode_image(image.quantize(16), "PNG", transparency=0),
        "alpha": encode_image(transparent, "PNG"),
        "gray and alpha": encode_image(transparent.convert("LA"), "PNG"),
        "CMYK": encode_image(image.convert("CMYK"), "JPEG"),
        "first frame of a GIF": encode_image(image, "GIF", save_all=True, append_images=[draw_digit(1)]),
        "WebP": encode_image(image, "WEBP"),
        "BMP": encode_image(image, "BMP"),
        "EXIF orientation": encode_image(image.rotate(90), "JPEG", exif=exif),
    }


@pytest.mark.parametrize("kind", variants())
def test_every_common_type_of_image_is_decoded(classifier, kind):
    if kind == "palette with transparency":
        assert load_image(variants()[kind]).shape[2] == 4
    else:
        assert classifier(variants()[kind]).label == 7


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"# a text file named .png", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (encode_image(draw_digit(), "PNG")[:400], "damaged"),
        (encode_image(draw_digit(), "JPEG")[:700], "damaged"),
        (bomb_png(6000, 6000), "at most 25,000,000 pixels, and 16,384 per side, got 6000 x 6000"),
        (bomb_png(12000, 12000), "at most 25,000,000"),
        (bytes(60_000_000), "at most 50,000,000 bytes, got 60,000,000"),
    ],
    ids=["empty", "text", "svg", "half a PNG", "half a JPEG", "large", "bomb", "huge"],
)
def test_a_file_that_is_not_a_usable_image_is_refused_with_the_reason(classifier, content, expected, tmp_path):
    with pytest.raises(ImageError, match=expected):
        classifier(content)
    (tmp_path / "some.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"some\.png"):
        classifier(tmp_path / "some.png")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    assert len(bomb_png(12000, 12000)) < 30_000
    (tmp_path / "bomb.png").write_bytes(bomb_png(12000, 12000))
    program = (
        "import resource, sys; from digitnet.inference.classifier import load_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_image(sys.argv[1])\n"
        "except Exception: print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    grown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb.png")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(grown.stdout) < 20, "MB"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (np.zeros((5, 5, 2), np.uint8), r"got \(5, 5, 2\)"),
        (np.zeros((0, 5), np.uint8), r"got \(0, 5, 1\)"),
        (np.zeros((1, 20_000), np.uint8), "at most 25,000,000 pixels, and 16,384 per side, got 20000 x 1"),
        (np.ma.masked_array(np.zeros((5, 5)), True), "masked"),
        (np.zeros((5, 5), np.int32), "got int32"),
        (np.full((5, 5), np.nan), "nan"),
        (np.full((5, 5), 1.5), r"expected a float array with values in \[0, 1\], got values from 1.5 to 1.5"),
        (np.full((5, 5), -0.5, np.float32), "from -0.5"),
        (np.broadcast_to(np.uint8(0), (1, MAX_PIXELS + 1)), "at most 25,000,000"),
        (3, "got a int"),
        (None, "got a NoneType"),
    ],
)
def test_arrays_of_the_wrong_type_are_refused_with_what_was_expected(classifier, array, expected):
    with pytest.raises(ImageError, match=expected):
        classifier(array)


def test_a_missing_file_is_an_os_error(classifier):
    with pytest.raises(FileNotFoundError):
        classifier("no.png")


def test_an_image_of_12_bits_stored_as_16_is_decoded(classifier):
    twelve = Image.fromarray(np.asarray(draw_digit().convert("L")).astype(np.uint16) * 16)
    assert classifier(encode_image(twelve, "PNG")).label == 7


def test_a_damaged_file_opened_by_the_caller_is_refused(classifier, tmp_path):
    (tmp_path / "half.png").write_bytes(encode_image(draw_digit(), "PNG")[:400])
    with pytest.raises(ImageError, match="the image: "), Image.open(tmp_path / "half.png") as image:
        classifier(image)


def test_a_path_with_a_null_character_is_refused():
    with pytest.raises(ImageError, match="null character"):
        DigitClassifier()("a\0b")


def test_no_more_of_a_file_is_read_than_the_limit(monkeypatch, tmp_path):
    """Also of a pipe or a device, which never ends."""
    requested = []

    class EndlessFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def fileno(self):
            return os.open(os.devnull, os.O_RDONLY)

        def read(self, size=-1):
            requested.append(size)
            return bytes(max(size, 0))

    monkeypatch.setattr("builtins.open", lambda *args: EndlessFile())
    with pytest.raises(ImageError, match="at most 50,000,000 bytes"):
        load_image("/dev/zero")
    assert requested == [MAX_FILE_BYTES + 1]
