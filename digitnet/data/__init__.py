"""MNIST, synthetic digits, augmentation and degradation.

`MNISTDataModule` is imported on first use, because it needs torch and reading MNIST's files does not.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitnet.data.datamodule import MNISTDataModule

__all__ = ["MNISTDataModule"]


def __getattr__(name: str) -> Any:
    if name == "MNISTDataModule":
        from digitnet.data.datamodule import MNISTDataModule

        return MNISTDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
