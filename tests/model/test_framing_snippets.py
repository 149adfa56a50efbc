"""The short rule of framing in docs/framing.md, in NumPy and in JavaScript, compared with the released file."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digitnet import DigitClassifier
from tests.conftest import ROOT
from tests.images import draw_digit

PAGE = (ROOT / "docs" / "framing.md").read_text()
# Reads the width, height and RGBA bytes of each image, and prints the framed images.
MAIN = """
const input = (await import("node:fs")).readFileSync(0);
const framed = [];
for (let at = 0; at < input.length;) {
  const [width, height] = [input.readUInt32LE(at), input.readUInt32LE(at + 4)];
  framed.push(Array.from(frame(input.subarray(at + 8, at + 8 + 4 * width * height), width, height)));
  at += 8 + 4 * width * height;
}
console.log(JSON.stringify(framed));
"""


def snippet(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return code


def drawings() -> list[np.ndarray]:
    """Return clean drawings, uint8 (H, W): smooth and pixelated strokes of many widths, dark or bright, and one blank.

    The canvases are square or not, and the drawings in the middle, in a corner, small or large.
    """
    rng = np.random.default_rng(0)
    images = [np.full((40, 30), 120, np.uint8)]
    for size in (28, 56, 112, 280, 500):
        for digit in (1, 7):
            canvas = Image.new("L", (size + 10, size + 40), 255)
            canvas.paste(draw_digit(digit, size).convert("L"), (3, int(rng.integers(5, 30))))
            images.append(np.asarray(canvas))
    for _ in range(40):
        width, height = rng.integers(40, 300, 2)
        scale = int(rng.choice([1, 4]))  # smooth strokes are drawn four times as large
        points = [tuple(scale * np.array([width, height]) * rng.uniform(0.25, 0.75, 2)) for _ in range(4)]
        canvas = Image.new("L", (int(scale * width), int(scale * height)), 255)
        ImageDraw.Draw(canvas).line(points, fill=0, width=scale * int(rng.integers(2, 9)), joint="curve")
        image = np.asarray(canvas.resize((int(width), int(height)), Image.Resampling.BOX))
        images.append(image if rng.random() < 0.5 else 255 - image)
    return images


@pytest.fixture(scope="module")
def expected():
    """The drawings, and their framed digits from the released file."""
    images = drawings()
    return images, np.stack([prediction.framed for prediction in DigitClassifier()(images)])


def test_the_numpy_code_frames_drawings_as_the_released_file_does(expected):
    images, framed = expected
    code: dict = {}
    exec(snippet("python"), code)
    np.testing.assert_allclose(np.stack([code["frame"](image) for image in images]), framed, rtol=0, atol=1e-4)


def test_the_javascript_code_frames_drawings_as_the_released_file_does(expected, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs Node")
    images, framed = expected
    (tmp_path / "frame.mjs").write_text(snippet("js") + MAIN)
    content = b""
    for image in images:
        rgba = np.dstack([image] * 3 + [np.full_like(image, 255)])
        content += np.array(image.shape[::-1], "<u4").tobytes() + rgba.tobytes()
    result = subprocess.run(["node", tmp_path / "frame.mjs"], input=content, capture_output=True, check=True)
    ours = np.array(json.loads(result.stdout)).reshape(-1, 28, 28)
    np.testing.assert_allclose(ours, framed, rtol=0, atol=1e-4)


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_code_has_at_most_30_lines_as_the_page_states(language):
    lines = len([line for line in snippet(language).splitlines() if line.strip()])
    name = {"python": "NumPy", "js": "JavaScript"}[language]
    assert f"{name}, {lines} lines:" in PAGE
    assert lines <= 30
