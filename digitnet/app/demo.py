"""The sketchpad: a Gradio page to draw a digit on, or show a picture of one, and see it read. Without torch.

The page's own parts lie in page/. They send a picture as a data URI, `data:image/png;base64,...`, and nothing else:
no handler here takes a path, so none can be made to open a file of this machine.
"""

import base64
import binascii
import hashlib
import html
import io
import os
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # else importing gradio looks things up in the network
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # of which it keeps notes; the default is 10,000
import gradio as gr

from digitnet.errors import ImageError
from digitnet.files import write_atomically
from digitnet.inference.classifier import DigitClassifier, Prediction, load_image

PAGE = Path(__file__).parent / "static"
MAX_FILE_BYTES = 20_000_000  # of a picture's file
MAX_BODY_BYTES = 28_000_000  # of a request: base64 makes four characters of three bytes
MAX_SIDE = 1600  # pixels; larger pictures are shrunk before they are read, which would take 40 bytes a pixel
READERS = threading.BoundedSemaphore(4)  # pictures decoded and read at once, whichever way they came
DATA_URI = re.compile(r"data:[\w.+-]{1,40}/[\w.+-]{1,80};base64,")


def build_demo(classifier: DigitClassifier, corrections: Path | None = Path("corrections")) -> gr.Blocks:
    """The page, ready for launch() or to be mounted.

    `corrections` is the folder where 'Was it wrong?' keeps pictures; None leaves that out.
    """

    def read(picture: object) -> dict[str, object]:
        return read_for_page(classifier, picture)

    def keep(correction: object) -> dict[str, str]:
        assert corrections is not None
        return keep_correction(corrections, correction)

    def predict(image: str) -> dict:
        """Reads a picture.

        image: the bytes of a picture file as a data URI, data:image/png;base64,...
        Returns label (the digit, or null where there is none), confidence, and the probabilities of 0 to 9.
        """
        return predict_for_api(classifier, image)

    css = (PAGE / "page.css").read_text("utf-8")

    def part(name: str, script: str = "", fill: dict[str, str] | None = None, **options: Any) -> gr.HTML:
        markup = (PAGE / f"{name}.html").read_text("utf-8")
        for place, text in (fill or {}).items():
            markup = markup.replace(f"@{place}", text)
        code = script + (PAGE / f"{name}.js").read_text("utf-8")
        return gr.HTML(html_template=markup, css_template=css, js_on_load=code, apply_default_css=False, **options)

    with gr.Blocks(title="digitnet: draw a digit", analytics_enabled=False, fill_width=False) as demo:
        gr.Markdown("# Draw a digit\nIt is read while you draw.")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320), gr.Tabs():
                with gr.Tab("Draw"):
                    part("pad", server_functions=[read])
                with gr.Tab("Picture"):
                    limit = f"const MAX_FILE_BYTES = {MAX_FILE_BYTES};\n"
                    part("picture", limit, {"examples": _examples()}, server_functions=[read])
            with gr.Column(min_width=320):
                fill = {
                    "blank": _png(np.zeros((28, 28), np.uint8)),
                    "wrong": "hidden" if corrections is None else "",
                    "folder": _plain(str(corrections)),
                    "model": _plain(describe(classifier)),
                }
                part("answer", fill=fill, server_functions=[] if corrections is None else [keep])
        gr.api(predict, api_name="predict", concurrency_limit=4)
    return demo


def launch_options() -> dict[str, Any]:
    """What `launch()` has to be told for a page that stays on this machine: looks, and nothing served but the page."""
    return {
        # The system's fonts: others would be asked for in the network.
        "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "show_error": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "footer_links": [],
        "max_file_size": MAX_FILE_BYTES,
        "state_session_capacity": 100,  # visitors remembered; nothing here depends on it, and 10,000 take memory
        "quiet": True,
    }


def describe(classifier: DigitClassifier) -> str:
    """Which model this is, for people."""
    size = f"{classifier.path.stat().st_size / 1000:,.0f} KB"
    try:
        known = f", reads {float(classifier.metadata['test_accuracy']):.2%} of MNIST's test set"
    except (KeyError, ValueError):  # a model from elsewhere
        known = ""
    return f"{classifier.path.name} ({size}){known}"


def decode(picture: object) -> np.ndarray | None:
    """The picture of a data URI as uint8 (H, W, C), None for an empty one. Raises ImageError."""
    if picture is None or picture == "":
        return None
    if not isinstance(picture, str):
        raise ImageError(f"a picture came as {type(picture).__name__}; wanted a data URI: data:image/png;base64,...")
    if len(picture) > MAX_BODY_BYTES:
        raise ImageError(f"a picture came as {len(picture):,} characters; at most {MAX_BODY_BYTES:,} are read")
    prefix = DATA_URI.match(picture)
    if not prefix:
        raise ImageError(f"a picture came as {picture[:40]!r}; wanted a data URI: data:image/png;base64,...")
    try:
        content = base64.b64decode(picture[prefix.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the picture's base64 is damaged ({error})") from error
    with READERS:
        image = load_image(content)
        factor = -(-max(image.shape[:2]) // MAX_SIDE)
        if factor == 1:
            return image
        small = np.asarray(Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).reduce(factor))
        return small.reshape(*small.shape[:2], -1)


def read_for_page(classifier: DigitClassifier, picture: object) -> dict[str, object]:
    """What the page shows of a picture: an `error`, or the digit and all that belongs to it."""
    try:
        image = decode(picture)
    except ImageError as error:
        return {"error": _sentence(error)}
    start = time.perf_counter()
    with READERS:
        prediction = classifier(np.zeros((28, 28), np.uint8) if image is None else image)
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities.tolist(),
        "blank": _is_blank(prediction),
        "seen": _png(np.rint(prediction.framed * 255).astype(np.uint8)),
        "milliseconds": (time.perf_counter() - start) * 1000,
    }


def predict_for_api(classifier: DigitClassifier, picture: object) -> dict[str, object]:
    """What programs get of a picture. Raises gr.Error, whose text they see, where there is none to read."""
    try:
        image = decode(picture)
    except ImageError as error:
        raise gr.Error(_sentence(error), print_exception=False) from error
    if image is None:
        raise gr.Error("No picture came; wanted a data URI: data:image/png;base64,...", print_exception=False)
    with READERS:
        prediction = classifier(image)
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "probabilities": prediction.probabilities.tolist(),
    }


def keep_correction(folder: Path, correction: object) -> dict[str, str]:
    """Keeps a picture under the digit it shows, as folder/DIGIT/TIME-HASH.png; `kept`, or an `error`.

    What was said of the same picture before goes: the last word counts.
    """
    try:
        picture, digit = correction if isinstance(correction, list) and len(correction) == 2 else (None, None)
        if type(digit) is not int or not 0 <= digit <= 9:
            raise ImageError(f"a correction came as {str(correction)[:40]!r}; wanted a picture and a digit")
        image = decode(picture)
        if image is None:
            raise ImageError("there is no picture to keep yet")
    except ImageError as error:
        return {"error": _sentence(error)}
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, "PNG")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:12]
    path = folder / str(digit) / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}.png"
    try:
        write_atomically(path, content)
        for earlier in folder.glob(f"[0-9]/*-{digest}.png"):
            if earlier != path:
                earlier.unlink(missing_ok=True)
    except OSError as error:
        return {"error": f"Not kept: {error.strerror}."}
    return {"kept": str(path)}


def _plain(text: str) -> str:
    """As text in a template, which would replace ${...} and {{...}}."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;")


def _is_blank(prediction: Prediction) -> bool:
    return not prediction.framed.any()


def _sentence(error: Exception) -> str:
    text = str(error).replace("the bytes: ", "", 1)
    return text[:1].upper() + text[1:] + ("" if text.endswith("...") else ".")


def _png(grey: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _examples() -> str:
    """Ten buttons, each with a digit of the strip of ten."""
    strip = np.asarray(Image.open(PAGE / "examples.png").convert("L"))  # (28, 280)
    return "".join(
        f'<button type="button" aria-label="Example {digit}"><img src="{_png(strip[:, 28 * digit : 28 * (digit + 1)])}"'
        f' alt=""></button>'
        for digit in range(10)
    )
