import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import digitnet
from digitnet import DigitClassifier, ImageError, ModelError
from digitnet.inference.classifier import MAX_PIXELS, load_image, released_model_path
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image


@pytest.fixture(scope="module")
def read():
    return DigitClassifier()


def bomb_png(width: int, height: int) -> bytes:
    """A small PNG whose pixels take width x height bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_it_reads_a_path_bytes_an_image_and_arrays_alike(read, tmp_path):
    image = draw_digit()
    image.save(tmp_path / "seven.png")
    grey = np.asarray(image.convert("L"))
    for picture in [
        tmp_path / "seven.png", str(tmp_path / "seven.png"), encode_image(image, "PNG"), image, np.asarray(image), grey,
        grey[:, :, None], grey / 255, (grey / 255).astype(np.float32), 255 - grey,
    ]:  # fmt: skip
        prediction = read(picture)
        assert prediction.label == 7
        assert prediction.probabilities.shape == (10,)
        assert prediction.confidence == prediction.probabilities.max()
        assert prediction.framed.shape == (28, 28)


def test_a_list_reads_as_its_pictures_one_by_one_whatever_their_sizes(read):
    pictures = [draw_digit(7), draw_digit(1), draw_digit(7, 61), np.zeros((9, 9), np.uint8), draw_digit(1, 61)]
    together = read(pictures)
    assert [prediction.label for prediction in together] == [7, 1, 7, None, 1]
    for picture, prediction in zip(pictures, together, strict=True):
        np.testing.assert_allclose(read(picture).probabilities, prediction.probabilities, atol=1e-6)
    assert read([]) == []


def test_a_blank_picture_is_no_digit(read):
    prediction = read(Image.new("L", (50, 40), 255))
    assert prediction.label is None
    assert prediction.confidence == pytest.approx(0.1)


def variants() -> dict[str, bytes]:
    image, grey = draw_digit(), draw_digit().convert("L")
    transparent = Image.new("RGBA", image.size, (0, 0, 0, 0))
    transparent.putalpha(grey.point(lambda level: 255 - level))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "grey": encode_image(grey, "PNG"),
        "16 bit": encode_image(sixteen, "PNG"),
        "16 bit TIFF": encode_image(sixteen, "TIFF"),
        "1 bit": encode_image(grey.convert("1"), "PNG"),
        "palette": encode_image(image.quantize(16), "PNG"),
        "palette with transparency": encode_image(image.quantize(16), "PNG", transparency=0),
        "alpha": encode_image(transparent, "PNG"),
        "grey and alpha": encode_image(transparent.convert("LA"), "PNG"),
        "CMYK": encode_image(image.convert("CMYK"), "JPEG"),
        "first frame of a GIF": encode_image(image, "GIF", save_all=True, append_images=[draw_digit(1)]),
        "WebP": encode_image(image, "WEBP"),
        "BMP": encode_image(image, "BMP"),
        "a camera held sideways": encode_image(image.rotate(90), "JPEG", exif=exif),
    }


@pytest.mark.parametrize("kind", variants())
def test_it_reads_every_ordinary_kind_of_picture(read, kind):
    if kind == "palette with transparency":
        assert load_image(variants()[kind]).shape[2] == 4
    else:
        assert read(variants()[kind]).label == 7


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"# a text file named .png", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (encode_image(draw_digit(), "PNG")[:400], "damaged"),
        (encode_image(draw_digit(), "JPEG")[:700], "damaged"),
        (bomb_png(6000, 6000), "6000 x 6000 pixels; at most 25,000,000"),
        (bomb_png(12000, 12000), "at most 25,000,000"),
        (bytes(60_000_000), "60,000,000 bytes; at most"),
    ],
    ids=["empty", "text", "svg", "half a PNG", "half a JPEG", "large", "bomb", "huge"],
)
def test_what_is_no_picture_is_refused_with_the_reason(read, content, says, tmp_path):
    with pytest.raises(ImageError, match=says):
        read(content)
    (tmp_path / "some.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"some\.png"):
        read(tmp_path / "some.png")


def test_a_bomb_is_refused_before_its_pixels_are_decoded(tmp_path):
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
    ("array", "says"),
    [
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
        (np.zeros((0, 5), np.uint8), r"shape \(0, 5, 1\)"),
        (np.zeros((1, 20_000), np.uint8), "20000 x 1 pixels; at most 25,000,000 are read, and 16,384 on a side"),
        (np.ma.masked_array(np.zeros((5, 5)), True), "masked"),
        (np.zeros((5, 5), np.int32), "dtype int32"),
        (np.full((5, 5), np.nan), "nan"),
        (np.full((5, 5), 1.5), r"from 1.5 to 1.5; wanted \[0, 1\]"),
        (np.full((5, 5), -0.5, np.float32), "from -0.5"),
        (np.broadcast_to(np.uint8(0), (1, MAX_PIXELS + 1)), "at most 25,000,000"),
        (3, "a picture is a int"),
        (None, "a picture is a NoneType"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused_with_what_was_met_and_wanted(read, array, says):
    with pytest.raises(ImageError, match=says):
        read(array)


def test_the_place_in_the_list_of_a_bad_picture_is_said(read):
    with pytest.raises(ImageError, match="picture 1 of the list"):
        read([draw_digit(), b"", draw_digit()])


def test_a_missing_picture_is_an_os_error(read):
    with pytest.raises(FileNotFoundError):
        read("no.png")


def test_a_picture_of_12_bits_stored_as_16_is_read(read):
    twelve = Image.fromarray(np.asarray(draw_digit().convert("L")).astype(np.uint16) * 16)
    assert read(encode_image(twelve, "PNG")).label == 7


def test_a_damaged_file_opened_by_the_caller_is_refused(read, tmp_path):
    (tmp_path / "half.png").write_bytes(encode_image(draw_digit(), "PNG")[:400])
    with pytest.raises(ImageError, match="the image: "), Image.open(tmp_path / "half.png") as image:
        read(image)


def other_shapes() -> bytes:
    """A model whose inputs and outputs have the right names and nothing else."""
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", "C"])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("probabilities", "label", "framed")]
    nodes = [helper.make_node("Cast", ["image"], [output.name], to=TensorProto.FLOAT) for output in outputs]
    graph = helper.make_graph(nodes, "other", [image], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def foreign_model() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "other", [value[0]], [value[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged or not an ONNX model"),
        (b"text", "damaged or not an ONNX model"),
        (digitnet.DigitClassifier().path.read_bytes()[:100_000], "damaged or not an ONNX model"),
        (other_shapes(), "is another model: it gives"),
        (foreign_model(), "is another model: it takes {'a': 'tensor\\(float\\)'}"),
    ],
)
def test_a_model_that_is_not_ours_is_refused(tmp_path, content, says):
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        DigitClassifier(tmp_path / "some.onnx")
    assert "some.onnx" in str(caught.value)


def test_a_missing_model_says_how_to_make_one():
    with pytest.raises(ModelError, match=r"No model no\.onnx\. Make one first: python export\.py"):
        DigitClassifier("no.onnx")


def test_a_folder_for_a_model_is_named_as_one(tmp_path):
    with pytest.raises(ModelError, match=r"is a folder; wanted a model file, for example .*digitnet\.onnx"):
        DigitClassifier(tmp_path)


def test_threads_that_cannot_work_are_refused():
    with pytest.raises(ModelError, match="threads is 0"):
        DigitClassifier(threads=0)


def test_many_threads_read_at_once_and_get_their_own_answers(read):
    pictures = [draw_digit(7), draw_digit(1)]
    wanted = [read(picture).probabilities for picture in pictures]
    wrong = []

    def work(index):
        for _ in range(50):
            if not np.array_equal(read(pictures[index % 2]).probabilities, wanted[index % 2]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_pickled_it_reads_the_same_whatever_has_become_of_the_file(read, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(released_model_path().read_bytes())
    pickled = pickle.dumps(DigitClassifier(path))
    path.unlink()
    copy = pickle.loads(pickled)
    assert copy.path == path
    assert copy.metadata == read.metadata
    np.testing.assert_array_equal(copy(draw_digit()).probabilities, read(draw_digit()).probabilities)


def test_reading_imports_no_torch(tmp_path):
    draw_digit().save(tmp_path / "seven.png")
    program = (
        "import sys, digitnet; print(digitnet.DigitClassifier()(sys.argv[1]).label,"
        "sorted({'torch', 'lightning', 'torchvision', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "seven.png")],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.stdout.strip() == "7 []"


def test_a_damaged_model_says_nothing_on_stdout(tmp_path, capfd):
    content = bytearray(released_model_path().read_bytes())
    for start in range(0, 4000, 40):
        content[start] ^= 0x55
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(ModelError):
        DigitClassifier(tmp_path / "damaged.onnx")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("threads", ["2", 1.5, None])
def test_threads_that_are_no_whole_number_are_refused(threads):
    with pytest.raises(ModelError, match="whole number"):
        DigitClassifier(threads=threads)


def test_a_path_with_a_null_character_is_refused():
    with pytest.raises(ImageError, match="null character"):
        DigitClassifier()("a\0b")
