"""Text formats of predictions: a table, CSV, and JSON lines."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from digitnet.contract import NUM_CLASSES
from digitnet.inference.batch import ChunkPredictions

DECIMALS = 6  # float32 has seven significant digits
PROBABILITY_COLUMNS = tuple(f"probability_{digit}" for digit in range(NUM_CLASSES))

Columns = dict[str, list[Any]]


def column_names(probabilities: bool) -> list[str]:
    """Return the names of the columns.

    Args:
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        The names, in order.
    """
    return ["file", "label", "confidence", *(PROBABILITY_COLUMNS if probabilities else ()), "error"]


def to_columns(predictions: ChunkPredictions, probabilities: bool) -> Columns:
    """Return predictions as columns.

    Args:
        predictions: The predictions for N images.
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        The N values of each column. The label is None if the image was rejected, the confidence and the probabilities
        are None if it could not be decoded, and the error is None if it could.
    """
    rounded = np.round(predictions.probabilities.astype(np.float64), DECIMALS)
    errors = predictions.errors

    def unless_error(values: np.ndarray) -> list[float | None]:
        return [None if index in errors else value for index, value in enumerate(values.tolist())]

    columns: Columns = {
        "file": predictions.names,
        "label": [label if label >= 0 else None for label in predictions.labels.tolist()],
        "confidence": unless_error(rounded.max(1)),
    }
    if probabilities:
        columns |= {name: unless_error(rounded[:, digit]) for digit, name in enumerate(PROBABILITY_COLUMNS)}
    columns["error"] = [str(errors[index]) if index in errors else None for index in range(len(predictions.names))]
    return columns


def to_table(predictions: ChunkPredictions, probabilities: bool) -> str:
    """Return predictions as lines of label, confidence and name.

    Args:
        predictions: The predictions for one chunk of images.
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        One line for each image that was decoded, for example "7   99.98%  a.png"; the label is "-" if the image was
        rejected.
    """
    lines = []
    for index, name in enumerate(predictions.names):
        if index not in predictions.errors:
            prediction = predictions.prediction(index)
            label = "-" if prediction.label is None else prediction.label
            rest = "  " + " ".join(f"{p:.3f}" for p in prediction.probabilities) if probabilities else ""
            lines.append(f"{label}  {prediction.confidence:7.2%}  {name}{rest}\n")
    return "".join(lines)


def to_rich_table(predictions: ChunkPredictions, probabilities: bool, header: bool) -> Table:
    """Return predictions as a table for a terminal, without the images that could not be decoded.

    The columns before the name have fixed widths, so that the tables of several chunks look like one.

    Args:
        predictions: The predictions.
        probabilities: Whether to include the probabilities of all digits.
        header: Whether the table has a header.

    Returns:
        The table.
    """
    table = Table(box=None, show_header=header, pad_edge=False)
    table.add_column("digit", justify="right", width=5, no_wrap=True)
    table.add_column("confidence", justify="right", width=10, no_wrap=True)
    for digit in range(NUM_CLASSES if probabilities else 0):
        table.add_column(str(digit), justify="right", width=5, no_wrap=True)
    table.add_column("file", overflow="fold", min_width=20)
    for index, name in enumerate(predictions.names):
        if index not in predictions.errors:
            prediction = predictions.prediction(index)
            values = [f"{probability:.3f}" for probability in prediction.probabilities] if probabilities else []
            label = "-" if prediction.label is None else str(prediction.label)
            table.add_row(label, f"{prediction.confidence:.2%}", *values, Text(name))  # Text: a name has no markup
    return table


def csv_header(probabilities: bool) -> str:
    """Return the header line of the CSV format.

    Args:
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        One line of text with its line break.
    """
    return ",".join(column_names(probabilities)) + "\n"


def to_csv(predictions: ChunkPredictions, probabilities: bool) -> str:
    """Return predictions as CSV records without a header.

    Args:
        predictions: The predictions for one chunk of images.
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        One record for each image, with the columns of `to_columns`; None is an empty field.
    """
    text = io.StringIO()
    # Before Python 3.13, the csv module does not quote a carriage return, which other programs take for a line end.
    has_returns = any("\r" in name for name in predictions.names)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL)
    writer.writerows(zip(*to_columns(predictions, probabilities).values(), strict=True))
    return text.getvalue()


def to_json(predictions: ChunkPredictions, probabilities: bool) -> str:
    """Return predictions as JSON lines.

    Args:
        predictions: The predictions for one chunk of images.
        probabilities: Whether to include the probabilities of all digits.

    Returns:
        One object per line for each image, with the keys "file", "label" and "confidence", "probabilities" if
        requested, and "error" only if the image could not be decoded.
    """
    columns = to_columns(predictions, probabilities)
    if probabilities:
        by_digit = [columns.pop(name) for name in PROBABILITY_COLUMNS]
        columns["probabilities"] = [list(values) for values in zip(*by_digit, strict=True)]
    lines = []
    for index, values in enumerate(zip(*columns.values(), strict=True)):
        record = dict(zip(columns, values, strict=True))
        if index not in predictions.errors:
            del record["error"]
        lines.append(json.dumps(record) + "\n")
    return "".join(lines)


TEXT_FORMATS: dict[str, Callable[[ChunkPredictions, bool], str]] = {"table": to_table, "csv": to_csv, "json": to_json}
