"""Handwritten digit recognition from raw images, with a small network trained on MNIST.

`DigitClassifier` predicts digits with onnxruntime; importing this package does not import torch. The packages for
training are `digitnet.data`, `digitnet.model` and `digitnet.training`; `train.py` is the place to start reading.
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
    RegressionError,
    WorkerError,
)
from digitnet.inference.classifier import DigitClassifier, Prediction
from digitnet.numbers.number import Digit, Number

__version__ = "0.2.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "Digit",
    "DigitClassifier",
    "DigitnetError",
    "DivergedError",
    "ExportError",
    "ImageError",
    "ModelError",
    "Number",
    "Prediction",
    "RankLostError",
    "RegressionError",
    "WorkerError",
    "__version__",
]
