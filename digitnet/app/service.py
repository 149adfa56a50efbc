"""What the sketchpad does with an image, for the page's routes and for Gradio's API.

An image arrives as the content of a file, or as a data URI; nothing takes a path, so nobody can make the app open a
file of this machine.
"""

import base64
import binascii
import io
import math
import re
import threading
import time

import numpy as np
from PIL import Image

from digitnet.contract import IMAGE_SIZE
from digitnet.errors import ImageError, ImageSizeError
from digitnet.inference.arrays import MAX_PIXELS
from digitnet.inference.classifier import DigitClassifier, Prediction
from digitnet.inference.images import load_image
from digitnet.numbers.number import MAX_CANDIDATES

MAX_BODY_BYTES = 4_000_000  # of a request; the page reduces photos before it sends them
# Larger images are reduced before framing, which needs 40 bytes per pixel. The sides have no limit of their own: the
# digit on a long strip, for example of 8000 x 60 pixels, would become too small.
MAX_PIXELS_FRAMED = 1600 * 1600
MAX_CONCURRENT = 4  # images that are decoded and classified at the same time, from the page and the API
MAX_SHOWN = 40  # characters of an invalid input in an error message
DATA_URI = re.compile(r"data:[\w.+-]{1,40}/[\w.+-]{1,80};base64,")
EXPECTED = "expected a data URI (data:image/png;base64,...)"


class CandidatesError(ImageError):
    """An image has too many candidates for digits on a line."""


_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT)


def content_of_data_uri(uri: object) -> bytes:
    """Return the content of a data URI.

    Args:
        uri: Input from a client: a data URI, or None or an empty string for no image.

    Returns:
        The content of an image file; empty if there is no image.

    Raises:
        ImageError: If it is not a data URI, or too long.
    """
    if uri is None or uri == "":
        return b""
    if not isinstance(uri, str):
        raise ImageError(f"{EXPECTED}, got a {type(uri).__name__}")
    if len(uri) > MAX_BODY_BYTES:
        raise ImageError(f"expected at most {MAX_BODY_BYTES:,} characters, got {len(uri):,}")
    prefix = DATA_URI.match(uri)
    if not prefix:
        raise ImageError(f"{EXPECTED}, got {uri[:MAX_SHOWN]!r}")
    try:
        content = base64.b64decode(uri[prefix.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the image's base64 is damaged ({error})") from error
    if not content:
        raise ImageError("the file is empty")
    return content


def decode_image(content: bytes) -> np.ndarray:
    """Decode an image file from a client.

    Args:
        content: The content of the file.

    Returns:
        Uint8 (H, W, C), reduced to at most 1600 x 1600 pixels or as many of another aspect ratio.

    Raises:
        ImageError: If it is not an image, or too large.
    """
    with _semaphore:
        return _reduce(load_image(content))


def classify(classifier: DigitClassifier, content: bytes) -> dict[str, object]:
    """Classify an image for the page.

    Args:
        classifier: The classifier.
        content: The content of an image file, or nothing for an empty sketchpad.

    Returns:
        "label" (None if rejected), "probabilities" (of 0 to 9), "blank" (whether there is no ink), "framed" (the framed
        image as a data URI) and "milliseconds" (the duration).

    Raises:
        ImageError: If it is not an image, or too large.
    """
    image = decode_image(content) if content else np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    start = time.perf_counter()
    prediction = predict(classifier, image)
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities.tolist(),
        "blank": not prediction.framed.any(),
        "framed": png_data_uri(np.rint(prediction.framed * 255).astype(np.uint8)),
        "milliseconds": (time.perf_counter() - start) * 1000,
    }


def read(classifier: DigitClassifier, content: bytes) -> dict[str, object]:
    """Read the numbers in an image for the page.

    Args:
        classifier: The classifier.
        content: The content of an image file, or nothing for an empty sketchpad.

    Returns:
        "numbers", from top to bottom, each with "text" ("?" for a rejected digit), "confidence" and "digits", each with
        "label" (None if rejected), "confidence" and "box" (left, top, right and bottom); "width" and "height" of the
        image that the boxes refer to, in pixels; and "milliseconds" (the duration).

    Raises:
        ImageError: If it is not an image, or too large.
        CandidatesError: If there are too many candidates for digits on a line.
    """
    image = decode_image(content) if content else np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)
    start = time.perf_counter()
    with _semaphore:
        try:
            numbers = classifier.read_numbers(image)
        except ImageError as error:  # it was decoded, so that only its content can be the reason
            raise CandidatesError(str(error)) from error
    return {
        "numbers": [
            {
                "text": number.text,
                "confidence": number.confidence,
                "digits": [
                    {"label": digit.label, "confidence": digit.confidence, "box": digit.box} for digit in number.digits
                ],
            }
            for number in numbers
        ],
        "width": image.shape[1],
        "height": image.shape[0],
        "milliseconds": (time.perf_counter() - start) * 1000,
    }


def predict(classifier: DigitClassifier, image: np.ndarray) -> Prediction:
    """Classify an image, together with at most three others.

    Args:
        classifier: The classifier.
        image: An image, uint8 (H, W) or (H, W, C).

    Returns:
        The prediction.
    """
    with _semaphore:
        prediction: Prediction = classifier(image)  # not a list, for one image
    return prediction


def message_for_page(error: ImageError) -> str:
    """Return one sentence that tells a visitor of the page why an image cannot be used.

    Args:
        error: The error of a function of this module.

    Returns:
        A sentence.
    """
    if isinstance(error, CandidatesError):
        return f"There is too much on one line: at most {MAX_CANDIDATES} digits are read. Erase some of it."
    if not isinstance(error, ImageSizeError):
        return "This file isn't a picture that can be opened. Try PNG, JPEG, GIF, BMP, WebP or TIFF."
    if error.pixels > MAX_PIXELS:
        megapixels = f"{error.pixels / 1e6:,.0f} megapixels; the limit is {MAX_PIXELS / 1e6:.0f}"
        return f"This picture is too large ({megapixels})."
    return "This picture is too long: the limit is 16,384 pixels per side."


def message_for_program(error: ImageError) -> str:
    """Return one sentence that tells a client of the API what it sent and what was expected.

    Args:
        error: The error of a function of this module.

    Returns:
        A sentence.
    """
    text = str(error).replace("the bytes: ", "", 1)
    return text[:1].upper() + text[1:] + ("" if text.endswith("...") else ".")


def to_png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file.

    Args:
        image: An image, uint8 (H, W) or (H, W, C).

    Returns:
        The content of a PNG file.
    """
    buffer = io.BytesIO()
    _to_pil(image).save(buffer, "PNG")
    return buffer.getvalue()


def png_data_uri(image: np.ndarray) -> str:
    """Return an image as the data URI of a PNG file.

    Args:
        image: An image, uint8 (H, W) or (H, W, C).

    Returns:
        A data URI, data:image/png;base64,...
    """
    return "data:image/png;base64," + base64.b64encode(to_png(image)).decode()


def _reduce(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (H, W, C), with at most MAX_PIXELS_FRAMED pixels."""
    height, width = image.shape[:2]
    factor = math.ceil(math.sqrt(height * width / MAX_PIXELS_FRAMED))
    if factor == 1:
        return image
    reduced = np.asarray(_to_pil(image).reduce(factor))
    return reduced.reshape(*reduced.shape[:2], -1)


def _to_pil(image: np.ndarray) -> Image.Image:
    """Return an image, uint8 (H, W) or (H, W, C), as a PIL image."""
    return Image.fromarray(image.squeeze(2) if image.ndim == 3 and image.shape[2] == 1 else image)
