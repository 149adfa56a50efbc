"""The files of a release: the model, its variants for other runtimes, the files that explain it, and their sums.

`python -m digitnet.export.release` writes them beside a checkpoint. Run it again when the checkpoint has changed.
"""

import argparse
import hashlib
from pathlib import Path
from typing import get_args

from digitnet.console import OptionParser, log_to_stderr, one_line_errors
from digitnet.data.mnist import fetch_mnist
from digitnet.errors import ConfigError
from digitnet.export.activations import ACTIVATIONS_SUFFIX, build_activations, build_framing
from digitnet.export.cli import document, save
from digitnet.export.graph import Weights, build_onnx
from digitnet.export.variant import Variant
from digitnet.export.verify import verify
from digitnet.files import write_atomically
from digitnet.model.checkpoint import load_model

VARIANTS = {
    "digitnet.onnx": Variant(averaged=True),
    "digitnet-28.onnx": Variant(network_only=True, averaged=True),
    "digitnet-280.onnx": Variant(1, 280, 280, 4, averaged=True),
}
CHECKPOINT = "digitnet.ckpt"
SUMS = "SHA256SUMS"


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: export and verify all files, and write the sums.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    if not options.directory.is_dir():
        raise ConfigError(f"expected the directory of a release, got {options.directory}")
    checkpoint = options.directory / CHECKPOINT
    model = load_model(checkpoint)
    fetch_mnist(options.data_dir)
    for name, variant in VARIANTS.items():
        graph = build_onnx(model, options.weights, variant)
        document(graph, model, checkpoint, options.data_dir, variant)
        save(verify(graph, model, options.data_dir, variant), options.directory / name)
    activations = build_activations(model, checkpoint, options.weights, averaged=True)
    write_atomically(options.directory / f"digitnet{ACTIVATIONS_SUFFIX}", activations)
    write_atomically(options.directory / "framing.onnx", build_framing())
    write_atomically(options.directory / SUMS, sums(options.directory).encode())


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(
        prog="python -m digitnet.export.release",
        description="Exports a released checkpoint to all ONNX files of the release, and writes their SHA-256 sums.",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("checkpoints/release"),
        help="directory with digitnet.ckpt (default: checkpoints/release)",
    )
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        default="float16",
        help="data type in which the weights are stored (default: %(default)s)",
    )
    parser.add_argument("--data-dir", default="data", help="where MNIST is stored or downloaded to (default: data)")
    return parser


def sums(directory: Path) -> str:
    """Compute the SHA-256 sums of the models of a release, which `sha256sum --check` verifies.

    Args:
        directory: The directory with the files.

    Returns:
        A line for each ONNX file and for the checkpoint, sorted by name.
    """
    files = sorted([*directory.glob("*.onnx"), directory / CHECKPOINT])
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


if __name__ == "__main__":
    main()
