"""Classify a directory of images, or Parquet files, on all machines of a Ray cluster.

    python classify_digits.py SOURCE OUTPUT

Each image, or record of Parquet, becomes one record of the Parquet files in OUTPUT: its other columns, its label (null
if it is rejected), the confidence, and the error if it could not be decoded. The records have no order.

Up to half of the actors and machines may fail, but not the machine that runs this script: Ray starts others and repeats
the lost work. This duplicates no record, because Ray names a file of OUTPUT after the block of records in it, and
writing it again replaces it. OUTPUT is complete when the script has ended with status 0.
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
from digitnet.console import one_line_errors
from digitnet.errors import ConfigError
from digitnet.inference.batch import predict_chunk
from digitnet.inference.chunks import CHUNK_SIZE, IMAGE_SUFFIXES, Chunk
from digitnet.inference.formats import to_columns
from digitnet.inference.images import MAX_FILE_BYTES

RESULTS = pa.schema({"label": pa.int8(), "confidence": pa.float32(), "error": pa.string()})
# Fractions of a CPU. An actor uses a whole one, but if machines fail, the others have room for twice as many actors,
# and for the tasks.
ACTOR_CPUS, TASK_CPUS = 0.4, 0.1
Record = dict[str, str]
CHUNKS_PER_BLOCK = 4  # a block of images becomes a file of the output


class ClassifyDigits:
    """An actor: a process on the cluster that loads the model once and classifies batches.

    Args:
        filesystem: Where the images are stored.
    """

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self.filesystem = filesystem
        self.classifier = DigitClassifier()  # with one thread, since there are as many actors as CPUs

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return records with results; the image is in column `image`, or in the file that column `file` names."""
        columns = batch.to_pydict()
        names = columns["file"] if "file" in columns else ["image"] * len(batch)
        images = columns["image"] if "image" in columns else [self.read(name) for name in names]
        images = [image["bytes"] if isinstance(image, dict) else image for image in images]
        results = to_columns(predict_chunk(self.classifier, Chunk(names, images)), probabilities=False)
        for field in RESULTS:
            batch = batch.append_column(field, pa.array(results[field.name], field.type))
        return batch.drop_columns("image") if "image" in columns else batch

    def read(self, path: str) -> bytes | ImageError:
        """Read a file.

        Args:
            path: Its path on the file system.

        Returns:
            Its content, at most one byte above the limit, or an ImageError if it cannot be read.
        """
        try:
            with self.filesystem.open_input_stream(path) as file:
                return file.read(MAX_FILE_BYTES + 1)  # one byte above the limit, so that a larger file is refused
        except OSError as error:  # one record; `ray.data.read_binary_files` would end the job
            return ImageError(f"{path}: {error}")


def find_files(location: str) -> tuple[fs.FileSystem, str, list[str]]:
    """Find the files at a location.

    Args:
        location: A path or a URL of a directory or a file.

    Returns:
        The file system, the path on it, and the sorted paths of the files there.

    Raises:
        ConfigError: If the location cannot be accessed.
    """
    try:
        filesystem, path = fs.FileSystem.from_uri(location if "://" in location else os.path.abspath(location))
        found = [filesystem.get_file_info(path)]
        if found[0].type == fs.FileType.Directory:
            found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{location}: {error}") from error
    return filesystem, path, sorted(info.path for info in found if info.is_file)


def count_records(location: str, tables: list[str], filesystem: fs.FileSystem) -> int:
    """Count the records of Parquet files.

    Args:
        location: Where the files come from, for messages.
        tables: The paths of the files.
        filesystem: The file system on which they are stored.

    Returns:
        Their number.

    Raises:
        ConfigError: If the files are damaged or do not have the expected columns.
    """
    try:
        found = pyarrow.dataset.dataset(tables, filesystem=filesystem)
        names = found.schema.names
        if "image" not in names or set(names) & set(RESULTS.names):
            raise ConfigError(f"expected a column `image` and none of {RESULTS.names}, {location} has {names}")
        image_type = found.schema.field("image").type
        if pa.types.is_struct(image_type) and image_type.get_field_index("bytes") >= 0:  # as in Hugging Face's
            image_type = image_type.field("bytes").type
        if not (pa.types.is_binary(image_type) or pa.types.is_large_binary(image_type)):
            raise ConfigError(f"expected the content of image files in column `image`, {location} has {image_type}")
        return found.count_rows()
    except pa.ArrowException as error:
        raise ConfigError(f"{location}: {error}") from error


def add_results(records: ray.data.Dataset, filesystem: fs.FileSystem, actors: int) -> ray.data.Dataset:
    """Add the results to records; Ray computes them when they are written.

    Args:
        records: Records with a column `image` or `file`.
        filesystem: The file system on which the images are stored.
        actors: Number of worker processes, at least 1.

    Returns:
        The records with the columns of `RESULTS`, without `image`.
    """
    return records.map_batches(
        ClassifyDigits,
        fn_constructor_args=[filesystem],
        compute=ray.data.ActorPoolStrategy(size=actors),  # failed actors are restarted, and their tasks repeated
        num_cpus=ACTOR_CPUS,
        batch_size=CHUNK_SIZE,
        batch_format="pyarrow",
        udf_modifying_row_count=False,
    )


def find_inputs(source: str, filesystem: fs.FileSystem, files: list[str]) -> tuple[list[str], list[Record], int]:
    """Find the Parquet files or the images among the files of the source.

    Args:
        source: Where the files come from, for messages.
        filesystem: The file system on which they are stored.
        files: The paths of the files.

    Returns:
        The Parquet files, a record with the path of each image (one of the two lists is empty), and the number of
        records.

    Raises:
        ConfigError: If there are both or none, or the Parquet files have other columns.
    """
    tables = [file for file in files if file.endswith(".parquet")]
    images = [{"file": file} for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]
    if tables and images:
        raise ConfigError(
            f"expected images or Parquet, {source} has {len(images):,} images and {len(tables):,} Parquet files"
        )
    count = count_records(source, tables, filesystem) if tables else len(images)
    if not count:
        raise ConfigError(f"{source}: no records of Parquet and no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return tables, images, count


def read_records(tables: list[str], images: list[Record], filesystem: fs.FileSystem) -> ray.data.Dataset:
    """Create a dataset of the records of the Parquet files, or of the paths of the images.

    Args:
        tables: The paths of the Parquet files.
        images: A record with the path of each image, used if there are no Parquet files.
        filesystem: The file system on which they are stored.

    Returns:
        The dataset, which Ray reads when it is written.
    """
    if tables:
        # Version 2 waits for a whole CPU, see TASK_CPUS.
        ray.data.DataContext.get_current().use_datasource_v2 = False
        return ray.data.read_parquet(tables, filesystem=filesystem, num_cpus=TASK_CPUS)
    blocks = math.ceil(len(images) / (CHUNKS_PER_BLOCK * CHUNK_SIZE))
    return ray.data.from_items(images, override_num_blocks=blocks)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the options.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(description="Classifies handwritten digits on a Ray cluster.")
    parser.add_argument("source", metavar="SOURCE", help="directory of images, or of Parquet files, or a URL")
    parser.add_argument("output", metavar="OUTPUT", help="empty or new directory that all machines access, or a URL")
    parser.add_argument("--address", default="local", help="cluster, HOST:PORT (default: a cluster on this machine)")
    parser.add_argument("--actors", type=int, help="number of worker processes (default: one per CPU of the cluster)")
    return parser


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Classify the images and check that no record is missing.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.

    Raises:
        ConfigError: If an option or an input is invalid.
        DigitnetError: If Ray fails, or a record is missing. `one_line_errors` reports both and exits.
    """
    options = build_parser().parse_args(args)
    output_filesystem, output, existing = find_files(options.output)
    if existing:
        raise ConfigError(f"expected an empty directory, {options.output} has {existing[0]}; name another one")
    filesystem, _, files = find_files(options.source)
    tables, images, count = find_inputs(options.source, filesystem, files)

    local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if options.address == "local" else {}
    try:
        with ray.init(options.address, logging_level="WARNING", **local):
            cpus = int(ray.cluster_resources().get("CPU", 0))
            actors = cpus if options.actors is None else options.actors
            if not 1 <= actors <= cpus:
                raise ConfigError(f"actors is {actors}; it must be from 1 to {cpus}, the number of CPUs of the cluster")
            records = add_results(read_records(tables, images, filesystem), filesystem, actors)
            records.write_parquet(output, filesystem=output_filesystem, ray_remote_args={"num_cpus": TASK_CPUS})
    except (ray.exceptions.RayError, ConnectionError, ValueError) as error:  # ValueError: an invalid address
        raise DigitnetError(str(getattr(error, "cause", error))[:200]) from error

    written = pyarrow.dataset.dataset(output, filesystem=output_filesystem)
    errors = written.count_rows(filter=pyarrow.dataset.field("error").is_valid())
    if written.count_rows() != count:
        raise DigitnetError(f"expected {count:,} records in {options.output}, got {written.count_rows():,}")
    print(f"{count:,} records in {options.output}, {errors:,} of them with an error")


if __name__ == "__main__":
    main()
