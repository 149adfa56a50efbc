"""The `export` command: write a checkpoint as one ONNX file."""

import argparse
from pathlib import Path

from digitnet.console import log_to_stderr
from digitnet.data.mnist import fetch_mnist
from digitnet.errors import one_line_errors
from digitnet.export.graph import add_metadata, build_onnx, store_weights
from digitnet.export.verify import network_accuracy, verify, with_stored_weights
from digitnet.files import write_atomically
from digitnet.model.checkpoint import load_model


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: export a checkpoint, verify the exported model and write it."""
    log_to_stderr()
    export(build_parser().parse_args(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        prog="digitnet export", description="Exports a checkpoint as one ONNX file that takes raw images of any size."
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=Path("checkpoints/best.ckpt"),
        help="checkpoint to export (default: checkpoints/best.ckpt)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("checkpoints/digitnet.onnx"),
        help="file to write (default: checkpoints/digitnet.onnx)",
    )
    parser.add_argument(
        "--opset",
        type=int,
        default=18,
        help="version of the ONNX operator set (default: 18, the oldest that torch exports)",
    )
    parser.add_argument(
        "--weights",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="data type in which the weights are stored (default: float32)",
    )
    parser.add_argument(
        "--data-dir",
        default="data",
        help="where MNIST is stored or downloaded to; the exported model is tested on it (default: data)",
    )
    return parser


def export(options: argparse.Namespace) -> None:
    """Export the checkpoint; the file appears under its name only after its outputs were verified against torch's."""
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)
    graph = build_onnx(model, options.opset)
    store_weights(graph, options.weights)
    accuracy = network_accuracy(with_stored_weights(model, graph).network, options.data_dir)
    add_metadata(graph, model, options.checkpoint, accuracy)
    content = graph.SerializeToString()
    verify(content, model, options.opset, accuracy, options.data_dir)
    write_atomically(options.output, content)
    print(f"{options.output}: {len(content):,} bytes, accuracy {accuracy:.2%} on the MNIST test set.")
