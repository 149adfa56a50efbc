"""Exceptions. console.py reports them as one line."""

import signal

EXIT_SIGNAL = 128  # plus the number of the signal, as in shells


class DigitnetError(Exception):
    """The base class of digitnet's exceptions. The message is one line for the user."""


class ConfigError(DigitnetError, ValueError):
    """An option or argument has an invalid value."""


class DatasetError(DigitnetError):
    """The MNIST files cannot be downloaded, or a directory does not contain usable images."""


class CheckpointError(DigitnetError):
    """A checkpoint is missing, damaged, belongs to another network, or does not fit the run."""


class DivergedError(DigitnetError):
    """Training diverged: the outputs of the network are not finite."""


class RankLostError(DigitnetError):
    """Another process of a distributed run has ended."""


class ExportError(DigitnetError):
    """The exported file is not what was requested, or its outputs differ from the checkpoint's."""


class RegressionError(DigitnetError):
    """An adapted model is worse than the one that it would replace."""


class ModelError(DigitnetError):
    """An ONNX file is missing, damaged, or not a model of digitnet."""


class ImageError(DigitnetError, ValueError):
    """An image cannot be used: it is not an image, damaged, too large, or an array of the wrong type."""


class ImageSizeError(ImageError):
    """An image has too many pixels.

    Args:
        message: One line for the user.
        pixels: The number of pixels of the image.
    """

    def __init__(self, message: str, pixels: int = 0) -> None:
        super().__init__(message)
        self.pixels = pixels


class WorkerError(DigitnetError):
    """A worker process of batch inference has ended."""


class Interrupted(SystemExit):
    """SIGINT (Ctrl-C) or SIGTERM was received. The exit status is 130 or 143, as in shells.

    Args:
        signum: Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(EXIT_SIGNAL + signum)
        self.signal_name = signal.Signals(signum).name
