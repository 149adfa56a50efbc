"""What can go wrong on purpose, and how a command says it: one clear line and an exit status."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn


class DigitnetError(Exception):
    """The base of every error that digitnet raises on purpose. Its text is one line for the user."""


class ConfigError(DigitnetError, ValueError):
    """An option or argument has a value that cannot work."""


class DatasetError(DigitnetError):
    """The MNIST files cannot be had, or a folder that should hold them does not."""


class CheckpointError(DigitnetError):
    """A checkpoint is missing, damaged, not one of digitnet's, or does not fit the run."""


class DivergedError(DigitnetError):
    """Training went wrong: the loss is no longer a number."""


class RankLostError(DigitnetError):
    """Another of the processes that train together is gone, and with it what they say to each other."""


class ExportError(DigitnetError):
    """The exported file is not what was asked for, or does not compute what the checkpoint does."""


class ModelError(DigitnetError):
    """An ONNX file is missing, damaged, or not one of digitnet's."""


class ImageError(DigitnetError, ValueError):
    """A picture cannot be read: not a picture, damaged, too large, or an array of the wrong kind."""


class WorkerError(DigitnetError):
    """One of the processes that read pictures is gone."""


class Interrupted(SystemExit):
    """Ctrl-C or SIGTERM arrived. Exits with the shell's status for the signal (130 or 143)."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signal_name = signal.Signals(signum).name


def _raise_interrupted(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(signum)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what a user can mend into one line on stderr and exit status 2, and an interrupt into 130 or 143.

    Anything else is a bug of ours and keeps its traceback. Works as a decorator too.
    """
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
        handlers = {s: signal.signal(s, _raise_interrupted) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Interrupted as interrupt:
        print(f"Interrupted ({interrupt.signal_name}).", file=sys.stderr)
        raise
    except RankLostError as error:
        _say(str(error))
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
        # At once: what is left of the group of ranks is taken apart when Python ends, and now and then aborts it.
        os._exit(1)
    except (DivergedError, WorkerError, ExportError) as error:
        _fail(str(error), status=1)
    except DigitnetError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "digitnet":
            raise
        extra = "app" if error.name in ("gradio", "starlette") else "train"
        _fail(f"The package {error.name!r} is missing. Install what this takes: pip install 'digitnet[{extra}]'")
    except BrokenPipeError:  # whoever read our output has seen enough: predict ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno is None or "libtorch" in str(error):
            raise
        _fail(f"{error.filename or 'A file'}: {error.strerror}. Mend that, or choose another folder.")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _fail(
            "The installed torch and torchvision are builds that do not fit each other (no operator torchvision::nms)."
            " Install a matching pair: pip install --force-reinstall torch torchvision -c constraints.txt"
        )
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _fail(message: str, status: int = 2) -> NoReturn:
    _say(message)
    raise SystemExit(status)


def _say(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
