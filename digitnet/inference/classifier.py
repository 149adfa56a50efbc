"""The exported file as a Python object: any picture in, the digit out. Without torch."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import onnxruntime as ort
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from digitnet.errors import ImageError, ModelError

MAX_PIXELS = 25_000_000  # of one picture; 100 MB once decoded. Checked before decoding.
MAX_SIDE = 16_384  # pixels; framing takes 28 numbers for each pixel of a side
MAX_FILE_BYTES = 50_000_000  # of one picture's file
LARGEST_MODEL = 64 * 2**20  # bytes
FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "WEBP",
    "TIFF",
    "PPM",
)  # the ordinary ones; Pillow knows many rarer, riskier ones
OUTPUTS = ("probabilities", "label", "framed")

Picture: TypeAlias = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True, eq=False)  # arrays have no single truth to compare by
class Prediction:
    """What a picture was read as.

    label: the digit, or None where there is none.
    probabilities: float32 (10,), how likely each digit is; 0.1 each where there is nothing to read.
    confidence: the largest of them.
    framed: float32 (28, 28), what the network saw; 1 = ink, 0 = ground.
    """

    label: int | None
    probabilities: np.ndarray
    confidence: float
    framed: np.ndarray


class DigitClassifier:
    """Reads pictures with an exported model file.

    Safe to call from several threads at once. Can be pickled: the model goes along.

    Args:
        model: Path of the file; the released one that comes with the package unless given.
        threads: CPU threads for one picture or batch.

    Raises ModelError where the file is missing, damaged, or not digitnet's.
    """

    def __init__(self, model: str | Path | None = None, threads: int = 1) -> None:
        self.path = released_model_path() if model is None else Path(model)
        if not isinstance(threads, int) or threads < 1:
            raise ModelError(f"threads is {threads!r}; it must be a whole number from 1")
        if self.path.is_dir():
            raise ModelError(f"{self.path} is a folder; wanted a model file, for example {released_model_path()}")
        if not self.path.is_file():
            step = "Install digitnet again" if model is None else "Make one first: python export.py"
            raise ModelError(f"No model {self.path}. {step}")
        if self.path.stat().st_size > LARGEST_MODEL:
            raise ModelError(
                f"{self.path} has {self.path.stat().st_size:,} bytes; a model has at most {LARGEST_MODEL:,}"
            )
        self._open(self.path.read_bytes(), threads)

    def _open(self, content: bytes, threads: int) -> None:
        self._content, self._threads = content, threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors come as exceptions
        try:
            # Without the fallback to the same provider, of which onnxruntime would tell on stdout.
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's own exceptions have no common base but this
            reason = str(error).strip().splitlines()[0][:200]
            raise ModelError(f"{self.path} is damaged or not an ONNX model ({reason})") from error
        self._check_contract()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __getstate__(self) -> tuple[Path, bytes, int]:
        return self.path, self._content, self._threads

    def __setstate__(self, state: tuple[Path, bytes, int]) -> None:
        self.path, content, threads = state
        self._open(content, threads)

    @overload
    def __call__(self, pictures: list[Picture] | tuple[Picture, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, pictures: Picture) -> Prediction: ...
    def __call__(self, pictures: Picture | list[Picture] | tuple[Picture, ...]) -> Prediction | list[Prediction]:
        """Reads one picture, or a list of them.

        A picture is a path, the bytes of a picture file, a PIL image, or an array: uint8 (H, W) or (H, W, C) with
        C = 1 grey, 3 RGB, 4 RGBA, or float of the same shapes in [0, 1].
        Raises ImageError, with the place in the list, where one cannot be read; OSError where a file cannot.
        """
        if isinstance(pictures, (list, tuple)):
            return list(self._read_many([_numbered(i, p) for i, p in enumerate(pictures)]))
        return next(self._read_many([load_image(pictures)]))

    def _read_many(self, arrays: Sequence[np.ndarray]) -> Iterator[Prediction]:
        # Pictures of one size go through together: a batch of 28 x 28 takes a fifth of the time for each.
        batches: dict[tuple[int, ...], list[int]] = {}
        for index, array in enumerate(arrays):
            batches.setdefault(array.shape, []).append(index)
        results: dict[int, Prediction] = {}
        for indices in batches.values():
            step = max(1, 2**22 // arrays[indices[0]].size)  # about 4 million bytes at a time
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                for index, prediction in zip(
                    part, self.predict_batch(np.stack([arrays[i] for i in part])), strict=True
                ):
                    results[index] = prediction
        for index in range(len(arrays)):
            yield results[index]

    def predict_batch(self, images: np.ndarray) -> list[Prediction]:
        """Reads pictures of one size, uint8 (N, H, W, C), as they are."""
        return [
            Prediction(int(label) if label >= 0 else None, p, float(p.max()), f)
            for p, label, f in zip(*self.run(images), strict=True)
        ]

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures of one size, uint8 (N, H, W, C), to probabilities, float32 (N, 10), labels, int32 (N,) with -1 for
        none, and what the network saw, float32 (N, 28, 28)."""
        probabilities, labels, framed = self._session.run(list(OUTPUTS), {"image": images})
        return probabilities, labels, framed

    def _check_contract(self) -> None:
        inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        outputs = {entry.name for entry in self._session.get_outputs()}
        if inputs != {"image": "tensor(uint8)"} or not outputs >= set(OUTPUTS):
            raise ModelError(
                f"{self.path} is another model: it takes {inputs} and gives {sorted(outputs)}; digitnet's takes"
                f" {{'image': 'tensor(uint8)'}} and gives {sorted(OUTPUTS)}"
            )
        for shape in ((1, 3, 4, 1), (2, 30, 20, 4)):  # names can be right and all else wrong
            try:
                probabilities, label, framed = self._session.run(list(OUTPUTS), {"image": np.zeros(shape, np.uint8)})
                kinds = [(output.dtype.name, output.shape) for output in (probabilities, label, framed)]
            except Exception as error:  # onnxruntime's own
                raise ModelError(f"{self.path} is another model: it cannot read pictures {shape}") from error
            wanted = [("float32", (shape[0], 10)), ("int32", (shape[0],)), ("float32", (shape[0], 28, 28))]
            if kinds != wanted or not np.isfinite(probabilities).all():
                raise ModelError(f"{self.path} is another model: it gives {kinds}, digitnet's gives {wanted}")


def released_model_path() -> Path:
    """The file that DigitClassifier uses by default: in the installed package, or in the clone it is imported from."""
    package = Path(__file__).parents[1]
    installed = package / "release" / "digitnet.onnx"
    return installed if installed.exists() else package.parent / "checkpoints" / "release" / "digitnet.onnx"


def load_image(picture: Picture) -> np.ndarray:
    """The picture as uint8 (H, W, C), C = 1, 3 or 4. Raises ImageError."""
    if isinstance(picture, np.ndarray):
        return _checked(picture)
    if isinstance(picture, Image.Image):
        try:
            return _from_pil(picture, "the image")
        except (OSError, ValueError) as error:  # a lazily opened file that is damaged, or closed by now
            raise error if isinstance(error, ImageError) else ImageError(f"the image: {error}") from error
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return _decode(picture, len(picture), "the bytes")
    if isinstance(picture, (str, Path)):
        if "\0" in str(picture):
            raise ImageError(f"{str(picture)!r} is no path: it has a null character in it")
        with open(picture, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)  # by reading, since a pipe does not know its size
            return _decode(content, max(len(content), os.fstat(file.fileno()).st_size), str(picture))
    raise ImageError(f"a picture is a {type(picture).__name__}; wanted a path, bytes, a PIL image or a numpy array")


def _numbered(index: int, picture: Picture) -> np.ndarray:
    try:
        return load_image(picture)
    except ImageError as error:
        raise ImageError(f"picture {index} of the list: {error}") from error


def _checked(array: np.ndarray) -> np.ndarray:
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError("an array is masked; fill it first: array.filled(0)")
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"an array has shape {array.shape}; wanted (H, W), or (H, W, C) with C = 1, 3 or 4")
    _check_size(array.shape[1], array.shape[0], "an array")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"an array has dtype {array.dtype}; wanted uint8, or float in [0, 1]")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ImageError(f"a float array has values from {low} to {high}; wanted [0, 1], without NaN")
    return np.rint(array * 255).astype(np.uint8)


def _decode(content: bytes | bytearray | memoryview, size: int, name: str) -> np.ndarray:
    if size == 0:
        raise ImageError(f"{name}: empty, no picture in it")
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _from_pil(image, name)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in one of the formats {', '.join(FORMATS)}") from error
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        met = str(error).partition(" exceeds")[0]
        raise ImageError(f"{name}: {met}; at most {MAX_PIXELS:,} are read") from error
    except Exception as error:  # damaged files fail in Pillow's decoders in many ways
        raise ImageError(f"{name}: damaged, cannot be decoded ({type(error).__name__})") from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height == 0:
        raise ImageError(f"{name}: {width} x {height} pixels; wanted at least one")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{name}: {width} x {height} pixels; at most {MAX_PIXELS:,} are read, and {MAX_SIDE:,} on a side"
        )


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)  # known from the header, before a pixel is decoded
    image.load()  # a PNG may say behind its pixels how it is turned
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)  # a photo is turned as its camera was held
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        pixels = np.asarray(image).astype(np.int64).clip(0, 65535)
        # Cameras and scanners store 10, 12 or 14 bits as 16: as many as the lightest pixel needs are taken for all.
        bits = max(int(pixels.max()).bit_length() + 1 & ~1, 8)
        return (pixels * 255 // (2**bits - 1)).astype(np.uint8)[:, :, None]
    if image.mode == "F":
        return _checked(np.asarray(image))
    if image.mode in ("1", "L"):
        return _pixels(image, "L")[:, :, None]
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    return _pixels(image, "RGBA" if has_alpha else "RGB")  # palettes, CMYK, YCbCr ... as they look


def _pixels(image: Image.Image, mode: str) -> np.ndarray:
    return np.asarray(image if image.mode == mode else image.convert(mode))  # Pillow's convert copies in any case
