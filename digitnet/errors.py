"""Exceptions, and how commands report them: one line on the standard error stream, and an exit status."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_FAILURE = 1  # the command could not do its work
EXIT_USAGE = 2  # invalid options or inputs; argparse uses the same status
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


def _raise_interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal."""
    raise Interrupted(signum)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Report the errors that a user can fix as one line, as a context manager or decorator of a command.

    The exit status is 1 if the command failed, 2 if options or inputs are invalid, 130 after SIGINT and 143 after
    SIGTERM. Other exceptions are bugs and keep their traceback.

    Yields:
        Nothing.

    Raises:
        SystemExit: With the exit status, after the error was printed.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
        handlers = {s: signal.signal(s, _raise_interrupted) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Interrupted as interrupt:
        print(f"Interrupted ({interrupt.signal_name}).", file=sys.stderr)
        raise
    except RankLostError as error:
        _exit_rank(error)
    except (DivergedError, WorkerError, ExportError, RegressionError) as error:
        _fail(str(error), EXIT_FAILURE)
    except DigitnetError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail_missing_package(error)
    except BrokenPipeError:  # the output is no longer read, as in `predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python complains at exit
        raise SystemExit(EXIT_FAILURE) from None
    except OSError as error:
        if error.errno is None or "libtorch" in str(error):
            raise
        advice = "Check the permissions and free space, or use another directory."
        _fail(f"{error.filename or 'A file'}: {error.strerror}. {advice}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _fail(
            "The builds of torch and torchvision do not match (no operator torchvision::nms)."
            " Install a matching pair: pip install --force-reinstall torch torchvision -c constraints.txt"
        )
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _exit_rank(error: RankLostError) -> NoReturn:
    """Report the error and end this process at once, because destroying the process group sometimes aborts it."""
    _report(str(error))
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()
    os._exit(EXIT_FAILURE)


def _fail_missing_package(error: ModuleNotFoundError) -> NoReturn:
    """Report which extra of digitnet a missing package belongs to; a missing module of digitnet is a bug."""
    if error.name is None:  # raised by a library, with instructions
        _fail(str(error))
    if error.name.partition(".")[0] == "digitnet":
        raise error
    extra = "app" if error.name in ("gradio", "starlette") else "train"
    _fail(f"The package {error.name!r} is missing. Install what this command needs: pip install 'digitnet[{extra}]'")


def _fail(message: str, status: int = EXIT_USAGE) -> NoReturn:
    """Report an error and exit."""
    _report(message)
    raise SystemExit(status)


def _report(message: str) -> None:
    """Print an error as one line."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
