"""The `evaluate` command: measure the accuracy on labeled images or on corrupted MNIST."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from digitnet.console import OptionParser, log_to_stderr, one_line_errors, track
from digitnet.contract import NUM_CLASSES
from digitnet.data.mnist import fetch_mnist, read_test_set
from digitnet.errors import ConfigError
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.image_grids import save_mistakes
from digitnet.evaluation.metrics import (
    CALIBRATION_BINS,
    LabeledPrediction,
    accuracy,
    calibration_error,
    count_confusion,
    coverage,
)
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.evaluation.robustness import RobustnessResult, measure_robustness
from digitnet.inference.batch import predict_chunks
from digitnet.inference.classifier import DigitClassifier
from digitnet.inference.cli import add_model_options, check_threads, print_errors, track_chunks
from digitnet.inference.sources import find_chunks, find_labeled_images

MIN_WIDTH = 100  # columns of a table that is not printed to a terminal


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.

    Raises:
        SystemExit: Always, with the exit status: 0, 1 if an image could not be decoded, 2 for invalid options.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    check_threads(options.threads)
    models, directories = split_inputs(options)
    if options.robustness:
        evaluate_robustness(models, options)
        raise SystemExit(0)
    raise SystemExit(evaluate_directories(models, directories, options))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(
        prog="digitnet evaluate",
        description="Measures the accuracy on images in directories 0/ to 9/, or on corrupted images of MNIST.",
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="DIR|MODEL",
        help="directories that contain directories 0 to 9; .onnx files to compare",
    )
    parser.add_argument(
        "--mistakes", type=Path, default=Path("mistakes.png"),
        help="image of the most confident mistakes (default: mistakes.png)",
    )  # fmt: skip
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="evaluate on MNIST's test images with 25 corruptions, and on clean pages",
    )
    parser.add_argument("--data-dir", default="data", help="where MNIST is stored or downloaded to (default: data)")
    add_model_options(parser)
    return parser


def split_inputs(options: argparse.Namespace) -> tuple[list[Path | None], list[Path]]:
    """Split the arguments into models and directories.

    Args:
        options: The command's options.

    Returns:
        The models, where None is the released one, and the directories.

    Raises:
        ConfigError: If the arguments contradict each other or name nothing to evaluate on.
    """
    models = [path for path in options.inputs if path.suffix == ".onnx"] or [options.model]
    directories = [path for path in options.inputs if path.suffix != ".onnx"]
    if options.model and models != [options.model]:
        raise ConfigError(f"expected models as arguments or as --model, got both: {models[0]} and {options.model}")
    if options.robustness and directories:
        raise ConfigError(
            f"--robustness uses MNIST and takes .onnx files only, got {directories[0]}. Leave one of them out"
        )
    if not options.robustness and not directories:
        raise ConfigError("no directory to evaluate on; name one that contains directories 0 to 9 with images")
    return models, directories


def evaluate_directories(models: list[Path | None], directories: list[Path], options: argparse.Namespace) -> int:
    """Print the metrics of each model on each directory, and save the mistakes.

    Args:
        models: Paths of models; None for the released one.
        directories: Directories with images in 0/ to 9/.
        options: The command's options.

    Returns:
        The exit status: 0, or 1 if an image could not be decoded.
    """
    labels = {
        directory: {path: int(path.parent.name) for path in find_labeled_images(directory)} for directory in directories
    }
    failed = 0
    evaluated: list[LabeledPrediction] = []
    for classifier in [DigitClassifier(model) for model in models]:
        for directory in directories:
            predictions, errors = predict_directory(classifier, labels[directory], options.threads)
            failed += errors
            if predictions:
                if len(models) * len(directories) > 1:
                    print(f"{classifier.path} on {directory}")
                print_summary(predictions)
                evaluated += predictions
    if save_mistakes(evaluated, options.mistakes):
        print(f"Most confident mistakes: {options.mistakes}")
    return 1 if failed else 0


def predict_directory(
    classifier: DigitClassifier, labels: dict[Path, int], threads: int
) -> tuple[list[LabeledPrediction], int]:
    """Classify labeled image files.

    Args:
        classifier: The classifier.
        labels: The label of each file, 0 to 9.
        threads: Number of CPU cores to use.

    Returns:
        The predictions, and the number of files that could not be decoded.
    """
    labeled, failed = [], 0
    chunks = predict_chunks(classifier, find_chunks(map(str, labels)), threads)
    for predictions in track_chunks(chunks, len(labels)):
        labeled += [
            LabeledPrediction(name, labels[Path(name)], predictions.prediction(index))
            for index, name in enumerate(predictions.names)
            if index not in predictions.errors
        ]
        failed += print_errors(predictions)
    return labeled, failed


def print_summary(predictions: list[LabeledPrediction]) -> None:
    """Print accuracy, coverage, accuracy on accepted images, calibration error and confusion matrix.

    Args:
        predictions: At least one labeled prediction.
    """
    accepted = [labeled for labeled in predictions if labeled.accepted]
    rejected = len(predictions) - len(accepted)
    print(f"accuracy                     {_describe_accuracy(predictions)}")
    print(f"coverage                     {coverage(predictions):.2%} ({rejected:,} of {len(predictions):,} rejected)")
    print(f"accuracy on accepted images  {_describe_accuracy(accepted)}")
    print(f"calibration error            {calibration_error(predictions):.2%} (ECE, {CALIBRATION_BINS} bins)")
    table = Table("label", *map(str, range(NUM_CLASSES)), "rejected", title="predicted", box=SIMPLE)
    for column in table.columns:
        column.justify = "right"
    for digit, row in enumerate(count_confusion(predictions)):
        if row.any():
            table.add_row(str(digit), *(str(count) if count else "." for count in row))
    _print_table(table)


def _describe_accuracy(predictions: list[LabeledPrediction]) -> str:
    """Return the accuracy and the number of wrong predictions as text."""
    if not predictions:
        return "none (no image was accepted)"
    wrong = sum(not labeled.correct for labeled in predictions)
    return f"{accuracy(predictions):.2%} ({wrong:,} of {len(predictions):,} wrong)"


def evaluate_robustness(models: list[Path | None], options: argparse.Namespace) -> None:
    """Print a table with the accuracy under each corruption, for each model.

    Args:
        models: Paths of models; None for the released one.
        options: The command's options.
    """
    classifiers = [DigitClassifier(model, options.threads) for model in models]  # loaded first: the rest takes minutes
    fetch_mnist(options.data_dir)
    images, labels = read_test_set(options.data_dir)
    for classifier in classifiers:
        total = 1 + len(CORRUPTIONS) + len(PAGE_CORRUPTIONS)
        results = list(track(measure_robustness(classifier, images, labels), total, "Corruptions"))
        _print_table(robustness_table(results, f"{classifier.path} on the {len(images):,} test images of MNIST"))


def robustness_table(results: list[RobustnessResult], title: str) -> Table:
    """Return a table with a row for each corruption and two rows of means.

    Args:
        results: The results of `measure_robustness`.
        title: The title of the table.

    Returns:
        The table.
    """
    table = Table("corruption", title=title, box=SIMPLE)
    table.add_column("accuracy", justify="right")
    table.add_column("rejected", justify="right")
    for result in results:
        table.add_row(result.corruption.replace("_", " "), f"{result.accuracy:.2%}", f"{result.rejected:.2%}")
    table.add_section()
    table.add_row("mean of the fifteen corruptions of MNIST-C", f"{_mean_accuracy(results, CORRUPTIONS):.2%}", "")
    table.add_row("mean of the page corruptions", f"{_mean_accuracy(results, PAGE_CORRUPTIONS):.2%}", "")
    return table


def _mean_accuracy(results: list[RobustnessResult], names: Iterable[str]) -> float:
    """Return the mean accuracy under the corruptions with these names."""
    return float(np.mean([result.accuracy for result in results if result.corruption in names]))


def _print_table(table: Table) -> None:
    """Print a table."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)  # a narrow default would break lines in a file
    console.print(table)
