"""The `digitnet` command, which runs one of seven commands, each defined in the `cli` module of its package."""

import argparse
import importlib
import sys

import digitnet
from digitnet.console import OptionParser, one_line_errors

COMMANDS = {  # the module whose `main` runs the command, and what the command does
    "train": ("digitnet.training.cli", "train a network on MNIST and test it"),
    "adapt": ("digitnet.adaptation.cli", "adapt the released model to your corrections"),
    "export": ("digitnet.export.cli", "export a checkpoint as one ONNX file"),
    "app": ("digitnet.app.cli", "open the sketchpad in a browser"),
    "predict": ("digitnet.inference.cli", "classify images"),
    "read": ("digitnet.inference.read_cli", "read whole numbers in images"),
    "evaluate": ("digitnet.evaluation.cli", "measure the accuracy on labeled images"),
}


def main(args: list[str] | None = None) -> None:
    """Run the command that the first argument names with the arguments after it.

    Only the module of this command is imported, so that `predict` and `evaluate` run without the packages for training.

    Args:
        args: The arguments, without the program's name; `sys.argv[1:]` by default.
    """
    args = sys.argv[1:] if args is None else args
    with one_line_errors():  # an import fails if the packages of an extra are not installed
        command = build_parser().parse_args(args[:1]).command
        module = importlib.import_module(COMMANDS[command][0])
    module.main(args[1:])


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the first argument.

    Returns:
        A parser of a command, `--help` or `--version`.
    """
    parser = OptionParser(
        prog="digitnet",
        description="Recognizes handwritten digits in images.",
        epilog="`digitnet COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"digitnet {digitnet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    return parser
