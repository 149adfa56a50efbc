"""Images in tar files and arrays (.npy, .npz, IDX), read sequentially."""

import gzip
import lzma
import math
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from digitnet.errors import ImageError
from digitnet.inference.arrays import check_size
from digitnet.inference.chunks import CHUNK_SIZE, IMAGE_SUFFIXES, Chunk, NamedImage
from digitnet.inference.images import MAX_FILE_BYTES

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ARRAY_SUFFIXES = (".npz", ".npy", "-ubyte", "-ubyte.gz")
MAX_CHUNK_BYTES = 2**22  # of pixels in a chunk
NPZ_ARRAY = "images.npy"
IDX_UINT8 = 8  # the type code of unsigned bytes
DAMAGED = (  # what the libraries raise for damaged files; the last two are zipfile's
    OSError, EOFError, ValueError, KeyError, struct.error, tarfile.TarError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, RuntimeError, NotImplementedError,
)  # fmt: skip

BinaryFile = IO[bytes] | gzip.GzipFile


def is_tar(name: str) -> bool:
    """Return whether a file name is that of a tar file.

    Args:
        name: Name or path of a file, which need not exist.

    Returns:
        Whether its suffix is .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz, in any case.
    """
    return name.lower().endswith(TAR_SUFFIXES)


def is_array(name: str) -> bool:
    """Return whether a file name is that of an array.

    Args:
        name: Name or path of a file, which need not exist.

    Returns:
        Whether it ends with .npz, .npy, -ubyte or -ubyte.gz, in any case.
    """
    return name.lower().endswith(ARRAY_SUFFIXES)


def read_tar(name: str) -> Iterator[NamedImage]:
    """Read the images of a tar file.

    Args:
        name: Path of the tar file, which may be compressed.

    Yields:
        The name of each image, as "path/member", and its content; then the path and an ImageError if it is damaged.
    """
    return _with_errors(name, _read_tar(name))


def read_array(name: str) -> Iterator[Chunk | NamedImage]:
    """Read the images of an array.

    Args:
        name: Path of a .npy file, a .npz file with an array named `images`, or an IDX file (may be compressed with
            gzip), uint8 (N, H, W) or (N, H, W, C).

    Yields:
        Chunks of images, named "path[index]"; then the path and an ImageError if the rest is damaged.
    """
    return _with_errors(name, _read_array(name))


def _with_errors(name: str, found: Iterator) -> Iterator:
    """Yield the images found, then the name and an ImageError if the rest cannot be read."""
    try:
        yield from found
    except ImageError as error:
        yield name, ImageError(f"{name}: {error}")
    except DAMAGED as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged ({error})"
        yield name, ImageError(f"{name}: {reason}")


class _StrictHeader(tarfile.TarInfo):
    """A header of a tar file that raises an error if it is damaged, where tarfile would end silently."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_StrictHeader":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the regular end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} where a file or the end was expected") from error


def _read_tar(name: str) -> Iterator[NamedImage]:
    """Yield the images of a tar file in one pass."""
    empty = True
    with tarfile.open(name, "r|*", tarinfo=_StrictHeader) as tar:
        for member in tar:
            if not member.isdir() and os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
                empty = False
                yield _read_member(tar, member, f"{name}/{member.name}")
            tar.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all members in memory
    if empty:
        raise ImageError(f"no images in this tar file ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> NamedImage:
    """Return the name and the content of a member."""
    if not member.isfile():
        return name, ImageError(f"{name}: expected a file, got a link or device; use tar --hard-dereference")
    if member.size > MAX_FILE_BYTES:
        return name, ImageError(f"{name}: expected at most {MAX_FILE_BYTES:,} bytes, got {member.size:,}")
    content = tar.extractfile(member)
    assert content is not None  # it is a file
    return name, content.read()


def _read_array(name: str) -> Iterator[Chunk]:
    """Yield chunks of an array's images."""
    with _open_array(name) as file:
        shape = _read_idx_header(file) if "-ubyte" in name.lower() else _read_npy_header(file)
        count, height, width, channels = _check_shape(shape)
        size = height * width * channels
        step = max(1, min(CHUNK_SIZE, MAX_CHUNK_BYTES // size))
        for start in range(0, count, step):
            expected = min(step, count - start)
            content = _read_exactly(file, expected * size)
            complete = len(content) // size
            images = np.frombuffer(content, np.uint8, complete * size).reshape(complete, height, width, channels)
            yield Chunk([f"{name}[{start + index}]" for index in range(complete)], images)
            if complete < expected:
                raise ImageError(f"expected {count:,} images as in its header, got {start + complete:,}")


def _check_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the shape of an array of images as (N, H, W, C)."""
    count, height, width, channels = (*shape, 1, 1, 1, 1)[:4]
    if len(shape) not in (3, 4) or channels not in (1, 3, 4):
        raise ImageError(f"expected an array of shape (N, H, W), or (N, H, W, C) with C = 1, 3 or 4, got {shape}")
    if not count:
        raise ImageError("no images in this array")
    check_size(width, height, "its images")
    return count, height, width, channels


@contextmanager
def _open_array(name: str) -> Iterator[BinaryFile]:
    """Open the file of an array at its header."""
    if name.lower().endswith(".gz"):
        with gzip.open(name) as file:
            yield file
    elif name.lower().endswith(".npz"):
        with zipfile.ZipFile(name) as archive:
            if NPZ_ARRAY not in archive.namelist():
                raise ImageError(f"expected an array named images, got {', '.join(archive.namelist())[:200]}")
            with archive.open(NPZ_ARRAY) as file:
                yield file
    else:
        with open(name, "rb") as file:
            yield file


def _read_exactly(file: BinaryFile, size: int) -> bytes:
    """Return `size` bytes, or fewer at the end; a single read of a compressed file may return fewer earlier."""
    pieces: list[bytes] = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _read_npy_header(file: BinaryFile) -> tuple[int, ...]:
    """Return the shape of a .npy array."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype != np.uint8 or fortran_order:
        order = " in Fortran order" if fortran_order else ""
        raise ImageError(f"expected an array of uint8 in C order, got {dtype}{order}")
    return shape


def _read_idx_header(file: BinaryFile) -> tuple[int, ...]:
    """Return the shape of an IDX array, in the format of http://yann.lecun.com/exdb/mnist/."""
    zeros, data_type, axes = struct.unpack(">HBB", file.read(4))
    if zeros or data_type != IDX_UINT8:
        raise ImageError("expected an IDX file of unsigned bytes")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    return shape if math.prod(shape[1:]) else (0,)
