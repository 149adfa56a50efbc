"""The `digitnet` command: read pictures, or measure how well a folder of labelled ones is read."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from digitnet.data.mnist import fetch_mnist, read_test_set
from digitnet.errors import ConfigError, one_line_errors
from digitnet.evaluation.corruptions import CORRUPTIONS, PAGES
from digitnet.evaluation.metrics import LabeledPrediction, find_labeled_images, robustness, save_mistakes, summarize
from digitnet.inference.batch import Rows, available_cores, predict_chunks
from digitnet.inference.classifier import DigitClassifier
from digitnet.inference.sources import find_chunks, listed
from digitnet.inference.writers import FORMATS, open_output, without_done

MAX_THREADS = 1024


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Runs the command. Exits with 0; with 1 where a picture could not be read; with 2 where nothing could be done."""
    options = _parser().parse_args(args)
    if not 1 <= options.threads <= MAX_THREADS:
        raise ConfigError(f"threads is {options.threads}; it must be from 1 to {MAX_THREADS}")
    raise SystemExit(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="digitnet", description="Reads handwritten digits from pictures.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="read pictures", description="Says which digit each picture shows.")
    predict.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE|DIR|-",
        help="pictures, folders, .tar, .npy, .npz (its array images) or IDX files of them, - for a picture on stdin",
    )
    predict.add_argument("--files-from", metavar="LIST", help="a file with an input a line; - for stdin")
    predict.add_argument("--format", choices=FORMATS, default="table", help="json is one object a line")
    predict.add_argument("--output", type=Path, help="file, for parquet a folder, to write instead of printing")
    predict.add_argument("--resume", action="store_true", help="go on with an output that was begun and not ended")
    predict.add_argument("--all", action="store_true", help="the probabilities of all ten digits, too")
    predict.set_defaults(run=run_predict)
    evaluate = commands.add_parser(
        "evaluate",
        help="measure accuracy",
        description="Reads pictures in folders 0/ to 9/, or MNIST made hard, and says how well.",
    )
    evaluate.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="DIR|MODEL",
        help="folders that hold folders 0 to 9; .onnx files to compare",
    )
    evaluate.add_argument("--mistakes", type=Path, default="mistakes.png", help="where to draw the worst mistakes")
    evaluate.add_argument("--robustness", action="store_true", help="read MNIST's test set, made hard in 23 ways")
    evaluate.add_argument("--data_dir", default="data", help="where MNIST lies or is fetched to (default: data)")
    evaluate.set_defaults(run=run_evaluate)
    for command in (predict, evaluate):
        command.add_argument("--model", type=Path, metavar="ONNX", help="model file; the released one unless given")
        command.add_argument(
            "--threads",
            type=int,
            default=available_cores(),
            help="CPU cores to use (default: all)",
        )
    return parser


def run_predict(options: argparse.Namespace) -> int:
    """Writes what each picture is read as, block by block."""
    if options.files_from and options.inputs:
        raise ConfigError(f"--files-from {options.files_from} beside {options.inputs[0]}; name pictures one way")
    if not options.files_from and not options.inputs:
        raise ConfigError("no picture to read; name files or folders, or a list of them: --files-from LIST")
    classifier = DigitClassifier(options.model)
    blocks = find_chunks(listed(options.files_from) if options.files_from else options.inputs)
    with open_output(options.output, options.format, options.all, options.resume) as output:
        failed = output.failed
        for rows in watched(predict_chunks(classifier, without_done(blocks, output), options.threads)):
            output.write(rows)
            failed += say_errors(rows)
    return 1 if failed else 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Prints accuracy, calibration and confusion of each model on each folder, and draws the worst mistakes."""
    models = [path for path in options.inputs if path.suffix == ".onnx"] or [options.model]
    folders = [path for path in options.inputs if path.suffix != ".onnx"]
    if options.model and models != [options.model]:
        raise ConfigError(f"--model {options.model} beside {models[0]}; name the models to compare one way")
    if options.robustness:
        if folders:
            raise ConfigError(
                f"--robustness reads MNIST with .onnx files; {folders[0]} is neither. Leave one of them out"
            )
        return _print_robustness(models, options)
    if not folders:
        raise ConfigError("no folder to evaluate on; name one that holds folders 0 to 9 with pictures in them")
    labelled = {folder: {path: int(path.parent.name) for path in find_labeled_images(folder)} for folder in folders}
    failed, mistakes = 0, []
    for classifier in [DigitClassifier(model) for model in models]:
        for folder in folders:
            readings = []
            blocks = find_chunks(map(str, labelled[folder]))
            for rows in watched(predict_chunks(classifier, blocks, options.threads), len(labelled[folder])):
                readings += [
                    LabeledPrediction(name, labelled[folder][Path(name)], rows.prediction(place))
                    for place, name in enumerate(rows.names)
                    if place not in rows.errors
                ]
                failed += say_errors(rows)
            if readings:
                if len(models) * len(folders) > 1:
                    print(f"{classifier.path} on {folder}")
                print(summarize(readings))
                mistakes += [reading for reading in readings if not reading.right]
    if save_mistakes(mistakes, options.mistakes):
        print(f"The worst mistakes: {options.mistakes}")
    return 1 if failed else 0


def _print_robustness(models: list[Path | None], options: argparse.Namespace) -> int:
    classifiers = [DigitClassifier(model, options.threads) for model in models]  # first: the rest takes minutes
    fetch_mnist(options.data_dir)
    images, labels = read_test_set(options.data_dir)
    for classifier in classifiers:
        print(f"{classifier.path} on the {len(images):,} test images of MNIST\n")
        print("| made hard by | right | called none |\n|---|---|---|")
        rows = []
        for name, right, rejected in robustness(classifier, images, labels):
            print(f"| {name.replace('_', ' ')} | {right:.2%} | {rejected:.2%} |", flush=True)
            rows.append((name, right))
        for group, ways in (("fifteen, as MNIST-C's", CORRUPTIONS), ("pages", PAGES)):
            print(f"| mean of the {group} | {np.mean([right for name, right in rows if name in ways]):.2%} | |")
    return 0


def say_errors(rows: Rows) -> int:
    """Prints a line for each picture that could not be read; how many there were."""
    for error in rows.errors.values():
        print(f"error: {error}", file=sys.stderr)
    return len(rows.errors)


def watched(all_rows: Iterable[Rows], total: int | None = None) -> Iterator[Rows]:
    """The same rows, with a count of them on the terminal."""
    progress = Progress(total)
    for rows in all_rows:
        yield rows
        progress.step(len(rows.names))
    progress.close()


class Progress:
    """A count on the terminal, from the third second on; nothing where stderr is no terminal."""

    def __init__(self, total: int | None) -> None:
        self.done, self.total, self.start, self.shown = 0, total, time.monotonic(), False

    def step(self, count: int) -> None:
        self.done += count
        seconds = time.monotonic() - self.start
        if seconds > 2 and sys.stderr.isatty():
            of = f" of {self.total:,}" if self.total else ""
            print(
                f"\r{self.done:,}{of} pictures, {self.done / seconds:,.0f} a second",
                end="",
                file=sys.stderr,
                flush=True,
            )
            self.shown = True

    def close(self) -> None:
        if self.shown:
            print(file=sys.stderr)
