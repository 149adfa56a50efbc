"""Handwritten digits, from a raw picture to the digit: a small network trained on MNIST with PyTorch Lightning.

This package imports without torch, so that programs which only read digits need not install it.
Training lives in `digitnet.data`, `digitnet.model` and `digitnet.trainer`; start with `train.py`.
"""

from digitnet.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    DigitnetError,
    DivergedError,
    ExportError,
    ImageError,
    ModelError,
    RankLostError,
    WorkerError,
)
from digitnet.inference.classifier import DigitClassifier, Prediction

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DigitClassifier",
    "DigitnetError",
    "DivergedError",
    "ExportError",
    "ImageError",
    "ModelError",
    "Prediction",
    "RankLostError",
    "WorkerError",
    "__version__",
]
