"""What the commands share: errors in one line, exit statuses, log output, progress bars, and the parser of options."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

import rich.progress
from rich.console import Console

from digitnet.errors import (
    ConfigError,
    DigitnetError,
    DivergedError,
    ExportError,
    Interrupted,
    RankLostError,
    RegressionError,
    WorkerError,
)

EXIT_FAILURE = 1  # the command could not do its work
EXIT_USAGE = 2  # invalid options or inputs; argparse uses the same status

Item = TypeVar("Item")


class OptionParser(argparse.ArgumentParser):
    """An ArgumentParser that reports invalid options in one line, as the commands report all errors."""

    def error(self, message: str) -> NoReturn:
        """Report an invalid option, instead of printing the usage and exiting.

        Args:
            message: The message of argparse.

        Raises:
            ConfigError: With the message and how to list the options.
        """
        raise ConfigError(f"{message} (`{self.prog} --help` lists the options)")


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
        _fail_file(error)
    except RuntimeError as error:
        _fail_mismatched_builds(error)
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


def _fail_file(error: OSError) -> NoReturn:
    """Report a file that cannot be read or written; an error without a number, or of torch's libraries, is a bug."""
    if error.errno is None or "libtorch" in str(error):
        raise error
    advice = "Check the permissions and free space, or use another directory."
    _fail(f"{error.filename or 'A file'}: {error.strerror}. {advice}")


def _fail_mismatched_builds(error: RuntimeError) -> NoReturn:
    """Report that torch and torchvision are of different builds; other errors are bugs."""
    if "torchvision::nms" not in str(error):
        raise error
    _fail(
        "The builds of torch and torchvision do not match (no operator torchvision::nms)."
        " Install a matching pair: pip install --force-reinstall torch torchvision -c constraints.txt"
    )


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


class _StderrHandler(logging.Handler):
    """Write each record as one line to the current `sys.stderr`, looked up each time because tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


def log_to_stderr() -> None:
    """Show the messages of digitnet's loggers, from level INFO, on the standard error stream.

    Commands call this; the library itself only logs. Calling it again has no effect.
    """
    logger = logging.getLogger("digitnet")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
    logger.setLevel(logging.INFO)


def track(items: Iterable[Item], total: int, description: str) -> Iterable[Item]:
    """Show a progress bar while items are consumed, if the standard error stream is a terminal.

    Args:
        items: The items.
        total: The number of items.
        description: What is done with them, shown before the bar.

    Returns:
        The same items.
    """
    hidden = not sys.stderr.isatty()
    return rich.progress.track(items, description, total, console=Console(stderr=True), transient=True, disable=hidden)
