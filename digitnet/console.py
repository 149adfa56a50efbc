"""What the commands share: log output, progress bars, and the parser of their options."""

import argparse
import logging
import sys
from collections.abc import Iterable
from typing import NoReturn, TypeVar

import rich.progress
from rich.console import Console

from digitnet.errors import ConfigError

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
