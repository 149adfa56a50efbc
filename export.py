"""Exports a trained checkpoint as one ONNX file that reads any picture: python export.py [--help]

The file appears under its name only when it has been shown to compute what the checkpoint computes.
"""

import argparse
from pathlib import Path

from digitnet.errors import one_line_errors

with one_line_errors():  # imports too can fail in ways a user can mend
    from digitnet.data.mnist import fetch_mnist
    from digitnet.export.graph import build_onnx, check, describe, reader_with_weights, store_weights, test_accuracy_of
    from digitnet.files import write_atomically
    from digitnet.model.checkpoint import load_model


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Exports a checkpoint as one ONNX file that reads any picture.")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/best.ckpt"))
    parser.add_argument("--output", type=Path, default=Path("checkpoints/digitnet.onnx"))
    parser.add_argument(
        "--opset",
        type=int,
        default=18,
        help="of ONNX's operators (default: 18; torch makes no older, old runtimes read no newer)",
    )
    parser.add_argument(
        "--weights", choices=("float32", "float16", "int8"), default="float32", help="how they are stored"
    )
    parser.add_argument("--data_dir", default="data", help="where MNIST lies, to test the file on (default: data)")
    options = parser.parse_args(args)

    # The network as it was trained.
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)

    # Framing and network as one graph; weights as asked for.
    graph = build_onnx(model, options.opset)
    store_weights(graph, options.weights)

    # What torch reads of the MNIST test set with these weights; written into the file with what else it is.
    accuracy = test_accuracy_of(reader_with_weights(model, graph).network, options.data_dir)
    describe(graph, model, options.checkpoint, accuracy)

    # The same answers as torch on made pictures of many sizes, and the same accuracy: else nothing is written.
    content = graph.SerializeToString()
    check(content, model, options.opset, accuracy, options.data_dir)
    write_atomically(options.output, content)
    print(f"{options.output}: {len(content):,} bytes, reads {accuracy:.2%} of the MNIST test set.")


if __name__ == "__main__":
    main()
