"""The results in README.md, from the recorded measurements.

`docs/model_card.py` records checkpoints/release/metrics.json, and `benchmarks/page.py` records
benchmarks/measurements.json. Both write the results again, so no figure of them is typed by hand.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.files import write_atomically
from docs.model_card_tables import DATASETS, limits, percent, table

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
METRICS = ROOT / "checkpoints" / "release" / "metrics.json"
MEASUREMENTS = ROOT / "benchmarks" / "measurements.json"
BEGIN = "<!-- results: start, written by benchmarks/results.py -->\n"
END = "<!-- results: end -->\n"
DIGITS = ("mnist", "pen", "usps", "optdigits", "semeion")
Record = dict[str, Any]


class Cell(NamedTuple):
    """A cell of a recorded table.

    Attributes:
        script: Name of the benchmark without .py.
        row: How the row begins.
        column: Index of the column.
        table: Index of the table.
        text: What is shown, with the cell for `{}`.
    """

    script: str
    row: str
    column: int = 1
    table: int = 0
    text: str = "{}"


class Comparison(NamedTuple):
    """A row of the table of comparisons.

    Attributes:
        title: What was measured, with its unit.
        digitnet: The result of digitnet.
        alternatives: The results of the alternatives, which their texts name.
    """

    title: str
    digitnet: tuple[Cell, ...]
    alternatives: tuple[Cell, ...] = ()


COMPARISONS = (
    Comparison(
        "training until the test accuracy is 99 %, without generating the synthetic images (s)",
        (
            Cell("train_speed", "Trainer.fit: seconds per epoch", text="{}: one epoch,"),
            Cell("train_speed", "Trainer.fit: test accuracy", text="{}"),
        ),
        (
            Cell("train_speed", "Keras: training time", text="Keras example: {};"),
            Cell("train_speed", "Keras baseline in PyTorch: training time", text="the same in PyTorch: {}"),
        ),
    ),
    Comparison(
        "test accuracy after 5 epochs; the time excludes generating the synthetic images",
        (Cell("accuracy", "mean", 2), Cell("accuracy", "mean", 1, text="in {} s")),
    ),
    Comparison(
        "training (images/s)",
        (Cell("train_speed", "Trainer.fit, images/s"),),
        (
            Cell("train_speed", "plain PyTorch loop, images/s", text="plain PyTorch loop: {};"),
            Cell("train_speed", "Keras, images/s", text="Keras example: {}"),
        ),
    ),
    Comparison(
        "accuracy on pages of 160 x 160, mean of n corruptions",
        (Cell("framing", "mean", 2, 1),),
        (Cell("framing", "mean", 1, 1, "same network, page shrunk to 28 x 28: {}"),),
    ),
    Comparison(
        "PNG of 280 x 280 to prediction (ms)",
        (Cell("inference_speed", "280 x 280 PNG, DigitClassifier"),),
        (Cell("inference_speed", "280 x 280 PNG, Keras baseline", text="Keras example: {}"),),
    ),
    Comparison(
        "280 x 280 RGBA to prediction (ms)",
        (Cell("inference_speed", "280 x 280 RGBA"),),
        (
            Cell("inference_speed", "PyTorch eager, 280 x 280 RGBA", text="PyTorch eager: {};"),
            Cell("inference_speed", "baseline, 280 x 280 RGBA", text="Pillow and the network alone: {}"),
        ),
    ),
    Comparison(
        "directory of 28 x 28 PNG files, one thread (images/s)",
        (Cell("predict_speed", "28 x 28, 1: predict scans/"),),
        (Cell("predict_speed", "28 x 28, 1: plain loop over scans/", text="plain loop: {}"),),
    ),
    Comparison(
        "directory of 280 x 280 PNG files, one thread (images/s)",
        (Cell("predict_speed", "280 x 280, 1: predict scans/"),),
        (Cell("predict_speed", "280 x 280, 1: plain loop over scans/", text="plain loop: {}"),),
    ),
    Comparison(
        "start to first prediction (s)",
        (Cell("inference_speed", "cold start: import"),),
        (Cell("inference_speed", "import torch alone", text="`import torch` alone: {}"),),
    ),
    Comparison("sketchpad: pen-up to painted prediction (ms)", (Cell("app_load", "pen-up"),)),
)


def record(section: str) -> Record:
    """Read the measurements of a section of docs/benchmarks.md.

    Args:
        section: Its text: a command and a date, an explanation, the hardware, and tables.

    Returns:
        "date"; "hardware", with the number of repetitions, or "" if the figures do not depend on it; and "tables", each
        a list of rows of cells.
    """
    head, _, _ = section.partition("\n|")
    *_, last = head.strip().split("\n\n")
    tables = []
    for lines in re.findall(r"^\|.*\n\|(?:-+\|)+\n((?:\|.*\n?)+)", section, re.MULTILINE):
        tables.append([[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines.splitlines()])
    return {
        "date": re.findall(r"\d{4}-\d\d-\d\d", section)[0],
        "hardware": last if re.search(r"python \d", last, re.IGNORECASE) else "",
        "tables": tables,
    }


def row(cell: Cell, measurements: Mapping[str, Record]) -> list[str]:
    """Find the row of a cell.

    Args:
        cell: The cell.
        measurements: The records by script.

    Returns:
        All cells of its row.

    Raises:
        LookupError: If no row or several begin as `cell.row`.
    """
    rows = measurements[cell.script]["tables"][cell.table]
    found = [one for one in rows if one[0].strip("`").startswith(cell.row)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows of {cell.script} begin with {cell.row!r}; expected one")
    return found[0]


def repetitions(cell: Cell, measurements: Mapping[str, Record]) -> str:
    """Look up how often something was measured.

    Args:
        cell: A cell of the measurement.
        measurements: The records by script.

    Returns:
        The number that follows "n = " in the row, else in the hardware; for a mean, the number of the other rows.
    """
    measured = measurements[cell.script]
    found = re.findall(r"n = (\d+)", " ".join([*row(cell, measurements), measured["hardware"]]))
    return found[0] if found else str(len(measured["tables"][cell.table]) - 1)


def comparisons_table(measurements: Mapping[str, Record]) -> Iterator[str]:
    """Create the table of the comparisons.

    Args:
        measurements: The records by script.

    Yields:
        Its lines.
    """

    def text(cells: tuple[Cell, ...]) -> str:
        return " ".join(cell.text.format(row(cell, measurements)[cell.column]) for cell in cells)

    rows = []
    for title, digitnet, alternatives in COMPARISONS:
        measured = measurements[digitnet[0].script]
        hardware = measured["hardware"].split(";")[0].replace("(R)", "") or "any"
        cells = [title, text(digitnet).split(" (")[0], text(alternatives), repetitions(digitnet[0], measurements)]
        rows.append([*cells, f"{hardware}, {measured['date']}"])
    yield from table(["measured by `make bench`", "digitnet", "alternative", "n", "hardware, date"], rows)


def accuracy_table(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Create the table of the released model's accuracy.

    Args:
        metrics: The metrics of the released model.

    Yields:
        Its lines, and a line about non-digits and one about letters if they were measured.
    """
    rows = []
    for name in DIGITS:
        if name in metrics:
            m = metrics[name]
            fractions = [percent(m["accuracy"]), limits(m["interval"]), percent(m["coverage"])]
            rows.append([DATASETS[name], f"{m['n']:,}", *fractions])
    yield from table(["released model", "n", "accuracy, %", "95 % interval", "coverage, %"], rows)
    non_digits = {
        "non-digits (letters, signs, scribbles, several digits)": metrics.get("images", {}).get("not_a_digit"),
        "letters of other alphabets (Omniglot)": metrics.get("omniglot"),
    }
    measured = {name: m for name, m in non_digits.items() if m}
    if measured:
        yield ""
    for name, m in measured.items():
        yield f"Of {m['n']:,} {name}, it accepts {percent(m['accepted'], 1)} %."


def render(metrics: Mapping[str, Any], measurements: Mapping[str, Record]) -> str:
    """Create the results in README.md.

    Args:
        metrics: The metrics of the released model.
        measurements: The records by script.

    Returns:
        Markdown, with the markers around it.
    """
    notes = [measured["note"] for measured in measurements.values() if "note" in measured]
    lines = [*accuracy_table(metrics), "", *comparisons_table(measurements), *(["", " ".join(notes)] if notes else [])]
    text = "\n".join(lines)
    return f"{BEGIN}{text}\n{END}"


def write_results(readme: Path = README, metrics: Path = METRICS, measurements: Path = MEASUREMENTS) -> None:
    """Write the results in README.md from the recorded measurements.

    Args:
        readme: The file whose text between the markers is replaced.
        metrics: The file that `docs/model_card.py` writes.
        measurements: The file that `benchmarks/page.py` writes.
    """
    results = render(json.loads(metrics.read_text())[0], json.loads(measurements.read_text()))
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} lacks the markers {BEGIN.strip()} and {END.strip()}")
    write_atomically(readme, f"{before}{results}{after}".encode())


if __name__ == "__main__":
    write_results()
