"""Exports a trained checkpoint as one ONNX file that reads any picture: python export.py [--help]

The file appears under its name only when it has been shown to compute what the checkpoint computes.
"""

import argparse
from pathlib import Path

from digitnet.errors import one_line_errors

with one_line_errors():  # imports too can fail in ways a user can mend
    from digitnet.checkpoint import load_digitnet
    from digitnet.export import build_onnx, check, describe, store_weights, test_accuracy_of
    from digitnet.files import write_file
    from digitnet.mnist import fetch_mnist


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

    # The network as it was trained, and what it reads of the MNIST test set.
    model = load_digitnet(options.checkpoint)
    fetch_mnist(options.data_dir)
    accuracy = test_accuracy_of(model, options.data_dir)

    # Framing and network as one graph; weights as asked for; what it is, written into it.
    graph = build_onnx(model, options.opset)
    store_weights(graph, options.weights)
    describe(graph, options.checkpoint, accuracy)

    # The same answers as torch on made pictures of many sizes, and the same accuracy: else nothing is written.
    content = graph.SerializeToString()
    check(content, model, options.opset, accuracy, options.data_dir)
    write_file(options.output, content)
    print(
        f"{options.output}: {len(content):,} bytes, reads {accuracy:.2%} of the MNIST test set as the checkpoint does."
    )


if __name__ == "__main__":
    main()
