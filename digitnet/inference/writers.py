"""Writers of predictions, which can resume an interrupted output."""

import csv
import io
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from rich.console import Console

from digitnet.errors import ConfigError
from digitnet.inference.batch import ChunkPredictions
from digitnet.inference.chunks import Chunk
from digitnet.inference.formats import TEXT_FORMATS, csv_header, to_rich_table

FORMATS = (*TEXT_FORMATS, "parquet")


class Writer(ABC):
    """Write the predictions of one run, as a context manager.

    If the block ends without an exception, the output is complete; otherwise, it can be resumed.

    Attributes:
        written: Number of records in the output before this run.
        last_name: Name of the image of the last of these records.
        failed: Number of these records with an error.
    """

    written, last_name, failed = 0, "", 0

    @abstractmethod
    def write(self, predictions: ChunkPredictions) -> None:
        """Write the records of a chunk.

        Args:
            predictions: The predictions for one chunk of images.
        """

    def complete(self) -> None:  # noqa: B027  # not all writers have something to do
        """Complete the output after the last record."""

    def close(self) -> None:  # noqa: B027
        """Close the output, whether it is complete or not."""

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        try:
            if exception_type is None:
                self.complete()
        finally:
            self.close()


class StdoutWriter(Writer):
    """Write to the standard output.

    Args:
        output_format: "table", "csv" or "json".
        probabilities: Whether to write the probabilities of all digits.
    """

    def __init__(self, output_format: str, probabilities: bool) -> None:
        self.to_text, self.probabilities = TEXT_FORMATS[output_format], probabilities
        _use_utf8()
        if output_format == "csv":
            sys.stdout.write(csv_header(probabilities))

    def write(self, predictions: ChunkPredictions) -> None:
        """Write the records of a chunk.

        Args:
            predictions: The predictions for one chunk of images.
        """
        sys.stdout.write(self.to_text(predictions, self.probabilities))
        sys.stdout.flush()


class TerminalWriter(Writer):
    """Print a table to a terminal.

    Only there: rich formats 3,300 rows a second on one core, a third of the images that are classified in that time.

    Args:
        probabilities: Whether to print the probabilities of all digits.
    """

    def __init__(self, probabilities: bool) -> None:
        _use_utf8()
        self.console, self.probabilities, self.header = Console(), probabilities, True

    def write(self, predictions: ChunkPredictions) -> None:
        """Print the rows of a chunk, under a header if it is the first one.

        Args:
            predictions: The predictions for one chunk of images.
        """
        self.console.print(to_rich_table(predictions, self.probabilities, self.header))
        self.header = False


class TextWriter(Writer):
    """Write CSV or JSON lines to PATH.part, which is renamed to PATH when it is complete.

    A record is complete if it ends with a line break; an incomplete one that a kill left is removed before resuming.

    Args:
        path: The file to write.
        output_format: "csv" or "json".
        probabilities: Whether to write the probabilities of all digits.
        resume: Whether to append to an existing PATH.part.

    Raises:
        ConfigError: If PATH.part requires `resume` or other options, or `resume` is true and PATH is complete.
    """

    def __init__(self, path: Path, output_format: str, probabilities: bool, resume: bool) -> None:
        self.path, self.partial = path, path.with_name(path.name + ".part")
        self.output_format, self.to_text, self.probabilities = output_format, TEXT_FORMATS[output_format], probabilities
        self.header = csv_header(probabilities) if output_format == "csv" else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.partial.exists():
            if not resume:
                raise ConfigError(f"{self.partial} is from an interrupted run. Complete it with --resume, or remove it")
            self._read_written()
        elif resume and path.exists():
            raise ConfigError(f"{path} is complete, there is nothing to resume. To start again, omit --resume")
        self.file = self._open()

    def _open(self) -> IO[str]:
        """Open the partial file for appending, or a new one with its header."""
        mode = "a" if self.written else "w"
        file = open(self.partial, mode, encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
        if not self.written:
            file.write(self.header)
        return file

    def _read_written(self) -> None:
        """Count the complete records of the partial file and remove an incomplete one."""
        complete_bytes, records, last = 0, 0, b""
        with open(self.partial, "rb+") as file:
            for record in self._split_records(file):
                if records == 0 and self.header:
                    self._check_header(record)
                else:
                    self.failed += self._has_error(record)
                records, complete_bytes, last = records + 1, complete_bytes + len(record), record
            file.truncate(complete_bytes)
        self.written = max(0, records - bool(self.header))
        if self.written:
            self.last_name = self._name_in(last.decode(errors="surrogateescape"))

    def _split_records(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the complete records; in CSV, a name in quotes may contain line breaks."""
        record, quotes = b"", 0
        for line in lines:
            record += line
            quotes += line.count(b'"') if self.output_format == "csv" else 0
            if line.endswith(b"\n") and quotes % 2 == 0:
                yield record
                record, quotes = b"", 0

    def _check_header(self, record: bytes) -> None:
        """Raise ConfigError unless the first record is the header of this run."""
        if record.decode(errors="surrogateescape") != self.header:
            raise ConfigError(f"{self.partial} has other columns than this run; use the options of the first run")

    def _has_error(self, record: bytes) -> bool:
        """Return whether a record has an error."""
        if self.output_format == "csv":
            return not record.endswith((b",\n", b',""\n'))
        return b', "error": "' in record

    def _name_in(self, record: str) -> str:
        """Return the name of the image in a record, or raise ConfigError if it is not a record of this run."""
        try:
            if self.output_format == "csv":
                return next(csv.reader(io.StringIO(record, newline="")))[0]
            values = json.loads(record)
            name, same = str(values["file"]), ("probabilities" in values) == self.probabilities
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self.partial} is damaged or not {self.output_format}: its last line is {record[:80]!r}"
            ) from error
        if not same:
            raise ConfigError(f"{self.partial} has other columns than this run; use the options of the first run")
        return name

    def write(self, predictions: ChunkPredictions) -> None:
        """Write and flush the records of a chunk, so that they survive a kill.

        Args:
            predictions: The predictions for one chunk of images.

        Raises:
            OSError: If the records cannot be written, for example because the disk is full.
        """
        try:
            self.file.write(self.to_text(predictions, self.probabilities))
            self.file.flush()
        except OSError as error:
            kept = f"{error.strerror}. The output so far is kept: complete it with --resume"
            raise OSError(error.errno, kept, str(self.partial)) from error

    def complete(self) -> None:
        """Rename the file to its final name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.partial, self.path)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # a full disk, which `write` has reported
            self.file.close()


def _use_utf8() -> None:
    """Write to the standard output as to a file, in any locale; names of files may be invalid UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def open_writer(path: Path | None, output_format: str, probabilities: bool, resume: bool) -> Writer:
    """Open the output of a run.

    Args:
        path: The file to write, for Parquet a directory; None for the standard output.
        output_format: "table", "csv", "json" or "parquet".
        probabilities: Whether to write the probabilities of all digits.
        resume: Whether to complete an interrupted output.

    Returns:
        A writer.

    Raises:
        ConfigError: If the options exclude each other, or an existing output does not fit them.
    """
    if path is None:
        if output_format == "parquet" or resume:
            what = "--resume completes a file" if resume else "--format parquet writes a directory of files"
            raise ConfigError(f"{what}; name it: --output NAME")
        if sys.stdout is None:
            raise ConfigError("The standard output is closed; name a file to write: --output NAME")
        return (
            TerminalWriter(probabilities)
            if output_format == "table" and sys.stdout.isatty()
            else StdoutWriter(output_format, probabilities)
        )
    if output_format == "table":
        raise ConfigError("expected --format csv, json or parquet with --output, got table, which is for terminals")
    if path.exists() and not (path.is_dir() if output_format == "parquet" else path.is_file()):
        expected = "a directory" if output_format == "parquet" else "a regular file"
        raise ConfigError(f"expected {expected} as --output with --format {output_format}, got {path}, which is not")
    if output_format == "parquet":
        from digitnet.inference.parquet import ParquetWriter

        return ParquetWriter(path, probabilities, resume)
    return TextWriter(path, output_format, probabilities, resume)


def skip_written(chunks: Iterable[Chunk], writer: Writer) -> Iterator[Chunk]:
    """Skip the images for which the output already has records.

    Args:
        chunks: All images of the run.
        writer: The output.

    Yields:
        Chunks of the other images.

    Raises:
        ConfigError: If the records are of other images.
    """
    remaining, name = writer.written, ""
    for chunk in chunks:
        if remaining:
            skipped = min(remaining, len(chunk.names))
            remaining, name = remaining - skipped, chunk.names[skipped - 1]
            if not remaining and name.encode(errors="replace") != writer.last_name.encode(errors="replace"):
                break
            chunk = chunk.after(skipped)
        if chunk.names:
            yield chunk
    else:
        if not remaining:
            return
    raise ConfigError(
        f"expected {writer.last_name!r} as image {writer.written:,} of the inputs, as in the output, got {name!r}."
        " Resume with the inputs of the first run, or start again without --resume"
    )
