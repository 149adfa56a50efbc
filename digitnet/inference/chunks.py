"""Chunks: images that are classified together."""

from dataclasses import dataclass

import numpy as np

from digitnet.errors import ImageError
from digitnet.inference.images import ImageLike, load_image

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


def load_named(name: str, image: ImageLike | ImageError) -> np.ndarray:
    """Load an image of a collection.

    Args:
        name: Its name, for the message.
        image: What `load_image` takes, or the error with which it could not be read.

    Returns:
        Uint8 (H, W, C), as `load_image` returns.

    Raises:
        ImageError: If the image cannot be decoded or read; the message contains its name.
    """
    if isinstance(image, ImageError):
        raise image
    try:
        return load_image(image)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror}") from error
    except ImageError as error:
        text = str(error).replace("the bytes:", f"{name}:", 1)
        raise ImageError(text if name in text else f"{name}: {text}") from error
