"""The classifier: an exported model that takes images of any kind. It does not need torch."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import onnxruntime as ort

from digitnet.contract import IMAGE_SIZE, INK_NAME, INPUT_NAME, NETWORK_OUTPUTS, NUM_CLASSES, REJECTED
from digitnet.errors import ConfigError, ImageError, ModelError
from digitnet.inference.arrays import SupportsArray
from digitnet.inference.images import (
    ImageLike,
    batch_size,
    batches_by_shape,
    is_encodable,
    load_batch,
    load_image,
    load_image_or_batch,
)
from digitnet.inference.model_input import ModelInput, load_ink
from digitnet.numbers.number import Number, find_numbers

MAX_THREADS = 1024  # for one classifier
MAX_MODEL_BYTES = 64 * 2**20
# The key "location" of external data: its length in any encoding that a parser accepts, and the text.
EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*[\x00-\x7f])location")
NOTHING = Number("", [], 1.0, (0, 0, 0, 0))
OUTPUTS = ("probabilities", "label", "framed")
INPUT_TYPES = ({INPUT_NAME: "tensor(uint8)"}, {INK_NAME: "tensor(float)"})
EXAMPLE_SHAPES = ((1, 3, 4, 1), (2, 30, 20, 4))  # of images that every model must classify, if its sizes are free


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Prediction:
    """The prediction for one image.

    Attributes:
        label: The digit, or None if the image was rejected.
        probabilities: The probability of each digit, float32 (10,); 0.1 each if the image is blank.
        confidence: The largest probability.
        framed: The network's input, float32 (28, 28); 1 = ink, 0 = background.
    """

    label: int | None
    probabilities: np.ndarray
    confidence: float
    framed: np.ndarray

    @classmethod
    def from_outputs(cls, probabilities: np.ndarray, label: int, framed: np.ndarray) -> "Prediction":
        """Create a prediction from the outputs of the model for one image.

        Args:
            probabilities: Float32 (10,).
            label: The digit, or -1 if the image was rejected.
            framed: Float32 (28, 28).

        Returns:
            The prediction.
        """
        return cls(None if label == REJECTED else int(label), probabilities, float(probabilities.max()), framed)


MAX_KEPT_BYTES = 2**22  # of images; after larger inputs, onnxruntime releases its memory


class DigitClassifier:
    """Classify images with an exported model.

    It can be called from several threads at once, and pickled; the pickle contains the model.

    Args:
        model: Path of the ONNX file; by default, the released model in the package.
        threads: Number of CPU threads for each call, from 1 to 1,024.

    Attributes:
        path: Path of the ONNX file.
        content: The bytes of the ONNX file.
        metadata: The metadata of the ONNX file, for example its "version" and "threshold"; "input" describes what it
            takes.
        input_shape: The sizes of the input that the file takes, (N, H, W, C), each None if it is free; or
            (N, 1, 28, 28) if it is the network alone, which takes ink.

    Raises:
        ConfigError: If `threads` is not an integer from 1 to 1,024, or `model` is not a path.
        ModelError: If the file is missing, damaged, or not a model of digitnet.
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, threads: int = 1) -> None:
        if model is not None and not isinstance(model, (str, os.PathLike)):
            raise ConfigError(f"expected the path of an ONNX file as model, got {type(model).__name__}")
        self.path = released_model_path() if model is None else Path(model)
        if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"expected an integer from 1 to {MAX_THREADS:,} as threads, got {threads!r}")
        if not is_encodable(self.path):
            raise ModelError(
                f"expected a path, got {str(self.path)!r}, which no file system can encode; rename the file"
            )
        if self.path.is_dir():
            raise ModelError(f"expected an ONNX file, got the directory {self.path}")
        if not self.path.is_file():
            step = (
                "Install digitnet again" if model is None else "Export one first: digitnet export, or python export.py"
            )
            raise ModelError(f"No model {self.path}. {step}")
        size = self.path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelError(f"expected a model of at most {MAX_MODEL_BYTES:,} bytes, got {self.path} of {size:,}")
        self._load(self.path.read_bytes(), threads)

    def _load(self, content: bytes, threads: int) -> None:
        """Create the session from the content of an ONNX file."""
        if EXTERNAL_DATA.search(content):  # which onnxruntime would load from the working directory
            raise ModelError(
                f"expected a model in one file, got {self.path}, which has external data; save it as one file:"
                " onnx.save(onnx.load(path), new_path)"
            )
        self.content, self._threads = content, threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors are raised as exceptions
        try:
            # Without the fallback to the same provider, which onnxruntime announces on the standard output.
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions have no other common base class
            reason = str(error).strip().splitlines()[0][:200]
            raise ModelError(f"{self.path} is damaged or not an ONNX model ({reason})") from error
        self._input = self._check_names()
        self._check_outputs()
        self.input_shape = self._input.shape
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def takes_ink(self) -> bool:
        """Whether the file is the network alone, which takes framed ink instead of images."""
        return self._input.takes_ink

    def __getstate__(self) -> tuple[Path, bytes, int]:
        return self.path, self.content, self._threads

    def __setstate__(self, state: tuple[Path, bytes, int]) -> None:
        self.path, content, threads = state
        self._load(content, threads)

    @overload
    def __call__(self, images: list[ImageLike] | tuple[ImageLike, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, images: np.ndarray | SupportsArray) -> Prediction | Any: ...  # a list for a batch
    @overload
    def __call__(self, images: ImageLike) -> Prediction: ...
    def __call__(self, images: ImageLike | list[ImageLike] | tuple[ImageLike, ...]) -> Prediction | list[Prediction]:
        """Classify one image or several images.

        An image is a path; a file object or the content of an image file; a PIL image; or an array of NumPy, torch or
        any library whose arrays have `__array__`: (H, W), (1, H, W) or (H, W, C) with C = 1 (gray), 3 (RGB) or 4
        (RGBA), of integers from 0 to 255, bool, or floats in [0, 1] or [0, 255]. docs/inputs.md lists all.

        Args:
            images: An image; a list or tuple of images of any sizes; or an array (N, H, W), (N, H, W, C) or
                (N, C, H, W), if its shape is unambiguous. `predict_batch` accepts arrays (N, H, W) with any N.

        Returns:
            A prediction, or for a list or a batch, a list of predictions in the same order.

        Raises:
            ImageError: If an image cannot be decoded, or an array is ambiguous; for a list, with its index.
            OSError: If a file cannot be read.
        """
        if self._input.takes_ink:
            return self._predict_ink(images)
        if isinstance(images, (list, tuple)):
            return self._predict_many([_load_item(index, image) for index, image in enumerate(images)])
        array = load_image_or_batch(images)
        return self._predict_batches(array) if array.ndim == 4 else self._predict_batches(array[None])[0]

    def _predict_ink(self, ink: object) -> Prediction | list[Prediction]:
        """Return the prediction for framed ink, or a list of predictions for a list or a batch."""
        if isinstance(ink, (list, tuple)):
            arrays = [_load_ink_item(index, item) for index, item in enumerate(ink)]
            return [self._predict_arrays(array)[0] for array in arrays]
        array, is_batch = load_ink(ink)
        predictions = self._predict_arrays(array)
        return predictions if is_batch else predictions[0]

    def _predict_arrays(self, images: np.ndarray) -> list[Prediction]:
        """Return predictions for inputs of the file, which are classified together."""
        return [Prediction.from_outputs(*outputs) for outputs in zip(*self.run(images), strict=True)]

    def _predict_many(self, arrays: Sequence[np.ndarray]) -> list[Prediction]:
        """Return predictions for images of any sizes. Batches take a fifth of the time per image of 28 x 28 pixels."""
        predictions: dict[int, Prediction] = {}
        for indices, batch in batches_by_shape(arrays):
            predictions.update(zip(indices, self._predict_batches(batch), strict=True))
        return [predictions[index] for index in range(len(arrays))]

    def predict_batch(self, images: np.ndarray | SupportsArray) -> list[Prediction]:
        """Classify images of one size in one array.

        Args:
            images: An array of NumPy, torch or another library: (N, H, W) with H and W of at least 8, (N, H, W, C) or
                (N, C, H, W) with C = 1 (gray), 3 (RGB) or 4 (RGBA), of integers from 0 to 255, bool, or floats in
                [0, 1] or [0, 255].

        Returns:
            N predictions.

        Raises:
            ImageError: If it is not an array, or its shape or its values are others, ambiguous or empty.
        """
        if self._input.takes_ink:
            return self._predict_arrays(load_ink(images)[0])
        return self._predict_batches(load_batch(images))

    def _predict_batches(self, images: np.ndarray) -> list[Prediction]:
        """Return predictions for images of one size, uint8 (N, H, W, C), of which few are classified at a time."""
        size = batch_size(images[0])
        batches = (images[start : start + size] for start in range(0, len(images), size))
        return [prediction for batch in batches for prediction in self._predict_arrays(batch)]

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classify images of one size and return arrays.

        Args:
            images: Uint8 (N, H, W, C) with C = 1, 3 or 4; or ink, float32 (N, 1, 28, 28) in [0, 1], if the file is the
                network alone. N is at least 1.

        Returns:
            Probabilities, float32 (N, 10); labels, int32 (N,), -1 if rejected; framed images, float32 (N, 28, 28).

        Raises:
            ImageError: If it is another array or empty, or the file takes images of another size or with other
                channels, or ink.
        """
        return self._input.run(self._run, self._input.adapt(images))

    def read_number(self, image: ImageLike) -> Number:
        """Find the number in an image, which may have several digits.

        Args:
            image: An image, as for one digit. If it shows several numbers, the one with the largest digits in total
                counts; `read_numbers` returns all of them.

        Returns:
            The number; its text is "" if there is none.

        Raises:
            ConfigError: If the model takes images of one size only, or ink.
            ImageError: If the image cannot be decoded, or there are more than 100 candidates for digits on a line.
            OSError: If a file cannot be read.
        """
        return max(self.read_numbers(image), key=_digit_area, default=NOTHING)

    def read_numbers(self, image: ImageLike) -> list[Number]:
        """Find all numbers in an image.

        Args:
            image: An image, as for one digit.

        Returns:
            The number on each line, from top to bottom, and from left to right where a wide gap separates two.

        Raises:
            ConfigError: If the model takes images of one size only, or ink.
            ImageError: If the image cannot be decoded, or there are more than 100 candidates for digits on a line.
            OSError: If a file cannot be read.
        """
        if self._input.takes_ink or any(self.input_shape[1:3]):
            raise ConfigError(
                f"expected a model that takes images of any size to find numbers, got {self.path} with the input"
                f" {self.input_shape}; use the released digitnet.onnx"
            )
        return find_numbers(load_image(image), self.run)

    def _run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Run the file on one batch."""
        outputs = OUTPUTS[:2] if self._input.takes_ink else OUTPUTS
        arrays: list[np.ndarray] = self._session.run(list(outputs), {self._input.name: inputs}, run_options(inputs))
        return arrays

    def _check_names(self) -> ModelInput:
        """Return the input of the model, or raise ModelError unless it has the names of a digitnet model."""
        entries = self._session.get_inputs()
        inputs = {entry.name: entry.type for entry in entries}
        outputs = {entry.name for entry in self._session.get_outputs()}
        for expected, names in ((INPUT_TYPES[0], OUTPUTS), (INPUT_TYPES[1], NETWORK_OUTPUTS)):
            if inputs == expected and outputs >= set(names):
                sizes = [size if isinstance(size, int) else None for size in entries[0].shape]  # free ones have names
                return ModelInput(entries[0].name, tuple(sizes))
        raise ModelError(
            f"expected a model with input {INPUT_TYPES[0]} and outputs {sorted(OUTPUTS)}, or {INPUT_TYPES[1]} and"
            f" {sorted(NETWORK_OUTPUTS)}, got {self.path} with input {inputs} and outputs {sorted(outputs)}"
        )

    def _check_outputs(self) -> None:
        """Raise ModelError unless the model computes outputs of the right types and shapes."""
        for shape in EXAMPLE_SHAPES:  # the names may match by chance
            try:
                example = self._input.example(shape)
                probabilities, label, framed = self._input.run(self._run, example)
                types = [(output.dtype.name, output.shape) for output in (probabilities, label, framed)]
            except Exception as error:  # onnxruntime's own
                raise ModelError(f"{self.path} is not a digitnet model: it cannot classify images {shape}") from error
            count = len(example)
            expected = [("float32", (count, NUM_CLASSES)), ("int32", (count,))]
            expected.append(("float32", (count, IMAGE_SIZE, IMAGE_SIZE)))
            if types != expected:
                raise ModelError(f"{self.path} is not a digitnet model: expected outputs {expected}, got {types}")
            if not np.isfinite(probabilities).all():
                raise ModelError(f"{self.path} is damaged: its probabilities are not finite. Export it again")


def _digit_area(number: Number) -> int:
    """Return the area of the boxes around the digits of a number, in pixels of the image."""
    return sum((right - left) * (bottom - top) for left, top, right, bottom in (digit.box for digit in number.digits))


def released_model_path() -> Path:
    """Return the path of the released model.

    Returns:
        The ONNX file in the installed package or, if that has none, in the clone.
    """
    package = Path(__file__).parents[1]
    installed = package / "release" / "digitnet.onnx"
    return installed if installed.exists() else package.parent / "checkpoints" / "release" / "digitnet.onnx"


def _load_item(index: int, image: ImageLike) -> np.ndarray:
    """Return an image of a list as an array, with its index in the message if that fails."""
    try:
        return load_image(image)
    except ImageError as error:
        raise ImageError(f"image {index} of the list: {error}") from error


def _load_ink_item(index: int, ink: object) -> np.ndarray:
    """Return the ink of one image of a list, float32 (1, 1, 28, 28), with its index in the message if that fails."""
    try:
        array, is_batch = load_ink(ink)
    except ImageError as error:
        raise ImageError(f"image {index} of the list: {error}") from error
    if is_batch:
        raise ImageError(
            f"image {index} of the list: expected the ink of one image, (28, 28), got a batch {array.shape};"
            " pass the batch itself"
        )
    return array


def run_options(images: np.ndarray) -> ort.RunOptions | None:
    """Return options for onnxruntime that release its memory after large inputs; framing needs 40 bytes per pixel.

    Args:
        images: The input.

    Returns:
        The options, or None for inputs of at most MAX_KEPT_BYTES.
    """
    if images.nbytes <= MAX_KEPT_BYTES:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
