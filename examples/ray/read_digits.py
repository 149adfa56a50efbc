"""Reads a folder of pictures, or Parquet, on all machines of a Ray cluster: python read_digits.py SOURCE OUTPUT

Each picture, or row of Parquet, becomes one row of the Parquet files in OUTPUT: what it came with, its label (null
where there is no digit), how sure that is, and the error where it could not be read. The rows are in no order.

Actors and machines may die on the way, up to half of them, but not the one that this runs on: Ray starts others and
reads again what was lost. That doubles no row, for Ray names a file of OUTPUT after the block of rows in it: written
again, it replaces what was there. OUTPUT is whole once this has ended with status 0.
"""

import argparse
import math
import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported

import pyarrow as pa
import pyarrow.dataset
import ray
from pyarrow import fs

from digitnet import DigitClassifier, DigitnetError, ImageError
from digitnet.errors import ConfigError, one_line_errors
from digitnet.inference.batch import predict_chunk
from digitnet.inference.classifier import MAX_FILE_BYTES
from digitnet.inference.sources import CHUNK_SIZE, IMAGE_SUFFIXES, Chunk
from digitnet.inference.writers import columns

RESULTS = pa.schema({"label": pa.int8(), "confidence": pa.float32(), "error": pa.string()})
# Of a CPU. An actor keeps one busy, but where machines died the others have room for twice as many, and for the tasks.
ACTOR, TASK = 0.4, 0.1


class ReadDigits:
    """An actor: a process somewhere on the cluster that loads the model once and reads batch after batch."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self.filesystem = filesystem
        self.classifier = DigitClassifier()  # of one thread: there are as many actors as CPUs

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The rows with their results. The picture is in column `image`, else in the file that column `file` names."""
        given = batch.to_pydict()
        names = given["file"] if "file" in given else ["image"] * len(batch)
        pictures = given["image"] if "image" in given else [self.read(name) for name in names]
        pictures = [picture["bytes"] if isinstance(picture, dict) else picture for picture in pictures]
        results = columns(predict_chunk(self.classifier, Chunk(names, pictures)), probabilities=False)
        for field in RESULTS:
            batch = batch.append_column(field, pa.array(results[field.name], field.type))
        return batch.drop_columns("image") if "image" in given else batch

    def read(self, path: str) -> bytes | ImageError:
        try:
            with self.filesystem.open_input_stream(path) as file:
                return file.read(MAX_FILE_BYTES + 1)  # one more than is allowed, so that it is refused
        except OSError as error:  # one row, where `ray.data.read_binary_files` would end the job
            return ImageError(f"{path}: {error}")


def files_at(place: str) -> tuple[fs.FileSystem, str, list[str]]:
    """The file system of a path or URL, the path on it, and the paths of the files there. Raises ConfigError."""
    try:
        filesystem, path = fs.FileSystem.from_uri(place if "://" in place else os.path.abspath(place))
        found = [filesystem.get_file_info(path)]
        if found[0].type == fs.FileType.Directory:
            found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error
    return filesystem, path, sorted(info.path for info in found if info.is_file)


def count_rows(place: str, tables: list[str], filesystem: fs.FileSystem) -> int:
    """Of Parquet files that can be read. Raises ConfigError where they cannot, or have other columns."""
    try:
        found = pyarrow.dataset.dataset(tables, filesystem=filesystem)
        names = found.schema.names
        if "image" not in names or set(names) & set(RESULTS.names):
            raise ConfigError(f"{place} has columns {names}; wanted `image`, and none of {RESULTS.names}")
        kind = found.schema.field("image").type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:  # as Hugging Face's datasets have it
            kind = kind.field("bytes").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise ConfigError(f"{place} has {kind} in `image`; wanted the bytes of picture files")
        return found.count_rows()
    except pa.ArrowException as error:
        raise ConfigError(f"{place}: {error}") from error


def rows_with_results(rows: ray.data.Dataset, filesystem: fs.FileSystem, actors: int) -> ray.data.Dataset:
    """Each row read once. Nothing is done yet: whoever writes or takes the rows sets it going."""
    return rows.map_batches(
        ReadDigits,
        fn_constructor_args=[filesystem],
        compute=ray.data.ActorPoolStrategy(size=actors),  # restarted where they die, and their tasks done again
        num_cpus=ACTOR,
        batch_size=CHUNK_SIZE,
        batch_format="pyarrow",
        udf_modifying_row_count=False,
    )


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Reads handwritten digits on a Ray cluster.")
    parser.add_argument("source", metavar="SOURCE", help="folder of pictures, or folder or file of Parquet; or a URL")
    parser.add_argument("output", metavar="OUTPUT", help="folder, empty or new, that all machines see; or a URL")
    parser.add_argument("--address", default="local", help="of the cluster, HOST:PORT (default: one on this machine)")
    parser.add_argument("--actors", type=int, help="processes that read (default: one for each CPU of the cluster)")
    options = parser.parse_args(args)

    goal, output, there = files_at(options.output)
    if there:
        raise ConfigError(f"{options.output} holds {there[0]} already; name another folder")
    filesystem, _, files = files_at(options.source)
    tables = [file for file in files if file.endswith(".parquet")]
    pictures = [{"file": file} for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]
    if tables and pictures:
        raise ConfigError(
            f"{options.source} holds pictures and Parquet, {len(pictures):,} and {len(tables):,}; name one"
        )
    count = count_rows(options.source, tables, filesystem) if tables else len(pictures)
    if not count:
        raise ConfigError(
            f"{options.source}: no rows of Parquet there, nor pictures ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )

    alone = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if options.address == "local" else {}
    try:
        with ray.init(options.address, logging_level="WARNING", **alone):
            cpus = int(ray.cluster_resources().get("CPU", 0))
            actors = cpus if options.actors is None else options.actors
            if not 1 <= actors <= cpus:
                raise ConfigError(f"actors is {actors}; it must be from 1 to {cpus}, the CPUs of the cluster")
            if tables:
                ray.data.DataContext.get_current().use_datasource_v2 = False  # it waits for a whole CPU, see TASK
                rows = ray.data.read_parquet(tables, filesystem=filesystem, num_cpus=TASK)
            else:
                rows = ray.data.from_items(pictures, override_num_blocks=math.ceil(count / (4 * CHUNK_SIZE)))
            rows = rows_with_results(rows, filesystem, actors)
            rows.write_parquet(output, filesystem=goal, ray_remote_args={"num_cpus": TASK})
    except (ray.exceptions.RayError, ConnectionError, ValueError) as error:  # ValueError: the address is none
        raise DigitnetError(str(getattr(error, "cause", error))[:200]) from error

    written = pyarrow.dataset.dataset(output, filesystem=goal)
    errors = written.count_rows(filter=pyarrow.dataset.field("error").is_valid())
    if written.count_rows() != count:
        raise DigitnetError(f"{written.count_rows():,} rows in {options.output} of {count:,} in {options.source}")
    print(f"{count:,} rows in {options.output}, {errors:,} of them with an error")


if __name__ == "__main__":
    main()
