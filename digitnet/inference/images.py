"""Images of any kind as arrays: decoding with limits, and batches of equal size."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from digitnet.errors import ImageError, ImageSizeError

MAX_PIXELS = 25_000_000  # of one image, 100 MB after decoding; checked before decoding
MAX_SIDE = 16_384  # pixels; framing computes 28 weights for each row and each column
MAX_FILE_BYTES = 50_000_000  # of one image file
MAX_BATCH_SIZE = 64  # images that are classified together; more need more memory and are not faster
MAX_BATCH_BYTES = 2**22  # of images that are classified together
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow's others are rare and riskier
GRAY_16_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")

ImageLike: TypeAlias = str | Path | bytes | Image.Image | np.ndarray


def load_image(image: ImageLike) -> np.ndarray:
    """Convert an image to an array.

    Args:
        image: A path; the content of an image file; a PIL image; or an array, (H, W) or (H, W, C) with C = 1 (gray), 3
            (RGB) or 4 (RGBA), that is uint8, bool, or float in [0, 1].

    Returns:
        Uint8 (H, W, C) with C = 1, 3 or 4.

    Raises:
        ImageError: If it is not an image, is damaged, or exceeds a limit: 25 million pixels, 16,384 pixels per side, or
            50 million bytes per file.
        OSError: If a file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if isinstance(image, Image.Image):
        try:
            return _from_pil(image, "the image")
        except (OSError, ValueError) as error:  # a lazily loaded file that is damaged or closed
            raise error if isinstance(error, ImageError) else ImageError(f"the image: {error}") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode(image, len(image), "the bytes")
    if isinstance(image, (str, Path)):
        if "\0" in str(image):
            raise ImageError(f"expected a path, got {str(image)!r} with a null character")
        with open(image, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)  # a pipe does not report its size
            return _decode(content, max(len(content), os.fstat(file.fileno()).st_size), str(image))
    raise ImageError(f"expected a path, bytes, a PIL image or a NumPy array as image, got a {type(image).__name__}")


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


def check_size(width: int, height: int, name: str) -> None:
    """Check the size of an image, which is known before it is decoded.

    Args:
        width: Its width in pixels.
        height: Its height in pixels.
        name: The name of the image, for the message.

    Raises:
        ImageSizeError: If it has too many pixels.
        ImageError: If it has none.
    """
    if width * height == 0:
        raise ImageError(f"{name}: expected at least one pixel, got {width} x {height}")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageSizeError(
            f"{name}: expected at most {MAX_PIXELS:,} pixels, and {MAX_SIDE:,} per side, got {width} x {height}",
            width * height,
        )


def _check_array(array: np.ndarray) -> np.ndarray:
    """Return an array as uint8 (H, W, C)."""
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError("expected an array without a mask, got a masked array; fill it first: array.filled(0)")
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"expected an array of shape (H, W), or (H, W, C) with C = 1, 3 or 4, got {array.shape}")
    check_size(array.shape[1], array.shape[0], "an array")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"expected an array of uint8, or of float in [0, 1], got {array.dtype}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # also if there is NaN
        raise ImageError(f"expected a float array with values in [0, 1], got values from {low} to {high}")
    return np.rint(array * 255).astype(np.uint8)


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
        raise ImageError(f"{name}: not an image in one of the formats {', '.join(FORMATS)}") from error
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = int(re.findall(r"\d+", str(error))[0])  # "Image size (144000000 pixels) exceeds limit of ..."
        raise ImageSizeError(f"{name}: expected at most {MAX_PIXELS:,} pixels, got {pixels:,}", pixels) from error
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise ImageError(f"{name}: damaged, cannot be decoded ({type(error).__name__})") from error


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    """Return a PIL image as uint8 (H, W, C)."""
    check_size(image.width, image.height, name)  # known from the header, before a pixel is decoded
    image.load()  # a PNG may have its orientation after the pixels
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)  # a photo has the orientation of the camera
    if image.mode in GRAY_16_BIT_MODES:
        return _reduce_to_8_bits(np.asarray(image))
    if image.mode == "F":
        return _check_array(np.asarray(image))
    if image.mode in ("1", "L"):
        return _pixels(image, "L")[:, :, None]
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return _pixels(image, "RGBA" if has_alpha else "RGB")


def _reduce_to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Return 16-bit gray levels, (H, W), as uint8 (H, W, 1).

    Cameras and scanners store 10, 12 or 14 bits as 16. The brightest pixel tells how many there are.
    """
    pixels = pixels.astype(np.int64).clip(0, 65535)
    bits = max(int(pixels.max()).bit_length() + 1 & ~1, 8)
    return (pixels * 255 // (2**bits - 1)).astype(np.uint8)[:, :, None]


def _pixels(image: Image.Image, mode: str) -> np.ndarray:
    """Return the pixels of an image in a mode; Pillow's `convert` copies even if the mode is the same."""
    return np.asarray(image if image.mode == mode else image.convert(mode))
