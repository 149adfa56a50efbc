"""Where pictures come from: files, folders, tar files, arrays, lists; in order, and never all in memory at once."""

import gzip
import io
import lzma
import math
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from digitnet.errors import ConfigError, ImageError
from digitnet.inference.classifier import MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, Picture

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARRAYS = (".npz", ".npy", "-ubyte", "-ubyte.gz")
CHUNK_SIZE = 256  # pictures in a chunk ...
CHUNK_BYTES = 2**22  # ... or fewer, of large ones
FILE_BYTES = 2**18  # of files, smaller than their pictures: few large ones are to keep all cores busy
DAMAGED = (
    OSError, EOFError, ValueError, KeyError, struct.error, tarfile.TarError,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError,  # the last two are zipfile's
)  # fmt: skip


Bytes = IO[bytes] | gzip.GzipFile


@dataclass(frozen=True)
class Chunk:
    """Pictures that are read together: a name for each, and a path, bytes, or why it cannot be had.

    Or their pixels, uint8 (N, H, W, C), where they need no decoding.
    """

    names: list[str]
    images: list[Picture | ImageError] | np.ndarray

    def after(self, count: int) -> "Chunk":
        """Without the first so many."""
        return Chunk(self.names[count:], self.images[count:])


def find_chunks(inputs: Iterable[str]) -> Iterator[Chunk]:
    """The pictures that `inputs` name: files, folders, tar files, .npy, .npz and IDX files, - for a picture on stdin.

    What cannot be had stands among them as a ImageError, so that one bad file ends nothing.
    """
    waiting = Chunk([], [])
    size = 0
    for found in _find(inputs):
        if isinstance(found, Chunk):
            if waiting.names:
                yield waiting
            yield found
            waiting, size = Chunk([], []), 0
            continue
        name, picture = found
        waiting.names.append(name)
        waiting.images.append(picture)  # type: ignore[union-attr]
        size += _size(picture)
        if len(waiting.names) == CHUNK_SIZE or size > FILE_BYTES:
            yield waiting
            waiting, size = Chunk([], []), 0
    if waiting.names:
        yield waiting


def _size(picture: Picture | ImageError) -> int:
    """In bytes, as it is stored."""
    if isinstance(picture, Path):
        try:
            return picture.stat().st_size  # of what is no ordinary file, little
        except OSError:
            return 0
    return len(picture) if isinstance(picture, bytes) else 0


def find_labeled_images(folder: Path) -> list[Path]:
    """Return the paths of the images in the directories `0` to `9` of a directory, digit by digit, sorted by name.

    The label of an image is the name of its directory: `int(path.parent.name)`.

    Raises:
        ConfigError: If `folder` is not a directory or contains no such images.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; it must contain folders 0 to 9 with images")
    found = [
        path
        for digit in range(10)
        for path in sorted((folder / str(digit)).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not found:
        raise ConfigError(f"{folder} contains no images in folders named 0 to 9, for example {folder}/7/a.png")
    return found


def read_list(path: str) -> Iterator[str]:
    """The lines of a file, or of standard input for -, each the name of an input. Raises OSError before the first."""
    raw = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115  # closed below
    lines = io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="\n")

    def names() -> Iterator[str]:
        with lines:
            for line in lines:
                if name := line.rstrip("\r\n"):
                    yield name

    return names()


def _find(inputs: Iterable[str]) -> Iterator[Chunk | tuple[str, Picture | ImageError]]:
    for name in inputs:
        if name == "-":
            yield name, ImageError("-: standard input is closed") if sys.stdin is None else sys.stdin.buffer.read()
        elif not name or "\0" in name:
            yield name, ImageError(f"{name!r} is no path")
        elif os.path.isdir(name):
            yield from _in_folder(name)
        elif name.lower().endswith(TARS):
            yield from _guarded(name, _in_tar(name))
        elif name.lower().endswith(ARRAYS):
            yield from _guarded(name, _in_array(name))
        elif os.path.exists(name) and stat.S_ISFIFO(os.stat(name).st_mode):
            yield from _guarded(name, _in_pipe(name))
        else:
            yield name, Path(name)


def _guarded(name: str, found: Iterator) -> Iterator:
    """What a file holds, and where it is damaged a ImageError in place of the rest."""
    try:
        yield from found
    except ImageError as error:
        yield name, ImageError(f"{name}: {error}")
    except DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged ({error})"
        yield name, ImageError(f"{name}: {reason}")


def _in_pipe(name: str) -> Iterator[tuple[str, bytes]]:
    """The picture that comes through a named pipe, waited for here, where a signal ends that; as from a shell's <()."""
    with open(name, "rb") as pipe:
        yield name, pipe.read(MAX_FILE_BYTES + 1)


def _in_folder(folder: str) -> Iterator[tuple[str, Picture | ImageError]]:
    empty, refused = True, list[OSError]()
    for place, folders, files in os.walk(folder, onerror=refused.append):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                empty = False
                path = os.path.join(place, name)
                if os.path.isfile(path) or not os.path.exists(path):
                    yield path, Path(path)
                else:  # a pipe would be waited for
                    yield path, ImageError(f"{path}: a pipe, socket or device, no file")
    for error in refused:
        yield error.filename, ImageError(f"{error.filename}: {error.strerror}")
    if empty and not refused:
        yield folder, ImageError(f"{folder}: a folder without pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")


class _Header(tarfile.TarInfo):
    """Behind the first member tarfile takes whatever is no header for the end; here only the end's mark is one."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # where the mark is
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} where a file or the end should be") from error


def _in_tar(name: str) -> Iterator[tuple[str, Picture | ImageError]]:
    empty = True
    with tarfile.open(name, "r|*", tarinfo=_Header) as tar:  # read once from front to end, whatever its size
        for member in tar:
            if not member.isdir() and os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
                empty, inside = False, f"{name}/{member.name}"
                if not member.isfile():
                    yield inside, ImageError(f"{inside}: a link or device; make the tar with --hard-dereference")
                elif member.size > MAX_FILE_BYTES:
                    yield inside, ImageError(f"{inside}: {member.size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
                else:
                    content = tar.extractfile(member)
                    assert content is not None  # of a file
                    yield inside, content.read()
            tar.members.clear()  # type: ignore[attr-defined]  # else it remembers each of a million
    if empty:
        raise ImageError(f"a tar file without pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _in_array(name: str) -> Iterator[Chunk]:
    """Blocks of an array's pictures, read piece by piece."""
    with _opened(name) as file:
        shape = _idx_shape(file) if "-ubyte" in name.lower() else _npy_shape(file)
        count, height, width, channels = (*shape, 1, 1, 1, 1)[:4]
        if len(shape) not in (3, 4) or channels not in (1, 3, 4) or not 0 < height * width <= MAX_PIXELS:
            raise ImageError(f"an array of shape {shape}; wanted (N, H, W), or (N, H, W, C) with C = 1, 3, 4")
        if max(height, width) > MAX_SIDE:
            raise ImageError(f"pictures of {width} x {height}; at most {MAX_SIDE:,} on a side are read")
        if not count:
            raise ImageError("an array of no pictures")
        size = height * width * channels
        step = max(1, min(CHUNK_SIZE, CHUNK_BYTES // size))
        for start in range(0, count, step):
            content = _read(file, min(step, count - start) * size)
            part = len(content) // size
            pictures = np.frombuffer(content, np.uint8, part * size).reshape(part, height, width, channels)
            yield Chunk([f"{name}[{start + i}]" for i in range(part)], pictures)
            if part < min(step, count - start):
                raise ImageError(f"ends after {start + part:,} pictures; its head says {count:,}")


@contextmanager
def _opened(name: str) -> Iterator[Bytes]:
    if name.lower().endswith(".gz"):
        with gzip.open(name) as file:
            yield file
    elif name.lower().endswith(".npz"):
        with zipfile.ZipFile(name) as archive:
            if "images.npy" not in archive.namelist():
                raise ImageError(f"holds {', '.join(archive.namelist())[:200]}; wanted an array named images")
            with archive.open("images.npy") as file:
                yield file
    else:
        with open(name, "rb") as file:
            yield file


def _read(file: Bytes, size: int) -> bytes:
    """So many bytes, or what there is: a single read of a compressed file may give less."""
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _npy_shape(file: Bytes) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(file)
    if dtype != np.uint8 or by_column:
        raise ImageError(f"an array of {dtype}{', by column' if by_column else ''}; wanted uint8, by row")
    return shape


def _idx_shape(file: Bytes) -> tuple[int, ...]:
    """As http://yann.lecun.com/exdb/mnist/ defines it: two zeros, the type, how many axes, the length of each."""
    zeros, kind, axes = struct.unpack(">HBB", file.read(4))
    if zeros or kind != 8:
        raise ImageError("not an IDX file of bytes")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    return shape if math.prod(shape[1:]) else (0,)
