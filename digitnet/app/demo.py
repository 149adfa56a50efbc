"""The sketchpad: a Gradio page to draw a digit or choose an image, and to see the prediction. It does not need torch.

The components of the page are in static/. They send an image as a data URI, `data:image/png;base64,...`, and nothing
else.
"""

import html
import io
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from digitnet.app.corrections import CorrectionError, Corrections
from digitnet.app.routes import STATIC
from digitnet.app.service import (
    EXPECTED,
    MAX_CONCURRENT,
    MAX_SHOWN,
    classify,
    content_of_data_uri,
    decode_image,
    message_for_program,
    png_data_uri,
    predict,
)
from digitnet.contract import IMAGE_SIZE, NUM_CLASSES
from digitnet.errors import ImageError
from digitnet.inference.classifier import DigitClassifier

MAX_FILE_BYTES = 20_000_000  # of an image file


def build_demo(classifier: DigitClassifier, corrections: Corrections | None = None) -> gr.Blocks:
    """Build the page, to be launched or mounted in another application.

    Args:
        classifier: The classifier.
        corrections: Where corrected images are saved; None to offer no corrections.

    Returns:
        The Gradio Blocks. Its API has the endpoint `/predict`.
    """

    def classify(image: object) -> dict[str, object]:  # the scripts of the components call it by this name
        return predict_for_page(classifier, image)

    def save(correction: object) -> dict[str, str]:
        assert corrections is not None
        return save_correction(corrections, correction)

    def predict_digit(image: str) -> dict:
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
                    "blank": png_data_uri(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)),
                    "hidden": "hidden" if corrections is None else "",
                    "directory": _escape(str(corrections.directory)) if corrections else "",
                    "model": _escape(describe(classifier)),
                }
                _component("prediction", values=values, server_functions=[] if corrections is None else [save])
        gr.api(predict_digit, api_name="predict", concurrency_limit=MAX_CONCURRENT)
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


def predict_for_page(classifier: DigitClassifier, image: object) -> dict[str, object]:
    """Classify an image for the page.

    Args:
        classifier: The classifier.
        image: A data URI, or None or an empty string for an empty sketchpad.

    Returns:
        The result of `classify`, or an "error".
    """
    try:
        return classify(classifier, content_of_data_uri(image))
    except ImageError as error:
        return {"error": message_for_program(error)}


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
        content = content_of_data_uri(image)
        if not content:
            raise ImageError(f"{EXPECTED}, got no image")
        prediction = predict(classifier, decode_image(content))
    except ImageError as error:
        raise gr.Error(message_for_program(error), print_exception=False) from error
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities.tolist(),
    }


def save_correction(corrections: Corrections, correction: object) -> dict[str, str]:
    """Save a corrected image.

    Args:
        corrections: Where it is saved.
        correction: A list of a data URI and a digit, 0 to 9.

    Returns:
        The path as "saved", or an "error".
    """
    try:
        image, digit = correction if isinstance(correction, list) and len(correction) == 2 else (None, None)
        if type(digit) is not int or digit not in range(NUM_CLASSES):
            raise ImageError(f"expected an image and a digit, got {str(correction)[:MAX_SHOWN]!r}")
        content = content_of_data_uri(image)
        if not content:
            raise ImageError("there is no image to save")
        return {"saved": str(corrections.directory / corrections.save(decode_image(content), digit))}
    except ImageError as error:
        return {"error": message_for_program(error)}
    except CorrectionError as error:
        return {"error": str(error)}


def _escape(text: str) -> str:
    """Return text escaped for a template of Gradio, which would replace ${...} and {{...}}."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;")


def _example_buttons() -> str:
    """Return a button for each of the ten digits of examples.png, (28, 280)."""
    strip = np.asarray(Image.open(io.BytesIO((STATIC / "examples.png").read_bytes())).convert("L"))
    uris = [png_data_uri(digit) for digit in np.split(strip, 10, axis=1)]
    return "".join(
        f'<button type="button" aria-label="Example {digit}"><img src="{uri}" alt=""></button>'
        for digit, uri in enumerate(uris)
    )
