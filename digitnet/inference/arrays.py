"""Arrays as images: which axis is which, and the range of the values."""

from typing import NoReturn, Protocol

import numpy as np

from digitnet.errors import ImageError, ImageSizeError

MAX_PIXELS = 25_000_000  # of one image, 100 MB after decoding; checked before decoding
MAX_SIDE = 16_384  # pixels; framing computes 28 weights for each row and each column
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
MIN_BATCH_SIDE = 8  # pixels; in an array of three axes, a last axis below is taken for a wrong number of channels
MAX_LEVEL = 255
MAX_16_BIT_LEVEL = 2**16 - 1
ROUNDING = 1e-3  # by which floats may exceed a range: the mean of white channels may be 1.0000001
MIN_MAX_LEVEL = 16  # the smallest maximum of floats in [0, 255]; an image with less contrast would be blank
SHAPES = "(H, W), (H, W, C), (N, H, W) or (N, H, W, C) with C = 1 (gray), 3 (RGB) or 4 (RGBA)"
BATCH_SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 (gray), 3 (RGB) or 4 (RGBA)"
DTYPE_HINTS = {"c": "; take the magnitude: np.abs(array)", "O": "; stack images of one size: np.stack(list(array))"}


class SupportsArray(Protocol):
    """An object that NumPy converts to an array, for example a torch tensor."""

    def __array__(self) -> np.ndarray:
        """Return the array."""


def to_array(value: object) -> np.ndarray | None:
    """Convert an array of any library to a NumPy array.

    Args:
        value: Anything.

    Returns:
        The array, which may share memory with `value`; None if `value` is neither an array nor has `__array__`.

    Raises:
        ImageError: If it has a mask, or its conversion fails.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ImageError("expected an array without a mask, got a masked array; fill it first: array.filled(0)")
    if not isinstance(value, np.ndarray) and not hasattr(value, "__array__"):
        return None
    try:
        return np.asarray(value)
    except Exception as error:  # each library raises its own, for example for a tensor on a GPU
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ImageError(f"the {type(value).__name__} cannot be converted to a NumPy array: {reason}") from error


def arrange(array: np.ndarray) -> np.ndarray:
    """Arrange the axes of an image or of a batch.

    Args:
        array: (H, W), (H, W, C) or (1, H, W) for an image; (N, H, W), (N, H, W, C) or (N, C, H, W) for a batch, where C
            is 1, 3 or 4. If the last of three axes is 1, 3 or 4, it is C.

    Returns:
        A view: (H, W, C) for an image, (N, H, W, C) for a batch.

    Raises:
        ImageError: If the shape is another one, ambiguous or empty, or an image exceeds a limit.
    """
    if array.ndim == 4:
        return arrange_batch(array)
    _check_not_empty(array)
    if array.ndim == 2:
        image = array[:, :, None]
    elif array.ndim == 3 and array.shape[2] in CHANNELS:
        image = array
    elif array.ndim == 3 and min(array.shape[1:]) >= MIN_BATCH_SIDE:
        if array.shape[0] != 1:
            _check_not_channels_first(array)
            return arrange_batch(array)
        image = array[0, :, :, None]
    else:
        _refuse_shape(array, SHAPES)
    check_size(image.shape[1], image.shape[0], "an array")
    return image


def arrange_batch(array: np.ndarray) -> np.ndarray:
    """Arrange the axes of a batch. Whether a layout is accepted does not depend on N.

    Args:
        array: (N, H, W) with H and W of at least 8, (N, H, W, C) or (N, C, H, W), where C is 1, 3 or 4.

    Returns:
        A view, (N, H, W, C).

    Raises:
        ImageError: If the shape is another one, ambiguous or empty, or the images exceed a limit.
    """
    _check_not_empty(array)
    if array.ndim == 3 and min(array.shape[1:]) >= MIN_BATCH_SIDE:
        batch = array[..., None]
    elif array.ndim == 4 and array.shape[3] in CHANNELS and array.shape[1] in CHANNELS:
        raise ImageError(
            f"expected an unambiguous layout, got {array.shape}, which is (N, H, W, C) or (N, C, H, W);"
            " pass a list of images of shape (H, W, C)"
        )
    elif array.ndim == 4 and array.shape[3] in CHANNELS:
        batch = array
    elif array.ndim == 4 and array.shape[1] in CHANNELS:
        batch = np.moveaxis(array, 1, 3)
    else:
        _refuse_shape(array, BATCH_SHAPES)
    check_size(batch.shape[2], batch.shape[1], "an array")
    return batch


def to_uint8(array: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Convert the values of an image or a batch to gray levels from 0 to 255.

    Args:
        array: Uint8; bool; other integers from 0 to 255; uint16 of 10, 12, 14 or 16 bits, which its maximum tells; or
            floats, in [0, 1] if none is larger, otherwise in [0, 255].
        value_range: The minimum and maximum of a larger array that contains this one; by default, of this one.

    Returns:
        Uint8 of the same shape.

    Raises:
        ImageError: If the data type is another one, or the range of the values is another one or ambiguous.
    """
    if array.dtype == np.uint8:
        return array
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8) * MAX_LEVEL
    if kind not in "iuf":
        hint = DTYPE_HINTS.get(kind, "; convert it, for example with array.astype(np.float32)")
        raise ImageError(f"expected an array of uint8, other integers, bool or float, got {array.dtype}{hint}")
    low, high = value_range or (array.min(), array.max())
    if kind == "f":
        return _from_floats(array, float(low), float(high))
    return _from_integers(array, int(low), int(high))


def reduce_to_8_bits(pixels: np.ndarray, high: int) -> np.ndarray:
    """Convert gray levels of more than 8 bits.

    Cameras and scanners store 10, 12 or 14 bits as 16. The brightest pixel tells how many there are.

    Args:
        pixels: Integers from 0 to 65,535, of any shape.
        high: The largest.

    Returns:
        Uint8 of the same shape.
    """
    bits = min(max(high.bit_length() + 1 & ~1, 8), 16)
    levels: np.ndarray = pixels.astype(np.int64) * MAX_LEVEL // (2**bits - 1)
    return levels.astype(np.uint8)


def describe_type(value: object) -> str:
    """Return the type of a value for a message.

    Args:
        value: Anything.

    Returns:
        Its name with the article, for example "an int".
    """
    kind = type(value)
    name = f"{kind.__module__}.{kind.__name__}" if kind.__module__ == "array" else kind.__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


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


def _check_not_empty(array: np.ndarray) -> None:
    """Raise ImageError if an array has no elements."""
    if array.size == 0:
        raise ImageError(
            f"expected at least one image with at least one pixel, got an empty array of shape {array.shape}"
        )


def _check_not_channels_first(array: np.ndarray) -> None:
    """Raise ImageError if an array of three axes is either an image with its channels first or a batch."""
    if array.shape[0] in CHANNELS:
        raise ImageError(
            f"expected an unambiguous layout, got {array.shape}, which is an image (C, H, W) or a batch (N, H, W); pass"
            " an image as (H, W, C), with np.moveaxis(array, 0, -1) or tensor.permute(1, 2, 0), a batch as list(array)"
        )


def _refuse_shape(array: np.ndarray, expected: str) -> NoReturn:
    """Raise ImageError for the shape of an array."""
    if array.ndim in (3, 4) and 2 in (array.shape[-1], array.shape[-3]):
        hint = "; C = 2 is not supported: leave alpha out, or repeat gray three times to get RGBA"
    elif array.ndim == 0:
        hint = "; pass an array of pixels"
    elif array.ndim == 1:
        hint = "; reshape it, for example with array.reshape(28, 28)"
    elif array.ndim > 4:
        hint = "; remove axes, for example with array.squeeze() or array.reshape(-1, *array.shape[-3:])"
    elif expected == BATCH_SHAPES and array.ndim < 4:
        hint = "; pass one image to the classifier itself: classifier(image)"
    else:
        hint = "; select the channels of gray, RGB or RGBA, for example array[..., :3]"
    raise ImageError(f"expected an array of shape {expected}, got {array.shape}{hint}")


def _from_integers(array: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return integers other than uint8 as uint8."""
    if low < 0:
        raise ImageError(
            f"expected integers from 0 to {MAX_LEVEL}, got {array.dtype} from {low} to {high}; clip them: array.clip(0)"
        )
    if high == 1:
        raise ImageError(
            f"expected integers from 0 to {MAX_LEVEL}, got {array.dtype} from {low} to 1, which may be a mask; convert"
            " it with array.astype(bool), or with array.astype(np.uint8) if 1 is almost black"
        )
    if high <= MAX_LEVEL:
        return array.astype(np.uint8)
    if array.dtype.itemsize == 2 and high <= MAX_16_BIT_LEVEL and array.dtype.kind == "u":
        return reduce_to_8_bits(array, high)
    raise ImageError(
        f"expected integers from 0 to {MAX_LEVEL}, got {array.dtype} from {low} to {high}; convert gray levels of 16"
        " bits with array.astype(np.uint16)"
    )


def _from_floats(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return floats as uint8."""
    expected = f"expected floats in [0, 1] or [0, {MAX_LEVEL}]"
    if np.isnan(low):  # and therefore the maximum too
        raise ImageError(f"{expected}, got an array with NaN; replace it: np.nan_to_num(array)")
    if not np.isfinite([low, high]).all():
        raise ImageError(f"{expected}, got values from {low:g} to {high:g}; replace them: np.nan_to_num(array)")
    if low < -ROUNDING:
        raise ImageError(
            f"{expected}, got values from {low:g} to {high:g}; undo their normalization, for example (array + 1) / 2"
        )
    if high <= 1 + ROUNDING:
        return _round(array * MAX_LEVEL)
    if MIN_MAX_LEVEL <= high <= MAX_LEVEL + ROUNDING:
        return _round(array)
    reason = ", which is ambiguous" if high < MIN_MAX_LEVEL else ""
    raise ImageError(
        f"{expected}, got values from {low:g} to {high:g}{reason}; divide them by the largest possible value"
    )


def _round(array: np.ndarray) -> np.ndarray:
    """Return floats rounded to uint8."""
    rounded: np.ndarray = np.rint(array)
    return rounded.astype(np.uint8)
