"""The variants of the exported file: which inputs it takes, what it computes, and its opset."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from digitnet.contract import IMAGE_SIZE, INK_DOC, INK_NAME, INPUT_NAME, NETWORK_OUTPUTS, OUTPUT_DOCS, input_doc

OPSET = 18  # the newest that all supported runtimes read, and the oldest that torch exports
MIN_OPSET, MAX_OPSET = 13, 22  # of a variant; onnx 1.17 knows opsets up to 22
MIN_OPSET_OF_FREE_SIZES = 15  # older ones cannot slice the shape of an image
EXAMPLE_SHAPE = (2, 30, 31, 4)  # of a file with free dimensions; torch would fix those that are 0 or 1


@dataclass(frozen=True)
class Variant:
    """Which inputs an exported file takes, what it computes, and its opset.

    Attributes:
        batch_size: The number of images of each call, or None if it is free.
        height: Height of the images in pixels, or None if it is free.
        width: Width of the images in pixels, or None if it is free.
        channels: Number of channels, 1, 3 or 4, or None if it is free.
        network_only: Whether the input is ink instead of images; height, width and channels are unused then.
        averaged: Whether the logits are averaged over several views of each image (test-time augmentation).
        opset: The version of the ONNX operators, from 13 to 22.
    """

    batch_size: int | None = None
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    network_only: bool = False
    averaged: bool = False
    opset: int = OPSET

    @property
    def input_name(self) -> str:
        """Name of the input."""
        return INK_NAME if self.network_only else INPUT_NAME

    @property
    def input_doc(self) -> str:
        """Documentation of the input."""
        if self.network_only:
            return INK_DOC.replace("N", str(self.batch_size), 1) if self.batch_size else INK_DOC
        return input_doc(self.batch_size, self.height, self.width, self.channels)

    @property
    def description(self) -> str:
        """What the file does, in one sentence."""
        if self.network_only:
            return "Classifies handwritten digits that are framed as MNIST frames its digits."
        size = f"{self.height} x {self.width} pixels" if self.height else "any size"
        return f"Classifies a handwritten digit in an image of {size}."

    @property
    def dimensions(self) -> list[int | str]:
        """Size of each dimension of the input, or its name if it is free."""
        if self.network_only:
            return [self.batch_size or "N", 1, IMAGE_SIZE, IMAGE_SIZE]
        return [self.batch_size or "N", self.height or "H", self.width or "W", self.channels or "C"]

    @property
    def outputs(self) -> Mapping[str, str]:
        """Names of the outputs with their documentation."""
        return {name: OUTPUT_DOCS[name] for name in NETWORK_OUTPUTS} if self.network_only else OUTPUT_DOCS

    def example(self) -> Tensor:
        """Return an input of zeros from which torch exports the graph."""
        shape = [
            free if isinstance(size, str) else size for size, free in zip(self.dimensions, EXAMPLE_SHAPE, strict=True)
        ]
        return torch.zeros(shape, dtype=torch.float32 if self.network_only else torch.uint8)
