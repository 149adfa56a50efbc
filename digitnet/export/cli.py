"""The `export` command: write a checkpoint as one ONNX file."""

import argparse
from pathlib import Path
from typing import get_args

import onnx

from digitnet.console import OptionParser, log_to_stderr, one_line_errors
from digitnet.contract import CHANNELS
from digitnet.data.mnist import fetch_mnist
from digitnet.errors import ConfigError
from digitnet.export.graph import FREE_SIZES, Weights, add_metadata, build_onnx
from digitnet.export.variant import MAX_OPSET, MIN_OPSET, MIN_OPSET_OF_FREE_SIZES, OPSET, Variant
from digitnet.export.verify import network_accuracy, verify, with_stored_weights
from digitnet.files import write_atomically
from digitnet.inference.arrays import MAX_PIXELS
from digitnet.model.checkpoint import TrainedModel, load_model

MAX_SIZE = 8000  # of images and batches; the sums of framing are exact up to this size


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: export a checkpoint, verify the exported model and write it.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    variant = variant_from_options(options)
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)
    graph = build_onnx(model, options.weights, variant)
    document(graph, model, options.checkpoint, options.data_dir, variant)
    save(verify(graph, model, options.data_dir, variant), options.output)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(
        prog="digitnet export", description="Exports a checkpoint as one ONNX file that takes raw images of any size."
    )
    add_model_options(parser, default_weights="float32")
    add_variant_options(parser)
    parser.add_argument(
        "--output",
        type=_output,
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
    parser.add_argument(
        "--test-time-augmentation",
        action="store_true",
        help="average the logits over two views of each image: more accurate, and a little slower",
    )


def add_variant_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which inputs the exported file takes, for runtimes that cannot load the default file.

    Args:
        parser: The parser of a command that exports a checkpoint.
    """
    group = parser.add_argument_group("variants", "inputs for runtimes that cannot load a file that takes any image")
    group.add_argument(
        "--input-size", type=_size, nargs=2, metavar=("H", "W"), help="take images of this height and width in pixels"
    )
    group.add_argument(
        "--channels", type=int, choices=list(CHANNELS), help="take gray (1), RGB (3) or RGBA (4) images only"
    )
    group.add_argument("--batch-size", type=_size, metavar="N", help="take exactly N images at a time")
    group.add_argument(
        "--network-only", action="store_true", help="take framed digits, float32 [N, 1, 28, 28], instead of images"
    )
    group.add_argument(
        "--opset",
        type=int,
        choices=range(MIN_OPSET, MAX_OPSET + 1),
        default=OPSET,
        metavar="VERSION",
        help=f"version of the ONNX operators, {MIN_OPSET} to {MAX_OPSET} (default: %(default)s); below"
        f" {MIN_OPSET_OF_FREE_SIZES} only with --input-size and --channels, or --network-only",
    )


def _output(text: str) -> Path:
    """Return a file to write. It is checked first, because an export takes half a minute."""
    path = Path(text)
    for directory in path.parents:
        if directory.exists():
            if not directory.is_dir():
                raise argparse.ArgumentTypeError(f"expected a file in a directory, got {text!r}: {directory} is a file")
            break
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the directory {text!r}")
    if path.exists() and not path.is_file():
        raise argparse.ArgumentTypeError(f"expected a file, got the device or pipe {text!r}")
    return path


def _size(text: str) -> int:
    """Return a size given as an option."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SIZE:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 to {MAX_SIZE:,}, got {text!r}")
    return int(text)


def variant_from_options(options: argparse.Namespace) -> Variant:
    """Return the variant that the options describe.

    Args:
        options: The options that `add_variant_options` adds.

    Returns:
        The variant.

    Raises:
        ConfigError: If the options contradict each other, or a batch has more than 25 million pixels.
    """
    if options.network_only and (options.input_size or options.channels):
        raise ConfigError("expected --network-only without --input-size and --channels: its input is 28 x 28 ink")
    is_free = not (options.network_only or (options.input_size and options.channels))
    if is_free and options.opset < MIN_OPSET_OF_FREE_SIZES:
        raise ConfigError(
            f"expected an opset of at least {MIN_OPSET_OF_FREE_SIZES} for free sizes, got {options.opset}; add"
            " --input-size and --channels, or --network-only"
        )
    height, width = options.input_size or (None, None)
    pixels = (height or 1) * (width or 1) * (options.batch_size or 1)
    if pixels > MAX_PIXELS:  # each needs memory for its weights
        raise ConfigError(
            f"expected at most {MAX_PIXELS:,} pixels in a batch, got {options.batch_size or 1:,} x {height or 1:,} x"
            f" {width or 1:,} (--batch-size x --input-size); choose a smaller one"
        )
    return Variant(
        batch_size=options.batch_size,
        height=height,
        width=width,
        channels=options.channels,
        network_only=options.network_only,
        averaged=options.test_time_augmentation,
        opset=options.opset,
    )


def document(
    graph: onnx.ModelProto, model: TrainedModel, checkpoint: Path, data_dir: str, variant: Variant = FREE_SIZES
) -> None:
    """Measure the accuracy of the stored weights in torch, and add it and the documentation to the graph.

    Args:
        graph: The ONNX model, which is changed in place.
        model: The model that it was exported from.
        checkpoint: The checkpoint of that model.
        data_dir: The directory with MNIST/raw.
        variant: Which inputs the file takes.
    """
    accuracy = network_accuracy(with_stored_weights(model, graph, variant).logits, data_dir)
    add_metadata(graph, model, checkpoint, accuracy, variant)


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
