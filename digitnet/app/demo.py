"""The sketchpad: a Gradio page to draw a digit or choose an image, and to see the prediction. It does not need torch.

The components of the page are in static/. They send an image as a data URI, `data:image/png;base64,...`, and nothing
else: no handler takes a path, so none can be made to open a file of this machine.
"""

import base64
import binascii
import hashlib
import html
import io
import re
import threading
import time
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from digitnet.contract import IMAGE_SIZE, NUM_CLASSES
from digitnet.errors import ImageError
from digitnet.files import write_atomically
from digitnet.inference.classifier import DigitClassifier, Prediction
from digitnet.inference.images import load_image

STATIC = files("digitnet.app") / "static"
MAX_FILE_BYTES = 20_000_000  # of an image file
MAX_BODY_BYTES = 28_000_000  # of a request: base64 makes four characters of three bytes
MAX_SIDE = 1600  # pixels; larger images are reduced before framing, which needs 40 bytes per pixel
MAX_CONCURRENT = 4  # images that are decoded and classified at the same time, from the page and the API
MAX_SHOWN = 40  # characters of an invalid input in an error message
DATA_URI = re.compile(r"data:[\w.+-]{1,40}/[\w.+-]{1,80};base64,")
EXPECTED = "expected a data URI (data:image/png;base64,...)"

_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT)


def build_demo(classifier: DigitClassifier, corrections: Path | None = Path("corrections")) -> gr.Blocks:
    """Build the page, to be launched or mounted in another application.

    Args:
        classifier: The classifier.
        corrections: The directory in which corrected images are saved; None to offer no corrections.

    Returns:
        The Gradio Blocks. Its API has the endpoint `/predict`.
    """

    def classify(image: object) -> dict[str, object]:
        return predict_for_page(classifier, image)

    def save(correction: object) -> dict[str, str]:
        assert corrections is not None
        return save_correction(corrections, correction)

    def predict(image: str) -> dict:
        """Classify an image.

        Args:
            image: An image file as a data URI, data:image/png;base64,...

        Returns:
            The label (a digit, or null if the image is rejected), the confidence, and the probabilities of 0 to 9.
        """
        return predict_for_api(classifier, image)

    with gr.Blocks(title="digitnet: draw a digit", analytics_enabled=False, fill_width=False) as demo:
        gr.Markdown("# Draw a digit\nThe prediction updates as you draw.")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320), gr.Tabs():
                with gr.Tab("Draw"):
                    _component("sketchpad", script=_read("canvas.js"), server_functions=[classify])
                with gr.Tab("Image"):
                    limit = f"const MAX_FILE_BYTES = {MAX_FILE_BYTES};\n"
                    _component("upload", limit, {"examples": _example_buttons()}, server_functions=[classify])
            with gr.Column(min_width=320):
                values = {
                    "blank": _png_uri(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)),
                    "hidden": "hidden" if corrections is None else "",
                    "directory": _escape(str(corrections)),
                    "model": _escape(describe(classifier)),
                }
                _component("prediction", values=values, server_functions=[] if corrections is None else [save])
        gr.api(predict, api_name="predict", concurrency_limit=MAX_CONCURRENT)
    return demo


def _read(name: str) -> str:
    """Return the text of a static file."""
    return (STATIC / name).read_text("utf-8")


def _component(name: str, script: str = "", values: dict[str, str] | None = None, **options: Any) -> gr.HTML:
    """Return a component from static/`name`.html and .js; `values` replace "@key" in the markup."""
    markup = _read(f"{name}.html")
    for key, text in (values or {}).items():
        markup = markup.replace(f"@{key}", text)
    return gr.HTML(
        html_template=markup,
        css_template=_read("page.css"),
        js_on_load=script + _read(f"{name}.js"),
        apply_default_css=False,
        **options,
    )


def launch_options() -> dict[str, Any]:
    """Return the arguments of `Blocks.launch` for a page that loads nothing from other servers."""
    return {
        # Fonts of the system; others would be downloaded.
        "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "show_error": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "footer_links": [],
        "max_file_size": MAX_FILE_BYTES,
        "state_session_capacity": 100,  # sessions in memory; the page does not depend on them, the default is 10,000
        "quiet": True,
    }


def describe(classifier: DigitClassifier) -> str:
    """Describe a classifier's model for the page and the terminal.

    Args:
        classifier: The classifier.

    Returns:
        Its file name, size and accuracy as text.
    """
    size = f"{classifier.path.stat().st_size / 1000:,.0f} KB"
    try:
        accuracy = f", {float(classifier.metadata['test_accuracy']):.2%} accuracy on MNIST's test set"
    except (KeyError, ValueError):  # another program's model
        accuracy = ""
    return f"{classifier.path.name} ({size}){accuracy}"


def decode(image: object) -> np.ndarray | None:
    """Decode a data URI.

    Args:
        image: Input from a client: a data URI, or None or an empty string for no image.

    Returns:
        Uint8 (H, W, C), reduced to at most 1600 pixels per side; None if there is no image.

    Raises:
        ImageError: If it is not the data URI of an image, or too large.
    """
    if image is None or image == "":
        return None
    if not isinstance(image, str):
        raise ImageError(f"{EXPECTED}, got a {type(image).__name__}")
    if len(image) > MAX_BODY_BYTES:
        raise ImageError(f"expected at most {MAX_BODY_BYTES:,} characters, got {len(image):,}")
    prefix = DATA_URI.match(image)
    if not prefix:
        raise ImageError(f"{EXPECTED}, got {image[:MAX_SHOWN]!r}")
    try:
        content = base64.b64decode(image[prefix.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the image's base64 is damaged ({error})") from error
    with _semaphore:
        return _reduce(load_image(content))


def _reduce(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (H, W, C), with at most MAX_SIDE pixels per side."""
    factor = -(-max(image.shape[:2]) // MAX_SIDE)
    if factor == 1:
        return image
    reduced = np.asarray(_to_pil(image).reduce(factor))
    return reduced.reshape(*reduced.shape[:2], -1)


def _to_pil(image: np.ndarray) -> Image.Image:
    """Return an image, uint8 (H, W, C), as a PIL image."""
    return Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)


def predict_for_page(classifier: DigitClassifier, image: object) -> dict[str, object]:
    """Classify an image for the page.

    Args:
        classifier: The classifier.
        image: A data URI, or None or an empty string for an empty sketchpad.

    Returns:
        "label" (None if rejected), "probabilities" (of 0 to 9), "blank" (whether there is no ink), "framed" (the framed
        image as a data URI) and "milliseconds" (the duration); or an "error".
    """
    try:
        array = decode(image)
    except ImageError as error:
        return {"error": _sentence(error)}
    start = time.perf_counter()
    with _semaphore:
        prediction = classifier(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8) if array is None else array)
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities.tolist(),
        "blank": _is_blank(prediction),
        "framed": _png_uri(np.rint(prediction.framed * 255).astype(np.uint8)),
        "milliseconds": (time.perf_counter() - start) * 1000,
    }


def predict_for_api(classifier: DigitClassifier, image: object) -> dict[str, object]:
    """Classify an image for a client of the API.

    Args:
        classifier: The classifier.
        image: A data URI.

    Returns:
        "label" (None if rejected), "confidence" and "probabilities" (of 0 to 9).

    Raises:
        gr.Error: If there is no image, or it is invalid; the client receives the message.
    """
    try:
        array = decode(image)
    except ImageError as error:
        raise gr.Error(_sentence(error), print_exception=False) from error
    if array is None:
        raise gr.Error(f"{EXPECTED}, got no image", print_exception=False)
    with _semaphore:
        prediction = classifier(array)
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities.tolist(),
    }


def save_correction(directory: Path, correction: object) -> dict[str, str]:
    """Save a corrected image as directory/DIGIT/TIME-HASH.png, and remove earlier corrections of the same image.

    Args:
        directory: The directory of the corrections.
        correction: A list of a data URI and a digit, 0 to 9.

    Returns:
        The path as "saved", or an "error".
    """
    try:
        image, digit = correction if isinstance(correction, list) and len(correction) == 2 else (None, None)
        if type(digit) is not int or digit not in range(NUM_CLASSES):
            raise ImageError(f"expected an image and a digit, got {str(correction)[:MAX_SHOWN]!r}")
        array = decode(image)
        if array is None:
            raise ImageError("there is no image to save")
    except ImageError as error:
        return {"error": _sentence(error)}
    buffer = io.BytesIO()
    _to_pil(array).save(buffer, "PNG")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:12]
    path = directory / str(digit) / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}.png"
    try:
        write_atomically(path, content)
        for earlier in directory.glob(f"[0-9]/*-{digest}.png"):
            if earlier != path:
                earlier.unlink(missing_ok=True)
    except OSError as error:
        return {"error": f"Not saved: {error.strerror}."}
    return {"saved": str(path)}


def _escape(text: str) -> str:
    """Return text escaped for a template of Gradio, which would replace ${...} and {{...}}."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;")


def _is_blank(prediction: Prediction) -> bool:
    """Return whether the image has no ink."""
    return not prediction.framed.any()


def _sentence(error: Exception) -> str:
    """Return the message of an error as a sentence."""
    text = str(error).replace("the bytes: ", "", 1)
    return text[:1].upper() + text[1:] + ("" if text.endswith("...") else ".")


def _png_uri(gray: np.ndarray) -> str:
    """Return a grayscale image, uint8 (H, W), as the data URI of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _example_buttons() -> str:
    """Return a button for each of the ten digits of examples.png, (28, 280)."""
    strip = np.asarray(Image.open(io.BytesIO((STATIC / "examples.png").read_bytes())).convert("L"))
    uris = [_png_uri(digit) for digit in np.split(strip, 10, axis=1)]
    return "".join(
        f'<button type="button" aria-label="Example {digit}"><img src="{uri}" alt=""></button>'
        for digit, uri in enumerate(uris)
    )
