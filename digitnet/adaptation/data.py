"""The data of an adaptation: corrections, mixed with MNIST and synthetic images."""

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler

from digitnet.data.datamodule import MNISTDataModule, split_indices
from digitnet.data.dataset import LabeledImages, load_directories, load_mnist

# Fractions of the training images. Without MNIST and the synthetic images, the network would forget them.
MNIST_FRACTION = 0.28
SYNTHETIC_FRACTION = 0.32
CORRECTIONS_FRACTION = 0.4


class AdaptationDataModule(MNISTDataModule):
    """MNIST, synthetic images and a user's corrections, mixed in fixed proportions however few corrections there are.

    An epoch draws its images at random with replacement. All images are loaded once, although each fold of a
    cross-validation is a run of its own.

    Args:
        extra_dir: Directory with the corrections, images of any size in the directories 0 to 9.
        data_dir: Directory with MNIST/raw, to which MNIST is downloaded if it is missing.
        batch_size: Number of images per batch.
        batches: Number of batches per epoch.
        synthetic_digits: Number of synthetic digits. Drawing them takes longer than training.
        non_digits: Number of synthetic non-digits.
        degradation: Fraction of each batch that is degraded, as in the training of the released model.

    Attributes:
        corrections: The framed corrections.
        held_back: Indices of the corrections that are not trained on, int64. None by default.

    Raises:
        ConfigError: If an argument is out of its range, or `extra_dir` contains no images.
        DatasetError: If an image of `extra_dir` cannot be used.
    """

    def __init__(
        self,
        extra_dir: str,
        data_dir: str = "data",
        batch_size: int = 128,
        batches: int = 60,
        synthetic_digits: int = 1000,
        non_digits: int = 750,
        degradation: float = 0.4,
    ) -> None:
        super().__init__(
            data_dir=data_dir, batch_size=batch_size, synthetic_digits=synthetic_digits, non_digits=non_digits,
            degradation=degradation, extra_dir=extra_dir,
        )  # fmt: skip
        self.batches = batches
        self.corrections = LabeledImages(*load_directories(Path(extra_dir)))
        self.held_back = torch.empty(0, dtype=torch.int64)
        self._sizes: list[int] = []  # of MNIST, the synthetic images and the corrections in the training set

    def setup(self, stage: str | None = None) -> None:
        """Load the images at the first call.

        Args:
            stage: Unused: training and validation images are loaded together.
        """
        if self._sizes:
            return
        images, labels = load_mnist(self.data_dir, train=True)
        val, train = split_indices(len(images), self.val_fraction)
        self.val_set = LabeledImages(images[val], labels[val])
        corrections = (self.corrections.images, self.corrections.labels)
        sets = [(images[train], labels[train]), self._draw_synthetic(), corrections]
        self._sizes = [len(labels) for _, labels in sets]
        self.train_set = LabeledImages(*map(torch.cat, zip(*sets, strict=True)))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the batches of one epoch, which depend on the seed and on `held_back` only."""
        generator = torch.Generator().manual_seed(self.seed)
        sampler = WeightedRandomSampler(
            self._probabilities().tolist(), self.batches * self.batch_size, generator=generator
        )
        return self._make_dataloader(self.train_set, self.batch_size, sampler)

    def _probabilities(self) -> Tensor:
        """Return the probability of each training image, up to a factor."""
        mnist, synthetic, corrections = self._sizes
        kept = torch.ones(corrections)
        kept[self.held_back] = 0
        return torch.cat(
            [
                torch.full((mnist,), MNIST_FRACTION / mnist),
                torch.full((synthetic,), SYNTHETIC_FRACTION / max(synthetic, 1)),
                kept * CORRECTIONS_FRACTION / kept.sum(),
            ]
        )
