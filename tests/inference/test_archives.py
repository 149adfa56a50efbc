import gzip
import io
import os
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier
from digitnet.inference.archives import read_array
from digitnet.inference.batch import predict_chunks
from digitnet.inference.sources import find_chunks
from tests.conftest import encode_idx
from tests.images import draw_digit, encode_image
from tests.inference.conftest import run


@pytest.mark.parametrize("name", ["none.npy", "none.tar"])
def test_a_file_without_images_is_an_error(tmp_path, name, capsys):
    if name == "none.npy":
        np.save(tmp_path / name, np.zeros((0, 28, 28), np.uint8))
    else:
        tarfile.open(tmp_path / name, "w").close()
    assert run(tmp_path / name) == 1
    assert re.search(rf"error: .*{name}: .*(no|without) images", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "damaged"),
        (b"\x00\x00\x0d\x03" + b"\x00\x00\x00\x01" * 3, "expected an IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x09\xff\xff\xff\xff\xff\xff\xff\xff", "16,384 per side, got 4294967295 x"),
        (
            b"\x00\x00\x08\x03\x00\x00\x00\x09\x00\x00\x00\x1c\x00\x00\x00\x1c" + bytes(784),
            "expected 9 images as in its header, got 1",
        ),
    ],
)
def test_an_idx_file_with_a_wrong_header_is_an_error(tmp_path, content, expected):
    path = tmp_path / "bad-ubyte"
    path.write_bytes(content)
    chunks = list(find_chunks([str(path)]))
    assert expected in str(chunks[-1].images[0])


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([print], dtype=object), allow_pickle=True)
    (chunk,) = find_chunks([str(tmp_path / "bad.npy")])
    assert "object" in str(chunk.images[0])


def packed(images):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for i, image in enumerate(images):
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))
    return content.getvalue()


def test_a_truncated_or_damaged_tar_file_is_an_error_after_its_images(tmp_path, capsys):
    whole = packed([encode_image(draw_digit(1, 28), "PNG")] * 4)
    third = len(packed([encode_image(draw_digit(1, 28), "PNG")] * 2).rstrip(b"\0")) // 512 * 512 + 512
    assert whole[third : third + 5] == b"2.png"
    broken = {
        "edge": whole[:third],
        "header": whole[: third + 100],
        "image": whole[: third + 600],
        "byte": whole[: third + 3] + b"?" + whole[third + 4 :],
    }
    for name, content in broken.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
        assert run(tmp_path / f"{name}.tar", "--format", "csv") == 1
        printed = capsys.readouterr()
        assert printed.out.count(".png,1,") == 2, name
        assert f"{name}.tar: damaged" in printed.err


def test_links_in_a_tar_file_have_a_record(tmp_path, capsys):
    draw_digit(1, 28).save(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
        tar.add(tmp_path / "b.png", "b.png")
    assert run(tmp_path / "c.tar", "--format", "csv") == 1
    printed = capsys.readouterr()
    assert "c.tar/a.png,1," in printed.out
    assert "c.tar/b.png: expected a file, got a link or device; use tar --hard-dereference" in printed.err


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28), "expected an array of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 (gray), 3 (RGB)"),
        ((3, 28, 28, 2), "got (3, 28, 28, 2)"),
        ((3, 1, 28, 1), "got (3, 1, 28, 1), which is (N, H, W, C) or (N, C, H, W)"),
        ((7,), "got (7,)"),
    ],
)
def test_an_array_of_another_shape_is_an_error(tmp_path, shape, expected, capsys):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    np.savez(tmp_path / "b.npz", x_train=np.zeros((2, 28, 28), np.uint8))
    assert run(tmp_path / "a.npy", tmp_path / "b.npz") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/a.npy: " in first
    assert expected in first
    assert f"{tmp_path}/b.npz: expected an array named images, got x_train.npy" in second


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 6000, 6000), "expected at most 25,000,000 pixels, and 16,384 per side, got 6000 x 6000"),
        ((1, 2, 20_000, 3), "expected at most 25,000,000 pixels, and 16,384 per side, got 20000 x 2"),
        ((2, 0, 5), "expected at least one pixel, got 5 x 0"),
    ],
)
def test_an_array_of_images_beyond_the_limits_names_the_limit(tmp_path, shape, expected, capsys):
    with open(tmp_path / "big.npy", "wb") as file:  # the pixels are not needed
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert run(tmp_path / "big.npy") == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/big.npy: an array: {expected}\n"


def arrays(directory, gray):
    np.save(directory / "gray.npy", gray)
    np.savez_compressed(directory / "packed.npz", images=np.repeat(gray[..., None], 3, 3))
    (directory / "some-images-idx3-ubyte").write_bytes(encode_idx(gray))
    with gzip.open(directory / "zipped-images-idx3-ubyte.gz", "wb") as file:
        file.write(encode_idx(gray))
    with tarfile.open(directory / "images.tar.gz", "w:gz") as tar:
        for i, image in enumerate(gray):
            content = encode_image(Image.fromarray(image), "PNG")
            member = tarfile.TarInfo(f"a/{i:03}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sorted(path for path in directory.iterdir() if path.is_file())


def test_images_in_arrays_and_tar_files_are_classified_as_one_by_one(tmp_path, gray):
    classifier = DigitClassifier()
    expected = [classifier(image).label for image in gray]
    for path in arrays(tmp_path, gray):
        chunks = list(predict_chunks(classifier, find_chunks([str(path)]), workers=2))
        assert [label for chunk in chunks for label in chunk.labels.tolist()] == expected, path
        names = [name for chunk in chunks for name in chunk.names]
        assert names[7] in (f"{path}[7]", f"{path}/a/007.png")
        assert len(set(names)) == 300


@pytest.mark.parametrize(
    "convert",
    [
        lambda gray: gray[:, None],
        lambda gray: gray.astype(np.int64),
        lambda gray: gray.astype(np.uint16) * 257,
        lambda gray: (gray / 255).astype(np.float32)[:, None],
        lambda gray: gray.astype(">f8")[..., None],
    ],
    ids=["uint8, channels first", "int64", "uint16", "float32 in [0, 1], channels first", "float64 in [0, 255]"],
)
def test_an_array_of_any_type_has_the_predictions_of_uint8(tmp_path, gray, convert):
    gray = np.concatenate([gray[:256] // 255, gray])  # the first chunk does not tell the range
    np.save(tmp_path / "a.npy", gray)
    np.savez_compressed(tmp_path / "b.npz", images=convert(gray))
    expected, found = [np.concatenate([c.images for c in read_array(str(tmp_path / n))]) for n in ("a.npy", "b.npz")]
    np.testing.assert_array_equal(found, expected, strict=True)


def test_an_array_with_an_uncertain_range_is_an_error(tmp_path, gray, capsys):
    np.save(tmp_path / "a.npy", (gray / 255 - 0.5) / 0.5)
    assert run(tmp_path / "a.npy") == 1
    assert "a.npy: expected floats in [0, 1] or [0, 255], got values from -1 to 1; undo" in capsys.readouterr().err
    np.save(tmp_path / "a.npy", np.asfortranarray(gray))
    assert run(tmp_path / "a.npy") == 1
    assert "save np.ascontiguousarray(array)" in capsys.readouterr().err
