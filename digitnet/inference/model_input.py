"""What the input of an exported file takes: images of any or of a fixed size, or framed ink."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from digitnet.contract import CHANNELS, IMAGE_SIZE, INK_NAME
from digitnet.errors import ImageError
from digitnet.inference.arrays import to_array

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
            images: Uint8 (N, H, W, C) with C = 1, 3 or 4; or ink, float32 (N, 1, 28, 28).

        Returns:
            An array that the file takes, except for the number of images.

        Raises:
            ImageError: If the file does not take these images.
        """
        if self.takes_ink:
            if images.dtype != np.float32 or images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
                raise ImageError(
                    f"this model is the network alone: expected ink, float32 (N, 1, 28, 28), got {images.dtype}"
                    f" {images.shape}; {INK_ADVICE}"
                )
            return images
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
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # also if there is NaN
        raise ImageError(f"{expected}, got values from {low} to {high}; {INK_ADVICE}")
    return array.astype(np.float32).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE), array.ndim == 4
