"""The writer of predictions in the Parquet format, which needs pyarrow."""

import io
from pathlib import Path
from typing import Any

from digitnet.errors import ConfigError
from digitnet.files import write_atomically
from digitnet.inference.batch import ChunkPredictions
from digitnet.inference.formats import PROBABILITY_COLUMNS, column_names, to_columns
from digitnet.inference.writers import Writer

RECORDS_PER_FILE = 100_000


class ParquetWriter(Writer):
    """Write a directory of files part-00000.parquet and so on, with at least 100,000 records each, except the last.

    Args:
        path: The directory.
        probabilities: Whether to write the probabilities of all digits.
        resume: Whether to add to existing files.

    Raises:
        ConfigError: If pyarrow is missing, files exist and `resume` is false, or they do not fit the options.
    """

    def __init__(self, path: Path, probabilities: bool, resume: bool) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ConfigError("--format parquet requires pyarrow: pip install 'digitnet[parquet]'") from error
        self.pyarrow, self.path, self.probabilities = pyarrow, path, probabilities
        path.mkdir(parents=True, exist_ok=True)
        existing = sorted(path.glob("part-*.parquet"))
        if existing and not resume:
            raise ConfigError(f"{path} already has {existing[0].name}; name another directory, or add --resume")
        self.schema = self._make_schema()
        self.pending: list[Any] = []  # tables
        self.files = len(existing)
        for number, file in enumerate(existing):
            self._read_written(file, number)

    def _make_schema(self) -> Any:
        """Return the names and types of the columns."""
        text, number = self.pyarrow.string(), self.pyarrow.float32()
        types = {"file": text, "label": self.pyarrow.int8(), "confidence": number, "error": text}
        types |= dict.fromkeys(PROBABILITY_COLUMNS, number)
        return self.pyarrow.schema([(name, types[name]) for name in column_names(self.probabilities)])

    def _read_written(self, file: Path, number: int) -> None:
        """Count the records of a file."""
        try:
            metadata = self.pyarrow.parquet.read_metadata(file)
            table = self.pyarrow.parquet.read_table(file, columns=["file", "error"])
        except self.pyarrow.ArrowException as error:
            raise ConfigError(f"{file} is damaged: {str(error)[:200]}") from error
        if file.name != f"part-{number:05}.parquet":
            raise ConfigError(f"{self.path} has no part-{number:05}.parquet, so the run cannot be resumed")
        if metadata.schema.to_arrow_schema().names != self.schema.names:
            raise ConfigError(f"{file} has other columns than this run; use the options of the first run")
        self.written += len(table)
        self.last_name = table["file"][-1].as_py()
        self.failed += len(table) - table["error"].null_count

    def write(self, predictions: ChunkPredictions) -> None:
        """Buffer the records of a chunk, and write a file as soon as there are 100,000.

        Args:
            predictions: The predictions for one chunk of images.
        """
        columns = to_columns(predictions, self.probabilities)
        # Names of files may be invalid UTF-8.
        columns["file"] = [name.encode(errors="replace").decode() for name in predictions.names]
        self.pending.append(self.pyarrow.table(columns, self.schema))
        if sum(table.num_rows for table in self.pending) >= RECORDS_PER_FILE:
            self._write_file()

    def complete(self) -> None:
        """Write the remaining records."""
        if self.pending:
            self._write_file()

    def _write_file(self) -> None:
        """Write the pending records to the next file."""
        content = io.BytesIO()
        self.pyarrow.parquet.write_table(self.pyarrow.concat_tables(self.pending), content)
        write_atomically(self.path / f"part-{self.files:05}.parquet", content.getvalue())
        self.files += 1
        self.pending.clear()
