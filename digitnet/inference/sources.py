"""Sources of images: files, directories, archives, arrays and lists, in order and without loading all into memory."""

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from digitnet.contract import NUM_CLASSES
from digitnet.errors import ConfigError, ImageError
from digitnet.inference.archives import is_array, is_tar, read_array, read_tar
from digitnet.inference.chunks import CHUNK_SIZE, IMAGE_SUFFIXES, Chunk, NamedImage
from digitnet.inference.images import MAX_FILE_BYTES, ImageLike

MAX_CHUNK_FILE_BYTES = 2**18  # of image files in a chunk, so that a few large images keep all cores busy
STDIN = "-"


def find_chunks(inputs: Iterable[str]) -> Iterator[Chunk]:
    """Find the images in inputs.

    Args:
        inputs: Image files, directories, tar files, .npy, .npz and IDX files, or "-" for an image on standard input.

    Yields:
        Chunks of up to 256 images, in order. An input that cannot be read is represented by an ImageError.
    """
    names: list[str] = []
    images: list[ImageLike | ImageError] = []
    size = 0
    for found in _find(inputs):
        if isinstance(found, Chunk):
            if names:
                yield Chunk(names, images)
            yield found
            names, images, size = [], [], 0
            continue
        name, image = found
        names.append(name)
        images.append(image)
        size += _stored_bytes(image)
        if len(names) == CHUNK_SIZE or size > MAX_CHUNK_FILE_BYTES:
            yield Chunk(names, images)
            names, images, size = [], [], 0
    if names:
        yield Chunk(names, images)


def find_labeled_images(directory: Path) -> list[Path]:
    """Find the images in the directories `0` to `9` of a directory.

    The label of an image is the name of its directory: `int(path.parent.name)`.

    Args:
        directory: The directory that contains them.

    Returns:
        Paths, digit by digit, sorted by name.

    Raises:
        ConfigError: If `directory` is not a directory or contains no such images.
    """
    if not directory.is_dir():
        raise ConfigError(f"expected a directory with images in the directories 0 to 9, got {directory}")
    found = [
        path
        for digit in range(NUM_CLASSES)
        for path in sorted((directory / str(digit)).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise ConfigError(
            f"{directory} contains no images in directories named 0 to 9, for example {directory}/7/a.png"
        )
    return found


def read_list(path: str) -> Iterator[str]:
    """Read the names of inputs from a file.

    Args:
        path: A text file with one name per line, or "-" for the standard input.

    Returns:
        An iterator over the names.

    Raises:
        OSError: If the file cannot be opened.
    """
    raw = sys.stdin.buffer if path == STDIN else open(path, "rb")  # noqa: SIM115  # closed below
    lines = io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="\n")

    def names() -> Iterator[str]:
        with lines:
            for line in lines:
                if name := line.rstrip("\r\n"):
                    yield name

    return names()


def _find(inputs: Iterable[str]) -> Iterator[Chunk | NamedImage]:
    """Yield the images of each input."""
    for name in inputs:
        if name == STDIN:
            yield name, ImageError("-: standard input is closed") if sys.stdin is None else sys.stdin.buffer.read()
        elif not name or "\0" in name:
            yield name, ImageError(f"expected a path, got {name!r}")
        elif os.path.isdir(name):
            yield from _find_in_directory(name)
        elif is_tar(name):
            yield from read_tar(name)
        elif is_array(name):
            yield from read_array(name)
        elif os.path.exists(name) and stat.S_ISFIFO(os.stat(name).st_mode):
            yield name, _read_pipe(name)
        else:
            yield name, Path(name)


def _stored_bytes(image: ImageLike | ImageError) -> int:
    """Return the size of an image's file in bytes."""
    if isinstance(image, Path):
        try:
            return image.stat().st_size
        except OSError:
            return 0
    return len(image) if isinstance(image, bytes) else 0


def _read_pipe(name: str) -> bytes | ImageError:
    """Return the content of a named pipe. The main thread reads it, so that a signal can interrupt the wait."""
    try:
        with open(name, "rb") as pipe:
            return pipe.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return ImageError(f"{name}: {error.strerror}")


def _find_in_directory(directory: str) -> Iterator[NamedImage]:
    """Yield the images of a directory and its subdirectories, sorted by name."""
    empty, unreadable = True, list[OSError]()
    for parent, directories, files in os.walk(directory, onerror=unreadable.append):
        directories.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                empty = False
                path = os.path.join(parent, name)
                if os.path.isfile(path) or not os.path.exists(path):
                    yield path, Path(path)
                else:  # a pipe would block
                    yield path, ImageError(f"{path}: expected a file, got a pipe, socket or device")
    for error in unreadable:
        yield error.filename, ImageError(f"{error.filename}: {error.strerror}")
    if empty and not unreadable:
        yield directory, ImageError(f"{directory}: no images in this directory ({', '.join(sorted(IMAGE_SUFFIXES))})")
