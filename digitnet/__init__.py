"""Handwritten digits, from a raw picture to the digit: a small network trained on MNIST with PyTorch Lightning.

This package imports without torch, so that programs which only read digits need not install it.
Training lives in `digitnet.data`, `digitnet.model` and `digitnet.trainer`; start with `train.py`.
"""

from digitnet.classifier import DigitClassifier, Prediction
from digitnet.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    DigitnetError,
    DivergedError,
    ExportError,
    ModelError,
    PictureError,
    RankLostError,
    ReaderLostError,
)

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DigitClassifier",
    "DigitnetError",
    "DivergedError",
    "ExportError",
    "ModelError",
    "PictureError",
    "Prediction",
    "RankLostError",
    "ReaderLostError",
    "__version__",
]
