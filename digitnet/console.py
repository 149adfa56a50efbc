"""What the commands share: log output and the parser of their options."""

import argparse
import logging
import sys
from typing import NoReturn

from digitnet.errors import ConfigError


class OptionParser(argparse.ArgumentParser):
    """An ArgumentParser that reports invalid options in one line, as the commands report all errors."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError in place of printing the usage and exiting."""
        raise ConfigError(f"{message} (`{self.prog} --help` lists the options)")


class _StderrHandler(logging.Handler):
    """Write each record as one line to the standard error stream of that moment, which tests replace."""

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
