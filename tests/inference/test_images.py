import gzip
import io
import os
import pathlib
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, features

from digitnet import DigitClassifier, ImageError
from digitnet.inference.arrays import MAX_PIXELS
from digitnet.inference.images import FORMATS, MAX_FILE_BYTES, load_image
from digitnet.inference.sources import find_chunks
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image

HEIC = bytes.fromhex("0000001c6674797068656963000000006d6966316865696300000000")  # its first box

needs_avif = pytest.mark.skipif(
    "AVIF" not in FORMATS or not features.check("avif"), reason="needs Pillow 11.3 or later: pip install -U pillow"
)


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


def tiff_of_64_bits() -> bytes:
    """The header of a TIFF of a kind that Pillow does not decode."""
    bits_per_sample = struct.Struct("<HHII")  # tag, type, count, value
    content = encode_image(draw_digit().convert("L"), "TIFF")
    assert bits_per_sample.pack(258, 3, 1, 8) in content
    return content.replace(bits_per_sample.pack(258, 3, 1, 8), bits_per_sample.pack(258, 3, 1, 64))


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
        "float TIFF in [0, 1]": encode_image(Image.fromarray(np.asarray(gray, np.float32) / 255), "TIFF"),
        "float TIFF in [0, 255]": encode_image(Image.fromarray(np.asarray(gray, np.float32)), "TIFF"),
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
        (HEIC, "HEIC, which is not decoded; convert it to JPEG, or install pillow-heif and pass the PIL image"),
        (tiff_of_64_bits(), "a TIFF that is damaged or not decoded; save it in gray or RGB with 8 or 16 bits"),
        (encode_image(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"), "nan"),
        (encode_image(draw_digit(), "PNG")[:400], "damaged"),
        (encode_image(draw_digit(), "JPEG")[:700], "damaged"),
        (bomb_png(6000, 6000), "at most 25,000,000 pixels, and 16,384 per side, got 6000 x 6000"),
        (bomb_png(12000, 12000), "at most 25,000,000"),
        (bytes(60_000_000), "at most 50,000,000 bytes, got 60,000,000"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "HEIC",
        "TIFF of 64 bits",
        "TIFF of NaN",
        "half a PNG",
        "half a JPEG",
        "large",
        "bomb",
        "huge",
    ],
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
        (np.zeros((1, 20_000), np.uint8), "at most 25,000,000 pixels, and 16,384 per side, got 20000 x 1"),
        (np.broadcast_to(np.uint8(0), (1, MAX_PIXELS + 1)), "at most 25,000,000"),
        (3, "got an int"),
        ([3], "got an int"),
        ([[3]], "got a list"),
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


@needs_avif
def test_an_avif_file_is_decoded_within_the_limits(classifier, tmp_path):
    draw_digit().save(tmp_path / "seven.avif")
    assert [chunk.names for chunk in find_chunks([str(tmp_path)])] == [[str(tmp_path / "seven.avif")]]
    assert classifier(tmp_path / "seven.avif").label == 7
    exif = Image.Exif()
    exif[0x0112] = 6
    assert classifier(encode_image(draw_digit().rotate(90), "AVIF", exif=exif)).label == 7
    with pytest.raises(ImageError, match=r"damaged|not an image"):
        classifier(encode_image(draw_digit(), "AVIF")[:400])
    with pytest.raises(ImageError, match="16,384 per side, got 16390 x 8"):
        classifier(encode_image(Image.new("L", (16_390, 8)), "AVIF", speed=10))


def test_heic_is_classified_as_a_pil_image(classifier):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install pillow-heif")
    content = io.BytesIO()
    pillow_heif.from_pillow(draw_digit()).save(content)
    with pytest.raises(ImageError, match="HEIC"):
        classifier(content)
    assert classifier(pillow_heif.open_heif(content.getvalue()).to_pillow()).label == 7


def test_any_path_and_any_file_object_is_accepted(classifier, tmp_path):
    path = tmp_path / "seven.png"
    draw_digit().save(path)
    (entry,) = os.scandir(tmp_path)
    (entry_of_bytes,) = os.scandir(os.fsencode(tmp_path))
    for image in (entry, entry_of_bytes, pathlib.PurePath(path)):
        assert classifier(image).label == 7
    written = io.BytesIO()
    draw_digit().save(written, "PNG")  # its position is at the end
    with open(path, "rb") as file, open(path, "rb", buffering=0) as unbuffered, gzip.open(gzipped(path)) as compressed:
        for image in (written, file, unbuffered, compressed):
            assert classifier(image).label == 7
        assert [prediction.label for prediction in classifier([file, written])] == [7, 7]
    assert not written.closed


def gzipped(path):
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())
    return f"{path}.gz"


def test_a_file_object_without_positions_is_read_in_pieces(classifier):
    descriptor, other = os.pipe()
    content = encode_image(draw_digit(7, 600), "BMP")  # more than a pipe holds
    thread = threading.Thread(target=lambda: (os.write(other, content), os.close(other)))
    thread.start()
    with open(descriptor, "rb", buffering=0) as pipe:
        assert classifier(pipe).label == 7
    thread.join()


class CountingFile(io.RawIOBase):
    """An endless file that counts the bytes that were read."""

    count = 0

    def read(self, size=-1):
        assert size >= 0
        self.count += size
        return bytes(size)


def test_no_more_of_a_file_object_is_read_than_the_limit(classifier):
    file = CountingFile()
    with pytest.raises(ImageError, match="the file object: expected at most 50,000,000 bytes"):
        classifier(file)
    assert file.count == MAX_FILE_BYTES + 1


class RawFile(io.RawIOBase):
    """A file that implements only what io.RawIOBase requires."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readinto(self, buffer) -> int:
        return self.content.readinto(buffer)


class FileOfViews:
    """A file of a library whose `read` returns something like bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def read(self, size: int) -> memoryview:
        return memoryview(self.content.read(size))


@pytest.mark.parametrize("kind", [RawFile, FileOfViews])
def test_a_file_object_needs_no_buffer_and_no_positions(classifier, kind):
    assert classifier(kind(encode_image(draw_digit(), "PNG"))).label == 7


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("r", r"expected a file in binary mode, got text mode; open it with open\(path, 'rb'\)"),
        ("w", "expected a file in binary mode, got text mode"),
        ("wb", r"expected a file open for reading, got one open for writing; close it, and open it with open\("),
        ("ab", "expected a file open for reading, got one open for writing"),
    ],
)
def test_a_file_that_was_opened_in_another_mode_is_refused_with_the_fix(classifier, tmp_path, mode, expected):
    draw_digit().save(tmp_path / "seven.png")
    with open(tmp_path / "seven.png", mode) as file, pytest.raises(ImageError, match=f"^the file object: {expected}"):
        classifier(file)
    if mode == "wb":
        with open(tmp_path / "seven.png", "wb", buffering=0) as file, pytest.raises(ImageError, match=expected):
            classifier(file)


def test_a_file_that_is_open_for_reading_and_writing_is_accepted(classifier, tmp_path):
    with open(tmp_path / "seven.png", "w+b") as file:
        draw_digit().save(file, "PNG")
        assert classifier(file).label == 7


def test_a_file_object_that_gives_no_bytes_is_refused_with_the_reason(classifier):
    with pytest.raises(ImageError, match="text mode"):
        classifier(io.StringIO("text"))
    with pytest.raises(ImageError, match="the file object: the file is empty"):
        classifier(io.BytesIO())
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ImageError, match="closed file"):
        classifier(closed)
    descriptor, other = os.pipe()
    os.set_blocking(descriptor, False)
    with open(descriptor, "rb", buffering=0) as pipe, pytest.raises(ImageError, match="non-blocking and has no data"):
        classifier(pipe)
    os.close(other)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/seven.png",
        pathlib.Path("https://example.com/seven.png"),
        "HTTP://example.com/seven.png",
        "file:///seven.png",
        "data:image/png;base64," + "A" * 10_000,
    ],
    ids=str,
)
def test_a_url_is_refused_and_not_opened(classifier, url):
    with pytest.raises(ImageError, match=r"URL '.*'; (download|decode) it first, .*: digitnet opens no URL") as caught:
        classifier(url)
    assert len(str(caught.value)) < 200
    assert ("decode it" in str(caught.value)) == str(url).startswith("data:")


def test_a_file_whose_name_looks_like_a_url_is_opened(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_digit().save("data:seven.png")
    assert classifier("data:seven.png").label == 7
    with pytest.raises(FileNotFoundError):
        classifier("database.png")


LEVELS = np.asarray(draw_digit(7, 280).convert("L")).astype(np.int32)


@pytest.mark.parametrize("factor", [1, 16, 257])
def test_an_image_of_32_bit_integers_with_16_bit_content_is_classified_like_one_of_16_bits(factor):
    image, sixteen = Image.fromarray(LEVELS * factor), Image.fromarray((LEVELS * factor).astype(np.uint16))
    assert image.mode == "I"
    for stored in (image, encode_image(image, "TIFF"), encode_image(image, "PPM")):
        np.testing.assert_array_equal(load_image(stored), load_image(sixteen))
    assert load_image(image).max() >= 254


@pytest.mark.parametrize(("levels", "expected"), [(LEVELS * 258, "0 to 65,790"), (LEVELS - 1, "-1 to 254")])
def test_an_image_of_other_32_bit_integers_is_refused_in_one_line(classifier, levels, expected):
    message = (
        f"^the image: expected gray levels from 0 to 65,535, got 32-bit integers from {expected}; scale them to 16"
    )
    with pytest.raises(ImageError, match=message):
        classifier(Image.fromarray(levels))
    with pytest.raises(ImageError, match=r"^the bytes: expected gray levels") as caught:
        classifier(encode_image(Image.fromarray(levels), "TIFF"))
    assert "\n" not in str(caught.value)


def test_gray_with_premultiplied_alpha_is_as_gray_with_alpha():
    image = Image.new("LA", (8, 8), (60, 128))
    np.testing.assert_allclose(load_image(image.convert("La")), load_image(image), atol=1)
