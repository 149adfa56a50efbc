"""The LightningDataModule: MNIST, synthetic images, and images from a directory."""

import os
from pathlib import Path
from typing import IO, Any, Self

import torch
from lightning import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from digitnet.data.augmentation import Augmentation
from digitnet.data.dataset import (
    LabeledImages,
    Track,
    collate,
    draw_altered_digits,
    draw_ready_made,
    draw_synthetic,
    load_directories,
    load_mnist,
    without_progress,
)
from digitnet.data.degradation import Degradation
from digitnet.data.mnist import fetch_mnist
from digitnet.errors import ConfigError
from digitnet.model.checkpoint import check_instantiator

SPLIT_SEED = 0  # every run, whatever its seed, holds out the same validation images
EVALUATION_BATCH_SIZE = 500


class MNISTDataModule(LightningDataModule):
    """MNIST for training, validation and test, with synthetic images and images from a directory for training.

    After its transfer to the device, a batch has ink, float32 (N, 1, 28, 28) in [0, 1] with 0 = blank, and labels,
    int64 (N,): 0 to 9, or -1 for a non-digit. The data loaders yield images as uint8 (N, 28, 28) instead, so pass the
    data module, not its data loaders, to a Trainer. All images are in memory as uint8, on the device of the trainer.
    Without worker processes, batches are faster than with them, because a batch is copied by one indexing operation.

    Args:
        data_dir: Directory with MNIST/raw, to which MNIST is downloaded if it is missing.
        batch_size: Number of images per batch on each device, at least 1.
        val_fraction: Fraction of MNIST's training images for validation, above 0 and below 1.
        augmentation: Whether to augment training images.
        synthetic_digits: Number of synthetic digits added to the training set.
        non_digits: Number of synthetic non-digits added to the training set.
        printed_digits: Number of digits of printed fonts added to the training set.
        seven_segment_digits: Number of seven-segment digits added to the training set.
        printed_non_digits: Number of letters and signs of printed fonts added to the training set.
        altered_digits: Number of non-digits made from the digits of the training set: mirrored, rotated by 90 degrees,
            several side by side, or one above another.
        words: Number of handwritten words added to the training set as non-digits.
        textures: Number of textures, for example noise, stripes and empty paper, added as non-digits.
        degradation: Fraction of each training batch that is degraded instead, 0 to 1.
        unchanged: Fraction of each training batch that is neither degraded nor augmented, 0 to 1: augmented images have
            no exactly straight, vertical lines.
        extra_dir: Directory with more training images of any size in the directories 0 to 9.
        augment: The augmentation, `Augmentation()` by default. On the command line, each magnitude is an option, for
            example `--data.augment.rotation 0`.
        degrade: The degradation, `Degradation()` by default. On the command line, each magnitude of its steps is an
            option, for example `--data.degrade.noise.gaussian 0.2`.

    Checkpoints contain neither `augment` nor `degrade`: pass them to `load_from_checkpoint`, too.

    Attributes:
        track: Called with an iterable of the synthetic batches and its length, to show a progress bar while they are
            generated. By default, nothing is shown.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 128,
        val_fraction: float = 0.1,
        augmentation: bool = True,
        synthetic_digits: int = 12000,
        non_digits: int = 4000,
        printed_digits: int = 0,
        seven_segment_digits: int = 0,
        printed_non_digits: int = 0,
        altered_digits: int = 0,
        words: int = 0,
        textures: int = 0,
        degradation: float = 0.0,
        unchanged: float = 0.125,
        extra_dir: str | None = None,
        augment: Augmentation | None = None,
        degrade: Degradation | None = None,
    ) -> None:
        super().__init__()
        if not data_dir:
            raise ConfigError("data.data_dir is empty; it must name a directory, for example data")
        if batch_size < 1:
            raise ConfigError(f"data.batch_size is {batch_size}; it must be 1 or more, for example 128")
        numbers = {
            "synthetic_digits": synthetic_digits, "non_digits": non_digits, "printed_digits": printed_digits,
            "seven_segment_digits": seven_segment_digits, "printed_non_digits": printed_non_digits,
            "altered_digits": altered_digits, "words": words, "textures": textures,
        }  # fmt: skip
        for name, value in numbers.items():
            if value < 0:
                raise ConfigError(f"data.{name} is {value}; it must be 0 or more, for example 10000")
        for name, fraction in [("degradation", degradation), ("unchanged", unchanged)]:
            if not 0 <= fraction <= 1:
                raise ConfigError(f"data.{name} is {fraction}; it must be from 0 to 1, for example 0.4")
        if degrade is not None and not degradation:
            raise ConfigError("data.degrade has no effect with data.degradation 0; set it, for example to 0.4")
        if augment is not None and not augmentation:
            raise ConfigError("data.augment has no effect with data.augmentation false; set it to true")
        if not 0 < val_fraction < 1:
            raise ConfigError(f"data.val_fraction is {val_fraction}; it must be above 0 and below 1, for example 0.1")
        # Read the seed as Lightning's samplers do. Unlike an argument, it cannot differ from `--seed_everything`.
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        self.data_dir = data_dir
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.synthetic_digits = synthetic_digits
        self.non_digits = non_digits
        self.printed_digits = printed_digits
        self.seven_segment_digits = seven_segment_digits
        self.printed_non_digits = printed_non_digits
        self.altered_digits = altered_digits
        self.words = words
        self.textures = textures
        self.unchanged = unchanged
        self.extra_dir = extra_dir
        self.augmentation = augmentation
        self.degradation = degradation
        self.augment = augment or Augmentation()
        self.degrade = degrade or Degradation()
        self.track: Track = without_progress
        # The same data may be stored elsewhere when a run is resumed.
        self.save_hyperparameters(ignore=["data_dir", "extra_dir", "augment", "degrade"])
        self.save_hyperparameters({**self._magnitudes(), "seed": self.seed})

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path | IO[Any], *args: Any, **kwargs: Any) -> Self:
        """Load a checkpoint as Lightning does, unless it names code to import.

        Args:
            checkpoint_path: The checkpoint: a path on this machine, or a file object.
            *args: Passed to Lightning's method.
            **kwargs: Passed to Lightning's method, among them arguments of `__init__`.

        Returns:
            The data module.

        Raises:
            CheckpointError: See `digitnet.model.checkpoint.check_instantiator`.
        """
        check_instantiator(checkpoint_path)
        return super().load_from_checkpoint(checkpoint_path, *args, **{"weights_only": True, **kwargs})

    def prepare_data(self) -> None:
        """Download MNIST if a file is missing or damaged."""
        fetch_mnist(self.data_dir)

    def setup(self, stage: str | None = None) -> None:
        """Load the images of a stage.

        Args:
            stage: "fit", "validate", "test" or "predict"; None for all.

        Raises:
            ConfigError: If a dataset has fewer images than there are processes, or `extra_dir` contains no images.
            DatasetError: If an image of `extra_dir` cannot be used.
        """
        if stage in ("fit", "validate", None):
            images, labels = load_mnist(self.data_dir, train=True)
            val, train = split_indices(len(images), self.val_fraction)
            self.val_set = self._make_dataset("validation", images[val], labels[val])
            if stage != "validate":
                datasets = [(images[train], labels[train]), self._draw_synthetic()]
                if self.altered_digits:
                    own_images, own_labels = map(torch.cat, zip(*datasets, strict=True))
                    datasets.append(draw_altered_digits(own_images, own_labels, self.altered_digits))
                if self.extra_dir:
                    datasets.append(load_directories(Path(self.extra_dir)))
                self.train_set = self._make_dataset("training", *map(torch.cat, zip(*datasets, strict=True)))
        if stage in ("test", "predict", None):
            self.test_set = self._make_dataset("test", *load_mnist(self.data_dir, train=False))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the training batches in an order that depends on the seed and the epoch only.

        A run can therefore be resumed.

        Returns:
            Batches of images, uint8 (N, 28, 28), and labels, int64 (N,), for this process, with N at most `batch_size`.
            Every process has the same number of images, so a few may be left out of an epoch.
        """
        sampler: DistributedSampler[int] = DistributedSampler(
            self.train_set, self._processes, self._rank, shuffle=True, seed=self.seed, drop_last=True
        )
        return self._make_dataloader(self.train_set, self.batch_size, sampler)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the validation batches, with each image in one process.

        Returns:
            Batches of images, uint8 (N, 28, 28), and labels, int64 (N,), with N at most 500.
        """
        return self._make_evaluation_dataloader(self.val_set)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the test batches, with each image in one process.

        Returns:
            Batches of images, uint8 (N, 28, 28), and labels, int64 (N,), with N at most 500.
        """
        return self._make_evaluation_dataloader(self.test_set)

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the test batches, with each image in one process.

        Returns:
            Batches of images, uint8 (N, 28, 28), and labels, int64 (N,), with N at most 500.
        """
        return self._make_evaluation_dataloader(self.test_set)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Convert images to ink on the device, and augment and degrade them while training.

        Args:
            batch: Images, uint8 (N, 28, 28), and labels, int64 (N,).
            dataloader_idx: Unused.

        Returns:
            Ink, (N, 1, 28, 28) in [0, 1], in the data type of the network, and the labels.
        """
        images, labels = batch
        ink = images.unsqueeze(1).float() / 255
        if self.trainer is None:
            return ink, labels
        if self.trainer.training:
            ink = self.transform(ink)
        return ink.to(self.trainer.lightning_module.dtype), labels  # bfloat16 with --trainer.precision bf16-true

    def transform(self, ink: Tensor) -> Tensor:
        """Degrade a fraction of a training batch, leave another one unchanged, and augment the rest.

        Args:
            ink: Float32 (N, 1, 28, 28) in [0, 1], in random order.

        Returns:
            Ink of the same shape and range.
        """
        degraded = round(len(ink) * self.degradation)
        unchanged = degraded + int(len(ink) * self.unchanged)
        first, second, third = ink.tensor_split([degraded, unchanged])
        first = self.degrade(first) if len(first) else first
        third = self.augment(third) if self.augmentation and len(third) else third
        return torch.cat([first, second, third])

    def _magnitudes(self) -> dict[str, Any]:
        """Return the magnitudes of the transforms that are in use, named like their command-line options."""
        used: dict[str, Augmentation | Degradation] = {}
        if self.augmentation:
            used["augment"] = self.augment
        if self.degradation:
            used["degrade"] = self.degrade
        return {f"{name}.{key}": value for name, module in used.items() for key, value in module.magnitudes().items()}

    def _draw_synthetic(self) -> tuple[Tensor, Tensor]:
        """Return the images that are not made from MNIST's, and their labels."""
        drawn = draw_synthetic(
            self.synthetic_digits, self.non_digits, self.track, self.seven_segment_digits, self.words
        )
        ready_made = draw_ready_made(self.printed_digits, self.printed_non_digits, self.textures)
        return torch.cat([drawn[0], ready_made[0]]), torch.cat([drawn[1], ready_made[1]])

    @property
    def _processes(self) -> int:
        """The number of processes of the run."""
        return self.trainer.world_size if self.trainer else 1

    @property
    def _rank(self) -> int:
        """The index of this process."""
        return self.trainer.global_rank if self.trainer else 0

    def _make_dataset(self, name: str, images: Tensor, labels: Tensor) -> LabeledImages:
        """Return a dataset on the device of the trainer."""
        if len(images) < self._processes:
            raise ConfigError(
                f"expected at least one {name} image for each process, got {len(images)} for {self._processes}."
                " Use fewer devices"
            )
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return LabeledImages(images.to(device), labels.to(device))

    def _make_evaluation_dataloader(self, dataset: LabeledImages) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return batches in which each image occurs in one process."""
        # A DistributedSampler would repeat images until all processes have the same number.
        sampler = UnrepeatedDistributedSampler(dataset, self._processes, self._rank, shuffle=False)
        return self._make_dataloader(dataset, EVALUATION_BATCH_SIZE, sampler)

    def _make_dataloader(
        self, dataset: LabeledImages, batch_size: int, sampler: Sampler[int]
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return batches in the order of a sampler."""
        # A separate generator, because the DataLoader otherwise draws from torch's global one whenever it starts.
        # Keywords, because Lightning creates it again with another sampler for some flags.
        return DataLoader(
            dataset, batch_size=batch_size, sampler=sampler, collate_fn=collate, generator=torch.Generator()
        )


def split_indices(size: int, val_fraction: float) -> tuple[Tensor, Tensor]:
    """Split indices at random into validation and training, the same way in every run.

    Args:
        size: Number of images.
        val_fraction: Fraction of the images for validation.

    Returns:
        Indices of the validation and of the training images, int64; together all indices below `size`.

    Raises:
        ConfigError: If one of the two is empty.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(SPLIT_SEED))
    val, train = order.tensor_split([round(size * val_fraction)])
    if not (len(val) and len(train)):
        raise ConfigError(
            f"data.val_fraction is {val_fraction}, which splits {size} images into {len(train)} for training and"
            f" {len(val)} for validation; both need at least one, for example with 0.1"
        )
    return val, train
