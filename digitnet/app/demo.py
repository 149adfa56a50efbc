"""The sketchpad: a Gradio page to draw a digit or choose an image, and to see the prediction. It does not need torch.

Gradio is the shell of the page and its API, which takes an image as a data URI, `data:image/png;base64,...`, and
nothing else. The page itself is static/page.html with the style sheet and the modules beside it.
"""

import json
from typing import Any

import gradio as gr

from digitnet.app.corrections import Corrections
from digitnet.app.page import TITLE
from digitnet.app.routes import MAX_WAITING, STATIC, static_url
from digitnet.app.service import (
    EXPECTED,
    MAX_CONCURRENT,
    content_of_data_uri,
    decode_image,
    message_for_program,
    predict,
)
from digitnet.app.teaching import Teaching
from digitnet.errors import ConfigError, ImageError
from digitnet.inference.classifier import DigitClassifier

MAX_FILE_BYTES = 20_000_000  # of an image file
# The modules send images to routes of their own. Gradio's server functions turn every failure into `undefined`, so that
# the page could not say what is wrong.
START_PAGE = """
const load = (address) => import(new URL(address, document.baseURI));
Promise.all([load("%s"), load("%s")]).then(([{ start }, { createServer }]) =>
  start(element, createServer(new URL("digitnet/", document.baseURI), { canSave: %s, canTeach: %s }), %s)
).catch((error) => {
  console.error(error);
  const message = element.querySelector(".start");
  message.textContent = message.dataset.failed;
});
"""
# Gradio keeps the last input of each session, up to MAX_BODY_BYTES, which neither the page nor the API needs. It must
# keep one session while it runs an event.
STATE_SESSION_CAPACITY = 1
QUEUE_INTERVAL = 0.02  # seconds until a new event of the API is noticed; the page's own routes use no queue
PROGRESS_INTERVAL = 1.0  # seconds between updates of progress bars, of which there are none


def build_demo(classifier: DigitClassifier, corrections: Corrections | None = None) -> gr.Blocks:
    """Build the page, to be launched or mounted in another application.

    Args:
        classifier: The classifier.
        corrections: Where corrected images are saved; None to offer no corrections.

    Returns:
        The Gradio Blocks. Its API has the endpoint `/predict`.

    Raises:
        ConfigError: If the model takes only images of one size.
    """
    if any(classifier.input_shape):
        raise ConfigError(f"the sketchpad needs a model that takes images of any size; {classifier.path} does not")

    def predict_digit(image: str) -> dict[str, Any]:
        """Classify an image.

        Args:
            image: An image file as a data URI, data:image/png;base64,...

        Returns:
            The label (a digit, or null if the image is rejected), the confidence, and the probabilities of 0 to 9.
        """
        return predict_for_api(classifier, image)

    demo = gr.Blocks(title=TITLE, analytics_enabled=False)
    with demo:
        options = {
            "description": describe(classifier),
            "directory": f"{corrections.directory}/" if corrections else "",
            "examples": static_url("examples.png"),
        }
        can_save = json.dumps(corrections is not None)
        can_teach = json.dumps(corrections is not None and Teaching.is_available())
        gr.HTML(
            html_template=(STATIC / "page.html").read_text("utf-8"),
            js_on_load=START_PAGE
            % (static_url("main.js"), static_url("server.js"), can_save, can_teach, json.dumps(options)),
            apply_default_css=False,
            padding=False,
        )
        gr.api(predict_digit, api_name="predict", concurrency_limit=MAX_CONCURRENT)  # type: ignore[attr-defined]  # not re-exported
    demo.queue(max_size=MAX_WAITING)
    # Gradio asks its queue a thousand times a second for new events, which takes 8 % of a core; there is no option.
    demo._queue.sleep_when_free = QUEUE_INTERVAL
    demo._queue.progress_update_sleep_when_free = PROGRESS_INTERVAL
    return demo


def launch_options() -> dict[str, Any]:
    """Return the arguments of `Blocks.launch` for a page that loads nothing from other servers."""
    return {
        **page_options(),
        "state_session_capacity": STATE_SESSION_CAPACITY,
        "favicon_path": str(STATIC / "icon-32.png"),
        "quiet": True,
    }


def page_options() -> dict[str, Any]:
    """Return the arguments that `Blocks.launch` and `mount_gradio_app` have in common."""
    return {
        # Fonts of the system; others would be downloaded.
        "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "show_error": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "footer_links": [],
        "run_history": False,
        "max_file_size": MAX_FILE_BYTES,
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
        percentage = f"{100 * float(classifier.metadata['test_accuracy']):.2f}\N{NO-BREAK SPACE}%"
        accuracy = f", {percentage} accuracy on MNIST's test set"
    except (KeyError, ValueError):  # another program's model
        accuracy = ""
    return f"{classifier.path.name} ({size}){accuracy}"


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
