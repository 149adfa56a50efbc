"""What the input of an exported file takes: images of any or of a fixed size, or framed ink."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from digitnet.contract import CHANNELS, IMAGE_SIZE, INK_NAME
from digitnet.errors import ImageError
from digitnet.inference.arrays import describe_type, to_array

OPAQUE = 255
INK_ADVICE = "frame the digit as docs/framing.md describes, or use digitnet.onnx, which takes images"


@dataclass(frozen=True)
class ModelInput:
    """The input of an exported file.

    Attributes:
        name: "image" or "ink".
        shape: The size of each dimension, or None if it is free: (N, H, W, C) of images, or (N, 1, 28, 28) of ink.
    """

    name: str
    shape: tuple[int | None, ...]

    @property
    def takes_ink(self) -> bool:
        """Whether the file is the network alone."""
        return self.name == INK_NAME

    def example(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an input of zeros.

        Args:
            shape: Sizes of the free dimensions.

        Returns:
            An array that the file takes.
        """
        sizes = [size or free for size, free in zip(self.shape, shape, strict=True)]
        return np.zeros(sizes, np.float32 if self.takes_ink else np.uint8)

    def adapt(self, images: np.ndarray) -> np.ndarray:
        """Return images with the channels that the file takes, or check ink.

        Args:
            images: Uint8 (N, H, W, C) with C = 1, 3 or 4; or ink, float32 (N, 1, 28, 28) in [0, 1]; N is at least 1.

        Returns:
            An array that the file takes, except for the number of images.

        Raises:
            ImageError: If the file does not take these images.
        """
        if self.takes_ink:
            _check_ink(images)
            return images
        _check_images(images)
        height, width, channels = self.shape[1:]
        if (height or images.shape[1], width or images.shape[2]) != images.shape[1:3]:
            raise ImageError(
                f"this model takes images of {height} x {width} pixels (height x width), got {images.shape[1]} x"
                f" {images.shape[2]}; resize them, or use digitnet.onnx, which takes any size"
            )
        if channels is None or images.shape[3] == channels:
            return images
        if images.shape[3] > channels:
            raise ImageError(
                f"this model takes {CHANNELS[channels]} images (C = {channels}), got {CHANNELS[images.shape[3]]}"
                f" (C = {images.shape[3]}); convert them, or use digitnet.onnx, which takes both"
            )
        colors = np.repeat(images, 3, 3) if images.shape[3] == 1 else images
        return colors if channels == 3 else np.pad(colors, [(0, 0)] * 3 + [(0, 1)], constant_values=OPAQUE)

    def run(
        self, run: Callable[[np.ndarray], list[np.ndarray]], images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run a file on any number of images; a batch of a fixed size is filled with blank images.

        Args:
            run: Runs the file and returns probabilities, labels and, unless it is the network alone, framed images.
            images: What `adapt` returns.

        Returns:
            Probabilities, labels and framed images, for each image.
        """
        size = self.shape[0]
        if size in (None, len(images)):
            outputs = run(images)
        else:
            results = [run(batch) for batch in _batches(images, size or 1)]
            outputs = [np.concatenate(arrays)[: len(images)] for arrays in zip(*results, strict=True)]
        return outputs[0], outputs[1], images[:, 0] if self.takes_ink else outputs[2]


def _batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield batches of one size; the last one is filled with zeros."""
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        yield np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)])


def _check_images(images: object) -> None:
    """Raise ImageError unless an input is uint8 (N, H, W, C) with at least one image and one pixel."""
    expected = "expected images, uint8 (N, H, W, C) with C = 1 (gray), 3 (RGB) or 4 (RGBA)"
    if not isinstance(images, np.ndarray):
        raise ImageError(
            f"{expected}, got {describe_type(images)}; pass it to the classifier itself: classifier(images)"
        )
    got = f"got {images.dtype} {images.shape}"
    if images.dtype != np.uint8:
        raise ImageError(f"{expected}, {got}; call the classifier itself, which converts them: classifier(images)")
    if images.ndim != 4 or images.size == 0:
        advice = "leave empty batches out" if images.size == 0 else "pass one image as image[None], gray as [..., None]"
        raise ImageError(f"{expected}, {got}; {advice}")
    if images.shape[3] not in CHANNELS:
        is_channels_first = images.shape[1] in CHANNELS
        advice = "move the channels to the end: np.moveaxis(images, 1, 3)" if is_channels_first else "convert them"
        raise ImageError(f"{expected}, {got}; {advice}")


def _check_ink(ink: object) -> None:
    """Raise ImageError unless an input is float32 (N, 1, 28, 28) in [0, 1] with at least one image."""
    expected = "this model is the network alone: expected ink, float32 (N, 1, 28, 28)"
    if not isinstance(ink, np.ndarray):
        raise ImageError(f"{expected}, got {describe_type(ink)}; pass it to the classifier itself: classifier(ink)")
    if ink.dtype != np.float32 or ink.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE) or ink.size == 0:
        raise ImageError(f"{expected}, got {ink.dtype} {ink.shape}; {INK_ADVICE}")
    _check_ink_values(ink, f"{expected} in [0, 1]")


def _check_ink_values(ink: np.ndarray, expected: str) -> None:
    """Raise ImageError unless all values are in [0, 1]."""
    low, high = ink.min(), ink.max()
    if np.isnan(low):
        raise ImageError(f"{expected}, got NaN in {ink.dtype} {ink.shape}; {INK_ADVICE}")
    if not (low >= 0 and high <= 1):
        raise ImageError(f"{expected}, got values from {low} to {high}; {INK_ADVICE}")


def load_ink(ink: object) -> tuple[np.ndarray, bool]:
    """Convert ink to an array.

    Args:
        ink: An array of float (28, 28) or (N, 1, 28, 28) in [0, 1], where 1 is ink.

    Returns:
        Float32 (N, 1, 28, 28), and whether `ink` is a batch.

    Raises:
        ImageError: If it is something else, or empty.
    """
    expected = "this model is the network alone: expected ink, a float array (28, 28) or (N, 1, 28, 28) in [0, 1]"
    array = to_array(ink)
    if array is None:
        raise ImageError(f"{expected}, got {type(ink).__name__}; {INK_ADVICE}")
    if array.dtype.kind != "f" or array.shape[-2:] != (28, 28) or array.ndim not in (2, 4) or array.size == 0:
        raise ImageError(f"{expected}, got {array.dtype} {array.shape}; {INK_ADVICE}")
    if array.ndim == 4 and array.shape[1] != 1:
        raise ImageError(f"{expected}, got {array.dtype} {array.shape}; {INK_ADVICE}")
    _check_ink_values(array, expected)
    return array.astype(np.float32).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE), array.ndim == 4
