"""MNIST as whole batches: in memory as uint8, sliced in one go, augmented batch by batch on the device."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchvision.datasets import MNIST

from digitnet.data.augmentation import augment
from digitnet.data.degradation import degrade
from digitnet.data.mnist import fetch_mnist
from digitnet.data.synthetic import synthetic_batches
from digitnet.errors import ConfigError, DatasetError, ImageError
from digitnet.inference.classifier import load_image
from digitnet.inference.sources import find_labeled_images
from digitnet.model.framing import Framing

PLAIN = 8  # one image in so many is learnt as it is: no other shows a line that is quite straight and upright
SPLIT_SEED = 0  # the split has a generator of its own: every run, whatever its seed, holds out the same images


def random_seed(*parts: int) -> int:
    """A seed for torch that differs wherever one of `parts` does: run seed, epoch, rank ..."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


class WholeBatches(Sampler[Tensor]):
    """Yields the indices of one batch at a time, as an int64 tensor (batch,) on `device`.

    Shuffled batches differ in every epoch and depend on `seed` and the epoch alone, so that a resumed run sees what
    the unbroken one saw. With several ranks each draws from the same permutation and takes an equal share of it, since
    they step together. Unshuffled, the ranks' shares are consecutive and leave out or repeat nothing.
    """

    def __init__(
        self, size: int, batch_size: int, *, shuffle: bool, seed: int = 0,
        rank: int = 0, ranks: int = 1, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.rank, self.ranks, self.device = rank, ranks, device
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        share = self.size // self.ranks + (not self.shuffle and self.rank < self.size % self.ranks)
        return -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(random_seed(self.seed, self.epoch))
            order = torch.randperm(self.size, generator=generator)
            order = order[self.rank :: self.ranks][: self.size // self.ranks]
        else:
            order = torch.arange(self.size).tensor_split(self.ranks)[self.rank]
        yield from order.to(self.device).split(self.batch_size)


class MNISTDataModule(LightningDataModule):
    """MNIST in three parts: training and validation from the 60,000 training images, and the 10,000 test images.

    A batch is ink, float32 (N, 1, 28, 28) in [0, 1] with 0 = blank, and labels, int64 (N,).

    Args:
        data_dir: Holds MNIST/raw.
        batch_size: Images, on each device.
        val_fraction: Part to validate with.
        augmentation: Whether to rotate, shear, shift and deform.
        synthetic_digits: Number of synthetic digits to add.
        non_digits: Number of synthetic non-digits to add.
        degradation: Fraction of each batch to degrade.
        extra_dir: More, in 0/ to 9/.
        seed: Fixes what is drawn at random.
    """

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 128,
        val_fraction: float = 0.1,
        augmentation: bool = True,
        synthetic_digits: int = 12000,
        non_digits: int = 4000,
        degradation: float = 0.0,
        extra_dir: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not data_dir:
            raise ConfigError("data.data_dir is empty; it must name a folder, for example data")
        if batch_size < 1:
            raise ConfigError(f"data.batch_size is {batch_size}; it must be 1 or more, for example 128")
        for name, value in [("synthetic_digits", synthetic_digits), ("non_digits", non_digits)]:
            if value < 0:
                raise ConfigError(f"data.{name} is {value}; it must be 0 or more, for example 10000")
        if not 0 <= degradation <= 1:
            raise ConfigError(f"data.degradation is {degradation}; it must lie between 0 and 1, for example 0.4")
        if not 0 < val_fraction < 1:
            raise ConfigError(f"data.val_fraction is {val_fraction}; it must lie between 0 and 1, for example 0.1")
        self.data_dir = data_dir
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.augmentation = augmentation
        self.synthetic_digits, self.non_digits, self.degradation = synthetic_digits, non_digits, degradation
        self.extra_dir = extra_dir
        self.seed = seed
        # The same data may lie elsewhere when a run is resumed.
        self.save_hyperparameters(ignore=["data_dir", "extra_dir"])
        self.train_set = self.val_set = self.test_set = TensorDataset(torch.empty(0, 28, 28, dtype=torch.uint8))

    def prepare_data(self) -> None:
        """Fetches what is missing or damaged, on one process of each machine."""
        fetch_mnist(self.data_dir)

    def setup(self, stage: str) -> None:
        """Reads the images as uint8 (N, 28, 28), 47 MB where float32 would be 188, onto the trainer's device."""
        if stage == "test":
            self.test_set = self._on_device(*self._read(train=False))
        else:
            images, labels = self._read(train=True)
            val, train = split_indices(len(images), self.val_fraction)
            parts = [(images[train], labels[train])]
            if self.synthetic_digits or self.non_digits:
                parts.append(write_framed(self.synthetic_digits, self.non_digits))
            if self.extra_dir:
                parts.append(read_framed(Path(self.extra_dir)))
            self.train_set = self._on_device(*map(torch.cat, zip(*parts, strict=True)))
            self.val_set = self._on_device(images[val], labels[val])

    def train_dataloader(self) -> DataLoader:
        return self._load(self.train_set, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._load(self.val_set, batch_size=500)

    def test_dataloader(self) -> DataLoader:
        return self._load(self.test_set, batch_size=500)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """uint8 (N, 28, 28) becomes ink, float32 (N, 1, 28, 28); training images are distorted on the way."""
        images, labels = batch
        ink = images.unsqueeze(1).float() / 255
        if self.trainer is not None and self.trainer.training:
            ink = self.varied(ink)
        return ink, labels

    def varied(self, ink: Tensor) -> Tensor:
        """Ink, float (N, 1, 28, 28), to learn from: `pad` of it drawn anew, some as it is, the rest distorted."""
        redrawn = round(len(ink) * self.degradation)  # batches are shuffled: the first images are any images
        plain = redrawn + len(ink) // PLAIN
        changes: list[Callable[[Tensor], Tensor]] = [
            degrade,
            torch.clone,
            augment if self.augmentation else torch.clone,
        ]
        parts = zip(changes, ink.tensor_split([redrawn, plain]), strict=True)
        return torch.cat([change(part) for change, part in parts if len(part)])

    def _read(self, train: bool) -> tuple[Tensor, Tensor]:
        mnist = MNIST(os.fspath(self.data_dir), train=train)
        return mnist.data, mnist.targets

    def _on_device(self, images: Tensor, labels: Tensor) -> TensorDataset:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return TensorDataset(images.to(device), labels.to(device))

    def _load(self, dataset: TensorDataset, batch_size: int, shuffle: bool = False) -> DataLoader:
        sampler = WholeBatches(
            len(dataset), batch_size, shuffle=shuffle, seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            ranks=self.trainer.world_size if self.trainer else 1,
            device=dataset.tensors[0].device,
        )  # fmt: skip
        # No workers: slicing a batch takes less time than handing it over from another process would.
        # A generator, since DataLoader otherwise draws from torch's own whenever it starts.
        return DataLoader(dataset, sampler=sampler, batch_size=None, generator=torch.Generator())


def read_framed(folder: Path) -> tuple[Tensor, Tensor]:
    """Labelled pictures of any size in folders 0 to 9, framed as MNIST: uint8 (N, 28, 28), and int64 (N,).

    Raises ConfigError where there are none, DatasetError, with its name, where one cannot be read or is blank.
    """
    framing, images, labels = Framing(), [], []
    for path in find_labeled_images(folder):
        try:
            ink, blank = framing(torch.from_numpy(load_image(path).copy())[None])
        except (ImageError, OSError) as error:
            raise DatasetError(f"{error}. Take it out of {folder}") from error
        if blank:
            raise DatasetError(f"{path}: there is nothing to read in it. Take it out of {folder}")
        images.append((ink[0] * 255).round().to(torch.uint8))
        labels.append(int(path.parent.name))
    return torch.stack(images), torch.tensor(labels)


def write_framed(digits: int, none: int) -> tuple[Tensor, Tensor]:
    """Synthesised handwriting, framed as MNIST: uint8 (N, 28, 28), and int64 (N,), -1 for what is no digit.

    The same in every run, as MNIST is. Some thousand in a second.
    """
    framing, images, labels = Framing(), [], []
    with Progress(transient=True, disable=not sys.stdout.isatty()) as progress:
        writing = progress.add_task("Writing digits", total=digits + none)
        for pictures, digits_of in synthetic_batches(digits, none, seed=SPLIT_SEED):
            ink, _ = framing(torch.from_numpy(pictures)[..., None])
            images.append((ink * 255).round().to(torch.uint8))
            labels.append(torch.from_numpy(digits_of))
            progress.advance(writing, len(pictures))
    return torch.cat(images), torch.cat(labels)


def split_indices(size: int, val_fraction: float) -> tuple[Tensor, Tensor]:
    """Indices, int64, of the validation and the training images: disjoint, complete, the same in every run."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(SPLIT_SEED))
    val, train = order.tensor_split([round(size * val_fraction)])
    if not (len(val) and len(train)):
        raise ConfigError(
            f"data.val_fraction is {val_fraction}, which splits {size} images into {len(train)} to train on and"
            f" {len(val)} to validate with; both must get some, for example with 0.1"
        )
    return val, train
