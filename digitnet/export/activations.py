"""Two ONNX files with the intermediate results of a prediction, from which the sketchpad explains it.

`python -m digitnet.export.activations` writes the network with its activations as outputs beside an exported model, and
the framing with the position of the digit as outputs. Both run in the onnxruntime of Python and of browsers.
"""

import argparse
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper
from torch import Tensor, nn

from digitnet import __version__
from digitnet.console import OptionParser, log_to_stderr, one_line_errors
from digitnet.contract import ACTIVATION_DOCS, FRAMED_DOC, FRAMED_NAME, FRAMING_DOCS, IMAGE_SIZE, INPUT_DOC, INPUT_NAME
from digitnet.errors import ExportError
from digitnet.export.cli import add_model_options
from digitnet.export.graph import ExportedNetwork, Weights, exported_module, store_weights, to_onnx
from digitnet.export.variant import Variant
from digitnet.export.verify import sample_images, with_stored_weights
from digitnet.files import write_atomically
from digitnet.model.checkpoint import TrainedModel, load_model
from digitnet.model.framing import Framing

TOLERANCE = 1e-4  # maximum absolute difference from torch; activations are up to ten times as large as probabilities
ACTIVATIONS_SUFFIX = ".activations.onnx"

logger = logging.getLogger("digitnet.export.activations")  # also if run as __main__


class Activations(nn.Module):
    """The exported network with its activations as further outputs.

    Args:
        exported: The computation of the exported file, whose network has the calibrated logits as output.
    """

    def __init__(self, exported: ExportedNetwork) -> None:
        super().__init__()
        self.network = exported.network
        self.views = exported.views

    def forward(self, framed: Tensor) -> tuple[Tensor, ...]:
        """Return the activations of each layer.

        Args:
            framed: Float32 (N, 28, 28) in [0, 1], 1 = ink.

        Returns:
            The outputs of `digitnet.contract.ACTIVATION_DOCS`. With test-time augmentation, the activations are those
            of the framed digit itself, and the logits are the average over its views.
        """
        ink = output = framed[:, None]
        activations = []
        for layer in self.network[:-1]:
            output = layer(output)
            if isinstance(layer, nn.ReLU):
                activations.append(output)
        logits = self.network[-1](output) if self.views is None else self.views.average(self.network(self.views(ink)))
        return *activations, logits, logits.softmax(1)


class FramingSteps(nn.Module):
    """Framing with the position of the digit as further outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.framing = Framing()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the framed digits and where they are in the images.

        Args:
            image: Uint8 (N, H, W, C), see `digitnet.contract.INPUT_DOC`.

        Returns:
            The outputs of `digitnet.contract.FRAMING_DOCS`.
        """
        framed, blank, box, square = self.framing.locate(image)
        visible = 1 - blank.float()[:, None]
        return framed, box * visible, square * visible


def build_activations(
    model: TrainedModel, checkpoint: Path, weights: Weights = "float16", averaged: bool = False
) -> bytes:
    """Export the network with its activations as outputs, and verify the file.

    Args:
        model: The trained network and its calibration.
        checkpoint: The checkpoint of that model, whose SHA-256 is stored.
        weights: Data type in which the large weights are stored.
        averaged: Whether the logits are averaged over several views of each image.

    Returns:
        The content of the ONNX file.

    Raises:
        ExportError: If onnxruntime's outputs differ from those of torch.
    """
    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE)
    variant = Variant(network_only=True, averaged=averaged)
    exported = Activations(exported_module(model, variant))
    proto = to_onnx(exported, example, FRAMED_NAME, ["N", None, None], ACTIVATION_DOCS)
    store_weights(proto, weights)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    _document(proto, "The network of digitnet with its activations.", FRAMED_DOC, ACTIVATION_DOCS, digest)
    rng = np.random.default_rng(0)
    samples = [rng.random((count, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32) for count in (1, 2, 7)]
    return _verified(proto, Activations(with_stored_weights(model, proto, variant)).eval(), samples)


def build_framing() -> bytes:
    """Export framing with the position of the digit as outputs, and verify the file.

    Returns:
        The content of the ONNX file.

    Raises:
        ExportError: If onnxruntime's outputs differ from those of torch.
    """
    example = torch.zeros(2, 30, 31, 4, dtype=torch.uint8)
    proto = to_onnx(FramingSteps(), example, INPUT_NAME, ["N", "H", "W", "C"], FRAMING_DOCS)
    _document(proto, "The framing of digitnet with the position of the digit.", INPUT_DOC, FRAMING_DOCS)
    return _verified(proto, FramingSteps().eval(), sample_images(3, seed=0))


def _document(
    proto: onnx.ModelProto, description: str, input_doc: str, docs: Mapping[str, str], digest: str | None = None
) -> None:
    """Add documentation and metadata, in place; `digest` is the SHA-256 of the checkpoint."""
    proto.doc_string = description
    proto.graph.input[0].doc_string = input_doc
    for output in proto.graph.output:
        output.doc_string = docs[output.name]
    metadata = {"description": description, "license": "MIT", "version": __version__}
    helper.set_model_props(proto, metadata | ({"checkpoint_sha256": digest} if digest else {}))


def _verified(proto: onnx.ModelProto, reference: nn.Module, samples: list[np.ndarray]) -> bytes:
    """Return the content of the file, or raise ExportError if its outputs for the samples are not those of torch."""
    content: bytes = proto.SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in session.get_inputs())
    for sample in samples:
        with torch.inference_mode():
            reference_outputs = [output.numpy() for output in reference(torch.from_numpy(sample))]
        outputs = session.run(None, {name: sample})
        for output, expected, actual in zip(session.get_outputs(), reference_outputs, outputs, strict=True):
            if expected.shape != actual.shape or not np.allclose(expected, actual, rtol=TOLERANCE, atol=TOLERANCE):
                raise ExportError(f"{output.name} of the exported file differs from torch for the input {sample.shape}")
    return content


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Run the command: export the activations of a checkpoint, and the framing if asked to.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    log_to_stderr()
    options = build_parser().parse_args(args)
    checkpoint: Path = options.checkpoint
    files = {
        options.model.with_suffix(ACTIVATIONS_SUFFIX): build_activations(
            load_model(checkpoint), checkpoint, options.weights, options.test_time_augmentation
        )
    }
    if options.framing:
        files[options.framing] = build_framing()
    for path, content in files.items():
        write_atomically(path, content)
        logger.info("%s: %s bytes", path, f"{len(content):,}")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command's options.

    Returns:
        The parser.
    """
    parser = OptionParser(
        prog="python -m digitnet.export.activations",
        description="Exports the network with its activations as outputs; with it, the sketchpad explains predictions.",
    )
    add_model_options(parser, default_weights="float16")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("checkpoints/digitnet.onnx"),
        help="exported model of that checkpoint; NAME.activations.onnx is written beside NAME.onnx"
        " (default: checkpoints/digitnet.onnx)",
    )
    parser.add_argument("--framing", type=Path, metavar="FILE", help="also export framing, to this file")
    return parser


if __name__ == "__main__":
    main()
