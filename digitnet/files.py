"""Atomic writing of files."""

import errno
import os
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file atomically, so that a kill or a full disk leaves either the old file or the new one.

    Args:
        path: The file; its directory is created.
        content: The bytes to write.

    Raises:
        OSError: If the file cannot be written; its `filename` is the path.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))  # a rename would replace a device
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same directory, because a rename is atomic within one filesystem only.
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure can leave an empty file
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
