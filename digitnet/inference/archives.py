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
from typing import IO, TypeVar

import numpy as np

from digitnet.errors import ImageError
from digitnet.inference.arrays import BATCH_SHAPES, arrange_batch, check_size, to_uint8
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
Found = TypeVar("Found")


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
            gzip), (N, H, W), (N, H, W, C) or (N, C, H, W), with values as in `load_batch`. Values of other types than
            uint8 and bool are read twice, because their range is that of the whole array.

    Yields:
        Chunks of images, named "path[index]"; then the path and an ImageError if the rest is damaged.
    """
    return _with_errors(name, _read_array(name))


def _with_errors(name: str, found: Iterator[Found]) -> Iterator[Found | NamedImage]:
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
    value_range, start = _find_range(name), 0
    for values in _read_values(name):
        images = to_uint8(values[..., None] if values.ndim == 3 else arrange_batch(values), value_range)
        yield Chunk([f"{name}[{start + index}]" for index in range(len(images))], images)
        start += len(images)


def _find_range(name: str) -> tuple[float, float] | None:
    """Return the minimum and maximum of an array, or None if its data type tells its range."""
    low, high = np.inf, -np.inf
    for values in _read_values(name):
        if values.dtype in (np.uint8, bool):
            return None
        low, high = np.minimum(low, values.min()), np.maximum(high, values.max())  # NaN if there is any
    return low, high


def _read_values(name: str) -> Iterator[np.ndarray]:
    """Yield parts of an array along its first axis."""
    with _open_array(name) as file:
        shape, dtype = _read_idx_header(file) if "-ubyte" in name.lower() else _read_npy_header(file)
        _check_shape(shape)
        size = math.prod(shape[1:]) * dtype.itemsize
        step = max(1, min(CHUNK_SIZE, MAX_CHUNK_BYTES // size))
        for start in range(0, shape[0], step):
            expected = min(step, shape[0] - start)
            content = _read_exactly(file, expected * size)
            complete = len(content) // size
            if complete:
                yield np.frombuffer(content[: complete * size], dtype).reshape(complete, *shape[1:])
            if complete < expected:
                raise ImageError(f"expected {shape[0]:,} images as in its header, got {start + complete:,}")


def _check_shape(shape: tuple[int, ...]) -> None:
    """Raise ImageError if the shape is not that of an array of images, or ambiguous, or exceeds a limit."""
    if len(shape) not in (3, 4):
        raise ImageError(f"expected an array of shape {BATCH_SHAPES}, got {shape}")
    if not shape[0]:
        raise ImageError("no images in this array")
    if len(shape) == 3:
        check_size(shape[2], shape[1], "an array")
    else:
        arrange_batch(np.broadcast_to(np.uint8(0), shape))  # without the pixels


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


def _read_npy_header(file: BinaryFile) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the data type of a .npy array."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype.kind not in "biuf":
        raise ImageError(f"expected an array of uint8, other integers, bool or float, got {dtype}")
    if fortran_order:
        raise ImageError("expected an array in C order, got one in Fortran order; save np.ascontiguousarray(array)")
    return shape, dtype


def _read_idx_header(file: BinaryFile) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the data type of an IDX array, in the format of http://yann.lecun.com/exdb/mnist/."""
    zeros, data_type, axes = struct.unpack(">HBB", file.read(4))
    if zeros or data_type != IDX_UINT8:
        raise ImageError("expected an IDX file of unsigned bytes")
    shape = struct.unpack(f">{axes}I", file.read(4 * axes))
    return shape if math.prod(shape[1:]) else (0, 1, 1), np.dtype(np.uint8)
