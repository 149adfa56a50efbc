"""The `export` command: write a checkpoint as one ONNX file."""

import argparse
from pathlib import Path
from typing import get_args

import onnx

from digitnet.console import OptionParser, log_to_stderr, one_line_errors
from digitnet.data.mnist import fetch_mnist
from digitnet.export.graph import Weights, add_metadata, build_onnx
from digitnet.export.verify import network_accuracy, verify, with_stored_weights
from digitnet.files import write_atomically
from digitnet.model.checkpoint import TrainedModel, load_model


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: export a checkpoint, verify the exported model and write it.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)
    graph = build_onnx(model, options.weights)
    document(graph, model, options.checkpoint, options.data_dir)
    save(verify(graph, model, options.data_dir), options.output)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(
        prog="digitnet export", description="Exports a checkpoint as one ONNX file that takes raw images of any size."
    )
    add_model_options(parser, default_weights="float32")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("checkpoints/digitnet.onnx"),
        help="file to write (default: checkpoints/digitnet.onnx)",
    )
    parser.add_argument(
        "--data-dir",
        default="data",
        help="where MNIST is stored or downloaded to; the exported model is tested on it (default: data)",
    )
    return parser


def add_model_options(parser: argparse.ArgumentParser, default_weights: Weights) -> None:
    """Add the options that say which checkpoint is exported, and in which data type.

    Args:
        parser: The parser of a command that exports a checkpoint.
        default_weights: The default of `--weights`.
    """
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("checkpoints/best.ckpt"),
        help="checkpoint to export (default: checkpoints/best.ckpt)",
    )
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        default=default_weights,
        help="data type in which the weights are stored (default: %(default)s)",
    )


def document(graph: onnx.ModelProto, model: TrainedModel, checkpoint: Path, data_dir: str) -> None:
    """Measure the accuracy of the stored weights in torch, and add it and the documentation to the graph.

    Args:
        graph: The ONNX model, which is changed in place.
        model: The model that it was exported from.
        checkpoint: The checkpoint of that model.
        data_dir: The directory with MNIST/raw.
    """
    accuracy = network_accuracy(with_stored_weights(model, graph).network, data_dir)
    add_metadata(graph, model, checkpoint, accuracy)


def save(content: bytes, path: Path) -> None:
    """Write the file and print its size and accuracy.

    Args:
        content: The verified content.
        path: The file to write; its directory is created.
    """
    write_atomically(path, content)
    (accuracy,) = [
        entry.value for entry in onnx.load_from_string(content).metadata_props if entry.key == "test_accuracy"
    ]
    print(f"{path}: {len(content):,} bytes, accuracy {float(accuracy):.2%} on the MNIST test set.")
