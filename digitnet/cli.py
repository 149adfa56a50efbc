"""The `digitnet` command: read pictures, or measure how well a folder of labelled ones is read."""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path

import numpy as np

from digitnet.classifier import DigitClassifier, Prediction, to_array
from digitnet.corruptions import CORRUPTIONS, PAGES
from digitnet.errors import ConfigError, PictureError, one_line_errors
from digitnet.evaluation import ENDINGS, Reading, draw_mistakes, labelled_pictures, robustness, summarise
from digitnet.mnist import fetch_mnist, read_test_set

BATCH = 256  # pictures decoded before they are read together ...
BATCH_BYTES = 2**24  # ... or fewer large ones
Source = str | Path  # a file, or "-" for standard input


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Runs the command. Exits with 0; with 1 where a picture could not be read; with 2 where nothing could be done."""
    options = _parser().parse_args(args)
    raise SystemExit(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="digitnet", description="Reads handwritten digits from pictures.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="read pictures", description="Says which digit each picture shows.")
    predict.add_argument("inputs", nargs="+", metavar="FILE|DIR|-", help="pictures, folders of them, - for stdin")
    predict.add_argument("--format", choices=sorted(_FORMATS), default="table", help="json is one object a line")
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
        command.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser


def run_predict(options: argparse.Namespace) -> int:
    """Prints what each picture is read as, batch by batch."""
    classifier = DigitClassifier(options.model, options.threads)
    write = _FORMATS[options.format](options.all)
    failed = 0
    for source, result in read_pictures(classifier, find_pictures(options.inputs)):
        if isinstance(result, Prediction):
            write(str(source), result)
        else:
            failed += 1
            print(f"error: {result}", file=sys.stderr)
    return 1 if failed else 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Prints accuracy, calibration and confusion of each model on each folder, and draws the worst mistakes."""
    models = [path for path in options.inputs if path.suffix == ".onnx"] or [options.model]
    folders = [path for path in options.inputs if path.suffix != ".onnx"]
    if options.model and models != [options.model]:
        raise ConfigError(f"--model {options.model} beside {models[0]}; name the models to compare one way")
    if options.robustness:
        if folders:
            raise ConfigError(f"--robustness reads MNIST, not {folders[0]}; evaluate that without it")
        return _print_robustness(models, options)
    if not folders:
        raise ConfigError("no folder to evaluate on; name one that holds folders 0 to 9 with pictures in them")
    labelled = {folder: {path: int(path.parent.name) for path in labelled_pictures(folder)} for folder in folders}
    failed, mistakes = 0, []
    for model in models:
        classifier = DigitClassifier(model, options.threads)
        for folder in folders:
            readings = []
            for source, result in read_pictures(classifier, labelled[folder]):
                if isinstance(result, Prediction):
                    readings.append(Reading(str(source), labelled[folder][Path(source)], result))
                else:
                    failed += 1
                    print(f"error: {result}", file=sys.stderr)
            if readings:
                if len(models) * len(folders) > 1:
                    print(f"{classifier.path} on {folder}")
                print(summarise(readings))
                mistakes += [reading for reading in readings if not reading.right]
    if draw_mistakes(mistakes, options.mistakes):
        print(f"The worst mistakes: {options.mistakes}")
    return 1 if failed else 0


def _print_robustness(models: list[Path | None], options: argparse.Namespace) -> int:
    fetch_mnist(options.data_dir)
    images, labels = read_test_set(options.data_dir)
    for model in models:
        classifier = DigitClassifier(model, options.threads)
        print(f"{classifier.path} on the {len(images):,} test images of MNIST\n")
        print("| made hard by | right | called none |\n|---|---|---|")
        rows = []
        for name, right, rejected in robustness(classifier, images, labels):
            print(f"| {name.replace('_', ' ')} | {right:.2%} | {rejected:.2%} |", flush=True)
            rows.append((name, right))
        for group, ways in (("fifteen, as MNIST-C's", CORRUPTIONS), ("pages", PAGES)):
            print(f"| mean of the {group} | {np.mean([right for name, right in rows if name in ways]):.2%} | |")
    return 0


def find_pictures(inputs: Iterable[str]) -> Iterator[Source]:
    """The files that the arguments name, and the pictures in the folders they name, in order."""
    for name in inputs:
        path = Path(name)
        if name not in ("", "-") and path.is_dir():
            # An empty folder is passed on, to be reported among the pictures.
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS) or [path]
        else:
            yield name


def read_pictures(
    classifier: DigitClassifier, sources: Iterable[Source]
) -> Iterator[tuple[Source, Prediction | PictureError]]:
    """What each picture is read as, or why it cannot be, in order; a batch at a time, so that memory stays small."""
    progress = Progress(len(sources) if isinstance(sources, Sized) else None)
    arrays: list[np.ndarray] = []
    waiting: list[tuple[Source, PictureError | None]] = []

    def results() -> Iterator[tuple[Source, Prediction | PictureError]]:
        predictions = iter(classifier([*arrays]))
        for source, error in waiting:
            yield source, error or next(predictions)
        progress.step(len(waiting))
        arrays.clear()
        waiting.clear()

    for source in sources:
        try:
            arrays.append(_load(source))
            waiting.append((source, None))
        except PictureError as error:
            waiting.append((source, error))
        if len(waiting) == BATCH or sum(array.size for array in arrays) > BATCH_BYTES:
            yield from results()
    yield from results()
    progress.close()


def _load(source: Source) -> np.ndarray:
    try:
        if source and Path(source).is_dir():
            raise PictureError(f"{source}: a folder without pictures ({', '.join(sorted(ENDINGS))})")
        if source == "-" and sys.stdin is None:
            raise PictureError("-: standard input is closed")
        return to_array(sys.stdin.buffer.read()) if source == "-" else to_array(source)
    except OSError as error:
        raise PictureError(f"{source or repr(source)}: {error.strerror}") from error


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


Writer = Callable[[str, Prediction], None]


def _table(all_digits: bool) -> Writer:
    def write(name: str, prediction: Prediction) -> None:
        digit = "-" if prediction.label is None else prediction.label
        rest = "  " + " ".join(f"{p:.3f}" for p in prediction.probabilities) if all_digits else ""
        print(f"{digit}  {prediction.confidence:7.2%}  {name}{rest}", flush=True)

    return write


def _json(all_digits: bool) -> Writer:
    def write(name: str, prediction: Prediction) -> None:
        row: dict[str, object] = {"file": name, "label": prediction.label, "confidence": prediction.confidence}
        if all_digits:
            row["probabilities"] = prediction.probabilities.tolist()
        print(json.dumps(row), flush=True)

    return write


def _csv(all_digits: bool) -> Writer:
    rows = csv.writer(sys.stdout)
    rows.writerow(["file", "label", "confidence", *([f"probability_{d}" for d in range(10)] if all_digits else [])])

    def write(name: str, prediction: Prediction) -> None:
        label = "" if prediction.label is None else prediction.label
        rows.writerow([name, label, prediction.confidence, *(prediction.probabilities.tolist() if all_digits else [])])

    return write


_FORMATS: dict[str, Callable[[bool], Writer]] = {"table": _table, "json": _json, "csv": _csv}
