"""Chunks: images that are classified together."""

from dataclasses import dataclass

import numpy as np

from digitnet.errors import ImageError
from digitnet.inference.images import ImageLike

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".avif"}
CHUNK_SIZE = 256  # maximum number of images in a chunk

NamedImage = tuple[str, ImageLike | ImageError]  # a name, and an image or the error that occurred


@dataclass(frozen=True)
class Chunk:
    """Images that are classified together.

    Attributes:
        names: The name of each image.
        images: Uint8 (N, H, W, C); or for each image a path, the content of a file, or an ImageError.
    """

    names: list[str]
    images: list[ImageLike | ImageError] | np.ndarray

    def after(self, count: int) -> "Chunk":
        """Return the rest of the chunk.

        Args:
            count: Number of images to leave out at the start, at least 0.

        Returns:
            A chunk without its first `count` images.
        """
        return Chunk(self.names[count:], self.images[count:])
