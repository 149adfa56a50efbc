"""Open the sketchpad in a browser. Usage: python app.py [--help].

Draw a digit; the prediction updates as you draw. The page runs the exported model with onnxruntime and needs no
network.
"""

from digitnet.console import one_line_errors

with one_line_errors():  # an import fails if a package is missing
    from digitnet.app.cli import build_parser, open_corrections, serve
    from digitnet.app.demo import build_demo
    from digitnet.inference.classifier import DigitClassifier


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Serve the sketchpad step by step, as `digitnet app` does.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    options = build_parser().parse_args(args)

    # The exported model, behind a page with a sketchpad.
    classifier = DigitClassifier(options.model)
    corrections = open_corrections(options)
    demo = build_demo(classifier, corrections)

    # Print the address, open the browser, and serve until Ctrl-C.
    serve(demo, classifier, corrections, options)


if __name__ == "__main__":
    main()
