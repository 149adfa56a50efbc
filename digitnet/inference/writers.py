"""Writers of predictions as a table, CSV, JSON lines or Parquet, which can resume an interrupted output."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from digitnet.errors import ConfigError
from digitnet.files import write_atomically
from digitnet.inference.batch import ChunkPredictions
from digitnet.inference.sources import Chunk

PART_ROWS = 100_000  # of one Parquet file
Columns = dict[str, list[Any]]


def columns(rows: ChunkPredictions, probabilities: bool) -> Columns:
    """What is said of each picture: its file, label and confidence, None where there is none, and the error, if any."""
    # Six digits: float32 has seven.
    rounded = np.round(rows.probabilities.astype(np.float64), 6)
    failed = rows.errors
    table: Columns = {
        "file": rows.names,
        "label": [label if label >= 0 else None for label in rows.labels.tolist()],
        "confidence": [None if i in failed else p for i, p in enumerate(rounded.max(1).tolist())],
    }
    if probabilities:
        for digit in range(10):
            table[f"probability_{digit}"] = [
                None if i in failed else p for i, p in enumerate(rounded[:, digit].tolist())
            ]
    table["error"] = [str(failed[i]) if i in failed else None for i in range(len(rows.names))]
    return table


def as_table(rows: ChunkPredictions, probabilities: bool) -> str:
    lines = []
    for place, name in enumerate(rows.names):
        if place not in rows.errors:
            prediction = rows.prediction(place)
            digit = "-" if prediction.label is None else prediction.label
            rest = "  " + " ".join(f"{p:.3f}" for p in prediction.probabilities) if probabilities else ""
            lines.append(f"{digit}  {prediction.confidence:7.2%}  {name}{rest}\n")
    return "".join(lines)


def as_csv(rows: ChunkPredictions, probabilities: bool) -> str:
    text = io.StringIO()
    # Before Python 3.13 a carriage return alone is not quoted, where readers take it for the end of a row.
    returns = any("\r" in name for name in rows.names)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)
    writer.writerows(zip(*columns(rows, probabilities).values(), strict=True))
    return text.getvalue()


def as_json(rows: ChunkPredictions, probabilities: bool) -> str:
    table = columns(rows, probabilities)
    if probabilities:
        digits = zip(*(table.pop(f"probability_{digit}") for digit in range(10)), strict=True)
        table["probabilities"] = [list(row) for row in digits]
    lines = []
    for place, values in enumerate(zip(*table.values(), strict=True)):
        row = dict(zip(table, values, strict=True))
        if place not in rows.errors:
            del row["error"]
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def csv_header(probabilities: bool) -> str:
    digits = [f"probability_{digit}" for digit in range(10)] if probabilities else []
    return ",".join(["file", "label", "confidence", *digits, "error"]) + "\n"


TEXTS: dict[str, Callable[[ChunkPredictions, bool], str]] = {"table": as_table, "csv": as_csv, "json": as_json}
FORMATS = (*TEXTS, "parquet")


class Output:
    """Where rows go, in a with statement: ended well it is finished, else what is there waits for --resume.

    `done` rows were there before, the last of them about `last`; `failed` of them say why a picture was not read.
    """

    done, last, failed = 0, "", 0

    def write(self, rows: ChunkPredictions) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """All rows have come."""

    def release(self) -> None:
        """Whether or not they have."""

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.release()


class Stdout(Output):
    def __init__(self, form: str, probabilities: bool) -> None:
        self.text, self.probabilities = TEXTS[form], probabilities
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As in a file, whatever the locale; names of files may be no UTF-8.
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        if form == "csv":
            sys.stdout.write(csv_header(probabilities))

    def write(self, rows: ChunkPredictions) -> None:
        sys.stdout.write(self.text(rows, self.probabilities))
        sys.stdout.flush()


class TextFile(Output):
    """CSV or JSON lines in PATH.part, which becomes PATH when all rows have come.

    A row is whole when its line is: what a kill left of the last one is cut off before more are written.
    """

    def __init__(self, path: Path, form: str, probabilities: bool, resume: bool) -> None:
        self.path, self.part = path, path.with_name(path.name + ".part")
        self.text, self.probabilities = TEXTS[form], probabilities
        self.header = csv_header(probabilities) if form == "csv" else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and self.part.exists():
            self._read_back(form)
        elif self.part.exists():
            raise ConfigError(f"{self.part} is of a run that was not ended. Go on with --resume, or remove it")
        elif resume and path.exists():
            raise ConfigError(f"{path} is complete: nothing to go on with. To begin anew leave out --resume")
        mode = "a" if self.done else "w"
        self.file = open(self.part, mode, encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115  # closed by `release`
        if not self.done:
            self.file.write(self.header)

    def _read_back(self, form: str) -> None:
        whole, row, quotes, rows = 0, b"", 0, 0
        with open(self.part, "rb+") as file:
            for line in file:
                row += line
                quotes += line.count(b'"') if form == "csv" else 0  # a name may have a line's end in it, quoted
                if not line.endswith(b"\n") or quotes % 2:
                    continue
                if rows == 0 and self.header and row.decode(errors="surrogateescape") != self.header:
                    raise ConfigError(f"{self.part} has other columns than this run; give the same options as then")
                if self.header:
                    self.failed += rows > 0 and not row.endswith((b",\n", b',""\n'))
                else:
                    self.failed += b', "error": "' in row
                rows, whole, last, row, quotes = rows + 1, whole + len(row), row, b"", 0
            file.truncate(whole)
        self.done = max(0, rows - bool(self.header))
        if self.done:
            self.last = self._name_in(last.decode(errors="surrogateescape"), form)

    def _name_in(self, row: str, form: str) -> str:
        """The name of the picture that the row is about. Raises ConfigError where it is another run's row."""
        try:
            if form == "csv":
                return next(csv.reader(io.StringIO(row, newline="")))[0]
            values = json.loads(row)
            name, same = str(values["file"]), ("probabilities" in values) == self.probabilities
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.part} is damaged, or no {form}: its last row is {row[:80]!r}") from error
        if not same:
            raise ConfigError(f"{self.part} has other columns than this run; give the same options as then")
        return name

    def write(self, rows: ChunkPredictions) -> None:
        try:
            self.file.write(self.text(rows, self.probabilities))
            self.file.flush()  # out of this process, so that a kill takes nothing along
        except OSError as error:
            kept = f"{error.strerror}. What it holds is kept: --resume goes on"
            raise OSError(error.errno, kept, str(self.part)) from error

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.part, self.path)

    def release(self) -> None:
        with suppress(OSError):  # what a full disk did not take is tried once more, and has been said
            self.file.close()


class ParquetFolder(Output):
    """Files part-00000.parquet and on, of 100,000 rows each, as every reader of Parquet takes them together."""

    def __init__(self, path: Path, probabilities: bool, resume: bool) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ConfigError("--format parquet takes pyarrow. Install it: pip install '.[parquet]'") from error
        self.arrow, self.path, self.probabilities = pyarrow, path, probabilities
        path.mkdir(parents=True, exist_ok=True)
        parts = sorted(path.glob("part-*.parquet"))
        if parts and not resume:
            raise ConfigError(f"{path} holds {parts[0].name} already; name another folder, or go on with --resume")
        self.parts = len(parts)
        kinds = [(name, pyarrow.float32()) for name in ["confidence", *(f"probability_{d}" for d in range(10))]]
        kinds = kinds if probabilities else kinds[:1]
        text = pyarrow.string()
        self.schema = pyarrow.schema([("file", text), ("label", pyarrow.int8()), *kinds, ("error", text)])
        self.waiting: list[Any] = []
        for number, part in enumerate(parts):
            self._read_back(part, number)

    def _read_back(self, part: Path, number: int) -> None:
        try:
            metadata = self.arrow.parquet.read_metadata(part)
            table = self.arrow.parquet.read_table(part, columns=["file", "error"])
            names = table["file"]
        except self.arrow.ArrowException as error:
            raise ConfigError(f"{part} is damaged: {str(error)[:200]}") from error
        if part.name != f"part-{number:05}.parquet":
            raise ConfigError(f"{self.path} lacks part-{number:05}.parquet: no run can go on with the rest")
        if metadata.schema.to_arrow_schema().names != self.schema.names:
            raise ConfigError(f"{part} has other columns than this run; give the same options as then")
        self.done, self.last = self.done + len(names), names[-1].as_py()
        self.failed += len(names) - table["error"].null_count

    def write(self, rows: ChunkPredictions) -> None:
        table = columns(rows, self.probabilities)
        table["file"] = [name.encode(errors="replace").decode() for name in rows.names]  # names may be no UTF-8
        self.waiting.append(self.arrow.table(table, self.schema))
        if sum(table.num_rows for table in self.waiting) >= PART_ROWS:
            self._flush()

    def _flush(self) -> None:
        content = io.BytesIO()
        self.arrow.parquet.write_table(self.arrow.concat_tables(self.waiting), content)
        write_atomically(self.path / f"part-{self.parts:05}.parquet", content.getvalue())
        self.parts += 1
        self.waiting.clear()

    def finish(self) -> None:
        if self.waiting:
            self._flush()


def open_writer(path: Path | None, form: str, probabilities: bool, resume: bool) -> Output:
    """Where to write rows. Raises ConfigError where the options cannot go together."""
    if path is None:
        if form == "parquet" or resume:
            what = "--resume goes on with a file" if resume else "--format parquet writes a folder of files"
            raise ConfigError(f"{what}; name it: --output NAME")
        if sys.stdout is None:
            raise ConfigError("standard output is closed; name a file to write: --output NAME")
        return Stdout(form, probabilities)
    if form == "table":
        raise ConfigError("--output takes --format csv, json or parquet; a table is for looking at")
    if path.exists() and not (path.is_dir() if form == "parquet" else path.is_file()):
        kind = "an ordinary file; parquet takes a folder" if path.is_file() else f"no ordinary file, as {form} takes"
        raise ConfigError(f"{path} is {kind}. Choose another --output")
    return (
        ParquetFolder(path, probabilities, resume) if form == "parquet" else TextFile(path, form, probabilities, resume)
    )


def skip_written(chunks: Iterable[Chunk], output: Output) -> Iterator[Chunk]:
    """The chunks without the pictures that the output has rows of. Raises ConfigError where these are of others."""
    left, last = output.done, ""
    for chunk in chunks:
        if left:
            skipped = min(left, len(chunk.names))
            left, last = left - skipped, chunk.names[skipped - 1]
            if not left and last.encode(errors="replace") != output.last.encode(errors="replace"):
                break
            chunk = chunk.after(skipped)
        if chunk.names:
            yield chunk
    else:
        if not left:
            return
    raise ConfigError(
        f"row {output.done:,} of the output is {output.last!r}; among the inputs that is {last!r}. Resume with the"
        " inputs it was begun with, or begin anew without --resume"
    )
