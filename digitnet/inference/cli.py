"""The `predict` command: classify images in files, directories, archives and arrays."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from digitnet.console import OptionParser, one_line_errors
from digitnet.errors import ConfigError, WorkerError
from digitnet.inference.batch import ChunkPredictions, available_cores, predict_chunks
from digitnet.inference.classifier import DigitClassifier
from digitnet.inference.sources import find_chunks, read_list
from digitnet.inference.writers import FORMATS, open_writer, skip_written

MAX_THREADS = 1024


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.

    Raises:
        SystemExit: Always, with the exit status: 0, 1 if an image could not be decoded, 2 for invalid options.
    """
    options = build_parser().parse_args(args)
    check_threads(options.threads)
    raise SystemExit(predict(options))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(prog="digitnet predict", description="Predicts which digit each image shows.")
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE|DIR|-",
        help="images, directories, .tar, .npy, .npz (its array `images`) or IDX files, - for one image on stdin",
    )
    parser.add_argument("--files-from", metavar="LIST", help="file that names one input per line; - for stdin")
    parser.add_argument("--format", choices=FORMATS, default="table", help="output format; json is one object per line")
    parser.add_argument("--output", type=Path, help="file (for parquet, a directory) to write instead of printing")
    parser.add_argument("--resume", action="store_true", help="complete the --output of an interrupted run")
    parser.add_argument("--probabilities", action="store_true", help="add the probabilities of all ten digits")
    add_model_options(parser)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--model` and `--threads`, which every command that classifies images has.

    Args:
        parser: The parser of the command.
    """
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file (default: the released model)")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), help="number of CPU cores to use (default: all)"
    )


def check_threads(threads: int) -> None:
    """Check the option `--threads`.

    Args:
        threads: Its value.

    Raises:
        ConfigError: If it is out of range.
    """
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigError(f"threads is {threads}; it must be from 1 to {MAX_THREADS}")


def predict(options: argparse.Namespace) -> int:
    """Write the predictions for each image, chunk by chunk.

    Args:
        options: The command's options.

    Returns:
        The exit status: 0, or 1 if an image could not be decoded.

    Raises:
        ConfigError: If the options contradict each other or name no image.
        WorkerError: If a worker process was killed.
    """
    if options.files_from and options.inputs:
        raise ConfigError(
            f"expected --files-from or names of images, got both: {options.files_from} and {options.inputs[0]}"
        )
    if not options.files_from and not options.inputs:
        raise ConfigError("no image to classify; name files or directories, or a list of them: --files-from LIST")
    try:
        return 1 if _write_predictions(options) else 0
    except WorkerError as error:
        if options.output is None:
            raise
        raise WorkerError(f"{error}. {options.output} is not complete: complete it with --resume") from error


def _write_predictions(options: argparse.Namespace) -> int:
    """Write the predictions for each image, and return how many images could not be decoded."""
    classifier = DigitClassifier(options.model)
    chunks = find_chunks(read_list(options.files_from) if options.files_from else options.inputs)
    with open_writer(options.output, options.format, options.probabilities, options.resume) as writer:
        failed = writer.failed
        printed = options.output is None and sys.stdout.isatty()  # the records themselves show the progress
        predicted = predict_chunks(classifier, skip_written(chunks, writer), options.threads)
        for predictions in predicted if printed else track_chunks(predicted):
            writer.write(predictions)
            failed += print_errors(predictions)
    return failed


def print_errors(predictions: ChunkPredictions) -> int:
    """Print one line for each image that could not be decoded.

    Args:
        predictions: The predictions for one chunk.

    Returns:
        The number of these images.
    """
    for error in predictions.errors.values():
        print(f"error: {error}", file=sys.stderr)
    return len(predictions.errors)


def track_chunks(chunks: Iterable[ChunkPredictions], total: int | None = None) -> Iterator[ChunkPredictions]:
    """Show a progress bar on the terminal while chunks of predictions are consumed.

    Args:
        chunks: The predictions.
        total: Number of images, if it is known.

    Yields:
        The same chunks.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(), *Progress.get_default_columns()[1:], MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[speed]:,.0f} images/s"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task, start, done = progress.add_task("Classifying", total=total, speed=0.0), time.monotonic(), 0
        for predictions in chunks:
            yield predictions
            done += len(predictions.names)
            progress.update(task, completed=done, speed=done / (time.monotonic() - start))
