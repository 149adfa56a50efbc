"""The `adapt` command: adapt the released model to the corrections that the sketchpad has saved."""

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning import seed_everything
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from digitnet.adaptation.adapt import Adaptation, Report, adapt, released_checkpoint_path, save
from digitnet.adaptation.data import AdaptationDataModule
from digitnet.adaptation.module import Score
from digitnet.console import OptionParser, log_to_stderr, one_line_errors
from digitnet.errors import ConfigError
from digitnet.training.cli import MAX_SEED
from digitnet.training.runtime import configure_malloc, filter_warnings


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: adapt the model, print its accuracy, and write it unless it became worse.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    check_options(options)
    filter_warnings()
    configure_malloc()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # each run would list the devices
    seed_everything(options.seed, verbose=False)
    data = AdaptationDataModule(str(options.corrections), options.data_dir)
    with follow_progress(options.progress) as report:
        adaptation = adapt(data, options.checkpoint, report)
    print_scores(adaptation, options.progress)
    with follow_progress(options.progress) as report:
        checkpoint = save(adaptation, options.output, options.data_dir, report)
    if options.progress == "json":
        print_json(checkpoint=str(checkpoint), model=str(options.output))
    else:
        print(f"Wrote {checkpoint} and {options.output}.\nTry it: digitnet app --model {options.output}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = OptionParser(
        prog="digitnet adapt",
        description=(
            "Adapts the released model to corrected drawings. It prints the accuracy before and after, and writes a"
            " checkpoint and an ONNX file unless the model became worse."
        ),
    )
    parser.add_argument(
        "corrections",
        type=Path,
        metavar="DIR",
        help="directory with images in the directories 0 to 9, for example corrections, where the sketchpad saves them",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("checkpoints/adapted.onnx"),
        metavar="ONNX",
        help="file to write, with the checkpoint beside it as .ckpt (default: checkpoints/adapted.onnx)",
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="checkpoint to start from (default: that of the released model)"
    )
    parser.add_argument("--data-dir", default="data", help="where MNIST is stored or downloaded to (default: data)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    parser.add_argument(
        "--progress",
        choices=("bar", "json"),
        default="bar",
        help="a progress bar, if the standard error stream is a terminal, or one JSON object per line on the standard"
        " output (default: bar)",
    )
    return parser


def check_options(options: argparse.Namespace) -> None:
    """Check the options before any work.

    Args:
        options: The command's options.

    Raises:
        ConfigError: If the output is not an .onnx file, would replace the checkpoint to start from, or the seed is
            out of its range.
    """
    if options.output.suffix != ".onnx":
        raise ConfigError(f"expected an .onnx file as --output, got {options.output}")
    start = options.checkpoint or released_checkpoint_path()
    if options.output.with_suffix(".ckpt").resolve() == start.resolve():
        raise ConfigError(f"--output {options.output} would replace {start}, the checkpoint to start from")
    if not 0 <= options.seed <= MAX_SEED:
        raise ConfigError(f"seed is {options.seed}; it must be from 0 to {MAX_SEED}")


@contextmanager
def follow_progress(form: str) -> Iterator[Report]:
    """Show progress.

    Args:
        form: "bar" or "json".

    Yields:
        The function to report to.
    """
    if form == "json":
        yield lambda stage, fraction: print_json(stage=stage, fraction=round(fraction, 4))
        return
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Loading images", total=1.0)
        yield lambda stage, fraction: progress.update(task, description=stage, completed=fraction)


def print_json(**values: object) -> None:
    """Print a JSON object as one line, at once."""
    print(json.dumps(values), flush=True)


def print_scores(adaptation: Adaptation, form: str) -> None:
    """Print the accuracy before and after the adaptation.

    Args:
        adaptation: The adapted model.
        form: "bar" for a table, "json" for one JSON object.
    """
    sets = {
        "held-back corrections": (adaptation.corrections_before, adaptation.corrections_after),
        "MNIST validation": (adaptation.validation_before, adaptation.validation_after),
    }
    if form == "json":
        scores = {name: [score._asdict() for score in pair] for name, pair in sets.items()}
        print_json(scores=scores)
        return
    table = Table("images", "number", "accuracy before", "after", box=SIMPLE)
    for name, (before, after) in sets.items():
        table.add_row(name, f"{before.images:,}", *(_describe(score, score.errors) for score in (before, after)))
        misclassified = [_describe(score, score.misclassified) for score in (before, after)]
        table.add_row("  most probable digit", "", *misclassified)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)


def _describe(score: Score, errors: int) -> str:
    """Return accuracy and number of errors as text."""
    return f"{1 - errors / score.images:.2%} ({errors} errors)"
