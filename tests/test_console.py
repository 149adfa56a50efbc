import io
import logging
import sys

import pytest

from digitnet.console import OptionParser, log_to_stderr, track
from digitnet.errors import ConfigError


@pytest.fixture
def root_logger():
    """The logger of the package, which gets its handlers back after the test."""
    logger = logging.getLogger("digitnet")
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.level = handlers, level


def test_an_invalid_option_is_one_line_that_names_the_help_of_its_command():
    parser = OptionParser(prog="digitnet some")
    parser.add_argument("--number", type=int)
    with pytest.raises(ConfigError) as caught:
        parser.parse_args(["--number", "many"])
    assert (
        str(caught.value) == "argument --number: invalid int value: 'many' (`digitnet some --help` lists the options)"
    )


def test_a_message_is_one_line_on_stderr_however_often_logging_is_enabled(root_logger, capsys):
    log_to_stderr()
    log_to_stderr()
    logging.getLogger("digitnet.some.module").info("a message")
    logging.getLogger("digitnet.some.module").debug("a detail")
    logging.getLogger("another.package").info("not ours")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "a message\n")


def test_messages_follow_a_stream_that_replaces_stderr(root_logger, monkeypatch, capsys):
    log_to_stderr()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    root_logger.warning("a message")
    assert sys.stderr.getvalue() == "a message\n"
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_progress_bar_passes_each_item_on_and_is_shown_on_a_terminal_only(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(iter("abc"), 3, "Doing it")) == ["a", "b", "c"]
    assert ("Doing it" in sys.stderr.getvalue()) == (stream is Terminal)
