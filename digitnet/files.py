"""Files that appear whole or not at all."""

import errno
import os
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Puts `content` at `path` by rename, so that a kill or a full disk leaves the old file or the new, never half.

    Makes the folder if need be. Raises OSError, with the path, when the file cannot be written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not an ordinary file", str(path))  # a rename would put a file in a device's place
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its goal, for a rename is atomic within one filesystem only; a name of its own, so a later run clears it.
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name on an empty file
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
