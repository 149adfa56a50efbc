"""The `digitnet` command: read pictures, or measure how well a folder of labelled ones is read."""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from digitnet.classifier import DigitClassifier, Prediction, to_array
from digitnet.errors import ConfigError, PictureError, one_line_errors
from digitnet.evaluation import Reading, draw_mistakes, summarise

BATCH = 256  # pictures decoded before they are read together
ENDINGS = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
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
        "evaluate", help="measure accuracy", description="Reads pictures in folders 0/ to 9/ and says how well."
    )
    evaluate.add_argument("folder", type=Path, metavar="DIR", help="holds folders named 0 to 9, with pictures")
    evaluate.add_argument("--mistakes", type=Path, default="mistakes.png", help="where to draw the worst mistakes")
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
    """Prints accuracy, calibration and confusion, and draws the worst mistakes."""
    labelled = {path: int(path.parent.name) for path in _labelled_pictures(options.folder)}
    if not labelled:
        raise ConfigError(
            f"{options.folder} holds no pictures in folders named 0 to 9, for example {options.folder}/7/a.png"
        )
    classifier = DigitClassifier(options.model, options.threads)
    readings, failed = [], 0
    for source, result in read_pictures(classifier, labelled):
        if isinstance(result, Prediction):
            readings.append(Reading(str(source), labelled[Path(source)], result))
        else:
            failed += 1
            print(f"error: {result}", file=sys.stderr)
    if readings:
        print(summarise(readings))
        if draw_mistakes(readings, options.mistakes):
            print(f"The worst mistakes: {options.mistakes}")
    return 1 if failed else 0


def find_pictures(inputs: Iterable[str]) -> Iterator[Source]:
    """The files that the arguments name, and the pictures in the folders they name, in order. Raises ConfigError."""
    for name in inputs:
        path = Path(name)
        if name != "-" and path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS)
            if not found:
                raise ConfigError(f"{name} holds no pictures ({', '.join(sorted(ENDINGS))})")
            yield from found
        else:
            yield name


def _labelled_pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; it must hold folders 0 to 9 with pictures in them")
    return [
        path
        for digit in range(10)
        for path in sorted((folder / str(digit)).glob("*"))
        if path.suffix.lower() in ENDINGS
    ]


def read_pictures(
    classifier: DigitClassifier, sources: Iterable[Source]
) -> Iterator[tuple[Source, Prediction | PictureError]]:
    """What each picture is read as, or why it cannot be, in order; a batch at a time, so that memory stays small."""
    progress = Progress(len(sources) if isinstance(sources, Sized) else None)
    for batch in _batched(sources, BATCH):
        arrays: list[np.ndarray] = []
        results: list[Prediction | PictureError | None] = []
        for source in batch:
            try:
                arrays.append(to_array(sys.stdin.buffer.read()) if source == "-" else to_array(source))
                results.append(None)
            except PictureError as error:
                results.append(error)
            except OSError as error:
                results.append(PictureError(f"{source}: {error.strerror}"))
        predictions = iter(classifier([*arrays]))
        for source, result in zip(batch, results, strict=True):
            yield source, next(predictions) if result is None else result
        progress.step(len(batch))
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


T = TypeVar("T")


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


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
