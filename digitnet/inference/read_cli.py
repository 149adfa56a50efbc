"""The `read` command: find the numbers in images."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from digitnet.console import OptionParser, one_line_errors
from digitnet.errors import ConfigError, ImageError
from digitnet.inference.chunks import load_named
from digitnet.inference.classifier import DigitClassifier
from digitnet.inference.images import ImageLike
from digitnet.inference.sources import find_chunks
from digitnet.numbers.number import Number

COLUMNS = ("file", "line", "text", "confidence", "left", "top", "right", "bottom")
DECIMALS = 6
DIGIT_COLOR, REJECTED_COLOR, MARK_COLOR = "#0a7d32", "#c62828", "#777777"


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.

    Raises:
        SystemExit: Always, with the exit status: 0, 1 if an image cannot be used, 2 for invalid options.
    """
    options = build_parser().parse_args(args)
    if not options.inputs:
        raise ConfigError("no image to read; name files or directories")
    raise SystemExit(1 if read(options) else 0)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(prog="digitnet read", description="Reads the number on each line of each image.")
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE|DIR|-",
        help="images, directories, .tar, .npy, .npz (its array `images`) or IDX files, - for one image on stdin",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="table", help="output format; json is one object per image and line"
    )
    parser.add_argument("--draw", type=Path, metavar="DIR", help="directory for a copy of each image with the boxes")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file (default: the released model)")
    return parser


def read(options: argparse.Namespace) -> int:
    """Print the numbers in each image.

    Args:
        options: The command's options.

    Returns:
        How many images cannot be used.
    """
    classifier = DigitClassifier(options.model)
    if options.draw:
        options.draw.mkdir(parents=True, exist_ok=True)
    if options.format == "csv":
        print(",".join(COLUMNS))
    failed = count = 0
    for name, image in _named_images(options.inputs):
        try:
            array = load_named(name, image)
            numbers = classifier.read_numbers(array)
        except ImageError as error:
            message = str(error)
            print(f"error: {message if name in message else f'{name}: {message}'}", file=sys.stderr)
            failed += 1
            continue
        print(FORMATS[options.format](name, numbers), end="", flush=True)
        if options.draw:
            count += 1
            draw_boxes(array, numbers).save(options.draw / f"{count:04d}_{Path(name.rstrip('/')).stem or 'image'}.png")
    return failed


def draw_boxes(array: np.ndarray, numbers: list[Number]) -> Image.Image:
    """Draw what was found into an image.

    Args:
        array: The image, uint8 (H, W, C).
        numbers: The numbers in it.

    Returns:
        The image with a box and the label at each digit, and a gray box around each ignored mark.
    """
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("RGB")
    pen = ImageDraw.Draw(image)
    for number in numbers:
        for digit in number.digits:
            left, top, right, bottom = digit.box
            color = REJECTED_COLOR if digit.label is None else DIGIT_COLOR
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color)
            pen.text((left, bottom), "?" if digit.label is None else str(digit.label), fill=color)
        for mark in number.marks:
            pen.rectangle(mark.box, outline=MARK_COLOR)
    return image


def _named_images(inputs: list[str]) -> Iterator[tuple[str, ImageLike | ImageError]]:
    """Yield the name and the content of each image."""
    for chunk in find_chunks(inputs):
        yield from zip(chunk.names, chunk.images, strict=True)


def to_table(name: str, numbers: list[Number]) -> str:
    """Return the numbers in an image as lines of text.

    Args:
        name: Name of the image.
        numbers: The numbers.

    Returns:
        A line per number, for example "2026   98.12%  a.png"; the text is "-" if there is none.
    """
    rows = [(number.text, f"{number.confidence:7.2%}") for number in numbers] or [("-", " " * 7)]
    return "".join(f"{text:10}  {confidence}  {name}\n" for text, confidence in rows)


def to_csv(name: str, numbers: list[Number]) -> str:
    """Return the numbers in an image as CSV records.

    Args:
        name: Name of the image.
        numbers: The numbers.

    Returns:
        A record per number with the columns of COLUMNS; an image without a number has one without text.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows: list[tuple[object, ...]] = [
        (name, line, number.text, round(number.confidence, DECIMALS), *number.box)
        for line, number in enumerate(numbers)
    ]
    writer.writerows(rows or [(name, 0, "", "", "", "", "", "")])
    return text.getvalue()


def to_json(name: str, numbers: list[Number]) -> str:
    """Return the numbers in an image as JSON lines.

    Args:
        name: Name of the image.
        numbers: The numbers.

    Returns:
        An object per number with its digits, their boxes and the ignored marks; an image without a number has one with
        the text "".
    """
    records = [
        {
            "file": name,
            "line": line,
            "text": number.text,
            "confidence": round(number.confidence, DECIMALS),
            "box": number.box,
            "digits": [
                {"label": digit.label, "confidence": round(digit.confidence, DECIMALS), "box": digit.box}
                for digit in number.digits
            ],
            "marks": [{"kind": mark.kind, "box": mark.box} for mark in number.marks],
        }
        for line, number in enumerate(numbers)
    ]
    return "".join(json.dumps(record) + "\n" for record in records or [{"file": name, "line": 0, "text": ""}])


FORMATS: dict[str, Callable[[str, list[Number]], str]] = {"table": to_table, "csv": to_csv, "json": to_json}
