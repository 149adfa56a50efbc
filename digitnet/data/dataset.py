"""Datasets of framed images in memory, and the functions that load or generate the images."""

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import MNIST

from digitnet.contract import IMAGE_SIZE, REJECTED
from digitnet.data.altered import draw_altered
from digitnet.data.printed import sample_printed
from digitnet.data.seven_segment import seven_segment_batches
from digitnet.data.synthetic import BATCH_SIZE, synthetic_batches, word_batches
from digitnet.data.textures import draw_textures
from digitnet.errors import DatasetError, ImageError
from digitnet.inference.images import load_image
from digitnet.inference.sources import find_labeled_images
from digitnet.model.framing import Framing

SYNTHETIC_SEED = 0  # the synthetic images are the same in every run, as MNIST is

Batches: TypeAlias = Iterable[tuple[np.ndarray, np.ndarray]]
Track: TypeAlias = Callable[[Batches, int], Batches]  # shows progress over batches, given their number


class LabeledImages(Dataset[tuple[Tensor, Tensor]]):
    """Framed images and their labels in memory.

    A DataLoader with a batch size takes each batch by indexing with a tensor of indices, through `__getitems__`. It
    needs `collate` as its `collate_fn`.

    Args:
        images: Uint8 (N, 28, 28), 255 = ink.
        labels: Int64 (N,), 0 to 9, or -1 for a non-digit.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: images, uint8 (B, 28, 28), and labels, int64 (B,)."""
        index = torch.tensor(indices, device=self.labels.device)
        return self.images[index], self.labels[index]


def collate(batch: Any) -> tuple[Tensor, Tensor]:
    """Return a batch from `LabeledImages.__getitems__` unchanged.

    Args:
        batch: Images, uint8 (B, 28, 28), and labels, int64 (B,).

    Returns:
        The same batch.
    """
    images, labels = batch
    return images, labels


def load_mnist(data_dir: str, train: bool) -> tuple[Tensor, Tensor]:
    """Load MNIST from its files.

    Args:
        data_dir: The directory with MNIST/raw.
        train: Whether to load the 60,000 training images or the 10,000 test images.

    Returns:
        Images, uint8 (N, 28, 28), and labels, int64 (N,).
    """
    mnist = MNIST(data_dir, train=train)
    return mnist.data, mnist.targets


def load_directories(directory: Path) -> tuple[Tensor, Tensor]:
    """Load and frame images of any size from the directories 0 to 9.

    Args:
        directory: The directory that contains them.

    Returns:
        Images, uint8 (N, 28, 28), and labels, int64 (N,).

    Raises:
        ConfigError: If there are no images.
        DatasetError: If an image cannot be decoded or is blank; it names the file.
    """
    framing, images, labels = Framing(), [], []
    for path in find_labeled_images(directory):
        try:
            ink, blank = framing(torch.from_numpy(load_image(path).copy())[None])
        except (ImageError, OSError) as error:
            raise DatasetError(f"{error}. Remove it from {directory}") from error
        if blank:
            raise DatasetError(f"{path} is blank. Remove it from {directory}")
        images.append((ink[0] * 255).round().to(torch.uint8))
        labels.append(int(path.parent.name))
    return torch.stack(images), torch.tensor(labels)


def without_progress(batches: Batches, total: int) -> Batches:
    """Return the batches unchanged: a `track` that shows nothing, and can be pickled for another process.

    Args:
        batches: The batches.
        total: Their number, which is not used.

    Returns:
        The same batches.
    """
    return batches


def draw_synthetic(
    digits: int,
    non_digits: int,
    track: Track = without_progress,
    seven_segment_digits: int = 0,
    words: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw and frame synthetic images.

    Args:
        digits: Number of digits.
        non_digits: Number of non-digits.
        track: Called with an iterable of the batches and its length, to show a progress bar.
        seven_segment_digits: Number of seven-segment digits.
        words: Number of words.

    Returns:
        Images, uint8 (N, 28, 28), and labels, int64 (N,); -1 for a non-digit. Digits and non-digits are in random
        order, then come seven-segment digits and words.
    """
    sources = (
        (digits + non_digits, synthetic_batches(digits, non_digits, seed=SYNTHETIC_SEED)),
        (seven_segment_digits, seven_segment_batches(seven_segment_digits, seed=SYNTHETIC_SEED)),
        (words, word_batches(words, seed=SYNTHETIC_SEED)),
    )
    total = sum(-(-count // BATCH_SIZE) for count, _ in sources)
    if not total:
        return torch.empty(0, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
    framing, all_images, all_labels = Framing(), [], []
    for images, labels in track(chain.from_iterable(batches for _, batches in sources), total):
        ink, _ = framing(torch.from_numpy(images)[..., None])
        all_images.append((ink * 255).round().to(torch.uint8))
        all_labels.append(torch.from_numpy(labels))
    return torch.cat(all_images), torch.cat(all_labels)


def draw_ready_made(printed_digits: int, printed_non_digits: int, textures: int) -> tuple[Tensor, Tensor]:
    """Sample printed glyphs and draw textures, which takes little time.

    Args:
        printed_digits: Number of printed digits.
        printed_non_digits: Number of printed letters and signs.
        textures: Number of textures.

    Returns:
        Images, uint8 (N, 28, 28), and labels, int64 (N,); -1 for a non-digit.
    """
    printed, labels = sample_printed(printed_digits, printed_non_digits, seed=SYNTHETIC_SEED)
    images = torch.cat([torch.from_numpy(printed), draw_textures(textures, seed=SYNTHETIC_SEED)])
    return images, torch.cat([torch.from_numpy(labels), torch.full((textures,), REJECTED)])


def draw_altered_digits(images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Make non-digits from digits.

    Args:
        images: Images of digits and non-digits, uint8 (N, 28, 28).
        labels: Their labels, int64 (N,); -1 for a non-digit.
        count: Number of non-digits to make.

    Returns:
        Images, uint8 (count, 28, 28), and labels, int64 (count,), all of them -1.
    """
    digits = labels != REJECTED
    altered = draw_altered(images[digits], labels[digits], count, seed=SYNTHETIC_SEED)
    return altered, torch.full((count,), REJECTED)
