"""Images of any kind as arrays: decoding with limits, and batches of equal size."""

import importlib.util
import io
import os
import re
from array import array as PythonArray
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from digitnet.errors import ImageError, ImageSizeError
from digitnet.inference.arrays import (
    MAX_16_BIT_LEVEL,
    MAX_PIXELS,
    SupportsArray,
    arrange,
    arrange_batch,
    check_size,
    describe_type,
    reduce_to_8_bits,
    to_array,
    to_uint8,
)

MAX_FILE_BYTES = 50_000_000  # of one image file
READ_BYTES = 2**20  # at once of a file object, which may allocate as much as it is asked for
MAX_BATCH_SIZE = 64  # images that are classified together; more need more memory and are not faster
MAX_BATCH_BYTES = 2**22  # of images that are classified together
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]  # Pillow's others are rare and riskier
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # Pillow 11.3 and later
    FORMATS.append("AVIF")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GRAY_INTEGER_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # the last one has 32 bits, and often 16-bit content
MAX_URL = 60  # characters in a message; a data URL has a whole image
URL = re.compile(r"(https?|ftps?|file|s3|gs):/|data:", re.IGNORECASE)  # Path("https://a") is "https:/a"


class SupportsRead(Protocol):
    """A file object."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end of the file."""


ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | SupportsRead | Image.Image | np.ndarray | SupportsArray
)


def load_image(image: ImageLike) -> np.ndarray:
    """Convert one image to an array. docs/inputs.md lists what is accepted.

    Args:
        image: A path; a file object or the content of an image file; a PIL image; or an array of any library, (H, W),
            (1, H, W) or (H, W, C) with C = 1 (gray), 3 (RGB) or 4 (RGBA), of integers from 0 to 255, bool, or floats in
            [0, 1] or [0, 255].

    Returns:
        Uint8 (H, W, C) with C = 1, 3 or 4.

    Raises:
        ImageError: If it is not an image, is damaged or ambiguous, or exceeds a limit: 25 million pixels, 16,384 pixels
            per side, or 50 million bytes per file.
        OSError: If a file cannot be read.
    """
    array = to_array(image) if not isinstance(image, Image.Image) else None
    if array is None:
        return _load_file(image)
    arranged = arrange(array)
    if arranged.ndim == 4:
        raise ImageError(f"expected one image, got a batch of shape {array.shape}")
    return to_uint8(arranged)


def load_image_or_batch(image: ImageLike) -> np.ndarray:
    """Convert one image, or a batch of images in one array, to an array.

    Args:
        image: An image as in `load_image`; or an array of any library, (N, H, W), (N, H, W, C) or (N, C, H, W), if its
            shape is unambiguous.

    Returns:
        Uint8 (H, W, C) for an image, (N, H, W, C) for a batch.

    Raises:
        ImageError: As in `load_image`.
        OSError: If a file cannot be read.
    """
    array = to_array(image) if not isinstance(image, Image.Image) else None
    return _load_file(image) if array is None else to_uint8(arrange(array))


def load_batch(images: np.ndarray | SupportsArray) -> np.ndarray:
    """Convert a batch of images in one array.

    Args:
        images: An array of any library, (N, H, W) with H and W of at least 8, (N, H, W, C) or (N, C, H, W), with values
            as in `load_image`. Their range is that of the whole batch.

    Returns:
        Uint8 (N, H, W, C).

    Raises:
        ImageError: If it is not an array, or its shape or its values are others, ambiguous or empty.
    """
    array = to_array(images)
    if array is None:
        raise ImageError(
            f"expected an array of images, got {describe_type(images)}; pass lists and files to the classifier"
            " itself: classifier(images)"
        )
    return to_uint8(arrange_batch(array))


def batches_by_shape(images: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Group images of equal shape into batches.

    Args:
        images: Arrays, uint8 (H, W, C), of any shapes.

    Yields:
        The indices of up to 64 images of one shape and about 4 MB, and the images, uint8 (N, H, W, C).
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for indices in by_shape.values():
        size = batch_size(images[indices[0]])
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            yield batch, np.stack([images[index] for index in batch])


def batch_size(image: np.ndarray) -> int:
    """Return how many images like this one are classified together.

    Args:
        image: Uint8 (H, W, C).

    Returns:
        A number from 1 to 64: images of about 4 MB in total.
    """
    return max(1, min(MAX_BATCH_SIZE, MAX_BATCH_BYTES // image.size))


def is_encodable(path: str | os.PathLike[str]) -> bool:
    """Check whether the file system can have a path, which is not the case for some surrogates.

    Args:
        path: The path.

    Returns:
        Whether it can.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def _load_file(image: object) -> np.ndarray:
    """Return an image that is not an array as uint8 (H, W, C)."""
    if isinstance(image, Image.Image):
        try:
            return _from_pil(image, "the image")
        except (OSError, ValueError) as error:  # a lazily loaded file that is damaged or closed
            raise error if isinstance(error, ImageError) else ImageError(f"the image: {error}") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode(image, memoryview(image).nbytes, "the bytes")
    if isinstance(image, (str, os.PathLike)):
        return _load_path(image)
    if callable(getattr(image, "read", None)):
        content = _read_file_object(image)
        return _decode(content, len(content), "the file object")
    hint = "; convert it first: np.asarray(image)" if isinstance(image, (Sequence, PythonArray)) else ""
    raise ImageError(
        "expected a path, a file object, bytes, a PIL image or an array with __array__ as image, got"
        f" {describe_type(image)}{hint}"
    )


def _load_path(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the image in a file as uint8 (H, W, C)."""
    name = os.fsdecode(path)
    if "\0" in name:
        raise ImageError(f"expected a path, got {name!r} with a null character")
    if not is_encodable(name):
        raise ImageError(f"expected a path, got {name!r}, which the file system cannot encode; rename the file")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)  # a pipe does not report its size
            size = max(len(content), os.fstat(file.fileno()).st_size)
    except OSError as error:
        if URL.match(name):
            advice = "decode" if name.lower().startswith("data:") else "download"
            raise ImageError(
                f"expected a path, got the URL {name[:MAX_URL]!r}; {advice} it first, and pass the content or the path"
                " of the file: digitnet opens no URL"
            ) from error
        raise
    return _decode(content, size, name)


def _read_file_object(file: Any) -> bytes:
    """Return the content of a file object from its start, as Pillow does, and no more than the limit requires."""
    if isinstance(file, io.TextIOBase):
        raise ImageError(
            "the file object: expected a file in binary mode, got text mode; open it with open(path, 'rb')"
        )
    pieces: list[bytes] = []
    remaining = MAX_FILE_BYTES + 1
    try:
        if (seekable := getattr(file, "seekable", None)) and seekable():
            file.seek(0)
        while remaining > 0 and (piece := file.read(min(remaining, READ_BYTES))) != b"":  # a pipe gives pieces
            if piece is None:
                raise ImageError(
                    "the file object: it is non-blocking and has no data yet; read it first, and pass bytes"
                )
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise ImageError(f"the file object: expected read() to return bytes, got {describe_type(piece)}")
            pieces.append(bytes(piece))
            remaining -= len(pieces[-1])
    except io.UnsupportedOperation as error:
        raise ImageError(
            "the file object: expected a file open for reading, got one open for writing; close it, and open it with"
            " open(path, 'rb')"
        ) from error
    except ValueError as error:  # it is closed
        raise error if isinstance(error, ImageError) else ImageError(f"the file object: {error}") from error
    return b"".join(pieces)


def _decode(content: bytes | bytearray | memoryview, size: int, name: str) -> np.ndarray:
    """Return the image in a file's content; `size` is the size of the whole file in bytes."""
    if size == 0:
        raise ImageError(f"{name}: the file is empty")
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: expected at most {MAX_FILE_BYTES:,} bytes, got {size:,}")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _from_pil(image, name)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_describe_format(content)}") from error
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = int(re.findall(r"\d+", str(error))[0])  # "Image size (144000000 pixels) exceeds limit of ..."
        raise ImageSizeError(f"{name}: expected at most {MAX_PIXELS:,} pixels, got {pixels:,}", pixels) from error
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise ImageError(f"{name}: damaged, cannot be decoded ({type(error).__name__})") from error


def _describe_format(content: bytes | bytearray | memoryview) -> str:
    """Return why the format of a file is not accepted, and what to do."""
    if bytes(content[4:8]) == b"ftyp" and bytes(content[8:12]) in HEIF_BRANDS:
        return "HEIC, which is not decoded; convert it to JPEG, or install pillow-heif and pass the PIL image"
    if bytes(content[:4]) in TIFF_SIGNATURES:
        return "a TIFF that is damaged or not decoded; save it in gray or RGB with 8 or 16 bits, or in gray as float32"
    return f"not an image in one of the formats {', '.join(FORMATS)}"


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    """Return a PIL image as uint8 (H, W, C)."""
    check_size(image.width, image.height, name)  # known from the header, before a pixel is decoded
    image.load()  # a PNG may have its orientation after the pixels
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)  # a photo has the orientation of the camera
    if image.mode in GRAY_INTEGER_MODES:
        return _from_gray_integers(np.asarray(image), name)[:, :, None]
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.mode == "F":
        try:
            return to_uint8(np.asarray(image))[:, :, None]
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
    if image.mode in ("1", "L"):
        return _pixels(image, "L")[:, :, None]
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    return _pixels(image, "RGBA" if has_alpha else "RGB")


def _from_gray_integers(levels: np.ndarray, name: str) -> np.ndarray:
    """Return gray levels of 16 bits as uint8; Pillow stores them with 16 or 32 bits, depending on the format."""
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > MAX_16_BIT_LEVEL:
        raise ImageError(
            f"{name}: expected gray levels from 0 to {MAX_16_BIT_LEVEL:,}, got 32-bit integers from {low:,} to"
            f" {high:,}; scale them to 16 bits, or pass an array of floats in [0, 1]"
        )
    return reduce_to_8_bits(levels, high)


def _pixels(image: Image.Image, mode: str) -> np.ndarray:
    """Return the pixels of an image in a mode; Pillow's `convert` copies even if the mode is the same."""
    return np.asarray(image if image.mode == mode else image.convert(mode))
