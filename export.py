"""Export a trained checkpoint as one ONNX file that takes raw images of any size. Usage: python export.py [--help].

The file appears under its name only after its outputs were verified against those of the checkpoint.
"""

from digitnet.console import log_to_stderr, one_line_errors

with one_line_errors():  # an import fails if a package is missing
    from digitnet.data.mnist import fetch_mnist
    from digitnet.export.cli import build_parser, document, save, variant_from_options
    from digitnet.export.graph import build_onnx
    from digitnet.export.verify import verify
    from digitnet.model.checkpoint import load_model


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Export a checkpoint step by step, as `digitnet export` does.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    variant = variant_from_options(options)  # which inputs the file takes; by default, images of any size

    # The trained network and its calibration, and the test set that the file is verified on.
    model = load_model(options.checkpoint)
    fetch_mnist(options.data_dir)

    # Framing and network become one graph; the weights are stored in the requested data type.
    graph = build_onnx(model, options.weights, variant)

    # The metadata of the file states the accuracy of these weights in torch, on MNIST's test images.
    document(graph, model, options.checkpoint, options.data_dir, variant)

    # onnxruntime must give torch's outputs on images of many sizes, and the same accuracy, before the file is written.
    save(verify(graph, model, options.data_dir, variant), options.output)


if __name__ == "__main__":
    main()
