"""Export a trained checkpoint as one ONNX file that takes raw images of any size. Usage: python export.py [--help].

The file appears under its name only after its outputs were verified against those of the checkpoint.
"""

from digitnet.errors import one_line_errors

with one_line_errors():  # an import fails if a package is missing
    from digitnet.console import log_to_stderr
    from digitnet.data.mnist import fetch_mnist
    from digitnet.export.cli import build_parser
    from digitnet.export.graph import add_metadata, build_onnx, store_weights
    from digitnet.export.verify import network_accuracy, verify, with_stored_weights
    from digitnet.files import write_atomically
    from digitnet.model.checkpoint import load_model


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Export a checkpoint step by step, as `digitnet export` does."""
    log_to_stderr()
    options = build_parser().parse_args(args)

    # The trained network, and the test set that the exported model is compared on.
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)

    # Framing and network become one graph; the weights are stored in the requested data type.
    graph = build_onnx(model, options.opset)
    store_weights(graph, options.weights)

    # The accuracy of these weights in torch, which the metadata of the file records.
    accuracy = network_accuracy(with_stored_weights(model, graph).network, options.data_dir)
    add_metadata(graph, model, options.checkpoint, accuracy)

    # onnxruntime must give torch's outputs on images of many sizes, and the same accuracy, before the file is written.
    content = graph.SerializeToString()
    verify(content, model, options.opset, accuracy, options.data_dir)
    write_atomically(options.output, content)
    print(f"{options.output}: {len(content):,} bytes, accuracy {accuracy:.2%} on the MNIST test set.")


if __name__ == "__main__":
    main()
