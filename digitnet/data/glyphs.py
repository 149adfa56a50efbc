"""Glyph templates: the strokes of digits, letters and symbols, stored in glyphs.json.

docs/glyphs.md describes the format. The templates are digitnet's own.
"""

import json
from importlib.resources import files
from typing import NamedTuple

import numpy as np

Stroke = np.ndarray  # float (n, 2): the x and y coordinates of a polyline
POINTS_PER_SEGMENT = 8


class StrokeTemplate(NamedTuple):
    """One stroke of a glyph template.

    Attributes:
        points: The points that the pen passes through, float (n, 2) in [0, 1]: x to the right and y down.
        corners: Which points are corners, bool (n,).
        closed: Whether the stroke is a closed curve.
    """

    points: np.ndarray
    corners: np.ndarray
    closed: bool


Glyph = list[StrokeTemplate]


class GlyphSet(NamedTuple):
    """All glyph templates.

    Attributes:
        digits: The templates of each digit, 0 to 9.
        weights: The probability of each template among those of its digit, ten arrays of float.
        letters: Templates of letters that do not look like digits.
        small_letters: Those of the small letters among them, without printed forms.
        symbols: Templates of Greek letters, mathematical signs, shapes and other symbols.
    """

    digits: list[list[Glyph]]
    weights: list[np.ndarray]
    letters: list[Glyph]
    small_letters: list[Glyph]
    symbols: list[Glyph]


def parse_glyph(text: str) -> Glyph:
    """Parse a glyph template.

    Args:
        text: The template, for example "10,6 50,4 86,2! 60,46 40,100".

    Returns:
        The strokes of the glyph.
    """
    glyph = []
    for stroke in text.split("/"):
        words = [word for word in stroke.split() if word != "*"]
        points = np.array([[float(number) for number in word.rstrip("!").split(",")] for word in words]) / 100
        corners = np.array([word.endswith("!") for word in words])
        glyph.append(StrokeTemplate(points, corners, stroke.rstrip().endswith("*")))
    return glyph


def load_glyphs() -> GlyphSet:
    """Load the templates of glyphs.json.

    Returns:
        All templates; the weights of each digit sum to 1.
    """
    content = json.loads(files("digitnet.data").joinpath("glyphs.json").read_text(encoding="utf-8"))
    weights = [np.array([entry["weight"] for entry in digit]) for digit in content["digits"]]
    return GlyphSet(
        digits=[[parse_glyph(entry["glyph"]) for entry in digit] for digit in content["digits"]],
        weights=[weight / weight.sum() for weight in weights],
        letters=[parse_glyph(entry["glyph"]) for entry in content["letters"]],
        small_letters=[
            parse_glyph(entry["glyph"])
            for entry in content["letters"]
            if entry["name"].islower() and len(entry["name"]) == 1
        ],
        symbols=[parse_glyph(entry["glyph"]) for entry in content["symbols"]],
    )


def interpolate(points: np.ndarray, corners: np.ndarray) -> Stroke:
    """Return a Catmull-Rom spline through the points, with straight ends at corners.

    Args:
        points: Float (n, 2), n at least 2.
        corners: Bool (n,).

    Returns:
        The curve, float (8 * (n - 1) + 1, 2).
    """
    before = np.concatenate([2 * points[:1] - points[1:2], points[:-2], points[-2:-1]])[: len(points) - 1]
    after = np.concatenate([points[2:], 2 * points[-1:] - points[-2:-1]])
    start, stop = points[:-1], points[1:]
    before = np.where(corners[:-1, None], 2 * start - stop, before)
    after = np.where(corners[1:, None], 2 * stop - start, after)
    t = np.linspace(0, 1, POINTS_PER_SEGMENT, endpoint=False)[None, :, None]
    start, stop, before, after = (array[:, None] for array in (start, stop, before, after))
    curve = 0.5 * (
        2 * start + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    )  # fmt: skip
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])
