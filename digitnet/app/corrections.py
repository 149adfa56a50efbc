"""Corrected drawings, which the sketchpad saves as image files in a directory per digit."""

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from digitnet.app.service import to_png
from digitnet.errors import ConfigError, DigitnetError
from digitnet.files import write_atomically

MAX_CORRECTIONS = 1000
MAX_BYTES = 100_000_000


class CorrectionError(DigitnetError):
    """A correction cannot be saved: the directory has reached its limit, or cannot be written."""


class Corrections:
    """A directory of corrected images, DIGIT/TIME-HASH.png, of limited size.

    The files are counted at every call, because the user may remove some, or move them to another directory.

    Args:
        directory: The directory; it is created with the first correction.
        max_count: Maximum number of images.
        max_bytes: Maximum size of all images together.
    """

    def __init__(self, directory: Path, max_count: int = MAX_CORRECTIONS, max_bytes: int = MAX_BYTES) -> None:
        self.directory, self.max_count, self.max_bytes = directory, max_count, max_bytes
        self._lock = threading.Lock()  # two requests must not both take the last place

    def check(self) -> None:
        """Check that corrections can be saved, before somebody has drawn one.

        Raises:
            ConfigError: If the directory cannot be created or written.
        """
        existing = next(path for path in (self.directory, *self.directory.absolute().parents) if path.exists())
        if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return
        reason = "may not be written" if existing.is_dir() else "is not a directory"
        raise ConfigError(
            f"the directory of the corrections is {self.directory}, but {existing} {reason};"
            " it must be a directory that this user may write"
        )

    def save(self, image: np.ndarray, digit: int) -> str:
        """Save an image, and remove earlier corrections of the same image.

        Args:
            image: The image, uint8 (H, W, C).
            digit: The correct label, 0 to 9.

        Returns:
            The path of the file, relative to the directory.

        Raises:
            CorrectionError: If the directory has reached its limit, or the file cannot be written.
        """
        content = to_png(image)
        digest = hashlib.sha256(content).hexdigest()[:12]
        path = self.directory / str(digit) / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}.png"
        try:
            with self._lock:
                earlier = {saved for saved in self._files() if saved.stem.endswith(f"-{digest}")}
                self._check_limits(earlier, len(content))
                write_atomically(path, content)
                for saved in earlier - {path}:
                    saved.unlink(missing_ok=True)
        except OSError as error:
            raise CorrectionError(f"{error.strerror}.") from error
        return path.relative_to(self.directory).as_posix()

    def count(self) -> int:
        """Return the number of images."""
        return sum(1 for _ in self._files())

    def _files(self) -> Iterator[Path]:
        """Yield the files of the corrections."""
        return self.directory.glob("[0-9]/*.png")

    def _check_limits(self, replaced: set[Path], size: int) -> None:
        """Raise CorrectionError if there is no place for a file of `size` bytes instead of the replaced ones."""
        sizes = [saved.stat().st_size for saved in self._files() if saved not in replaced]
        limit = ""
        if len(sizes) >= self.max_count:
            limit = f"{self.max_count:,} images"
        elif sum(sizes) + size > self.max_bytes:
            limit = f"{self.max_bytes / 1e6:,.1f} MB"
        if limit:
            raise CorrectionError(f"The corrections are full (the limit is {limit}). Predictions continue as before.")
